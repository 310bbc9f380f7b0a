//! TR and the application API through the rewriter.

use std::path::Path;

use meshproof_replay::audit::{Audit, Needles, Original};
use meshproof_replay::exchange::{Exchange, Listing};
use meshproof_replay::pipeline::{self, Options, Visitor};
use meshproof_replay::rewrite::propose;
use meshproof_replay::stream::Direction;
use meshproof_wire::tr::{self, Build};
use meshproof_wire::{Frame, RequestId, hessian};
use proptest::prelude::*;

use super::build::{By, Conversation};
use super::{content, map, open, rewritten};

const CLIENT: &str = "10.15.0.1:40000";
const SERVER: &str = "10.15.0.2:12200";
const API: &str = "10.15.0.1:13330";
const SERVICE: &str = "com.alipay.demo.SampleService:1.0";
const LEGACY: &str = "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000";

fn tr_answer(id: u64, host: &str, text: &str) -> Vec<u8> {
    let mut body = hessian::Writer::new();
    body.string(text);
    let connection = tr::Connection::Response {
        id: RequestId(id),
        host,
        result: 0,
        error_message: None,
        error_stack: None,
    };
    Build {
        connection,
        class: b"java.lang.String",
        content: body.bytes(),
    }
    .encode()
    .expect("a frame")
    .to_vec()
}

fn tr_request(id: u64, text: &str) -> Vec<u8> {
    let mut body = hessian::Writer::new();
    body.string(text);
    let connection = tr::Connection::Request {
        id: RequestId(id),
        direction: tr::Direction::Twoway,
    };
    Build {
        connection,
        class: b"java.lang.String",
        content: body.bytes(),
    }
    .encode()
    .expect("a frame")
    .to_vec()
}

/// Requests and answers, each stream in segments of so many bytes, acknowledged.
fn talk(client: &str, server: &str, asked: &[u8], told: &[u8], segment: usize) -> Conversation {
    let mut conversation = Conversation::new(client, server);
    conversation.open();
    for (by, other, bytes, seen) in [
        (By::Client, By::Server, asked, 0),
        (By::Server, By::Client, told, asked.len() as u32),
    ] {
        let mut at = 0;
        for piece in bytes.chunks(segment) {
            conversation.send(by, at, piece, seen);
            at += piece.len() as u32;
            conversation.send(other, seen, b"", at);
        }
    }
    conversation
}

/// Rewrites there and back; what is between is given to `look`.
#[track_caller]
fn there_and_back(conversation: &Conversation, text: &str, look: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let input = conversation.write(folder.path());
    let there = map(text);
    let back = there.inverse().expect("an inverse");
    let (out, summary) = rewritten(&input, &there, folder.path(), "there.pcapng");
    assert!(summary.frames.rewritten > 0, "{summary:?}");
    assert_eq!(summary.frames.emptied, 0, "{summary:?}");
    look(&out);
    let (again, _) = rewritten(&out, &back, folder.path(), "back.pcapng");
    assert!(content(&again) == content(&input), "not the same again");
}

const ADDRESSES: &str = "addresses: {10.15.0.1: 198.51.100.101, 10.15.0.2: 198.51.100.102}\n\
    vips: {sample-pool.zone1.alipay.net: offline-pool.z9.a-much-longer-domain.test}\n\
    apps: {sample-client: c, sample-server: a-name-that-is-longer}\n\
    zones: {zone7: z}\n";

