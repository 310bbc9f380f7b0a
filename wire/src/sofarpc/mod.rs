//! What SOFARPC puts on top: service, method, apps, trace id, baggage; errors inside answers.
//!
//! SOFARPC 5.13.2 says everything twice: in the header map of the frame and in the Hessian body.
//! Reading goes by the header map, as the real server does, and looks at the body only for what
//! the map lacks.
//!
//! - [`request`]: who calls what.
//! - [`response`], [`is_exception`]: whether an answer is an exception, and which.
//! - [`argument_hash`]: the same for equal arguments, whatever the trace id.

mod arguments;
mod request;
mod response;

pub use arguments::{argument_hash, arguments};
pub use request::{Request, request, request_with_body};
pub use response::{Cause, Response, is_exception, is_throwable, response, stack};

use crate::Frame;
use crate::hessian::Document;

/// Class of a SOFARPC request's content.
pub const REQUEST_CLASS: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";
/// Class of a SOFARPC response's content.
pub const RESPONSE_CLASS: &str = "com.alipay.sofa.rpc.core.response.SofaResponse";
/// Serializer code of Hessian (SOFABolt 1.6.11).
pub const CODEC_HESSIAN: u8 = 1;
/// Serializer code of JSON (`SERIALIZE_CODE_JSON` of SOFARPC).
pub const CODEC_JSON: u8 = 12;

/// Keys of the header map, as SOFARPC 5.13.2 writes them.
pub mod header {
    /// The service, with version and, where there is one, unique id.
    pub const SERVICE: &str = "service";
    /// The service once more; the real server reads it where `service` is missing.
    pub const TARGET_SERVICE: &str = "sofa_head_target_service";
    /// The method.
    pub const METHOD: &str = "sofa_head_method_name";
    /// The app that is called; only where the URL names it.
    pub const TARGET_APP: &str = "sofa_head_target_app";
    /// The app that calls.
    pub const APP: &str = "app";
    /// The trace id: IPv4 of the first caller in 8 hex digits, 13 digits of milliseconds, a
    /// counter, a process id.
    pub const TRACE_ID: &str = "rpc_trace_context.sofaTraceId";
    /// The place of the call in its trace.
    pub const RPC_ID: &str = "rpc_trace_context.sofaRpcId";
    /// What baggage keys begin with.
    pub const BAGGAGE: &str = "rpc_req_baggage.";
    /// `true` in an answer that is an error or whose result is an exception.
    pub const RESPONSE_ERROR: &str = "sofa_head_response_error";
}

/// The body of a frame, parsed, where it is Hessian.
fn body(frame: &Frame) -> Option<Document> {
    let content = frame.content();
    (frame.head.is_hessian() && !content.is_empty()).then(|| Document::parse(content).0)
}
