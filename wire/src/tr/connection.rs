//! The connection object of a frame: `ConnectionRequest` or `ConnectionResponse`.
//!
//! Both are read by the bytes that the real serializer writes, which are the same in every frame
//! up to the values; an object in another order or form is read by the names in its definition.

use std::ops::Range;

use super::head::Flag;
use crate::hessian::{Document, NodeId, Scan, Value};
use crate::protocol::RequestId;

/// A `ConnectionRequest` up to the id, as `com.alipay.sofa:hessian` 3.5.5 writes it.
pub(super) const REQUEST_START: &[u8] = b"O\xbacom.taobao.remoting.impl.ConnectionRequest\x91\
    \x03ctxo\x90O\xc8\x39com.taobao.remoting.impl.ConnectionRequest$RequestContext\x92\
    \x02id\x06this$0o\x91";

/// A `ConnectionResponse` up to the host.
pub(super) const RESPONSE_START: &[u8] = b"O\xbbcom.taobao.remoting.impl.ConnectionResponse\x95\
    \x04host\x06result\x08errorMsg\x0aerrorStack\x03ctxo\x90";

/// What stands between the error stack and the id.
pub(super) const RESPONSE_CONTEXT: &[u8] =
    b"O\xc8\x3bcom.taobao.remoting.impl.ConnectionResponse$ResponseContext\x92\
    \x02id\x06this$0o\x91";

/// What follows the id: `this$0` refers to the outer object.
pub(super) const END: &[u8] = b"J\0";

/// What every frame's connection object is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: RequestId,
    /// Within the object.
    pub(super) id_at: Range<usize>,
    /// Of a response.
    pub(super) result: Option<i32>,
}

/// Reads a connection object.
#[inline]
pub(super) fn find(object: &[u8], flag: Flag) -> Option<Found> {
    let scan = Scan::new(object);
    match flag {
        Flag::Request => usual_request(scan),
        Flag::Response => usual_response(scan),
    }
    .or_else(|| by_names(object, flag))
}

/// Whether both ways of reading an object that is in order find the same, where both find any.
pub(super) fn agrees(object: &[u8], flag: Flag) -> bool {
    let scan = Scan::new(object);
    let usual = match flag {
        Flag::Request => usual_request(scan),
        Flag::Response => usual_response(scan),
    };
    let (_, findings) = Document::parse(object);
    match (usual, by_names(object, flag)) {
        (Some(usual), Some(named)) => usual == named || !findings.is_empty(),
        _ => true,
    }
}

#[inline]
fn usual_request(mut scan: Scan<'_>) -> Option<Found> {
    scan.eat(REQUEST_START)?;
    id_and_end(scan, None)
}

#[inline]
fn usual_response(mut scan: Scan<'_>) -> Option<Found> {
    scan.eat(RESPONSE_START)?;
    scan.skip()?;
    let result = scan.int()?;
    scan.skip()?;
    scan.skip()?;
    scan.eat(RESPONSE_CONTEXT)?;
    id_and_end(scan, Some(result))
}

#[inline]
fn id_and_end(mut scan: Scan<'_>, result: Option<i32>) -> Option<Found> {
    let start = scan.at();
    let id = scan.long()?;
    Some(Found {
        id: RequestId(id as u64),
        id_at: start..scan.at(),
        result,
    })
}

#[cold]
fn by_names(object: &[u8], flag: Flag) -> Option<Found> {
    let (document, _) = Document::parse(object);
    let root = *document.roots().first()?;
    let context = resolved(&document, root, "ctx")?;
    let id = document.member(context, "id")?;
    let value = number(&document, id)?;
    let result = match flag {
        Flag::Request => None,
        Flag::Response => document
            .member(root, "result")
            .and_then(|node| number(&document, node))
            .map(|result| i32::try_from(result).unwrap_or(i32::MAX)),
    };
    Some(Found {
        id: RequestId(value as u64),
        id_at: document.range(id),
        result,
    })
}

fn resolved(document: &Document, node: NodeId, name: &str) -> Option<NodeId> {
    document.resolve(document.member(node, name)?)
}

fn number(document: &Document, node: NodeId) -> Option<i64> {
    match document.value(node) {
        Value::Long(value) => Some(value),
        // What the real decoder takes for a long as well.
        Value::Int(value) => Some(value.into()),
        _ => None,
    }
}

/// What a `ConnectionResponse` says besides the id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `IP:PORT` of the server: an address in every response.
    pub host: Option<String>,
    /// 0 is success; the meaning of other codes is not known.
    pub result: i32,
    /// Null in every real response seen.
    pub error_message: Option<String>,
    /// Null in every real response seen.
    pub error_stack: Option<String>,
}

/// Reads the connection object of a response; `None` where it is none.
pub fn answer(object: &[u8]) -> Option<Answer> {
    let (document, _) = Document::parse(object);
    let root = *document.roots().first()?;
    let text = |name| {
        let node = document.member(root, name)?;
        document.text(node).map(str::to_owned)
    };
    let result = number(&document, document.member(root, "result")?)?;
    Some(Answer {
        host: text("host"),
        result: i32::try_from(result).unwrap_or(i32::MAX),
        error_message: text("errorMsg"),
        error_stack: text("errorStack"),
    })
}
