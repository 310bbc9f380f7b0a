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
use meshproof_harness::offline::settle::Originals;
use meshproof_harness::offline::shrink::{self, Limits, Shrunk};
use meshproof_harness::offline::{self, Offline, Side, Through, Ways, builds};
use meshproof_harness::standing;
use meshproof_harness::sut::Suts;
use meshproof_record::event::{Entry, Event};
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::End;
use meshproof_replay::capture::Inputs;
use meshproof_replay::engine::load::{self, Loaded};
use meshproof_replay::engine::outcome::Stop;
use meshproof_replay::engine::run::Control;
use meshproof_replay::engine::subscribe::Publishing;
use meshproof_replay::engine::tell;

use super::{Args, Format, Saying, Select, read_map, read_noise, say, stored};
use crate::commands::env::relayed;
use crate::commands::hop::read_rules;
use crate::exit::{Failure, OK};

/// One build of the sidecar: what it is called, its mesh, and how that is made.
struct Build {
    name: String,
    offline: Offline,
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
            let through = one(args, build, &ways, &root)?;
            let code = say(&root, Saying::usual(args.format), |_| Ok(()))?;
            let Some(small) = &args.shrink else {
                return Ok(code);
            };
            shrunk(args, build, &ways, &through, small)?;
            Ok(code)
        }
        [old, new] => {
            if args.shrink.is_some() {
                let why = "--shrink reduces the replay of one build: give one --sut";
                return Err(Failure::Usage(why.into()));
            }
            if old.name == new.name {
                let why = format!("two builds are called `{}`: give them two names", old.name);
                return Err(Failure::Usage(why));
            }
            let mut writer = Writer::create(&root, start).map_err(stored)?;
            for (role, path) in inputs(args, &offline) {
                if let Ok(input) = load::input(role, &path) {
                    writer.input(0, input).map_err(stored)?;
                }
            }
            let first = one(args, old, &ways, &root.join(&old.name))?;
            let second = one(args, new, &ways, &root.join(&new.name))?;
            two(args, [(old, &first), (new, &second)], &ways, writer)
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
    // One site, whatever is tried.
    let site = args.setting.one_site()?;
    if let Some(why) = site.lacks_deployment() {
        let why = format!("{why}: choose another site, such as --site ant-like");
        return Err(Failure::Usage(why));
    }
    let adapters = args.setting.adapters()?;
    let own = offline.adapter().to_owned();
    let bugs: Vec<String> = args.bug.iter().map(|bug| bug.name().to_owned()).collect();
    let build = |name: &str, adapter: &str, suts: &Suts| {
        let mut setting = args.setting.on(suts, site.clone());
        if !bugs.is_empty() {
            setting.bugs.insert("*".to_owned(), bugs.clone());
        }
        Build {
            name: name.to_owned(),
            offline: offline.clone().with_adapter(adapter),
            setting,
        }
    };
    if args.setting.sut.is_empty() {
        return Ok(vec![build(&own, &own, &adapters)]);
    }
    args.setting
        .sut
        .iter()
        .map(|text| {
            let (name, binary) = text.split_once('=').unwrap_or((text, ""));
            let mut suts = adapters.clone();
            let adapter = match suts.base_of(name) {
                Some(_) => name,
                None => &own,
            };
            suts.choose(&format!("{adapter}={binary}")).map_err(usage)?;
            Ok(build(name, adapter, &suts))
        })
        .collect()
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
fn one(args: &Args, build: &Build, ways: &Ways, folder: &Path) -> Result<Through, Failure> {
    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let mut writer = Writer::create(folder, start).map_err(stored)?;
    let offline = &build.offline;
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
    let given = args.setting.given();
    let given = given.or(Some("--bug").filter(|_| !args.bug.is_empty()));
    if let Some(flag) = given.or(Some("--shrink").filter(|_| args.shrink.is_some())) {
        return Err(Failure::Usage(format!(
            "{flag} needs a mesh that is brought up for the run: name its folder"
        )));
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
    let suts = Suts::default();
    // Of an adapter that is not here nothing is known that speaks against asking.
    let sut = suts.named(offline.adapter()).ok();
    let asks = sut.is_none_or(|sut| sut.can("subscribes"));
    let api = match offline.side {
        Side::Outbound => Some(SocketAddr::new(calls.ip(), 13330)).filter(|_| asks),
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
    let mut loaded = exchanges(args, offline)?;
    let control = control()?;
    let lacks = match sut {
        Some(sut) => offline::fit::exchanges(offline.side, sut, &mut loaded.exchanges)
            .map_err(|error| failed(error.into()))?,
        None => Vec::new(),
    };
    let mut through = offline::through::inside(&entry, loaded.exchanges, ways, &control)
        .map_err(|error| failed(error.into()))?;
    through.judged.claims.extend(lacks);
    write(writer, &through, args, loaded.outcome.ledger).map_err(stored)?;
    say(&folder, Saying::usual(args.format), |_| Ok(()))
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

/// Compares two builds, in a record of its own beside theirs, and tells.
fn two(
    args: &Args,
    [(old, first), (new, second)]: [(&Build, &Through); 2],
    ways: &Ways,
    mut writer: Writer,
) -> Result<u8, Failure> {
    let names = [old.name.as_str(), new.name.as_str()];
    let compared = builds::compare(names, first, second, &ways.noise);
    let at_ns = first.run.elapsed_ns + second.run.elapsed_ns;
    for row in &compared.rows {
        writer.row(row).map_err(stored)?;
    }
    for event in compared.events() {
        writer.event(at_ns, event).map_err(stored)?;
    }
    if let Some(hops) = &compared.hops {
        let path = writer.artefacts().map_err(stored)?.join("hops.json");
        let text = serde_json::to_string_pretty(hops).map_err(io::Error::from)?;
        std::fs::write(&path, text)
            .map_err(|error| Failure::Io(path.display().to_string(), error))?;
    }
    let stopped = [first, second].map(|through| through.run.stop);
    let folder = writer.folder().to_owned();
    writer
        .finish(Ending {
            now: Timestamp::now(),
            at_ns,
            end: match stopped.contains(&Stop::Interrupted) {
                true => End::Interrupted,
                false => End::Finished,
            },
            claims: compared.claims,
            capture: None,
            replay: None,
            latency: None,
            lateness: None,
        })
        .map_err(stored)?;
    let code = say(&folder, Saying::usual(args.format), |_| Ok(()))?;
    if args.format == Format::Human {
        let [old, new] = names.map(|name| folder.join(name));
        let (old, new) = (old.display(), new.display());
        writeln!(
            io::stdout().lock(),
            "each build: meshproof report {old} {new}\nevery answer: meshproof diff {old} {new}"
        )?;
    }
    Ok(code)
}

/// Reduces a failing replay, and tells.
fn shrunk(
    args: &Args,
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
    let map = args.map.as_deref().map(read_map).transpose()?;
    let captures = Inputs::of(&args.original);
    let originals = map.as_ref().filter(|_| !args.original.is_empty());
    let originals = originals.map(|map| Originals {
        map,
        captures: &captures,
    });
    let Shrunk {
        symptoms,
        from,
        to,
        tries,
        minimal,
        searched,
    } = shrink::shrink(
        &build.offline,
        &build.setting,
        ways,
        &wanted,
        limits,
        folder,
        originals,
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
         failing: {symptoms}\naudited for {searched} addresses, names and originals, none left\n\
         run it again: meshproof replay --through {folder}{}",
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
    let bugs = args.bug.iter().map(|bug| format!(" --bug {}", bug.name()));
    std::iter::once(args.setting.again()).chain(bugs).collect()
}
