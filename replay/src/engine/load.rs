//! What a replay reads before it begins.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use meshproof_record::manifest::Input;

use crate::capture::{Captures, Error as CaptureError, Inputs};
use crate::exchange::Exchange;
use crate::pipeline::{self, Options, Outcome, Visitor};

/// Most bytes of frames that are held in memory.
pub const FRAME_BYTES_MAX: u64 = 4 << 30;

/// Why captures cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// They cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// They hold more than fits.
    #[error("frames of more than {} GiB: replay fewer captures at a time", FRAME_BYTES_MAX >> 30)]
    TooLarge,
}

/// Exchanges with their frames, and the account of the captures that hold them.
#[derive(Debug)]
pub struct Loaded {
    /// In the order in which they settled.
    pub exchanges: Vec<Exchange>,
    /// The account.
    pub outcome: Outcome,
    /// The files that were read.
    pub files: Vec<std::path::PathBuf>,
}

#[derive(Default)]
struct Collect {
    exchanges: Vec<Exchange>,
    bytes: u64,
}

impl Visitor for Collect {
    fn exchange(&mut self, mut exchange: Exchange) {
        let halves = [&exchange.request, &exchange.response];
        let frames = halves
            .into_iter()
            .flatten()
            .filter_map(|h| h.frame.as_ref());
        self.bytes += frames.map(|frame| frame.head.len).sum::<u64>();
        if self.bytes > FRAME_BYTES_MAX {
            // The pass cannot be stopped from here; what comes after the limit is not kept.
            for half in [&mut exchange.request, &mut exchange.response] {
                if let Some(half) = half {
                    half.frame = None;
                }
            }
        }
        self.exchanges.push(exchange);
    }
}

/// Reads captures whole. Damage behind a readable header is in the account.
pub fn load(inputs: &Inputs) -> Result<Loaded, Error> {
    let mut captures = Captures::open(inputs)?;
    let mut collect = Collect::default();
    let mut outcome = pipeline::read(&mut captures, &Options::FRAMES, &mut collect)?;
    if collect.bytes > FRAME_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    outcome.add_findings(&captures.findings());
    Ok(Loaded {
        exchanges: collect.exchanges,
        outcome,
        files: captures.files().map(Path::to_owned).collect(),
    })
}

/// What a record says of a file that was read: its size and hash.
pub fn input(role: &str, path: &Path) -> io::Result<Input> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0u64;
    loop {
        let n = file.read(&mut buffer)?;
        let Some(read) = buffer.get(..n).filter(|read| !read.is_empty()) else {
            break;
        };
        hasher.update(read);
        bytes += n as u64;
    }
    let name = path.display().to_string();
    Ok(Input::new(role, name, bytes, hasher.finalize()))
}
