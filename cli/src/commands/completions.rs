//! `meshproof completions`.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::exit::{self, Failure};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meshproof completions bash > /etc/bash_completion.d/meshproof")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

/// Writes the script to stdout.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    // Into memory first: the generator panics when a pipe closes early.
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut crate::command_line(),
        "meshproof",
        &mut script,
    );
    io::stdout().write_all(&script)?;
    Ok(exit::OK)
}
