//! The files: their lengths, and what has no place in any of them.

use super::{Breaches, read};
use crate::shell::{output, root};

/// A source file this long is refused.
const FILE_LINES_MAX: usize = 1200;

/// A source file this long has probably found its second idea: it is named, not refused.
const FILE_LINES_LONG: usize = 700;

/// A function that fits a screen has no more lines.
const FUNCTION_LINES_MAX: usize = 70;

/// How many functions may be longer. This number only falls.
const LONG_FUNCTIONS_MAX: usize = 2;

/// What would tie the repository to one machine or one package host.
const STRAYS: [&str; 7] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/lab"),
    concat!("py", "pi.org"),
    concat!("pythonhosted", ".org"),
    concat!("index.crates", ".io"),
];

/// Files that tools write.
const GENERATED: [&str; 1] = ["Cargo.lock"];

/// Endings of the files that people write.
const TEXTS: [&str; 7] = ["rs", "toml", "md", "py", "yml", "sh", "run"];

/// Checks every file that git knows or would take.
pub(super) fn check(breaches: &mut Breaches) -> Result<(), String> {
    let mut git = std::process::Command::new("git");
    git.current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut long_functions = Vec::new();
    for path in output(&mut git)?.lines().filter(|path| is_text(path)) {
        if !root().join(path).exists() {
            continue; // removed, but not yet from git's index
        }
        let text = read(path)?;
        check_text(path, &text, breaches);
        if path.ends_with(".rs") {
            check_length(path, &text, breaches);
            long_functions.extend(
                long_ones(&text)
                    .into_iter()
                    .map(|found| format!("{path}:{found}")),
            );
        }
    }
    if long_functions.len() > LONG_FUNCTIONS_MAX {
        for function in &long_functions {
            breaches.add(function, format!("longer than {FUNCTION_LINES_MAX} lines"));
        }
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or(name, |(_, ending)| ending);
    TEXTS.contains(&ending) && !GENERATED.contains(&name) && !path.contains("golden/")
}

fn check_text(path: &str, text: &str, breaches: &mut Breaches) {
    for (index, line) in text.lines().enumerate() {
        let place = format!("{path}:{}", index + 1);
        if line.ends_with([' ', '\t']) {
            breaches.add(&place, "white space at the end of the line");
        }
        if let Some(stray) = STRAYS.iter().find(|stray| line.contains(**stray)) {
            breaches.add(
                &place,
                format!("'{stray}' ties the repository to a machine or a host"),
            );
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        breaches.add(path, "the last line does not end");
    }
}

fn check_length(path: &str, text: &str, breaches: &mut Breaches) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        breaches.add(
            path,
            format!("{lines} lines are more than {FILE_LINES_MAX}: split it"),
        );
    } else if lines > FILE_LINES_LONG {
        eprintln!("{path}: {lines} lines; has it found its second idea?");
    }
}

/// The functions that fit no screen, as `line: name`. Relies on rustfmt: a function ends with the
/// first brace at the depth where it began.
fn long_ones(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else {
            continue;
        };
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[index..]
            .iter()
            .position(|line| *line == end)
            .map_or(0, |last| last + 1);
        let declared_only = lines[index].ends_with(';');
        if length > FUNCTION_LINES_MAX && !declared_only {
            found.push(format!("{}: {name}", index + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let modifiers = [
        "pub",
        "async",
        "const",
        "pub(crate)",
        "pub(super)",
        "extern",
    ];
    before
        .split_whitespace()
        .all(|word| modifiers.contains(&word))
        .then(|| after.split(['(', '<']).next().unwrap_or(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_longer_than_a_screen_are_found() {
        let body = "        work();\n".repeat(FUNCTION_LINES_MAX);
        let short = "    pub(crate) fn short() {\n        work();\n    }\n";
        let text = format!("impl A {{\n{short}    pub fn long<T>(a: T) {{\n{body}    }}\n}}\n");
        assert_eq!(long_ones(&text), ["5: long"]);
    }

    #[test]
    fn stray_paths_and_white_space_are_breaches() {
        let mut breaches = Breaches::default();
        check_text("a.rs", "fine\ntrailing \n", &mut breaches);
        check_text("b.md", &format!("see {}x/y\n", STRAYS[0]), &mut breaches);
        check_text("c.md", "no end", &mut breaches);
        assert_eq!(breaches.lines.len(), 3, "{breaches:?}");
    }
}
