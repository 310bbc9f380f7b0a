//! Whole sidecars with the reference fixtures around them: two in a row as in production, one
//! before an app that knows TR alone, and one whose VIP name service is silent for a while.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use meshproof_fixtures::app::{self, App, AppHandle, Mute, Seen, Speaks};
use meshproof_fixtures::client::{self, Method, Pace, Speech, Summary, Way, run_blocking};
use meshproof_fixtures::hosted::Hosted;
use meshproof_fixtures::http::Url;
use meshproof_fixtures::journal::Journal;
use meshproof_fixtures::ledger::Ledger;
use meshproof_fixtures::registry::{self, Registry};
use meshproof_fixtures::vip::{self, Fault, Lie, NameHandle, NameServer};
use meshproof_proxy::Config;
use meshproof_proxy::edge::{Options, Proxy, Running};
use serde_json::{Value, json};

use crate::sidecar::until;

const SERVICE: &str = "com.alipay.demo.SampleService:1.0";
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod's sidecar in a run directory of its own; `more` stands above what it needs.
fn sidecar(folder: &tempfile::TempDir, name: &str, center: &str, more: &Value) -> Running {
    let mut config = json!({
        "name": name,
        "address": "127.0.0.1",
        "run": folder.path().join(name),
        "inbound": {"listen": ANY, "app": "127.0.0.1:9"},
        "outbound": {"listen": ANY},
        "api": ANY,
        "admin": ANY,
        "config_center": center,
    });
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let config: Config = serde_json::from_value(config).expect("a configuration");
    Proxy::start(config, Options::default()).expect("it starts")
}

fn app(speaks: Speaks) -> Hosted<AppHandle> {
    let settings = app::Settings {
        speaks,
        journal: Some(Journal::in_memory()),
        ..app::Settings::plain()
    };
    App::start(ANY, settings).expect("a free port")
}

/// A server pod: the app, its sidecar, and what the app tells the sidecar.
fn server(
    folder: &tempfile::TempDir,
    center: &str,
    app: &AppHandle,
    protocols: &[&str],
) -> Running {
    let inbound = json!({"listen": ANY, "app": app.address()});
    let heartbeat = json!({"interval": "300ms", "timeout": "300ms", "misses": 3});
    let more = json!({"inbound": inbound, "heartbeat": heartbeat});
    let sidecar = sidecar(folder, "server", center, &more);
    for protocol in protocols {
        let body = json!({"serviceName": SERVICE, "protocolType": protocol}).to_string();
        let api = sidecar.addresses().api;
        let (status, answer) = crate::sidecar::http(api, "POST", "/services/publish", &body);
        assert_eq!(status, 200);
        assert!(answer.contains("\"success\":true"), "{answer}");
    }
    sidecar
}

fn settings(client: &Running, vip: Option<String>) -> client::Settings {
    let addresses = client.addresses();
    client::Settings {
        timeout: PATIENCE,
        patience: PATIENCE,
        ..client::Settings::plain(Way::Sidecar {
            api: Url(addresses.api),
            through: addresses.outbound,
            vip,
        })
    }
}

fn center() -> Hosted<registry::Handle> {
    Registry::start(ANY, registry::Settings::plain()).expect("a free port")
}

fn provided(center: &registry::Handle) -> Vec<String> {
    let providers = center.lookup(SERVICE).providers;
    providers.into_iter().map(|one| one.address).collect()
}

fn heartbeats(app: &AppHandle) -> Vec<String> {
    let lines = app.journal().expect("a log").lines();
    let beats = lines
        .into_iter()
        .filter(|line| line.kind == Seen::Heartbeat);
    beats.map(|line| line.protocol).collect()
}

#[test]
fn an_app_that_knows_tr_alone_is_asked_in_tr_lost_and_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (center, app) = (center(), app(Speaks::Old));
    let sidecar = server(&folder, &center.url(), &app, &["tr"]);
    let inbound = sidecar.addresses().inbound;
    let listens = || TcpStream::connect(inbound).is_ok();
    until("the registration", || {
        provided(&center) == [inbound.to_string()]
    });
    until("a heartbeat", || heartbeats(&app).len() > 1);
    assert!(listens());

    let mute = |mute| {
        app.control(&app::Control {
            mute: Some(mute),
            ..app::Control::default()
        });
    };
    mute(Mute::Heartbeats);
    until("the deregistration", || provided(&center).is_empty());
    until("the end of 12200", || !listens());

    mute(Mute::Nothing);
    until("the registration again", || {
        provided(&center) == [inbound.to_string()]
    });
    // It listens before it is registered.
    assert!(listens());
    let beats = heartbeats(&app);
    assert!(beats.iter().all(|protocol| protocol == "tr"), "{beats:?}");
    let lines = app.journal().expect("a log").lines();
    assert!(!lines.iter().any(|line| line.kind == Seen::Refused));
}

