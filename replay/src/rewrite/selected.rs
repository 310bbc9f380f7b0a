//! Which packets a rewrite writes, where not all of them are wanted.

use std::collections::HashSet;

use crate::exchange::Exchange;
use crate::pipeline::Visitor;
use crate::select::{Selecting, Selection, Tally};
use crate::sighting::{self, Call, Calls, Merger};
use crate::stream::FlowId;

/// What is written. Everything is read and planned all the same, so that a frame that crosses an
/// edge is rewritten and not blanked.
#[derive(Debug, Default)]
pub(super) struct Selected<'a> {
    /// `None` takes every time.
    window: Option<&'a Selection>,
    /// Connections that hold a call that was taken; `None` takes them all, and what is none.
    flows: Option<HashSet<FlowId>>,
}

impl Selected<'_> {
    /// Whether a packet is wanted, by its time since the first one and its connection.
    pub(super) fn takes(&self, at_ns: u64, start_ns: u64, flow: Option<FlowId>) -> bool {
        let in_time = self
            .window
            .is_none_or(|selection| selection.is_in_time(at_ns, start_ns));
        let in_flow = match (&self.flows, flow) {
            (None, _) => true,
            (Some(flows), Some(flow)) => flows.contains(&flow),
            (Some(_), None) => false,
        };
        in_time && in_flow
    }
}

/// Looks for the connections that hold a call that is taken.
pub(super) struct Finder<'a> {
    selection: &'a Selection,
    merger: Option<Merger<Selecting<'a, Flows>>>,
}

/// The connections of the calls that come by.
#[derive(Debug, Default)]
struct Flows {
    flows: HashSet<FlowId>,
    /// Of each call only the sighting that stands for it.
    one_sighting: bool,
}

impl Calls for Flows {
    fn call(&mut self, call: Call) {
        if self.one_sighting {
            self.flows.insert(call.exchange().flow.id);
        } else {
            self.flows.extend(call.sightings().map(|seen| seen.flow.id));
        }
    }
}

impl<'a> Finder<'a> {
    pub(super) fn new(selection: &'a Selection) -> Finder<'a> {
        let merger = selection.is_by_call().then(|| {
            let flows = Flows {
                // A hop was asked for: the other places where its calls were seen were not.
                one_sighting: selection.hop.is_some(),
                ..Flows::default()
            };
            Merger::new(sighting::Limits::USUAL, Selecting::new(selection, flows))
        });
        Finder { selection, merger }
    }

    /// What was found, and what the expression said.
    pub(super) fn finish(self) -> (Selected<'a>, Tally) {
        let (tally, flows) = match self.merger {
            Some(merger) => {
                let (tally, found) = merger.finish().1.into_parts();
                (tally, Some(found.flows))
            }
            None => (Tally::default(), None),
        };
        let window = self.selection.is_by_time().then_some(self.selection);
        (Selected { window, flows }, tally)
    }
}

impl Visitor for Finder<'_> {
    fn start(&mut self, start_ns: u64) {
        if let Some(merger) = &mut self.merger {
            merger.start(start_ns);
        }
    }

    fn exchange(&mut self, exchange: Exchange) {
        if let Some(merger) = &mut self.merger {
            merger.exchange(exchange);
        }
    }
}
