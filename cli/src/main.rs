//! `meshproof`: arguments go in, the crates of the workspace do the work.

mod commands;
mod exit;
mod in_process;
mod live;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use commands::Command;
use exit::Failure;

/// Proves a service-mesh sidecar before production does.
#[derive(Debug, Parser)]
#[command(
    name = "meshproof",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Before anything else: a stage leaves its namespaces while it has one thread.
    if let Some(code) = meshproof_harness::netns::stage(std::env::args_os().skip(1)) {
        return code;
    }
    if let Some(code) = meshproof_fault::keeper::stage(std::env::args_os().skip(1)) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are answers; everything else is wrong use, exit 2.
            let code = if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match cli.command.run() {
        Ok(code) => ExitCode::from(code),
        Err(Failure::BrokenPipe) => ExitCode::from(exit::OK),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

/// The command line as clap knows it: for completions, man pages and tests.
fn command_line() -> clap::Command {
    Cli::command()
}
