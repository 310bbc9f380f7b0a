//! Whether an answer is an exception, and which.
//!
//! Three layers can say so: the status of the frame (the server could not run the call; of TR
//! the result code in its connection object), the error flag of a SofaResponse (SOFARPC could
//! not), and a result that is a `Throwable` (the service itself threw; the status is 0 then).

use super::{RESPONSE_CLASS, body, header};
use crate::Frame;
use crate::bolt::status;
use crate::hessian::{Document, NodeId, Value};
use crate::tr;

/// Longest chain of causes that is read, and most frames of one stack.
const CAUSES_MAX: usize = 64;
const STACK_MAX: usize = 1024;

/// What an answer says of success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Whether any of the three layers reports an error.
    pub is_exception: bool,
    /// `errorMsg` of a SofaResponse whose error flag is set.
    pub error_message: Option<String>,
    /// The exception and then its causes, outermost first; empty when the answer carries none.
    pub chain: Vec<Cause>,
}

/// One exception of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The class.
    pub class: String,
    /// The message.
    pub message: Option<String>,
    /// The stack as Java prints it: `Class.method(File.java:12)`. It varies with builds and JVMs.
    pub stack: Vec<String>,
}

/// Whether an answer is an exception, at the least cost: by the status and the header map, which
/// SOFARPC 5.13.2 sets for every error; by the body for answers of others.
pub fn is_exception(frame: &Frame) -> bool {
    if frame
        .head
        .status
        .is_some_and(|code| code != status::SUCCESS)
    {
        return true;
    }
    if let Some(value) = frame.headers().get(header::RESPONSE_ERROR) {
        return value == "true";
    }
    // What SOFARPC itself wrote needs no look into the body.
    if frame.class_bytes() == RESPONSE_CLASS.as_bytes() && plainly_fine(frame.content()) {
        return false;
    }
    body(frame).is_some_and(|document| Response::of_body(&document).is_exception)
}

/// What an answer says; the body is read.
pub fn response(frame: &Frame) -> Response {
    let mut found = match body(frame) {
        Some(document) => Response::of_body(&document),
        None => Response::default(),
    };
    found.is_exception |= frame
        .head
        .status
        .is_some_and(|code| code != status::SUCCESS)
        || frame.headers().get(header::RESPONSE_ERROR) == Some("true");
    if found.is_exception
        && found.error_message.is_none()
        && let Some(parts) = frame.tr_parts()
        && let Some(answer) = tr::answer(frame.bytes.get(parts.connection).unwrap_or_default())
    {
        found.error_message = answer.error_message;
    }
    found
}

/// The beginning of a SofaResponse as Java writes it, up to the error flag and the error message:
/// neither is set, and the result is no instance of a class, so no exception.
fn plainly_fine(content: &[u8]) -> bool {
    const START: &[u8] = b"O\xbecom.alipay.sofa.rpc.core.response.SofaResponse\x94\
        \x07isError\x08errorMsg\x0bappResponse\x0dresponsePropso\x90FN";
    content
        .strip_prefix(START)
        .and_then(|rest| rest.first())
        .is_some_and(|code| !matches!(code, b'O' | b'o'))
}

impl Response {
    /// What a parsed body says: a SofaResponse, or the exception that SOFABolt itself answers
    /// with.
    pub fn of_body(document: &Document) -> Response {
        let Some(&root) = document.roots().first() else {
            return Response::default();
        };
        if document.class_name(root) == Some(RESPONSE_CLASS) {
            let flag = document
                .member(root, "isError")
                .map(|node| document.value(node));
            let is_error = flag == Some(Value::Bool(true));
            let chain = document
                .member(root, "appResponse")
                .map(|result| chain(document, result))
                .unwrap_or_default();
            let message = document
                .member(root, "errorMsg")
                .and_then(|node| document.text(node))
                .filter(|_| is_error);
            return Response {
                is_exception: is_error || !chain.is_empty(),
                error_message: message.map(str::to_owned),
                chain,
            };
        }
        let chain = chain(document, root);
        Response {
            is_exception: !chain.is_empty(),
            error_message: None,
            chain,
        }
    }

    /// The exception itself.
    pub fn exception(&self) -> Option<&Cause> {
        self.chain.first()
    }
}

/// An exception and its causes; a cause that was there before (Java's way to say "none" is an
/// exception that is its own cause) ends the chain.
fn chain(document: &Document, node: NodeId) -> Vec<Cause> {
    let mut seen = Vec::new();
    let mut chain = Vec::new();
    let mut next = document.resolve(node);
    while let Some(node) = next.filter(|node| !seen.contains(node))
        && chain.len() < CAUSES_MAX
        && is_throwable(document, node)
    {
        seen.push(node);
        let message = document
            .member(node, "detailMessage")
            .and_then(|node| document.text(node));
        chain.push(Cause {
            class: document.class_name(node).unwrap_or_default().to_owned(),
            message: message.map(str::to_owned),
            stack: stack(document, node),
        });
        next = document
            .member(node, "cause")
            .and_then(|node| document.resolve(node));
    }
    chain
}

/// Whether a value is an exception: every Throwable has these fields, and nothing else is likely
/// to.
pub fn is_throwable(document: &Document, node: NodeId) -> bool {
    matches!(document.value(node), Value::Instance { .. })
        && document.member(node, "detailMessage").is_some()
        && document.member(node, "stackTrace").is_some()
}

/// The stack of an exception as Java prints it: `Class.method(File.java:12)`.
pub fn stack(document: &Document, throwable: NodeId) -> Vec<String> {
    let list = document
        .member(throwable, "stackTrace")
        .and_then(|node| document.resolve(node));
    let Some(Value::List { items, .. }) = list.map(|node| document.value(node)) else {
        return Vec::new();
    };
    let line = |frame: NodeId| {
        let text = |name| {
            document
                .member(frame, name)
                .and_then(|node| document.text(node))
        };
        let place = match document
            .member(frame, "lineNumber")
            .map(|node| document.value(node))
        {
            // Java's own mark for native methods.
            Some(Value::Int(-2)) => "Native Method".to_owned(),
            Some(Value::Int(line)) if line >= 0 => {
                format!("{}:{line}", text("fileName").unwrap_or("Unknown Source"))
            }
            _ => text("fileName").unwrap_or("Unknown Source").to_owned(),
        };
        let class = text("declaringClass").unwrap_or_default();
        let method = text("methodName").unwrap_or_default();
        format!("{class}.{method}({place})")
    };
    items
        .iter()
        .take(STACK_MAX)
        .filter_map(|item| document.resolve(*item))
        .map(line)
        .collect()
}
