//! A capture of a subscription with the legacy form of a VIP and its calls, replayed through a
//! running sidecar.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use assert_cmd::Command;
use assert_cmd::cargo::CommandCargoExt;
use meshproof_record::store::Record;
use meshproof_record::verdict::Verdict;

fn capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures/mesh_vip_legacy.pcap")
}

/// A program of the mesh; ends with the test.
struct Running {
    child: Child,
    /// The line that it printed when it served, without `READY `.
    ready: String,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let mut command = std::process::Command::cargo_bin("meshproof").unwrap();
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut running = Running {
            child: command.spawn().unwrap(),
            ready: String::new(),
        };
        let mut out = BufReader::new(running.child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let ready = line.trim_end().strip_prefix("READY ");
        let ready = ready.unwrap_or_else(|| panic!("{args:?} said {line:?}"));
        running.ready = ready.to_owned();
        running
    }

    /// The address that stands behind a key.
    fn address(&self, key: &str) -> &str {
        let mut pairs = self
            .ready
            .split(' ')
            .filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == key).unwrap().1
    }

    /// The port, of what tells one only.
    fn port(&self) -> &str {
        self.ready.split(' ').next().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn meshproof(args: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("meshproof")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), said)
}

/// Config center, VIP names, the app and the capture that names it as its VIP.
struct Mesh {
    folder: tempfile::TempDir,
    registry: Running,
    names: Running,
    _app: Running,
}

