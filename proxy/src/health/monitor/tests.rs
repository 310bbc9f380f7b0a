//! The two laws of detection, on virtual time.

use meshproof_input::Millis;
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn settings(interval_ms: u64, timeout_ms: u64, misses: u32) -> Heartbeat {
    Heartbeat {
        interval: Millis(interval_ms),
        timeout: Millis(timeout_ms),
        misses,
    }
}

/// How the app ceases to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Silence {
    /// It takes connections and heartbeats, and says nothing.
    Mute,
    /// It is gone: connections end, and new ones are refused.
    Gone,
    /// Its packets are dropped: no connect ever ends.
    Dropped,
}

/// An app that answers at once, but for the time from `silent_from` to `silent_to`.
struct App {
    silence: Silence,
    silent_from: Nanos,
    silent_to: Nanos,
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// When a heartbeat left.
    sent: Vec<Nanos>,
    answered: Vec<Nanos>,
    missed: Vec<Nanos>,
    lost: Vec<Nanos>,
    back: Vec<Nanos>,
}

impl App {
    fn well() -> App {
        App {
            silence: Silence::Mute,
            silent_from: Nanos(u64::MAX),
            silent_to: Nanos(u64::MAX),
        }
    }

    fn is_silent(&self, now: Nanos) -> bool {
        self.silent_from <= now && now < self.silent_to
    }

    /// Lets time pass until `end`, deadline by deadline.
    fn run(&self, monitor: &mut Monitor, begin: Nanos, end: Nanos) -> Seen {
        let mut seen = Seen::default();
        let mut now = begin;
        let mut open: Option<Link> = None;
        let mut told_of_end = false;
        monitor.start(now);
        loop {
            for action in monitor.take_actions() {
                match action {
                    Action::Connect(link) => match (self.is_silent(now), self.silence) {
                        (true, Silence::Gone) => monitor.connected(link, Err(())),
                        (true, Silence::Dropped) => {}
                        _ => {
                            open = Some(link);
                            monitor.connected(link, Ok(()));
                        }
                    },
                    Action::Send { link, id } => {
                        seen.sent.push(now);
                        if !self.is_silent(now) {
                            monitor.answered(link, id, now);
                        }
                    }
                    Action::Close(link) => open = open.filter(|known| *known != link),
                }
            }
            // What a connect has set off is carried out at the same moment.
            for action in monitor.take_actions() {
                if let Action::Send { link, id } = action {
                    seen.sent.push(now);
                    if !self.is_silent(now) {
                        monitor.answered(link, id, now);
                    }
                }
            }
            for (at, sign) in monitor.take_signs() {
                assert_eq!(at, now);
                match sign {
                    Sign::Answered => seen.answered.push(at),
                    Sign::Missed { .. } => seen.missed.push(at),
                    Sign::Lost { .. } => seen.lost.push(at),
                    Sign::Back => seen.back.push(at),
                }
            }
            let mut next = monitor.next_deadline().unwrap();
            if self.silence == Silence::Gone && !told_of_end && self.silent_from < next {
                told_of_end = true;
                next = next.min(self.silent_from.max(now));
                if let Some(link) = open.take() {
                    now = next;
                    monitor.closed(link);
                    continue;
                }
            }
            if next > end {
                return seen;
            }
            now = next;
            monitor.tick(now);
        }
    }
}

#[test]
fn heartbeats_go_out_every_interval_whatever_the_answers() {
    let begin = Nanos(7 * MS);
    let end = begin.plus_ns(100_000 * MS);
    let every: Vec<Nanos> = (0..=100).map(|n| begin.plus_ns(n * 1000 * MS)).collect();
    let well = App::well().run(
        &mut Monitor::new(settings(1000, 500, 3), Bugs::NONE),
        begin,
        end,
    );
    assert_eq!(well.sent, every);
    assert_eq!(well.answered, every);
    assert!(well.missed.is_empty() && well.lost.is_empty());
    let mute = App {
        silence: Silence::Mute,
        silent_from: Nanos(0),
        silent_to: Nanos(u64::MAX),
    };
    let seen = mute.run(
        &mut Monitor::new(settings(1000, 500, 3), Bugs::NONE),
        begin,
        end,
    );
    assert_eq!(seen.sent, every);
    assert_eq!(seen.missed.len(), 100);
    assert_eq!(seen.lost, [begin.plus_ns(2500 * MS)]);
}

