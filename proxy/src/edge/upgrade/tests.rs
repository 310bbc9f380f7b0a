//! Two sidecars in one process: their control sides are played, their data threads are real.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshproof_sys::socket::listen;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::core::{Core, Settings, Side};
use crate::edge::data::{Data, Order, Told};
use crate::metrics::Metrics;
use crate::{Bugs, Config, config, routing};

const DRAIN_NS: u64 = 10_000_000_000;
/// Longer than any machine takes; nothing waits for it to pass.
const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn within_limit<T>(what: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    let limited = runtime.block_on(async { tokio::time::timeout(LIMIT, what).await });
    limited.expect("it comes within the limit")
}

pub(super) fn configured(run: &Path, name: &str) -> Config {
    let text = serde_json::json!({
        "name": name, "address": "127.0.0.1", "run": run,
        "inbound": {"listen": "127.0.0.1:0"}, "outbound": {"listen": "127.0.0.1:0"},
        "api": "127.0.0.1:0", "admin": "127.0.0.1:0",
    });
    serde_json::from_value(text).unwrap()
}

struct Sidecar {
    data: Data,
    told: UnboundedReceiver<Told>,
    asked: UnboundedReceiver<Request>,
    _upgrades: Upgrades,
    api: TcpListener,
}

pub(super) fn data() -> (Data, UnboundedReceiver<Told>) {
    let settings = Settings {
        app: SocketAddr::from(([127, 0, 0, 1], 1)),
        inbound: vec![config::Speaks::Bolt],
        outbound: vec![config::Speaks::Bolt],
        timeouts: config::Timeouts::default(),
        limits: config::Limits::default(),
        upstream: config::Upstream::default(),
        routing: routing::Settings::default(),
    };
    let (told, hears) = unbounded_channel();
    let core = Core::new(settings, Arc::new(Metrics::default()), Bugs::NONE);
    (Data::start(core, told).unwrap(), hears)
}

pub(super) fn any() -> TcpListener {
    listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

impl Sidecar {
    fn fresh(config: &Config) -> Sidecar {
        let Began::Fresh(run) = begin(config, Upgrade::Refused).unwrap() else {
            panic!("nobody runs");
        };
        let (data, told) = data();
        for side in [Side::Inbound, Side::Outbound] {
            data.handle().order(Order::Listen(side, any())).unwrap();
        }
        Sidecar::with(config, run, None, (data, told), any())
    }

    fn with(
        config: &Config,
        run: RunDirectory,
        taking: Option<Taking>,
        (data, told): (Data, UnboundedReceiver<Told>),
        api: TcpListener,
    ) -> Sidecar {
        let (requests, asked) = unbounded_channel();
        let handle = data.handle().clone();
        let upgrades = Upgrades::start(
            run,
            &config.name,
            Arc::new(DRAIN_NS.into()),
            taking,
            handle,
            requests,
        )
        .unwrap();
        Sidecar {
            data,
            told,
            asked,
            _upgrades: upgrades,
            api,
        }
    }

    fn address(&mut self, wanted: Side) -> SocketAddr {
        loop {
            let told = within_limit(self.told.recv());
            if let Told::Listening(side, address) = told.expect("the data thread tells")
                && side == wanted
            {
                return address;
            }
        }
    }

    /// Answers the next request as a control side would, and names it.
    fn answer(&mut self) -> &'static str {
        let state = |word: &str| State {
            directory: word.into(),
            control: serde_json::Value::Null,
        };
        match within_limit(self.asked.recv()).expect("somebody asks") {
            Request::Offer(answer) => {
                let offered = Offered {
                    api: self.api.try_clone().unwrap(),
                    admin: any(),
                    state: state("offered"),
                };
                answer.send(Some(offered)).unwrap();
                "offer"
            }
            Request::GiveWay(answer) => {
                answer.send(state("last")).unwrap();
                "give way"
            }
            Request::End => "end",
        }
    }
}

