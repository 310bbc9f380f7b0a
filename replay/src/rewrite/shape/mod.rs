//! How each protocol lays a frame out for the rewriter: which parts hold text, and what follows
//! when they change their length.
//!
//! One file per protocol; the rewriter itself knows none.

mod bolt;
mod mesh_api;
mod tr;

use std::ops::Range;

use meshproof_wire::{Frame, Protocol};

use super::frame::Change;
use crate::idiom::message::Message;

/// What a part of a frame is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rewrite) enum Form {
    /// The header map of BOLT.
    HeaderMap,
    /// Hessian in the dialect of SOFA.
    Hessian,
    /// The head of an HTTP message.
    Lines(Message),
    /// JSON, in these pieces.
    Json(Vec<Range<usize>>),
    /// Nothing that is understood.
    Other,
}

/// A part of a frame that may hold what a rule wants replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rewrite) struct Part {
    /// Its bytes, from the frame's first byte.
    pub(in crate::rewrite) range: Range<usize>,
    /// What they are written in.
    pub(in crate::rewrite) form: Form,
    /// The name that paths into it begin with; empty for the body itself.
    pub(in crate::rewrite) name: &'static str,
    /// What it is for.
    pub(in crate::rewrite) role: Role,
}

/// What a part of a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rewrite) enum Role {
    /// It says what is called or answered.
    Content,
    /// It says how the frame travels, and holds its id: only texts in it change.
    Envelope,
}

/// The layout of one frame.
pub(in crate::rewrite) trait Shape {
    /// Its parts, in the order of the bytes.
    fn parts(&self) -> Vec<Part>;

    /// Adds what follows from the changes: lengths and checksums. The changes are in order and lie
    /// within the parts; the result is in order. `None` where something does not fit its length
    /// field any more.
    fn finish(&self, frame: &Frame, changes: Vec<Change>) -> Option<Vec<Change>>;

    /// The changes that take out everything that could hold a value, so that what is left is still
    /// a whole frame of the same kind and id.
    fn emptied(&self, frame: &Frame) -> Vec<Change>;
}

/// The layout of a frame; `None` where its bytes are not the frame that its head describes.
pub(in crate::rewrite) fn of(frame: &Frame) -> Option<Box<dyn Shape>> {
    match frame.head.protocol {
        Protocol::BoltV1 | Protocol::BoltV2 => {
            bolt::Bolt::of(frame).map(|shape| Box::new(shape) as Box<dyn Shape>)
        }
        Protocol::Tr => tr::Tr::of(frame).map(|shape| Box::new(shape) as Box<dyn Shape>),
        Protocol::MeshApi => {
            mesh_api::MeshApi::of(frame).map(|shape| Box::new(shape) as Box<dyn Shape>)
        }
        // A protocol that is not known here is blanked by who asks.
        _ => None,
    }
}
