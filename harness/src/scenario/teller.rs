//! A story is told: its steps one by one, until one does not hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshproof_input::Spanned;
use meshproof_record::case::{Moment, Step as Stepped};
use meshproof_record::verdict::Verdict;
use meshproof_sys::clock::Nanos;

use super::model::{Call, CallStyle, Fault, Scenario, Step, Subscribed, When};
use super::probe::Probe;
use super::world::{Answered, Armed, Edge, Look, Told, World};
use super::{harm, plan, say};
use crate::Error;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(1);

/// What is told while a story runs.
#[derive(Clone, Debug)]
pub(crate) enum Tell {
    /// A step is over.
    Stepped(Stepped),
    /// Something for the timeline.
    Seen(Moment),
}

/// How a story ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Steps that held.
    pub(crate) held: u32,
    /// Steps that there are.
    pub(crate) steps: u32,
    /// The first that did not hold: its number, verdict, and why.
    pub(crate) broken: Option<(u32, Verdict, String)>,
}

/// Tells one story.
pub(crate) struct Teller<'a> {
    world: &'a dyn World,
    tell: &'a (dyn Fn(Tell) + Sync),
    /// Whether the run is to end.
    stop: &'a AtomicBool,
    start: Nanos,
    end: Nanos,
    shared: Mutex<Shared>,
    never: Condvar,
    nobody: Mutex<()>,
}

#[derive(Default)]
struct Shared {
    faults: BTreeMap<String, Fault>,
    /// What came of calls that have an id.
    latencies: BTreeMap<String, (u64, u64)>,
    held: u32,
    broken: Option<(u32, Verdict, String)>,
}

/// Why a step does not hold.
struct Broken {
    verdict: Verdict,
    why: String,
}

type Outcome = Result<String, Broken>;

fn fail(why: impl Into<String>) -> Outcome {
    Err(Broken {
        verdict: Verdict::Fail,
        why: why.into(),
    })
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        let verdict = match error {
            Error::Unsupported { .. } => Verdict::Unsupported,
            // A program of the mesh that does not come up, or a control that is refused, is the
            // mesh's fault; an environment that is gone is ours,
            // and so is a fault that was none.
            Error::Gone(_) | Error::Inert(_) => Verdict::Invalid,
            _ => Verdict::Fail,
        };
        Broken {
            verdict,
            why: error.to_string(),
        }
    }
}

/// Outcomes that the calls of each step may have beside the right one, by number of the step.
pub(crate) fn allowances(story: &Scenario) -> BTreeMap<u32, Vec<String>> {
    let mut all = BTreeMap::new();
    let mut number = 0;
    allow(&story.steps, &mut number, &mut all);
    all
}

fn allow(steps: &[Spanned<Step>], number: &mut u32, all: &mut BTreeMap<u32, Vec<String>>) {
    for step in steps {
        *number += 1;
        match &step.value {
            Step::Call(call) => {
                let named = call.or.iter().chain(&call.expect);
                let mut outcomes: Vec<String> = named.map(|one| one.value.clone()).collect();
                if call.style == CallStyle::Timeout {
                    outcomes.extend(["timeout".to_owned(), "status 7".to_owned()]);
                }
                all.insert(*number, outcomes);
            }
            Step::Within(within) => allow(&within.steps, number, all),
            Step::When(when) => {
                allow(&when.meanwhile, number, all);
                allow(&when.steps, number, all);
            }
            Step::Parallel(branches) => {
                for (_, steps) in branches {
                    allow(steps, number, all);
                }
            }
            _ => {}
        }
    }
}

