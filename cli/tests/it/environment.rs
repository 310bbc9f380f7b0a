//! Environments of namespaces: what works inside, and that nothing of them is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use meshproof_harness::environment::Input;
use meshproof_harness::netns::Options;
use meshproof_harness::process::{Exit, Signal};
use meshproof_harness::{Command, Environment, Error, Escapes, Netns, Ready, Topology};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::peer::skipped;

/// A limit that only a broken environment comes near.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The program as what environments are made of; in front of it whatever is to be.
fn options(front: &[&str]) -> Options {
    let own = env!("CARGO_BIN_EXE_meshproof");
    Options {
        program: front.iter().chain([&own]).map(Into::into).collect(),
    }
}

/// An environment, unless this machine allows none: that is said aloud.
pub(crate) fn up(topology: &Topology) -> Option<Netns> {
    up_behind(topology, &[])
}

pub(crate) fn up_behind(topology: &Topology, front: &[&str]) -> Option<Netns> {
    match Netns::up_with(topology, &options(front)) {
        Ok(netns) => Some(netns),
        Err(Error::Unsupported { missing, advice }) => {
            skipped(&format!("needs {missing}: {advice}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What makes an ordinary user of the program, where that is possible.
pub(crate) fn as_nobody() -> Option<Vec<&'static str>> {
    const FRONT: [&str; 4] = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let tried = crate::peer::command(FRONT[0])
        .args(&FRONT[1..])
        .args([env!("CARGO_BIN_EXE_meshproof"), "--version"])
        .output();
    if tried.is_ok_and(|output| output.status.success()) {
        Some(FRONT.to_vec())
    } else {
        skipped("needs root and setpriv to become an ordinary user");
        None
    }
}

fn at(netns: &Netns, pod: &str, port: u16) -> SocketAddr {
    SocketAddr::new(netns.address(pod).unwrap(), port)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Each of the behaviours below holds for root and for an ordinary user.
pub(crate) fn for_each_user(check: impl Fn(&[&str])) {
    check(&[]);
    if let Some(front) = as_nobody() {
        check(&front);
    }
}

#[test]
fn pods_reach_each_other_and_keep_their_loopback_to_themselves() {
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a", "b"], None), front) else {
            return;
        };
        // The same port twice, as in production.
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 12200));
        let in_b = netns.listen("b", everywhere).unwrap();
        let in_a = netns.listen("a", everywhere).unwrap();
        let mut from_a = netns.connect("a", at(&netns, "b", 12200), LONG).unwrap();
        let (mut heard, peer) = in_b.accept().unwrap();
        assert_eq!(peer.ip(), netns.address("a").unwrap());
        from_a.write_all(b"over the bridge").unwrap();
        drop(from_a);
        let mut text = String::new();
        heard.read_to_string(&mut text).unwrap();
        assert_eq!(text, "over the bridge");
        // Each one's loopback leads to itself.
        let _own = netns.connect("a", loopback(12200), LONG).unwrap();
        assert_eq!(in_a.accept().unwrap().1.ip(), Ipv4Addr::LOCALHOST);
        drop(in_b);
        let refused = netns
            .connect("a", at(&netns, "b", 12200), LONG)
            .unwrap_err();
        assert_eq!(
            refused.io_kind(),
            Some(std::io::ErrorKind::ConnectionRefused)
        );
        assert_eq!(netns.escapes().unwrap(), Escapes::default());
        Box::new(netns).down().unwrap();
    });
}

