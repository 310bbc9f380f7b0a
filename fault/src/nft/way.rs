//! Faults of packets by tables that their keeper owns: the way `nft-owner`, and `cut`.

use std::fs;
use std::path::Path;

use meshproof_sys::netlink::{self, Subsystem};

use super::limit;
use super::list::{self, Counted};
use super::recipe::{self, Aim, Only};
use super::rule::{Action, Match, NAME_BYTES_MAX, Table, Transport, Version};
use super::table::{Owned, Wrong};
use crate::plan::FLOWS_MAX;
use crate::spec::{self, Kind, Listener, Sender, Subject};
use crate::{
    Backend, Count, Error, Evidence, Flow, Hold, Leftover, Plan, Refusal, Residue, RuleText, Scene,
    Spec, Way, flows,
};

/// DNS: the only port here that is asked by UDP.
const DNS: u16 = 53;

/// Packets by rules: drop, reject, limit.
#[derive(Debug)]
pub struct NftOwner;

/// A pod without its links, as far as packets see.
#[derive(Debug)]
pub struct Cut;

impl Backend for NftOwner {
    fn way(&self) -> Way {
        Way::NftOwner
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        let action = match kind {
            Kind::Drop => Action::Drop,
            Kind::Reject | Kind::Limit => Action::Reset,
            _ => return Err(Refusal::Inexact(format!("rules of packets know no {kind}"))),
        };
        if spec.subject() != Subject::Packets {
            return Err(Refusal::Inexact(
                "a dropped packet is not a dropped frame: TCP holds back all behind it".to_owned(),
            ));
        }
        let aim = aim(spec)?;
        let live = flows::live().map_err(|error| missing("a list of connections", &error))?;
        let flows: Vec<Flow> = live
            .iter()
            .filter(|flow| flows::meant(spec, flow))
            .copied()
            .collect();
        let only = only(spec, &flows);
        let mut needs = vec![format!(
            "tables of nftables that go with their owner: taken by kernel {}",
            rustix::system::uname().release().to_string_lossy()
        )];
        if let Only::Beyond(_) = only {
            limit::self_test().map_err(Refusal::Inexact)?;
            needs.push("connections counted as told: tried with 2 of 4".to_owned());
        }
        let mut table = recipe::aimed(&name(scene), &scene.tag(), &aim, &only, action)
            .map_err(Refusal::Inexact)?;
        if spec.port.is_some_and(|port| port.value == DNS) && only == Only::All {
            let aim = Aim {
                transport: Transport::Udp,
                ..aim.clone()
            };
            let asked = recipe::aimed(&name(scene), &scene.tag(), &aim, &only, action)
                .map_err(Refusal::Inexact)?;
            for (chain, more) in table.chains.iter_mut().zip(asked.chains) {
                chain.rules.extend(more.rules.into_iter().map(|mut rule| {
                    rule.label.push_str(", by UDP");
                    rule
                }));
            }
        }
        let mut plan = plan(Way::NftOwner, spec, scene, &table, needs)?;
        plan.doubts = doubts(spec, &live, &flows);
        plan.also_hit = also_hit(spec, &only);
        plan.flows_all = flows.len() as u64;
        plan.flows = flows;
        plan.flows.truncate(FLOWS_MAX);
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        apply(plan)
    }
}

impl Backend for Cut {
    fn way(&self) -> Way {
        Way::Cut
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        if kind != Kind::Cut {
            return Err(Refusal::Inexact(format!("a cut link is no {kind}")));
        }
        let links = links().map_err(|error| missing("a list of links", &error))?;
        if links.is_empty() {
            return Err(Refusal::Inexact(
                "there is no link here but the loopback".to_owned(),
            ));
        }
        let table = recipe::cut(&name(scene), &scene.tag(), &links).map_err(Refusal::Inexact)?;
        let needs = vec![format!(
            "hooks of nftables at links, both ways: taken by kernel {}",
            rustix::system::uname().release().to_string_lossy()
        )];
        let mut plan = plan(Way::Cut, spec, scene, &table, needs)?;
        let mut flows = flows::live().map_err(|error| missing("a list of connections", &error))?;
        flows.retain(|flow| !flow.remote.ip().is_loopback());
        plan.flows_all = flows.len() as u64;
        plan.flows = flows;
        plan.flows.truncate(FLOWS_MAX);
        plan.also_hit = vec![format!(
            "everything that comes or leaves by {}, ARP and neighbour discovery too",
            links.join(", ")
        )];
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        apply(plan)
    }
}

fn missing(what: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::Missing {
        missing: format!("{what}: {error}"),
        advice: "use a kernel that has netlink for it".to_owned(),
    }
}

/// The table's name: that of the lease, in letters that nftables takes.
pub(crate) fn name(scene: &Scene) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let lease: String = scene.lease.chars().map(letter).collect();
    let mut name = format!("{}_{lease}", crate::backend::TAG);
    name.truncate(NAME_BYTES_MAX);
    name
}

