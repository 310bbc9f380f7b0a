//! Whether cells use everything that a matrix file says: what they do not use is an error with its
//! line, never silence.

use meshproof_input::{Problem, Span, suggestion};

use super::make::{AXES, Made, NotMade, knows_tr_alone};
use super::replayed::REPLAY_AXES;
use super::sites::spoken;
use super::topology::servers;
use crate::matrix::cell::Cell;
use crate::matrix::model::AxisSpans;
use crate::matrix::solve::Solver;
use crate::matrix::{Axis, Matrix, Row, Value};
use crate::mesh::MeshSpec;
use crate::offline::{Fleet, Side};

/// What values of axes may name.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Sidecars.
    pub suts: &'a [&'a str],
    /// Sites.
    pub sites: &'a [&'a str],
    /// What cells stand on; none: they are made from the axes.
    pub topology: Option<&'a MeshSpec>,
}

/// Looks at the axes of a matrix, their values and its work.
///
/// # Errors
/// The first thing that no cell would use, or that means nothing to one.
pub fn fits(matrix: &Matrix, known: &Known<'_>) -> Result<(), Problem> {
    let work = matrix.work();
    let replays = work.replay.is_some();
    if replays && let Some(calls) = &work.calls {
        let help = "take `calls` out: how many there are is said by the capture";
        return Err(matrix.problem(
            calls.span,
            "matrix::unused",
            "a cell that replays makes no calls of its own",
            help,
        ));
    }
    if replays && let Some(topology) = &work.topology {
        let (message, help) = (
            "a cell that replays stands on the pods that its capture shows",
            "take `topology` out",
        );
        return Err(matrix.problem(topology.span, "matrix::unused", message, help));
    }
    for (axis, spans) in written(matrix) {
        name(matrix, axis, spans, replays)?;
        let placed = axis.values.iter().zip(&spans.values);
        for (value, span) in placed {
            meaning(matrix, axis, value, *span, known)?;
        }
    }
    if let Some(topology) = known.topology {
        fits_topology(matrix, topology)?;
    }
    over_tr(matrix)
}

/// Looks at axes that change nothing on a topology, or cannot be had on it.
fn fits_topology(matrix: &Matrix, topology: &MeshSpec) -> Result<(), Problem> {
    let has = |name: &str| matrix.axes.iter().any(|axis| axis.name == name);
    let meshed = has("client.mesh")
        || has("server.mesh")
        || topology.pods.iter().any(|(_, pod)| pod.sidecar.is_some());
    let old = knows_tr_alone(topology).filter(|_| !has("providers"));
    for (axis, spans) in written(matrix) {
        if axis.name == "registry_order" && servers(topology).count() < 2 {
            let message = format!(
                "axis registry_order: the topology {} has one app: the order of the config \
                 center's answers changes nothing",
                topology.topology
            );
            let help = "take the axis out, or name another topology";
            return Err(matrix.problem(spans.name, "matrix::unused", message, help));
        }
        let placed = axis.values.iter().zip(&spans.values);
        for (value, span) in placed {
            let (message, help) = match (axis.name.as_str(), value.as_text(), old) {
                ("restart", Some("sidecar"), _) if !meshed => (
                    format!(
                        "the topology {} has no sidecar to restart",
                        topology.topology
                    ),
                    "take it out, or add an axis of sidecars",
                ),
                ("serializer", Some(other), Some(pod)) if other != "hessian" => (
                    format!(
                        "{other} cannot go over TR, which carries Hessian alone, and the app of \
                         {pod} knows nothing else"
                    ),
                    "take it out, or say what apps are called in by the axis `providers`",
                ),
                _ => continue,
            };
            return Err(matrix.problem(*span, "matrix::unused", message, help));
        }
    }
    Ok(())
}

