//! A pod's directory and router, without sockets: an app that subscribes, a config center that
//! pushes, calls that are routed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use meshproof_proxy::discovery::{CallId, Discovery, Input, NoAddress, Output, Settings};
use meshproof_proxy::metrics::Metrics;
use meshproof_proxy::routing::{self, Choice, NoRoute, Query, Router};
use meshproof_proxy::{Bug, Bugs, Config};
use meshproof_sys::clock::Nanos;
use meshproof_wire::Protocol;
use meshproof_wire::mesh_api::{Answer, Operation};
use meshproof_wire::registry::{Provider, Push};

pub(crate) const SERVICE: &str = "com.example.Sample:1.0";

pub(crate) struct Pod {
    discovery: Discovery,
    router: Router,
    pub(crate) metrics: Arc<Metrics>,
    /// The answer to the subscription, once it is there.
    pub(crate) answer: Option<Answer>,
    /// Names that were asked for.
    pub(crate) asked: Vec<String>,
}

/// With and without the switch.
pub(crate) fn with(bug: Bug) -> Bugs {
    Bugs::NONE.with(bug)
}

/// `10.0.0.N:12200`.
pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 12200))
}

impl Pod {
    /// A pod whose app has subscribed to [`SERVICE`] in BOLT.
    pub(crate) fn subscribed(bugs: Bugs, config_center: &str, target: Option<&str>) -> Pod {
        let yaml = format!("name: pod\naddress: 10.0.0.9\nrun: run\n{config_center}\n");
        let config: Config = meshproof_input::parse("pod.yaml", &yaml).unwrap();
        let settings = Settings::new(&config, address(9), bugs).unwrap();
        let metrics = Arc::new(Metrics::default());
        let routing = routing::Settings::default();
        let mut pod = Pod {
            discovery: Discovery::new(settings, "pod".to_owned(), Arc::clone(&metrics), bugs),
            router: Router::new(routing, Arc::clone(&metrics), bugs),
            metrics,
            answer: None,
            asked: Vec::new(),
        };
        let body = serde_json::json!({
            "serviceName": SERVICE, "protocolType": "bolt", "targetAppAddress": target,
        });
        pod.give(Input::Call {
            call: CallId(1),
            operation: Operation::Subscribe,
            body: body.to_string().into(),
        });
        pod
    }

    fn give(&mut self, input: Input) {
        self.discovery.handle(input, Nanos(0));
        self.discovery.advance(Nanos(0));
        while let Some(output) = self.discovery.next_output() {
            match output {
                Output::Table(table) => self.router.publish(table),
                Output::Answer(_, answer) => self.answer = Some(answer),
                Output::Resolve(name) => self.asked.push(name),
                _ => {}
            }
        }
    }

    /// The config center pushes: number and protocols of each provider.
    pub(crate) fn pushed(&mut self, revision: u64, providers: &[(u8, &[&str])]) {
        let provider = |(number, protocols): &(u8, &[&str])| Provider {
            service: SERVICE.to_owned(),
            address: address(*number).to_string(),
            protocols: protocols.iter().map(|&one| one.to_owned()).collect(),
            app: "sample".to_owned(),
            zone: String::new(),
            weight: 100,
            properties: serde_json::Map::new(),
        };
        self.give(Input::Push(Push {
            service: SERVICE.to_owned(),
            revision,
            epoch: 1,
            providers: providers.iter().map(provider).collect(),
            confirmed: false,
        }));
    }

    /// The VIP name service answers every name that was asked for.
    pub(crate) fn resolves(&mut self, known: &str, ip: IpAddr) {
        for name in std::mem::take(&mut self.asked) {
            let answer = if name == known {
                Ok(vec![ip])
            } else {
                Err(NoAddress::NoSuchName("NXDOMAIN".to_owned()))
            };
            self.give(Input::Resolved { name, answer });
        }
    }

    /// The app calls.
    pub(crate) fn calls(&mut self, protocol: Protocol) -> Result<Choice, NoRoute> {
        let query = Query {
            service: SERVICE,
            class: "com.alipay.sofa.rpc.core.request.SofaRequest",
            protocol,
        };
        self.router.select(&query, Nanos(0))
    }

    /// Where so many calls go, without repetition.
    pub(crate) fn reached(&mut self, protocol: Protocol, calls: usize) -> Vec<SocketAddr> {
        let mut reached: Vec<SocketAddr> = (0..calls)
            .map(|_| self.calls(protocol).unwrap().to)
            .collect();
        reached.sort();
        reached.dedup();
        reached
    }

    /// The protocol that the app takes: that of the first entry of the answer, as SOFARPC does.
    pub(crate) fn told(&self) -> Protocol {
        let answer = self.answer.as_ref().expect("an answer");
        let first = &answer.datas.as_ref().expect("providers")[0];
        if first.contains("?p=13&") {
            Protocol::Tr
        } else {
            assert!(first.contains("?p=1&"), "{first}");
            Protocol::BoltV1
        }
    }
}