impl Mesh {
    fn start() -> Mesh {
        let folder = tempfile::tempdir().unwrap();
        let app = Running::start(&["fixture", "app", "--listen", "127.0.0.1:0"]);
        let names = Running::start(&["fixture", "vip", "--pool", "offline.zone9=127.0.0.1"]);
        let registry = Running::start(&["fixture", "registry"]);
        // The recorded VIP listens on 12200, which belongs to nobody here.
        let map = folder.path().join("map.yaml");
        let to = format!("offline-pool.zone9.alipay.net:{}", app.port());
        fs::write(
            &map,
            format!("vips: {{\"sample-pool.zone1.alipay.net:12200\": \"{to}\"}}\n"),
        )
        .unwrap();
        let mesh = Mesh {
            folder,
            registry,
            names,
            _app: app,
        };
        let (code, said) = meshproof(&[
            "rewrite",
            capture().to_str().unwrap(),
            "--map",
            map.to_str().unwrap(),
            "-o",
            &mesh.path("offline.pcapng"),
        ]);
        assert_eq!(code, 0, "{said}");
        mesh
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replays through a sidecar with these bugs; exit code, output, record.
    fn replayed(&self, name: &str, bugs: &[&str]) -> (i32, String, Record) {
        let config = self.path(&format!("{name}.yaml"));
        let text = format!(
            "name: sample-client\naddress: 127.0.0.1\nrun: {}\n\
             inbound: {{listen: \"127.0.0.1:0\", app: \"127.0.0.1:1\"}}\n\
             outbound: {{listen: \"127.0.0.1:0\"}}\n\
             api: 127.0.0.1:0\nadmin: 127.0.0.1:0\n\
             config_center: http://127.0.0.1:{}\nvip: {{server: \"127.0.0.1:{}\", timeout: 5s}}\n",
            self.path(&format!("{name}.run")),
            self.registry.port(),
            self.names.port(),
        );
        fs::write(&config, text).unwrap();
        let mut args = vec!["proxy", "--config", &config];
        for bug in bugs {
            args.extend(["--bug", bug]);
        }
        let sidecar = Running::start(&args);
        let record = self.path(name);
        let outbound = format!("127.0.0.1:12220={}", sidecar.address("outbound"));
        let (code, said) = meshproof(&[
            "replay",
            &self.path("offline.pcapng"),
            "--api",
            sidecar.address("api"),
            "--to",
            &outbound,
            "--record",
            &record,
        ]);
        (code, said, Record::open(Path::new(&record)).unwrap())
    }
}

fn verdict(record: &Record, name: &str) -> Verdict {
    let claims = &record.manifest().unwrap().claims;
    let claim = claims.iter().find(|claim| claim.name == name).unwrap();
    claim.verdict
}

#[test]
fn a_legacy_vip_passes_and_its_bug_is_caught() {
    let mesh = Mesh::start();
    let (code, said, record) = mesh.replayed("right", &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(verdict(&record, "subscriptions"), Verdict::Pass);
    assert_eq!(verdict(&record, "functional"), Verdict::Pass);
    let ledger = record.manifest().unwrap().replay.clone().unwrap();
    assert_eq!((ledger.sent, ledger.oneway, ledger.compared), (6, 2, 4));
    let api = ledger.mesh_api.unwrap();
    assert_eq!((api.recorded, api.succeeded, api.failed), (2, 2, 0));

    let (code, said, record) = mesh.replayed("wrong", &["vip-legacy-form"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(verdict(&record, "subscriptions"), Verdict::Fail);
    assert_eq!(verdict(&record, "ledger"), Verdict::Pass);
    let claims = &record.manifest().unwrap().claims;
    let why = &claims[0].why;
    assert!(
        why.contains("?_TIMEOUT=3000"),
        "the message names the VIP: {why}"
    );
    assert!(why.contains("does not resolve"), "{why}");
}

#[test]
fn without_an_api_the_subscriptions_are_left_out_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("run");
    let (code, said) = meshproof(&[
        "replay",
        capture().to_str().unwrap(),
        "--stub",
        "--record",
        record.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("mesh-api-left-out"), "{said}");
    let record = Record::open(&record).unwrap();
    let ledger = record.manifest().unwrap().replay.clone().unwrap();
    assert_eq!(ledger.mesh_api.unwrap().left_out, 2);
}

/// What another decoder found in the capture.
#[test]
fn ls_agrees_with_the_model() {
    let model = fs::read_to_string(capture().with_extension("json")).unwrap();
    let model: serde_json::Value = serde_json::from_str(&model).unwrap();
    let (code, said) = meshproof(&["ls", capture().to_str().unwrap(), "--format", "json"]);
    assert_eq!(code, 0, "{said}");
    let listed: serde_json::Value = serde_json::from_str(&said).unwrap();
    let frames = &listed["ledger"]["frames"];
    let sum = |names: &[&str]| {
        names
            .iter()
            .map(|n| frames[n].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(
        sum(&["requests", "oneways"]),
        model["requests"].as_u64().unwrap()
    );
    assert_eq!(sum(&["responses"]), model["responses"].as_u64().unwrap());
    let bytes = &listed["ledger"]["bytes"];
    assert_eq!(bytes["framed"], bytes["payload"]);
    let exchanges = listed["exchanges"].as_array().unwrap();
    let of_api: Vec<_> = exchanges
        .iter()
        .filter(|e| e["kind"] == "mesh-api")
        .collect();
    let bodies: Vec<_> = model["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|frame| frame["proto"] == "mesh-api")
        .collect();
    assert_eq!(of_api.len() * 2, bodies.len());
    for exchange in of_api {
        assert_eq!(exchange["protocol"], "mesh-api");
        assert_eq!(exchange["request"]["codec"], "json");
        let asked = bodies.iter().find(|frame| {
            let path = format!("/{}", exchange["method"].as_str().unwrap());
            frame["start"].as_str().unwrap().contains(&path)
        });
        let asked = asked.unwrap();
        assert_eq!(exchange["request"]["bytes"], asked["total"]);
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        assert_eq!(
            text(&exchange["vip"]),
            text(&asked["body"]["targetAppAddress"])
        );
        assert_eq!(
            text(&exchange["service"]),
            text(&asked["body"]["serviceName"])
        );
        let told = bodies
            .iter()
            .find(|frame| frame["type"] == "response" && frame["conn_port"] == asked["conn_port"]);
        let told = told.unwrap();
        assert_eq!(exchange["response"]["bytes"], told["total"]);
        assert_eq!(exchange["response"]["datas"], told["body"]["datas"]);
        assert_eq!(exchange["response"]["exception"], false);
    }
}
