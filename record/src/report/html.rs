//! One HTML file: no network, opens from disk, bounded in size. A page of a replay has no script;
//! one that shows cells of a matrix carries its own.
//!
//! Size: text is cut in [`View`], and this module shows at most the numbers of places, methods
//! and kinds named below; a page of hostile names stays under 2 MB.

use askama::Template;

use super::chart::{self, Series};
use super::json::QUANTILES;
use super::terminal::{quantile_text, steps};
use super::text::{self, duration, percent, thousands};
use super::view::{Group, Kept, View};
use crate::histogram::Histogram;
use crate::ledger::{self, CaptureLedger, ReplayLedger};
use crate::spread::Spread;
use crate::verdict::Verdict;

/// Places of difference shown on a page.
const PLACES_MAX: usize = 60;
/// Methods shown on a page.
const METHODS_MAX: usize = 100;
/// Claims, refusals and findings shown of each.
const KINDS_MAX: usize = 60;
/// Gaps of the capture shown.
const GAPS_MAX: usize = 40;
/// Characters of what is said of a spread.
const SPREAD_CHARS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    verdict: Badge,
    several: bool,
    /// Whether there are cases, which a script draws.
    scripted: bool,
    sections: Vec<Section>,
}

/// A verdict by word, shape and colour.
#[derive(Clone, Copy, Debug)]
pub struct Badge {
    /// The word, as in every output.
    pub word: &'static str,
    /// The class of style sheet and icon.
    pub class: &'static str,
}

impl Badge {
    /// Of a verdict.
    pub fn of(verdict: Verdict) -> Badge {
        let class = match verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Invalid => "invalid",
            Verdict::Unsupported => "unsupported",
            Verdict::Known => "known",
        };
        Badge {
            word: verdict.word(),
            class,
        }
    }
}

