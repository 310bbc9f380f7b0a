//! Exchanges become a small capture of their own: what is left of a big one, and opens in every
//! tool.
//!
//! Each connection gets a handshake, its frames in recorded order at their recorded times, and an
//! end. Nothing else of the original packets is carried over: no link bytes, no options, no
//! packets between them. The same exchanges give the same bytes.
//!
//! **Invariant:** pure but for the writer that it is given.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::capture::{Link, Packet, Writer};
use crate::exchange::Exchange;
use crate::rewrite::checksum::Sum;
use crate::stream::{Direction, FlowId};

/// Payload of one segment, in bytes: what fits an MTU of 1500.
const SEGMENT_BYTES_MAX: usize = 1440;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// First sequence number of either side.
const ISN: u32 = 1_000;

/// One frame on its way.
struct Sent<'a> {
    at_ns: u64,
    packet: u64,
    offset: u64,
    flow: FlowId,
    direction: Direction,
    bytes: &'a [u8],
}

/// One connection as far as it is written.
struct Line {
    opener: SocketAddr,
    acceptor: SocketAddr,
    /// Next sequence numbers of opener and acceptor.
    next: [u32; 2],
    left: usize,
}

/// Writes the frames of `exchanges`; times count from `start_ns`, in nanoseconds since the Unix
/// epoch. Halves without a whole frame are left out. How many packets were written.
///
/// # Errors
/// Those of the writer.
pub fn write<'a, W: Write>(
    exchanges: impl IntoIterator<Item = &'a Exchange>,
    start_ns: u64,
    out: &mut Writer<W>,
) -> io::Result<u64> {
    let mut frames = Vec::new();
    let mut lines: BTreeMap<FlowId, Line> = BTreeMap::new();
    for exchange in exchanges {
        let halves = [
            (&exchange.request, Direction::ToAcceptor),
            (&exchange.response, Direction::ToOpener),
        ];
        for (half, direction) in halves {
            let Some(half) = half else { continue };
            let Some(frame) = &half.frame else { continue };
            let direction = match exchange.from {
                crate::exchange::From::Server => direction.reversed(),
                _ => direction,
            };
            let flow = &exchange.flow;
            let line = lines.entry(flow.id).or_insert_with(|| Line {
                opener: flow.opener,
                acceptor: flow.acceptor,
                next: [ISN, ISN],
                left: 0,
            });
            line.left += 1;
            frames.push(Sent {
                at_ns: half.mark.at_ns,
                packet: half.mark.packet,
                offset: half.offset,
                flow: flow.id,
                direction,
                bytes: &frame.bytes,
            });
        }
    }
    frames.sort_by_key(|sent| (sent.at_ns, sent.packet, sent.flow, sent.offset));
    let mut packets = Packets {
        out,
        written: 0,
        bytes: Vec::new(),
    };
    for sent in frames {
        let Some(line) = lines.get_mut(&sent.flow) else {
            continue;
        };
        let at_ns = start_ns.saturating_add(sent.at_ns);
        if line.next == [ISN, ISN] {
            packets.put(line, Direction::ToAcceptor, SYN, &[], at_ns)?;
            packets.put(line, Direction::ToOpener, SYN | ACK, &[], at_ns)?;
            packets.put(line, Direction::ToAcceptor, ACK, &[], at_ns)?;
        }
        for segment in sent.bytes.chunks(SEGMENT_BYTES_MAX) {
            packets.put(line, sent.direction, PSH | ACK, segment, at_ns)?;
        }
        line.left -= 1;
        if line.left == 0 {
            packets.put(line, Direction::ToAcceptor, FIN | ACK, &[], at_ns)?;
            packets.put(line, Direction::ToOpener, FIN | ACK, &[], at_ns)?;
            packets.put(line, Direction::ToAcceptor, ACK, &[], at_ns)?;
        }
    }
    Ok(packets.written)
}

struct Packets<'a, W: Write> {
    out: &'a mut Writer<W>,
    written: u64,
    bytes: Vec<u8>,
}

impl<W: Write> Packets<'_, W> {
    fn put(
        &mut self,
        line: &mut Line,
        direction: Direction,
        flags: u8,
        payload: &[u8],
        at_ns: u64,
    ) -> io::Result<()> {
        let (from, to, sequence, acknowledged) = match direction {
            Direction::ToAcceptor => (line.opener, line.acceptor, line.next[0], line.next[1]),
            Direction::ToOpener => (line.acceptor, line.opener, line.next[1], line.next[0]),
        };
        // At most a segment.
        let length = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        match direction {
            Direction::ToAcceptor => line.next[0] = sequence.wrapping_add(length),
            Direction::ToOpener => line.next[1] = sequence.wrapping_add(length),
        }
        let acknowledged = if flags & ACK == 0 { 0 } else { acknowledged };
        self.bytes.clear();
        build(
            &mut self.bytes,
            from,
            to,
            sequence,
            acknowledged,
            flags,
            payload,
        );
        self.written += 1;
        self.out.write(&Packet {
            number: self.written,
            at_ns,
            link: Link::RawIp,
            source: 0,
            data: &self.bytes,
            orig_len: self.bytes.len() as u32,
        })
    }
}

