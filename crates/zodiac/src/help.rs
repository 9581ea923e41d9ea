//! The texts below the options of `--help`, broken to the width of the terminal.

use clap::Command;

/// The command with its texts in flowing paragraphs, and so all commands below it.
///
/// In the source a line ends where it is full. `clap` breaks lines to the width of the terminal, and
/// keeps all breaks that it finds, so each paragraph has to be one line.
pub(crate) fn flowing(command: Command) -> Command {
    let text = command
        .get_after_help()
        .map(|text| paragraphs(&text.to_string()));
    let command = match text {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(flowing)
}

/// Joins the lines of each paragraph. What is indented, examples above all, stays as it is.
fn paragraphs(text: &str) -> String {
    let mut flowing = String::with_capacity(text.len());
    let mut ends_plain = false;
    for line in text.lines() {
        let is_plain = !line.is_empty() && !line.starts_with(' ');
        if !flowing.is_empty() {
            flowing.push(if ends_plain && is_plain { ' ' } else { '\n' });
        }
        flowing.push_str(line);
        ends_plain = is_plain;
    }
    flowing
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn paragraphs_flow_and_examples_stay() {
        let text = "One line\nand another.\n\nExamples:\n  first\n  second\nThe end\nis near.";
        assert_eq!(
            paragraphs(text),
            "One line and another.\n\nExamples:\n  first\n  second\nThe end is near."
        );
    }

    /// Where a terminal breaks a line of an example, nobody can copy it.
    #[test]
    fn examples_fit_a_line() {
        fn look(command: &Command) {
            let text = command.get_after_help().map(ToString::to_string);
            for line in text.iter().flat_map(|text| text.lines()) {
                let fits = !line.starts_with(' ') || line.chars().count() <= 100;
                assert!(fits, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }
}
