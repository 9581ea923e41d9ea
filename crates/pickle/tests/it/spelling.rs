//! One spelling for each value, which `golden/make.py` computes too.

use pickle::{Construction, Kind, NodeId, Value};

pub(crate) fn spell(value: Value<'_>) -> String {
    spell_within(value, &mut Vec::new())
}

fn spell_within(value: Value<'_>, path: &mut Vec<NodeId>) -> String {
    let kind = value.kind();
    match &kind {
        Kind::None => return "None".to_owned(),
        Kind::Bool(true) => return "True".to_owned(),
        Kind::Bool(false) => return "False".to_owned(),
        Kind::Int(_) | Kind::BigInt(_) => return kind.decimal().expect("an integer"),
        Kind::Float(number) => return format!("f:{}", hex(&number.to_be_bytes())),
        Kind::Str(text) => return format!("s:{}", hex(text.as_bytes())),
        Kind::Surrogates(bytes) => return format!("s:{}", hex(bytes)),
        Kind::Bytes(bytes) | Kind::ByteString(bytes) => return format!("b:{}", hex(bytes)),
        Kind::ByteArray(bytes) => return format!("a:{}", hex(bytes)),
        Kind::Global { module, name } => return format!("<{module} {name}>"),
        Kind::Extension(code) => return format!("ext({code})"),
        _ => {}
    }
    if let Some(depth) = path.iter().rev().position(|id| *id == value.id()) {
        return format!("^{depth}");
    }
    path.push(value.id());
    let mut each = |items: pickle::Elements<'_>| -> Vec<String> {
        items.map(|item| spell_within(item, path)).collect()
    };
    let spelled = match kind {
        Kind::Tuple(items) => format!("({})", each(items).join(",")),
        Kind::List(items) => format!("[{}]", each(items).join(",")),
        Kind::Set(items) => format!("set({})", sorted(each(items)).join(",")),
        Kind::FrozenSet(items) => format!("frozenset({})", sorted(each(items)).join(",")),
        Kind::Dict(pairs) => {
            let pairs: Vec<String> = pairs
                .map(|(key, value)| {
                    format!("{}={}", spell_within(key, path), spell_within(value, path))
                })
                .collect();
            format!("{{{}}}", pairs.join(","))
        }
        Kind::Persistent(id) => format!("persistent({})", spell_within(id, path)),
        Kind::Instance(instance) => {
            let how = match instance.construction {
                Construction::Reduce => "call",
                Construction::NewObject => "new",
                Construction::OldStyle => "old",
            };
            let mut parts = vec![spell_within(instance.class, path)];
            let args = instance.args.map(|args| spell_within(args, path));
            parts.push(args.unwrap_or_else(|| "()".to_owned()));
            parts.extend(instance.state.map(|state| spell_within(state, path)));
            format!("{how}({})", parts.join(","))
        }
        _ => unreachable!("spelled above"),
    };
    path.pop();
    spelled
}

fn sorted(mut items: Vec<String>) -> Vec<String> {
    items.sort();
    items
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
