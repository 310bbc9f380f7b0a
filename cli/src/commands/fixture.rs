//! `meshproof fixture`: what the project is tried on.

mod app;
mod call;
mod ledger;
mod load;
mod registry;
mod serving;
mod vip;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use meshproof_fixtures::generate::{Plan, generate};

use crate::exit::{Failure, OK};

/// Peers to talk to, and captures with the truth about them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    fixture: Fixture,
}

/// The fixtures.
#[derive(Debug, Subcommand)]
enum Fixture {
    /// Serve com.alipay.demo.SampleService over BOLT v1 and v2, and over TR
    App(Box<app::Args>),
    /// Call com.alipay.demo.SampleService, and judge every answer
    Call(Box<call::Args>),
    /// Join the logs of client and servers: every call seen once and answered once
    Ledger(ledger::Args),
    /// Run the config center: register, deregister, leases, subscriptions with push
    Registry(registry::Args),
    /// Run the VIP name service: DNS for pools, APP-pool.ZONE.alipay.net
    Vip(vip::Args),
    /// Call over BOLT, as fast as answers come or at a rate, and check every answer
    Load(load::LoadArgs),
    /// Answer every BOLT request with its own body
    Echo(load::EchoArgs),
    /// Generate a capture of SOFARPC traffic, and beside it what must be found in it
    Capture(CaptureArgs),
}

/// Generate a capture of SOFARPC traffic, and beside it what must be found in it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meshproof fixture capture --out big.pcap --megabytes 500
  meshproof fixture capture --out lossy.pcap --megabytes 50 --loss 0.0005 --midstream 0.3

Writes OUT, OUT.truth.json (what it holds, as numbers) and OUT.frames.txt (a line per frame).
The same options give the same bytes everywhere.")]
struct CaptureArgs {
    /// The capture to write (classic pcap)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its size in MiB, about
    #[arg(long, default_value_t = 500, value_name = "N")]
    megabytes: u64,
    /// Chooses everything that is left to chance
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Data segments that the capture lacks (0 to 1)
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    loss: f64,
    /// Connections that begin before the capture (0 to 1)
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    midstream: f64,
    /// Data segments that come late (0 to 1)
    #[arg(long, default_value_t = 0.004, value_name = "RATE")]
    reorder: f64,
    /// Data segments that are sent twice (0 to 1)
    #[arg(long, default_value_t = 0.002, value_name = "RATE")]
    retransmit: f64,
    /// Connections that are open at the same time
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: u32,
    /// Shortest and longest frame in bytes
    #[arg(long, default_value = "60..8192", value_name = "MIN..MAX", value_parser = frame_bytes)]
    frame_bytes: (u32, u32),
    /// How long the capture lasts, about
    #[arg(long, default_value_t = 12.0, value_name = "SECONDS")]
    seconds: f64,
}

fn frame_bytes(text: &str) -> Result<(u32, u32), String> {
    let expected = || format!("expected MIN..MAX with 60 <= MIN <= MAX <= 60000, found {text}");
    let (min, max) = text.split_once("..").ok_or_else(expected)?;
    let (min, max) = (
        min.parse::<u32>().map_err(|_| expected())?,
        max.parse::<u32>().map_err(|_| expected())?,
    );
    if (60..=max).contains(&min) && max <= 60_000 {
        Ok((min, max))
    } else {
        Err(expected())
    }
}

pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    match args.fixture {
        Fixture::App(args) => app::run(*args),
        Fixture::Call(args) => call::run(*args),
        Fixture::Ledger(args) => ledger::run(args),
        Fixture::Registry(args) => registry::run(args),
        Fixture::Vip(args) => vip::run(args),
        Fixture::Load(args) => load::run_load(&args),
        Fixture::Echo(args) => load::run_echo(&args),
        Fixture::Capture(args) => capture(args),
    }
}

fn capture(args: CaptureArgs) -> Result<u8, Failure> {
    for (name, rate) in [
        ("loss", args.loss),
        ("midstream", args.midstream),
        ("reorder", args.reorder),
        ("retransmit", args.retransmit),
    ] {
        if !(0.0..=1.0).contains(&rate) {
            return Err(Failure::Usage(format!(
                "--{name} {rate}: expected a rate from 0 to 1"
            )));
        }
    }
    let plan = Plan {
        capture_bytes: args.megabytes << 20,
        seed: args.seed,
        loss: args.loss,
        midstream: args.midstream,
        reorder: args.reorder,
        retransmit: args.retransmit,
        connections: args.connections.clamp(1, 100_000),
        frame_bytes: args.frame_bytes,
        seconds: args.seconds,
    };
    let beside = |suffix: &str| {
        let mut name = args.out.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (frames_path, truth_path) = (beside(".frames.txt"), beside(".truth.json"));
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |error| Failure::Io(path, error)
    };
    let create = |path: &Path| -> Result<BufWriter<File>, Failure> {
        let file = File::create(path).map_err(io(path))?;
        Ok(BufWriter::with_capacity(256 << 10, file))
    };
    let mut capture = create(&args.out)?;
    let mut frames = create(&frames_path)?;
    let truth = generate(&plan, &mut capture, &mut frames).map_err(io(&args.out))?;
    let text = serde_json::to_string_pretty(&truth)
        .map_err(|error| Failure::Io(truth_path.display().to_string(), error.into()))?;
    std::fs::write(&truth_path, text + "\n").map_err(io(&truth_path))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} packets, {} connections, {} frames, {} of them whole",
        args.out.display(),
        truth.packets,
        truth.connections,
        truth.frames_sent.total,
        truth.frames_whole.total
    )?;
    Ok(OK)
}
