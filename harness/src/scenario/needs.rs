//! What a story may need, and who is to have it.

use std::collections::BTreeSet;

use meshproof_fault::spec::Subject;
use meshproof_input::Spanned;
use meshproof_record::verdict::{Claim, Lacking};

use super::model::Step;
use super::plan;
use super::probe::Probe;

/// Who is to have a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The sidecars.
    Sut,
    /// The site.
    Site,
    /// The environment.
    Machine,
}

/// What a site has whose registry is a config center, whether its file says so or not.
pub const CONFIG_CENTER: &str = "config_center";

/// Every capability that a story may name: who is to have it, and what it means.
pub const CAPABILITIES: &[(&str, Owner, &str)] = &[
    ("publishes", Owner::Sut, "publishes what its app provides"),
    (
        "subscribes",
        Owner::Sut,
        "serves the application API and asks the config center",
    ),
    ("vip", Owner::Sut, "resolves VIPs in both forms"),
    ("tr", Owner::Sut, "speaks TR"),
    (
        "plain_bolt",
        Owner::Sut,
        "carries calls to its app that name no service",
    ),
    ("bolt_v2", Owner::Sut, "speaks BOLT v2"),
    ("bolt_v2_crc", Owner::Sut, "passes on BOLT v2 with CRC"),
    (
        "isolates_on_heartbeat_loss",
        Owner::Sut,
        "takes a lost app off the config center and closes its port",
    ),
    (
        "hot_upgrade",
        Owner::Sut,
        "takes over from one that runs, connections included",
    ),
    (
        "admin_log_level",
        Owner::Sut,
        "changes its log level while it runs",
    ),
    ("admin_state", Owner::Sut, "tells its state and its version"),
    (
        "config_reload",
        Owner::Sut,
        "takes a changed configuration while it runs",
    ),
    (
        "goaway",
        Owner::Sut,
        "says GoAway before it closes a connection",
    ),
    (
        "drain",
        Owner::Sut,
        "ends gracefully: off the config center, then what is in flight",
    ),
    (
        CONFIG_CENTER,
        Owner::Site,
        "a config center tells who provides what",
    ),
    (
        "static_addresses",
        Owner::Site,
        "addresses stand in the configurations of sidecars and clients",
    ),
    (
        "counts_lost_logs",
        Owner::Sut,
        "logs to a disk, goes on when it fails, and counts the lines that were lost",
    ),
    (
        "registry_push",
        Owner::Site,
        "addresses are found by a config center that pushes",
    ),
    ("vip", Owner::Site, "pools are found by VIPs"),
    ("dns", Owner::Site, "pools are found by plain names"),
    ("tr", Owner::Site, "apps speak TR, too"),
    ("zones", Owner::Site, "pods stand in more than one zone"),
    (
        "own_ports",
        Owner::Machine,
        "every pod has all ports to itself",
    ),
    (
        "names",
        Owner::Machine,
        "names resolve by the VIP name service in any program",
    ),
    ("escapes", Owner::Machine, "packets that leave are counted"),
    (
        "capture",
        Owner::Machine,
        "packets of a pod can be captured",
    ),
    (
        "filter",
        Owner::Machine,
        "rules of the packet filter can be made in a pod",
    ),
    (
        "own_disk",
        Owner::Machine,
        "every pod has a small disk of its own",
    ),
];

/// The first step that asks a config center, in words: `step 3 (probe registry)`; none: no step
/// does, and the story can be told where addresses are configured.
pub(super) fn asks_center(steps: &[Spanned<Step>]) -> Option<String> {
    let mut numbered = plan::numbered(steps).into_iter();
    numbered.find_map(|it| {
        let what = about_center(it.step)?;
        Some(format!("step {} ({what})", it.number))
    })
}

