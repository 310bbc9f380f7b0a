//! Where a capture's bytes come from, decompressed on the way.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// The largest window that a zstd frame may ask for, as a power of two: 128 MiB, what zstd itself
/// accepts unless told otherwise.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Compressed bytes held before decompression.
const COMPRESSED_BYTES: usize = 64 << 10;

/// Plain bytes, after decompression where there is any.
pub(super) enum Input {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Raw>>>),
}

/// Bytes as they come, with those first that were looked at to tell the format.
pub(super) struct Raw {
    seen: [u8; 4],
    seen_at: usize,
    seen_len: usize,
    from: From,
}

enum From {
    File(File),
    Stdin(io::Stdin),
    Reader(Box<dyn Read + Send>),
}

/// What reading gave besides bytes.
pub(super) enum Failed {
    /// The operating system refused.
    Io(io::Error),
    /// The compressed data are damaged.
    Compression(String),
}

impl Input {
    pub(super) fn open(path: &Path) -> io::Result<Input> {
        let from = if path == Path::new("-") {
            From::Stdin(io::stdin())
        } else {
            From::File(File::open(path)?)
        };
        Input::new(from)
    }

    pub(super) fn reader(reader: Box<dyn Read + Send>) -> io::Result<Input> {
        Input::new(From::Reader(reader))
    }

    fn new(mut from: From) -> io::Result<Input> {
        let mut seen = [0; 4];
        let mut seen_len = 0;
        while seen_len < seen.len() {
            match from.read(&mut seen[seen_len..]) {
                Ok(0) => break,
                Ok(n) => seen_len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let raw = Raw {
            seen,
            seen_at: 0,
            seen_len,
            from,
        };
        let buffered = |raw| BufReader::with_capacity(COMPRESSED_BYTES, raw);
        Ok(match seen {
            [0x1f, 0x8b, ..] => Input::Gzip(Box::new(MultiGzDecoder::new(buffered(raw)))),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(raw))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Input::Zstd(Box::new(decoder))
            }
            _ => Input::Plain(raw),
        })
    }

    /// Reads some bytes; 0 at the end.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Failed> {
        loop {
            let read = match self {
                Input::Plain(raw) => raw.read(buf),
                Input::Gzip(decoder) => decoder.read(buf),
                Input::Zstd(decoder) => decoder.read(buf),
            };
            return match read {
                Ok(n) => Ok(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The decompressors speak of damage in errors of their own making, which have no
                // number of the operating system.
                Err(error) if self.is_compressed() && error.raw_os_error().is_none() => {
                    Err(Failed::Compression(error.to_string()))
                }
                Err(error) => Err(Failed::Io(error)),
            };
        }
    }

    fn is_compressed(&self) -> bool {
        !matches!(self, Input::Plain(_))
    }
}

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let seen = &self.seen[self.seen_at..self.seen_len];
        if seen.is_empty() {
            return self.from.read(buf);
        }
        let n = seen.len().min(buf.len());
        buf[..n].copy_from_slice(&seen[..n]);
        self.seen_at += n;
        // Filling up the buffer keeps later reads aligned with the file's pages.
        match self.from.read(&mut buf[n..]) {
            Ok(more) => Ok(n + more),
            Err(_) => Ok(n),
        }
    }
}

impl Read for From {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            From::File(file) => file.read(buf),
            From::Stdin(stdin) => stdin.read(buf),
            From::Reader(reader) => reader.read(buf),
        }
    }
}
