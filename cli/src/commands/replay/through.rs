//! `meshproof replay --through`: a replay through an offline mesh, one build or two.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use meshproof_harness::Backend;
use meshproof_harness::environment::Program;
use meshproof_harness::mesh::Setting;
use meshproof_harness::offline::folder::Failed;
use meshproof_harness::offline::shrink::{self, Limits, Shrunk};

use meshproof_harness::offline::{self, Offline, Side, Through, Ways, builds};
use meshproof_harness::standing;
use meshproof_harness::sut::{Sut, Suts};
use meshproof_record::event::{Entry, Event};
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::{Claim, End, Policy, exit_code};
use meshproof_replay::engine::load::{self, Loaded};
use meshproof_replay::engine::outcome::Stop;
use meshproof_replay::engine::run::Control;
use meshproof_replay::engine::subscribe::Publishing;
use meshproof_replay::engine::tell;
use serde_json::json;

use super::{Args, Format, Select, read_noise, say, stored};
use crate::commands::env::relayed;
use crate::commands::hop::read_rules;
use crate::exit::{Failure, OK};

/// One build of the sidecar: what it is called, and how its mesh is made.
struct Build {
    name: String,
    setting: Setting,
}

/// Replays through the mesh of a folder, by one build or by two.
pub(super) fn run(args: &Args, env: &str) -> Result<u8, Failure> {
    // A folder may have a `=` in its name; a name has none.
    let standing = match env.split_once('=') {
        Some((name, folder)) if !Path::new(env).is_dir() => Some((name, folder)),
        _ => None,
    };
    let folder = standing.map_or(env, |(_, folder)| folder);
    let offline = Offline::open(Path::new(folder)).map_err(failed)?;
    let ways = ways(args)?;
    if let Some(calls) = args.inside {
        return inside(args, &offline, &ways, calls);
    }
    if let Some((name, _)) = standing {
        return kept(args, &offline, name);
    }
    let builds = builds_of(args, &offline)?;
    let record = |start: &meshproof_record::manifest::Start| {
        args.record
            .clone()
            .unwrap_or_else(|| store::default_folder(start))
    };
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let root = record(&start);
    match builds.as_slice() {
        [build] => {
            let through = one(args, &offline, build, &ways, &root)?;
            let code = say(&root, args)?;
            let Some(small) = &args.shrink else {
                return Ok(code);
            };
            shrunk(args, &offline, build, &ways, &through, small)?;
            Ok(code)
        }
        [old, new] => {
            if args.shrink.is_some() {
                let why = "--shrink reduces the replay of one build: give one --sut";
                return Err(Failure::Usage(why.into()));
            }
            let first = one(args, &offline, old, &ways, &root.join(&old.name))?;
            let second = one(args, &offline, new, &ways, &root.join(&new.name))?;
            two(args, [(old, &first), (new, &second)], &ways, &root)
        }
        _ => Err(Failure::Usage(format!(
            "{} builds: expected one --sut, or two to compare",
            builds.len()
        ))),
    }
}

pub(crate) fn failed(error: Failed) -> Failure {
    match error {
        Failed::Input(problem) => Failure::Diagnostic(Box::new(miette::Report::new(*problem))),
        Failed::Mesh(error @ meshproof_harness::Error::Unsupported { .. }) => {
            Failure::Unsupported(error.to_string())
        }
        Failed::Io { path, source } => Failure::Io(path.display().to_string(), source),
        other => Failure::Usage(other.to_string()),
    }
}

fn ways(args: &Args) -> Result<Ways, Failure> {
    Ok(Ways {
        pace: args.pace,
        connections: args.connections,
        window: args.window,
        timeout_ms: args.timeout,
        lateness: args.lateness,
        noise: args
            .noise
            .as_deref()
            .map(read_noise)
            .transpose()?
            .unwrap_or_default(),
        rules: args
            .rules
            .as_deref()
            .map(read_rules)
            .transpose()?
            .unwrap_or_default(),
        publishing: match args.publish {
            true => Publishing::Made,
            false => Publishing::LeftOut,
        },
        captures: None,
    })
}

