//! Leases whose keepers are killed: what they held is gone, at whatever moment it was.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshproof_fault::snapshot::{Snapshot, Sort};
use meshproof_fault::{
    Afterlife, Error, Fault, Ground, Lease, Scene, Spec, Standby, Way, leftovers,
};
use meshproof_sys::bpf::{self, Seen};
use meshproof_sys::clock::Nanos;
use meshproof_sys::mounts;
use meshproof_sys::namespaces::{Namespace, unshare};
use rustix::process::{Pid, Signal, kill_process};

use crate::environment::as_nobody;
use crate::nft::{alone, tables};
use crate::peer::{command, skipped};

/// Long enough that nothing ends because of it.
const LONG: Duration = Duration::from_secs(600);

/// Starts keepers in the network of the calling thread, and knows the last one.
pub(crate) struct Kept {
    program: Vec<OsString>,
    last: Arc<Mutex<Option<u32>>>,
}

impl Kept {
    pub(crate) fn behind(front: &[&str]) -> Kept {
        let own = env!("CARGO_BIN_EXE_meshproof");
        Kept {
            program: front.iter().chain([&own]).map(Into::into).collect(),
            last: Arc::default(),
        }
    }

    pub(crate) fn here() -> Kept {
        Kept::behind(&[])
    }

    /// The last keeper.
    pub(crate) fn keeper(&self) -> u32 {
        self.last.lock().unwrap().unwrap()
    }

    /// SIGKILL for the last keeper.
    pub(crate) fn kill(&self) {
        kill(self.keeper());
    }
}

fn kill(process: u32) {
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// Waited for at the end.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Ground for Kept {
    fn start(&self, arguments: Vec<OsString>, line: OwnedFd) -> Result<Box<dyn Send>, Error> {
        let (first, rest) = self.program.split_first().unwrap();
        let child = command(first.to_str().unwrap())
            .args(rest)
            .args(arguments)
            .stdin(Stdio::from(line))
            .spawn()
            .unwrap();
        *self.last.lock().unwrap() = Some(child.id());
        Ok(Box::new(Reaped(child)))
    }
}

fn fault(text: &str, process: Option<u32>) -> Fault {
    Fault {
        spec: Spec::parse("fault.yaml", text).unwrap(),
        scene: Scene {
            control: None,
            run: "run".into(),
            lease: "it-1".into(),
            process,
        },
    }
}

fn apply(text: &str, process: Option<u32>, ground: &Kept) -> Lease {
    let standby = fault(text, process).preflight(ground).unwrap();
    standby.apply(LONG).unwrap()
}

/// A small generator, so that every run has the same instants.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// How often keepers are killed: `MESHPROOF_KILLS` asks for more.
pub(crate) fn kills(usual: u64) -> u64 {
    let asked = std::env::var("MESHPROOF_KILLS").ok();
    asked.map_or(usual, |asked| asked.parse().unwrap())
}

