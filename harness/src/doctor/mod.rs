//! What this machine can run, found out by doing it; and what to type where it cannot.

mod run;
mod trial;

use std::fs;

use meshproof_sys::{namespaces, pcap};
use rustix::process::geteuid;
use rustix::system::uname;
use serde::Serialize;

use crate::environment::{Backend, Environment, Topology};
use crate::netns::Options;
use crate::netns::stages::STAGE;
use crate::pick::raise;
use crate::{Error, Loopback, Netns};
use trial::{Tried, What};

pub(crate) use trial::{TRIAL, trial};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of this structure.
    pub schema: u32,
    /// The kernel's name and version.
    pub kernel: String,
    /// Which environments can be made; the first is taken when nobody asks for one.
    pub backends: Vec<Backend>,
    /// Why it is that one, or why there is none, and what to do.
    pub why: String,
    /// Each thing that was looked at.
    pub checks: Vec<Check>,
}

/// One thing that a machine has or has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Whether it is there.
    pub found: bool,
    /// What was seen, or why it is not there.
    pub why: String,
    /// What goes without it.
    #[serde(rename = "for")]
    pub needed_for: &'static str,
    /// What to type, where it is missing.
    pub advice: Option<String>,
}

/// Looks at everything. Programs are asked side by side; those that say nothing within 20 s
/// count as missing.
pub fn examine(options: &Options) -> Report {
    let programs = std::thread::scope(|scope| {
        let asked: Vec<_> = PROGRAMS
            .iter()
            .map(|program| scope.spawn(|| program.ask()))
            .collect();
        let libpcap = scope.spawn(libpcap);
        let mut found: Vec<Check> = asked
            .into_iter()
            .filter_map(|asked| asked.join().ok())
            .collect();
        found.extend(libpcap.join().ok());
        found
    });
    let mut checks = vec![root(), user_namespaces(options), apparmor(), seccomp()];
    checks.extend(inside(options));
    let (netns, process) = (
        attempt(Backend::Netns, options),
        attempt(Backend::Process, options),
    );
    let backends = [(Backend::Netns, &netns), (Backend::Process, &process)]
        .into_iter()
        .filter(|(_, check)| check.found)
        .map(|(backend, _)| backend)
        .collect();
    checks.extend([netns, process]);
    checks.extend(programs);
    let why = match raise(&trial_pods(), None, options) {
        Ok(raised) => {
            let why = raised.picked.why;
            match raised.environment.down() {
                Ok(()) => why,
                Err(error) => format!("{why}; but {error}"),
            }
        }
        Err(error) => error.to_string(),
    };
    let system = uname();
    Report {
        schema: 1,
        kernel: format!(
            "{} {} {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            system.machine().to_string_lossy()
        ),
        backends,
        why,
        checks,
    }
}

fn trial_pods() -> Topology {
    Topology::new(["one", "two"], None)
}

impl Check {
    fn of(
        name: &'static str,
        outcome: Result<String, String>,
        needed_for: &'static str,
        advice: &str,
    ) -> Check {
        let found = outcome.is_ok();
        let (Ok(why) | Err(why)) = outcome;
        Check {
            name,
            found,
            why,
            needed_for,
            advice: (!found).then(|| advice.to_owned()),
        }
    }
}

fn root() -> Check {
    let user = geteuid().as_raw();
    let outcome = match namespaces::privileged() {
        Ok(true) => Ok(format!("user {user} with CAP_SYS_ADMIN and CAP_NET_ADMIN")),
        Ok(false) => Err(format!(
            "user {user} without CAP_SYS_ADMIN or CAP_NET_ADMIN"
        )),
        Err(error) => Err(error.to_string()),
    };
    Check::of(
        "root",
        outcome,
        "nothing that user namespaces do not give as well, but BPF and TAP devices",
        "run it by `sudo`, or leave it: user namespaces are enough",
    )
}

const ADVICE_USERS: &str = "sysctl -w kernel.unprivileged_userns_clone=1 \
     user.max_user_namespaces=10000; in a container: docker run --security-opt seccomp=unconfined";

fn user_namespaces(options: &Options) -> Check {
    let tried = tries(options, "user").and_then(|mut tried| {
        let first = tried.pop();
        first.map_or_else(|| Err("it ended without a word".into()), |it| it.outcome)
    });
    Check::of(
        "user namespaces",
        tried,
        "the netns backend without root",
        ADVICE_USERS,
    )
}

fn apparmor() -> Check {
    const FILE: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let profile = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let profile = profile.trim_end_matches(['\0', '\n']);
    let outcome = match fs::read_to_string(FILE) {
        Ok(value) if value.trim() == "0" => Ok("user namespaces are not restricted".into()),
        Ok(value) => {
            let value = value.trim();
            let who = if profile.is_empty() { "none" } else { profile };
            Err(format!(
                "kernel.apparmor_restrict_unprivileged_userns is {value}; the profile here is {who}"
            ))
        }
        Err(_) => Ok("this kernel does not restrict user namespaces by AppArmor".into()),
    };
    Check::of(
        "apparmor",
        outcome,
        "user namespaces in which capabilities can be used",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile for the binary \
         with `userns,`; in a container: docker run --security-opt apparmor=unconfined",
    )
}

/// Of the status of this process: a filter is none yet that forbids something.
fn seccomp() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = |key: &str| {
        let lines = status.lines();
        let found = lines.filter_map(|line| line.strip_prefix(key)).next();
        found.map(str::trim).unwrap_or("unknown").to_owned()
    };
    let filters = value("Seccomp_filters:");
    let outcome = match value("Seccomp:").as_str() {
        "0" => Ok("no filter".into()),
        "2" => Err(format!(
            "{filters} filters; what they forbid shows in what else is missing"
        )),
        other => Err(format!("mode {other}")),
    };
    Check::of(
        "no seccomp filter",
        outcome,
        "nothing by itself: container engines forbid unshare and mount by it",
        "docker run --security-opt seccomp=unconfined",
    )
}

