//! Second pass: packets become other packets.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::Planned;
use super::checksum::{Sum, holds, updated};
use super::link;
use super::plan::Plan;
use super::selected::Selected;
use super::stream_plan::{Rest, StreamPlan};
use super::summary::Summary;
use super::text::{Hits, Rules};
use crate::capture::Packet;
use crate::map::Keep;
use crate::packet::{self, Flags, Parsed, Segment, Seq};
use crate::stream::{self, Direction, Fit, Table, Tracked};

/// The longest IP packet, and the longest IPv6 payload.
const IP_BYTES_MAX: usize = 0xffff;

/// Rewrites packets by a plan; fed with the same packets in the same order as the first pass.
pub(super) struct Editor<'a> {
    rules: &'a Rules,
    keep: Keep,
    plan: &'a Plan,
    selected: &'a Selected<'a>,
    table: Table,
    start_ns: Option<u64>,
    pub(super) hits: Hits,
    pub(super) summary: Summary,
}

/// What becomes of one packet.
#[derive(Debug)]
pub(super) enum Made {
    /// It is left out.
    Dropped,
    /// It stays as it is.
    Same,
    /// These take its place: the bytes, and the length on the wire.
    Changed(Vec<(Vec<u8>, u32)>),
}

impl<'a> Editor<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        keep: Keep,
        planned: &'a Planned<'a>,
        limits: stream::Limits,
        hits: Hits,
        summary: Summary,
    ) -> Editor<'a> {
        Editor {
            rules,
            keep,
            plan: &planned.plan,
            selected: &planned.selected,
            table: Table::new(limits),
            start_ns: None,
            hits,
            summary,
        }
    }

    /// What becomes of a packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) -> Made {
        self.summary.packets.read += 1;
        let start_ns = *self.start_ns.get_or_insert(packet.at_ns);
        let at_ns = packet.at_ns.saturating_sub(start_ns);
        let selected = self.selected;
        let made = match packet::parse(packet.link, packet.data, packet.orig_len) {
            Parsed::Tcp(segment) => {
                let tracked = self.table.track(packet.source, at_ns, &segment);
                while tracked.is_new && self.table.take_retired().is_some() {}
                if selected.takes(at_ns, start_ns, Some(tracked.flow)) {
                    self.tcp(packet, &segment, &tracked)
                } else {
                    self.not_selected()
                }
            }
            _ if !selected.takes(at_ns, start_ns, None) => self.not_selected(),
            Parsed::NonTcp { .. } => self.other(packet, "non-tcp", self.keep.non_tcp),
            Parsed::Fragment => self.other(packet, "fragment", self.keep.undecodable),
            Parsed::Malformed { .. } => self.other(packet, "malformed", self.keep.undecodable),
        };
        let packets = &mut self.summary.packets;
        match &made {
            Made::Dropped => {}
            Made::Same => {
                packets.unchanged += 1;
                packets.written += 1;
            }
            Made::Changed(parts) => {
                packets.rewritten += 1;
                packets.written += parts.len() as u64;
                packets.added += (parts.len() as u64).saturating_sub(1);
            }
        }
        made
    }

    fn not_selected(&mut self) -> Made {
        self.summary.drop("not-selected");
        Made::Dropped
    }

    fn tcp(&mut self, packet: &Packet<'_>, segment: &Segment, tracked: &Tracked) -> Made {
        let flow = self.plan.flow(tracked.flow);
        let is_foreign = flow.is_some_and(|flow| flow.is_foreign());
        if is_foreign && !self.keep.foreign {
            self.summary.drop("foreign");
            return Made::Dropped;
        }
        if link::has_telling_extensions(packet.data, segment) && !self.keep.undecodable {
            self.summary.drop("ipv6-extension");
            return Made::Dropped;
        }
        let nothing = StreamPlan::default();
        let own = flow.map_or(&nothing, |flow| flow.of(tracked.direction));
        let other = flow.map_or(&nothing, |flow| flow.of(tracked.direction.reversed()));

        let Some(mut head) = packet.data.get(..segment.payload.start).map(<[u8]>::to_vec) else {
            self.summary.drop("malformed");
            return Made::Dropped;
        };
        let old_sums = self.look_at_checksums(packet.data, segment);
        self.blank_link(packet, &mut head);
        let opener_port = flow.and_then(|flow| flow.opener_port);
        self.ends(&mut head, segment, tracked.direction, opener_port);
        self.ip_options(&mut head, segment);

        let rest = match is_foreign || self.keep.undecodable {
            true => Rest::Kept,
            false => Rest::Blanked,
        };
        let payload = packet.data.get(segment.payload.clone()).unwrap_or_default();
        let placed = tracked.fit == Fit::InWindow && !segment.flags.has(Flags::RST);
        let (payload, wire_len, shift) = if placed {
            let (made, blanked) = own.piece(tracked.offset, payload, rest);
            self.summary.blanked_bytes += blanked;
            let shift = own.shift(tracked.offset);
            let end = own.shift(tracked.offset + i64::from(segment.payload_len));
            let wire_len = i64::from(segment.payload_len) + end - shift;
            (made, usize::try_from(wire_len).unwrap_or(0), shift)
        } else {
            // What stands there is no part of the stream.
            let made = match rest {
                Rest::Kept => payload.to_vec(),
                Rest::Blanked => {
                    self.summary.blanked_bytes += payload.len() as u64;
                    vec![0; payload.len()]
                }
            };
            let shift = match tracked.fit {
                Fit::InWindow => own.shift(tracked.offset),
                Fit::FarAhead => 0,
            };
            (made, segment.payload_len as usize, shift)
        };
        put_u32(&mut head, segment.tcp_at + 4, moved(segment.seq, shift).0);
        if segment.flags.has(Flags::ACK)
            && let Some(acked) = tracked.acked
        {
            let ack = moved(segment.ack, other.shift(acked));
            put_u32(&mut head, segment.tcp_at + 8, ack.0);
        }
        self.tcp_options(&mut head, segment, tracked.acked, other);

        let trailer = self.trailer(packet, segment);
        let new = New {
            head,
            payload,
            wire_len,
            trailer,
        };
        let parts = new.packets(packet, segment, &old_sums);
        match parts.as_slice() {
            [(data, orig_len)] if data == packet.data && *orig_len == packet.orig_len => Made::Same,
            _ => Made::Changed(parts),
        }
    }

    /// Sums over what the checksums cover, before anything changes. Counts those that are wrong.
    fn look_at_checksums(&mut self, data: &[u8], segment: &Segment) -> Sums {
        let head = data.get(..segment.payload.start).unwrap_or_default();
        let payload = data.get(segment.payload.clone()).unwrap_or_default();
        let sums = Sums::of(head, payload, segment.payload_len as usize, segment);
        if segment.payload.len() == segment.payload_len as usize
            && !holds(be16(data, segment.tcp_at + 16), sums.tcp)
        {
            self.summary.find("tcp-checksum-wrong-before", 1);
        }
        if segment.src.is_ipv4() && !holds(be16(data, segment.ip_at + 10), sums.ip) {
            self.summary.find("ip-checksum-wrong-before", 1);
        }
        sums
    }

    fn blank_link(&mut self, packet: &Packet<'_>, head: &mut [u8]) {
        if self.keep.mac {
            return;
        }
        if let Some(range) = link::addresses(packet.link)
            && let Some(bytes) = head.get_mut(range)
            && bytes.iter().any(|byte| *byte != 0)
        {
            bytes.fill(0);
            self.summary.find("link-address-blanked", 1);
        }
    }

    /// Addresses and ports.
    fn ends(
        &mut self,
        head: &mut [u8],
        segment: &Segment,
        direction: Direction,
        opener_port: Option<u16>,
    ) {
        let (mut src, mut dst) = (self.socket(segment.src), self.socket(segment.dst));
        if let Some(port) = opener_port {
            match direction {
                Direction::ToAcceptor => src.set_port(port),
                Direction::ToOpener => dst.set_port(port),
            }
        }
        put_addresses(head, segment.ip_at, src.ip(), dst.ip());
        put_u16(head, segment.tcp_at, src.port());
        put_u16(head, segment.tcp_at + 2, dst.port());
    }

    fn socket(&mut self, socket: SocketAddr) -> SocketAddr {
        match self.rules.addresses.socket(socket) {
            Some(found) => {
                *self.hits.entry(found.line).or_default() += 1;
                found.to
            }
            None => socket,
        }
    }

    /// Options of IPv4 hold routes and addresses; all but padding become padding.
    fn ip_options(&mut self, head: &mut [u8], segment: &Segment) {
        if segment.src.is_ipv6() || self.keep.undecodable {
            return;
        }
        if let Some(options) = head.get_mut(segment.ip_at + 20..segment.tcp_at)
            && options.iter().any(|byte| *byte > 1)
        {
            options.fill(1);
            self.summary.find("ip-options-blanked", 1);
        }
    }

    /// Blocks of selective acknowledgements follow the other direction; options that are not
    /// known (some carry addresses of clients) become padding.
    fn tcp_options(
        &mut self,
        head: &mut [u8],
        segment: &Segment,
        acked: Option<i64>,
        other: &StreamPlan,
    ) {
        let Range { mut start, end } = segment.options.clone();
        while start < end {
            let kind = head.get(start).copied().unwrap_or_default();
            if kind == 0 {
                break;
            }
            if kind == 1 {
                start += 1;
                continue;
            }
            let len = usize::from(head.get(start + 1).copied().unwrap_or_default());
            let next = start + len;
            if len < 2 || next > end {
                if !self.keep.undecodable {
                    self.pad(head, start..end);
                }
                break;
            }
            match kind {
                SACK => {
                    if let Some(acked) = acked {
                        let blocks = head.get_mut(start + 2..next).unwrap_or_default();
                        for edge in blocks.chunks_exact_mut(4) {
                            let old = Seq(be32(edge, 0));
                            let offset = acked + i64::from(old.since(segment.ack));
                            put_u32(edge, 0, moved(old, other.shift(offset)).0);
                        }
                    }
                }
                MSS | WINDOW_SCALE | SACK_PERMITTED | TIMESTAMPS => {}
                _ if self.keep.undecodable => {}
                _ => self.pad(head, start..next),
            }
            start = next;
        }
    }

    fn pad(&mut self, head: &mut [u8], range: Range<usize>) {
        if let Some(bytes) = head.get_mut(range) {
            bytes.fill(1);
            self.summary.find("tcp-option-blanked", 1);
        }
    }

    /// What stands behind the IP packet: padding of short frames, checksums of the link.
    fn trailer(&mut self, packet: &Packet<'_>, segment: &Segment) -> Vec<u8> {
        let mut trailer = packet
            .data
            .get(segment.payload.end..)
            .unwrap_or_default()
            .to_vec();
        if !self.keep.undecodable && trailer.iter().any(|byte| *byte != 0) {
            trailer.fill(0);
            self.summary.find("trailer-blanked", 1);
        }
        trailer
    }

    /// A packet that is no TCP segment: left out, or kept with other addresses.
    fn other(&mut self, packet: &Packet<'_>, reason: &str, keep: bool) -> Made {
        if !keep {
            self.summary.drop(reason);
            return Made::Dropped;
        }
        let mut data = packet.data.to_vec();
        self.blank_link(packet, &mut data);
        if let Some(at) = link::ip_at(packet.link, packet.data) {
            self.other_addresses(&mut data, at);
        }
        self.summary.find("kept-not-understood", 1);
        if data == packet.data {
            Made::Same
        } else {
            Made::Changed(vec![(data, packet.orig_len)])
        }
    }

    fn other_addresses(&mut self, data: &mut [u8], at: usize) {
        let Some((src, dst)) = addresses_at(data, at) else {
            return;
        };
        let (new_src, new_dst) = (self.address(src), self.address(dst));
        if (src, dst) == (new_src, new_dst) {
            return;
        }
        let is_v4 = src.is_ipv4();
        let header_len = if is_v4 {
            usize::from(data.get(at).copied().unwrap_or_default() & 0x0f) * 4
        } else {
            40
        };
        let range = address_range(at, is_v4);
        let old = Sum::default().add(data.get(range.clone()).unwrap_or_default());
        put_addresses(data, at, new_src, new_dst);
        let new = Sum::default().add(data.get(range).unwrap_or_default());
        if is_v4 {
            put_u16(data, at + 10, updated(be16(data, at + 10), old, new));
        }
        // Addresses are part of what the checksums above IP cover, in a first fragment too.
        let is_first = !is_v4 || be16(data, at + 6) & 0x1fff == 0;
        let protocol = data.get(at + if is_v4 { 9 } else { 6 }).copied();
        let checksum_at = match protocol {
            Some(6) => 16,
            Some(17) => 6,
            Some(58) => 2,
            _ => return,
        };
        let checksum_at = at + header_len + checksum_at;
        let checksum = be16(data, checksum_at);
        // A UDP checksum of 0 says that there is none.
        if is_first && !(protocol == Some(17) && checksum == 0) {
            put_u16(data, checksum_at, updated(checksum, old, new));
        }
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        match self.rules.addresses.address(address) {
            Some(found) => {
                *self.hits.entry(found.line).or_default() += 1;
                found.to
            }
            None => address,
        }
    }
}

