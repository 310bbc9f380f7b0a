//! What runs where in the story, and what is expected of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meshproof_record::verdict::{Claim, Verdict};
use meshproof_sys::clock::Nanos;
use serde::Serialize;
use serde_json::Value;

use super::Detection;
use crate::Error;
use crate::environment::{Backend, Command, Environment, Ready};
use crate::process::Process;

pub(super) const CENTER: &str = "registry";
pub(super) const VIP: &str = "vip";
pub(super) const CLIENT: &str = "client";
pub(super) const SERVER: &str = "server";
pub(super) const ONLOOKER: &str = "onlooker";
pub(super) const PODS: [&str; 5] = [CENTER, VIP, CLIENT, SERVER, ONLOOKER];

pub(super) const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

/// The ports of production.
pub(super) const INBOUND: u16 = 12200;
pub(super) const OUTBOUND: u16 = 12220;
pub(super) const APP: u16 = 12199;
/// The sidecar's admin interface, on loopback.
pub(super) const ADMIN: u16 = 12230;
/// The application API.
const API: u16 = 13330;
const CENTER_PORT: u16 = 9600;

/// The server's app and its zone, as the VIP name service takes them.
const POOL: &str = "sample.zone1";

/// The name that others call this pool by.
const POOL_NAME: &str = "sample-pool.zone1.alipay.net";

/// Heartbeats to the app: every interval, missed when not answered within the timeout, lost
/// after so many misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// I.
    pub interval_ms: u64,
    /// T, no longer than the interval.
    pub timeout_ms: u64,
    /// N.
    pub misses: u32,
}

impl Heartbeat {
    /// T + N·I: from the send of the last answered heartbeat to the detection (law A), and the
    /// longest that it takes from the app's death (law B).
    pub fn detection_ms(self) -> u64 {
        self.timeout_ms + u64::from(self.misses) * self.interval_ms
    }

    /// T + (N-1)·I: the shortest that it takes from the app's death (law B).
    pub fn soonest_ms(self) -> u64 {
        self.detection_ms() - self.interval_ms
    }
}

/// What of the story can be chosen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the sidecars.
    pub heartbeat: Heartbeat,
    /// Calls before the app dies.
    pub calls: u32,
    /// Calls after it is back.
    pub calls_after: u32,
    /// Seeded bugs that the server's sidecar has on.
    pub bugs: Vec<String>,
    /// What the pods are made of; none: the best that this machine allows.
    pub backend: Option<Backend>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            heartbeat: Heartbeat {
                interval_ms: 300,
                timeout_ms: 150,
                misses: 3,
            },
            calls: 1000,
            calls_after: 100,
            bugs: Vec::new(),
            backend: None,
        }
    }
}

pub(super) fn center(environment: &dyn Environment) -> Result<SocketAddr, Error> {
    Ok(SocketAddr::new(environment.address(CENTER)?, CENTER_PORT))
}

/// Config center, VIP names and both sidecars, in the order in which they are started.
pub(super) fn infrastructure(
    environment: &dyn Environment,
    plan: &Plan,
) -> Result<Vec<(&'static str, Command)>, Error> {
    let ready = || Ready::Line("READY".into());
    let listen = SocketAddr::new(environment.open(CENTER)?, CENTER_PORT).to_string();
    let registry = ["fixture", "registry", "--listen", &listen];
    let registry = Command::own("the config center", registry).ready(ready());
    let pool = format!("{POOL}={}", environment.address(SERVER)?);
    let listen = SocketAddr::new(environment.open(VIP)?, names_port(environment)).to_string();
    let names = ["fixture", "vip", "--listen", &listen, "--pool", &pool];
    let names = Command::own("the VIP name service", names).ready(ready());
    let mut all = vec![(CENTER, registry), (VIP, names)];
    for pod in [SERVER, CLIENT] {
        // The sidecar has a folder of its own beside its configuration.
        let beside = environment.place(&format!("{pod}/about"), "the sidecar of this pod\n")?;
        let run = beside.with_file_name("run");
        let text = sidecar(environment, pod, &run, plan)?;
        let file = environment.place(&format!("{pod}/sidecar.yaml"), &text)?;
        let mut arguments = vec![
            "proxy".to_owned(),
            "--config".to_owned(),
            file.to_string_lossy().into_owned(),
        ];
        if pod == SERVER {
            arguments.extend(
                plan.bugs
                    .iter()
                    .flat_map(|bug| ["--bug".to_owned(), bug.clone()]),
            );
        }
        all.push((pod, Command::own("the sidecar", arguments).ready(ready())));
    }
    Ok(all)
}

