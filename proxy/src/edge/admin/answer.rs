//! What is asked and what is answered.

use hyper::{Method, StatusCode};
use meshproof_sys::clock::Nanos;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::log::{self, Change};
use super::version::Version;
use super::{Admin, routes};
use crate::edge::LogFile;
use crate::edge::control::Order;
use crate::health::What;
use crate::metrics::exposition::{self, About};

/// What there is: method, path, what it does.
pub const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/", "this list"),
    (
        "GET",
        "/health",
        "200 while calls for the app are wanted here, else 503; for probes",
    ),
    (
        "GET",
        "/state",
        "where the sidecar stands: app, listener, registration, services, connections",
    ),
    (
        "GET",
        "/version",
        "version, commit and profile of the build, pid, start",
    ),
    (
        "GET",
        "/config",
        "the configuration in force, defaults included",
    ),
    (
        "POST",
        "/config/reload",
        "read the configuration again: 200 with what has changed, or 422 with why nothing was taken",
    ),
    ("GET", "/log", "the level of every target"),
    (
        "POST",
        "/log",
        "target=TARGET&level=LEVEL, as query or body: change a level at once; without a target, of all that have none of their own",
    ),
    (
        "POST",
        "/drain",
        "begin the graceful end: off the config center, GoAway, finish what is in flight",
    ),
    (
        "GET",
        "/events",
        "what has happened, oldest first; ?since=SEQ for what is new",
    ),
    (
        "GET",
        "/routes",
        "providers of every service, and the static rules",
    ),
    ("GET", "/metrics", "Prometheus text"),
];

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn text(status: u16, body: String) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            kind: "text/plain; charset=utf-8",
            body,
        }
    }

    fn json(status: u16, value: &Value) -> Reply {
        // A JSON value can always be written.
        let mut body = serde_json::to_string_pretty(value).unwrap_or_default();
        body.push('\n');
        Reply {
            kind: "application/json",
            ..Reply::text(status, body)
        }
    }
}

impl Admin {
    pub(super) async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Reply {
        // HEAD is answered as GET; hyper leaves the body out.
        let verb = match method {
            &Method::HEAD => "GET",
            method => method.as_str(),
        };
        match (verb, path) {
            ("GET", "/") => Reply::text(200, list()),
            ("GET", "/health") => self.health(),
            ("GET", "/state") => self.state().await,
            ("GET", "/version") => Reply::json(200, &self.version()),
            ("GET", "/config") => Reply::json(200, &self.shared.config().to_json()),
            ("POST", "/config/reload") => self.reload().await,
            ("GET", "/log") => match &self.logs {
                Some(logs) => Reply::json(200, &log::show(&logs.levels())),
                None => no_logs(),
            },
            ("POST", "/log") => self.change_level(query, body),
            ("POST", "/drain") => {
                let _ = self.orders.send(Order::Drain);
                Reply::json(202, &json!({ "state": "draining" }))
            }
            ("GET", "/events") => self.events(query),
            ("GET", "/routes") => Reply::json(200, &routes::show(&self.shared.table())),
            ("GET", "/metrics") => Reply {
                kind: "text/plain; version=0.0.4; charset=utf-8",
                ..Reply::text(200, self.metrics())
            },
            (_, path) => match ROUTES.iter().find(|(_, known, _)| *known == path) {
                Some((method, ..)) => {
                    Reply::text(405, format!("`{path}` is asked for by {method}\n"))
                }
                None => Reply::text(404, format!("there is no `{path}`; there is\n{}", list())),
            },
        }
    }

    fn health(&self) -> Reply {
        let state = self.shared.status().state;
        let serves = state.is_serving();
        let status = if serves { 200 } else { 503 };
        Reply::json(status, &json!({ "healthy": serves, "state": state }))
    }

