//! What serde cannot know: values that make no sense, and values that contradict each other.

use std::net::SocketAddr;

use meshproof_input::{Millis, Problem, suggestion};
use meshproof_wire::address::Address;

use super::places::Places;
use super::{Config, Route};
use crate::Bugs;
use crate::discovery::Target;
use crate::logs::{LEVELS, TARGETS};

/// Finds the first thing that is wrong.
pub(super) fn check(config: &Config, places: &Places<'_>) -> Result<(), Problem> {
    let fail = |path: &str, code, message: String, help: &str| {
        Err(places.problem(path, code, message, help))
    };
    if config.name.is_empty() || config.name.chars().any(char::is_whitespace) {
        return fail(
            "name",
            "config::name",
            format!("`{}` is no name", config.name),
            "write one or more characters without spaces",
        );
    }
    if config.address.is_unspecified() {
        return fail(
            "address",
            "config::address",
            format!("nobody can call {}", config.address),
            "write the pod's own address: the config center tells it to others",
        );
    }
    if !config.run.is_absolute() {
        return fail(
            "run",
            "config::run",
            format!("the run directory `{}` is relative", config.run.display()),
            "write a path that begins with `/`, so that two sidecars cannot meet by chance",
        );
    }
    if !config.admin.ip().is_loopback() {
        return fail(
            "admin",
            "config::admin",
            format!("{} can be reached from outside the pod", config.admin),
            "write a loopback address such as 127.0.0.1:12230: whoever reaches the admin interface can drain the sidecar",
        );
    }
    if config.inbound.app.port() == 0 {
        return fail(
            "inbound.app",
            "config::port",
            "port 0 is nowhere".to_owned(),
            "write the port that the app serves on, 12199 as a rule",
        );
    }
    if let Some(center) = &config.config_center {
        config_center(center).or_else(|why| {
            fail(
                "config_center",
                "config::config_center",
                format!("`{center}` {why}"),
                "write http://HOST:PORT",
            )
        })?;
    }
    ports(config, places)?;
    heartbeat(config, places)?;
    zeros(config, places)?;
    for (path, protocols) in [
        ("inbound.protocols", &config.inbound.protocols),
        ("outbound.protocols", &config.outbound.protocols),
    ] {
        if protocols.is_empty() {
            return fail(
                path,
                "config::protocols",
                "a side without protocols serves nobody".to_owned(),
                "write [bolt, tr], or one of them",
            );
        }
    }
    for (index, rule) in config.outbound.routes.iter().enumerate() {
        route(index, rule, places)?;
    }
    log(config, places)
}

fn config_center(text: &str) -> Result<(), &'static str> {
    let address: Address = text.parse().map_err(|_| "is no address")?;
    if address.scheme.as_deref() != Some("http") {
        return Err("does not begin with `http://`");
    }
    if address.port.is_none() {
        return Err("names no port");
    }
    if !matches!(address.path.as_str(), "" | "/") || address.options.is_some() {
        return Err("goes on behind its port");
    }
    Ok(())
}

/// No two sockets at one place. Port 0 is the kernel's choice, and never the same twice.
fn ports(config: &Config, places: &Places<'_>) -> Result<(), Problem> {
    let sockets = [
        ("inbound.listen", config.inbound.listen),
        ("inbound.app", config.inbound.app),
        ("outbound.listen", config.outbound.listen),
        ("api", config.api),
        ("admin", config.admin),
    ];
    let meet = |a: SocketAddr, b: SocketAddr| {
        a.port() == b.port()
            && a.port() != 0
            && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    };
    for (n, (path, socket)) in sockets.iter().enumerate() {
        for (before, earlier) in sockets.iter().take(n) {
            if !meet(*socket, *earlier) {
                continue;
            }
            // The one that was written is the one to change.
            let (path, other) = match places.find(path).absent {
                true => (before, path),
                false => (path, before),
            };
            let place = places.find(other);
            let whose = if place.absent { " (its default)" } else { "" };
            let problem = places.problem(
                path,
                "config::port",
                format!(
                    "port {} is taken already, by `{other}`{whose}",
                    socket.port()
                ),
                "give one of them another port",
            );
            return Err(match place.absent {
                true => problem,
                false => problem.label(place.value, "by this"),
            });
        }
    }
    Ok(())
}

