//! Counters as Prometheus text (exposition format 0.0.4).
//!
//! Written by hand: the counters are plain atomics that the data thread owns, and a registry in
//! between would want to own them too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Counter, Gauge, Metrics, Outcome};
use crate::health::{State, What};

/// What is no counter.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// Name of the instance.
    pub name: &'a str,
    /// Its zone.
    pub zone: &'a str,
    /// Of the build.
    pub version: &'a str,
    /// Of the build; empty where nobody told.
    pub commit: &'a str,
    /// Of the build.
    pub profile: &'a str,
    /// Start, in seconds since 1970.
    pub started_s: f64,
    /// Since then, in nanoseconds.
    pub uptime_ns: u64,
    /// Where the sidecar stands.
    pub state: State,
    /// 12200 listens.
    pub listening: bool,
    /// Publications stand at the config center.
    pub registered: bool,
    /// The app is taken for lost.
    pub app_lost: bool,
    /// How often each event was told, by its name.
    pub events: &'a BTreeMap<&'static str, u64>,
    /// Lines that the log's file did not take.
    pub log_lines_lost: u64,
    /// The newest line is one of them.
    pub log_failing: bool,
}

/// Sides, in the order of the arrays in [`Metrics`].
const SIDES: [&str; 2] = ["inbound", "outbound"];

