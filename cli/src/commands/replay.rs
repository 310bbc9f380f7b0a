//! `meshproof replay`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use jiff::Timestamp;
use meshproof_record::store::{self, Ending, StoreError, Writer};
use meshproof_record::verdict::End;
use meshproof_replay::capture::NamedSource;
use meshproof_replay::diff::{Frames, Noise};
use meshproof_replay::engine::judge::{self, Judged, Terms};
use meshproof_replay::engine::load::{self, Loaded};
use meshproof_replay::engine::outcome::{Run, Stop};
use meshproof_replay::engine::pace::{LatenessLimit, Pace, duration_ns};
use meshproof_replay::engine::plan::{self, Connections, Plan, Planning, Routes};
use meshproof_replay::engine::run::{self, Control, Settings};
use meshproof_replay::engine::subscribe::{self, Api, Asked, Publishing};
use meshproof_replay::engine::{api, tell};
use meshproof_replay::exchange::{Exchange, ExchangeKind, Hop};
use meshproof_replay::map::Map;
use meshproof_replay::select::{Moment, Sample, Tally};
use meshproof_replay::stub::shelf::{Matching, Report};
use meshproof_replay::stub::{Latency, Options, Shelf, Stub};
use meshproof_replay::targets::{MethodRules, Policy};

use super::report::{Format, Saying, say};
use super::select::Select;
use super::setting::SettingArgs;
use crate::exit::Failure;

pub(crate) mod through;

pub(crate) use through::failed as through_failed;

/// Stubs that one replay starts.
const STUBS_MAX: usize = 64;

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("where_to").required(true).args(["to", "stub", "through"])),
    after_help = "\
Loopback may always be sent to. Any other address must stand under `targets:` in the map, or be
given by --allow-target; one that the capture shows as a peer in production must be in the map.
Targets are asked about before any socket is opened; what is refused is counted and named.

Without --pace, requests leave as fast as --window allows and nothing is claimed about latency.
With `recorded`, `2x` or `rate=500/s` they leave by absolute deadlines, latency counts from the
intended time, and the claim is INVALID when the pace was not held.

Behind a sidecar, an app subscribes at 127.0.0.1:13330 before it calls 127.0.0.1:12220. With --api
the recorded subscriptions are made first; whether they are answered as recorded is the claim
`subscriptions`. Publications are left out unless --publish is given; withdrawals always.

--through brings an offline mesh up, enters it where the app would, and ends it. Behind the sidecar
stand stubs: what differs is the sidecar's doing. What the sidecar changed is the claim `hop`,
packets that tried to leave are `escapes`; with --backend process neither is seen. With two --sut,
both builds replay, and their answers and changes are compared, in a record of their own.

Exit: 0 PASS, 1 FAIL, 2 wrong use, 3 INVALID or nothing was sent, 130 Ctrl-C (twice: at once).

