//! Two responses, compared.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meshproof_record::difference::Difference;
use meshproof_record::row::{self, Body};
use meshproof_wire::bolt::Build;
use meshproof_wire::hessian::Document;
use meshproof_wire::{Crc, Frame, Head, Protocol};

use super::noise::{Applied, Noise};
use super::text::{bytes_both, shown_both};
use super::tree::{self, Collector, Weight, is_trace};
use crate::engine::call::Call;
use crate::engine::judge::Compare;
use crate::idiom;

/// A response in the parts that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// `bolt-v1`, `bolt-v2`, `tr`.
    pub protocol: &'a str,
    /// The serializer's code.
    pub codec: u8,
    /// Status of the protocol.
    pub status: Option<u16>,
    /// Class name of the body.
    pub class: Cow<'a, str>,
    /// Header map; of a key that stands twice, the last value counts.
    pub headers: Cow<'a, BTreeMap<String, String>>,
    /// The body as it came.
    pub body: &'a [u8],
}

impl<'a> From<&'a Frame> for Answer<'a> {
    fn from(frame: &'a Frame) -> Self {
        Answer {
            protocol: frame.head.protocol.name(),
            codec: frame.head.codec,
            status: frame.head.status,
            class: String::from_utf8_lossy(frame.class_bytes()),
            headers: Cow::Owned(headers_of(frame)),
            body: frame.content(),
        }
    }
}

impl<'a> From<&'a row::Response> for Answer<'a> {
    fn from(response: &'a row::Response) -> Self {
        Answer {
            protocol: &response.protocol,
            codec: response.codec,
            status: response.status,
            class: Cow::Borrowed(&response.class),
            headers: Cow::Borrowed(&response.headers),
            body: &response.body.0,
        }
    }
}

/// The header map; of TR, which has none, what its connection object says besides result and id.
/// The server's address is left out: it is another one wherever the server is another one.
fn headers_of(frame: &Frame) -> BTreeMap<String, String> {
    match frame.head.protocol {
        Protocol::Tr => {
            let answer = idiom::tr::connection(frame).unwrap_or_default();
            let texts = [
                ("connection.errorMsg", answer.error_message),
                ("connection.errorStack", answer.error_stack),
            ];
            texts
                .into_iter()
                .filter_map(|(key, text)| Some((key.to_owned(), text?)))
                .collect()
        }
        _ => frame.headers().texts().collect(),
    }
}

/// A response frame as a record keeps it.
pub fn response(frame: &Frame) -> row::Response {
    let answer = Answer::from(frame);
    row::Response {
        protocol: answer.protocol.to_owned(),
        codec: answer.codec,
        status: answer.status,
        class: answer.class.into_owned(),
        headers: answer.headers.into_owned(),
        body: Body(frame.bytes.slice_ref(answer.body)),
    }
}

/// Compares frames as a replay asks for it.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// What is shown and not judged.
    pub noise: Noise,
}

impl Compare for Frames {
    fn compare(&self, call: &Call, recorded: &Frame, observed: &Frame) -> Vec<Difference> {
        if alike(recorded, observed) && observed.crc() != Crc::Bad {
            return Vec::new();
        }
        let noise = self.noise.of(&call.service, call.method.as_deref());
        let mut collector = Collector::new(&noise);
        wire(recorded, observed, &mut collector);
        collect(&recorded.into(), &observed.into(), &mut collector);
        collector.finish()
    }

    fn judges(&self, call: &Call) -> bool {
        let noise = self.noise.of(&call.service, call.method.as_deref());
        !noise.covers_all()
    }
}

/// What is seen on frames only: a client throws an answer with a wrong CRC away, and text that is
/// no UTF-8, or a header map that breaks, must not look like another that breaks as well.
fn wire(recorded: &Frame, observed: &Frame, collector: &mut Collector<'_>) {
    if observed.crc() == Crc::Bad {
        let recorded = match recorded.crc() {
            Crc::Absent => "absent",
            Crc::Ok => "right",
            Crc::Bad => "wrong",
        };
        collector.add(
            "crc".to_owned(),
            Some(recorded.to_owned()),
            Some("wrong".to_owned()),
            Weight::Judged,
        );
    }
    let mut bytes = |path: &str, one: &[u8], other: &[u8]| {
        let (one, other) = bytes_both(one, other);
        collector.add(path.to_owned(), Some(one), Some(other), Weight::Judged);
    };
    let (class, other_class) = (recorded.class_bytes(), observed.class_bytes());
    let unreadable = recorded.class().is_none() && observed.class().is_none();
    if unreadable && class != other_class {
        bytes("class", class, other_class);
    }
    let whole = |frame: &Frame| {
        let headers = frame.headers();
        let text = |bytes: Option<&[u8]>| bytes.is_none_or(|it| std::str::from_utf8(it).is_ok());
        headers.damage().is_none() && headers.pairs().all(|(key, value)| text(key) && text(value))
    };
    let section = |frame: &Frame| Build::of(frame).map_or(Vec::new(), |it| it.headers.to_vec());
    if !(whole(recorded) && whole(observed)) {
        let (one, other) = (section(recorded), section(observed));
        if one != other {
            bytes("headers", &one, &other);
        }
    }
}

