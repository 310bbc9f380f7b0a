//! A story is told until a step does not hold, and says which.

use std::sync::atomic::AtomicU64;

use super::super::account::Account;
use super::super::model::{
    FrameEvent, LogLevel, Program, RawOutcome, RegistryOrder, Replay, Scenario, Subscribe, VipOrder,
};
use super::super::value::Scalar;
use super::*;
use crate::Escapes;

/// A world in which ports are open while `open` says so, and every call comes back as told.
#[derive(Default)]
struct Toy {
    outcome: &'static str,
    surplus: u64,
    looks: AtomicU64,
    /// The port is closed from this look on.
    closes_at: u64,
    /// What was done, in order.
    done: Mutex<Vec<String>>,
}

impl Toy {
    fn did(&self, what: impl Into<String>) -> Result<(), Error> {
        self.done.lock().expect("nobody panics").push(what.into());
        Ok(())
    }
}

impl World for Toy {
    fn call(&self, call: &Call, step: u32, _: Duration) -> Result<Answered, Error> {
        self.did(format!("call {step}"))?;
        Ok(Answered {
            calls: *call.count,
            outcomes: vec![(self.outcome.to_owned(), *call.count)],
            surplus: self.surplus,
            seen_by: vec![("server".to_owned(), *call.count)],
            p50_us: 1000,
            p99_us: 9000,
            ..Answered::default()
        })
    }

    fn subscribe(&self, ask: &Subscribe) -> Result<Told, Error> {
        Ok(match &ask.vip {
            Some(vip) => Told::Refused(format!("`{vip}` does not resolve")),
            None => Told::Providers(vec!["10.0.0.1:12200?p=1".to_owned()]),
        })
    }

    fn send(&self, _: &str, _: &str, _: u16, _: &[u8], _: Duration) -> Result<RawOutcome, Error> {
        Ok(RawOutcome::Silence)
    }

    fn replay(&self, _: &Replay, _: Duration) -> Result<Look, Error> {
        Ok(Look::new(true, "nothing differed"))
    }

    fn arm(&self, frame: &FrameEvent, edge: Edge) -> Result<Armed, Error> {
        self.did(format!("arm {}", edge.word()))?;
        Ok(Armed {
            pod: frame.pod.value.clone(),
            port: frame.port.value,
            rule: 1,
            edge,
            nth: frame.nth.value,
        })
    }

    fn came(&self, armed: &Armed, _: Duration) -> Result<bool, Error> {
        Ok(armed.nth < 100)
    }

    fn disarm(&self, _: &Armed) -> Result<(), Error> {
        self.did("disarm")
    }

    fn fault(&self, fault: &Fault) -> Result<(), Error> {
        self.did(format!("fault {}", harm::id(fault)))
    }

    fn heal(&self, fault: &Fault) -> Result<(), Error> {
        self.did(format!("heal {}", harm::id(fault)))?;
        match harm::id(fault) {
            "inert" => Err(Error::Inert("0 of 2 counters moved".into())),
            _ => Ok(()),
        }
    }

    fn upgrade(&self, _: &str, _: Option<&str>) -> Result<(), Error> {
        Err(Error::Unsupported {
            missing: "anything".into(),
            advice: "do without".into(),
        })
    }

    fn meshify(&self, pod: &str, _: Option<&str>) -> Result<(), Error> {
        self.did(format!("meshify {pod}"))
    }

    fn demesh(&self, pod: &str) -> Result<(), Error> {
        self.did(format!("demesh {pod}"))
    }

    fn set_log_level(&self, pod: &str, _: &LogLevel) -> Result<(), Error> {
        self.did(format!("level of {pod}"))
    }

    fn set_config(&self, pod: &str, _: &[(String, Scalar)]) -> Result<(), Error> {
        self.did(format!("config of {pod}"))
    }

    fn restart(&self, pod: &str, _: Program) -> Result<(), Error> {
        self.did(format!("restart {pod}"))
    }

    fn registry(&self, _: &RegistryOrder) -> Result<(), Error> {
        self.did("registry")
    }

    fn vip(&self, _: &VipOrder) -> Result<(), Error> {
        self.did("vip")
    }

    fn record(&self, pod: &str, _: Option<u16>) -> Result<(), Error> {
        self.did(format!("record {pod}"))
    }

    fn look(&self, _: &Probe, _: Nanos) -> Result<Look, Error> {
        let number = self.looks.fetch_add(1, Ordering::Relaxed);
        let open = number < self.closes_at;
        Ok(Look::new(open, if open { "open" } else { "closed" }))
    }

    fn account(&self, _: &dyn Fn(u32) -> Vec<String>) -> Result<Account, Error> {
        Ok(Account::default())
    }

    fn escapes(&self) -> Result<Escapes, Error> {
        Ok(Escapes::default())
    }

