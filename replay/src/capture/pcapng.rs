//! pcapng: sections, interfaces, blocks.
//!
//! Layout as in draft-ietf-opsawg-pcapng. A file may hold several sections, each with its own byte
//! order and its own interfaces; each interface has its own resolution of time.

use super::beside::Beside;
use super::finding::{Notes, What};
use super::reader::{Begun, Halt, Record};
use super::window::Window;
use super::{Link, PACKET_BYTES_MAX};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAMES: u32 = 4;
const ENHANCED_PACKET: u32 = 6;

/// Options of an interface that a packet's time needs: `if_tsresol`, `if_tsoffset`.
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;

/// Blocks without packets that are passed over without a word: names, statistics, journal,
/// decryption secrets, custom ones.
const PASSED_OVER: [u32; 6] = [NAMES, 5, 9, 10, 0x0bad, 0x4000_0bad];

/// Longest block that is held at once: a packet with its options. Others are passed over in
/// pieces.
const BLOCK_BYTES_MAX: u64 = PACKET_BYTES_MAX as u64 + (64 << 10);

/// Interfaces of a section that are kept at most; packets of later ones are findings.
const INTERFACES_MAX: usize = 65_536;

/// A file of this format behind its first section header.
pub(super) struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Time of the packet before, for packets that have none.
    last_ns: u64,
    beside: Beside,
}

/// What a packet needs to know of its interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Link,
    snaplen: u32,
    unit: Unit,
    offset_s: i64,
}

/// How a time in units becomes nanoseconds.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Times(u64),
    Over(u64),
    /// 2 to the minus this many seconds.
    Power(u32),
    /// So fine that 64 bits hold less than a nanosecond.
    Nothing,
}

/// Whether these are the first bytes of this format (they read the same both ways round).
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    u32::from_be_bytes(magic) == SECTION
}

impl PcapNg {
    /// Reads the first section header.
    pub(super) fn begin(window: &mut Window, _notes: &mut Notes) -> Result<PcapNg, Begun> {
        let mut pcapng = PcapNg {
            big_endian: false,
            interfaces: Vec::new(),
            last_ns: 0,
            beside: Beside::default(),
        };
        match pcapng.section(window) {
            Ok(()) => Ok(pcapng),
            Err(Halt::Io(error)) => Err(Begun::Io(error)),
            Err(Halt::Damage(what)) => Err(Begun::Header {
                offset: window.offset(),
                why: match what {
                    What::BadBlock { why } => {
                        format!("expected a pcapng section header, but {why}")
                    }
                    what => format!("expected a pcapng section header, but {what}"),
                },
                advice: "the header is damaged; copy the file again",
            }),
        }
    }

    /// What was passed over so far.
    pub(super) fn beside(&self) -> Beside {
        self.beside
    }

    /// Counts the options of a block that is visible as a whole.
    #[cold]
    fn count_options(
        &mut self,
        window: &Window,
        len: u64,
        from: u64,
        is_used: impl Fn(u16) -> bool,
    ) {
        let block = window.bytes().get(..len as usize).unwrap_or_default();
        let options = block.get(from as usize..block.len().saturating_sub(4));
        let mut beside = self.beside;
        let u16_at = |bytes: &[u8], at| self.u16(bytes, at);
        beside.options(options.unwrap_or_default(), u16_at, is_used);
        self.beside = beside;
    }

    /// Goes on to the next packet; `None` at the end.
    #[inline]
    pub(super) fn advance(
        &mut self,
        window: &mut Window,
        notes: &mut Notes,
        packet: u64,
    ) -> Result<Option<Record>, Halt> {
        loop {
            if !window.ensure(12)? {
                return match window.bytes().len() as u64 {
                    0 => Ok(None),
                    left => Err(Halt::Damage(What::Cut { left, expected: 12 })),
                };
            }
            let (kind, len) = self.head(window);
            if kind == ENHANCED_PACKET {
                self.whole(window, len, 32)?;
                if let Some(record) = self.enhanced(window, notes, packet, len)? {
                    return Ok(Some(record));
                }
            } else if let Some(record) = self.other(window, notes, packet, kind, len)? {
                return Ok(Some(record));
            }
        }
    }

    /// Type and length of the block in front.
    #[inline]
    fn head(&self, window: &Window) -> (u32, u64) {
        let bytes = window.bytes();
        (self.u32(bytes, 0), u64::from(self.u32(bytes, 4)))
    }

