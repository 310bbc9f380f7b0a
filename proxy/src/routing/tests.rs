//! The router: only candidates, fairly, and never from a table of yesterday.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use meshproof_sys::clock::Nanos;
use meshproof_wire::Protocol;
use proptest::prelude::*;

use super::{Choice, Endpoint, NoRoute, Query, Router, Rule, Service, Settings, Table};
use crate::Bugs;
use crate::config::{Balance, Cache};
use crate::metrics::Metrics;

const SERVICE: &str = "com.example.Service:1.0";
const CALL: Query<'_> = Query {
    service: SERVICE,
    class: "C",
    protocol: Protocol::BoltV1,
};

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 12200))
}

/// `1`, `2 bolt`, `3 tr`, `4 weight=5`, `5 zone=a`, with `|` between them.
fn service(text: &str) -> Service {
    let endpoints = text
        .split('|')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .map(|one| {
            let mut words = one.split(' ');
            let number = words.next().and_then(|word| word.parse().ok()).unwrap();
            let mut endpoint = Endpoint {
                address: address(number),
                bolt: true,
                tr: true,
                zone: String::new(),
                weight: 100,
            };
            for word in words {
                match word.split_once('=') {
                    None if word == "bolt" => endpoint.tr = false,
                    None if word == "tr" => endpoint.bolt = false,
                    Some(("zone", zone)) => endpoint.zone = zone.to_owned(),
                    Some(("weight", weight)) => endpoint.weight = weight.parse().unwrap(),
                    _ => panic!("`{word}`?"),
                }
            }
            endpoint
        })
        .collect();
    Service {
        endpoints,
        ..Service::default()
    }
}

fn table(generation: u64, text: &str) -> Arc<Table> {
    Arc::new(Table {
        generation,
        services: HashMap::from([(SERVICE.to_owned(), service(text))]),
        rules: Vec::new(),
    })
}

fn router(settings: Settings) -> (Router, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    (
        Router::new(settings, Arc::clone(&metrics), Bugs::NONE),
        metrics,
    )
}

fn by(balance: Balance) -> Settings {
    Settings {
        balance,
        ..Settings::default()
    }
}

/// How often each was chosen, by its last number.
fn spread(router: &mut Router, query: &Query<'_>, calls: usize, now: Nanos) -> BTreeMap<u8, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        let choice = router.select(query, now).unwrap();
        let SocketAddr::V4(to) = choice.to else {
            panic!("{choice:?}");
        };
        *counts.entry(to.ip().octets()[3]).or_default() += 1;
    }
    counts
}

#[track_caller]
fn check_spread(settings: Settings, text: &str, calls: usize, expect: &[(u8, usize)]) {
    let (mut router, _) = router(settings);
    router.publish(table(1, text));
    let counts = spread(&mut router, &CALL, calls, Nanos(0));
    assert_eq!(counts, expect.iter().copied().collect());
}

#[test]
fn round_robin_gives_each_the_same() {
    let settings = || by(Balance::RoundRobin);
    check_spread(
        settings(),
        "1|2|3",
        3000,
        &[(1, 1000), (2, 1000), (3, 1000)],
    );
    check_spread(
        settings(),
        "1|2|3|4|5|6|7",
        7,
        &[1, 2, 3, 4, 5, 6, 7].map(|n| (n, 1)),
    );
    check_spread(settings(), "1", 5, &[(1, 5)]);
    // Those that do not speak the protocol take no turn.
    check_spread(settings(), "1|2 tr|3|4 tr", 1000, &[(1, 500), (3, 500)]);
}

#[test]
fn weights_are_kept_exactly_and_smoothly() {
    let settings = || by(Balance::Weighted);
    let list = "1 weight=5|2 weight=1|3 weight=1";
    check_spread(settings(), list, 700, &[(1, 500), (2, 100), (3, 100)]);
    check_spread(settings(), "1 weight=0|2", 101, &[(1, 1), (2, 100)]);
    let heavy = format!("1 weight={0}|2 weight={0}", u32::MAX);
    check_spread(settings(), &heavy, 1000, &[(1, 500), (2, 500)]);
    let (mut router, _) = router(settings());
    router.publish(table(1, list));
    let order: Vec<SocketAddr> = (0..7)
        .map(|_| router.select(&CALL, Nanos(0)).unwrap().to)
        .collect();
    assert_eq!(order, [1, 1, 2, 1, 3, 1, 1].map(address));
}

