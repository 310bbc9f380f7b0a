//! Bringing a mesh up: what can start side by side does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use meshproof_sys::clock::Nanos;

use super::pod::{self, Expected, Member, Services, Stands, Waits};
use super::spec::{MeshSpec, PodSpec};
use super::{Begun, Between, Mesh, Names, REGISTRY, Setting, VIP, http, log_of, port};
use crate::environment::{Backend, Capability, Command, Environment, Program, Ready, Topology};
use crate::netns::Options;
use crate::pick::{self, Raised};
use crate::process::Process;
use crate::relay::Relay;
use crate::sut::Sut;
use crate::watch::{Presence, Pushes};
use crate::{Error, sut};

/// The service of the reference app, without its version.
pub(crate) const SERVICE: &str = "com.alipay.demo.SampleService";

/// Longer than anything here takes on a machine that works.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// What everybody who starts something in a mesh has to know.
pub(super) struct Site<'a> {
    pub(super) environment: &'a dyn Environment,
    pub(super) spec: &'a MeshSpec,
    pub(super) setting: &'a Setting,
    pub(super) services: Services,
    pub(super) root: &'a Path,
    pub(super) journals: &'a Path,
}

pub(super) fn up(raised: Raised, spec: &MeshSpec, setting: &Setting) -> Result<Mesh, Error> {
    let begun = Begun::now();
    let Raised {
        environment,
        picked,
        notes,
    } = raised;
    let up_at = Nanos::now();
    let placed = environment.place("journals/.here", "")?;
    let inside = placed.parent().unwrap_or(Path::new("/"));
    let root = inside.parent().unwrap_or(Path::new("/")).to_path_buf();
    let journals = match &setting.folder {
        None => inside.to_path_buf(),
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .map_err(Error::io(format!("the folder {}", folder.display())))?;
            std::path::absolute(folder)
                .map_err(Error::io(format!("the folder {}", folder.display())))?
        }
    };
    let services = services(environment.as_ref(), setting)?;
    let mut relays = BTreeMap::new();
    for (pod, between) in &setting.relays {
        let relay = relay(environment.as_ref(), pod, *between)?;
        relays.insert((pod.clone(), *between), relay);
    }
    let started = Site {
        environment: environment.as_ref(),
        spec,
        setting,
        services,
        root: &root,
        journals: &journals,
    }
    .start()?;
    let pods = started.pods.into_iter();
    let mesh = Mesh {
        pods: pods
            .map(|(name, member)| (name, Mutex::new(member)))
            .collect(),
        running: Mutex::new(started.services),
        environment,
        picked,
        relays,
        spec: spec.clone(),
        setting: setting.clone(),
        root,
        journals,
        begun,
        moments: Mutex::default(),
        calls: Mutex::default(),
    };
    let pods: Vec<String> = mesh
        .environment
        .pods()
        .iter()
        .map(|pod| format!("{} {}", pod.name, pod.address))
        .collect();
    let why = &mesh.picked.why;
    let pods = format!("pods: {} ({why})", pods.join(", "));
    mesh.note_at(up_at, "harness", pods);
    for note in notes {
        mesh.note_at(up_at, "harness", format!("without: {note}"));
    }
    for (at, seen_by, what) in started.told {
        mesh.note_at(at, seen_by, what);
    }
    Ok(mesh)
}

/// The pods of a topology and those of what serves them.
pub(super) fn pods(spec: &MeshSpec) -> Vec<&str> {
    let mut pods = vec![REGISTRY, VIP];
    for (name, _) in &spec.pods {
        if !pods.contains(&name.value.as_str()) {
            pods.push(&name.value);
        }
    }
    pods
}

