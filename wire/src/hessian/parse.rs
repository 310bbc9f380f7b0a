//! Bytes become a document, with an explicit stack in place of recursion.

use std::collections::HashSet;

use super::document::{
    Class, ClassId, Document, Form, Kind, Limits, NO_PARENT, Node, NodeId, Span, TypeId, Value,
};
use super::finding::{Finding, Problem};
use super::text;

/// A container that is still open.
struct Open {
    node: NodeId,
    /// Where its children begin among those that wait.
    children: usize,
    until: Until,
}

/// What ends a container.
enum Until {
    /// The code `z`.
    End,
    /// This many children.
    Count(usize),
    /// The code `z`; the list says how many items it has.
    EndWithLength(i64),
}

/// The rest cannot be read; the finding says why.
struct Fatal(Finding);

pub(super) struct Parser<'b> {
    body: &'b [u8],
    at: usize,
    /// Where the value begins that is being read.
    started: usize,
    limits: Limits,
    document: Document,
    findings: Vec<Finding>,
    open: Vec<Open>,
    /// Children of open containers that wait for their container to end.
    waiting: Vec<NodeId>,
}

type Step<T = ()> = Result<T, Fatal>;

impl<'b> Parser<'b> {
    pub(super) fn new(body: &'b [u8], limits: Limits) -> Self {
        Parser {
            body,
            at: 0,
            started: 0,
            limits,
            document: Document::default(),
            findings: Vec::new(),
            open: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> (Document, Vec<Finding>) {
        // Offsets are held in 32 bits.
        if self.body.len() > u32::MAX as usize {
            self.body = &self.body[..u32::MAX as usize];
            self.find(
                self.body.len(),
                Problem::Limit {
                    of: "bytes of a body",
                    limit: u32::MAX as usize,
                },
            );
        }
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(Fatal(finding)) => {
                    self.findings.push(finding);
                    self.opaque();
                    break;
                }
            }
        }
        // Whatever is open still was cut short; the finding is there already.
        while let Some(open) = self.open.pop() {
            self.close(&open);
        }
        (self.document, self.findings)
    }

    /// Ends a container or reads a value; false at the end of the body.
    fn step(&mut self) -> Step<bool> {
        if let Some(open) = self.open.last() {
            let found = self.waiting.len() - open.children;
            let ended = match open.until {
                Until::Count(count) => found >= count,
                Until::End | Until::EndWithLength(_) => {
                    let z = self.body.get(self.at) == Some(&b'z');
                    self.at += usize::from(z);
                    z
                }
            };
            if ended {
                if let Until::EndWithLength(declared) = open.until
                    && declared != found as i64
                {
                    let found = found as u64;
                    self.find(self.at, Problem::LengthMismatch { declared, found });
                }
                if let Some(open) = self.open.pop() {
                    self.close(&open);
                    self.check_pairs(open.node);
                }
                return Ok(true);
            }
        } else if self.at >= self.body.len() {
            return Ok(false);
        }
        self.value()?;
        Ok(true)
    }