/// Where control groups of version 2 are mounted.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A control group, as rules know it.
fn group(path: &str) -> Result<Match, Refusal> {
    use std::os::unix::fs::MetadataExt;
    let path = path.trim_matches('/');
    let level = path.split('/').filter(|part| !part.is_empty()).count();
    if level == 0 || path.split('/').any(|part| part == "..") {
        return Err(Refusal::Inexact(format!(
            "`{path}` is no path of a control group below the root"
        )));
    }
    let of_version_2 = |root: &&&str| Path::new(root).join("cgroup.procs").exists();
    let Some(root) = GROUPS.iter().find(of_version_2) else {
        return Err(Refusal::Missing {
            missing: "control groups of version 2".to_owned(),
            advice: "mount cgroup2 at /sys/fs/cgroup".to_owned(),
        });
    };
    let folder = Path::new(root).join(path);
    let found = fs::metadata(&folder)
        .map_err(|error| Refusal::Inexact(format!("{}: {error}", folder.display())))?;
    Ok(Match::Group {
        level: level as u32,
        id: found.ino(),
        path: path.to_owned(),
    })
}

fn aim(spec: &Spec) -> Result<Aim, Refusal> {
    let owner = spec.group.as_ref().map(|path| group(path)).transpose()?;
    Ok(Aim {
        transport: Transport::Tcp,
        listener: match spec.listens() {
            Listener::Here => recipe::Listener::Here,
            Listener::Elsewhere => recipe::Listener::Elsewhere,
        },
        sender: spec.sender().map(|sender| match sender {
            Sender::Opener => recipe::Sender::Opener,
            Sender::Listener => recipe::Sender::Listener,
        }),
        port: spec.port.map(|port| port.value),
        source_port: spec.source_port.map(|port| port.value),
        peer: spec.peer(),
        version: spec.ip.map(|version| match version.value {
            spec::Version::V4 => Version::V4,
            spec::Version::V6 => Version::V6,
        }),
        owner,
    })
}

fn only(spec: &Spec, flows: &[Flow]) -> Only {
    if let Some(connections) = spec.connections {
        return Only::Beyond(connections.value);
    }
    match spec.only.map(|only| only.value) {
        None => Only::All,
        Some(spec::Only::New) => Only::New,
        Some(spec::Only::Established) => {
            let ends = flows.iter().map(|flow| (flow.local, flow.remote));
            Only::Flows(ends.collect())
        }
        Some(spec::Only::Payload) => Only::Payload,
        Some(spec::Only::SynAck) => Only::SynAck,
        Some(spec::Only::Fin) => Only::Fin,
        Some(spec::Only::Rst) => Only::Rst,
    }
}

fn doubts(spec: &Spec, live: &[Flow], flows: &[Flow]) -> Vec<String> {
    let mut doubts = Vec::new();
    let at_port = live
        .iter()
        .filter(|flow| flows::at_port(spec, flow))
        .count();
    let established = spec
        .only
        .is_some_and(|only| only.value == spec::Only::Established);
    match (flows.len(), at_port) {
        (0, 0) if established => {
            doubts.push("no connection stands at this port: nothing will be hit".to_owned());
        }
        (0, 0) => doubts.push("no connection stands at this port yet".to_owned()),
        (0, others) => doubts.push(format!(
            "{others} connections stand at this port, none of this version of IP and with this \
             other end"
        )),
        _ => {}
    }
    if spec.connections.is_some() && !flows.is_empty() {
        doubts.push(format!(
            "{} connections stand already: the limit counts those that come from now on",
            flows.len()
        ));
    }
    doubts
}

fn also_hit(spec: &Spec, only: &Only) -> Vec<String> {
    let mut also = Vec::new();
    if spec.kind.value == Kind::Drop && !matches!(only, Only::New | Only::SynAck | Only::Rst) {
        also.push(
            "all that is said behind a lost packet on its connection, whatever it is: TCP holds \
             it back until the packet was sent again"
                .to_owned(),
        );
    }
    if *only == Only::Fin {
        also.push("the bytes that a last packet carries beside its FIN".to_owned());
    }
    also
}

/// Links of this network but the loopback.
fn links() -> std::io::Result<Vec<String>> {
    // The file is of the network of the thread that reads it; sysfs is of the one that mounted it.
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let mut links: Vec<String> = text
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name != "lo")
        .collect();
    links.sort();
    Ok(links)
}

/// Has the kernel check the table, and says it all in words.
fn plan(
    way: Way,
    spec: &Spec,
    scene: &Scene,
    table: &Table,
    needs: Vec<String>,
) -> Result<Plan, Refusal> {
    let socket = netlink::open(Subsystem::Netfilter)
        .map_err(|error| missing("nfnetlink (CONFIG_NETFILTER_NETLINK)", &error))?;
    Owned::try_out(socket, table.clone()).map_err(|wrong| match wrong.lacks() {
        Some((missing, advice)) => Refusal::Missing { missing, advice },
        None => Refusal::Inexact(format!("the kernel does not take it: {wrong}")),
    })?;
    let mut rules = Vec::new();
    for chain in &table.chains {
        for rule in &chain.rules {
            rules.push(RuleText {
                exact: format!("{} {}: {}", table.name, chain.name, rule.nft()),
                iptables: match rule.action {
                    Action::Count => None,
                    _ => rule
                        .iptables(&chain.hook)
                        .ok()
                        .map(|lines| lines.join("\n")),
                },
            });
        }
    }
    let memory = serde_json::to_value(table)
        .map_err(|error| Refusal::Inexact(format!("the table as JSON: {error}")))?;
    let mut plan = Plan::bare(way, spec, scene);
    plan.rules = rules;
    plan.needs = needs;
    plan.memory = memory;
    Ok(plan)
}

