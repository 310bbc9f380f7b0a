//! Packets become a pcapng.

use std::io::{self, Write};

use super::{Link, Packet};

/// Writes packets as one pcapng section, little-endian, with nanoseconds.
///
/// Each pair of link type and source becomes an interface, described before its first packet.
/// Time, original length, link type and order are kept. The file says nothing of the machine that
/// wrote it; the same packets give the same bytes.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    interfaces: Vec<(Link, u16)>,
}

impl<W: Write> Writer<W> {
    /// Writes the section header. Give it something with a buffer, such as
    /// [`super::AtomicFile`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<Writer<W>> {
        let mut block = [0; 28];
        block[0..4].copy_from_slice(&0x0a0d_0d0au32.to_le_bytes());
        block[4..8].copy_from_slice(&28u32.to_le_bytes());
        block[8..12].copy_from_slice(&0x1a2b_3c4du32.to_le_bytes());
        block[12..14].copy_from_slice(&1u16.to_le_bytes());
        block[16..24].copy_from_slice(&(-1i64).to_le_bytes());
        block[24..28].copy_from_slice(&28u32.to_le_bytes());
        out.write_all(&block)?;
        Ok(Writer {
            out,
            interfaces: Vec::new(),
        })
    }

    /// Writes one packet. Its number is not kept: it is its place in the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let key = (packet.link, packet.source);
        let interface = match self.interfaces.iter().position(|known| *known == key) {
            Some(interface) => interface,
            None => {
                self.describe(packet.link)?;
                self.interfaces.push(key);
                self.interfaces.len() - 1
            }
        };
        let caplen = u32::try_from(packet.data.len())
            .ok()
            .filter(|len| *len < u32::MAX - 64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a packet of 4 GiB"))?;
        let padding = caplen.next_multiple_of(4) - caplen;
        let total = 32 + caplen + padding;
        let mut head = [0; 28];
        head[0..4].copy_from_slice(&6u32.to_le_bytes());
        head[4..8].copy_from_slice(&total.to_le_bytes());
        head[8..12].copy_from_slice(&(interface as u32).to_le_bytes());
        head[12..16].copy_from_slice(&((packet.at_ns >> 32) as u32).to_le_bytes());
        head[16..20].copy_from_slice(&(packet.at_ns as u32).to_le_bytes());
        head[20..24].copy_from_slice(&caplen.to_le_bytes());
        head[24..28].copy_from_slice(&packet.orig_len.max(caplen).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(packet.data)?;
        let mut tail = [0; 8];
        let padding = padding as usize;
        tail[padding..padding + 4].copy_from_slice(&total.to_le_bytes());
        self.out.write_all(&tail[..padding + 4])
    }

    /// Writes the description of an interface: its link type, no snaplen, nanoseconds.
    fn describe(&mut self, link: Link) -> io::Result<()> {
        let mut block = [0; 32];
        block[0..4].copy_from_slice(&1u32.to_le_bytes());
        block[4..8].copy_from_slice(&32u32.to_le_bytes());
        block[8..10].copy_from_slice(&link.number().to_le_bytes());
        // if_tsresol, one byte: 10 to the minus 9 seconds.
        block[16..18].copy_from_slice(&9u16.to_le_bytes());
        block[18..20].copy_from_slice(&1u16.to_le_bytes());
        block[20] = 9;
        block[28..32].copy_from_slice(&32u32.to_le_bytes());
        self.out.write_all(&block)
    }

    /// Ends the file; gives back what was written to.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
