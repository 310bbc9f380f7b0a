//! What the core needs of a frame: where it ends, what it is, under which id it goes, how an
//! answer to it must look. Read in place; nothing is copied and nothing allocated.

use std::borrow::Cow;
use std::ops::Range;

use meshproof_wire::bolt::{self, Version};
use meshproof_wire::{Kind, Protocol, RequestId, tr};

use crate::config::Speaks;

/// Protocol and version, as upstream pools tell them apart: a server answers in the version of
/// the connection's first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// BOLT v1.
    V1,
    /// BOLT v2 with `ver1` 1: never a CRC.
    V2,
    /// BOLT v2 with `ver1` 2: a CRC where the switch says so.
    V2Crc,
    /// TR.
    Tr,
}

impl Class {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Class::V1 => Protocol::BoltV1,
            Class::V2 | Class::V2Crc => Protocol::BoltV2,
            Class::Tr => Protocol::Tr,
        }
    }

    pub(super) fn speaks(self) -> Speaks {
        match self {
            Class::V1 | Class::V2 | Class::V2Crc => Speaks::Bolt,
            Class::Tr => Speaks::Tr,
        }
    }
}

/// How an answer to a frame must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) class: Class,
    /// Of v2; bit 0 asks for a CRC.
    pub(super) switch: u8,
    pub(super) codec: u8,
}

impl Stamp {
    /// A connection of this class before anything came on it.
    pub(super) fn of(class: Class) -> Stamp {
        Stamp {
            class,
            switch: 0,
            codec: 1,
        }
    }

    /// The BOLT version, where it is BOLT.
    pub(super) fn version(self) -> Option<Version> {
        let switch = self.switch;
        match self.class {
            Class::V1 => Some(Version::V1),
            Class::V2 => Some(Version::V2 { ver1: 1, switch }),
            Class::V2Crc => Some(Version::V2 { ver1: 2, switch }),
            Class::Tr => None,
        }
    }
}

/// A whole frame, as it stands at the front of some bytes.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// In bytes.
    pub(super) len: usize,
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) stamp: Stamp,
    layout: Layout,
}

/// What a request says of where it wants to go, and how long it may take.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked<'a> {
    /// Empty where it names none.
    pub(super) service: Cow<'a, str>,
    /// Class of the request.
    pub(super) class: &'a str,
}

#[derive(Clone, Debug)]
enum Layout {
    Bolt {
        class: Range<usize>,
        headers: Range<usize>,
        crc: bool,
        timeout_ms: Option<u32>,
    },
    Tr(tr::Parts),
}

/// What the front of some bytes is.
#[derive(Debug)]
pub(super) enum Look {
    /// A frame, whole.
    Frame(Seen),
    /// Perhaps one; nothing can be told before there are this many bytes.
    Need(usize),
    /// No frame of a protocol that is served.
    Foreign(String),
    /// A frame that cannot be taken.
    Damaged(String),
}

/// Looks at the front of `bytes`. Bytes that cannot become a frame are told as early as they show
/// it. `bytes` must not be empty.
#[inline]
pub(super) fn look(bytes: &[u8], served: &[Speaks], frame_bytes_max: u64) -> Look {
    match bytes.first() {
        Some(1 | 2) if served.contains(&Speaks::Bolt) => look_bolt(bytes, frame_bytes_max),
        Some(13) if served.contains(&Speaks::Tr) => look_tr(bytes, frame_bytes_max),
        _ => Look::Foreign(foreign(bytes, served)),
    }
}

#[inline]
fn look_bolt(bytes: &[u8], frame_bytes_max: u64) -> Look {
    let head = match bolt::Head::parse(bytes) {
        bolt::Step::Head(head) => head,
        bolt::Step::Need(len) => return Look::Need(len),
        bolt::Step::Malformed(why) => return Look::Foreign(why.to_string()),
    };
    let kind = head.kind();
    if kind == Kind::Unknown {
        return Look::Foreign(format!(
            "BOLT command {} of type {}",
            head.cmdcode,
            head.command.code()
        ));
    }
    let len = match whole(head.frame_len(), bytes.len(), frame_bytes_max) {
        Ok(len) => len,
        Err(short) => return short.into(),
    };
    let (class, switch) = match head.version {
        Version::V1 => (Class::V1, 0),
        Version::V2 { ver1: 1, switch } => (Class::V2, switch),
        Version::V2 { switch, .. } => (Class::V2Crc, switch),
    };
    let timeout_ms = match head.command {
        bolt::Command::Response { .. } => None,
        bolt::Command::Request { timeout_ms } | bolt::Command::Oneway { timeout_ms } => {
            u32::try_from(timeout_ms).ok().filter(|ms| *ms > 0)
        }
    };
    let class_end = head.fixed_len() + usize::from(head.class_len);
    Look::Frame(Seen {
        len,
        kind,
        id: u64::from(head.id),
        stamp: Stamp {
            class,
            switch,
            codec: head.codec,
        },
        layout: Layout::Bolt {
            class: head.fixed_len()..class_end,
            headers: class_end..class_end + usize::from(head.header_len),
            crc: head.version.has_crc(),
            timeout_ms,
        },
    })
}

