//! What a capture tells of the deployment that it was taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use meshproof_replay::engine::call::Call;
use meshproof_replay::exchange::{Exchange, ExchangeKind, From, Hop};
use meshproof_wire::address::{Address, Host};
use meshproof_wire::mesh_api::{self, Call as ApiCall};
use meshproof_wire::{Frame, Protocol};
use serde::{Deserialize, Serialize};

/// Recorded servers that get a pod of their own; the calls of further ones go to the others.
pub const PROVIDERS_MAX: usize = 64;
/// Services of one capture at most.
pub const SERVICES_MAX: usize = 10_000;

/// On which side of a pod's sidecar a capture was taken, and so where a replay enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Calls of the pod's app to others: the replay enters at 12220, after the subscriptions.
    Outbound,
    /// Calls of others to the pod: the replay enters at 12200.
    Inbound,
}

impl Side {
    /// The word in files and output.
    pub fn name(self) -> &'static str {
        match self {
            Side::Outbound => "outbound",
            Side::Inbound => "inbound",
        }
    }
}

/// Why no mesh can be made from a capture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// There is nothing to be replayed on this side.
    #[error(
        "the capture holds no call that enters {}; {others} others do not enter there: give the \
         other --side, or see what it holds with `meshproof ls`", .side.name()
    )]
    NoCalls {
        /// Where a replay would enter.
        side: Side,
        /// Calls that are seen elsewhere.
        others: u64,
    },
    /// A sidecar finds the way to a service by its name.
    #[error(
        "{count} calls, of `{class}` first, name no service (plain SOFABolt), and no sidecar finds \
         a way for them outbound: replay them as --side inbound, where they go to the app behind \
         the sidecar"
    )]
    NoService {
        /// Class of the first one.
        class: String,
        /// How many.
        count: u64,
    },
    /// More than a mesh is made for.
    #[error("{0} services are more than the {SERVICES_MAX} of one mesh: choose some with --where")]
    TooMany(usize),
}

/// One recorded server, or one that stands for those that the capture does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its pod.
    pub pod: String,
    /// The recorded servers that it stands for, as text; empty: the capture shows none.
    pub stands_for: Vec<String>,
    /// Its zone, where a VIP tells it.
    pub zone: Option<String>,
    /// Services that the config center names it for.
    pub services: BTreeSet<String>,
    /// Where it listens, beside 12200.
    pub ports: BTreeSet<u16>,
}

/// A subscription that is to be made, since the capture shows calls and no subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeUp {
    /// The service.
    pub service: String,
    /// `bolt` or `tr`.
    pub protocol: String,
}

/// The deployment, as far as a replay needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where the replay enters.
    pub side: Side,
    /// The recorded app, `app` where nothing tells.
    pub app: String,
    /// Servers behind the sidecar; of an inbound capture the one app.
    pub providers: Vec<Provider>,
    /// Host names of VIPs, and indices of the providers behind each.
    pub vips: BTreeMap<String, Vec<usize>>,
    /// Subscriptions that the capture lacks.
    pub made_up: Vec<MadeUp>,
    /// Calls and one-ways that enter.
    pub calls: u64,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Whether an exchange is a call that enters on a side.
pub fn enters(side: Side, shows: Shows, exchange: &Exchange) -> bool {
    let call = matches!(exchange.kind, ExchangeKind::Call | ExchangeKind::Oneway);
    if !call || exchange.from == From::Server {
        return false;
    }
    match side {
        // What the app says to its sidecar, where that was captured; else what goes to 12200.
        Side::Outbound if shows.outbound => exchange.hop == Hop::Outbound,
        Side::Outbound => exchange.hop != Hop::App,
        // What others say to the sidecar; else what the sidecar says to the app.
        Side::Inbound => exchange.hop != Hop::Outbound,
    }
}

/// Which hops a capture shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// 12220, or the application API.
    pub outbound: bool,
    /// 12199.
    pub app: bool,
}

impl Shows {
    /// Looks at every exchange.
    pub fn of<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Shows {
        let mut shows = Shows::default();
        for exchange in exchanges {
            shows.outbound |= exchange.hop == Hop::Outbound;
            shows.app |= exchange.hop == Hop::App && exchange.kind != ExchangeKind::Heartbeat;
        }
        shows
    }
}