/// Finite buckets of the latency histogram: up to 2^24 µs, some 17 s.
const BUCKETS: usize = 25;

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP meshproof_{name} {help}");
        let _ = writeln!(self.0, "# TYPE meshproof_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0 += "meshproof_";
        self.0 += name;
        for (n, (key, text)) in labels.iter().enumerate() {
            self.0.push(if n == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{key}=\"{}\"", escape(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.family(name, "counter", help);
        self.sample(name, &[], counter.value());
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counters_by_side(&mut self, name: &str, help: &str, counters: &[Counter; 2]) {
        self.family(name, "counter", help);
        for (side, counter) in SIDES.iter().zip(counters) {
            self.sample(name, &[("side", side)], counter.value());
        }
    }

    fn gauges_by_side(&mut self, name: &str, help: &str, gauges: &[Gauge; 2]) {
        self.family(name, "gauge", help);
        for (side, gauge) in SIDES.iter().zip(gauges) {
            self.sample(name, &[("side", side)], gauge.value());
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Everything, as Prometheus reads it.
pub fn render(metrics: &Metrics, about: &About<'_>) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    sidecar(&mut text, about);
    calls(&mut text, metrics);
    connections(&mut text, metrics);
    control(&mut text, metrics);
    text.0
}

fn sidecar(text: &mut Text, about: &About<'_>) {
    text.family(
        "build_info",
        "gauge",
        "Always 1; the build stands in the labels.",
    );
    let labels = [
        ("name", about.name),
        ("zone", about.zone),
        ("version", about.version),
        ("commit", about.commit),
        ("profile", about.profile),
    ];
    text.sample("build_info", &labels, 1);
    text.gauge(
        "start_time_seconds",
        "When the sidecar started, in seconds since 1970.",
        about.started_s,
    );
    text.gauge(
        "uptime_seconds",
        "How long ago that was.",
        about.uptime_ns as f64 / 1e9,
    );
    text.family("state", "gauge", "1 for the state that the sidecar is in.");
    for state in State::ALL {
        let labels = [("state", state.name())];
        text.sample("state", &labels, u8::from(state == about.state));
    }
    text.gauge(
        "inbound_listening",
        "1 while 12200 listens.",
        u8::from(about.listening),
    );
    text.gauge(
        "registered",
        "1 while publications are to stand at the config center.",
        u8::from(about.registered),
    );
    text.gauge(
        "app_lost",
        "1 while the app does not answer heartbeats.",
        u8::from(about.app_lost),
    );
    text.family(
        "events_total",
        "counter",
        "State transitions and other events.",
    );
    for name in What::NAMES {
        let count = about.events.get(name).copied().unwrap_or(0);
        text.sample("events_total", &[("event", name)], count);
    }
    text.family(
        "log_lines_lost_total",
        "counter",
        "Lines that the log's file did not take.",
    );
    text.sample("log_lines_lost_total", &[], about.log_lines_lost);
    text.gauge(
        "log_failing",
        "1 while the newest line was lost.",
        u8::from(about.log_failing),
    );
}

fn calls(text: &mut Text, metrics: &Metrics) {
    text.family(
        "requests_total",
        "counter",
        "Requests that have ended, by how.",
    );
    for (side, outcomes) in SIDES.iter().zip(&metrics.requests) {
        for (outcome, counter) in Outcome::ALL.iter().zip(outcomes) {
            let labels = [("side", *side), ("outcome", outcome.name())];
            text.sample("requests_total", &labels, counter.value());
        }
    }
    let name = "request_duration_seconds";
    text.family(
        name,
        "histogram",
        "From the whole request to the whole answer, of answered requests.",
    );
    for (n, side) in SIDES.iter().enumerate() {
        let (Some(buckets), Some(sum_ns)) = (metrics.latency.get(n), metrics.latency_ns.get(n))
        else {
            continue;
        };
        let mut below = 0;
        for (exponent, bucket) in buckets.iter().enumerate() {
            below += bucket.value();
            if exponent < BUCKETS {
                let le = ((1u64 << exponent) as f64 / 1e6).to_string();
                let labels = [("side", *side), ("le", le.as_str())];
                text.sample("request_duration_seconds_bucket", &labels, below);
            }
        }
        let labels = [("side", *side), ("le", "+Inf")];
        text.sample("request_duration_seconds_bucket", &labels, below);
        let side = [("side", *side)];
        let sum = sum_ns.value() as f64 / 1e9;
        text.sample("request_duration_seconds_sum", &side, sum);
        text.sample("request_duration_seconds_count", &side, below);
    }
    text.gauge("in_flight", "Calls in flight.", metrics.in_flight.value());
    text.counter(
        "late_answers_total",
        "Answers that came after their request had ended; dropped.",
        &metrics.late_answers,
    );
    text.counter(
        "server_requests_refused_total",
        "Requests of a server for which no client could be told.",
        &metrics.server_requests_refused,
    );
    text.counter(
        "heartbeats_answered_total",
        "Heartbeats of clients and servers that the sidecar answered.",
        &metrics.heartbeats_answered,
    );
}

fn connections(text: &mut Text, metrics: &Metrics) {
    text.gauges_by_side(
        "client_connections",
        "Client connections that are open.",
        &metrics.clients,
    );
    text.counters_by_side(
        "client_connections_accepted_total",
        "Client connections accepted.",
        &metrics.accepted,
    );
    text.counters_by_side(
        "client_connections_refused_total",
        "Client connections closed at once, by a limit or the sidecar's state.",
        &metrics.refused,
    );
    text.gauge(
        "upstream_connections",
        "Upstream connections that are open, of all pools.",
        metrics.upstreams.value(),
    );
    for (name, help, counter) in [
        (
            "upstream_connections_opened_total",
            "Upstream connections opened.",
            &metrics.upstreams_opened,
        ),
        (
            "upstream_connect_failures_total",
            "Connects to an app or a provider that failed.",
            &metrics.connect_failures,
        ),
        (
            "upstream_half_open_total",
            "Upstream connections closed because their peer did not answer a heartbeat.",
            &metrics.half_open,
        ),
        (
            "foreign_connections_total",
            "Connections closed because of bytes of no served protocol.",
            &metrics.foreign,
        ),
        (
            "damaged_connections_total",
            "Connections closed because of a damaged frame (CRC, length).",
            &metrics.damaged,
        ),
        (
            "stuck_connections_total",
            "Connections closed because their peer read nothing while others waited for it.",
            &metrics.stuck,
        ),
    ] {
        text.counter(name, help, counter);
    }
}

fn control(text: &mut Text, metrics: &Metrics) {
    text.counter(
        "app_heartbeats_sent_total",
        "Heartbeats sent to the app.",
        &metrics.app_heartbeats_sent,
    );
    text.counter(
        "app_heartbeats_missed_total",
        "Heartbeats to the app that were not answered in time.",
        &metrics.app_heartbeats_missed,
    );
    text.family(
        "route_cache_total",
        "counter",
        "Looks into the routing cache: fresh, not there, of an older table.",
    );
    for (result, counter) in [
        ("hit", &metrics.cache_hits),
        ("miss", &metrics.cache_misses),
        ("stale", &metrics.cache_stale),
    ] {
        text.sample("route_cache_total", &[("result", result)], counter.value());
    }
    text.counter(
        "pushes_total",
        "Provider lists that the config center pushed.",
        &metrics.pushes,
    );
    text.counter(
        "pushes_ignored_total",
        "Of these, those that were not believed.",
        &metrics.pushes_ignored,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about<'a>(events: &'a BTreeMap<&'static str, u64>) -> About<'a> {
        About {
            name: "quoted \"name\"",
            zone: "z",
            version: "1.2.3",
            commit: "",
            profile: "debug",
            started_s: 1.5,
            uptime_ns: 2_500_000_000,
            state: State::Isolated,
            listening: false,
            registered: false,
            app_lost: true,
            events,
            log_lines_lost: 3,
            log_failing: true,
        }
    }

    /// Name, kind and number of samples of every family.
    fn families(text: &str) -> Vec<(&str, &str)> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect()
    }

    #[test]
    fn every_sample_belongs_to_the_family_above_it() {
        let events = BTreeMap::from([("app-lost", 3)]);
        let text = render(&Metrics::default(), &about(&events));
        let mut family = "";
        let mut samples = 0;
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                assert_ne!(samples, usize::MAX);
                family = head.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                assert!(name.starts_with(family), "{line} below {family}");
                value.parse::<f64>().unwrap();
                samples += 1;
            }
        }
        assert!(samples > 100, "{samples}");
        let mut names: Vec<_> = families(&text).into_iter().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for line in [
            r#"meshproof_build_info{name="quoted \"name\"",zone="z",version="1.2.3",commit="",profile="debug"} 1"#,
            r#"meshproof_state{state="isolated"} 1"#,
            r#"meshproof_state{state="serving"} 0"#,
            r#"meshproof_events_total{event="app-lost"} 3"#,
            "meshproof_uptime_seconds 2.5",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        metrics.latency[1][3].add(5);
        metrics.latency[1][10].add(2);
        metrics.latency[1][31].add(1);
        metrics.latency_ns[1].add(1_500_000_000);
        let text = render(&metrics, &about(&BTreeMap::new()));
        let value = |labels: &str| {
            let line = text.lines().find(|line| line.contains(labels)).unwrap();
            line.rsplit_once(' ').unwrap().1.to_owned()
        };
        let bucket = |le: &str| value(&format!("bucket{{side=\"outbound\",le=\"{le}\"}}"));
        assert_eq!(bucket("0.000004"), "0");
        assert_eq!(bucket("0.000008"), "5");
        assert_eq!(bucket("0.001024"), "7");
        assert_eq!(bucket("16.777216"), "7");
        assert_eq!(bucket("+Inf"), "8");
        assert_eq!(value("seconds_count{side=\"outbound\"}"), "8");
        assert_eq!(value("seconds_sum{side=\"outbound\"}"), "1.5");
    }

    /// docs/proxy.md and what is exposed: the same names, the same kinds.
    #[test]
    fn every_metric_is_documented_and_every_documented_metric_is_there() {
        let text = render(&Metrics::default(), &about(&BTreeMap::new()));
        let mut exposed = families(&text);
        exposed.sort_unstable();
        let docs = include_str!("../../../docs/proxy.md");
        let mut documented: Vec<(&str, &str)> = docs
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let name = cells.next()?.split(['`', '{']).next()?;
                let kind = cells.next()?;
                name.starts_with("meshproof_").then_some((name, kind))
            })
            .collect();
        documented.sort_unstable();
        assert_eq!(documented, exposed);
    }
}
