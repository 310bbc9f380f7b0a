//! The data path, driven without sockets and in virtual time.

pub(crate) mod rig;

mod calls;
mod sim;