/// A setting for each build. A name that is no adapter's is a build of the mesh's own.
fn builds_of(args: &Args, offline: &Offline) -> Result<Vec<Build>, Failure> {
    let usage = |error: meshproof_harness::Error| Failure::Usage(error.to_string());
    let mut suts = Suts::default();
    for path in &args.sut_file {
        suts.add(read_sut(path)?);
    }
    let own = offline.adapter().to_owned();
    let bugs: Vec<String> = args.bug.iter().map(|bug| bug.name().to_owned()).collect();
    let setting = |suts: Suts| {
        let mut setting = Setting {
            suts: suts.all().to_vec(),
            ..Setting::default()
        };
        if !bugs.is_empty() {
            setting.bugs.insert("*".to_owned(), bugs.clone());
        }
        setting
    };
    if args.sut.is_empty() {
        return Ok(vec![Build {
            name: own,
            setting: setting(suts),
        }]);
    }
    args.sut
        .iter()
        .map(|text| {
            let name = text.split('=').next().unwrap_or_default().to_owned();
            let binary = text.split_once('=').map_or("", |(_, binary)| binary);
            let mut suts = suts.clone();
            suts.choose(&format!("{own}={binary}")).map_err(usage)?;
            Ok(Build {
                name,
                setting: setting(suts),
            })
        })
        .collect()
}

fn read_sut(path: &Path) -> Result<Sut, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    meshproof_input::text(&name, bytes)
        .and_then(|text| Sut::parse(&name, &text))
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}

/// The exchanges that are replayed: those of the folder, or of the captures that were named.
fn exchanges(args: &Args, offline: &Offline) -> Result<Loaded, Failure> {
    let captures = match args.captures.is_empty() && args.sources.is_empty() {
        true => vec![offline.capture.to_string_lossy().into_owned()],
        false => args.captures.clone(),
    };
    let select = Select {
        captures,
        sources: args.sources.clone(),
        from: args.from,
        to: args.until,
        filter: args.filter.clone(),
        hop: args.hop,
        sample: args.sample,
    };
    let selection = select.selection()?;
    let (mut captures, _) = select.open()?;
    let loaded =
        load::load(&mut captures, &selection).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(offline.with_subscriptions(loaded))
}

/// One build, with a record of its own.
fn one(
    args: &Args,
    offline: &Offline,
    build: &Build,
    ways: &Ways,
    folder: &Path,
) -> Result<Through, Failure> {
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let mut writer = Writer::create(folder, start).map_err(stored)?;
    let Loaded {
        exchanges,
        outcome: capture,
        files,
        ..
    } = exchanges(args, offline)?;
    for path in &files {
        if let Ok(input) = load::input("capture", path) {
            writer.input(0, input).map_err(stored)?;
        }
    }
    for (role, path) in inputs(args, offline) {
        if let Ok(input) = load::input(role, &path) {
            writer.input(0, input).map_err(stored)?;
        }
    }
    let control = control()?;
    let ways = &Ways {
        captures: Some(writer.artefacts().map_err(stored)?.join("wire")),
        ..ways.clone()
    };
    let through = offline::through::run(offline, exchanges, &build.setting, ways, &control)
        .map_err(failed)?;
    write(writer, &through, args, capture.ledger).map_err(stored)?;
    Ok(through)
}

