//! Tables: two answers, and the lines that tell where they part.

use std::fmt::Write as _;
use std::sync::Arc;

use meshproof_record::difference::Difference;
use meshproof_record::row::{ExchangeRow, Outcome};
use meshproof_record::verdict::Verdict;
use meshproof_wire::bolt::{Build, Command, Version, cmdcode, encode_headers};
use meshproof_wire::decoder::Decoded;
use meshproof_wire::hessian::{Document, Writer, apply, edit};
use meshproof_wire::sofarpc::RESPONSE_CLASS;
use meshproof_wire::{Frame, Kind};

use super::answer::{Frames, response};
use super::records::{diff_records, diff_within};
use super::tree::DIFFERENCES_MAX;
use super::{Answer, Noise, compare};
use crate::capture::Captures;
use crate::engine::call::Call;
use crate::engine::judge::Compare;
use crate::pipeline::{self, Options, Visitor};
use crate::stream::{Direction, Flow, Mark};

/// A value to be written as Hessian.
#[derive(Clone)]
enum V {
    Null,
    Yes,
    No,
    S(String),
    I(i32),
    L(i64),
    D(f64),
    Bin(Vec<u8>),
    List(Vec<V>),
    Of(&'static str, Vec<V>),
    Map(Vec<(V, V)>),
    Obj(&'static str, Vec<(&'static str, V)>),
    /// A back reference by number.
    Ref(u32),
}

fn s(text: &str) -> V {
    V::S(text.to_owned())
}

fn write(value: &V, writer: &mut Writer) {
    match value {
        V::Null => drop(writer.null()),
        V::Yes => drop(writer.boolean(true)),
        V::No => drop(writer.boolean(false)),
        V::S(text) => drop(writer.string(text)),
        V::I(value) => drop(writer.int(*value)),
        V::L(value) => drop(writer.long(*value)),
        V::D(value) => drop(writer.double(*value)),
        V::Bin(bytes) => drop(writer.binary(bytes)),
        V::List(items) => list(None, items, writer),
        V::Of(type_name, items) => list(Some(type_name), items, writer),
        V::Map(entries) => {
            writer.map(None);
            for (key, value) in entries {
                write(key, writer);
                write(value, writer);
            }
            writer.end_map();
        }
        V::Obj(class, fields) => {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            writer.object(class, &names);
            for (_, value) in fields {
                write(value, writer);
            }
        }
        V::Ref(index) => drop(writer.reference(*index)),
    }
}

fn list(type_name: Option<&str>, items: &[V], writer: &mut Writer) {
    let end = writer.list(type_name, Some(items.len() as u32));
    for item in items {
        write(item, writer);
    }
    writer.end_list(end);
}

fn body(value: &V) -> Vec<u8> {
    let mut writer = Writer::new();
    write(value, &mut writer);
    writer.finish()
}

/// What a service returns, within a SofaResponse.
fn returned(value: V) -> V {
    sofa_response(V::No, V::Null, value)
}

fn sofa_response(is_error: V, message: V, value: V) -> V {
    let fields = vec![
        ("isError", is_error),
        ("errorMsg", message),
        ("appResponse", value),
        ("responseProps", V::Null),
    ];
    V::Obj(RESPONSE_CLASS, fields)
}

fn order(amount: i32) -> V {
    V::Obj(
        "com.example.Order",
        vec![("id", s("o-1")), ("amount", V::I(amount))],
    )
}

/// An exception; `cause` is null, an exception, or a reference to itself as Java writes it.
fn thrown(class: &'static str, message: &str, cause: V, line: i32) -> V {
    let frame = vec![
        ("declaringClass", s("com.example.Shop")),
        ("methodName", s("buy")),
        ("fileName", s("Shop.java")),
        ("lineNumber", V::I(line)),
    ];
    let stack = vec![V::Obj("java.lang.StackTraceElement", frame)];
    let fields = vec![
        ("detailMessage", s(message)),
        ("cause", cause),
        ("stackTrace", V::Of("[java.lang.StackTraceElement", stack)),
    ];
    V::Obj(class, fields)
}

