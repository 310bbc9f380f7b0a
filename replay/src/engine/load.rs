//! What a replay reads before it begins.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use meshproof_record::manifest::Input;

use super::plan::{Recorded, Skip};
use crate::capture::{Captures, Error as CaptureError};
use crate::exchange::Exchange;
use crate::pipeline::{self, Options, Outcome};
use crate::select::{Selecting, Selection, Tally};
use crate::sighting::{Call, Calls, Limits, Merger};

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
    /// Every sighting of every call, in the order in which they settled.
    pub exchanges: Vec<Recorded>,
    /// The account.
    pub outcome: Outcome,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What the selection did.
    pub tally: Tally,
}

impl Loaded {
    /// What the selection took, each call once.
    pub fn taken(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges
            .iter()
            .filter(|recorded| recorded.left_out.is_none())
            .map(|recorded| &recorded.exchange)
    }
}

/// Sorts calls into what is taken and what is left out, and keeps both.
struct Sort<'a> {
    selecting: Selecting<'a, Taken>,
    exchanges: Vec<Recorded>,
    bytes: u64,
}

/// The call that a selection has just taken.
#[derive(Default)]
struct Taken(Rc<RefCell<Option<Call>>>);

impl Calls for Taken {
    fn call(&mut self, call: Call) {
        self.0.replace(Some(call));
    }
}

struct Sorted<'a> {
    sort: Sort<'a>,
    taken: Rc<RefCell<Option<Call>>>,
}

impl Calls for Sorted<'_> {
    fn start(&mut self, start_ns: u64) {
        self.sort.selecting.start(start_ns);
    }

    fn call(&mut self, call: Call) {
        self.sort.selecting.call(call.clone());
        let (call, left_out) = match self.taken.take() {
            Some(taken) => (taken, None),
            None => (call, Some(Skip::Filtered)),
        };
        let others = call.sightings().skip(1).cloned().map(|exchange| Recorded {
            exchange,
            left_out: Some(left_out.unwrap_or(Skip::DuplicateHop)),
        });
        let others: Vec<Recorded> = others.collect();
        let first = Recorded {
            exchange: call.into_exchange(),
            left_out,
        };
        for recorded in std::iter::once(first).chain(others) {
            self.sort.put(recorded);
        }
    }
}

impl Sort<'_> {
    fn put(&mut self, mut recorded: Recorded) {
        let exchange = &mut recorded.exchange;
        let halves = [&mut exchange.request, &mut exchange.response];
        for half in halves.into_iter().flatten() {
            let len = half.frame.as_ref().map_or(0, |frame| frame.head.len);
            self.bytes = self.bytes.saturating_add(len);
            if self.bytes > FRAME_BYTES_MAX {
                // The pass cannot be stopped from here; what comes after the limit is not kept.
                half.frame = None;
            }
        }
        self.exchanges.push(recorded);
    }
}

/// Reads captures whole; a call that was seen at several points is taken once. Damage behind a
/// readable header is in the account.
pub fn load(captures: &mut Captures, selection: &Selection) -> Result<Loaded, Error> {
    let taken = Rc::new(RefCell::new(None));
    let sorted = Sorted {
        sort: Sort {
            selecting: Selecting::new(selection, Taken(Rc::clone(&taken))),
            exchanges: Vec::new(),
            bytes: 0,
        },
        taken,
    };
    let mut merger = Merger::new(Limits::USUAL, sorted);
    let mut outcome = pipeline::read(captures, &Options::FRAMES, &mut merger)?;
    let (_, Sorted { sort, .. }) = merger.finish();
    if sort.bytes > FRAME_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    outcome.add_findings(&captures.findings());
    Ok(Loaded {
        exchanges: sort.exchanges,
        outcome,
        files: captures.files().map(Path::to_owned).collect(),
        tally: sort.selecting.into_parts().0,
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
