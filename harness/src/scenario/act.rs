//! What steps do to a mesh.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use meshproof_input::Spanned;
use meshproof_record::case::Moment;
use meshproof_replay::engine::run::Control;
use meshproof_sys::clock::Nanos;
use serde_json::{Value, json};

use super::account::{Account, Sighting};
use super::harm::{self, Doer};
use super::model::{
    Availability, Call, CallSpeech, CallStyle, Fault, FaultKind, FrameEvent, LogLevel, Memory,
    Muted, Program, RawOutcome, RegistryOrder, Replay, Subscribe, VipOrder,
};
use super::probe::Probe;
use super::stand::{Hall, is_call, lock, part, refused};
use super::value::Scalar;
use super::world::{Answered, Armed, Edge, Look, Told, World};
use crate::mesh::call::{Speech, Style};
use crate::mesh::{End, http};
use crate::offline::folder::Failed;
use crate::offline::{self, Ways};
use crate::{Error, Escapes};

/// How long a program that was told to end may take.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What bytes may be answered with, as far as it is read.
const ANSWER_BYTES_MAX: usize = 4096;

impl World for Hall {
    fn call(&self, call: &Call, step: u32, _limit: Duration) -> Result<Answered, Error> {
        let service = self.service(call.service.as_ref().map(|it| it.as_str()))?;
        let version = service.rsplit(':').next().unwrap_or("1.0");
        let millis = |time: Spanned<meshproof_input::Millis>| Duration::from_millis(time.value.0);
        let timeout = call.timeout.map_or(Duration::from_secs(3), millis);
        let plain = crate::mesh::Call {
            style: match call.style {
                CallStyle::Sync => Style::Sync,
                CallStyle::Oneway => Style::Oneway,
                CallStyle::Exception => Style::Exception,
                CallStyle::Timeout => Style::Timeout,
                CallStyle::Heartbeat => Style::Heartbeat,
                CallStyle::Large => Style::Large,
            },
            speech: call.speech.map(|speech| match speech {
                CallSpeech::Bolt => Speech::BoltV1,
                CallSpeech::BoltV2 => Speech::BoltV2,
                CallSpeech::BoltV2Crc => Speech::BoltV2Crc,
                CallSpeech::Tr => Speech::Tr,
            }),
            connections: call.connections.map_or(1, |it| it.value as usize),
            depth: call.depth.map_or(1, |it| it.value as usize),
            rate: call.rate.map(|it| it.value as f64),
            vip: call.vip.as_ref().map(|vip| vip.value.clone()),
            timeout,
            grace: call.leeway.map_or(Duration::ZERO, millis),
            version: version.to_owned(),
            // Port 12200 may change hands while calls go on.
            reconnect: match self.moves {
                true => Duration::from_secs(5),
                false => Duration::ZERO,
            },
            ..crate::mesh::Call::new(&call.from, *call.count)
        };
        let calling = self.mesh.begin(&plain)?;
        let journal = calling.journal().to_path_buf();
        lock(&self.calls).push((step, call.style, journal.clone()));
        let called = calling.join()?;
        let mut answered = Answered {
            calls: called.sent,
            outcomes: called.outcomes.into_iter().collect(),
            surplus: called.surplus,
            first: called.first,
            seen_by: Vec::new(),
            p50_us: called.p50_us,
            p99_us: called.p99_us,
        };
        if !call.seen_by.is_empty() {
            answered.seen_by = self.seen_by(&journal)?;
        }
        Ok(answered)
    }