#[test]
fn programs_run_are_watched_and_end() {
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a"], None), front) else {
            return;
        };
        let sh = |script: &str| Command::program("/bin/sh", ["-c", script]);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");

        let said = Command {
            variables: vec![("WORD".into(), "said".into())],
            directory: Some(PathBuf::from("/")),
            log: Some(log.clone()),
            ..sh(
                "echo $WORD; pwd >&2; hostname 2>/dev/null || cat /proc/sys/kernel/hostname; exit 3",
            )
        };
        let process = netns.start("a", said).unwrap();
        assert_eq!(process.wait(LONG).unwrap(), Exit::Code(3));
        let mut lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        lines.sort();
        assert_eq!(lines, ["/", "a", "said"]);
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3);

        let cat = Command {
            input: Input::Pipe,
            ..Command::program("cat", Vec::<String>::new())
        };
        let cat = netns.start("a", cat).unwrap();
        cat.write(b"to and fro\n").unwrap();
        let (line, _) = cat.line(0, LONG, |_| true).unwrap();
        assert_eq!(line.text, "to and fro");
        cat.end_input();
        assert_eq!(cat.wait(LONG).unwrap(), Exit::Code(0));

        let deaf = sh("trap '' TERM; echo deaf; while :; do sleep 1000; done");
        let deaf = netns
            .start("a", deaf.ready(Ready::Line("deaf".into())))
            .unwrap();
        assert_eq!(
            deaf.stop(Duration::from_millis(20)).unwrap(),
            Exit::Signal(9)
        );
        // To one that has ended, a signal is nothing.
        deaf.signal(Signal::Kill).unwrap();

        let told = netns
            .start("a", sh("echo why; exit 1").ready(Ready::Done))
            .unwrap_err();
        assert_eq!(
            told.to_string(),
            "sh in pod a was not ready: it ended with code 1\n  | why"
        );
        let hurried = Command {
            limit: Duration::from_millis(20),
            ..sh("exec sleep 1000").ready(Ready::Line("never".into()))
        };
        let told = netns.start("a", hurried).unwrap_err().to_string();
        assert_eq!(told, "sh in pod a was not ready: 20 ms were not enough");
        let missing = Command::program("/no/such/program", Vec::<String>::new());
        let told = netns.start("a", missing).unwrap_err().to_string();
        assert!(told.starts_with("/no/such/program: No such file"), "{told}");
        let told = netns.start("c", sh("exit")).unwrap_err().to_string();
        assert_eq!(told, "no pod is called `c`; there are a");

        // What runs when the environment ends is told to have ended with it.
        let left = netns.start("a", sh("exec sleep 1000")).unwrap();
        Box::new(netns).down().unwrap();
        assert_eq!(left.wait(LONG).unwrap(), Exit::Gone);
        let told = left.signal(Signal::Kill).unwrap_err();
        assert!(matches!(told, Error::Gone(_)), "{told}");
    });
}

#[test]
fn the_reference_app_serves_on_the_port_of_production() {
    let Some(netns) = up(&Topology::new(["client", "server"], None)) else {
        return;
    };
    // Two of them on one port each: of the whole machine there is one such port.
    let app = |pod| {
        let app = Command::own("app", ["fixture", "app", "--listen", "0.0.0.0:12200"]);
        netns
            .start(pod, app.ready(Ready::Port(loopback(12200))))
            .unwrap()
    };
    let (one, two) = (app("client"), app("server"));
    let _there = netns
        .connect("client", at(&netns, "server", 12200), LONG)
        .unwrap();
    assert_eq!(one.stop(LONG).unwrap(), Exit::Code(0));
    drop(two);
}

#[test]
fn names_resolve_by_the_pod_that_answers_for_them() {
    let Some(netns) = up(&Topology::new(["names", "a"], Some("names"))) else {
        return;
    };
    // Pods by file, everything else by a question to port 53 of the pod.
    let lookup = |name: &str| Command::program("getent", ["ahostsv4", name]);
    let by_file = netns.start("a", lookup("names")).unwrap();
    assert_eq!(by_file.wait(LONG).unwrap(), Exit::Code(0));
    let expected = netns.address("names").unwrap().to_string();
    assert!(
        by_file.lines()[0].text.starts_with(&expected),
        "{:?}",
        by_file.lines()
    );

    let asked = netns
        .datagrams("names", SocketAddr::from((Ipv4Addr::UNSPECIFIED, 53)))
        .unwrap();
    let by_question = netns
        .start("a", lookup("sample-pool.zone1.alipay.net"))
        .unwrap();
    asked.set_read_timeout(Some(LONG)).unwrap();
    let mut question = [0; 512];
    let (length, from) = asked.recv_from(&mut question).unwrap();
    assert_eq!(from.ip(), netns.address("a").unwrap());
    let question = &question[..length];
    let name = b"\x0bsample-pool\x05zone1\x06alipay\x03net\x00";
    assert_eq!(&question[12..12 + name.len()], name);
    // The question and one address: the header says response, authoritative, one answer.
    let end = 12 + name.len() + 4;
    let mut answer = question[..end].to_vec();
    answer[2..12].copy_from_slice(&[0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 1, 2, 3]);
    asked.send_to(&answer, from).unwrap();
    assert_eq!(by_question.wait(LONG).unwrap(), Exit::Code(0));
    assert!(
        by_question.lines()[0].text.starts_with("10.1.2.3"),
        "{:?}",
        by_question.lines()
    );
}