/// Kinds of TCP options (IANA).
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// A packet to be, its lengths and checksums not yet set.
struct New {
    /// Everything in front of the payload.
    head: Vec<u8>,
    /// What there is of the payload.
    payload: Vec<u8>,
    /// How much of it there was on the wire.
    wire_len: usize,
    trailer: Vec<u8>,
}

impl New {
    /// One packet, or several where the payload has grown past the limit of IP.
    fn packets(self, old: &Packet<'_>, segment: &Segment, old_sums: &Sums) -> Vec<(Vec<u8>, u32)> {
        let is_v4 = segment.src.is_ipv4();
        let in_front = if is_v4 {
            segment.payload.start - segment.ip_at
        } else {
            segment.payload.start - segment.ip_at - 40
        };
        let length_at = segment.ip_at + if is_v4 { 2 } else { 4 };
        // A length of 0 is what segmentation offload leaves behind, and has no limit.
        let is_offloaded = be16(old.data, length_at) == 0;
        let piece_max = if is_offloaded {
            usize::MAX
        } else {
            IP_BYTES_MAX.saturating_sub(in_front).max(1)
        };
        let around = (old.orig_len as usize)
            .saturating_sub(segment.payload.start + segment.payload_len as usize);
        let mut packets = Vec::new();
        let mut at = 0;
        loop {
            let wire_len = (self.wire_len - at).min(piece_max);
            let is_last = at + wire_len >= self.wire_len;
            let captured = self
                .payload
                .get(at.min(self.payload.len())..(at + wire_len).min(self.payload.len()))
                .unwrap_or_default();
            let mut data = self.head.clone();
            if !is_offloaded {
                put_u16(&mut data, length_at, (in_front + wire_len) as u16);
            }
            let seq = be32(&data, segment.tcp_at + 4).wrapping_add(at as u32);
            put_u32(&mut data, segment.tcp_at + 4, seq);
            if !is_last && let Some(flags) = data.get_mut(segment.tcp_at + 13) {
                *flags &= !(Flags::FIN | Flags::PSH);
            }
            let sums = Sums::of(&data, captured, wire_len, segment);
            if is_v4 {
                let at = segment.ip_at + 10;
                put_u16(
                    &mut data,
                    at,
                    updated(be16(old.data, at), old_sums.ip, sums.ip),
                );
            }
            let checksum_at = segment.tcp_at + 16;
            let checksum = updated(be16(old.data, checksum_at), old_sums.tcp, sums.tcp);
            put_u16(&mut data, checksum_at, checksum);
            data.extend_from_slice(captured);
            let mut orig_len = segment.payload.start + wire_len;
            if is_last {
                data.extend_from_slice(&self.trailer);
                orig_len += around;
            }
            packets.push((data, u32::try_from(orig_len).unwrap_or(u32::MAX)));
            at += wire_len;
            if is_last {
                return packets;
            }
        }
    }
}

