//! The parsed form of a body.

use std::ops::Range;

use super::finding::Finding;
use super::parse::Parser;

/// A node of a [`Document`]: a value, or a name that stands in the bytes (of a class, a field or
/// a type). Ids are in the order of the bytes, a container before what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }

    /// Position in the arena, below [`Document::len`].
    pub fn index(self) -> usize {
        self.at()
    }
}

/// A class definition, in the order in which the body defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub(super) u32);

/// A type name of a list or map, in the order in which the body names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(super) u32);

/// What the parser accepts at most; beyond it the rest of the body is one opaque node and a
/// finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers inside each other.
    pub depth_max: usize,
    /// Nodes, names included. A node takes 40 bytes.
    pub nodes_max: usize,
    /// Bytes of text and binaries, decoded.
    pub text_bytes_max: usize,
}

impl Limits {
    /// Depth 1,024, a million nodes, 64 MiB of text.
    pub const USUAL: Limits = Limits {
        depth_max: 1024,
        nodes_max: 1 << 20,
        text_bytes_max: 64 << 20,
    };
}

/// A body: a sequence of top-level values (a SofaRequest is one object, then its arguments).
///
/// It owns its text and none of the body's bytes. References are kept as references, so a cyclic
/// body is a finite tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub(super) nodes: Vec<Node>,
    pub(super) children: Vec<NodeId>,
    pub(super) roots: Vec<NodeId>,
    pub(super) classes: Vec<Class>,
    pub(super) types: Vec<NodeId>,
    /// What references point to: lists, maps and instances in the order in which they begin.
    pub(super) targets: Vec<NodeId>,
    pub(super) text: String,
    pub(super) binary: Vec<u8>,
}

/// A class as the body defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The node of its name.
    pub name: NodeId,
    /// The nodes of its field names, in the order of the values.
    pub fields: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) start: u32,
    pub(super) end: u32,
    /// `u32::MAX` for top-level values and for names.
    pub(super) parent: u32,
    /// Position among the children of the parent, among the roots, or among names of its sort.
    pub(super) position: u32,
    pub(super) kind: Kind,
}

/// What [`Limits::nodes_max`] says of memory.
const _: () = assert!(size_of::<Node>() <= 40);

pub(super) const NO_PARENT: u32 = u32::MAX;

/// A half-open range of an arena's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// How a string is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The length is in the code: up to 31 units.
    Short,
    /// One chunk with a 16-bit length.
    Long,
    /// Several chunks.
    Chunks,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Date(i64),
    String {
        text: Span,
        form: Form,
        exact: bool,
    },
    Binary(Span),
    List {
        of: Option<TypeId>,
        sized: bool,
        items: Span,
    },
    Map {
        of: Option<TypeId>,
        entries: Span,
        duplicate_keys: bool,
    },
    Instance {
        class: ClassId,
        fields: Span,
    },
    Remote {
        of: Option<TypeId>,
        url: Span,
    },
    Reference(u32),
    ClassName {
        text: Span,
    },
    FieldName {
        text: Span,
        class: ClassId,
    },
    TypeName {
        text: Span,
    },
    Opaque,
}

