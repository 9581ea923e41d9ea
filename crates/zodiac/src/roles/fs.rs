//! `zodiac fs`: looking into a Data.fs.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use filestorage::Survey;
use fstools::{Line, Listener, ToolError, Verdict};
use vfs::RealDisk;

use crate::cli::fs::{Fs, Tool};

mod progress;

use progress::Progress;

/// Runs the tool; the exit status says how it went.
pub(crate) fn run(arguments: &Fs) -> ExitCode {
    match look(&arguments.tool) {
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(WRONG),
        Err(error) => {
            // Whoever reads the output had enough of it.
            if !matches!(&error, ToolError::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
            {
                eprintln!("zodiac: {error}");
            }
            ExitCode::from(FAILED)
        }
    }
}

fn look(tool: &Tool) -> Result<Verdict, ToolError> {
    let target = tool.target();
    let survey = Survey::open(&target.file, Arc::new(RealDisk))?;
    let mut printer = Printer {
        json: target.json,
        heading: match tool {
            Tool::Stats(_) if !target.json => Some(STATS_HEADING),
            _ => None,
        },
        to_terminal: io::stdout().is_terminal(),
        out: BufWriter::new(io::stdout().lock()),
        progress: Progress::new(survey.size()),
    };
    let verdict = match tool {
        Tool::Info(_) => fstools::info(&survey, &mut printer),
        Tool::Dump(dump) => fstools::dump(&survey, dump.span(), &mut printer),
        Tool::Tail(tail) => fstools::tail(&survey, tail.count, &mut printer),
        Tool::Oids(oids) => fstools::objects(&survey, &oids.oids, &mut printer),
        Tool::Refs(_) => fstools::references(&survey, &mut printer),
        Tool::Verify(_) => fstools::verify(&survey, &mut printer),
        Tool::Stats(_) => fstools::statistics(&survey, &mut printer),
    };
    printer.progress.clear();
    // What was found before an error is told all the same.
    let flushed = printer.out.flush();
    let verdict = verdict?;
    flushed?;
    Ok(verdict)
}

/// Prints what is found, and shows on a terminal how far the tool has come.
struct Printer {
    json: bool,
    heading: Option<&'static str>,
    to_terminal: bool,
    out: BufWriter<io::StdoutLock<'static>>,
    progress: Progress,
}

impl Listener for Printer {
    fn tell(&mut self, line: Line) -> io::Result<()> {
        self.progress.clear();
        if let (Some(heading), Line::Class(_)) = (self.heading, &line) {
            writeln!(self.out, "{heading}")?;
            self.heading = None;
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

    fn reached(&mut self, offset: u64) {
        self.progress.reached(offset);
    }
}

const WRONG: u8 = 1;
const FAILED: u8 = 2;
const STATS_HEADING: &str = "         bytes    objects      old bytes   old recs  class";
