//! Bad links: what passes them is late, lost, doubled, harmed, and nothing of it is left, whoever
//! is killed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use meshproof_fault::snapshot::{Snapshot, Sort};
use meshproof_fault::{Error, Evidence, Fault, Lease, Scene, Spec, Way};
use meshproof_harness::ground::InPod;
use meshproof_harness::netns::Netns;
use meshproof_harness::{Environment, Topology};
use meshproof_sys::clock::Nanos;
use meshproof_sys::links::Links;
use meshproof_sys::mounts;
use meshproof_sys::namespaces::{Namespace, unshare};

use crate::environment::{LONG, as_nobody, for_each_user, up_behind};
use crate::leases::{Kept, Seeded, killed, kills};
use crate::nft::alone;
use crate::peer::{command, skipped};

/// Where the far end listens.
const FAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)), 12200);

fn fault(text: &str, lease: &str) -> Fault {
    Fault {
        spec: Spec::parse("fault.yaml", text).unwrap_or_else(|problem| panic!("{problem}")),
        scene: Scene {
            run: "run".into(),
            lease: lease.into(),
            process: None,
            control: None,
        },
    }
}

/// In force in pod `b`; none where this machine cannot, which it must say.
fn bad(netns: &Netns, text: &str, lease: &str) -> Option<Lease> {
    let ground = InPod {
        environment: netns,
        pod: "b",
    };
    match fault(text, lease).preflight(&ground) {
        Ok(standby) => {
            assert_eq!(standby.plan().way, Way::Tap);
            Some(standby.apply(LONG).unwrap())
        }
        Err(Error::Unsupported { missing, advice }) => {
            assert!(missing.contains("/dev/net/tun"), "{missing}: {advice}");
            skipped(&format!("needs {missing}: {advice}"));
            None
        }
        Err(error) => panic!("{text}: {error}"),
    }
}

/// A connection from pod `a` to pod `b`, both ends.
fn connected(netns: &Netns) -> (TcpStream, TcpStream) {
    let at = SocketAddr::new(netns.address("b").unwrap(), 12200);
    let listener = netns.listen("b", at).unwrap();
    let near = netns.connect("a", at, LONG).unwrap();
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
    }
    (near, far)
}

/// How long a byte takes there and back.
fn there_and_back(near: &mut TcpStream, far: &mut TcpStream) -> Duration {
    let begun = Nanos::now();
    let mut byte = [7];
    near.write_all(&byte).unwrap();
    far.read_exact(&mut byte).unwrap();
    far.write_all(&byte).unwrap();
    near.read_exact(&mut byte).unwrap();
    Duration::from_nanos(Nanos::now().since(begun))
}

fn met(evidence: &Evidence, what: &str) -> u64 {
    let counts = evidence.counts.iter();
    let of = counts.filter(|count| count.what.contains(what));
    of.map(|count| count.met).sum()
}

#[test]
fn a_connection_that_stands_is_late_each_way_and_then_is_not() {
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a", "b"], None), front) else {
            return;
        };
        let (mut near, mut far) = connected(&netns);
        there_and_back(&mut near, &mut far);
        for (text, least_ms) in [
            ("{kind: link, delay: 40ms}", 80),
            ("{kind: link, delay: 40ms, direction: in}", 40),
            (
                "{kind: link, delay: 40ms, jitter: 30ms, direction: out}",
                10,
            ),
        ] {
            let Some(mut lease) = bad(&netns, text, "late") else {
                return;
            };
            let took = there_and_back(&mut near, &mut far);
            assert!(took >= Duration::from_millis(least_ms), "{text}: {took:?}");
            let evidence = lease.evidence().unwrap();
            let ways = 1 + usize::from(!text.contains("direction"));
            assert_eq!(evidence.counts.len(), ways, "{evidence:?}");
            assert!(
                evidence.counts.iter().all(|count| count.met > 0),
                "{evidence:?}"
            );
            assert!(
                evidence.counts[0].what.contains("ms late at the median"),
                "{evidence:?}"
            );
            let healed = lease.heal().unwrap();
            assert!(healed.residue.is_empty(), "{healed:?}");
            // The machine may be busy: of a hundred one is as fast as ever.
            let fast = (0..100).any(|_| {
                there_and_back(&mut near, &mut far) < Duration::from_millis(least_ms.min(10))
            });
            assert!(fast, "{text}: still late");
        }
    });
}

