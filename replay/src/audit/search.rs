//! Searches packets, streams, fields and file blocks.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use meshproof_wire::decoder::Decoded;
use regex::bytes::Regex;

use super::bounds::Context;
use super::fields::{self, Content};
use super::needle::{Needles, What};
use super::odds::Odds;
use super::report::{self, Place, Tallies};
use super::scan::{self, Encoding, Hit, Scanner, Scratch};
use super::walk::{self, At, Payload, Visit};
use crate::capture::Packet;
use crate::map::PathPattern;
use crate::packet::{Parsed, Segment};
use crate::stream;

/// Bytes that a stream gathers before they are searched, while there is room.
const GATHER_BYTES: usize = 16 << 10;
/// Bytes that all streams gather together; beyond it each is searched as its bytes come.
const GATHER_TOTAL_BYTES_MAX: usize = 32 << 20;
/// Hits of one stream that wait for the frame around them.
const WAITING_MAX: usize = 4096;

pub(super) struct Search<'n> {
    scanner: Scanner,
    odds: Odds,
    tallies: Tallies,
    scratch: Scratch,
    /// Needles that are looked for in decoded fields only.
    rules: Vec<FieldRule<'n>>,
    gathered: usize,
    too_long: u64,
    blank: Vec<u8>,
}

/// A needle for decoded fields.
struct FieldRule<'n> {
    needle: u32,
    looks: Looks<'n>,
}

enum Looks<'n> {
    Key {
        key: &'n str,
        value: &'n str,
    },
    At {
        at: &'n PathPattern,
        value: &'n str,
    },
    Pattern {
        at: Option<&'n PathPattern>,
        regex: Regex,
    },
}

/// What is kept of a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Bytes from stream offset `base` on.
    buffer: Vec<u8>,
    base: u64,
    /// How many of them were searched before.
    searched: usize,
    /// `base` is not the stream's beginning nor the byte behind a gap.
    goes_on: bool,
    /// Where packets begin in the buffer.
    packets: VecDeque<(u64, u64)>,
    /// Hits that were told, to tell each once.
    told: Vec<(u32, Encoding, u64)>,
    /// Hits that wait for the frame around them.
    waiting: Vec<(Hit, Place)>,
    /// What the fields of the last frames told: bytes of the stream, and the needle.
    by_fields: Vec<(u32, Range<u64>)>,
}

