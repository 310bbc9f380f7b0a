//! Exact frames of connections that stand: plan, lease, evidence.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use meshproof_sys::bpf;
use meshproof_sys::clock::Nanos;
use meshproof_sys::netlink::{self, Subsystem};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::installed::{Counted, Installed, NAME, NotInstalled, Ports};
use super::program::{Wanted, protocol, sort};
use super::senders::{self, Sender};
use crate::choose::Share;
use crate::plan::FLOWS_MAX;
use crate::sockets::{self, Socket, State};
use crate::spec::{self, Frames, Kind, Listener, Protocol, Subject};
use crate::{
    Backend, Count, Error, Evidence, Flow, Hold, Leftover, Plan, Refusal, Residue, RuleText, Scene,
    Spec, Way,
};

/// Connections that one fault takes at most.
const CONNECTIONS_MAX: usize = 1000;

/// From one look at what was lost to the next: the kernel keeps it until then.
const LOOK: Duration = Duration::from_millis(20);

/// How long the kernel may take to let a program go that nobody holds any more.
const GOING: Duration = Duration::from_secs(5);

/// Exact frames as they are sent, on connections that stand.
#[derive(Debug)]
pub struct Sockhash;

/// A connection whose sender is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    /// The end that sends.
    local: SocketAddr,
    /// The other one.
    remote: SocketAddr,
    /// Whose socket it is.
    sender: Sender,
    /// See [`Share::key`].
    share: u64,
}

impl Taken {
    fn ports(&self) -> Ports {
        Ports {
            here: self.local.port(),
            there: self.remote.port(),
        }
    }
}

/// What is remembered between plan and lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    wanted: Wanted,
    taken: Vec<Taken>,
}

impl Backend for Sockhash {
    fn way(&self) -> Way {
        Way::Sockhash
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let wanted = wanted(spec).map_err(Refusal::Inexact)?;
        let port = spec.port.map(|port| port.value);
        let port = port.ok_or_else(|| {
            Refusal::Inexact("finds connections by the port that is listened at".to_owned())
        })?;
        let live = live().map_err(|error| Refusal::Missing {
            missing: format!("a list of connections: {error}"),
            advice: "use a kernel that has netlink for it".to_owned(),
        })?;
        let sending = sending(spec, port, &live).map_err(Refusal::Inexact)?;
        // First whether this machine can at all: that is the better reason.
        let release = rustix::system::uname();
        Installed::new(&name(scene), &wanted, 1).map_err(|not| lacking(&not))?;
        let taken = taken(spec, port, &sending)?;
        let told = told(spec);
        let mut plan = Plan::bare(Way::Sockhash, spec, scene);
        plan.rules = taken
            .iter()
            .map(|it| RuleText {
                exact: format!(
                    "descriptor {} of process {}, as it sends to {}: {told}",
                    it.sender.descriptor, it.sender.process, it.remote
                ),
                iptables: None,
            })
            .collect();
        plan.needs = vec![
            format!(
                "a program that judges what sockets send (BPF_PROG_TYPE_SK_MSG): taken by kernel {}",
                release.release().to_string_lossy()
            ),
            format!(
                "the sockets of their processes (pidfd_getfd): copied, {} of them",
                taken.len()
            ),
        ];
        plan.doubts = doubts(&wanted);
        plan.flows_all = taken.len() as u64;
        plan.flows = taken
            .iter()
            .take(FLOWS_MAX)
            .map(|it| Flow {
                local: it.local,
                remote: it.remote,
            })
            .collect();
        plan.memory = serde_json::to_value(Memory { wanted, taken })
            .map_err(|error| Refusal::Inexact(format!("a plan as JSON: {error}")))?;
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, scene: &Scene) -> Result<Box<dyn Hold>, Error> {
        let Memory { wanted, taken } = serde_json::from_value(plan.memory.clone())
            .map_err(|error| Error::Refused(format!("a plan that is not of this way: {error}")))?;
        let sockets = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        let mut installed =
            Installed::new(&name(scene), &wanted, sockets).map_err(|not| match lacking(&not) {
                Refusal::Missing { missing, advice } => Error::Unsupported { missing, advice },
                Refusal::Inexact(why) => Error::Refused(why),
            })?;
        let mut gone = 0_u64;
        for one in &taken {
            let copy = one
                .sender
                .copy()
                .map_err(Error::io("copying a descriptor"))?;
            // The copy ends here: the socket is its owner's, and nobody else's.
            let Some(copy) = copy else {
                gone += 1;
                continue;
            };
            match installed.take(one.ports(), one.share, copy.as_fd()) {
                Ok(()) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
                    return Err(Error::Refused(format!(
                        "another program judges already what is sent from {} to {}: of such faults \
                         a connection has one at a time",
                        one.local, one.remote
                    )));
                }
                // It ended as it was put in.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => gone += 1,
                Err(error) => return Err(Error::io("a socket into the map")(error)),
            }
        }
        if gone == taken.len() as u64 {
            return Err(Error::Refused(format!(
                "the {gone} connections of the plan have ended since it was made"
            )));
        }
        let sorts = told(&plan.spec);
        Ok(Box::new(Held {
            id: installed.id(),
            installed: Some(installed),
            counted: Counted::default(),
            taken,
            gone,
            sorts,
        }))
    }
}