    /// Makes a block visible whose lengths agree.
    #[inline]
    fn whole(&self, window: &mut Window, len: u64, min: u64) -> Result<(), Halt> {
        if len < min || !len.is_multiple_of(4) {
            return Err(Halt::Damage(What::BadBlock {
                why: "the block's length is too small or no multiple of 4",
            }));
        }
        if len > BLOCK_BYTES_MAX {
            return Err(Halt::Damage(What::AbsurdLength {
                length: len,
                limit: BLOCK_BYTES_MAX,
            }));
        }
        if !window.ensure(len as usize)? {
            return Err(Halt::Damage(What::Cut {
                left: window.bytes().len() as u64,
                expected: len,
            }));
        }
        if u64::from(self.u32(window.bytes(), len as usize - 4)) != len {
            return Err(Halt::Damage(What::BadBlock {
                why: "the block's two lengths differ",
            }));
        }
        Ok(())
    }

    /// An enhanced packet block that is visible as a whole.
    #[inline]
    fn enhanced(
        &mut self,
        window: &mut Window,
        notes: &mut Notes,
        packet: u64,
        len: u64,
    ) -> Result<Option<Record>, Halt> {
        let bytes = window.bytes();
        let interface = self.u32(bytes, 8);
        let units = u64::from(self.u32(bytes, 12)) << 32 | u64::from(self.u32(bytes, 16));
        let caplen = self.u32(bytes, 20);
        let orig_len = self.u32(bytes, 24);
        self.packet(
            window,
            notes,
            packet,
            len,
            interface,
            Some(units),
            28,
            caplen,
            orig_len,
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of three kinds of blocks meet here"
    )]
    #[inline]
    fn packet(
        &mut self,
        window: &mut Window,
        notes: &mut Notes,
        packet: u64,
        len: u64,
        interface: u32,
        units: Option<u64>,
        data_at: u64,
        caplen: u32,
        orig_len: u32,
    ) -> Result<Option<Record>, Halt> {
        if data_at + u64::from(caplen) + 4 > len {
            return Err(Halt::Damage(What::BadBlock {
                why: "the packet is longer than its block",
            }));
        }
        let data_end = data_at + u64::from(caplen).next_multiple_of(4);
        // A simple packet block (its data begin at 12) has no options.
        if data_end + 8 <= len && data_at != 12 {
            self.count_options(window, len, data_end, |_| false);
        }
        let position = window.position() + data_at as usize;
        let offset = window.offset();
        window.consume(len as usize);
        let Some(of) = self.interfaces.get(interface as usize) else {
            notes.add(offset, packet, What::UnknownInterface { interface });
            return Ok(None);
        };
        let at_ns = match units {
            Some(units) => of.at_ns(units),
            None => {
                notes.add(offset, packet, What::NoTime);
                self.last_ns
            }
        };
        self.last_ns = at_ns;
        Ok(Some(Record {
            at_ns,
            link: of.link,
            position,
            len: caplen as usize,
            orig_len: orig_len.max(caplen),
        }))
    }

    /// Every block but the usual packet.
    #[cold]
    fn other(
        &mut self,
        window: &mut Window,
        notes: &mut Notes,
        packet: u64,
        kind: u32,
        len: u64,
    ) -> Result<Option<Record>, Halt> {
        match kind {
            SECTION => {
                self.section(window)?;
                Ok(None)
            }
            INTERFACE => {
                self.whole(window, len, 20)?;
                self.interface(window, notes, packet, len);
                self.count_options(window, len, 16, |code| {
                    matches!(code, TIME_RESOLUTION | TIME_OFFSET)
                });
                window.consume(len as usize);
                Ok(None)
            }
            SIMPLE_PACKET => {
                self.whole(window, len, 16)?;
                let orig_len = self.u32(window.bytes(), 8);
                // The captured length is not written: it is the original one, cut to the snaplen
                // and to the block.
                let snaplen = match self.interfaces.first() {
                    Some(interface) if interface.snaplen > 0 => interface.snaplen,
                    _ => u32::MAX,
                };
                let room = u32::try_from(len - 16).unwrap_or(u32::MAX);
                let caplen = orig_len.min(snaplen).min(room);
                self.packet(window, notes, packet, len, 0, None, 12, caplen, orig_len)
            }
            OBSOLETE_PACKET => {
                self.whole(window, len, 32)?;
                let bytes = window.bytes();
                let interface = u32::from(self.u16(bytes, 8));
                let units = u64::from(self.u32(bytes, 12)) << 32 | u64::from(self.u32(bytes, 16));
                let caplen = self.u32(bytes, 20);
                let orig_len = self.u32(bytes, 24);
                self.packet(
                    window,
                    notes,
                    packet,
                    len,
                    interface,
                    Some(units),
                    28,
                    caplen,
                    orig_len,
                )
            }
            _ => {
                if len < 12 || !len.is_multiple_of(4) {
                    return Err(Halt::Damage(What::BadBlock {
                        why: "the block's length is too small or no multiple of 4",
                    }));
                }
                if !PASSED_OVER.contains(&kind) {
                    notes.add(window.offset(), packet, What::UnknownBlock { kind });
                }
                match kind {
                    NAMES => self.beside.name_blocks += 1,
                    _ => self.beside.other_blocks += 1,
                }
                let passed = window.skip(len)?;
                if passed < len {
                    return Err(Halt::Damage(What::Cut {
                        left: passed,
                        expected: len,
                    }));
                }
                Ok(None)
            }
        }
    }

