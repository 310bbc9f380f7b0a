//! The machine under virtual time: what goes out for what came in.

mod laws;
mod vip;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use expect_test::{Expect, expect};
use meshproof_sys::clock::Nanos;
use meshproof_wire::mesh_api::Operation;
use meshproof_wire::registry::{Provider, Push};

use super::{CallId, Discovery, Input, NoAddress, Output, Said, Say, Settings, State};
use crate::metrics::Metrics;
use crate::routing::Table;
use crate::{Bug, Bugs, Config};

const A: &str = "com.example.A:1.0";
const LEGACY: &str = "http://a-pool.z1.alipay.net:12200?_TIMEOUT=3000";
const NAME: &str = "a-pool.z1.alipay.net";

/// A machine, its clock, and what has come out of it.
struct Rig {
    machine: Discovery,
    metrics: Arc<Metrics>,
    now: Nanos,
    calls: u64,
    seen: Vec<String>,
    table: Arc<Table>,
}

fn config(yaml: &str) -> Config {
    let base = "name: a-1\naddress: 10.0.0.9\nrun: run\nzone: z1\n";
    meshproof_input::parse("test.yaml", &format!("{base}{yaml}")).unwrap()
}

fn settings(yaml: &str, bugs: Bugs) -> Settings {
    let inbound = SocketAddr::from(([10, 0, 0, 9], 12200));
    Settings::new(&config(yaml), inbound, bugs).unwrap()
}

/// With a config center, without routes.
const PLAIN: &str = "config_center: http://10.9.9.9:9600";

impl Rig {
    fn new(yaml: &str) -> Rig {
        Rig::with(yaml, Bugs::NONE)
    }

    fn with(yaml: &str, bugs: Bugs) -> Rig {
        let metrics = Arc::new(Metrics::default());
        let settings = settings(yaml, bugs);
        let mut rig = Rig {
            machine: Discovery::new(settings, "s".to_owned(), Arc::clone(&metrics), bugs),
            metrics,
            now: Nanos(1_000_000_000),
            calls: 0,
            seen: Vec::new(),
            table: Arc::default(),
        };
        rig.advance();
        rig.seen.clear();
        rig
    }

    fn advance(&mut self) {
        self.machine.advance(self.now);
        while let Some(output) = self.machine.next_output() {
            if let Output::Table(table) = &output {
                assert!(table.generation > self.table.generation);
                self.table = Arc::clone(table);
            }
            self.seen.extend(render(&output));
        }
        assert!(
            self.machine.next_deadline().is_none_or(|at| at > self.now),
            "what is due was done"
        );
    }

    fn give(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        self.advance();
    }

    fn call(&mut self, operation: Operation, body: &str) {
        self.calls += 1;
        self.give(Input::Call {
            call: CallId(self.calls),
            operation,
            body: body.to_owned().into(),
        });
    }

    fn publish(&mut self, service: &str, protocol: &str) {
        let body = format!(r#"{{"serviceName":"{service}","protocolType":"{protocol}"}}"#);
        self.call(Operation::Publish, &body);
    }

    fn subscribe(&mut self, target: &str, more: &str) {
        let target = if target.is_empty() {
            "null".to_owned()
        } else {
            format!("\"{target}\"")
        };
        let body = format!(
            r#"{{"serviceName":"{A}","protocolType":"bolt","targetAppAddress":{target}{more}}}"#
        );
        self.call(Operation::Subscribe, &body);
    }

    fn push(&mut self, epoch: u64, revision: u64, list: &str) {
        self.give(Input::Push(push(epoch, revision, list)));
    }

    fn resolved(&mut self, name: &str, answer: Result<&[u8], NoAddress>) {
        let ips = |numbers: &[u8]| {
            let ip = |number: &u8| std::net::IpAddr::from([10, 0, 1, *number]);
            numbers.iter().map(ip).collect()
        };
        self.give(Input::Resolved {
            name: name.to_owned(),
            answer: answer.map(ips),
        });
    }

    /// Lets time pass, stopping wherever the machine wants to.
    fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ns(ms * 1_000_000);
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= until) {
            self.now = at;
            self.advance();
        }
        self.now = until;
        self.advance();
    }

    #[track_caller]
    fn check(&mut self, expect: &Expect) {
        let seen = std::mem::take(&mut self.seen);
        expect.assert_eq(&seen.join("\n"));
    }

    /// Where calls to the service go.
    fn addresses(&self) -> Vec<u8> {
        let service = self.table.services.get(A);
        let endpoints = service.into_iter().flat_map(|service| &service.endpoints);
        endpoints
            .map(|endpoint| match endpoint.address {
                SocketAddr::V4(address) => address.ip().octets()[3],
                SocketAddr::V6(_) => 0,
            })
            .collect()
    }
}

