//! Everything that a person wrote comes in through here: YAML with spans, diagnostics with line,
//! caret and suggestion, JSON schemas.
//!
//! A rewrite map, a noise file, a scenario is a serde type. [`parse`] makes one from text or says
//! what is wrong with it: a [`Problem`] has a code, marks the exact place, and says what to type.
//! What serde cannot know (two rules that contradict each other) is checked by whoever owns the
//! type; [`Spanned`] and [`Entries`] carry the places, and [`Problem::at`] reports in the same
//! style.
//!
//! **Invariant:** nothing here opens a file; names are for showing. Text is read within the
//! limits of [`TEXT_BYTES_MAX`] and its neighbours, so no file that a person hands over can fill
//! the memory.
//!
//! ```
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Target {
//!     network: meshproof_input::Net,
//!     #[serde(default)]
//!     owner: String,
//! }
//!
//! let problem = meshproof_input::parse::<Target>("map.yaml", "network: 10.0.0.0/8\nowmer: me\n")
//!     .expect_err("there is no such key");
//! assert_eq!(problem.code_name(), "input::unknown_key");
//! assert_eq!(problem.help_text(), Some("did you mean `owner`?"));
//! assert_eq!(problem.line(), Some(2));
//! ```

mod condition;
mod parse;
mod problem;
mod schema;
mod spanned;
mod values;

pub use condition::condition;
pub use parse::{
    ALIASES_MAX, DEPTH_MAX, REPLAYED_EVENTS_MAX, TEXT_BYTES_MAX, parse, suggestion, text,
};
pub use problem::Problem;
pub use schema::schema;
pub use spanned::{Entries, Span, Spanned};
pub use values::{Addr, BadValue, Millis, Net, Socket};
