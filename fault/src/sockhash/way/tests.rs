//! Frames over connections of this process, judged by this machine's kernel.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use meshproof_record::verdict::Verdict;
use meshproof_wire::RequestId;
use meshproof_wire::bolt::Version;
use meshproof_wire::bolt::{heartbeat, heartbeat_ack};

use super::*;

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(20);

fn scene() -> Scene {
    Scene {
        run: "test".into(),
        lease: "one".into(),
        process: None,
        control: None,
    }
}

/// Two ends of a connection, in this process.
struct Pair {
    port: u16,
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

impl Pair {
    fn new() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        Pair {
            port: listener.local_addr().unwrap().port(),
            client,
            server,
            listener,
        }
    }

    /// What the server says arrives, and nothing else.
    #[track_caller]
    fn says(&self, sent: &[&[u8]], arrives: &[&[u8]]) {
        (&self.server).write_all(&sent.concat()).unwrap();
        let arrives = arrives.concat();
        let mut found = vec![0; arrives.len()];
        let mut here = 0;
        while here < found.len() {
            match (&self.client).read(&mut found[here..]) {
                Ok(read @ 1..) => here += read,
                other => panic!("{here} of {} bytes came: {other:?}", arrives.len()),
            }
        }
        let same = found.iter().zip(&arrives).take_while(|(a, b)| a == b);
        assert_eq!(
            same.count(),
            arrives.len(),
            "the first byte that is another"
        );
    }
}

/// A fault in force; none: this machine cannot.
fn held(yaml: &str) -> Option<Box<dyn Hold>> {
    let spec = Spec::parse("fault.yaml", yaml).unwrap_or_else(|it| panic!("{it}"));
    match Sockhash.preflight(&spec, &scene()) {
        Ok(plan) => Some(Sockhash.apply(&plan, &scene()).unwrap()),
        Err(Refusal::Missing { missing, .. }) if rustix::process::geteuid().as_raw() != 0 => {
            println!("SKIPPED: needs {missing}");
            None
        }
        Err(refusal) => panic!("{yaml}: {refusal}"),
    }
}

#[track_caller]
fn heal(mut hold: Box<dyn Hold>, lost: u64) -> String {
    let evidence = hold.evidence().unwrap();
    assert_eq!(evidence.met(), lost, "{evidence:?}");
    let residue = hold.heal().unwrap();
    assert!(residue.is_empty(), "{residue:?}");
    evidence.claim("x").why
}

