//! Writing values as the real encoder does.

use std::collections::HashMap;

use super::document::{Document, Kind, NodeId, Value};
use super::text::{encode, utf16_len};

/// The longest chunk of a string or binary that the real encoder writes: in UTF-16 units, in
/// bytes.
const CHUNK: usize = 0x8000;

/// Writes values as `Hessian2Output` of `com.alipay.sofa:hessian` 3.5.5 does: shortest numbers,
/// one definition per class, type names by number from the second time on, strings in chunks of
/// 32,768 units.
///
/// Numbers of references count lists, maps and instances in the order in which they begin.
///
/// ```
/// use meshproof_wire::hessian::Writer;
///
/// let mut writer = Writer::new();
/// writer.object("com.alipay.demo.Order", &["id", "amount"]);
/// writer.string("o-1").long(700);
/// assert_eq!(writer.finish()[0], b'O');
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    classes: HashMap<String, Vec<Definition>>,
    defined: i32,
    types: HashMap<String, i32>,
    begun: u32,
}

/// A class as it was defined. One class has one set of fields, but what is copied may come from
/// elsewhere.
#[derive(Debug)]
struct Definition {
    fields: Vec<String>,
    index: i32,
}

/// Whether a list needs [`Writer::end`]: one whose type was named before ends by its length.
#[must_use = "a list that was begun is ended with `Writer::end`"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEnd {
    code: bool,
}

impl Writer {
    /// An empty body.
    pub fn new() -> Self {
        Writer::default()
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// What is written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.out.push(b'N');
        self
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.out.push(if value { b'T' } else { b'F' });
        self
    }

    /// An int, in 1, 2, 3 or 5 bytes.
    pub fn int(&mut self, value: i32) -> &mut Self {
        write_int(&mut self.out, value);
        self
    }

    /// A long, in 1, 2, 3, 5 or 9 bytes.
    pub fn long(&mut self, value: i64) -> &mut Self {
        let bytes = value.to_be_bytes();
        let out = &mut self.out;
        match value {
            -0x08..=0x0f => out.push((value + 0xe0) as u8),
            -0x800..=0x7ff => out.extend_from_slice(&[(0xf8 + (value >> 8)) as u8, bytes[7]]),
            -0x4_0000..=0x3_ffff => {
                out.extend_from_slice(&[(0x3c + (value >> 16)) as u8, bytes[6], bytes[7]]);
            }
            -0x8000_0000..=0x7fff_ffff => {
                out.push(0x77);
                out.extend_from_slice(&bytes[4..]);
            }
            _ => {
                out.push(b'L');
                out.extend_from_slice(&bytes);
            }
        }
        self
    }

    /// A double, in 1, 2, 3, 5 or 9 bytes. As in the real encoder -0.0 becomes 0.0.
    pub fn double(&mut self, value: f64) -> &mut Self {
        let out = &mut self.out;
        let whole = value as i32;
        if f64::from(whole) == value {
            match whole {
                0 => {
                    out.push(0x67);
                    return self;
                }
                1 => {
                    out.push(0x68);
                    return self;
                }
                -0x80..=0x7f => {
                    out.extend_from_slice(&[0x69, whole as u8]);
                    return self;
                }
                -0x8000..=0x7fff => {
                    out.push(0x6a);
                    out.extend_from_slice(&(whole as i16).to_be_bytes());
                    return self;
                }
                _ => {}
            }
        }
        let single = value as f32;
        if f64::from(single) == value {
            out.push(0x6b);
            out.extend_from_slice(&single.to_be_bytes());
        } else {
            out.push(b'D');
            // Java knows one NaN.
            let bits = if value.is_nan() { f64::NAN } else { value };
            out.extend_from_slice(&bits.to_be_bytes());
        }
        self
    }

    /// A date, in milliseconds since 1970.
    pub fn date(&mut self, at_ms: i64) -> &mut Self {
        self.out.push(b'd');
        self.out.extend_from_slice(&at_ms.to_be_bytes());
        self
    }

    /// A string.
    pub fn string(&mut self, text: &str) -> &mut Self {
        write_string(&mut self.out, text);
        self
    }