/// Lets a keeper do its plan, and kills it meanwhile or thereafter; whether it had answered.
pub(crate) fn killed(standby: Standby, keeper: u32, seeded: &mut Seeded) -> bool {
    // Short times as often as long ones.
    let bits = seeded.below(18);
    let spins = seeded.below(1 << bits);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..spins {
                std::hint::spin_loop();
            }
            kill(keeper);
        });
        standby.apply(LONG)
    });
    // Its keeper is waited for, either way.
    match outcome {
        Ok(lease) => {
            drop(lease);
            true
        }
        Err(Error::Gone(_) | Error::Io { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn tables_are_gone_with_keepers_that_are_killed() {
    alone(|| {
        let ground = Kept::here();
        let before = Snapshot::network();
        let mut seeded = Seeded(7);
        let count = kills(200);
        let mut answered = 0;
        for number in 0..count {
            let fault = fault("{kind: drop, from: app, port: 12199}", None);
            let standby = fault.preflight(&ground).unwrap();
            assert_eq!(standby.plan().way.when_all_are_killed(), Afterlife::Gone);
            answered += u64::from(killed(standby, ground.keeper(), &mut seeded));
            let change = before.until(&Snapshot::network());
            assert!(change.is_empty(), "kill {number}: {change}");
        }
        println!("{count} keepers killed: {answered} after they had answered");
        assert!(answered > 0 && answered < count, "{answered} of {count}");
    });
}

#[test]
fn pairs_of_leases_are_gone_with_their_keepers() {
    const KINDS: [&str; 7] = [
        "{kind: drop, from: app, port: 12199}",
        "{kind: drop, only: new, port: 12199}",
        "{kind: drop, only: payload, ip: v6, port: 12199}",
        "{kind: reject, from: sidecar, port: 12199}",
        "{kind: limit, connections: 2, port: 12199}",
        "{kind: cut}",
        "{kind: pause}",
    ];
    /// Pairs that are drawn.
    const PAIRS: u64 = 20;
    alone(|| {
        if !paired_links() {
            return skipped("needs ip and veth");
        }
        let grounds = [Kept::here(), Kept::here()];
        let mut echo = Echo::start(&[]);
        let before = Snapshot::network();
        let mut seeded = Seeded(11);
        let each = kills(4);
        for _ in 0..PAIRS {
            let first = seeded.below(KINDS.len() as u64) as usize;
            let other = 1 + seeded.below(KINDS.len() as u64 - 1) as usize;
            let pair = [KINDS[first], KINDS[(first + other) % KINDS.len()]];
            for number in 0..each {
                let named = |at: usize| {
                    let mut fault = fault(pair[at], echo.process());
                    fault.scene.lease = format!("pair-{at}");
                    fault.preflight(&grounds[at]).unwrap()
                };
                let standing = [named(0), named(1)];
                let mut seeds = [Seeded(seeded.below(1 << 30)), Seeded(seeded.below(1 << 30))];
                std::thread::scope(|scope| {
                    for ((standby, ground), seed) in
                        standing.into_iter().zip(&grounds).zip(&mut seeds)
                    {
                        scope.spawn(move || killed(standby, ground.keeper(), seed));
                    }
                });
                let change = before.until(&Snapshot::network());
                assert!(change.is_empty(), "{pair:?}, kill {number}: {change}");
                // One that were still held would not answer.
                echo.answers();
            }
        }
        drop(echo.input);
        echo.child.wait().unwrap();
    });
}

/// Heartbeats and business frames on one connection, one after the other, until it is told to end.
/// How many heartbeats were lost; of the rest nothing may be.
fn traffic(from: &TcpStream, to: &TcpStream, ends: &AtomicBool) -> u64 {
    /// An answer in BOLT v1 to a heartbeat; byte 3 tells what it is, 16 to 19 how long its content.
    const ANSWER: [u8; 20] = [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut beats, mut head, mut number) = (0, ANSWER, [0; 4]);
            while { to }.read_exact(&mut head).is_ok() {
                match head[3] {
                    0 => beats += 1,
                    2 => {
                        { to }.read_exact(&mut number).unwrap();
                        told.send((u32::from_be_bytes(number), beats)).unwrap();
                    }
                    _ => panic!("{head:?} is none of ours"),
                }
            }
        });
        let mut sent = 0_u32;
        let mut beats = 0;
        while !ends.load(Ordering::Relaxed) || sent == 0 {
            let mut business = ANSWER;
            business[3] = 2;
            business[19] = 4;
            let mut bytes = [&ANSWER[..], &business].concat();
            bytes.extend(sent.to_be_bytes());
            { from }.write_all(&bytes).unwrap();
            let (number, so_far) = heard.recv_timeout(LONG).expect("a business frame came");
            assert_eq!(number, sent, "in its turn");
            (sent, beats) = (sent + 1, so_far);
        }
        from.shutdown(std::net::Shutdown::Write).unwrap();
        u64::from(sent) - beats
    })
}

