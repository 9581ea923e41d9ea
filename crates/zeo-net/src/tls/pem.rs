//! PEM: what text files carry certificates and keys in, with the headers of old encrypted keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One `-----BEGIN X----- ... -----END X-----`.
pub(super) struct Section {
    pub(super) label: String,
    /// `Name: value` lines before the body: an old encrypted key has them.
    pub(super) headers: Vec<(String, String)>,
    pub(super) der: Vec<u8>,
}

/// All sections of a file; what stands between them is for people.
pub(super) fn sections(file: &[u8]) -> Result<Vec<Section>, String> {
    let text = String::from_utf8_lossy(file);
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim).zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        let Some(label) = marker(line, "BEGIN") else {
            continue;
        };
        let mut headers = Vec::new();
        let mut body = String::new();
        loop {
            let Some((line, _)) = lines.next() else {
                return Err(format!("line {number}: the {label} has no end"));
            };
            if marker(line, "END") == Some(label) {
                break;
            }
            if marker(line, "BEGIN").is_some() {
                return Err(format!("line {number}: the {label} has no end"));
            }
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => body.push_str(line),
            }
        }
        let der = STANDARD.decode(&body);
        sections.push(Section {
            label: label.to_owned(),
            headers,
            der: der.map_err(|error| format!("line {number}: the {label}: {error}"))?,
        });
    }
    Ok(sections)
}

/// The label in a line that begins or ends a section.
fn marker<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let label = line.strip_prefix("-----")?.strip_prefix(word)?;
    label.strip_prefix(' ')?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_among_other_text() {
        let file =
            b"subject: me\n-----BEGIN A B-----\r\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\n\
                     aGVs\nbG8=\n-----END A B-----\ntext \xff\n-----BEGIN C-----\n-----END C-----";
        let found = sections(file).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].label, &*found[0].der), ("A B", &b"hello"[..]));
        assert_eq!(found[0].headers[1], ("DEK-Info".into(), "X,00".into()));
        assert_eq!((&*found[1].label, &*found[1].der), ("C", &b""[..]));
    }

    #[test]
    fn what_is_cut_or_damaged_is_refused_with_its_line() {
        let error = |text: &[u8]| sections(text).err().unwrap();
        assert!(error(b"\n-----BEGIN A-----\naGVs\n").starts_with("line 2: the A has no end"));
        assert!(error(b"-----BEGIN A-----\na*\n-----END A-----").starts_with("line 1: the A:"));
        assert!(error(b"-----BEGIN A-----\n-----END B-----").contains("no end"));
    }
}
