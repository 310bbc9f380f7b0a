//! What is said to the kernel over netlink, as bytes: messages, their attributes, and the errors
//! that come back. Pure; the sockets are those of `meshproof_sys::netlink`.
//!
//! Layouts are those of `linux/netlink.h`: everything is aligned to four bytes, headers are in the
//! byte order of the machine, and what a subsystem puts into its attributes is its own affair
//! (nftables: network order).

pub mod ask;
pub mod read;
pub mod write;

/// NLM_F_REQUEST: this is a question or an order.
pub const REQUEST: u16 = 0x1;
/// NLM_F_ACK: say so when it is done.
pub const ACK: u16 = 0x4;
/// NLM_F_DUMP: all there are.
pub const DUMP: u16 = 0x300;
/// NLM_F_EXCL: it must not be there yet.
pub const EXCLUSIVE: u16 = 0x200;
/// NLM_F_CREATE: make it.
pub const CREATE: u16 = 0x400;
/// NLM_F_APPEND: behind what is there.
pub const APPEND: u16 = 0x800;

/// NLMSG_ERROR: an error, or with the number 0 the word that it is done.
pub(crate) const ERROR: u16 = 2;
/// NLMSG_DONE: the end of a list.
pub(crate) const DONE: u16 = 3;
/// NLM_F_CAPPED: an error that quotes the header of the request alone.
pub(crate) const CAPPED: u16 = 0x100;
/// NLM_F_ACK_TLVS: an error with attributes behind it.
pub(crate) const EXPLAINED: u16 = 0x200;
/// NLM_F_DUMP_INTR: the list changed while it was told.
pub(crate) const TORN: u16 = 0x10;

/// Bytes of a message's header.
pub(crate) const HEADER: usize = 16;

/// Up to the next multiple of four.
pub(crate) fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