/// The pods, in whatever the machine allows.
pub(super) fn environment(spec: &MeshSpec, setting: &Setting) -> Result<Raised, Error> {
    for (name, pod) in &spec.pods {
        if let Some(sidecar) = &pod.sidecar {
            let found = sut::find(&setting.suts, sidecar);
            found.map_err(|error| Error::Refused(format!("pod {name}: {error}")))?;
        }
    }
    let topology = Topology::new(pods(spec), Some(VIP));
    let program = setting.program.clone();
    pick::raise(&topology, setting.backend, &Options { program })
}

/// A relay on a leg of a pod.
fn relay(environment: &dyn Environment, pod: &str, between: Between) -> Result<Relay, Error> {
    let local = environment.local(pod)?;
    let (front, at, to) = match between {
        Between::SidecarAndApp => (local, port::APP, port::APP_BEHIND),
        Between::ClientAndSidecar => (local, port::OUTBOUND_FRONT, port::OUTBOUND),
        Between::SidecarAndSidecar => {
            let front = environment.address(pod)?;
            if front == local {
                return Err(Error::Unsupported {
                    missing: format!("a loopback of its own in pod {pod}, for a relay on 12200"),
                    advice: "use the netns backend".to_owned(),
                });
            }
            (front, port::INBOUND, port::INBOUND)
        }
    };
    let (at, to) = (SocketAddr::new(front, at), SocketAddr::new(local, to));
    Relay::in_pod(environment, pod, at, to)
}

/// Where config center and names are. Who has all ports to itself has that of names, too. Where the
/// site has no config center its pod is there all the same: who looks from outside looks from it.
pub(super) fn services(
    environment: &dyn Environment,
    setting: &Setting,
) -> Result<Services, Error> {
    let own = environment.backend() == Backend::Netns;
    let names = match own || environment.can(Capability::OwnPorts) {
        true => port::NAMES,
        false => port::NAMES_HIGH,
    };
    let center = SocketAddr::new(environment.address(REGISTRY)?, port::CENTER);
    Ok(Services {
        center: setting.site.has_center().then_some(center),
        names: SocketAddr::new(environment.address(VIP)?, names),
    })
}

/// What runs.
struct Started {
    pods: BTreeMap<String, Member>,
    services: BTreeMap<String, Process>,
    told: Vec<(Nanos, &'static str, String)>,
}

impl Site<'_> {
    fn start(&self) -> Result<Started, Error> {
        // Whether the config center answers, or nobody asks one: apps make themselves known as soon
        // as they run.
        let center: OnceLock<bool> = OnceLock::new();
        let outcome = std::thread::scope(|scope| {
            let registry = scope.spawn(|| {
                let started = match self.services.center {
                    None => Ok((None, None)),
                    Some(at) => self.registry().and_then(|process| {
                        let watch = self.watch(at)?;
                        Ok((Some(process), watch))
                    }),
                };
                // Told once, here.
                let _ = center.set(started.is_ok());
                started
            });
            let wanted = self.setting.names == Names::Always || !self.spec.vips.0.is_empty();
            let names = wanted.then(|| scope.spawn(|| self.names()));
            let pods: Vec<_> = self
                .spec
                .pods
                .iter()
                .map(|(name, pod)| {
                    let center = &center;
                    let started = scope.spawn(move || self.pod(&name.value, pod, center));
                    (name.value.clone(), started)
                })
                .collect();
            let registry = join(registry);
            let names = names.map(join).transpose();
            let pods: Result<BTreeMap<String, Member>, Error> = pods
                .into_iter()
                .map(|(name, started)| Ok((name, join(started)?)))
                .collect();
            // The first that went wrong explains the others.
            let (registry, watch) = registry?;
            Ok::<_, Error>((registry, watch, names?, pods?))
        });
        let (registry, watch, names, pods) = outcome?;
        let mut told = vec![(Nanos::now(), "process", "every program runs".to_owned())];
        if let Some(watch) = watch {
            for (at, what) in self.published(&watch)? {
                told.push((at, "registry", what));
            }
        }
        if self.services.center.is_none() {
            for (at, what) in self.listening()? {
                told.push((at, "socket", what));
            }
        }
        let registry = registry.map(|registry| (REGISTRY.to_owned(), registry));
        Ok(Started {
            pods,
            services: (registry.into_iter())
                .chain(names.map(|names| (VIP.to_owned(), names)))
                .collect(),
            told,
        })
    }

