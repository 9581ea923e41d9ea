//! Configurations of ZEO servers, read by us and by the genuine ZConfig.

use std::fs;

use conformance::judge;
use serde_json::{Value, json};
use zconfig::{Child, Document, Machine, Section, SocketAddress, schemas::ZEO_SERVER};

/// Texts that say of themselves, before their first line, whether a genuine `runzeo` takes them:
/// `=== good: ...`, `=== bad: ...`; and `=== strict: ...` for what only we refuse.
const TEXTS: &str = include_str!("zconfig_texts/texts");

/// What our messages say where we are stricter on purpose.
const STRICTER: [&str; 10] = [
    "is not understood; only classic is",
    "is code of Python",
    "a log record has no field",
    "neither \"s\", nor",
    "is not followed by a field",
    "with \"s\" after it",
    "the package is not known here",
    "is larger than any number",
    "wide at most",
    "deep",
];

struct Text<'a> {
    title: &'a str,
    text: String,
}

/// The folder that the texts name `@`, with the files that they include.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("inner.conf", "<mappingstorage inner/>\n"),
        ("defines.conf", "%define Port 8100\n"),
        ("key.conf", "read-only yes\n"),
        ("with space.conf", "# nothing\n"),
        ("open.conf", "<mappingstorage>\n"),
        ("close.conf", "</zeo>\n"),
        ("self.conf", "%include self.conf\n"),
        ("import.conf", "%import zc.zlibstorage\n"),
        ("sub/up.conf", "%include ../inner.conf\n"),
    ];
    fs::create_dir(folder.path().join("sub")).unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn texts(folder: &str) -> Vec<Text<'static>> {
    let whole = TEXTS.split("=== ").skip(1);
    whole
        .map(|part| {
            let (title, text) = part.split_once('\n').unwrap();
            let text = text
                .replace('@', folder)
                .replace("\\r", "\r")
                .replace("\\x1f", "\x1f");
            Text { title, text }
        })
        .collect()
}

fn ours(text: &str, name: &str) -> Result<Value, String> {
    let document = Document::parse(text, name, &Machine).map_err(|error| error.to_string())?;
    let root = ZEO_SERVER
        .check(&document, &Machine)
        .map_err(|error| error.to_string())?;
    Ok(dump(&root))
}

fn dump(section: &Section) -> Value {
    let mut keys = serde_json::Map::new();
    for child in section.section_type().children() {
        let Child::Key(key) = child else { continue };
        let mut values = section
            .settings(key.name)
            .map(|setting| plain(&setting.value));
        let value = if key.is_multiple {
            Value::Array(values.collect())
        } else {
            values.next().unwrap_or(Value::Null)
        };
        keys.insert(key.name.to_owned(), value);
    }
    let is_logger = matches!(section.kind(), "eventlog" | "logger");
    json!({
        "kind": section.kind(),
        "name": section.name().filter(|_| !is_logger),
        "keys": keys,
        "sections": section.sections().map(dump).collect::<Vec<_>>(),
    })
}

fn plain(value: &zconfig::Value) -> Value {
    use zconfig::Value as Ours;
    match value {
        Ours::Text(text) => json!(text),
        Ours::Boolean(value) => json!(value),
        Ours::Integer(value) => json!(value),
        Ours::Float(value) if value.is_nan() => json!("nan"),
        Ours::Float(value) if value.is_infinite() => json!(value.to_string()),
        Ours::Float(value) => json!(value),
        Ours::Socket(SocketAddress::Path(path)) => json!({ "socket": path }),
        Ours::Socket(SocketAddress::Inet(inet)) => json!({ "socket": [inet.host, inet.port] }),
        Ours::Inet(inet) => json!([inet.host, inet.port]),
        Ours::Texts(texts) => json!(texts),
        Ours::Integers(numbers) => json!(numbers),
    }
}

fn genuine(texts: &[&str], name: &str) -> Vec<Result<Value, String>> {
    let answers = judge::run("zconfig_read.py", &json!({ "name": name, "texts": texts })).unwrap();
    let answers = answers.as_array().unwrap().clone();
    assert_eq!(answers.len(), texts.len());
    answers
        .into_iter()
        .map(|answer| match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap().to_owned()),
            None => Ok(answer["root"].clone()),
        })
        .collect()
}

