//! Orders and what is told of them, step by step.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn waits() -> Waits {
    Waits {
        config_center_ns: 1000 * MS,
        listener_ns: 100 * MS,
        drain_ns: 5000 * MS,
        retry_ns: 500 * MS,
    }
}

/// Plays a script, one word a step:
///
/// `lost`, `back`, `drain`, `hand`, `resume`: what happens to the sidecar; `+S`, `-S`: service S
/// is published or withdrawn; `ok`, `err`: the order under way is acknowledged; `wait`: its wait
/// runs out instead. After each word stands what was ordered and told.
#[track_caller]
fn check(bugs: &[Bug], script: &str, expected: Expect) {
    let mut lifecycle = Lifecycle::new(waits(), bugs.iter().copied().collect());
    let mut out = String::new();
    let mut now = Nanos(0);
    let mut op = None;
    for word in script.split_whitespace() {
        now = now.plus_ns(MS);
        match word {
            "lost" => lifecycle.app_lost(3, now),
            "back" => lifecycle.app_back(now),
            "drain" => lifecycle.drain(now),
            "hand" => lifecycle.hand_over(now),
            "resume" => lifecycle.resume(now),
            "ok" => lifecycle.done(op.unwrap(), Ok(()), now),
            "err" => lifecycle.done(op.unwrap(), Err("no".into()), now),
            "wait" => {
                now = lifecycle.next_deadline().unwrap();
                lifecycle.tick(now);
            }
            word => match word.split_at(1) {
                ("+", service) => drop(lifecycle.published(service)),
                ("-", service) => drop(lifecycle.unpublished(service)),
                _ => panic!("{word}"),
            },
        }
        let mut line = Vec::new();
        for act in lifecycle.take_acts() {
            line.push(match act {
                Act::Deregister(n)
                | Act::Register(n)
                | Act::CloseListener(n)
                | Act::OpenListener(n)
                | Act::Drain(n) => {
                    op = Some(n);
                    let name = format!("{act:?}");
                    name.split('(').next().unwrap().to_uppercase()
                }
                Act::GoAway | Act::Finish => format!("{act:?}").to_uppercase(),
            });
        }
        for event in lifecycle.take_events() {
            assert_eq!(event.at, now);
            line.push(event.what.to_string());
        }
        out += &format!(
            "{word}: {} [{}]\n",
            line.join(", "),
            lifecycle.state().name()
        );
    }
    expected.assert_eq(&out);
}

#[test]
fn off_the_config_center_first_then_closed_and_back_the_other_way() {
    check(
        &[],
        "+A lost ok ok back ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            ok: REGISTER, listener-opened, registering services=1 [recovering]
            ok: registered services=1, serving [serving]
        "#]],
    );
}

#[test]
fn a_step_waits_for_the_one_before_it_for_so_long() {
    check(
        &[],
        "+A lost wait wait back wait wait",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            wait: CLOSELISTENER, deregister-unanswered, listener-closing [isolating]
            wait: GOAWAY, listener-unanswered, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            wait: REGISTER, listener-unanswered, registering services=1 [recovering]
            wait: register-unanswered, serving [serving]
        "#]],
    );
    check(
        &[],
        "+A lost err ok back ok err",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            err: CLOSELISTENER, deregister-unanswered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            ok: REGISTER, listener-opened, registering services=1 [recovering]
            err: register-unanswered, serving [serving]
        "#]],
    );
}

#[test]
fn the_app_comes_and_goes_in_the_middle_of_a_step() {
    // Back while the config center is being told: what was closed is opened, no more.
    check(
        &[],
        "+A lost back ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            back: app-back [recovering]
            ok: REGISTER, deregistered, registering services=1 [recovering]
            ok: registered services=1, serving [serving]
        "#]],
    );
    // Back while the listener closes.
    check(
        &[],
        "+A lost ok back ok ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            back: app-back [recovering]
            ok: GOAWAY, OPENLISTENER, listener-closed, listener-opening [recovering]
            ok: REGISTER, listener-opened, registering services=1 [recovering]
            ok: registered services=1, serving [serving]
        "#]],
    );
    // Lost again while the listener opens: it was never registered, so that it just closes.
    check(
        &[],
        "+A lost ok ok back lost ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            lost: app-lost misses=3 [isolating]
            ok: CLOSELISTENER, listener-opened, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
        "#]],
    );
    // Lost again while the config center is being told.
    check(
        &[],
        "+A lost ok ok back ok lost ok ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            ok: REGISTER, listener-opened, registering services=1 [recovering]
            lost: app-lost misses=3 [isolating]
            ok: DEREGISTER, registered services=1, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
        "#]],
    );
}