/// Tells others to end, whatever becomes of this.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn frames_flow_again_when_their_keeper_is_killed() {
    alone(|| {
        let ground = Kept::here();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let opener = TcpStream::connect(to).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let text = format!(
            "{{kind: drop, frame: heartbeat, from: server, port: {}}}",
            to.port()
        );
        let stands = || match fault(&text, None).preflight(&ground) {
            Err(Error::Unsupported { missing, .. }) => Err(missing),
            other => Ok(other.unwrap()),
        };
        if let Err(missing) = stands() {
            return skipped(&format!("needs {missing}"));
        }
        let ends = AtomicBool::new(false);
        let lost = std::thread::scope(|scope| {
            let traffic = scope.spawn(|| traffic(&accepted, &opener, &ends));
            let _over = Over(&ends);
            let mut seeded = Seeded(13);
            let count = kills(100);
            // The kernel takes a moment to let a program go.
            let gone = || {
                let until = Nanos::now() + LONG;
                let ours = |it: &Seen| it.name == "mp_it_1";
                while bpf::programs().unwrap().iter().any(ours) {
                    assert!(Nanos::now() < until, "a program is left");
                    std::thread::yield_now();
                }
            };
            for number in 0..count {
                gone();
                let standby = stands().unwrap();
                assert_eq!(standby.plan().way, Way::Sockhash);
                if number % 2 == 0 {
                    // Most of them as it is put in force.
                    killed(standby, ground.keeper(), &mut seeded);
                } else {
                    let mut lease = standby.apply(LONG).unwrap();
                    while lease.evidence().unwrap().is_empty() {
                        assert!(!traffic.is_finished(), "no heartbeat was lost");
                    }
                    ground.kill();
                }
                assert!(!traffic.is_finished(), "nobody noticed but by heartbeats");
            }
            gone();
            ends.store(true, Ordering::Relaxed);
            traffic.join().unwrap()
        });
        assert!(lost >= kills(100) / 2, "{lost} heartbeats were lost");
        // And without its sender there is nothing to judge.
        drop((accepted, opener));
        let told = fault(&text, None).preflight(&ground).map(drop);
        assert!(
            told.unwrap_err()
                .to_string()
                .contains("no way does exactly")
        );
    });
}

#[test]
fn an_ordinary_user_is_told_what_frames_need() {
    alone(|| {
        let Some(front) = as_nobody() else {
            return skipped("needs to be root to become somebody else");
        };
        let front: Vec<&str> = front.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _opener = TcpStream::connect(to).unwrap();
        let _accepted = listener.accept().unwrap();
        let text = format!("{{kind: drop, nth: 1, port: {}, way: sockhash}}", to.port());
        let told = fault(&text, None)
            .preflight(&Kept::behind(&front))
            .map(drop);
        match told {
            Err(Error::Unsupported { missing, .. }) => {
                assert!(missing.contains("the right to load programs"), "{missing}");
            }
            other => panic!("{other:?}"),
        }
    });
}

/// A pair of links that can be cut.
fn paired_links() -> bool {
    let made = command("ip")
        .args(["link", "add", "one", "type", "veth", "peer", "two"])
        .status();
    made.is_ok_and(|status| status.success())
}

#[test]
fn a_network_is_after_as_it_was_before() {
    alone(|| {
        let ground = Kept::here();
        let _port = TcpListener::bind("127.0.0.1:12199").unwrap();
        if !paired_links() {
            return skipped("needs ip and veth");
        }
        let before = Snapshot::network();
        assert_eq!(before.unseen, Vec::<String>::new());
        assert!(
            before.count(Sort::Link) >= 3 && before.count(Sort::Rule) == 0,
            "{before:?}"
        );
        for (text, way) in [
            ("{kind: drop, from: app, port: 12199}", Way::NftOwner),
            (
                "{kind: drop, port: 12199, only: fin, ip: v6}",
                Way::NftOwner,
            ),
            ("{kind: reject, from: sidecar, port: 12199}", Way::NftOwner),
            ("{kind: limit, connections: 2, port: 12199}", Way::NftOwner),
            ("{kind: cut}", Way::Cut),
        ] {
            let standby = fault(text, None).preflight(&ground).unwrap();
            assert_eq!(standby.plan().way, way, "{text}");
            assert_eq!(
                Snapshot::network(),
                before,
                "a plan changes nothing: {text}"
            );
            let lease = standby.apply(LONG).unwrap();
            let during = before.until(&Snapshot::network());
            assert!(
                during.gone.is_empty() && during.new.len() >= 3,
                "{text}: {during}"
            );
            assert!(during.new.iter().any(|(sort, _)| *sort == Sort::Rule));
            assert!(lease.heal().unwrap().residue.is_empty());
            let change = before.until(&Snapshot::network());
            assert!(change.is_empty(), "{text}: {change}");
            let lease = apply(text, None, &ground);
            ground.kill();
            drop(lease);
            let change = before.until(&Snapshot::network());
            assert!(change.is_empty(), "{text}: {change}");
        }
    });
}