fn frame(status: u16, class: &str, headers: &[(&str, &str)], content: &[u8], id: u32) -> Frame {
    let headers = encode_headers(headers.iter().copied());
    let build = Build {
        version: Version::V2_CRC,
        command: Command::Response { status },
        cmdcode: cmdcode::RESPONSE,
        id,
        codec: 1,
        class: class.as_bytes(),
        headers: &headers,
        content,
    };
    Frame::parse(build.encode().unwrap()).unwrap()
}

fn answer(value: &V) -> Frame {
    frame(0, RESPONSE_CLASS, &[], &body(value), 1)
}

fn render(differences: &[Difference]) -> String {
    let mut out = String::new();
    for difference in differences {
        let text = |side: &Option<String>| match side {
            Some(text) => format!("`{text}`"),
            None => "nothing".to_owned(),
        };
        let shown = if difference.judged { "" } else { " (shown)" };
        let (one, other) = (text(&difference.recorded), text(&difference.observed));
        writeln!(out, "{}: {one} → {other}{shown}", difference.path).unwrap();
    }
    out
}

#[track_caller]
fn check_frames(recorded: &Frame, observed: &Frame, noise: &str, expect: &[&str]) {
    let frames = Frames {
        noise: Noise::parse("noise.yaml", noise).unwrap(),
    };
    let call = Call {
        service: "com.example.Shop:1.0".to_owned(),
        method: Some("buy".to_owned()),
        ..Call::default()
    };
    let found = frames.compare(&call, recorded, observed);
    assert_eq!(render(&found).lines().collect::<Vec<_>>(), expect);
}

#[track_caller]
fn check(recorded: V, observed: V, expect: &[&str]) {
    check_frames(&answer(&recorded), &answer(&observed), "noise: []", expect);
}

#[test]
fn one_changed_field_names_path_and_both_values() {
    check(
        returned(order(100)),
        returned(order(101)),
        &["body.appResponse.amount: `100` → `101`"],
    );
    check(returned(order(100)), returned(order(100)), &[]);
    let nested = |last: &str| {
        let hosts = V::List(vec![s("10.0.0.1:12200"), s(last)]);
        returned(V::Obj("com.example.Reply", vec![("hosts", hosts)]))
    };
    check(
        nested("10.0.0.2:12200"),
        nested("10.0.0.3:12200"),
        &["body.appResponse.hosts[1]: `10.0.0.2:12200` → `10.0.0.3:12200`"],
    );
}

#[test]
fn the_order_of_lists_matters_and_that_of_maps_and_sets_does_not() {
    let list = |items: [&str; 2]| returned(V::List(items.map(s).to_vec()));
    check(
        list(["a", "b"]),
        list(["b", "a"]),
        &[
            "body.appResponse[0]: `a` → `b`",
            "body.appResponse[1]: `b` → `a`",
        ],
    );
    let pair = |key: &str, value: i32| (s(key), V::I(value));
    let map = |pairs: [(V, V); 2]| returned(V::Map(pairs.to_vec()));
    check(
        map([pair("x", 1), pair("y", 2)]),
        map([pair("y", 2), pair("x", 1)]),
        &[],
    );
    check(
        map([pair("x", 1), pair("y", 2)]),
        map([pair("y", 3), pair("z", 1)]),
        &[
            "body.appResponse.x: `1` → nothing",
            "body.appResponse.y: `2` → `3`",
            "body.appResponse.z: nothing → `1`",
        ],
    );
    let set = |items: [&str; 2]| returned(V::Of("java.util.HashSet", items.map(s).to_vec()));
    check(set(["a", "b"]), set(["b", "a"]), &[]);
    check(
        set(["a", "b"]),
        set(["a", "c"]),
        &["body.appResponse[1]: `b` → `c`"],
    );
    let by_order = |amount| returned(V::Map(vec![(order(1), V::I(amount)), (V::I(5), V::Null)]));
    check(
        by_order(1),
        by_order(2),
        &["body.appResponse.(object Order{id: \"o-1\", amount: 1}): `1` → `2`"],
    );
}