impl<'a> Teller<'a> {
    pub(crate) fn new(
        world: &'a dyn World,
        story: &Scenario,
        stop: &'a AtomicBool,
        tell: &'a (dyn Fn(Tell) + Sync),
        start: Nanos,
    ) -> Teller<'a> {
        Teller {
            world,
            tell,
            stop,
            start,
            end: Nanos::now() + Duration::from_millis(story.budget.value.0),
            shared: Mutex::default(),
            never: Condvar::new(),
            nobody: Mutex::default(),
        }
    }

    /// Tells all of it.
    pub(crate) fn run(&self, story: &Scenario) -> Ended {
        // What is broken is in the shared state.
        let _ = self.steps(&story.steps, 1, self.end);
        self.heal_rest(plan::count(&story.steps));
        let shared = self.lock();
        Ended {
            held: shared.held,
            steps: plan::count(&story.steps),
            broken: shared.broken.clone(),
        }
    }

    /// Takes away what keepers still hold when the story is over: it has to have met something,
    /// too, and to leave nothing. `last` numbers the last step. What was broken before stays the
    /// reason.
    fn heal_rest(&self, last: u32) {
        let rest: Vec<Fault> = self.lock().faults.values().cloned().collect();
        for fault in &rest {
            if harm::doer(fault) != harm::Doer::Keeper {
                continue;
            }
            if let Err(error) = self.world.heal(fault) {
                let Broken { verdict, why } = error.into();
                let why = format!("after the last step: {why}");
                self.lock().broken.get_or_insert((last, verdict, why));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A branch that panicked leaves what the others need.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.lock().broken.is_some()
    }

    /// Steps one after the other, numbered from `number`; whether all held.
    fn steps(&self, steps: &[Spanned<Step>], number: u32, end: Nanos) -> bool {
        let mut number = number;
        for step in steps {
            if self.over() {
                return false;
            }
            let begun = Nanos::now();
            let outcome = match end.since(begun) {
                0 => fail("its time was over before it began"),
                _ => self.step(&step.value, number, begun, end),
            };
            let (verdict, why) = match outcome {
                Ok(why) => (Verdict::Pass, why),
                // What another branch broke is told there.
                Err(_) if self.over() && !matches!(step.value, Step::Within(_) | Step::When(_)) => {
                    return false;
                }
                Err(broken) => (broken.verdict, broken.why),
            };
            let over = Nanos::now();
            (self.tell)(Tell::Stepped(Stepped {
                number,
                text: say::step(&step.value),
                verdict,
                why: why.clone(),
                from_ns: begun.since(self.start),
                took_ns: over.since(begun),
            }));
            let mut shared = self.lock();
            if verdict != Verdict::Pass {
                shared.broken.get_or_insert((number, verdict, why));
                return false;
            }
            shared.held += 1;
            drop(shared);
            number += plan::count(std::slice::from_ref(step));
        }
        true
    }

    fn step(&self, step: &Step, number: u32, begun: Nanos, end: Nanos) -> Outcome {
        let left = Duration::from_nanos(end.since(begun));
        let world = self.world;
        match step {
            Step::Call(call) => self.call(call, number, left),
            Step::Subscribe(ask) => {
                let told = world.subscribe(ask)?;
                subscribed(&told, ask.expect, ask.says.as_deref())
            }
            Step::Send(send) => {
                let bytes = meshproof_fault::spec::hex::bytes(&send.hex).unwrap_or_default();
                let limit = Duration::from_millis(send.within.value.0).min(left);
                let seen = world.send(&send.from, &send.to, send.port.value, &bytes, limit)?;
                let took_ms = Nanos::now().since(begun) / 1_000_000;
                let why = format!("{seen:?} after {took_ms} ms").to_lowercase();
                match seen == send.expect {
                    true => Ok(why),
                    false => fail(format!("{why}; expected {:?}", send.expect).to_lowercase()),
                }
            }
            Step::Replay(replay) => {
                let look = world.replay(replay, left)?;
                match look.holds {
                    true => Ok(look.found),
                    false => fail(look.found),
                }
            }
            Step::Fault(fault) => {
                world.fault(fault)?;
                self.lock()
                    .faults
                    .insert(harm::id(fault).to_owned(), fault.clone());
                Ok("in force".to_owned())
            }
            Step::Heal(id) => {
                let fault = self.lock().faults.remove(&id.value);
                match fault {
                    Some(fault) => world.heal(&fault).map(|()| "healed".to_owned())?,
                    None => return fail(format!("no fault `{id}` is in force")),
                };
                Ok("healed".to_owned())
            }
            Step::Eventually(wait) => {
                let limit = Duration::from_millis(wait.within.value.0).min(left);
                self.eventually(&wait.all, &wait.any, begun, limit)
            }
            Step::Always(hold) => {
                let limit = Duration::from_millis(hold.during.value.0);
                self.always(&hold.all, begun, limit.min(left))
            }
            Step::Never(hold) => {
                let limit = Duration::from_millis(hold.during.value.0);
                self.never(&hold.any, &hold.all, begun, limit.min(left))
            }
            Step::Within(within) => {
                let limit = begun + Duration::from_millis(within.limit.value.0);
                match self.steps(&within.steps, number + 1, end.min(limit)) {
                    true => Ok(format!("{} ms", Nanos::now().since(begun) / 1_000_000)),
                    false => fail(format!("its steps did not hold within {}", within.limit)),
                }
            }
            Step::Parallel(branches) => {
                let mut first = number + 1;
                let all = std::thread::scope(|scope| {
                    let running: Vec<_> = branches
                        .iter()
                        .map(|(_, steps)| {
                            let number = first;
                            first += plan::count(steps);
                            scope.spawn(move || self.steps(steps, number, end))
                        })
                        .collect();
                    // Every branch is waited for, whatever the others say.
                    let ends: Vec<bool> = running
                        .into_iter()
                        .map(|one| one.join().unwrap_or(false))
                        .collect();
                    !ends.contains(&false)
                });
                match all {
                    true => Ok(format!("{} branches held", branches.len())),
                    false => fail("a branch did not hold"),
                }
            }
            Step::When(when) => self.when(when, number, begun, end),
            Step::Upgrade(upgrade) => {
                let to = upgrade.to.as_ref().map(|to| to.as_str());
                world.upgrade(&upgrade.pod, to)?;
                Ok(format!(
                    "taken over after {} ms",
                    Nanos::now().since(begun) / 1_000_000
                ))
            }
            Step::Meshify(meshify) => {
                let sidecar = meshify.sidecar.as_ref().map(|it| it.as_str());
                world.meshify(&meshify.pod, sidecar)?;
                Ok("the sidecar has moved in".to_owned())
            }
            Step::Demesh(pod) => {
                world.demesh(pod)?;
                Ok("the sidecar has moved out".to_owned())
            }
            Step::Set(set) => {
                if let Some(level) = &set.log_level {
                    world.set_log_level(&set.pod, level)?;
                }
                if !set.config.is_empty() {
                    let changes = set.config.iter();
                    let changes: Vec<_> = changes
                        .map(|(key, value)| (key.value.clone(), value.value.clone()))
                        .collect();
                    world.set_config(&set.pod, &changes)?;
                }
                Ok("taken".to_owned())
            }
            Step::Restart(restart) => {
                world.restart(&restart.pod, restart.program)?;
                Ok("it runs again".to_owned())
            }
            Step::Registry(order) => {
                world.registry(order)?;
                Ok("ordered".to_owned())
            }
            Step::Vip(order) => {
                world.vip(order)?;
                Ok("ordered".to_owned())
            }
            Step::Record(record) => {
                world.record(&record.pod, record.port.map(|port| port.value))?;
                Ok("packets are kept".to_owned())
            }
        }
    }

    fn call(&self, call: &Call, number: u32, left: Duration) -> Outcome {
        let answered = self.world.call(call, number, left)?;
        if let Some(id) = &call.id {
            let times = (answered.p50_us, answered.p99_us);
            self.lock().latencies.insert(id.value.clone(), times);
        }
        judge(call, &answered)
    }

    /// Looks at one thing; what the runner knows itself is not asked of the world.
    fn look(&self, probe: &Probe, since: Nanos) -> Result<Look, Broken> {
        if let Probe::Latency(latency) = probe {
            let times = self.lock().latencies.get(&latency.call.value).copied();
            let Some((p50_us, p99_us)) = times else {
                return Ok(Look::new(
                    false,
                    format!("calls `{}` are not over", latency.call),
                ));
            };
            let within = |limit: Option<Spanned<meshproof_input::Millis>>, us: u64| {
                limit.is_none_or(|limit| us <= limit.value.0 * 1000)
            };
            let holds = within(latency.p50, p50_us) && within(latency.p99, p99_us);
            return Ok(Look::new(
                holds,
                format!("p50 {p50_us} us, p99 {p99_us} us"),
            ));
        }
        Ok(self.world.look(probe, since)?)
    }

    fn all(&self, probes: &[Spanned<Probe>], since: Nanos) -> Result<Look, Broken> {
        let mut found = Vec::new();
        let mut holds = true;
        // The order is the story's: what is looked at later is newer.
        for probe in probes {
            let look = self.look(&probe.value, since)?;
            holds &= look.holds;
            if !look.holds {
                found = vec![look.found];
                break;
            }
            found.push(look.found);
        }
        Ok(Look::new(holds, found.join("; ")))
    }

    fn any(&self, probes: &[Spanned<Probe>], since: Nanos) -> Result<Look, Broken> {
        let mut found = Vec::new();
        for probe in probes {
            let look = self.look(&probe.value, since)?;
            if look.holds {
                return Ok(look);
            }
            found.push(look.found);
        }
        Ok(Look::new(false, found.join("; ")))
    }

    fn eventually(
        &self,
        all: &[Spanned<Probe>],
        any: &[Spanned<Probe>],
        begun: Nanos,
        limit: Duration,
    ) -> Outcome {
        let end = begun + limit;
        loop {
            let mut look = self.all(all, begun)?;
            if look.holds && !any.is_empty() {
                look = self.any(any, begun)?;
            }
            let now = Nanos::now();
            if look.holds {
                let after_ms = now.since(begun) / 1_000_000;
                return Ok(format!("after {after_ms} ms: {}", look.found));
            }
            if now >= end || self.over() {
                let after_ms = now.since(begun) / 1_000_000;
                return fail(format!("not within {after_ms} ms: {}", look.found));
            }
            self.pause();
        }
    }

    fn always(&self, all: &[Spanned<Probe>], begun: Nanos, limit: Duration) -> Outcome {
        let end = begun + limit;
        let mut looks = 0_u64;
        loop {
            let look = self.all(all, begun)?;
            let now = Nanos::now();
            let after_ms = now.since(begun) / 1_000_000;
            looks += 1;
            if !look.holds {
                return fail(format!("no more after {after_ms} ms: {}", look.found));
            }
            if now >= end || self.over() {
                return Ok(format!("{looks} looks in {after_ms} ms: {}", look.found));
            }
            self.pause();
        }
    }

    fn never(
        &self,
        any: &[Spanned<Probe>],
        all: &[Spanned<Probe>],
        begun: Nanos,
        limit: Duration,
    ) -> Outcome {
        let end = begun + limit;
        let mut looks = 0_u64;
        loop {
            let mut look = self.any(any, begun)?;
            if !look.holds && !all.is_empty() {
                look = self.all(all, begun)?;
            }
            let now = Nanos::now();
            let after_ms = now.since(begun) / 1_000_000;
            looks += 1;
            if look.holds {
                return fail(format!("after {after_ms} ms: {}", look.found));
            }
            if now >= end || self.over() {
                return Ok(format!("{looks} looks in {after_ms} ms: {}", look.found));
            }
            self.pause();
        }
    }

    /// Waits for an event and does what is to be done then, while other steps go on.
    fn when(&self, when: &When, number: u32, begun: Nanos, end: Nanos) -> Outcome {
        let limit = begun + Duration::from_millis(when.within.value.0);
        let then = number + 1 + plan::count(&when.meanwhile);
        let armed = match (&when.before, &when.after) {
            (Some(frame), _) => Some(self.world.arm(frame, Edge::Before)?),
            (None, Some(frame)) => Some(self.world.arm(frame, Edge::After)?),
            (None, None) => None,
        };
        let (came, done, meanwhile) = std::thread::scope(|scope| {
            let meanwhile = scope.spawn(|| self.steps(&when.meanwhile, number + 1, end));
            let came = match &armed {
                Some(armed) => self.came(armed, begun, limit.min(end)),
                None => {
                    let limit = Duration::from_nanos(limit.min(end).since(begun));
                    self.eventually(&when.all, &[], begun, limit)
                }
            };
            let done = came.is_ok() && self.steps(&when.steps, then, end);
            // Whatever came of it: others wait for what is held.
            let let_go = armed.as_ref().map_or(Ok(()), |it| self.world.disarm(it));
            let came = let_go.map_err(Broken::from).and(came);
            (came, done, meanwhile.join().unwrap_or(false))
        });
        let came = came?;
        match (done, meanwhile) {
            (true, true) => Ok(came),
            (false, _) => fail(format!("{came}; what was to be done then did not hold")),
            (true, false) => fail(format!("{came}; what went on meanwhile did not hold")),
        }
    }

    fn came(&self, armed: &Armed, begun: Nanos, end: Nanos) -> Outcome {
        /// From one look at whether the story is over to the next.
        const SLICE: Duration = Duration::from_millis(100);
        loop {
            let left = Duration::from_nanos(end.since(Nanos::now()));
            let came = self.world.came(armed, left.min(SLICE))?;
            let after_ms = Nanos::now().since(begun) / 1_000_000;
            let (edge, nth) = (armed.edge.word(), armed.nth);
            if came {
                return Ok(format!("{edge} frame {nth}, after {after_ms} ms"));
            }
            if left.is_zero() || self.over() {
                return fail(format!("frame {nth} did not come within {after_ms} ms"));
            }
        }
    }

    fn pause(&self) {
        let nobody = self.nobody.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.never.wait_timeout(nobody, PAUSE));
    }
}