#[test]
fn the_third_to_fifth_answer_to_heartbeats_is_lost_and_nothing_else() {
    let pair = Pair::new();
    let yaml = format!(
        "{{kind: drop, frame: heartbeat, from: server, port: {}, nth: 3, last: 5, protocol: bolt}}",
        pair.port
    );
    let Some(hold) = held(&yaml) else { return };
    let late = TcpStream::connect(pair.listener.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = pair.listener.accept().unwrap();
    let beats: Vec<_> = (0..8).map(|id| heartbeat_ack(Version::V1, id)).collect();
    let plain = heartbeat_ack(Version::V2_CRC, 70);
    let business = bytes_of_a_response(1000);
    // One to two by one; three and four in one go with what is none; then the rest.
    pair.says(&[&beats[0]], &[&beats[0]]);
    pair.says(
        &[&business, &beats[1], &business],
        &[&business, &beats[1], &business],
    );
    pair.says(
        &[&beats[2], &business, &beats[3], &business],
        &[&business, &business],
    );
    pair.says(&[&plain], &[]);
    pair.says(
        &[&beats[4], &beats[5], &business],
        &[&beats[4], &beats[5], &business],
    );
    // One that is made later is not met.
    accepted
        .write_all(&[&beats[0][..], &beats[1], &beats[2]].concat())
        .unwrap();
    (&late).read_exact(&mut [0; 60]).unwrap();
    let why = heal(hold, 3);
    assert!(
        why.contains("12 frames were read on 1 connections, 9 passed"),
        "{why}"
    );
    pair.says(&[&beats[2]], &[&beats[2]]);
}

fn bytes_of_a_response(content: usize) -> Vec<u8> {
    let mut bytes = heartbeat_ack(Version::V1, 9).to_vec();
    bytes[3] = 2;
    bytes[16..20].copy_from_slice(&(content as u32).to_be_bytes());
    bytes.resize(20 + content, 7);
    bytes
}

#[test]
fn it_is_read_as_decoders_read() {
    use meshproof_wire::tr;
    let long = bytes_of_a_response(300_000);
    let frames: Vec<(&str, Vec<u8>)> = vec![
        ("heartbeat bolt-v1", heartbeat(Version::V1, 1).to_vec()),
        ("heartbeat bolt-v1", heartbeat_ack(Version::V1, 1).to_vec()),
        ("heartbeat bolt-v2", heartbeat(Version::V2_CRC, 2).to_vec()),
        (
            "heartbeat bolt-v2",
            heartbeat_ack(Version::V2_PLAIN, 2).to_vec(),
        ),
        ("response bolt-v1", long),
        ("heartbeat tr", tr::heartbeat(RequestId(77_000)).to_vec()),
        (
            "heartbeat tr",
            tr::heartbeat_ack(RequestId(3), "10.0.0.1:12200").to_vec(),
        ),
        ("oneway tr", one_of_tr(0, 1)),
        ("request tr", one_of_tr(0, 2)),
        ("response tr", one_of_tr(1, 2)),
    ];
    for words in [
        "heartbeat bolt-v1",
        "heartbeat bolt-v2",
        "response bolt-v1",
        "heartbeat tr",
        "oneway tr",
        "request tr",
        "response tr",
        "goaway tr",
        "request bolt",
    ] {
        let pair = Pair::new();
        let (sort, protocol) = words.split_once(' ').unwrap();
        let yaml = format!(
            "{{kind: drop, from: server, port: {}, frame: {sort}, protocol: {protocol}}}",
            pair.port
        );
        let Some(hold) = held(&yaml) else { return };
        let stay: Vec<&[u8]> = frames
            .iter()
            .filter(|(name, _)| *name != words)
            .map(|(_, bytes)| bytes.as_slice())
            .collect();
        let all: Vec<&[u8]> = frames.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for one in &all {
                    (&pair.server).write_all(one).unwrap();
                }
                // And all in one go.
                (&pair.server).write_all(&all.concat()).unwrap();
            });
            pair.says(
                &[],
                &[stay.concat(), stay.concat()].each_ref().map(Vec::as_slice),
            );
        });
        heal(hold, 2 * (all.len() - stay.len()) as u64);
    }
}

/// A frame of another class.
fn one_of_tr(flag: u8, direction: u8) -> Vec<u8> {
    let mut bytes = vec![13, flag, 4, direction, 0, 0, 0, 0, 5, 44, 0, 0, 0, 9];
    bytes.resize(14 + 5 + 44 + 9, b'x');
    bytes
}

#[test]
fn what_is_no_frame_passes_and_all_behind_it() {
    let pair = Pair::new();
    let beat = heartbeat_ack(Version::V1, 1);
    let yaml = format!(
        "{{kind: drop, from: server, port: {}, way: sockhash}}",
        pair.port
    );
    let Some(hold) = held(&yaml) else { return };
    // Half a head, and the other half.
    pair.says(&[&beat[..9]], &[&beat[..9]]);
    pair.says(&[&beat[9..]], &[&beat[9..]]);
    pair.says(&[&beat], &[&beat]);
    let why = heal(hold, 0);
    assert!(
        why.contains("on 1 connections it was lost where frames begin"),
        "{why}"
    );

    let pair = Pair::new();
    let long = bytes_of_a_response(100);
    let yaml = format!(
        "{{kind: drop, from: server, port: {}, way: sockhash}}",
        pair.port
    );
    let Some(hold) = held(&yaml) else { return };
    // The head is whole, the frame is not.
    pair.says(&[&long[..50]], &[&long[..50]]);
    pair.says(&[&long[50..], &beat], &[&long[50..]]);
    let why = heal(hold, 1);
    assert!(
        why.contains("1 of them since they were sent in pieces"),
        "{why}"
    );
}