    /// Reads a scalar, or begins a container, or reads a class definition.
    fn value(&mut self) -> Step {
        let start = self.at;
        self.started = start;
        let code = self.byte(if self.open.is_empty() {
            "a class definition"
        } else {
            "a container"
        })?;
        let kind = match code {
            b'N' => Kind::Null,
            b'T' => Kind::Bool(true),
            b'F' => Kind::Bool(false),
            0x80..=0xd7 | b'I' => Kind::Int(self.int_after(code)?),
            0xd8..=0xef => Kind::Long(i64::from(code) - 0xe0),
            0xf0..=0xff => Kind::Long((i64::from(code) - 0xf8) * 0x100 + self.number::<1>()?),
            0x38..=0x3f => Kind::Long((i64::from(code) - 0x3c) * 0x1_0000 + self.number::<2>()?),
            0x77 => Kind::Long(i64::from(i32::from_be_bytes(self.array("a long")?))),
            b'L' => Kind::Long(i64::from_be_bytes(self.array("a long")?)),
            0x67 => Kind::Double(0.0),
            0x68 => Kind::Double(1.0),
            0x69 => Kind::Double(f64::from(i8::from_be_bytes(self.array("a double")?))),
            0x6a => Kind::Double(f64::from(i16::from_be_bytes(self.array("a double")?))),
            0x6b => Kind::Double(f64::from(f32::from_be_bytes(self.array("a double")?))),
            b'D' => Kind::Double(f64::from_be_bytes(self.array("a double")?)),
            b'd' => Kind::Date(i64::from_be_bytes(self.array("a date")?)),
            0x00..=0x1f | b'S' | b's' => {
                self.at = start;
                self.string()?
            }
            0x20..=0x2f | b'B' | b'b' => {
                self.at = start;
                self.binary()?
            }
            0x4a => Kind::Reference(u32::from(self.byte("a reference")?)),
            0x4b => Kind::Reference(u32::from(u16::from_be_bytes(self.array("a reference")?))),
            b'R' => Kind::Reference(u32::from_be_bytes(self.array("a reference")?)),
            b'O' => return self.definition(start),
            b'o' => return self.instance(start),
            b'V' => return self.list(start),
            b'v' => return self.list_of_known_type(start),
            b'M' => return self.map(start),
            b'r' => return self.remote(start),
            _ => return Err(self.fatal(start, Problem::UnknownCode { code })),
        };
        if let Kind::Reference(index) = kind
            && index as usize >= self.document.targets.len()
        {
            self.find(start, Problem::DanglingReference { index });
        }
        let node = self.push(start, kind)?;
        self.adopt(node);
        Ok(())
    }

    fn list(&mut self, start: usize) -> Step {
        let (node, of) = self.typed(start)?;
        let length = match self.body.get(self.at) {
            Some(0x6e) => {
                self.at += 1;
                Some(i64::from(self.byte("a list's length")?))
            }
            Some(b'l') => {
                self.at += 1;
                Some(i64::from(i32::from_be_bytes(
                    self.array("a list's length")?,
                )))
            }
            _ => None,
        };
        let until = length.map_or(Until::End, Until::EndWithLength);
        self.set(
            node,
            Kind::List {
                of,
                sized: length.is_some(),
                items: Span::default(),
            },
        );
        self.begin(node, until)
    }

    fn list_of_known_type(&mut self, start: usize) -> Step {
        let node = self.place(start)?;
        let of = self.type_index()?;
        let at = self.at;
        let length = self.int()?;
        let count = usize::try_from(length)
            .map_err(|_| self.fatal(at, Problem::NegativeLength { length }))?;
        self.set(
            node,
            Kind::List {
                of: Some(of),
                sized: true,
                items: Span::default(),
            },
        );
        self.begin(node, Until::Count(count))
    }

    fn map(&mut self, start: usize) -> Step {
        let (node, of) = self.typed(start)?;
        self.set(
            node,
            Kind::Map {
                of,
                entries: Span::default(),
                duplicate_keys: false,
            },
        );
        self.begin(node, Until::End)
    }

    fn instance(&mut self, start: usize) -> Step {
        let node = self.place(start)?;
        let at = self.at;
        let index = self.int()?;
        let class = usize::try_from(index)
            .ok()
            .and_then(|index| self.document.classes.get(index))
            .map(|class| class.fields.len());
        let Some(fields) = class else {
            return Err(self.fatal(at, Problem::UnknownClass { index }));
        };
        self.set(
            node,
            Kind::Instance {
                class: ClassId(index as u32),
                fields: Span::default(),
            },
        );
        self.begin(node, Until::Count(fields))
    }

    /// A remote object holds its address as a child; it is no target of references.
    fn remote(&mut self, start: usize) -> Step {
        let (node, of) = self.typed(start)?;
        match self.body.get(self.at) {
            Some(0x00..=0x1f | b'S' | b's') => {}
            Some(&code) => return Err(self.fatal(self.at, Problem::NotAString { code })),
            None => return Err(self.truncated("a remote object")),
        }
        self.set(
            node,
            Kind::Remote {
                of,
                url: Span::default(),
            },
        );
        self.enter(node, Until::Count(1))
    }

    /// The node of a list, map or remote object, and its type.
    fn typed(&mut self, start: usize) -> Step<(NodeId, Option<TypeId>)> {
        let node = self.place(start)?;
        let of = self.type_name()?;
        Ok((node, of))
    }