#[test]
fn what_does_not_arrive_is_counted() {
    /// Packets that are sent.
    const SENT: u64 = 60;
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a", "b"], None), front) else {
            return;
        };
        let any = |pod| SocketAddr::new(netns.address(pod).unwrap(), 12200);
        let near = netns.datagrams("a", any("a")).unwrap();
        let far = netns.datagrams("b", any("b")).unwrap();
        far.set_read_timeout(Some(LONG)).unwrap();
        // Both know each other's hardware address by now.
        near.send_to(b"first", any("b")).unwrap();
        far.recv_from(&mut [0; 64]).unwrap();
        let arrive =
            |near: &UdpSocket, far: &UdpSocket, text: &str| -> Option<(Vec<u64>, Evidence)> {
                let lease = bad(&netns, text, "lossy")?;
                for number in 0..SENT {
                    near.send_to(&number.to_be_bytes(), any("b")).unwrap();
                }
                let healed = lease.heal().unwrap();
                assert!(healed.residue.is_empty(), "{healed:?}");
                // The last of all, over a good link: whatever arrives has arrived before.
                near.send_to(&u64::MAX.to_be_bytes(), any("b")).unwrap();
                let mut came = Vec::new();
                loop {
                    let mut packet = [0; 8];
                    far.recv_from(&mut packet).unwrap();
                    match u64::from_be_bytes(packet) {
                        u64::MAX => return Some((came, healed.evidence)),
                        number => came.push(number),
                    }
                }
            };
        let lossy = "{kind: link, loss: 25, direction: in, seed: 7}";
        let Some((came, evidence)) = arrive(&near, &far, lossy) else {
            return;
        };
        let lost = SENT - came.len() as u64;
        // Another packet, of ARP, may have been among the lost ones.
        let told = met(&evidence, "lost of");
        assert!(
            lost > 0 && (lost..lost + 5).contains(&told),
            "{lost}: {evidence:?}"
        );
        assert!(came.is_sorted(), "order stays");
        let doubled = "{kind: link, duplicate: 100, direction: in}";
        let (came, evidence) = arrive(&near, &far, doubled).unwrap();
        assert_eq!(came.len() as u64, 2 * SENT, "{evidence:?}");
        let swapped = "{kind: link, reorder: 20, direction: in}";
        let (mut came, evidence) = arrive(&near, &far, swapped).unwrap();
        assert!(
            !came.is_sorted() && met(&evidence, "changed places") > 0,
            "{evidence:?}"
        );
        came.sort_unstable();
        assert_eq!(came, (0..SENT).collect::<Vec<u64>>());
        // A wrong bit does not get past checksums, of whichever header it is in; it may be in the
        // addresses of no consequence at most.
        let harmed = "{kind: link, corrupt: 100, direction: in}";
        let (came, evidence) = arrive(&near, &far, harmed).unwrap();
        assert!((came.len() as u64) < SENT / 4, "{} came", came.len());
        assert!(met(&evidence, "wrong bit") >= SENT, "{evidence:?}");
    });
}

