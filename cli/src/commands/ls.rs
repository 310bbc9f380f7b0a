//! `meshproof ls`: what is in a capture.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};

use meshproof_record::ledger::CaptureLedger;
use meshproof_replay::capture::{Captures, Finding, Packets};
use meshproof_replay::exchange::{ExchangeKind, Listing, listing};
use meshproof_replay::pipeline::{Options, Outcome, Pass, Visitor};
use meshproof_replay::select::{Selecting, Tally};
use meshproof_replay::sighting::{Alignment, Call, Calls, Limits, Merger};
use owo_colors::OwoColorize;
use serde::Serialize;

use super::select::{Select, unreadable};
use crate::exit::{self, Failure};

/// Arguments of `ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Findings (damage, gaps, what cannot be decoded and why) go to stderr. The exit code is 0, or 1
when the ledger does not close, or 2 when there is nothing to read.

Examples:
  meshproof ls app.pcap
  meshproof ls '/captures/app-*.pcap' --where 'method == \"hello\" && response.status_code != 0'
  meshproof ls --source client=a.pcap --source server=b.pcap --format json | jq .exchanges[0]
  meshproof ls /captures --ledger")]
pub(crate) struct Args {
    #[command(flatten)]
    select: Select,

    /// How to write it; json and jsonl are a stable contract
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Only the account of packets, bytes and frames, at the least cost
    #[arg(long, conflicts_with_all = ["filter", "hop", "sample", "from", "to"])]
    ledger: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One document
    Json,
    /// One exchange a line, the ledger last
    Jsonl,
}

/// Reads, selects and lists.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let selection = args.select.selection()?;
    let (mut captures, alignments) = args.select.open()?;
    let sources: Vec<String> = captures.sources().iter().map(|s| s.name.clone()).collect();
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());

    let failed = RefCell::new(None);
    let (outcome, tally) = if args.ledger {
        (pass(&mut captures, Options::HEADS, &mut (), &failed)?, None)
    } else {
        let lister = Lister {
            out: &mut out,
            format: args.format,
            sources: &sources,
            alignments: &alignments,
            colour: Colour::of_stdout(),
            begun: false,
            listed: 0,
            line: String::new(),
            failed: &failed,
        };
        let mut merger = Merger::new(Limits::USUAL, Selecting::new(&selection, lister));
        let outcome = pass(&mut captures, Options::FRAMES, &mut merger, &failed)?;
        let (_, selecting) = merger.finish();
        let (tally, mut lister) = selecting.into_parts();
        lister.end();
        (outcome, Some(tally))
    };
    if let Some(error) = failed.take() {
        return Err(Failure::from(error));
    }

    match (args.format, args.ledger) {
        (Format::Table, only) => write_ledger(&mut out, &outcome, !only)?,
        (Format::Json, false) => {
            write!(out, "],\"spoken\":")?;
            json(&mut out, &spoken(&outcome))?;
            write!(out, ",\"ledger\":")?;
            json(&mut out, &outcome.ledger)?;
            writeln!(out, "}}")?;
        }
        (Format::Jsonl, _) | (Format::Json, true) => {
            let last = Last {
                schema: args.ledger.then_some(listing::SCHEMA),
                spoken: spoken(&outcome),
                ledger: &outcome.ledger,
            };
            json(&mut out, &last)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    drop(out);

    tell(&outcome, &captures.findings(), &alignments, tally)?;
    match outcome.ledger.check() {
        Ok(()) => Ok(exit::OK),
        Err(imbalance) => {
            let mut err = io::stderr().lock();
            let _ = writeln!(err, "meshproof: the ledger does not close: {imbalance}");
            let _ = writeln!(err, "  this is a defect of meshproof; please report it");
            Ok(exit::FAIL)
        }
    }
}

/// Reads to the end, or until writing failed.
fn pass<V: Visitor>(
    captures: &mut Captures,
    options: Options,
    visitor: &mut V,
    failed: &RefCell<Option<io::Error>>,
) -> Result<Outcome, Failure> {
    let mut pass = Pass::new(options);
    while let Some(packet) = captures.next().map_err(unreadable)? {
        pass.packet(&packet, visitor);
        if failed.borrow().is_some() {
            break;
        }
    }
    let mut outcome = pass.finish(visitor);
    outcome.add_findings(&captures.findings());
    Ok(outcome)
}

/// The last line of `--format jsonl`, and all of `--ledger --format json`.
#[derive(Serialize)]
struct Last<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<u32>,
    spoken: serde_json::Value,
    ledger: &'a CaptureLedger,
}

