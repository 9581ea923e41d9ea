//! One attacker: a connection after the other, each with a mischief of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastrand::Rng;
use zeo::Encoding;

use super::frames::{call, handshake, monstrous, mutate, odd_call, register, transaction};

/// What one does that never reads or never goes on: it stays for a while.
const SILENT_MAX: usize = 16;
/// How long one waits for the server to take or to say something.
const PATIENCE: Duration = Duration::from_millis(200);

pub(crate) struct Peers {
    server: SocketAddr,
    random: Rng,
    silent: Vec<TcpStream>,
}

impl Peers {
    pub(crate) fn new(server: SocketAddr, random: Rng) -> Self {
        let silent = Vec::new();
        Self {
            server,
            random,
            silent,
        }
    }

    /// Does some mischief. Says how many messages that were.
    pub(crate) fn attack(&mut self) -> usize {
        let encoding = [Encoding::Pickle, Encoding::Msgpack][self.random.usize(..2)];
        let mut frames = vec![handshake(encoding)];
        let mut is_silent = false;
        match self.random.u8(..10) {
            0 => {
                // No handshake at all.
                frames = vec![self.noise()];
            }
            1 => {
                // Noise after it, registered or not.
                frames.extend(self.random.bool().then(|| register(encoding)));
                frames.push(self.noise());
            }
            2 => {
                // Calls before register.
                frames.push(odd_call(encoding, &mut self.random));
            }
            3 => {
                frames.extend(self.random.bool().then(|| register(encoding)));
                frames.push(monstrous(&mut self.random));
            }
            4 => {
                // A frame that never comes whole.
                frames.push(register(encoding));
                let mut frame = odd_call(encoding, &mut self.random);
                frame.truncate(self.random.usize(1..frame.len()));
                frames.push(frame);
                is_silent = true;
            }
            5 => {
                // A flood whose answers nobody reads.
                frames.push(register(encoding));
                frames.extend(self.flood(encoding));
                is_silent = true;
            }
            6 | 7 => {
                frames.push(register(encoding));
                for _ in 0..self.random.usize(1..60) {
                    frames.push(odd_call(encoding, &mut self.random));
                }
            }
            8 => {
                frames.push(register(encoding));
                frames.extend(self.broken_transactions(encoding));
            }
            _ => {
                frames.push(register(encoding));
                let mut frame = odd_call(encoding, &mut self.random);
                mutate(&mut frame, &mut self.random);
                frames.push(frame);
            }
        }
        let count = frames.len();
        self.say(&frames.concat(), is_silent);
        count
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.random.usize(1..2_000);
        std::iter::repeat_with(|| self.random.u8(..))
            .take(length)
            .collect()
    }

    fn flood(&mut self, encoding: Encoding) -> Vec<Vec<u8>> {
        let oid = zeo::Value::id(self.random.u64(..40).to_be_bytes());
        let args = vec![
            oid,
            zeo::Value::id([0x7f, 255, 255, 255, 255, 255, 255, 255]),
        ];
        let load = call(encoding, zeo::Value::Int(7), "loadBefore", args);
        vec![load; self.random.usize(100..2_000)]
    }

    /// Whole ones, then one that ends anywhere, maybe in the middle of a frame, maybe changed.
    fn broken_transactions(&mut self, encoding: Encoding) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let whole = self.random.i64(0..4);
        for number in 0..whole {
            frames.extend(transaction(encoding, number, &mut self.random));
        }
        let mut last = transaction(encoding, whole, &mut self.random);
        last.truncate(self.random.usize(1..=last.len()));
        if let Some(frame) = last.last_mut() {
            match self.random.u8(..3) {
                0 => frame.truncate(self.random.usize(1..=frame.len())),
                1 => mutate(frame, &mut self.random),
                _ => {}
            }
        }
        frames.extend(last);
        frames
    }

    fn say(&mut self, bytes: &[u8], is_silent: bool) {
        let Ok(mut stream) = TcpStream::connect(self.server) else {
            return;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // The server may have hung up, or may not take more until its answers are read.
        let _ = stream.write_all(bytes);
        if is_silent {
            if self.silent.len() == SILENT_MAX {
                self.silent.swap_remove(self.random.usize(..SILENT_MAX));
            }
            self.silent.push(stream);
        } else if self.random.u8(..4) > 0 {
            // The end of what is said; its answers are heard, to the end or not.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answers = [0; 4096];
            loop {
                match stream.read(&mut answers) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
    }
}
