//! `zeoctl logtail`: the end of a log, and what is added to it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use crate::clock;

/// How many lines of what is there are shown, and how far back they are looked for.
const LINES: usize = 10;
const BYTES_MAX: u64 = 8 << 10;
/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Shows the file until nobody reads any more.
pub(super) fn follow(path: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut position = show_end(&mut file, out)?;
    loop {
        out.flush()?;
        clock::pause(INTERVAL);
        let length = file.metadata()?.len();
        if length < position {
            writeln!(out, "==> File truncated <==")?;
            position = 0;
        }
        file.seek(SeekFrom::Start(position))?;
        position += io::copy(&mut file, out)?;
    }
}

/// Prints the last lines, and says where the file ends.
fn show_end(file: &mut File, out: &mut impl Write) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let first = length.saturating_sub(BYTES_MAX);
    file.seek(SeekFrom::Start(first))?;
    let mut bytes = Vec::new();
    file.take(length - first).read_to_end(&mut bytes)?;
    let is_cut = first > 0;
    let end = bytes.strip_suffix(b"\n").unwrap_or(&bytes).len();
    let mut breaks = (0..end).rev().filter(|at| bytes[*at] == b'\n');
    let start = match breaks.nth(LINES - 1) {
        Some(at) => at + 1,
        // Half a line is none.
        None if is_cut => bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1),
        None => 0,
    };
    out.write_all(&bytes[start..])?;
    Ok(first + u64::try_from(bytes.len()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        let length = show_end(&mut file, &mut out).unwrap();
        assert_eq!(length, u64::try_from(text.len()).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_last_lines_are_shown() {
        assert_eq!(end_of(""), "");
        assert_eq!(end_of("a\nb\n"), "a\nb\n");
        let many: String = (0..5000).map(|line| format!("line {line}\n")).collect();
        let last: String = (4990..5000).map(|line| format!("line {line}\n")).collect();
        assert_eq!(end_of(&many), last);
        let long = format!("{}\nb\n", "a".repeat(10_000));
        assert_eq!(end_of(&long), "b\n");
    }
}