/// What works in namespaces.
fn inside(options: &Options) -> Vec<Check> {
    let tried = tries(options, "inside");
    let said = |what: What| match &tried {
        Ok(tried) => match tried.iter().find(|one| one.what == what) {
            Some(one) => one.outcome.clone(),
            None => Err("not tried: no namespaces".into()),
        },
        Err(why) => Err(why.clone()),
    };
    const NETNS: &str = "the netns backend";
    [
        (What::Namespaces, "namespaces", NETNS, ADVICE_USERS),
        (
            What::Mounts,
            "mounts",
            NETNS,
            "in a container: docker run --security-opt seccomp=unconfined --security-opt \
             apparmor=unconfined",
        ),
        (
            What::Nested,
            "nested network namespaces",
            NETNS,
            "sysctl -w user.max_net_namespaces=10000",
        ),
        (What::Bridge, "bridge", NETNS, "modprobe bridge"),
        (What::Veth, "veth", NETNS, "modprobe veth"),
        (
            What::Packets,
            "AF_PACKET",
            "captures of pods",
            "modprobe af_packet",
        ),
        (
            What::Tun,
            "/dev/net/tun",
            "faults by a TAP device",
            "modprobe tun && chmod 0666 /dev/net/tun; in a container: docker run \
             --device /dev/net/tun",
        ),
        (
            What::Bpf,
            "BPF",
            "faults by BPF",
            "run it as root, or in a container with --privileged",
        ),
        (
            What::Nft,
            "nft",
            "faults by nftables",
            "apt-get install nftables",
        ),
        (
            What::Iptables,
            "iptables",
            "peers that make rules of iptables",
            "apt-get install iptables",
        ),
    ]
    .map(|(what, name, needed_for, advice)| Check::of(name, said(what), needed_for, advice))
    .into()
}

/// Runs the stage that tries.
fn tries(options: &Options, what: &str) -> Result<Vec<Tried>, String> {
    let Some((program, front)) = options.program.split_first() else {
        return Err("no program is named to try it".into());
    };
    let mut arguments: Vec<&str> = front.iter().filter_map(|word| word.to_str()).collect();
    arguments.extend([STAGE, TRIAL, what]);
    let said = run::said(program, &arguments)?;
    let lines = said.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it said something else: {error}"))
}

/// Makes an environment of two pods, of which one calls the other.
fn attempt(backend: Backend, options: &Options) -> Check {
    let (name, needed_for) = match backend {
        Backend::Netns => (
            "backend netns",
            "pods with all ports to themselves, names, captures, escapes",
        ),
        Backend::Process => (
            "backend process",
            "meshes, matrices and the heartbeat story where namespaces are forbidden",
        ),
    };
    let (outcome, advice) = match makes(backend, options) {
        Ok(why) => (Ok(why), String::new()),
        Err(Error::Unsupported { missing, advice }) => (Err(missing), advice),
        Err(error) => (Err(error.to_string()), "report it".into()),
    };
    Check::of(name, outcome, needed_for, &advice)
}

fn makes(backend: Backend, options: &Options) -> Result<String, Error> {
    let limit = std::time::Duration::from_secs(5);
    let pods = trial_pods();
    let (environment, notes): (Box<dyn Environment>, Vec<String>) = match backend {
        Backend::Netns => {
            let made = Netns::up_with(&pods, options)?;
            let notes = made.notes().to_vec();
            (Box::new(made), notes)
        }
        Backend::Process => {
            let made = Loopback::up_with(&pods, options)?;
            let notes = made.notes().to_vec();
            (Box::new(made), notes)
        }
    };
    let at = (environment.address("two")?, 12200).into();
    let listening = environment.listen("two", at)?;
    environment.connect("one", at, limit)?;
    drop(listening);
    environment.down()?;
    let notes: String = notes.iter().map(|note| format!("; but {note}")).collect();
    Ok(format!("two pods, one called the other at {at}{notes}"))
}

/// A program that something needs.
struct Needed {
    name: &'static str,
    arguments: &'static [&'static str],
    needed_for: &'static str,
    advice: &'static str,
}

const PROGRAMS: [Needed; 5] = [
    Needed {
        name: "docker",
        arguments: &["version", "--format", "server {{.Server.Version}}"],
        needed_for: "peers in containers",
        advice: "install docker and start its daemon: systemctl start docker",
    },
    Needed {
        name: "java",
        arguments: &["-version"],
        needed_for: "peers of SOFABolt and SOFARPC",
        advice: "apt-get install default-jdk-headless",
    },
    Needed {
        name: "mvn",
        arguments: &["-q", "--version"],
        needed_for: "building the peers in Java: make peers",
        advice: "apt-get install maven",
    },
    Needed {
        name: "go",
        arguments: &["version"],
        needed_for: "building MOSN",
        advice: "apt-get install golang, or https://go.dev/dl",
    },
    Needed {
        name: "chromium",
        arguments: &["--version"],
        needed_for: "tests of the HTML reports",
        advice: "apt-get install chromium",
    },
];

impl Needed {
    fn ask(&self) -> Check {
        let outcome = run::first_line(self.name, self.arguments);
        Check::of(self.name, outcome, self.needed_for, self.advice)
    }
}

/// Whether the library can be loaded.
fn libpcap() -> Check {
    let outcome = pcap::version().map_err(|error| error.to_string());
    Check::of(
        "libpcap",
        outcome,
        "captures of interfaces and pods",
        "apt-get install libpcap0.8",
    )
}
