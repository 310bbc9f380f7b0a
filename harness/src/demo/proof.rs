//! What became of calls, by the word of those whom they passed: the sidecars and the server's app.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use serde_json::Value;

use super::plan;
use crate::environment::Environment;
use crate::process::Process;
use crate::{Error, process};

/// Calls of which the app's lines are all kept, with room for its other lines.
const LOGGED_MAX: u32 = process::LINES_MAX as u32 / 2;

/// Bytes of a sidecar's metrics that are read.
const METRICS_BYTES_MAX: u64 = 1 << 20;

/// How long lines of the app may take to be read.
const LIMIT: Duration = Duration::from_secs(10);

/// Answered calls that both sidecars have counted: the client's on 12220, the server's on 12200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    outbound: u64,
    inbound: u64,
}

impl Counted {
    pub(super) fn now(environment: &dyn Environment) -> Result<Counted, Error> {
        Ok(Counted {
            outbound: answered(environment, plan::CLIENT, "outbound")?,
            inbound: answered(environment, plan::SERVER, "inbound")?,
        })
    }

    /// Why these are not `count` calls more than `before`, through both.
    fn objection(self, before: Counted, count: u64) -> Option<String> {
        let outbound = self.outbound.saturating_sub(before.outbound);
        let inbound = self.inbound.saturating_sub(before.inbound);
        (outbound != count || inbound != count).then(|| {
            format!("the sidecars counted {outbound} calls on 12220 and {inbound} on 12200")
        })
    }
}

/// The counter of one sidecar, by its admin interface.
fn answered(environment: &dyn Environment, pod: &str, side: &str) -> Result<u64, Error> {
    let admin = SocketAddr::new(environment.local(pod)?, plan::ADMIN);
    let what = || format!("the metrics of the sidecar in pod {pod}");
    let mut stream = environment.connect(pod, admin, LIMIT)?;
    stream
        .set_read_timeout(Some(LIMIT))
        .map_err(Error::io(what()))?;
    // Of HTTP/1.0, so that the body is not cut into chunks.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .map_err(Error::io(what()))?;
    let mut text = String::new();
    stream
        .take(METRICS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(Error::io(what()))?;
    let name = format!("meshproof_requests_total{{side=\"{side}\",outcome=\"answered\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&name)?.parse().ok())
        .ok_or_else(|| Error::Refused(format!("{}: no line begins with {name}", what())))
}

/// Whether a line of the app tells of a call that expects an answer.
fn call(line: &process::Line) -> Option<Value> {
    let said: Value = serde_json::from_str(&line.text).ok()?;
    (said.get("kind").and_then(Value::as_str) == Some("request")).then_some(said)
}

/// Why the app's log does not show each of `count` calls once, from its own sidecar, answered.
fn objection(calls: &[Value], count: u32) -> Option<String> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut strange, mut unanswered) = (0, 0);
    for call in calls {
        let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default();
        *times.entry(text("trace")).or_default() += 1;
        strange += u32::from(!text("peer").starts_with("127.0.0.1:"));
        unanswered += u32::from(text("outcome") != "answered");
    }
    let once = times
        .iter()
        .filter(|(trace, times)| !trace.is_empty() && **times == 1)
        .count();
    let right = u32::try_from(once) == Ok(count) && times.len() == once;
    (!right || strange > 0 || unanswered > 0).then(|| {
        format!(
            "the server's app saw {} calls, {once} of them exactly once, {strange} not from its \
             sidecar, {unanswered} not answered",
            calls.len()
        )
    })
}

/// What shows that `count` calls since `begun` took the way through both sidecars to the app; an
/// error is what speaks against it.
pub(super) fn of(
    environment: &dyn Environment,
    app: &Process,
    begun: Nanos,
    before: Counted,
    count: u32,
) -> Result<Result<String, String>, Error> {
    let after = Counted::now(environment)?;
    if let Some(why) = after.objection(before, count.into()) {
        return Ok(Err(why));
    }
    if count > LOGGED_MAX {
        return Ok(Ok("both sidecars counted them".into()));
    }
    // The last of its lines may be on their way.
    let seen = Cell::new(0);
    let all = app.line(0, LIMIT, |line| {
        if line.at >= begun && call(line).is_some() {
            seen.set(seen.get() + 1);
        }
        seen.get() == count
    });
    match all {
        Ok(_) | Err(Error::Late { .. } | Error::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    let lines = app.lines();
    let since = lines.iter().filter(|line| line.at >= begun);
    let calls: Vec<Value> = since.filter_map(call).collect();
    Ok(match objection(&calls, count) {
        Some(why) => Err(why),
        None => Ok("both sidecars counted them and the server's app saw each once".into()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(calls: &[(&str, &str, &str)], expected: Option<&str>) {
        let calls: Vec<Value> = calls
            .iter()
            .map(|(trace, peer, outcome)| json!({"trace": trace, "peer": peer, "outcome": outcome}))
            .collect();
        assert_eq!(objection(&calls, 2).as_deref(), expected);
    }

    #[test]
    fn the_log_shows_each_call_once_or_says_what_it_shows() {
        let (a, b) = (
            ("a", "127.0.0.1:7", "answered"),
            ("b", "127.0.0.1:7", "answered"),
        );
        check(&[a, b], None);
        check(
            &[a],
            Some(
                "the server's app saw 1 calls, 1 of them exactly once, 0 not from its sidecar, \
                 0 not answered",
            ),
        );
        check(
            &[a, b, b],
            Some(
                "the server's app saw 3 calls, 1 of them exactly once, 0 not from its sidecar, \
                 0 not answered",
            ),
        );
        check(
            &[a, ("b", "10.99.0.4:7", "error")],
            Some(
                "the server's app saw 2 calls, 2 of them exactly once, 1 not from its sidecar, \
                 1 not answered",
            ),
        );
    }

    #[test]
    fn both_sidecars_have_counted_each_call() {
        let counted = |outbound, inbound| Counted { outbound, inbound };
        let before = counted(5, 7);
        assert_eq!(counted(8, 10).objection(before, 3), None);
        assert_eq!(
            counted(8, 7).objection(before, 3).as_deref(),
            Some("the sidecars counted 3 calls on 12220 and 0 on 12200")
        );
    }
}
