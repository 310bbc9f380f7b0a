//! What an environment is, whatever it is made of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_sys::packets::Tap;
use serde::{Deserialize, Serialize};

use crate::{Error, Process};

/// Pods of one environment at most: they share a network of 8 bits.
pub const PODS_MAX: usize = 240;

/// What an environment is made of, as a person chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A network namespace per pod.
    Netns,
    /// A loopback address per pod.
    Process,
}

impl Backend {
    /// The word in every output, and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Netns => "netns",
            Backend::Process => "process",
        }
    }
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(word: &str) -> Result<Backend, String> {
        match word {
            "netns" => Ok(Backend::Netns),
            "process" => Ok(Backend::Process),
            _ => Err(format!("`{word}`: expected `netns` or `process`")),
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What an environment can do; what it cannot is `UNSUPPORTED(machine)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Every pod has all ports to itself, and 127.0.0.1.
    OwnPorts,
    /// Names resolve by the pod that answers for names, also in programs that know nothing of us.
    Names,
    /// Packets that leave are counted.
    Escapes,
    /// Packets of a pod can be captured.
    Capture,
    /// Rules of the kernel's packet filter can be made in a pod.
    Filter,
    /// Every pod has a small disk of its own.
    OwnDisk,
    /// It can be emptied, so that the next mesh may use it.
    Reset,
}

/// Packets that tried to leave an environment, and went nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escapes {
    /// How many.
    pub packets: u64,
    /// Some of them in words: pod, protocol, destination.
    pub samples: Vec<String>,
}

/// What an environment is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The pods by name, at most [`PODS_MAX`]: letters, digits and hyphens, at most 32.
    pub pods: Vec<String>,
    /// The pod that answers for names on port 53. None: names of pods resolve, others do not.
    pub names: Option<String>,
}

impl Topology {
    /// Pods of these names, and which of them answers for names.
    pub fn new<'a>(pods: impl IntoIterator<Item = &'a str>, names: Option<&str>) -> Topology {
        Topology {
            pods: pods.into_iter().map(str::to_owned).collect(),
            names: names.map(str::to_owned),
        }
    }

    /// The pods with their addresses, in order: the same topology has the same addresses.
    pub(crate) fn addressed(&self) -> Result<Vec<Pod>, Error> {
        if self.pods.is_empty() || self.pods.len() > PODS_MAX {
            let found = self.pods.len();
            return Err(Error::Refused(format!(
                "{found} pods: expected 1 to {PODS_MAX}"
            )));
        }
        let mut pods: Vec<Pod> = Vec::with_capacity(self.pods.len());
        for (name, last) in self.pods.iter().zip(2u8..) {
            let good = (1..=32).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !name.starts_with('-')
                && name != "localhost";
            if !good {
                return Err(Error::Refused(format!(
                    "pod `{name}`: expected 1 to 32 letters, digits and hyphens"
                )));
            }
            if pods.iter().any(|other| other.name == *name) {
                return Err(Error::Refused(format!("two pods are called `{name}`")));
            }
            pods.push(Pod {
                name: name.clone(),
                address: Ipv4Addr::new(10, 99, 0, last),
            });
        }
        if let Some(names) = &self.names {
            find(&pods, names)?;
        }
        Ok(pods)
    }
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name: also its host name, and every pod can resolve it.
    pub name: String,
    /// Its address; on loopback it has 127.0.0.1 to itself.
    pub address: Ipv4Addr,
}

/// The pod of this name.
pub(crate) fn find<'a>(pods: &'a [Pod], name: &str) -> Result<&'a Pod, Error> {
    pods.iter().find(|pod| pod.name == name).ok_or_else(|| {
        let known: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        Error::Refused(format!(
            "no pod is called `{name}`; there are {}",
            known.join(", ")
        ))
    })
}

/// Which program is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The executable that made the environment: `meshproof` itself.
    Own,
    /// A path, or a name that is looked for in PATH.
    Named(PathBuf),
}

/// What a program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing: its input has ended before it begins.
    Nothing,
    /// What [`Process::write`] sends.
    Pipe,
}

/// When a program counts as ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// As soon as it runs.
    Started,
    /// When it has printed a line that begins so, on either stream.
    Line(String),
    /// When it takes TCP connections here, as seen from its own pod.
    Port(SocketAddr),
    /// When it has ended with code 0.
    Done,
}

/// A program to be started.
#[derive(Clone, Debug)]
pub struct Command {
    /// What messages call it.
    pub name: String,
    /// Which program.
    pub program: Program,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside those of the environment's maker.
    pub variables: Vec<(String, String)>,
    /// Where it runs; none: where the environment's maker runs.
    pub directory: Option<PathBuf>,
    /// What it reads.
    pub input: Input,
    /// A file, outside, to which its lines are appended as they come.
    pub log: Option<PathBuf>,
    /// When it is ready.
    pub ready: Ready,
    /// How long it may take until then.
    pub limit: Duration,
}

impl Command {
    /// `meshproof` itself, ready at once.
    pub fn own<S: Into<String>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        Command {
            name: name.to_owned(),
            program: Program::Own,
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            directory: None,
            input: Input::Nothing,
            log: None,
            ready: Ready::Started,
            limit: Duration::from_secs(30),
        }
    }

    /// Another program, ready at once; its name is that of the file.
    pub fn program<S: Into<String>>(
        program: impl AsRef<Path>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let path = program.as_ref();
        let name = path.file_name().unwrap_or(path.as_os_str());
        Command {
            program: Program::Named(path.to_path_buf()),
            ..Command::own(&name.to_string_lossy(), arguments)
        }
    }

    /// The same, ready then.
    pub fn ready(self, ready: Ready) -> Command {
        Command { ready, ..self }
    }
}

/// Connects from a pod, for whoever outlives the reference to its environment.
pub type Dialer = Box<dyn Fn(SocketAddr, Duration) -> Result<TcpStream, Error> + Send + Sync>;

/// The standard streams of a program that writes and reads by itself.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub input: OwnedFd,
    /// Where it writes.
    pub output: OwnedFd,
    /// Where it writes what went wrong.
    pub error: OwnedFd,
}

/// A set of pods that see each other and nothing else. Dropping it ends everything in it.
pub trait Environment: Send + Sync {
    /// The pods, in the order of the topology.
    fn pods(&self) -> &[Pod];

    /// Starts a program in a pod and waits until it is ready. One that is not in time, or that
    /// ends before, is killed; the error carries its last lines.
    fn start(&self, pod: &str, command: Command) -> Result<Process, Error>;

    /// What it is made of.
    fn backend(&self) -> Backend {
        Backend::Netns
    }

    /// Whether it can do that.
    fn can(&self, _capability: Capability) -> bool {
        false
    }

    /// The address by which the programs of a pod reach each other: 127.0.0.1 where a pod has
    /// loopback to itself.
    fn local(&self, _pod: &str) -> Result<IpAddr, Error> {
        Ok(Ipv4Addr::LOCALHOST.into())
    }

    /// The address on which a program of a pod listens for other pods: 0.0.0.0 where a pod has
    /// all ports to itself.
    fn open(&self, _pod: &str) -> Result<IpAddr, Error> {
        Ok(Ipv4Addr::UNSPECIFIED.into())
    }

    /// What tried to leave until now. [`Error::Unsupported`] where that cannot be seen.
    fn escapes(&self) -> Result<Escapes, Error> {
        Err(Error::Unsupported {
            missing: "a way to count packets that leave".into(),
            advice: "use the netns backend".into(),
        })
    }

    /// Starts a program with the streams of whoever asks, and does not wait until it is ready:
    /// of the command, `input`, `log`, `ready` and `limit` do not count. Nothing of it is read
    /// here. Signals reach its whole process group.
    fn spawn(&self, _pod: &str, _command: Command, _streams: Streams) -> Result<Process, Error> {
        Err(Error::Unsupported {
            missing: "a way to give a program the streams of another".into(),
            advice: "use the netns backend".into(),
        })
    }

    /// Every packet that passes a link of a pod, its loopback included, from now on.
    /// [`Error::Unsupported`] where the environment cannot [`Capability::Capture`]. While it is
    /// held the pod's network does not go.
    fn packets(&self, _pod: &str) -> Result<Tap, Error> {
        Err(Error::Unsupported {
            missing: "packets of a pod of its own".into(),
            advice: "use the netns backend".into(),
        })
    }

    /// Waits until the environment has ended by itself, or for as long as `limit`; whether it
    /// has.
    fn ended(&self, limit: Duration) -> bool {
        std::thread::park_timeout(limit);
        false
    }

    /// Connects from a pod.
    fn connect(&self, pod: &str, to: SocketAddr, limit: Duration) -> Result<TcpStream, Error>;

    /// What connects from a pod, to be kept: for threads that stand between programs.
    fn dialer(&self, pod: &str) -> Result<Dialer, Error>;

    /// Listens in a pod.
    fn listen(&self, pod: &str, at: SocketAddr) -> Result<TcpListener, Error>;

    /// A datagram socket in a pod.
    fn datagrams(&self, pod: &str, at: SocketAddr) -> Result<UdpSocket, Error>;

    /// Writes a file that every pod sees and that goes with the environment; where it stands.
    /// A name may have folders: `server/sidecar.yaml`.
    fn place(&self, name: &str, contents: &str) -> Result<PathBuf, Error>;

    /// Where each pod has a small disk of its own, which others in this place do not see; none: pods
    /// write where everybody does.
    fn disk(&self) -> Option<&Path> {
        None
    }

    /// Ends every program, takes every placed file away and forgets what tried to leave: it is as
    /// when it came up. What the holder opened in it is the holder's to close. An error: it is in
    /// doubt, and must not be used again.
    fn reset(&self) -> Result<(), Error> {
        Err(Error::Unsupported {
            missing: "a way to empty an environment".into(),
            advice: "make a new one".into(),
        })
    }

    /// Ends everything in it; returns when nothing is left.
    fn down(self: Box<Self>) -> Result<(), Error>;

    /// The address of a pod.
    fn address(&self, pod: &str) -> Result<IpAddr, Error> {
        Ok(find(self.pods(), pod)?.address.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pods: &[&str], names: Option<&str>, expected: &str) {
        let told = match Topology::new(pods.iter().copied(), names).addressed() {
            Ok(pods) => {
                let all: Vec<String> = pods
                    .iter()
                    .map(|pod| format!("{}={}", pod.name, pod.address))
                    .collect();
                all.join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_topology_has_addresses_or_says_why_not() {
        check(&["a", "b-2"], Some("b-2"), "a=10.99.0.2 b-2=10.99.0.3");
        check(&[], None, "0 pods: expected 1 to 240");
        check(&["a", "a"], None, "two pods are called `a`");
        check(&["a"], Some("b"), "no pod is called `b`; there are a");
        for bad in ["", "-a", "a b", "a/b", "localhost"] {
            check(
                &[bad],
                None,
                &format!("pod `{bad}`: expected 1 to 32 letters, digits and hyphens"),
            );
        }
        let many: Vec<String> = (0..=PODS_MAX).map(|n| format!("p{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check(&many, None, "241 pods: expected 1 to 240");
        let last = Topology::new(many[1..].iter().copied(), None)
            .addressed()
            .unwrap();
        assert_eq!(last.last().unwrap().address, Ipv4Addr::new(10, 99, 0, 241));
    }
}
