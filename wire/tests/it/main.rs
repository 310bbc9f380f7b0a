//! Integration tests: real captures, generated streams, fuzz corpora.

mod bolt_captures;
mod captures;
mod corpora;
mod loss;
mod properties;