/// Has this program run in a pod of an environment that somebody keeps.
fn kept(args: &Args, offline: &Offline, name: &str) -> Result<u8, Failure> {
    if !args.sut.is_empty() || !args.bug.is_empty() || args.shrink.is_some() {
        let why =
            "--sut, --bug and --shrink need a mesh that is brought up for the run: name its folder";
        return Err(Failure::Usage(why.into()));
    }
    let runs = Path::new(store::RUNS);
    let standing = standing::find(runs, Some(name)).map_err(|error| failed(error.into()))?;
    let pod = |name: &str| {
        let mut pods = standing.notice.pods.iter();
        let found = pods.find(|pod| pod.name == name);
        found
            .map(|pod| pod.address)
            .ok_or_else(|| Failure::Usage(format!("no pod of that environment is called `{name}`")))
    };
    pod(&offline.from)?;
    let address = pod(&offline.sut)?;
    let calls = match (offline.side, standing.notice.backend) {
        (Side::Inbound, _) => SocketAddr::from((address, 12200)),
        (Side::Outbound, Backend::Netns) => SocketAddr::from(([127, 0, 0, 1], 12220)),
        (Side::Outbound, Backend::Process) => SocketAddr::from((address, 12220)),
    };
    // What was said here is said there, but for where to.
    let mut arguments: Vec<String> = Vec::new();
    let mut said = std::env::args().skip(1);
    while let Some(word) = said.next() {
        match word.strip_prefix("--through") {
            Some("") => drop(said.next()),
            Some(rest) if rest.starts_with('=') => {}
            _ => arguments.push(word),
        }
    }
    let folder = offline.folder.to_string_lossy().into_owned();
    arguments.extend(["--through".to_owned(), folder]);
    arguments.extend(["--inside".to_owned(), calls.to_string()]);
    relayed(&standing.folder, &offline.from, Program::Own, arguments)
}

/// Replays from inside a pod: what `kept` has started.
fn inside(args: &Args, offline: &Offline, ways: &Ways, calls: SocketAddr) -> Result<u8, Failure> {
    let api = match offline.side {
        Side::Outbound => Some(SocketAddr::new(calls.ip(), 13330)),
        Side::Inbound => None,
    };
    let entry = offline::through::Entry {
        from: offline.from.clone(),
        calls,
        api,
        side: offline.side,
    };
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let folder = match &args.record {
        Some(folder) => folder.clone(),
        None => store::default_folder(&start),
    };
    let writer = Writer::create(&folder, start).map_err(stored)?;
    let loaded = exchanges(args, offline)?;
    let control = control()?;
    let through = offline::through::inside(&entry, loaded.exchanges, ways, &control)
        .map_err(|error| failed(error.into()))?;
    write(writer, &through, args, loaded.outcome.ledger).map_err(stored)?;
    say(&folder, args)
}

/// What else the run stands on.
fn inputs(args: &Args, offline: &Offline) -> Vec<(&'static str, PathBuf)> {
    let mut inputs = vec![
        ("topology", offline.folder.join(offline::folder::TOPOLOGY)),
        ("offline", offline.folder.join(offline::folder::PAGE)),
    ];
    inputs.extend(args.noise.iter().map(|path| ("noise", path.clone())));
    inputs.extend(args.rules.iter().map(|path| ("rules", path.clone())));
    inputs
}

/// Ctrl-C drains, twice kills.
fn control() -> Result<Arc<Control>, Failure> {
    let control = Control::new().map_err(|error| Failure::Io("replaying".into(), error))?;
    let control = Arc::new(control);
    let asked = Arc::clone(&control);
    let mut again = false;
    // A handler that is there already is that of the first build; it ends the process the same.
    let _ = ctrlc::set_handler(move || {
        if std::mem::replace(&mut again, true) {
            std::process::exit(i32::from(meshproof_record::verdict::EXIT_INTERRUPTED));
        }
        asked.stop();
    });
    Ok(control)
}

fn write(
    mut writer: Writer,
    through: &Through,
    args: &Args,
    capture: meshproof_record::ledger::CaptureLedger,
) -> Result<(), StoreError> {
    let Through {
        plan, run, judged, ..
    } = through;
    for moment in &through.timeline {
        let name = "mesh".to_owned();
        let text = format!("{}: {}", moment.seen_by, moment.what);
        writer.event(0, Event::Finding { name, text })?;
    }
    let asked = through.asked.iter().flatten();
    let failed = asked.filter_map(|asked| asked.wrong.clone());
    let failed = failed.map(|why| ("subscription-failed".to_owned(), why));
    for (name, text) in through.notes.iter().cloned().chain(failed.take(20)) {
        writer.event(0, Event::Finding { name, text })?;
    }
    for Entry { at_ns, event } in tell::events(plan, run, judged, args.lateness.late_ns) {
        writer.event(at_ns, event)?;
    }
    for row in tell::rows(plan, run, judged) {
        writer.row(&row)?;
    }
    if let Some(hop) = &through.hop {
        let path = writer.artefacts()?.join("hop.json");
        let text = serde_json::to_string_pretty(hop).unwrap_or_default();
        std::fs::write(&path, text).map_err(|error| StoreError::Io { path, error })?;
    }
    writer.finish(Ending {
        now: Timestamp::now(),
        at_ns: run.elapsed_ns,
        end: match run.stop {
            Stop::Finished => End::Finished,
            Stop::Interrupted => End::Interrupted,
        },
        claims: judged.claims.clone(),
        capture: Some(capture),
        replay: Some(judged.ledger.clone()),
        latency: Some(judged.latency.finish()).filter(|_| judged.latency.count() > 0),
        lateness: Some(judged.lateness.finish()).filter(|_| judged.lateness.count() > 0),
    })?;
    Ok(())
}