impl<'n> Search<'n> {
    pub(super) fn new(needles: &'n Needles) -> Result<Search<'n>, String> {
        let mut rules = Vec::new();
        for (needle, number) in needles.list.iter().zip(0u32..) {
            let looks = match &needle.what {
                What::Value { key, value } => Looks::Key { key, value },
                What::At { at, value } => Looks::At { at, value },
                What::Pattern { at, pattern } => Looks::Pattern {
                    at: at.as_ref(),
                    regex: regex::bytes::RegexBuilder::new(pattern)
                        .size_limit(1 << 20)
                        .build()
                        .map_err(|error| format!("{}: {error}", needle.origin))?,
                },
                What::Network(_) | What::Endpoint(_) | What::Name(_) => continue,
            };
            rules.push(FieldRule {
                needle: number,
                looks,
            });
        }
        Ok(Search {
            scanner: Scanner::new(needles)?,
            odds: Odds::default(),
            tallies: Tallies::default(),
            scratch: Scratch::default(),
            rules,
            gathered: 0,
            too_long: 0,
            blank: Vec::new(),
        })
    }

    pub(super) fn report(self, needles: &Needles, mut unsearched: Vec<String>) -> report::Report {
        if self.too_long > 0 {
            unsearched.push(format!(
                "{} frames are longer than {} bytes: searched as bytes, not field by field",
                self.too_long,
                walk::FRAME_BYTES_MAX,
            ));
        }
        self.tallies.report(needles, &self.odds, unsearched)
    }

    /// Searches a block of a file that holds no packet.
    pub(super) fn block(&mut self, file: &str, kind: &str, offset: u64, bytes: &[u8]) {
        self.tallies.scanned.block_bytes += bytes.len() as u64;
        let name = format!("{file} {kind}");
        self.alone(bytes, &[], |at| Place {
            part: "file",
            stream: Some(name.clone()),
            offset: offset + at as u64,
            ..Place::default()
        });
    }

    /// Searches bytes that belong to no stream; hits in `known` ranges were told before.
    fn alone(&mut self, bytes: &[u8], known: &[Range<usize>], place: impl Fn(usize) -> Place) {
        let Search {
            scanner,
            odds,
            scratch,
            tallies,
            ..
        } = self;
        odds.fresh_from(0);
        scanner.raw(bytes, Context::RUN, scratch, odds, &mut |mut hit| {
            if known.contains(&hit.range) {
                return;
            }
            if hit.encoding == Encoding::Packed && in_ip_header(bytes, hit.range.start) {
                hit.certain = true;
            }
            tallies.add(mark(&hit), || Place {
                context: report::context(bytes, &hit.range),
                ..place(hit.range.start)
            });
        });
    }

    fn header(&mut self, packet: &Packet<'_>, address: IpAddr, port: Option<u16>) {
        let Search {
            scanner, tallies, ..
        } = self;
        let place = |words: String| Place {
            part: "header",
            packet: Some(packet.number),
            context: words,
            ..Place::default()
        };
        let mut tell = |needle, words| {
            let mark = report::Mark {
                needle,
                encoding: Encoding::Header,
                certain: true,
                value: scan::bits(address),
                exempt: false,
            };
            tallies.add(mark, || place(words));
        };
        if let Some(needle) = scanner.address(address) {
            tell(needle, address.to_string());
        }
        if let Some(port) = port
            && let Some(needle) = scanner.endpoint(SocketAddr::new(address, port))
        {
            tell(needle, SocketAddr::new(address, port).to_string());
        }
    }

    /// Headers as bytes, the addresses of the IP header blanked: those were looked at.
    fn headers_as_bytes(&mut self, packet: &Packet<'_>, segment: &Segment) {
        let mut blank = std::mem::take(&mut self.blank);
        blank.clear();
        blank.extend_from_slice(packet.data.get(..segment.payload.start).unwrap_or_default());
        let addresses = match segment.src.ip() {
            IpAddr::V4(_) => segment.ip_at + 12..segment.ip_at + 20,
            IpAddr::V6(_) => segment.ip_at + 8..segment.ip_at + 40,
        };
        if let Some(bytes) = blank.get_mut(addresses) {
            bytes.fill(0);
        }
        let Search {
            scanner,
            odds,
            tallies,
            ..
        } = self;
        odds.fresh_from(0);
        scanner.packed(&blank, odds, &mut |hit| {
            tallies.add(mark(&hit), || Place {
                part: "header",
                packet: Some(packet.number),
                offset: hit.range.start as u64,
                context: report::context(&blank, &hit.range),
                ..Place::default()
            });
        });
        self.blank = blank;
    }

    /// Searches what a stream has gathered.
    fn search(&mut self, at: At<'_>, stream: &mut Stream, end: End) {
        if stream.buffer.len() > stream.searched || end == End::Cut {
            let Search {
                scanner,
                odds,
                scratch,
                ..
            } = self;
            let context = Context {
                at_start: !stream.goes_on,
                at_end: end == End::Cut,
                text: false,
            };
            odds.fresh_from(stream.searched);
            let Stream {
                buffer,
                base,
                packets,
                told,
                waiting,
                ..
            } = stream;
            scanner.raw(buffer, context, scratch, odds, &mut |hit| {
                let offset = *base + hit.range.start as u64;
                let key = (hit.needle, hit.encoding, offset);
                if told.contains(&key) {
                    return;
                }
                told.push(key);
                let packet = packets
                    .iter()
                    .take_while(|(from, _)| *from <= offset)
                    .last()
                    .map(|(_, packet)| *packet);
                let place = Place {
                    part: "stream",
                    packet,
                    stream: Some(format!("{} {}", at.flow, at.direction)),
                    offset,
                    field: None,
                    context: report::context(buffer, &hit.range),
                };
                waiting.push((hit, place));
            });
            stream.searched = stream.buffer.len();
        }
        let keep = match end {
            End::GoesOn => self.scanner.margin(),
            End::Cut => 0,
        };
        let done = stream.buffer.len().saturating_sub(keep);
        stream.buffer.drain(..done);
        stream.base += done as u64;
        stream.searched -= done.min(stream.searched);
        stream.goes_on |= done > 0;
        self.gathered = self.gathered.saturating_sub(done);
        while let Some((next, _)) = stream.packets.get(1)
            && *next <= stream.base
        {
            stream.packets.pop_front();
        }
        // A hit behind an escape may begin before the bytes that are kept.
        let oldest = stream.base.saturating_sub(self.scanner.margin() as u64);
        stream.told.retain(|(_, _, offset)| *offset >= oldest);
        if end == End::Cut || stream.waiting.len() > WAITING_MAX {
            self.settle(stream, u64::MAX);
        }
        if end == End::Cut {
            stream.by_fields.clear();
            stream.told.clear();
            stream.goes_on = false;
        }
    }

    /// Tells the hits that begin before `upto`, but for those that a field told.
    fn settle(&mut self, stream: &mut Stream, upto: u64) {
        let tallies = &mut self.tallies;
        let by_fields = &stream.by_fields;
        stream.waiting.retain(|(hit, place)| {
            if place.offset >= upto {
                return true;
            }
            let told = by_fields
                .iter()
                .any(|(needle, range)| *needle == hit.needle && range.contains(&place.offset));
            if !told {
                tallies.add(mark(hit), || place.clone());
            }
            false
        });
    }

    fn fields(&mut self, at: At<'_>, stream: &mut Stream, decoded: &Decoded<stream::Mark>) {
        let Some(frame) = &decoded.frame else {
            return;
        };
        let Search {
            scanner,
            odds,
            scratch,
            tallies,
            rules,
            ..
        } = self;
        tallies.scanned.frames += 1;
        odds.fresh_from(0);
        let by_fields = &mut stream.by_fields;
        fields::fields(frame, |place, content| {
            tallies.scanned.fields += 1;
            let offset = decoded.offset + place.range.start as u64;
            let range = offset..decoded.offset + place.range.end as u64;
            let mut tell = |tallies: &mut Tallies, hit: &Hit, text: &[u8]| {
                if by_fields.len() < WAITING_MAX {
                    by_fields.push((hit.needle, range.clone()));
                }
                tallies.add(mark(hit), || Place {
                    part: "stream",
                    packet: Some(decoded.first.packet),
                    stream: Some(format!("{} {}", at.flow, at.direction)),
                    offset,
                    field: Some(place.path()),
                    context: report::context(text, &hit.range),
                });
            };
            match content {
                Content::Text(text) => {
                    let trace = ends_with_trace_id(place.name());
                    let mut hits: Vec<Hit> = Vec::new();
                    scanner.field(text, scratch, odds, &mut |mut hit| {
                        hit.certain |=
                            trace && hit.encoding == Encoding::Hex && hit.range.start == 0;
                        hits.push(hit);
                    });
                    for rule in rules.iter() {
                        if let Some(range) = rule.looks.find(place, text) {
                            hits.push(whole(rule.needle, range));
                        }
                    }
                    for hit in &hits {
                        tell(tallies, hit, text);
                    }
                }
                Content::Binary(bytes) => {
                    let address = match bytes.len() {
                        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
                        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
                        _ => None,
                    };
                    if let Some(address) = address
                        && let Some(needle) = scanner.address(address)
                    {
                        let hit = Hit {
                            encoding: match address {
                                IpAddr::V4(_) => Encoding::Packed,
                                IpAddr::V6(_) => Encoding::PackedV6,
                            },
                            value: scan::bits(address),
                            ..whole(needle, 0..bytes.len())
                        };
                        tell(tallies, &hit, bytes);
                    }
                }
                Content::Integer(number) => {
                    let number = i32::try_from(number)
                        .map(|number| number as u32)
                        .or_else(|_| u32::try_from(number));
                    if let Ok(number) = number
                        && number >= 1 << 24
                    {
                        odds.decimal(0);
                        let address = IpAddr::from(number.to_be_bytes());
                        if let Some(needle) = scanner.address(address) {
                            let hit = Hit {
                                encoding: Encoding::Integer,
                                certain: false,
                                value: scan::bits(address),
                                ..whole(needle, 0..0)
                            };
                            tell(tallies, &hit, number.to_string().as_bytes());
                        }
                    }
                }
            }
        });
    }
}

/// Whether a stream's bytes go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    GoesOn,
    Cut,
}