    fn timeline(&self) -> Vec<Moment> {
        Vec::new()
    }
}

fn told(world: &Toy, steps: &str) -> (Ended, Vec<Stepped>) {
    let yaml = format!("scenario: it\nabout: a\ntopology: pair\nsteps:\n{steps}");
    let story: Scenario =
        meshproof_input::parse("it.yaml", &yaml).unwrap_or_else(|problem| panic!("{problem}"));
    let stop = AtomicBool::new(false);
    let seen = Mutex::new(Vec::new());
    let tell = |what: Tell| {
        if let Tell::Stepped(step) = what {
            seen.lock().expect("nobody panics").push(step);
        }
    };
    let ended = Teller::new(world, &story, &stop, &tell, Nanos::now()).run(&story);
    (ended, seen.into_inner().expect("nobody panics"))
}

/// How a story ends: steps that held, and number and words of the one that did not.
#[track_caller]
fn check(world: &Toy, steps: &str, held: u32, broken: Option<(u32, Verdict, &str)>) {
    let (ended, seen) = told(world, steps);
    assert_eq!(ended.held, held, "{seen:#?}");
    match (&ended.broken, broken) {
        (None, None) => {}
        (Some((number, verdict, why)), Some((at, expected, says))) => {
            assert_eq!((*number, *verdict), (at, expected), "{why}");
            assert!(why.contains(says), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

const PORT: &str = "{port: {pod: server, number: 12200, is: open}}";

fn right() -> Toy {
    Toy {
        outcome: "ok",
        closes_at: u64::MAX,
        ..Toy::default()
    }
}

#[test]
fn a_story_is_told_in_order_and_ends_at_the_first_step_that_does_not_hold() {
    let world = right();
    let steps = "  - call: {from: client, count: 3}\n\
                 \x20 - fault: {id: a, kind: mute, pod: server}\n\
                 \x20 - heal: a\n";
    check(&world, steps, 3, None);
    let done = world.done.lock().expect("nobody panics").clone();
    assert_eq!(done, ["call 1", "fault a", "heal a"]);
    let wrong = Toy {
        outcome: "timeout",
        ..right()
    };
    check(
        &wrong,
        steps,
        0,
        Some((1, Verdict::Fail, "3 calls: timeout 3")),
    );
    assert_eq!(wrong.done.lock().expect("nobody panics").len(), 1);
    check(
        &right(),
        "  - upgrade: {pod: server}\n",
        0,
        Some((1, Verdict::Unsupported, "do without")),
    );
}

#[test]
fn what_keepers_hold_is_healed_with_the_story_and_must_have_met_something() {
    let packets = |id: &str| {
        format!("  - fault: {{id: {id}, kind: drop, pod: server, port: 12199, from: app}}\n")
    };
    let world = right();
    // What is done to a program ends with its mesh.
    let steps = format!(
        "{}  - fault: {{id: b, kind: kill, pod: server}}\n",
        packets("a")
    );
    check(&world, &steps, 2, None);
    let done = world.done.lock().expect("nobody panics").clone();
    assert_eq!(done, ["fault a", "fault b", "heal a"]);
    let inert = Some((1, Verdict::Invalid, "after the last step: 0 of 2 counters"));
    check(&right(), &packets("inert"), 1, inert);
    let healed = format!("{}  - heal: inert\n", packets("inert"));
    check(
        &right(),
        &healed,
        1,
        Some((2, Verdict::Invalid, "0 of 2 counters")),
    );
    // What broke first stays the reason, and the fault is healed all the same.
    let world = Toy {
        closes_at: 0,
        ..right()
    };
    let broken = format!(
        "{}  - eventually: {{within: 10ms, all: [{PORT}]}}\n",
        packets("inert")
    );
    check(&world, &broken, 1, Some((2, Verdict::Fail, "closed")));
    let done = world.done.lock().expect("nobody panics").clone();
    assert_eq!(done, ["fault inert", "heal inert"]);
}

#[test]
fn calls_are_judged_by_what_belongs_to_them_or_what_the_story_says() {
    let with = |outcome| Toy { outcome, ..right() };
    let once = |more: &str| format!("  - call: {{from: client{more}}}\n");
    check(&with("sent"), &once(", style: oneway"), 1, None);
    check(&with("exception"), &once(", style: exception"), 1, None);
    check(&with("status 7"), &once(", style: timeout"), 1, None);
    check(&with("timeout"), &once(", or: [timeout]"), 1, None);
    check(&with("status 2"), &once(", expect: status 2"), 1, None);
    check(
        &with("ok"),
        &once(", expect: status 2"),
        0,
        Some((1, Verdict::Fail, "ok 1")),
    );
    check(&with("ok"), &once(", seen_by: [server]"), 1, None);
    check(
        &with("ok"),
        &once(", seen_by: [other]"),
        0,
        Some((1, Verdict::Fail, "seen by server 1")),
    );
    let surplus = Toy {
        surplus: 2,
        ..with("sent")
    };
    check(
        &surplus,
        &once(", style: oneway"),
        0,
        Some((1, Verdict::Fail, "2 answers that nobody asked for")),
    );
}

#[test]
fn what_must_become_so_is_waited_for_and_what_must_stay_so_is_looked_at() {
    let closes = |closes_at| Toy {
        closes_at,
        ..right()
    };
    let eventually = format!("  - eventually: {{within: 2s, all: [{PORT}]}}\n");
    check(&right(), &eventually, 1, None);
    check(
        &closes(0),
        &format!("  - eventually: {{within: 20ms, all: [{PORT}]}}\n"),
        0,
        Some((1, Verdict::Fail, "closed")),
    );
    let always = format!("  - always: {{for: 20ms, all: [{PORT}]}}\n");
    check(&right(), &always, 1, None);
    check(
        &closes(2),
        &always,
        0,
        Some((1, Verdict::Fail, "no more after")),
    );
    let never = format!("  - never: {{for: 20ms, any: [{PORT}]}}\n");
    check(&closes(0), &never, 1, None);
    check(&right(), &never, 0, Some((1, Verdict::Fail, "open")));
    let both = format!("  - never: {{for: 20ms, all: [{PORT}, {PORT}]}}\n");
    check(&closes(1), &both, 1, None);
    check(&right(), &both, 0, Some((1, Verdict::Fail, "open; open")));
}

#[test]
fn branches_are_numbered_through_and_the_one_that_breaks_is_told() {
    let steps = format!(
        "  - parallel:\n      a:\n        - call: {{from: client, count: 2}}\n\
         \x20     b:\n        - fault: {{id: x, kind: mute, pod: server}}\n\
         \x20       - never: {{for: 20ms, any: [{PORT}]}}\n  - call: {{from: client}}\n"
    );
    let closed = Toy {
        closes_at: 0,
        ..right()
    };
    let (ended, seen) = told(&closed, &steps);
    assert_eq!((ended.held, ended.steps), (5, 5), "{seen:#?}");
    let mut numbers: Vec<u32> = seen.iter().map(|step| step.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    check(&right(), &steps, 2, Some((4, Verdict::Fail, "open")));
    // A limit for several steps.
    let within = format!(
        "  - within: {{limit: 20ms, steps: [{{eventually: {{within: 10s, all: [{PORT}]}}}}]}}\n"
    );
    check(&right(), &within, 2, None);
    check(&closed, &within, 0, Some((2, Verdict::Fail, "closed")));
}

#[test]
fn subscriptions_latencies_and_bytes_are_judged() {
    check(
        &right(),
        "  - subscribe: {from: client, says: p=1}\n",
        1,
        None,
    );
    check(
        &right(),
        "  - subscribe: {from: client, vip: x, expect: refused, says: resolve}\n",
        1,
        None,
    );
    check(
        &right(),
        "  - subscribe: {from: client, vip: x}\n",
        0,
        Some((1, Verdict::Fail, "does not resolve")),
    );
    let calls = "  - call: {from: client, id: load, count: 4}\n";
    let latency = |limit: &str| {
        format!(
            "{calls}  - always: {{for: 1ms, all: [{{latency: {{call: load, p99: {limit}}}}}]}}\n"
        )
    };
    check(&right(), &latency("10ms"), 2, None);
    check(
        &right(),
        &latency("8ms"),
        1,
        Some((2, Verdict::Fail, "p99 9000 us")),
    );
    let send = |expect: &str| {
        format!(
            "  - send: {{from: client, to: server, port: 12200, hex: ab, expect: {expect}, \
             within: 1s}}\n"
        )
    };
    check(&right(), &send("silence"), 1, None);
    check(
        &right(),
        &send("closed"),
        0,
        Some((1, Verdict::Fail, "expected closed")),
    );
}

#[test]
fn what_a_step_allows_is_known_by_its_number() {
    let yaml = "scenario: it\nabout: a\ntopology: pair\nsteps:\n\
                \x20 - call: {from: client}\n\
                \x20 - parallel:\n\
                \x20     a: [{call: {from: client, or: [closed]}}]\n\
                \x20     b: [{call: {from: client, expect: status 7}}]\n";
    let story: Scenario = meshproof_input::parse("it.yaml", yaml).expect("a story");
    let allowed: Vec<(u32, Vec<String>)> = allowances(&story).into_iter().collect();
    let expected = [
        (1, vec![]),
        (3, vec!["closed".to_owned()]),
        (4, vec!["status 7".to_owned()]),
    ];
    assert_eq!(allowed, expected);
}
