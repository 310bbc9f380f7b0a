//! A capture becomes another one in which nothing of the original deployment is left.
//!
//! Two passes over the same packets. The first one reads the streams and notes, for each frame,
//! which bytes become which. The second one follows every segment to its place in the stream and
//! gives it the bytes that are there now: so copies that were sent again, in whatever cut,
//! sequence and acknowledgement numbers and blocks of selective ones all follow by one function.
//!
//! The map reaches addresses and ports of packets, header maps and every string of a body, and
//! the IPv4 address in hex at the front of SOFA trace ids. What cannot be understood is left out
//! or becomes zeros unless the map says `keep`, and is counted in the [`Summary`].
//!
//! **Invariants:** what no rule concerns is copied as it came; a frame that was rewritten decodes
//! to the same structure, or is emptied and counted; nothing here reads a clock.
//!
//! **Limits:** what the first pass notes is bounded by [`Limits::plan_bytes_max`].

mod address;
pub(crate) mod checksum;
mod frame;
mod header_map;
mod hessian;
mod json;
mod lines;
mod link;
mod packet;
mod plan;
mod propose;
mod pseudonym;
mod selected;
mod shape;
mod stream_plan;
mod summary;
mod text;

use std::io::Write;
use std::sync::Arc;

use meshproof_wire::decoder::Decoded;

use crate::capture::{self, Captures, Packet, Packets, Writer};
use crate::exchange::Exchange;
use crate::map::{Keep, Map};
use crate::pipeline::{self, Options, Visitor};
use crate::select::Selection;
use crate::stream::{Direction, Flow, Mark};
use packet::{Editor, Made};
use plan::{Plan, Planner};
use selected::{Finder, Selected};
use text::{Hits, Rules};

pub use propose::propose;
pub use summary::{Frames, Packets as PacketCounts, RuleUse, Summary};

/// What a rewrite holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for what changes: 32 and the new bytes for each edit.
    pub plan_bytes_max: usize,
}

impl Limits {
    /// 1 GiB, which is some ten million changed strings.
    pub const USUAL: Limits = Limits {
        plan_bytes_max: 1 << 30,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::USUAL
    }
}

/// Why a rewrite cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The capture cannot be read (again).
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// The output cannot be written.
    #[error("writing the rewritten capture: {0}")]
    Write(#[source] std::io::Error),
    /// There is more to change than is held in memory.
    #[error(
        "more than {plan_bytes_max} bytes are needed to note what changes; rewrite a part of the capture at a time"
    )]
    TooMuch {
        /// The limit.
        plan_bytes_max: usize,
    },
}

/// Rewrites captures by a map into one pcapng.
///
/// Reads twice, so that what can be read once only (a pipe) is refused. With a map that hides
/// nothing every packet is copied.
///
/// # Errors
/// The captures cannot be read, the output cannot be written, or the limit is reached.
pub fn rewrite<W: Write>(
    captures: &mut Captures,
    map: &Map,
    limits: Limits,
    out: &mut Writer<W>,
) -> Result<Summary, Error> {
    rewrite_selected(captures, map, &Selection::default(), limits, out)
}

/// Rewrites a part of captures: packets within the selection's times; with an expression, a hop or
/// a sample only those of connections that hold a call that it takes. Other packets are left out
/// and counted as `not-selected`. Rules and frames are counted over everything that was read.
///
/// # Errors
/// As [`rewrite`].
pub fn rewrite_selected<W: Write>(
    captures: &mut Captures,
    map: &Map,
    selection: &Selection,
    limits: Limits,
    out: &mut Writer<W>,
) -> Result<Summary, Error> {
    let takes_all = !selection.is_by_time() && !selection.is_by_call();
    let keep = match map.hides_nothing() {
        true if takes_all => return copy(captures, out),
        true => Keep::ALL,
        false => map.keep,
    };
    let rules = Rules::new(map);
    let (plan, hits, mut summary) = plan(captures, keep, selection, &rules, limits)?;
    read_besides(captures, &mut summary);
    captures.rewind()?;
    edit(captures, map, keep, &rules, &plan, hits, summary, out)
}

/// Counts what the reader told, and what it passed over: none of it is carried over.
fn read_besides(captures: &Captures, summary: &mut Summary) {
    for finding in captures.findings() {
        summary.find(finding.what.name(), finding.count);
    }
    for (name, count) in captures.beside().counts() {
        summary.find(name, count);
    }
}

/// How both passes follow streams; the same for both, so that they see the same connections.
const OPTIONS: Options = Options::FRAMES;

/// What the first pass found out.
struct Planned<'a> {
    plan: Plan,
    selected: Selected<'a>,
}

