//! `meshproof capture`: packets of a pod, or of this machine.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshproof_harness::capture::Size;
use meshproof_harness::capture::live::{self, Live};
use meshproof_harness::environment::Program;

use super::env::{Wanted, failure, relayed};
use super::setting::duration;
use crate::exit::{self, Failure};

/// Capture packets of a pod, or of this machine
///
/// The newest packets, in at most four files: with `-o server.pcapng` they are
/// `server.0001.pcapng` and on, which together stay below --bytes-max. Each packet is in its file
/// within 0.1 s, so that a capture can be read whatever ends it. What the kernel dropped is
/// counted and told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit: 0 when it ended as it was told (Ctrl-C too), 2 for a link or filter that does not exist, 4
where capturing is not allowed or there is no libpcap.

Examples:
  meshproof capture --pod server -o server.pcapng
  meshproof capture --pod server --for 10s port 12200
  meshproof capture --interface lo -o app.pcapng port 12199 or port 12220
  meshproof ls server.*.pcapng")]
pub(crate) struct Args {
    /// A pod of an environment that stands: all its links
    #[arg(long, value_name = "POD", required_unless_present = "interface")]
    pod: Option<String>,
    /// A link of this machine; `any`: all of them
    #[arg(short, long, value_name = "LINK", conflicts_with = "pod")]
    interface: Option<String>,
    /// Where the files go, and how they are called [default: POD.pcapng or LINK.pcapng]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Bytes that the files may take together: 64M, 2G; at least 512K
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = bytes)]
    bytes_max: u64,
    /// End after so many packets
    #[arg(long, value_name = "N")]
    packets: Option<u64>,
    /// End after this long: 10s, 5m
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    limit: Option<Duration>,
    /// What packets must be, as tcpdump writes it
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    filter: Vec<String>,
    #[command(flatten)]
    wanted: Wanted,
}

fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "expected bytes, such as 65536, 512K, 64M or 2G".to_owned();
    let (number, unit) = match text.as_bytes() {
        [.., b'K'] => (text.strip_suffix('K'), 1 << 10),
        [.., b'M'] => (text.strip_suffix('M'), 1 << 20),
        [.., b'G'] => (text.strip_suffix('G'), 1 << 30),
        _ => (Some(text), 1),
    };
    let number: u64 = number.unwrap_or_default().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Captures until it is told to end.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let called = args.pod.as_deref().or(args.interface.as_deref());
    let called = called.unwrap_or("any").to_owned();
    let output = args.output.clone();
    let output = output.unwrap_or_else(|| PathBuf::from(format!("{called}.pcapng")));
    if let Some(pod) = &args.pod {
        return in_pod(&args, pod, &output);
    }
    let name = output.file_name().map(|name| name.to_string_lossy());
    let name = name.as_deref().unwrap_or("capture");
    let folder = output.parent().filter(|folder| *folder != Path::new(""));
    let live = Live {
        link: called,
        filter: Some(args.filter.join(" ")).filter(|filter| !filter.is_empty()),
        folder: folder.unwrap_or(Path::new(".")).to_owned(),
        name: name.strip_suffix(".pcapng").unwrap_or(name).to_owned(),
        size: Size::bytes(args.bytes_max),
        packets_max: args.packets,
        limit: args.limit,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    // Where no handler can be had, a signal ends us, and what was captured is there.
    let _ = ctrlc::set_handler(move || {
        if told.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    let began = || {
        // Whoever started this waits for the line before what is to be seen.
        let _ = writeln!(io::stderr(), "capturing {}", live.link);
    };
    let captured = live::run(&live, &stop, began).map_err(failure)?;
    let mut out = io::stdout().lock();
    for file in &captured.files {
        writeln!(out, "{}", file.display())?;
    }
    writeln!(
        io::stderr(),
        "{} packets, {} bytes; {} more were overwritten, {} dropped by the kernel",
        captured.packets,
        captured.bytes,
        captured.overwritten,
        captured.dropped
    )?;
    match captured.failed {
        Some(why) => Err(Failure::Usage(format!(
            "packets could not be written: {why}"
        ))),
        None => Ok(exit::OK),
    }
}

/// The same command, run in the pod: it writes where it would here.
fn in_pod(args: &Args, pod: &str, output: &Path) -> Result<u8, Failure> {
    let standing = args.wanted.find()?;
    let mut again = vec![
        "capture".to_owned(),
        "--interface=any".to_owned(),
        format!("--output={}", std::path::absolute(output)?.display()),
        format!("--bytes-max={}", args.bytes_max),
    ];
    again.extend(args.packets.map(|packets| format!("--packets={packets}")));
    let limit = args.limit.map(|limit| limit.as_millis());
    again.extend(limit.map(|limit| format!("--for={limit}ms")));
    if !args.filter.is_empty() {
        again.push("--".to_owned());
        again.extend(args.filter.iter().cloned());
    }
    relayed(&standing.folder, pod, Program::Own, again)
}
