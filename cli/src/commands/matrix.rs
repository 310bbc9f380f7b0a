//! `meshproof matrix`.

mod merge;
mod replay;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::Table;
use jiff::{Timestamp, Zoned};
use meshproof_harness::Error;
use meshproof_harness::inline::privately;
use meshproof_harness::matrix::run::{
    Known, Options, Replay, Runner, Scope, Told, Wanted, exclude_by_sites, fits, run_matrix,
    topology,
};
use meshproof_harness::matrix::{Matrix, PART, Part, Plan, Shard, shipped};
use meshproof_harness::mesh::MeshSpec;
use meshproof_harness::site::Site;
use meshproof_harness::sut::Suts;
use meshproof_record::event::Event;
use meshproof_record::manifest::Input;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{End, OnUnsupported};
use meshproof_sys::clock::Nanos;

use super::report::{Format, Saying, say};
use super::setting::{SettingArgs, diagnostic, text_or_named};
use crate::exit::{self, Failure};
use crate::in_process::InProcess;
use crate::live::Live;

/// Run a matrix: every mix of a mixed fleet, in cells that cover it
///
/// A cell is a mesh of its own: config center, client, servers, sidecars, on the ports of
/// production, and calls in it. Each must end as it would without any mesh, no app may be given a
/// frame that it does not understand, and every call is seen once. A matrix that fails is reduced
/// to the smallest combination of values that explains it, by running cells that differ in one
/// axis; that combination is the first line of the report.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 every cell passes, 1 one fails, 2 wrong use, 3 the run supports no verdict, 4 this machine
cannot run it, 130 Ctrl-C.

Examples:
  meshproof matrix mixed-mesh
  meshproof matrix mixed-mesh --plan                        what would run, and what it covers
  meshproof matrix mixed-mesh --bug tr-bolt-mixed           one historic bug back: it must be blamed
  meshproof matrix mixed-mesh --cell c0a1b2c3d              one cell again
  meshproof matrix mixed-mesh --cell client.mesh=none,server.mesh=reference,…
  meshproof matrix mixed-mesh --shard 2/4 --record part-2
  meshproof matrix mixed-mesh --merge part-1 part-2 part-3 part-4    one record of all shards
  meshproof matrix replayed                                 one capture through every cell
  meshproof matrix mixed-mesh --sut mosn=./mosn --sut mosn-old=./mosn-1.5
  meshproof matrix my.yaml --jobs 8 --record run && meshproof report run --html report.html")]