    pub(super) fn registry(&self) -> Result<Process, Error> {
        let center = self.environment.address(REGISTRY)?;
        let control = SocketAddr::new(center, port::CENTER_CONTROL);
        let listen = SocketAddr::new(self.environment.open(REGISTRY)?, port::CENTER);
        let arguments = [
            "fixture",
            "registry",
            "--listen",
            &listen.to_string(),
            "--control",
            &control.to_string(),
            "--order",
            &self.order()?,
            "--log",
            &self.journals.join("registry.jsonl").to_string_lossy(),
        ]
        .map(str::to_owned);
        let command =
            Command::own("the config center", arguments).ready(Ready::Line("READY".into()));
        self.start_in(REGISTRY, "registry", command)
    }

    /// The order of the config center's answers. Providers register side by side; what is written
    /// as the order of their registration is that of the topology.
    fn order(&self) -> Result<String, Error> {
        let addresses = self.ordered()?.into_iter().map(|name| {
            let address = self.environment.address(name)?;
            Ok(SocketAddr::new(address, port::INBOUND).to_string())
        });
        let addresses: Vec<String> = addresses.collect::<Result<_, Error>>()?;
        Ok(format!("fixed:{}", addresses.join(",")))
    }

    /// Pods in the order in which they are to be named.
    fn ordered(&self) -> Result<Vec<&str>, Error> {
        let mut names: Vec<&str> = self
            .spec
            .pods
            .iter()
            .map(|(name, _)| &name.value[..])
            .collect();
        let order = self.spec.registry_order.as_str();
        match order.split_once(':') {
            None if order == "as-is" => {}
            None if order == "reversed" => names.reverse(),
            Some(("shuffled", seed)) => {
                let seed = seed.parse::<u64>().map_err(|_| {
                    Error::Refused(format!("registry_order `{order}`: `{seed}` is no seed"))
                })?;
                shuffle(&mut names, seed);
            }
            Some(("fixed", pods)) => names = pods.split(',').map(str::trim).collect(),
            _ => {
                return Err(Error::Refused(format!(
                    "registry_order `{order}`: expected as-is, reversed, shuffled:SEED or \
                     fixed:POD,POD"
                )));
            }
        }
        Ok(names)
    }

    /// Who provides a version of the service, as configurations name them where no config center
    /// does: in the same order, those that it does not mention behind the others.
    pub(super) fn configured(&self, version: &str) -> Result<Vec<String>, Error> {
        let named = self.ordered()?;
        let behind = self.spec.pods.iter().map(|(name, _)| name.value.as_str());
        let behind = behind.filter(|name| !named.contains(name));
        let mut all = Vec::new();
        for name in named.iter().copied().chain(behind) {
            let mut pods = self.spec.pods.iter();
            let pod = pods.find(|(other, _)| other.value == name);
            let Some(app) = pod.and_then(|(_, pod)| pod.app.as_ref()) else {
                continue;
            };
            if app.versions.iter().any(|it| it == version) {
                let address = self.environment.address(name)?;
                let address = SocketAddr::new(address, port::INBOUND);
                all.push(pod::configured(address, app.speaks));
            }
        }
        Ok(all)
    }