Examples:
  meshproof replay calls.pcap --stub
  meshproof replay calls.pcap --to 127.0.0.1:12200 --pace recorded
  meshproof replay app.pcap --api 127.0.0.1:13330 --to 127.0.0.1:12220
  meshproof replay --through offline                  a folder of `env from-capture`
  meshproof replay --through offline --sut old=./sidecar-1 --sut new=./sidecar-2
  meshproof replay --through offline --sut mosn=./mosn
  meshproof env up offline --detach --for 10m && meshproof replay --through offline=offline
  meshproof replay --through offline --shrink small   a failing one, reduced to what matters
  meshproof replay offline.pcapng --map map.yaml --to 10.1.0.5:12200=127.0.0.1:12200 \\
      --to 10.1.0.6:12200=127.0.0.1:12201 --record runs/one"
)]
pub(crate) struct Args {
    /// Capture files, globs in quotes, or folders; rotated parts are joined in time order
    #[arg(value_name = "CAPTURE", required_unless_present_any = ["sources", "through"])]
    captures: Vec<String>,
    /// A capture point with a name; repeat for several. A call seen at several is sent once
    #[arg(long = "source", value_name = "NAME=GLOB")]
    sources: Vec<NamedSource>,
    /// Nothing before this time: 2026-11-23T08:36:12Z, or +1.5s after the first packet
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// Nothing from this time on (elsewhere --to, which says where to send here)
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only calls for which this CEL expression over the fields of `ls --format json` is true
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
    /// Only calls seen at this hop, as they were seen there: inbound, outbound, app, direct, unknown
    #[arg(long, value_name = "HOP")]
    hop: Option<Hop>,
    /// Only a part of the calls, always the same: 0.05 or 5%
    #[arg(long, value_name = "PART")]
    sample: Option<Sample>,
    /// Where to send: one ADDRESS for all, or RECORDED=ADDRESS for each recorded server. Names
    /// are not resolved
    #[arg(long, value_name = "[RECORDED=]ADDRESS")]
    to: Vec<String>,
    /// Where the sidecar's application API is: before the calls, the recorded app configuration and
    /// subscriptions are sent there, and must be answered as recorded
    #[arg(long, value_name = "[RECORDED=]ADDRESS")]
    api: Vec<String>,
    /// Send recorded publications there as well: they make the sidecar register the services for
    /// its own address
    #[arg(long)]
    publish: bool,
    /// Send through this offline mesh: a folder that `env from-capture` made, brought up for this
    /// run; without CAPTURE, what it holds. NAME=DIR: the one that `env up` keeps under that name
    #[arg(long, value_name = "ENV", conflicts_with_all = ["api", "allow_target"])]
    through: Option<String>,
    /// This process is in the pod that requests come from, and calls enter there
    #[arg(long, value_name = "ADDRESS", hide = true, requires = "through")]
    inside: Option<SocketAddr>,
    /// With --through: a seeded bug of the reference sidecar, to see it found; may be repeated
    #[arg(long, value_name = "BUG", requires = "through")]
    bug: Vec<meshproof_proxy::Bug>,
    /// With --through: what else the sidecar may change, in YAML (`meshproof schema hop-rules`)
    #[arg(long, value_name = "FILE", requires = "through")]
    rules: Option<PathBuf>,
    /// With --through: reduce a failing replay to the exchanges that matter, into this folder
    #[arg(long, value_name = "DIR", requires = "through")]
    shrink: Option<PathBuf>,
    /// With --shrink: runs at most
    #[arg(long, value_name = "N", default_value_t = 200, requires = "shrink")]
    tries: u32,
    /// With --shrink and --map: captures that the offline mesh was made from; the small one is
    /// searched for what they show
    #[arg(long, value_name = "CAPTURE", requires_all = ["shrink", "map"])]
    original: Vec<String>,
    /// Send to stubs that answer from the same captures, started and stopped by this command
    #[arg(long)]
    stub: bool,
    /// How long those stubs take: none, recorded, or milliseconds
    #[arg(
        long,
        value_name = "LATENCY",
        default_value = "none",
        requires = "stub"
    )]
    stub_latency: Latency,
    /// Those stubs may answer by service and method alone; the run then shows nothing
    #[arg(long, requires = "stub")]
    loose: bool,
    /// Rewrite map; its `targets:` say where a replay may go. With --shrink: the map that the offline
    /// mesh was made by, for the audit of the small capture
    #[arg(long, value_name = "MAP")]
    map: Option<PathBuf>,
    /// A network that may be sent to, without writing to it; may be repeated
    #[arg(long, value_name = "NETWORK")]
    allow_target: Vec<String>,
    /// Methods that write, beside the usual names: `settle`, `burn*`
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    write_methods: Vec<String>,
    /// Methods that only read, beside the usual names
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    read_methods: Vec<String>,
    /// When requests are sent: window, recorded, 2x, 0.5x, max, rate=500/s
    #[arg(long, value_name = "PACE", default_value = "window")]
    pace: Pace,
    /// How late sends may be for a word on latency, such as p99=10ms,late=50ms,share=1%
    #[arg(
        long,
        value_name = "LIMITS",
        default_value = "p99=10ms,late=50ms,share=1%"
    )]
    lateness: LatenessLimit,
    /// recorded, or pooled=N connections per target and protocol
    #[arg(long, value_name = "HOW", default_value = "recorded")]
    connections: Connections,
    /// Requests that may wait on one connection (pace window)
    #[arg(long, value_name = "N", default_value = "64")]
    window: NonZeroUsize,
    /// Wait this long for each answer, such as 500ms, whatever the request says
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    timeout: Option<u32>,
    /// What is shown and not judged in answers, in YAML
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Folder for the record [default: meshproof-runs/<id>]
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// What goes to stdout
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    #[command(flatten)]
    setting: SettingArgs,
}

