//! The corpus: a supported case is exactly right, an unsupported one says so.

use std::collections::BTreeMap;
use std::path::Path;

use dtml::{ErrorKind, Namespace, NamespaceError, Output, Template, Value};
use serde_json::Value as Json;

/// Renders every case of a file. None may be answered wrongly; as many as before must be exact.
/// Raise the numbers with what is learned, never lower them.
fn check(file: &str, exact_min: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(file);
    let corpus: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = corpus["cases"].as_array().unwrap();
    let mut exact: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases {
        let id = case["id"].as_str().unwrap();
        match answer(case) {
            Answer::NotSupported => {}
            answer if answer == expected(case) => {
                *exact.entry(id.split('/').next().unwrap()).or_default() += 1;
            }
            answer => wrong.push(format!("{id}: {answer:?} instead of {:?}", expected(case))),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let (score, total) = (exact.values().sum::<usize>(), cases.len());
    assert_eq!(
        score, exact_min,
        "exact of {total}, against the number kept here: {exact:?}"
    );
}

#[test]
fn no_case_of_the_corpus_is_answered_wrongly() {
    check("corpus.json", 214);
}

#[test]
fn no_generated_case_is_answered_wrongly() {
    check("generated.json", 697);
}

#[derive(Debug, PartialEq)]
enum Answer {
    Output(String),
    Raised(String),
    NotSupported,
}

fn expected(case: &Json) -> Answer {
    match case["expect"]["output"].as_str() {
        Some(output) => Answer::Output(output.to_owned()),
        None => Answer::Raised(case["expect"]["error"].as_str().unwrap().to_owned()),
    }
}

fn answer(case: &Json) -> Answer {
    let mut namespace = Names {
        client: &case["client"],
        mapping: &case["ns"],
    };
    let result = Template::parse(case["template"].as_str().unwrap(), "<string>")
        .and_then(|template| template.render(&mut namespace));
    match result {
        Ok(Output::Text(text)) => Answer::Output(text),
        // The corpus keeps bytes as their repr.
        Ok(Output::Bytes(_)) => Answer::NotSupported,
        Err(error) if error.is_not_supported() => Answer::NotSupported,
        Err(error) => match (error.python_class(), error.kind()) {
            (Some(class), _) => Answer::Raised(class.to_owned()),
            (None, ErrorKind::Namespace(cause)) => Answer::Raised(cause.to_string()),
            other => panic!("{other:?}"),
        },
    }
}

struct Names<'a> {
    client: &'a Json,
    mapping: &'a Json,
}

impl Namespace for Names<'_> {
    fn lookup(&mut self, name: &str) -> Result<Option<Value>, NamespaceError> {
        let attributes = self.client["v"].as_array().into_iter().flatten();
        let of_client = attributes
            .filter(|attribute| attribute[0] == name && !name.starts_with('_'))
            .map(|attribute| &attribute[1])
            .next();
        of_client
            .or_else(|| self.mapping.get(name))
            .map(value)
            .transpose()
    }
}

fn value(json: &Json) -> Result<Value, NamespaceError> {
    let inner = &json["v"];
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) => Value::from(&**text),
        Json::Array(_) => Value::Other("list".to_owned()),
        Json::Object(_) => match json["$"].as_str().unwrap() {
            "float" => Value::Float(inner.as_str().unwrap().parse().unwrap()),
            "bytes" => {
                let latin1 = inner.as_str().unwrap().chars();
                Value::Bytes(latin1.map(|c| u8::try_from(c).unwrap()).collect())
            }
            "call" => value(inner)?,
            "boom" => return Err(json["exc"].as_str().unwrap().into()),
            kind => Value::Other(kind.to_owned()),
        },
    })
}