    /// What a sidecar is told in the place of a config center: a rule for every service of apps,
    /// and one for whatever else is called, where programs serve that are no apps.
    fn routes(&self) -> Result<serde_json::Value, Error> {
        let mut versions: Vec<&str> = Vec::new();
        let mut others = Vec::new();
        for (name, pod) in &self.spec.pods {
            let provided = pod.app.iter().flat_map(|app| &app.versions);
            versions.extend(provided.map(String::as_str));
            if pod.serves {
                let address = self.environment.address(name)?;
                others.push(SocketAddr::new(address, port::INBOUND).to_string());
            }
        }
        versions.sort_unstable();
        versions.dedup();
        let mut rules = Vec::new();
        for version in versions {
            let service = format!("{SERVICE}:{version}");
            let to = self.configured(version)?;
            rules.push(serde_json::json!({"service": service, "to": to}));
        }
        if !others.is_empty() {
            rules.push(serde_json::json!({"to": others}));
        }
        Ok(rules.into())
    }

    pub(super) fn names(&self) -> Result<Process, Error> {
        let port = self.services.names.port();
        let listen = SocketAddr::new(self.environment.open(VIP)?, port);
        let control = SocketAddr::new(self.services.names.ip(), port::NAMES_CONTROL);
        let mut arguments = [
            "fixture",
            "vip",
            "--listen",
            &listen.to_string(),
            "--control",
            &control.to_string(),
            "--log",
            &self.journals.join("vip.jsonl").to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec();
        for (pool, pods) in &self.spec.vips {
            let addresses = pods.iter().map(|pod| {
                let address = self.environment.address(pod)?;
                Ok(address.to_string())
            });
            let addresses: Vec<String> = addresses.collect::<Result<_, Error>>()?;
            arguments.push("--pool".into());
            arguments.push(format!("{pool}={}", addresses.join(",")));
        }
        let command =
            Command::own("the VIP name service", arguments).ready(Ready::Line("READY".into()));
        self.start_in(VIP, "vip", command)
    }

    /// Services that somebody is to provide, and who.
    fn expected(&self) -> Result<Expected, Error> {
        let mut expected = Expected::new();
        for (name, pod) in &self.spec.pods {
            let Some(app) = &pod.app else { continue };
            let address = SocketAddr::new(self.environment.address(name)?, port::INBOUND);
            for version in &app.versions {
                let service = format!("{SERVICE}:{version}");
                let all = expected.entry(service).or_default();
                all.push((address.to_string(), pod::protocols(app.speaks)));
            }
        }
        Ok(expected)
    }

    /// Watches what is expected at the config center; nothing is: no watch.
    fn watch(&self, center: SocketAddr) -> Result<Option<Pushes>, Error> {
        let expected = self.expected()?;
        let services: Vec<&str> = expected.keys().map(String::as_str).collect();
        if services.is_empty() {
            return Ok(None);
        }
        Pushes::watch(self.environment, REGISTRY, center, &services).map(Some)
    }

    /// Waits until everybody who is in the configurations of others takes connections.
    fn listening(&self) -> Result<Vec<(Nanos, String)>, Error> {
        let pods = self.spec.pods.iter();
        let pods = pods.filter(|(_, pod)| pod.app.is_some() || pod.serves);
        pods.map(|(name, _)| {
            let address = SocketAddr::new(self.environment.address(name)?, port::INBOUND);
            let at = becomes(self.environment, address, Presence::There, LIMIT)?;
            Ok((at, format!("{address} of pod {name} takes connections")))
        })
        .collect()
    }

    /// Waits until everybody who is expected stands at the config center.
    fn published(&self, watch: &Pushes) -> Result<Vec<(Nanos, String)>, Error> {
        let mut told = Vec::new();
        for (service, wanted) in self.expected()? {
            let all = watch.until(Nanos(0), LIMIT, |push| {
                let there = |(address, protocols): &(String, &[&str])| {
                    let said = |protocol: &&str| {
                        push.providers.iter().any(|one| {
                            one.address == *address && one.protocols.iter().any(|it| it == protocol)
                        })
                    };
                    protocols.iter().all(said)
                };
                let there = push.service == service && wanted.iter().all(there);
                there.then_some(push.revision)
            });
            let Some((at, revision)) = all else {
                let addresses: Vec<&str> = wanted.iter().map(|(address, _)| &address[..]).collect();
                let addresses = addresses.join(", ");
                return Err(Error::Late {
                    what: format!("{service} of {addresses} at the config center"),
                    limit: LIMIT,
                });
            };
            told.push((at, format!("{service} is provided, revision {revision}")));
        }
        Ok(told)
    }

    /// Sidecar, app and peers of a pod, as soon as each can start.
    fn pod(&self, name: &str, spec: &PodSpec, center: &OnceLock<bool>) -> Result<Member, Error> {
        let mut member = Member {
            spec: spec.clone(),
            place: pod::place(self.environment, name)?,
            app: None,
            sidecar: None,
            peers: Vec::new(),
            past: Vec::new(),
            journals: Vec::new(),
            started: 0,
            changed: BTreeMap::new(),
        };
        self.start_sidecar(name, &mut member)?;
        if spec.app.is_some() && *center.wait() {
            self.start_app(name, &mut member)?;
        }
        for peer in &spec.peers {
            let process = self.peer(name, peer)?;
            member.peers.push(Arc::new(process));
        }
        Ok(member)
    }

    /// Starts the pod's sidecar, where its adapter is named, in the place of the one before.
    pub(super) fn start_sidecar(&self, name: &str, member: &mut Member) -> Result<(), Error> {
        let Some(sidecar) = &member.spec.sidecar else {
            return Ok(());
        };
        let sut = sut::find(&self.setting.suts, sidecar)?;
        let process = self.sidecar(name, &member.spec, sut, member.started, Way::First)?;
        member.started += 1;
        member
            .past
            .extend(member.sidecar.replace(Arc::new(process)));
        Ok(())
    }

    /// One more process of a sidecar.
    pub(super) fn sidecar(
        &self,
        name: &str,
        spec: &PodSpec,
        sut: &Sut,
        number: u32,
        way: Way,
    ) -> Result<Process, Error> {
        let folder = self.folder(name);
        let values = self.values(name, spec, &folder)?;
        let (arguments, ready) = match (way, &sut.upgrade) {
            (Way::First, _) => (&sut.arguments, &sut.ready),
            (Way::TakesOver, Some(upgrade)) => (&upgrade.arguments, &upgrade.ready),
            (Way::TakesOver, None) => {
                return Err(Error::Refused(format!(
                    "adapter {} does not say how a second process takes over: it has no `upgrade`",
                    sut.sut
                )));
            }
        };
        let mut command = pod::sidecar(self.environment, sut, arguments, name, &folder, &values)?;
        let bugs = [Some(name), Some("*")].into_iter().flatten();
        let bugs: Vec<&str> = bugs
            .filter_map(|key| self.setting.bugs.get(key))
            .flatten()
            .map(String::as_str)
            .collect();
        if !bugs.is_empty() {
            let file = format!("{name}/seeded-{number}");
            let path = self.environment.place(&file, &(bugs.join("\n") + "\n"))?;
            let variable = (
                "MESHPROOF_SEEDED".into(),
                path.to_string_lossy().into_owned(),
            );
            command.variables.push(variable);
        }
        let log = format!("{name}-sidecar");
        match pod::waits(ready, &values)? {
            Waits::Command(ready) => self.start_in(name, &log, command.ready(ready)),
            Waits::Answer { url, holds } => {
                let process = self.start_in(name, &log, command)?;
                self.answers(name, &process, &url, &holds)?;
                Ok(process)
            }
        }
    }

    /// The folder of a pod's sidecar: one that takes over finds the one before it there.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name).join(pod::FOLDER)
    }