#[test]
fn tr_and_bolt_pass_two_sidecars_and_the_account_closes() {
    for (speaks, protocols, speech, protocol) in [
        (Speaks::Old, &["tr"][..], None, "tr"),
        (Speaks::New, &["bolt", "tr"], Some("tr"), "tr"),
        (Speaks::Bolt, &["bolt"], None, "bolt-v1"),
        (Speaks::Bolt, &["bolt"], Some("bolt-v2-crc"), "bolt-v2"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (center, app) = (center(), app(speaks));
        let server = server(&folder, &center.url(), &app, protocols);
        let client = sidecar(&folder, "client", &center.url(), &json!({}));
        let journal = Journal::in_memory();
        let speech = speech.map(|speech: &str| speech.parse::<Speech>().expect("a protocol"));
        let summary: Summary = run_blocking(client::Settings {
            speech,
            count: 400,
            connections: 3,
            pace: Pace::Depth(8),
            methods: vec![
                Method::Hello,
                Method::Place,
                Method::NotifyOneway,
                Method::Boom,
            ],
            journal: Some(journal.clone()),
            ..settings(&client, None)
        })
        .expect("the sidecar names a provider");
        assert!(summary.as_expected(), "{protocol}: {summary}");
        assert_eq!(summary.protocol, protocol);
        let calls = || {
            let lines = app.journal().expect("a log").lines();
            let is_call = |line: &app::Line| matches!(line.kind, Seen::Request | Seen::Oneway);
            lines.into_iter().filter(is_call).collect::<Vec<_>>()
        };
        // Nothing tells the client that a one-way has arrived.
        until("every call", || calls().len() >= 400);
        let seen = calls();
        let ledger = Ledger::of(&journal.lines(), [&seen[..]]);
        assert!(ledger.closes(), "{protocol}: {ledger}");
        assert_eq!((ledger.calls, ledger.closed), (400, 400));
        assert!(
            seen.iter().all(|line| line.protocol == protocol),
            "{seen:?}"
        );
        // Both sidecars had them, and each as often as there are.
        for (sidecar, side) in [(&client, "outbound"), (&server, "inbound")] {
            let (_, metrics) =
                crate::sidecar::http(sidecar.addresses().admin, "GET", "/metrics", "");
            for (outcome, calls) in [("answered", 300), ("oneway", 100)] {
                let line = format!(
                    "meshproof_requests_total{{side=\"{side}\",outcome=\"{outcome}\"}} {calls}\n"
                );
                assert!(metrics.contains(&line), "{line}: {metrics}");
            }
        }
    }
}

#[test]
fn a_legacy_vip_whose_name_service_is_silent_is_an_error_and_works_later() {
    const POOL: &str = "offline.zone9";
    let folder = tempfile::tempdir().expect("a folder");
    let (center, app) = (center(), app(Speaks::Bolt));
    let pool = format!("{POOL}=127.0.0.1").parse().expect("a pool");
    let names: Hosted<NameHandle> =
        NameServer::start(ANY, vip::Settings::plain(vec![pool])).expect("a free port");
    let answers = |answer| {
        names.control(&vip::Control {
            faults: [(
                POOL.to_owned(),
                Fault {
                    answer,
                    ..Fault::default()
                },
            )]
            .into(),
            ..vip::Control::default()
        });
    };
    answers(Lie::Silence);
    let vip = json!({"vip": {"server": names.address(), "timeout": "200ms"}});
    let sidecar = sidecar(&folder, "client", &center.url(), &vip);
    let target = format!(
        "http://offline-pool.zone9.alipay.net:{}?_TIMEOUT=59000",
        app.address().port()
    );
    let silent = run_blocking(client::Settings {
        patience: Duration::ZERO,
        ..settings(&sidecar, Some(target.clone()))
    })
    .expect_err("nobody knows the address");
    let said = silent.to_string();
    for part in [
        "VIP `offline-pool.zone9.alipay.net` is not resolved yet",
        "the name service did not answer",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let asked = names.journal().lines();
    assert!(
        asked.iter().any(|line| line.answer == "silence"),
        "{asked:?}"
    );
    assert_eq!(app.journal().expect("a log").lines(), []);

    answers(Lie::None);
    let journal = Journal::in_memory();
    let summary = run_blocking(client::Settings {
        count: 20,
        journal: Some(journal.clone()),
        ..settings(&sidecar, Some(target))
    })
    .expect("the name service answers");
    assert!(summary.as_expected(), "{summary}");
    let seen = app.journal().expect("a log").lines();
    let ledger = Ledger::of(&journal.lines(), [&seen[..]]);
    assert!(ledger.closes(), "{ledger}");
    assert_eq!(ledger.closed, 20);
}
