//! A wire to the storage server that can be held up.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Passes bytes between a client and a server. While held, nothing reaches the client, until the
/// client asks something.
pub(crate) struct Relay {
    address: SocketAddr,
    hold: Arc<Hold>,
}

#[derive(Default)]
struct Hold {
    is_held: Mutex<bool>,
    released: Condvar,
}

impl Relay {
    /// Takes connections for that server, until the test ends.
    pub(crate) fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let hold = Arc::new(Hold::default());
        let held = hold.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok((client, server)) =
                    client.and_then(|c| Ok((c, TcpStream::connect(server)?)))
                else {
                    return;
                };
                let Ok(ends) = client
                    .try_clone()
                    .and_then(|c| Ok((c, server.try_clone()?)))
                else {
                    return;
                };
                let (asking, answering) = (held.clone(), held.clone());
                thread::spawn(move || pass(ends.0, server, || asking.release()));
                thread::spawn(move || pass(ends.1, client, || answering.wait()));
            }
        });
        Ok(Self { address, hold })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds up what the server says, until the client asks something.
    pub(crate) fn hold(&self) {
        *self.hold.is_held.lock().expect("nobody panics with it") = true;
    }
}

impl Hold {
    fn release(&self) {
        *self.is_held.lock().expect("nobody panics with it") = false;
        self.released.notify_all();
    }

    fn wait(&self) {
        let held = self.is_held.lock().expect("nobody panics with it");
        let released = self.released.wait_while(held, |is_held| *is_held);
        drop(released.expect("nobody panics with it"));
    }
}

/// Copies until either side ends; `before` each piece.
fn pass(mut from: TcpStream, mut to: TcpStream, before: impl Fn()) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        before();
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