#[test]
fn a_placed_file_is_seen_in_every_pod_and_nowhere_else() {
    let Some(netns) = up(&Topology::new(["a", "b"], None)) else {
        return;
    };
    let path = netns.place("deep/er.yaml", "here: yes\n").unwrap();
    for pod in ["a", "b"] {
        let cat = netns
            .start(pod, Command::program("cat", [path.to_string_lossy()]))
            .unwrap();
        assert_eq!(cat.wait(LONG).unwrap(), Exit::Code(0));
        assert_eq!(cat.lines()[0].text, "here: yes");
    }
    assert!(!path.exists());
    let told = netns.place("../escape", "").unwrap_err().to_string();
    assert!(told.contains("is no name for a file"), "{told}");
}

#[test]
fn two_environments_know_nothing_of_each_other() {
    let topology = Topology::new(["a", "b"], None);
    let Some(one) = up(&topology) else {
        return;
    };
    let two = up(&topology).unwrap();
    assert_eq!(one.pods(), two.pods());
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 12199));
    let listening = one.listen("a", everywhere).unwrap();
    let refused = two.connect("b", at(&two, "a", 12199), LONG).unwrap_err();
    assert_eq!(
        refused.io_kind(),
        Some(std::io::ErrorKind::ConnectionRefused)
    );
    let _also = two.listen("a", everywhere).unwrap();
    drop(two);
    let _there = one.connect("b", at(&one, "a", 12199), LONG).unwrap();
    drop(listening);
}

/// Every process of an environment, and the namespaces that they are in.
pub(crate) struct Inside {
    processes: Vec<(u32, OwnedFd)>,
    /// Held, so that the kernel gives their numbers to no other ones meanwhile.
    namespaces: BTreeMap<String, fs::File>,
}

impl Inside {
    /// All below and including `outer`, parents first, held by descriptor: no number is mistaken
    /// for another.
    pub(crate) fn of(outer: u32) -> Inside {
        let mut processes = Vec::new();
        let mut namespaces = BTreeMap::new();
        let mut todo = VecDeque::from([outer]);
        let own = namespaces_of(std::process::id());
        while let Some(pid) = todo.pop_front() {
            let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let Ok(handle) = pidfd_open(raw, PidfdFlags::empty()) else {
                continue;
            };
            processes.push((pid, handle));
            for (name, path) in namespaces_of(pid) {
                if !own.contains_key(&name)
                    && let Ok(held) = fs::File::open(path)
                {
                    namespaces.insert(name, held);
                }
            }
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let children = fs::read_to_string(task.path().join("children"));
                let children = children.unwrap_or_default();
                todo.extend(
                    children
                        .split_whitespace()
                        .map(|pid| pid.parse::<u32>().unwrap()),
                );
            }
        }
        Inside {
            processes,
            namespaces,
        }
    }

    /// Their numbers, parents first.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|(pid, _)| *pid).collect()
    }

    /// How many processes.
    pub(crate) fn count(&self) -> usize {
        self.processes.len()
    }

    /// SIGKILL for these, by their place: parents stand before their children. None of them
    /// sees another one's end.
    pub(crate) fn kill(&self, places: &[usize]) {
        use rustix::process::{Signal, pidfd_send_signal};
        for signal in [Signal::STOP, Signal::KILL] {
            for place in places {
                pidfd_send_signal(&self.processes[*place].1, signal).unwrap();
            }
        }
    }

    /// Waits until all of them have ended.
    #[track_caller]
    pub(crate) fn all_end(&self) {
        for (pid, handle) in &self.processes {
            let limit = Timespec::try_from(LONG).unwrap();
            let ended = wait_for(&mut [PollFd::new(handle, PollFlags::IN)], Some(&limit));
            assert_eq!(ended, 1, "process {pid} is left");
        }
    }

    /// Waits until all of them have ended, and looks for anybody who holds their namespaces.
    #[track_caller]
    pub(crate) fn nothing_is_left(self) {
        self.all_end();
        // Another test's child has our descriptors too, from its fork to its exec.
        let mut left = self.holders();
        for _ in 0..1000 {
            if left.is_empty() {
                break;
            }
            let pause = Timespec::try_from(Duration::from_millis(5)).unwrap();
            wait_for(&mut [], Some(&pause));
            left = self.holders();
        }
        assert!(left.is_empty(), "{left:#?}");
    }

    /// Threads that are in one of the namespaces, and others than us who hold one.
    fn holders(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse::<u32>() else {
                continue;
            };
            for name in namespaces_of(pid).into_keys() {
                if self.namespaces.contains_key(&name) {
                    found.push(format!("process {pid} is in {name}"));
                }
            }
            if pid == std::process::id() {
                continue;
            }
            let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else {
                continue;
            };
            for descriptor in descriptors.flatten() {
                let Ok(target) = fs::read_link(descriptor.path()) else {
                    continue;
                };
                let target = target.to_string_lossy().into_owned();
                if self.namespaces.contains_key(&target) {
                    found.push(format!("process {pid} holds {target}"));
                }
            }
        }
        found
    }
}

