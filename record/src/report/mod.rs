//! Every report, made from a record alone.
//!
//! A [`View`] is read off a record once, in one pass and bounded memory; terminal, HTML, JUnit
//! and JSON are pure functions of it.

pub mod cases;
pub mod chart;
pub mod html;
pub mod json;
pub mod junit;
pub mod terminal;
pub mod text;
mod timeline;
mod view;

pub use cases::Cases;
pub use timeline::{Bin, Timeline};
pub use view::{Example, Group, Kept, Method, NamedFinding, Refusal, View};
