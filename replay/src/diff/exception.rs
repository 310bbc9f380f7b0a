//! Exceptions compare by class, message and chain of causes; stack frames are shown, not judged.

use meshproof_wire::hessian::{Document, NodeId, Value};
use meshproof_wire::sofarpc::{self, is_throwable};

/// Stack frames that are shown of one exception.
pub(super) const STACK_SHOWN_MAX: usize = 8;

/// Fields of `java.lang.Throwable` that are compared in their own way or not at all.
const OF_THROWABLE: [&str; 5] = [
    "detailMessage",
    "cause",
    "stackTrace",
    "suppressedExceptions",
    "depth",
];

/// Whether a field is one of `java.lang.Throwable` itself.
pub(super) fn is_of_throwable(field: &str) -> bool {
    OF_THROWABLE.contains(&field)
}

/// The message.
pub(super) fn message(document: &Document, node: NodeId) -> Option<&str> {
    let message = document.resolve(document.member(node, "detailMessage")?)?;
    document.text(message)
}

/// What caused it. An exception that is its own cause is Java's way to say "none".
pub(super) fn cause(document: &Document, node: NodeId) -> Option<NodeId> {
    let cause = document.resolve(document.member(node, "cause")?)?;
    (cause != node && is_throwable(document, cause)).then_some(cause)
}

/// One line: class and message.
pub(super) fn headline(document: &Document, node: NodeId) -> String {
    let class = document.class_name(node).unwrap_or_default();
    match message(document, node) {
        Some(message) => format!("{class}: {message}"),
        None => class.to_owned(),
    }
}

/// `errorMsg` of a SofaResponse whose error flag is set; empty where it has none.
pub(super) fn response_error(document: &Document, node: NodeId) -> Option<String> {
    let flag = document.member(node, "isError")?;
    if document.class_name(node) != Some(sofarpc::RESPONSE_CLASS)
        || document.value(flag) != Value::Bool(true)
    {
        return None;
    }
    let message = document
        .member(node, "errorMsg")
        .and_then(|message| document.resolve(message))
        .and_then(|message| document.text(message));
    Some(message.unwrap_or_default().to_owned())
}