/// Where a pod answers for names: a user without privilege may not have the port of production
/// where there is no namespace.
fn names_port(environment: &dyn Environment) -> u16 {
    match environment.backend() {
        Backend::Netns => 53,
        Backend::Process => 10053,
    }
}

/// The configuration of a pod's sidecar.
fn sidecar(
    environment: &dyn Environment,
    pod: &str,
    run: &Path,
    plan: &Plan,
) -> Result<String, Error> {
    let Heartbeat {
        interval_ms,
        timeout_ms,
        misses,
    } = plan.heartbeat;
    let (local, open) = (environment.local(pod)?, environment.open(pod)?);
    Ok(format!(
        "name: {pod}\n\
         address: {}\n\
         run: {}\n\
         zone: zone1\n\
         inbound: {{listen: \"{open}:{INBOUND}\", app: \"{local}:{APP}\"}}\n\
         outbound: {{listen: \"{local}:{OUTBOUND}\"}}\n\
         api: \"{local}:{API}\"\n\
         admin: \"{local}:{ADMIN}\"\n\
         config_center: http://{}\n\
         vip: {{server: \"{}:{}\"}}\n\
         heartbeat:\n  interval: {interval_ms}ms\n  timeout: {timeout_ms}ms\n  misses: {misses}\n",
        environment.address(pod)?,
        run.display(),
        center(environment)?,
        environment.address(VIP)?,
        names_port(environment),
    ))
}

/// The server's app; it tells on its output of every request that it sees.
pub(super) fn server_app(environment: &dyn Environment) -> Result<Command, Error> {
    let local = environment.local(SERVER)?;
    let listen = SocketAddr::new(local, APP).to_string();
    let api = format!("http://{local}:{API}");
    let arguments = [
        "fixture",
        "app",
        "--listen",
        &listen,
        "--sidecar",
        &api,
        "--log",
        "/dev/stdout",
    ];
    Ok(Command::own("the app", arguments).ready(Ready::Line("READY".into())))
}

/// The client's app: so many calls through its sidecar, to the service or to a VIP.
pub(super) fn client_app(
    environment: &dyn Environment,
    count: u32,
    vip: Option<&str>,
) -> Result<Command, Error> {
    let local = environment.local(CLIENT)?;
    let api = format!("http://{local}:{API}");
    let through = SocketAddr::new(local, OUTBOUND).to_string();
    let count = count.to_string();
    let mut arguments = vec![
        "fixture",
        "call",
        "--json",
        "--sidecar",
        &api,
        "--through",
        &through,
        "--count",
        &count,
    ];
    if let Some(vip) = vip {
        arguments.extend(["--vip", vip]);
    }
    Ok(Command::own("the client's app", arguments))
}

/// A VIP of the server in its legacy form, with an option.
pub(super) fn legacy_vip() -> String {
    format!("http://{POOL_NAME}:{INBOUND}?_TIMEOUT=3000")
}

/// How many calls the client's app got the right answer to, as it says.
pub(super) fn right_answers(client: &Process) -> Option<u64> {
    let lines = client.lines();
    lines.iter().rev().find_map(|line| {
        let summary: Value = serde_json::from_str(&line.text).ok()?;
        let number = |name: &str| summary.get(name).and_then(Value::as_u64);
        Some(number("answered")?.saturating_sub(number("wrong")?))
    })
}

/// When the app answered its last heartbeat, as it tells itself.
fn last_answered(app: &Process) -> Option<Nanos> {
    app.lines()
        .iter()
        .rev()
        .find(|line| {
            serde_json::from_str::<Value>(&line.text).is_ok_and(|said| {
                said.get("kind").and_then(Value::as_str) == Some("heartbeat")
                    && said.get("outcome").and_then(Value::as_str) == Some("answered")
            })
        })
        .map(|line| line.at)
}