#[test]
fn a_table_stands_while_it_is_held() {
    alone(|| {
        let ground = Kept::here();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _opener = TcpStream::connect(to).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let text = format!(
            "{{kind: drop, from: app, only: payload, port: {}}}",
            to.port()
        );
        let standby = fault(&text, None).preflight(&ground).unwrap();
        let plan = standby.plan();
        assert_eq!(plan.way, Way::NftOwner);
        assert_eq!((plan.flows_all, plan.doubts.len()), (1, 0), "{plan:?}");
        assert!(plan.rules.iter().any(|rule| rule.iptables.is_some()));
        assert_eq!(tables(), Vec::<String>::new(), "a plan changes nothing");
        let mut lease = standby.apply(LONG).unwrap();
        assert_eq!(tables(), ["meshproof_it_1"]);
        let survey = leftovers::survey();
        let ours = |what: &&String| what.contains("meshproof_it_1: meshproof run it-1");
        assert_eq!(survey.in_force.iter().filter(ours).count(), 1, "{survey:?}");
        let nothing = lease.evidence().unwrap();
        assert!(
            nothing.is_empty() && !nothing.reasons.is_empty(),
            "{nothing:?}"
        );
        accepted.write_all(b"word").unwrap();
        assert_eq!(lease.evidence().unwrap().met(), 1);
        let healed = lease.heal().unwrap();
        assert!(
            healed.residue.is_empty() && healed.evidence.met() >= 1,
            "{healed:?}"
        );
        assert_eq!(tables(), Vec::<String>::new());
        let mut lease = apply(&text, None, &ground);
        assert!(lease.evidence().is_ok());
        assert_eq!(tables(), ["meshproof_it_1"]);
        ground.kill();
        drop(lease);
        assert_eq!(tables(), Vec::<String>::new());
    });
}

#[test]
fn connections_that_stand_end_and_new_ones_work() {
    alone(|| {
        let ground = Kept::here();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let mut opener = TcpStream::connect(to).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let text = format!("{{kind: close, way: destroy, port: {}}}", to.port());
        let standby = fault(&text, None).preflight(&ground).unwrap();
        assert_eq!(standby.plan().way, Way::Destroy);
        assert_eq!(standby.plan().flows_all, 1, "{:?}", standby.plan());
        let before = Snapshot::network();
        let mut lease = standby.apply(LONG).unwrap();
        assert_eq!(lease.evidence().unwrap().met(), 1);
        let ended = |end: &mut TcpStream| end.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(ended(&mut accepted), Err(ErrorKind::ConnectionAborted));
        assert_eq!(ended(&mut opener), Err(ErrorKind::ConnectionReset));
        let mut again = TcpStream::connect(to).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        again.write_all(b"word").unwrap();
        accepted.read_exact(&mut [0; 4]).unwrap();
        assert!(lease.heal().unwrap().residue.is_empty());
        assert!(before.until(&Snapshot::network()).is_empty());
        // Where nothing stands, it meets nothing.
        let nobody = apply("{kind: close, way: destroy, port: 1}", None, &ground);
        assert!(nobody.heal().unwrap().evidence.is_empty());
    });
}

