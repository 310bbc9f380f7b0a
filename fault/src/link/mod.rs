//! Faults of links: delay, jitter, loss, duplication, reordering, corruption, bandwidth.
//!
//! - [`machine`]: what a bad link does to packets, as a state machine; [`late`]: how late whoever
//!   drives it was.
//! - [`Tap`]: the way `tap`. Frames of the link are turned aside through this process by a table
//!   of nftables and two TAP devices, all of which the kernel takes away with their descriptors.
//! - [`Netem`]: the way `netem`, which asks whether the kernel has it.

pub mod late;
pub mod machine;
mod netem;
mod place;
mod wire;

use std::os::fd::BorrowedFd;

use meshproof_sys::clock::Nanos;
use meshproof_sys::netlink::{self, Subsystem};
use meshproof_sys::tap::{Device, Offload};
use meshproof_sys::timer::sharpen_timers_of_this_thread;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use self::machine::{How, QUEUE_NS};
use self::place::Place;
use self::wire::{Told, Wire, rules};
use crate::flows;
use crate::nft;
use crate::nft::rule::Action;
use crate::nft::table::Owned;
use crate::plan::FLOWS_MAX;
use crate::spec::{Direction, Kind};
use crate::{
    Backend, Count, Error, Evidence, Hold, Leftover, Plan, Refusal, Residue, RuleText, Scene, Spec,
    Way,
};

pub use self::netem::Netem;
pub(crate) use self::place::OWN as WIRE;

/// A link of which every packet passes through the keeper.
#[derive(Debug)]
pub struct Tap;

/// What the plan remembers.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    place: Place,
    ways: Vec<(Direction, How)>,
}

/// How the link is bad, by what is said of it.
fn how(spec: &Spec) -> How {
    let ns = |time: Option<meshproof_input::Spanned<meshproof_input::Millis>>| {
        time.map_or(0, |time| time.value.0.saturating_mul(1_000_000))
    };
    let share = |share: Option<meshproof_input::Spanned<f64>>| share.map_or(0.0, |it| it.value);
    How {
        delay_ns: ns(spec.delay),
        jitter_ns: ns(spec.jitter),
        loss: share(spec.loss),
        duplicate: share(spec.duplicate),
        reorder: share(spec.reorder),
        corrupt: share(spec.corrupt),
        rate: spec.rate.map(|rate| rate.value.0),
        seed: spec.seed.map_or(0, |seed| seed.value),
    }
}

/// The ways that are meant.
fn directions(spec: &Spec) -> Vec<Direction> {
    spec.direction
        .map_or(Direction::ALL.to_vec(), |it| vec![it.value])
}

fn of_a_link(spec: &Spec, way: Way) -> Result<(), Refusal> {
    let kind = spec.kind.value;
    match kind {
        Kind::Link => Ok(()),
        _ => Err(Refusal::Inexact(format!(
            "{way} is for links, it does no {kind}"
        ))),
    }
}

/// A device that is there for a moment, to find out whether one can be had.
fn trial() -> Result<Device, Refusal> {
    let name = format!("mptry{}", std::process::id() % 1_000_000);
    Device::make(&name, Offload::All).map_err(|error| {
        let advice = match Errno::from_io_error(&error) {
            Some(Errno::ACCESS | Errno::PERM) => {
                "let this user open it (`chmod 0666 /dev/net/tun`, which is what most systems \
                 have; of a container: `--device /dev/net/tun`), or run as root"
            }
            _ => "load the module: `modprobe tun`; of a container: `--device /dev/net/tun`",
        };
        Refusal::Missing {
            missing: format!("TAP devices (/dev/net/tun): {error}"),
            advice: advice.to_owned(),
        }
    })
}

