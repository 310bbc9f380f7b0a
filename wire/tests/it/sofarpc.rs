//! SOFARPC in real frames.

use meshproof_wire::Kind;
use meshproof_wire::hessian::{Copier, Document, Writer};
use meshproof_wire::sofarpc::{self, Request};

use crate::captures;
use crate::frames::{bolt_captures, frames};

#[test]
fn every_body_parses_and_is_written_again_alike() {
    let mut bodies = 0;
    for name in bolt_captures() {
        for frame in frames(&name)
            .iter()
            .filter(|frame| !frame.content().is_empty())
        {
            let (document, findings) = Document::parse(frame.content());
            assert_eq!(findings, [], "{name}: {:?}", frame.head);
            let (mut writer, mut copier) = (Writer::new(), Copier::new());
            for root in document.roots() {
                copier.copy(&document, *root, &mut writer);
            }
            assert!(
                writer.bytes() == frame.content(),
                "{name}: {:?}",
                frame.head
            );
            bodies += 1;
        }
    }
    assert!(bodies > 100, "only {bodies} bodies");
}

#[test]
fn calls_are_named() {
    let calls: Vec<Request> = frames("sofarpc_bolt_hessian2")
        .iter()
        .filter_map(sofarpc::request)
        .collect();
    let methods: Vec<_> = calls
        .iter()
        .filter_map(|call| call.method.as_deref())
        .collect();
    assert_eq!(methods, ["hello", "place", "notifyOneway", "boom"]);
    let hello = Request {
        service: Some("com.alipay.demo.SampleService:1.0".into()),
        method: Some("hello".into()),
        target_app: None,
        app: Some("sample-client".into()),
        trace: Some("0a0fe8f8179542344391810018173".into()),
        rpc_id: Some("0".into()),
        baggage: Vec::new(),
        argument_types: Vec::new(),
        ..Request::default()
    };
    assert_eq!(calls[0], hello);
    let named = frames("sofarpc_bolt_url_appName");
    let named = named.iter().find_map(sofarpc::request).expect("a request");
    assert_eq!(named.target_app.as_deref(), Some("target-app"));
}

#[test]
fn calls_are_what_the_models_say() {
    let mut calls_seen = 0;
    for name in bolt_captures() {
        let calls: Vec<Request> = frames(&name).iter().filter_map(sofarpc::request).collect();
        let model = captures::model(&name);
        for frame in model["frames"].as_array().expect("frames") {
            if frame["class"] != sofarpc::REQUEST_CLASS {
                continue;
            }
            let header = |key: &str| frame["headers"][key].as_str().map(str::to_owned);
            let found = calls
                .iter()
                .find(|call| call.trace == header("rpc_trace_context.sofaTraceId"))
                .expect("a call with this trace id");
            assert_eq!(found.service, header("service"));
            assert_eq!(found.method, header("sofa_head_method_name"));
            assert_eq!(found.app, header("app"));
            assert_eq!(found.target_app, header("sofa_head_target_app"));
            calls_seen += 1;
        }
    }
    assert!(calls_seen >= 5, "only {calls_seen} calls");
}

#[test]
fn the_body_says_what_the_header_map_says() {
    for name in ["sofarpc_bolt_hessian2", "sofarpc_bolt_url_appName"] {
        for frame in frames(name) {
            let Some(call) = sofarpc::request(&frame) else {
                continue;
            };
            let (document, _) = Document::parse(frame.content());
            let whole = sofarpc::request_with_body(&frame, &document).expect("a request");
            assert!(!whole.argument_types.is_empty());
            let without_headers = without_headers(&frame);
            let from_body = sofarpc::request(&without_headers).expect("a request");
            assert_eq!(from_body.argument_types, whole.argument_types);
            assert_eq!(
                Request {
                    argument_types: Vec::new(),
                    ..from_body
                },
                call
            );
        }
    }
}

#[test]
fn exceptions_are_told_apart() {
    let all = frames("sofarpc_bolt_hessian2");
    let answers: Vec<_> = all
        .iter()
        .filter(|frame| frame.head.kind == Kind::Response)
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(!sofarpc::is_exception(answers[0]));
    assert!(!sofarpc::is_exception(answers[1]));
    assert!(sofarpc::is_exception(answers[2]));
    let boom = sofarpc::response(answers[2]);
    assert!(boom.is_exception);
    assert_eq!(boom.error_message, None);
    assert_eq!(boom.chain.len(), 1);
    assert_eq!(boom.chain[0].class, "java.lang.IllegalStateException");
    assert_eq!(boom.chain[0].message.as_deref(), Some("boom x"));
    assert_eq!(
        boom.chain[0].stack[0],
        "peer.RpcServer$Impl.boom(RpcServer.java:10)"
    );
    assert_eq!(
        boom.chain[0].stack[1],
        "jdk.internal.reflect.NativeMethodAccessorImpl.invoke0(Native Method)"
    );
    // The flag in the header map and the body say the same.
    for answer in answers {
        let bare = without_headers(answer);
        assert_eq!(sofarpc::is_exception(&bare), sofarpc::is_exception(answer));
    }
}

#[test]
fn the_server_itself_reports_errors() {
    check_server_exception(
        "bolt_v1_exception",
        "[Server]OriginErrorMsg: java.lang.IllegalStateException: boom x. \
         AdditionalErrorMsg: SYNC process rpc request failed in RpcRequestProcessor, id=1",
    );
    check_server_exception(
        "bolt_v1_noprocessor",
        "No user processor found for request: java.lang.String",
    );
}

#[track_caller]
fn check_server_exception(name: &str, message: &str) {
    let all = frames(name);
    let failed = all
        .iter()
        .find(|frame| frame.head.status.is_some_and(|status| status != 0))
        .expect("an error");
    assert!(sofarpc::is_exception(failed));
    let answer = sofarpc::response(failed);
    assert!(answer.is_exception);
    let exception = answer.exception().expect("an exception");
    assert_eq!(
        exception.class,
        "com.alipay.remoting.rpc.exception.RpcServerException"
    );
    assert_eq!(exception.message.as_deref(), Some(message));
    assert!(exception.stack.len() > 3);
}

#[test]
fn arguments_hash_alike_whatever_the_trace() {
    let one = frames("sofarpc_bolt_hessian2");
    let other = frames("sofarpc_bolt_url_appName");
    // Both say hello to the same name, with other trace ids and another target app.
    assert_eq!(
        sofarpc::argument_hash(&one[0]),
        sofarpc::argument_hash(&other[0])
    );
    let mut hashes: Vec<u64> = one[..4].iter().map(sofarpc::argument_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 4);
    let range = sofarpc::arguments(&one[0]).expect("arguments");
    assert_eq!(&one[0].bytes[range], b"\x05world");
    // It is written down in records: it stays as it is.
    assert_eq!(
        format!("{:016x}", sofarpc::argument_hash(&one[0])),
        "65c489b062e17232"
    );
}

fn without_headers(frame: &meshproof_wire::Frame) -> meshproof_wire::Frame {
    let mut build = meshproof_wire::bolt::Build::of(frame).expect("a frame");
    build.headers = b"";
    let bytes = build.encode().expect("it fits");
    meshproof_wire::Frame::parse(bytes).expect("a frame")
}