#[test]
fn packets_of_one_control_group_are_told_from_others() {
    alone(|| {
        let ground = Kept::here();
        let text = |group: &str| format!("{{kind: drop, port: 12199, group: {group}}}");
        let refused = |group: &str| match fault(&text(group), None).preflight(&ground) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{group}"),
        };
        let told = refused("no-such/group");
        assert!(
            told.contains("no-such/group") || told.contains("version 2"),
            "{told}"
        );
        assert!(refused("../..").contains("no path of a control group"));
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let root = roots
            .iter()
            .find(|root| Path::new(root).join("cgroup.procs").exists());
        let Some(root) = root else {
            return skipped("needs control groups of version 2");
        };
        let name = format!("meshproof-it-{}", std::process::id());
        let folder = Path::new(root).join(&name);
        if let Err(error) = std::fs::create_dir(&folder) {
            return skipped(&format!("needs a control group of its own: {error}"));
        }
        let plan = fault(&text(&name), None)
            .preflight(&ground)
            .map(|it| it.plan().clone());
        std::fs::remove_dir(&folder).unwrap();
        match plan {
            Ok(plan) => {
                let rule = format!("socket cgroupv2 level 1 \"{name}\"");
                let all = plan.rules.iter().all(|it| it.exact.contains(&rule));
                assert!(all && !plan.rules.is_empty(), "{plan:?}");
            }
            Err(Error::Unsupported { missing, .. }) => skipped(&format!("needs {missing}")),
            Err(error) => panic!("{error}"),
        }
    });
}

/// A program that ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that echoes, so that it is seen to run.
struct Echo {
    child: Child,
    input: std::process::ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Echo {
    fn start(front: &[&str]) -> Echo {
        let words: Vec<&str> = front.iter().copied().chain(["cat"]).collect();
        let mut child = command(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut echo = Echo {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        echo.answers();
        echo
    }

    fn answers(&mut self) {
        writeln!(self.input, "word").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "word\n");
    }
}

impl Echo {
    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }
}

#[test]
fn a_pause_ends_with_its_keeper() {
    let fronts = [Some(Vec::new()), as_nobody()];
    for front in fronts.into_iter().flatten() {
        let ground = Kept::behind(&front);
        let mut echo = Echo::start(&front);
        let mut lease = apply("{kind: pause}", echo.process(), &ground);
        let evidence = lease.evidence().unwrap();
        assert_eq!(evidence.met(), 1, "{evidence:?}");
        let healed = lease.heal().unwrap();
        assert!(healed.residue.is_empty(), "{healed:?}");
        echo.answers();
        let lease = apply("{kind: pause}", echo.process(), &ground);
        ground.kill();
        drop(lease);
        echo.answers();
        // One that is killed while it stands is no zombie for ever.
        let mut lease = apply("{kind: pause}", echo.process(), &ground);
        echo.child.kill().unwrap();
        assert!(!echo.child.wait().unwrap().success());
        assert_eq!(lease.evidence().unwrap().met(), 1);
        lease.heal().unwrap();
    }
}

#[test]
fn programs_are_killed_and_told_to_end() {
    let ground = Kept::here();
    for kind in ["kill", "stop"] {
        let mut echo = Echo::start(&[]);
        let mut lease = apply(&format!("{{kind: {kind}}}"), echo.process(), &ground);
        assert!(!echo.child.wait().unwrap().success());
        assert_eq!(lease.evidence().unwrap().met(), 1);
        assert!(lease.heal().unwrap().residue.is_empty());
        let gone = fault(&format!("{{kind: {kind}}}"), Some(echo.child.id()));
        assert!(gone.preflight(&ground).is_err(), "it has ended");
    }
}

#[test]
fn burners_end_with_their_keeper() {
    let ground = Kept::here();
    // A program that wants a processor.
    let busy = command("sh")
        .args(["-c", "while :; do :; done"])
        .spawn()
        .unwrap();
    let busy = Killed(busy);
    let children = |keeper: u32| {
        std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))
            .unwrap_or_default()
            .split_whitespace()
            .map(|number| number.parse::<u32>().unwrap())
            .collect::<Vec<u32>>()
    };
    let alive = |number: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // A zombie is its new parent's to bury.
        stat.contains("(exe)") && !stat.contains(") Z ")
    };
    let mut lease = apply("{kind: cpu}", Some(busy.0.id()), &ground);
    let burners = children(ground.keeper());
    assert!(
        !burners.is_empty() && burners.iter().all(alive),
        "{burners:?}"
    );
    while lease.evidence().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert!(lease.heal().unwrap().residue.is_empty());
    assert!(!burners.iter().any(alive), "{burners:?}");
    let lease = apply("{kind: cpu}", Some(busy.0.id()), &ground);
    let burners = children(ground.keeper());
    ground.kill();
    drop(lease);
    while burners.iter().any(alive) {
        std::thread::yield_now();
    }
}

