//! Prints what tools find, and shows on a terminal how far they have come.

use std::io::{self, BufWriter, IsTerminal, Write};

use fstools::{Line, Listener, Verdict};

use super::progress::{Progress, Unit};

/// Standard output and the line of progress.
pub(super) struct Console {
    json: bool,
    heading: Option<&'static str>,
    /// What people are told where there is nothing to tell.
    nothing: Option<&'static str>,
    to_terminal: bool,
    out: BufWriter<Box<dyn Write>>,
    progress: Progress,
}

impl Console {
    /// Prints for people, or JSON.
    pub(super) fn new(json: bool) -> Self {
        let to_terminal = io::stdout().is_terminal();
        Self::to(Box::new(io::stdout().lock()), to_terminal, json)
    }

    /// Prints on standard error, where standard output is taken.
    pub(super) fn aside(json: bool) -> Self {
        Self::to(Box::new(io::stderr()), true, json)
    }

    fn to(out: Box<dyn Write>, to_terminal: bool, json: bool) -> Self {
        Self {
            json,
            heading: None,
            nothing: None,
            to_terminal,
            out: BufWriter::new(out),
            progress: Progress::new(),
        }
    }

    /// Prints that line before the first class, for people.
    pub(super) fn head(&mut self, heading: &'static str) {
        self.heading = Some(heading).filter(|_| !self.json);
    }

    /// Prints that line where nothing else is told, for people.
    pub(super) fn or_else(&mut self, nothing: &'static str) {
        self.nothing = Some(nothing).filter(|_| !self.json);
    }

    /// Prints what is left. What was found before an error is told all the same.
    pub(super) fn finish<E>(mut self, verdict: Result<Verdict, E>) -> anyhow::Result<Verdict>
    where
        anyhow::Error: From<E>,
    {
        self.progress.clear();
        let flushed = match self.nothing.filter(|_| verdict.is_ok()) {
            Some(nothing) => writeln!(self.out, "{nothing}"),
            None => Ok(()),
        };
        let flushed = flushed.and_then(|()| self.out.flush());
        let verdict = verdict?;
        flushed.map_err(fstools::ToolError::Output)?;
        Ok(verdict)
    }
}

impl Listener for Console {
    fn tell(&mut self, line: Line) -> io::Result<()> {
        self.progress.clear();
        self.nothing = None;
        if matches!(line, Line::Class(_))
            && let Some(heading) = self.heading.take()
        {
            writeln!(self.out, "{heading}")?;
        }
        if self.json {
            serde_json::to_writer(&mut self.out, &line)?;
            writeln!(self.out)?;
        } else {
            writeln!(self.out, "{line}")?;
        }
        if self.to_terminal {
            self.out.flush()?;
        }
        Ok(())
    }

    fn begins(&mut self, bytes: u64) {
        self.progress.begin(Unit::Bytes, Some(bytes));
    }

    fn counts(&mut self, things: &'static str, total: Option<u64>) {
        self.progress.begin(Unit::Things(things), total);
    }

    fn reached(&mut self, offset: u64) {
        self.progress.reached(offset);
    }
}
