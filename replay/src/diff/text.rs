//! Values as text for people.

use meshproof_wire::hessian::{Document, NodeId, Value};

/// Longest text of a value that is shown whole, in characters.
const CHARS_MAX: usize = 200;
/// Characters shown before the first one that differs, of longer texts.
const CHARS_BEFORE: usize = 40;
/// Longest text of a value, in bytes; one more piece may stand behind.
const KEY_BYTES_MAX: usize = 4096;
/// Deepest nesting of a text.
const DEPTH_MAX: usize = 16;

/// One value, short enough for a report.
pub(super) fn shown(document: &Document, node: NodeId) -> String {
    excerpt(&canonical(document, node), 0)
}

/// Two texts that differ, cut so that the place where they do is seen.
pub(super) fn shown_both(recorded: &str, observed: &str) -> (String, String) {
    let same = recorded
        .chars()
        .zip(observed.chars())
        .take_while(|(one, other)| one == other)
        .count();
    (excerpt(recorded, same), excerpt(observed, same))
}

fn excerpt(text: &str, around: usize) -> String {
    let len = text.chars().count();
    if len <= CHARS_MAX {
        return text.to_owned();
    }
    let from = around.saturating_sub(CHARS_BEFORE);
    let mut cut = String::new();
    if from > 0 {
        cut.push('…');
    }
    cut.extend(text.chars().skip(from).take(CHARS_MAX));
    if from + CHARS_MAX < len {
        cut.push('…');
    }
    format!("{cut} ({len} characters)")
}

/// Two runs of bytes that differ: lengths, the first differing offset, and what stands there.
pub(crate) fn bytes_both(recorded: &[u8], observed: &[u8]) -> (String, String) {
    let at = recorded
        .iter()
        .zip(observed)
        .take_while(|(one, other)| one == other)
        .count();
    let told = |bytes: &[u8]| {
        let there = bytes.get(at..).unwrap_or(&[]);
        let hex: String = there
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let more = if there.len() > 16 { "…" } else { "" };
        match there {
            [] => format!("{} bytes, ends at byte {at}", bytes.len()),
            _ => format!("{} bytes, from byte {at}: {hex}{more}", bytes.len()),
        }
    };
    (told(recorded), told(observed))
}

/// What sort of value it is.
pub(super) fn sort(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Long(_) => "long",
        Value::Double(_) => "double",
        Value::Date(_) => "date",
        Value::String(_) => "string",
        Value::Binary(_) => "binary",
        Value::List { .. } => "list",
        Value::Map { .. } => "map",
        Value::Instance { .. } => "object",
        Value::Remote { .. } => "remote",
        _ => "opaque",
    }
}

/// The value as text for people. Equal values have equal texts, whatever the order of their maps,
/// as far as [`KEY_BYTES_MAX`] and [`DEPTH_MAX`] reach; equal texts do not tell equal values.
pub(super) fn canonical(document: &Document, node: NodeId) -> String {
    let mut out = String::new();
    write(document, node, 0, &mut out);
    out
}

fn write(document: &Document, node: NodeId, depth: usize, out: &mut String) {
    if depth > DEPTH_MAX || out.len() > KEY_BYTES_MAX {
        out.push('…');
        return;
    }
    let node = document.resolve(node).unwrap_or(node);
    let inner = |node: NodeId, out: &mut String| {
        // A text within something else is quoted, so that its end is seen.
        match document.value(node) {
            Value::String(text) => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            _ => write(document, node, depth + 1, out),
        }
    };
    match document.value(node) {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(&value.to_string()),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Long(value) => out.push_str(&value.to_string()),
        Value::Double(value) => out.push_str(&value.to_string()),
        Value::Date(at_ms) => out.push_str(&format!("{at_ms} ms")),
        Value::String(text) => out.push_str(text),
        Value::Binary(bytes) => {
            let hex = bytes.iter().take(64).map(|byte| format!("{byte:02x}"));
            out.push_str(&format!("{} bytes ", bytes.len()));
            out.extend(hex);
        }
        Value::List { items, .. } => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if out.len() > KEY_BYTES_MAX {
                    break;
                }
                out.push_str(if number == 0 { "" } else { ", " });
                inner(*item, out);
            }
            out.push(']');
        }
        Value::Map { entries, .. } => {
            let pairs = entries.chunks_exact(2).map(|entry| {
                let mut pair = String::new();
                if let [key, value] = entry {
                    write(document, *key, depth + 1, &mut pair);
                    pair.push_str(": ");
                    inner(*value, &mut pair);
                }
                pair
            });
            // Each pair is short, and their number is what is cut here.
            let mut pairs: Vec<_> = pairs.take(KEY_BYTES_MAX / 4).collect();
            pairs.sort_unstable();
            out.push('{');
            out.push_str(&pairs.join(", "));
            out.push('}');
        }
        Value::Instance {
            class_name,
            names,
            fields,
        } => {
            out.push_str(class_name.rsplit('.').next().unwrap_or(class_name));
            out.push('{');
            for (number, (name, field)) in names.iter().zip(fields).enumerate() {
                if out.len() > KEY_BYTES_MAX {
                    break;
                }
                out.push_str(if number == 0 { "" } else { ", " });
                out.push_str(document.text(*name).unwrap_or_default());
                out.push_str(": ");
                inner(*field, out);
            }
            out.push('}');
        }
        Value::Remote { type_name, url } => {
            out.push_str(type_name.unwrap_or("remote"));
            out.push(' ');
            out.push_str(url.and_then(|url| document.text(url)).unwrap_or_default());
        }
        Value::Reference(_) => out.push_str("(refers to nothing)"),
        _ => out.push_str("(not understood)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_show_where_they_differ() {
        let front = "a".repeat(500);
        let (one, other) = shown_both(&format!("{front}X"), &format!("{front}Y"));
        assert!(one.starts_with("…aaa") && one.contains('X') && one.ends_with("(501 characters)"));
        assert!(other.contains('Y'));
        assert_eq!(shown_both("a", "b"), ("a".into(), "b".into()));
    }

    #[test]
    fn bytes_show_where_they_differ() {
        assert_eq!(
            bytes_both(&[1, 2, 3], &[1, 2]),
            (
                "3 bytes, from byte 2: 03".into(),
                "2 bytes, ends at byte 2".into()
            )
        );
    }
}