#[test]
fn missing_and_added() {
    let one = V::Obj("com.example.A", vec![("a", V::I(1)), ("b", V::I(2))]);
    let other = V::Obj("com.example.A", vec![("b", V::I(2)), ("c", V::Null)]);
    check(
        returned(one),
        returned(other),
        &[
            "body.appResponse.a: `1` → nothing",
            "body.appResponse.c: nothing → `null`",
        ],
    );
    check(
        returned(V::List(vec![s("a")])),
        returned(V::List(vec![s("a"), order(1)])),
        &["body.appResponse[1]: nothing → `Order{id: \"o-1\", amount: 1}`"],
    );
    check(
        returned(order(1)),
        returned(V::Null),
        &["body.appResponse: `Order{id: \"o-1\", amount: 1}` → `null`"],
    );
}

#[test]
fn values_of_other_types() {
    check(
        returned(V::I(5)),
        returned(V::L(5)),
        &["body.appResponse: `int 5` → `long 5`"],
    );
    check(
        returned(V::I(5)),
        returned(s("5")),
        &["body.appResponse: `int 5` → `string 5`"],
    );
    check(
        returned(V::D(0.5)),
        returned(V::D(0.25)),
        &["body.appResponse: `0.5` → `0.25`"],
    );
    check(returned(V::D(f64::NAN)), returned(V::D(f64::NAN)), &[]);
    check(
        returned(V::Bin(vec![1, 2, 3])),
        returned(V::Bin(vec![1, 4, 3])),
        &["body.appResponse: `3 bytes, from byte 1: 0203` → `3 bytes, from byte 1: 0403`"],
    );
    check(
        returned(V::Obj("com.example.A", vec![])),
        returned(V::Obj("com.example.B", vec![])),
        &["body.appResponse: `object of class com.example.A` → `object of class com.example.B`"],
    );
    check(
        returned(V::Of("java.util.LinkedList", vec![])),
        returned(V::List(vec![])),
        &["body.appResponse: `of type java.util.LinkedList` → `of type java.util.ArrayList`"],
    );
}

#[test]
fn exceptions_compare_by_class_message_and_causes() {
    // Number 0 is the response, 1 the exception: it is its own cause.
    let plain = |class, message, line| returned(thrown(class, message, V::Ref(1), line));
    check(
        plain("com.example.SoldOut", "none left", 12),
        plain("com.example.SoldOut", "none left", 14),
        &[
            "exception.stack[0]: `com.example.Shop.buy(Shop.java:12)` → \
             `com.example.Shop.buy(Shop.java:14)` (shown)",
        ],
    );
    check(
        plain("com.example.SoldOut", "none left", 12),
        plain("com.example.Closed", "come back", 12),
        &[
            "exception.class: `com.example.SoldOut` → `com.example.Closed`",
            "exception.message: `none left` → `come back`",
        ],
    );
    let caused = |message: &str| {
        let cause = thrown("java.io.IOException", message, V::Null, 1);
        returned(thrown("com.example.SoldOut", "none left", cause, 12))
    };
    check(
        caused("reset"),
        caused("closed"),
        &["exception.cause.message: `reset` → `closed`"],
    );
    check(
        plain("com.example.SoldOut", "none left", 12),
        caused("closed"),
        &["exception.cause: nothing → `java.io.IOException: closed`"],
    );
    check(
        returned(order(1)),
        plain("com.example.SoldOut", "none left", 12),
        &["exception: nothing → `com.example.SoldOut: none left`"],
    );
    check(
        plain("com.example.SoldOut", "none left", 12),
        returned(V::Null),
        &["exception: `com.example.SoldOut: none left` → nothing"],
    );
    let V::Obj(class, mut fields) = thrown("com.example.SoldOut", "x", V::Null, 1) else {
        unreachable!("made as an object");
    };
    fields.push(("code", V::I(7)));
    let other = fields.iter().cloned().map(|(name, value)| match name {
        "code" => (name, V::I(8)),
        _ => (name, value),
    });
    check(
        returned(V::Obj(class, fields.clone())),
        returned(V::Obj(class, other.collect())),
        &["exception.code: `7` → `8`"],
    );
}