impl Looks<'_> {
    fn find(&self, place: &fields::Place<'_>, text: &[u8]) -> Option<Range<usize>> {
        let whole = |value: &str| (text == value.as_bytes()).then_some(0..text.len());
        match self {
            Looks::Key { key, value } if place.is_value_of(key) => whole(value),
            Looks::At { at, value } if place.is_at(at) => whole(value),
            Looks::Pattern { at, regex } if at.is_none_or(|at| place.is_at(at)) => {
                regex.find(text).map(|found| found.range())
            }
            _ => None,
        }
    }
}

impl Visit for Search<'_> {
    type Stream = Stream;

    fn too_long(&mut self, frames: u64) {
        self.too_long += frames;
    }

    fn packet(&mut self, packet: &Packet<'_>, parsed: &Parsed, payload: Payload) {
        self.tallies.scanned.packets += 1;
        self.tallies.scanned.packet_bytes += packet.data.len() as u64;
        let in_packet = |from: usize| {
            move |at: usize| Place {
                part: "packet",
                packet: Some(packet.number),
                offset: (from + at) as u64,
                ..Place::default()
            }
        };
        match parsed {
            Parsed::Tcp(segment) => {
                for end in [segment.src, segment.dst] {
                    self.header(packet, end.ip(), Some(end.port()));
                }
                self.headers_as_bytes(packet, segment);
                if payload == Payload::Alone {
                    let bytes = packet.data.get(segment.payload.clone());
                    let bytes = bytes.unwrap_or_default();
                    self.alone(bytes, &[], in_packet(segment.payload.start));
                }
                // Padding and trailers lie behind the payload.
                let behind = packet.data.get(segment.payload.end..).unwrap_or_default();
                if !behind.is_empty() {
                    self.alone(behind, &[], in_packet(segment.payload.end));
                }
            }
            Parsed::NonTcp { addresses } => {
                let mut known = Vec::new();
                for address in addresses.iter().flat_map(|(src, dst)| [*src, *dst]) {
                    self.header(packet, address, None);
                    known.extend(first_of(packet.data, address));
                }
                self.alone(packet.data, &known, in_packet(0));
            }
            _ => self.alone(packet.data, &[], in_packet(0)),
        }
    }

    fn bytes(
        &mut self,
        at: At<'_>,
        stream: &mut Stream,
        mark: stream::Mark,
        offset: u64,
        bytes: &[u8],
    ) {
        self.tallies.scanned.stream_bytes += bytes.len() as u64;
        if stream.buffer.is_empty() {
            stream.base = offset;
            stream.searched = 0;
        }
        stream.packets.push_back((offset, mark.packet));
        stream.buffer.extend_from_slice(bytes);
        self.gathered += bytes.len();
        let fresh = stream.buffer.len() - stream.searched;
        if fresh >= GATHER_BYTES || self.gathered > GATHER_TOTAL_BYTES_MAX {
            self.search(at, stream, End::GoesOn);
        }
    }

    fn frame(&mut self, at: At<'_>, stream: &mut Stream, frame: &Decoded<stream::Mark>) {
        let end = frame.offset.saturating_add(frame.head.len);
        stream
            .by_fields
            .retain(|(_, range)| range.end > stream.base);
        self.fields(at, stream, frame);
        // What was found in the bytes of this frame is told now, unless its fields told it. What
        // is still to be found in them is told with the next frame.
        self.settle(stream, end);
    }

    fn cut(&mut self, at: At<'_>, stream: &mut Stream) {
        self.search(at, stream, End::Cut);
    }
}