/// TR carries Hessian alone: no cell may hold another serializer beside who is called in TR.
fn over_tr(matrix: &Matrix) -> Result<(), Problem> {
    let solver = Solver::of(matrix);
    let mut others = written(matrix).filter(|(axis, _)| axis.name == "serializer");
    let Some((serializer, spans)) = others.next() else {
        return Ok(());
    };
    let placed = serializer.values.iter().zip(&spans.values);
    for (value, span) in placed.filter(|(value, _)| value.as_text() != Some("hessian")) {
        for (axis, beside) in written(matrix) {
            let placed = axis.values.iter().zip(&beside.values);
            for (spoken, there) in placed.filter(|(it, _)| spoken(&axis.name, it).contains(&"tr")) {
                let (value, spoken) = (value.to_string(), spoken.to_string());
                let both = [("serializer", value.as_str()), (&axis.name, &spoken)];
                let both = matrix.combination(&both).unwrap_or_default();
                if solver.is_possible(both.pairs()) {
                    let speaks = match axis.name.as_str() {
                        "speech" => "speech != 'tr'",
                        _ => "!('tr' in providers)",
                    };
                    let help = format!("add `serializer == 'hessian' || {speaks}` to `require`");
                    let message = format!(
                        "{value} cannot go over TR, which carries Hessian alone, and {}={spoken} \
                         may stand beside it",
                        axis.name
                    );
                    let problem = matrix.problem(*span, "matrix::meaning", message, help);
                    return Err(problem.label(*there, "called in TR"));
                }
            }
        }
    }
    Ok(())
}

/// Looks at the axes of a matrix that replays, beside what its capture turned out to be.
///
/// # Errors
/// The first axis that changes nothing for this capture.
pub(super) fn fits_capture(matrix: &Matrix, fleet: &Fleet) -> Result<(), Problem> {
    for (axis, spans) in written(matrix) {
        let why = match axis.name.as_str() {
            "client.mesh" if fleet.side() == Side::Inbound && axis.values.len() > 1 => {
                "the capture enters at 12200, where its clients' sidecars are not seen: it changes \
                 nothing"
            }
            "registry_order" if fleet.servers().len() < 2 || !fleet.is_registered() => {
                "the capture shows one server, or none that the config center knows: the order of \
                 its answers changes nothing"
            }
            _ => continue,
        };
        let message = format!("axis {}: {why}", axis.name);
        let help = "take the axis out, or choose another capture";
        return Err(matrix.problem(spans.name, "matrix::unused", message, help));
    }
    Ok(())
}

fn written(matrix: &Matrix) -> impl Iterator<Item = (&Axis, &AxisSpans)> {
    matrix.axes.iter().zip(&matrix.written.axes)
}

fn name(matrix: &Matrix, axis: &Axis, spans: &AxisSpans, replays: bool) -> Result<(), Problem> {
    let all = AXES.map(|(name, _)| name);
    let used: &[&str] = match replays {
        true => &REPLAY_AXES,
        false => &all,
    };
    if used.contains(&axis.name.as_str()) {
        return Ok(());
    }
    let cells = match replays {
        true => "a cell that replays",
        false => "a cell",
    };
    let message = format!("axis {} changes nothing in {cells}", axis.name);
    let help = match suggestion(&axis.name, used) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("cells are made from {}", used.join(", ")),
    };
    Err(matrix.problem(spans.name, "matrix::unused", message, help))
}

fn meaning(
    matrix: &Matrix,
    axis: &Axis,
    value: &Value,
    span: Span,
    known: &Known<'_>,
) -> Result<(), Problem> {
    let named = |what: &str, names: &[&str]| {
        let word = value.as_text().unwrap_or_default();
        if names.contains(&word) {
            return Ok(());
        }
        let help = match suggestion(word, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.join(", ")),
        };
        let message = format!("axis {}: no {what} is called `{value}`", axis.name);
        Err(matrix.problem(span, "matrix::meaning", message, help))
    };
    match axis.name.as_str() {
        "client.mesh" | "server.mesh" => {
            let names: Vec<&str> = std::iter::once("none")
                .chain(known.suts.iter().copied())
                .collect();
            named("sidecar", &names)
        }
        "site" => named("site", known.sites),
        _ => {
            let choice = meshproof_record::case::Choice {
                axis: axis.name.clone(),
                value: value.to_string(),
            };
            let alone = Cell::new(vec![choice], Row::default(), vec![value.clone()].into());
            match Made::of(&alone, 1, known.topology) {
                // What two values forbid each other is looked at behind all of them.
                Ok(_) | Err(NotMade::NotOverTr { .. }) => Ok(()),
                Err(error @ NotMade::Providers { .. }) => {
                    let help = "write a word for each of them";
                    Err(matrix.problem(span, "matrix::meaning", error.to_string(), help))
                }
                Err(error @ NotMade::Axis { .. }) => {
                    let help = "take the axis out";
                    Err(matrix.problem(span, "matrix::meaning", error.to_string(), help))
                }
                Err(NotMade::Value { expected, .. }) => {
                    let message = format!("axis {}: `{value}` means nothing to a cell", axis.name);
                    let help = format!("expected {expected}");
                    Err(matrix.problem(span, "matrix::meaning", message, help))
                }
            }
        }
    }
}