#[test]
fn errors_of_sofarpc_are_exceptions() {
    let error = |message: &str| sofa_response(V::Yes, s(message), V::Null);
    check(
        error("no provider"),
        error("busy"),
        &["exception.message: `no provider` → `busy`"],
    );
    check(
        returned(V::Null),
        error("busy"),
        &["exception: nothing → `error: busy`"],
    );
}

#[test]
fn status_class_and_headers() {
    let content = body(&returned(order(1)));
    let headers: &[(&str, &str)] = &[("a", "1"), ("b", "2")];
    let recorded = frame(0, RESPONSE_CLASS, headers, &content, 1);
    // The id and the order of the header map say nothing.
    let same = frame(0, RESPONSE_CLASS, &[("b", "2"), ("a", "1")], &content, 77);
    check_frames(&recorded, &same, "noise: []", &[]);
    let changed: &[(&str, &str)] = &[("b", "3"), ("sofa_head_response_error", "true")];
    let observed = frame(2, "com.example.Oops", changed, &content, 1);
    let expect = [
        "status: `success (0)` → `server-exception (2)`",
        "class: `com.alipay.sofa.rpc.core.response.SofaResponse` → `com.example.Oops`",
        "headers.a: `1` → nothing",
        "headers.b: `2` → `3`",
        "headers.sofa_head_response_error: nothing → `true`",
    ];
    check_frames(&recorded, &observed, "noise: []", &expect);
}

#[test]
fn trace_ids_are_left_out() {
    let traced = |id: &str| {
        let context = V::Map(vec![(s("sofaTraceId"), s(id)), (s("sofaRpcId"), s(id))]);
        let content = body(&returned(context));
        let headers: &[(&str, &str)] = &[("rpc_trace_context.sofaTraceId", id)];
        frame(0, RESPONSE_CLASS, headers, &content, 1)
    };
    check_frames(&traced("1"), &traced("2"), "noise: []", &[]);
}

#[test]
fn noise_is_shown_and_not_judged() {
    let (recorded, observed) = (answer(&returned(order(1))), answer(&returned(order(2))));
    let shown = "body.appResponse.amount: `1` → `2` (shown)";
    let judged = "body.appResponse.amount: `1` → `2`";
    for (noise, expect) in [
        ("noise: [{path: body.appResponse.amount}]", shown),
        ("noise: [{path: body.appResponse}]", shown),
        (
            "noise: [{path: '**.amount', service: 'com.example.*', method: buy}]",
            shown,
        ),
        ("noise: [{path: '**.amount', method: sell}]", judged),
        ("noise: [{path: body.appResponse.id}]", judged),
    ] {
        check_frames(&recorded, &observed, noise, &[expect]);
    }
}

#[test]
fn a_shared_value_that_noise_covers_once_is_judged_elsewhere() {
    let shared = |amount| {
        let fields = vec![("a", order(amount)), ("b", V::Ref(2))];
        answer(&returned(V::Obj("com.example.Two", fields)))
    };
    let noise = "noise: [{path: body.appResponse.a}]";
    let expect = [
        "body.appResponse.a.amount: `1` → `2` (shown)",
        "body.appResponse.b.amount: `1` → `2`",
    ];
    check_frames(&shared(1), &shared(2), noise, &expect);
    // The rule may also lead to a place below the shared value.
    for noise in ["body.appResponse.a.amount", "**.a.amount", "body.*.a.*"] {
        let noise = format!("noise: [{{path: '{noise}'}}]");
        check_frames(&shared(1), &shared(2), &noise, &expect);
    }
}

