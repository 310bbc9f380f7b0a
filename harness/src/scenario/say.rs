//! Steps and probes in the words that a reader would use.

use std::fmt::Write;

use meshproof_input::Spanned;

use super::harm::{self, Doer};
use super::model::{
    Call, CallSpeech, CallStyle, Fault, FaultKind, FrameEvent, Muted, RawOutcome, RegistryOrder,
    Step, Subscribed,
};
use super::probe::{
    AdminProbe, Door, LatencyProbe, LedgerProbe, Living, LogProbe, Probe, RegistryProbe, WireProbe,
};

/// A step in one line.
pub(crate) fn step(step: &Step) -> String {
    match step {
        Step::Call(call) => calls(call),
        Step::Subscribe(ask) => {
            let vip = match &ask.vip {
                Some(vip) => format!(" with {}", shortened(vip)),
                None => String::new(),
            };
            let expected = match ask.expect {
                Subscribed::Providers => "providers",
                Subscribed::Refused => "a refusal",
            };
            format!("subscribe from {}{vip}, expecting {expected}", ask.from)
        }
        Step::Send(send) => {
            let expected = match send.expect {
                RawOutcome::Closed => "the connection to be closed",
                RawOutcome::Answered => "an answer",
                RawOutcome::Silence => "silence",
            };
            let digits = send.hex.chars().filter(|digit| !digit.is_whitespace());
            let bytes = digits.count() / 2;
            format!(
                "send {bytes} bytes from {} to {}:{}, expecting {expected} within {}",
                send.from, send.to, send.port, send.within
            )
        }
        Step::Replay(replay) => {
            // Where it stands differs from run to run.
            let name = replay.capture.rsplit('/').next().unwrap_or_default();
            format!("replay {name} from {}", replay.from)
        }
        Step::Fault(fault) => format!("fault {}: {}", harm::id(fault), what(fault)),
        Step::When(when) => {
            let event = match (&when.before, &when.after) {
                (Some(frame), _) => format!("before {}", frame_event(frame)),
                (None, Some(frame)) => format!("after {}", frame_event(frame)),
                (None, None) => format!("when {}", joined(&when.all, " and ")),
            };
            format!("{event}, within {}", when.within)
        }
        Step::Heal(id) => format!("heal {id}"),
        Step::Eventually(wait) => {
            let what = match wait.any.is_empty() {
                true => joined(&wait.all, " and "),
                false if wait.all.is_empty() => joined(&wait.any, " or "),
                false => format!(
                    "{} and ({})",
                    joined(&wait.all, " and "),
                    joined(&wait.any, " or ")
                ),
            };
            format!("eventually within {}: {what}", wait.within)
        }
        Step::Always(hold) => format!("always for {}: {}", hold.during, joined(&hold.all, " and ")),
        Step::Never(hold) => {
            let what = match hold.all.is_empty() {
                true => joined(&hold.any, " or "),
                false if hold.any.is_empty() => joined(&hold.all, " and "),
                false => format!(
                    "{} or ({})",
                    joined(&hold.any, " or "),
                    joined(&hold.all, " and ")
                ),
            };
            format!("never for {}: {what}", hold.during)
        }
        Step::Within(within) => format!("within {}", within.limit),
        Step::Parallel(branches) => {
            let names: Vec<&str> = branches.iter().map(|(name, _)| name.as_str()).collect();
            format!("in parallel: {}", names.join(", "))
        }
        Step::Upgrade(upgrade) => match &upgrade.to {
            Some(to) => format!("upgrade the sidecar of {} to {to}", upgrade.pod),
            None => format!("upgrade the sidecar of {}", upgrade.pod),
        },
        Step::Meshify(meshify) => match &meshify.sidecar {
            Some(sidecar) => format!("meshify {} with {sidecar}", meshify.pod),
            None => format!("meshify {}", meshify.pod),
        },
        Step::Demesh(pod) => format!("demesh {pod}"),
        Step::Set(set) => {
            let mut changed = Vec::new();
            if let Some(level) = &set.log_level {
                changed.push(match &level.target {
                    Some(target) => format!("log level of {target} to {}", level.level),
                    None => format!("log level to {}", level.level),
                });
            }
            for (key, value) in &set.config {
                changed.push(format!("{key} to {}", value.value));
            }
            format!("set at {}: {}", set.pod, changed.join(", "))
        }
        Step::Restart(restart) => {
            format!("restart the {} of {}", restart.program.word(), restart.pod)
        }
        Step::Registry(order) => format!("config center: {}", registry(order)),
        Step::Vip(order) => {
            let mut said = Vec::new();
            for (name, pods) in &order.pools {
                let pods: Vec<&str> = pods.iter().map(|pod| pod.as_str()).collect();
                said.push(format!("{name} is {}", pods.join(", ")));
            }
            said.extend(order.remove.iter().map(|name| format!("{name} goes")));
            let faults = order.faults.iter();
            said.extend(faults.map(|(name, how)| format!("{name} is answered by {}", how.word())));
            said.extend(
                order
                    .heal
                    .iter()
                    .map(|name| format!("{name} is right again")),
            );
            format!("VIP names: {}", said.join("; "))
        }
        Step::Record(record) => match &record.port {
            Some(port) => format!("record port {port} of {}", record.pod),
            None => format!("record {}", record.pod),
        },
    }
}