#[test]
fn random_spreads_and_follows_its_seed() {
    let settings = |seed| Settings {
        seed,
        ..by(Balance::Random)
    };
    let run = |seed| {
        let (mut router, _) = router(settings(seed));
        router.publish(table(1, "1|2|3|4"));
        let first: Vec<SocketAddr> = (0..32)
            .map(|_| router.select(&CALL, Nanos(0)).unwrap().to)
            .collect();
        (first, spread(&mut router, &CALL, 4000, Nanos(0)))
    };
    let (first, counts) = run(1);
    assert_eq!(run(1).0, first);
    assert_ne!(run(2).0, first);
    // Six standard deviations of a fair choice; the seed makes it a fixed number anyway.
    assert!(
        counts.values().all(|count| count.abs_diff(1000) < 165),
        "{counts:?}"
    );
    assert_eq!(counts.len(), 4);
}

#[test]
fn sidecars_that_start_together_do_not_begin_with_the_same_provider() {
    let firsts: BTreeSet<SocketAddr> = (0..64)
        .map(|seed| {
            let (mut router, _) = router(Settings {
                seed,
                ..Settings::default()
            });
            router.publish(table(1, "1|2|3|4"));
            router.select(&CALL, Nanos(0)).unwrap().to
        })
        .collect();
    assert_eq!(firsts.len(), 4);
}

#[test]
fn the_own_zone_comes_first_where_it_has_somebody() {
    let zoned = |zone: &str| Settings {
        zone_first: Some(zone.to_owned()),
        ..Settings::default()
    };
    let list = "1 zone=a|2 zone=b|3 zone=a|4";
    check_spread(zoned("a"), list, 100, &[(1, 50), (3, 50)]);
    check_spread(zoned("b"), list, 100, &[(2, 100)]);
    check_spread(zoned("c"), list, 100, &[1, 2, 3, 4].map(|n| (n, 25)));
    check_spread(zoned(""), list, 100, &[1, 2, 3, 4].map(|n| (n, 25)));
    // One that does not speak the protocol does not count as somebody.
    check_spread(zoned("a"), "1 zone=a tr|2 zone=b", 10, &[(2, 10)]);
}

#[test]
fn one_that_cannot_be_reached_is_passed_over_unless_all_are() {
    let (mut router, _) = router(Settings {
        zone_first: Some("a".to_owned()),
        ..Settings::default()
    });
    router.publish(table(1, "1 zone=a|2 zone=a|3"));
    let second = Nanos(1_000_000_000);
    router.unreachable(address(1), Nanos(0));
    let now = Nanos(second.0 - 1);
    assert_eq!(
        spread(&mut router, &CALL, 10, now),
        BTreeMap::from([(2, 10)])
    );
    router.unreachable(address(2), now);
    assert_eq!(
        spread(&mut router, &CALL, 10, now),
        BTreeMap::from([(3, 10)])
    );
    router.unreachable(address(3), now);
    let all = spread(&mut router, &CALL, 10, now);
    assert_eq!(all, BTreeMap::from([(1, 5), (2, 5)]), "as if none were");
    assert_eq!(
        spread(&mut router, &CALL, 4, second),
        BTreeMap::from([(1, 4)])
    );
    router.reached(address(2));
    assert_eq!(
        spread(&mut router, &CALL, 4, second),
        BTreeMap::from([(1, 2), (2, 2)])
    );
}

#[track_caller]
fn check_rules(rules: &[(&str, &str, u8)], service: &str, class: &str, expect: Result<u8, &str>) {
    let some = |text: &str| (text != "*").then(|| text.to_owned());
    let rules = rules.iter().map(|(service, class, to)| Rule {
        service: some(service),
        class: some(class),
        target: Service {
            timeout_ms: Some(u32::from(*to)),
            ..self::service(&to.to_string())
        },
    });
    let (mut router, _) = router(Settings::default());
    router.publish(Arc::new(Table {
        rules: rules.collect(),
        ..(*table(1, "9")).clone()
    }));
    let query = Query {
        service,
        class,
        protocol: Protocol::BoltV2,
    };
    // The second time from the cache.
    for _ in 0..2 {
        let chosen = router.select(&query, Nanos(0));
        match expect {
            Ok(number) => assert_eq!(
                chosen,
                Ok(Choice {
                    to: address(number),
                    timeout_ms: (number != 9).then_some(u32::from(number)),
                })
            ),
            Err(text) => assert_eq!(chosen.unwrap_err().to_string(), text),
        }
    }
}