    async fn state(&self) -> Reply {
        let (answer, told) = oneshot::channel();
        let _ = self.orders.send(Order::Directory(answer));
        let Ok(directory) = told.await else {
            return Reply::text(503, "the sidecar is about to end\n".into());
        };
        let published: Vec<Value> = directory
            .publications
            .iter()
            .map(|one| {
                json!({ "service": one.provider.service, "protocols": one.provider.protocols })
            })
            .collect();
        let subscribed: Vec<&str> = directory
            .subscriptions
            .iter()
            .map(|one| one.asked.service_name.as_str())
            .collect();
        let shared = &self.shared;
        let (status, metrics, at) = (shared.status(), &shared.metrics, shared.addresses);
        let bugs: Vec<&str> = shared.told.iter().map(|bug| bug.name()).collect();
        let side = |n: usize| metrics.clients.get(n).map_or(0, |gauge| gauge.value());
        Reply::json(
            200,
            &json!({
                "name": shared.config().name,
                "state": status.state,
                "app": {
                    "name": directory.app,
                    "address": shared.config().inbound.app,
                    "lost": status.app_lost,
                    "watched": status.watched,
                },
                "listening": status.listening,
                "registered": status.registered && !directory.publications.is_empty(),
                "published": published,
                "subscribed": subscribed,
                "connections": {
                    "inbound": side(0),
                    "outbound": side(1),
                    "upstream": metrics.upstreams.value(),
                },
                "in_flight": metrics.in_flight.value(),
                "addresses": {
                    "inbound": at.inbound,
                    "outbound": at.outbound,
                    "api": at.api,
                    "admin": at.admin,
                },
                "bugs": bugs,
            }),
        )
    }

    fn version(&self) -> Value {
        let version = Version::told(self.shared.bugs);
        json!({
            "version": version.version,
            "commit": version.commit,
            "profile": version.profile,
            "pid": std::process::id(),
            "started": self.shared.started.to_string(),
        })
    }

    async fn reload(&self) -> Reply {
        let (answer, told) = oneshot::channel();
        let _ = self.orders.send(Order::Reload(Some(answer)));
        match told.await {
            Ok(Ok(changed)) => Reply::json(200, &json!({ "changed": changed })),
            Ok(Err(why)) => Reply::text(422, why + "\n"),
            Err(_) => Reply::text(503, "the sidecar is about to end\n".into()),
        }
    }

    fn change_level(&self, query: &str, body: &[u8]) -> Reply {
        let Some(logs) = &self.logs else {
            return no_logs();
        };
        let change = match Change::parse(query, body) {
            Ok(change) => change,
            Err(why) => return Reply::text(400, why + "\n"),
        };
        match logs.levels().with(change.target.as_deref(), &change.level) {
            Ok(levels) => {
                let answer = log::show(&levels);
                logs.set(levels, self.shared.bugs);
                let what = What::LogLevel {
                    target: change.target.unwrap_or_else(|| "all".to_owned()),
                    level: change.level,
                };
                self.shared.tell(Nanos::now(), what);
                Reply::json(200, &answer)
            }
            Err(unknown) => Reply::text(400, format!("{unknown}\n")),
        }
    }

    fn events(&self, query: &str) -> Reply {
        let since = match query.split_once('=') {
            None if query.is_empty() => Some(0),
            Some(("since", number)) => number.parse().ok(),
            _ => None,
        };
        match since {
            Some(since) => Reply::json(200, &json!({ "events": self.shared.events(since) })),
            None => Reply::text(
                400,
                format!("`{query}` is not understood; expected since=SEQ\n"),
            ),
        }
    }

    fn metrics(&self) -> String {
        let shared = &self.shared;
        let version = Version::told(shared.bugs);
        let config = shared.config();
        let status = shared.status();
        exposition::render(
            &shared.metrics,
            &About {
                name: &config.name,
                zone: &config.zone,
                version: version.version,
                commit: version.commit.unwrap_or_default(),
                profile: version.profile,
                started_s: shared.started.as_millisecond() as f64 / 1000.0,
                uptime_ns: Nanos::now().since(shared.started_ns),
                state: status.state,
                listening: status.listening,
                registered: status.registered,
                app_lost: status.app_lost,
                events: &shared.told(),
                log_lines_lost: self.log_file.as_ref().map_or(0, LogFile::lost),
                log_failing: self.log_file.as_ref().is_some_and(LogFile::is_failing),
            },
        )
    }
}

fn no_logs() -> Reply {
    Reply::text(
        409,
        "this sidecar logs to its host's logs, which are not its own\n".into(),
    )
}

fn list() -> String {
    let mut text = String::new();
    for (method, path, what) in ROUTES {
        text += &format!("{method:4} {path:15} {what}\n");
    }
    text
}