/// Whether calls had the outcomes that belong to them, or that the story names.
fn judge(call: &Call, answered: &Answered) -> Outcome {
    let usual: &[&str] = match call.style {
        CallStyle::Sync | CallStyle::Large => &["ok"],
        CallStyle::Oneway => &["sent"],
        CallStyle::Exception => &["exception"],
        CallStyle::Timeout => &["timeout", "status 7"],
        CallStyle::Heartbeat => &["ok", "ack"],
    };
    let may = |outcome: &str| match &call.expect {
        Some(expect) => outcome == expect.as_str(),
        None => usual.contains(&outcome) || call.or.iter().any(|one| one.as_str() == outcome),
    };
    let said: Vec<String> = answered
        .outcomes
        .iter()
        .map(|(outcome, count)| format!("{outcome} {count}"))
        .collect();
    let mut why = format!("{} calls: {}", answered.calls, said.join(", "));
    let ended: u64 = answered.outcomes.iter().map(|(_, count)| count).sum();
    let wrong = answered.outcomes.iter().any(|(outcome, _)| !may(outcome));
    if wrong && let Some(first) = &answered.first {
        why = format!("{why}; first: {first}");
    }
    if wrong {
        return fail(why);
    }
    if ended != *call.count {
        return fail(format!("{why}; {ended} of {} have an end", call.count));
    }
    if answered.surplus > 0 {
        return fail(format!(
            "{why}; {} answers that nobody asked for",
            answered.surplus
        ));
    }
    if !call.seen_by.is_empty() {
        let named = |pod: &str| call.seen_by.iter().any(|one| one.as_str() == pod);
        let times = |pod: &str| {
            let found = answered.seen_by.iter().find(|(name, _)| name == pod);
            found.map_or(0, |(_, times)| *times)
        };
        let seen: Vec<String> = answered
            .seen_by
            .iter()
            .map(|(pod, times)| format!("{pod} {times}"))
            .collect();
        let strange = answered
            .seen_by
            .iter()
            .any(|(pod, times)| *times > 0 && !named(pod));
        let missing = call.seen_by.iter().any(|pod| times(pod) == 0);
        why = format!("{why}; seen by {}", seen.join(", "));
        if strange || missing {
            return fail(why);
        }
    }
    Ok(why)
}

fn subscribed(told: &Told, expect: Subscribed, says: Option<&str>) -> Outcome {
    let (got, why) = match told {
        Told::Providers(all) => (
            Subscribed::Providers,
            format!("{} providers: {}", all.len(), all.join(", ")),
        ),
        Told::Refused(why) => (Subscribed::Refused, format!("refused: {why}")),
    };
    if got != expect {
        return fail(why);
    }
    match says {
        Some(text) if !why.contains(text) => fail(format!("{why}; expected `{text}` in it")),
        _ => Ok(why),
    }
}

#[cfg(test)]
mod tests;