impl Backend for Tap {
    fn way(&self) -> Way {
        Way::Tap
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        of_a_link(spec, Way::Tap)?;
        let device = trial()?;
        let place = place::find().map_err(Refusal::Inexact)?;
        let lacks = |missing: String, advice: &str| Refusal::Missing {
            missing,
            advice: advice.to_owned(),
        };
        let ways: Vec<(Direction, How)> = directions(spec)
            .into_iter()
            .map(|direction| (direction, how(spec)))
            .collect();
        if ways
            .iter()
            .any(|(direction, _)| *direction == Direction::In)
        {
            place::received_at(device.number(), place.number).map_err(|error| {
                lacks(
                    format!(
                        "redirection of what a link receives (CONFIG_NET_SCH_INGRESS, \
                         CONFIG_NET_ACT_MIRRED, CONFIG_NET_CLS_MATCHALL or CONFIG_NET_CLS_U32): \
                         {error}"
                    ),
                    "load the modules: `modprobe sch_ingress cls_matchall act_mirred`",
                )
            })?;
        }
        let lanes: Vec<(Direction, u8, u32)> = ways
            .iter()
            .map(|(direction, _)| (*direction, 1, device.number()))
            .collect();
        let table = rules(&nft::name(scene), &scene.tag(), &place, &lanes);
        let socket = netlink::open(Subsystem::Netfilter)
            .map_err(|error| lacks(format!("nfnetlink: {error}"), "use a kernel that has it"))?;
        Owned::try_out(socket, table.clone()).map_err(|wrong| match wrong.lacks() {
            Some((missing, advice)) => Refusal::Missing { missing, advice },
            None => Refusal::Inexact(format!("the kernel does not take it: {wrong}")),
        })?;
        let mut plan = Plan::bare(Way::Tap, spec, scene);
        for (direction, how) in &ways {
            plan.rules.push(said(*direction, how, &place));
        }
        for chain in &table.chains {
            // The link that was tried is gone by then; the first one that is free has this name.
            let tried = Action::Forward(device.number());
            let rules = chain.rules.iter().map(|rule| {
                let mut text = rule.nft();
                if rule.action == tried {
                    let link = format!("fwd to \"{WIRE}1{}\"", chain.name);
                    text = text.replace(&format!("fwd to {}", device.number()), &link);
                }
                RuleText {
                    exact: format!("{} {}: {text}", table.name, chain.name),
                    iptables: None,
                }
            });
            plan.rules.extend(rules);
        }
        plan.needs = vec![
            "TAP devices: one was made".to_owned(),
            format!(
                "hooks of nftables at links that turn frames aside, and tc that takes them back: \
                 taken by kernel {}",
                rustix::system::uname().release().to_string_lossy()
            ),
        ];
        plan.also_hit = vec![format!(
            "everything that passes {}, ARP and neighbour discovery too; the loopback is spared",
            place.name
        )];
        let mut flows = flows::live().map_err(|error| {
            lacks(
                format!("a list of connections: {error}"),
                "use a kernel that has sock_diag",
            )
        })?;
        flows.retain(|flow| !flow.remote.ip().is_loopback());
        if flows.is_empty() {
            plan.doubts
                .push(format!("no connection by {} stands yet", place.name));
        }
        plan.flows_all = flows.len() as u64;
        plan.flows = flows;
        plan.flows.truncate(FLOWS_MAX);
        plan.memory = serde_json::to_value(Memory { place, ways })
            .map_err(|error| Refusal::Inexact(format!("the plan as JSON: {error}")))?;
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, scene: &Scene) -> Result<Box<dyn Hold>, Error> {
        let memory: Memory = serde_json::from_value(plan.memory.clone())
            .map_err(|error| Error::Refused(format!("a plan that is not of this way: {error}")))?;
        // Both make it more exact, and neither is needed: an ordinary user may not have the second.
        let _ = sharpen_timers_of_this_thread();
        let _ = rustix::process::setpriority_process(None, -19);
        let name = nft::name(scene);
        let before = place::own().map_err(listing)?;
        let wire = Wire::put(&name, &scene.tag(), &memory.place, &memory.ways)?;
        let after = place::own().map_err(listing)?;
        Ok(Box::new(Held {
            name,
            links: after
                .into_iter()
                .filter(|link| !before.contains(link))
                .collect(),
            memory,
            wire: Some(wire),
            told: Vec::new(),
        }))
    }
}

fn listing(error: crate::netlink::ask::Unanswered) -> Error {
    Error::io("listing links")(std::io::Error::other(error))
}

