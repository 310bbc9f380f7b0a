//! Captures of a mesh, decoded for a reader: which frame went from whom to whom, and when.

use std::net::IpAddr;

use meshproof_record::case::FrameSeen;
use meshproof_replay::capture::{Captures, Inputs};
use meshproof_replay::exchange::{Exchange, listing::Listing};
use meshproof_replay::pipeline::{self, Options, Visitor};

use super::Captured;
use crate::environment::Pod;

/// Exchanges decoded of one pod; of more, the first go: the end of a story explains it.
const EXCHANGES_MAX: usize = 5_000;

/// Frames of every pod, in the order of time, and how many were left out. A frame that two pods
/// saw stands once, as the one who opened the connection saw it. What cannot be read is left out:
/// the files are there for whoever wants to know why.
///
/// `begun_ns` is the wall clock at the beginning, in nanoseconds since 1970; `behind` says whether
/// a pod has a sidecar.
pub fn frames(
    captured: &[Captured],
    pods: &[Pod],
    begun_ns: u64,
    behind: &dyn Fn(&str) -> bool,
) -> (Vec<FrameSeen>, u64) {
    let mut all = Vec::new();
    let mut left_out = 0;
    for one in captured {
        let mut taking = Taking::default();
        if let Ok(mut captures) = Captures::open(&Inputs::of(&one.files)) {
            // What was decoded until it went wrong is worth showing.
            let _ = pipeline::read(&mut captures, &Options::FRAMES, &mut taking);
        }
        left_out += taking.left_out;
        let start_ns = taking.start_ns;
        for exchange in &taking.exchanges {
            if seen_elsewhere(exchange, &one.at, pods) {
                continue;
            }
            let at = |ns: u64| start_ns.saturating_add(ns).saturating_sub(begun_ns);
            told(exchange, &one.at, pods, behind, &at, &mut all);
        }
    }
    all.sort_by_key(|frame| frame.at_ns);
    (all, left_out)
}

#[derive(Default)]
struct Taking {
    start_ns: u64,
    exchanges: std::collections::VecDeque<Exchange>,
    left_out: u64,
}

impl Visitor for Taking {
    fn start(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
    }

    fn exchange(&mut self, exchange: Exchange) {
        if self.exchanges.len() == EXCHANGES_MAX {
            self.exchanges.pop_front();
            self.left_out += 1;
        }
        self.exchanges.push_back(exchange);
    }
}

fn named(address: IpAddr, pods: &[Pod]) -> Option<&str> {
    let of_it = |pod: &&Pod| IpAddr::from(pod.address) == address;
    pods.iter().find(of_it).map(|pod| pod.name.as_str())
}

/// Whether the opener is another pod, which has seen it as well.
fn seen_elsewhere(exchange: &Exchange, at: &str, pods: &[Pod]) -> bool {
    named(exchange.flow.opener.ip(), pods).is_some_and(|opener| opener != at)
}

fn told(
    exchange: &Exchange,
    at: &str,
    pods: &[Pod],
    behind: &dyn Fn(&str) -> bool,
    at_ns: &dyn Fn(u64) -> u64,
    all: &mut Vec<FrameSeen>,
) {
    let (opener, acceptor) = (exchange.flow.opener, exchange.flow.acceptor);
    let port = acceptor.port();
    let who = |address: IpAddr, opens: bool| {
        let other = named(address, pods);
        let pod = other.unwrap_or(at);
        // Within a pod the port tells who is who; between pods it is the sidecar, where there is one.
        let inside = address.is_loopback() || other.is_none();
        let sidecar = match (inside, port) {
            (true, 12199) => opens,
            (true, 12220 | 13330) => !opens,
            (true, _) => false,
            (false, _) => behind(pod),
        };
        match (sidecar, inside || behind(pod)) {
            (true, _) => format!("{pod} sidecar"),
            (false, true) => format!("{pod} app"),
            (false, false) => pod.to_owned(),
        }
    };
    let (asks, answers) = (who(opener.ip(), true), who(acceptor.ip(), false));
    let from_server = exchange.from == meshproof_replay::exchange::From::Server;
    let (asks, answers) = match from_server {
        true => (answers, asks),
        false => (asks, answers),
    };
    let listing = Listing::of(exchange);
    let service = listing.service.as_deref().unwrap_or_default();
    // Behind the colon stands the version.
    let (service, _) = service.split_once(':').unwrap_or((service, ""));
    let service = service.rsplit('.').next().unwrap_or_default();
    let method = listing.method.as_deref().unwrap_or_default();
    let what = match (service, method) {
        ("", method) => method.to_owned(),
        (service, "") => service.to_owned(),
        (service, method) => format!("{service}.{method}"),
    };
    let frame = |at_ns: u64, from: &str, to: &str, kind: &str, what: String| FrameSeen {
        at_ns,
        at: at.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        port,
        protocol: listing.protocol.to_owned(),
        kind: kind.to_owned(),
        id: listing.id,
        what,
    };
    if let Some(asked) = &listing.request {
        let kind = match listing.kind {
            "call" | "mesh-api" => "request",
            other => other,
        };
        let what = match listing.outcome {
            "unanswered" => format!("{what} (unanswered)"),
            _ => what,
        };
        all.push(frame(at_ns(asked.frame.at_ns), &asks, &answers, kind, what));
    }
    if let Some(answered) = &listing.response {
        let mut what = match (&answered.status, answered.status_code) {
            (_, Some(0 | 200)) | (None, None) => String::new(),
            (Some(status), Some(code)) => format!("status {code} {status}"),
            (Some(status), None) => status.to_string(),
            (None, Some(code)) => format!("status {code}"),
        };
        if answered.exception == Some(true) && what.is_empty() {
            what = "exception".to_owned();
        }
        let kind = match listing.kind {
            "heartbeat" => "heartbeat",
            _ => "response",
        };
        let at = at_ns(answered.frame.at_ns);
        all.push(frame(at, &answers, &asks, kind, what));
    }
}