/// Which frames; why not, where no such program can do exactly this.
fn wanted(spec: &Spec) -> Result<Wanted, String> {
    let kind = spec.kind.value;
    if spec.subject() != Subject::Frames {
        return Err(format!(
            "knows frames, and {kind} happens to {}",
            spec.subject()
        ));
    }
    if kind != Kind::Drop {
        return Err(format!(
            "what is sent goes on at once, as it is, or not at all: no {kind}"
        ));
    }
    for (key, is) in [("service", &spec.service), ("method", &spec.method)] {
        if is.is_some() {
            return Err(format!(
                "reads the heads of frames, and `{key}` stands behind them"
            ));
        }
    }
    if spec.connection.is_some() {
        return Err(
            "knows no order of connections: name `source_port`, or leave `connection` to a relay"
                .to_owned(),
        );
    }
    let (first, last) = spec.span();
    Ok(Wanted {
        sorts: match spec.frame.map(|frame| frame.value) {
            None => sort::ALL,
            Some(Frames::Request) => sort::REQUEST,
            Some(Frames::Oneway) => sort::ONEWAY,
            Some(Frames::Response) => sort::RESPONSE,
            Some(Frames::Heartbeat) => sort::HEARTBEAT,
            Some(Frames::Goaway) => sort::GOAWAY,
        },
        protocols: match spec.protocol.map(|protocol| protocol.value) {
            None => protocol::ALL,
            Some(Protocol::Bolt) => protocol::BOLT_V1 | protocol::BOLT_V2,
            Some(Protocol::BoltV1) => protocol::BOLT_V1,
            Some(Protocol::BoltV2) => protocol::BOLT_V2,
            Some(Protocol::Tr) => protocol::TR,
        },
        first,
        last,
        below: spec
            .percent
            .map(|percent| Share::of(percent.value, 0, "").below),
    })
}

fn live() -> Result<Vec<Socket>, Box<dyn std::error::Error>> {
    let socket = netlink::open(Subsystem::Sockets)?;
    let mut live = sockets::list(&socket, &[State::Established, State::CloseWait])?;
    for one in &mut live {
        one.local = plain(one.local);
        one.remote = plain(one.remote);
    }
    live.sort_by_key(|it| (it.local, it.remote));
    Ok(live)
}