#[test]
fn circles_end() {
    // Number 1 holds itself.
    let circle = |name: &str| {
        let fields = vec![("me", V::Ref(1)), ("name", s(name))];
        returned(V::Obj("com.example.Node", fields))
    };
    check(
        circle("a"),
        circle("b"),
        &["body.appResponse.name: `a` → `b`"],
    );
}

#[test]
fn sets_have_no_order_and_tell_every_item_apart() {
    let set = |items: Vec<V>| returned(V::Of("java.util.HashSet", items));
    let long = |end: &str| s(&format!("{}{end}", "a".repeat(10_000)));
    let deep = |amount| (0..30).fold(order(amount), |inner, _| V::List(vec![inner]));
    let two = |item| set(vec![item, s("x")]);
    check(two(long("1")), set(vec![s("x"), long("1")]), &[]);
    for (one, other) in [
        (V::I(1), s("1")),
        (V::I(1), V::L(1)),
        (V::Obj("a.One", vec![]), V::Obj("b.One", vec![])),
        (
            V::Bin(vec![0; 100]),
            V::Bin([vec![0; 99], vec![1]].concat()),
        ),
        (long("1"), long("2")),
        (deep(1), deep(2)),
        (
            V::List(vec![V::List(vec![s("a"), s("b")])]),
            V::List(vec![V::List(vec![s("b"), s("a")])]),
        ),
    ] {
        let (recorded, observed) = (answer(&two(one.clone())), answer(&two(other.clone())));
        let call = Call::default();
        let found = Frames::default().compare(&call, &recorded, &observed);
        assert!(found.iter().any(|it| it.judged), "{}", render(&found));
        // As keys of a map, too.
        let map = |key| answer(&returned(V::Map(vec![(key, s("x"))])));
        let found = Frames::default().compare(&call, &map(one), &map(other));
        assert!(found.iter().any(|it| it.judged), "{}", render(&found));
    }
}

#[test]
fn keys_too_deep_to_be_told_apart_are_compared() {
    let deep = |amount| (0..80).fold(order(amount), |inner, _| V::List(vec![inner]));
    let map = |key| answer(&returned(V::Map(vec![(key, s("x"))])));
    let call = Call::default();
    let found = Frames::default().compare(&call, &map(deep(1)), &map(deep(2)));
    let [found] = &found[..] else {
        panic!("{}", render(&found))
    };
    assert!(found.judged && found.path.ends_with(".amount"), "{found:?}");
    let same = Frames::default().compare(&call, &map(deep(1)), &map(deep(1)));
    assert_eq!(same, []);
}

#[test]
fn a_wrong_crc_differs() {
    let crc = |frame: &Frame| {
        let build = Build {
            version: Version::V2_CRC,
            ..Build::of(frame).unwrap()
        };
        build.encode().unwrap().to_vec()
    };
    let right = crc(&answer(&returned(order(1))));
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let [right, wrong] = [right, wrong].map(|bytes| Frame::parse(bytes.into()).unwrap());
    check_frames(&right, &right, "noise: []", &[]);
    check_frames(&right, &wrong, "noise: []", &["crc: `right` → `wrong`"]);
    // A server that was recorded doing wrong is not excused.
    check_frames(&wrong, &wrong, "noise: []", &["crc: `wrong` → `wrong`"]);
    check_frames(&wrong, &right, "noise: []", &[]);
}