fn heartbeat(config: &Config, places: &Places<'_>) -> Result<(), Problem> {
    let heartbeat = &config.heartbeat;
    if heartbeat.timeout > heartbeat.interval {
        let (timeout, interval) = (heartbeat.timeout, heartbeat.interval);
        let problem = places.problem(
            "heartbeat.timeout",
            "config::heartbeat",
            format!("a time-out of {timeout} is longer than the interval of {interval}"),
            format!("write at most {interval}: a heartbeat is judged before the next one goes out"),
        );
        let place = places.find("heartbeat.interval");
        return Err(match place.absent {
            true => problem,
            false => problem.label(place.value, "the interval"),
        });
    }
    if heartbeat.misses == 0 {
        return Err(places.problem(
            "heartbeat.misses",
            "config::heartbeat",
            "with 0 misses the app would be lost before it was asked",
            "write 1 or more; 3 is usual",
        ));
    }
    Ok(())
}

/// Spans of time and limits that must not be 0.
fn zeros(config: &Config, places: &Places<'_>) -> Result<(), Problem> {
    let timeouts = &config.timeouts;
    let spans: [(&str, Millis); 10] = [
        ("heartbeat.interval", config.heartbeat.interval),
        ("heartbeat.timeout", config.heartbeat.timeout),
        ("timeouts.request", timeouts.request),
        ("timeouts.connect", timeouts.connect),
        ("timeouts.upstream_idle", timeouts.upstream_idle),
        ("timeouts.upstream_heartbeat", timeouts.upstream_heartbeat),
        ("timeouts.upstream_unused", timeouts.upstream_unused),
        ("timeouts.config_center", timeouts.config_center),
        ("vip.timeout", config.vip.timeout),
        ("vip.refresh", config.vip.refresh),
    ];
    if let Some((path, _)) = spans.iter().find(|(_, span)| span.0 == 0) {
        return Err(places.problem(
            path,
            "config::zero",
            "a span of time of 0 is over before it begins",
            "write 1ms or more",
        ));
    }
    let limits = &config.limits;
    let numbers = [
        ("limits.frame_bytes", limits.frame_bytes),
        ("limits.connections", limits.connections as u64),
        ("limits.in_flight", limits.in_flight as u64),
        (
            "limits.in_flight_per_connection",
            limits.in_flight_per_connection as u64,
        ),
        ("limits.buffered_bytes", limits.buffered_bytes as u64),
        ("upstream.connections", config.upstream.connections as u64),
    ];
    match numbers.iter().find(|(_, number)| *number == 0) {
        Some((path, _)) => Err(places.problem(
            path,
            "config::zero",
            "a limit of 0 lets nothing through",
            "write 1 or more",
        )),
        None => Ok(()),
    }
}

fn route(index: usize, route: &Route, places: &Places<'_>) -> Result<(), Problem> {
    let path = format!("outbound.routes.{index}");
    if route.to.is_empty() {
        return Err(places.problem(
            &format!("{path}.to"),
            "config::route",
            "a route that leads nowhere",
            "write `to:` with one or more addresses, such as [10.1.2.3:12200]",
        ));
    }
    if route.timeout == Some(Millis(0)) {
        return Err(places.problem(
            &format!("{path}.timeout"),
            "config::zero",
            "a span of time of 0 is over before it begins",
            "write 1ms or more",
        ));
    }
    for (n, text) in route.to.iter().enumerate() {
        let message = match text.parse::<Address>() {
            Ok(address) if address.port.is_none() => format!("`{text}` names no port"),
            // The rest is read where VIPs of the app are.
            Ok(_) => match Target::parse(text, Bugs::NONE) {
                Ok(_) => continue,
                Err(bad) => format!("`{text}`: {}", bad.why),
            },
            Err(error) => error.to_string(),
        };
        return Err(places.problem(
            &format!("{path}.to.{n}"),
            "config::route",
            message,
            "write 10.1.2.3:12200, APP-pool.ZONE.alipay.net:12200 or http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000",
        ));
    }
    Ok(())
}

fn log(config: &Config, places: &Places<'_>) -> Result<(), Problem> {
    let levels = config.log.targets.iter().map(|(target, level)| {
        let path = format!("log.targets.{target}");
        (path, level)
    });
    let top = config
        .log
        .level
        .iter()
        .map(|level| ("log.level".to_owned(), level));
    for (path, level) in top.chain(levels) {
        if !LEVELS.contains(&level.as_str()) {
            return Err(places.problem(
                &path,
                "config::log",
                format!("there is no level `{level}`"),
                choices(level, LEVELS),
            ));
        }
    }
    for target in config.log.targets.keys() {
        if !TARGETS.contains(&target.as_str()) {
            let path = format!("log.targets.{target}");
            let place = places.find(&path);
            let help = choices(target, TARGETS);
            let problem = places.problem(
                &path,
                "config::log",
                format!("nothing is logged as `{target}`"),
                help,
            );
            return Err(match place.key {
                Some(key) => problem.label(key, "not known here"),
                None => problem,
            });
        }
    }
    Ok(())
}

fn choices(word: &str, known: &[&str]) -> String {
    match suggestion(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of {}", known.join(", ")),
    }
}
