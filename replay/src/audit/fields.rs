//! The decoded values of a frame, each with its path.

use std::fmt::Write;
use std::ops::Range;

use meshproof_wire::hessian::{Document, NodeId, Value};
use meshproof_wire::{Frame, Protocol, mesh_api};

use crate::map::PathPattern;

/// A decoded value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content<'a> {
    /// A string, its chunks joined, or the value of a header.
    Text(&'a [u8]),
    /// Bytes, their chunks joined.
    Binary(&'a [u8]),
    /// A number.
    Integer(i64),
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    steps: &'a [Step<'a>],
    /// The bytes in the frame, prefix and chunk heads included.
    pub(super) range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    /// The header map.
    Headers,
    Name(&'a str),
    Index(usize),
    /// The key of an entry, not its value.
    Key,
}

impl Place<'_> {
    /// `headers.app`, `requestProps.app`, `args[0].hosts[1]`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Headers => write!(path, "headers"),
                Step::Name(name) if path.is_empty() => write!(path, "{name}"),
                Step::Name(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Key => write!(path, "#key"),
            };
        }
        path
    }

    /// The name of the field or key that holds the value; of a list's item, that of the list.
    pub(super) fn name(&self) -> &str {
        self.steps
            .iter()
            .rev()
            .find_map(|step| match step {
                Step::Name(name) => Some(*name),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Whether it is the value of this key: of a header, or at the end of a path in a body, where
    /// `rpc_trace_context.sofaTraceId` is two maps inside each other.
    pub(super) fn is_value_of(&self, key: &str) -> bool {
        let mut rest = key;
        for step in self.steps.iter().rev() {
            let Step::Name(name) = step else {
                return false;
            };
            let Some(left) = rest.strip_suffix(name) else {
                return false;
            };
            if left.is_empty() {
                return true;
            }
            let Some(left) = left.strip_suffix('.') else {
                return false;
            };
            rest = left;
        }
        false
    }

    /// Whether the pattern names this place.
    pub(super) fn is_at(&self, pattern: &PathPattern) -> bool {
        self.matches(pattern, false)
    }

    /// Whether it lies at or below what the pattern names.
    pub(super) fn is_within(&self, pattern: &PathPattern) -> bool {
        self.matches(pattern, true)
    }

    fn matches(&self, pattern: &PathPattern, below: bool) -> bool {
        // `a.b[0][*]` is the parts `a`, `b`, `[0]`, `[*]`. A header key may hold dots itself.
        let parts: Vec<&str> = pattern
            .0
            .split('.')
            .flat_map(|part| part.split_inclusive(']'))
            .flat_map(|part| match part.find('[') {
                Some(at) if at > 0 => vec![&part[..at], &part[at..]],
                _ => vec![part],
            })
            .collect();
        let steps: Vec<&Step<'_>> = self.steps.iter().collect();
        fits(&parts, &steps, below)
            || self.steps.split_first().is_some_and(|(first, _)| {
                *first == Step::Headers && fits(&parts, &steps[1..], below)
            })
    }

    /// Whether it is the key of an entry.
    pub(super) fn is_key(&self) -> bool {
        self.steps.last() == Some(&Step::Key)
    }

    /// Whether a step has this name.
    pub(super) fn passes(&self, name: &str) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Name(step) if *step == name))
    }
}

fn fits(parts: &[&str], steps: &[&Step<'_>], below: bool) -> bool {
    let Some((part, parts_left)) = parts.split_first() else {
        return below || steps.is_empty();
    };
    let Some((step, steps_left)) = steps.split_first() else {
        return false;
    };
    match step {
        Step::Headers => *part == "headers" && fits(parts_left, steps_left, below),
        Step::Key => false,
        Step::Index(index) => {
            let inner = part
                .strip_prefix('[')
                .and_then(|part| part.strip_suffix(']'));
            let fit = *part == "*"
                || inner.is_some_and(|inner| inner == "*" || inner.parse() == Ok(*index));
            fit && fits(parts_left, steps_left, below)
        }
        Step::Name(name) => {
            if *part == "*" {
                return fits(parts_left, steps_left, below);
            }
            // A name with dots takes as many parts as it has.
            let taken = name.split('.').count();
            parts.len() >= taken
                && parts.iter().take(taken).copied().eq(name.split('.'))
                && fits(&parts[taken..], steps_left, below)
        }
    }
}

/// Calls `each` with every value of the header map and the body.
pub(super) fn fields(frame: &Frame, mut each: impl FnMut(&Place<'_>, Content<'_>)) {
    let headers = frame.headers();
    for (entry, (key, value)) in headers.entries().iter().zip(headers.pairs()) {
        let (Some(range), Some(value)) = (entry.value.clone(), value) else {
            continue;
        };
        let key = String::from_utf8_lossy(key.unwrap_or_default());
        let steps = [Step::Headers, Step::Name(&key)];
        let place = Place {
            steps: &steps,
            range,
        };
        each(&place, Content::Text(value));
    }
    if frame.head.protocol == Protocol::MeshApi {
        return message(frame, &mut each);
    }
    // What says how a frame of TR travels is an object of its own.
    if let Some(parts) = frame.tr_parts() {
        let bytes = frame.bytes.get(parts.connection.clone());
        let (document, _) = Document::parse(bytes.unwrap_or_default());
        body(
            &document,
            parts.connection.start,
            Some("connection"),
            &mut each,
        );
    }
    let content = frame.content_range().filter(|range| !range.is_empty());
    if let (Some(content), true) = (content, frame.head.is_hessian()) {
        let (document, _) = Document::parse(frame.content());
        body(&document, content.start, None, &mut each);
    }
}

/// The headers of a message of the application API, and the values of its body. Where chunks are
/// put together nothing says where a value stands, so each is told at the whole message.
fn message(frame: &Frame, each: &mut dyn FnMut(&Place<'_>, Content<'_>)) {
    let Ok(message) = mesh_api::message(frame) else {
        return;
    };
    let range = 0..frame.bytes.len();
    for (name, value) in &message.head.headers.0 {
        let steps = [Step::Headers, Step::Name(name)];
        let range = range.clone();
        each(
            &Place {
                steps: &steps,
                range,
            },
            Content::Text(value.as_bytes()),
        );
    }
    if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&message.body) {
        json(&body, &mut Vec::new(), &range, each);
    }
}

