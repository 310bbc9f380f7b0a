//! The edge to the kernel: monotonic time, absolute timers, readiness, sockets that do not block.
//!
//! - [`clock`]: now, as nanoseconds of `CLOCK_MONOTONIC`.
//! - [`timer`]: a timerfd that fires at an absolute time, and the thread's timer slack.
//! - [`poll`]: epoll, level-triggered.
//! - [`wake`]: an eventfd by which another thread interrupts a wait.
//! - [`socket`]: a TCP connect that does not block.
//!
//! **Invariant:** each of these is one descriptor that dies with its owner; nothing here keeps
//! state of its own, and nothing here needs `unsafe`.

pub mod clock;
pub mod poll;
pub mod socket;
pub mod timer;
pub mod wake;
