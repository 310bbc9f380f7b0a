//! Properties of the Hessian codec.

use crate::hessian::{Copier, Document, Limits, NodeId, Value, Writer, apply, edit};

/// Small enough for short inputs to reach every limit.
const LIMITS: Limits = Limits {
    depth_max: 20,
    nodes_max: 500,
    text_bytes_max: 2000,
};

/// Nodes that are looked at one by one; each costs a pass over the body.
const NODES_MAX: usize = 40;

/// Parses `bytes` as a Hessian body, replaces strings and writes it again.
///
/// # Panics
///
/// When one of these does not hold:
/// - findings and nodes lie within the body, top-level values come one after the other and
///   children within their parents;
/// - without a finding, every node is found by its path;
/// - a string that is replaced changes that string and nothing else, and back again gives what
///   was there before;
/// - a body without a finding that is written again reads the same and is then written the same.
pub fn hessian(bytes: &[u8]) {
    let (small, _) = Document::parse_within(bytes, LIMITS);
    assert!(small.len() <= LIMITS.nodes_max + 1);
    let (document, findings) = Document::parse(bytes);
    assert!(findings.iter().all(|found| found.offset <= bytes.len()));
    ranges(&document, bytes.len());
    if !findings.is_empty() {
        return;
    }
    let end = document
        .roots()
        .last()
        .map_or(0, |root| document.range(*root).end);
    assert_eq!(end, bytes.len(), "top-level values cover the body");
    for node in document.nodes().take(NODES_MAX) {
        let path = document.path(node);
        assert_eq!(document.find(&path), Some(node), "{path}");
    }
    for string in document.strings().take(NODES_MAX) {
        replaced(&document, bytes, string.node);
    }
    written_again(&document);
}

fn ranges(document: &Document, len: usize) {
    let mut end = 0;
    for root in document.roots() {
        let range = document.range(*root);
        assert!(end <= range.start && range.start < range.end && range.end <= len);
        end = range.end;
    }
    for node in document.nodes() {
        let range = document.range(node);
        assert!(range.start <= range.end && range.end <= len);
        let mut end = range.start;
        for child in document.children(node) {
            assert_eq!(document.parent(*child), Some(node));
            let inner = document.range(*child);
            assert!(end <= inner.start && inner.end <= range.end);
            end = inner.end;
        }
    }
}

fn replaced(document: &Document, bytes: &[u8], node: NodeId) {
    let old = document.text(node).expect("a string");
    for new in [format!("{old}\u{1f600}"), "x".repeat(31), "x".repeat(32)] {
        if new == old {
            continue;
        }
        let edits = edit(document, &[(node, new.clone())]).expect("a string");
        let after = apply(bytes, &edits);
        let (changed, findings) = Document::parse(&after);
        assert_eq!(findings, []);
        assert_eq!(changed.text(node), Some(&new[..]));
        assert_eq!(changed.len(), document.len());
        for other in document.nodes().filter(|other| *other != node) {
            assert!(same(document, &changed, other, node));
        }
        let back = edit(&changed, &[(node, old.to_owned())]).expect("a string");
        let restored = apply(&after, &back);
        let (restored_document, _) = Document::parse(&restored);
        assert_eq!(restored_document.text(node), Some(old));
        // Forms that the real encoder does not write are not restored.
        let range = document.range(node);
        if canonical(document, bytes, node) {
            assert_eq!(restored, bytes, "{range:?} back again");
        }
    }
}

/// Equality of what a node itself is; of its children only how many.
fn same(one: &Document, other: &Document, node: NodeId, changed: NodeId) -> bool {
    let name = one.text(changed);
    match (one.value(node), other.value(node)) {
        (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
        (
            Value::Instance {
                fields: a,
                names: c,
                ..
            },
            Value::Instance {
                fields: b,
                names: d,
                ..
            },
        ) => a == b && c == d,
        (
            Value::List {
                type_name: s,
                items: a,
            },
            Value::List {
                type_name: t,
                items: b,
            },
        )
        | (
            Value::Map {
                type_name: s,
                entries: a,
            },
            Value::Map {
                type_name: t,
                entries: b,
            },
        ) => a == b && (s == t || s == name),
        (Value::Remote { url: a, .. }, Value::Remote { url: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

fn canonical(document: &Document, bytes: &[u8], node: NodeId) -> bool {
    let found = bytes.get(document.range(node));
    match document.value(node) {
        Value::String(text) => {
            let mut writer = Writer::new();
            writer.string(text);
            found == Some(writer.bytes())
        }
        // A name in ASCII with its length in one byte.
        _ => found.is_some_and(|bytes| bytes.is_ascii() || bytes.iter().skip(1).all(u8::is_ascii)),
    }
}

fn written_again(document: &Document) {
    let once = copy(document);
    let (again, findings) = Document::parse(&once);
    assert_eq!(findings, [], "what was written has no finding");
    assert_eq!(again.roots().len(), document.roots().len());
    assert_eq!(copy(&again), once, "written again");
}

fn copy(document: &Document) -> Vec<u8> {
    let (mut writer, mut copier) = (Writer::new(), Copier::new());
    for root in document.roots() {
        copier.copy(document, *root, &mut writer);
    }
    writer.finish()
}