/// A value, borrowed from its document.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'d> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A 32-bit integer (also `byte` and `short`, which Java writes as int).
    Int(i32),
    /// A 64-bit integer.
    Long(i64),
    /// A double (also `float`, which Java writes as double).
    Double(f64),
    /// Milliseconds since 1970.
    Date(i64),
    /// A string; a lone surrogate reads as U+FFFD (see [`Document::is_exact`]).
    String(&'d str),
    /// Bytes, chunks joined.
    Binary(&'d [u8]),
    /// A list or array.
    List {
        /// The type name (`[string`, `java.util.LinkedList`); `None` is an `ArrayList`.
        type_name: Option<&'d str>,
        /// The items in order.
        items: &'d [NodeId],
    },
    /// A map, in wire order.
    Map {
        /// The type name; `None` is a `HashMap`.
        type_name: Option<&'d str>,
        /// Key, value, key, value…
        entries: &'d [NodeId],
    },
    /// An instance of a class.
    Instance {
        /// The class name.
        class_name: &'d str,
        /// The names of the fields.
        names: &'d [NodeId],
        /// The values of the fields, as many as there are names unless the body is cut.
        fields: &'d [NodeId],
    },
    /// A remote object: type and address.
    Remote {
        /// The type name.
        type_name: Option<&'d str>,
        /// The address, when it was readable.
        url: Option<NodeId>,
    },
    /// A back reference; see [`Document::target`].
    Reference(u32),
    /// A name in the bytes: of a class, a field or a type.
    Name(&'d str),
    /// Bytes that were not understood.
    Opaque,
}

/// Where in a body a string stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A value: an item, a field, the value of a map entry, an argument.
    Value,
    /// The key of a map entry.
    Key,
    /// The name of a class, in its definition.
    ClassName,
    /// The name of a field, in a class definition.
    FieldName,
    /// The type name of a list or map.
    TypeName,
}

/// A string of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringAt<'d> {
    /// Its node; [`Document::path`] names it, [`super::edit`] replaces it.
    pub node: NodeId,
    /// What it is used for.
    pub role: Role,
    /// The text.
    pub text: &'d str,
}

impl Document {
    /// Parses `body` within [`Limits::USUAL`].
    pub fn parse(body: &[u8]) -> (Document, Vec<Finding>) {
        Document::parse_within(body, Limits::USUAL)
    }

    /// Parses `body` within `limits`.
    pub fn parse_within(body: &[u8], limits: Limits) -> (Document, Vec<Finding>) {
        Parser::new(body, limits).run()
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the body held nothing at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The top-level values.
    pub fn roots(&self) -> &[NodeId] {
        &self.roots
    }

    /// All nodes, in the order of the bytes, a container before what it holds.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The class definitions, in the order of the bytes.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The bytes of a node in the body. Of an instance it begins at its `o` and not at the
    /// definition of its class; of a string it covers the prefix.
    pub fn range(&self, node: NodeId) -> Range<usize> {
        let node = self.node(node);
        node.start as usize..node.end as usize
    }

    /// The container that holds a node; `None` for top-level values and names.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        let parent = self.node(node).parent;
        (parent != NO_PARENT).then_some(NodeId(parent))
    }

