//! Values as Python would print them, within bounds: for messages and tools.

use std::fmt::{self, Write as _};

use crate::node::{Construction, NodeId};
use crate::value::{Elements, Entries, Instance, Kind, Value};
use crate::{integer, text};

/// Deeper values are shown as `...`.
const DEPTH_MAX: usize = 6;
/// Of longer collections the rest is shown as `...`.
const ITEMS_MAX: usize = 20;
/// Of longer text the rest is shown as `...`.
const TEXT_BYTES_MAX: usize = 120;
/// Longer output is cut.
const OUTPUT_BYTES_MAX: usize = 4_000;
/// Longer integers are shown by their size: decimal digits take quadratic time.
const INTEGER_BYTES_MAX: usize = 64;

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer {
            out: String::new(),
            open: Vec::new(),
        };
        printer.value(*self);
        f.write_str(&printer.out)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {self}", self.id.0)
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.clone().take(ITEMS_MAX))
            .finish()
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone().take(ITEMS_MAX)).finish()
    }
}

/// Recursion is bounded by `DEPTH_MAX`.
struct Printer {
    out: String,
    open: Vec<NodeId>,
}

impl Printer {
    fn value(&mut self, value: Value<'_>) {
        let kind = value.kind();
        match &kind {
            Kind::None => self.out.push_str("None"),
            Kind::Bool(true) => self.out.push_str("True"),
            Kind::Bool(false) => self.out.push_str("False"),
            Kind::Int(number) => self.show(format_args!("{number}")),
            Kind::BigInt(bytes) if bytes.len() <= INTEGER_BYTES_MAX => {
                self.out.push_str(&integer::to_decimal(bytes));
            }
            Kind::BigInt(bytes) => self.show(format_args!("<int of {} bytes>", bytes.len())),
            Kind::Float(number) => self.show(format_args!("{number:?}")),
            Kind::Str(text) => self.text("", text.as_bytes()),
            Kind::Surrogates(bytes) => self.text("", bytes),
            Kind::Bytes(bytes) | Kind::ByteString(bytes) => self.text("b", bytes),
            Kind::Global { module, name } => self.show(format_args!("{module}.{name}")),
            Kind::Extension(code) => self.show(format_args!("<extension {code}>")),
            _ => self.nested(value.id, kind),
        }
    }

    fn nested(&mut self, id: NodeId, kind: Kind<'_>) {
        if self.open.contains(&id) || self.open.len() >= DEPTH_MAX {
            self.out.push_str("...");
            return;
        }
        self.open.push(id);
        match kind {
            Kind::Tuple(items) if items.len() == 1 => self.items("(", items, ",)"),
            Kind::Tuple(items) => self.items("(", items, ")"),
            Kind::List(items) => self.items("[", items, "]"),
            Kind::Set(items) if items.len() == 0 => self.out.push_str("set()"),
            Kind::Set(items) => self.items("{", items, "}"),
            Kind::FrozenSet(items) => self.items("frozenset({", items, "})"),
            Kind::Dict(pairs) => self.pairs("{", pairs, "}"),
            Kind::ByteArray(bytes) => {
                self.out.push_str("bytearray(");
                self.text("b", bytes);
                self.out.push(')');
            }
            Kind::Persistent(id) => {
                self.out.push_str("<persistent ");
                self.value(id);
                self.out.push('>');
            }
            Kind::Instance(instance) => self.instance(&instance),
            _ => self.out.push_str("..."),
        }
        self.open.pop();
    }

    fn instance(&mut self, instance: &Instance<'_>) {
        self.value(instance.class);
        if instance.construction == Construction::NewObject {
            self.out.push_str(".__new__");
        }
        match instance.args {
            Some(args) => self.items("(", args.elements(), ")"),
            None => self.out.push_str("()"),
        }
        if instance.items.len() > 0 {
            self.items(".extend([", instance.items.clone(), "])");
        }
        if instance.pairs.len() > 0 {
            self.pairs(".update({", instance.pairs.clone(), "})");
        }
        if let Some(state) = instance.state {
            self.out.push_str(".__setstate__(");
            self.value(state);
            self.out.push(')');
        }
    }