fn milliseconds(text: &str) -> Result<u32, String> {
    duration_ns(text)
        .map(|ns| ns / 1_000_000)
        .and_then(|ms| u32::try_from(ms).ok())
        .filter(|ms| *ms > 0)
        .ok_or_else(|| "expected a duration of at least 1ms, such as 500ms or 3s".to_owned())
}

/// Plans, sends, judges, records, and says what was shown.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    if let Some(env) = &args.through {
        return through::run(&args, env);
    }
    let usage = |text: String| Failure::Usage(text);
    if let Some(flag) = args.setting.given() {
        return Err(usage(format!(
            "{flag} needs --through: no sidecar is started without it"
        )));
    }
    if args.publish && args.api.is_empty() {
        return Err(usage("--publish needs --api or --through".into()));
    }
    let map = args.map.as_deref().map(read_map).transpose()?;
    let policy = policy(&args, map.as_ref())?;
    let mut routes = Routes::parse(args.to.iter().map(String::as_str))
        .map_err(|error| usage(error.to_string()))?;
    let compare = Frames {
        noise: args
            .noise
            .as_deref()
            .map(read_noise)
            .transpose()?
            .unwrap_or_default(),
    };
    let select = Select {
        captures: args.captures.clone(),
        sources: args.sources.clone(),
        from: args.from,
        to: args.until,
        filter: args.filter.clone(),
        hop: args.hop,
        sample: args.sample,
    };
    let selection = select.selection()?;
    let (mut captures, _) = select.open()?;
    let loaded = load::load(&mut captures, &selection).map_err(|error| usage(error.to_string()))?;
    let stubs = if args.stub {
        start_stubs(&loaded.taken().collect::<Vec<_>>(), &args)?
    } else {
        BTreeMap::new()
    };
    let stub_routes = stubs.iter().map(|(server, stub)| (*server, stub.address()));
    routes.by_server.extend(stub_routes);

    let api = api(&args)?;
    let planning = Planning {
        routes: &routes,
        policy: &policy,
        pace: args.pace,
        connections: args.connections,
        timeout_ms: args.timeout,
        api: api.as_ref(),
    };
    let Loaded {
        exchanges,
        outcome: capture,
        files,
        tally,
    } = loaded;
    let plan = plan::plan(exchanges, &planning).map_err(|error| usage(error.to_string()))?;

    let start = store::start(
        env!("CARGO_PKG_VERSION"),
        std::env::args().collect(),
        0,
        Timestamp::now(),
    );
    let folder = args
        .record
        .clone()
        .unwrap_or_else(|| store::default_folder(&start));
    let mut writer = Writer::create(&folder, start).map_err(stored)?;
    let maps = args.map.iter().map(|path| ("map", path));
    let noise = args.noise.iter().map(|path| ("noise", path));
    let captures = files.iter().map(|path| ("capture", path));
    for (role, path) in captures.chain(maps).chain(noise) {
        // Standard input has no name by which it could be found again.
        if let Ok(input) = load::input(role, path) {
            writer.input(0, input).map_err(stored)?;
        }
    }

    let settings = Settings {
        window: args.window,
        ..Settings::usual(args.pace)
    };
    let said = api.is_some().then(|| api::make(&plan));
    let asked = said.map(|said| subscribe::judge(&plan, &said));
    let ran = send(&plan, &settings)?;
    let mut seen = Report::default();
    for stub in stubs.into_values() {
        seen.add(&stub.stop());
    }
    let terms = Terms {
        pace: args.pace,
        lateness: args.lateness,
        loose: seen.loose_total(),
    };
    let judged = judge::judge(&plan, &ran, &compare, &terms).with_api(&plan, asked.as_deref());
    let mut notes = notes(&plan, &args, &seen, &tally);
    notes.extend(api_notes(
        &judged,
        asked.as_deref().unwrap_or_default(),
        &args,
    ));
    for (name, text) in &notes {
        let (name, text) = (name.clone(), text.clone());
        let event = meshproof_record::event::Event::Finding { name, text };
        writer.event(0, event).map_err(stored)?;
    }
    write_record(writer, &plan, &ran, &judged, &args, capture.ledger).map_err(stored)?;
    say(&folder, Saying::usual(args.format), |_| Ok(()))
}

