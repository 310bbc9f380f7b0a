//! The keeper: starts programs as its children, tells how they end, and leaves none.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use meshproof_sys::clock::Nanos;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, getppid,
    kill_process_group, pidfd_open, pidfd_send_signal, set_child_subreaper, wait, waitid,
};

use super::folder::remove;
use super::range::address;
use super::stages::{STARTER, end_children, is_parent};
use crate::environment::{Pod, Program, Topology, find};
use crate::netns::line::Line;
use crate::netns::stages::{Refusal, STAGE, command};
use crate::netns::supervisor::{kernel_signal, place};
use crate::netns::talk::{Kind, Order, Outcome, Reach, Request, Start, Word};
use crate::process::Exit;

/// `GUARD RANGE FOLDER`, until the life line or the guard ends.
pub(super) fn run(
    mut arguments: impl Iterator<Item = OsString>,
    line: &Arc<Line>,
) -> Result<u8, Refusal> {
    let guard = arguments.next();
    let range = arguments.next();
    let (Some(range), Some(folder)) = (range.and_then(range_of), arguments.next()) else {
        return Err(Refusal::Failed("expected GUARD RANGE FOLDER".into()));
    };
    let failed = |what: &str, error: Errno| Refusal::failed(what)(error.into());
    set_child_subreaper(Some(getpid()))
        .map_err(|error| failed("adopting what is left behind", error))?;
    // The handle first: a guard that ended before is no parent any more.
    let parent = getppid().ok_or_else(|| Refusal::Failed("the guard is gone".into()))?;
    let parent = pidfd_open(parent, PidfdFlags::empty())
        .map_err(|error| failed("a handle of the guard", error))?;
    if !is_parent(guard.as_deref()) {
        return Ok(1);
    }
    let keeper = Keeper {
        line: Arc::clone(line),
        folder: PathBuf::from(folder),
        programs: Arc::default(),
    };
    let outcome = keeper.serve(range, &parent);
    // Where the guard lives on it has killed us by now, or does the same.
    keeper.programs.lock().ending = true;
    end_children();
    remove(&keeper.folder);
    outcome
}

fn range_of(text: OsString) -> Option<[u8; 3]> {
    let text = text.into_string().ok()?;
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let range = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(range)
}

/// Programs by their numbers at the kernel, shared with the thread that reaps. Nothing is reaped
/// and nothing is started but by whoever holds this: no number changes hands unseen.
#[derive(Debug, Default)]
struct Programs {
    state: Mutex<State>,
    started: Condvar,
}

#[derive(Debug, Default)]
struct State {
    by_pid: BTreeMap<i32, u64>,
    handles: BTreeMap<u64, (Pid, OwnedFd, Reach)>,
    ending: bool,
}

impl Programs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps programs, which is told, and what they left behind, until it is to end.
    fn reap(&self, line: &Line) {
        loop {
            // Leaves it as it is: under the lock it is looked at again.
            let there = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let mut state = self.lock();
            if state.ending {
                return;
            }
            if let Err(Errno::CHILD) = there {
                if state.by_pid.is_empty() {
                    // A child comes by a start, and what it leaves behind comes before its end.
                    drop(self.started.wait(state));
                }
                continue;
            }
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
                continue;
            };
            let at_ns = Nanos::now().0;
            let Some(process) = state.by_pid.remove(&pid.as_raw_pid()) else {
                continue;
            };
            state.handles.remove(&process);
            drop(state);
            let word = Word::Ended {
                process,
                exit: exit(status),
                at_ns,
            };
            // A holder that is gone needs no word.
            let _ = line.send(&word, &[]);
        }
    }
}

fn exit(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Gone,
    }
}

struct Keeper {
    line: Arc<Line>,
    folder: PathBuf,
    programs: Arc<Programs>,
}

