//! Signals and their names.

use rustix::process::Signal;

const NAMES: [(&str, Signal); 22] = [
    ("SIGABRT", Signal::ABORT),
    ("SIGALRM", Signal::ALARM),
    ("SIGBUS", Signal::BUS),
    ("SIGCHLD", Signal::CHILD),
    ("SIGCONT", Signal::CONT),
    ("SIGFPE", Signal::FPE),
    ("SIGHUP", Signal::HUP),
    ("SIGILL", Signal::ILL),
    ("SIGINT", Signal::INT),
    ("SIGIO", Signal::IO),
    ("SIGKILL", Signal::KILL),
    ("SIGPIPE", Signal::PIPE),
    ("SIGPROF", Signal::PROF),
    ("SIGQUIT", Signal::QUIT),
    ("SIGSEGV", Signal::SEGV),
    ("SIGSTOP", Signal::STOP),
    ("SIGTERM", Signal::TERM),
    ("SIGTSTP", Signal::TSTP),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGWINCH", Signal::WINCH),
    ("SIGXCPU", Signal::XCPU),
];

/// The signal of that name or number: case and the leading `SIG` do not matter.
pub(super) fn find(text: &str) -> Option<(&'static str, Signal)> {
    let known = |matches: &dyn Fn(&str, Signal) -> bool| {
        NAMES
            .into_iter()
            .find(|(name, signal)| matches(name, *signal))
    };
    match text.parse::<i32>() {
        Ok(number) => known(&|_, signal| signal.as_raw() == number),
        Err(_) => {
            let upper = text.to_uppercase();
            let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
            known(&|name, _| &name[3..] == bare)
        }
    }
}

/// Its name, as in a sentence.
pub(super) fn name(number: i32) -> String {
    let known = NAMES
        .into_iter()
        .find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| format!("signal {number}"), |(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_in_every_way_of_zdaemon() {
        for text in ["hup", "sighup", "SigHup", "SIGHUP", "1"] {
            assert_eq!(find(text), Some(("SIGHUP", Signal::HUP)), "{text}");
        }
        for text in ["woohoo", "sigwoohoo", "-234", "1000", "", "sig_ign"] {
            assert_eq!(find(text), None, "{text}");
        }
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(99), "signal 99");
    }
}