/// What the death of the app took, in numbers.
pub(super) fn detection(
    heartbeat: Heartbeat,
    app: &Process,
    killed: Nanos,
    gone: Nanos,
    gap: Duration,
) -> Detection {
    Detection {
        heartbeat,
        expected_ms: heartbeat.detection_ms() as f64,
        measured_ms: last_answered(app).map(|answered| super::ms(gone.since(answered))),
        from_kill_ms: super::ms(gone.since(killed)),
        longest_gap_ms: super::ms(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)),
    }
}

/// What the push of the config center may come late by, on a machine that is not held up.
const LATE_MS: f64 = 50.0;

/// What a heartbeat's answer and the app's word of it may be apart.
const EARLY_MS: f64 = 5.0;

/// Law A where the last answered heartbeat is known, else law B. A machine that was held up for
/// long supports no verdict.
pub(super) fn judge(found: &Detection) -> Claim {
    const NAME: &str = "detection";
    let heartbeat = found.heartbeat;
    let (law, soonest, latest, measured) = match found.measured_ms {
        Some(measured) => (
            "T + N*I from the last answered heartbeat",
            found.expected_ms,
            found.expected_ms,
            measured,
        ),
        None => (
            "T + (N-1)*I to T + N*I from the kill",
            heartbeat.soonest_ms() as f64,
            found.expected_ms,
            found.from_kill_ms,
        ),
    };
    let expected = if soonest == latest {
        format!("{latest:.0} ms")
    } else {
        format!("{soonest:.0} to {latest:.0} ms")
    };
    let gap = found.longest_gap_ms;
    let said = format!("{measured:.1} ms; expected {expected} ({law})");
    let early = measured < soonest - EARLY_MS;
    let late = measured > latest + LATE_MS;
    if !early && !late {
        return Claim::new(NAME, Verdict::Pass, said);
    }
    // The app's word of its last answer comes late on such a machine, and so does the push.
    let held_up = late && gap > LATE_MS / 2.0 || early && measured >= soonest - EARLY_MS - gap;
    if held_up {
        let why = format!("{said}; but the machine was held up for {gap:.0} ms at a time");
        return Claim::new(NAME, Verdict::Invalid, why);
    }
    Claim::new(NAME, Verdict::Fail, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(measured_ms: Option<f64>, from_kill_ms: f64, gap: f64, verdict: Verdict, why: &str) {
        let heartbeat = Plan::default().heartbeat;
        let claim = judge(&Detection {
            heartbeat,
            expected_ms: heartbeat.detection_ms() as f64,
            measured_ms,
            from_kill_ms,
            longest_gap_ms: gap,
        });
        assert_eq!((claim.verdict, claim.why.as_str()), (verdict, why));
    }

    #[test]
    fn detection_is_judged_by_the_laws() {
        let law = "ms; expected 1050 ms (T + N*I from the last answered heartbeat)";
        check(
            Some(1051.2),
            900.0,
            1.0,
            Verdict::Pass,
            &format!("1051.2 {law}"),
        );
        check(
            Some(900.0),
            900.0,
            1.0,
            Verdict::Fail,
            &format!("900.0 {law}"),
        );
        check(
            Some(1200.0),
            900.0,
            1.0,
            Verdict::Fail,
            &format!("1200.0 {law}"),
        );
        check(
            Some(1200.0),
            900.0,
            80.0,
            Verdict::Invalid,
            &format!("1200.0 {law}; but the machine was held up for 80 ms at a time"),
        );
        check(
            Some(980.0),
            900.0,
            80.0,
            Verdict::Invalid,
            &format!("980.0 {law}; but the machine was held up for 80 ms at a time"),
        );
        let law = "ms; expected 750 to 1050 ms (T + (N-1)*I to T + N*I from the kill)";
        check(None, 900.0, 1.0, Verdict::Pass, &format!("900.0 {law}"));
        check(None, 700.0, 1.0, Verdict::Fail, &format!("700.0 {law}"));
    }
}
