//! `meshproof schema`: the JSON schema of a file that people write.

use std::io::{self, Write};

use meshproof_harness::mesh::MeshSpec;
use meshproof_harness::scenario;
use meshproof_harness::site::Site;
use meshproof_harness::sut::Sut;
use meshproof_proxy::config;
use meshproof_replay::{diff, hop, map};

use crate::exit::{self, Failure};

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Editors check and complete YAML with it: put a line such as
  # yaml-language-server: $schema=./map.schema.json
on top of the file.

Example:
  meshproof schema rewrite-map > map.schema.json")]
pub(crate) struct Args {
    /// Which file
    #[arg(value_enum)]
    kind: Kind,
}

/// What people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// What a rewrite replaces by what
    #[value(alias = "map")]
    RewriteMap,
    /// What a comparison shows and does not judge
    Noise,
    /// What a sidecar may change between two capture points
    HopRules,
    /// What a sidecar is, where it listens, whom it asks
    Proxy,
    /// What happens to a mesh, and what must be seen
    Scenario,
    /// What varies, which combinations are wanted, what is known to fail
    Matrix,
    /// Pods, and what runs in them
    Topology,
    /// How a sidecar is configured, started, asked, upgraded and stopped
    Sut,
    /// What goes wrong, to whom, and for how long
    Fault,
    /// Facts and capabilities of a place where meshes run
    Site,
    /// What a change is held to: meshproof.yaml
    Gate,
    /// Rules that projects share: pack.yaml
    Pack,
}

/// Writes the schema to stdout.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let schema = match args.kind {
        Kind::RewriteMap => map::schema(),
        Kind::Noise => diff::schema(),
        Kind::HopRules => hop::schema(),
        Kind::Proxy => config::schema(),
        Kind::Scenario => scenario::schema(),
        Kind::Matrix => meshproof_harness::matrix::schema(),
        Kind::Topology => {
            meshproof_input::schema::<MeshSpec>("A topology: pods and what runs in them")
        }
        Kind::Sut => meshproof_input::schema::<Sut>("An adapter of a sidecar"),
        Kind::Fault => meshproof_fault::Spec::schema(),
        Kind::Site => meshproof_input::schema::<Site>("A site where meshes run"),
        Kind::Gate => meshproof_ci::file::schema(),
        Kind::Pack => meshproof_ci::file::pack_schema(),
    };
    io::stdout().write_all(schema.as_bytes())?;
    Ok(exit::OK)
}