#[test]
fn a_limit_of_descriptors_is_lifted() {
    let ground = Kept::here();
    let script =
        "while read name; do { : < /dev/null; } 2>/dev/null && echo opened || echo refused; done";
    let mut child = command("bash")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut tries = || {
        writeln!(input, "it").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(tries(), "opened\n");
    let mut lease = apply("{kind: descriptors}", Some(child.id()), &ground);
    assert_eq!(tries(), "refused\n");
    assert!(lease.evidence().unwrap().met() > 0);
    assert!(lease.heal().unwrap().residue.is_empty());
    assert_eq!(tries(), "opened\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_full_disk_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let outcome = std::thread::spawn(move || {
        if let Err(error) = unshare(&[Namespace::Mount]) {
            return skipped(&format!("needs mounts of its own: {error}"));
        }
        mounts::make_private().unwrap();
        let small = path.join("small");
        std::fs::create_dir(&small).unwrap();
        mount_small(&small);
        let ground = Kept::here();
        let writes = || std::fs::write(small.join("file"), [7; 65536]);
        writes().unwrap();
        std::fs::remove_file(small.join("file")).unwrap();
        let text = format!("{{kind: full, folder: {}}}", small.display());
        let mut lease = apply(&text, None, &ground);
        assert_eq!(
            writes().unwrap_err().kind(),
            std::io::ErrorKind::StorageFull
        );
        assert!(lease.evidence().unwrap().met() > 0);
        assert!(lease.heal().unwrap().residue.is_empty());
        writes().unwrap();
        std::fs::remove_file(small.join("file")).unwrap();
        let lease = apply(&text, None, &ground);
        assert!(writes().is_err());
        ground.kill();
        drop(lease);
        writes().unwrap();
        // The disk of the whole machine is not filled.
        let refused = fault("{kind: full, folder: /}", None).preflight(&ground);
        let why = refused.err().unwrap().to_string();
        assert!(why.contains("the disk of the whole machine"), "{why}");
    });
    outcome.join().unwrap();
}

/// A disk of one MiB.
fn mount_small(at: &Path) {
    let mounted = command("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "small"])
        .arg(at)
        .status()
        .unwrap();
    assert!(mounted.success());
}

#[test]
fn an_ordinary_user_has_rules_in_a_network_of_its_own() {
    let Some(mut front) = as_nobody() else {
        return;
    };
    front.extend(["unshare", "--user", "--map-root-user", "--net"]);
    let ground = Kept::behind(&front);
    let fault = fault("{kind: drop, from: app, port: 12199}", None);
    let standby = match fault.preflight(&ground) {
        Ok(standby) => standby,
        Err(Error::Gone(_)) => return skipped("needs user namespaces"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(standby.plan().way, Way::NftOwner);
    assert_eq!(
        standby.plan().doubts,
        ["no connection stands at this port yet"]
    );
    let mut lease = standby.apply(LONG).unwrap();
    assert!(lease.evidence().unwrap().is_empty());
    let healed = lease.heal().unwrap();
    assert!(healed.residue.is_empty());
    // In a namespace without links there is nothing to cut.
    let refused = self::fault("{kind: cut}", None).preflight(&ground);
    assert!(matches!(refused, Err(Error::Refused(_))));
}
