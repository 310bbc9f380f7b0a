//! `meshproof env`: environments that stand, for people and for other programs.

mod exec;
mod from_capture;
mod terminal;
mod up;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use meshproof_harness::Error;
use meshproof_harness::standing::{self, Standing};
use meshproof_record::store::RUNS;

use crate::exit::{self, Failure};

pub(crate) use exec::{Wanted, relayed};

/// Bring up a mesh, and work in it
///
/// A mesh stands in a corner of this machine that nobody else sees: every pod with the addresses
/// and ports of production. It ends with the command, when its time is over, or with `env down`,
/// and leaves nothing but its folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up the pods of a topology, with all that runs in them
    Up(Box<up::Args>),
    /// List the environments that stand
    Ls(LsArgs),
    /// Run a command in a pod
    Exec(exec::Args),
    /// End an environment
    Down(DownArgs),
    /// Make an offline mesh from a capture and a map
    FromCapture(from_capture::Args),
}

/// List the environments that stand
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0, also where none stands.

Examples:
  meshproof env ls
  meshproof env ls --format json | jq -r '.[].name'")]
struct LsArgs {
    /// What is printed
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    #[command(flatten)]
    runs: Runs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table
    Human,
    /// A list of what `env.json` in each folder says, and the folder
    Json,
}

/// End an environment
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 when it has ended and nothing is left, 2 when there is none of that name.

Examples:
  meshproof env down
  meshproof env down pair
  meshproof env down --all")]
struct DownArgs {
    /// Its name, or its folder's; default: the only one that stands
    #[arg(value_name = "NAME", conflicts_with = "all")]
    name: Option<String>,
    /// All that stand
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    runs: Runs,
}

/// Where the folders of environments are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Runs {
    /// The folder of runs
    #[arg(long, value_name = "DIR", default_value = RUNS)]
    pub(crate) runs: PathBuf,
}

/// Does what the command says.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Up(args) => up::run(*args),
        Command::Ls(args) => ls(&args),
        Command::Exec(args) => exec::run(args),
        Command::Down(args) => down(&args),
        Command::FromCapture(args) => from_capture::run(args),
    }
}

/// What an environment could not do, as a failure of the command.
pub(crate) fn failure(error: Error) -> Failure {
    match error {
        Error::Unsupported { .. } => Failure::Unsupported(error.to_string()),
        other => Failure::Usage(other.to_string()),
    }
}

fn ls(args: &LsArgs) -> Result<u8, Failure> {
    let all = standing::list(&args.runs.runs).map_err(failure)?;
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => {
            let all: Vec<_> = all.iter().map(json).collect::<Result<_, _>>()?;
            let text = serde_json::to_string_pretty(&all).map_err(io::Error::from)?;
            writeln!(out, "{text}")?;
        }
        Format::Human => {
            for one in &all {
                let pods: Vec<&str> = one.notice.pods.iter().map(|pod| &*pod.name).collect();
                let now = Timestamp::now().as_second();
                let left = one.notice.until_s.map_or_else(
                    || "until it is ended".to_owned(),
                    |until| {
                        let left = until.saturating_sub(u64::try_from(now).unwrap_or(0));
                        format!("{left} s left")
                    },
                );
                writeln!(
                    out,
                    "{}  {}  {left}  process {}  {}",
                    one.notice.name,
                    pods.join(","),
                    one.notice.pid,
                    one.folder.display()
                )?;
            }
            if all.is_empty() {
                let runs = args.runs.runs.display();
                writeln!(io::stderr(), "no environment stands in {runs}")?;
            }
        }
    }
    Ok(exit::OK)
}

fn json(one: &Standing) -> Result<serde_json::Value, io::Error> {
    let mut value = serde_json::to_value(&one.notice)?;
    if let Some(fields) = value.as_object_mut() {
        let folder = one.folder.display().to_string();
        fields.insert("folder".to_owned(), folder.into());
    }
    Ok(value)
}

fn down(args: &DownArgs) -> Result<u8, Failure> {
    /// What a mesh of many pods takes on a busy machine, several times.
    const LIMIT: Duration = Duration::from_secs(20);
    let wanted = match args.all {
        true => standing::list(&args.runs.runs).map_err(failure)?,
        false => {
            let one = standing::find(&args.runs.runs, args.name.as_deref()).map_err(failure)?;
            vec![one]
        }
    };
    for one in wanted {
        standing::down(&one.folder, LIMIT).map_err(failure)?;
        writeln!(io::stdout(), "{} has ended", one.notice.name)?;
    }
    Ok(exit::OK)
}
