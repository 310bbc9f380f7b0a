//! A topology made from a capture, and replays through it.