/// What of a step itself, without the steps in it, is about a config center.
fn about_center(step: &Step) -> Option<&'static str> {
    let probes: Vec<&Spanned<Probe>> = match step {
        Step::Registry(_) | Step::Meshify(_) | Step::Demesh(_) => return Some(step.word()),
        Step::Fault(fault) if fault.subject() == Subject::ConfigCenter => {
            return Some("fault of the config center");
        }
        Step::Eventually(wait) => wait.all.iter().chain(&wait.any).collect(),
        Step::Always(hold) => hold.all.iter().collect(),
        Step::Never(hold) => hold.any.iter().chain(&hold.all).collect(),
        Step::When(when) => when.all.iter().collect(),
        _ => return None,
    };
    let asks = probes
        .into_iter()
        .any(|probe| matches!(probe.value, Probe::Registry(_)));
    asks.then_some("probe registry")
}

/// The first of these that looks like a capability of this owner (of any, where none is named) and
/// is none, with what to type. A name that is like no other is somebody's own, and may be.
pub fn misspelt<'a>(
    names: impl IntoIterator<Item = &'a str>,
    owner: Option<Owner>,
) -> Option<(&'a str, String)> {
    let known: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, whose, _)| owner.is_none_or(|owner| owner == *whose))
        .map(|(name, ..)| *name)
        .collect();
    names.into_iter().find_map(|name| {
        let near = meshproof_input::suggestion(name, &known)?;
        (near != name).then(|| (name, format!("did you mean `{near}`?")))
    })
}

/// What is there to be had.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// For each sidecar of the mesh: its adapter's name and what it can do.
    pub suts: Vec<(String, BTreeSet<String>)>,
    /// The site's name and what can be relied on there.
    pub site: (String, BTreeSet<String>),
    /// The backend's name and what it can do.
    pub machine: (String, BTreeSet<String>),
}

impl Offer {
    /// What speaks against a story that needs all these: the first that is missing.
    pub fn lacks<'a>(&self, needs: impl IntoIterator<Item = &'a str>) -> Option<Claim> {
        needs.into_iter().find_map(|need| self.lack(need))
    }

    fn lack(&self, need: &str) -> Option<Claim> {
        let mut meant = CAPABILITIES.iter().filter(|(known, ..)| *known == need);
        meant.find_map(|(_, owner, means)| self.lack_of(need, *owner, means))
    }

    fn lack_of(&self, need: &str, owner: Owner, means: &str) -> Option<Claim> {
        let unsupported = |lacking, why| Some(Claim::unsupported("needs", lacking, why));
        match owner {
            Owner::Sut => {
                let (sut, _) = self.suts.iter().find(|(_, can)| !can.contains(need))?;
                unsupported(
                    Lacking::Sut,
                    format!("{sut} lacks `{need}`: a sidecar that {means}"),
                )
            }
            Owner::Site if self.site.1.contains(need) => None,
            Owner::Site => unsupported(
                Lacking::Sut,
                format!("site {} lacks `{need}`: {means}", self.site.0),
            ),
            Owner::Machine if self.machine.1.contains(need) => None,
            Owner::Machine => unsupported(
                Lacking::Machine,
                format!(
                    "backend {} lacks `{need}`: {means}; use --backend netns, and see `meshproof \
                     doctor`",
                    self.machine.0
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check(needs: &[&str], expected: Option<(Lacking, &str)>) {
        let offer = Offer {
            suts: vec![
                ("reference".into(), set(&["tr", "hot_upgrade"])),
                ("mosn".into(), set(&["hot_upgrade"])),
            ],
            site: ("ant".into(), set(&["zones"])),
            machine: ("process".into(), set(&[])),
        };
        let lacks = offer.lacks(needs.iter().copied());
        match (lacks, expected) {
            (None, None) => {}
            (Some(claim), Some((lacking, holds))) => {
                assert_eq!(claim.lacking, Some(lacking), "{claim:?}");
                assert!(claim.why.contains(holds), "{}", claim.why);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_said_with_whom() {
        check(&["hot_upgrade", "zones"], None);
        check(
            &["hot_upgrade", "tr"],
            Some((Lacking::Sut, "mosn lacks `tr`")),
        );
        check(
            &["registry_push"],
            Some((Lacking::Sut, "site ant lacks `registry_push`")),
        );
        check(
            &["capture"],
            Some((Lacking::Machine, "backend process lacks `capture`")),
        );
    }
}