/// Law A: from the send of the last answered heartbeat, T + N·I.
#[test]
fn detection_takes_a_timeout_and_n_intervals_from_the_last_answered_heartbeat() {
    for silence in [Silence::Mute, Silence::Gone, Silence::Dropped] {
        for (interval, timeout, misses) in [
            (1000, 500, 3),
            (1000, 1000, 3),
            (1000, 1, 1),
            (200, 150, 2),
            (50, 50, 10),
            (5000, 3000, 1),
        ] {
            for silent_after_ms in [1, 999, 1000, 1001, 12_345, 50_000] {
                let begin = Nanos(3 * MS);
                let app = App {
                    silence,
                    silent_from: begin.plus_ns(silent_after_ms * MS),
                    silent_to: Nanos(u64::MAX),
                };
                let mut monitor = Monitor::new(settings(interval, timeout, misses), Bugs::NONE);
                let seen = app.run(&mut monitor, begin, begin.plus_ns(200_000 * MS));
                let last = *seen.answered.last().unwrap();
                let law = (timeout + u64::from(misses) * interval) * MS;
                assert_eq!(
                    seen.lost,
                    [last.plus_ns(law)],
                    "{silence:?} I={interval} T={timeout} N={misses} after {silent_after_ms} ms"
                );
                assert!(seen.back.is_empty());
            }
        }
    }
}

/// Law B: from the instant of silence, uniform within [T + (N−1)·I, T + N·I].
#[test]
fn detection_is_uniform_over_one_interval_from_the_silence() {
    const RUNS: usize = 10_000;
    let (interval, timeout, misses) = (1000, 400, 3);
    let low = ((timeout + (misses - 1) * interval) * MS) as f64;
    let width = (interval * MS) as f64;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut places = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let app = App {
            silence: Silence::Mute,
            // Some interval, some place in it, to the nanosecond.
            silent_from: Nanos(2000 * MS + (seed >> 11) % (5 * interval * MS)),
            silent_to: Nanos(u64::MAX),
        };
        let mut monitor = Monitor::new(settings(interval, timeout, misses as u32), Bugs::NONE);
        let seen = app.run(&mut monitor, Nanos(0), Nanos(20_000 * MS));
        let [lost] = seen.lost[..] else {
            panic!("lost {} times", seen.lost.len());
        };
        let place = (lost.since(app.silent_from) as f64 - low) / width;
        assert!((0.0..=1.0).contains(&place), "{place}");
        places.push(place);
    }
    // Kolmogorov and Smirnov: of uniform samples, 1 in 1000 strays further than this.
    places.sort_by(f64::total_cmp);
    let n = RUNS as f64;
    let stray = places
        .iter()
        .enumerate()
        .map(|(i, place)| ((i as f64 + 1.0) / n - place).max(place - i as f64 / n))
        .fold(0.0, f64::max);
    assert!(stray < 1.95 / n.sqrt(), "{stray}");
}

#[test]
fn one_answer_is_enough_to_be_back_and_the_grid_stays() {
    for silence in [Silence::Mute, Silence::Gone, Silence::Dropped] {
        let app = App {
            silence,
            silent_from: Nanos(4500 * MS),
            silent_to: Nanos(12_300 * MS),
        };
        let mut monitor = Monitor::new(settings(1000, 500, 3), Bugs::NONE);
        let seen = app.run(&mut monitor, Nanos(0), Nanos(30_000 * MS));
        assert_eq!(seen.lost, [Nanos(7500 * MS)], "{silence:?}");
        assert_eq!(seen.back, [Nanos(13_000 * MS)], "{silence:?}");
        assert_eq!(seen.answered.len(), 5 + 18);
        assert!(!monitor.is_lost());
    }
}

#[test]
fn fewer_misses_than_it_takes_are_forgotten_with_an_answer() {
    for slots in 1..3 {
        let app = App {
            silence: Silence::Mute,
            silent_from: Nanos(1500 * MS),
            silent_to: Nanos((1500 + slots * 1000) * MS),
        };
        let mut monitor = Monitor::new(settings(1000, 500, 3), Bugs::NONE);
        let seen = app.run(&mut monitor, Nanos(0), Nanos(10_000 * MS));
        assert_eq!(seen.missed.len() as u64, slots);
        assert!(seen.lost.is_empty() && seen.back.is_empty());
    }
}