    fn items(&mut self, open: &str, items: Elements<'_>, close: &str) {
        self.out.push_str(open);
        for (number, item) in items.enumerate() {
            if !self.separate(number) {
                break;
            }
            self.value(item);
        }
        self.out.push_str(close);
    }

    fn pairs(&mut self, open: &str, pairs: Entries<'_>, close: &str) {
        self.out.push_str(open);
        for (number, (key, value)) in pairs.enumerate() {
            if !self.separate(number) {
                break;
            }
            self.value(key);
            self.out.push_str(": ");
            self.value(value);
        }
        self.out.push_str(close);
    }

    /// Writes what stands before the item with this number; false if the rest is left out.
    fn separate(&mut self, number: usize) -> bool {
        if number > 0 {
            self.out.push_str(", ");
        }
        let more = number < ITEMS_MAX && self.out.len() < OUTPUT_BYTES_MAX;
        if !more {
            self.out.push_str("...");
        }
        more
    }

    fn text(&mut self, prefix: &str, bytes: &[u8]) {
        self.out.push_str(prefix);
        self.out.push('\'');
        let shown = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
        if prefix.is_empty() && text::text_kind(bytes) == text::TextKind::Utf8 {
            // Cutting may split a character; its rest is escaped below.
            let valid = shown.utf8_chunks().next();
            for character in valid.map_or("", |chunk| chunk.valid()).chars() {
                match character {
                    '\'' | '\\' => self.out.extend(['\\', character]),
                    _ if character.is_control() => self.out.extend(character.escape_default()),
                    _ => self.out.push(character),
                }
            }
        } else {
            for byte in shown {
                self.out.extend(byte.escape_ascii().map(char::from));
            }
        }
        if shown.len() < bytes.len() {
            self.out.push_str("...");
        }
        self.out.push('\'');
    }

    fn show(&mut self, text: fmt::Arguments<'_>) {
        self.out
            .write_fmt(text)
            .expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use crate::Pickles;

    fn show(bytes: &[u8]) -> String {
        Pickles::decode(bytes).unwrap().root(0).unwrap().to_string()
    }

    #[test]
    fn values_look_like_python() {
        let bytes = b"\x80\x03(NK\x07X\x03\x00\x00\x00it'C\x02a\xffG?\xf8\x00\x00\x00\x00\x00\x00)K\x01\x85]t.";
        assert_eq!(
            show(bytes),
            r"(None, 7, 'it\'', b'a\xff', 1.5, (), (1,), [])"
        );
        assert_eq!(show(b"cbuiltins\nset\n](K\x01K\x02e\x85R."), "{1, 2}");
        assert_eq!(
            show(b"cDateTime.DateTime\nDateTime\n)\x81}X\x01\x00\x00\x00aNsb."),
            "DateTime.DateTime.DateTime.__new__().__setstate__({'a': None})"
        );
        assert_eq!(show(b"C\x01xcm\nC\n\x86Q."), "<persistent (b'x', m.C)>");
    }

    #[test]
    fn long_and_cyclic_values_are_cut() {
        let mut pickles = Pickles::new();
        let long = pickles.str(&"\u{fc}".repeat(500));
        let items = pickles.list(vec![long; 1000]);
        pickles.list_push(items, items);
        let nested = pickles.list(vec![items; 1000]);
        pickles.push_root(nested);
        let shown = pickles.root(0).unwrap().to_string();
        assert!(
            shown.len() < 2 * super::OUTPUT_BYTES_MAX,
            "{} bytes",
            shown.len()
        );
        assert!(shown.contains("...', '"));
        assert_eq!(show(b"]q\x00h\x00a."), "[...]");
    }
}