/// Whether two frames are the same but for id and CRC: most answers of a faithful replay are.
fn alike(recorded: &Frame, observed: &Frame) -> bool {
    if recorded.head.protocol == Protocol::Tr {
        let plain = |frame: &Frame| Head {
            id: observed.head.id,
            len: 0,
            ..frame.head
        };
        return plain(recorded) == plain(observed)
            && recorded.class_bytes() == observed.class_bytes()
            && recorded.content() == observed.content()
            && headers_of(recorded) == headers_of(observed);
    }
    match (Build::of(recorded), Build::of(observed)) {
        (Some(one), Some(other)) => {
            Build {
                id: other.id,
                ..one
            } == other
        }
        _ => false,
    }
}

/// Where two responses part; empty where they do not. What `noise` covers, and stack frames, are
/// there and not judged.
pub fn compare(
    recorded: &Answer<'_>,
    observed: &Answer<'_>,
    noise: &Applied<'_>,
) -> Vec<Difference> {
    let mut collector = Collector::new(noise);
    collect(recorded, observed, &mut collector);
    collector.finish()
}

fn collect(recorded: &Answer<'_>, observed: &Answer<'_>, collector: &mut Collector<'_>) {
    let mut check = |path: &str, recorded: Option<String>, observed: Option<String>| {
        if recorded != observed {
            collector.add(path.to_owned(), recorded, observed, Weight::Judged);
        }
    };
    check(
        "protocol",
        Some(recorded.protocol.to_owned()),
        Some(observed.protocol.to_owned()),
    );
    check(
        "status",
        recorded.status.map(|code| status(recorded.protocol, code)),
        observed.status.map(|code| status(observed.protocol, code)),
    );
    check(
        "codec",
        Some(recorded.codec.to_string()),
        Some(observed.codec.to_string()),
    );
    check(
        "class",
        Some(recorded.class.clone().into_owned()),
        Some(observed.class.clone().into_owned()),
    );
    headers(&recorded.headers, &observed.headers, collector);
    if recorded.body != observed.body {
        bodies(recorded, observed, collector);
    }
}

/// A status with its name, where it has one.
fn status(protocol: &str, code: u16) -> String {
    let name = idiom::named(protocol).map(|protocol| idiom::of(protocol).status(code));
    match name {
        // A name that is made of the number says no more.
        Some(name) if !name.ends_with(&format!("-{code}")) => format!("{name} ({code})"),
        _ => code.to_string(),
    }
}

fn headers(
    recorded: &BTreeMap<String, String>,
    observed: &BTreeMap<String, String>,
    collector: &mut Collector<'_>,
) {
    let keys = recorded
        .keys()
        .chain(observed.keys().filter(|key| !recorded.contains_key(*key)))
        .filter(|key| !is_trace(key));
    for key in keys {
        let path = format!("headers.{key}");
        match (recorded.get(key), observed.get(key)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => {
                let (one, other) = shown_both(one, other);
                collector.add(path, Some(one), Some(other), Weight::Judged);
            }
            (one, other) => collector.add(path, one.cloned(), other.cloned(), Weight::Judged),
        }
    }
}

/// Bodies that are not the same bytes: as trees where both are understood whole, else as bytes.
fn bodies(recorded: &Answer<'_>, observed: &Answer<'_>, collector: &mut Collector<'_>) {
    let parse = |answer: &Answer<'_>| {
        let hessian = idiom::named(answer.protocol)
            .is_some_and(|protocol| idiom::is_hessian(protocol, answer.codec));
        let (document, findings) = Document::parse(hessian.then_some(answer.body)?);
        findings.is_empty().then_some(document)
    };
    if let (Some(ours), Some(theirs)) = (parse(recorded), parse(observed)) {
        tree::compare(&ours, &theirs, collector);
    } else {
        let (one, other) = bytes_both(recorded.body, observed.body);
        collector.add("body".to_owned(), Some(one), Some(other), Weight::Judged);
    }
}