impl Keeper {
    fn serve(&self, range: [u8; 3], guard: &OwnedFd) -> Result<u8, Refusal> {
        let broken = |error| Refusal::failed("the life line")(error);
        let topology = match self.line.receive::<Request>().map_err(broken)? {
            Some((request, _)) => match request.order {
                Order::Up(topology) => topology,
                other => {
                    let why = format!("expected a topology first, found {other:?}");
                    return Err(Refusal::Failed(why));
                }
            },
            None => return Ok(0),
        };
        let pods = pods(&topology, range).map_err(Refusal::Failed)?;
        let (programs, line) = (Arc::clone(&self.programs), Arc::clone(&self.line));
        thread::Builder::new()
            .name("reap".into())
            .spawn(move || programs.reap(&line))
            .map_err(Refusal::failed("a thread that reaps"))?;
        let up = Word::Up { pods: pods.clone() };
        self.line.send(&up, &[]).map_err(broken)?;
        while self.spoken_to(guard) {
            match self.line.receive::<Request>() {
                Ok(Some((request, passed))) => self.answer(&pods, request, passed),
                _ => break,
            }
        }
        Ok(0)
    }

    /// Waits for a word; false: the guard is gone.
    fn spoken_to(&self, guard: &OwnedFd) -> bool {
        loop {
            let mut watched = [
                PollFd::new(guard, PollFlags::IN),
                PollFd::from_borrowed_fd(self.line.as_fd(), PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            }
            let [ended, said] = watched.map(|fd| !fd.revents().is_empty());
            if ended {
                return false;
            }
            if said {
                return true;
            }
        }
    }

    fn answer(&self, pods: &[Pod], request: Request, passed: Vec<OwnedFd>) {
        let to = request.number;
        let mut given = Vec::new();
        let outcome = match request.order {
            Order::Start(start) => match known(pods, &start.pod) {
                Ok(()) => return self.start(to, start, passed),
                Err(why) => Err(why),
            },
            Order::Signal { process, signal } => {
                let state = self.programs.lock();
                match state.handles.get(&process) {
                    Some((pid, handle, reach)) => {
                        let sent = match reach {
                            Reach::Program => pidfd_send_signal(handle, kernel_signal(signal)),
                            // What is in the table has not been reaped: the number is its own.
                            Reach::Group => kill_process_group(*pid, kernel_signal(signal)),
                        };
                        match sent {
                            // It ended, and is about to be taken out.
                            Ok(()) | Err(Errno::SRCH) => Ok(Outcome::Done),
                            Err(error) => Err(io::Error::from(error).to_string()),
                        }
                    }
                    None => Ok(Outcome::Done),
                }
            }
            Order::Socket { pod, kind } => known(pods, &pod).and_then(|()| {
                given.push(socket(kind).map_err(|error| format!("a socket: {error}"))?);
                Ok(Outcome::Done)
            }),
            Order::Place { name, contents } => place(&self.folder, &name, &contents)
                .map(|path| Outcome::Placed { path })
                .map_err(|error| error.to_string()),
            other => Err(format!(
                "{other:?}: not with a pod that is an address alone"
            )),
        };
        let given: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        // A holder that is gone needs no answer; the next read ends this.
        let _ = self.line.send(&Word::Answer { to, outcome }, &given);
    }

    fn start(&self, to: u64, start: Start, passed: Vec<OwnedFd>) {
        let mut state = self.programs.lock();
        // Its end is told after this answer: nothing is reaped meanwhile.
        let reach = start.reach;
        let outcome = run_program(start, passed).map(|(pid, handle)| {
            state.by_pid.insert(pid.as_raw_pid(), to);
            state.handles.insert(to, (pid, handle, reach));
            Outcome::Started {
                pid: pid.as_raw_pid().unsigned_abs(),
            }
        });
        let _ = self.line.send(&Word::Answer { to, outcome }, &[]);
        self.programs.started.notify_all();
    }
}

fn known(pods: &[Pod], pod: &str) -> Result<(), String> {
    find(pods, pod).map(drop).map_err(|error| error.to_string())
}

/// The pods, with addresses of the range.
fn pods(topology: &Topology, range: [u8; 3]) -> Result<Vec<Pod>, String> {
    let mut pods = topology.addressed().map_err(|error| error.to_string())?;
    for pod in &mut pods {
        let [.., last] = pod.address.octets();
        pod.address = address(range, last);
    }
    Ok(pods)
}

fn socket(kind: Kind) -> rustix::io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Datagram => SocketType::DGRAM,
        // Those of a pod cannot be told from those of others.
        Kind::Packets => return Err(Errno::OPNOTSUPP),
    };
    socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)
}