/// `1 tr|2|3 bolt+tr zone=b!`: addresses 10.0.0.N, BOLT where nothing is said; `!` confirms.
fn push(epoch: u64, revision: u64, list: &str) -> Push {
    let (list, confirmed) = match list.strip_suffix('!') {
        Some(list) => (list, true),
        None => (list, false),
    };
    let provider = |text: &str| {
        let (number, protocols) = text.split_once(' ').unwrap_or((text, "bolt"));
        Provider {
            service: A.to_owned(),
            address: format!("10.0.0.{number}:12200"),
            protocols: protocols.split('+').map(str::to_owned).collect(),
            app: "server".to_owned(),
            zone: String::new(),
            weight: 100,
            properties: serde_json::Map::new(),
        }
    };
    let texts = list.split('|').filter(|text| !text.is_empty());
    Push {
        service: A.to_owned(),
        revision,
        epoch,
        providers: texts.map(provider).collect(),
        confirmed,
    }
}

/// One line per output that somebody outside would see.
fn render(output: &Output) -> Option<String> {
    Some(match output {
        Output::Say(Say::Register(register)) => {
            let one = |one: &Provider| {
                format!(
                    "{} {} {}",
                    one.service,
                    one.address,
                    one.protocols.join("+")
                )
            };
            let all: Vec<String> = register.providers.iter().map(one).collect();
            format!("register {}", all.join(", "))
        }
        Output::Say(Say::Deregister(deregister)) if deregister.services.is_empty() => {
            "deregister all".to_owned()
        }
        Output::Say(Say::Deregister(deregister)) => {
            format!("deregister {}", deregister.services.join(", "))
        }
        Output::Say(Say::Renew(_)) => "renew".to_owned(),
        Output::Watch(services) if services.is_empty() => "watch nothing".to_owned(),
        Output::Watch(services) => {
            let all: Vec<&str> = services.iter().map(String::as_str).collect();
            format!("watch {}", all.join(", "))
        }
        Output::Ask(service) => format!("ask {service}"),
        Output::Resolve(name) => format!("resolve {name}"),
        Output::Table(table) => {
            let services: BTreeMap<_, _> = table.services.iter().collect();
            let list = |service: &crate::routing::Service| {
                let one = |one: &crate::routing::Endpoint| one.address.to_string();
                let all: Vec<String> = service.endpoints.iter().map(one).collect();
                let downgraded = if service.downgraded { " tr" } else { "" };
                let bound = service.timeout_ms;
                let bound = bound.map_or(String::new(), |ms| format!(" {ms} ms"));
                format!("[{}]{downgraded}{bound}", all.join(" "))
            };
            let rules = table
                .rules
                .iter()
                .map(|rule| format!(" rule {}", list(&rule.target)));
            let services = services
                .iter()
                .map(|(key, service)| format!(" {key} {}", list(service)));
            let all: Vec<String> = rules.chain(services).collect();
            format!("table{}", all.join(","))
        }
        Output::Answer(CallId(call), answer) => {
            let word = if answer.success { "yes" } else { "no" };
            let datas = answer.datas.as_ref().map(|datas| datas.join(" "));
            let datas = datas.map_or(String::new(), |datas| format!(" [{datas}]"));
            let message = match answer.error_message.as_str() {
                "" => String::new(),
                text => format!(": {text}"),
            };
            format!("answer {call} {word}{datas}{message}")
        }
        Output::Event(_) | Output::Changed => return None,
    })
}