struct Section {
    id: String,
    folder: String,
    verdict: Badge,
    sentence: String,
    facts: Vec<(&'static str, String)>,
    tiles: Vec<Tile>,
    notes: Vec<String>,
    claims: Vec<ClaimLine>,
    cases: Option<String>,
    places: Vec<Place>,
    places_intro: String,
    places_more: u64,
    flow: Vec<FlowLine>,
    sums: Vec<Sum>,
    beside: Vec<(&'static str, String, &'static str)>,
    capture: Option<Capture>,
    quantile_names: Vec<&'static str>,
    quantiles: Vec<(&'static str, Vec<String>)>,
    plots: Vec<Plot>,
    spreads: Vec<(String, String, String)>,
    methods: Vec<MethodLine>,
    methods_more: usize,
    refusals: Vec<[String; 4]>,
    refusals_more: usize,
    findings: Vec<[String; 3]>,
    findings_more: usize,
    steps: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
    inputs: Vec<[String; 4]>,
}

struct Tile {
    number: String,
    label: String,
    class: &'static str,
}

struct ClaimLine {
    verdict: Badge,
    name: String,
    why: String,
    flaky: bool,
}

/// One place of difference, with its first examples.
struct Place {
    service: String,
    method: String,
    path: String,
    count: String,
    judged: bool,
    examples: Vec<Sides>,
}

struct Sides {
    exchange: String,
    recorded: Option<Split>,
    observed: Option<Split>,
}

/// A value, with the part that differs from the other side apart.
struct Split {
    front: String,
    differs: String,
    end: String,
}

/// One line of the ledger: a bucket under the bucket that it is part of.
struct FlowLine {
    depth: u8,
    name: String,
    count: String,
    share: String,
    bar_left: String,
    bar_width: String,
    class: &'static str,
}

struct Sum {
    text: String,
    closes: bool,
}

struct Capture {
    sums: Vec<Sum>,
    truncated: u64,
    gaps: Vec<[String; 5]>,
    gaps_total: String,
    gaps_more: usize,
}

struct Plot {
    svg: String,
    title: &'static str,
    class: &'static str,
}

struct MethodLine {
    service: String,
    method: String,
    numbers: Vec<(String, bool)>,
}

/// One page for any number of records, the worst verdict on top.
pub fn html(views: &[View], verdict: Verdict) -> String {
    let title = match views {
        [view] => format!("{verdict} · {}", text::tame(&view.folder, 80)),
        _ => format!(
            "{verdict} · {}",
            text::count(views.len() as u64, "record", "records")
        ),
    };
    let page = Page {
        title,
        verdict: Badge::of(verdict),
        several: views.len() > 1,
        scripted: views.iter().any(|view| view.cases.is_some()),
        sections: views
            .iter()
            .enumerate()
            .map(|(at, view)| section(at, view, views.len()))
            .collect(),
    };
    // Writing to memory cannot fail, and the template calls nothing that can.
    page.render().unwrap_or_default()
}

fn section(at: usize, view: &View, sections: usize) -> Section {
    let within = |limit: usize| (limit / sections).max(3);
    let mut places: Vec<&Group> = view.groups.iter().collect();
    places.truncate(within(PLACES_MAX));
    let judged = view
        .groups
        .iter()
        .filter(|group| group.judged == Kept::Judged)
        .count();
    Section {
        id: format!("r{}", at + 1),
        folder: text::tame(&view.folder, 160),
        verdict: Badge::of(view.verdict),
        sentence: view.sentence(),
        facts: facts(view),
        tiles: tiles(view),
        notes: view.notes.clone(),
        claims: view.claims.iter().take(KINDS_MAX).map(claim).collect(),
        cases: view
            .cases
            .as_ref()
            .map(|cases| super::cases::page::page(cases, &format!("r{}", at + 1))),
        places_intro: format!(
            "{}, in {}.",
            text::differ(
                view.differing,
                view.replay.as_ref().map_or(0, |replay| replay.compared)
            ),
            text::count(judged as u64, "place", "places"),
        ),
        places_more: (view.groups.len() - places.len()) as u64 + view.groups_left_out,
        places: places.into_iter().map(place).collect(),
        flow: view
            .replay
            .as_ref()
            .map(|replay| flow(replay, view))
            .unwrap_or_default(),
        sums: view
            .replay
            .iter()
            .flat_map(ReplayLedger::sums)
            .map(|sum| line(&sum))
            .collect(),
        beside: view.replay.as_ref().map(beside).unwrap_or_default(),
        capture: view.capture.as_ref().map(capture),
        quantile_names: QUANTILES
            .iter()
            .map(|(name, _)| if *name == "p999" { "p99.9" } else { name })
            .collect(),
        quantiles: [("latency", &view.latency), ("lateness", &view.lateness)]
            .into_iter()
            .filter_map(|(name, values)| Some((name, quantiles(values.as_ref()?)?)))
            .collect(),
        plots: plots(view),
        spreads: view.spreads.iter().filter_map(spread).collect(),
        methods: view
            .methods
            .iter()
            .take(within(METHODS_MAX))
            .map(method)
            .collect(),
        methods_more: view.methods.len().saturating_sub(within(METHODS_MAX)),
        refusals: view
            .refusals
            .iter()
            .take(within(KINDS_MAX))
            .map(|refusal| {
                [
                    thousands(refusal.count),
                    refusal.name.clone(),
                    refusal.target.clone(),
                    refusal.reason.clone(),
                ]
            })
            .collect(),
        refusals_more: view.refusals.len().saturating_sub(within(KINDS_MAX)),
        findings: view
            .findings
            .iter()
            .take(within(KINDS_MAX))
            .map(|finding| {
                [
                    thousands(finding.count),
                    finding.name.clone(),
                    finding.text.clone(),
                ]
            })
            .collect(),
        findings_more: view.findings.len().saturating_sub(within(KINDS_MAX)),
        // The first step is to make this page.
        steps: steps(view).into_iter().skip(1).collect(),
        environment: environment(view),
        inputs: view
            .inputs
            .iter()
            .take(within(KINDS_MAX))
            .map(|input| {
                [
                    text::tame(&input.role, 40),
                    text::tame(&input.path, 200),
                    text::bytes(input.bytes),
                    text::tame(&input.blake3, 64),
                ]
            })
            .collect(),
    }
}

fn facts(view: &View) -> Vec<(&'static str, String)> {
    let mut facts = vec![("record", text::tame(&view.folder, 160))];
    if let Some(start) = &view.start {
        facts.push(("began", moment(&start.started)));
    }
    match &view.ended {
        Some((_, elapsed_ns)) => facts.push(("took", duration(*elapsed_ns))),
        None => facts.push(("took", "cut off".into())),
    }
    if let Some(start) = &view.start {
        facts.push(("meshproof", text::tame(&start.version, 40)));
    }
    facts
}

/// `2026-11-23 13:45:12 UTC` out of an RFC 3339 time; whatever else it is, tamed.
pub fn moment(rfc3339: &str) -> String {
    let seconds = rfc3339.get(..19).filter(|_| rfc3339.ends_with('Z'));
    match seconds {
        Some(seconds) => format!("{} UTC", seconds.replace('T', " ")),
        None => text::tame(rfc3339, 40),
    }
}

fn tiles(view: &View) -> Vec<Tile> {
    let tile = |number: String, label: &str, class| Tile {
        number,
        label: label.into(),
        class,
    };
    let mut tiles = Vec::new();
    if let Some(replay) = &view.replay {
        let missing = view.missing_timed_out + view.missing_lost;
        tiles.push(tile(thousands(replay.sent), "requests sent", ""));
        tiles.push(tile(thousands(replay.compared), "answers compared", ""));
        tiles.push(tile(
            thousands(view.differing),
            "differ",
            if view.differing > 0 { "bad" } else { "" },
        ));
        tiles.push(tile(
            thousands(missing),
            "recorded answers missing",
            if missing > 0 { "bad" } else { "" },
        ));
    }
    for (values, p99, max) in [
        (&view.latency, "p99 latency", "greatest latency"),
        (
            &view.lateness,
            "p99 lateness of sends",
            "greatest lateness of sends",
        ),
    ] {
        let Some(values) = values.as_ref().filter(|values| values.count > 0) else {
            continue;
        };
        tiles.push(match values.supported_quantile_ns(0.99) {
            Some(ns) => tile(duration(ns), p99, ""),
            None => tile(duration(values.max_ns), max, ""),
        });
    }
    tiles
}

fn claim(claim: &crate::verdict::Claim) -> ClaimLine {
    ClaimLine {
        verdict: Badge::of(claim.verdict),
        name: claim.name.clone(),
        why: claim.why.clone(),
        flaky: claim.flaky,
    }
}

fn place(group: &Group) -> Place {
    let (service, method) = break_name(&group.name(), &group.method);
    Place {
        service,
        method,
        path: group.path.clone(),
        count: text::count(group.count, "answer", "answers"),
        judged: group.judged == Kept::Judged,
        examples: group
            .examples
            .iter()
            .map(|example| {
                let (recorded, observed) = match (&example.recorded, &example.observed) {
                    (Some(a), Some(b)) => {
                        let (front, in_a, in_b, end) = text::split_common(a, b);
                        let split = |differs: &str| Split {
                            front: front.into(),
                            differs: differs.into(),
                            end: end.into(),
                        };
                        (Some(split(in_a)), Some(split(in_b)))
                    }
                    (a, b) => (a.as_deref().map(whole), b.as_deref().map(whole)),
                };
                Sides {
                    exchange: thousands(example.exchange),
                    recorded,
                    observed,
                }
            })
            .collect(),
    }
}

/// A name in two parts, so that a narrow column breaks it between service and method.
fn break_name(name: &str, method: &str) -> (String, String) {
    match name.strip_suffix(method) {
        Some(service) if !method.is_empty() => (service.into(), method.into()),
        _ => (name.into(), String::new()),
    }
}

fn whole(text: &str) -> Split {
    Split {
        front: String::new(),
        differs: text.into(),
        end: String::new(),
    }
}

/// The ledger as a tree of buckets. A bar is as long as its share of all that was recorded and
/// starts where the bucket before it in the same sum ends, so that parts visibly fill the whole.
fn flow(ledger: &ReplayLedger, view: &View) -> Vec<FlowLine> {
    let differing = view.differing;
    let whole = ledger.recorded;
    let mut lines = Vec::new();
    let mut push = |depth: u8, name: String, count: u64, left: u64, class: &'static str| {
        let at = |n: u64| {
            let share = n as f64 / whole.max(1) as f64 * 100.0;
            format!("{:.3}", share.clamp(0.0, 100.0))
        };
        lines.push(FlowLine {
            depth,
            name,
            count: thousands(count),
            share: percent(count, whole),
            bar_left: at(left),
            bar_width: at(count),
            class,
        });
        left.saturating_add(count)
    };
    push(0, "recorded".into(), whole, 0, "");
    push(1, "sent".into(), ledger.sent, 0, "");
    push(2, "answered".into(), ledger.answered, 0, "");
    let at = push(3, "compared".into(), ledger.compared, 0, "");
    let equal = ledger.compared.saturating_sub(differing);
    let differ_at = push(4, "equal".into(), equal, 0, "good");
    if differing > 0 {
        push(4, "different".into(), differing, differ_at, "bad");
    }
    if ledger.not_comparable > 0 {
        push(
            3,
            "not comparable".into(),
            ledger.not_comparable,
            at,
            "aside",
        );
    }
    let mut at = ledger.answered;
    for (name, count, class) in [
        ("oneway, no answer expected", ledger.oneway, "aside"),
        (
            "timed out, as no answer is recorded",
            ledger.timed_out.saturating_sub(view.missing_timed_out),
            "aside",
        ),
        (
            "timed out, though an answer is recorded",
            view.missing_timed_out.min(ledger.timed_out),
            "bad",
        ),
    ] {
        if count > 0 {
            at = push(2, name.into(), count, at, class);
        }
    }
    let lost_class = if view.missing_lost > 0 {
        "bad"
    } else {
        "aside"
    };
    for (reason, count) in &ledger.lost {
        at = push(
            2,
            format!("lost: {}", text::tame(reason, 80)),
            *count,
            at,
            lost_class,
        );
    }
    let mut at = ledger.sent;
    for (reason, count) in ledger.refused.iter().take(KINDS_MAX) {
        at = push(
            1,
            format!("refused: {}", text::tame(reason, 80)),
            *count,
            at,
            "warn",
        );
    }
    for (reason, count) in ledger.skipped.iter().take(KINDS_MAX) {
        at = push(
            1,
            format!("skipped: {}", text::tame(reason, 80)),
            *count,
            at,
            "aside",
        );
    }
    lines
}

/// A sum as a line, its bucket names as words.
fn line(sum: &ledger::Sum) -> Sum {
    let words = |name: &str| match name.split_once('.') {
        Some((of, "total")) => of.to_owned(),
        Some((of, what)) => format!("{what} {of}"),
        None => name.replace('_', " "),
    };
    let parts: Vec<String> = sum
        .parts
        .iter()
        .map(|(name, n)| format!("{} {}", thousands(*n), words(name)))
        .collect();
    Sum {
        text: format!(
            "{} {} {} {}",
            thousands(sum.total),
            words(sum.name),
            if sum.closes() { "=" } else { "≠" },
            parts.join(" + ")
        ),
        closes: sum.closes(),
    }
}

fn beside(ledger: &ReplayLedger) -> Vec<(&'static str, String, &'static str)> {
    let bad = |n: u64| if n > 0 { "bad" } else { "" };
    vec![
        ("late answers", thousands(ledger.late), ""),
        (
            "surplus answers",
            thousands(ledger.surplus),
            bad(ledger.surplus),
        ),
    ]
}

fn capture(ledger: &CaptureLedger) -> Capture {
    Capture {
        sums: ledger.sums().iter().map(line).collect(),
        truncated: ledger.packets.truncated,
        gaps: ledger
            .gaps
            .iter()
            .take(GAPS_MAX)
            .map(|gap| {
                [
                    text::tame(&gap.flow, 120),
                    text::tame(&gap.direction, 40),
                    thousands(gap.offset),
                    thousands(gap.length),
                    text::tame(&gap.reason, 40),
                ]
            })
            .collect(),
        gaps_total: text::count(ledger.gaps.len() as u64, "gap", "gaps"),
        gaps_more: ledger.gaps.len().saturating_sub(GAPS_MAX),
    }
}

fn quantiles(values: &Histogram) -> Option<Vec<String>> {
    if values.count == 0 {
        return None;
    }
    let mut cells = Vec::new();
    for (_, quantile) in QUANTILES {
        cells.push(quantile_text(values, quantile));
    }
    cells.push(duration(values.max_ns));
    cells.push(thousands(values.count));
    Some(cells)
}

/// Its name, its picture, and what the test says.
fn spread(spread: &Spread) -> Option<(String, String, String)> {
    let svg = chart::spread(spread)?;
    Some((
        text::tame(&spread.name, SPREAD_CHARS_MAX),
        svg,
        text::tame(&spread.test, SPREAD_CHARS_MAX),
    ))
}

fn plots(view: &View) -> Vec<Plot> {
    let series: Vec<Series<'_>> = [
        ("latency", "s1", &view.latency),
        ("lateness", "s2", &view.lateness),
    ]
    .into_iter()
    .filter_map(|(name, class, values)| {
        let values = values.as_ref()?;
        Some(Series {
            name,
            class,
            values,
        })
    })
    .collect();
    let mut plots = Vec::new();
    let title = "Lateness of sends over time";
    if let Some(svg) = chart::worst_over_time(title, &view.timeline, |bin| bin.lateness_ns) {
        plots.push(Plot {
            svg,
            title,
            class: "",
        });
    }
    let title = "Latency over time";
    if let Some(svg) = chart::worst_over_time(title, &view.timeline, |bin| bin.latency_ns) {
        plots.push(Plot {
            svg,
            title,
            class: "",
        });
    }
    let title = match series.len() {
        2 => "Latency and lateness by percentile",
        _ => "Latency by percentile",
    };
    // Two timelines above each other leave room for one tall plot beside them.
    let (height, class) = match plots.len() {
        2 => (chart::HEIGHT_TALL, "tall"),
        _ => (chart::HEIGHT, ""),
    };
    if let Some(svg) = chart::percentiles(title, height, &series) {
        plots.insert(0, Plot { svg, title, class });
    }
    plots
}

