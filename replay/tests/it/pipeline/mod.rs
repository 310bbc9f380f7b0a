//! Captures through the whole pass.

mod judge;
mod ledger;
mod recovery;
mod sightings;

use std::path::PathBuf;
use std::sync::Arc;

use meshproof_replay::capture::{Captures, Inputs};
use meshproof_replay::exchange::Exchange;
use meshproof_replay::pipeline::{self, Options, Outcome, Visitor};
use meshproof_replay::stream::{Direction, Flow, Mark};
use meshproof_wire::decoder::Decoded;

/// Everything that a pass shows.
#[derive(Default)]
struct Seen {
    frames: Vec<(Arc<Flow>, Direction, Decoded<Mark>)>,
    bytes: Vec<(Arc<Flow>, [Vec<u8>; 2])>,
    exchanges: Vec<Exchange>,
}

impl Visitor for Seen {
    fn bytes(&mut self, flow: &Arc<Flow>, direction: Direction, offset: u64, bytes: &[u8]) {
        let at = match self.bytes.iter().position(|(known, _)| known.id == flow.id) {
            Some(at) => at,
            None => {
                self.bytes
                    .push((Arc::clone(flow), [Vec::new(), Vec::new()]));
                self.bytes.len() - 1
            }
        };
        let stream = &mut self.bytes[at].1[direction as usize];
        assert!(
            offset >= stream.len() as u64,
            "bytes come once and in order"
        );
        stream.resize(offset as usize, 0);
        stream.extend_from_slice(bytes);
    }

    fn frame(&mut self, flow: &Arc<Flow>, direction: Direction, frame: &Decoded<Mark>) {
        self.frames
            .push((Arc::clone(flow), direction, frame.clone()));
    }

    fn exchange(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }
}

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures")
}

fn pass(inputs: &Inputs, options: &Options) -> (Seen, Outcome) {
    let mut packets = Captures::open(inputs).expect("a capture");
    let mut seen = Seen::default();
    let outcome = pipeline::read(&mut packets, options, &mut seen).expect("packets");
    outcome.ledger.check().expect("the ledger closes");
    (seen, outcome)
}