/// IP and TCP headers with right lengths and checksums, and the payload.
fn build(
    out: &mut Vec<u8>,
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload: &[u8],
) {
    /// Its header has no options.
    const TCP_BYTES: u16 = 20;
    // At most a segment and its header.
    let segment_len = TCP_BYTES + payload.len() as u16;
    let mut pseudo = Vec::with_capacity(40);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            out.extend([0x45, 0]);
            out.extend((20 + segment_len).to_be_bytes());
            // No fragments; 64 hops; TCP; the checksum comes after.
            out.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            out.extend(one.octets());
            out.extend(other.octets());
            let sum = !Sum::default().add(out).fold();
            if let Some(field) = out.get_mut(10..12) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
            pseudo.extend(one.octets());
            pseudo.extend(other.octets());
            pseudo.extend([0, 6]);
            pseudo.extend(segment_len.to_be_bytes());
        }
        (one, other) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            out.extend([0x60, 0, 0, 0]);
            out.extend(segment_len.to_be_bytes());
            out.extend([6, 64]);
            out.extend(v6(one).octets());
            out.extend(v6(other).octets());
            pseudo.extend(v6(one).octets());
            pseudo.extend(v6(other).octets());
            pseudo.extend(u32::from(segment_len).to_be_bytes());
            pseudo.extend([0, 0, 0, 6]);
        }
    }
    let front = out.len();
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(acknowledged.to_be_bytes());
    // Five words of header; a window of 64 KiB; the checksum comes after.
    out.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    let segment = out.get(front..).unwrap_or_default();
    let sum = !Sum::default().add(&pseudo).add(segment).fold();
    if let Some(field) = out.get_mut(front + 16..front + 18) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::capture::Captures;
    use crate::engine::testing::{CRC, Recorded, V1, exchange};
    use crate::hop;

    /// What was written reads back as the same exchanges.
    #[track_caller]
    fn check(exchanges: &[Exchange]) {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        let written = write(exchanges, 1_000_000_000, &mut writer).unwrap();
        writer.finish().unwrap();
        assert!(written > 0);
        let mut captures = Captures::from_reader("made", Cursor::new(bytes)).unwrap();
        let seen = hop::read(&mut captures, None).unwrap();
        let mut told: Vec<_> = seen.exchanges.iter().map(essence).collect();
        let mut expected: Vec<_> = exchanges.iter().map(essence).collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
        assert!(seen.left_out.is_empty(), "{:?}", seen.left_out);
    }

    fn essence(exchange: &Exchange) -> (String, u64, Option<Vec<u8>>, Option<Vec<u8>>) {
        let bytes = |half: &Option<crate::exchange::Half>| {
            let frame = half.as_ref()?.frame.as_ref()?;
            Some(frame.bytes.to_vec())
        };
        (
            exchange.flow.to_string(),
            exchange.id.0,
            bytes(&exchange.request),
            bytes(&exchange.response),
        )
    }

    #[test]
    fn what_was_written_reads_back() {
        let one = exchange(Recorded::default());
        check(std::slice::from_ref(&one));
        let several: Vec<Exchange> = (1..=3)
            .flat_map(|flow| {
                (1..=4).map(move |id| Recorded {
                    flow,
                    id,
                    at_ms: u64::from(id) * 10,
                    version: if flow == 2 { CRC } else { V1 },
                    ..Recorded::default()
                })
            })
            .map(exchange)
            .collect();
        check(&several);
        let oneway = Recorded {
            timeout_ms: -1,
            ..Recorded::default()
        };
        check(&[exchange(oneway)]);
        check(&[exchange(Recorded {
            answer: None,
            ..Recorded::default()
        })]);
    }

    #[test]
    fn headers_are_those_that_tcp_wants() {
        let mut packet = Vec::new();
        let (from, to) = ("10.0.0.1:40000", "10.0.0.2:12200");
        build(
            &mut packet,
            from.parse().unwrap(),
            to.parse().unwrap(),
            7,
            9,
            PSH | ACK,
            b"abc",
        );
        assert_eq!(packet.len(), 43);
        // A header with its checksum in it sums up to ones.
        assert_eq!(Sum::default().add(&packet[..20]).fold(), 0xffff);
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend([0, 6, 0, 23]);
        assert_eq!(
            Sum::default().add(&pseudo).add(&packet[20..]).fold(),
            0xffff
        );
    }
}
