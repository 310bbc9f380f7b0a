//! What a request calls, as far as its bytes tell.

use std::fmt;

use meshproof_wire::Frame;

/// A call by name and arguments. Two requests with equal calls ask for the same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Call {
    /// The service, `com.alipay.demo.SampleService:1.0`; for plain BOLT the class of the content.
    pub service: String,
    /// The method; `None` where the protocol on top is not known.
    pub method: Option<String>,
    /// Hash of the arguments; of the whole content where nothing tells which part they are.
    pub arguments: [u8; 16],
    /// Trace id and span, where the request carries them: the one call that this is.
    pub trace: Option<String>,
}

impl Call {
    /// Reads a request.
    pub fn of(frame: &Frame) -> Call {
        let headers = frame.headers();
        let header = |key: &str| headers.get(key).map(str::to_owned);
        let service = header("sofa_head_target_service").or_else(|| header("service"));
        let hash = blake3::hash(frame.content());
        let mut arguments = [0; 16];
        arguments.copy_from_slice(&hash.as_bytes()[..16]);
        Call {
            service: service.unwrap_or_else(|| frame.class().unwrap_or_default().to_owned()),
            method: header("sofa_head_method_name"),
            arguments,
            trace: header("rpc_trace_context.sofaTraceId"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{}.{method}", self.service),
            None => f.write_str(&self.service),
        }
    }
}
