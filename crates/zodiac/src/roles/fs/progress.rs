//! One line on a terminal that says how far a tool has come.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::clock;

/// The line; nothing where standard error is no terminal.
pub(super) struct Progress {
    bytes: u64,
    is_terminal: bool,
    is_drawn: bool,
    /// When something was last drawn or printed.
    quiet_since: Duration,
}

impl Progress {
    /// For a file of so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            is_terminal: io::stderr().is_terminal(),
            is_drawn: false,
            quiet_since: clock::since_1970(),
        }
    }

    /// Draws the line anew, but not often: drawing must not take the time.
    pub(super) fn reached(&mut self, offset: u64) {
        if !self.is_terminal {
            return;
        }
        let now = clock::since_1970();
        if now.saturating_sub(self.quiet_since) < PAUSE {
            return;
        }
        self.quiet_since = now;
        self.is_drawn = true;
        let text = line(offset, self.bytes);
        // A terminal that takes no text is no reason to stop.
        let _ = write!(io::stderr(), "\r{text}\x1b[K");
    }

    /// Takes the line away, so that something else is printed there.
    pub(super) fn clear(&mut self) {
        if !self.is_terminal {
            return;
        }
        self.quiet_since = clock::since_1970();
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(offset: u64, bytes: u64) -> String {
    let done = offset.min(bytes);
    let share = |whole: u64| u128::from(done) * u128::from(whole) / u128::from(bytes.max(1));
    let filled = usize::try_from(share(BAR_CELLS as u64)).unwrap_or(BAR_CELLS);
    let bar = format!("{:<BAR_CELLS$}", "#".repeat(filled));
    let (percent, done, bytes) = (share(100), done >> 20, bytes >> 20);
    format!("[{bar}] {percent:>3} % of {bytes} MiB ({done})")
}

const PAUSE: Duration = Duration::from_millis(200);
const BAR_CELLS: usize = 30;

#[cfg(test)]
mod tests {
    #[test]
    fn the_line_says_how_far_it_is() {
        assert_eq!(
            super::line(3 << 20, 4 << 20),
            "[######################        ]  75 % of 4 MiB (3)"
        );
        assert!(super::line(9, 0).contains("  0 %"));
        assert!(super::line(9, 8).contains("100 %"));
    }
}
