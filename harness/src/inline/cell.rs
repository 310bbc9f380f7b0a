//! One cell, carried out with peers of this process.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshproof_sys::clock::Nanos;

use super::{App, Peer, Peers, Pods, Way};
use crate::matrix::run::{
    Act, Answer, Made, Observed, Restart, Round, Sighting, left_out, open, style_word,
};
use crate::mesh::{Call, PodSpec, Speaks, Style, port};
use crate::sut::REFERENCE;

/// The pod of the config center.
const REGISTRY: &str = crate::mesh::REGISTRY;

const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

/// Longer than anything here takes on a machine that works.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two looks at journals that are in memory.
const PAUSE: Duration = Duration::from_millis(1);

/// Where the cell's sidecars and peers are.
pub struct Ground<'a> {
    /// The pods.
    pub pods: &'a Pods,
    /// Who starts peers.
    pub peers: &'a Arc<dyn Peers>,
    /// Where sidecars keep their files; of this cell alone.
    pub folder: &'a Path,
    /// Seeded bugs by pod, `*` for all.
    pub bugs: &'a BTreeMap<String, Vec<String>>,
}

/// What runs in one pod. Apps go before their sidecars.
#[derive(Default)]
struct Member {
    app: Option<Box<dyn Peer>>,
    sidecar: Option<Box<dyn Peer>>,
    /// What apps before this one saw.
    past: Vec<String>,
}

/// Carries out a cell.
///
/// # Errors
/// It has a sidecar that is a program, or the kernel refuses something.
pub fn carry_out(made: &Made, ground: &Ground<'_>) -> io::Result<Observed> {
    let mut running = Running::up(made, ground)?;
    let mut seen = Observed::default();
    if let Err(error) = running.known() {
        seen.stuck = Some(error.to_string());
        return Ok(seen);
    }
    for (done, act) in made.acts.iter().enumerate() {
        if let Some(left) = left_out(&seen, &made.acts, done) {
            seen.left_out = left;
            break;
        }
        let done = match act {
            Act::Call(call) => running.call(call).map(|round| seen.rounds.push(round)),
            Act::Restart(what) => {
                // A one-way that is on its way when its client ends would end with the app.
                running.settled(&answers(&seen));
                running.restart(*what)
            }
        };
        if let Err(error) = done {
            if error.kind() != io::ErrorKind::TimedOut {
                return Err(error);
            }
            seen.stuck = Some(error.to_string());
            break;
        }
    }
    let answers = answers(&seen);
    let sightings = running.settled(&answers);
    seen.refused = sightings
        .iter()
        .flat_map(|(pod, lines)| {
            let refused = lines.iter().filter(|line| line.kind == "refused");
            refused.filter_map(|line| Some((pod.clone(), line.error.clone()?)))
        })
        .collect();
    seen.ledger = Some((answers.len() as u64, open(&answers, &sightings)));
    // There is no route that leads out, and no program that could try one.
    seen.escapes = Some(0);
    Ok(seen)
}

/// Every answer so far.
fn answers(seen: &Observed) -> Vec<Answer> {
    let rounds = seen.rounds.iter();
    rounds
        .flat_map(|round| round.answers.iter().cloned())
        .collect()
}

/// A mesh of peers.
struct Running<'a> {
    made: &'a Made,
    ground: &'a Ground<'a>,
    center: SocketAddr,
    order: String,
    registry: Option<Box<dyn Peer>>,
    members: BTreeMap<String, Member>,
}

