//! `meshproof gate explain`: the merged rules, and where each is written.

use std::io::{self, Write};

use meshproof_ci::report;

use super::Rules;
use crate::exit::{self, Failure};

/// Show the merged rules, and where each is written
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0, 2 the rules cannot be read.

Example:
  meshproof gate explain")]
pub(super) struct Args {
    #[command(flatten)]
    rules: Rules,
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let gate = args.rules.read()?;
    io::stdout()
        .lock()
        .write_all(report::explain(&gate).as_bytes())?;
    Ok(exit::OK)
}