/// Forks on this thread, which lives as long as the keeper.
fn run_program(start: Start, passed: Vec<OwnedFd>) -> Result<(Pid, OwnedFd), String> {
    let Ok([input, output, error]) = <[OwnedFd; 3]>::try_from(passed) else {
        return Err("expected three descriptors beside the order".to_owned());
    };
    let program = match &start.program {
        Program::Own => PathBuf::from("/proc/self/exe"),
        Program::Named(path) => {
            let variable = start.variables.iter().rfind(|(name, _)| name == "PATH");
            let paths = variable.map(|(_, paths)| paths.into());
            let paths = paths.or_else(|| std::env::var_os("PATH"));
            found(path, start.directory.as_deref(), paths)
                .map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let mut command = command("/proc/self/exe");
    command
        .args([STAGE, STARTER, &getpid().as_raw_pid().to_string()])
        .arg(&program)
        .args(&start.arguments)
        .envs(start.variables)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(error))
        .process_group(0);
    if let Some(directory) = &start.directory {
        command.current_dir(directory);
    }
    let child = command
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    // Nobody has reaped it: the number is still its own.
    let pid = Pid::from_child(&child);
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok((pid, handle)),
        Err(error) => {
            // It must not run unwatched. The thread that reaps takes it.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            Err(format!(
                "a handle of {}: {}",
                program.display(),
                io::Error::from(error)
            ))
        }
    }
}

/// The file that a program's name stands for, so that one that is not there is told at once and
/// not by the starter.
fn found(name: &Path, directory: Option<&Path>, paths: Option<OsString>) -> io::Result<PathBuf> {
    let runs = |path: &Path| {
        let at = directory.map_or_else(|| path.to_owned(), |directory| directory.join(path));
        let found = std::fs::metadata(at)?;
        if found.is_file() && found.permissions().mode() & 0o111 != 0 {
            Ok(())
        } else {
            Err(io::Error::from(Errno::ACCESS))
        }
    };
    if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        return runs(name).map(|()| name.to_owned());
    }
    std::env::split_paths(&paths.unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| runs(path).is_ok())
        .ok_or_else(|| io::Error::from(Errno::NOENT))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn pods_have_addresses_of_the_range() {
        let pods = pods(&Topology::new(["a", "b"], None), [127, 0, 3]).unwrap();
        let addresses: Vec<Ipv4Addr> = pods.iter().map(|pod| pod.address).collect();
        assert_eq!(
            addresses,
            [Ipv4Addr::new(127, 0, 3, 2), Ipv4Addr::new(127, 0, 3, 3)]
        );
    }

    #[test]
    fn a_range_is_three_bytes() {
        assert_eq!(range_of("127.0.9".into()), Some([127, 0, 9]));
        for bad in ["127.0", "127.0.9.1", "127.0.300", "", "a.b.c"] {
            assert_eq!(range_of(bad.into()), None, "{bad}");
        }
    }

    #[test]
    fn a_program_is_looked_for_where_its_name_says() {
        let told = |name: &str, directory: Option<&str>, paths: &str| {
            let directory = directory.map(Path::new);
            match found(Path::new(name), directory, Some(paths.into())) {
                Ok(path) => path.display().to_string(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(told("/bin/sh", None, ""), "/bin/sh");
        assert_eq!(told("sh", None, "/nowhere:/bin"), "/bin/sh");
        assert_eq!(told("bin/sh", Some("/"), ""), "bin/sh");
        let missing = "No such file or directory (os error 2)";
        assert_eq!(told("sh", None, "/nowhere"), missing);
        assert_eq!(told("/no/such", None, "/bin"), missing);
        assert_eq!(told("/etc", None, ""), "Permission denied (os error 13)");
    }
}
