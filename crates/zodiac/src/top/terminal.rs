//! The terminal: taken over, and given back as it was.

use std::io::{self, IsTerminal, Read, Write};
use std::pin::pin;

use anyhow::Result;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// A terminal that shows one screen after the other, until it is dropped.
pub(super) struct Terminal {
    runtime: Runtime,
    ends: [Signal; 3],
    resized: Signal,
    keys: mpsc::Receiver<u8>,
    /// How it was, where the input is a terminal too.
    before: Option<Termios>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait<T> {
    /// With what was waited for.
    Over(T),
    /// The terminal has another size.
    Resized,
    /// It was the last one.
    End,
}

impl Terminal {
    /// Takes the terminal over; nothing where the output is none.
    pub(super) fn open() -> Result<Option<Self>> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !io::stdout().is_terminal() || is_dumb {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        let ends = [interrupt?, terminate?, hangup?];
        let resized = signal(SignalKind::window_change())?;
        drop(entered);
        let before = take_over_keys();
        let terminal = Self {
            runtime,
            ends,
            resized,
            keys: read_keys(before.is_some()),
            before,
        };
        let mut out = io::stdout().lock();
        out.write_all(ENTER)?;
        out.flush()?;
        Ok(Some(terminal))
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Shows these lines in the place of what is there.
    pub(super) fn show(&self, lines: &str) -> io::Result<()> {
        // The last line has no end, or the screen would move up by one.
        let lines = lines.strip_suffix('\n').unwrap_or(lines);
        let lines = lines.replace('\n', "\x1b[K\r\n");
        let mut out = io::stdout().lock();
        out.write_all(format!("\x1b[H{lines}\x1b[K\x1b[J").as_bytes())?;
        out.flush()
    }

    /// Waits for something, and draws again whenever the terminal has another size. Nothing where
    /// somebody wants the view to end.
    pub(super) fn wait<T>(
        &mut self,
        what: impl Future<Output = T>,
        draw: &dyn Fn(&Self) -> io::Result<()>,
    ) -> io::Result<Option<T>> {
        let mut what = pin!(what);
        loop {
            match self.wait_once(what.as_mut()) {
                Wait::Over(found) => return Ok(Some(found)),
                Wait::End => return Ok(None),
                Wait::Resized => draw(self)?,
            }
        }
    }

    fn wait_once<T>(&mut self, what: impl Future<Output = T>) -> Wait<T> {
        let [interrupt, terminate, hangup] = &mut self.ends;
        let (keys, resized) = (&mut self.keys, &mut self.resized);
        self.runtime.block_on(async {
            tokio::select! {
                found = what => Wait::Over(found),
                _ = interrupt.recv() => Wait::End,
                _ = terminate.recv() => Wait::End,
                _ = hangup.recv() => Wait::End,
                _ = resized.recv() => Wait::Resized,
                () = end_key(keys) => Wait::End,
            }
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE).and_then(|()| out.flush());
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// Keys come at once, are not shown, and make no signals. How it was before.
fn take_over_keys() -> Option<Termios> {
    let before = tcgetattr(io::stdin()).ok()?;
    let mut modes = before.clone();
    modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
    Some(before)
}

fn read_keys(are_there: bool) -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    if are_there {
        // It reads until the process ends.
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// Waits for a key that ends the view; for ever where there are no keys.
async fn end_key(keys: &mut mpsc::Receiver<u8>) {
    while let Some(key) = keys.recv().await {
        if matches!(key, b'q' | b'Q' | CONTROL_C) {
            return;
        }
    }
    std::future::pending().await
}

const CONTROL_C: u8 = 3;
/// How many keys may wait.
const KEYS_MAX: usize = 16;
/// The other screen, without a cursor,
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J";
/// and back.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
