//! Which captures are read and which calls of them are taken: the same flags for every command.

use meshproof_replay::capture::{Captures, Inputs, NamedSource};
use meshproof_replay::exchange::Hop;
use meshproof_replay::select::{Moment, Sample, Selection, Where};
use meshproof_replay::sighting::{self, Alignment};

use crate::exit::Failure;

/// Captures and what is taken of them; flattened into the arguments of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct Select {
    /// Capture files, globs in quotes, or folders; rotated parts are joined in time order
    #[arg(value_name = "CAPTURE", required_unless_present = "sources")]
    pub(crate) captures: Vec<String>,

    /// A capture point with a name; repeat for several. Their clocks are compared by what both saw
    #[arg(long = "source", value_name = "NAME=GLOB")]
    pub(crate) sources: Vec<NamedSource>,

    /// Nothing before this time: 2026-11-23T08:36:12Z, or +1.5s after the first packet
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Moment>,

    /// Nothing from this time on
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Moment>,

    /// Only calls for which this CEL expression over the fields of `ls --format json` is true
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,

    /// Only calls seen at this hop, as they were seen there: inbound, outbound, app, direct, unknown
    #[arg(long, value_name = "HOP")]
    pub(crate) hop: Option<Hop>,

    /// Only a part of the calls, always the same: 0.05 or 5%
    #[arg(long, value_name = "PART")]
    pub(crate) sample: Option<Sample>,
}

impl Select {
    /// What to read.
    pub(crate) fn inputs(&self) -> Inputs {
        Inputs {
            captures: self.captures.clone(),
            sources: self.sources.clone(),
        }
    }

    /// Opens what to read, with the clocks of several capture points corrected.
    pub(crate) fn open(&self) -> Result<(Captures, Vec<Alignment>), Failure> {
        let mut captures = Captures::open(&self.inputs()).map_err(unreadable)?;
        let alignments = sighting::align(&mut captures).map_err(unreadable)?;
        Ok((captures, alignments))
    }

    /// What to take of it.
    pub(crate) fn selection(&self) -> Result<Selection, Failure> {
        let filter = self
            .filter
            .as_deref()
            .map(Where::compile)
            .transpose()
            .map_err(|bad| Failure::Diagnostic(Box::new(miette::Report::new(*bad))))?;
        Ok(Selection {
            from: self.from,
            to: self.to,
            filter,
            hop: self.hop,
            sample: self.sample,
        })
    }
}

/// A capture that cannot be read is wrong input.
pub(crate) fn unreadable(error: meshproof_replay::capture::Error) -> Failure {
    Failure::Usage(error.to_string())
}