    /// A string, or `null`.
    pub fn string_or_null(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// Bytes.
    pub fn binary(&mut self, mut bytes: &[u8]) -> &mut Self {
        while let Some((chunk, rest)) = bytes.split_at_checked(CHUNK)
            && !rest.is_empty()
        {
            self.out.push(b'b');
            self.out.extend_from_slice(&(CHUNK as u16).to_be_bytes());
            self.out.extend_from_slice(chunk);
            bytes = rest;
        }
        if bytes.len() < 0x10 {
            self.out.push(0x20 + bytes.len() as u8);
        } else {
            self.out.push(b'B');
            self.out
                .extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        }
        self.out.extend_from_slice(bytes);
        self
    }

    /// A back reference.
    pub fn reference(&mut self, index: u32) -> &mut Self {
        match index {
            0..=0xff => self.out.extend_from_slice(&[0x4a, index as u8]),
            0x100..=0xffff => {
                self.out.push(0x4b);
                self.out.extend_from_slice(&(index as u16).to_be_bytes());
            }
            _ => {
                self.out.push(b'R');
                self.out.extend_from_slice(&index.to_be_bytes());
            }
        }
        self
    }

    /// Begins a list: `None` is an `ArrayList`, arrays are `[string`, `[int`, `[com.x.Order`.
    /// Without a length, as iterators are written, it ends by its end alone.
    pub fn list(&mut self, type_name: Option<&str>, length: Option<u32>) -> ListEnd {
        self.begun += 1;
        if let (Some(name), Some(length)) = (type_name, length)
            && let Some(&known) = self.types.get(name)
        {
            self.out.push(b'v');
            self.int(known).int(length as i32);
            return ListEnd { code: false };
        }
        self.out.push(b'V');
        self.type_name(type_name);
        match length {
            None => {}
            Some(length @ 0..=0xff) => self.out.extend_from_slice(&[0x6e, length as u8]),
            Some(length) => {
                self.out.push(b'l');
                self.out.extend_from_slice(&length.to_be_bytes());
            }
        }
        ListEnd { code: true }
    }

    /// Ends a list.
    pub fn end_list(&mut self, end: ListEnd) -> &mut Self {
        if end.code {
            self.out.push(b'z');
        }
        self
    }

    /// Begins a map: `None` is a `HashMap`. Keys and values follow in turn.
    pub fn map(&mut self, type_name: Option<&str>) -> &mut Self {
        self.begun += 1;
        self.out.push(b'M');
        self.type_name(type_name);
        self
    }

    /// Ends a map.
    pub fn end_map(&mut self) -> &mut Self {
        self.out.push(b'z');
        self
    }

    /// Begins an instance, with the definition of its class where it is the first one. The
    /// values of the fields follow, in their order; nothing ends it.
    pub fn object(&mut self, class: &str, fields: &[&str]) -> &mut Self {
        self.begun += 1;
        let known = self.classes.get(class).and_then(|definitions| {
            let same = |found: &&Definition| found.fields == fields;
            definitions.iter().find(same).map(|found| found.index)
        });
        let index = known.unwrap_or_else(|| self.define(class, fields));
        self.out.push(b'o');
        self.int(index)
    }

    fn define(&mut self, class: &str, fields: &[&str]) -> i32 {
        let index = self.defined;
        self.defined += 1;
        let definition = Definition {
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            index,
        };
        let all = self.classes.entry(class.to_owned()).or_default();
        all.push(definition);
        self.out.push(b'O');
        write_int(&mut self.out, utf16_len(class) as i32);
        encode(class, &mut self.out);
        write_int(&mut self.out, fields.len() as i32);
        for field in fields {
            write_string(&mut self.out, field);
        }
        index
    }

    /// The number that a reference to the next list, map or instance will have.
    pub fn next_reference(&self) -> u32 {
        self.begun
    }

    fn type_name(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return;
        };
        if let Some(&known) = self.types.get(name) {
            self.out.push(b'u');
            self.int(known);
            return;
        }
        self.types.insert(name.to_owned(), self.types.len() as i32);
        self.out.push(b't');
        self.out
            .extend_from_slice(&(utf16_len(name) as u16).to_be_bytes());
        encode(name, &mut self.out);
    }
}

/// Copies values of a document into a writer: numbers of classes, types and references are those
/// of the writer, forms are the shortest.
#[derive(Debug, Default)]
pub struct Copier {
    /// References of the document, and what they are in the writer.
    moved: HashMap<NodeId, u32>,
}

impl Copier {
    /// For one document and one writer.
    pub fn new() -> Self {
        Copier::default()
    }

