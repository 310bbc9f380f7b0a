//! What a request calls, as far as its bytes tell.

use std::fmt;

use meshproof_wire::Frame;

use crate::idiom;

/// A call by name and arguments. Two requests of equal service, method and arguments ask for the
/// same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Call {
    /// The service, `com.alipay.demo.SampleService:1.0`; for plain BOLT the class of the content.
    pub service: String,
    /// The method; `None` where the protocol on top is not known.
    pub method: Option<String>,
    /// Hash of the arguments; of the whole content where nothing tells which part they are.
    pub arguments: u64,
    /// Trace id and place in the trace, where the request carries them: the one call that this is.
    pub trace: Option<String>,
}

impl Call {
    /// Reads a request.
    pub fn of(frame: &Frame) -> Call {
        let arguments = idiom::of(frame.head.protocol).argument_hash(frame);
        let class = || frame.class().unwrap_or_default().to_owned();
        let Some(request) = idiom::asked(frame) else {
            return Call {
                service: class(),
                method: None,
                arguments,
                trace: None,
            };
        };
        let place = request.rpc_id.unwrap_or_default();
        Call {
            service: request.service.unwrap_or_else(class),
            method: request.method,
            arguments,
            trace: request.trace.map(|trace| format!("{trace}/{place}")),
        }
    }
}

/// The method that the body names, whatever the header map says: a sidecar goes by the map, a real
/// SOFARPC server invokes what the body says.
pub(crate) fn method_of_body(request: &Frame) -> Option<String> {
    idiom::of(request.head.protocol).method_of_body(request)
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{}.{method}", self.service),
            None => f.write_str(&self.service),
        }
    }
}
