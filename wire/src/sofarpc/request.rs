//! Who calls what.

use super::{REQUEST_CLASS, body, header};
use crate::Frame;
use crate::hessian::{Document, NodeId, Value};

/// What a SOFARPC request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The service, as `com.alipay.demo.SampleService:1.0` or with `:uniqueId` behind it.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The app that is called; most callers do not name it.
    pub target_app: Option<String>,
    /// The app that calls.
    pub app: Option<String>,
    /// The trace id.
    pub trace: Option<String>,
    /// The place of the call in its trace (`0`, `0.1`…).
    pub rpc_id: Option<String>,
    /// Baggage in wire order.
    pub baggage: Vec<(String, String)>,
    /// Types of the arguments, as Java names them. Only the body has them.
    pub argument_types: Vec<String>,
    /// `zproxyTimeout` in milliseconds: TR has its time-out in the body, BOLT in the head.
    pub timeout_ms: Option<u32>,
    /// `zproxyVip`, in either form: of TR, where the caller names one.
    pub vip: Option<String>,
}

/// What a request says, from its header map; from its body only where the map names no service
/// or no method, as in TR, which has no map. `None` when the content is no SofaRequest.
pub fn request(frame: &Frame) -> Option<Request> {
    if frame.class_bytes() != REQUEST_CLASS.as_bytes() {
        return None;
    }
    let found = Request::of_headers(frame);
    if found.service.is_some() && found.method.is_some() {
        return Some(found);
    }
    Some(match body(frame) {
        Some(document) => found.or(Request::of_body(&document)),
        None => found,
    })
}

/// The same with everything that the body adds: types of the arguments, and what the header map
/// lacks.
pub fn request_with_body(frame: &Frame, document: &Document) -> Option<Request> {
    (frame.class_bytes() == REQUEST_CLASS.as_bytes())
        .then(|| Request::of_headers(frame).or(Request::of_body(document)))
}

impl Request {
    fn of_headers(frame: &Frame) -> Request {
        let mut found = Request::default();
        let mut target_service = None;
        for (key, value) in frame.headers().pairs() {
            let (Some(key), Some(value)) = (key.and_then(utf8), value.and_then(utf8)) else {
                continue;
            };
            let place = match key {
                header::SERVICE => &mut found.service,
                header::TARGET_SERVICE => &mut target_service,
                header::METHOD => &mut found.method,
                header::TARGET_APP => &mut found.target_app,
                header::APP => &mut found.app,
                header::TRACE_ID => &mut found.trace,
                header::RPC_ID => &mut found.rpc_id,
                _ => {
                    if let Some(key) = key.strip_prefix(header::BAGGAGE) {
                        found.baggage.push((key.to_owned(), value.to_owned()));
                    }
                    continue;
                }
            };
            place.get_or_insert_with(|| value.to_owned());
        }
        found.service = found.service.or(target_service);
        found
    }

    fn of_body(document: &Document) -> Request {
        let Some(&root) = document.roots().first() else {
            return Request::default();
        };
        let text = |node: Option<NodeId>| Some(document.text(node?)?.to_owned());
        let field = |name| text(document.member(root, name));
        let Some(props) = document
            .member(root, "requestProps")
            .and_then(|node| document.resolve(node))
        else {
            return Request {
                service: field("targetServiceUniqueName"),
                method: field("methodName"),
                target_app: field("targetAppName"),
                argument_types: argument_types(document, root),
                ..Request::default()
            };
        };
        let inner = |name| {
            document
                .member(props, name)
                .and_then(|node| document.resolve(node))
        };
        let trace = inner("rpc_trace_context");
        let traced = |name| text(document.member(trace?, name));
        let baggage = inner("rpc_req_baggage").map_or(&[][..], |node| document.children(node));
        Request {
            service: field("targetServiceUniqueName"),
            method: field("methodName"),
            target_app: field("targetAppName"),
            app: text(document.member(props, "app")).or_else(|| traced("sofaCallerApp")),
            trace: traced("sofaTraceId"),
            rpc_id: traced("sofaRpcId"),
            baggage: baggage
                .chunks_exact(2)
                .filter_map(|pair| Some((text(Some(pair[0]))?, text(Some(pair[1]))?)))
                .collect(),
            argument_types: argument_types(document, root),
            timeout_ms: traced("zproxyTimeout").and_then(|text| crate::tr::milliseconds(&text)),
            vip: traced("zproxyVip").filter(|vip| !vip.is_empty()),
        }
    }

    /// Fills what is missing from `other`.
    fn or(self, other: Request) -> Request {
        Request {
            service: self.service.or(other.service),
            method: self.method.or(other.method),
            target_app: self.target_app.or(other.target_app),
            app: self.app.or(other.app),
            trace: self.trace.or(other.trace),
            rpc_id: self.rpc_id.or(other.rpc_id),
            baggage: or(self.baggage, other.baggage),
            argument_types: or(self.argument_types, other.argument_types),
            timeout_ms: self.timeout_ms.or(other.timeout_ms),
            vip: self.vip.or(other.vip),
        }
    }
}

fn or<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
    if one.is_empty() { other } else { one }
}

fn argument_types(document: &Document, root: NodeId) -> Vec<String> {
    let types = document
        .member(root, "methodArgSigs")
        .and_then(|node| document.resolve(node));
    match types.map(|node| document.value(node)) {
        Some(Value::List { items, .. }) => items
            .iter()
            .filter_map(|item| document.text(*item))
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
