//! Names for nodes: `[0].requestProps.app`, `[1].hosts[1]`.
//!
//! | part | names |
//! | --- | --- |
//! | `[1]` | the second top-level value, or the second item of a list |
//! | `.name` | a field, or the value under a string key |
//! | `["a.b"]` | the same, where the name is not made of letters, digits, `_`, `-`, `$` |
//! | `{7}`, `{7L}`, `{true}`, `{null}` | the value under a key that is no string |
//! | `{#2}` | the third entry or field, where its key names it not or not alone |
//! | `…#key` | the key of that entry |
//! | `#class[0]`, `#class[0]#field[2]`, `#type[0]` | a name in the bytes |

use std::fmt::Write;

use super::document::{Document, Kind, NodeId, Value};

impl Document {
    /// The path of a node; [`Document::find`] takes it back.
    pub fn path(&self, node: NodeId) -> String {
        let found = self.node(node);
        match found.kind {
            Kind::ClassName { .. } => return format!("#class[{}]", found.position),
            Kind::FieldName { class, .. } => {
                return format!("#class[{}]#field[{}]", class.0, found.position);
            }
            Kind::TypeName { .. } => return format!("#type[{}]", found.position),
            _ => {}
        }
        let mut steps = Vec::new();
        let mut at = node;
        while let Some(parent) = self.parent(at) {
            steps.push((parent, at));
            at = parent;
        }
        let mut path = format!("[{}]", self.node(at).position);
        for (parent, child) in steps.into_iter().rev() {
            self.step(&mut path, parent, child);
        }
        path
    }

    /// The node that a path names; references are not followed.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if let Some(rest) = path.strip_prefix("#class") {
            let (class, rest) = number(rest)?;
            let class = self.classes.get(class)?;
            return match rest.strip_prefix("#field") {
                None => rest.is_empty().then_some(class.name),
                Some(rest) => {
                    let (field, rest) = number(rest)?;
                    let field = class.fields.get(field).copied();
                    field.filter(|_| rest.is_empty())
                }
            };
        }
        if let Some(rest) = path.strip_prefix("#type") {
            let (name, rest) = number(rest)?;
            return self.types.get(name).copied().filter(|_| rest.is_empty());
        }
        let (root, mut rest) = number(path)?;
        let mut node = *self.roots.get(root)?;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("#key") {
                (node, rest) = (self.key_of(node)?, after);
                continue;
            }
            (node, rest) = self.descend(node, rest)?;
        }
        Some(node)
    }

    fn descend<'p>(&self, node: NodeId, path: &'p str) -> Option<(NodeId, &'p str)> {
        let children = self.children(node);
        if let Some((name, rest)) = name(path) {
            return Some((self.member(node, &name)?, rest));
        }
        if let Some(label) = path.strip_prefix('{') {
            let (label, rest) = label.split_once('}')?;
            if let Some(position) = label.strip_prefix('#') {
                let position: usize = position.parse().ok()?;
                let child = match self.node(node).kind {
                    Kind::Map { .. } => position.checked_mul(2)?.checked_add(1)?,
                    _ => position,
                };
                return Some((*children.get(child)?, rest));
            }
            let Value::Map { entries, .. } = self.value(node) else {
                return None;
            };
            let entry = entries
                .chunks_exact(2)
                .find(|entry| self.label(entry[0]).as_deref() == Some(label))?;
            return Some((entry[1], rest));
        }
        let (position, rest) = number(path)?;
        match self.node(node).kind {
            Kind::List { .. } | Kind::Remote { .. } => Some((*children.get(position)?, rest)),
            _ => None,
        }
    }

    /// Appends what leads from `parent` to `child`.
    fn step(&self, path: &mut String, parent: NodeId, child: NodeId) {
        let position = self.node(child).position as usize;
        // Writing to a String never fails.
        match self.value(parent) {
            Value::Instance { names, .. } => {
                let name = names.get(position).map_or("", |name| self.name(*name));
                // A class may shadow a field of its superclass: two fields of one name.
                if self.member(parent, name) == Some(child) {
                    push_name(path, name);
                } else {
                    let _ = write!(path, "{{#{position}}}");
                }
            }
            Value::Map { entries, .. } => {
                let entry = position / 2;
                let key = entries.get(entry * 2).copied();
                let alone = match self.node(parent).kind {
                    Kind::Map {
                        duplicate_keys: true,
                        ..
                    } => self.is_first(entries, entry),
                    _ => true,
                };
                match key.map(|key| (self.value(key), self.label(key))) {
                    Some((Value::String(key), _)) if alone && entries.len() > entry * 2 + 1 => {
                        push_name(path, key);
                    }
                    Some((_, Some(label))) if alone && entries.len() > entry * 2 + 1 => {
                        let _ = write!(path, "{{{label}}}");
                    }
                    _ => {
                        let _ = write!(path, "{{#{entry}}}");
                    }
                }
                if position.is_multiple_of(2) {
                    path.push_str("#key");
                }
            }
            _ => {
                let _ = write!(path, "[{position}]");
            }
        }
    }

    fn is_first(&self, entries: &[NodeId], entry: usize) -> bool {
        let key = entries.get(entry * 2).map(|key| self.value(*key));
        entries
            .chunks(2)
            .take(entry)
            .all(|earlier| earlier.first().map(|key| self.value(*key)) != key)
    }

    /// How a key that is no string stands in a path.
    fn label(&self, key: NodeId) -> Option<String> {
        Some(match self.value(key) {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Long(value) => format!("{value}L"),
            _ => return None,
        })
    }

    /// The key that a value of a map stands under.
    pub fn key_of(&self, node: NodeId) -> Option<NodeId> {
        let parent = self.parent(node)?;
        let position = self.node(node).position as usize;
        match self.value(parent) {
            Value::Map { entries, .. } if position % 2 == 1 => entries.get(position - 1).copied(),
            _ => None,
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$')
}

fn push_name(path: &mut String, name: &str) {
    if !name.is_empty() && name.chars().all(is_plain) {
        path.push('.');
        path.push_str(name);
        return;
    }
    path.push_str("[\"");
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            path.push('\\');
        }
        path.push(c);
    }
    path.push_str("\"]");
}

/// `.name` or `["name"]` at the front of a path, and the rest.
fn name(path: &str) -> Option<(String, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    }
    let quoted = path.strip_prefix("[\"")?;
    let mut name = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '"' => {
                let rest = quoted.get(at + 1..)?.strip_prefix(']')?;
                return Some((name, rest));
            }
            _ => name.push(c),
        }
    }
    None
}

/// `[7]` at the front of a path, and the rest.
fn number(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}
