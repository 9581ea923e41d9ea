//! The crates and what they use: the table of ARCHITECTURE.md against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Breaches;
use crate::shell::{cargo, output};

const PLACE: &str = "ARCHITECTURE.md";

/// The crates where sockets, threads and clocks live. Every other one is free of any runtime.
const EDGES: [&str; 11] = [
    "bench",
    "conformance",
    "dns",
    "edge",
    "health",
    "httpd",
    "proxy",
    "relay",
    "xtask",
    "zeo-net",
    "zodiac",
];

/// What only the edges may depend on, directly or not.
const RUNTIME: &str = "tokio";

type Names = BTreeSet<String>;
type Uses = BTreeMap<String, Names>;

/// Checks that the table lists every crate and no other, and that no crate uses what neither its
/// row nor the rows of what it uses name.
pub(super) fn check(drawing: &str, breaches: &mut Breaches) -> Result<(), String> {
    let text = output(cargo().args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let (linked, known) = (used(&metadata, Value::is_null), used(&metadata, |_| true));
    compare(&drawn(drawing), &linked, &known, breaches);
    check_runtime(&metadata, breaches);
    check_lints(&metadata, breaches)
}

/// `linked` holds the normal dependencies, `known` those for tests as well: an edge of the drawing is
/// alive as long as anything of the crate needs it.
fn compare(drawn: &Uses, linked: &Uses, known: &Uses, breaches: &mut Breaches) {
    if drawn.is_empty() {
        breaches.add(
            PLACE,
            "there is no table `| crate | its one sentence | uses |`",
        );
        return;
    }
    for name in linked.keys().filter(|name| !drawn.contains_key(*name)) {
        breaches.add(
            PLACE,
            format!("the crate `{name}` is missing from the table"),
        );
    }
    for (name, uses) in drawn {
        let Some(actual) = linked.get(name) else {
            breaches.add(PLACE, format!("there is no crate `{name}`"));
            continue;
        };
        for unknown in uses.iter().filter(|name| !linked.contains_key(*name)) {
            breaches.add(
                PLACE,
                format!("`{name}` is said to use `{unknown}`, which does not exist"),
            );
        }
        let allowed = closure(name, |name| drawn.get(name).cloned().unwrap_or_default());
        for extra in actual.difference(&allowed) {
            breaches.add(
                PLACE,
                format!("`{name}` depends on `{extra}`, which neither its row nor theirs name"),
            );
        }
        let alive = known.get(name).unwrap_or(actual);
        for dead in uses
            .iter()
            .filter(|dead| linked.contains_key(*dead) && !alive.contains(*dead))
        {
            breaches.add(PLACE, format!("`{name}` no longer depends on `{dead}`"));
        }
        if allowed.contains(name) {
            breaches.add(PLACE, format!("`{name}` uses itself in a circle"));
        }
    }
}

/// The table: crate to what its row names.
fn drawn(text: &str) -> Uses {
    let after_head = text.lines().skip_while(|line| !is_head(line)).skip(2);
    after_head
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            let (first, last) = (cells[0], cells[cells.len() - 1]);
            let uses: Names = last
                .split([' ', ',', '`', '+'])
                .filter(is_name)
                .map(ToOwned::to_owned)
                .collect();
            let crates = first.split([' ', '`', '/']).filter(is_name);
            crates
                .map(|name| (name.to_owned(), uses.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn is_head(line: &str) -> bool {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    cells.first() == Some(&"") && cells.get(1) == Some(&"crate") && cells.contains(&"uses")
}

fn is_name(word: &&str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Each crate of ours with those of ours that it depends on, where the kind is `counted`: null for
/// a normal dependency.
fn used(metadata: &Value, counted: impl Fn(&Value) -> bool) -> Uses {
    let names: Names = members(metadata)
        .filter_map(|package| text(&package["name"]))
        .collect();
    members(metadata)
        .filter_map(|package| {
            let dependencies = package["dependencies"].as_array()?;
            let relevant = dependencies
                .iter()
                .filter(|dependency| counted(&dependency["kind"]));
            let ours = relevant.filter_map(|dependency| text(&dependency["name"]));
            Some((
                text(&package["name"])?,
                ours.filter(|name| names.contains(name)).collect(),
            ))
        })
        .collect()
}

fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids: BTreeSet<&str> = array(&metadata["workspace_members"])
        .filter_map(Value::as_str)
        .collect();
    array(&metadata["packages"])
        .filter(move |package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
}

fn check_runtime(metadata: &Value, breaches: &mut Breaches) {
    let links: BTreeMap<&str, Names> = array(&metadata["resolve"]["nodes"])
        .filter_map(|node| {
            let normal = array(&node["deps"]).filter(|dependency| {
                array(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null())
            });
            Some((
                node["id"].as_str()?,
                normal.filter_map(|link| text(&link["pkg"])).collect(),
            ))
        })
        .collect();
    let runtimes: Names = array(&metadata["packages"])
        .filter(|package| package["name"] == RUNTIME)
        .filter_map(|package| text(&package["id"]))
        .collect();
    for package in members(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(id) = package["id"].as_str().filter(|_| !EDGES.contains(&name)) else {
            continue;
        };
        let reached = closure(id, |id| links.get(id).cloned().unwrap_or_default());
        if !reached.is_disjoint(&runtimes) {
            breaches.add(
                name,
                format!("this crate is synchronous, but `{RUNTIME}` is linked in"),
            );
        }
    }
}

fn check_lints(metadata: &Value, breaches: &mut Breaches) -> Result<(), String> {
    for package in members(metadata) {
        let Some(path) = package["manifest_path"].as_str() else {
            continue;
        };
        let manifest = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let name = package["name"].as_str().unwrap_or_default();
        if !manifest
            .replace(' ', "")
            .contains("[lints]\nworkspace=true")
        {
            breaches.add(name, "its Cargo.toml lacks [lints] workspace = true");
        }
        if package["version"] != "0.0.0" {
            breaches.add(name, "its version is not that of unpublished crates, 0.0.0");
        }
    }
    Ok(())
}

/// Everything reached from `start`; `start` itself only by a circle.
fn closure(start: &str, next: impl Fn(&str) -> Names) -> Names {
    let mut reached = Names::new();
    let mut waiting: Vec<String> = next(start).into_iter().collect();
    while let Some(name) = waiting.pop() {
        if reached.insert(name.clone()) {
            waiting.extend(next(&name));
        }
    }
    reached
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Words.

| crate | its one sentence | uses |
|---|---|---|
| `storage` | what a storage is: `Oid` | - |
| `zodb` | objects | storage |
| `ofs` | content | `zodb` |

More words | with bars.
";

    fn uses(rows: &[(&str, &[&str])]) -> Uses {
        rows.iter()
            .map(|(name, uses)| {
                (
                    (*name).to_owned(),
                    uses.iter().map(|&one| one.into()).collect(),
                )
            })
            .collect()
    }

    fn breaches(used: &[(&str, &[&str])]) -> Vec<String> {
        let mut breaches = Breaches::default();
        compare(&drawn(TABLE), &uses(used), &uses(used), &mut breaches);
        breaches.lines
    }

    #[test]
    fn the_table_is_read_to_its_end_and_no_further() {
        let expected = uses(&[("ofs", &["zodb"]), ("storage", &[]), ("zodb", &["storage"])]);
        assert_eq!(drawn(TABLE), expected);
    }

    #[test]
    fn what_is_used_through_another_crate_is_allowed() {
        let used: [(&str, &[&str]); 3] = [
            ("storage", &[]),
            ("zodb", &["storage"]),
            ("ofs", &["zodb", "storage"]),
        ];
        assert_eq!(breaches(&used), Vec::<String>::new());
    }

    #[test]
    fn upward_missing_and_dead_edges_are_breaches() {
        let upward = breaches(&[
            ("storage", &["ofs"]),
            ("zodb", &["storage"]),
            ("ofs", &["zodb"]),
        ]);
        assert!(
            upward[0].contains("`storage` depends on `ofs`"),
            "{upward:?}"
        );
        let missing = breaches(&[
            ("storage", &[]),
            ("zodb", &["storage"]),
            ("ofs", &["zodb"]),
            ("extra", &[]),
        ]);
        assert!(missing[0].contains("`extra` is missing"), "{missing:?}");
        let dead = breaches(&[("storage", &[]), ("zodb", &[]), ("ofs", &["zodb"])]);
        assert!(
            dead[0].contains("no longer depends on `storage`"),
            "{dead:?}"
        );
    }
}
