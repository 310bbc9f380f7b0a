//! The supervisor: makes links and pods, then does what is asked on the life line until it ends.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use meshproof_sys::links::{Links, Peer};
use rustix::process::{Pid, kill_process_group, pidfd_send_signal};

use super::line::Line;
use super::out::{self, WayOut};
use super::pod::{self, Job};
use super::reset;
use super::stages::{FOLDER, HOSTS, RESOLV, Refusal};
use super::talk::{Order, Outcome, Reach, Request, Word};
use crate::environment::{Pod, Topology};
use crate::process::Signal;

/// Programs that have not ended.
pub(super) type Running = Arc<Mutex<BTreeMap<u64, Program>>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) pid: Pid,
    pub(super) handle: OwnedFd,
    pub(super) reach: Reach,
}

/// Placed files stand below it.
pub(super) const FILES: &str = "files";

const BRIDGE: &str = "br0";
const BRIDGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const PREFIX: u8 = 24;

/// Until the life line ends; pid 1 ends with it, and everything with pid 1.
pub(super) fn run(line: &Arc<Line>) -> Result<u8, Refusal> {
    let broken = |error| Refusal::failed("the life line")(error);
    let topology = match line.receive::<Request>().map_err(broken)? {
        Some((request, _)) => match request.order {
            Order::Up(topology) => topology,
            other => {
                let why = format!("expected a topology first, found {other:?}");
                return Err(Refusal::Failed(why));
            }
        },
        None => return Ok(0),
    };
    let running = Running::default();
    let (pods, way_out) = up(&topology, line, &running)?;
    let addressed: Vec<Pod> = pods.iter().map(|(pod, _)| pod.clone()).collect();
    line.send(&Word::Up { pods: addressed }, &[])
        .map_err(broken)?;
    let serving = Serving {
        pods: pods
            .into_iter()
            .map(|(pod, jobs)| (pod.name, jobs))
            .collect(),
        line: Arc::clone(line),
        running,
        way_out,
    };
    while let Ok(Some((request, passed))) = line.receive::<Request>() {
        serving.serve(request, passed);
    }
    Ok(0)
}

/// Pods with what takes their jobs, in the order of the topology.
type Ready = Vec<(Pod, mpsc::Sender<Job>)>;

/// Bridge, pods, names.
fn up(
    topology: &Topology,
    line: &Arc<Line>,
    running: &Running,
) -> Result<(Ready, WayOut), Refusal> {
    let pods = topology
        .addressed()
        .map_err(|error| Refusal::Failed(error.to_string()))?;
    write_names(topology, &pods).map_err(Refusal::failed("writing the names of pods"))?;
    out::quiet();
    let links = Links::open().map_err(Refusal::denied("netlink", "use a kernel that has it"))?;
    let bridge = links.bridge(BRIDGE).map_err(Refusal::denied(
        "bridges",
        "load the module: `modprobe bridge`",
    ))?;
    let made = |error| Refusal::failed("making the network")(error);
    links
        .address(bridge, BRIDGE_ADDRESS, PREFIX)
        .map_err(made)?;
    links
        .find("lo")
        .and_then(|link| links.up(link))
        .map_err(made)?;
    let way_out = WayOut::open(&links, bridge, &pods).map_err(Refusal::denied(
        "a way out that counts",
        "load the modules: `modprobe veth af_packet`",
    ))?;
    out::leads_out(&links, bridge).map_err(made)?;

    // All threads first, so that they make their namespaces side by side.
    let mut starting = Vec::with_capacity(pods.len());
    for pod in pods {
        let started = pod::start(&pod, line, running)
            .map_err(Refusal::failed(&format!("pod {}", pod.name)))?;
        starting.push((pod, started));
    }
    let mut joined = Vec::with_capacity(starting.len());
    for (number, (pod, started)) in starting.into_iter().enumerate() {
        let network = started
            .network
            .recv()
            .map_err(|_| Refusal::Failed(format!("pod {} ended at once", pod.name)))?
            .map_err(Refusal::denied(
                "namespaces within namespaces",
                "raise user.max_net_namespaces",
            ))?;
        let peer = Peer {
            name: pod::LINK,
            namespace: network.as_fd(),
            hardware: out::hardware(&pod),
        };
        links
            .pair(&format!("pod{number}"), bridge, peer)
            .map_err(Refusal::denied(
                "pairs of links",
                "load the module: `modprobe veth`",
            ))?;
        let (done, joins) = mpsc::sync_channel(1);
        let address = (pod.address, PREFIX);
        // A thread that is gone is told of by `joins`.
        let _ = started.jobs.send(Job::Join { address, done });
        joined.push((pod, started.jobs, joins));
    }
    let mut ready = Vec::with_capacity(joined.len());
    for (pod, jobs, joins) in joined {
        let outcome = joins
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("it ended")));
        outcome.map_err(Refusal::failed(&format!("pod {}: its link", pod.name)))?;
        ready.push((pod, jobs));
    }
    Ok((ready, way_out))
}

