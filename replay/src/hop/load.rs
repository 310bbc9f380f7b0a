//! The exchanges of one capture point.

use std::collections::BTreeMap;

use crate::capture::{Captures, Error};
use crate::exchange::{Exchange, ExchangeKind, Hop};
use crate::pipeline::{self, Options, Visitor};

/// Most bytes of frames that one side of a comparison holds; exchanges after that are counted as
/// `too-many`.
const FRAME_BYTES_MAX: u64 = 2 << 30;

/// What one capture point shows.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Calls and one-ways of which the request is there, whole.
    pub exchanges: Vec<Exchange>,
    /// What is not compared, by reason.
    pub left_out: BTreeMap<String, u64>,
}

impl Seen {
    /// Takes exchanges; what is not compared is counted.
    pub fn of(exchanges: impl IntoIterator<Item = Exchange>, hop: Option<Hop>) -> Seen {
        let mut taking = Taking::new(hop);
        for exchange in exchanges {
            taking.take(exchange);
        }
        taking.seen
    }
}

struct Taking {
    hop: Option<Hop>,
    bytes: u64,
    seen: Seen,
}

impl Taking {
    fn new(hop: Option<Hop>) -> Taking {
        Taking {
            hop,
            bytes: 0,
            seen: Seen::default(),
        }
    }

    fn take(&mut self, exchange: Exchange) {
        if self.hop.is_some_and(|hop| exchange.hop != hop) {
            return;
        }
        let whole = |half: &Option<crate::exchange::Half>| {
            half.as_ref().is_none_or(|half| half.frame.is_some())
        };
        let why = match exchange.kind {
            ExchangeKind::Heartbeat | ExchangeKind::Goaway | ExchangeKind::MeshApi => {
                Some(exchange.kind.name())
            }
            ExchangeKind::Call | ExchangeKind::Oneway if exchange.request.is_none() => {
                Some(exchange.outcome.name())
            }
            ExchangeKind::Call | ExchangeKind::Oneway
                if !whole(&exchange.request) || !whole(&exchange.response) =>
            {
                Some("cut")
            }
            ExchangeKind::Call | ExchangeKind::Oneway => {
                let halves = [&exchange.request, &exchange.response];
                let len = |half: &crate::exchange::Half| half.head.len;
                let bytes: u64 = halves.into_iter().flatten().map(len).sum();
                self.bytes = self.bytes.saturating_add(bytes);
                (self.bytes > FRAME_BYTES_MAX).then_some("too-many")
            }
        };
        match why {
            Some(why) => *self.seen.left_out.entry(why.to_owned()).or_insert(0) += 1,
            None => self.seen.exchanges.push(exchange),
        }
    }
}

impl Visitor for Taking {
    fn exchange(&mut self, exchange: Exchange) {
        self.take(exchange);
    }
}

/// Reads captures of one point whole; with a hop, only what was seen at it.
///
/// # Errors
/// The captures cannot be read.
pub fn read(captures: &mut Captures, hop: Option<Hop>) -> Result<Seen, Error> {
    let mut taking = Taking::new(hop);
    pipeline::read(captures, &Options::FRAMES, &mut taking)?;
    Ok(taking.seen)
}
