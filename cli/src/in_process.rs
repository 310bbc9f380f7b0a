//! Config center, sidecar, app and client as parts of this process: what matrices and their
//! measurements run in place of programs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use meshproof_fixtures::app::{self, AppHandle, Mesh};
use meshproof_fixtures::client::{
    self, Enough, Expect, Method, Pace, Serializer, Speech, UNJUDGED,
};
use meshproof_fixtures::hosted::Hosted;
use meshproof_fixtures::http::Url;
use meshproof_fixtures::journal::Journal;
use meshproof_fixtures::registry::{self, Registry};
use meshproof_harness::inline::{App, Ended, Peer, Peers, Way};
use meshproof_harness::mesh::call;
use meshproof_harness::mesh::{Call, Speaks, Style};
use meshproof_proxy::edge::{Options, Proxy, Running};
use meshproof_proxy::{Bug, Config};
use serde::Serialize;

/// Bytes of a large body.
const LARGE_BYTES: usize = 1 << 20;

/// How long calls that are under way are waited for when failures were enough.
const REST: Duration = Duration::from_millis(250);

/// The peers that this program knows.
#[derive(Debug)]
pub(crate) struct InProcess {
    _made_by_new: (),
}

impl InProcess {
    /// Starts nothing yet.
    ///
    /// Runtimes share a pair of sockets for signals, which the first of them makes and nobody ever
    /// closes. It is made here, in the network of this process: in a pod it would hold the pod's
    /// network for as long as this process lives.
    pub(crate) fn new() -> io::Result<InProcess> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(InProcess { _made_by_new: () })
    }
}

impl Peers for InProcess {
    fn registry(&self, at: SocketAddr, order: &str) -> io::Result<Box<dyn Peer>> {
        let settings = registry::Settings {
            control: registry::Control {
                order: Some(order.parse().map_err(io::Error::other)?),
                ..registry::Control::default()
            },
            ..registry::Settings::plain()
        };
        Ok(Box::new(Center(Registry::start(at, settings)?)))
    }

    fn sidecar(&self, config: &str, bugs: &[String]) -> io::Result<Box<dyn Peer>> {
        let config = Config::parse("sidecar.yaml", config).map_err(io::Error::other)?;
        let bugs = bugs.iter().map(|bug| bug.parse::<Bug>());
        let options = Options {
            bugs: bugs.collect::<Result<_, _>>().map_err(io::Error::other)?,
            ..Options::default()
        };
        let running = Proxy::start(config, options).map_err(io::Error::other)?;
        Ok(Box::new(Sidecar(running)))
    }

    fn app(&self, asked: &App) -> io::Result<Box<dyn Peer>> {
        let settings = app::Settings {
            app: asked.name.clone(),
            speaks: match asked.speaks {
                Speaks::Old => app::Speaks::Old,
                Speaks::Bolt => app::Speaks::Bolt,
                Speaks::New => app::Speaks::New,
            },
            mesh: match asked.way {
                Way::Sidecar { api, .. } => Mesh::Sidecar(Url(api)),
                Way::Center { at, advertise } => Mesh::ConfigCenter {
                    url: Url(at),
                    advertise: Some(advertise),
                    zone: String::new(),
                    weight: 100,
                    lease: Duration::from_secs(3),
                },
            },
            delay: Duration::from_millis(asked.delay_ms),
            journal: Some(Journal::in_memory()),
            ..app::Settings::plain()
        };
        Ok(Box::new(Served(app::App::start(asked.listen, settings)?)))
    }

