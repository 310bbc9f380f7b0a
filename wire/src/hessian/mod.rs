//! Hessian in the dialect of SOFA, as a tree with byte ranges.
//!
//! The dialect is the old draft of Hessian 2 that `com.alipay.sofa:hessian` (3.5.5) reads and
//! writes: `O` defines a class and `o` begins an instance, `J`, `K` and `R` refer back, `M…z` is
//! a map, `V…z` a list and `v` a list whose type was seen before. It is not the final
//! Hessian 2.0 (`C`, `H`, 0x60…) that Dubbo speaks.
//!
//! - [`Document`]: a body, parsed: a sequence of top-level values in an arena.
//! - [`edit`] replaces strings and leaves every other byte as it came.
//! - [`Writer`] writes values as the real encoder does.
//!
//! ```
//! use meshproof_wire::hessian::{Document, apply, edit};
//!
//! let body = b"M\x03app\x0dsample-clientz";
//! let (document, findings) = Document::parse(body);
//! assert!(findings.is_empty());
//! let app = document.find("[0].app").expect("the map has that key");
//! let edits = edit(&document, &[(app, "offline".to_owned())]).expect("a string");
//! assert_eq!(apply(body, &edits), b"M\x03app\x07offlinez");
//! ```
//!
//! **Invariant:** parsing never fails and never recurses; what is not understood is an opaque
//! node and a [`Finding`].

mod document;
mod edit;
mod finding;
mod parse;
mod path;
mod scan;
mod text;
mod writer;

pub use document::{Class, ClassId, Document, Limits, NodeId, Role, StringAt, TypeId, Value};
pub use edit::{Edit, EditError, apply, edit};
pub use finding::{Finding, Problem};
pub(crate) use scan::Scan;
pub use text::utf16_len;
pub use writer::{Copier, ListEnd, Writer};