/// The files are bound over those of /etc already: what is written into them is seen there.
fn write_names(topology: &Topology, pods: &[Pod]) -> io::Result<()> {
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for pod in pods {
        hosts.push_str(&format!("{} {}\n", pod.address, pod.name));
    }
    fs::write(Path::new(FOLDER).join(HOSTS), hosts)?;
    let server = pods
        .iter()
        .find(|pod| Some(&pod.name) == topology.names.as_ref());
    let resolv = match server {
        Some(pod) => format!("nameserver {}\noptions timeout:1 attempts:2\n", pod.address),
        // Without a line of its own the resolver would ask 127.0.0.1, which is refused as fast.
        None => String::from("options timeout:1 attempts:1\n"),
    };
    fs::write(Path::new(FOLDER).join(RESOLV), resolv)
}

struct Serving {
    pods: BTreeMap<String, mpsc::Sender<Job>>,
    line: Arc<Line>,
    running: Running,
    way_out: WayOut,
}

impl Serving {
    /// Carries out one order. What belongs into a pod is answered from there.
    fn serve(&self, request: Request, passed: Vec<OwnedFd>) {
        let to = request.number;
        let outcome = match request.order {
            Order::Up(_) => Err("it is up already".to_owned()),
            Order::Start(start) => match self.pods.get(&start.pod) {
                Some(jobs) => {
                    let job = Job::Start {
                        number: to,
                        start,
                        passed,
                    };
                    match jobs.send(job) {
                        Ok(()) => return,
                        Err(_) => Err("its pod is gone".to_owned()),
                    }
                }
                None => Err(format!("no pod is called `{}`", start.pod)),
            },
            Order::Socket { pod, kind } => match self.pods.get(&pod) {
                Some(jobs) => match jobs.send(Job::Socket { number: to, kind }) {
                    Ok(()) => return,
                    Err(_) => Err("its pod is gone".to_owned()),
                },
                None => Err(format!("no pod is called `{pod}`")),
            },
            Order::Signal { process, signal } => self
                .signal(process, signal)
                .map(|()| Outcome::Done)
                .map_err(|error| error.to_string()),
            Order::Place { name, contents } => place(Path::new(FOLDER), &name, &contents)
                .map(|path| Outcome::Placed { path })
                .map_err(|error| error.to_string()),
            Order::Escapes => Ok(Outcome::Escapes(self.way_out.escapes())),
            Order::Reset => reset::reset(&self.running, &self.way_out)
                .map(|()| Outcome::Done)
                .map_err(|error| error.to_string()),
        };
        // A holder that is gone needs no answer; the next read ends this.
        let _ = self.line.send(&Word::Answer { to, outcome }, &[]);
    }

    fn signal(&self, process: u64, signal: Signal) -> io::Result<()> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let program = running.get(&process);
        program.map_or(Ok(()), |program| program.signal(signal))
    }
}

impl Program {
    /// Sends a signal as far as it reaches.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent = match self.reach {
            Reach::Program => pidfd_send_signal(&self.handle, kernel_signal(signal)),
            // The number is its own, since whoever reaps it takes it out of the table first.
            Reach::Group => kill_process_group(self.pid, kernel_signal(signal)),
        };
        match sent {
            // It ended, and is about to be taken out.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The kernel's number for it.
pub(crate) fn kernel_signal(signal: Signal) -> rustix::process::Signal {
    use rustix::process::Signal as Kernel;
    match signal {
        Signal::Terminate => Kernel::TERM,
        Signal::Kill => Kernel::KILL,
        Signal::Interrupt => Kernel::INT,
        Signal::HangUp => Kernel::HUP,
        Signal::Stop => Kernel::STOP,
        Signal::Continue => Kernel::CONT,
        Signal::User1 => Kernel::USR1,
        Signal::User2 => Kernel::USR2,
        Signal::Quit => Kernel::QUIT,
        Signal::Window => Kernel::WINCH,
    }
}

/// Writes a file below a folder of ours, and nowhere else.
pub(crate) fn place(folder: &Path, name: &str, contents: &str) -> io::Result<PathBuf> {
    let name = Path::new(name);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if name.as_os_str().is_empty() || !name.components().all(plain) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "`{}` is no name for a file: expected no `..` and no `/` in front",
                name.display()
            ),
        ));
    }
    let path = folder.join(FILES).join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, contents)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_placed_below_the_folder_only() {
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "./a/.."] {
            let told = place(Path::new(FOLDER), bad, "").unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::InvalidInput, "{bad}: {told}");
        }
    }
}
