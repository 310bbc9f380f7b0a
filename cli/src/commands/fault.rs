//! `meshproof fault`: faults by hand, and what they left behind.

mod flips;
mod inject;
mod print;
mod soak;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;

use clap::{Subcommand, ValueEnum};
use meshproof_fault::leftovers::{self, Done};
use meshproof_fault::spec::{Dependency, Kind, Outside};
use meshproof_fault::{Error, Fault, Here, Scene, Spec, Way, keeper};
use meshproof_harness::environment::Program;

use super::env::{Wanted, relayed};
use crate::exit::{self, Failure};

/// Make things go wrong, and nothing stay wrong
///
/// A fault is in force for a time that is part of the bargain. A keeper holds it: another process,
/// which heals when the time is over, and when this command ends, is killed or stands still. What
/// nothing has met was no fault: INVALID.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List kinds of faults, and the ways of doing them
    List(ListArgs),
    /// Tell what a fault would do, and change nothing
    Plan(PlanArgs),
    /// Put a fault in force, for a time
    Inject(inject::Args),
    /// Damage every byte of a header, and tell what the sidecar makes of it
    Flips(flips::Args),
    /// Show what is left behind, of this tool and of others
    Residue(ResidueArgs),
    /// Take faults away, also those whose keeper was killed
    Heal(HealArgs),
    /// Kill runs that hold faults, at random moments, and look for what is left
    Soak(soak::Args),
}

/// List kinds of faults, and the ways of doing them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0.

Example:
  meshproof fault list")]
struct ListArgs {}

/// Tell what a fault would do, and change nothing
///
/// The way and why, the exact rules with the same as lines of iptables, connections that it would
/// meet, what else would be hit, what may make it inert.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 it can be done, 2 wrong use or no way does exactly this, 4 this machine cannot.

Examples:
  meshproof fault plan '{kind: drop, from: app, port: 12199}' --pod server
  meshproof fault plan '{kind: reject, to: app, port: 12199, way: iptables-legacy}' --pid 4711
  meshproof fault plan '{kind: stale, of: config-center}'     in the environment that stands
  meshproof fault plan mute.yaml --format json
  meshproof schema fault              what can be written")]
struct PlanArgs {
    /// The fault: a YAML file, or the YAML itself
    #[arg(value_name = "FAULT")]
    fault: String,
    #[command(flatten)]
    place: Place,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Show what is left behind, of this tool and of others
///
/// Rules, queueing disciplines and links of one network; tasks that stand still, mounts and the
/// journal of this machine. What may be somebody's wish is listed as a suspect.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 nothing is left (suspects do not count), 1 something is.

Examples:
  meshproof fault residue
  meshproof fault residue --pod server
  meshproof fault residue --pid $(docker inspect -f '{{.State.Pid}}' NAME) --format json")]
struct ResidueArgs {
    #[command(flatten)]
    place: Place,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Take faults away, also those whose keeper was killed
///
/// A keeper that lives is told to heal. Where it was killed, the journal tells what it had done.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 nothing of them is left, 1 something is, 2 there is no such fault.

Examples:
  meshproof fault heal mute
  meshproof fault heal --all
  meshproof fault heal --all --pod server")]
struct HealArgs {
    /// The faults, by their ids
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// All, and rules of ours that the journal does not know
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Where.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// A pod of an environment that stands
    #[arg(long, value_name = "NAME", group = "where")]
    pod: Option<String>,
    /// The network of a process: of a container, that of its first process
    #[arg(long, value_name = "PID", group = "where")]
    pid: Option<u32>,
    /// The network of this command
    #[arg(long, group = "where")]
    host: bool,
    #[command(flatten)]
    wanted: Wanted,
    /// The process that a fault of programs is done to, as the place numbers it; default: that of
    /// --pid
    #[arg(long, value_name = "PID")]
    process: Option<u32>,
    /// Where this command was brought to already
    #[arg(long, value_name = "TEXT", hide = true, group = "where")]
    inside: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object, schema 1
    Json,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
        }
    }
}

/// Does the work; the value is the exit code.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::List(ListArgs {}) => list(),
        Command::Plan(args) => plan(&args),
        Command::Inject(args) => inject::run(&args),
        Command::Flips(args) => flips::run(&args),
        Command::Residue(args) => residue(&args),
        Command::Heal(args) => heal(&args),
        Command::Soak(args) => soak::run(&args),
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Unsupported { .. } => Failure::Unsupported(error.to_string()),
        other => Failure::Usage(other.to_string()),
    }
}

