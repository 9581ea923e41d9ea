//! Buffers and pipes that are used again: a connection that rests has none.

use std::sync::{Mutex, PoisonError};

/// A thread's spare buffers and pipes.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    buffers: Mutex<Vec<Vec<u8>>>,
    #[cfg(target_os = "linux")]
    pipes: Mutex<Vec<pipe::Pipe>>,
}

impl Stock {
    /// A buffer of [`BUFFER_BYTES`]. What is in it is somebody else's, or zeros.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let spare = take(&self.buffers);
        spare.unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    pub(crate) fn put_buffer(&self, buffer: Vec<u8>) {
        put(&self.buffers, buffer);
    }
}

fn take<T>(spare: &Mutex<Vec<T>>) -> Option<T> {
    spare.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn put<T>(spare: &Mutex<Vec<T>>, thing: T) {
    let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.len() < SPARE_MAX {
        spare.push(thing);
    }
}

#[cfg(target_os = "linux")]
pub(crate) mod pipe {
    //! What `splice(2)` needs between two sockets.

    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::{Stock, put, take};

    /// An empty pipe.
    #[derive(Debug)]
    pub(crate) struct Pipe {
        pub(crate) read: OwnedFd,
        pub(crate) write: OwnedFd,
    }

    impl Stock {
        /// An empty pipe.
        ///
        /// # Errors
        /// When there are too many open files.
        pub(crate) fn pipe(&self) -> io::Result<Pipe> {
            if let Some(pipe) = take(&self.pipes) {
                return Ok(pipe);
            }
            let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
            Ok(Pipe { read, write })
        }

        /// Takes back a pipe that is empty again.
        pub(crate) fn put_pipe(&self, pipe: Pipe) {
            put(&self.pipes, pipe);
        }
    }
}

/// What is copied at a time.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;
/// Spare things of a kind that a thread keeps.
const SPARE_MAX: usize = 64;