/// The side that a capture was most likely taken on: what passes 12220 or asks the application API
/// is outbound, what passes 12199 inbound; of 12200 alone, one server with several clients is
/// inbound.
pub fn side_of<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> Side {
    let (mut clients, mut servers) = (BTreeSet::new(), BTreeSet::new());
    let mut subscribes = false;
    let mut shows = Shows::default();
    for exchange in exchanges {
        let here = Shows::of([exchange]);
        shows.outbound |= here.outbound;
        shows.app |= here.app;
        subscribes |= matches!(api_call(exchange), Some(ApiCall::Subscribe(_)));
        if exchange.kind != ExchangeKind::MeshApi {
            clients.insert(exchange.flow.opener.ip());
            servers.insert(exchange.flow.acceptor);
        }
    }
    match (shows.outbound || subscribes, shows.app) {
        (true, _) => Side::Outbound,
        (false, true) => Side::Inbound,
        (false, false) if servers.len() == 1 && clients.len() > 1 => Side::Inbound,
        (false, false) => Side::Outbound,
    }
}

fn request(exchange: &Exchange) -> Option<&Frame> {
    exchange.request.as_ref()?.frame.as_ref()
}

fn api_call(exchange: &Exchange) -> Option<ApiCall> {
    let frame = request(exchange).filter(|it| it.head.protocol == Protocol::MeshApi)?;
    ApiCall::of(&mesh_api::message(frame).ok()?).ok()
}

/// Addresses that an answer to a subscription gives.
fn given(exchange: &Exchange) -> Vec<SocketAddr> {
    let frame = exchange.response.as_ref().and_then(|it| it.frame.as_ref());
    let answer = frame.and_then(|frame| mesh_api::answer(frame).ok());
    let datas = answer
        .and_then(|(_, answer)| answer.datas)
        .unwrap_or_default();
    let addresses = datas.iter().filter_map(|text| {
        let address: Address = text.parse().ok()?;
        address.socket()
    });
    addresses.collect()
}

/// `bolt` or `tr`.
fn protocol_of(frame: &Frame) -> &'static str {
    match frame.head.protocol {
        Protocol::Tr => "tr",
        _ => "bolt",
    }
}

/// What is known of one service.
#[derive(Default)]
struct Known {
    protocols: BTreeSet<&'static str>,
    servers: BTreeSet<SocketAddr>,
    subscribed: bool,
    /// Host and port of VIPs.
    vips: BTreeSet<(String, u16)>,
}

impl Shape {
    /// Reads exchanges; `side` says it where it is not to be guessed.
    ///
    /// # Errors
    /// No mesh can be made for these calls.
    pub fn of(exchanges: &[&Exchange], side: Option<Side>) -> Result<Shape, Unfit> {
        let side = side.unwrap_or_else(|| side_of(exchanges.iter().copied()));
        let shows = Shows::of(exchanges.iter().copied());
        let mut shape = Shape {
            side,
            app: "app".to_owned(),
            providers: Vec::new(),
            vips: BTreeMap::new(),
            made_up: Vec::new(),
            calls: 0,
            notes: Vec::new(),
        };
        let mut services: BTreeMap<String, Known> = BTreeMap::new();
        let mut plain: (u64, Option<String>) = (0, None);
        let (mut asks, mut others) = (0, 0);
        for exchange in exchanges {
            match api_call(exchange) {
                Some(ApiCall::Application(body)) => {
                    asks += 1;
                    if let Some(name) = body.app_name.filter(|name| !name.is_empty()) {
                        shape.app = name;
                    }
                }
                Some(ApiCall::Subscribe(body)) if side == Side::Outbound => {
                    asks += 1;
                    let known = services.entry(body.service_name.clone()).or_default();
                    known.subscribed = true;
                    known.servers.extend(given(exchange));
                    let target = body.target_app_address.as_deref().unwrap_or_default();
                    shape.target(target, known);
                }
                _ => {}
            }
            let Some(frame) = request(exchange).filter(|_| enters(side, shows, exchange)) else {
                let call = matches!(exchange.kind, ExchangeKind::Call | ExchangeKind::Oneway);
                others += u64::from(call);
                // Where a call went is told by what was seen behind the sidecar, too.
                if side == Side::Outbound && exchange.hop == Hop::Inbound {
                    behind(exchange, &mut services);
                }
                continue;
            };
            shape.calls += 1;
            if asks == 0 && shape.calls == 1 {
                // An app that named itself to its sidecar said it better.
                let named = frame.headers().get("app").map(str::to_owned);
                shape.app = named.filter(|name| !name.is_empty()).unwrap_or(shape.app);
            }
            let call = Call::of(frame);
            if call.method.is_none() {
                plain.0 += 1;
                plain.1.get_or_insert(call.service);
                continue;
            }
            let known = services.entry(call.service).or_default();
            known.protocols.insert(protocol_of(frame));
            if side == Side::Outbound && exchange.hop != Hop::Outbound {
                known.servers.insert(exchange.flow.acceptor);
            }
        }
        if shape.calls + asks == 0 {
            return Err(Unfit::NoCalls { side, others });
        }
        if services.len() > SERVICES_MAX {
            return Err(Unfit::TooMany(services.len()));
        }
        match side {
            Side::Inbound => shape.inbound(&services),
            Side::Outbound if plain.0 > 0 => {
                let class = plain.1.unwrap_or_default();
                let count = plain.0;
                return Err(Unfit::NoService { class, count });
            }
            Side::Outbound => shape.outbound(&services),
        }
        Ok(shape)
    }