    /// A section header: byte order, and a new list of interfaces.
    fn section(&mut self, window: &mut Window) -> Result<(), Halt> {
        if !window.ensure(28)? {
            return Err(Halt::Damage(What::Cut {
                left: window.bytes().len() as u64,
                expected: 28,
            }));
        }
        let big_endian = match window.bytes() {
            [_, _, _, _, _, _, _, _, 0x1a, 0x2b, 0x3c, 0x4d, ..] => true,
            [_, _, _, _, _, _, _, _, 0x4d, 0x3c, 0x2b, 0x1a, ..] => false,
            _ => {
                return Err(Halt::Damage(What::BadBlock {
                    why: "the section header has no byte-order magic",
                }));
            }
        };
        self.big_endian = big_endian;
        let (_, len) = self.head(window);
        self.whole(window, len, 28)?;
        if self.u16(window.bytes(), 12) != 1 {
            return Err(Halt::Damage(What::BadBlock {
                why: "the section is not of pcapng version 1",
            }));
        }
        self.interfaces.clear();
        self.count_options(window, len, 24, |_| false);
        window.consume(len as usize);
        Ok(())
    }

    /// An interface description that is visible as a whole.
    fn interface(&mut self, window: &Window, notes: &mut Notes, packet: u64, len: u64) {
        let block = window.bytes().get(..len as usize - 4).unwrap_or_default();
        let number = self.u16(block, 8);
        let link = Link::from_number(number);
        if let Link::Other(number) = link {
            notes.add(window.offset(), packet, What::UnknownLink { number });
        }
        let mut interface = Interface {
            link,
            snaplen: self.u32(block, 12),
            unit: Unit::Times(1000),
            offset_s: 0,
        };
        let mut options = block.get(16..).unwrap_or_default();
        while options.len() >= 4 {
            let (code, value_len) = (self.u16(options, 0), usize::from(self.u16(options, 2)));
            let Some(value) = options.get(4..4 + value_len) else {
                break;
            };
            match (code, value) {
                (0, _) => break,
                (TIME_RESOLUTION, [resolution, ..]) => interface.unit = Unit::of(*resolution),
                (TIME_OFFSET, value) if value.len() == 8 => {
                    let (high, low) = if self.big_endian { (0, 4) } else { (4, 0) };
                    let high = u64::from(self.u32(value, high));
                    interface.offset_s = (high << 32 | u64::from(self.u32(value, low))) as i64;
                }
                _ => {}
            }
            let padded = 4 + value_len.next_multiple_of(4);
            options = options.get(padded..).unwrap_or_default();
        }
        if self.interfaces.len() < INTERFACES_MAX {
            self.interfaces.push(interface);
        }
    }

    /// The u32 at an offset; 0 where there is none, which the callers rule out.
    #[inline]
    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        let four = *four.unwrap_or(&[0; 4]);
        if self.big_endian {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        }
    }

    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let two = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
        let two = *two.unwrap_or(&[0; 2]);
        if self.big_endian {
            u16::from_be_bytes(two)
        } else {
            u16::from_le_bytes(two)
        }
    }
}

impl Unit {
    /// From the option `if_tsresol`: a negative power of 10, or of 2 with the upper bit set.
    fn of(resolution: u8) -> Unit {
        let power = u32::from(resolution & 0x7f);
        if resolution & 0x80 != 0 {
            return Unit::Power(power);
        }
        match power {
            0..=9 => Unit::Times(10u64.pow(9 - power)),
            10..=28 => Unit::Over(10u64.pow(power - 9)),
            _ => Unit::Nothing,
        }
    }
}

impl Interface {
    #[inline]
    fn at_ns(&self, units: u64) -> u64 {
        let ns = match self.unit {
            Unit::Times(factor) => units.saturating_mul(factor),
            Unit::Over(divisor) => units / divisor,
            Unit::Power(power) => {
                let ns = (u128::from(units) * 1_000_000_000) >> power;
                u64::try_from(ns).unwrap_or(u64::MAX)
            }
            Unit::Nothing => 0,
        };
        if self.offset_s == 0 {
            return ns;
        }
        let offset = self.offset_s.saturating_mul(1_000_000_000);
        ns.saturating_add_signed(offset)
    }
}