/// A listing with the other places where the call was seen.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    listing: Listing,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sightings: Vec<Sighting<'a>>,
}

/// Where a call was seen.
#[derive(Serialize)]
struct Sighting<'a> {
    source: &'a str,
    flow: String,
    connection: u32,
    hop: &'static str,
    packet: Option<u64>,
    at_ns: Option<u64>,
}

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
    offset_ns: Option<i64>,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    On,
    Off,
}

impl Colour {
    fn of_stdout() -> Colour {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted {
            Colour::On
        } else {
            Colour::Off
        }
    }
}

/// Writes calls as they come.
struct Lister<'a, W> {
    out: &'a mut W,
    format: Format,
    sources: &'a [String],
    alignments: &'a [Alignment],
    colour: Colour,
    begun: bool,
    listed: u64,
    /// Reused for each line of the table.
    line: String,
    failed: &'a RefCell<Option<io::Error>>,
}

impl<W: Write> Lister<'_, W> {
    fn end(&mut self) {
        if !self.begun {
            self.begin(None);
        }
    }

    fn begin(&mut self, start_ns: Option<u64>) {
        self.begun = true;
        let result = match self.format {
            Format::Json => self.begin_json(start_ns),
            Format::Jsonl => Ok(()),
            Format::Table => writeln!(
                self.out,
                "{:>8}  {:>12}  {:<43}  {:<9}  {:>10}  {:<36}  {:>8}  {:>9}  OUTCOME",
                "PACKET", "AT s", "FLOW", "KIND", "ID", "CALL", "BYTES", "TOOK ms"
            ),
        };
        self.keep(result);
    }

    fn begin_json(&mut self, start_ns: Option<u64>) -> io::Result<()> {
        write!(self.out, "{{\"schema\":{},\"start\":", listing::SCHEMA)?;
        json(self.out, &start_ns.map(listing::timestamp))?;
        if self.sources.len() > 1 {
            let sources: Vec<Source<'_>> = self
                .sources
                .iter()
                .enumerate()
                .map(|(at, name)| Source {
                    name,
                    offset_ns: self.alignments.get(at).and_then(|a| a.offset_ns),
                })
                .collect();
            write!(self.out, ",\"sources\":")?;
            json(self.out, &sources)?;
        }
        write!(self.out, ",\"exchanges\":[")
    }

    fn write(&mut self, call: &Call) -> io::Result<()> {
        let listing = Listing::of(call.exchange());
        if self.format == Format::Table {
            self.line.clear();
            let bad = row(&mut self.line, &listing, call);
            return match (bad, self.colour) {
                (Bad::Yes, Colour::On) => writeln!(self.out, "{}", self.line.red()),
                _ => writeln!(self.out, "{}", self.line),
            };
        }
        let sightings: Vec<Sighting<'_>> = call
            .sightings()
            .map(|exchange| {
                let half = exchange.request.as_ref().or(exchange.response.as_ref());
                let source = self.sources.get(usize::from(exchange.flow.source));
                Sighting {
                    source: source.map_or("", String::as_str),
                    flow: exchange.flow.to_string(),
                    connection: exchange.flow.connection,
                    hop: exchange.hop.name(),
                    packet: half.map(|half| half.mark.packet),
                    at_ns: half.map(|half| half.mark.at_ns),
                }
            })
            .collect();
        let entry = Entry {
            listing,
            sightings: if sightings.len() > 1 {
                sightings
            } else {
                Vec::new()
            },
        };
        match (self.format, self.listed) {
            (Format::Json, 0) => writeln!(self.out)?,
            (Format::Json, _) => writeln!(self.out, ",")?,
            _ => {}
        }
        json(self.out, &entry)?;
        if self.format == Format::Jsonl {
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }
}

impl<W: Write> Calls for Lister<'_, W> {
    fn start(&mut self, start_ns: u64) {
        self.begin(Some(start_ns));
    }

    fn call(&mut self, call: Call) {
        if self.failed.borrow().is_some() {
            return;
        }
        let result = self.write(&call);
        self.keep(result);
        self.listed += 1;
    }
}

