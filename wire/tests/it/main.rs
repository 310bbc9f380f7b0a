//! Tests of the crate against what real libraries wrote.

mod captures;
mod frames;
mod hessian_vectors;
mod sofarpc;