    /// What a subscription is to be resolved by.
    fn target(&mut self, target: &str, known: &mut Known) {
        if target.is_empty() {
            return;
        }
        let Ok(address) = target.parse::<Address>() else {
            self.notes.push(format!(
                "a subscription names `{target}`, which is no address in either form: it is made \
                 as it is"
            ));
            return;
        };
        let port = address.port.unwrap_or(12200);
        match &address.host {
            Host::Name(_) | Host::Vip(_) => {
                known
                    .vips
                    .insert((address.host.to_string().to_lowercase(), port));
            }
            Host::Ip(ip) => self.notes.push(format!(
                "a subscription names the address {ip}, where nothing is in this mesh: map it to \
                 the address of a provider's pod"
            )),
        }
    }

    fn inbound(&mut self, services: &BTreeMap<String, Known>) {
        self.providers.push(Provider {
            pod: "server".to_owned(),
            services: services.keys().cloned().collect(),
            ..Provider::default()
        });
    }

    fn outbound(&mut self, services: &BTreeMap<String, Known>) {
        let mut servers: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for known in services.values() {
            for server in &known.servers {
                let next = servers.len();
                servers.entry(*server).or_insert(next);
            }
        }
        let count = servers.len().clamp(1, PROVIDERS_MAX);
        if servers.len() > PROVIDERS_MAX {
            self.notes.push(format!(
                "{} recorded servers share {PROVIDERS_MAX} pods",
                servers.len()
            ));
        }
        self.providers = (1..=count)
            .map(|number| Provider {
                pod: format!("provider-{number}"),
                ..Provider::default()
            })
            .collect();
        for (server, number) in &servers {
            if let Some(provider) = self.providers.get_mut(number % count) {
                provider.stands_for.push(server.to_string());
            }
        }
        for (service, known) in services {
            let mut pods: BTreeSet<usize> = known
                .servers
                .iter()
                .filter_map(|it| servers.get(it))
                .map(|it| it % count)
                .collect();
            if pods.is_empty() {
                pods.insert(0);
            }
            for at in &pods {
                let Some(provider) = self.providers.get_mut(*at) else {
                    continue;
                };
                // What is subscribed by VIP must be found by VIP: the config center would answer
                // in its place.
                if known.vips.is_empty() {
                    provider.services.insert(service.clone());
                }
                for (name, port) in &known.vips {
                    provider.zone = provider.zone.take().or_else(|| zone_of(name));
                    if *port != 12200 {
                        provider.ports.insert(*port);
                    }
                }
            }
            for (name, _) in &known.vips {
                let behind = self.vips.entry(name.clone()).or_default();
                behind.extend(pods.iter().copied());
                behind.sort_unstable();
                behind.dedup();
            }
            if !known.subscribed {
                let each = known.protocols.iter().map(|protocol| MadeUp {
                    service: service.clone(),
                    protocol: (*protocol).to_owned(),
                });
                self.made_up.extend(each);
            }
        }
        if !self.made_up.is_empty() {
            let count = self.made_up.len();
            self.notes.push(format!(
                "{count} subscriptions are made up from the calls: the capture shows none for them"
            ));
        }
    }
}

/// Notes the server of a call that was seen behind the sidecar.
fn behind(exchange: &Exchange, services: &mut BTreeMap<String, Known>) {
    let Some(frame) = request(exchange) else {
        return;
    };
    let call = Call::of(frame);
    if call.method.is_some() {
        let known = services.entry(call.service).or_default();
        known.servers.insert(exchange.flow.acceptor);
        known.protocols.insert(protocol_of(frame));
    }
}

/// The zone of `APP-pool.ZONE.DOMAIN`.
fn zone_of(name: &str) -> Option<String> {
    let mut labels = name.split('.');
    let pool = labels.next()?.ends_with("-pool");
    let zone = labels.next()?;
    (pool && labels.next().is_some()).then(|| zone.to_owned())
}