fn tell(
    steps: &[Step<'_>],
    range: &Range<usize>,
    each: &mut dyn FnMut(&Place<'_>, Content<'_>),
    content: Content<'_>,
) {
    let range = range.clone();
    each(&Place { steps, range }, content);
}

/// The values of JSON. The reader goes no deeper than 128, and so does this.
fn json<'a>(
    value: &'a serde_json::Value,
    steps: &mut Vec<Step<'a>>,
    range: &Range<usize>,
    each: &mut dyn FnMut(&Place<'_>, Content<'_>),
) {
    use serde_json::Value;
    match value {
        Value::String(text) => tell(steps, range, each, Content::Text(text.as_bytes())),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                tell(steps, range, each, Content::Integer(number));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(Step::Index(index));
                json(item, steps, range, each);
                steps.pop();
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                steps.push(Step::Name(name));
                steps.push(Step::Key);
                tell(steps, range, each, Content::Text(name.as_bytes()));
                steps.pop();
                json(member, steps, range, each);
                steps.pop();
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// The values of a body, in the order of its bytes; paths begin with `name`, where there is one.
fn body(
    document: &Document,
    base: usize,
    name: Option<&str>,
    each: &mut dyn FnMut(&Place<'_>, Content<'_>),
) {
    // Each visited container leaves a step that points to the one above it, so that a path is put
    // together only where somebody asks for it.
    struct Trail<'d> {
        above: usize,
        step: Step<'d>,
    }
    const TOP: usize = usize::MAX;
    let mut trails: Vec<Trail<'_>> = Vec::new();
    let mut todo: Vec<(NodeId, usize)> = Vec::new();
    let top = match name {
        Some(name) => {
            trails.push(Trail {
                above: TOP,
                step: Step::Name(name),
            });
            0
        }
        None => TOP,
    };
    for (position, root) in document.roots().iter().enumerate().rev() {
        // Behind the request stand its arguments.
        let above = if position == 0 {
            top
        } else {
            trails.push(Trail {
                above: top,
                step: Step::Name("args"),
            });
            trails.push(Trail {
                above: trails.len() - 1,
                step: Step::Index(position - 1),
            });
            trails.len() - 1
        };
        todo.push((*root, above));
    }
    let mut steps = Vec::new();
    while let Some((node, trail)) = todo.pop() {
        let content = match document.value(node) {
            Value::String(text) => Some(Content::Text(text.as_bytes())),
            Value::Binary(bytes) => Some(Content::Binary(bytes)),
            Value::Int(value) => Some(Content::Integer(value.into())),
            Value::Long(value) => Some(Content::Integer(value)),
            _ => None,
        };
        if let Some(content) = content {
            steps.clear();
            let mut at = trail;
            while let Some(found) = trails.get(at) {
                steps.push(found.step);
                at = found.above;
            }
            steps.reverse();
            let range = document.range(node);
            let place = Place {
                steps: &steps,
                range: base + range.start..base + range.end,
            };
            each(&place, content);
            continue;
        }
        let first = todo.len();
        match document.value(node) {
            Value::List { items, .. } => {
                for (index, item) in items.iter().enumerate() {
                    trails.push(Trail {
                        above: trail,
                        step: Step::Index(index),
                    });
                    todo.push((*item, trails.len() - 1));
                }
            }
            Value::Map { entries, .. } => {
                for entry in entries.chunks(2) {
                    let Some(key) = entry.first() else {
                        continue;
                    };
                    let step = Step::Name(document.text(*key).unwrap_or("*"));
                    trails.push(Trail { above: trail, step });
                    let above = trails.len() - 1;
                    trails.push(Trail {
                        above,
                        step: Step::Key,
                    });
                    todo.push((*key, trails.len() - 1));
                    if let Some(value) = entry.get(1) {
                        todo.push((*value, above));
                    }
                }
            }
            Value::Instance { names, fields, .. } => {
                for (name, field) in names.iter().zip(fields) {
                    let step = Step::Name(document.text(*name).unwrap_or("*"));
                    trails.push(Trail { above: trail, step });
                    todo.push((*field, trails.len() - 1));
                }
            }
            Value::Remote { url: Some(url), .. } => todo.push((url, trail)),
            _ => {}
        }
        if let Some(new) = todo.get_mut(first..) {
            new.reverse();
        }
    }
}