/// A sender that does not block and finds the way full, again and again: what it hands over is
/// taken in parts, at any byte.
#[test]
fn business_frames_of_a_sender_that_must_wait_all_arrive() {
    const FRAMES: u32 = 20_000;
    let pair = Pair::new();
    let yaml = format!(
        "{{kind: drop, frame: heartbeat, from: server, port: {}}}",
        pair.port
    );
    let Some(mut hold) = held(&yaml) else { return };
    rustix::net::sockopt::set_socket_send_buffer_size(&pair.server, 8192).unwrap();
    pair.server.set_nonblocking(true).unwrap();
    let mut business = Vec::new();
    let mut all = Vec::new();
    for number in 0..FRAMES {
        let frame = bytes_of_a_response((number % 700) as usize);
        business.extend_from_slice(&frame);
        all.extend_from_slice(&frame);
        all.extend_from_slice(&heartbeat_ack(Version::V1, number));
    }
    let mut came = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = all.as_slice();
            while !rest.is_empty() {
                // Whole frames at times, parts of them at others.
                let next = rest.len().min(3000);
                match (&pair.server).write(&rest[..next]) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let mut room = [rustix::event::PollFd::new(
                            &pair.server,
                            rustix::event::PollFlags::OUT,
                        )];
                        rustix::event::poll(&mut room, None).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            pair.server.shutdown(std::net::Shutdown::Write).unwrap();
        });
        (&pair.client).read_to_end(&mut came).unwrap();
    });
    let counted = hold.evidence().unwrap();
    println!("{}", counted.claim("x").why);
    let mut left = came.as_slice();
    let (mut beats, mut rest) = (0, business.as_slice());
    while !left.is_empty() {
        let beat = left[3] == 0;
        let length = match beat {
            true => 20,
            false => 20 + u32::from_be_bytes(*left[16..].first_chunk().unwrap()) as usize,
        };
        let (frame, behind) = left.split_at(length);
        left = behind;
        match beat {
            true => beats += 1,
            false => {
                assert_eq!(frame, &rest[..length], "business, in its turn");
                rest = &rest[length..];
            }
        }
    }
    assert!(rest.is_empty(), "{} bytes of business are lost", rest.len());
    assert_eq!(beats + counted.met(), u64::from(FRAMES));
    assert!(hold.heal().unwrap().is_empty());
}

#[test]
fn a_share_is_what_the_hash_says() {
    let pair = Pair::new();
    let yaml = format!(
        "{{kind: drop, frame: heartbeat, from: server, port: {}, percent: 30, seed: 5}}",
        pair.port
    );
    let Some(hold) = held(&yaml) else { return };
    let beats: Vec<_> = (1..=200_u32)
        .map(|id| heartbeat_ack(Version::V1, id))
        .collect();
    let stay: Vec<&[u8]> = beats
        .iter()
        .zip(1..)
        .filter(|(_, number)| !crate::choose::picks(30.0, 5, "1 back", *number))
        .map(|(beat, _)| &beat[..])
        .collect();
    let all: Vec<&[u8]> = beats.iter().map(|beat| &beat[..]).collect();
    assert!(stay.len() > 100 && stay.len() < 180, "{}", stay.len());
    pair.says(&all, &stay);
    heal(hold, (all.len() - stay.len()) as u64);
}

#[test]
fn a_connection_has_one_at_a_time() {
    let pair = Pair::new();
    let yaml = format!("{{kind: drop, from: server, port: {}, nth: 1}}", pair.port);
    let Some(hold) = held(&yaml) else { return };
    let spec = Spec::parse("fault.yaml", &yaml).unwrap();
    let plan = Sockhash.preflight(&spec, &scene()).unwrap();
    let told = match Sockhash.apply(&plan, &scene()) {
        Ok(_) => panic!("two of them"),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("another program judges already"), "{told}");
    let mut hold = hold;
    let claim = hold.evidence().unwrap().claim("x");
    assert_eq!(claim.verdict, Verdict::Invalid);
    assert!(
        claim.why.contains("nothing was sent on the 1 connections"),
        "{claim:?}"
    );
    heal(hold, 0);
}

#[test]
fn what_cannot_be_exact_is_refused() {
    let pair = Pair::new();
    let check = |rest: &str, expected: &str| {
        let yaml = format!("{{{rest}}}").replace("PORT", &pair.port.to_string());
        let spec = Spec::parse("fault.yaml", &yaml).unwrap_or_else(|it| panic!("{it}"));
        let told = Sockhash.preflight(&spec, &scene()).unwrap_err().to_string();
        assert!(told.contains(expected), "{yaml}: {told}");
    };
    check(
        "kind: drop, port: PORT",
        "knows frames, and drop happens to packets",
    );
    check("kind: delay, by: 1s, port: PORT", "not at all: no delay");
    check(
        "kind: drop, method: hello, port: PORT",
        "`method` stands behind them",
    );
    check("kind: drop, nth: 1, port: 1", "none does at port 1");
    check(
        "kind: drop, nth: 1, port: PORT, ip: v6",
        "none of the 2 sockets",
    );
    check(
        "kind: drop, nth: 1, peer: 10.0.0.0/8",
        "by the port that is listened at",
    );
}