    pub(super) fn zone<'s>(&'s self, spec: &'s PodSpec) -> &'s str {
        let first = self.setting.site.zones.first().map(String::as_str);
        spec.zone.as_deref().or(first).unwrap_or("zone1")
    }

    /// What templates may name.
    pub(super) fn values(
        &self,
        name: &str,
        spec: &PodSpec,
        folder: &Path,
    ) -> Result<sut::template::Values, Error> {
        let mut providers = Vec::new();
        for (other, pod) in &self.spec.pods {
            if other.value != name && (pod.app.is_some() || pod.serves) {
                let address = self.environment.address(other)?;
                providers.push(SocketAddr::new(address, port::INBOUND));
            }
        }
        let (environment, heartbeat) = (self.environment, self.spec.heartbeat);
        let zone = self.zone(spec);
        let services = self.services;
        let values = pod::values(environment, name, zone, heartbeat, services, &providers)?;
        let inbound = SocketAddr::new(self.front(name)?, port::INBOUND);
        let values = values.with("inbound", inbound.to_string());
        let routes = match services.center {
            Some(_) => serde_json::json!([]),
            None => self.routes()?,
        };
        let values = values.with("routes", routes.to_string());
        let disk = self.environment.disk();
        let values = values.with("disk", disk.unwrap_or(folder).to_string_lossy());
        Ok(values.with("folder", folder.to_string_lossy()))
    }

