//! The topology that cells stand on, where a matrix names one: its pods stay, and the axes say
//! what runs in them.

use std::io;

use meshproof_input::{Problem, Spanned, suggestion};

use super::make::{CLIENT, SERVED, serves};
use crate::matrix::Matrix;
use crate::mesh::spec::{Heartbeat, MeshSpec, PodSpec};
use crate::scenario::shipped;
use crate::sut::Sut;

/// Where the topology that a matrix names was found, and its text: one that ships, by its name, or
/// a file, which `read` reads.
///
/// # Errors
/// There is none of this name, or it cannot be read.
pub fn text(
    matrix: &Matrix,
    read: &dyn Fn(&str) -> io::Result<(String, String)>,
) -> Result<(String, String), Problem> {
    let name = matrix.work().topology.clone().unwrap_or_default();
    let known: Vec<&str> = shipped::TOPOLOGIES.iter().map(|(name, _)| *name).collect();
    if let Some(text) = shipped::topology(&name) {
        return Ok((name.value, text.to_owned()));
    }
    let is_file = name.contains(['/', '.']);
    let (why, help) = match is_file.then(|| read(&name)) {
        Some(Ok(found)) => return Ok(found),
        Some(Err(error)) => (
            format!("the topology `{}` cannot be read: {error}", name.value),
            "name a file beside the matrix, or one that ships".to_owned(),
        ),
        None => (
            format!("no topology is called `{}`", name.value),
            match suggestion(&name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}, and files by their path", known.join(", ")),
            },
        ),
    };
    Err(matrix.problem(name.span, "matrix::no_topology", why, help))
}

/// Reads a topology that cells are to stand on, from where `name` of a matrix says.
///
/// # Errors
/// It is wrong in itself, or no cell can stand on it.
pub fn read(
    matrix: &Matrix,
    name: &Spanned<String>,
    (file, text): (&str, &str),
    suts: &[Sut],
) -> Result<MeshSpec, Problem> {
    let wrong = |code, message: String, help: &str| matrix.problem(name.span, code, message, help);
    let spec = MeshSpec::parse(file, text, suts)?;
    if callers(&spec).next().is_none() {
        let message = format!("the topology {} has no pod that only calls", spec.topology);
        let help = format!("cells call from a pod without an app: add `{CLIENT}: {{}}` to it");
        return Err(wrong("matrix::topology", message, &help));
    }
    if !servers(&spec).any(|(_, pod)| pod.app.as_ref().is_some_and(serves)) {
        let message = format!(
            "no app of the topology {} provides version {SERVED}, which cells call",
            spec.topology
        );
        let help = "add a pod with an app, such as `server: {app: {speaks: new}}`";
        return Err(wrong("matrix::topology", message, help));
    }
    Ok(spec)
}

/// Pods that only call: cells call from each of them.
pub(super) fn callers(spec: &MeshSpec) -> impl Iterator<Item = (&str, &PodSpec)> {
    all(spec).filter(|(_, pod)| pod.app.is_none() && pod.peers.is_empty() && !pod.serves)
}

/// Pods with an app.
pub(super) fn servers(spec: &MeshSpec) -> impl Iterator<Item = (&str, &PodSpec)> {
    all(spec).filter(|(_, pod)| pod.app.is_some())
}

fn all(spec: &MeshSpec) -> impl Iterator<Item = (&str, &PodSpec)> {
    let pods = spec.pods.iter();
    pods.map(|(name, pod)| (name.value.as_str(), &pod.value))
}

/// A topology says how patient its heartbeats are, or has those of cells.
pub(super) fn heartbeat(spec: &MeshSpec, usual: Heartbeat) -> Heartbeat {
    match spec.heartbeat == Heartbeat::default() {
        true => usual,
        false => spec.heartbeat,
    }
}