impl<'a> Running<'a> {
    fn up(made: &'a Made, ground: &'a Ground<'a>) -> io::Result<Running<'a>> {
        let mut running = Running {
            made,
            ground,
            center: SocketAddr::new(address(ground.pods, REGISTRY)?, port::CENTER),
            order: order(made, ground.pods)?,
            registry: None,
            members: BTreeMap::new(),
        };
        running.start_registry()?;
        for (pod, spec) in &made.spec.pods {
            let mut member = Member::default();
            running.start_sidecar(pod, spec, &mut member)?;
            running.start_app(pod, spec, &mut member)?;
            running.members.insert(pod.value.clone(), member);
        }
        Ok(running)
    }

    fn start_registry(&mut self) -> io::Result<()> {
        let peers = Arc::clone(self.ground.peers);
        let (at, order) = (open_at(port::CENTER), self.order.clone());
        let started = self
            .ground
            .pods
            .within(REGISTRY, move || peers.registry(at, &order))?;
        self.registry = Some(started);
        Ok(())
    }

    fn start_sidecar(&self, pod: &str, spec: &PodSpec, member: &mut Member) -> io::Result<()> {
        let Some(sidecar) = &spec.sidecar else {
            return Ok(());
        };
        if sidecar != REFERENCE {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the sidecar {sidecar} is a program: only {REFERENCE} runs in process"),
            ));
        }
        let heartbeat = self.made.spec.heartbeat;
        let config = format!(
            "name: {pod}\naddress: {}\nrun: {}\nzone: zone1\nconfig_center: http://{}\n\
             log:\n  level: \"off\"\n\
             heartbeat:\n  interval: {}ms\n  timeout: {}ms\n  misses: {}\n",
            address(self.ground.pods, pod)?,
            self.ground.folder.join(pod).display(),
            self.center,
            heartbeat.interval_ms,
            heartbeat.timeout_ms,
            heartbeat.misses,
        );
        let bugs = [Some(pod), Some("*")].into_iter().flatten();
        let bugs: Vec<String> = bugs
            .filter_map(|key| self.ground.bugs.get(key))
            .flatten()
            .cloned()
            .collect();
        let peers = Arc::clone(self.ground.peers);
        let work = move || peers.sidecar(&config, &bugs);
        member.sidecar = Some(self.ground.pods.within(pod, work)?);
        Ok(())
    }

    fn way(&self, pod: &str, spec: &PodSpec) -> io::Result<Way> {
        Ok(match spec.sidecar {
            Some(_) => Way::Sidecar {
                api: local_at(port::API),
                outbound: local_at(port::OUTBOUND),
            },
            None => Way::Center {
                at: self.center,
                advertise: SocketAddr::new(address(self.ground.pods, pod)?, port::INBOUND),
            },
        })
    }

    fn start_app(&self, pod: &str, spec: &PodSpec, member: &mut Member) -> io::Result<()> {
        let Some(app) = &spec.app else {
            return Ok(());
        };
        let app = App {
            name: pod.to_owned(),
            listen: match spec.sidecar {
                Some(_) => local_at(port::APP),
                None => open_at(port::INBOUND),
            },
            speaks: app.speaks,
            delay_ms: delay_ms(&app.arguments),
            way: self.way(pod, spec)?,
        };
        let peers = Arc::clone(self.ground.peers);
        member.app = Some(self.ground.pods.within(pod, move || peers.app(&app))?);
        Ok(())
    }

    /// Waits until everybody who provides something stands at the config center.
    fn known(&self) -> io::Result<()> {
        let mut wanted: Vec<(String, &[&str])> = Vec::new();
        for (pod, spec) in &self.made.spec.pods {
            let Some(app) = &spec.app else { continue };
            let at = SocketAddr::new(address(self.ground.pods, pod)?, port::INBOUND);
            let protocols: &[&str] = match app.speaks {
                Speaks::Old => &["tr"],
                Speaks::Bolt => &["bolt"],
                Speaks::New => &["bolt", "tr"],
            };
            wanted.push((at.to_string(), protocols));
        }
        let center = self.registry.as_ref();
        let center = center.ok_or_else(|| io::Error::other("no config center runs"))?;
        let end = Nanos::now() + LIMIT;
        let mut told = 0;
        loop {
            let there = center.provided(SERVICE);
            let all = wanted.iter().all(|(address, protocols)| {
                there.iter().any(|(other, known)| {
                    let known = |protocol: &&str| known.iter().any(|one| one == protocol);
                    other == address && protocols.iter().all(known)
                })
            });
            if all {
                return Ok(());
            }
            if Nanos::now() > end {
                let why = format!(
                    "{SERVICE} stands at the config center {} times: expected {}",
                    there.len(),
                    wanted.len()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            // Whatever changes is written down; what changed before the look above is seen at the
            // first turn, which does not wait.
            told = center.wait_beyond(told, PAUSE);
        }
    }

    fn call(&self, call: &Call) -> io::Result<Round> {
        let slow = call.style == Style::Timeout;
        if slow {
            let patience = call.timeout + call.grace;
            self.delay_all(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX) * 2);
        }
        let spec = self.made.spec.pods.iter();
        let spec = spec.clone().find(|(pod, _)| pod.value == call.from);
        let (pod, spec) = spec.ok_or_else(|| io::Error::other("the caller's pod is not there"))?;
        let way = self.way(pod, spec)?;
        let (peers, asked) = (Arc::clone(self.ground.peers), call.clone());
        let work = move || peers.call(&asked, way);
        let ended = self.ground.pods.within(pod, work)?;
        if slow {
            self.delay_all(0);
        }
        Ok(Round {
            style: style_word(call.style),
            wanted: call.count,
            right: ended.right,
            wrong: ended.wrong,
            first: ended.first,
            left_out: ended.left_out,
            answers: parsed(&ended.lines),
        })
    }

    fn delay_all(&self, delay_ms: u64) {
        for app in self
            .members
            .values()
            .filter_map(|member| member.app.as_ref())
        {
            app.delay(delay_ms);
        }
    }

    fn restart(&mut self, what: Restart) -> io::Result<()> {
        if what == Restart::Registry {
            // The old one goes first: they have one port.
            self.registry = None;
            self.start_registry()?;
            return self.known();
        }
        let mut members = std::mem::take(&mut self.members);
        for (pod, spec) in &self.made.spec.pods {
            let Some(member) = members.get_mut(&pod.value) else {
                continue;
            };
            // Also with its sidecar the app comes back: it makes itself known once.
            if let Some(app) = member.app.take() {
                member.past.extend(app.lines());
            }
            if what == Restart::Sidecar && member.sidecar.take().is_some() {
                self.start_sidecar(pod, spec, member)?;
            }
            self.start_app(pod, spec, member)?;
        }
        self.members = members;
        self.known()
    }

    fn sightings(&self) -> Vec<(String, Vec<Sighting>)> {
        let apps = self.members.iter().filter_map(|(pod, member)| {
            let app = member.app.as_ref()?;
            let mut lines = member.past.clone();
            lines.extend(app.lines());
            Some((pod.clone(), parsed(&lines)))
        });
        apps.collect()
    }

    /// What apps saw, when every right answer has been seen; or what there is after a while.
    fn settled(&self, answers: &[Answer]) -> Vec<(String, Vec<Sighting>)> {
        let end = Nanos::now() + Duration::from_secs(1);
        loop {
            let seen = self.sightings();
            let known = |answer: &Answer| {
                let mut lines = seen.iter().flat_map(|(_, lines)| lines);
                lines.any(|line| line.trace.as_deref() == Some(answer.trace.as_str()))
            };
            let all = answers.iter().filter(|answer| answer.right).all(known);
            if all || Nanos::now() > end {
                return seen;
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}

fn parsed<T: serde::de::DeserializeOwned>(lines: &[String]) -> Vec<T> {
    let lines = lines.iter();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn address(pods: &Pods, pod: &str) -> io::Result<IpAddr> {
    let found = pods.address(pod).map(IpAddr::V4);
    found.ok_or_else(|| io::Error::other(format!("no pod is called `{pod}`")))
}

fn open_at(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}

fn local_at(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// `fixed:POD,POD` with addresses in place of pods.
fn order(made: &Made, pods: &Pods) -> io::Result<String> {
    let order = &made.spec.registry_order;
    let Some(names) = order.strip_prefix("fixed:") else {
        return Ok(order.clone());
    };
    let addresses: Vec<String> = names
        .split(',')
        .map(|name| Ok(SocketAddr::new(address(pods, name)?, port::INBOUND).to_string()))
        .collect::<io::Result<_>>()?;
    Ok(format!("fixed:{}", addresses.join(",")))
}

/// What `--delay` says.
fn delay_ms(arguments: &[String]) -> u64 {
    let mut words = arguments.iter().skip_while(|word| *word != "--delay");
    let value = words.nth(1);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
