//! The state machine itself.

mod conclude;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use meshproof_sys::clock::Nanos;
use meshproof_wire::mesh_api::{Answer, Operation, Publish, Subscribe, Withdraw};
use meshproof_wire::registry::{Provider, Push};

use super::api::{self, Call};
use super::center::Center;
use super::lists::{List, Verdict};
use super::names::{Change, Names};
use super::{BadTarget, Event, NoAddress, Publication, Said, Say, State, Subscription, Target};
use crate::config::{Config, Speaks};
use crate::metrics::Metrics;
use crate::routing::Table;
use crate::{Bugs, config};

/// Publications, and subscribed services, at most.
const SERVICES_MAX: usize = 4096;

/// Different subscriptions to one service, at most.
const WAYS_MAX: usize = 16;

/// Calls that wait, at most.
const WAITING_MAX: usize = 1024;

/// What the machine runs by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where others call this pod.
    pub inbound: SocketAddr,
    /// The zone that it stands in.
    pub zone: String,
    /// Whether there is a config center to ask.
    pub has_config_center: bool,
    /// How long the config center keeps providers without a renewal, in milliseconds.
    pub lease_ms: u64,
    /// How long a call of the application API waits for others at most, in milliseconds.
    /// SOFARPC gives up by itself a little later.
    pub wait_ms: u64,
    /// A VIP name is asked for again after this long, in milliseconds.
    pub vip_refresh_ms: u64,
    /// Static routes, their targets read.
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
struct Route {
    service: Option<String>,
    class: Option<String>,
    targets: Vec<Target>,
    timeout_ms: Option<u32>,
}

