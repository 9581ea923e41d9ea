//! Texts, from files to values.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use zconfig::{
    ConfigError, Datatype, Document, INCLUDE_DEPTH_MAX, INCLUDES_MAX, Item, Section,
    TOTAL_BYTES_MAX, World, schemas::ZEO_SERVER,
};

/// A machine with these files and nothing else.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

impl Files {
    fn with(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self(files.iter().map(owned).collect())
    }
}

impl World for Files {
    fn read(&self, path: &Path, _bytes_max: usize) -> io::Result<Vec<u8>> {
        let text = self.0.get(path.to_str().unwrap());
        text.map(|text| text.clone().into_bytes())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        (name == "HOME").then(|| "/people/zope".into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path.to_str().unwrap())
    }

    fn is_dir(&self, path: &Path) -> bool {
        matches!(path.to_str().unwrap(), "/" | "/var" | "/people/zope")
    }
}

fn read(text: &str) -> Result<Section, ConfigError> {
    read_from(&Files::with(&[("/etc/zeo.conf", text)]))
}

fn read_from(files: &Files) -> Result<Section, ConfigError> {
    let document = Document::read("/etc/zeo.conf", files)?;
    ZEO_SERVER.check(&document, files)
}

const SERVER: &str = "\
<zeo>
  address 127.0.0.1:8100
  pid-filename ~/zeo.pid
</zeo>
<filestorage Main>
  path /var/Data.fs
  quota 1kb
</filestorage>
<eventlog>
  <logfile>
    path STDERR
  </logfile>
</eventlog>
";

#[test]
fn values_have_types_and_places() {
    let root = read(SERVER).unwrap();
    let zeo = root.section("zeo").unwrap();
    assert_eq!(zeo.text("pid-filename"), Some("/people/zope/zeo.pid"));
    assert_eq!(zeo.integer("invalidation-queue-size"), Some(100));
    assert!(zeo.is_set("address") && !zeo.is_set("read-only"));
    let storages: Vec<&Section> = root.implementing("zodb.storage").collect();
    assert_eq!(storages.len(), 1);
    assert_eq!(storages[0].name(), Some("main"));
    assert_eq!(storages[0].integer("quota"), Some(1024));
    let error = storages[0].error("quota", "too small");
    assert_eq!(error.to_string(), "/etc/zeo.conf:7: too small");
    let error = storages[0].error("pack-gc", "must be off");
    assert_eq!(error.to_string(), "/etc/zeo.conf:5: must be off");
    let log = root
        .section("eventlog")
        .unwrap()
        .section("logfile")
        .unwrap();
    assert_eq!(
        log.text("format"),
        Some("------\n%(asctime)s %(levelname)s %(name)s %(message)s")
    );
}

/// What is changed in [`SERVER`] to what, and what is said then.
const SLIPS: [(&str, &str, &str); 10] = [
    (
        "quota",
        "qouta",
        "/etc/zeo.conf:7: <filestorage> has no key \"qouta\"; did you mean \"quota\"?",
    ),
    (
        "<filestorage Main>",
        "<filestorag Main>",
        "/etc/zeo.conf:8: </filestorage> stands where </filestorag> is needed: \
             <filestorag> was begun at /etc/zeo.conf:5",
    ),
    (
        "<eventlog>\n",
        "<evenlog/>\n<eventlog>\n",
        "/etc/zeo.conf:9: there is no section <evenlog>; did you mean \"eventlog\"?",
    ),
    (
        "1kb",
        "1k",
        "/etc/zeo.conf:7: quota: \"1k\" is not a whole number, with or without one of \
             kb, mb, gb after it",
    ),
    (
        "/var/Data.fs",
        "/nowhere/Data.fs",
        "/etc/zeo.conf:6: path: the directory of /nowhere/Data.fs does not exist; make it, \
             or correct the path",
    ),
    (
        "  path /var/Data.fs\n",
        "",
        "/etc/zeo.conf:7: <filestorage> needs the key \"path\"",
    ),
    (
        "<eventlog>\n",
        "<zlibstorage/>\n<eventlog>\n",
        "/etc/zeo.conf:9: <zlibstorage> is known only after \"%import zc.zlibstorage\"; \
             write that line before it",
    ),
    (
        "<zeo>\n",
        "%import relstorage\n<zeo>\n",
        "/etc/zeo.conf:1: %import relstorage: storages in SQL databases cannot be served; \
             RelStorage's clients need no ZEO server",
    ),
    (
        "<zeo>\n",
        "%include http://localhost/x\n<zeo>\n",
        "/etc/zeo.conf:1: \"http://localhost/x\" is to be fetched by \"http:\"; only files \
             can be read",
    ),
    (
        "path STDERR",
        "path /var/zeo.log\n    max-size 1mb",
        "/etc/zeo.conf:11: \"old-files\" must say how many old files are kept",
    ),
];