#[test]
fn a_listener_that_cannot_be_opened_is_tried_again() {
    check(
        &[],
        "+A lost ok ok back err wait err wait ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            err: listener-failed error="no" [recovering]
            wait: OPENLISTENER, listener-opening [recovering]
            err: listener-failed error="no" [recovering]
            wait: OPENLISTENER, listener-opening [recovering]
            ok: REGISTER, listener-opened, registering services=1 [recovering]
            ok: registered services=1, serving [serving]
        "#]],
    );
    check(
        &[],
        "+A lost ok ok back err lost wait",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            err: listener-failed error="no" [recovering]
            lost: app-lost misses=3 [isolating]
            wait: isolated [isolated]
        "#]],
    );
}

#[test]
fn services_that_come_and_go_while_isolated_are_remembered() {
    check(
        &[],
        "+A lost ok ok +B -A back ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            +B:  [isolated]
            -A:  [isolated]
            back: OPENLISTENER, app-back, listener-opening [recovering]
            ok: REGISTER, listener-opened, registering services=1 [recovering]
            ok: registered services=1, serving [serving]
        "#]],
    );
}

#[test]
fn the_graceful_end_goes_off_the_config_center_first() {
    check(
        &[],
        "+A drain ok ok",
        expect![[r#"
            +A:  [serving]
            drain: DEREGISTER, draining, deregistering [draining]
            ok: DRAIN, deregistered [draining]
            ok: FINISH, drained [ended]
        "#]],
    );
    check(
        &[],
        "+A drain drain wait wait",
        expect![[r#"
            +A:  [serving]
            drain: DEREGISTER, draining, deregistering [draining]
            drain:  [draining]
            wait: DRAIN, deregister-unanswered [draining]
            wait: FINISH, drain-unfinished [ended]
        "#]],
    );
    check(
        &[],
        "+A lost ok ok drain ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            ok: CLOSELISTENER, deregistered, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
            drain: DRAIN, draining [draining]
            ok: FINISH, drained [ended]
        "#]],
    );
    check(
        &[],
        "+A drain lost ok back ok",
        expect![[r#"
            +A:  [serving]
            drain: DEREGISTER, draining, deregistering [draining]
            lost: app-lost misses=3 [draining]
            ok: DRAIN, deregistered [draining]
            back: app-back [draining]
            ok: FINISH, drained [ended]
        "#]],
    );
    check(
        &[],
        "+A lost drain ok ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            drain: draining [draining]
            ok: DRAIN, deregistered [draining]
            ok: FINISH, drained [ended]
        "#]],
    );
}

#[test]
fn a_successor_finds_everything_as_it_was() {
    check(
        &[],
        "+A hand lost back drain",
        expect![[r#"
            +A:  [serving]
            hand: handing-over [handing-over]
            lost: app-lost misses=3 [handing-over]
            back: app-back [handing-over]
            drain:  [handing-over]
        "#]],
    );
    check(
        &[],
        "+A lost hand ok resume ok",
        expect![[r#"
            +A:  [serving]
            lost: DEREGISTER, app-lost misses=3, deregistering [isolating]
            hand: handing-over [handing-over]
            ok:  [handing-over]
            resume: CLOSELISTENER, listener-closing [isolating]
            ok: GOAWAY, listener-closed, isolated [isolated]
        "#]],
    );
    // Every point of an isolation and a recovery: the successor takes the step that comes next.
    for (script, next) in [
        ("", None),
        ("lost", Some(Act::CloseListener(Op(1)))),
        ("lost ok", None),
        ("lost ok ok", None),
        ("lost ok ok back", Some(Act::Register(Op(1)))),
        ("lost ok ok back ok", None),
        ("lost back", Some(Act::Register(Op(1)))),
        ("lost ok back", Some(Act::OpenListener(Op(1)))),
    ] {
        let mut old = Lifecycle::new(waits(), Bugs::NONE);
        old.published("A");
        let mut ops = 0;
        for word in script.split(' ') {
            match word {
                "lost" => old.app_lost(3, Nanos(0)),
                "back" => old.app_back(Nanos(0)),
                "ok" => {
                    ops += 1;
                    old.done(Op(ops), Ok(()), Nanos(0));
                }
                _ => {}
            }
        }
        let saved = old.saved();
        let mut new = Lifecycle::restored(saved.clone(), waits(), Bugs::NONE);
        assert_eq!(new.saved(), saved);
        assert!(new.take_acts().is_empty(), "nothing before it is its turn");
        new.resume(Nanos(1));
        let acts = new.take_acts();
        assert_eq!(acts.first().copied(), next, "{script}");
    }
}

#[test]
fn acknowledgements_of_orders_that_are_over_change_nothing() {
    let mut lifecycle = Lifecycle::new(waits(), Bugs::NONE);
    lifecycle.app_lost(3, Nanos(0));
    let [Act::Deregister(op)] = lifecycle.take_acts()[..] else {
        panic!("nothing was ordered");
    };
    lifecycle.tick(Nanos(1000 * MS));
    let [Act::CloseListener(_)] = lifecycle.take_acts()[..] else {
        panic!("the next step was not taken");
    };
    lifecycle.take_events();
    lifecycle.done(op, Ok(()), Nanos(1001 * MS));
    assert!(lifecycle.take_acts().is_empty() && lifecycle.take_events().is_empty());
    assert_eq!(lifecycle.state(), State::Isolating);
}

#[test]
fn heartbeats_begin_with_the_first_service_and_end_with_the_last() {
    let mut lifecycle = Lifecycle::new(waits(), Bugs::NONE);
    assert!(lifecycle.published("A"));
    assert!(!lifecycle.published("A"));
    assert!(!lifecycle.published("B"));
    assert!(!lifecycle.unpublished("A"));
    assert!(!lifecycle.unpublished("A"));
    assert!(lifecycle.unpublished("B"));
    assert!(!lifecycle.unpublished("B"));
    assert!(lifecycle.published("B"));
}

/// What can happen to a sidecar.
#[derive(Clone, Copy, Debug)]
enum Step1 {
    Lost,
    Back,
    Ok,
    Err,
    Wait,
}

proptest! {
    /// Whatever happens in whatever order: the config center never names a pod whose listener is
    /// closed (it is told off before closing, and told on after opening), and once the app is
    /// left alone the sidecar arrives where it belongs.
    #[test]
    fn the_config_center_never_names_a_closed_door(
        steps in prop::collection::vec(
            prop_oneof![
                Just(Step1::Lost), Just(Step1::Back), Just(Step1::Ok), Just(Step1::Ok),
                Just(Step1::Err), Just(Step1::Wait),
            ],
            0..60,
        ),
    ) {
        let mut lifecycle = Lifecycle::new(waits(), Bugs::NONE);
        let mut now = Nanos(0);
        // What the config center and the kernel were told last, and what is under way.
        let (mut named, mut open) = (true, true);
        let mut under_way: Option<Act> = None;
        let mut lost = false;
        let settle = [Step1::Ok; 8];
        for step in steps.into_iter().chain(settle) {
            now = now.plus_ns(MS);
            match step {
                Step1::Lost => {
                    lost = true;
                    lifecycle.app_lost(3, now);
                }
                Step1::Back => {
                    lost = false;
                    lifecycle.app_back(now);
                }
                Step1::Ok | Step1::Err => {
                    let result = match step {
                        Step1::Err => Err("no".to_owned()),
                        _ => Ok(()),
                    };
                    let failed = result.is_err();
                    match under_way.take() {
                        Some(Act::OpenListener(op)) => {
                            open = !failed;
                            lifecycle.done(op, result, now);
                        }
                        Some(
                            Act::Register(op) | Act::Deregister(op) | Act::CloseListener(op),
                        ) => lifecycle.done(op, result, now),
                        // A listener that failed rests.
                        _ => if let Some(at) = lifecycle.next_deadline() {
                            now = at;
                            lifecycle.tick(now);
                        },
                    }
                }
                Step1::Wait => if let Some(at) = lifecycle.next_deadline() {
                    now = at;
                    if matches!(under_way, Some(Act::OpenListener(_))) {
                        open = true;
                    }
                    under_way = None;
                    lifecycle.tick(now);
                },
            }
            for act in lifecycle.take_acts() {
                match act {
                    Act::Register(_) => {
                        prop_assert!(open, "registered behind a closed door");
                        named = true;
                    }
                    Act::Deregister(_) => named = false,
                    Act::CloseListener(_) => {
                        prop_assert!(!named, "closed while the config center sends clients");
                        open = false;
                    }
                    Act::GoAway => {
                        prop_assert!(!open);
                        continue;
                    }
                    _ => {}
                }
                prop_assert!(under_way.replace(act).is_none(), "two orders at a time");
            }
        }
        let expected = if lost { State::Isolated } else { State::Serving };
        prop_assert_eq!(lifecycle.state(), expected);
        prop_assert_eq!(named, !lost);
        prop_assert_eq!(open, !lost);
    }
}
