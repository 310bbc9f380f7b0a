//! Whether bytes in the middle of a stream look like a frame.

use std::ops::Range;

use super::Limits;
use crate::bolt::{self, Command, Head, Step};
use crate::protocol::Kind;
use crate::tr;

/// Longest class name that is believed; real ones have some 50 bytes.
const CLASS_LEN_MAX: u16 = 512;

/// Longest time-out that is believed: one day.
const TIMEOUT_MS_MAX: i32 = 86_400_000;

/// Ids of one direction of a connection lie closer together than this, unless chance wrote them.
const ID_DISTANCE_MAX: u32 = 1 << 24;

/// Shortest connection object of TR and shortest class name that are believed.
const TR_CONNECTION_LEN_MIN: u32 = 16;
const TR_CLASS_LEN_MIN: u8 = 4;

/// What bytes look like that may begin a frame.
pub(super) enum Look {
    /// No frame.
    Refused,
    /// The fixed part is not all there; so many bytes in all are needed.
    Need(u64),
    /// The fixed part is sane and what stands behind it begins well; so many bytes in all are
    /// needed to judge it.
    Cut(u64),
    /// A frame, as far as its fixed part, names and headers tell.
    Seen(Seen),
}

/// A frame by its looks.
pub(super) enum Seen {
    Bolt(Head, Proof),
    /// Its length: an id was found in its connection object.
    Tr(u64),
}

/// How much a frame shows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Sane fields.
    Weak,
    /// A class name or a heartbeat's zeros as well.
    Strong,
}

/// Looks at what may be the first bytes of a frame.
pub(super) fn look(bytes: &[u8], limits: &Limits) -> Look {
    match bytes.first() {
        Some(13) => look_tr(bytes, limits),
        _ => look_bolt(bytes, limits),
    }
}

fn look_bolt(bytes: &[u8], limits: &Limits) -> Look {
    let head = match Head::parse(bytes) {
        Step::Head(head) if sane(&head, limits) => head,
        Step::Need(need) if sane_front(bytes) => return Look::Need(need as u64),
        _ => return Look::Refused,
    };
    match read_as(bytes, &head) {
        Shape::Wrong => Look::Refused,
        Shape::Cut => Look::Cut(parts(&head).content.start as u64),
        Shape::Right(proof) => Look::Seen(Seen::Bolt(head, proof)),
    }
}

fn look_tr(bytes: &[u8], limits: &Limits) -> Look {
    if bytes.get(4).is_some_and(|reserved| *reserved != 0) {
        return Look::Refused;
    }
    let head = match tr::Head::parse(bytes) {
        tr::Step::Head(head) => head,
        tr::Step::Need(need) => return Look::Need(need as u64),
        tr::Step::Malformed(_) => return Look::Refused,
    };
    let class_end = head.front_len();
    let class_start = class_end - usize::from(head.class_len);
    let class = bytes
        .get(class_start..class_end.min(bytes.len()))
        .unwrap_or_default();
    // A class definition, or an instance.
    let begins_well = bytes
        .get(tr::Head::BYTES)
        .is_none_or(|code| matches!(code, b'O' | b'o'));
    let is_sane = begins_well
        && head.connection_len >= TR_CONNECTION_LEN_MIN
        && head.class_len >= TR_CLASS_LEN_MIN
        && head.frame_len() <= limits.frame_bytes_max
        && class.iter().copied().all(in_a_class_name);
    if !is_sane {
        return Look::Refused;
    }
    match tr::Parts::front(bytes) {
        tr::Front::Parts(parts) => Look::Seen(Seen::Tr(parts.head.frame_len())),
        tr::Front::Need(need) => Look::Cut(need as u64),
        tr::Front::Malformed(_) => Look::Refused,
    }
}

impl Seen {
    /// Length of the frame.
    pub(super) fn len(&self) -> u64 {
        match self {
            Seen::Bolt(head, _) => head.frame_len(),
            Seen::Tr(len) => *len,
        }
    }

    /// How much it shows by itself.
    pub(super) fn proof(&self) -> Proof {
        match self {
            Seen::Bolt(_, proof) => *proof,
            Seen::Tr(_) => Proof::Strong,
        }
    }

    /// Whether its CRC holds, where it has one. `bytes` begin with it and hold it whole.
    pub(super) fn crc_holds(&self, bytes: &[u8]) -> bool {
        match self {
            Seen::Bolt(head, _) => crc_holds(bytes, head),
            Seen::Tr(_) => true,
        }
    }

    /// Whether it shows by more than its class name that it is a frame, or at least goes with the
    /// one behind it. `bytes` begin with it.
    pub(super) fn is_akin(&self, bytes: &[u8], next: &Seen) -> bool {
        let Seen::Bolt(first, _) = self else {
            return true;
        };
        let goes_with = |next: &Seen| {
            let Seen::Bolt(next, _) = next else {
                return false;
            };
            let distance = first.id.wrapping_sub(next.id);
            first.version.protocol() == next.version.protocol()
                && distance.min(distance.wrapping_neg()) <= ID_DISTANCE_MAX
        };
        first.header_len > 0
            || first.version.has_crc()
            || names_its_class(bytes, first)
            || goes_with(next)
    }
}

fn crc_holds(bytes: &[u8], head: &Head) -> bool {
    if !head.version.has_crc() {
        return true;
    }
    let end = parts(head).content.end;
    let (Some(covered), Some(stored)) = (bytes.get(..end), bytes.get(end..end.saturating_add(4)))
    else {
        return false;
    };
    crc32fast::hash(covered).to_be_bytes() == stored
}