fn calls(call: &Call) -> String {
    let mut text = match *call.count {
        1 => "call once".to_owned(),
        count => format!("call {count} times"),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, " from {}", call.from);
    let style = match call.style {
        CallStyle::Sync => "",
        CallStyle::Oneway => " one-way",
        CallStyle::Exception => " a method that throws",
        CallStyle::Timeout => " a provider that is too slow",
        CallStyle::Heartbeat => " by heartbeat",
        CallStyle::Large => " with 1 MiB each way",
    };
    text.push_str(style);
    if let Some(speech) = call.speech {
        let _ = write!(text, " in {}", speech.word());
    }
    if let Some(vip) = &call.vip {
        let _ = write!(text, " to {}", shortened(vip));
    }
    if let Some(rate) = &call.rate {
        let _ = write!(text, ", {rate} a second");
    }
    if let Some(connections) = &call.connections {
        let _ = write!(text, ", over {connections} connections");
    }
    if let Some(expect) = &call.expect {
        let _ = write!(text, ", expecting {expect}");
    }
    if !call.seen_by.is_empty() {
        let pods: Vec<&str> = call.seen_by.iter().map(|pod| pod.as_str()).collect();
        let _ = write!(text, ", seen by {}", pods.join(", "));
    }
    text
}

impl CallSpeech {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            CallSpeech::Bolt => "bolt",
            CallSpeech::BoltV2 => "bolt-v2",
            CallSpeech::BoltV2Crc => "bolt-v2-crc",
            CallSpeech::Tr => "tr",
        }
    }
}

/// The frame of an event.
fn frame_event(frame: &FrameEvent) -> String {
    let protocol = frame.protocol.map(|it| it.value.word().to_owned() + " ");
    let sort = frame.frame.map_or("frame", |it| it.value.word());
    let from = match frame.from {
        Some(from) => format!(" from the {from}"),
        None => String::new(),
    };
    format!(
        "{}{sort} {}{from} on the leg to {} of {}",
        protocol.unwrap_or_default(),
        frame.nth,
        frame.port,
        frame.pod
    )
}

/// A fault, without its id.
fn what(fault: &Fault) -> String {
    let program = fault.program.word();
    let pod = harm::pod(fault);
    match harm::doer(fault) {
        Doer::Keeper => {
            return match fault.way {
                Some(way) => format!("{fault}, by {way}"),
                None => fault.to_string(),
            };
        }
        Doer::Relay => return of_frames(fault, pod),
        Doer::App | Doer::Mesh => {}
    }
    let methods: Vec<&str> = fault.methods.iter().map(|it| it.as_str()).collect();
    let methods = match methods.is_empty() {
        true => "hello".to_owned(),
        false => methods.join(", "),
    };
    match fault.kind.value {
        FaultKind::Kill => format!("kill the {program} of {pod}"),
        FaultKind::Pause => format!("pause the {program} of {pod}"),
        FaultKind::Stop => format!("stop the {program} of {pod}"),
        FaultKind::Mute => match fault.what {
            Some(Muted::Heartbeats) => format!("the app of {pod} answers no heartbeats"),
            Some(Muted::Everything) | None => format!("the app of {pod} answers nothing"),
        },
        FaultKind::Slow => match &fault.by {
            Some(by) => format!("the app of {pod} answers {by} late"),
            None => format!("the app of {pod} answers late"),
        },
        FaultKind::Throw => format!("{methods} of {pod} throws"),
        FaultKind::Error => format!("{methods} of {pod} is not run"),
        FaultKind::Hang => format!("the app of {pod} reads nothing"),
        other => format!("{} at {pod}", other.word()),
    }
}