    fn subscribe(&self, ask: &Subscribe) -> Result<Told, Error> {
        let pod = ask.from.as_str();
        let service = self.service(ask.service.as_ref().map(|it| it.as_str()))?;
        let vip = ask.vip.as_ref().map(|it| it.as_str());
        let api = self.mesh.place(pod)?.api;
        let tell = |operation: &str, body: Value| {
            let path = format!("/{operation}");
            let environment = self.mesh.environment();
            http::post(environment, pod, api, &path, &body.to_string())
        };
        tell("configs/application", json!({ "appName": "sample-client" }))?
            .good("the application API")?;
        let body = json!({
            "serviceName": service,
            "protocolType": "bolt",
            "targetAppAddress": vip,
            "vipOnly": ask.vip_only,
        });
        let answer = tell("services/subscribe", body)?;
        let said: Value = serde_json::from_str(&answer.body).map_err(|_| {
            refused(format!(
                "the application API of pod {pod} answered status {}: {}",
                answer.status,
                answer.body.trim()
            ))
        })?;
        let providers: Vec<String> = said
            .get("datas")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|one| Some(one.as_str()?.to_owned()))
            .collect();
        let success = said.get("success").and_then(Value::as_bool) == Some(true);
        if success && !providers.is_empty() {
            return Ok(Told::Providers(providers));
        }
        let why = said.get("errorMessage").and_then(Value::as_str);
        Ok(Told::Refused(why.unwrap_or_default().to_owned()))
    }

    fn send(
        &self,
        from: &str,
        to: &str,
        port: u16,
        bytes: &[u8],
        limit: Duration,
    ) -> Result<RawOutcome, Error> {
        let at = self.address(from, to, port)?;
        let what = || format!("sending bytes from pod {from} to {at}");
        let end = Nanos::now() + limit;
        let mut stream = self.mesh.environment().connect(from, at, limit)?;
        stream.write_all(bytes).map_err(Error::io(what()))?;
        let mut buffer = [0; ANSWER_BYTES_MAX];
        loop {
            let left = Duration::from_nanos(end.since(Nanos::now()));
            if left.is_zero() {
                return Ok(RawOutcome::Silence);
            }
            stream
                .set_read_timeout(Some(left))
                .map_err(Error::io(what()))?;
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(RawOutcome::Closed),
                Ok(_) => return Ok(RawOutcome::Answered),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(RawOutcome::Silence),
                    ErrorKind::Interrupted => {}
                    // Bytes that nobody has read make a reset of a close.
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Ok(RawOutcome::Closed);
                    }
                    _ => return Err(Error::io(what())(error)),
                },
            }
        }
    }

    fn replay(&self, replay: &Replay, limit: Duration) -> Result<Look, Error> {
        let control = Control::new().map_err(Error::io("a wake"))?;
        let ways = Ways {
            // No answer may outlast the story.
            timeout_ms: u32::try_from(limit.as_millis())
                .ok()
                .filter(|ms| *ms < 3_000),
            ..Ways::default()
        };
        let capture = Path::new(replay.capture.as_str());
        let through =
            offline::through::from_pod(&self.mesh, &replay.from, capture, &ways, &control)
                .map_err(|failed| match failed {
                    Failed::Mesh(error) => error,
                    other => refused(format!("{}: {other}", replay.capture)),
                })?;
        let (holds, found) = through.told();
        Ok(Look::new(holds, found))
    }

    fn arm(&self, frame: &FrameEvent, edge: Edge) -> Result<Armed, Error> {
        self.arm_at(frame, edge)
    }

    fn came(&self, armed: &Armed, limit: Duration) -> Result<bool, Error> {
        self.came_at(armed, limit)
    }

    fn disarm(&self, armed: &Armed) -> Result<(), Error> {
        self.disarm_at(armed)
    }

    fn fault(&self, fault: &Fault) -> Result<(), Error> {
        let pod = harm::pod(fault);
        let part = part(fault.program);
        let methods: Vec<&str> = match fault.methods.is_empty() {
            true => vec!["hello"],
            false => fault.methods.iter().map(|it| it.as_str()).collect(),
        };
        let by_ms = fault.by.map_or(0, |by| by.value.0);
        let order = |order: Value| self.mesh.order_app(pod, &order.to_string());
        match (harm::doer(fault), fault.kind.value) {
            (Doer::Relay, _) => self.harm(fault),
            (Doer::Keeper, _) => self.keep(fault),
            (_, FaultKind::Kill) => self.mesh.kill(pod, part),
            (_, FaultKind::Pause) => self.mesh.pause(pod, part),
            (_, FaultKind::Stop) => self.begin_to_stop(pod, fault.program),
            (_, FaultKind::Mute) => order(json!({ "mute": match fault.what {
                Some(Muted::Heartbeats) => "heartbeats",
                Some(Muted::Everything) | None => "everything",
            } })),
            (_, FaultKind::Slow) => order(json!({ "delay_ms": by_ms })),
            (_, FaultKind::Throw) => order(json!({ "exception": methods })),
            (_, FaultKind::Error) => order(json!({ "error": methods })),
            (_, FaultKind::Hang) => order(json!({ "pause": true })),
            (_, other) => Err(refused(format!(
                "no app and no program can be told `{other}`"
            ))),
        }
    }

    fn heal(&self, fault: &Fault) -> Result<(), Error> {
        let pod = harm::pod(fault);
        let part = part(fault.program);
        let order = |order: Value| self.mesh.order_app(pod, &order.to_string());
        match (harm::doer(fault), fault.kind.value) {
            (Doer::Relay, _) => self.unharm(fault),
            (Doer::Keeper, _) => self.unkeep(fault),
            (_, FaultKind::Kill) => self.mesh.start(pod, part),
            (_, FaultKind::Stop) => {
                // What was told to end may still be at it.
                self.mesh.process(pod, part)?.wait(ENDS_WITHIN)?;
                self.mesh.start(pod, part)
            }
            (_, FaultKind::Pause) => self.mesh.resume(pod, part),
            (_, FaultKind::Mute) => order(json!({ "mute": "nothing" })),
            (_, FaultKind::Slow) => order(json!({ "delay_ms": 0 })),
            (_, FaultKind::Throw) => order(json!({ "exception": [] })),
            (_, FaultKind::Error) => order(json!({ "error": [] })),
            (_, FaultKind::Hang) => order(json!({ "pause": false })),
            (_, other) => Err(refused(format!(
                "no app and no program can be told `{other}`"
            ))),
        }
    }

    fn upgrade(&self, pod: &str, to: Option<&str>) -> Result<(), Error> {
        // The one before finishes what it had begun; the step is over when it has ended.
        self.mesh.upgrade(pod, to)?.ended().map(drop)
    }

    fn meshify(&self, pod: &str, sidecar: Option<&str>) -> Result<(), Error> {
        self.mesh
            .meshify(pod, sidecar.unwrap_or(crate::sut::REFERENCE))
            .map(drop)
    }

    fn demesh(&self, pod: &str) -> Result<(), Error> {
        self.mesh.demesh(pod).map(drop)
    }

    fn set_log_level(&self, pod: &str, level: &LogLevel) -> Result<(), Error> {
        self.mesh.set_log_level(pod, &level.level)
    }

    fn set_config(&self, pod: &str, changes: &[(String, Scalar)]) -> Result<(), Error> {
        let changes: Vec<(String, Value)> = changes
            .iter()
            .map(|(key, value)| (key.clone(), value.to_json()))
            .collect();
        self.mesh.change_config(pod, &changes)
    }

    fn restart(&self, pod: &str, program: Program) -> Result<(), Error> {
        self.mesh.restart(pod, part(program), End::Stop)
    }

    fn registry(&self, order: &RegistryOrder) -> Result<(), Error> {
        let mut orders = serde_json::Map::new();
        let mut add = |name: &str, value: Value| drop(orders.insert(name.to_owned(), value));
        if let Some(order) = &order.order {
            let order = match order.split_once(':') {
                Some(("fixed", pods)) => {
                    let pods: Vec<&str> = pods.split(',').collect();
                    format!("fixed:{}", self.addresses(&pods)?.join(","))
                }
                _ => order.value.clone(),
            };
            add("order", order.into());
        }
        if let Some(delay) = order.delay_answer {
            add("delay_answer_ms", delay.0.into());
        }
        if let Some(delay) = order.delay_push {
            add("delay_push_ms", delay.0.into());
        }
        if let Some(stale) = order.stale {
            add("stale", stale.into());
        }
        if let Some(empty) = &order.empty {
            add("empty", self.services_of(empty)?);
        }
        if !order.push_empty.is_empty() {
            add("push_empty", self.services_of(&order.push_empty)?);
        }
        if !order.push_again.is_empty() {
            add("push_again", self.services_of(&order.push_again)?);
        }
        if let Some(times) = order.push_times {
            add("push_times", times.into());
        }
        if let Some(lost) = order.lose_pushes {
            add("lose_pushes", lost.into());
        }
        if let Some(availability) = order.availability {
            let word = match availability {
                Availability::Up => "up",
                Availability::Unavailable => "unavailable",
                Availability::Refuse => "refuse",
            };
            add("availability", word.into());
        }
        if let Some(memory) = order.restart {
            let word = match memory {
                Memory::WithMemory => "with-memory",
                Memory::WithoutMemory => "without-memory",
            };
            add("restart", word.into());
        }
        if order.drop_watchers {
            add("drop_watchers", true.into());
        }
        self.mesh.order_registry(&Value::Object(orders).to_string())
    }

    fn vip(&self, order: &VipOrder) -> Result<(), Error> {
        let mut pools = serde_json::Map::new();
        for (name, pods) in &order.pools {
            let addresses = pods.iter().map(|pod| {
                let address = self.mesh.environment().address(pod)?;
                Ok(Value::from(address.to_string()))
            });
            let addresses: Vec<Value> = addresses.collect::<Result<_, Error>>()?;
            pools.insert(name.value.clone(), addresses.into());
        }
        let faults: serde_json::Map<String, Value> = order
            .faults
            .iter()
            .map(|(name, how)| (name.value.clone(), json!({ "answer": how.word() })))
            .collect();
        let orders = json!({
            "pools": pools,
            "remove": order.remove,
            "faults": faults,
            "heal": order.heal,
        });
        self.mesh.order_names(&orders.to_string())
    }

    fn record(&self, pod: &str, port: Option<u16>) -> Result<(), Error> {
        self.capture(pod, port)
    }

    fn look(&self, probe: &Probe, since: Nanos) -> Result<Look, Error> {
        self.probe(probe, since)
    }

    fn account(&self, allowed: &dyn Fn(u32) -> Vec<String>) -> Result<Account, Error> {
        let seen: Vec<Sighting> = self
            .sightings()?
            .into_iter()
            .filter(|(.., line)| is_call(line))
            .map(|(_, pod, line)| {
                let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
                Sighting {
                    pod,
                    trace: text("trace").to_owned(),
                    answered: matches!(text("outcome"), "answered" | "exception" | "error"),
                }
            })
            .collect();
        Ok(Account::of(&self.made()?, &seen, allowed))
    }

    fn escapes(&self) -> Result<Escapes, Error> {
        match self.mesh.escapes()? {
            Some(escapes) => Ok(escapes),
            None => Err(Error::Unsupported {
                missing: "a way to count packets that leave".into(),
                advice: "use the netns backend".into(),
            }),
        }
    }

    fn timeline(&self) -> Vec<Moment> {
        self.mesh.timeline()
    }
}

impl Hall {
    /// Where a program of a pod finds a port of another, or of its own.
    pub(super) fn address(
        &self,
        from: &str,
        to: &str,
        port: u16,
    ) -> Result<std::net::SocketAddr, Error> {
        let environment = self.mesh.environment();
        let ip = match from == to {
            // Some ports are open to the own pod alone.
            true if port != 12200 => environment.local(to)?,
            _ => environment.address(to)?,
        };
        Ok((ip, port).into())
    }

    /// SIGTERM, and no waiting: what follows is the story's.
    fn begin_to_stop(&self, pod: &str, program: Program) -> Result<(), Error> {
        let process = self.mesh.process(pod, part(program))?;
        process.signal(crate::process::Signal::Terminate)?;
        let program = program.word();
        self.mesh
            .note("harness", format!("the {program} of {pod} is told to end"));
        Ok(())
    }
}