/// The first pass.
fn plan<'a, P: Packets>(
    packets: &mut P,
    keep: Keep,
    selection: &'a Selection,
    rules: &Rules,
    limits: Limits,
) -> Result<(Planned<'a>, Hits, Summary), Error> {
    let planner = Planner::new(rules, keep, limits.plan_bytes_max);
    let mut both = Both(planner, Finder::new(selection));
    let outcome = pipeline::read(packets, &OPTIONS, &mut both)?;
    let Both(planner, finder) = both;
    if planner.is_full() {
        let plan_bytes_max = limits.plan_bytes_max;
        return Err(Error::TooMuch { plan_bytes_max });
    }
    let (plan, hits, mut summary) = planner.finish();
    for (name, count) in &outcome.ledger.findings {
        summary.find(name, *count);
    }
    let (selected, tally) = finder.finish();
    summary.find("where-without-answer", tally.unanswerable);
    Ok((Planned { plan, selected }, hits, summary))
}

/// What changes, and what is wanted.
struct Both<'r, 's>(Planner<'r>, Finder<'s>);

impl Visitor for Both<'_, '_> {
    fn start(&mut self, start_ns: u64) {
        self.1.start(start_ns);
    }
    fn opened(&mut self, flow: &Arc<Flow>) {
        self.0.opened(flow);
    }
    fn bytes(&mut self, flow: &Arc<Flow>, direction: Direction, offset: u64, bytes: &[u8]) {
        self.0.bytes(flow, direction, offset, bytes);
    }
    fn frame(&mut self, flow: &Arc<Flow>, direction: Direction, frame: &Decoded<Mark>) {
        self.0.frame(flow, direction, frame);
    }
    fn exchange(&mut self, exchange: Exchange) {
        self.1.exchange(exchange);
    }
}

/// The second pass, over the same packets.
#[expect(
    clippy::too_many_arguments,
    reason = "everything that the first pass leaves to the second"
)]
fn edit<P: Packets, W: Write>(
    packets: &mut P,
    map: &Map,
    keep: Keep,
    rules: &Rules,
    planned: &Planned<'_>,
    hits: Hits,
    summary: Summary,
    out: &mut Writer<W>,
) -> Result<Summary, Error> {
    let mut editor = Editor::new(rules, keep, planned, OPTIONS.stream, hits, summary);
    while let Some(packet) = packets.next()? {
        match editor.packet(&packet) {
            Made::Dropped => {}
            Made::Same => out.write(&packet).map_err(Error::Write)?,
            Made::Changed(parts) => {
                for (data, orig_len) in &parts {
                    out.write(&Packet {
                        data,
                        orig_len: *orig_len,
                        ..packet
                    })
                    .map_err(Error::Write)?;
                }
            }
        }
    }
    let Editor {
        mut summary, hits, ..
    } = editor;
    summary.rules = summary::rule_uses(map, &hits);
    debug_assert!(summary.closes());
    Ok(summary)
}

/// Nothing to hide: every packet as it is.
fn copy<W: Write>(captures: &mut Captures, out: &mut Writer<W>) -> Result<Summary, Error> {
    let mut summary = Summary {
        schema: Summary::SCHEMA,
        ..Summary::default()
    };
    while let Some(packet) = captures.next()? {
        out.write(&packet).map_err(Error::Write)?;
        summary.packets.read += 1;
        summary.packets.unchanged += 1;
        summary.packets.written += 1;
    }
    read_besides(captures, &mut summary);
    Ok(summary)
}

/// Rewrites what can be read once only, given twice.
pub(crate) fn rewrite_read_twice<P: Packets, W: Write>(
    first: &mut P,
    second: &mut P,
    map: &Map,
    out: &mut Writer<W>,
) -> Result<Summary, Error> {
    let rules = Rules::new(map);
    let selection = Selection::default();
    let (plan, hits, summary) = plan(first, map.keep, &selection, &rules, Limits::USUAL)?;
    edit(second, map, map.keep, &rules, &plan, hits, summary, out)
}

/// Uses a map on texts that hold a bit of everything.
pub(crate) fn check_texts(map: &Map) {
    let rules = Rules::new(map);
    let path = crate::map::Path::default();
    let place = text::Place {
        path: &path,
        header: Some("key"),
    };
    for text in [
        "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000&zone=GZ00A&appName=x",
        "0a0fe8f8179542344391810018173 10.15.246.182:12200,[fd00:1::1]:80 %3A10.1.1.1%3a9",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \u{674e}\u{96f7} \u{1f600} a.b.C:1.0",
    ] {
        let mut hits = Hits::new();
        if let Some(new) = rules.text(place, text, &mut hits) {
            // Replacements are bounded by the length of a map's text.
            assert!(new.len() <= text.len() * (1 + meshproof_input::TEXT_BYTES_MAX));
        }
    }
}