/// An address of version 4 that a socket of version 6 shows is one of version 4 on the wire.
fn plain(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// The sockets here that send what is meant; why there are none.
fn sending(spec: &Spec, port: u16, live: &[Socket]) -> Result<Vec<Socket>, String> {
    let ends: Vec<(SocketAddr, SocketAddr)> = live.iter().map(|it| (it.local, it.remote)).collect();
    let both_here = |it: &Socket| ends.contains(&(it.remote, it.local));
    let fits = |it: &Socket| {
        let accepted = it.local.port() == port;
        let (here, opener) = match accepted {
            true => (true, it.remote),
            // Who opened is here; who listens may be, too.
            false => (both_here(it), it.local),
        };
        let place = match spec.listens() {
            Listener::Here => accepted || (it.remote.port() == port && here),
            Listener::Elsewhere => !accepted && it.remote.port() == port,
        };
        // The other end, as seen from the pod that is meant.
        let other = match (spec.listens(), accepted) {
            (Listener::Here, true) | (Listener::Elsewhere, _) => it.remote,
            (Listener::Here, false) => it.local,
        };
        place
            && spec.source_port.is_none_or(|it| it.value == opener.port())
            && spec.peer().is_none_or(|peer| peer.contains(&other.ip()))
            && spec
                .ip
                .is_none_or(|ip| (ip.value == spec::Version::V4) == it.remote.is_ipv4())
    };
    let sends = |it: &Socket| match spec.sender() {
        None => true,
        Some(spec::Sender::Listener) => it.local.port() == port,
        Some(spec::Sender::Opener) => it.local.port() != port,
    };
    let fitting: Vec<&Socket> = live.iter().filter(|it| fits(it)).collect();
    let sending: Vec<Socket> = fitting
        .iter()
        .filter(|it| sends(it))
        .map(|it| (*it).clone())
        .collect();
    let meant = live
        .iter()
        .filter(|it| it.local.port() == port || it.remote.port() == port)
        .count();
    let elsewhere = fitting.iter().filter(|it| !both_here(it)).count();
    match sending.as_slice() {
        [] if fitting.is_empty() => Err(match meant {
            0 => format!(
                "means connections that stand, and none does at port {port}: later ones are met by a \
                 relay alone"
            ),
            meant => format!("none of the {meant} sockets at port {port} is one that is meant"),
        }),
        [] => Err(format!(
            "loses frames where they are sent, and the senders of {} connections at port {port} are \
             not in this network: inject it in theirs",
            fitting.len()
        )),
        // Both directions, and of some connections only one end is here.
        _ if spec.sender().is_none() && elsewhere > 0 => Err(format!(
            "loses frames where they are sent, and of {elsewhere} connections at port {port} one end \
             is not in this network: name `from`"
        )),
        sending if sending.len() > CONNECTIONS_MAX => Err(format!(
            "takes {CONNECTIONS_MAX} connections, and there are {}: name `source_port` or `peer`",
            sending.len()
        )),
        sending => {
            let mut ports: Vec<(u16, u16)> = sending
                .iter()
                .map(|it| (it.local.port(), it.remote.port()))
                .collect();
            ports.sort_unstable();
            ports.dedup();
            match ports.len() == sending.len() {
                true => Ok(sending.to_vec()),
                false => Err(format!(
                    "tells connections by their ports, and of {} at port {port} some have the same: \
                     name `peer`",
                    sending.len()
                )),
            }
        }
    }
}

/// The same, with whose they are.
fn taken(spec: &Spec, port: u16, sending: &[Socket]) -> Result<Vec<Taken>, Refusal> {
    let inodes: Vec<u64> = sending.iter().map(|it| u64::from(it.inode)).collect();
    let (found, closed) = senders::find(&inodes).map_err(|error| Refusal::Missing {
        missing: format!("a look at /proc: {error}"),
        advice: "mount it".to_owned(),
    })?;
    let seed = spec.seed.map_or(0, |seed| seed.value);
    let percent = spec.percent.map_or(100.0, |percent| percent.value);
    let mut taken = Vec::new();
    let mut numbers = [0_u64; 2];
    for it in sending {
        let Some(sender) = found.get(&u64::from(it.inode)) else {
            return Err(Refusal::Missing {
                missing: format!(
                    "the process that sends from {} to {}: it is none of those in /proc, of which \
                     {closed} do not show what they have",
                    it.local, it.remote
                ),
                advice: "run as root, where its processes can be seen".to_owned(),
            });
        };
        sender.copy().map_err(|error| Refusal::Missing {
            missing: format!(
                "the right to a copy of descriptor {} of process {}: {error}",
                sender.descriptor, sender.process
            ),
            advice: "run as root, with CAP_SYS_PTRACE".to_owned(),
        })?;
        // As a relay would call it: its number, counted from 1, and the direction.
        let (way, number) = match (it.local.port() == port, &mut numbers) {
            (true, [back, _]) => ("back", back),
            (false, [_, forth]) => ("forth", forth),
        };
        *number += 1;
        taken.push(Taken {
            local: it.local,
            remote: it.remote,
            sender: *sender,
            share: Share::of(percent, seed, &format!("{number} {way}")).key,
        });
    }
    Ok(taken)
}

fn lacking(not: &NotInstalled) -> Refusal {
    match Errno::from_io_error(not.error()) {
        Some(Errno::PERM | Errno::ACCESS) if not.is_rights() => Refusal::Missing {
            missing: format!("the right to load programs into the kernel ({not})"),
            advice:
                "run as root of the machine (CAP_BPF, CAP_NET_ADMIN): a user namespace does not \
                     give it"
                    .to_owned(),
        },
        _ => Refusal::Missing {
            missing: format!("a kernel that judges what sockets send ({not})"),
            advice: "use Linux 5.12 or later with CONFIG_BPF_SYSCALL and CONFIG_BPF_STREAM_PARSER"
                .to_owned(),
        },
    }
}

/// The name of programs and maps: letters that the kernel takes.
fn name(scene: &Scene) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let lease: String = scene.lease.chars().map(letter).collect();
    let mut name = format!("{NAME}{lease}");
    name.truncate(bpf::NAME_BYTES_MAX);
    name
}

