//! The gate as its users have it: what must never pass, and what this project's own rules say.

mod chromium;
mod machine;
mod mutants;
mod project;
mod release;