/// A fault that a relay does.
fn of_frames(fault: &Fault, pod: &str) -> String {
    let numbers = match fault.span() {
        (1, None) => String::new(),
        (first, None) => format!("number {first} and on of the "),
        (first, Some(last)) if first == last => format!("number {first} of the "),
        (first, Some(last)) => format!("numbers {first} to {last} of the "),
    };
    let protocol = fault.protocol.map(|it| it.value.word().to_owned() + " ");
    let frame = fault.frame.map_or("frame", |it| it.value.word());
    let side = match (fault.from, fault.to) {
        (Some(from), _) => format!(" from the {from}"),
        (None, Some(to)) => format!(" to the {to}"),
        (None, None) => String::new(),
    };
    let by = match &fault.by {
        Some(by) => format!(" by {by}"),
        None => String::new(),
    };
    let mut chosen = String::new();
    for called in [&fault.service, &fault.method].into_iter().flatten() {
        chosen.push_str(&format!(" of {called}"));
    }
    if let Some(connection) = fault.connection {
        chosen.push_str(&format!(" on connection {connection}"));
    }
    if let Some(percent) = fault.percent {
        chosen.push_str(&format!(", {percent} % of them"));
    }
    let port = fault.port.map_or(0, |port| port.value);
    format!(
        "{} {numbers}{}{frame}s{side} on the leg to {port} of {pod}{chosen}{by}",
        fault.kind,
        protocol.unwrap_or_default()
    )
}

fn registry(order: &RegistryOrder) -> String {
    let names = |list: &[Spanned<String>]| {
        let names: Vec<&str> = list.iter().map(|one| one.as_str()).collect();
        names.join(", ")
    };
    let mut said = Vec::new();
    if let Some(order) = &order.order {
        said.push(format!("order {order}"));
    }
    if let Some(delay) = order.delay_answer {
        said.push(format!("answers wait {delay}"));
    }
    if let Some(delay) = order.delay_push {
        said.push(format!("pushes wait {delay}"));
    }
    match order.stale {
        Some(true) => said.push("lists grow stale".to_owned()),
        Some(false) => said.push("lists are fresh again".to_owned()),
        None => {}
    }
    if let Some(empty) = &order.empty {
        said.push(match empty.is_empty() {
            true => "nothing is empty any more".to_owned(),
            false => format!("{} is empty", names(empty)),
        });
    }
    if !order.push_empty.is_empty() {
        said.push(format!("one empty push of {}", names(&order.push_empty)));
    }
    if !order.push_again.is_empty() {
        said.push(format!("the push of {} again", names(&order.push_again)));
    }
    if let Some(times) = order.push_times {
        said.push(format!("every push {times} times"));
    }
    if let Some(lost) = order.lose_pushes {
        said.push(format!("the next {lost} pushes are lost"));
    }
    if let Some(availability) = order.availability {
        said.push(format!("{availability:?}").to_lowercase());
    }
    if let Some(memory) = order.restart {
        said.push(match memory {
            super::model::Memory::WithMemory => "restart with memory".to_owned(),
            super::model::Memory::WithoutMemory => "restart without memory".to_owned(),
        });
    }
    if order.drop_watchers {
        said.push("every watch connection is closed".to_owned());
    }
    said.join("; ")
}

fn joined(probes: &[Spanned<Probe>], word: &str) -> String {
    let all: Vec<String> = probes.iter().map(|one| probe(&one.value)).collect();
    all.join(word)
}