    /// Says that the writer's object `reference` stands for `node`, which was not copied but
    /// written otherwise; references to it follow.
    pub fn stands_for(&mut self, node: NodeId, reference: u32) {
        self.moved.insert(node, reference);
    }

    /// Copies `node` and all that it holds. A reference to something that was not copied becomes
    /// `null`, an opaque node is copied as `null` too.
    pub fn copy(&mut self, document: &Document, node: NodeId, writer: &mut Writer) {
        enum Work {
            Value(NodeId),
            EndList(ListEnd),
            EndMap,
        }
        let mut work = vec![Work::Value(node)];
        while let Some(next) = work.pop() {
            let node = match next {
                Work::Value(node) => node,
                Work::EndList(end) => {
                    writer.end_list(end);
                    continue;
                }
                Work::EndMap => {
                    writer.end_map();
                    continue;
                }
            };
            let children = document.children(node);
            match document.value(node) {
                Value::Null | Value::Opaque | Value::Name(_) => {
                    writer.null();
                }
                Value::Bool(value) => {
                    writer.boolean(value);
                }
                Value::Int(value) => {
                    writer.int(value);
                }
                Value::Long(value) => {
                    writer.long(value);
                }
                Value::Double(value) => {
                    writer.double(value);
                }
                Value::Date(at_ms) => {
                    writer.date(at_ms);
                }
                Value::String(text) => {
                    writer.string(text);
                }
                Value::Binary(bytes) => {
                    writer.binary(bytes);
                }
                Value::Reference(index) => {
                    let moved = document
                        .target(index)
                        .and_then(|target| self.moved.get(&target));
                    match moved {
                        Some(moved) => writer.reference(*moved),
                        None => writer.null(),
                    };
                }
                Value::List { type_name, items } => {
                    self.moved.insert(node, writer.next_reference());
                    let length = document.has_length(node).then_some(items.len() as u32);
                    let end = writer.list(type_name, length);
                    work.push(Work::EndList(end));
                }
                Value::Map { type_name, .. } => {
                    self.moved.insert(node, writer.next_reference());
                    writer.map(type_name);
                    work.push(Work::EndMap);
                }
                Value::Instance {
                    class_name, names, ..
                } => {
                    self.moved.insert(node, writer.next_reference());
                    let names: Vec<&str> = names.iter().map(|name| document.name(*name)).collect();
                    writer.object(class_name, &names);
                }
                Value::Remote { type_name, .. } => {
                    writer.out.push(b'r');
                    writer.type_name(type_name);
                }
            }
            work.extend(children.iter().rev().map(|child| Work::Value(*child)));
        }
    }
}

impl Document {
    /// Whether a list says how many items it has.
    pub(super) fn has_length(&self, list: NodeId) -> bool {
        matches!(self.node(list).kind, Kind::List { sized: true, .. })
    }
}

/// An int, in 1, 2, 3 or 5 bytes.
pub(super) fn write_int(out: &mut Vec<u8>, value: i32) {
    let bytes = value.to_be_bytes();
    match value {
        -0x10..=0x2f => out.push((value + 0x90) as u8),
        -0x800..=0x7ff => out.extend_from_slice(&[(0xc8 + (value >> 8)) as u8, bytes[3]]),
        -0x4_0000..=0x3_ffff => {
            out.extend_from_slice(&[(0xd4 + (value >> 16)) as u8, bytes[2], bytes[3]]);
        }
        _ => {
            out.push(b'I');
            out.extend_from_slice(&bytes);
        }
    }
}

/// A string with its prefix, in chunks where it is long.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    let mut left = utf16_len(text);
    while left > CHUNK {
        // A chunk never ends between two surrogates.
        let mut units = 0;
        let end = rest
            .char_indices()
            .find(|(_, c)| {
                let fits = units + c.len_utf16() <= CHUNK;
                units += if fits { c.len_utf16() } else { 0 };
                !fits
            })
            .map_or(rest.len(), |(at, _)| at);
        let (chunk, tail) = rest.split_at(end);
        out.push(b's');
        out.extend_from_slice(&(units as u16).to_be_bytes());
        encode(chunk, out);
        rest = tail;
        left -= units;
    }
    if left < 32 {
        out.push(left as u8);
    } else {
        out.push(b'S');
        out.extend_from_slice(&(left as u16).to_be_bytes());
    }
    encode(rest, out);
}
