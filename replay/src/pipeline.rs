//! One pass from packets to exchanges, for whoever wants to look.

use std::sync::Arc;

use meshproof_wire::decoder::Decoded;

use crate::exchange::Exchange;
use crate::stream::{Direction, Flow, Mark};

/// Looks at what a pass over a capture yields. Every method has a default that does nothing, so
/// a visitor names only what it wants.
pub trait Visitor {
    /// Bytes of a stream, in order, each once.
    fn bytes(&mut self, _flow: &Arc<Flow>, _direction: Direction, _offset: u64, _bytes: &[u8]) {}
    /// A frame, whole or cut, in stream order.
    fn frame(&mut self, _flow: &Arc<Flow>, _direction: Direction, _frame: &Decoded<Mark>) {}
    /// An exchange that has settled. Their order is not part of any contract.
    fn exchange(&mut self, _exchange: Exchange) {}
}