#[test]
fn a_narrow_link_is_narrow_and_loses_nothing_of_a_connection() {
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a", "b"], None), front) else {
            return;
        };
        let (mut near, mut far) = connected(&netns);
        let text = "{kind: link, rate: 20mbit, loss: 0.5, delay: 1ms, direction: in}";
        let Some(mut lease) = bad(&netns, text, "narrow") else {
            return;
        };
        let bytes: Vec<u8> = (0..1 << 20)
            .map(|at: u32| at.wrapping_mul(2_654_435_761) as u8)
            .collect();
        let begun = Nanos::now();
        let heard = std::thread::scope(|scope| {
            scope.spawn(|| near.write_all(&bytes).unwrap());
            let mut heard = vec![0; bytes.len()];
            far.read_exact(&mut heard).unwrap();
            heard
        });
        let took_ns = Nanos::now().since(begun);
        assert!(heard == bytes, "another megabyte");
        // 8,388,608 bits, and their headers.
        assert!(took_ns > 8_388_608 * 50, "{took_ns} ns");
        assert!(met(&lease.evidence().unwrap(), "20000000 bits a second") > 700);
        assert!(lease.heal().unwrap().residue.is_empty());
        there_and_back(&mut near, &mut far);
    });
}

#[test]
fn a_link_that_nobody_used_was_not_bad() {
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a", "b"], None), front) else {
            return;
        };
        let (mut near, mut far) = connected(&netns);
        let Some(mut lease) = bad(&netns, "{kind: link, loss: 0.000001}", "inert") else {
            return;
        };
        there_and_back(&mut near, &mut far);
        let evidence = lease.evidence().unwrap();
        assert!(evidence.is_empty(), "{evidence:?}");
        let why = evidence.claim("inert").why;
        assert!(why.contains("none of them was chosen"), "{why}");
        let ground = InPod {
            environment: &netns,
            pod: "b",
        };
        let netem = fault("{kind: link, delay: 1ms, way: netem}", "netem").preflight(&ground);
        match netem.err().expect("it is never gone") {
            Error::Unsupported { missing, .. } => assert!(missing.contains("netem"), "{missing}"),
            Error::Refused(why) => assert!(why.contains("netem is in this kernel"), "{why}"),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_machine_without_taps_says_so() {
    let outcome = std::thread::spawn(|| {
        if let Err(error) = unshare(&[Namespace::Network, Namespace::Mount]) {
            return skipped(&format!("needs mounts of its own: {error}"));
        }
        if !Path::new("/dev/net").is_dir() {
            return skipped("needs /dev/net, to hide it");
        }
        mounts::make_private().unwrap();
        mounts::tmpfs(Path::new("/dev/net")).unwrap();
        let told = |ground: &Kept, why: &str| {
            for way in ["tap", "netem"] {
                let text = format!("{{kind: link, delay: 1ms, way: {way}}}");
                match fault(&text, "none").preflight(ground).err() {
                    Some(Error::Unsupported { missing, advice }) => {
                        assert!(missing.contains("/dev/net/tun"), "{missing}");
                        assert!(missing.contains(why), "{why}: {missing}");
                        assert!(advice.contains("/dev/net/tun"), "{advice}");
                    }
                    other => panic!("{way}: {:?}", other.map(|error| error.to_string())),
                }
            }
        };
        told(&Kept::here(), "No such file");
        // As some systems have it: for root alone.
        std::fs::write("/dev/net/tun", "").unwrap();
        let root_alone = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions("/dev/net/tun", root_alone).unwrap();
        if let Some(front) = as_nobody() {
            told(&Kept::behind(&front), "Permission denied");
        }
    });
    outcome.join().unwrap();
}

#[test]
fn wires_stand_one_behind_another_and_end_in_any_order() {
    for_each_user(|front| {
        let Some(netns) = up_behind(&Topology::new(["a", "b"], None), front) else {
            return;
        };
        let (mut near, mut far) = connected(&netns);
        for first in [0, 1] {
            let text = "{kind: link, delay: 20ms}";
            let Some(one) = bad(&netns, text, "one") else {
                return;
            };
            let mut leases = vec![one, bad(&netns, text, "two").unwrap()];
            let took = there_and_back(&mut near, &mut far);
            assert!(
                took >= Duration::from_millis(80),
                "both, both ways: {took:?}"
            );
            let healed = leases.remove(first).heal().unwrap();
            assert!(
                healed.residue.is_empty() && healed.evidence.met() >= 2,
                "{healed:?}"
            );
            let took = there_and_back(&mut near, &mut far);
            assert!(took >= Duration::from_millis(40), "the other: {took:?}");
            let healed = leases.remove(0).heal().unwrap();
            assert!(
                healed.residue.is_empty() && healed.evidence.met() >= 4,
                "{healed:?}"
            );
            there_and_back(&mut near, &mut far);
        }
    });
}

/// Two networks of their own with a link between them; `work` runs in one, a program that answers
/// byte by byte in the other.
fn between(work: impl FnOnce() + Send + 'static) {
    if !Path::new("/dev/net/tun").exists() {
        return skipped("needs /dev/net/tun");
    }
    alone(|| {
        let (told, number) = mpsc::channel();
        let (ready, made) = mpsc::channel();
        let far = std::thread::spawn(move || {
            unshare(&[Namespace::Network]).unwrap();
            told.send(rustix::thread::gettid().as_raw_nonzero())
                .unwrap();
            // None: the link could not be made.
            let Ok(()) = made.recv() else {
                return;
            };
            joined([10, 77, 0, 2]);
            let listener = TcpListener::bind(FAR).unwrap();
            told.send(rustix::thread::gettid().as_raw_nonzero())
                .unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
        // Else the kernel asks for a second whether somebody has the link's own address, and what
        // comes of it is a change that nobody here made.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
        let task = number.recv().unwrap().to_string();
        let paired = command("ip")
            .args(["link", "add", "eth0", "type", "veth"])
            .args(["peer", "name", "eth0", "netns", &task])
            .status();
        if !paired.is_ok_and(|status| status.success()) {
            drop(ready);
            far.join().unwrap();
            return skipped("needs ip and veth");
        }
        joined([10, 77, 0, 1]);
        ready.send(()).unwrap();
        number.recv().unwrap();
        work();
        far.join().unwrap();
    });
}

fn joined(address: [u8; 4]) {
    let links = Links::open().unwrap();
    let link = links.find("eth0").unwrap();
    links.address(link, address.into(), 24).unwrap();
    links.up(link).unwrap();
}

#[test]
fn a_link_is_as_before_when_its_keeper_is_killed() {
    between(|| {
        let ground = Kept::here();
        let mut stream = TcpStream::connect(FAR).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut answers = || {
            let mut byte = [7];
            stream.write_all(&byte).unwrap();
            stream.read_exact(&mut byte).unwrap();
        };
        answers();
        let before = Snapshot::network();
        let text = "{kind: link, delay: 3ms, jitter: 2ms, loss: 1}";
        let standby = fault(text, "killed").preflight(&ground).unwrap();
        assert_eq!(Snapshot::network(), before, "a plan changes nothing");
        let lease = standby.apply(LONG).unwrap();
        let during = before.until(&Snapshot::network());
        let links = during.new.iter().filter(|(sort, _)| *sort == Sort::Link);
        assert_eq!((links.count(), during.gone.len()), (2, 0), "{during}");
        answers();
        ground.kill();
        drop(lease);
        let change = before.until(&Snapshot::network());
        assert!(change.is_empty(), "{change}");
        answers();
        let (count, mut answered, mut seeded) = (kills(40), 0, Seeded(23));
        for number in 0..count {
            let standby = fault(text, "killed").preflight(&ground).unwrap();
            // While it is put there, and as often when it stands.
            answered += match number % 2 {
                0 => u64::from(killed(standby, ground.keeper(), &mut seeded)),
                _ => {
                    let lease = standby.apply(LONG).unwrap();
                    ground.kill();
                    drop(lease);
                    1
                }
            };
            let change = before.until(&Snapshot::network());
            assert!(change.is_empty(), "kill {number}: {change}");
            // What was lost with the keeper comes again.
            answers();
        }
        println!("{count} keepers of wires killed: {answered} after they had answered");
        assert!(answered < count, "{answered} of {count}");
    });
}
