//! A mesh made from a capture, and replays through it.
//!
//! - [`shape`]: what a capture tells of the deployment that it was taken in; pure.
//! - [`text`]: that, as a topology and a page of its own; pure.
//! - [`folder`]: the folder that holds an offline mesh.
//! - [`fit`]: what the sidecar that is tried cannot be asked.
//! - [`settle`]: whether a capture may have its name.
//! - [`through`]: a replay that enters where the app would.
//! - [`judge`]: what such a replay shows.
//! - [`fleet`]: one capture through the same deployment with other sidecars.
//! - [`builds`]: two builds of a sidecar over the same stubs.
//! - [`shrink`]: a failing replay, reduced to what matters.
//!
//! Behind the sidecar stand stubs that answer from the recorded responses: whatever differs is the
//! sidecar's doing. The stubs are programs in pods of their own, the config center knows every
//! service of the capture, and the VIP name service every VIP.

pub mod builds;
pub mod fit;
pub mod fleet;
pub mod folder;
pub mod judge;
pub mod settle;
pub mod shape;
pub mod shrink;
pub mod text;
pub mod through;

pub use fleet::Fleet;
pub use folder::Offline;
pub use shape::{Shape, Side};
pub use text::Sidecars;
pub use through::{Through, Ways};
