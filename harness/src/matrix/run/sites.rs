//! What a site has to say of cells: those that it cannot have are left out of every plan, with the
//! reason in the certificate.

use meshproof_input::Problem;

use super::make::knows_tr_alone;
use crate::matrix::{Matrix, Value};
use crate::mesh::MeshSpec;
use crate::site::Site;

/// Leaves out what sites do not allow: providers and calls in a protocol that nobody speaks there,
/// needs of capabilities that a site lacks, zones of a topology that it does not have, and what is
/// done to a config center where there is none. Where `site` is no axis, `usual` is where every cell
/// stands.
///
/// # Errors
/// Every cell stands in a site that cannot have their topology.
pub fn exclude_by_sites(
    matrix: &mut Matrix,
    sites: &[Site],
    usual: &Site,
    topology: Option<&MeshSpec>,
) -> Result<(), Problem> {
    let axis = matrix.axes.iter().find(|axis| axis.name == "site");
    let standing: Vec<(Vec<(String, String)>, Site)> = match axis {
        None => vec![(Vec::new(), usual.clone())],
        Some(axis) => axis
            .values
            .iter()
            .filter_map(|value| {
                let site = sites
                    .iter()
                    .find(|site| Some(&*site.site) == value.as_text())?;
                let choice = (axis.name.clone(), value.to_string());
                Some((vec![choice], site.clone()))
            })
            .collect(),
    };
    for (here, site) in standing {
        let mut out: Vec<(Vec<(String, String)>, String)> = Vec::new();
        if matrix.work().replay.is_some() && !here.is_empty() {
            out.extend(site.lacks_deployment().map(|why| (Vec::new(), why)));
        }
        if let Some(why) = topology.and_then(|topology| cannot_have(matrix, &site, topology)) {
            match (here.is_empty(), &matrix.work().topology) {
                (true, Some(name)) => {
                    let help = "choose another site, or another topology";
                    return Err(matrix.problem(name.span, "matrix::site", why, help));
                }
                _ => out.push((Vec::new(), why)),
            }
        }
        for axis in &matrix.axes {
            for value in &axis.values {
                let spoken = spoken(&axis.name, value);
                let mut why = spoken.iter().filter_map(|one| site.lacks_protocol(one));
                let why = why.next().or_else(|| no_center(&axis.name, value, &site));
                if let Some(why) = why {
                    out.push((vec![(axis.name.clone(), value.to_string())], why));
                }
            }
        }
        for (beside, why) in out {
            let all: Vec<(&str, &str)> = here
                .iter()
                .chain(&beside)
                .map(|(axis, value)| (axis.as_str(), value.as_str()))
                .collect();
            // They are of this matrix.
            if let Ok(combination) = matrix.combination(&all) {
                matrix.exclude(combination, why);
            }
        }
        let all: Vec<(&str, &str)> = here
            .iter()
            .map(|(axis, value)| (axis.as_str(), value.as_str()))
            .collect();
        let place = matrix.combination(&all).unwrap_or_default();
        for need in matrix.needs().to_vec() {
            let why = need.capabilities.iter().find_map(|one| site.lacks(one));
            if let (Some(why), Some(both)) = (why, need.combination.and(&place)) {
                matrix.exclude(both, why);
            }
        }
    }
    Ok(())
}

/// Why a value that is about a config center means nothing at a site; none: it does.
fn no_center(axis: &str, value: &Value, site: &Site) -> Option<String> {
    let about = axis == "restart" && value.as_text() == Some("registry");
    let lacks = about && !site.has_center();
    lacks.then(|| format!("{} has no config center to restart", site.site))
}

/// Why a site cannot have a topology; none: it can.
fn cannot_have(matrix: &Matrix, site: &Site, topology: &MeshSpec) -> Option<String> {
    let name = &topology.topology;
    let mut zones = topology
        .pods
        .iter()
        .filter_map(|(_, pod)| pod.zone.as_ref());
    if let Some(zone) = zones.find(|zone| !site.zones.contains(zone)) {
        return Some(format!(
            "{} has no zone {zone}, where topology {name} has a pod",
            site.site
        ));
    }
    let written = matrix.axes.iter().any(|axis| axis.name == "providers");
    let pod = knows_tr_alone(topology).filter(|_| !written)?;
    let lacks = site.lacks_protocol("tr")?;
    Some(format!(
        "{lacks}, and that of pod {pod} of topology {name} speaks nothing else"
    ))
}

/// The protocols that apps speak where an axis has this value.
pub(super) fn spoken(axis: &str, value: &Value) -> Vec<&'static str> {
    let protocol = |word: &Value| match word.as_text() {
        Some("tr") => Some("tr"),
        Some(word) if word.starts_with("bolt") => Some("bolt"),
        _ => None,
    };
    match axis {
        "providers" | "speech" => value.items().iter().filter_map(protocol).collect(),
        _ => Vec::new(),
    }
}