#[test]
fn the_first_rule_that_holds_is_taken() {
    check_rules(&[], SERVICE, "C", Ok(9));
    check_rules(&[("*", "*", 1)], SERVICE, "C", Ok(1));
    check_rules(&[("*", "D", 1)], SERVICE, "C", Ok(9));
    check_rules(
        &[("*", "D", 1), ("*", "C", 2), ("*", "*", 3)],
        "",
        "C",
        Ok(2),
    );
    check_rules(&[("a:1", "C", 1), (SERVICE, "*", 2)], SERVICE, "C", Ok(2));
    check_rules(&[("a:1", "C", 1), (SERVICE, "*", 2)], "a:1", "C", Ok(1));
    check_rules(
        &[("a:1", "C", 1)],
        "a:1",
        "D",
        Err("service `a:1` was never subscribed to, and no route names it"),
    );
    check_rules(
        &[("*", "D", 1)],
        "",
        "C",
        Err(
            "the call names no service, and no route is for class `C`: add one under \
             `outbound.routes`",
        ),
    );
}

#[test]
fn why_nothing_is_chosen() {
    let (mut router, _) = router(Settings::default());
    let by_tr = Query {
        protocol: Protocol::Tr,
        ..CALL
    };
    assert_eq!(
        router.select(&CALL, Nanos(0)),
        Err(NoRoute::Unknown(SERVICE.to_owned()))
    );
    router.publish(table(1, ""));
    assert_eq!(
        router.select(&CALL, Nanos(0)),
        Err(NoRoute::Empty(SERVICE.to_owned()))
    );
    router.publish(table(2, "1 bolt"));
    let none = NoRoute::Protocol {
        service: SERVICE.to_owned(),
        protocol: Protocol::Tr,
    };
    assert_eq!(router.select(&by_tr, Nanos(0)), Err(none));
    assert!(router.select(&CALL, Nanos(0)).is_ok());
}

fn cache(metrics: &Metrics) -> [u64; 3] {
    [
        metrics.cache_hits.value(),
        metrics.cache_misses.value(),
        metrics.cache_stale.value(),
    ]
}

#[test]
fn who_is_called_does_not_depend_on_the_cache() {
    let settings = |cache| Settings {
        cache,
        ..Settings::default()
    };
    let (mut warm, warm_counts) = router(settings(Cache::Warm));
    let (mut cold, cold_counts) = router(settings(Cache::Cold));
    for (generation, text) in [(1, "1 | 2 | 3"), (2, "2 | 3"), (3, "1 | 2 | 3 | 4")] {
        for router in [&mut warm, &mut cold] {
            router.publish(table(generation, text));
        }
        let chosen = |router: &mut Router| -> Vec<SocketAddr> {
            let calls = (0..12).map(|_| router.select(&CALL, Nanos(0)).unwrap().to);
            calls.collect()
        };
        assert_eq!(chosen(&mut warm), chosen(&mut cold), "{text}");
    }
    assert_eq!(cache(&warm_counts), [33, 1, 2]);
    assert_eq!(cache(&cold_counts), [0, 36, 0]);
}

#[test]
fn the_cache_counts_and_forgets_at_once() {
    let (mut router, metrics) = router(Settings::default());
    router.publish(table(1, "1"));
    assert_eq!(router.select(&CALL, Nanos(0)).unwrap().to, address(1));
    assert_eq!(cache(&metrics), [0, 1, 0]);
    for _ in 0..5 {
        router.select(&CALL, Nanos(0)).unwrap();
    }
    // No rule asks for a class: another one shares the entry.
    let other = Query { class: "D", ..CALL };
    router.select(&other, Nanos(0)).unwrap();
    assert_eq!(cache(&metrics), [6, 1, 0]);
    router.publish(table(2, "2"));
    assert_eq!(router.select(&CALL, Nanos(0)).unwrap().to, address(2));
    assert_eq!(cache(&metrics), [6, 1, 1]);
    router.configure(Settings::default());
    router.select(&CALL, Nanos(0)).unwrap();
    assert_eq!(cache(&metrics), [6, 1, 2]);
    // An older table changes nothing, not even the cache.
    router.publish(table(1, "1"));
    assert_eq!(router.select(&CALL, Nanos(0)).unwrap().to, address(2));
    assert_eq!((router.generation(), cache(&metrics)), (2, [7, 1, 2]));
}