/// Whether the content starts as Hessian does in SOFA's dialect: `O`, a length, the class's name.
fn names_its_class(bytes: &[u8], head: &Head) -> bool {
    let parts = parts(head);
    let class = bytes.get(parts.class).unwrap_or(&[]);
    let content = bytes.get(parts.content).unwrap_or(&[]);
    let front = content
        .get(..class.len().saturating_add(8))
        .unwrap_or(content);
    class.len() >= 4 && memchr::memmem::find(front, class).is_some()
}

/// Whether the fields of a head agree with each other and are such as are sent.
fn sane(head: &Head, limits: &Limits) -> bool {
    let kind = head.kind();
    let switch_ok = match head.version {
        bolt::Version::V1 => true,
        bolt::Version::V2 { switch, .. } => switch <= 1,
    };
    let command_ok = match head.command {
        Command::Response { status } => status <= 0x1f,
        Command::Request { timeout_ms } | Command::Oneway { timeout_ms } => {
            (-1..=TIMEOUT_MS_MAX).contains(&timeout_ms)
        }
    };
    let empty = head.class_len == 0 && head.header_len == 0 && head.content_len == 0;
    let lengths_ok = match kind {
        Kind::Heartbeat | Kind::HeartbeatAck => empty,
        Kind::Request | Kind::Oneway => head.class_len > 0,
        // A proxy answers an error without class and content.
        Kind::Response => head.class_len > 0 || head.content_len == 0,
        Kind::Goaway => true,
        Kind::Unknown => false,
    };
    head.ver2 == 1
        && head.codec <= 64
        && switch_ok
        && command_ok
        && lengths_ok
        && head.class_len <= CLASS_LEN_MAX
        && head.frame_len() <= limits.frame_bytes_max
}

/// Whether bytes that are too few for a head begin like one.
fn sane_front(bytes: &[u8]) -> bool {
    let from_type = match bytes {
        [1, rest @ ..] | [2, 1 | 2, rest @ ..] => rest,
        [] | [2] => return true,
        _ => return false,
    };
    let command_ok = match from_type {
        [kind, 0, code, ..] => matches!((kind, code), (1, 0 | 1 | 100) | (2, 1 | 100) | (0, 0 | 2)),
        [kind, 0] | [kind] => *kind <= 2,
        [] => true,
        _ => false,
    };
    command_ok && from_type.get(3).is_none_or(|ver2| *ver2 == 1)
}

/// Where the parts of a frame lie that may be there in part only.
struct Parts {
    class: Range<usize>,
    headers: Range<usize>,
    content: Range<usize>,
}

fn parts(head: &Head) -> Parts {
    let class = head.fixed_len()..head.fixed_len() + usize::from(head.class_len);
    let headers = class.end..class.end + usize::from(head.header_len);
    let content_len = usize::try_from(head.content_len).unwrap_or(usize::MAX);
    let content = headers.end..headers.end.saturating_add(content_len);
    Parts {
        class,
        headers,
        content,
    }
}

/// How class name and header map read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Wrong,
    /// Right as far as it goes.
    Cut,
    Right(Proof),
}

fn read_as(bytes: &[u8], head: &Head) -> Shape {
    let parts = parts(head);
    let there = |range: &Range<usize>| {
        let end = range.end.min(bytes.len());
        bytes.get(range.start.min(end)..end).unwrap_or(&[])
    };
    let class = there(&parts.class);
    if !class.iter().copied().all(in_a_class_name) {
        return Shape::Wrong;
    }
    if class.len() < parts.class.len() {
        return Shape::Cut;
    }
    match read_headers(there(&parts.headers), parts.headers.len()) {
        Shape::Right(_) if class.len() >= 4 || is_heartbeat(head) => Shape::Right(Proof::Strong),
        other => other,
    }
}

fn is_heartbeat(head: &Head) -> bool {
    matches!(head.kind(), Kind::Heartbeat | Kind::HeartbeatAck)
}

/// Java names in their written and their binary forms.
fn in_a_class_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.$/;[]<>-,:".contains(&byte)
}

/// Checks that the lengths of a header section of `len` bytes sum to it and that keys are text.
fn read_headers(section: &[u8], len: usize) -> Shape {
    let mut rest = section;
    let mut left = len;
    let mut is_key = true;
    while left > 0 {
        let Some((prefix, tail)) = rest.split_first_chunk() else {
            return if left < 4 { Shape::Wrong } else { Shape::Cut };
        };
        left = match left.checked_sub(4) {
            Some(left) => left,
            None => return Shape::Wrong,
        };
        // A null value counts as empty; a null key does not occur.
        let text_len = match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(text_len) => text_len,
            Err(_) if !is_key => 0,
            Err(_) => return Shape::Wrong,
        };
        left = match left.checked_sub(text_len) {
            Some(left) => left,
            None => return Shape::Wrong,
        };
        let text = tail.get(..text_len).unwrap_or(tail);
        if is_key && (text_len == 0 || !text.iter().all(|byte| (0x20..0x7f).contains(byte))) {
            return Shape::Wrong;
        }
        if text.len() < text_len {
            return Shape::Cut;
        }
        rest = tail.get(text_len..).unwrap_or(&[]);
        is_key = !is_key;
    }
    if is_key {
        Shape::Right(Proof::Weak)
    } else {
        Shape::Wrong
    }
}
