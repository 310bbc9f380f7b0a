//! What a capture file holds besides packets: comments, names, interfaces, statistics.

use std::io::{self, BufRead, BufReader, Read};

/// Longest block that is read whole; of a longer one that holds no packet the first bytes are.
const BLOCK_BYTES_MAX: usize = 16 << 20;

/// Calls `each` with name, offset and bytes of everything in a pcapng file that is no packet data.
/// A classic pcap file holds nothing else. Compressed files are read through; damage ends the
/// reading. Answers how many bytes of overlong blocks were not shown.
///
/// # Errors
/// The operating system refused.
pub(super) fn blocks(reader: impl Read, mut each: impl FnMut(&str, u64, &[u8])) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let magic = reader.fill_buf()?.get(..4).map(<[u8]>::to_vec);
    let opened: Box<dyn Read> = match magic.as_deref() {
        Some([0x1f, 0x8b, ..]) => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => Box::new(zstd::Decoder::with_buffer(reader)?),
        _ => Box::new(reader),
    };
    let mut unread = 0;
    let mut opened = BufReader::with_capacity(64 << 10, opened);
    match pcapng(&mut opened, &mut unread, &mut each) {
        // The packets' reader has told about it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Other
            ) =>
        {
            Ok(unread)
        }
        other => other.map(|()| unread),
    }
}

fn pcapng(
    reader: &mut impl Read,
    unread: &mut u64,
    each: &mut dyn FnMut(&str, u64, &[u8]),
) -> io::Result<()> {
    const SECTION: u32 = 0x0a0d_0d0a;
    let mut offset = 0u64;
    let mut big_endian = false;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 8];
        reader.read_exact(&mut head)?;
        let mut number = [0; 4];
        number.copy_from_slice(&head[..4]);
        let section = u32::from_be_bytes(number) == SECTION;
        if offset == 0 && !section {
            return Ok(());
        }
        let mut order = Vec::new();
        if section {
            let mut magic = [0; 4];
            reader.read_exact(&mut magic)?;
            big_endian = magic == [0x1a, 0x2b, 0x3c, 0x4d];
            order = magic.to_vec();
        }
        let u32_at = |bytes: &[u8], at: usize| -> Option<u32> {
            let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(match big_endian {
                true => u32::from_be_bytes(bytes),
                false => u32::from_le_bytes(bytes),
            })
        };
        let kind = u32_at(&head, 0).unwrap_or_default();
        let len = u64::from(u32_at(&head, 4).unwrap_or_default());
        let Some(rest) = len.checked_sub(8 + order.len() as u64) else {
            return Ok(());
        };
        body.clear();
        body.append(&mut order);
        let kept = rest.min(BLOCK_BYTES_MAX as u64);
        reader.take(kept).read_to_end(&mut body)?;
        *unread += io::copy(&mut reader.take(rest - kept), &mut io::sink())?;
        // Where the data of a packet ends and options begin.
        let options_at = match kind {
            6 => u32_at(&body, 12).map_or(body.len(), |len| padded(20, len)),
            2 => u32_at(&body, 12).map_or(body.len(), |len| padded(20, len)),
            3 => body.len(),
            _ => 0,
        };
        let options = body.get(options_at..).unwrap_or_default();
        // The length stands once more at the end.
        let options = options.get(..options.len().saturating_sub(4));
        if let Some(options) = options
            && !options.is_empty()
        {
            each(name(kind), offset + 8 + options_at as u64, options);
        }
        offset += len;
    }
}

fn padded(head: usize, len: u32) -> usize {
    head.saturating_add((len as usize).next_multiple_of(4))
}

fn name(kind: u32) -> &'static str {
    match kind {
        0x0a0d_0d0a => "section header",
        1 => "interface description",
        2 | 6 => "packet options",
        4 => "name resolution",
        5 => "interface statistics",
        0xa => "decryption secrets",
        0xbad | 0x4000_0bad => "custom block",
        _ => "block",
    }
}