#[test]
fn classes_without_end_do_not_fill_the_memory() {
    let (mut router, metrics) = router(Settings::default());
    let rule = Rule {
        class: Some("C".to_owned()),
        ..Rule::default()
    };
    router.publish(Arc::new(Table {
        rules: vec![rule],
        ..(*table(1, "1")).clone()
    }));
    for n in 0..20_000 {
        let class = format!("class{n}");
        let query = Query {
            class: &class,
            ..CALL
        };
        router.select(&query, Nanos(0)).unwrap();
        assert!(router.cached() <= 8192);
    }
    assert_eq!(metrics.cache_misses.value(), 20_000);
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        generation: u64,
        list: Vec<Endpoint>,
    },
    Unreachable(u8),
    Reached(u8),
    Later(u64),
    Zone(Option<String>),
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let protocols = prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))];
    (0_u8..6, protocols, "[ab]?", 0_u32..5).prop_map(|(number, (bolt, tr), zone, weight)| {
        Endpoint {
            address: address(number),
            bolt,
            tr,
            zone,
            weight,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..20, prop::collection::vec(endpoint(), 0..6))
            .prop_map(|(generation, list)| Step::Publish { generation, list }),
        (0_u8..6).prop_map(Step::Unreachable),
        (0_u8..6).prop_map(Step::Reached),
        (0_u64..2_000_000_000).prop_map(Step::Later),
        prop::option::of("[ab]").prop_map(Step::Zone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens, each choice is of the newest table and speaks the protocol; there is one
    /// exactly where there is a candidate, of the own zone where that has one that is not passed
    /// over.
    #[test]
    fn only_candidates_are_chosen(
        steps in prop::collection::vec(step(), 1..40),
        balance in prop_oneof![
            Just(Balance::RoundRobin), Just(Balance::Random), Just(Balance::Weighted)
        ],
        seed in any::<u64>(),
    ) {
        let mut settings = Settings { balance, zone_first: None, cache: Cache::Warm, seed };
        let (mut router, _) = router(settings.clone());
        let (mut newest, mut list) = (0, None);
        let mut passed_over = BTreeMap::new();
        let mut now = Nanos(0);
        for step in steps {
            match step {
                Step::Publish { generation, list: new } => {
                    router.publish(Arc::new(Table {
                        generation,
                        services: HashMap::from([(SERVICE.to_owned(), Service {
                            endpoints: new.clone(),
                            ..Service::default()
                        })]),
                        rules: Vec::new(),
                    }));
                    if generation >= newest {
                        newest = generation;
                        list = Some(new);
                    }
                }
                Step::Unreachable(number) => {
                    router.unreachable(address(number), now);
                    passed_over.insert(address(number), now.plus_ns(1_000_000_000));
                }
                Step::Reached(number) => {
                    router.reached(address(number));
                    passed_over.remove(&address(number));
                }
                Step::Later(ns) => now = now.plus_ns(ns),
                Step::Zone(zone) => {
                    settings.zone_first = zone;
                    router.configure(settings.clone());
                }
            }
            prop_assert_eq!(router.generation(), newest);
            for protocol in [Protocol::BoltV1, Protocol::BoltV2, Protocol::Tr, Protocol::MeshApi] {
                let query = Query { protocol, ..CALL };
                let candidates: Vec<&Endpoint> = list
                    .iter()
                    .flatten()
                    .filter(|endpoint| endpoint.speaks(protocol))
                    .collect();
                let is_good = |endpoint: &&&Endpoint| {
                    passed_over.get(&endpoint.address).is_none_or(|until| *until <= now)
                };
                let is_near = |endpoint: &&&Endpoint| {
                    settings.zone_first.as_deref().is_none_or(|zone| endpoint.zone == zone)
                };
                let tiers: [Vec<&&Endpoint>; 4] = [
                    candidates.iter().filter(is_near).filter(is_good).collect(),
                    candidates.iter().filter(is_good).collect(),
                    candidates.iter().filter(is_near).collect(),
                    candidates.iter().collect(),
                ];
                let expected = tiers.iter().find(|tier| !tier.is_empty());
                match (router.select(&query, now), expected) {
                    (Ok(choice), Some(tier)) => prop_assert!(
                        tier.iter().any(|endpoint| endpoint.address == choice.to),
                        "{choice:?} of {tier:?}"
                    ),
                    (Err(_), None) => {}
                    (chosen, tier) => prop_assert!(false, "{chosen:?} of {tier:?}"),
                }
            }
        }
    }

    /// Over whole rounds nobody gets more than another.
    #[test]
    fn round_robin_is_fair(count in 1_u8..20, rounds in 1_usize..20, seed in any::<u64>()) {
        let (mut router, _) = router(Settings { seed, ..Settings::default() });
        let list: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        router.publish(table(1, &list.join("|")));
        let counts = spread(&mut router, &CALL, usize::from(count) * rounds, Nanos(0));
        prop_assert_eq!(counts.len(), usize::from(count));
        prop_assert!(counts.values().all(|calls| *calls == rounds));
    }
}
