//! What the corpus does not show: messages, bytes, tainted values, and names looked up once.

use std::collections::BTreeMap;

use dtml::{Encoding, Error, ErrorKind, Namespace, NamespaceError, Output, Template, Value};
use proptest::prelude::*;

#[derive(Default)]
struct Names {
    values: BTreeMap<&'static str, Value>,
    looked_up: Vec<String>,
}

impl Namespace for Names {
    fn lookup(&mut self, name: &str) -> Result<Option<Value>, NamespaceError> {
        self.looked_up.push(name.to_owned());
        if name == "boom" {
            return Err("no access".into());
        }
        Ok(self.values.get(name).cloned())
    }
}

fn names() -> Names {
    let values = [
        ("s", Value::from("text")),
        ("none", Value::None),
        ("bytes", Value::Bytes(b"<\xc3\xa4>".to_vec())),
        ("bad", Value::Bytes(b"\xff".to_vec())),
        ("tainted", Value::Tainted("<i>'".to_owned())),
        ("list", Value::Other("list".to_owned())),
    ];
    Names {
        values: values.into_iter().collect(),
        looked_up: Vec::new(),
    }
}

fn render(source: &str) -> Result<Output, Error> {
    Template::parse(source, "page")?.render(&mut names())
}

fn text(source: &str) -> String {
    match render(source).unwrap() {
        Output::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_supported_names_tag_source_and_line() {
    for (source, line, tag, what) in [
        (
            "a\n<dtml-in list>x</dtml-in>",
            2,
            "<dtml-in list>",
            "dtml-in",
        ),
        ("<dtml-var \"1 + 1\">", 1, "<dtml-var \"1 + 1\">", "1 + 1"),
        (
            "\n\n<dtml-if expr=\"x\">\n</dtml-if>",
            3,
            "<dtml-if expr=\"x\">",
            "\"x\"",
        ),
        ("<dtml-var s url>", 1, "<dtml-var s url>", "url"),
        ("<dtml-tree>", 1, "<dtml-tree>", "dtml-tree"),
    ] {
        let error = Template::parse(source, "page").unwrap_err();
        assert!(error.is_not_supported(), "{error}");
        let location = error.location();
        assert_eq!(
            (location.line, &*location.source, &*location.tag),
            (line, "page", tag)
        );
        assert!(error.to_string().contains(what), "{error}");
    }
    for source in [
        "<dtml-var list>",
        "<dtml-if list>x</dtml-if>",
        "<dtml-var list null=x>",
    ] {
        let error = render(source).unwrap_err();
        assert!(
            error.is_not_supported() && error.to_string().contains("list"),
            "{error}"
        );
    }
}

#[test]
fn an_undefined_name_says_where() {
    let error = render("line\nline <dtml-var nope>").unwrap_err();
    assert_eq!(error.python_class(), Some("KeyError"));
    assert_eq!(error.location().line, 2);
    assert!(matches!(error.kind(), ErrorKind::Undefined(name) if name == "nope"));
}

#[test]
fn an_error_of_the_namespace_ends_the_rendering_and_keeps_its_cause() {
    for source in ["<dtml-var boom missing>", "<dtml-if boom>x</dtml-if>"] {
        match render(source).unwrap_err().into_kind() {
            ErrorKind::Namespace(cause) => assert_eq!(cause.to_string(), "no access"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_name_is_looked_up_once_for_an_if_and_all_inside_it() {
    let template = Template::parse(
        "<dtml-if s><dtml-var s><dtml-if s>&dtml-s;</dtml-if></dtml-if><dtml-var s>",
        "page",
    )
    .unwrap();
    let mut names = names();
    let output = template.render(&mut names).unwrap();
    assert_eq!(output, Output::Text("texttexttext".to_owned()));
    assert_eq!(names.looked_up, ["s", "s"]);
}

#[test]
fn tainted_values_are_quoted_once_in_the_usual_forms() {
    let quoted = "&lt;i&gt;&#x27;";
    for source in [
        "<dtml-var tainted>",
        "<dtml-var tainted html_quote>",
        "&dtml-tainted;",
    ] {
        assert_eq!(text(source), quoted, "{source}");
    }
    assert!(
        render("<dtml-var tainted upper>")
            .unwrap_err()
            .is_not_supported()
    );
}

/// Checked with DocumentTemplate 5.4: one value alone stays bytes, among text it is decoded.
#[test]
fn bytes_stay_bytes_alone_and_are_decoded_among_text() {
    assert_eq!(
        render("<dtml-var bytes><dtml-var none null>").unwrap(),
        Output::Bytes(b"<\xc3\xa4>".to_vec())
    );
    assert_eq!(text("a<dtml-var bytes>"), "a<ä>");
    assert_eq!(text("&dtml-bytes;"), "&lt;ä&gt;");
    assert_eq!(text("<dtml-var bytes html_quote null>"), "&lt;Ã¤&gt;");
    let error = render("a<dtml-var bad>").unwrap_err();
    assert_eq!(error.python_class(), Some("UnicodeDecodeError"));

    let old = Template::parse_encoded("a<dtml-var bytes>", "page", Encoding::Latin1).unwrap();
    let output = old.render(&mut names()).unwrap();
    assert_eq!(output, Output::Text("a<Ã¤>".to_owned()));
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    for depth in [60, 5_000] {
        let source = format!(
            "{}x{}",
            "<dtml-if s>".repeat(depth),
            "</dtml-if>".repeat(depth)
        );
        assert!(render(&source).unwrap_err().is_not_supported());
    }
    let source = format!("{}x{}", "<dtml-if s>".repeat(40), "</dtml-if>".repeat(40));
    assert_eq!(text(&source), "x");
}

proptest! {
    #[test]
    fn no_source_makes_it_panic(parts in prop::collection::vec(prop_oneof![
        Just("<dtml-"), Just("</dtml-"), Just("<!--#"), Just("-->"), Just(">"), Just("&dtml-"), Just("&dtml."),
        Just(";"), Just("-"), Just("/"), Just("end"), Just("var"), Just("if"), Just("else"), Just("elif"),
        Just("comment"), Just("unless"), Just(" "), Just("\""), Just("="), Just("s"), Just("fmt"), Just("size"),
        Just("%"), Just(".3"), Just("d"), Just("9"), Just("ü"), Just("\n"), Just("\0"), Just("html_quote"),
    ], 0..40)) {
        let source = parts.concat();
        let _ = render(&source);
        let _ = render(&format!("<dtml-var s fmt=\"{}\">", source.replace('"', "")));
    }
}