/// Where we and the genuine one differ; `None` where they do not, or where we are stricter on purpose.
fn difference(ours: &Result<Value, String>, genuine: &Result<Value, String>) -> Option<String> {
    match (ours, genuine) {
        (Ok(ours), Ok(genuine)) if ours == genuine => None,
        (Ok(ours), Ok(genuine)) => Some(format!("ours {ours}\ngenuine {genuine}")),
        (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) if STRICTER.iter().any(|words| error.contains(words)) => None,
        (Err(error), Ok(_)) => Some(format!("only we refuse it: {error}")),
        (Ok(_), Err(error)) => Some(format!("only the genuine one refuses it: {error}")),
    }
}

#[test]
fn texts_are_read_as_the_genuine_zconfig_reads_them() {
    let folder = folder();
    let folder = folder.path().to_str().unwrap();
    let name = format!("{folder}/zeo.conf");
    let texts = texts(folder);
    assert!(texts.len() > 100, "{}", texts.len());
    let whole: Vec<&str> = texts.iter().map(|text| text.text.as_str()).collect();
    let mut wrong = String::new();
    for (Text { title, text }, genuine) in texts.iter().zip(genuine(&whole, &name)) {
        let ours = ours(text, &name);
        let (we_take, they_take) = match title.split_once(':').unwrap().0 {
            "good" => (true, true),
            "bad" => (false, false),
            "strict" => (false, true),
            other => panic!("{other}"),
        };
        let is_as_said = ours.is_ok() == we_take && genuine.is_ok() == they_take;
        let difference = difference(&ours, &genuine);
        if difference.is_some() || !is_as_said {
            let heard = (ours.err(), genuine.err());
            wrong += &format!(
                "{title}: {heard:?}\n{}\n{text}\n",
                difference.unwrap_or_default()
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn changed_texts_are_read_as_the_genuine_zconfig_reads_them() {
    let folder = folder();
    let folder = folder.path().to_str().unwrap();
    let name = format!("{folder}/zeo.conf");
    let texts = texts(folder);
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.text.lines()).collect();
    let good: Vec<&Text<'_>> = texts
        .iter()
        .filter(|text| text.title.starts_with("good"))
        .collect();
    let rounds = if super::is_full() { 40_000 } else { 4_000 };
    let changed: Vec<String> = (0..rounds)
        .map(|seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let text = &good[rng.usize(..good.len())].text;
            change(text, &lines, &mut rng)
        })
        .collect();
    let whole: Vec<&str> = changed.iter().map(String::as_str).collect();
    let mut taken = 0;
    let mut wrong = String::new();
    for (text, genuine) in changed.iter().zip(genuine(&whole, &name)) {
        let ours = ours(text, &name);
        taken += usize::from(ours.is_ok());
        if let Some(difference) = difference(&ours, &genuine) {
            wrong += &format!("{difference}\n{text}\n----\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(taken > 200, "{taken} were taken: too few to compare values");
}

/// Some lines taken out, doubled, swapped or put in from other texts; some characters changed.
fn change(text: &str, all: &[&str], rng: &mut fastrand::Rng) -> String {
    const MARKS: [&str; 24] = [
        " ", "\t", "<", ">", "/", "$", "$$", "{", "(", ")", "%", "#", "_", ":", "-", ".", "1", "0",
        "a", "Z", "\u{1f}", "\u{a0}", "é", "kb",
    ];
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..rng.usize(1..3) {
        if lines.is_empty() {
            break;
        }
        let at = rng.usize(..lines.len());
        match rng.u8(..8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 | 3 => lines.insert(at, all[rng.usize(..all.len())].to_owned()),
            4 => lines[at] = all[rng.usize(..all.len())].to_owned(),
            5 => {
                let to = rng.usize(..lines.len());
                lines.swap(at, to);
            }
            _ => {
                let mut characters: Vec<String> = lines[at].chars().map(String::from).collect();
                let place = rng.usize(..=characters.len());
                if rng.bool() && place < characters.len() {
                    characters.remove(place);
                } else {
                    characters.insert(place, MARKS[rng.usize(..MARKS.len())].to_owned());
                }
                lines[at] = characters.concat();
            }
        }
    }
    lines.join("\n")
}
