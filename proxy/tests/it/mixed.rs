//! Providers of TR and of BOLT mixed, in every order of the config center's answer, behind a whole
//! sidecar: sockets, threads and the reference fixtures around it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use meshproof_fixtures::app::{self, App, AppHandle, Seen, Speaks};
use meshproof_fixtures::client::{self, Pace, Summary, Way, run_blocking};
use meshproof_fixtures::hosted::Hosted;
use meshproof_fixtures::http::Url;
use meshproof_fixtures::journal::Journal;
use meshproof_fixtures::ledger::Ledger;
use meshproof_fixtures::registry::{self, Control, Event, Order, Registry};
use meshproof_proxy::edge::{Options, Proxy, Running};
use meshproof_proxy::{Bug, Bugs, Config};
use meshproof_wire::registry::{Provider, Register};
use serde_json::json;

const SERVICE: &str = "com.alipay.demo.SampleService:1.0";
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(60);

/// An old server, one of BOLT alone and a new one, registered at a config center.
struct World {
    center: Hosted<registry::Handle>,
    apps: [Hosted<AppHandle>; 3],
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let center = Registry::start(ANY, registry::Settings::plain()).expect("a free port");
        let apps = [
            (Speaks::Old, &["tr"][..]),
            (Speaks::Bolt, &["bolt"]),
            (Speaks::New, &["bolt", "tr"]),
        ]
        .map(|(speaks, protocols)| {
            let settings = app::Settings {
                speaks,
                journal: Some(Journal::in_memory()),
                ..app::Settings::plain()
            };
            let app = App::start(ANY, settings).expect("a free port");
            let provider = Provider {
                service: SERVICE.to_owned(),
                address: app.address().to_string(),
                protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
                app: "sample-server".to_owned(),
                zone: String::new(),
                weight: 100,
                properties: serde_json::Map::new(),
            };
            let register = Register {
                session: provider.address.clone(),
                lease_ms: 3_600_000,
                providers: vec![provider],
            };
            center.register(register).expect("it is right");
            app
        });
        World {
            center,
            apps,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A sidecar for the client, in a run directory of its own.
    fn sidecar(&self, name: &str, bugs: Bugs) -> Running {
        let config = json!({
            "name": name,
            "address": "127.0.0.1",
            "run": self.folder.path().join(name),
            "inbound": {"listen": ANY, "app": "127.0.0.1:9"},
            "outbound": {"listen": ANY},
            "api": ANY,
            "admin": ANY,
            "config_center": self.center.url(),
        });
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let options = Options {
            bugs,
            ..Options::default()
        };
        Proxy::start(config, options).expect("it starts")
    }

    /// The config center answers in this order of the apps from now on.
    fn order(&self, order: [usize; 3]) -> Vec<String> {
        let addresses = order.map(|at| self.apps[at].address().to_string());
        self.center.control(&Control {
            order: Some(Order::Fixed(addresses.to_vec())),
            ..Control::default()
        });
        addresses.to_vec()
    }

    fn seen(&self) -> Vec<Vec<app::Line>> {
        let journal = |app: &Hosted<AppHandle>| app.journal().expect("a log").lines();
        self.apps.iter().map(journal).collect()
    }
}

fn call(sidecar: &Running, count: u64, journal: &Journal<client::Line>) -> Summary {
    let addresses = sidecar.addresses();
    run_blocking(client::Settings {
        count,
        connections: 4,
        pace: Pace::Depth(8),
        timeout: PATIENCE,
        patience: PATIENCE,
        journal: Some(journal.clone()),
        ..client::Settings::plain(Way::Sidecar {
            api: Url(addresses.api),
            through: addresses.outbound,
            vip: None,
        })
    })
    .expect("the sidecar names a provider")
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

#[test]
fn mixed_providers_are_called_without_an_error_in_every_order() {
    let world = World::new();
    let journal = Journal::in_memory();
    for (n, order) in ORDERS.into_iter().enumerate() {
        let addresses = world.order(order);
        let sidecar = world.sidecar(&format!("client-{n}"), Bugs::NONE);
        let summary = call(&sidecar, 1000, &journal);
        assert!(summary.as_expected(), "{order:?}: {summary}");
        assert_eq!((summary.sent, &summary.protocol[..]), (1000, "tr"));
        let pushed = |line: &registry::Line| matches!(&line.event, Event::Push { addresses: pushed, .. } if *pushed == addresses);
        let lines = world.center.journal().lines();
        assert!(lines.iter().any(pushed), "the sidecar was told {order:?}");
    }
    let seen = world.seen();
    let ledger = Ledger::of(&journal.lines(), seen.iter().map(Vec::as_slice));
    assert!(ledger.closes(), "{ledger}");
    assert_eq!(ledger.calls, 6000);
    let requests = |lines: &Vec<app::Line>| {
        let requests = lines.iter().filter(|line| line.kind == Seen::Request);
        requests.count()
    };
    let requests: Vec<usize> = seen.iter().map(requests).collect();
    // Those that speak TR share the calls; the other one is not called.
    assert!(requests[0] > 1000 && requests[2] > 1000, "{requests:?}");
    assert_eq!(requests[1], 0);
    let refused = |line: &app::Line| line.kind == Seen::Refused;
    assert!(!seen.iter().flatten().any(refused));
}

#[test]
fn with_the_bug_the_old_server_is_given_bolt() {
    let world = World::new();
    let journal = Journal::in_memory();
    // A provider of BOLT stands first, and decides what the app speaks.
    world.order([1, 0, 2]);
    let sidecar = world.sidecar("client", Bugs::NONE.with(Bug::TrBoltMixed));
    let summary = call(&sidecar, 100, &journal);
    assert_eq!(summary.protocol, "bolt-v1");
    assert!(!summary.as_expected(), "{summary}");
    let seen = world.seen();
    let said: Vec<&String> = seen[0]
        .iter()
        .filter_map(|line| line.error.as_ref())
        .collect();
    assert!(!said.is_empty());
    for said in said {
        assert_eq!(said, "java.io.IOException: Invalid protocol header:1");
    }
}
