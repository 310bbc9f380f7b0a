//! Messages from the kernel. What is cut off or makes no sense ends the list it stands in: the
//! kernel is believed, and nothing here can fail on what it says.

use super::{CAPPED, ERROR, EXPLAINED, HEADER, aligned};

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is; the subsystem stands in the upper byte for nfnetlink.
    pub kind: u16,
    /// Flags of the header.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// All behind the header.
    pub body: &'a [u8],
}

/// The messages of a buffer, in order.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = word(rest, 0)? as usize;
        let message = rest.get(HEADER..length).map(|body| Message {
            kind: half(rest, 4).unwrap_or(0),
            flags: half(rest, 6).unwrap_or(0),
            sequence: word(rest, 8).unwrap_or(0),
            body,
        })?;
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
        Some(message)
    })
}

/// Attributes, with their kinds (without flags) and values, in order.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let kind = half(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// The attributes of a message, behind a fixed part of `fixed` bytes.
pub fn behind(body: &[u8], fixed: usize) -> &[u8] {
    body.get(aligned(fixed)..).unwrap_or(&[])
}

/// A string up to its zero; bytes that are no UTF-8 are shown as such.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

/// A number of 32 bits in network order.
pub fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

/// A number of 64 bits in network order.
pub fn long(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*value.first_chunk()?))
}

/// 32 bits at an offset, in the byte order of the machine.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// 16 bits at an offset, in the byte order of the machine.
pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What the kernel says of one request: that it is done, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the request.
    pub sequence: u32,
    /// The error, positive; 0 is no error.
    pub errno: i32,
    /// What the kernel says beside it, in its own words.
    pub words: Option<String>,
}

impl Answer {
    /// Of a message of kind NLMSG_ERROR; `None` for others.
    pub fn of(message: Message<'_>) -> Option<Answer> {
        /// NLMSGERR_ATTR_MSG
        const WORDS: u16 = 1;
        if message.kind != ERROR {
            return None;
        }
        let errno = word(message.body, 0)?.cast_signed().wrapping_neg();
        let quoted = message.body.get(4..)?;
        let length = word(quoted, 0)? as usize;
        // Of a request that is not at fault only the header comes back.
        let skipped = if message.flags & CAPPED == 0 && errno != 0 {
            aligned(length)
        } else {
            HEADER
        };
        let words = (message.flags & EXPLAINED != 0)
            .then(|| quoted.get(skipped..))
            .flatten()
            .and_then(|rest| attribute(rest, WORDS))
            .map(text);
        Some(Answer {
            sequence: message.sequence,
            errno,
            words,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::write::Request;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut request = Request::default();
        request.message(7, 5, 42, &[1, 2, 3, 4], |attributes| {
            attributes.text(1, "name").number(2, 77);
            attributes.nest(3, |inner| {
                inner.long(1, 1 << 40).put(2, &[9]);
            });
        });
        request.message(8, 1, 43, &[], |_| {});
        let read: Vec<Message<'_>> = messages(request.bytes()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (7, 5, 42));
        let rest = behind(read[0].body, 4);
        assert_eq!(attribute(rest, 1).map(text).as_deref(), Some("name"));
        assert_eq!(attribute(rest, 2).and_then(number), Some(77));
        let inner = attribute(rest, 3).unwrap();
        assert_eq!(attribute(inner, 1).and_then(long), Some(1 << 40));
        assert_eq!(attribute(inner, 2), Some(&[9][..]));
        assert_eq!((read[1].sequence, read[1].body), (43, &[][..]));
    }

    #[test]
    fn an_error_is_told_in_the_kernels_words() {
        let refused = |errno: i32, flags: u16, quoted: &[u8]| {
            let mut fixed = (-errno).to_ne_bytes().to_vec();
            fixed.extend_from_slice(&((HEADER + quoted.len()) as u32).to_ne_bytes());
            fixed.extend_from_slice(&[0; 12]);
            if flags & CAPPED == 0 {
                fixed.extend_from_slice(quoted);
            }
            let mut request = Request::default();
            request.message(ERROR, flags, 9, &fixed, |attributes| {
                attributes.text(1, "no such chain");
            });
            let message = messages(request.bytes()).next().unwrap();
            Answer::of(message).unwrap()
        };
        let words = Some("no such chain".to_owned());
        for (flags, quoted) in [
            (EXPLAINED, &[0xff; 8][..]),
            (EXPLAINED | CAPPED, &[0xff; 8]),
            (EXPLAINED, &[]),
        ] {
            let answer = refused(2, flags, quoted);
            assert_eq!((answer.sequence, answer.errno), (9, 2));
            assert_eq!(answer.words, words, "{flags:#x}");
        }
        assert_eq!(refused(2, 0, &[]).words, None);
        assert_eq!(refused(0, CAPPED, &[]).errno, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn nothing_is_too_broken_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut left = 200;
            for message in messages(&bytes) {
                let _ = Answer::of(message);
                for (_, value) in attributes(message.body) {
                    let _ = (text(value), number(value), long(value));
                }
                left -= 1;
                prop_assert!(left > 0, "it ends");
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
