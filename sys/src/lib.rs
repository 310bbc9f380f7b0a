//! The edge to the kernel: monotonic time, absolute timers, readiness, sockets that do not block,
//! namespaces with their mounts and links, descriptors that are passed on.
//!
//! - [`clock`]: now, as nanoseconds of `CLOCK_MONOTONIC`.
//! - [`timer`]: a timerfd that fires at an absolute time, and the thread's timer slack.
//! - [`poll`]: epoll, level-triggered.
//! - [`wake`]: an eventfd by which another thread interrupts a wait.
//! - [`socket`]: TCP listeners and connections that do not block.
//! - [`descriptors`]: bytes with open descriptors beside them, over a unix socket.
//! - [`packets`]: packets as they pass the links of a network.
//! - [`tap`]: a link whose far end is a program.
//! - [`pcap`]: one link captured by libpcap, which is loaded when it is needed.
//! - [`netlink`]: questions to the kernel, and its answers.
//! - [`limits`]: how many descriptors this process may have.
//! - [`signals`]: signals as something that is waited for.
//! - [`trace`]: another process made to stand still.
//! - [`bpf`]: programs in the kernel, and maps that they share with us.
//! - [`namespaces`], [`mounts`], [`links`]: a corner of the machine of one's own.
//!
//! **Invariant:** each of these is a descriptor, or a namespace, that dies with its owner; nothing
//! here keeps state of its own. What the compiler cannot check stands in few small files of this
//! crate alone, each block with the reason why it holds.

pub mod bpf;
pub mod clock;
pub mod descriptors;
pub mod limits;
pub mod links;
pub mod mounts;
pub mod namespaces;
pub mod netlink;
pub mod packets;
pub mod pcap;
pub mod poll;
pub mod signals;
pub mod socket;
pub mod tap;
pub mod timer;
pub mod trace;
pub mod wake;