fn json<W: Write>(out: &mut W, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// Whether a person should look at a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    Yes,
    No,
}

/// One line of the table.
fn row(line: &mut String, listing: &Listing, call: &Call) -> Bad {
    let request = listing.request.as_ref().map(|request| &request.frame);
    let response = listing.response.as_ref().map(|response| &response.frame);
    let first = request.or(response);
    let packet = first.map_or(0, |frame| frame.packet);
    let at = first.map_or(0.0, |frame| frame.at_ns as f64 / 1e9);
    let bytes = request.map_or(0, |f| f.bytes) + response.map_or(0, |f| f.bytes);
    let took = match (request, response) {
        (Some(request), Some(response)) => {
            let ns = response.at_ns.saturating_sub(request.at_ns);
            format!("{:.3}", ns as f64 / 1e6)
        }
        _ => "-".to_owned(),
    };
    let mut flow = listing.flow.clone();
    if listing.connection > 1 {
        let _ = write!(flow, " #{}", listing.connection);
    }
    // Writing to a String does not fail.
    let _ = write!(
        line,
        "{packet:>8}  {at:>12.6}  {flow:<43}  {:<9}  {:>10}  {:<36}  {bytes:>8}  {took:>9}  ",
        listing.kind,
        listing.id,
        printable(&what(listing)),
    );
    let mut bad = Bad::No;
    match &listing.response {
        Some(answer) => {
            let is_exception = answer.exception == Some(true);
            match answer.status.as_deref() {
                Some("success") if is_exception => line.push_str("exception"),
                Some(status) => line.push_str(status),
                None => line.push_str(listing.outcome),
            }
            if is_exception
                || answer
                    .status
                    .as_deref()
                    .is_some_and(|status| status != "success")
            {
                bad = Bad::Yes;
            }
            if listing.outcome == "orphan-response" {
                line.push_str(", orphan-response");
                bad = Bad::Yes;
            }
        }
        None => {
            line.push_str(listing.outcome);
            if listing.outcome == "unanswered" {
                bad = Bad::Yes;
            }
        }
    }
    let crcs = [
        listing.request.as_ref().and_then(|r| r.crc),
        listing.response.as_ref().and_then(|r| r.crc),
    ];
    let missing = request.map_or(0, |f| f.missing) + response.map_or(0, |f| f.missing);
    if listing.late {
        line.push_str(", late");
    }
    if crcs.contains(&Some("bad")) {
        line.push_str(", bad crc");
        bad = Bad::Yes;
    }
    if missing > 0 {
        let _ = write!(line, ", {missing} bytes missing");
        bad = Bad::Yes;
    }
    if let Some(vip) = &listing.vip {
        let _ = write!(line, ", vip {}", printable(vip));
    }
    if let Some(datas) = listing.response.as_ref().and_then(|r| r.datas.as_ref()) {
        let _ = match &datas[..] {
            [] => write!(line, ", no address"),
            [one] => write!(line, ", {}", printable(one)),
            [first, rest @ ..] => {
                write!(line, ", {} and {} more", printable(first), rest.len())
            }
        };
    }
    if listing.from == "server" {
        line.push_str(", from server");
    }
    let sightings = call.sightings().count();
    if sightings > 1 {
        let _ = write!(line, ", seen {sightings} times");
    }
    bad
}

/// The call in a few words: service without its package and method, or the class.
fn what(listing: &Listing) -> String {
    if listing.kind == ExchangeKind::MeshApi.name() && listing.service.is_none() {
        let words = [listing.method.as_deref(), listing.app.as_deref()];
        return words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    }
    if let Some(service) = &listing.service {
        let (name, version) = service.split_once(':').unwrap_or((service, ""));
        let short = name.rsplit('.').next().unwrap_or(name);
        let colon = if version.is_empty() { "" } else { ":" };
        let method = listing.method.as_deref().unwrap_or("?");
        return format!("{short}{colon}{version} {method}");
    }
    if listing.kind == ExchangeKind::Heartbeat.name() {
        return String::new();
    }
    let class = listing
        .request
        .as_ref()
        .and_then(|request| request.frame.class.as_deref())
        .or_else(|| listing.response.as_ref()?.frame.class.as_deref());
    class
        .and_then(|class| class.rsplit('.').next())
        .unwrap_or_default()
        .to_owned()
}