fn text_of(frame: &Frame) -> String {
    let (document, findings) = hessian::Document::parse(frame.content());
    assert_eq!(findings, []);
    let root = document.roots()[0];
    document.text(root).expect("a text").to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The host in each answer, the body, ids of any length: in any cut, there and back.
    #[test]
    fn tr_grows_and_shrinks_in_any_cut(
        ids in prop::collection::vec(any::<i64>(), 1..5),
        segment in 7..400usize,
    ) {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        for id in &ids {
            asked.extend(tr_request(*id as u64, LEGACY));
            told.extend(tr_answer(*id as u64, "10.15.0.2:12200", "from sample-server"));
        }
        let conversation = talk(CLIENT, SERVER, &asked, &told, segment);
        there_and_back(&conversation, ADDRESSES, |out| {
            let content = content(out);
            let frames = &content.frames[&(40000, Direction::ToOpener)];
            assert_eq!(frames.len(), ids.len());
            for (frame, id) in frames.iter().zip(&ids) {
                assert_eq!(frame.head.id, RequestId(*id as u64));
                assert_eq!(text_of(frame), "from a-name-that-is-longer");
                let parts = frame.tr_parts().expect("the parts");
                let told = tr::answer(&frame.bytes[parts.connection]).expect("an answer");
                assert_eq!(told.host.as_deref(), Some("198.51.100.102:12200"));
            }
            for frame in &content.frames[&(40000, Direction::ToAcceptor)] {
                let new = "http://offline-pool.z9.a-much-longer-domain.test:12200?_TIMEOUT=3000";
                assert_eq!(text_of(frame), new);
            }
        });
    }

    /// Lengths and chunks follow, in any cut of segments and of chunks.
    #[test]
    fn the_application_api_in_any_cut(
        segment in 7..600usize,
        chunk in prop::option::of(1..200usize),
    ) {
        let asked = [
            request("/configs/application", r#"{"appName":"sample-client"}"#),
            request("/services/subscribe", &subscribe(LEGACY)),
        ]
        .concat();
        let told = [
            answer(r#"{"success":true,"errorMessage":""}"#, None),
            answer(&datas(), chunk),
        ]
        .concat();
        let conversation = talk(CLIENT, API, &asked, &told, segment);
        // A value that lies across two chunks is cut at another place on its way back.
        let folder = tempfile::tempdir().expect("a folder");
        let input = conversation.write(folder.path());
        let (out, summary) = rewritten(&input, &map(ADDRESSES), folder.path(), "there.pcapng");
        if summary.frames.emptied == 0 {
            let listings = listings(&out);
            prop_assert_eq!(listings.len(), 2);
            let [first, second] = &listings[..] else { unreachable!() };
            prop_assert_eq!(first.app.as_deref(), Some("c"));
            prop_assert_eq!(second.kind, "mesh-api");
            prop_assert_eq!(second.service.as_deref(), Some(SERVICE));
            let vip = "http://offline-pool.z9.a-much-longer-domain.test:12200?_TIMEOUT=3000";
            prop_assert_eq!(second.vip.as_deref(), Some(vip));
            let answer = second.response.as_ref().expect("an answer");
            let data = "198.51.100.102:12200?p=1&_SERIALIZETYPE=hessian2&app_name=a-name-that-is-longer&zone=z";
            prop_assert_eq!(answer.datas.clone(), Some(vec![data.to_owned()]));
        }
        let whole = chunk.is_none_or(|chunk| chunk > 150);
        prop_assert!(!whole || summary.frames.emptied == 0, "{:?}", summary);
    }
}

#[derive(Default)]
struct Seen(Vec<Exchange>);

impl Visitor for Seen {
    fn exchange(&mut self, exchange: Exchange) {
        self.0.push(exchange);
    }
}

fn listings(path: &Path) -> Vec<Listing> {
    let mut seen = Seen::default();
    let outcome = pipeline::read(&mut open(path), &Options::FRAMES, &mut seen).expect("packets");
    outcome.ledger.check().expect("the ledger closes");
    assert_eq!(outcome.ledger.bytes.framed, outcome.ledger.bytes.payload);
    seen.0.sort_by_key(|exchange| exchange.id);
    seen.0.iter().map(Listing::of).collect()
}

fn request(path: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 10.15.0.1:13330\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn answer(body: &str, chunk: Option<usize>) -> Vec<u8> {
    let Some(chunk) = chunk else {
        let len = body.len();
        return format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}").into_bytes();
    };
    let mut out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.as_bytes().chunks(chunk) {
        out.extend(format!("{:x}\r\n", piece.len()).bytes());
        out.extend(piece);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn subscribe(target: &str) -> String {
    format!(
        r#"{{"serviceName":"{SERVICE}","protocolType":"bolt","targetAppAddress":"{target}","vipEnforce":false,"vipOnly":false,"localCloudFirst":false,"group":null,"properties":null}}"#
    )
}

fn datas() -> String {
    format!(
        r#"{{"success":true,"serviceName":"{SERVICE}","datas":["10.15.0.2:12200?p=1&_SERIALIZETYPE=hessian2&app_name=sample-server&zone=zone7"],"errorMessage":""}}"#
    )
}

fn api() -> Conversation {
    let asked = [
        request("/configs/application", r#"{"appName":"sample-client"}"#),
        request("/services/subscribe", &subscribe(LEGACY)),
        request(
            "/services/subscribe",
            &subscribe("sample-pool.zone1.alipay.net:12200"),
        ),
    ]
    .concat();
    let told = [
        answer(r#"{"success":true,"errorMessage":""}"#, None),
        answer(&datas(), None),
        answer(&datas(), Some(1000)),
    ]
    .concat();
    talk(CLIENT, API, &asked, &told, 1448)
}

#[test]
fn both_forms_of_a_vip_there_and_back() {
    there_and_back(&api(), ADDRESSES, |out| {
        let listings = listings(out);
        let vips: Vec<_> = listings.iter().filter_map(|l| l.vip.as_deref()).collect();
        assert_eq!(
            vips,
            [
                "http://offline-pool.z9.a-much-longer-domain.test:12200?_TIMEOUT=3000",
                "offline-pool.z9.a-much-longer-domain.test:12200",
            ]
        );
    });
}

/// A proposed map knows all of it, and the audit misses none of its rules.
#[test]
fn the_audit_finds_what_a_rule_for_the_api_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = api().write(folder.path());
    let text = propose(&mut open(&input)).expect("a map");
    for word in [
        "10.15.0.2",
        "sample-pool.zone1.alipay.net",
        "sample-server",
        "zone7",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    let full = map(&text);
    let findings = |made_by: &meshproof_replay::map::Map| {
        let (out, _) = rewritten(&input, made_by, folder.path(), "out");
        let original = Original::read(&mut open(&input), &full).expect("packets");
        let needles = Needles::new(&full, Some(&original));
        let mut audit = Audit::new(&needles).expect("needles");
        audit.packets(&mut open(&out)).expect("packets");
        let report = audit.finish();
        report
            .findings
            .into_iter()
            .map(|found| found.needle)
            .collect::<Vec<_>>()
    };
    assert_eq!(findings(&full), Vec::<String>::new());
    let mut lacking = full.clone();
    lacking
        .addresses
        .retain(|rule| rule.from.to_string() != "10.15.0.2");
    assert_eq!(findings(&lacking), ["10.15.0.2"]);
    let mut lacking = full.clone();
    lacking.apps.retain(|rule| rule.from != "sample-server");
    assert_eq!(findings(&lacking), ["sample-server"]);
    let mut lacking = full.clone();
    lacking.zones.retain(|rule| rule.from != "zone7");
    assert_eq!(findings(&lacking), ["zone7"]);
}

#[test]
fn what_is_no_json_is_blanked() {
    let asked = request("/services/subscribe", "{\"targetAppAddress\":10.15.0.2}");
    let told = answer("{}", None);
    let conversation = talk(CLIENT, API, &asked, &told, 1448);
    let folder = tempfile::tempdir().expect("a folder");
    let input = conversation.write(folder.path());
    let (out, summary) = rewritten(&input, &map(ADDRESSES), folder.path(), "out");
    assert!(summary.findings.contains_key("body-bytes-not-understood"));
    let stream = &content(&out).streams[&(40000, Direction::ToAcceptor)];
    assert!(!stream.windows(9).any(|window| window == b"10.15.0.2"));
    assert_eq!(
        stream.len(),
        asked.len() + "198.51.100.101".len() - "10.15.0.1".len()
    );
}