/// Compares two builds, and tells.
fn two(
    args: &Args,
    [(old, first), (new, second)]: [(&Build, &Through); 2],
    ways: &Ways,
    root: &Path,
) -> Result<u8, Failure> {
    let names = [old.name.as_str(), new.name.as_str()];
    let compared = builds::compare(names, first, second, &ways.noise);
    let mut claims: Vec<Claim> = Vec::new();
    for (name, through) in [(&old.name, first), (&new.name, second)] {
        claims.extend(through.judged.claims.iter().map(|claim| Claim {
            name: format!("{name}.{}", claim.name),
            ..claim.clone()
        }));
    }
    claims.extend(compared.claims);
    let code = exit_code(&claims, End::Finished, &Policy::USUAL);
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Json => {
            let document = json!({
                "schema": 1,
                "builds": names,
                "records": [root.join(&old.name), root.join(&new.name)],
                "claims": claims,
                "exit": code,
            });
            serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Human => {
            for claim in &claims {
                writeln!(out, "{:<11} {}: {}", claim.verdict, claim.name, claim.why)?;
            }
            writeln!(
                out,
                "\ndifferences: meshproof diff {} {}",
                root.join(&old.name).display(),
                root.join(&new.name).display()
            )?;
        }
    }
    out.flush()?;
    Ok(code)
}

/// Reduces a failing replay, and tells.
fn shrunk(
    args: &Args,
    offline: &Offline,
    build: &Build,
    ways: &Ways,
    through: &Through,
    folder: &Path,
) -> Result<u8, Failure> {
    let wanted = through.symptoms();
    let mut out = io::stdout().lock();
    if !wanted.any() {
        writeln!(out, "\nnothing failed: there is nothing to shrink")?;
        return Ok(OK);
    }
    let limits = Limits {
        tries_max: args.tries,
        ..Limits::default()
    };
    let terminal = io::stderr().is_terminal();
    let mut told = |text: &str| {
        if terminal {
            // Whoever closed it does not want to know.
            let _ = writeln!(io::stderr(), "{text}");
        }
    };
    let Shrunk {
        symptoms,
        from,
        to,
        tries,
        minimal,
    } = shrink::shrink(
        offline,
        &build.setting,
        ways,
        &wanted,
        limits,
        folder,
        &mut told,
    )
    .map_err(failed)?;
    let minimal = match minimal {
        true => "none of them can be left out",
        false => "the limit of tries was reached",
    };
    let folder = folder.display();
    writeln!(
        out,
        "\nshrunk: {} connections with {} exchanges to {} with {}, in {tries} runs; {minimal}\n\
         failing: {symptoms}\nrun it again: meshproof replay --through {folder}{}",
        from.0,
        from.1,
        to.0,
        to.1,
        again(args),
    )?;
    Ok(OK)
}

/// The sidecar's part of a command line that runs a small replay again.
fn again(args: &Args) -> String {
    let suts = args.sut.iter().map(|sut| format!(" --sut {sut}"));
    let files = args.sut_file.iter();
    let files = files.map(|path| format!(" --sut-file {}", path.display()));
    let bugs = args.bug.iter().map(|bug| format!(" --bug {}", bug.name()));
    suts.chain(files).chain(bugs).collect()
}