#[test]
fn what_is_no_text_is_compared_byte_by_byte() {
    let with = |class: &[u8], headers: &[u8]| {
        let frame = answer(&returned(order(1)));
        let build = Build {
            class,
            headers,
            ..Build::of(&frame).unwrap()
        };
        Frame::parse(build.encode().unwrap()).unwrap()
    };
    let value = |byte| [&[0, 0, 0, 1, b'k', 0, 0, 0, 1][..], &[byte]].concat();
    for (class, headers, other_class, other_headers, expect) in [
        (&b"a\xff"[..], &b""[..], &b"a\xfe"[..], &b""[..], "class"),
        (b"a", b"", b"a", b"\0\0\0\x09k", "headers"),
        (b"a", b"\0", b"a", b"\0\0", "headers"),
        (b"a", &value(0xff), b"a", &value(0xfe), "headers"),
    ] {
        let (recorded, observed) = (with(class, headers), with(other_class, other_headers));
        let found = Frames::default().compare(&Call::default(), &recorded, &observed);
        let paths: Vec<_> = found
            .iter()
            .map(|it| (it.path.as_str(), it.judged))
            .collect();
        assert_eq!(paths, [(expect, true)], "{}", render(&found));
        let same = Frames::default().compare(&Call::default(), &recorded, &recorded);
        assert_eq!(same, []);
    }
}

#[test]
fn noise_that_leaves_nothing_is_known() {
    for (noise, judges) in [
        ("noise: []", true),
        ("noise: [{path: body}]", true),
        ("noise: [{path: body}, {path: exception}]", true),
        (
            "noise: [{path: status}, {path: body}, {path: exception}]",
            false,
        ),
        ("noise: [{path: '**'}]", false),
        ("noise: [{path: '*'}]", false),
        ("noise: [{path: '**', method: sell}]", true),
    ] {
        let frames = Frames {
            noise: Noise::parse("noise.yaml", noise).unwrap(),
        };
        let call = Call {
            method: Some("buy".to_owned()),
            ..Call::default()
        };
        assert_eq!(frames.judges(&call), judges, "{noise}");
    }
}

#[test]
fn many_differences_are_counted() {
    let list = |from: i32| returned(V::List((from..from + 500).map(V::I).collect()));
    let found = compare(
        &Answer::from(&answer(&list(0))),
        &Answer::from(&answer(&list(1000))),
        &Noise::default().of("", None),
    );
    assert_eq!(found.len(), DIFFERENCES_MAX + 1);
    assert_eq!(
        render(&found[DIFFERENCES_MAX..]),
        "…: `300 more differences` → nothing\n"
    );
}

#[test]
fn what_cannot_be_decoded_compares_as_bytes() {
    let recorded = frame(0, "peer.Msg", &[], b"\xff\xfeabc", 1);
    let observed = frame(0, "peer.Msg", &[], b"\xff\xfeabd", 1);
    check_frames(
        &recorded,
        &observed,
        "noise: []",
        &["body: `5 bytes, from byte 4: 63` → `5 bytes, from byte 4: 64`"],
    );
    check_frames(&recorded, &recorded, "noise: []", &[]);
}

#[test]
fn a_real_exception_with_another_stack_is_the_same() {
    let boom = real_answers().pop().unwrap();
    let (document, findings) = Document::parse(boom.content());
    assert_eq!(findings, []);
    let replaced = |wanted: &str, by: &str| {
        let edits: Vec<_> = document
            .strings()
            .filter(|found| found.text == wanted)
            .map(|found| (found.node, by.to_owned()))
            .collect();
        assert!(!edits.is_empty(), "{wanted} is there");
        let content = apply(boom.content(), &edit(&document, &edits).unwrap());
        let build = Build {
            content: &content,
            ..Build::of(&boom).unwrap()
        };
        Frame::parse(build.encode().unwrap()).unwrap()
    };
    let frames = Frames::default();
    let other_stack = replaced("Thread.java", "Faden.java");
    let found = frames.compare(&Call::default(), &boom, &other_stack);
    assert!(!found.is_empty() && found.iter().all(|difference| !difference.judged));
    assert!(found[0].path.starts_with("exception.stack["), "{found:?}");

    let message = meshproof_wire::sofarpc::response(&boom).chain[0]
        .message
        .clone();
    let other_message = replaced(&message.unwrap(), "quite another");
    let found = frames.compare(&Call::default(), &boom, &other_message);
    assert_eq!(
        (found.len(), found[0].path.as_str()),
        (1, "exception.message")
    );

    let fine = real_answers().swap_remove(0);
    let found = frames.compare(&Call::default(), &fine, &boom);
    let paths: Vec<_> = found
        .iter()
        .map(|difference| difference.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "headers.sofa_head_response_error",
            "exception",
            "body.responseProps"
        ]
    );
}