#[test]
fn a_successor_takes_over_and_is_taken_over_from() {
    let dir = tempfile::tempdir().unwrap();
    let config = configured(dir.path(), "a");
    let mut old = Sidecar::fresh(&config);
    let inbound = old.address(Side::Inbound);
    for _ in 0..2 {
        let asked = std::thread::scope(|scope| {
            let asks = scope.spawn(|| begin(&config, Upgrade::Wanted).unwrap());
            assert_eq!(old.answer(), "offer");
            asks.join().unwrap()
        });
        let Began::Asked(asked) = asked else {
            panic!("somebody runs");
        };
        assert_eq!(asked.state.directory, "offered");
        let prepared = data();
        let taken = std::thread::scope(|scope| {
            let takes = scope.spawn(|| asked.take().unwrap());
            assert_eq!(old.answer(), "give way");
            takes.join().unwrap()
        });
        assert_eq!(taken.state.directory, "last");
        let listeners = taken.listeners;
        assert_eq!(
            listeners.api.local_addr().unwrap(),
            old.api.local_addr().unwrap()
        );
        // Nobody accepts, and nobody is refused.
        let waits = TcpStream::connect(inbound).unwrap();
        let given = listeners.inbound.unwrap();
        assert_eq!(given.local_addr().unwrap(), inbound);
        let order = Order::Listen(Side::Inbound, given);
        prepared.0.handle().order(order).unwrap();
        let mut new = Sidecar::with(
            &config,
            taken.run,
            Some(taken.taking),
            prepared,
            listeners.api,
        );
        assert_eq!(new.address(Side::Inbound), inbound);
        let order = Order::Listen(Side::Outbound, listeners.outbound);
        new.data.handle().order(order).unwrap();
        assert_eq!(old.answer(), "end");
        drop(waits);
        old = new;
    }
}

#[test]
fn one_that_fails_before_it_confirms_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let config = configured(dir.path(), "a");
    let mut old = Sidecar::fresh(&config);
    let inbound = old.address(Side::Inbound);
    for _ in 0..3 {
        let asked = std::thread::scope(|scope| {
            let asks = scope.spawn(|| begin(&config, Upgrade::Wanted).unwrap());
            assert_eq!(old.answer(), "offer");
            asks.join().unwrap()
        });
        // It has the listeners, and dies.
        drop(asked);
        TcpStream::connect(inbound).unwrap();
    }
    // A configuration with another address.
    let mut moved = configured(dir.path(), "a");
    moved.api = SocketAddr::from(([127, 0, 0, 1], 9));
    let why = std::thread::scope(|scope| {
        let asks = scope.spawn(|| begin(&moved, Upgrade::Wanted).unwrap_err().to_string());
        assert_eq!(old.answer(), "offer");
        asks.join().unwrap()
    });
    assert!(why.contains("has `api` on 127.0.0.1:"), "{why}");
    let shared = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(old.data.handle().share_listener(Side::Inbound));
    assert!(shared.unwrap().is_some(), "it listens on");
}

#[test]
fn strangers_and_second_ones_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let config = configured(dir.path(), "a");
    let mut old = Sidecar::fresh(&config);
    let why = |config: &Config, upgrade| begin(config, upgrade).unwrap_err().to_string();
    assert!(why(&config, Upgrade::Refused).contains("add --upgrade to take over"));
    let stranger = configured(dir.path(), "b");
    for upgrade in [Upgrade::Refused, Upgrade::Wanted] {
        assert!(why(&stranger, upgrade).contains("is that of sidecar `a`"));
    }
    let _first = std::thread::scope(|scope| {
        let asks = scope.spawn(|| begin(&config, Upgrade::Wanted).unwrap());
        assert_eq!(old.answer(), "offer");
        asks.join().unwrap()
    });
    assert!(why(&config, Upgrade::Wanted).contains("an upgrade is under way"));
    // Another directory is another world.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = configured(elsewhere.path(), "b");
    assert!(matches!(
        begin(&other, Upgrade::Wanted).unwrap(),
        Began::Fresh(_)
    ));
}