pub(crate) struct Args {
    /// The matrix: a file, or the name of one that ships (mixed-mesh, replayed)
    #[arg(value_name = "MATRIX")]
    matrix: String,
    /// Print the cells and what they cover, and run nothing
    #[arg(long)]
    plan: bool,
    /// Run this cell alone, by its id or its values; may be repeated
    #[arg(long, value_name = "ID")]
    cell: Vec<String>,
    /// Makes another plan
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run a part of the plan: the Ith of N
    #[arg(long, value_name = "I/N", conflicts_with = "cell", value_parser = Shard::from_str)]
    shard: Option<Shard>,
    /// Put the records of shards together, and of cells that were run beside: coverage and causes
    /// of the whole, in a record of its own. Nothing is run; any order gives the same bytes
    #[arg(
        long,
        value_name = "RECORD",
        num_args = 1..,
        conflicts_with_all = ["plan", "cell", "shard", "jobs", "backend", "in_process", "bug"]
    )]
    merge: Vec<PathBuf>,
    /// Cells side by side; by default twice as many as the machine has cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    setting: SettingArgs,
    /// Switch a seeded bug of every reference sidecar on; may be repeated
    #[arg(long, value_name = "NAME")]
    bug: Vec<meshproof_proxy::Bug>,
    /// Run peers and sidecars as threads of this process: many more cells a second; reference
    /// sidecar only
    #[arg(long, conflicts_with = "backend")]
    in_process: bool,
    /// Where the record goes; by default a new folder in meshproof-runs
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// What this machine cannot run is no reason for exit 4
    #[arg(long)]
    allow_unsupported: bool,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let Read {
        matrix,
        topology,
        suts,
        text,
    } = read(&args)?;
    let plan = matrix
        .plan()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let wanted = wanted(&matrix, &plan, &args)?;
    if args.plan {
        return show(&matrix, &plan, &wanted);
    }
    if args.in_process {
        let inside = privately(&mut |line| {
            // Whoever reads no more is told at the end.
            let _ = match line.stream {
                meshproof_harness::process::Stream::Out => writeln!(io::stdout(), "{}", line.text),
                meshproof_harness::process::Stream::Error => {
                    writeln!(io::stderr(), "{}", line.text)
                }
            };
        });
        if let Some(code) = inside.map_err(failed)? {
            return Ok(code);
        }
    }
    if !args.merge.is_empty() {
        let command = rerun(&args, "");
        return merge::run(&matrix, &plan, &text, &args, command.trim_end());
    }
    let files = replay::Files::of(&matrix, &args)?;
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        plan.seed,
        Timestamp::now(),
    );
    let folder = args.record.clone();
    let folder = folder.unwrap_or_else(|| store::default_folder(&start));
    let mut writer = Writer::create(&folder, start).map_err(stored)?;
    let input = Input::of_bytes("matrix", &args.matrix, text.as_bytes());
    writer.input(0, input).map_err(stored)?;
    if let Some((file, bytes, _)) = &topology {
        let input = Input::of_bytes("topology", file, bytes);
        writer.input(0, input).map_err(stored)?;
    }
    let replay = match files {
        None => None,
        Some(files) => match files.make(&matrix, &mut writer) {
            Ok(replay) => Some(Arc::new(replay)),
            Err(failure) => {
                drop(writer);
                // It was made above, and holds nothing: nothing ran.
                let _ = std::fs::remove_dir_all(&folder);
                return Err(failure);
            }
        },
    };
    let topology = topology.map(|(.., spec)| spec);
    let runner = runner(&args, &matrix, suts, &writer, replay, topology)?;
    let (told, took_ns) = carry_out(&matrix, &plan, &wanted, &runner, &mut writer)?;
    drop(runner);
    let mut part = Part::new(&matrix, &plan);
    for ran in &told.ran {
        part.add(ran);
    }
    let path = writer.artefacts().map_err(stored)?.join(PART);
    std::fs::write(&path, part.to_bytes())
        .map_err(|error| Failure::Io(path.display().to_string(), error))?;
    let end = match told.interrupted {
        true => End::Interrupted,
        false => End::Finished,
    };
    let ending = Ending {
        now: Timestamp::now(),
        at_ns: took_ns,
        end,
        claims: told.claims,
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).map_err(stored)?;
    say(&folder, saying(&args), |_| Ok(()))
}

/// How the result is said.
fn saying(args: &Args) -> Saying {
    let on_unsupported = match args.allow_unsupported {
        true => OnUnsupported::Allow,
        false => OnUnsupported::Exit4,
    };
    let format = args.format;
    Saying {
        format,
        on_unsupported,
    }
}

/// What was asked for, read.
struct Read {
    matrix: Matrix,
    /// What cells stand on: where it was read, its text, and what it says.
    topology: Option<(String, Vec<u8>, MeshSpec)>,
    suts: Suts,
    /// The text of the matrix.
    text: String,
}