fn look_tr(bytes: &[u8], frame_bytes_max: u64) -> Look {
    let parts = match tr::Parts::front(bytes) {
        tr::Front::Parts(parts) => parts,
        tr::Front::Need(len) => return Look::Need(len),
        tr::Front::Malformed(why) => return Look::Foreign(why.to_string()),
    };
    let len = match whole(parts.head.frame_len(), bytes.len(), frame_bytes_max) {
        Ok(len) => len,
        Err(short) => return short.into(),
    };
    Look::Frame(Seen {
        len,
        kind: parts.kind,
        id: parts.id.0,
        stamp: Stamp {
            class: Class::Tr,
            switch: 0,
            codec: parts.head.serializer,
        },
        layout: Layout::Tr(parts),
    })
}

/// Why a frame is not there as a whole.
enum Short {
    Need(usize),
    TooLong { len: u64, max: u64 },
}

impl From<Short> for Look {
    fn from(short: Short) -> Look {
        match short {
            Short::Need(len) => Look::Need(len),
            Short::TooLong { len, max } => {
                Look::Damaged(format!("a frame of {len} bytes exceeds the limit of {max}"))
            }
        }
    }
}

/// The length of a frame that is there as a whole and within the limit.
#[inline]
fn whole(len: u64, have: usize, max: u64) -> Result<usize, Short> {
    if len > max {
        return Err(Short::TooLong { len, max });
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > have {
        return Err(Short::Need(len));
    }
    Ok(len)
}

#[cold]
fn foreign(bytes: &[u8], served: &[Speaks]) -> String {
    let verdict = meshproof_wire::detect::look(bytes);
    let first = bytes.first().copied().unwrap_or(0);
    let served: Vec<_> = served
        .iter()
        .map(|speaks| match speaks {
            Speaks::Bolt => "BOLT",
            Speaks::Tr => "TR",
        })
        .collect();
    format!(
        "first byte {first}, which looks like {verdict}; served: {}",
        served.join(", ")
    )
}

impl Seen {
    /// Whether the frame's CRC, where it has one, is right. Reads every byte.
    #[inline]
    pub(super) fn crc_holds(&self, frame: &[u8]) -> bool {
        match self.layout {
            Layout::Bolt { crc: true, .. } => frame
                .split_last_chunk()
                .is_some_and(|(covered, sum)| crc32fast::hash(covered).to_be_bytes() == *sum),
            _ => true,
        }
    }

    /// Appends the frame under another id; its CRC is made to fit.
    #[inline]
    pub(super) fn append_as(&self, frame: &[u8], id: u64, out: &mut Vec<u8>) {
        match &self.layout {
            Layout::Bolt { crc, .. } => {
                let start = out.len();
                out.extend_from_slice(frame);
                let Some(copy) = out.get_mut(start..) else {
                    return;
                };
                let at = match self.stamp.class {
                    Class::V1 => 5,
                    _ => 6,
                };
                if let Some(field) = copy.get_mut(at..at + 4) {
                    // BOLT ids have 32 bits; ours never have more.
                    field.copy_from_slice(&(id as u32).to_be_bytes());
                }
                if *crc && let Some((covered, sum)) = copy.split_last_chunk_mut() {
                    *sum = crc32fast::hash(covered).to_be_bytes();
                }
            }
            Layout::Tr(parts) => {
                tr::append_with_id(frame, parts, RequestId(id), out);
            }
        }
    }

    /// Length of the CRC at the frame's end, in bytes.
    pub(super) fn crc_len(&self) -> usize {
        match self.layout {
            Layout::Bolt { crc: true, .. } => 4,
            _ => 0,
        }
    }

    /// The time-out that a request names, in milliseconds, above 0.
    #[inline]
    pub(super) fn timeout_ms(&self, frame: &[u8]) -> Option<u32> {
        match &self.layout {
            Layout::Bolt { timeout_ms, .. } => *timeout_ms,
            Layout::Tr(parts) => tr::call(frame.get(parts.content.clone())?)?.timeout_ms,
        }
    }

    /// What a request asks for.
    #[inline]
    pub(super) fn asked<'a>(&self, frame: &'a [u8]) -> Asked<'a> {
        let text = |range: &Range<usize>| {
            let bytes = frame.get(range.clone()).unwrap_or(&[]);
            std::str::from_utf8(bytes).unwrap_or("")
        };
        match &self.layout {
            Layout::Bolt { class, headers, .. } => {
                let section = frame.get(headers.clone()).unwrap_or(&[]);
                let service = header(section, b"service");
                let service = service.or_else(|| header(section, b"sofa_head_target_service"));
                Asked {
                    service: Cow::Borrowed(service.unwrap_or("")),
                    class: text(class),
                }
            }
            Layout::Tr(parts) => {
                let content = frame.get(parts.content.clone()).unwrap_or(&[]);
                Asked {
                    service: tr::call(content)
                        .and_then(|call| call.service)
                        .unwrap_or_default(),
                    class: text(&parts.class),
                }
            }
        }
    }
}

/// The value of the first pair with this key, where the section is in order up to there.
#[inline]
fn header<'a>(mut section: &'a [u8], key: &[u8]) -> Option<&'a str> {
    loop {
        let found = text(&mut section)?;
        let value = text(&mut section)?;
        if found == Some(key) {
            return std::str::from_utf8(value?).ok();
        }
    }
}

/// The length-prefixed text at the front, which is cut off; a negative length stands for null.
#[inline]
fn text<'a>(section: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (len, rest) = section.split_first_chunk()?;
    let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
        *section = rest;
        return Some(None);
    };
    let (text, rest) = rest.split_at_checked(len)?;
    *section = rest;
    Some(Some(text))
}
