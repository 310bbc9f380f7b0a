//! `meshproof gate`: whether a change may go on, and why not.

mod check;
mod explain;
mod judging;
mod release;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use meshproof_ci::edge::packs_of;
use meshproof_ci::file::Source;
use meshproof_ci::gate::Gate;
use meshproof_ci::pack::{self, Snapshot};

use super::setting::{diagnostic, text};
use crate::exit::Failure;

/// Judge a change by the rules of its project, and say why it may not go on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge every checkpoint: what blocks, why, and what to type
    Check(check::Args),
    /// Ship or do not ship: the reasons, the evidence, what was not run, waivers
    Release(release::Args),
    /// Show the merged rules, and where each is written
    Explain(explain::Args),
}

/// Does the work; the value is the exit code.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Check(args) => check::run(args),
        Command::Release(args) => release::run(args),
        Command::Explain(args) => explain::run(args),
    }
}

/// Where the rules are.
#[derive(Debug, clap::Args)]
struct Rules {
    /// The rules of the project; its folder is where commands run and paths begin
    #[arg(long, value_name = "FILE", default_value = "meshproof.yaml")]
    file: PathBuf,
    /// A folder of rule packs, NAME/pack.yaml each; they stand in for those that ship by the name
    #[arg(long, value_name = "DIR")]
    packs: Option<PathBuf>,
}

impl Rules {
    /// Reads and merges them.
    fn read(&self) -> Result<Gate, Failure> {
        if !self.file.exists() {
            return Err(Failure::Usage(format!(
                "there is no {}: write one with `extends: [rust@stable]`, or name yours by --file",
                self.file.display()
            )));
        }
        let (name, text) = text(&self.file)?;
        let (generation, written) = match &self.packs {
            Some(folder) => (1, packs_of(folder).map_err(diagnostic)?),
            None => (0, pack::shipped()),
        };
        let packs = Snapshot::load(generation, &written).map_err(diagnostic)?;
        meshproof_ci::compile(&Source::new(name, text), &packs).map_err(diagnostic)
    }

    /// The project's folder.
    fn root(&self) -> PathBuf {
        match self.file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }
}
