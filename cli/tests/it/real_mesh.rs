//! Real SOFARPC and real SOFABolt behind two sidecars, each in a pod of its own, on the ports of
//! production.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_harness::process::Signal;
use meshproof_harness::{Command, Environment, Netns, Process, Ready, Topology};
use serde_json::{Value, json};

use crate::environment::{LONG, up};
use crate::peer::{class_path, class_path_of, command, java_turn, skipped};

const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

/// A real peer; its class path is built where there is java and mvn.
fn java(class_path: &str, class: &str, arguments: &[&str], ready: Ready) -> Command {
    let home = format!("-Duser.home={}", std::env::temp_dir().display());
    // A small machine: the compiler that is quick to start is enough.
    let front = ["-XX:TieredStopAtLevel=1", &home, "-cp", class_path, class];
    let arguments = front.iter().chain(arguments).map(|text| (*text).to_owned());
    Command {
        name: class.to_owned(),
        ready,
        limit: Duration::from_secs(180),
        ..Command::program("java", arguments)
    }
}

fn ready() -> Ready {
    Ready::Line("READY".into())
}

/// The reference sidecar of a pod; `more` is added to its configuration.
fn sidecar(netns: &Netns, pod: &str, more: &str, bugs: &[&str]) -> Process {
    let config = format!(
        "name: {pod}\naddress: {}\nrun: /run/meshproof/run/{pod}\n{more}",
        netns.address(pod).unwrap()
    );
    let file = netns
        .place(&format!("{pod}/sidecar.yaml"), &config)
        .unwrap();
    let mut arguments = vec!["proxy", "--config", file.to_str().unwrap()];
    arguments.extend(bugs.iter().flat_map(|bug| ["--bug", bug]));
    let sidecar = Command::own("sidecar", arguments).ready(ready());
    netns
        .start(pod, sidecar)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn text_of(process: &Process) -> Vec<String> {
    process.lines().into_iter().map(|line| line.text).collect()
}

/// Waits until the config center names an address for the service.
fn registered(netns: &Netns, center: SocketAddr, address: &str) {
    let mut stream = netns.connect("registry", center, LONG).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let service = SERVICE.replace(':', "%3A");
    let request = format!("GET /v1/watch?service={service} HTTP/1.0\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let named = BufReader::new(stream)
        .lines()
        .map(|line| line.expect("pushes come"))
        .any(|line| line.starts_with("data:") && line.contains(address));
    assert!(named, "the config center ended before it named {address}");
}

/// A capture inside a pod, written outside it.
struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    fn start(netns: &Netns, pod: &str, interface: &str, folder: &Path) -> Capture {
        let file = folder.join(format!("{pod}-{interface}.pcap"));
        // It need not become another user, and each packet is written when it comes.
        let mut arguments: Vec<&str> = "-Z root --immediate-mode -U -n -w".split(' ').collect();
        arguments.extend([file.to_str().unwrap(), "-i", interface, "tcp"]);
        let tcpdump = Command::program("tcpdump", arguments);
        let tcpdump = tcpdump.ready(Ready::Line("tcpdump: listening".into()));
        let tcpdump = netns
            .start(pod, tcpdump)
            .unwrap_or_else(|error| panic!("{error}"));
        Capture { tcpdump, file }
    }

    /// The calls to a port, decoded, as soon as there are `count` that have all they will get.
    fn calls(&self, port: u16, count: usize) -> Vec<Value> {
        let end = format!(":{port}");
        let mut seen = Vec::new();
        // The capture is written as packets come; nobody tells when the last is there.
        for _ in 0..600 {
            let mut ls = assert_cmd::Command::cargo_bin("meshproof").unwrap();
            let output = ls
                .args(["ls", "--format", "json"])
                .arg(&self.file)
                .output()
                .unwrap();
            let listed: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {output:?}"));
            seen = listed["exchanges"].as_array().unwrap().clone();
            seen.retain(|exchange| {
                exchange["flow"].as_str().unwrap().ends_with(&end)
                    && ["call", "oneway"].contains(&exchange["kind"].as_str().unwrap())
            });
            let settled = |exchange: &Value| {
                exchange["outcome"] == "answered" || exchange["outcome"] == "oneway"
            };
            if seen.len() >= count && seen.iter().all(settled) {
                self.tcpdump.signal(Signal::Terminate).unwrap();
                seen.sort_by_key(|exchange| exchange["request"]["packet"].as_u64());
                return seen;
            }
            assert!(
                self.tcpdump.exit().is_none(),
                "{:?}",
                text_of(&self.tcpdump)
            );
            self.tcpdump
                .line(usize::MAX, Duration::from_millis(100), |_| true)
                .unwrap_err();
        }
        panic!("{count} calls to port {port}, found {seen:#?}");
    }
}

/// What two sightings of one call must have in common: all that `ls` decodes, but for where and
/// when it was seen and the id, which is the connection's own.
fn essence(exchange: &Value) -> Value {
    let message = |part: &Value| match part.as_object() {
        None => Value::Null,
        Some(fields) => {
            let mut fields = fields.clone();
            for place in ["packet", "at_ns", "offset"] {
                assert!(fields.remove(place).is_some(), "{place}: {part}");
            }
            Value::Object(fields)
        }
    };
    let mut essence = json!({
        "request": message(&exchange["request"]),
        "response": message(&exchange["response"]),
    });
    for field in [
        "protocol", "kind", "from", "service", "method", "app", "trace", "outcome", "late",
    ] {
        essence[field] = exchange[field].clone();
    }
    essence
}

#[test]
fn real_sofarpc_calls_real_sofarpc_through_two_sidecars() {
    if let Err(why) = command("tcpdump").arg("--version").output() {
        return skipped(&format!("needs tcpdump: {why}"));
    }
    let class_path = match class_path() {
        Ok(class_path) => class_path,
        Err(why) => return skipped(why),
    };
    let _turn = java_turn();
    let Some(netns) = up(&Topology::new(["registry", "client", "server"], None)) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let center = SocketAddr::new(netns.address("registry").unwrap(), 9600);
    let listen = format!("0.0.0.0:{}", center.port());
    let registry = Command::own("registry", ["fixture", "registry", "--listen", &listen]);
    let _registry = netns.start("registry", registry.ready(ready())).unwrap();
    let more = format!("config_center: http://{center}\ntimeouts:\n  request: 20s\n");
    let server = sidecar(&netns, "server", &more, &[]);
    let client = sidecar(&netns, "client", &more, &[]);

    let from_app = Capture::start(&netns, "client", "lo", folder.path());
    let between = Capture::start(&netns, "client", "eth0", folder.path());
    let to_app = Capture::start(&netns, "server", "lo", folder.path());

    let provider = java(class_path, "peer.MeshApp", &["provider"], ready());
    let provider = netns
        .start("server", provider)
        .unwrap_or_else(|error| panic!("{error}"));
    let published = format!("{}:12200", netns.address("server").unwrap());
    registered(&netns, center, &published);

    let calls = "hello,place,oneway,boom,hello";
    let consumer = java(
        class_path,
        "peer.MeshApp",
        &["consumer", calls],
        Ready::Done,
    );
    let consumer = netns.start("client", consumer).unwrap_or_else(|error| {
        panic!(
            "{error}\nserver: {:#?}\nclient: {:#?}",
            text_of(&server),
            text_of(&client)
        )
    });
    let seen = text_of(&consumer);
    let expected = [
        "hello -> hello mesh-1",
        "place -> 700",
        "oneway -> sent",
        "boom -> IllegalStateException: boom x",
        "hello -> hello mesh-5",
        "DONE",
    ];
    let told: Vec<&String> = seen
        .iter()
        .filter(|line| line.contains(" -> ") || *line == "DONE")
        .collect();
    assert_eq!(told, expected, "{seen:#?}");
    // The one-way too, and each of them once.
    let got = [
        "GOT hello mesh-1",
        "GOT place o-2 7",
        "GOT notifyOneway fire-3",
        "GOT boom x",
        "GOT hello mesh-5",
    ];
    provider.line(0, LONG, |line| line.text == got[4]).unwrap();
    let mut received = text_of(&provider);
    received.retain(|line| line.starts_with("GOT"));
    // A one-way and the call after it may run side by side.
    received.sort();
    let mut sorted = got;
    sorted.sort_unstable();
    assert_eq!(received, sorted);

    let hops = [
        ("app to sidecar", from_app.calls(12220, got.len())),
        ("sidecar to sidecar", between.calls(12200, got.len())),
        ("sidecar to app", to_app.calls(12199, got.len())),
    ];
    let essences: Vec<Vec<Value>> = hops
        .iter()
        .map(|(_, calls)| calls.iter().map(essence).collect())
        .collect();
    for (number, (name, calls)) in hops.iter().enumerate() {
        let methods: Vec<&str> = calls
            .iter()
            .map(|call| call["method"].as_str().unwrap())
            .collect();
        assert_eq!(
            methods,
            ["hello", "place", "notifyOneway", "boom", "hello"],
            "{name}"
        );
        assert!(
            calls.iter().all(|call| call["service"] == SERVICE),
            "{name}"
        );
        // Nothing but ids: the sidecar documents no other change of a request or an answer.
        for (call, (ours, first)) in essences[number].iter().zip(&essences[0]).enumerate() {
            assert_eq!(ours, first, "{name}, call {call}");
        }
    }
}

/// What a real client prints, calling through `address`, a line per answer.
fn bolt_client(netns: &Netns, class_path: &str, steps: &str, address: &str) -> Vec<String> {
    let client = java(
        class_path,
        "peer.BoltClient",
        &[steps, address, "40"],
        Ready::Done,
    );
    let client = netns
        .start("client", client)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut told = text_of(&client);
    told.retain(|line| line.contains(" -> ") || line == "DONE");
    told
}

/// A real SOFABolt server behind a sidecar, and the sidecar of those who call it.
fn bolt_mesh(class_path: &str, bugs: &[&str]) -> Option<(Netns, [Process; 3])> {
    let netns = up(&Topology::new(["client", "server"], None))?;
    let to = format!("{}:12200", netns.address("server").unwrap());
    let routes = format!(
        "outbound:\n  routes:\n    - class: peer.Msg\n      to: [\"{to}\"]\n    - class: java.lang.String\n      to: [\"{to}\"]\n"
    );
    let server = java(class_path, "peer.BoltServer", &["12199"], ready());
    let server = netns
        .start("server", server)
        .unwrap_or_else(|error| panic!("{error}"));
    let theirs = sidecar(&netns, "server", "", bugs);
    let ours = sidecar(&netns, "client", &routes, bugs);
    Some((netns, [server, theirs, ours]))
}

#[test]
fn real_sofabolt_in_every_version_through_two_sidecars() {
    let class_path = match class_path_of("bolt") {
        Ok(class_path) => class_path,
        Err(why) => return skipped(why),
    };
    let _turn = java_turn();
    let Some((netns, running)) = bolt_mesh(class_path, &[]) else {
        return;
    };
    const STEPS: &str = "sync,oneway,future,callback,nocrc,boom,noprocessor,large,pipeline,sync";
    let direct = format!("{}:12199", netns.address("server").unwrap());
    // v1; v2 without room for a CRC; v2 with it, first version byte 2.
    for version in [
        "_PROTOCOL=1",
        "_PROTOCOL=2&_VERSION=1",
        "_PROTOCOL=2&_VERSION=2",
    ] {
        let without = bolt_client(&netns, class_path, STEPS, &format!("{direct}?{version}"));
        let through = format!("127.0.0.1:12220?{version}");
        let with = bolt_client(&netns, class_path, STEPS, &through);
        // The server's own address stands in its errors, and is the only thing that may differ.
        let place = |lines: &[String]| -> Vec<String> {
            lines.iter().map(|line| without_addresses(line)).collect()
        };
        let sidecars: Vec<Vec<String>> = running.iter().map(text_of).collect();
        assert_eq!(place(&with), place(&without), "{version}\n{sidecars:#?}");
        assert_eq!(with[0], "sync -> ok:sync:3", "{version}");
        assert!(
            with.contains(&"pipeline -> 40 of 40".to_owned()),
            "{with:#?}"
        );
        assert!(with.contains(&"large -> the same".to_owned()), "{with:#?}");
    }
    let oneways = text_of(&running[0])
        .iter()
        .filter(|line| line.as_str() == "GOT echo:oneway:-1")
        .count();
    assert_eq!(oneways, 6, "three directly, three through the mesh");
}

/// The text with every `IP:PORT` in it as `?`.
fn without_addresses(line: &str) -> String {
    let mut parts: Vec<&str> = line
        .split(|letter: char| !(letter.is_ascii_digit() || letter == '.' || letter == ':'))
        .filter(|part| part.parse::<SocketAddr>().is_ok())
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
        .iter()
        .fold(line.to_owned(), |line, part| line.replace(part, "?"))
}

#[test]
fn a_sidecar_that_drops_the_crc_is_found_by_real_sofabolt() {
    let class_path = match class_path_of("bolt") {
        Ok(class_path) => class_path,
        Err(why) => return skipped(why),
    };
    let _turn = java_turn();
    let Some((netns, _running)) = bolt_mesh(class_path, &["crc-dropped"]) else {
        return;
    };
    let client = |version| {
        let address = format!("127.0.0.1:12220?{version}");
        let client = Command {
            variables: vec![("JAVA_TOOL_OPTIONS".into(), "-Dlimit=3000".into())],
            ..java(
                class_path,
                "peer.BoltClient",
                &["sync", &address],
                Ready::Done,
            )
        };
        let client = netns
            .start("client", client)
            .unwrap_or_else(|error| panic!("{error}"));
        text_of(&client)
    };
    let right = "sync -> ok:sync:3".to_owned();
    // Only frames with a CRC are concerned.
    assert!(client("_PROTOCOL=1").contains(&right));
    let with_crc = client("_PROTOCOL=2&_VERSION=2");
    assert!(!with_crc.contains(&right), "{with_crc:#?}");
    assert!(
        with_crc.iter().any(|line| line.starts_with("sync -> ")),
        "{with_crc:#?}"
    );
}