/// What a capture says is not trusted with the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The sums, as a person reads them.
fn write_ledger<W: Write>(out: &mut W, outcome: &Outcome, apart: bool) -> io::Result<()> {
    let CaptureLedger { gaps, findings, .. } = &outcome.ledger;
    if apart {
        writeln!(out)?;
    }
    for sum in outcome.ledger.sums() {
        let parts: Vec<String> = sum
            .parts
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| format!("{n} {}", name.replace('_', "-")))
            .collect();
        let equals = if parts.is_empty() { "" } else { " = " };
        let (name, _) = sum.name.split_once('.').unwrap_or((sum.name, ""));
        writeln!(out, "{name:<8} {}{equals}{}", sum.total, parts.join(" + "))?;
    }
    let missing: u64 = gaps.iter().map(|gap| gap.length).sum();
    let unlisted = findings.get("gaps-not-listed").copied().unwrap_or(0);
    let count = gaps.len() as u64 + unlisted;
    match (count, unlisted) {
        (0, _) => writeln!(out, "gaps     none")?,
        (_, 0) => writeln!(out, "gaps     {count}, {missing} bytes missing")?,
        _ => writeln!(out, "gaps     {count}, more than {missing} bytes missing")?,
    }
    let spoken: Vec<String> = outcome
        .spoken
        .iter()
        .map(|(name, spoken)| format!("{} {name}", spoken.flows))
        .collect();
    let equals = if spoken.is_empty() { "" } else { " = " };
    writeln!(
        out,
        "flows    {}{equals}{}",
        outcome.flows,
        spoken.join(" + ")
    )
}

fn spoken(outcome: &Outcome) -> serde_json::Value {
    outcome
        .spoken
        .iter()
        .map(|(name, spoken)| {
            let acceptors: Vec<String> = spoken.acceptors.iter().map(ToString::to_string).collect();
            let value = serde_json::json!({
                "flows": spoken.flows,
                "bytes": spoken.bytes,
                "acceptors": acceptors,
            });
            ((*name).to_owned(), value)
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Findings, and what to do about them.
fn tell(
    outcome: &Outcome,
    files: &[Finding],
    alignments: &[Alignment],
    tally: Option<Tally>,
) -> io::Result<()> {
    let mut err = io::stderr().lock();
    for finding in files {
        writeln!(err, "finding: {finding}")?;
    }
    for (name, count) in &outcome.ledger.findings {
        // Those of files were told with their place.
        if !name.starts_with("capture-") {
            writeln!(err, "finding: {name}: {count}")?;
        }
    }
    if outcome.ledger.packets.truncated > 0 {
        let cut = outcome.ledger.packets.truncated;
        writeln!(
            err,
            "finding: {cut} packets were cut by the snaplen; capture with `tcpdump -s 0`"
        )?;
    }
    for (name, spoken) in &outcome.spoken {
        let advice = match *name {
            "tls" => {
                "capture where the same traffic is plain: on loopback, port 12199 (sidecar to \
                 app) and port 12220 (app to sidecar)"
            }
            "silent" | "undecided" => continue,
            name if name.starts_with("bolt") || matches!(name, "tr" | "mesh-api") => continue,
            _ => "counted as foreign; this protocol is not decoded",
        };
        let acceptors: Vec<String> = spoken.acceptors.iter().map(ToString::to_string).collect();
        writeln!(
            err,
            "finding: {name}: {} flows, {} bytes, to {}: {advice}",
            spoken.flows,
            spoken.bytes,
            acceptors.join(", ")
        )?;
    }
    for alignment in alignments {
        match alignment.offset_ns {
            Some(offset_ns) => writeln!(
                err,
                "clock: {}: {:+.6} s, from {} shared segments",
                alignment.source,
                offset_ns as f64 / 1e9,
                alignment.segments
            )?,
            None => writeln!(
                err,
                "clock: {}: unknown, no segment is shared with another capture point",
                alignment.source
            )?,
        }
    }
    if let Some(tally) = tally
        && tally.unanswerable > 0
    {
        writeln!(
            err,
            "finding: --where has no answer for {} calls (a field is null there); they are left out",
            tally.unanswerable
        )?;
    }
    Ok(())
}
