//! The references of a record, as the original's `referencesf` finds them.
//!
//! | persistent id | meaning |
//! |---|---|
//! | `(oid, class)` | the usual one |
//! | `oid` | classes made with arguments to `__new__` |
//! | a list: `['w', (oid,)]`, `['n', ..]`, `['m', ..]`, `[oid]` | weak, or in another database: keeps nothing alive |

use pickle::{Kind, Pickles, Value};
use storage::Oid;

/// The objects of the same database that the record keeps alive. No pickle is executed.
///
/// # Errors
/// What is wrong with the record.
pub(super) fn strong_references(record: &[u8]) -> Result<Vec<Oid>, String> {
    let pickles = Pickles::decode(record).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for id in pickles.persistent_ids() {
        let oid = match id.kind() {
            Kind::List(_) => continue,
            Kind::Tuple(mut parts) => parts.next().and_then(read_oid),
            _ => read_oid(id),
        };
        found.push(oid.ok_or("a persistent id of unknown form")?);
    }
    Ok(found)
}

/// Eight bytes. Python 2 wrote them as a `str`, which reads as text where all are ASCII.
fn read_oid(value: Value<'_>) -> Option<Oid> {
    let text = || value.as_str().filter(|text| text.is_ascii());
    let bytes = value.as_bytes().or_else(|| text().map(str::as_bytes))?;
    Oid::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use pickle::NodeId;

    use super::*;

    /// A record whose state is a list of references with these persistent ids.
    fn record(ids: impl FnOnce(&mut Pickles) -> Vec<NodeId>) -> Vec<u8> {
        let mut pickles = Pickles::new();
        let class = pickles.global("a", "B");
        pickles.push_root(class);
        let ids = ids(&mut pickles);
        let items = ids.into_iter().map(|id| pickles.persistent(id)).collect();
        let state = pickles.list(items);
        pickles.push_root(state);
        pickles.encode()
    }

    #[test]
    fn strong_forms_keep_alive_and_others_do_not() {
        let record = record(|pickles| {
            let oid = |pickles: &mut Pickles, number| pickles.bytes(&Oid::new(number).to_bytes());
            let class = pickles.global("a", "B");
            let one = oid(pickles, 1);
            let plain = oid(pickles, 2);
            let with_class = pickles.tuple(vec![one, class]);
            let three = oid(pickles, 3);
            let arguments = pickles.tuple(vec![three]);
            let tag = pickles.str("w");
            let weak = pickles.list(vec![tag, arguments]);
            let database = pickles.str("other");
            let four = oid(pickles, 4);
            let arguments = pickles.tuple(vec![database, four, class]);
            let tag = pickles.str("m");
            let foreign = pickles.list(vec![tag, arguments]);
            let five = oid(pickles, 5);
            let old_weak = pickles.list(vec![five]);
            let old_text = pickles.str("\0\0\0\0\0\0\0\u{6}");
            vec![with_class, plain, weak, foreign, old_weak, old_text]
        });
        let found = strong_references(&record).unwrap();
        assert_eq!(found, [1, 2, 6].map(Oid::new));
    }

    #[test]
    fn unknown_forms_and_broken_pickles_are_refused() {
        let odd = record(|pickles| vec![pickles.int(7)]);
        assert!(strong_references(&odd).is_err());
        let short = record(|pickles| vec![pickles.bytes(b"short")]);
        assert!(strong_references(&short).is_err());
        assert!(strong_references(b"no pickle").is_err());
        assert!(strong_references(&odd[..odd.len() - 1]).is_err());
    }
}
