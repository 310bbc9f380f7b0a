//! The data path, driven without sockets and in virtual time.

pub(crate) mod rig;

mod calls;
mod endings;
mod pressure;
mod replies;
mod sim;
mod streams;
mod upstreams;