#[test]
fn errors_name_file_and_line_and_what_was_meant() {
    let said = |from: &str, to: &str| {
        let text = SERVER.replacen(from, to, 1);
        assert_ne!(text, SERVER);
        read(&text).unwrap_err().to_string()
    };
    for (from, to, message) in SLIPS {
        assert_eq!(said(from, to), message);
    }
    let missing = read("").unwrap_err().to_string();
    assert_eq!(
        missing,
        "/etc/zeo.conf:1: the configuration needs a section <zeo>"
    );
    let nowhere = Document::read("/etc/none.conf", &Files::default()).unwrap_err();
    assert!(
        nowhere
            .to_string()
            .starts_with("/etc/none.conf: cannot read")
    );
}

#[test]
fn errors_in_included_files_name_these() {
    let files = Files::with(&[
        (
            "/etc/zeo.conf",
            &format!("%include more/zeo.conf\n{SERVER}"),
        ),
        ("/etc/more/zeo.conf", "# more\n<zeo>\n  adress 1\n</zeo>\n"),
    ]);
    let error = read_from(&files).unwrap_err();
    assert_eq!(error.place.to_string(), "/etc/more/zeo.conf:3");
}

#[test]
fn includes_are_limited_in_depth_number_and_size() {
    let circle = [("/etc/zeo.conf", "%include zeo.conf")];
    let error = read_from(&Files::with(&circle)).unwrap_err().to_string();
    assert!(error.contains(&INCLUDE_DEPTH_MAX.to_string()), "{error}");

    let many = "%include empty.conf\n".repeat(INCLUDES_MAX + 1);
    let files = Files::with(&[("/etc/zeo.conf", &many), ("/etc/empty.conf", "")]);
    let error = read_from(&files).unwrap_err().to_string();
    assert!(error.contains(&INCLUDES_MAX.to_string()), "{error}");

    let large = "#".repeat(TOTAL_BYTES_MAX / 100);
    let many = "%include large.conf\n".repeat(101);
    let files = Files::with(&[("/etc/zeo.conf", &many), ("/etc/large.conf", &large)]);
    let error = read_from(&files).unwrap_err().to_string();
    assert!(error.contains(&TOTAL_BYTES_MAX.to_string()), "{error}");

    let values = format!(
        "%define a {}\n{}",
        "x".repeat(60_000),
        "key $a\n".repeat(200)
    );
    let error = Document::parse(&values, "zeo.conf", &Files::default()).unwrap_err();
    assert!(error.to_string().contains(&TOTAL_BYTES_MAX.to_string()));
}

#[test]
fn a_document_keeps_the_order_of_the_text() {
    let text = "b 1\n%import x.y\n<s n>\n  a 2\n</s>\na $$3";
    let document = Document::parse(text, "x", &Files::default()).unwrap();
    let seen: Vec<String> = document
        .items
        .iter()
        .map(|item| match item {
            Item::Pair(pair) => format!("{}={} {}", pair.key, pair.value, pair.place),
            Item::Import(import) => format!("import {} {}", import.package, import.place),
            Item::Section(node) => {
                format!("{} {:?} {}-{}", node.kind, node.name, node.place, node.end)
            }
        })
        .collect();
    let expected = [
        "b=1 x:1",
        "import x.y x:2",
        "s Some(\"n\") x:3-x:5",
        "a=$3 x:6",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn all_defaults_are_values() {
    for package in ZEO_SERVER.packages {
        for type_ in ZEO_SERVER.types.iter().chain(package.types) {
            for key in type_.keys() {
                if let Some(default) = key.default {
                    let value = key.datatype.convert(default, &Files::default());
                    assert!(value.is_ok(), "{} {}: {value:?}", type_.name, key.name);
                    let asks = [Datatype::ExistingDirpath, Datatype::ExistingPath];
                    assert!(!asks.contains(&key.datatype), "{}", key.name);
                }
            }
        }
    }
}