fn apply(plan: &Plan) -> Result<Box<dyn Hold>, Error> {
    let table: Table = serde_json::from_value(plan.memory.clone())
        .map_err(|error| Error::Refused(format!("a plan that is not of this way: {error}")))?;
    let socket = netlink::open(Subsystem::Netfilter).map_err(Error::io("nfnetlink"))?;
    let owned = Owned::make(socket, table).map_err(|wrong| match wrong.lacks() {
        Some((missing, advice)) => Error::Unsupported { missing, advice },
        None => io_error("making a table", wrong),
    })?;
    Ok(Box::new(Held {
        name: owned.table().name.clone(),
        owned: Some(owned),
        counted: Vec::new(),
    }))
}

fn io_error(what: &str, wrong: Wrong) -> Error {
    Error::io(what)(std::io::Error::other(wrong))
}

/// A table in force, with what it counted last.
struct Held {
    name: String,
    owned: Option<Owned>,
    counted: Vec<Counted>,
}

impl Hold for Held {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        if let Some(owned) = &self.owned {
            self.counted = owned
                .counters()
                .map_err(|wrong| io_error("reading counters", wrong))?;
        }
        Ok(evidence(&self.counted))
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        if self.owned.is_some() {
            // What cannot be read must not keep it from being healed.
            let _ = self.evidence();
        }
        if let Some(owned) = self.owned.take() {
            owned
                .remove()
                .map_err(|wrong| io_error("removing a table", wrong))?;
        }
        residue(&self.name)
    }
}

/// Looks for tables of this name, which should be gone.
pub(crate) fn residue(name: &str) -> Result<Residue, Error> {
    let socket = netlink::open(Subsystem::Netfilter).map_err(Error::io("nfnetlink"))?;
    let all = list::everything(&socket)
        .map_err(|error| Error::io("listing tables")(std::io::Error::other(error)))?;
    let left = all
        .tables
        .iter()
        .filter(|table| table.name == name)
        .map(|table| Leftover {
            kind: "table".to_owned(),
            what: format!("{} {}", table.family, table.name),
            whose: crate::backend::TAG.to_owned(),
            advice: format!("nft delete table {} {}", table.family, table.name),
        })
        .collect();
    Ok(Residue {
        left,
        looked_at: vec![format!(
            "{} tables and {} rules of nftables",
            all.tables.len(),
            all.rules.len()
        )],
    })
}

fn evidence(counted: &[Counted]) -> Evidence {
    let seen = |counted: &&Counted| counted.label.starts_with("seen");
    let mut evidence = Evidence {
        counts: counted
            .iter()
            .filter(|counted| !seen(counted))
            .map(|counted| Count {
                what: format!("packets {}", counted.label),
                met: counted.packets,
            })
            .collect(),
        ..Evidence::default()
    };
    if evidence.is_empty() {
        let passed: u64 = counted
            .iter()
            .filter(seen)
            .map(|counted| counted.packets)
            .sum();
        evidence.reasons.push(if passed > 0 {
            format!("{passed} packets passed on these connections, and none of them was meant")
        } else {
            "no packet passed on such a connection".to_owned()
        });
    }
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_tell_of_connections_that_are_not_meant() {
        let here = Flow {
            local: "10.0.0.1:12199".parse().unwrap(),
            remote: "10.0.0.2:40000".parse().unwrap(),
        };
        let spec = |text: &str| Spec::parse("fault.yaml", text).unwrap();
        let other_version = spec("{kind: drop, port: 12199, ip: v6}");
        let doubts = doubts(&other_version, &[here], &[]);
        assert!(
            doubts[0].starts_with("1 connections stand at this port, none"),
            "{doubts:?}"
        );
    }

    fn counted(label: &str, packets: u64) -> Counted {
        Counted {
            chain: "input".into(),
            label: label.into(),
            packets,
            bytes: packets * 60,
        }
    }

    #[test]
    fn what_passed_is_no_evidence_but_a_reason() {
        let inert = evidence(&[counted("seen at input", 9), counted("dropped at input", 0)]);
        assert!(inert.is_empty());
        let expected = "9 packets passed on these connections, and none of them was meant";
        assert_eq!(inert.reasons, [expected]);
        let met = evidence(&[counted("seen at input", 9), counted("dropped at input", 2)]);
        assert_eq!(met.met(), 2);
        assert_eq!(met.counts[0].what, "packets dropped at input");
        let silent = evidence(&[counted("dropped at input", 0)]);
        assert_eq!(silent.reasons, ["no packet passed on such a connection"]);
    }
}
