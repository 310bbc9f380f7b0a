//! Exact frames of connections that stand, by a program in the kernel: the way `sockhash`.
//!
//! The socket that sends the frames, of whichever process, is put into a map of sockets; from then
//! on a program judges each frame as it is sent ([`program`]). A frame that is lost was never on the
//! wire: TCP knows nothing of it, nothing is sent again, nobody waits. What the keeper holds are
//! descriptors alone: of the map, the program, and the socket to which lost frames go.
//!
//! It is done where frames are sent, not where they are received: bytes that wait for their reader
//! in a queue of such a map are lost when the map goes, and a thread that waits already never wakes
//! up. Of the sender nothing waits anywhere, so the kernel may take it all away at any moment.
//!
//! - [`assembler`]: instructions as values, and their bytes.
//! - [`program`]: the steps of the program.
//! - [`installed`]: program and maps in the kernel.
//! - [`senders`]: whose descriptor a socket is.
//! - [`way`]: plan, lease, evidence.

mod assembler;
mod installed;
mod program;
mod senders;
mod way;

pub use way::Sockhash;