impl Settings {
    /// From the configuration; fails where a route points to what is no target.
    pub fn new(config: &Config, inbound: SocketAddr, bugs: Bugs) -> Result<Settings, BadTarget> {
        let route = |route: &config::Route| {
            let targets: Result<Vec<Target>, BadTarget> =
                route.to.iter().map(|to| Target::parse(to, bugs)).collect();
            Ok(Route {
                service: route.service.clone(),
                class: route.class.clone(),
                targets: targets?,
                timeout_ms: route
                    .timeout
                    .map(|timeout| u32::try_from(timeout.0).unwrap_or(u32::MAX)),
            })
        };
        Ok(Settings {
            inbound,
            zone: config.zone.clone(),
            has_config_center: config.config_center.is_some(),
            lease_ms: 6000,
            wait_ms: 2000,
            vip_refresh_ms: config.vip.refresh.0,
            routes: config
                .outbound
                .routes
                .iter()
                .map(route)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A call of the application API, as the edge numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The app calls.
    Call {
        /// To be answered under this number.
        call: CallId,
        /// What it asks.
        operation: Operation,
        /// The body as it came.
        body: bytes::Bytes,
    },
    /// The config center was told something.
    Said(Said),
    /// The watch stands.
    WatchUp,
    /// It ended, or could not be begun.
    WatchLost(String),
    /// A list, by the watch or as the answer to [`Output::Ask`].
    Push(Push),
    /// [`Output::Ask`] was not answered.
    NoList {
        /// The service.
        service: String,
    },
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// The name as it was asked for.
        name: String,
        /// Its addresses.
        answer: Result<Vec<IpAddr>, NoAddress>,
    },
    /// Publications are to stand at the config center.
    Enroll,
    /// They are to be remembered only.
    Withdraw,
    /// Routes and time-outs have changed.
    Configure(Settings),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the config center; the outcome is [`Input::Said`]. One at a time.
    Say(Say),
    /// Watch these services from now on, and no others.
    Watch(BTreeSet<String>),
    /// Ask the config center for one list.
    Ask(String),
    /// Resolve a name.
    Resolve(String),
    /// A new table.
    Table(Arc<Table>),
    /// Answer a call.
    Answer(CallId, Answer),
    /// Something happened.
    Event(Event),
    /// [`Discovery::state`] has changed in what a restart needs.
    Changed,
}

/// What this pod publishes and subscribes to.
#[derive(Debug)]
pub struct Discovery {
    settings: Settings,
    bugs: Bugs,
    metrics: Arc<Metrics>,
    app: Option<String>,
    is_enrolled: bool,
    publications: BTreeMap<String, Provider>,
    /// Published before the app was lost, and not again since.
    outdated: BTreeSet<String>,
    subscriptions: BTreeMap<String, Vec<Subscribed>>,
    lists: BTreeMap<String, List>,
    names: Names,
    center: Center,
    is_center_up: Option<bool>,
    waiting: Vec<Waiting>,
    watched: BTreeSet<String>,
    table: Table,
    /// Something that the table depends on has changed.
    is_dirty: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Subscribed {
    asked: Subscribe,
    target: Option<Target>,
    times: u32,
}

#[derive(Debug)]
struct Waiting {
    call: CallId,
    until: Nanos,
    what: For,
}

#[derive(Debug)]
enum For {
    /// The config center's answer about publications. The app is told yes in any case: the
    /// sidecar goes on trying.
    Standing,
    /// A list or a VIP.
    Providers(Box<Subscribe>, Option<Box<Target>>),
}

impl Discovery {
    /// Publishes nothing and knows nobody.
    pub fn new(
        settings: Settings,
        session: String,
        metrics: Arc<Metrics>,
        bugs: Bugs,
    ) -> Discovery {
        Discovery {
            names: Names::new(ns(settings.vip_refresh_ms)),
            center: Center::new(session, settings.lease_ms),
            settings,
            bugs,
            metrics,
            app: None,
            is_enrolled: true,
            publications: BTreeMap::new(),
            outdated: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            lists: BTreeMap::new(),
            is_center_up: None,
            waiting: Vec::new(),
            watched: BTreeSet::new(),
            table: Table::default(),
            is_dirty: true,
            outputs: VecDeque::new(),
        }
    }

    /// Goes on where a predecessor stopped. Its session must be the one given to
    /// [`Discovery::new`].
    pub fn restore(&mut self, state: State) {
        self.remember(state.lists, state.names, Believed::Now);
        self.app = state.app;
        self.is_enrolled = state.registered;
        for Publication { provider, outdated } in state.publications {
            if outdated {
                self.outdated.insert(provider.service.clone());
            }
            self.publications.insert(provider.service.clone(), provider);
        }
        self.center.restore(self.publications.values().cloned());
        for Subscription { asked, times } in state.subscriptions {
            let target = asked.target_app_address.as_deref();
            let target = target.and_then(|text| Target::parse(text, self.bugs).ok());
            let same = self
                .subscriptions
                .entry(asked.service_name.clone())
                .or_default();
            same.push(Subscribed {
                asked,
                target,
                times,
            });
        }
    }

    /// Takes up the addresses of an earlier life; they are good until the first real answer.
    pub fn recall(&mut self, snapshot: State) {
        self.remember(snapshot.lists, snapshot.names, Believed::UntilAnswered);
    }

    fn remember(&mut self, lists: Vec<Push>, names: Vec<super::Resolved>, believed: Believed) {
        let is_provisional = matches!(believed, Believed::UntilAnswered);
        for push in lists.into_iter().take(SERVICES_MAX) {
            let service = push.service.clone();
            self.lists
                .insert(service, List::restored(push, is_provisional));
        }
        for name in names.into_iter().take(SERVICES_MAX) {
            self.names.restore(name);
        }
        self.is_dirty = true;
    }

    /// What a successor needs to know.
    pub fn state(&self) -> State {
        let publications = self.publications.values();
        let subscriptions = self.subscriptions.values().flatten();
        State {
            session: self.center.session().to_owned(),
            app: self.app.clone(),
            registered: self.is_enrolled,
            publications: publications
                .map(|provider| Publication {
                    provider: provider.clone(),
                    outdated: self.outdated.contains(&provider.service),
                })
                .collect(),
            subscriptions: subscriptions
                .map(|subscribed| Subscription {
                    asked: subscribed.asked.clone(),
                    times: subscribed.times,
                })
                .collect(),
            lists: self
                .lists
                .values()
                .filter_map(List::believed)
                .cloned()
                .collect(),
            names: self.names.state(),
        }
    }

    /// Whether the config center has said yes to everything that is published or withdrawn.
    pub fn is_standing(&self) -> bool {
        !self.settings.has_config_center || self.center.stands(self.wanted())
    }

    /// Takes the next thing to do.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What is to stand at the config center.
    fn wanted(&self) -> &BTreeMap<String, Provider> {
        if self.is_enrolled && self.settings.has_config_center {
            &self.publications
        } else {
            const { &BTreeMap::new() }
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    // === what happened ===

    /// Takes what happened; [`Discovery::advance`] is to follow.
    pub fn handle(&mut self, input: Input, now: Nanos) {
        match input {
            Input::Call {
                call,
                operation,
                body,
            } => self.called(call, operation, &body, now),
            Input::Said(said) => self.said(&said, now),
            Input::WatchUp => {
                self.center_is_up();
                self.center.hurry(now);
            }
            Input::WatchLost(why) => self.center_is_lost(why),
            Input::Push(push) => self.pushed(push, now),
            Input::NoList { service } => {
                if let Some(list) = self.lists.get_mut(&service) {
                    list.unanswered();
                }
            }
            Input::Resolved { name, answer } => self.resolved(name, answer, now),
            Input::Enroll => {
                self.is_enrolled = true;
                self.center.hurry(now);
            }
            Input::Withdraw => {
                self.is_enrolled = false;
                self.outdated = self.publications.keys().cloned().collect();
                self.center.hurry(now);
            }
            Input::Configure(settings) => {
                self.names.configure(ns(settings.vip_refresh_ms));
                self.settings = Settings {
                    // Whoever speaks to the config center was there from the start, or was not.
                    has_config_center: self.settings.has_config_center,
                    ..settings
                };
                self.is_dirty = true;
            }
        }
    }

    fn called(&mut self, call: CallId, operation: Operation, body: &[u8], now: Nanos) {
        let refused = match api::read(operation, body, self.bugs) {
            Ok(_) if self.waiting.len() >= WAITING_MAX => Err(format!(
                "{WAITING_MAX} calls are waiting already, try again later"
            )),
            Ok(Call::Application(application)) => {
                self.app = application.app_name.or(self.app.take());
                self.answer(call, ok());
                Ok(())
            }
            Ok(Call::Publish(publish, speaks)) => self.publish(call, publish, speaks, now),
            Ok(Call::Subscribe(subscribe, target)) => self.subscribe(call, subscribe, target, now),
            Ok(Call::Unpublish(withdraw, speaks)) => {
                self.unpublish(call, &withdraw, speaks, now);
                Ok(())
            }
            Ok(Call::Unsubscribe(withdraw)) => {
                self.unsubscribe(&withdraw);
                self.answer(call, ok());
                Ok(())
            }
            Err(why) => Err(why),
        };
        if let Err(why) = refused {
            self.refuse(call, operation, why);
        }
    }

    fn answer(&mut self, call: CallId, answer: Answer) {
        self.outputs.push_back(Output::Answer(call, answer));
    }

    fn refuse(&mut self, call: CallId, operation: Operation, why: String) {
        self.tell(Event::Refused {
            operation: operation.name().to_owned(),
            why: why.clone(),
        });
        self.answer(
            call,
            Answer {
                success: false,
                error_message: why,
                ..Answer::default()
            },
        );
    }

    fn publish(
        &mut self,
        call: CallId,
        publish: Publish,
        speaks: Speaks,
        now: Nanos,
    ) -> Result<(), String> {
        let service = publish.service_name;
        let known = self.publications.get(&service);
        if known.is_none() && self.publications.len() >= SERVICES_MAX {
            return Err(format!("{SERVICES_MAX} services are published already"));
        }
        let meta = publish.provider_meta_info;
        let is_outdated = self.outdated.remove(&service);
        let mut protocols = match known {
            Some(known) if !is_outdated => known.protocols.clone(),
            _ => Vec::new(),
        };
        let name = protocol_name(speaks);
        if !protocols.iter().any(|known| known == name) {
            protocols.push(name.to_owned());
            // One order whichever came first, so that publishing again is no change.
            protocols.sort();
        }
        let weight = ["_WEIGHT", "weight"]
            .iter()
            .find_map(|key| number(meta.properties.get(*key)?));
        let mut properties = meta.properties;
        for (key, value) in [
            ("serializeType", meta.serialize_type),
            ("version", meta.version),
        ] {
            if let Some(value) = value {
                properties.insert(key.to_owned(), value.into());
            }
        }
        let provider = Provider {
            service: service.clone(),
            address: self.settings.inbound.to_string(),
            protocols,
            app: meta
                .app_name
                .or_else(|| self.app.clone())
                .unwrap_or_default(),
            zone: self.settings.zone.clone(),
            weight: weight.unwrap_or(100),
            properties,
        };
        if is_outdated || known != Some(&provider) {
            self.tell(Event::Published {
                service: service.clone(),
                protocols: provider.protocols.clone(),
            });
            self.publications.insert(service, provider);
        }
        self.wait(call, now, For::Standing);
        Ok(())
    }

    fn unpublish(&mut self, call: CallId, gone: &Withdraw, speaks: Option<Speaks>, now: Nanos) {
        if let Some(provider) = self.publications.get_mut(&gone.service_name) {
            let before = provider.protocols.len();
            match speaks {
                Some(speaks) => provider
                    .protocols
                    .retain(|known| known != protocol_name(speaks)),
                None => provider.protocols.clear(),
            }
            let protocols = provider.protocols.clone();
            let service = gone.service_name.clone();
            if protocols.is_empty() {
                self.publications.remove(&service);
                self.outdated.remove(&service);
                let left = self.publications.len();
                self.tell(Event::Unpublished { service, left });
            } else if protocols.len() < before {
                self.tell(Event::Published { service, protocols });
            }
        }
        self.wait(call, now, For::Standing);
    }

    fn subscribe(
        &mut self,
        call: CallId,
        asked: Subscribe,
        target: Option<Target>,
        now: Nanos,
    ) -> Result<(), String> {
        let service = asked.service_name.clone();
        let is_new = !self.subscriptions.contains_key(&service);
        if is_new && self.subscriptions.len() >= SERVICES_MAX {
            return Err(format!("{SERVICES_MAX} services are subscribed to already"));
        }
        let same = self.subscriptions.entry(service.clone()).or_default();
        let known = same.iter().position(|one| one.asked == asked);
        if known.is_none() && same.len() >= WAYS_MAX {
            return Err(format!(
                "`{service}` is subscribed to in {WAYS_MAX} ways already, unsubscribe from one"
            ));
        }
        match known.and_then(|place| same.get_mut(place)) {
            Some(one) => one.times = one.times.saturating_add(1),
            None => same.push(Subscribed {
                asked: asked.clone(),
                target: target.clone(),
                times: 1,
            }),
        }
        if known.is_none() {
            self.is_dirty = true;
            self.tell(Event::Subscribed {
                service: service.clone(),
                target: asked.target_app_address.clone(),
            });
        }
        self.lists.entry(service).or_default();
        if let Some(name) = target.as_ref().and_then(Target::name) {
            self.names.hurry(name, now);
        }
        let what = For::Providers(Box::new(asked), target.map(Box::new));
        self.wait(call, now, what);
        Ok(())
    }

    fn unsubscribe(&mut self, gone: &Withdraw) {
        let service = &gone.service_name;
        let Some(same) = self.subscriptions.get_mut(service) else {
            return;
        };
        let is_meant = |one: &Subscribed| {
            let protocol = gone.protocol_type.as_deref();
            let target = gone.target_app_address.as_deref();
            protocol.is_none_or(|protocol| one.asked.protocol_type == protocol)
                && target.is_none_or(|_| one.asked.target_app_address.as_deref() == target)
        };
        let Some(place) = same.iter().position(is_meant) else {
            return;
        };
        self.drop_subscription(&service.clone(), place);
    }

    fn drop_subscription(&mut self, service: &str, place: usize) {
        let Some(same) = self.subscriptions.get_mut(service) else {
            return;
        };
        if let Some(one) = same.get_mut(place) {
            one.times = one.times.saturating_sub(1);
        }
        same.retain(|one| one.times > 0);
        let is_last = same.is_empty();
        self.is_dirty = true;
        if is_last {
            self.subscriptions.remove(service);
            self.lists.remove(service);
            self.outputs.push_back(Output::Changed);
            self.tell(Event::Unsubscribed {
                service: service.to_owned(),
            });
        }
    }

    fn wait(&mut self, call: CallId, now: Nanos, what: For) {
        self.waiting.push(Waiting {
            call,
            until: now.plus_ns(ns(self.settings.wait_ms)),
            what,
        });
    }

    fn said(&mut self, said: &Said, now: Nanos) {
        let outcome = self.center.said(said, now);
        match said {
            Said::Failed(why) => self.center_is_lost(why.clone()),
            Said::Done | Said::UnknownSession => self.center_is_up(),
        }
        if !outcome.registered.is_empty() {
            self.tell(Event::Registered {
                services: outcome.registered,
            });
        }
        if !outcome.deregistered.is_empty() {
            self.tell(Event::Deregistered {
                services: outcome.deregistered,
            });
        }
    }

    fn center_is_up(&mut self) {
        if self.is_center_up == Some(false) {
            self.tell(Event::ConfigCenterBack);
        }
        self.is_center_up = Some(true);
    }

    fn center_is_lost(&mut self, why: String) {
        if self.is_center_up != Some(false) {
            self.tell(Event::ConfigCenterLost { why });
        }
        self.is_center_up = Some(false);
    }

    fn pushed(&mut self, push: Push, now: Nanos) {
        if !self.watched.contains(&push.service) {
            // Under way when the app unsubscribed.
            return;
        }
        self.metrics.pushes.add(1);
        let service = push.service.clone();
        let list = self.lists.entry(service.clone()).or_default();
        match list.push(push, now, ns(self.settings.lease_ms), self.bugs) {
            Verdict::Same => {}
            Verdict::Taken => {
                self.outputs.push_back(Output::Changed);
                self.is_dirty = true;
            }
            Verdict::Ignored(why) => {
                self.metrics.pushes_ignored.add(1);
                self.tell(Event::PushIgnored { service, why });
            }
        }
    }

    fn resolved(&mut self, name: String, answer: Result<Vec<IpAddr>, NoAddress>, now: Nanos) {
        match self.names.answered(&name, answer, now) {
            Change::None => {}
            Change::Addresses(addresses) => {
                self.is_dirty = true;
                self.outputs.push_back(Output::Changed);
                self.tell(Event::Resolved { name, addresses });
            }
            Change::Failure(why) => self.tell(Event::NotResolved { name, why }),
        }
    }
}

/// For how long remembered lists count.
enum Believed {
    Now,
    UntilAnswered,
}

fn ok() -> Answer {
    Answer {
        success: true,
        ..Answer::default()
    }
}

fn ns(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

fn protocol_name(speaks: Speaks) -> &'static str {
    match speaks {
        Speaks::Bolt => "bolt",
        Speaks::Tr => "tr",
    }
}

/// A weight, as a number or as a text.
fn number(value: &serde_json::Value) -> Option<u32> {
    match value {
        serde_json::Value::String(text) => text.parse().ok(),
        value => value.as_u64().and_then(|number| u32::try_from(number).ok()),
    }
}