fn mark(hit: &Hit) -> report::Mark {
    report::Mark {
        needle: hit.needle,
        encoding: hit.encoding,
        certain: hit.certain,
        value: hit.value,
        exempt: hit.exempt,
    }
}

fn whole(needle: u32, range: Range<usize>) -> Hit {
    Hit {
        needle,
        encoding: Encoding::Text,
        range,
        certain: true,
        value: 0,
        exempt: false,
    }
}

fn ends_with_trace_id(name: &str) -> bool {
    name.len() >= 7 && name.to_lowercase().ends_with("traceid")
}

/// Where an address stands first in a packet: its header.
fn first_of(data: &[u8], address: IpAddr) -> Option<Range<usize>> {
    let find = |needle: &[u8]| memchr::memmem::find(data, needle).map(|at| at..at + needle.len());
    match address {
        IpAddr::V4(address) => find(&address.octets()),
        IpAddr::V6(address) => find(&address.octets()),
    }
}

/// Whether four bytes stand where an IPv4 header (of a packet within an ICMP message, or of a
/// tunnel) or an ARP message has an address.
fn in_ip_header(data: &[u8], at: usize) -> bool {
    /// ICMP, TCP, UDP, ICMPv6, SCTP.
    const PROTOCOLS: [u8; 5] = [1, 6, 17, 58, 132];
    let header = [12, 16].into_iter().any(|place| {
        at.checked_sub(place)
            .and_then(|start| data.get(start..start + 10))
            .is_some_and(|head| {
                head[0] >> 4 == 4 && head[0] & 15 >= 5 && PROTOCOLS.contains(&head[9])
            })
    });
    // Ethernet and IPv4 addresses, six and four bytes long.
    let arp = [14, 24].into_iter().any(|place| {
        at.checked_sub(place)
            .and_then(|start| data.get(start..start + 6))
            .is_some_and(|head| head == [0, 1, 8, 0, 6, 4])
    });
    header || arp
}