/// Where the application API is, and what is said to it.
fn api(args: &Args) -> Result<Option<Api>, Failure> {
    if args.api.is_empty() {
        return Ok(None);
    }
    let routes = Routes::parse(args.api.iter().map(String::as_str))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let publishing = match args.publish {
        true => Publishing::Made,
        false => Publishing::LeftOut,
    };
    Ok(Some(Api { routes, publishing }))
}

/// What a reader should know of the application API beside the sums.
fn api_notes(judged: &Judged, asked: &[Asked], args: &Args) -> Vec<(String, String)> {
    /// Failures that are told one by one.
    const TOLD_MAX: usize = 20;
    let mut notes: Vec<(String, String)> = asked
        .iter()
        .filter_map(|asked| asked.wrong.clone())
        .take(TOLD_MAX)
        .map(|why| ("subscription-failed".to_owned(), why))
        .collect();
    let left_out = judged.ledger.mesh_api.map_or(0, |api| api.left_out);
    if left_out > 0 && args.api.is_empty() {
        let text = format!(
            "{left_out} exchanges with an application api are left out; --api says where the sidecar's is"
        );
        notes.push(("mesh-api-left-out".to_owned(), text));
    }
    notes
}

fn stored(error: StoreError) -> Failure {
    Failure::Usage(error.to_string())
}

fn read_map(path: &Path) -> Result<Map, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::Io(name.clone(), error))?;
    Map::parse(&name, &text)
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}

/// Reads a noise file.
pub(crate) fn read_noise(path: &Path) -> Result<Noise, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::Io(name.clone(), error))?;
    Noise::parse(&name, &text)
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}

fn policy(args: &Args, map: Option<&Map>) -> Result<Policy, Failure> {
    let network = |text: &String| {
        text.parse::<IpNet>()
            .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
            .map_err(|_| {
                Failure::Usage(format!(
                    "`{text}` is no network: expected an address such as 10.1.2.3 or a network such as 10.1.2.0/24"
                ))
            })
    };
    Ok(Policy {
        targets: map.map(|map| map.targets.clone()).unwrap_or_default(),
        allowed: args
            .allow_target
            .iter()
            .map(network)
            .collect::<Result<_, _>>()?,
        methods: MethodRules {
            writes: args.write_methods.clone(),
            reads: args.read_methods.clone(),
        },
    })
}

/// A stub for each server of the capture.
fn start_stubs(
    exchanges: &[&Exchange],
    args: &Args,
) -> Result<BTreeMap<SocketAddr, Stub>, Failure> {
    let matching = if args.loose {
        Matching::Loose
    } else {
        Matching::Exact
    };
    // The application API is the sidecar's own, and no server of calls.
    let servers: BTreeSet<SocketAddr> = exchanges
        .iter()
        .filter(|e| e.kind != ExchangeKind::MeshApi)
        .map(|e| e.flow.acceptor)
        .collect();
    if servers.len() > STUBS_MAX {
        return Err(Failure::Usage(format!(
            "the captures show {} servers, more than the {STUBS_MAX} stubs that one replay starts: run `meshproof stub` and give --to",
            servers.len()
        )));
    }
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    servers
        .into_iter()
        .map(|server| {
            let exchanges = exchanges.iter().copied();
            let of_server = exchanges.filter(|e| e.flow.acceptor == server);
            let shelf = Shelf::new(of_server, matching);
            let stub = Stub::bind(listen, shelf, Options::usual(args.stub_latency))
                .map_err(|error| Failure::Io("starting a stub".into(), error))?;
            Ok((server, stub))
        })
        .collect()
}