    /// The address on which a pod serves at 12200: all that it has, or its loopback, where a relay
    /// stands in front.
    fn front(&self, name: &str) -> Result<std::net::IpAddr, Error> {
        let relayed = (name.to_owned(), Between::SidecarAndSidecar);
        match self.setting.relays.contains(&relayed) {
            true => self.environment.local(name),
            false => self.environment.open(name),
        }
    }

    /// Waits until an address answers with a text.
    pub(super) fn answers(
        &self,
        name: &str,
        process: &Process,
        url: &str,
        holds: &str,
    ) -> Result<(), Error> {
        /// Between two questions.
        const PAUSE: Duration = Duration::from_millis(1);
        let (address, path) = http::split(url)?;
        let holds = &holds.replace(pod::PID, &process.pid().to_string());
        let end = Nanos::now() + LIMIT;
        loop {
            let told = http::get(self.environment, name, address, &path);
            let said = match told {
                Ok(answer) if answer.body.contains(holds) => return Ok(()),
                Ok(answer) => format!("the last answer was {}", answer.body.trim()),
                Err(error) => error.to_string(),
            };
            let why = match process.pause(PAUSE) {
                Some(exit) => format!("it {exit}"),
                None if Nanos::now() > end => format!("{url} never said `{holds}`: {said}"),
                None => continue,
            };
            return Err(Error::NotReady {
                program: process.name().to_owned(),
                pod: name.to_owned(),
                why,
                said: process.last_lines(),
            });
        }
    }

    /// Starts the pod's app, in the place of the one before.
    pub(super) fn start_app(&self, name: &str, member: &mut Member) -> Result<(), Error> {
        let Some(app) = &member.spec.app else {
            let why = format!("pod {name} has no app: its topology does not say what it speaks");
            return Err(Error::Refused(why));
        };
        let relayed = (name.to_owned(), Between::SidecarAndApp);
        let behind = match self.setting.relays.contains(&relayed) {
            true => SocketAddr::new(member.place.app.ip(), port::APP_BEHIND),
            false => member.place.app,
        };
        let stands = match &member.spec.sidecar {
            None => Stands::Alone,
            Some(sidecar) => match sut::find(&self.setting.suts, sidecar)?.can("publishes") {
                true => Stands::Behind,
                false => Stands::BehindSilent,
            },
        };
        let journal = self
            .journals
            .join(format!("{name}-app-{}.jsonl", member.started));
        let command = pod::app(
            app,
            stands,
            &member.place,
            behind,
            self.front(name)?,
            self.services.center,
            self.zone(&member.spec),
            &journal,
        );
        let process = self.start_in(name, &format!("{name}-app"), command)?;
        member.started += 1;
        member.journals.push(journal);
        member.past.extend(member.app.replace(Arc::new(process)));
        Ok(())
    }

