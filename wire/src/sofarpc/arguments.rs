//! What makes two calls the same call: their arguments, without what differs from call to call.

use std::ops::Range;

use super::{REQUEST_CLASS, body};
use crate::Frame;
use crate::hessian::{Document, NodeId, Value};

/// The bytes of a request's arguments, counted from the first byte of the frame. Of a SofaRequest
/// that is what follows the request object; of other requests the whole content. `None` when
/// there is no content, or it is no Hessian that can be read so far.
pub fn arguments(frame: &Frame) -> Option<Range<usize>> {
    let content = frame.content_range()?;
    if frame.class_bytes() != REQUEST_CLASS.as_bytes() {
        return (!content.is_empty()).then_some(content);
    }
    let document = body(frame)?;
    let request = document.roots().first()?;
    if matches!(document.value(*request), Value::Opaque) {
        return None;
    }
    Some(content.start + document.range(*request).end..content.end)
}

/// A 64-bit hash of a request's arguments: equal for equal values, on every machine and in every
/// version of this program.
///
/// Of a SofaRequest it covers the types of the arguments and the arguments, not the trace id nor
/// any other property; numbers of classes, types and references do not matter, nor does the
/// order of the entries of a map. Content that is no Hessian is hashed as it is.
pub fn argument_hash(frame: &Frame) -> u64 {
    let Some(document) = body(frame) else {
        return Hash::new().bytes(frame.content()).finish();
    };
    let is_request = frame.class_bytes() == REQUEST_CLASS.as_bytes();
    hash_of(&document, frame.content(), is_request)
}

/// The same, of a body that is parsed already.
fn hash_of(document: &Document, content: &[u8], is_request: bool) -> u64 {
    let roots = document.roots();
    let (types, arguments) = match (is_request, roots.split_first()) {
        (true, Some((request, arguments))) => {
            (document.member(*request, "methodArgSigs"), arguments)
        }
        _ => (None, roots),
    };
    // References are counted from the first object among the arguments: properties hold objects
    // too, and how many varies.
    let first = arguments.first().map_or(0, |node| {
        document.targets_before(document.range(*node).start)
    });
    let hashes = hash_nodes(document, content, first as i64);
    let of = |node: &NodeId| hashes.get(node.index()).copied().unwrap_or_default();
    let mut hash = Hash::new();
    if let Some(types) = types.and_then(|node| document.resolve(node)) {
        hash = hash.number(of(&types));
    }
    arguments
        .iter()
        .fold(hash, |hash, node| hash.number(of(node)))
        .finish()
}

/// A hash for every node. What a container holds comes after it in the arena, so going backwards
/// every child is done before its container.
fn hash_nodes(document: &Document, content: &[u8], first: i64) -> Vec<u64> {
    let mut hashes = vec![0; document.len()];
    for node in document.nodes().rev() {
        let of = |child: &NodeId| hashes.get(child.index()).copied().unwrap_or_default();
        let all = |hash: Hash, children: &[NodeId]| {
            children
                .iter()
                .fold(hash, |hash, child| hash.number(of(child)))
        };
        let tag = |tag: u64| Hash::new().number(tag);
        let hash = match document.value(node) {
            Value::Null => tag(1),
            Value::Bool(value) => tag(2).number(value.into()),
            Value::Int(value) => tag(3).number(value as u64),
            Value::Long(value) => tag(4).number(value as u64),
            Value::Double(value) => tag(5).number(value.to_bits()),
            Value::Date(at_ms) => tag(6).number(at_ms as u64),
            Value::String(text) => tag(7).bytes(text.as_bytes()),
            Value::Binary(bytes) => tag(8).bytes(bytes),
            Value::List { type_name, items } => all(tag(9).text(type_name), items),
            Value::Map { type_name, entries } => {
                let sum = entries
                    .chunks(2)
                    .map(|entry| all(Hash::new(), entry).finish())
                    .fold(0_u64, u64::wrapping_add);
                tag(10).text(type_name).number(sum)
            }
            Value::Instance {
                class_name,
                names,
                fields,
            } => {
                let hash = names
                    .iter()
                    .fold(tag(11).text(Some(class_name)), |hash, name| {
                        hash.text(document.text(*name))
                    });
                all(hash, fields)
            }
            Value::Reference(index) => tag(12).number((i64::from(index) - first) as u64),
            Value::Remote { type_name, url } => {
                let hash = tag(13).text(type_name);
                all(hash, url.as_slice())
            }
            // Names are hashed where they are used.
            Value::Name(_) => tag(14),
            Value::Opaque => tag(15).bytes(content.get(document.range(node)).unwrap_or_default()),
        };
        hashes[node.index()] = hash.finish();
    }
    hashes
}

/// FNV-1a over 64 bits, with a finisher that spreads the bits (that of MurmurHash3), because
/// sums of hashes stand for maps.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(self, bytes: &[u8]) -> Hash {
        let hash = bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        Hash(hash).number(bytes.len() as u64)
    }

    fn number(self, number: u64) -> Hash {
        Hash(number.to_le_bytes().iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        }))
    }

    fn text(self, text: Option<&str>) -> Hash {
        match text {
            Some(text) => self.number(1).bytes(text.as_bytes()),
            None => self.number(0),
        }
    }

    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}
