//! Rules of nftables that die with their holder: tables with the owner flag, made over netlink by
//! ourselves, without the program `nft`.
//!
//! - [`rule`]: what a rule says, [`encode`]: as the kernel wants it, [`words`]: as people write it.
//! - [`recipe`]: which rules make which fault; [`limit`]: whether the kernel counts as it says.
//! - [`table`]: a table in force, its counters, its end; [`list`]: what stands in a namespace.
//! - [`NftOwner`] and [`Cut`]: the ways that are made of all this.
//!
//! The codec is our own because the published one lacks half of what is needed here (counters,
//! connection tracking, reject, limits, connection limits), and these few attributes are less
//! code than the wrapping of another's types.
//!
//! **Invariant:** a table belongs to one socket, which nobody else holds; whatever happens to the
//! process, the kernel removes the table with the socket. No table is ever made without that flag.

pub mod encode;
pub mod limit;
pub mod list;
pub mod recipe;
pub mod rule;
pub mod table;
mod way;
pub mod words;

pub use way::{Cut, NftOwner};
pub(crate) use way::{name, residue};
