//! The program as a user meets it: arguments in, output and exit code out.

mod audit;
mod diff;
mod fixture;
mod ls;
mod replay;
mod report;
mod tidy;
mod rewrite;
