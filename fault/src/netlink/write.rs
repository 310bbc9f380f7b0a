//! Messages to the kernel.

use super::{HEADER, aligned};

/// Appends messages to one buffer, in order.
#[derive(Debug, Default)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Appends a message: its kind, its flags, its number, the fixed part that its subsystem wants
    /// and the attributes that `fill` writes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        fixed: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        // The port is the kernel's to fill in.
        self.bytes.extend_from_slice(&[0; 4]);
        debug_assert_eq!(self.bytes.len() - start, HEADER);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        fill(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// All messages so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends attributes to a message, or within an attribute.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

/// NLA_F_NESTED: this attribute holds attributes.
const NESTED: u16 = 1 << 15;

impl Attributes<'_> {
    /// An attribute of these bytes. Longer than 65,531 bytes it would not fit its length field;
    /// nothing here comes near that.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.open(kind, |bytes| bytes.extend_from_slice(value))
    }

    /// A string, with the zero at its end.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.open(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        })
    }

    /// A number of 32 bits in network order.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A number of 64 bits in network order.
    pub fn long(&mut self, kind: u16, value: u64) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// An attribute that holds what `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.open(kind | NESTED, |bytes| fill(&mut Attributes { bytes }))
    }

    fn open(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self.bytes);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.bytes);
        self
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}
