//! Conversations, built segment by segment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use meshproof_replay::capture::{Link, Packet, Writer};
use meshproof_wire::bolt::{Build, Command, Version, encode_headers};
use meshproof_wire::hessian;

/// Whose segment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Client,
    Server,
}

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;

/// A connection of which segments are made. Offsets count from the first byte of a stream.
pub(super) struct Conversation {
    client: SocketAddr,
    server: SocketAddr,
    isn: [u32; 2],
    pub(super) packets: Vec<Vec<u8>>,
    /// Captured bytes per packet, at most.
    pub(super) snaplen: usize,
}

/// One segment to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment<'a> {
    pub(super) offset: u32,
    pub(super) bytes: &'a [u8],
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) options: Vec<u8>,
}

impl Conversation {
    pub(super) fn new(client: &str, server: &str) -> Conversation {
        Conversation {
            client: client.parse().expect("an address"),
            server: server.parse().expect("an address"),
            isn: [0xffff_ff00, 5000],
            packets: Vec::new(),
            snaplen: usize::MAX,
        }
    }

    /// SYN, SYN-ACK, ACK.
    pub(super) fn open(&mut self) -> &mut Self {
        let mut syn = |by, flags, ack| {
            let segment = Segment {
                flags,
                ack,
                ..Segment::default()
            };
            self.put(by, &segment, -1);
        };
        syn(By::Client, SYN, 0);
        syn(By::Server, SYN | ACK, 0);
        self.send(By::Client, 0, b"", 0)
    }

    pub(super) fn send(&mut self, by: By, offset: u32, bytes: &[u8], ack: u32) -> &mut Self {
        self.segment(
            by,
            &Segment {
                offset,
                bytes,
                ack,
                flags: ACK | PSH,
                options: Vec::new(),
            },
        )
    }

    pub(super) fn segment(&mut self, by: By, segment: &Segment<'_>) -> &mut Self {
        self.put(by, segment, 0);
        self
    }

    /// Sequence number of a stream offset.
    pub(super) fn seq(&self, by: By, offset: u32) -> u32 {
        self.isn[by as usize].wrapping_add(1).wrapping_add(offset)
    }

    fn put(&mut self, by: By, segment: &Segment<'_>, before: i32) {
        let (src, dst, other) = match by {
            By::Client => (self.client, self.server, By::Server),
            By::Server => (self.server, self.client, By::Client),
        };
        let mut tcp = Vec::new();
        tcp.extend(src.port().to_be_bytes());
        tcp.extend(dst.port().to_be_bytes());
        let seq = self.seq(by, segment.offset).wrapping_add_signed(before);
        tcp.extend(seq.to_be_bytes());
        let ack = match segment.flags & ACK {
            0 => 0,
            _ => self.seq(other, segment.ack),
        };
        tcp.extend(ack.to_be_bytes());
        let mut options = segment.options.clone();
        options.resize(options.len().next_multiple_of(4), 1);
        tcp.extend([((20 + options.len()) / 4 * 16) as u8, segment.flags]);
        tcp.extend([0x20, 0, 0, 0, 0, 0]);
        tcp.extend(options);
        tcp.extend(segment.bytes);
        let ip = ip(src, dst, &mut tcp);
        let ethertype: u16 = if src.is_ipv4() { 0x0800 } else { 0x86dd };
        let mut data = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        data.extend(ethertype.to_be_bytes());
        data.extend(ip);
        data.extend(tcp);
        self.packets.push(data);
    }

    pub(super) fn write(&self, folder: &Path) -> PathBuf {
        write(folder, "in.pcapng", &self.packets, self.snaplen)
    }
}

/// Writes packets a millisecond apart.
pub(super) fn write(folder: &Path, name: &str, packets: &[Vec<u8>], snaplen: usize) -> PathBuf {
    let path = folder.join(name);
    let file = std::fs::File::create(&path).expect("a file");
    let mut writer = Writer::new(file).expect("a header");
    for (n, data) in packets.iter().enumerate() {
        writer
            .write(&Packet {
                number: n as u64 + 1,
                at_ns: 1_700_000_000_000_000_000 + n as u64 * 1_000_000,
                link: Link::Ethernet,
                source: 0,
                data: &data[..data.len().min(snaplen)],
                orig_len: data.len() as u32,
            })
            .expect("a packet");
    }
    writer.finish().expect("a file");
    path
}

/// The IP header for a TCP segment, whose checksum is set.
fn ip(src: SocketAddr, dst: SocketAddr, tcp: &mut [u8]) -> Vec<u8> {
    let mut head = Vec::new();
    let addresses: Vec<u8> = match (src, dst) {
        (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
            head.extend([0x45, 0]);
            head.extend((20 + tcp.len() as u16).to_be_bytes());
            head.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
            [src.ip().octets(), dst.ip().octets()].concat()
        }
        (SocketAddr::V6(src), SocketAddr::V6(dst)) => {
            head.extend([0x60, 0, 0, 0]);
            head.extend((tcp.len() as u16).to_be_bytes());
            head.extend([6, 64]);
            [src.ip().octets(), dst.ip().octets()].concat()
        }
        _ => panic!("two families"),
    };
    head.extend(&addresses);
    let len = (tcp.len() as u32).to_be_bytes();
    let checksum = checksum(&[&addresses, &len, &[0, 0, 0, 6], tcp]);
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    if src.is_ipv4() {
        let checksum = self::checksum(&[&head]);
        head[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    head
}

pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for word in part.chunks(2) {
            sum += u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Whether both checksums of an Ethernet packet without tags are right.
pub(super) fn checksums_hold(data: &[u8]) -> bool {
    let (ip, tcp, addresses) = match data[12..14] {
        [0x08, 0] => {
            let tcp = 14 + usize::from(data[14] & 15) * 4;
            if checksum(&[&data[14..tcp]]) != 0 {
                return false;
            }
            (
                14 + usize::from(u16::from_be_bytes([data[16], data[17]])),
                tcp,
                26..34,
            )
        }
        _ => (
            54 + usize::from(u16::from_be_bytes([data[18], data[19]])),
            54,
            22..54,
        ),
    };
    let tcp = &data[tcp..ip];
    let len = (tcp.len() as u32).to_be_bytes();
    checksum(&[&data[addresses], &len, &[0, 0, 0, 6], tcp]) == 0
}

/// A request with a header map and a body of one map, `{key: value…}`.
pub(super) fn request(
    version: Version,
    id: u32,
    headers: &[(&str, &str)],
    body: &[(&str, &str)],
) -> Vec<u8> {
    let mut writer = hessian::Writer::new();
    writer.map(None);
    for (key, value) in body {
        writer.string(key).string(value);
    }
    writer.end_map();
    frame(
        version,
        id,
        &encode_headers(headers.iter().copied()),
        &writer.finish(),
    )
}

pub(super) fn frame(version: Version, id: u32, headers: &[u8], content: &[u8]) -> Vec<u8> {
    Build {
        version,
        command: Command::Request { timeout_ms: 3000 },
        cmdcode: 1,
        id,
        codec: 1,
        class: b"com.alipay.demo.Message",
        headers,
        content,
    }
    .encode()
    .expect("a frame")
    .to_vec()
}
