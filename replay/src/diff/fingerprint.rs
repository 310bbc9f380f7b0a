//! Values as numbers that tell them apart, for sets and for keys that are objects.

use std::hash::{DefaultHasher, Hash, Hasher};

use meshproof_wire::hessian::{Document, NodeId, Value};

use super::tree::SET;

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 64;
/// Values looked at for one set or map, at most.
const VALUES_MAX: usize = 1 << 20;

/// How many more values may be looked at.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Budget {
        Budget(VALUES_MAX)
    }
}

/// A number that is the same for equal values, and for other ones only by chance (2⁻⁶⁴): sorts,
/// class names and every byte count, the order of maps and sets does not. `None` where the value is
/// nested too deeply or is too large; nothing is known of it then.
pub(super) fn fingerprint(document: &Document, node: NodeId, budget: &mut Budget) -> Option<u64> {
    of(document, node, 0, budget)
}

fn of(document: &Document, node: NodeId, depth: usize, budget: &mut Budget) -> Option<u64> {
    budget.0 = budget.0.checked_sub(1).filter(|_| depth <= DEPTH_MAX)?;
    let node = document.resolve(node)?;
    let mut all = |nodes: &[NodeId]| -> Option<Vec<u64>> {
        let each = nodes.iter();
        each.map(|node| of(document, *node, depth + 1, budget))
            .collect()
    };
    let mut hasher = DefaultHasher::new();
    let value = document.value(node);
    super::text::sort(&value).hash(&mut hasher);
    match value {
        Value::Null => {}
        Value::Bool(value) => value.hash(&mut hasher),
        Value::Int(value) => value.hash(&mut hasher),
        Value::Long(value) => value.hash(&mut hasher),
        Value::Double(value) => value.to_bits().hash(&mut hasher),
        Value::Date(at_ms) => at_ms.hash(&mut hasher),
        Value::String(text) => text.hash(&mut hasher),
        Value::Binary(bytes) => bytes.hash(&mut hasher),
        Value::List { type_name, items } => {
            let mut items = all(items)?;
            if type_name == Some(SET) {
                items.sort_unstable();
            }
            (type_name, items).hash(&mut hasher);
        }
        Value::Map { type_name, entries } => {
            let mut pairs: Vec<_> = all(entries)?.chunks(2).map(<[u64]>::to_vec).collect();
            pairs.sort_unstable();
            (type_name, pairs).hash(&mut hasher);
        }
        Value::Instance {
            class_name,
            names,
            fields,
        } => (class_name, all(names)?, all(fields)?).hash(&mut hasher),
        _ => return None,
    }
    Some(hasher.finish())
}