/// Sums over what the checksums of a segment cover, without the checksums themselves.
struct Sums {
    ip: Sum,
    tcp: Sum,
}

impl Sums {
    /// `head` is everything in front of the payload.
    fn of(head: &[u8], payload: &[u8], wire_len: usize, segment: &Segment) -> Sums {
        let bytes = |range: Range<usize>| head.get(range).unwrap_or_default();
        let (ip_at, tcp_at) = (segment.ip_at, segment.tcp_at);
        let ip = Sum::default()
            .add(bytes(ip_at..ip_at + 10))
            .add(bytes(ip_at + 12..tcp_at));
        // Addresses, protocol and length stand for the IP header (RFC 9293, 3.1).
        let tcp_len = segment.payload.start - tcp_at + wire_len;
        let tcp = Sum::default()
            .add(bytes(address_range(ip_at, segment.src.is_ipv4())))
            .word(6)
            .word((tcp_len >> 16) as u16)
            .word(tcp_len as u16)
            .add(bytes(tcp_at..tcp_at + 16))
            .add(bytes(tcp_at + 18..segment.payload.start))
            .add(payload);
        Sums { ip, tcp }
    }
}

fn moved(seq: Seq, shift: i64) -> Seq {
    // Truncation is what makes it a sequence number.
    Seq(seq.0.wrapping_add(shift as u32))
}

