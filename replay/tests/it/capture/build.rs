//! Capture files, built byte by byte.

/// Byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, n: u16) -> [u8; 2] {
        match self {
            Order::Big => n.to_be_bytes(),
            Order::Little => n.to_le_bytes(),
        }
    }

    fn u32(self, n: u32) -> [u8; 4] {
        match self {
            Order::Big => n.to_be_bytes(),
            Order::Little => n.to_le_bytes(),
        }
    }

    fn u64(self, n: u64) -> [u8; 8] {
        match self {
            Order::Big => n.to_be_bytes(),
            Order::Little => n.to_le_bytes(),
        }
    }
}

/// A file of the classic format.
pub(super) struct Pcap {
    order: Order,
    pub(super) bytes: Vec<u8>,
}

impl Pcap {
    pub(super) fn new(order: Order, magic: u32, link: u32) -> Pcap {
        let mut bytes = Vec::new();
        bytes.extend(order.u32(magic));
        bytes.extend(order.u16(2));
        bytes.extend(order.u16(4));
        bytes.extend([0; 8]);
        bytes.extend(order.u32(65_535));
        bytes.extend(order.u32(link));
        Pcap { order, bytes }
    }

    /// Little-endian, microseconds, Ethernet.
    pub(super) fn usual() -> Pcap {
        Pcap::new(Order::Little, 0xa1b2_c3d4, 1)
    }

    pub(super) fn packet(self, seconds: u32, fraction: u32, data: &[u8]) -> Pcap {
        let len = data.len() as u32;
        self.record([seconds, fraction, len, len], data)
    }

    pub(super) fn record(mut self, header: [u32; 4], data: &[u8]) -> Pcap {
        for word in header {
            self.bytes.extend(self.order.u32(word));
        }
        self.bytes.extend(data);
        self
    }
}

/// A pcapng file.
pub(super) struct PcapNg {
    order: Order,
    pub(super) bytes: Vec<u8>,
}

impl PcapNg {
    pub(super) fn new(order: Order) -> PcapNg {
        let empty = PcapNg {
            order,
            bytes: Vec::new(),
        };
        empty.section(order)
    }

    pub(super) fn section(mut self, order: Order) -> PcapNg {
        self.order = order;
        let mut body = Vec::new();
        body.extend(order.u32(0x1a2b_3c4d));
        body.extend(order.u16(1));
        body.extend(order.u16(0));
        body.extend(order.u64(u64::MAX));
        self.block(0x0a0d_0d0a, &body)
    }

    pub(super) fn block(mut self, kind: u32, body: &[u8]) -> PcapNg {
        let padded = body.len().next_multiple_of(4);
        let total = 12 + padded as u32;
        self.bytes.extend(self.order.u32(kind));
        self.bytes.extend(self.order.u32(total));
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len() + padded - body.len(), 0);
        self.bytes.extend(self.order.u32(total));
        self
    }

    pub(super) fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> PcapNg {
        let order = self.order;
        let mut body = Vec::new();
        body.extend(order.u16(link));
        body.extend(order.u16(0));
        body.extend(order.u32(snaplen));
        for (code, value) in options {
            body.extend(order.u16(*code));
            body.extend(order.u16(value.len() as u16));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, &body)
    }

    /// An interface with this resolution and this many seconds to add.
    pub(super) fn clock(self, resolution: u8, offset_s: i64) -> PcapNg {
        let offset = self.order.u64(offset_s as u64);
        self.interface(
            1,
            0,
            &[(2, b"eth0"), (9, &[resolution]), (14, &offset), (0, &[])],
        )
    }

    pub(super) fn packet(self, interface: u32, units: u64, data: &[u8]) -> PcapNg {
        let order = self.order;
        let mut body = Vec::new();
        for word in [
            interface,
            (units >> 32) as u32,
            units as u32,
            data.len() as u32,
            data.len() as u32,
        ] {
            body.extend(order.u32(word));
        }
        body.extend(data);
        self.block(6, &body)
    }

    /// The packet block of the first drafts.
    pub(super) fn old_packet(self, interface: u16, units: u64, data: &[u8]) -> PcapNg {
        let order = self.order;
        let mut body = Vec::new();
        body.extend(order.u16(interface));
        body.extend(order.u16(0));
        for word in [
            (units >> 32) as u32,
            units as u32,
            data.len() as u32,
            data.len() as u32,
        ] {
            body.extend(order.u32(word));
        }
        body.extend(data);
        self.block(2, &body)
    }

    pub(super) fn simple_packet(self, orig_len: u32, data: &[u8]) -> PcapNg {
        let mut body = self.order.u32(orig_len).to_vec();
        body.extend(data);
        self.block(3, &body)
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