/// The answers of the SOFARPC capture, in order.
fn real_answers() -> Vec<Frame> {
    struct Answers(Vec<Frame>);
    impl Visitor for Answers {
        fn frame(&mut self, _: &Arc<Flow>, _: Direction, decoded: &Decoded<Mark>) {
            if decoded.head.kind == Kind::Response {
                self.0.extend(decoded.frame.clone());
            }
        }
    }
    let capture: &[u8] = include_bytes!("../../../fixtures/captures/sofarpc_bolt_hessian2.pcap");
    let mut captures = Captures::from_reader("capture", capture).unwrap();
    let mut answers = Answers(Vec::new());
    pipeline::read(&mut captures, &Options::FRAMES, &mut answers).unwrap();
    assert_eq!(answers.0.len(), 3);
    answers.0
}

fn row(exchange: u64, arguments: &str, observed: Option<&V>) -> ExchangeRow {
    ExchangeRow {
        exchange,
        flow: String::new(),
        connection: 1,
        id: exchange,
        protocol: "bolt-v1".to_owned(),
        kind: "call".to_owned(),
        service: "s".to_owned(),
        method: "m".to_owned(),
        arguments: arguments.to_owned(),
        trace: None,
        target: None,
        intended_ns: None,
        sent_ns: None,
        answered_ns: None,
        outcome: match observed {
            Some(_) => Outcome::Answered,
            None => Outcome::TimedOut,
        },
        reason: None,
        late: false,
        compared: true,
        answer_recorded: true,
        recorded: None,
        observed: observed.map(|value| response(&answer(value))),
        differences: Vec::new(),
    }
}

#[test]
fn records_are_joined_by_number_and_by_what_was_asked() {
    let (one, two) = (returned(order(1)), returned(order(2)));
    let first = vec![
        row(1, "a", Some(&one)),
        row(2, "b", Some(&one)),
        row(3, "c", None),
        row(4, "d", None),
        row(5, "e", Some(&one)),
    ];
    // The same again: pass.
    let diff = diff_records(first.clone(), first.clone(), &Noise::default());
    assert_eq!(diff.claim().verdict, Verdict::Pass, "{diff:?}");
    assert_eq!((diff.compared, diff.without_answer), (3, 2));

    let second = vec![
        row(3, "c", None),
        row(4, "d", Some(&one)),
        // Renumbered.
        row(7, "a", Some(&one)),
        row(2, "b", Some(&two)),
        row(9, "new", Some(&one)),
    ];
    let diff = diff_records(first.clone(), second, &Noise::default());
    let told: String = diff
        .pairs
        .iter()
        .map(|pair| {
            format!(
                "{} {} {}",
                pair.first,
                pair.second,
                render(&pair.differences)
            )
        })
        .collect();
    assert_eq!(
        told,
        "4 4 outcome: `timed out` → `answered`\n2 2 body.appResponse.amount: `1` → `2`\n"
    );
    assert_eq!((diff.compared, diff.without_answer), (2, 1));
    assert_eq!(
        (&diff.only_first[..], &diff.only_second[..]),
        (&[5][..], &[9][..])
    );
    assert_eq!(diff.claim().verdict, Verdict::Fail);

    let fewer = diff_records(first, vec![row(1, "a", Some(&one))], &Noise::default());
    assert_eq!(fewer.claim().verdict, Verdict::Invalid);
    let none = diff_records(vec![], vec![], &Noise::default());
    assert_eq!(none.claim().verdict, Verdict::Invalid);
}

