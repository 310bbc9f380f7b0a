//! `meshproof man`.

use std::fs;
use std::path::PathBuf;

use crate::exit::{self, Failure};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meshproof man ./man && man -l ./man/meshproof.1")]
pub(crate) struct Args {
    /// Folder to write the pages into; made when it is not there
    folder: PathBuf,
}

/// Writes a page for the program and one for each command.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let failed = |error| Failure::Io(args.folder.display().to_string(), error);
    fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(crate::command_line(), &args.folder).map_err(failed)?;
    Ok(exit::OK)
}