/// Where both addresses stand in an IP header.
fn address_range(ip_at: usize, is_v4: bool) -> Range<usize> {
    if is_v4 {
        ip_at + 12..ip_at + 20
    } else {
        ip_at + 8..ip_at + 40
    }
}

fn addresses_at(data: &[u8], at: usize) -> Option<(IpAddr, IpAddr)> {
    match data.get(at)? >> 4 {
        4 => {
            let octets: [u8; 8] = data.get(at + 12..at + 20)?.try_into().ok()?;
            let [a, b, c, d, e, f, g, h] = octets;
            Some((IpAddr::from([a, b, c, d]), IpAddr::from([e, f, g, h])))
        }
        6 => {
            let one = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = data.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            Some((one(at + 8)?, one(at + 24)?))
        }
        _ => None,
    }
}

/// Both of the family of the header; others are left.
fn put_addresses(data: &mut [u8], ip_at: usize, src: IpAddr, dst: IpAddr) {
    let mut put = |at: usize, octets: &[u8]| {
        if let Some(to) = data.get_mut(at..at + octets.len()) {
            to.copy_from_slice(octets);
        }
    };
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            put(ip_at + 12, &src.octets());
            put(ip_at + 16, &dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            put(ip_at + 8, &src.octets());
            put(ip_at + 24, &dst.octets());
        }
        _ => debug_assert!(false, "rules keep the family"),
    }
}

fn be16(data: &[u8], at: usize) -> u16 {
    data.get(at..)
        .and_then(|rest| rest.first_chunk::<2>())
        .map_or(0, |two| u16::from_be_bytes(*two))
}

fn be32(data: &[u8], at: usize) -> u32 {
    data.get(at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map_or(0, |four| u32::from_be_bytes(*four))
}

fn put_u16(data: &mut [u8], at: usize, value: u16) {
    if let Some(to) = data.get_mut(at..at + 2) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}

fn put_u32(data: &mut [u8], at: usize, value: u32) {
    if let Some(to) = data.get_mut(at..at + 4) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}
