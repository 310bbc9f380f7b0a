//! One file per command: its arguments, its help with examples, and what it calls.

mod audit;
mod bench;
mod capture;
mod completions;
mod demo;
mod diff;
mod doctor;
mod env;
mod fault;
mod fixture;
mod gate;
mod hop;
mod init;
mod ls;
mod man;
mod matrix;
mod proxy;
mod replay;
pub(crate) mod report;
mod rewrite;
mod run;
mod schema;
mod select;
pub(crate) mod setting;
mod stub;

use clap::Subcommand;

use crate::exit::Failure;

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the exchanges of a capture, with an account of every packet, byte and frame
    Ls(ls::Args),
    /// Capture packets of a pod, or of this machine
    Capture(capture::Args),
    /// Replace addresses, names and personal values in captures by a map
    Rewrite(rewrite::Args),
    /// Search a rewritten capture for what must not be left in it
    Audit(audit::Args),
    /// Send recorded requests to a target or to stubs, and judge the answers
    Replay(Box<replay::Args>),
    /// Answer requests from recorded responses
    Stub(stub::Args),
    /// Compare the answers of two runs
    Diff(diff::Args),
    /// List what a sidecar changed between two capture points
    Hop(hop::Args),
    /// Say again what a run showed: summary, HTML page, JUnit, JSON
    Report(report::Args),
    /// Tell stories on meshes, and judge them
    Run(Box<run::Args>),
    /// Make meshes in private namespaces
    Env(env::Args),
    /// Make things go wrong, and nothing stay wrong
    Fault(fault::Args),
    /// Run the reference sidecar
    Proxy(proxy::Args),
    /// Run a matrix: every mix of a mixed fleet, in cells that cover it
    Matrix(Box<matrix::Args>),
    /// Judge a change by the rules of its project, and say why it may not go on
    Gate(gate::Args),
    /// Write the pipeline by which a CI service runs the gate
    Init(init::Args),
    /// Measure what the harness itself costs
    Bench(bench::Args),
    /// Watch a whole mesh at work, and how it takes the death of an app
    Demo(demo::Args),
    /// Tell what this machine can run, why, and what to type where it cannot
    Doctor(doctor::Args),
    /// What meshproof is tried on: peers, and captures with the truth about them
    Fixture(fixture::Args),
    /// Print the JSON schema of a file that people write
    Schema(schema::Args),
    /// Write a shell completion script
    Completions(completions::Args),
    /// Write the man pages
    Man(man::Args),
}

impl Command {
    /// Does the work; the value is the exit code.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        match self {
            Command::Ls(args) => ls::run(args),
            Command::Capture(args) => capture::run(args),
            Command::Rewrite(args) => rewrite::run(args),
            Command::Audit(args) => audit::run(args),
            Command::Replay(args) => replay::run(*args),
            Command::Stub(args) => stub::run(args),
            Command::Diff(args) => diff::run(args),
            Command::Hop(args) => hop::run(args),
            Command::Report(args) => report::run(args),
            Command::Run(args) => run::run(*args),
            Command::Env(args) => env::run(args),
            Command::Fault(args) => fault::run(args),
            Command::Proxy(args) => proxy::run(args),
            Command::Matrix(args) => matrix::run(*args),
            Command::Gate(args) => gate::run(args),
            Command::Init(args) => init::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Fixture(args) => fixture::run(args),
            Command::Schema(args) => schema::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Man(args) => man::run(args),
        }
    }
}