    /// What a node is.
    pub fn value(&self, node: NodeId) -> Value<'_> {
        match self.node(node).kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Int(value) => Value::Int(value),
            Kind::Long(value) => Value::Long(value),
            Kind::Double(value) => Value::Double(value),
            Kind::Date(value) => Value::Date(value),
            Kind::String { text, .. } => Value::String(self.slice(text)),
            Kind::Binary(bytes) => {
                Value::Binary(self.binary.get(bytes.range()).unwrap_or_default())
            }
            Kind::List { of, items, .. } => Value::List {
                type_name: self.type_name(of),
                items: self.span(items),
            },
            Kind::Map { of, entries, .. } => Value::Map {
                type_name: self.type_name(of),
                entries: self.span(entries),
            },
            Kind::Instance { class, fields } => {
                let definition = self.classes.get(class.0 as usize);
                Value::Instance {
                    class_name: definition.map_or("", |class| self.name(class.name)),
                    names: definition.map_or(&[], |class| &class.fields),
                    fields: self.span(fields),
                }
            }
            Kind::Remote { of, url } => Value::Remote {
                type_name: self.type_name(of),
                url: self.span(url).first().copied(),
            },
            Kind::Reference(index) => Value::Reference(index),
            Kind::ClassName { text } | Kind::FieldName { text, .. } | Kind::TypeName { text } => {
                Value::Name(self.slice(text))
            }
            Kind::Opaque => Value::Opaque,
        }
    }

    /// The text of a string or a name; `None` for everything else.
    pub fn text(&self, node: NodeId) -> Option<&str> {
        match self.value(node) {
            Value::String(text) | Value::Name(text) => Some(text),
            _ => None,
        }
    }

    /// Whether writing the text of a string again gives the same characters on the wire. It does
    /// not for lone surrogates and for characters in a form that Java does not write.
    pub fn is_exact(&self, node: NodeId) -> bool {
        !matches!(self.node(node).kind, Kind::String { exact: false, .. })
    }

    /// What a container holds: items, keys and values in turn, or fields.
    pub fn children(&self, node: NodeId) -> &[NodeId] {
        self.span(self.node(node).kind.children())
    }

    /// The class name of an instance, the type name of a list or map.
    pub fn class_name(&self, node: NodeId) -> Option<&str> {
        match self.value(node) {
            Value::Instance { class_name, .. } => Some(class_name),
            Value::List { type_name, .. } | Value::Map { type_name, .. } => type_name,
            _ => None,
        }
    }

    /// The field of an instance, or the value under a string key of a map (the first one).
    /// References are not followed.
    pub fn member(&self, node: NodeId, name: &str) -> Option<NodeId> {
        match self.value(node) {
            Value::Instance { names, fields, .. } => names
                .iter()
                .zip(fields)
                .find(|(field, _)| self.text(**field) == Some(name))
                .map(|(_, value)| *value),
            Value::Map { entries, .. } => entries
                .chunks_exact(2)
                .find(|entry| matches!(self.value(entry[0]), Value::String(key) if key == name))
                .map(|entry| entry[1]),
            _ => None,
        }
    }

    /// The object that a reference points to.
    pub fn target(&self, reference: u32) -> Option<NodeId> {
        self.targets.get(reference as usize).copied()
    }

    /// The node itself, or what it refers to.
    pub fn resolve(&self, node: NodeId) -> Option<NodeId> {
        match self.value(node) {
            Value::Reference(index) => self.target(index),
            _ => Some(node),
        }
    }

    /// How many objects a reference could point to, before `offset` in the body.
    pub fn targets_before(&self, offset: usize) -> usize {
        self.targets
            .partition_point(|target| (self.node(*target).start as usize) < offset)
    }

    /// Every string, in the order of the bytes.
    pub fn strings(&self) -> impl Iterator<Item = StringAt<'_>> {
        self.nodes().filter_map(|node| {
            let role = self.role(node)?;
            Some(StringAt {
                node,
                role,
                text: self.text(node)?,
            })
        })
    }

    /// What a string is used for; `None` when the node is no string.
    pub fn role(&self, node: NodeId) -> Option<Role> {
        let found = self.node(node);
        Some(match found.kind {
            Kind::String { .. } if self.is_key(node) => Role::Key,
            Kind::String { .. } => Role::Value,
            Kind::ClassName { .. } => Role::ClassName,
            Kind::FieldName { .. } => Role::FieldName,
            Kind::TypeName { .. } => Role::TypeName,
            _ => return None,
        })
    }

    pub(super) fn is_key(&self, node: NodeId) -> bool {
        let found = self.node(node);
        found.position.is_multiple_of(2)
            && self
                .parent(node)
                .is_some_and(|parent| matches!(self.node(parent).kind, Kind::Map { .. }))
    }

    /// Ids come from this document, so they are in range; one of another document may not be.
    pub(super) fn node(&self, node: NodeId) -> &Node {
        const NOTHING: &Node = &Node {
            start: 0,
            end: 0,
            parent: NO_PARENT,
            position: 0,
            kind: Kind::Opaque,
        };
        self.nodes.get(node.at()).unwrap_or(NOTHING)
    }

    pub(super) fn name(&self, node: NodeId) -> &str {
        self.text(node).unwrap_or_default()
    }

    fn type_name(&self, id: Option<TypeId>) -> Option<&str> {
        self.types.get(id?.0 as usize).map(|node| self.name(*node))
    }

    fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    fn span(&self, span: Span) -> &[NodeId] {
        self.children.get(span.range()).unwrap_or_default()
    }
}

impl Kind {
    fn children(self) -> Span {
        match self {
            Kind::List { items: span, .. }
            | Kind::Map { entries: span, .. }
            | Kind::Instance { fields: span, .. }
            | Kind::Remote { url: span, .. } => span,
            _ => Span::default(),
        }
    }
}