    /// `O`, name, number of fields, names of the fields. An instance follows, but not in here.
    fn definition(&mut self, start: usize) -> Step {
        let class = ClassId(self.document.classes.len() as u32);
        let at = self.at;
        let length = self.int()?;
        let units = usize::try_from(length)
            .map_err(|_| self.fatal(at, Problem::NegativeLength { length }))?;
        let text = self.characters(units, "a class name")?;
        let name = self.push(at, Kind::ClassName { text })?;
        self.document.nodes[name.at()].position = class.0;

        let at = self.at;
        let length = self.int()?;
        let count = usize::try_from(length)
            .map_err(|_| self.fatal(at, Problem::NegativeLength { length }))?;
        let mut fields = Vec::new();
        while fields.len() < count {
            let at = self.at;
            let Kind::String { text, .. } = self.string()? else {
                // `string` gives nothing else.
                continue;
            };
            let field = self.push(at, Kind::FieldName { text, class })?;
            self.document.nodes[field.at()].position = fields.len() as u32;
            fields.push(field);
        }
        self.document.classes.push(Class { name, fields });
        if self.at >= self.body.len() {
            self.find(
                start,
                Problem::Truncated {
                    inside: "a class definition",
                },
            );
        }
        Ok(())
    }

    /// `t` and a name, or `u` and the number of an earlier one, or nothing.
    fn type_name(&mut self) -> Step<Option<TypeId>> {
        match self.body.get(self.at) {
            Some(b't') => {
                let start = self.at;
                self.at += 1;
                let units = u16::from_be_bytes(self.array("a type name")?);
                let text = self.characters(units.into(), "a type name")?;
                let node = self.push(start, Kind::TypeName { text })?;
                let id = TypeId(self.document.types.len() as u32);
                self.document.nodes[node.at()].position = id.0;
                self.document.types.push(node);
                Ok(Some(id))
            }
            Some(b'u') => {
                self.at += 1;
                self.type_index().map(Some)
            }
            // The real decoder reads `T` as a type number too, and nobody writes it; it is also
            // the value `true`. So it is a number only where it can be one.
            Some(b'T') => {
                let back = self.at;
                self.at += 1;
                if let Ok(id) = self.type_index() {
                    return Ok(Some(id));
                }
                self.at = back;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn type_index(&mut self) -> Step<TypeId> {
        let at = self.at;
        let index = self.int()?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < self.document.types.len())
            .map(|index| TypeId(index as u32))
            .ok_or_else(|| self.fatal(at, Problem::UnknownType { index }))
    }

    /// A string with its prefix; nothing is allocated for a length that the bytes do not hold.
    fn string(&mut self) -> Step<Kind> {
        let start = self.at;
        let mut decoder = text::Decoder::new();
        let from = self.document.text.len();
        let mut chunks = 0_usize;
        let form = loop {
            let at = self.at;
            let code = self.byte("a string")?;
            let (units, last) = match code {
                0x00..=0x1f => (usize::from(code), Some(Form::Short)),
                b'S' => (self.length16("a string")?, Some(Form::Long)),
                b's' => (self.length16("a string")?, None),
                _ => return Err(self.fatal(at, Problem::NotAString { code })),
            };
            self.decode(&mut decoder, units, "a string")?;
            chunks += 1;
            if let Some(form) = last {
                break if chunks > 1 { Form::Chunks } else { form };
            }
        };
        let text = self.finish_text(start, from, &mut decoder)?;
        Ok(Kind::String {
            text,
            form,
            exact: decoder.exact,
        })
    }

    /// Characters without a prefix.
    fn characters(&mut self, units: usize, inside: &'static str) -> Step<Span> {
        let start = self.at;
        let from = self.document.text.len();
        let mut decoder = text::Decoder::new();
        self.decode(&mut decoder, units, inside)?;
        self.finish_text(start, from, &mut decoder)
    }

    fn decode(&mut self, decoder: &mut text::Decoder, units: usize, inside: &'static str) -> Step {
        match decoder.run(self.body, &mut self.at, units, &mut self.document.text) {
            Ok(()) => Ok(()),
            Err(text::Stop::End) => Err(self.truncated(inside)),
            Err(text::Stop::Bad(at, problem)) => Err(self.fatal(at, problem)),
        }
    }

    fn finish_text(
        &mut self,
        start: usize,
        from: usize,
        decoder: &mut text::Decoder,
    ) -> Step<Span> {
        decoder.flush(&mut self.document.text);
        if decoder.four_byte {
            self.find(start, Problem::FourByteCharacter);
        }
        self.check_text(start)?;
        Ok(Span {
            start: from as u32,
            end: self.document.text.len() as u32,
        })
    }

    fn binary(&mut self) -> Step<Kind> {
        let start = self.at;
        let from = self.document.binary.len();
        loop {
            let at = self.at;
            let code = self.byte("a binary")?;
            let (length, last) = match code {
                0x20..=0x2f => (usize::from(code - 0x20), true),
                b'B' => (self.length16("a binary")?, true),
                b'b' => (self.length16("a binary")?, false),
                _ => return Err(self.fatal(at, Problem::UnknownCode { code })),
            };
            let Some(bytes) = self.body.get(self.at..).and_then(|rest| rest.get(..length)) else {
                return Err(self.truncated("a binary"));
            };
            self.at += length;
            self.document.binary.extend_from_slice(bytes);
            if last {
                break;
            }
        }
        self.check_text(start)?;
        Ok(Kind::Binary(Span {
            start: from as u32,
            end: self.document.binary.len() as u32,
        }))
    }

    fn check_text(&self, start: usize) -> Step {
        let held = self.document.text.len() + self.document.binary.len();
        if held > self.limits.text_bytes_max {
            let limit = self.limits.text_bytes_max;
            let of = "bytes of text";
            return Err(self.fatal(start, Problem::Limit { of, limit }));
        }
        Ok(())
    }

    fn int(&mut self) -> Step<i32> {
        let code = self.byte("an int")?;
        self.int_after(code)
    }

    fn int_after(&mut self, code: u8) -> Step<i32> {
        let start = self.at.saturating_sub(1);
        Ok(match code {
            0x80..=0xbf => i32::from(code) - 0x90,
            0xc0..=0xcf => (i32::from(code) - 0xc8) * 0x100 + self.number::<1>()? as i32,
            0xd0..=0xd7 => (i32::from(code) - 0xd4) * 0x1_0000 + self.number::<2>()? as i32,
            b'I' => i32::from_be_bytes(self.array("an int")?),
            _ => return Err(self.fatal(start, Problem::NotAnInt { code })),
        })
    }

    /// The low bytes of a compact number.
    fn number<const N: usize>(&mut self) -> Step<i64> {
        let bytes: [u8; N] = self.array("a number")?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value * 0x100 + i64::from(*byte)))
    }

