//! `meshproof env from-capture`: an offline mesh made from a capture and a map.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use meshproof_harness::offline::Side;
use meshproof_harness::offline::folder::{self, Made};
use meshproof_replay::capture::Inputs;
use meshproof_replay::map::Map;
use serde_json::json;

use super::super::replay::through_failed;
use crate::exit::{Failure, OK};

/// Arguments of `env from-capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes a folder: topology.yaml, offline.yaml and capture.pcapng, which is rewritten by the map and
audited against the original. Nothing in it names what was outside; it runs anywhere.

An outbound capture (12220, 13330, or what a client sends to 12200) becomes a client pod with the
sidecar and a pod of stubs for each recorded server; the config center knows every service, the VIP
name service every VIP. An inbound one (12199, or one server with several clients) becomes a server
pod with the sidecar in front of a stub on 12199.

Exit: 0, 1 when the audit found something, 2 for wrong use or captures that fit no mesh.

Examples:
  meshproof env from-capture prod.pcap --map map.yaml -o offline
  meshproof replay --through offline
  meshproof env from-capture bolt.pcap --map map.yaml --side inbound -o offline")]
pub(crate) struct Args {
    /// Capture files, globs in quotes, or folders
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<String>,
    /// What is replaced by what; an empty one (`{}`) for a capture that may stay as it is
    #[arg(long, value_name = "MAP")]
    map: PathBuf,
    /// The folder to write; must be empty or not there
    #[arg(short, long, value_name = "DIR", default_value = "offline")]
    output: PathBuf,
    /// On which side of the sidecar the capture was taken; guessed without it
    #[arg(long, value_enum)]
    side: Option<SideArg>,
    /// The adapter of the sidecar that is to be tried
    #[arg(long, value_name = "NAME", default_value = "reference")]
    sidecar: String,
    /// How the result is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// On which side a capture was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SideArg {
    /// Calls of the pod's app to others
    Outbound,
    /// Calls of others to the pod
    Inbound,
}

/// Form of the result on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Makes it, and tells what it is.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let map = read_map(&args.map)?;
    let side = args.side.map(|side| match side {
        SideArg::Outbound => Side::Outbound,
        SideArg::Inbound => Side::Inbound,
    });
    let inputs = Inputs::of(&args.captures);
    let made = folder::make(&inputs, &map, side, &args.sidecar, &args.output);
    let made = match made {
        Ok(made) => made,
        Err(left @ folder::Failed::Left { .. }) => return left_behind(&left),
        Err(error) => return Err(through_failed(error)),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Text => text(&mut out, &made, &args.output)?,
        Format::Json => {
            let shape = &made.shape;
            let providers: Vec<_> = shape
                .providers
                .iter()
                .map(|it| {
                    json!({
                        "pod": it.pod, "stands_for": it.stands_for, "zone": it.zone,
                        "services": it.services,
                    })
                })
                .collect();
            let document = json!({
                "schema": 1,
                "folder": made.offline.folder,
                "side": shape.side,
                "app": shape.app,
                "calls": shape.calls,
                "providers": providers,
                "vips": shape.vips,
                "subscriptions_made_up": shape.made_up,
                "packets": made.packets,
                "audited_for": made.searched,
                "notes": shape.notes,
            });
            serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(OK)
}

/// An original that is left is a finding, not wrong use.
fn left_behind(error: &folder::Failed) -> Result<u8, Failure> {
    writeln!(io::stdout().lock(), "FAIL  {error}")?;
    Ok(crate::exit::FAIL)
}

fn text(out: &mut impl Write, made: &Made, folder: &Path) -> io::Result<()> {
    let shape = &made.shape;
    let folder = folder.display();
    writeln!(
        out,
        "{folder}: {} calls of {}, {}; {} packets, audited for {} originals, none left",
        shape.calls,
        shape.app,
        shape.side.name(),
        made.packets,
        made.searched
    )?;
    for provider in &shape.providers {
        let zone = provider.zone.as_deref();
        let zone = zone.map_or(String::new(), |zone| format!(", zone {zone}"));
        let stands_for = match provider.stands_for.as_slice() {
            [] => String::new(),
            all => format!(", stands for {}", all.join(", ")),
        };
        let services = match provider.services.len() {
            0 => "at the config center: nothing".to_owned(),
            1 => "at the config center: 1 service".to_owned(),
            n => format!("at the config center: {n} services"),
        };
        writeln!(out, "  pod {}{zone}{stands_for}; {services}", provider.pod)?;
    }
    for (name, behind) in &shape.vips {
        let pods = behind.iter().filter_map(|at| shape.providers.get(*at));
        let pods: Vec<&str> = pods.map(|it| it.pod.as_str()).collect();
        writeln!(out, "  VIP {name}: {}", pods.join(", "))?;
    }
    for note in &shape.notes {
        writeln!(out, "  note: {note}")?;
    }
    writeln!(out, "\nreplay: meshproof replay --through {folder}")
}

fn read_map(path: &Path) -> Result<Map, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Io(name.clone(), error))?;
    meshproof_input::text(&name, bytes)
        .and_then(|text| Map::parse(&name, &text))
        .map_err(|problem| Failure::Diagnostic(Box::new(miette::Report::new(problem))))
}
