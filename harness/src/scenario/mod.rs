//! Stories: what happens to a mesh, step by step, and what must be seen.
//!
//! A story is a YAML file: [`model`] is how it is written, [`probe`] what it looks at. [`load`]
//! reads one, finds its topology, and says what is wrong with it before anything runs; [`plan`]
//! numbers its steps. Errors are one sentence with line, caret and what to type.
//!
//! A story judges by the wire, the registry and the processes. What a component says of itself
//! (metric, admin) can be asked for, too, where it is the thing that is to be tried.

mod account;
mod act;
mod check;
mod event;
mod evidence;
mod eye;
mod harm;
mod keep;
mod look;
mod make;
pub mod model;
pub mod needs;
mod plan;
pub mod probe;
pub mod prove;
mod recorded;
mod say;
pub mod shipped;
mod stage;
mod stand;
pub mod suite;
mod teller;
mod value;
mod wire;
mod world;

use meshproof_input::Problem;

pub use check::{Known, check};
pub use model::Scenario;
pub use plan::{Planned, plan};
pub use stage::Stage;
pub use value::{Count, Scalar};

use crate::mesh::MeshSpec;

/// A story that has been read and checked.
#[derive(Clone, Debug)]
pub struct Story {
    /// Where it was read, for showing.
    pub file: String,
    /// The story.
    pub scenario: Scenario,
    /// Its mesh.
    pub mesh: MeshSpec,
}

/// The text and name of a topology, by the name that a story gives it; none where there is none.
pub type Topologies<'a> = &'a dyn Fn(&str) -> Option<(String, String)>;

/// Reads a story and everything that it names, and checks all of it.
pub fn load(
    file: &str,
    text: &str,
    topologies: Topologies<'_>,
    known: &Known<'_>,
) -> Result<Story, Problem> {
    let scenario: Scenario = meshproof_input::parse(file, text)?;
    let mesh = match &scenario.topology.value {
        Stage::Here(mesh) => {
            mesh.judge(file, text, known.suts)?;
            (**mesh).clone()
        }
        Stage::Named(name) => {
            let (name, text) = topologies(name).ok_or_else(|| {
                let span = scenario.topology.span;
                let known: Vec<&str> = shipped::TOPOLOGIES.iter().map(|(name, _)| *name).collect();
                let help = match meshproof_input::suggestion(name, &known) {
                    Some(near) => format!("did you mean `{near}`? A file beside this one will do"),
                    None => format!(
                        "there are {}; a file beside this one will do",
                        known.join(", ")
                    ),
                };
                let message = format!("there is no topology `{name}`");
                Problem::at(
                    file,
                    text,
                    span,
                    "scenario::unknown_topology",
                    message,
                    help,
                )
            })?;
            let mesh: MeshSpec = meshproof_input::parse(&name, &text)?;
            mesh.judge(&name, &text, known.suts)?;
            mesh
        }
    };
    check(file, text, &scenario, &mesh, known)?;
    Ok(Story {
        file: file.to_owned(),
        scenario,
        mesh,
    })
}

/// The JSON schema of a story.
pub fn schema() -> String {
    meshproof_input::schema::<Scenario>("A story that is told on a mesh")
}