#[test]
fn a_provider_is_registered_renewed_and_registered_again() {
    let mut rig = Rig::new(PLAIN);
    rig.call(Operation::Application, r#"{"appName":"server","x":1}"#);
    rig.publish(A, "bolt");
    rig.check(&expect![[r#"
        answer 1 yes
        register com.example.A:1.0 10.0.0.9:12200 bolt"#]]);
    rig.give(Input::Said(Said::Done));
    rig.check(&expect!["answer 2 yes"]);
    // A third of the lease.
    rig.pass(1999);
    rig.check(&expect![[""]]);
    rig.pass(1);
    rig.check(&expect!["renew"]);
    rig.give(Input::Said(Said::UnknownSession));
    rig.check(&expect!["register com.example.A:1.0 10.0.0.9:12200 bolt"]);
    rig.give(Input::Said(Said::Done));
    // The second protocol of the same service: one provider that speaks both.
    rig.publish(A, "tr");
    rig.check(&expect![
        "register com.example.A:1.0 10.0.0.9:12200 bolt+tr"
    ]);
    rig.give(Input::Said(Said::Done));
    rig.check(&expect!["answer 3 yes"]);
    let body = format!(r#"{{"serviceName":"{A}","protocolType":"bolt","group":null}}"#);
    rig.call(Operation::Unpublish, &body);
    rig.give(Input::Said(Said::Done));
    rig.check(&expect![[r#"
        register com.example.A:1.0 10.0.0.9:12200 tr
        answer 4 yes"#]]);
    let body = format!(r#"{{"serviceName":"{A}"}}"#);
    rig.call(Operation::Unpublish, &body);
    rig.give(Input::Said(Said::Done));
    rig.pass(10_000);
    rig.check(&expect![[r#"
        deregister all
        answer 5 yes"#]]);
}

#[test]
fn a_config_center_that_fails_is_tried_again_with_growing_pauses() {
    let mut rig = Rig::new(PLAIN);
    rig.publish(A, "bolt");
    rig.seen.clear();
    let mut tries = Vec::new();
    for _ in 0..8 {
        let began = rig.now;
        rig.give(Input::Said(Said::Failed("refused".to_owned())));
        while !rig.seen.iter().any(|line| line.starts_with("register")) {
            rig.pass(1);
        }
        rig.seen.clear();
        tries.push(rig.now.since(began) / 1_000_000);
    }
    assert_eq!(tries, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    assert!(!rig.machine.is_standing());
    rig.give(Input::Said(Said::Done));
    assert!(rig.machine.is_standing());
}

#[test]
fn a_config_center_that_forgot_all_is_told_all_with_the_next_service() {
    let mut rig = Rig::new(PLAIN);
    rig.publish(A, "bolt");
    rig.give(Input::Said(Said::Done));
    rig.seen.clear();
    // If it has begun anew since, this makes a new session there.
    rig.publish("com.example.B:1.0", "bolt");
    rig.check(&expect![
        "register com.example.B:1.0 10.0.0.9:12200 bolt, com.example.A:1.0 10.0.0.9:12200 bolt"
    ]);
    rig.give(Input::Said(Said::Done));
    assert!(rig.machine.is_standing());
}

#[test]
fn what_is_refused_does_not_keep_the_rest_from_being_renewed() {
    let mut rig = Rig::new(PLAIN);
    rig.publish(A, "bolt");
    rig.give(Input::Said(Said::Done));
    rig.publish("com.example.B:1.0", "bolt");
    rig.seen.clear();
    let mut renewed = Vec::new();
    for _ in 0..60 {
        let said = match rig.seen.pop() {
            Some(said) if said == "renew" => {
                renewed.push(rig.now.0 / 1_000_000);
                Said::Done
            }
            _ => Said::Failed("the config center says 400".to_owned()),
        };
        rig.give(Input::Said(said));
        rig.pass(500);
    }
    let longest = renewed.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest.is_some_and(|ms| ms < 6000), "{renewed:?}");
    assert!(!rig.machine.is_standing());
    // Off the config center is off: nothing is renewed meanwhile.
    rig.seen.clear();
    rig.give(Input::Withdraw);
    rig.give(Input::Said(Said::Failed("no answer".to_owned())));
    rig.pass(60_000);
    assert!(!rig.seen.iter().any(|line| line == "renew"));
}

#[test]
fn the_app_does_not_wait_for_a_config_center_that_does_not_answer() {
    let mut rig = Rig::new(PLAIN);
    rig.publish(A, "bolt");
    rig.pass(1999);
    rig.check(&expect!["register com.example.A:1.0 10.0.0.9:12200 bolt"]);
    rig.pass(1);
    rig.check(&expect!["answer 1 yes"]);
    // From here on it is known to be away.
    rig.give(Input::Said(Said::Failed("refused".to_owned())));
    rig.publish("com.example.B:1.0", "bolt");
    rig.check(&expect!["answer 2 yes"]);
}

#[test]
fn publications_are_remembered_while_they_are_withdrawn() {
    let mut rig = Rig::new(PLAIN);
    rig.publish(A, "bolt");
    rig.give(Input::Said(Said::Done));
    rig.seen.clear();
    rig.give(Input::Withdraw);
    assert!(!rig.machine.is_standing());
    rig.check(&expect!["deregister all"]);
    rig.give(Input::Said(Said::Done));
    assert!(rig.machine.is_standing());
    rig.publish("com.example.B:1.0", "bolt");
    rig.pass(60_000);
    rig.check(&expect!["answer 2 yes"]);
    rig.give(Input::Enroll);
    rig.check(&expect![
        "register com.example.A:1.0 10.0.0.9:12200 bolt, com.example.B:1.0 10.0.0.9:12200 bolt"
    ]);
    rig.give(Input::Said(Said::Done));
    assert!(rig.machine.is_standing());
}

#[test]
fn an_app_that_comes_back_after_a_loss_says_anew_what_it_speaks() {
    let mut rig = Rig::new(PLAIN);
    for protocol in ["bolt", "tr"] {
        rig.publish(A, protocol);
        rig.give(Input::Said(Said::Done));
    }
    rig.give(Input::Withdraw);
    rig.give(Input::Said(Said::Done));
    // Also where a successor has taken over meanwhile.
    let mut next = Rig::new(PLAIN);
    next.machine.restore(rig.machine.state());
    for mut rig in [rig, next] {
        rig.advance();
        rig.give(Input::Said(Said::Done));
        rig.publish(A, "tr");
        rig.seen.clear();
        rig.give(Input::Enroll);
        rig.check(&expect!["register com.example.A:1.0 10.0.0.9:12200 tr"]);
        rig.give(Input::Said(Said::Done));
        // From here on protocols add up again.
        rig.publish(A, "bolt");
        rig.check(&expect![
            "register com.example.A:1.0 10.0.0.9:12200 bolt+tr"
        ]);
    }
}

#[test]
fn what_may_stand_there_is_taken_off_also_when_nobody_answered() {
    let mut rig = Rig::new(PLAIN);
    rig.publish(A, "bolt");
    rig.seen.clear();
    // No answer: the config center may have carried it out.
    rig.give(Input::Withdraw);
    rig.give(Input::Said(Said::Failed("no answer".to_owned())));
    rig.pass(100);
    rig.check(&expect![[r#"
        answer 1 yes
        deregister all"#]]);
    // A deregistration without answer is said again.
    rig.give(Input::Said(Said::Failed("no answer".to_owned())));
    rig.pass(200);
    rig.check(&expect!["deregister all"]);
    rig.give(Input::Said(Said::UnknownSession));
    rig.pass(60_000);
    assert!(rig.machine.is_standing());
    rig.check(&expect![[""]]);
}

#[test]
fn a_consumer_is_answered_when_the_list_has_come() {
    let mut rig = Rig::new(PLAIN);
    rig.subscribe("", "");
    rig.check(&expect![[r#"
        watch com.example.A:1.0
        table com.example.A:1.0 []"#]]);
    rig.push(7, 1, "1|2 bolt+tr");
    rig.check(&expect![[r#"
        table com.example.A:1.0 [10.0.0.1:12200 10.0.0.2:12200]
        answer 1 yes [10.0.0.1:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=server&_WEIGHT=100 10.0.0.2:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=server&_WEIGHT=100]"#]]);
    rig.push(7, 2, "2");
    rig.check(&expect!["table com.example.A:1.0 [10.0.0.2:12200]"]);
    // The second consumer of the same service is answered at once.
    rig.subscribe("", "");
    rig.check(&expect!["answer 2 yes [10.0.0.2:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=server&_WEIGHT=100]"]);
    let body = format!(r#"{{"serviceName":"{A}","targetAppAddress":null,"protocolType":"bolt"}}"#);
    rig.call(Operation::Unsubscribe, &body);
    rig.check(&expect!["answer 3 yes"]);
    rig.call(Operation::Unsubscribe, &body);
    rig.check(&expect![[r#"
        answer 4 yes
        watch nothing
        table"#]]);
}

#[test]
fn a_consumer_without_provider_is_not_turned_away() {
    let mut rig = Rig::new(PLAIN);
    rig.subscribe("", "");
    rig.push(7, 1, "");
    rig.pass(1999);
    rig.check(&expect![[r#"
        watch com.example.A:1.0
        table com.example.A:1.0 []
        ask com.example.A:1.0"#]]);
    rig.pass(1);
    rig.check(&expect!["answer 1 yes []: no provider of `com.example.A:1.0` is known yet; calls are passed on as soon as one is"]);
    // Surely nobody: no need to wait.
    let mut rig = Rig::new(PLAIN);
    rig.subscribe("", "");
    rig.push(7, 1, "!");
    rig.check(&expect![[r#"
        watch com.example.A:1.0
        table com.example.A:1.0 []
        answer 1 yes []"#]]);
}

/// Three providers, one of which speaks nothing but TR, in every order.
#[test]
fn mixed_providers_are_downgraded_in_every_order() {
    let expected = |order: [&str; 3]| {
        let speaks_tr = order.iter().filter(|one| one.contains("tr"));
        let data = |one: &&str| {
            let number = one.split(' ').next().unwrap_or("");
            format!(
                "10.0.0.{number}:12200?p=13&_SERIALIZETYPE=hessian2&v=4.0&app_name=server&_WEIGHT=100"
            )
        };
        speaks_tr.map(data).collect::<Vec<_>>().join(" ")
    };
    let (old, new, bolt) = ("1 tr", "2 bolt+tr", "3 bolt");
    for order in [
        [old, new, bolt],
        [old, bolt, new],
        [new, old, bolt],
        [new, bolt, old],
        [bolt, old, new],
        [bolt, new, old],
    ] {
        let mut rig = Rig::new(PLAIN);
        rig.subscribe("", "");
        rig.push(7, 1, &order.join("|"));
        let answer = format!("answer 1 yes [{}]", expected(order));
        assert_eq!(rig.seen.last(), Some(&answer));
        let service = &rig.table.services[A];
        assert!(service.downgraded);
        assert_eq!(
            service.endpoints.len(),
            3,
            "the router leaves out who does not speak TR"
        );
    }
}

#[test]
fn the_protocol_that_the_app_is_told() {
    let ask = |protocol: &str, list: &str| {
        let mut rig = Rig::new(PLAIN);
        let body = format!(r#"{{"serviceName":"{A}","protocolType":"{protocol}"}}"#);
        rig.call(Operation::Subscribe, &body);
        rig.push(7, 1, list);
        let answer = rig.seen.pop().unwrap_or_default();
        answer
            .split(['[', ' ', ']'])
            .filter_map(|word| Some(word.split_once("?p=")?.1.split_once('&')?.0.to_owned()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(ask("bolt", "1|2"), "1 1");
    assert_eq!(ask("bolt", "1|2 bolt+tr"), "1 1");
    assert_eq!(ask("tr", "1|2 bolt+tr"), "13");
    assert_eq!(ask("tr", "1 bolt+tr|2 bolt+tr"), "13 13");
    assert_eq!(ask("TR", "1 tr"), "13");
    assert_eq!(ask("bolt", "1 tr"), "13");
    assert_eq!(ask("tr", "1 bolt"), "1");
    assert_eq!(ask("bolt", "1 dubbo|2"), "1");
}

#[track_caller]
fn check_pushes(pushes: &[(u64, u64, &str)], expect: &[u8], ignored: u64, bugs: Bugs) {
    let mut rig = Rig::with(PLAIN, bugs);
    rig.subscribe("", "");
    for (epoch, revision, list) in pushes {
        rig.push(*epoch, *revision, list);
    }
    assert_eq!(rig.addresses(), expect);
    assert_eq!(rig.metrics.pushes.value(), pushes.len() as u64);
    assert_eq!(rig.metrics.pushes_ignored.value(), ignored);
}

#[test]
fn what_is_believed() {
    let check = |pushes: &[(u64, u64, &str)], expect: &[u8], ignored| {
        check_pushes(pushes, expect, ignored, Bugs::NONE);
    };
    check(&[(7, 1, "1|2"), (7, 2, "2|3")], &[2, 3], 0);
    check(&[(7, 1, "1|2"), (7, 2, "")], &[1, 2], 1);
    check(&[(7, 1, "1|2"), (7, 2, "!")], &[], 0);
    check(&[(7, 1, "1|2"), (7, 2, ""), (7, 3, "3")], &[3], 1);
    // Said twice, and in another order.
    check(&[(7, 1, "1|2"), (7, 1, "1|2"), (7, 1, "2|1")], &[1, 2], 0);
    // Overtaken.
    check(&[(7, 2, "1|2"), (7, 1, "1")], &[1, 2], 1);
    check(&[(7, 2, "1|2"), (7, 1, "!")], &[1, 2], 1);
    // A config center that began anew without memory: who is missing is kept for now.
    check(&[(7, 9, "1|2"), (8, 1, "")], &[1, 2], 1);
    check(&[(7, 9, "1|2"), (8, 1, "2")], &[2, 1], 0);
    check(&[(7, 9, "1|2"), (8, 1, "2"), (8, 2, "2|1")], &[2, 1], 0);
    check(&[(7, 9, "1|2"), (8, 1, "3"), (8, 2, "3|2")], &[3, 2, 1], 0);
    check(&[(7, 9, "1|2"), (8, 1, "!")], &[], 0);
    check(&[(7, 9, "1|2"), (8, 1, "2"), (8, 2, "!")], &[], 0);
    // Nobody is known: there is nothing to lose, and nothing to believe.
    check(&[(7, 1, "")], &[], 1);
    check(&[(7, 1, "!"), (7, 2, "")], &[], 0);
}

#[test]
fn the_historic_config_center_wiped_everything() {
    let bugs = Bugs::NONE.with(Bug::EmptyPushWipes);
    check_pushes(&[(7, 1, "1|2"), (7, 2, "")], &[], 0, bugs);
    check_pushes(&[(7, 9, "1|2"), (8, 1, "")], &[], 0, bugs);
    check_pushes(&[(7, 9, "1|2"), (8, 1, "2")], &[2], 0, bugs);
    check_pushes(&[(7, 2, "1|2"), (7, 1, "1")], &[1, 2], 1, bugs);
}

#[test]
fn a_list_in_doubt_is_asked_for_again_and_again() {
    let mut rig = Rig::new(PLAIN);
    rig.subscribe("", "");
    rig.push(7, 1, "1|2");
    rig.seen.clear();
    rig.push(7, 2, "");
    rig.check(&expect!["ask com.example.A:1.0"]);
    // One question at a time.
    rig.pass(10_000);
    rig.check(&expect![[""]]);
    rig.give(Input::NoList {
        service: A.to_owned(),
    });
    rig.check(&expect!["ask com.example.A:1.0"]);
    // The answer is empty as well: the next question waits longer each time.
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let began = rig.now;
        rig.push(7, 2, "");
        while rig.seen.is_empty() {
            rig.pass(1);
        }
        rig.check(&expect!["ask com.example.A:1.0"]);
        pauses.push(rig.now.since(began) / 1_000_000);
    }
    assert_eq!(pauses, [400, 800, 1600, 3200, 5000, 5000]);
    rig.push(7, 1, "1|2");
    rig.pass(60_000);
    rig.check(&expect![[""]]);
    assert_eq!(rig.addresses(), [1, 2]);
}

#[test]
fn a_question_that_is_answered_by_what_is_old_or_too_long_is_asked_again() {
    let too_long = vec!["1"; 4097].join("|");
    for (revision, answer) in [(1, "1"), (3, too_long.as_str())] {
        let mut rig = Rig::new(PLAIN);
        rig.subscribe("", "");
        rig.push(7, 2, "1|2");
        rig.push(7, 3, "");
        rig.seen.clear();
        rig.push(7, revision, answer);
        rig.pass(200);
        rig.check(&expect!["ask com.example.A:1.0"]);
        assert_eq!(rig.addresses(), [1, 2]);
    }
}

#[test]
fn who_does_not_come_back_to_a_new_config_center_has_a_lease_to_do_so() {
    let mut rig = Rig::new(PLAIN);
    rig.subscribe("", "");
    rig.push(7, 9, "1|2|3");
    rig.push(8, 1, "2");
    rig.pass(5999);
    assert_eq!(rig.addresses(), [2, 1, 3]);
    rig.push(8, 2, "2|3");
    assert_eq!(rig.addresses(), [2, 3, 1]);
    rig.pass(1);
    assert_eq!(rig.addresses(), [2, 3]);
}

#[test]
fn a_lost_watch_keeps_everything() {
    let mut rig = Rig::new(PLAIN);
    rig.subscribe("", "");
    rig.push(7, 1, "1|2");
    rig.seen.clear();
    rig.give(Input::WatchLost("closed".to_owned()));
    rig.pass(600_000);
    assert_eq!(rig.addresses(), [1, 2]);
    rig.check(&expect![[""]]);
    rig.give(Input::WatchUp);
    rig.push(7, 1, "1|2");
    rig.check(&expect![[""]]);
}

#[test]
fn a_snapshot_is_good_until_the_first_answer() {
    let mut before = Rig::new(PLAIN);
    before.subscribe(LEGACY, "");
    before.push(7, 5, "1|2");
    before.resolved(NAME, Ok(&[4]));
    let kept = State {
        lists: before.machine.state().lists,
        names: before.machine.state().names,
        ..State::default()
    };
    let restarted = || {
        let mut rig = Rig::new(PLAIN);
        rig.machine.recall(kept.clone());
        rig.subscribe("", "");
        rig
    };
    // The config center is dead: the old addresses serve, the app waits no longer than it must.
    let mut rig = restarted();
    assert_eq!(rig.addresses(), [1, 2]);
    rig.give(Input::WatchLost("refused".to_owned()));
    rig.check(&expect![[r#"
        watch com.example.A:1.0
        table com.example.A:1.0 [10.0.0.1:12200 10.0.0.2:12200]
        answer 1 yes [10.0.0.1:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=server&_WEIGHT=100 10.0.0.2:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=server&_WEIGHT=100]"#]]);
    // An empty list that is not confirmed is no answer; another one is, whatever its revision.
    rig.push(9, 1, "");
    assert_eq!(rig.addresses(), [1, 2]);
    rig.push(9, 1, "3");
    assert_eq!(rig.addresses(), [3]);
    let mut rig = restarted();
    rig.push(7, 4, "!");
    assert!(rig.addresses().is_empty());
    // What nobody has used yet is kept for the next restart.
    let mut rig = Rig::new(PLAIN);
    rig.machine.recall(kept.clone());
    rig.advance();
    assert_eq!(rig.machine.state().lists, kept.lists);
    assert_eq!(rig.machine.state().names, kept.names);
}

#[test]
fn static_routes_go_before_everything_and_change_while_it_runs() {
    let routes = |to: &str| {
        format!(
            "{PLAIN}\noutbound: {{routes: [{{service: '{A}', to: ['{to}', 10.0.0.3], timeout: 1s}}]}}"
        )
    };
    let mut rig = Rig::new(&routes(LEGACY));
    rig.check(&expect![[""]]);
    rig.subscribe("", "");
    rig.check(&expect![[r#"
        watch com.example.A:1.0
        table rule [10.0.0.3:12200] 1000 ms, com.example.A:1.0 []
        answer 1 yes [10.0.0.3:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&_WEIGHT=100]"#]]);
    rig.resolved(NAME, Ok(&[4]));
    rig.check(&expect![
        "table rule [10.0.1.4:12200 10.0.0.3:12200] 1000 ms, com.example.A:1.0 []"
    ]);
    let changed = settings(&routes("10.0.0.8"), Bugs::NONE);
    rig.give(Input::Configure(changed));
    rig.check(&expect![
        "table rule [10.0.0.8:12200 10.0.0.3:12200] 1000 ms, com.example.A:1.0 []"
    ]);
    let bad = "outbound: {routes: [{to: ['ftp://x']}]}";
    let inbound = SocketAddr::from(([10, 0, 0, 9], 12200));
    assert!(Settings::new(&config(bad), inbound, Bugs::NONE).is_err());
}

#[test]
fn a_successor_goes_on_where_its_predecessor_stopped() {
    let mut old = Rig::new(PLAIN);
    old.call(Operation::Application, r#"{"appName":"server"}"#);
    old.publish("com.example.B:1.0", "bolt");
    old.give(Input::Said(Said::Done));
    old.subscribe(LEGACY, "");
    old.subscribe(LEGACY, "");
    old.push(7, 3, "1|2");
    old.resolved(NAME, Ok(&[4]));
    let state = old.machine.state();
    let json = serde_json::to_string(&state).unwrap();
    let mut new = Rig::new(PLAIN);
    new.machine.restore(serde_json::from_str(&json).unwrap());
    assert_eq!(new.machine.state(), state);
    new.advance();
    new.check(&expect![[r#"
        watch com.example.A:1.0
        resolve a-pool.z1.alipay.net
        register com.example.B:1.0 10.0.0.9:12200 bolt
        table com.example.A:1.0 [10.0.0.1:12200 10.0.0.2:12200] 3000 ms"#]]);
    // The revision is known: what is older is not believed.
    new.push(7, 2, "9");
    assert_eq!(new.addresses(), [1, 2]);
}
