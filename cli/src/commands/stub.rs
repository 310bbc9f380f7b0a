//! `meshproof stub`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use meshproof_fixtures::http::Url;
use meshproof_replay::engine::load;
use meshproof_replay::stub::known::{self, To};
use meshproof_replay::stub::shelf::{Matching, Report};
use meshproof_replay::stub::{Latency, Options, Shelf, Stub};

use super::select::Select;
use crate::exit::{self, Failure};

/// Arguments of `stub`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints `READY <port>` when it listens and is known to whom --publish or --config-center names, and one line of JSON with what it has seen when it is
stopped (SIGTERM or Ctrl-C). A request is answered by what was recorded for the same service,
method and arguments (plain BOLT: class and content), in recorded order among equals. What was not
recorded is answered by a server exception that says so.

Exit: 0, or 3 when a request was answered loosely or not at all for want of a recording.

Examples:
  meshproof stub calls.pcap --listen 127.0.0.1:12200
  meshproof stub calls.pcap --server 10.1.0.5:12200 --listen 127.0.0.1:0 --latency recorded
  meshproof stub calls.pcap --listen 127.0.0.1:12199 --publish http://127.0.0.1:13330
  meshproof stub calls.pcap --listen 0.0.0.0:12200 --config-center http://10.99.0.2:9600 \\
      --advertise 10.99.0.5:12200")]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Answer as this recorded server only; may be repeated
    #[arg(long, value_name = "RECORDED")]
    server: Vec<SocketAddr>,
    /// How long answers take: none, recorded, or milliseconds
    #[arg(long, value_name = "LATENCY", default_value = "none")]
    latency: Latency,
    /// Where no recorded arguments fit, answer by service and method; such answers are told
    #[arg(long)]
    loose: bool,
    /// Publish every recorded service at this application API: the stub is the app behind a sidecar
    #[arg(long, value_name = "URL", conflicts_with = "config_center")]
    publish: Option<Url>,
    /// Register every recorded service there, as a server without a sidecar does
    #[arg(long, value_name = "URL", requires = "advertise")]
    config_center: Option<Url>,
    /// What others call, as the config center tells it
    #[arg(long, value_name = "ADDRESS", requires = "config_center")]
    advertise: Option<SocketAddr>,
    /// Make only this service known; may be repeated
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
    /// The zone of the pod, as the config center tells it
    #[arg(
        long,
        value_name = "ZONE",
        default_value = "",
        requires = "config_center"
    )]
    zone: String,
    /// The app's name, as it is published
    #[arg(long, value_name = "NAME", default_value = "stub")]
    app: String,
    /// Write what was seen there, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Serves until it is told to stop.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let selection = args.select.selection()?;
    let (mut captures, _) = args.select.open()?;
    let loaded =
        load::load(&mut captures, &selection).map_err(|error| Failure::Usage(error.to_string()))?;
    let matching = if args.loose {
        Matching::Loose
    } else {
        Matching::Exact
    };
    let wanted = |server: &SocketAddr| args.server.is_empty() || args.server.contains(server);
    let taken = loaded.taken();
    let shelf = Shelf::new(taken.filter(|e| wanted(&e.flow.acceptor)), matching);
    if shelf.is_empty() {
        return Err(Failure::Usage(
            "the captures hold no request that could be answered; `meshproof ls` shows what they hold".into(),
        ));
    }
    let mut services = shelf.services();
    services.retain(|name, _| args.service.is_empty() || args.service.contains(name));
    // The handler is there before anybody is told that the stub is: a stop is never missed.
    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = stop.send(());
    })
    .map_err(|error| Failure::Usage(error.to_string()))?;
    let stub = Stub::bind(args.listen, shelf, Options::usual(args.latency))
        .map_err(|error| Failure::Io(format!("listening on {}", args.listen), error))?;
    if let Some(to) = to(&args) {
        known::make(&to, &args.app, &services).map_err(Failure::Usage)?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "READY {}", stub.address().port())?;
    out.flush()?;
    // An error would mean that the handler is gone, which nothing takes away.
    let _ = stopped.recv();
    let seen = stub.stop();
    let line = line(&seen)?;
    writeln!(out, "{line}")?;
    out.flush()?;
    if let Some(path) = &args.report {
        write(path, &line)?;
    }
    Ok(if seen.loose_total() + seen.unmatched_total() > 0 {
        meshproof_record::verdict::EXIT_INVALID
    } else {
        exit::OK
    })
}

/// To whom the stub makes itself known.
fn to(args: &Args) -> Option<To> {
    if let Some(Url(api)) = args.publish {
        return Some(To::Sidecar(api));
    }
    let (Url(center), advertise) = (args.config_center?, args.advertise?);
    Some(To::ConfigCenter {
        center,
        advertise,
        zone: args.zone.clone(),
    })
}

fn line(seen: &Report) -> Result<String, Failure> {
    serde_json::to_string(seen).map_err(|error| Failure::Usage(error.to_string()))
}

fn write(path: &Path, line: &str) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, format!("{line}\n"))
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Failure::Io(path.display().to_string(), error))
}