/// A probe as a condition.
pub(crate) fn probe(probe: &Probe) -> String {
    match probe {
        Probe::Port(port) => {
            let from = match &port.from {
                Some(from) => format!(" from {from}"),
                None => String::new(),
            };
            format!(
                "port {} of {} is {}{from}",
                port.number,
                port.pod,
                port.is.word()
            )
        }
        Probe::Registry(registry) => in_registry(registry),
        Probe::Metric(metric) => {
            format!("{} of {} is {}", metric.name, metric.pod, metric.is)
        }
        Probe::Log(log) => in_log(log),
        Probe::Wire(wire) => on_wire(wire),
        Probe::Ledger(ledger) => in_ledger(ledger),
        Probe::Admin(admin) => by_admin(admin),
        Probe::Process(process) => {
            let is = match (process.is, process.code) {
                (Living::Running, _) => "runs".to_owned(),
                (Living::Ended, None) => "has ended".to_owned(),
                (Living::Ended, Some(code)) => format!("has ended with code {code}"),
            };
            format!("the {} of {} {is}", process.program.word(), process.pod)
        }
        Probe::Latency(latency) => in_time(latency),
        Probe::Connections(it) => format!(
            "connections from {} to {}:{} are {}",
            it.from, it.to, it.port, it.count
        ),
        Probe::Seen(seen) => {
            let frame = seen.frame.map_or("request", |frame| frame.word());
            let count = match &seen.count {
                Some(count) => count.to_string(),
                None => ">= 1".to_owned(),
            };
            let new = if seen.new { "new " } else { "" };
            format!("{new}{frame}s that the app of {} saw are {count}", seen.pod)
        }
        Probe::Version(version) => {
            format!("the sidecar of {} tells its version rightly", version.pod)
        }
    }
}

fn in_registry(registry: &RegistryProbe) -> String {
    let mut said = Vec::new();
    if let Some(pod) = &registry.with {
        said.push(format!("names {pod}"));
    }
    if let Some(pod) = &registry.without {
        said.push(format!("does not name {pod}"));
    }
    if let Some(count) = &registry.count {
        said.push(format!("names {count} providers"));
    }
    format!("the config center {}", said.join(" and "))
}

fn in_log(log: &LogProbe) -> String {
    let program = log.program.map_or("log", |program| program.word());
    let of = match &log.pod {
        Some(pod) => format!("the {program} of {pod}"),
        None => format!("any {program}"),
    };
    let new = if log.new { "new " } else { "" };
    let holds = &log.holds;
    match &log.count {
        Some(count) => format!("{new}lines of {of} with `{holds}` are {count}"),
        None => format!("a {new}line of {of} holds `{holds}`"),
    }
}

fn on_wire(wire: &WireProbe) -> String {
    let protocol = wire.protocol.map(|it| it.word().to_owned() + " ");
    let frame = wire.frame.map_or("frame", |it| it.word());
    let count = match &wire.count {
        Some(count) => count.to_string(),
        None => ">= 1".to_owned(),
    };
    let new = if wire.new { "new " } else { "" };
    format!(
        "{new}{}{frame}s at {} on port {} are {count}",
        protocol.unwrap_or_default(),
        wire.pod,
        wire.port
    )
}

fn in_ledger(ledger: &LedgerProbe) -> String {
    let all = [
        ("calls", ledger.calls),
        ("closed", ledger.closed),
        ("lost", ledger.lost),
        ("doubled", ledger.doubled),
        ("unanswered", ledger.unanswered),
    ];
    let said: Vec<String> = all
        .into_iter()
        .filter_map(|(name, count)| Some(format!("{name} {}", count?)))
        .collect();
    format!("of all calls: {}", said.join(", "))
}

fn by_admin(admin: &AdminProbe) -> String {
    let at = admin.at.as_deref().unwrap_or_default();
    match (&admin.at, &admin.is) {
        (_, None) => format!("{} answers {}", admin.pod, admin.path),
        (Some(_), Some(is)) => format!("{} tells {is} at {}#{at}", admin.pod, admin.path),
        (None, Some(is)) => format!("{} tells `{is}` by {}", admin.pod, admin.path),
    }
}

fn in_time(latency: &LatencyProbe) -> String {
    let mut said = Vec::new();
    if let Some(p50) = &latency.p50 {
        said.push(format!("p50 is at most {p50}"));
    }
    if let Some(p99) = &latency.p99 {
        said.push(format!("p99 is at most {p99}"));
    }
    format!("of calls `{}` {}", latency.call, said.join(" and "))
}

/// A VIP may be as long as a person likes.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    match short.is_empty() {
        true => "an empty text".to_owned(),
        false => short.escape_debug().to_string(),
    }
}

/// What a look at a door says.
pub(crate) fn door(door: Option<Door>) -> &'static str {
    door.map_or("neither open nor closed", Door::word)
}
