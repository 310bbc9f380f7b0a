//! Where two sightings of one exchange part.

use std::collections::BTreeMap;

use meshproof_wire::{Crc, Frame, Protocol};

use super::Change;
use crate::diff::{self, Answer, Noise};
use crate::exchange::{Exchange, Half};
use crate::idiom;

/// Places within one body that are told; the rest is the last of them.
const PLACES_MAX: usize = 16;
/// Longest value that is told, in characters.
const VALUE_CHARS_MAX: usize = 160;

/// One field that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) field: String,
    pub(super) change: Change,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Found {
    /// A whole exchange that is on one side only.
    pub(super) fn exchange(change: Change) -> Found {
        Found {
            field: "exchange".to_owned(),
            change,
            before: None,
            after: None,
        }
    }

    /// Both values; what is `None` is not there.
    fn of(field: impl Into<String>, before: Option<String>, after: Option<String>) -> Found {
        let change = match (&before, &after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::Changed,
        };
        Found {
            field: field.into(),
            change,
            before: before.map(short),
            after: after.map(short),
        }
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

/// Everything in which they part.
pub(super) fn compare(before: &Exchange, after: &Exchange) -> Vec<Found> {
    let mut found = Vec::new();
    let (one, other) = (before.flow.to_string(), after.flow.to_string());
    if one != other {
        found.push(Found::of("exchange.connection", Some(one), Some(other)));
    }
    let late = |it: &Exchange| it.late.then(|| "after its time-out".to_owned());
    if before.late != after.late {
        found.push(Found::of("response.late", late(before), late(after)));
    }
    for (name, one, other) in [
        ("request", &before.request, &after.request),
        ("response", &before.response, &after.response),
    ] {
        match (one, other) {
            (Some(one), Some(other)) => halves(name, one, other, &mut found),
            (None, None) => {}
            (one, other) => {
                let told = |half: &Option<Half>| half.as_ref().map(told);
                found.push(Found::of(name, told(one), told(other)));
            }
        }
    }
    found
}

/// A half in a few words.
fn told(half: &Half) -> String {
    let status = half.head.status.map(|code| {
        let name = idiom::of(half.head.protocol).status(code);
        format!(", {name}")
    });
    format!("{}{}", half.head.protocol, status.unwrap_or_default())
}

fn halves(name: &str, before: &Half, after: &Half, found: &mut Vec<Found>) {
    let (Some(one), Some(other)) = (&before.frame, &after.frame) else {
        // Cut frames are left out before.
        return;
    };
    if before.head.id != after.head.id {
        found.push(Found::of(
            format!("{name}.id"),
            Some(before.head.id.to_string()),
            Some(after.head.id.to_string()),
        ));
    }
    // Most frames are the same but for the id and what follows from it.
    let readdressed = one.with_id(other.head.id);
    let same = readdressed.bytes == other.bytes && other.crc() != Crc::Bad;
    crc(name, one, other, same, found);
    if same {
        return;
    }
    let before_len = found.len();
    let mut check = |field: &str, before: Option<String>, after: Option<String>| {
        if before != after {
            found.push(Found::of(format!("{name}.{field}"), before, after));
        }
    };
    let (a, b) = (&before.head, &after.head);
    check(
        "protocol",
        Some(a.protocol.name().to_owned()),
        Some(b.protocol.name().to_owned()),
    );
    check(
        "kind",
        Some(format!("{:?}", a.kind).to_lowercase()),
        Some(format!("{:?}", b.kind).to_lowercase()),
    );
    let codec = |head: &meshproof_wire::Head| {
        let name = idiom::of(head.protocol).codec(head.codec);
        Some(name.into_owned())
    };
    check("codec", codec(a), codec(b));
    let ms = |timeout: Option<u32>| timeout.map(|ms| format!("{ms} ms"));
    check("timeout", ms(a.timeout_ms), ms(b.timeout_ms));
    let status = |head: &meshproof_wire::Head| {
        let code = head.status?;
        Some(idiom::of(head.protocol).status(code).into_owned())
    };
    check("status", status(a), status(b));
    let class = |frame: &Frame| Some(String::from_utf8_lossy(frame.class_bytes()).into_owned());
    check("class", class(one), class(other));
    version(name, one, other, found);
    headers(name, one, other, found);
    connection_object(name, &readdressed, other, found);
    body(name, one, other, found);
    let covered = |frame: &'_ Frame| {
        let crc = frame.parts().and_then(|parts| parts.crc);
        frame
            .bytes
            .slice(..crc.map_or(frame.bytes.len(), |crc| crc.start))
    };
    let (one, other) = (covered(&readdressed), covered(other));
    if found.len() == before_len && one != other {
        // Something that has no name of its own.
        let (one, other) = diff::bytes_both(&one, &other);
        found.push(Found::of(format!("{name}.bytes"), Some(one), Some(other)));
    }
}

/// A checksum that is right again after a change follows; any other change is one.
fn crc(name: &str, one: &Frame, other: &Frame, same: bool, found: &mut Vec<Found>) {
    let field = format!("{name}.crc");
    let stored = |frame: &Frame| {
        let range = frame.parts()?.crc?;
        let bytes = frame.bytes.get(range)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let holds = match frame.crc() {
            Crc::Bad => " (wrong)",
            Crc::Ok | Crc::Absent => "",
        };
        Some(format!("{hex}{holds}"))
    };
    let (before, after) = (stored(one), stored(other));
    if before == after && (same || other.crc() != Crc::Bad) {
        return;
    }
    let follows = one.crc() == Crc::Ok && other.crc() == Crc::Ok;
    let mut crc = Found::of(field, before, after);
    if follows {
        crc.change = Change::Follows;
    }
    found.push(crc);
}

/// The bytes of BOLT v2 that say its version and whether there is a CRC.
fn version(name: &str, one: &Frame, other: &Frame, found: &mut Vec<Found>) {
    let version = |frame: &Frame| Some(format!("{:?}", frame.parts()?.head.version));
    if one.head.protocol == Protocol::BoltV2 && other.head.protocol == Protocol::BoltV2 {
        let (before, after) = (version(one), version(other));
        if before != after {
            found.push(Found::of(format!("{name}.version"), before, after));
        }
    }
}

/// Keys that came, went or changed, and their order.
fn headers(name: &str, one: &Frame, other: &Frame, found: &mut Vec<Found>) {
    let (before, after) = (one.headers(), other.headers());
    if before == after {
        return;
    }
    let (left, right): (Vec<_>, Vec<_>) = (before.texts().collect(), after.texts().collect());
    // Of a key that stands twice the first one counts, as it does for readers of the map.
    let map = |pairs: &[(String, String)]| {
        let mut map = BTreeMap::new();
        for (key, value) in pairs {
            map.entry(key.clone()).or_insert_with(|| value.clone());
        }
        map
    };
    let (ones, others) = (map(&left), map(&right));
    let keys = ones
        .keys()
        .chain(others.keys().filter(|key| !ones.contains_key(*key)));
    let from = found.len();
    for key in keys {
        let (one, other) = (ones.get(key), others.get(key));
        if one != other {
            found.push(Found::of(
                format!("{name}.header.{key}"),
                one.cloned(),
                other.cloned(),
            ));
        }
    }
    let order = |pairs: &[(String, String)]| -> Vec<String> {
        pairs.iter().map(|(key, _)| key.clone()).collect()
    };
    let (keys, other_keys) = (order(&left), order(&right));
    if found.len() == from && keys != other_keys {
        found.push(Found::of(
            format!("{name}.header-order"),
            Some(keys.join(", ")),
            Some(other_keys.join(", ")),
        ));
    }
}

/// What stands in TR in the place of a head.
fn connection_object(name: &str, one: &Frame, other: &Frame, found: &mut Vec<Found>) {
    let object = |frame: &Frame| {
        let range = frame.tr_parts()?.connection;
        frame.bytes.get(range).map(<[u8]>::to_vec)
    };
    if let (Some(before), Some(after)) = (object(one), object(other))
        && before != after
    {
        let (before, after) = diff::bytes_both(&before, &after);
        let field = format!("{name}.connection-object");
        found.push(Found::of(field, Some(before), Some(after)));
    }
}

/// Bodies by place where both can be read, else by the first byte that differs.
fn body(name: &str, one: &Frame, other: &Frame, found: &mut Vec<Found>) {
    if one.content() == other.content() {
        return;
    }
    let noise = Noise::default();
    let applied = noise.of("", None);
    let places: Vec<_> = diff::compare(&Answer::from(one), &Answer::from(other), &applied)
        .into_iter()
        .filter(|it| it.path.starts_with("body") || it.path.starts_with("exception"))
        .collect();
    if places.is_empty() {
        let (one, other) = diff::bytes_both(one.content(), other.content());
        found.push(Found::of(format!("{name}.body"), Some(one), Some(other)));
        return;
    }
    for place in places.into_iter().take(PLACES_MAX) {
        let field = format!("{name}.{}", place.path);
        found.push(Found::of(field, place.recorded, place.observed));
    }
}