#[test]
fn a_late_answer_and_one_of_another_connection_are_none() {
    let mut monitor = Monitor::new(settings(1000, 500, 1), Bugs::NONE);
    monitor.start(Nanos(0));
    assert_eq!(monitor.take_actions(), [Action::Connect(Link(1))]);
    monitor.connected(Link(1), Ok(()));
    let [Action::Send { link: Link(1), id }] = monitor.take_actions()[..] else {
        panic!("no heartbeat");
    };
    monitor.answered(Link(2), id, Nanos(1));
    monitor.answered(Link(1), id.wrapping_add(1), Nanos(1));
    assert!(monitor.take_signs().is_empty());
    monitor.tick(Nanos(500 * MS));
    monitor.answered(Link(1), id, Nanos(501 * MS));
    assert_eq!(
        monitor.take_signs(),
        [
            (Nanos(500 * MS), Sign::Missed { in_a_row: 1 }),
            (Nanos(500 * MS), Sign::Lost { misses: 1 }),
        ]
    );
    assert_eq!(monitor.take_actions(), [Action::Close(Link(1))]);
}

/// The process was stopped for a while: what it did not ask it cannot have missed.
#[test]
fn slots_that_were_slept_through_are_no_misses() {
    let mut monitor = Monitor::new(settings(1000, 500, 3), Bugs::NONE);
    monitor.start(Nanos(0));
    monitor.connected(Link(1), Ok(()));
    monitor.answered(Link(1), 1, Nanos(1));
    monitor.take_actions();
    monitor.take_signs();
    monitor.tick(Nanos(60_700 * MS));
    assert_eq!(
        monitor.take_actions(),
        [Action::Send {
            link: Link(1),
            id: 2
        }]
    );
    // It gets what is left until the next slot, and the grid stays.
    assert_eq!(monitor.next_deadline(), Some(Nanos(61_000 * MS)));
    monitor.answered(Link(1), 2, Nanos(60_900 * MS));
    assert_eq!(monitor.take_signs().len(), 1);
    assert_eq!(monitor.next_deadline(), Some(Nanos(61_000 * MS)));
}

#[test]
fn stopped_it_is_silent_and_new_settings_hold_from_the_next_slot() {
    let mut monitor = Monitor::new(settings(10_000, 500, 3), Bugs::NONE);
    monitor.start(Nanos(0));
    monitor.connected(Link(1), Ok(()));
    monitor.answered(Link(1), 1, Nanos(1));
    monitor.configure(settings(1000, 500, 3), Nanos(200 * MS));
    assert_eq!(monitor.next_deadline(), Some(Nanos(1200 * MS)));
    monitor.stop();
    assert_eq!(monitor.next_deadline(), None);
    assert!(monitor.take_actions().contains(&Action::Close(Link(1))));
    monitor.tick(Nanos(5000 * MS));
    assert!(monitor.take_actions().is_empty());
    monitor.start(Nanos(6000 * MS));
    assert_eq!(monitor.take_actions(), [Action::Connect(Link(2))]);
}

proptest! {
    /// Whatever is answered and whatever is not: a heartbeat is sent in every slot, each has one
    /// end, and the app is lost exactly when the last N were missed.
    #[test]
    fn any_pattern_of_answers(
        answers in prop::collection::vec(any::<bool>(), 1..60),
        interval in 2u64..2000,
        share in 0.0f64..=1.0,
        misses in 1u32..6,
    ) {
        let timeout = ((interval as f64 * share) as u64).max(1);
        let mut monitor = Monitor::new(settings(interval, timeout, misses), Bugs::NONE);
        let mut now = Nanos(0);
        let (mut in_a_row, mut lost) = (0, false);
        monitor.start(now);
        for (slot, answer) in answers.iter().enumerate() {
            prop_assert_eq!(now, Nanos(slot as u64 * interval * MS));
            let mut sent = None;
            for _ in 0..2 {
                for action in monitor.take_actions() {
                    match action {
                        Action::Connect(link) => monitor.connected(link, Ok(())),
                        Action::Send { link, id } => prop_assert!(sent.replace((link, id)).is_none()),
                        Action::Close(_) => {}
                    }
                }
            }
            let (link, id) = sent.unwrap();
            let mut expected = Vec::new();
            if *answer {
                monitor.answered(link, id, now);
                expected.push((now, Sign::Answered));
                if lost {
                    expected.push((now, Sign::Back));
                }
                (in_a_row, lost) = (0, false);
            } else {
                let judged = now.plus_ns(timeout * MS);
                prop_assert_eq!(monitor.next_deadline(), Some(judged));
                in_a_row += 1;
                monitor.tick(judged);
                expected.push((judged, Sign::Missed { in_a_row }));
                if in_a_row >= misses && !lost {
                    lost = true;
                    expected.push((judged, Sign::Lost { misses: in_a_row }));
                }
            }
            prop_assert_eq!(monitor.take_signs(), expected);
            prop_assert_eq!(monitor.is_lost(), lost);
            now = Nanos((slot as u64 + 1) * interval * MS);
            monitor.tick(now);
        }
    }
}
