//! A pod: a thread of the supervisor that has left for a network of its own. What it starts and
//! what it opens belongs to the pod. It lives as long as the environment, so that nothing that
//! it started can outlive it.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, PoisonError, mpsc};
use std::thread;

use meshproof_sys::clock::Nanos;
use meshproof_sys::links::Links;
use meshproof_sys::mounts;
use meshproof_sys::namespaces::{Namespace, set_host_name, unshare};
use meshproof_sys::packets;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{PidfdFlags, pidfd_open};

use super::line::Line;
use super::out;
use super::stages::command;
use super::supervisor::{self, Running};
use super::talk::{Kind, Outcome, Reach, Start, Word};
use crate::environment::{Pod, Program};
use crate::process::Exit;

/// The pod's end of its link.
pub(super) const LINK: &str = "eth0";

/// What a pod's thread is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Take the links up.
    Join {
        address: (Ipv4Addr, u8),
        done: mpsc::SyncSender<io::Result<()>>,
    },
    /// Start a program and answer the request of this number.
    Start {
        number: u64,
        start: Start,
        passed: Vec<OwnedFd>,
    },
    /// Open a socket and answer the request of this number.
    Socket { number: u64, kind: Kind },
}

/// A pod on its way.
pub(super) struct Starting {
    pub(super) jobs: mpsc::Sender<Job>,
    /// Its network namespace, once.
    pub(super) network: mpsc::Receiver<io::Result<OwnedFd>>,
}

/// The small disk of a pod: each has its own in this place, which goes with it.
pub(super) const DISK: &str = "/run/meshproof/disk";

/// Room on it, in bytes; memory is taken by what is written alone.
const DISK_BYTES: u64 = 16 << 20;

pub(super) fn start(pod: &Pod, line: &Arc<Line>, running: &Running) -> io::Result<Starting> {
    let (jobs, todo) = mpsc::channel();
    let (network, made) = mpsc::sync_channel(1);
    let name = pod.name.clone();
    let (line, running) = (Arc::clone(line), Arc::clone(running));
    // A kernel shows 15 bytes of it.
    thread::Builder::new()
        .name(format!("pod-{name}"))
        .spawn(move || {
            let left = leave(&name);
            let failed = left.is_err();
            // The supervisor waits for it.
            let _ = network.send(left);
            if !failed {
                todo.into_iter().for_each(|job| work(job, &line, &running));
            }
        })?;
    Ok(Starting {
        jobs,
        network: made,
    })
}

fn leave(name: &str) -> io::Result<OwnedFd> {
    unshare(&[Namespace::Network, Namespace::Mount, Namespace::HostName])?;
    set_host_name(name)?;
    // Where it is refused, programs see the links of the machine by name, and no more.
    let _ = mounts::sysfs();
    // Where it is refused, the folder is on everybody's disk, and no fault fills or shuts it.
    let _ = mounts::tmpfs_of(Path::new(DISK), DISK_BYTES);
    // Nobody else has the link's own address; where it cannot be said, the kernel spends a second
    // on asking, in which nothing leaves by version 6.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    Namespace::Network.of_this_thread()
}

fn work(job: Job, line: &Arc<Line>, running: &Running) {
    match job {
        // The supervisor waits for it.
        Job::Join { address, done } => drop(done.send(join(address))),
        Job::Start {
            number,
            start,
            passed,
        } => {
            let reach = start.reach;
            let outcome = match run(start, passed) {
                Ok((child, handle)) => watch(number, child, handle, reach, line, running),
                Err(why) => Err(why),
            };
            if let Err(why) = outcome {
                let word = Word::Answer {
                    to: number,
                    outcome: Err(why),
                };
                // A holder that is gone needs no answer.
                let _ = line.send(&word, &[]);
            }
        }
        Job::Socket { number, kind } => {
            let opened = socket(kind);
            let passed: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
            let outcome = match &opened {
                Ok(_) => Ok(Outcome::Done),
                Err(error) => Err(format!("a socket: {error}")),
            };
            let word = Word::Answer {
                to: number,
                outcome,
            };
            let _ = line.send(&word, &passed);
        }
    }
}

fn join((address, prefix): (Ipv4Addr, u8)) -> io::Result<()> {
    let links = Links::open()?;
    links.up(links.find("lo")?)?;
    let link = links.find(LINK)?;
    links.address(link, address, prefix)?;
    links.up(link)?;
    out::leads_out(&links, link)
}

fn socket(kind: Kind) -> io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Datagram => SocketType::DGRAM,
        Kind::Packets => return packets::open(),
    };
    Ok(socket_with(
        AddressFamily::INET,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Forks on this thread, and so in this pod.
fn run(start: Start, passed: Vec<OwnedFd>) -> Result<(Child, OwnedFd), String> {
    let Ok([input, output, error]) = <[OwnedFd; 3]>::try_from(passed) else {
        return Err("expected three descriptors beside the order".to_owned());
    };
    let program = match &start.program {
        Program::Own => "/proc/self/exe".into(),
        Program::Named(path) => path.clone(),
    };
    let mut command = command(&program);
    command
        .args(&start.arguments)
        .envs(start.variables)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(error))
        .process_group(0);
    if let Some(directory) = &start.directory {
        command.current_dir(directory);
    }
    let mut child = command
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    // Nobody has reaped it: the number is still its own.
    match pidfd_open(
        rustix::process::Pid::from_child(&child),
        PidfdFlags::empty(),
    ) {
        Ok(handle) => Ok((child, handle)),
        Err(error) => {
            // It must not run unwatched.
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("a handle of {}: {error}", program.display()))
        }
    }
}

/// Says that it runs, and, from a thread that waits, how it ended.
fn watch(
    number: u64,
    mut child: Child,
    handle: OwnedFd,
    reach: Reach,
    line: &Arc<Line>,
    running: &Running,
) -> Result<(), String> {
    let pid = child.id();
    let ended = handle
        .try_clone()
        .map_err(|error| format!("a handle of it: {error}"))?;
    let program = supervisor::Program {
        pid: rustix::process::Pid::from_child(&child),
        handle,
        reach,
    };
    let locked = || running.lock().unwrap_or_else(PoisonError::into_inner);
    locked().insert(number, program);
    let word = Word::Answer {
        to: number,
        outcome: Ok(Outcome::Started { pid }),
    };
    // A holder that is gone needs no answer; the end of the line ends the program too.
    let _ = line.send(&word, &[]);
    let (line, running) = (Arc::clone(line), Arc::clone(running));
    let waiting = thread::Builder::new().name("wait".into()).spawn(move || {
        // Its end first: while nobody has reaped it, its number is its own.
        while poll(&mut [PollFd::new(&ended, PollFlags::IN)], None) == Err(Errno::INTR) {}
        let at_ns = Nanos::now().0;
        running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        let status = child.wait();
        let exit = match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Gone,
            },
            Err(_) => Exit::Gone,
        };
        let word = Word::Ended {
            process: number,
            exit,
            at_ns,
        };
        let _ = line.send(&word, &[]);
    });
    waiting
        .map(drop)
        .map_err(|error| format!("a thread that waits for it: {error}"))
}

/// An input that has ended.
pub(crate) fn nothing() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}