    fn peer(&self, name: &str, peer: &super::spec::PeerSpec) -> Result<Process, Error> {
        let folder = self.root.join(name).join(&peer.name);
        let values = self.values(name, &PodSpec::default(), &folder)?;
        let wrong = |unknown: sut::template::Unknown| {
            Error::Refused(format!("peer {} of pod {name}: {unknown}", peer.name))
        };
        // At least one: it starts there.
        self.environment
            .place(&format!("{name}/{}/.here", peer.name), "")?;
        for (file, contents) in &peer.files {
            let contents = values.fill(contents).map_err(wrong)?;
            let file = format!("{name}/{}/{}", peer.name, file.value);
            self.environment.place(&file, &contents)?;
        }
        let words = peer.command.iter().map(|word| values.fill(word));
        let words: Vec<String> = words.collect::<Result<_, _>>().map_err(wrong)?;
        let Some((program, arguments)) = words.split_first() else {
            let why = format!("peer {} of pod {name} has no command", peer.name);
            return Err(Error::Refused(why));
        };
        let variables = peer.environment.iter().map(|(name, value)| {
            let value = values.fill(value)?;
            Ok((name.value.clone(), value))
        });
        let command = Command {
            name: peer.name.clone(),
            variables: variables.collect::<Result<_, _>>().map_err(wrong)?,
            directory: Some(folder),
            ..Command::program(program, arguments.iter().cloned())
        };
        // By this name it is the program itself, whatever PATH holds.
        let command = match program.as_str() {
            "meshproof" => Command {
                program: Program::Own,
                ..command
            },
            _ => command,
        };
        let log = format!("{name}-{}", peer.name);
        match pod::waits(&peer.ready, &values)? {
            Waits::Command(ready) => self.start_in(name, &log, command.ready(ready)),
            Waits::Answer { url, holds } => {
                let process = self.start_in(name, &log, command)?;
                self.answers(name, &process, &url, &holds)?;
                Ok(process)
            }
        }
    }

    fn start_in(&self, pod: &str, log: &str, command: Command) -> Result<Process, Error> {
        let log = log_of(self.setting.folder.as_deref(), log);
        self.environment.start(pod, Command { log, ..command })
    }
}

/// How a process of a sidecar begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Where none runs.
    First,
    /// From one that runs.
    TakesOver,
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    let gone = || {
        Err(Error::Refused(
            "a thread that started programs panicked".into(),
        ))
    };
    thread.join().unwrap_or_else(|_| gone())
}

/// Waits until an address takes connections, or refuses them, as seen from the pod in which nothing
/// else runs; when it was seen.
pub(super) fn becomes(
    environment: &dyn Environment,
    address: SocketAddr,
    wanted: Presence,
    limit: Duration,
) -> Result<Nanos, Error> {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_millis(1);
    let end = Nanos::now() + limit;
    loop {
        let seen = match environment.connect(REGISTRY, address, limit) {
            Ok(_) => Some(Presence::There),
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::ConnectionRefused) => {
                Some(Presence::Gone)
            }
            Err(error @ Error::Gone(_)) => return Err(error),
            Err(_) => None,
        };
        let now = Nanos::now();
        if seen == Some(wanted) {
            return Ok(now);
        }
        if now > end {
            let what = match wanted {
                Presence::There => format!("a listener on {address}"),
                Presence::Gone => format!("the end of the listener on {address}"),
            };
            return Err(Error::Late { what, limit });
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// The same order for the same seed (xorshift*, Fisher and Yates).
fn shuffle(names: &mut [&str], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    };
    for last in (1..names.len()).rev() {
        // Less than the number of pods.
        let other = next() % (last as u64 + 1);
        names.swap(last, other as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_give_every_order_and_each_the_same() {
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut once = ["a", "b", "c"];
            let mut again = once;
            shuffle(&mut once, seed);
            shuffle(&mut again, seed);
            assert_eq!(once, again);
            orders.insert(once);
        }
        assert_eq!(orders.len(), 6);
    }
}