/// What one direction does, as an order.
fn said(direction: Direction, how: &How, place: &Place) -> RuleText {
    let mut words = Vec::new();
    let ms = |ns: u64| ns / 1_000_000;
    if how.delay_ns > 0 {
        words.push(format!("delay {} ms", ms(how.delay_ns)));
    }
    if how.jitter_ns > 0 {
        words.push(format!("more or less {} ms", ms(how.jitter_ns)));
    }
    for (what, share) in [
        ("lose", how.loss),
        ("double", how.duplicate),
        ("swap", how.reorder),
        ("harm", how.corrupt),
    ] {
        if share > 0.0 {
            words.push(format!("{what} {share} %"));
        }
    }
    if let Some(rate) = how.rate {
        words.push(format!(
            "{rate} bits a second, {} ms of queue",
            ms(QUEUE_NS)
        ));
    }
    RuleText {
        exact: format!(
            "{} {direction}: {}, seed {}",
            place.name,
            words.join(", "),
            how.seed
        ),
        iptables: None,
    }
}

/// A wire in force.
struct Held {
    name: String,
    /// Links of it.
    links: Vec<String>,
    memory: Memory,
    wire: Option<Wire>,
    told: Vec<Told>,
}

impl Hold for Held {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        if let Some(wire) = &mut self.wire {
            // What has come and was not looked at yet met it, too.
            wire.catch_up();
            self.told = wire.told();
        }
        let mut evidence = Evidence::default();
        for (told, (_, how)) in self.told.iter().zip(&self.memory.ways) {
            evidence.counts.extend(counts(told, how));
        }
        if evidence.is_empty() {
            let passed: u64 = self.told.iter().map(|told| told.counts.offered).sum();
            let name = &self.memory.place.name;
            evidence.reasons.push(match passed {
                0 => format!("no packet passed {name}"),
                _ => format!("{passed} packets passed {name}, and none of them was chosen"),
            });
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        if let Some(mut wire) = self.wire.take() {
            let lifted = wire.lift();
            self.told = wire.told();
            drop(wire);
            lifted?;
        }
        let mut residue = nft::residue(&self.name)?;
        let links = place::own().map_err(listing)?;
        residue.looked_at.push("links".to_owned());
        residue.left.extend(
            links
                .into_iter()
                .filter(|link| self.links.contains(link))
                .map(|link| Leftover {
                    kind: "link".to_owned(),
                    advice: format!("ip link delete {link}"),
                    what: link,
                    whose: crate::backend::TAG.to_owned(),
                }),
        );
        Ok(residue)
    }

    fn tick(&mut self, _: Nanos) -> Option<Nanos> {
        self.wire.as_mut()?.work()
    }

    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        self.wire.as_ref().map_or(Vec::new(), Wire::watched)
    }
}

/// What met one direction, of what it was to do.
fn counts(told: &Told, how: &How) -> Vec<Count> {
    let Told {
        direction,
        counts,
        late,
        own_losses,
    } = told;
    let ms = |ns: u64| ns as f64 / 1e6;
    let mut all = Vec::new();
    let mut count = |met, what: String| {
        all.push(Count {
            what: format!("packets {what}, {direction}"),
            met,
        });
    };
    if how.delay_ns > 0 {
        let jitter = match how.jitter_ns {
            0 => String::new(),
            jitter => format!(" ± {} ms", ms(jitter)),
        };
        count(
            counts.delayed,
            format!("delayed by {} ms{jitter} ({late})", ms(how.delay_ns)),
        );
    }
    for (share, met, what) in [
        (how.loss, counts.lost, "lost"),
        (how.duplicate, counts.duplicated, "doubled"),
        (how.reorder, counts.reordered, "that changed places"),
        (how.corrupt, counts.corrupted, "with a wrong bit"),
    ] {
        if share > 0.0 {
            count(met, format!("{what} of {}", counts.offered));
        }
    }
    if let Some(rate) = how.rate {
        count(counts.narrowed, format!("at {rate} bits a second"));
        if counts.overflowed > 0 {
            count(
                counts.overflowed,
                format!("lost before it, beyond {} ms of queue", ms(QUEUE_NS)),
            );
        }
    }
    if *own_losses > 0 {
        count(
            *own_losses,
            "lost by the wire, which did not keep up".into(),
        );
    }
    all
}
