//! Integration tests: real captures, vectors of real encoders, generated streams, fuzz corpora.

mod bolt_captures;
mod captures;
mod corpora;
mod frames;
mod hessian_damage;
mod hessian_properties;
mod hessian_vectors;
mod loss;
mod properties;
mod sofarpc;
mod tr_captures;