    fn call(&self, asked: &Call, way: Way) -> io::Result<Ended> {
        let way = match way {
            Way::Sidecar { api, outbound } => client::Way::Sidecar {
                api: Url(api),
                through: outbound,
                vip: asked.vip.clone(),
            },
            Way::Center { at, .. } => client::Way::ConfigCenter(Url(at)),
        };
        let journal = Journal::in_memory();
        let method = match asked.style {
            Style::Sync | Style::Timeout | Style::Large => Method::Hello,
            Style::Oneway => Method::NotifyOneway,
            Style::Exception => Method::Boom,
            Style::Heartbeat => Method::Heartbeat,
        };
        let settings = client::Settings {
            speech: asked.speech.map(speech),
            serializer: match asked.serializer {
                call::Serializer::Hessian => Serializer::Hessian,
                call::Serializer::Json => Serializer::Json,
            },
            vip_only: asked.vip_only,
            count: asked.count,
            connections: asked.connections,
            pace: Pace::Depth(asked.depth),
            methods: vec![method],
            pad_bytes: match asked.style {
                Style::Large => LARGE_BYTES,
                _ => 0,
            },
            timeout: asked.timeout,
            grace: asked.grace,
            expect: match asked.style {
                Style::Timeout => Expect::Timeout,
                _ => Expect::Usual,
            },
            journal: Some(journal.clone()),
            enough: asked.enough.map(|failures| Enough {
                failures,
                rest: REST,
            }),
            ..client::Settings::plain(way)
        };
        let expect = settings.expect;
        let mut summary = client::run_blocking(settings)?;
        let unjudged = summary.outcomes.remove(UNJUDGED).unwrap_or_default();
        let (right, wrong): (Vec<_>, Vec<_>) = summary
            .outcomes
            .into_iter()
            .partition(|(outcome, _)| expect.is_met(method, outcome));
        let mut wrong: Vec<(String, u64)> = wrong;
        if summary.surplus > 0 {
            wrong.push(("surplus".into(), summary.surplus));
        }
        Ok(Ended {
            right: right.into_iter().map(|(_, count)| count).sum(),
            first: summary.first.filter(|_| !wrong.is_empty()),
            wrong,
            left_out: summary.left_out + unjudged,
            lines: written(&journal),
        })
    }
}

fn speech(asked: call::Speech) -> Speech {
    let word = asked.word();
    // The words are those of `fixture call --protocol`.
    word.parse().unwrap_or(Speech::Tr)
}

/// A journal as its program writes it.
fn written<L: Clone + Serialize>(journal: &Journal<L>) -> Vec<String> {
    let lines = journal.lines().into_iter();
    lines
        .filter_map(|line| serde_json::to_string(&line).ok())
        .collect()
}

/// A config center.
struct Center(Hosted<registry::Handle>);

impl Peer for Center {
    fn lines(&self) -> Vec<String> {
        written(self.0.journal())
    }

    fn wait_beyond(&self, seen: u64, limit: Duration) -> u64 {
        self.0.journal().wait_beyond(seen, limit)
    }

    fn provided(&self, service: &str) -> Vec<(String, Vec<String>)> {
        let providers = self.0.lookup(service).providers.into_iter();
        providers
            .map(|provider| (provider.address, provider.protocols))
            .collect()
    }

    fn delay(&self, _: u64) {}
}

/// An app; it ends as by a crash: nobody waits for its farewells.
struct Served(Hosted<AppHandle>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.control(&app::Control {
            exit: true,
            ..app::Control::default()
        });
    }
}

impl Peer for Served {
    fn lines(&self) -> Vec<String> {
        self.0.journal().map(written).unwrap_or_default()
    }

    fn wait_beyond(&self, seen: u64, limit: Duration) -> u64 {
        let journal = self.0.journal();
        journal.map_or(0, |journal| journal.wait_beyond(seen, limit))
    }

    fn provided(&self, _: &str) -> Vec<(String, Vec<String>)> {
        Vec::new()
    }

    fn delay(&self, delay_ms: u64) {
        self.0.control(&app::Control {
            delay_ms: Some(delay_ms),
            ..app::Control::default()
        });
    }
}

/// A sidecar; it ends when this is dropped.
struct Sidecar(#[expect(dead_code, reason = "held so that it runs")] Running);

impl Peer for Sidecar {
    fn lines(&self) -> Vec<String> {
        Vec::new()
    }

    fn wait_beyond(&self, _: u64, _: Duration) -> u64 {
        0
    }

    fn provided(&self, _: &str) -> Vec<(String, Vec<String>)> {
        Vec::new()
    }

    fn delay(&self, _: u64) {}
}
