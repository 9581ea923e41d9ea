//! The references of a record, as the original's `referencesf` finds them.
//!
//! | persistent id | meaning |
//! |---|---|
//! | `(oid, class)` | the usual one |
//! | `oid` | classes made with arguments to `__new__` |
//! | a list: `['w', (oid,)]`, `['n', ..]`, `['m', ..]`, `[oid]` | weak, or in another database: keeps nothing alive |

use pickle::{Inflater, Part, Scanner};
use storage::Oid;

/// Reads the references of records, one record after the other; reuse it. Nothing of a class is
/// imported, no pickle is executed, and compressed records (`.z`) are decompressed.
#[derive(Default)]
pub struct References {
    scanner: Scanner,
    inflater: Inflater,
    found: Vec<Oid>,
}

impl References {
    /// The objects of the same database that the record keeps alive, as often as it names them; and
    /// how many pickles it is made of, which are two in a sound one: the class and the state.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn read(&mut self, record: &[u8]) -> Result<(&[Oid], usize), String> {
        let Self {
            scanner,
            inflater,
            found,
        } = self;
        found.clear();
        let record = inflater.plain(record).map_err(|error| error.to_string())?;
        let mut is_odd = false;
        let pickles = scanner
            .scan(record, |id| match id {
                Part::List(_) => {}
                Part::Tuple(parts) => match parts.get(0).and_then(read_oid) {
                    Some(oid) => found.push(oid),
                    None => is_odd = true,
                },
                id => match read_oid(id) {
                    Some(oid) => found.push(oid),
                    None => is_odd = true,
                },
            })
            .map_err(|error| error.to_string())?;
        if is_odd {
            return Err("a persistent id of unknown form".to_owned());
        }
        Ok((found, pickles))
    }
}

/// Eight bytes. Python 2 wrote them as a `str`, which reads as text where all are ASCII.
fn read_oid(part: Part<'_>) -> Option<Oid> {
    let bytes = match part {
        Part::Bytes(bytes) | Part::ByteString(bytes) => bytes,
        Part::Str(text) if text.is_ascii() => text.as_bytes(),
        _ => return None,
    };
    Oid::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use pickle::{NodeId, Pickles};

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
        let mut references = References::default();
        let (found, pickles) = references.read(&record).unwrap();
        assert_eq!(found, [1, 2, 6].map(Oid::new));
        assert_eq!(pickles, 2);
    }

    #[test]
    fn a_compressed_record_is_decompressed() {
        // zc.zlibstorage.compress() of a class `a.B` and a list of twenty references to object 1.
        let record = b".zx\x9ck`NN\xe4r\xe2\xd2k`\x8e\xd5p\xe6`\x80\x00\xc6\xc0a\xc7L\xd5\x03\x00\xe9r\x0f\xab";
        let mut references = References::default();
        let (found, pickles) = references.read(record).unwrap();
        assert_eq!(found, [Oid::new(1); 20]);
        assert_eq!(pickles, 2);
        assert!(references.read(&record[..20]).is_err());
    }

    #[test]
    fn unknown_forms_and_broken_pickles_are_refused() {
        let read = |record: &[u8]| {
            References::default()
                .read(record)
                .map(|(found, _)| found.to_vec())
        };
        let odd = record(|pickles| vec![pickles.int(7)]);
        assert!(read(&odd).is_err());
        let short = record(|pickles| vec![pickles.bytes(b"short")]);
        assert!(read(&short).is_err());
        assert!(read(b"no pickle").is_err());
        assert!(read(&odd[..odd.len() - 1]).is_err());
    }
}