/// Those of all threads of a process: `net:[4026531840]`, … and where each stands.
fn namespaces_of(pid: u32) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for task in tasks.flatten() {
        for kind in ["net", "mnt", "pid", "uts", "ipc", "user"] {
            let path = task.path().join("ns").join(kind);
            if let Ok(target) = fs::read_link(&path) {
                found.insert(target.to_string_lossy().into_owned(), path);
            }
        }
    }
    found
}

/// The links of this machine by name.
pub(crate) fn links() -> BTreeSet<String> {
    fs::read_dir("/sys/class/net")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// An environment with programs in it that do not want to end.
fn stubborn(front: &[&str]) -> Option<(Netns, Inside)> {
    let netns = up_behind(&Topology::new(["a", "b", "c"], Some("a")), front)?;
    for pod in ["a", "b", "c"] {
        // A grandchild in a session of its own, deaf to what can be ignored.
        let script = "trap '' TERM INT HUP; (setsid sh -c \"trap '' TERM INT HUP; echo there; \
            while :; do sleep 1000; done\" &) ; while :; do sleep 1000; done";
        let command = Command::program("/bin/sh", ["-c", script]);
        let process = netns
            .start(pod, command.ready(Ready::Line("there".into())))
            .unwrap();
        // It is to end with the environment, not with its handle.
        std::mem::forget(process);
    }
    let inside = Inside::of(netns.outer_pid());
    // outer, pid 1, supervisor, and per pod a shell, its grandchild and their sleeps.
    assert!(
        inside.processes.len() >= 3 + 3 * 2,
        "{}",
        inside.processes.len()
    );
    // Four of the environment, and three of each pod.
    assert!(
        inside.namespaces.len() >= 4 + 3 * 3,
        "{:?}",
        inside.namespaces
    );
    Some((netns, inside))
}

#[test]
fn down_leaves_nothing() {
    let before = links();
    for_each_user(|front| {
        let Some((netns, inside)) = stubborn(front) else {
            return;
        };
        Box::new(netns).down().unwrap();
        inside.nothing_is_left();
    });
    assert!(links().is_subset(&before), "{:?}", links());
}

#[test]
fn whichever_stage_is_killed_takes_the_rest_along() {
    for_each_user(|front| {
        for stage in 0..3 {
            let Some((netns, inside)) = stubborn(front) else {
                return;
            };
            // Outer, pid 1, and the first child of that: the supervisor.
            let pid = inside.processes[stage].1.try_clone().unwrap();
            rustix::process::pidfd_send_signal(&pid, rustix::process::Signal::KILL).unwrap();
            // The handle is still held: what ends them is the death of the one.
            inside.all_end();
            let told = netns.place("x", "").unwrap_err();
            assert!(matches!(told, Error::Gone(_) | Error::Io { .. }), "{told}");
            // Outer itself waits to be reaped by its parent, which is us.
            drop(netns);
            inside.nothing_is_left();
        }
    });
}

/// Waits for one of these, or for as long as `limit`; how many are ready. Signals of other tests'
/// children come to this process too, and cut a wait short: it goes on.
pub(crate) fn wait_for(watched: &mut [PollFd<'_>], limit: Option<&Timespec>) -> usize {
    loop {
        match rustix::event::poll(watched, limit) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.unwrap(),
        }
    }
}
