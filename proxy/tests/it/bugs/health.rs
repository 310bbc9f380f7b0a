//! The app's health on virtual time: a monitor and a lifecycle whose orders are carried out at
//! once, and an app that answers or does not.

use meshproof_input::Millis;
use meshproof_proxy::config::Heartbeat;
use meshproof_proxy::health::{Act, Action, Lifecycle, Monitor, Sign, Waits};
use meshproof_proxy::{Bug, Bugs};
use meshproof_sys::clock::Nanos;

const MS: u64 = 1_000_000;

/// What was ordered, in order, when the app of a pod falls silent after 5 s and answers again
/// after 15 s; nothing is ordered for the last 10 s of 30.
pub(crate) fn story(bug: Option<Bug>) -> Vec<&'static str> {
    let bugs: Bugs = bug.into_iter().collect();
    let settings = Heartbeat {
        interval: Millis(1000),
        timeout: Millis(500),
        misses: 3,
    };
    let waits = Waits {
        config_center_ns: 1000 * MS,
        listener_ns: 1000 * MS,
        drain_ns: 1000 * MS,
        retry_ns: 500 * MS,
    };
    let mut monitor = Monitor::new(settings, bugs);
    let mut lifecycle = Lifecycle::new(waits, bugs);
    let mut ordered = Vec::new();
    let mut now = Nanos(0);
    assert!(lifecycle.published("com.example.Sample:1.0"));
    monitor.start(now);
    while now < Nanos(30_000 * MS) {
        let is_silent = (5000 * MS..15_000 * MS).contains(&now.0);
        for _ in 0..2 {
            for action in monitor.take_actions() {
                match action {
                    Action::Connect(link) => monitor.connected(link, Ok(())),
                    Action::Send { link, id } if !is_silent => monitor.answered(link, id, now),
                    Action::Send { .. } | Action::Close(_) => {}
                }
            }
        }
        for (at, sign) in monitor.take_signs() {
            match sign {
                Sign::Lost { misses } => lifecycle.app_lost(misses, at),
                Sign::Back => lifecycle.app_back(at),
                Sign::Answered | Sign::Missed { .. } => {}
            }
        }
        loop {
            let acts = lifecycle.take_acts();
            if acts.is_empty() {
                break;
            }
            for act in acts {
                assert!(now < Nanos(20_000 * MS), "{act:?} at {now:?}");
                let (name, op) = match act {
                    Act::Deregister(op) => ("deregister", Some(op)),
                    Act::Register(op) => ("register", Some(op)),
                    Act::CloseListener(op) => ("close", Some(op)),
                    Act::OpenListener(op) => ("open", Some(op)),
                    Act::GoAway => ("goaway", None),
                    Act::Drain(_) | Act::Finish => panic!("{act:?}"),
                };
                ordered.push(name);
                if let Some(op) = op {
                    lifecycle.done(op, Ok(()), now);
                }
            }
        }
        now = monitor.next_deadline().unwrap();
        monitor.tick(now);
    }
    ordered
}

/// What a correct sidecar does.
pub(crate) const RIGHT: [&str; 5] = ["deregister", "close", "goaway", "open", "register"];
