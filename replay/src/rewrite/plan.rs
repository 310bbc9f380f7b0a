//! First pass: what changes in every stream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meshproof_wire::decoder::Decoded;
use meshproof_wire::{Head, Protocol};

use super::frame::{self, Notes};
use super::stream_plan::StreamPlan;
use super::summary::Summary;
use super::text::{Hits, Rules};
use crate::map::Keep;
use crate::pipeline::Visitor;
use crate::stream::{Direction, Flow, FlowId, Mark};

/// What is to be done with one connection.
#[derive(Debug, Default)]
pub(super) struct FlowPlan {
    pub(super) to_acceptor: StreamPlan,
    pub(super) to_opener: StreamPlan,
    /// Payload was seen.
    has_bytes: bool,
    /// A frame was seen, whole or cut.
    is_known: bool,
    /// The new port of the opener, where two connections would have become one.
    pub(super) opener_port: Option<u16>,
}

impl FlowPlan {
    pub(super) fn of(&self, direction: Direction) -> &StreamPlan {
        match direction {
            Direction::ToAcceptor => &self.to_acceptor,
            Direction::ToOpener => &self.to_opener,
        }
    }

    /// It carries payload, and no frame of a known protocol.
    pub(super) fn is_foreign(&self) -> bool {
        self.has_bytes && !self.is_known
    }
}

/// What changes in every stream of a capture.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By flow number.
    flows: Vec<FlowPlan>,
}

impl Plan {
    pub(super) fn flow(&self, id: FlowId) -> Option<&FlowPlan> {
        self.flows.get(id.0 as usize)
    }
}

/// Looks at every frame and notes what changes.
pub(super) struct Planner<'a> {
    rules: &'a Rules,
    keep: Keep,
    plan: Plan,
    taken: HashMap<(SocketAddr, SocketAddr, u16), (SocketAddr, SocketAddr)>,
    cost: usize,
    cost_max: usize,
    pub(super) hits: Hits,
    pub(super) summary: Summary,
}

/// First port given to an opener that has to move (the dynamic range of RFC 6335).
const MOVED_PORT_FROM: u16 = 49152;

impl<'a> Planner<'a> {
    pub(super) fn new(rules: &'a Rules, keep: Keep, cost_max: usize) -> Planner<'a> {
        Planner {
            rules,
            keep,
            plan: Plan::default(),
            taken: HashMap::new(),
            cost: 0,
            cost_max,
            hits: Hits::new(),
            summary: Summary {
                schema: Summary::SCHEMA,
                ..Summary::default()
            },
        }
    }

    /// Whether the limit on what is noted was reached; the plan is of no use then.
    pub(super) fn is_full(&self) -> bool {
        self.cost > self.cost_max
    }

    pub(super) fn finish(mut self) -> (Plan, Hits, Summary) {
        for flow in &mut self.plan.flows {
            flow.to_acceptor.shrink();
            flow.to_opener.shrink();
        }
        (self.plan, self.hits, self.summary)
    }

    fn flow(&mut self, id: FlowId) -> Option<&mut FlowPlan> {
        let at = id.0 as usize;
        if self.plan.flows.len() <= at {
            self.plan.flows.resize_with(at + 1, FlowPlan::default);
        }
        self.plan.flows.get_mut(at)
    }

    fn note(&mut self, notes: &Notes) {
        let summary = &mut self.summary;
        summary.find("header-map-damaged", notes.header_damage);
        summary.find("header-value-not-text", notes.header_not_text);
        summary.find("header-map-overflow", notes.header_overflow);
        summary.find("body-bytes-not-understood", notes.body_bytes);
        summary.find("body-of-other-codec", notes.body_codec);
        summary.find("inexact-string-changed", notes.inexact);
        summary.find("not-redacted", notes.not_redacted);
        summary.find("rewrite-unsound", notes.unsound);
        summary.frames.emptied += u64::from(notes.emptied);
    }
}

impl Visitor for Planner<'_> {
    fn opened(&mut self, flow: &Arc<Flow>) {
        let socket = |socket: SocketAddr| {
            self.rules
                .addresses
                .socket(socket)
                .map_or(socket, |found| found.to)
        };
        let old = (flow.opener, flow.acceptor);
        let (mut opener, acceptor) = (socket(flow.opener), socket(flow.acceptor));
        let mut moved = None;
        // Different connections that would become one get different ports.
        let mut next = MOVED_PORT_FROM;
        while let Some(other) = self.taken.get(&(opener, acceptor, flow.source))
            && *other != old
            && next != 0
        {
            opener.set_port(next);
            moved = Some(next);
            next = next.wrapping_add(1);
        }
        self.taken.insert((opener, acceptor, flow.source), old);
        if moved.is_some() {
            self.summary.find("opener-port-moved", 1);
        }
        if let Some(plan) = self.flow(flow.id) {
            plan.opener_port = moved;
        }
    }

    fn bytes(&mut self, flow: &Arc<Flow>, _: Direction, _: u64, _: &[u8]) {
        if let Some(plan) = self.flow(flow.id) {
            plan.has_bytes = true;
        }
    }

    fn frame(&mut self, flow: &Arc<Flow>, direction: Direction, decoded: &Decoded<Mark>) {
        if self.is_full() {
            return;
        }
        let changes = decoded
            .frame
            .as_ref()
            .filter(|_| decoded.missing == 0)
            .map(|frame| frame::changes(self.rules, self.keep, frame, &mut self.hits));
        if let Some(changes) = &changes {
            self.summary.frames.total += 1;
            self.summary.frames.rewritten += u64::from(!changes.changes.is_empty());
            self.note(&changes.notes);
        }
        let Some(plan) = self.flow(flow.id) else {
            return;
        };
        plan.is_known = true;
        let stream = match direction {
            Direction::ToAcceptor => &mut plan.to_acceptor,
            Direction::ToOpener => &mut plan.to_opener,
        };
        let before = stream.cost();
        let Some(changes) = changes else {
            // The head of a cut frame holds codes, an id and lengths: with it what is left of the
            // frame stays a cut frame.
            stream.frame(decoded.offset..decoded.offset + fixed_len(&decoded.head));
            let grown = stream.cost() - before;
            self.cost = self.cost.saturating_add(grown);
            return;
        };
        stream.frame(decoded.offset..decoded.offset + decoded.head.len);
        for change in &changes.changes {
            stream.edit(
                decoded.offset + change.range.start as u64,
                change.range.len(),
                &change.bytes,
            );
        }
        let grown = stream.cost() - before;
        self.cost = self.cost.saturating_add(grown);
    }
}

/// Length of the fixed head of a frame (SOFABolt 1.6.11): a request's has a time-out of four bytes
/// where an answer's has a status of two, and version 2 adds two.
fn fixed_len(head: &Head) -> u64 {
    let is_answer = head.status.is_some();
    let of_v1 = if is_answer { 20 } else { 22 };
    match head.protocol {
        Protocol::BoltV1 => of_v1,
        Protocol::BoltV2 => of_v1 + 2,
        // Of others nothing is known to be harmless: TR has its id among what is not.
        _ => 0,
    }
}
