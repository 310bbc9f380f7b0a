//! Heartbeats to the app, and what follows when they are not answered.
//!
//! [`Monitor`] decides when a heartbeat goes out and when the app is lost or back; [`Lifecycle`]
//! decides in which order the config center and the listener learn of it.