impl Place {
    /// Runs the same command where it is meant to be; none: this is there.
    fn elsewhere(&self, again: &[String]) -> Option<Result<u8, Failure>> {
        let with = |told: String| {
            let mut words = vec!["fault".to_owned()];
            words.extend_from_slice(again);
            words.extend(["--inside".to_owned(), told]);
            if let Some(process) = self.process.or(self.pid) {
                words.extend(["--process".to_owned(), process.to_string()]);
            }
            words
        };
        if let Some(pod) = &self.pod {
            let words = with(format!("pod {pod}"));
            return Some(
                self.wanted
                    .find()
                    .and_then(|standing| relayed(&standing.folder, pod, Program::Own, words)),
            );
        }
        let pid = self.pid?;
        Some(become_of(
            pid,
            with(format!("the network of process {pid}")),
        ))
    }

    /// This place, or where none is named that of what the fault is of: the pod of the config
    /// center or of the VIP names.
    fn of(&self, spec: &Spec) -> Place {
        let mut place = self.clone();
        let named = self.pod.is_some() || self.pid.is_some() || self.inside.is_some() || self.host;
        if let (Some(of), false) = (spec.of, named) {
            place.pod = Some(of.value.pod().to_owned());
        }
        place
    }

    fn told(&self) -> &str {
        self.inside.as_deref().unwrap_or("this network")
    }
}

/// This command becomes another, in the network of a process.
#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes another at the place of a fault"
)]
fn become_of(pid: u32, words: Vec<String>) -> Result<u8, Failure> {
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let error = std::process::Command::new("/proc/self/exe")
        .args(keeper::arguments_at(pid, words))
        .exec();
    Err(Failure::Io("running this program again".into(), error))
}

/// Reads a fault: a file, or the text itself.
fn read(fault: &str) -> Result<Spec, Failure> {
    let parsed = if Path::new(fault).is_file() {
        let text = std::fs::read_to_string(fault)
            .map_err(|error| Failure::Usage(format!("{fault}: {error}")))?;
        Spec::parse(fault, &text)
    } else if fault.contains(':') {
        Spec::parse("FAULT", fault)
    } else {
        return Err(Failure::Usage(format!(
            "`{fault}` is neither a file nor a fault, such as '{{kind: drop, port: 12199}}'"
        )));
    };
    parsed.map_err(|problem| Failure::Diagnostic(Box::new(problem.into())))
}

/// The fault, with an id where it has none.
fn made(spec: Spec, process: Option<u32>) -> Fault {
    let run = format!("{:08x}", std::process::id());
    let lease = match &spec.id {
        Some(id) => id.value.clone(),
        // Two of one process are of one command: there is one.
        None => format!("{}-{run}", spec.kind),
    };
    Fault {
        scene: Scene {
            run,
            lease,
            process,
            control: None,
        },
        spec,
    }
}

/// What a kind can be said of, where something outside of the pods is among it.
fn whose(kind: Kind) -> Vec<String> {
    let outside = Outside::ALL.iter().filter(|of| of.kinds().contains(&kind));
    let outside: Vec<String> = outside.map(|of| format!("of: {of}")).collect();
    if outside.is_empty() || kind.dependency() == Dependency::Outside {
        return outside;
    }
    let first = Spec::new(kind).subject().to_string();
    std::iter::once(first).chain(outside).collect()
}

fn list() -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "Kinds:")?;
    for kind in Kind::ALL {
        let subject = Spec::new(*kind).subject();
        let subject = match kind {
            Kind::Drop => "packets, frames".to_owned(),
            Kind::Mute => "frames, program".to_owned(),
            _ if !whose(*kind).is_empty() => whose(*kind).join(", "),
            _ => subject.to_string(),
        };
        writeln!(out, "  {kind:<12} {subject:<32} {}", kind.about())?;
    }
    writeln!(
        out,
        "\nWays, and what becomes of them when run and keeper are killed:"
    )?;
    let known: Vec<Way> = meshproof_fault::backend::all()
        .iter()
        .map(|backend| backend.way())
        .filter(|way| *way != Way::Relay)
        .collect();
    for way in Way::ALL {
        let by = match known.contains(way) {
            true => "",
            false => " (in stories alone, where it is offered at all)",
        };
        let after = way.when_all_are_killed();
        writeln!(out, "  {way:<16} {after:<12} {}{by}", way.about())?;
    }
    Ok(exit::OK)
}

