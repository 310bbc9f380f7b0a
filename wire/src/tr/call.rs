//! What a request is about, without a tree of its body.

use std::borrow::Cow;

use crate::hessian::{Document, NodeId, Scan};

/// A `SofaRequest` up to its first value, as `com.alipay.sofa:hessian` 3.5.5 writes it.
const START: &[u8] = b"O\xbccom.alipay.sofa.rpc.core.request.SofaRequest\x95\
    \x0dtargetAppName\x0amethodName\x17targetServiceUniqueName\x0crequestProps\x0dmethodArgSigso\x90";

/// What routing and deadlines need of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call<'a> {
    /// `interface:version[:uniqueId]`.
    pub service: Option<Cow<'a, str>>,
    /// The method.
    pub method: Option<Cow<'a, str>>,
    /// `zproxyTimeout` of the request's trace context, in milliseconds; `None` where there is
    /// none above 0.
    pub timeout_ms: Option<u32>,
}

/// Reads the content of a request. `None` where it is no `SofaRequest` that can be read.
///
/// Costs some hundred nanoseconds on what the real serializer writes, whatever the arguments; in
/// any other form the content is read as a whole.
pub fn call(content: &[u8]) -> Option<Call<'_>> {
    usual(content).or_else(|| by_names(content))
}

/// Whether both ways of reading a content that is in order find the same.
pub(crate) fn agrees(content: &[u8]) -> bool {
    let (_, findings) = Document::parse(content);
    match usual(content) {
        Some(usual) if findings.is_empty() => by_names(content) == Some(usual),
        _ => true,
    }
}

#[inline]
fn usual(content: &[u8]) -> Option<Call<'_>> {
    let mut scan = Scan::new(content);
    scan.eat(START)?;
    scan.text_or_null()?;
    let method = scan.text_or_null()?;
    let service = scan.text_or_null()?;
    Some(Call {
        service: service.map(Cow::Borrowed),
        method: method.map(Cow::Borrowed),
        timeout_ms: timeout(&mut scan)?,
    })
}

/// The time-out in `requestProps`, which is where `scan` stands; `None` inside where there is
/// none, `None` where the properties are not as usual.
#[inline]
fn timeout(scan: &mut Scan<'_>) -> Option<Option<u32>> {
    if let Some(None) = scan.clone().text_or_null() {
        return Some(None);
    }
    scan.map()?;
    while !scan.ends() {
        if scan.text_or_null()? != Some("rpc_trace_context") {
            scan.skip()?;
            continue;
        }
        scan.map()?;
        while !scan.ends() {
            if scan.text_or_null()? == Some("zproxyTimeout") {
                return Some(scan.text_or_null()?.and_then(milliseconds));
            }
            scan.skip()?;
        }
        return Some(None);
    }
    Some(None)
}

/// A time-out as `zproxyTimeout` gives it, where it is above 0.
pub(crate) fn milliseconds(text: &str) -> Option<u32> {
    text.parse().ok().filter(|ms| *ms > 0)
}

#[cold]
fn by_names(content: &[u8]) -> Option<Call<'static>> {
    let (document, _) = Document::parse(content);
    let root = *document.roots().first()?;
    let service = document.member(root, "targetServiceUniqueName")?;
    let text = |node: NodeId| document.text(node).map(|text| Cow::Owned(text.to_owned()));
    let inner = |node, name| document.resolve(document.member(node, name)?);
    let timeout_ms = inner(root, "requestProps")
        .and_then(|props| inner(props, "rpc_trace_context"))
        .and_then(|context| document.member(context, "zproxyTimeout"))
        .and_then(|node| milliseconds(document.text(node)?));
    Some(Call {
        service: text(service),
        method: document.member(root, "methodName").and_then(text),
        timeout_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hessian::Writer;

    const FIELDS: [&str; 5] = [
        "targetAppName",
        "methodName",
        "targetServiceUniqueName",
        "requestProps",
        "methodArgSigs",
    ];

    fn request(fields: [&str; 5], timeout: &str, odd: bool) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.object("com.alipay.sofa.rpc.core.request.SofaRequest", &fields);
        for field in fields {
            match field {
                "methodName" => writer.string("hello"),
                "targetServiceUniqueName" => writer.string("com.alipay.demo.SampleService:1.0"),
                "requestProps" => {
                    writer.map(None);
                    if odd {
                        writer.string("odd");
                        let end = writer.list(None, Some(0));
                        writer.end_list(end);
                    }
                    writer.string("rpc_req_baggage").map(None).end_map();
                    writer.string("rpc_trace_context").map(None);
                    writer.string("sofaRpcId").string("0");
                    writer.string("zproxyTimeout").string(timeout);
                    writer.end_map().end_map()
                }
                _ => writer.null(),
            };
        }
        writer.string("an argument");
        writer.finish()
    }

    #[track_caller]
    fn check(content: &[u8], timeout_ms: Option<u32>) {
        let expect = Call {
            service: Some("com.alipay.demo.SampleService:1.0".into()),
            method: Some("hello".into()),
            timeout_ms,
        };
        assert_eq!(call(content), Some(expect));
    }

    #[test]
    fn calls() {
        check(&request(FIELDS, "3000", false), Some(3000));
        check(&request(FIELDS, "0", false), None);
        check(&request(FIELDS, "-1", false), None);
        check(&request(FIELDS, "soon", false), None);
        // Properties that only the tree reads.
        check(&request(FIELDS, "3000", true), Some(3000));
        let mut other_order = FIELDS;
        other_order.reverse();
        check(&request(other_order, "70", false), Some(70));
        assert_eq!(call(b"\x05hello"), None);
        assert_eq!(call(b""), None);
    }

    #[test]
    fn both_ways_agree_on_any_cut() {
        let whole = request(FIELDS, "3000", false);
        for end in 0..whole.len() {
            if let (Some(quick), Some(slow)) = (usual(&whole[..end]), by_names(&whole[..end])) {
                assert_eq!(quick, slow, "{end}");
            }
        }
    }
}
