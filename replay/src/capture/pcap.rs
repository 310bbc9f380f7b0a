//! The classic format: one header, then records.
//!
//! Layout as in draft-ietf-opsawg-pcap: magic u32, version 2.4, time zone, accuracy, snaplen,
//! link type; per record seconds, fraction, captured and original length, all u32.

use super::finding::{Notes, What};
use super::reader::{Begun, Halt, Record};
use super::window::Window;
use super::{Link, PACKET_BYTES_MAX};

/// What libpcap accepts whatever the header's snaplen says: writers exist that exceed their own.
const SNAPLEN_USUAL: u64 = 256 << 10;

const HEADER_BYTES: usize = 24;

/// A file of the classic format behind its header.
pub(super) struct Pcap {
    big_endian: bool,
    /// Nanoseconds per unit of the fraction: 1 or 1000.
    unit_ns: u64,
    link: Link,
    caplen_max: u64,
    /// 16, and 24 in the variant with an interface number in each record.
    record_header: usize,
}

/// Whether these are the first bytes of this format.
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    variant(magic).is_some()
}

/// Big-endian, nanoseconds per unit, bytes of a record's header.
fn variant(magic: [u8; 4]) -> Option<(bool, u64, usize)> {
    let of = |number: u32| match number {
        0xa1b2_c3d4 => Some((1000, 16)),
        0xa1b2_3c4d => Some((1, 16)),
        // Written by a patched libpcap of old Linux distributions.
        0xa1b2_cd34 => Some((1000, 24)),
        _ => None,
    };
    of(u32::from_be_bytes(magic))
        .map(|(unit, header)| (true, unit, header))
        .or_else(|| of(u32::from_le_bytes(magic)).map(|(unit, header)| (false, unit, header)))
}

impl Pcap {
    /// Reads the header.
    pub(super) fn begin(window: &mut Window, notes: &mut Notes) -> Result<Pcap, Begun> {
        if !window.ensure(HEADER_BYTES)? {
            return Err(Begun::Header {
                offset: window.bytes().len() as u64,
                why: format!(
                    "expected a header of {HEADER_BYTES} bytes, found {}",
                    window.bytes().len()
                ),
                advice: "the file was cut off; copy it again",
            });
        }
        let Some(&header) = window.bytes().first_chunk::<HEADER_BYTES>() else {
            return Err(Begun::NotACapture);
        };
        let [m0, m1, m2, m3, v0, v1, ..] = header;
        let Some((big_endian, unit_ns, record_header)) = variant([m0, m1, m2, m3]) else {
            return Err(Begun::NotACapture);
        };
        let major = if big_endian {
            u16::from_be_bytes([v0, v1])
        } else {
            u16::from_le_bytes([v0, v1])
        };
        if major != 2 {
            return Err(Begun::Header {
                offset: 4,
                why: format!("expected pcap version 2, found {major}"),
                advice: "the header is damaged; copy the file again",
            });
        }
        let snaplen = u64::from(word(&header, 16, big_endian));
        // The upper bits tell of a frame check sequence at the end of each packet; the length in
        // the IP header keeps it out of the payload.
        let number = word(&header, 20, big_endian) as u16;
        let link = Link::from_number(number);
        if let Link::Other(number) = link {
            notes.add(20, 0, What::UnknownLink { number });
        }
        window.consume(HEADER_BYTES);
        Ok(Pcap {
            big_endian,
            unit_ns,
            link,
            caplen_max: snaplen.clamp(SNAPLEN_USUAL, PACKET_BYTES_MAX as u64),
            record_header,
        })
    }

    /// Goes on to the next record; `None` at the end.
    #[inline]
    pub(super) fn advance(
        &mut self,
        window: &mut Window,
        notes: &mut Notes,
        packet: u64,
    ) -> Result<Option<Record>, Halt> {
        if !window.ensure(self.record_header)? {
            return end(window, self.record_header as u64);
        }
        let Some(header) = window.bytes().first_chunk::<16>() else {
            return Ok(None);
        };
        let big_endian = self.big_endian;
        let seconds = word(header, 0, big_endian);
        let fraction = word(header, 4, big_endian);
        let caplen = word(header, 8, big_endian);
        let orig_len = word(header, 12, big_endian);
        if u64::from(caplen) > self.caplen_max {
            return Err(Halt::Damage(What::AbsurdLength {
                length: u64::from(caplen),
                limit: self.caplen_max,
            }));
        }
        let len = caplen as usize;
        if !window.ensure(self.record_header + len)? {
            return end(window, (self.record_header + len) as u64);
        }
        let at_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit_ns;
        if u64::from(fraction) * self.unit_ns >= 1_000_000_000 {
            notes.add(window.offset(), packet, What::BadTime);
        }
        let record = Record {
            at_ns,
            link: self.link,
            position: window.position() + self.record_header,
            len,
            orig_len: orig_len.max(caplen),
        };
        window.consume(self.record_header + len);
        Ok(Some(record))
    }
}

#[cold]
fn end(window: &Window, expected: u64) -> Result<Option<Record>, Halt> {
    let left = window.bytes().len() as u64;
    if left == 0 {
        Ok(None)
    } else {
        Err(Halt::Damage(What::Cut { left, expected }))
    }
}

/// The u32 at a constant offset within a header.
#[inline]
fn word<const N: usize>(header: &[u8; N], at: usize, big_endian: bool) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}