/// Carries the plan out; Ctrl-C drains, twice kills.
fn send(plan: &Plan, settings: &Settings) -> Result<Run, Failure> {
    let failed = |error| Failure::Io("replaying".into(), error);
    let control = Arc::new(Control::new().map_err(failed)?);
    let asked = Arc::clone(&control);
    let mut again = false;
    // A handler that is there already is another run's of this process; it stops that one.
    let _ = ctrlc::set_handler(move || {
        if std::mem::replace(&mut again, true) {
            std::process::exit(i32::from(meshproof_record::verdict::EXIT_INTERRUPTED));
        }
        asked.stop();
    });
    let (done, over) = mpsc::channel::<()>();
    let ran = std::thread::scope(|scope| {
        if io::stderr().is_terminal() && !plan.sends.is_empty() {
            let total = plan.sends.len() as u64;
            let control = &control;
            scope.spawn(move || progress(control, total, &over));
        }
        let ran = run::run(plan, settings, &control);
        drop(done);
        ran
    });
    ran.map_err(failed)
}

fn progress(control: &Control, total: u64, over: &mpsc::Receiver<()>) {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} done, {msg} sent") {
        bar.set_style(style);
    }
    while over.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        bar.set_position(control.done());
        bar.set_message(control.sent().to_string());
    }
    bar.finish_and_clear();
}

/// What a reader should know beside the sums.
fn notes(plan: &Plan, args: &Args, seen: &Report, tally: &Tally) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    if tally.unanswerable > 0 {
        let text = format!(
            "--where has no answer for {} calls (a field that is null); they are left out",
            tally.unanswerable
        );
        notes.push(("where-unanswerable".to_owned(), text));
    }
    let why: BTreeSet<_> = plan.refusals().iter().map(|refused| refused.why).collect();
    for why in why {
        notes.push((format!("refused-{why}"), why.advice().to_owned()));
    }
    for (server, count) in plan.unrouted() {
        let text = format!("no --to mentions {server}: its {count} exchanges are left out");
        notes.push(("no-route".to_owned(), text));
    }
    if args.stub {
        let named = |counts: &BTreeMap<String, u64>| {
            let told = counts.iter().take(5);
            let told: Vec<String> = told.map(|(call, n)| format!("{n} {call}")).collect();
            told.join(", ")
        };
        for (name, counts, what) in [
            (
                "loose-match",
                &seen.loose,
                "answered by what was recorded for other arguments",
            ),
            (
                "unmatched",
                &seen.unmatched,
                "for which nothing was recorded",
            ),
        ] {
            let total: u64 = counts.values().sum();
            if total > 0 {
                let text = format!("{total} requests {what}: {}", named(counts));
                notes.push((name.to_owned(), text));
            }
        }
        if seen.reused > 0 {
            let text = format!(
                "{} requests more than were recorded, answered by a recorded answer again",
                seen.reused
            );
            notes.push(("reused".to_owned(), text));
        }
    }
    notes
}

fn write_record(
    mut writer: Writer,
    plan: &Plan,
    ran: &Run,
    judged: &Judged,
    args: &Args,
    capture: meshproof_record::ledger::CaptureLedger,
) -> Result<(), StoreError> {
    for entry in tell::events(plan, ran, judged, args.lateness.late_ns) {
        writer.event(entry.at_ns, entry.event)?;
    }
    for row in tell::rows(plan, ran, judged) {
        writer.row(&row)?;
    }
    let end = match ran.stop {
        Stop::Finished => End::Finished,
        Stop::Interrupted => End::Interrupted,
    };
    writer.finish(Ending {
        now: Timestamp::now(),
        at_ns: ran.elapsed_ns,
        end,
        claims: judged.claims.clone(),
        capture: Some(capture),
        replay: Some(judged.ledger.clone()),
        latency: Some(judged.latency.finish()).filter(|_| judged.latency.count() > 0),
        lateness: Some(judged.lateness.finish()).filter(|_| judged.lateness.count() > 0),
    })?;
    Ok(())
}