fn method(method: &super::view::Method) -> MethodLine {
    let time = |quantile| (quantile_text(&method.latency, quantile), false);
    let number = |n: u64| (thousands(n), false);
    let wrong = |n: u64| (thousands(n), n > 0);
    let name = method.name();
    let (service, method_name) = break_name(&name, &method.method);
    MethodLine {
        service,
        method: method_name,
        numbers: vec![
            number(method.sent),
            number(method.answered),
            number(method.compared),
            wrong(method.differing),
            (
                thousands(method.timed_out + method.lost),
                method.missing > 0,
            ),
            number(method.refused),
            time(0.5),
            time(0.99),
        ],
    }
}

fn environment(view: &View) -> Vec<(&'static str, String)> {
    let Some(start) = &view.start else {
        return Vec::new();
    };
    let machine = &start.machine;
    vec![
        ("run", text::tame(&start.run, 40)),
        ("seed", start.seed.to_string()),
        ("started", text::tame(&start.started, 40)),
        (
            "ended",
            view.ended
                .as_ref()
                .map_or("cut off".into(), |(at, _)| text::tame(at, 40)),
        ),
        (
            "machine",
            text::tame(
                &format!("{} {} {}", machine.os, machine.kernel, machine.arch),
                120,
            ),
        ),
        ("processors", thousands(u64::from(machine.cpus))),
        ("exchanges", thousands(view.rows)),
    ]
}
