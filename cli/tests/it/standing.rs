//! `env up`, `ls`, `exec`, `down` and `capture --pod`, as a user meets them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::environment::{Inside, LONG};
use crate::peer::{command, skipped};

/// A folder of runs of our own; what still stands in it is ended.
pub(crate) struct Runs {
    folder: tempfile::TempDir,
}

impl Runs {
    pub(crate) fn new() -> Runs {
        Runs {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn env(&self, arguments: &[&str]) -> std::process::Command {
        let (verb, rest) = arguments.split_first().unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_meshproof"));
        command
            .args(["env", verb, "--runs"])
            .arg(self.folder.path().join("runs"))
            .args(rest)
            .current_dir(self.folder.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.env(arguments).output().unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let listed = self.run(&["ls", "--format", "json"]);
        assert!(listed.status.success());
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let all = listed.as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.run(&["down", "--all"]);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One that is detached: pods `a` and `b`, in namespaces. None: this machine allows none.
pub(crate) fn detached(runs: &Runs, name: &str) -> Option<()> {
    let up = runs.run(&[
        "up",
        "--pods",
        "a,b",
        "--backend",
        "netns",
        "--detach",
        "--for",
        "10m",
        "--name",
        name,
    ]);
    if up.status.code() == Some(4) {
        skipped(&format!("needs namespaces: {}", text(&up.stderr)));
        return None;
    }
    assert!(
        up.status.success(),
        "{}{}",
        text(&up.stdout),
        text(&up.stderr)
    );
    let said = text(&up.stdout);
    assert!(
        said.contains(&format!("{name} stands, of namespaces")),
        "{said}"
    );
    assert!(
        said.contains(&format!("meshproof env down {name}")),
        "{said}"
    );
    Some(())
}

#[test]
fn one_that_is_detached_is_found_used_and_ended() {
    let runs = Runs::new();
    assert_eq!(runs.names(), [""; 0]);
    let none = runs.run(&["exec", "a", "--", "true"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
    if detached(&runs, "one").is_none() {
        return;
    }
    assert_eq!(runs.names(), ["one"]);
    // Exit code, streams and folder are those of the command, the network is the pod's.
    let mut there = runs
        .env(&[
            "exec",
            "a",
            "--",
            "sh",
            "-c",
            "cat; pwd; hostname >&2; exit 7",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    there.stdin.take().unwrap().write_all(b"in\n").unwrap();
    let there = there.wait_with_output().unwrap();
    assert_eq!(there.status.code(), Some(7));
    let here = fs::canonicalize(runs.folder.path()).unwrap();
    assert_eq!(text(&there.stdout), format!("in\n{}\n", here.display()));
    assert_eq!(text(&there.stderr), "a\n");
    let killed = runs.run(&["exec", "b", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status.code(), Some(128 + 15));
    for (arguments, expected) in [
        (
            ["exec", "c", "--", "true"],
            "no pod is called `c`; there are a, b",
        ),
        (["exec", "a", "--", "/no/such"], "/no/such: No such file"),
    ] {
        let told = runs.run(&arguments);
        assert_eq!(told.status.code(), Some(2));
        assert!(
            text(&told.stderr).contains(expected),
            "{}",
            text(&told.stderr)
        );
    }
    // With a second one, a name is needed.
    detached(&runs, "two").unwrap();
    assert_eq!(runs.names(), ["one", "two"]);
    let which = runs.run(&["exec", "a", "--", "true"]);
    let told = text(&which.stderr);
    assert!(told.contains("2 environments stand (one, two)"), "{told}");
    assert!(runs.run(&["down", "two"]).status.success());
    assert_eq!(runs.names(), ["one"]);
    let down = runs.run(&["down"]);
    assert_eq!(text(&down.stdout), "one has ended\n");
    assert_eq!(runs.names(), [""; 0]);
}

#[test]
fn signals_reach_a_command_and_it_ends_with_whoever_asked() {
    let runs = Runs::new();
    if detached(&runs, "one").is_none() {
        return;
    }
    let start = |script: &str| -> (Child, BufReader<std::process::ChildStdout>) {
        let mut child = runs
            .env(&["exec", "a", "--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        (child, lines)
    };
    let (mut child, mut lines) =
        start("trap 'echo heard; exit 9' INT; echo there; while :; do sleep 0.01; done");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let mut heard = String::new();
    lines.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "heard\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    // Killed, it cannot pass anything on; and what it asked for is deaf to all but SIGKILL.
    let (mut child, mut lines) =
        start("trap '' HUP INT TERM; echo there; while :; do sleep 0.01; done");
    child.kill().unwrap();
    child.wait().unwrap();
    // The last that has the pipe's end is gone when the stream ends.
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(runs.run(&["down"]).status.success());
}

/// One in the foreground, and its first line.
fn foreground(runs: &Runs) -> Option<(Child, BufReader<std::process::ChildStdout>)> {
    let mut up = runs
        .env(&["up", "--pods", "a,b", "--backend", "netns"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    if line.is_empty() {
        assert_eq!(up.wait().unwrap().code(), Some(4));
        skipped("needs namespaces");
        return None;
    }
    assert!(line.starts_with("pods stands, of namespaces"), "{line}");
    while !line.contains("Ctrl-C") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0);
    }
    Some((up, lines))
}

#[test]
fn one_in_the_foreground_ends_by_a_signal_and_with_a_leak_says_so() {
    let runs = Runs::new();
    let Some((mut up, mut lines)) = foreground(&runs) else {
        return;
    };
    let leak = runs.run(&[
        "exec",
        "b",
        "--",
        "bash",
        "-c",
        "echo >/dev/udp/192.0.2.1/9",
    ]);
    assert!(leak.status.success(), "{}", text(&leak.stderr));
    kill_process(Pid::from_child(&up), Signal::INT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "it ended as you told it\n");
    let mut wrong = String::new();
    up.stderr
        .take()
        .unwrap()
        .read_to_string(&mut wrong)
        .unwrap();
    assert_eq!(
        wrong,
        "meshproof: 1 packets tried to leave: b: UDP to 192.0.2.1:9\n"
    );
    assert_eq!(up.wait().unwrap().code(), Some(1));
}

#[test]
fn whoever_dies_of_a_kept_one_takes_the_rest_along() {
    // The one who keeps it, its outermost process, pid 1, the supervisor.
    for victim in 0..4 {
        let runs = Runs::new();
        let Some((mut up, _lines)) = foreground(&runs) else {
            return;
        };
        let inside = Inside::of(up.id());
        let pid = inside.pids()[victim];
        kill_process(
            Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            Signal::KILL,
        )
        .unwrap();
        let handle = pidfd_open(Pid::from_child(&up), PidfdFlags::empty()).unwrap();
        let limit = Timespec::try_from(LONG).unwrap();
        let ended =
            crate::environment::wait_for(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
        assert_eq!(ended, 1, "it stands without victim {victim}");
        let status = up.wait().unwrap();
        assert_eq!(status.code(), (victim != 0).then_some(3), "{status}");
        inside.nothing_is_left();
        assert_eq!(runs.names(), [""; 0]);
    }
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "pcapng"))
        .collect();
    files.sort();
    files
}

#[test]
fn a_pod_is_captured_and_what_is_killed_can_be_read() {
    let runs = Runs::new();
    if detached(&runs, "one").is_none() {
        return;
    }
    let begin = |output: &str, more: &[&str]| -> Child {
        let mut capture = command(env!("CARGO_BIN_EXE_meshproof"));
        capture
            .args(["capture", "--pod", "b", "-o", output, "--runs"])
            .arg(runs.folder.path().join("runs"))
            .args(more)
            .current_dir(runs.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut capture = capture.spawn().unwrap();
        let mut line = String::new();
        let mut errors = BufReader::new(capture.stderr.take().unwrap());
        errors.read_line(&mut line).unwrap();
        if line.contains("UNSUPPORTED") {
            skipped("needs libpcap");
        } else {
            assert_eq!(line, "capturing any\n");
        }
        capture
    };
    let send = |what: &str| {
        let script = format!("echo {what} >/dev/udp/b/12200");
        let sent = runs.run(&["exec", "a", "--", "bash", "-c", &script]);
        assert!(sent.status.success(), "{}", text(&sent.stderr));
    };
    // One that counts, with a filter: what does not fit is not in it.
    let mut counted = begin("counted.pcapng", &["--packets", "2", "udp port 12200"]);
    send("first");
    send("second");
    assert_eq!(counted.wait().unwrap().code(), Some(0));
    let file = runs.folder.path().join("counted.0001.pcapng");
    assert_eq!(crate::conformance::holding(&file, b"first"), 1);
    assert_eq!(crate::conformance::holding(&file, b"second"), 1);
    // One that is killed: whatever was seen before is in the file soon.
    let mut killed = begin("killed.pcapng", &["udp port 12200"]);
    send("third");
    let file = runs.folder.path().join("killed.0001.pcapng");
    let end = meshproof_sys::clock::Nanos::now() + LONG;
    while crate::conformance::holding(&file, b"third") == 0 {
        assert!(meshproof_sys::clock::Nanos::now() < end, "it never came");
        let pause = Timespec::try_from(Duration::from_millis(5)).unwrap();
        crate::environment::wait_for(&mut [], Some(&pause));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(runs.run(&["down"]).status.success());
    assert_eq!(crate::conformance::holding(&file, b"third"), 1);
    assert_eq!(parts(runs.folder.path()).len(), 2);
}

#[test]
fn wrong_use_is_told() {
    let runs = Runs::new();
    for (arguments, expected) in [
        (vec!["up"], "required arguments"),
        (vec!["up", "--pods", "a", "--detach"], "--for <TIME>"),
        (
            vec!["up", "--pods", "a", "--for", "2d"],
            "expected a time of 1ms to 24h",
        ),
        (vec!["up", "no-such"], "there is no topology `no-such`"),
        (vec!["down", "no-such"], "no environment stands in"),
    ] {
        let told = runs.run(&arguments);
        assert_eq!(told.status.code(), Some(2), "{arguments:?}");
        let said = text(&told.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let pods = runs.run(&["up", "--pods", "a,a", "--backend", "netns"]);
    assert_eq!(pods.status.code(), Some(3));
    assert!(text(&pods.stderr).contains("two pods are called `a`"));
}