/// A file that a matrix names stands beside it.
fn beside(matrix: &str, name: &str) -> PathBuf {
    let folder = Path::new(matrix).parent();
    folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

fn read(args: &Args) -> Result<Read, Failure> {
    let found = shipped().into_iter().find(|(name, _)| *name == args.matrix);
    let (name, text) = match found {
        Some((name, text)) => (format!("scenarios/matrices/{name}.yaml"), text.to_owned()),
        None => {
            let known: Vec<String> = shipped().iter().map(|(name, _)| (*name).into()).collect();
            text_or_named("matrix", &args.matrix, &known)?
        }
    };
    let matrix = Matrix::parse(&name, &text).map_err(diagnostic)?;
    let matrix = match args.seed {
        Some(seed) => matrix.with_seed(seed),
        None => matrix,
    };
    let suts = args.setting.suts()?;
    let names: Vec<&str> = suts.all().iter().map(|sut| sut.sut.as_str()).collect();
    let sites = sites(args)?;
    let sites: Vec<&str> = sites.iter().map(|site| site.site.as_str()).collect();
    let stands = stands_on(&matrix, args, &suts)?;
    let spec = stands.as_ref().map(|(.., spec)| spec);
    let known = Known {
        suts: &names,
        sites: &sites,
        topology: spec,
    };
    fits(&matrix, &known).map_err(diagnostic)?;
    let named = match args.setting.sut.is_empty() {
        true => Vec::new(),
        false => suts.axis(),
    };
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let needs = spec.iter().flat_map(|spec| &spec.needs);
    let needs = needs.map(|need| need.value.clone()).collect();
    let mut matrix = matrix.with_suts(&named).map_err(diagnostic)?.needing(needs);
    matrix.exclude_lacking(|_, value, capability| {
        let sut = suts.named(value).ok();
        sut.is_some_and(|sut| !sut.can(capability))
    });
    let all = self::sites(args)?;
    let usual = all.first().cloned().unwrap_or_default();
    if args.in_process && !usual.has_center() {
        // An axis of sites is looked at cell by cell.
        let why = format!(
            "cells in process have a config center, and site {} has none: leave --in-process out",
            usual.site
        );
        return Err(Failure::Usage(why));
    }
    let lacks = usual.lacks_deployment();
    let on_site = matrix.axes().iter().any(|axis| axis.name == "site");
    if let Some(why) = lacks.filter(|_| matrix.work().replay.is_some() && !on_site) {
        return Err(Failure::Usage(format!(
            "{why}: choose another site, such as --site ant-like"
        )));
    }
    exclude_by_sites(&mut matrix, &all, &usual, spec).map_err(diagnostic)?;
    Ok(Read {
        matrix,
        topology: stands,
        suts,
        text,
    })
}

/// What cells stand on, where the matrix says it.
fn stands_on(
    matrix: &Matrix,
    args: &Args,
    suts: &Suts,
) -> Result<Option<(String, Vec<u8>, MeshSpec)>, Failure> {
    let Some(name) = &matrix.work().topology else {
        return Ok(None);
    };
    if args.in_process {
        let why = "cells on a topology are meshes of programs: leave --in-process out";
        return Err(Failure::Usage(why.into()));
    }
    let text = topology::text(matrix, &|name| {
        let path = beside(&args.matrix, name);
        let text = std::fs::read_to_string(&path)?;
        Ok((path.display().to_string(), text))
    });
    let (file, text) = text.map_err(diagnostic)?;
    let spec = topology::read(matrix, name, (&file, &text), suts.all()).map_err(diagnostic)?;
    Ok(Some((file, text.into_bytes(), spec)))
}

/// The sites that cells may name: those that were given, the first of them where cells name none,
/// and all that ship.
fn sites(args: &Args) -> Result<Vec<Site>, Failure> {
    let mut sites = args.setting.sites()?;
    for site in meshproof_harness::site::shipped() {
        if !sites.iter().any(|known| known.site == site.site) {
            sites.push(site);
        }
    }
    Ok(sites)
}

fn stored(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Unsupported { .. } => Failure::Unsupported(error.to_string()),
        other => Failure::Usage(other.to_string()),
    }
}

/// Which cells are to run.
fn wanted(matrix: &Matrix, plan: &Plan, args: &Args) -> Result<Wanted, Failure> {
    if !args.cell.is_empty() {
        let cells = args.cell.iter().map(|id| matrix.find(plan, id));
        let cells = cells.collect::<Result<Vec<_>, _>>();
        return Ok(Wanted {
            cells: cells.map_err(|error| Failure::Usage(error.to_string()))?,
            scope: Scope::Part,
        });
    }
    Ok(match args.shard {
        None => Wanted {
            cells: plan.cells.clone(),
            scope: Scope::Whole,
        },
        Some(shard) => Wanted {
            cells: plan.shard(shard).cells,
            scope: Scope::Part,
        },
    })
}

