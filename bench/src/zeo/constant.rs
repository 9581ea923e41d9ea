//! A server that answers every call with the same record: what the driver can reach at best.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use zeo::{Encoding, FRAME_BYTES_MAX, FrameReader, Value, write_frame};

/// Serves as many connections as come, until the program ends.
pub(super) fn start(record: &[u8]) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut answer = Vec::new();
    let parts = vec![
        // The number of the driver's calls.
        Value::Int(0x1234),
        Value::Int(0),
        Value::text(".reply"),
        Value::Tuple(vec![Value::bytes(record), Value::id([3; 8]), Value::None]),
    ];
    write_frame(&mut answer, |out| {
        Encoding::Msgpack.encode(&Value::Tuple(parts), out);
    });
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &answer));
        }
    });
    Ok(address)
}

/// Ends when the client leaves.
fn serve(mut stream: TcpStream, answer: &[u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"\0\0\0\x02M5")?;
    let mut frames = FrameReader::new(FRAME_BYTES_MAX);
    let mut buffer = vec![0; 64 << 10];
    let mut out = Vec::new();
    let mut is_greeted = false;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        frames.push(&buffer[..length]);
        out.clear();
        while frames.next_frame()?.is_some() {
            if is_greeted {
                out.extend_from_slice(answer);
            }
            is_greeted = true;
        }
        stream.write_all(&out)?;
    }
}