/// Which frames, in words.
fn told(spec: &Spec) -> String {
    let mut bare = Spec::new(spec.kind.value);
    bare.frame = spec.frame;
    bare.protocol = spec.protocol;
    bare.nth = spec.nth;
    bare.last = spec.last;
    bare.percent = spec.percent;
    // Of packets it would say so.
    bare.way = spec.way.map(|mut way| {
        way.value = Way::Sockhash;
        way
    });
    bare.to_string()
}

fn doubts(wanted: &Wanted) -> Vec<String> {
    let mut doubts = vec![
        "connections that are made later are not met".to_owned(),
        "a frame that is not sent in one piece passes, and so does all on a connection of which it \
         is not known where frames begin; both are counted"
            .to_owned(),
    ];
    if wanted.protocols & protocol::TR != 0 && wanted.sorts == sort::HEARTBEAT {
        doubts.push(
            "what answers heartbeats of TR is told by its class, as their requests are".to_owned(),
        );
    }
    doubts
}

/// A fault in force.
struct Held {
    installed: Option<Installed>,
    id: u32,
    counted: Counted,
    taken: Vec<Taken>,
    gone: u64,
    sorts: String,
}

impl Hold for Held {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        if let Some(installed) = &self.installed {
            installed.drain();
            self.counted = installed
                .counted()
                .map_err(Error::io("reading counters of the kernel"))?;
        }
        Ok(evidence(
            &self.counted,
            &self.sorts,
            self.taken.len() as u64 - self.gone,
        ))
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        // What cannot be read must not keep it from being healed.
        let _ = self.evidence();
        if let Some(mut installed) = self.installed.take() {
            installed
                .release()
                .map_err(Error::io("giving sockets back"))?;
        }
        residue(self.id)
    }

    fn tick(&mut self, now: Nanos) -> Option<Nanos> {
        self.installed.as_ref()?.drain();
        Some(now + LOOK)
    }
}

fn evidence(counted: &Counted, sorts: &str, connections: u64) -> Evidence {
    let Counted {
        read,
        wanted,
        dropped,
        pieces,
        astray,
    } = *counted;
    let passed = read.saturating_sub(dropped);
    let mut beside =
        format!("{read} frames were read on {connections} connections, {passed} passed");
    if pieces > 0 {
        beside.push_str(&format!(
            ", {pieces} of them since they were sent in pieces"
        ));
    }
    if astray > 0 {
        beside.push_str(&format!(
            "; on {astray} connections it was lost where frames begin, and all passed"
        ));
    }
    let mut evidence = Evidence {
        counts: vec![Count {
            what: format!("frames were lost by `{sorts}`; {beside}"),
            met: dropped,
        }],
        ..Evidence::default()
    };
    if dropped == 0 {
        evidence.reasons.push(match (read, wanted) {
            (0, _) if astray == 0 => {
                format!("nothing was sent on the {connections} connections that stood")
            }
            (_, 0) => format!("none was of the sort that is meant: {beside}"),
            _ => format!(
                "{wanted} were of the sort that is meant, and it was not their turn: {beside}"
            ),
        });
    }
    evidence
}

/// Whether the program is still there; the kernel may take a moment.
fn residue(id: u32) -> Result<Residue, Error> {
    let until = Nanos::now() + GOING;
    loop {
        let programs = match bpf::programs() {
            Ok(programs) => programs,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
                return Ok(Residue {
                    left: Vec::new(),
                    looked_at: vec!["its own descriptors: others may not be seen".to_owned()],
                });
            }
            Err(error) => return Err(Error::io("listing programs of the kernel")(error)),
        };
        let left = programs.iter().find(|program| program.id == id);
        if left.is_none() || Nanos::now() >= until {
            return Ok(Residue {
                left: left.into_iter().map(leftover).collect(),
                looked_at: vec![format!("{} programs of the kernel", programs.len())],
            });
        }
        pause().map_err(Error::io("waiting"))?;
    }
}

fn leftover(program: &bpf::Seen) -> Leftover {
    Leftover {
        kind: "program of the kernel".to_owned(),
        what: format!("{} ({})", program.id, program.name),
        whose: crate::backend::TAG.to_owned(),
        advice: "end the process that holds its map: bpftool map".to_owned(),
    }
}

/// Nothing tells when the kernel has let a program go.
fn pause() -> io::Result<()> {
    let moment = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    match rustix::event::poll(&mut [], Some(&moment)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