#[test]
fn what_a_record_says_twice_is_not_lost() {
    let (one, two) = (returned(order(1)), returned(order(2)));
    let twice = vec![row(1, "a", Some(&one)), row(1, "a", Some(&two))];
    let diff = diff_records(twice.clone(), twice.clone(), &Noise::default());
    assert_eq!((diff.compared, diff.claim().verdict), (2, Verdict::Pass));
    for (first, second) in [
        (twice.clone(), twice[..1].to_vec()),
        (twice[1..].to_vec(), twice),
    ] {
        let diff = diff_records(first, second, &Noise::default());
        assert_ne!(diff.claim().verdict, Verdict::Pass, "{diff:?}");
    }
}

#[test]
fn noise_over_everything_is_no_pass_between_records() {
    let rows = |amount| vec![row(1, "a", Some(&returned(order(amount))))];
    for (noise, verdict) in [
        ("noise: [{path: '**'}]", Verdict::Invalid),
        ("noise: [{path: body}]", Verdict::Pass),
    ] {
        let noise = Noise::parse("noise.yaml", noise).unwrap();
        let claim = diff_records(rows(1), rows(2), &noise).claim();
        assert_eq!(claim.verdict, verdict);
    }
    let claim = diff_records(
        rows(1),
        rows(2),
        &Noise::parse("n", "noise: [{path: body}]").unwrap(),
    );
    assert_eq!(
        claim.claim().why,
        "1 answer compared, no judged difference (1 differs in noise or stack frames only)"
    );
}

#[test]
fn records_in_one_order_are_compared_in_little_memory_and_others_are_not_half_compared() {
    let value = returned(order(1));
    let rows: Vec<_> = (0..100).map(|n| row(n, "a", Some(&value))).collect();
    let little = 4 << 10;
    let within = |second| diff_within(rows.clone(), second, &Noise::default(), little);
    let same = within(rows.clone());
    assert_eq!((same.compared, same.claim().verdict), (100, Verdict::Pass));
    let backwards = within(rows.iter().rev().cloned().collect());
    assert!(backwards.left_out > 0, "{backwards:?}");
    assert_eq!(backwards.claim().verdict, Verdict::Invalid);
}

/// An answer in TR from `host`.
fn tr(host: &str, error: Option<&str>, text: &str) -> Frame {
    let mut body = Writer::new();
    body.string(text);
    let build = meshproof_wire::tr::Build {
        connection: meshproof_wire::tr::Connection::Response {
            id: meshproof_wire::RequestId(host.len() as u64),
            host,
            result: i32::from(error.is_some()),
            error_message: error,
            error_stack: None,
        },
        class: b"java.lang.String",
        content: body.bytes(),
    };
    Frame::parse(build.encode().expect("a frame")).expect("a frame")
}

#[test]
fn answers_in_tr_part_in_all_but_id_and_host() {
    let paths = |one: &Frame, other: &Frame| -> Vec<String> {
        let found = Frames::default().compare(&Call::default(), one, other);
        assert!(found.iter().all(|difference| difference.judged));
        found
            .into_iter()
            .map(|difference| difference.path)
            .collect()
    };
    let one = tr("10.0.0.1:12200", None, "a");
    assert_eq!(
        paths(&one, &tr("127.0.0.1:1", None, "a")),
        Vec::<String>::new()
    );
    assert_eq!(paths(&one, &tr("10.0.0.1:12200", None, "b")), ["body"]);
    let failed = tr("10.0.0.1:12200", Some("no"), "a");
    assert_eq!(
        paths(&one, &failed),
        ["status", "headers.connection.errorMsg"]
    );
    let kept = meshproof_record::row::Response {
        headers: response(&failed).headers,
        ..response(&one)
    };
    assert_eq!(kept.headers["connection.errorMsg"], "no");
}
