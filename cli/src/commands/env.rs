//! `meshproof env`: meshes in private namespaces.

mod from_capture;

use clap::Subcommand;

use crate::exit::Failure;

/// Arguments of `env`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is done with environments.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make an offline mesh from a capture and a map
    FromCapture(from_capture::Args),
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::FromCapture(args) => from_capture::run(args),
    }
}