fn plan(args: &PlanArgs) -> Result<u8, Failure> {
    let spec = read(&args.fault)?;
    let place = args.place.of(&spec);
    let again = ["plan", &args.fault, "--format", args.format.word()].map(str::to_owned);
    if let Some(done) = place.elsewhere(&again) {
        return done;
    }
    let fault = made(spec, place.process);
    let standby = fault.preflight(&Here::default()).map_err(failure)?;
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => print::plan(&mut out, standby.plan(), place.told())?,
        Format::Json => print::json(&mut out, standby.plan())?,
    }
    Ok(exit::OK)
}

fn residue(args: &ResidueArgs) -> Result<u8, Failure> {
    let again = ["residue", "--format", args.format.word()].map(str::to_owned);
    if let Some(done) = args.place.elsewhere(&again) {
        return done;
    }
    let survey = leftovers::survey();
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => print::survey(&mut out, &survey, args.place.told())?,
        Format::Json => print::json(&mut out, &survey)?,
    }
    Ok(if survey.left.is_empty() {
        exit::OK
    } else {
        exit::FAIL
    })
}

fn heal(args: &HealArgs) -> Result<u8, Failure> {
    let mut again = vec!["heal".to_owned()];
    match args.all {
        true => again.push("--all".into()),
        false => again.extend(args.ids.iter().cloned()),
    }
    if let Some(done) = args.place.elsewhere(&again) {
        return done;
    }
    let (journal, entries) = leftovers::leases().map_err(failure)?;
    // Those that are not journalled: the kernel takes them away, and their keepers do.
    let mut keepers = leftovers::keepers();
    keepers.retain(|keeper| entries.iter().all(|entry| entry.lease != keeper.lease));
    let known: Vec<&str> = entries
        .iter()
        .map(|entry| entry.lease.as_str())
        .chain(keepers.iter().map(|keeper| keeper.lease.as_str()))
        .collect();
    for id in &args.ids {
        if !known.contains(&id.as_str()) {
            return Err(Failure::Usage(match known.as_slice() {
                [] => format!("no fault is called `{id}`: there is none"),
                known => format!("no fault is called `{id}`; there are {}", known.join(", ")),
            }));
        }
    }
    let mut out = io::stdout().lock();
    let mut code = exit::OK;
    let wanted = entries
        .iter()
        .filter(|entry| args.all || args.ids.contains(&entry.lease));
    for entry in wanted {
        let name = &entry.lease;
        match leftovers::heal(&journal, entry).map_err(failure)? {
            Done::KeeperHealed => writeln!(out, "{name}: healed by its keeper")?,
            Done::NetworkGone => writeln!(out, "{name}: its network is gone, and it with it")?,
            Done::Swept(residue) if residue.is_empty() => writeln!(
                out,
                "{name}: its keeper was dead; healed, nothing is left in {}",
                residue.looked_at.join(", ")
            )?,
            Done::Swept(residue) => {
                code = exit::FAIL;
                for left in &residue.left {
                    writeln!(out, "{name}: left behind: {left}")?;
                }
            }
            Done::Elsewhere(pid) => {
                code = code.max(there(pid, name)?);
            }
        }
    }
    for keeper in keepers {
        if args.all || args.ids.contains(&keeper.lease) {
            keeper.end().map_err(failure)?;
            writeln!(out, "{}: healed by its keeper", keeper.lease)?;
        }
    }
    if args.all {
        let strays = leftovers::heal_strays().map_err(failure)?;
        for what in &strays.looked_at {
            writeln!(out, "{what}: not in the journal; healed")?;
        }
        for left in &strays.left {
            code = exit::FAIL;
            writeln!(out, "left behind: {left}")?;
        }
    }
    Ok(code)
}

/// Heals one in the network of a process.
#[expect(
    clippy::disallowed_methods,
    reason = "this program runs again at the place of a fault"
)]
fn there(pid: u32, name: &str) -> Result<u8, Failure> {
    let words = ["fault", "heal", name, "--inside", "another network"].map(OsString::from);
    let status = std::process::Command::new("/proc/self/exe")
        .args(keeper::arguments_at(pid, words.to_vec()))
        .status()
        .map_err(|error| Failure::Io("running this program again".into(), error))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(exit::FAIL))
}