/// The plan as a table.
fn show(matrix: &Matrix, plan: &Plan, wanted: &Wanted) -> Result<u8, Failure> {
    let ran = wanted.cells.iter().map(|cell| cell.id.clone()).collect();
    let verified = meshproof_harness::matrix::verify(matrix, &wanted.cells, &ran, Vec::new());
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let axes = matrix.axes().iter().map(|axis| axis.name.to_uppercase());
    table.set_header(["#".to_owned(), "CELL".to_owned()].into_iter().chain(axes));
    for (number, cell) in wanted.cells.iter().enumerate() {
        let values = cell.choices.iter().map(|choice| choice.value.clone());
        let front = [(number + 1).to_string(), cell.id.clone()];
        table.add_row(front.into_iter().chain(values));
    }
    let mut out = io::stdout().lock();
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(
        out,
        "\n{} of {} cells, seed {}; they cover {}",
        wanted.cells.len(),
        plan.cells.len(),
        plan.seed,
        verified.sentence()
    )?;
    for finding in plan.findings.iter().chain(&verified.findings) {
        writeln!(out, "note: {finding}")?;
    }
    Ok(exit::OK)
}

fn runner(
    args: &Args,
    matrix: &Matrix,
    suts: Suts,
    writer: &Writer,
    replay: Option<Arc<Replay>>,
    topology: Option<MeshSpec>,
) -> Result<Runner, Failure> {
    let sites = sites(args)?;
    let chosen = sites.first().cloned().unwrap_or_default();
    let bugs: Vec<String> = args.bug.iter().map(|bug| bug.name().to_owned()).collect();
    let mut setting = args.setting.on(&suts, chosen);
    if !bugs.is_empty() {
        setting.bugs.insert("*".to_owned(), bugs);
    }
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let jobs = args.jobs.map_or(cores * 2, usize::from);
    let work = matrix.work();
    let in_process = match args.in_process {
        true => Some(Arc::new(InProcess::new()?) as _),
        false => None,
    };
    Ok(Runner::new(Options {
        setting,
        sites,
        jobs,
        budget: std::time::Duration::from_millis(work.budget.0),
        calls: work.calls(),
        topology,
        replay,
        scratch: scratch(writer),
        artefacts: Some(writer.artefacts().map_err(stored)?),
        in_process,
        rerun: rerun(args, "--cell"),
    }))
}

/// Where the files of cells stand while they run.
fn scratch(writer: &Writer) -> PathBuf {
    writer.folder().join("cells")
}

/// What runs this again, as far as a last word: `--cell`, before an id.
fn rerun(args: &Args, last: &str) -> String {
    let mut words = vec!["meshproof matrix".to_owned(), args.matrix.clone()];
    if let Some(seed) = args.seed {
        words.push(format!("--seed {seed}"));
    }
    words.extend(args.bug.iter().map(|bug| format!("--bug {bug}")));
    let setting = args.setting.again();
    words.extend(Some(setting.trim().to_owned()).filter(|it| !it.is_empty()));
    words.push(last.to_owned());
    words.join(" ")
}

/// Runs the cells and writes down what happens; Ctrl-C leaves out what has not begun.
fn carry_out(
    matrix: &Matrix,
    plan: &Plan,
    wanted: &Wanted,
    runner: &Runner,
    writer: &mut Writer,
) -> Result<(Told, u64), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    // A handler that is there already is another run's of this process; it stops that one.
    let _ = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    let begun = Nanos::now();
    let live = Live::new(wanted.cells.len() as u64);
    let mut written = Ok(());
    let mut tell = |event: Event| {
        match &event {
            Event::CaseStarted { case } => live.began(case),
            Event::CaseEnded { case } => live.ended(case),
            _ => {}
        }
        if written.is_ok() {
            written = writer.event(Nanos::now().since(begun), event);
        }
    };
    let today = Zoned::now().date();
    let told = run_matrix(matrix, plan, wanted, today, runner, &stop, &mut tell);
    live.finish();
    written.map_err(stored)?;
    Ok((told, Nanos::now().since(begun)))
}
