//! One line on a terminal that says how far a tool has come.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::clock;

/// The line; nothing where standard error is no terminal.
pub(super) struct Progress {
    unit: Unit,
    total: Option<u64>,
    is_terminal: bool,
    is_drawn: bool,
    /// When something was last drawn or printed.
    quiet_since: Duration,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Things of that name.
    Things(&'static str),
}

impl Progress {
    /// Nothing to be done yet.
    pub(super) fn new() -> Self {
        Self {
            unit: Unit::Bytes,
            total: None,
            is_terminal: io::stderr().is_terminal(),
            is_drawn: false,
            quiet_since: clock::since_1970(),
        }
    }

    /// So much is to be done; nothing where that is not known.
    pub(super) fn begin(&mut self, unit: Unit, total: Option<u64>) {
        (self.unit, self.total) = (unit, total);
    }

    /// Draws the line anew, but not often: drawing must not take the time.
    pub(super) fn reached(&mut self, done: u64) {
        if !self.is_terminal {
            return;
        }
        let now = clock::since_1970();
        if now.saturating_sub(self.quiet_since) < PAUSE {
            return;
        }
        self.quiet_since = now;
        self.is_drawn = true;
        let text = line(self.unit, done, self.total);
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

fn line(unit: Unit, done: u64, total: Option<u64>) -> String {
    let Some(total) = total else {
        return match unit {
            Unit::Bytes => format!("{} MiB", done >> 20),
            Unit::Things(things) => format!("{done} {things}"),
        };
    };
    let done = done.min(total);
    let share = |whole: u64| u128::from(done) * u128::from(whole) / u128::from(total.max(1));
    let filled = usize::try_from(share(BAR_CELLS as u64)).unwrap_or(BAR_CELLS);
    let bar = format!("{:<BAR_CELLS$}", "#".repeat(filled));
    let percent = share(100);
    match unit {
        Unit::Bytes => {
            let (done, total) = (done >> 20, total >> 20);
            format!("[{bar}] {percent:>3} %, {done} of {total} MiB")
        }
        Unit::Things(things) => format!("[{bar}] {percent:>3} %, {done} of {total} {things}"),
    }
}

const PAUSE: Duration = Duration::from_millis(200);
const BAR_CELLS: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        assert_eq!(
            line(Unit::Bytes, 3 << 20, Some(4 << 20)),
            "[######################        ]  75 %, 3 of 4 MiB"
        );
        assert_eq!(
            line(Unit::Things("trees"), 1, Some(3)),
            "[##########                    ]  33 %, 1 of 3 trees"
        );
        assert_eq!(line(Unit::Things("objects"), 7, None), "7 objects");
        assert!(line(Unit::Bytes, 9, Some(0)).contains("  0 %"));
        assert!(line(Unit::Bytes, 9, Some(8)).contains("100 %"));
    }
}