    fn length16(&mut self, inside: &'static str) -> Step<usize> {
        Ok(u16::from_be_bytes(self.array(inside)?).into())
    }

    fn byte(&mut self, inside: &'static str) -> Step<u8> {
        let [byte] = self.array(inside)?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self, inside: &'static str) -> Step<[u8; N]> {
        let found = self
            .body
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>());
        let Some(found) = found else {
            return Err(self.truncated(inside));
        };
        self.at += N;
        Ok(*found)
    }

    /// Begins a container that references can point to.
    fn begin(&mut self, node: NodeId, until: Until) -> Step {
        self.enter(node, until)?;
        self.document.targets.push(node);
        Ok(())
    }

    fn enter(&mut self, node: NodeId, until: Until) -> Step {
        if self.open.len() >= self.limits.depth_max {
            self.set(node, Kind::Opaque);
            let of = "containers inside each other";
            let limit = self.limits.depth_max;
            return Err(self.fatal(self.at, Problem::Limit { of, limit }));
        }
        self.open.push(Open {
            node,
            children: self.waiting.len(),
            until,
        });
        Ok(())
    }

    fn close(&mut self, open: &Open) {
        let span = Span {
            start: self.document.children.len() as u32,
            end: (self.document.children.len() + self.waiting.len() - open.children) as u32,
        };
        self.document
            .children
            .extend(self.waiting.drain(open.children..));
        let at = self.at;
        let node = &mut self.document.nodes[open.node.at()];
        node.end = at as u32;
        match &mut node.kind {
            Kind::List { items, .. } => *items = span,
            Kind::Instance { fields, .. } => *fields = span,
            Kind::Remote { url, .. } => *url = span,
            Kind::Map { entries, .. } => {
                *entries = span;
                self.check_keys(open.node, span);
            }
            _ => {}
        }
    }

    /// Notes whether two keys of a map are equal, because then a key names no entry.
    fn check_keys(&mut self, map: NodeId, entries: Span) {
        let children = &self.document.children[entries.range()];
        let keys = || children.chunks(2).filter_map(|entry| entry.first());
        let duplicate = if children.len() <= 32 {
            keys().enumerate().any(|(n, key)| {
                let key = self.document.value(*key);
                keys()
                    .take(n)
                    .any(|earlier| self.document.value(*earlier) == key)
            })
        } else {
            // Keys of other kinds are told apart by their printed form.
            let mut seen = HashSet::new();
            !keys().all(|key| match self.document.value(*key) {
                Value::String(text) => seen.insert(text.to_owned()),
                other => seen.insert(format!("\0{other:?}")),
            })
        };
        if let Kind::Map { duplicate_keys, .. } = &mut self.document.nodes[map.at()].kind {
            *duplicate_keys = duplicate;
        }
    }

    fn check_pairs(&mut self, node: NodeId) {
        if let Value::Map { entries, .. } = self.document.value(node)
            && entries.len() % 2 == 1
        {
            self.find(self.at, Problem::KeyWithoutValue);
        }
    }

    /// The value that was being read is opaque, up to the end of the body.
    fn opaque(&mut self) {
        self.at = self.body.len();
        if self.started >= self.at {
            return;
        }
        let placed = match self.open.last() {
            Some(open) => self.waiting.get(open.children..).and_then(|all| all.last()),
            None => self.document.roots.last(),
        };
        if let Some(placed) = placed {
            let node = &mut self.document.nodes[placed.at()];
            if node.start as usize == self.started && node.kind == Kind::Opaque {
                node.end = self.at as u32;
                return;
            }
        }
        let node = NodeId(self.document.nodes.len() as u32);
        self.document.nodes.push(Node {
            start: self.started as u32,
            end: self.at as u32,
            parent: NO_PARENT,
            position: 0,
            kind: Kind::Opaque,
        });
        self.adopt(node);
    }

    /// A node whose kind is not known yet, in its place.
    fn place(&mut self, start: usize) -> Step<NodeId> {
        let node = self.push(start, Kind::Opaque)?;
        self.adopt(node);
        Ok(node)
    }

    fn push(&mut self, start: usize, kind: Kind) -> Step<NodeId> {
        if self.document.nodes.len() >= self.limits.nodes_max {
            let limit = self.limits.nodes_max;
            return Err(self.fatal(start, Problem::Limit { of: "nodes", limit }));
        }
        let node = NodeId(self.document.nodes.len() as u32);
        self.document.nodes.push(Node {
            start: start as u32,
            end: self.at as u32,
            parent: NO_PARENT,
            position: 0,
            kind,
        });
        Ok(node)
    }

    fn set(&mut self, node: NodeId, kind: Kind) {
        self.document.nodes[node.at()].kind = kind;
    }

    /// Gives a node its place: in the container that is open, or among the roots.
    fn adopt(&mut self, node: NodeId) {
        let (parent, position) = match self.open.last() {
            Some(open) => {
                self.waiting.push(node);
                (open.node.0, self.waiting.len() - open.children - 1)
            }
            None => {
                self.document.roots.push(node);
                (NO_PARENT, self.document.roots.len() - 1)
            }
        };
        let node = &mut self.document.nodes[node.at()];
        node.parent = parent;
        node.position = position as u32;
    }

    fn find(&mut self, offset: usize, problem: Problem) {
        self.findings.push(Finding { offset, problem });
    }

    fn fatal(&self, offset: usize, problem: Problem) -> Fatal {
        Fatal(Finding { offset, problem })
    }

    fn truncated(&self, inside: &'static str) -> Fatal {
        self.fatal(self.body.len(), Problem::Truncated { inside })
    }
}
