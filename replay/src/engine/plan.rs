//! Which request goes where, when and with which id; which are left out, and why.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use hashbrown::HashMap;
use meshproof_wire::{Frame, Protocol, RequestId};

use super::call::{Call, method_of_body};
use super::pace::{NotUnderstood, Pace};
use super::subscribe::Api;
use crate::exchange::{Exchange, ExchangeKind, From};
use crate::stream::FlowId;
use crate::targets::{Admitted, Peers, Policy, Refusal};

/// How recorded connections become the replay's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// One for each recorded one.
    #[default]
    Recorded,
    /// This many per target and protocol; each recorded connection stays on one of them, so that
    /// its order is kept.
    Pooled(NonZeroUsize),
}

impl std::str::FromStr for Connections {
    type Err = NotUnderstood;

    /// `recorded`, `pooled=8`.
    fn from_str(text: &str) -> Result<Connections, NotUnderstood> {
        let pooled = |n: &str| n.parse().ok().map(Connections::Pooled);
        match text {
            "recorded" => Some(Connections::Recorded),
            _ => text.strip_prefix("pooled=").and_then(pooled),
        }
        .ok_or_else(|| NotUnderstood {
            given: text.to_owned(),
            what: "kind of connections",
            expected: "`recorded` or `pooled=8`",
        })
    }
}

/// Where requests to a recorded server go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// For servers that have no entry of their own.
    pub default: Option<SocketAddr>,
    /// Recorded server and the address that stands for it.
    pub by_server: Vec<(SocketAddr, SocketAddr)>,
}

impl Routes {
    /// Where requests to `server` go; `None` where nobody said.
    pub fn target(&self, server: SocketAddr) -> Option<SocketAddr> {
        self.by_server
            .iter()
            .find(|(recorded, _)| *recorded == server)
            .map(|(_, target)| *target)
            .or(self.default)
    }

    /// Reads values of `--to`: `ADDRESS` once, or `RECORDED=ADDRESS` any number of times.
    /// Addresses are literal (`localhost` stands for 127.0.0.1): to resolve a name is to send a
    /// packet, and none may leave before the guard was asked.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Routes, NotUnderstood> {
        let mut routes = Routes::default();
        for value in values {
            let wrong = || NotUnderstood {
                given: value.to_owned(),
                what: "target",
                expected: "`127.0.0.1:12200`, or `10.1.2.3:12200=127.0.0.1:12200` for each recorded server; names are not resolved",
            };
            match value.split_once('=') {
                Some((recorded, target)) => routes.by_server.push((
                    address(recorded).ok_or_else(wrong)?,
                    address(target).ok_or_else(wrong)?,
                )),
                None if routes.default.is_none() => {
                    routes.default = Some(address(value).ok_or_else(wrong)?);
                }
                None => return Err(wrong()),
            }
        }
        Ok(routes)
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// Why a request is left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// Heartbeats (and goaways) are made live, not replayed.
    Heartbeat,
    /// The server asked; the server under test asks by itself.
    ServerRequest,
    /// The capture lacks the request, or a part of it.
    Cut,
    /// A filter left it out, or no `--to` says where it should go.
    Filtered,
    /// The same call is sent from where it was seen elsewhere.
    DuplicateHop,
    /// The application API was asked, and is not asked again.
    MeshApi,
}

impl Skip {
    /// The name of the ledger's bucket.
    pub fn name(self) -> &'static str {
        match self {
            Skip::Heartbeat => "heartbeat",
            Skip::ServerRequest => "server_request",
            Skip::Cut => "cut",
            Skip::Filtered => "filtered",
            Skip::DuplicateHop => "duplicate_hop",
            Skip::MeshApi => "mesh_api",
        }
    }
}

/// An exchange of the capture, as the selection left it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What was recorded.
    pub exchange: Exchange,
    /// Why it is left out ([`Skip::Filtered`], [`Skip::DuplicateHop`]); `None` where it is taken.
    pub left_out: Option<Skip>,
}

impl std::convert::From<Exchange> for Recorded {
    fn from(exchange: Exchange) -> Recorded {
        Recorded {
            exchange,
            left_out: None,
        }
    }
}

/// What is meant to become of a recorded exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent; an index into [`Plan::sends`].
    Send(usize),
    /// It is said to the application API before the calls; an index into [`Plan::asks`]. The
    /// ledger counts it beside what is skipped as [`Skip::MeshApi`].
    Ask(usize),
    /// The guard said no.
    Refused(Refusal),
    /// It is left out.
    Skipped(Skip),
}

/// A recorded exchange and what is meant to become of it.
#[derive(Clone, Debug)]
pub struct Item {
    /// What was recorded.
    pub exchange: Exchange,
    /// What it calls.
    pub call: Call,
    /// Where it would go, where that is known.
    pub target: Option<SocketAddr>,
    /// What is meant to become of it.
    pub fate: Fate,
}

/// Whether a request has an answer to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It is a one-way.
    Nothing,
    /// An answer, for this long after the request was sent.
    Answer {
        /// Milliseconds.
        timeout_ms: u32,
    },
}

/// One request to be sent.
#[derive(Clone, Debug)]
pub struct Send {
    /// What it replays; an index into [`Plan::items`].
    pub item: usize,
    /// On which connection; an index into [`Plan::connections`].
    pub connection: usize,
    /// When, in nanoseconds after the start; 0 without a schedule.
    pub intended_ns: u64,
    /// The request under its new id.
    pub frame: Frame,
    /// What comes back.
    pub expect: Expect,
}

/// One connection of the replay. Speaks one protocol version: a real server answers everything in
/// the version of the first frame (SOFABolt 1.6.11, seen on the wire).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where it goes.
    pub target: SocketAddr,
    /// The version of every frame on it.
    pub protocol: Protocol,
    /// Id of its first request; the others follow by one. Heartbeats take the ids behind them.
    pub first_id: RequestId,
    /// Its requests in recorded order; indices into [`Plan::sends`].
    pub sends: Vec<usize>,
}

/// One request to the application API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What it repeats; an index into [`Plan::items`].
    pub item: usize,
    /// Where it goes.
    pub target: SocketAddr,
    /// The message as it was recorded.
    pub request: Frame,
}

/// Everything that is decided before the first socket is opened.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Every exchange of the capture, in recorded order.
    pub items: Vec<Item>,
    /// What is said to the application API before the first of the requests, in recorded order.
    pub asks: Vec<Ask>,
    /// The connections.
    pub connections: Vec<Connection>,
    /// The requests, in recorded order, which is also that of their intended times.
    pub sends: Vec<Send>,
}

/// What was refused, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// Where it would have gone.
    pub target: SocketAddr,
    /// `service.method`, as far as it is known; empty where the address alone was refused.
    pub what: String,
    /// How many requests.
    pub count: u64,
}

impl Plan {
    /// The refusals, summed up by reason, target and method.
    pub fn refusals(&self) -> Vec<Refused> {
        let mut sums = BTreeMap::new();
        for item in &self.items {
            if let (Fate::Refused(why), Some(target)) = (item.fate, item.target) {
                let what = match why {
                    Refusal::Write | Refusal::UnknownMethod => item.call.to_string(),
                    Refusal::NotATarget | Refusal::ProductionPeer => String::new(),
                };
                *sums.entry((why, target, what)).or_insert(0u64) += 1;
            }
        }
        sums.into_iter()
            .map(|((why, target, what), count)| Refused {
                why,
                target,
                what,
                count,
            })
            .collect()
    }

    /// Servers of the capture that no `--to` mentions, and how many requests to them are left out.
    pub fn unrouted(&self) -> BTreeMap<SocketAddr, u64> {
        let mut sums = BTreeMap::new();
        for item in &self.items {
            let call = matches!(
                item.exchange.kind,
                ExchangeKind::Call | ExchangeKind::Oneway
            );
            if item.target.is_none() && call && item.fate == Fate::Skipped(Skip::Filtered) {
                *sums.entry(item.exchange.flow.acceptor).or_insert(0) += 1;
            }
        }
        sums
    }
}

/// What a plan is made by.
#[derive(Clone, Debug)]
pub struct Planning<'a> {
    /// Where requests go.
    pub routes: &'a Routes,
    /// What the guard goes by.
    pub policy: &'a Policy,
    /// When they are sent.
    pub pace: Pace,
    /// On which connections.
    pub connections: Connections,
    /// Waits this long for every answer, whatever the request says.
    pub timeout_ms: Option<u32>,
    /// Where the application API is; `None`: nothing is said to it.
    pub api: Option<&'a Api>,
}

/// How long an answer is waited for where neither the request nor a person says.
pub const TIMEOUT_USUAL_MS: u32 = 3_000;
/// How long an answer is waited for at most, whatever the request says.
pub const TIMEOUT_MAX_MS: u32 = 60_000;
/// Most exchanges of a plan.
pub const EXCHANGES_MAX: usize = 20_000_000;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More exchanges than are held in memory.
    #[error(
        "{0} exchanges are more than {EXCHANGES_MAX}, the most that one replay holds: choose some with --where or --sample"
    )]
    TooMany(usize),
    /// More requests on one connection than it has ids.
    #[error("{0} requests on one connection are more than there are ids: use more connections")]
    NoIds(usize),
}

/// Decides what is sent where, when and with which id.
///
/// `exchanges` come in any order. The guard is asked about every address and every method here,
/// before any socket exists.
pub fn plan(mut exchanges: Vec<Recorded>, planning: &Planning<'_>) -> Result<Plan, Error> {
    if exchanges.len() > EXCHANGES_MAX {
        return Err(Error::TooMany(exchanges.len()));
    }
    let peers: Peers = exchanges
        .iter()
        .flat_map(|r| [r.exchange.flow.opener.ip(), r.exchange.flow.acceptor.ip()])
        .collect();
    exchanges.sort_by_key(|Recorded { exchange, .. }| {
        let half = exchange.request.as_ref().or(exchange.response.as_ref());
        half.map_or((0, 0, 0), |h| (h.mark.at_ns, h.mark.packet, h.offset))
    });
    let mut guard = Guard {
        policy: planning.policy,
        peers,
        admitted: HashMap::new(),
    };
    let ids = recorded_ids(&exchanges);
    let mut plan = Plan::default();
    let mut made = Made::default();
    for recorded in exchanges {
        let item = match recorded.exchange.kind {
            ExchangeKind::MeshApi => decide_api(recorded, planning.api, &mut guard),
            _ => decide(recorded, planning.routes, &mut guard),
        };
        plan.items.push(item);
    }
    let mut start_ns = None;
    for (at, item) in plan.items.iter_mut().enumerate() {
        if let (Fate::Ask(nth), Some(target)) = (&mut item.fate, item.target) {
            *nth = plan.asks.len();
            let request = item.exchange.request.as_ref();
            plan.asks.extend(
                request
                    .and_then(|half| half.frame.clone())
                    .map(|request| Ask {
                        item: at,
                        target,
                        request,
                    }),
            );
            continue;
        }
        let Fate::Send(_) = item.fate else { continue };
        let (Some(target), Some(half)) = (item.target, &item.exchange.request) else {
            continue;
        };
        let Some(frame) = &half.frame else { continue };
        let key = Lane {
            flow: item.exchange.flow.id,
            target,
            protocol: frame.head.protocol,
        };
        let connection = made.connection(key, planning.connections, &mut plan.connections);
        let start_ns = *start_ns.get_or_insert(half.mark.at_ns);
        let nth = plan.sends.len();
        item.fate = Fate::Send(nth);
        if let Some(connection) = plan.connections.get_mut(connection) {
            connection.sends.push(nth);
        }
        plan.sends.push(Send {
            item: at,
            connection,
            intended_ns: planning
                .pace
                .intended_ns(nth as u64, half.mark.at_ns.saturating_sub(start_ns)),
            frame: frame.clone(),
            expect: expect(&item.exchange, planning.timeout_ms),
        });
    }
    remap(&mut plan, &ids)?;
    Ok(plan)
}

/// What becomes of one exchange; the index in [`Fate::Send`] is filled in later.
fn decide(recorded: Recorded, routes: &Routes, guard: &mut Guard<'_>) -> Item {
    let Recorded { exchange, left_out } = recorded;
    let request = exchange.request.as_ref();
    let frame = request.and_then(|half| half.frame.as_ref());
    let call = frame.map(Call::of).unwrap_or_default();
    let target = routes.target(exchange.flow.acceptor);
    let fate = match (exchange.kind, exchange.from, frame, target) {
        (ExchangeKind::Heartbeat | ExchangeKind::Goaway, ..) => Fate::Skipped(Skip::Heartbeat),
        (_, From::Server, ..) => Fate::Skipped(Skip::ServerRequest),
        _ if left_out.is_some() => Fate::Skipped(left_out.unwrap_or(Skip::Filtered)),
        (_, _, None, _) => Fate::Skipped(Skip::Cut),
        (_, _, _, None) => Fate::Skipped(Skip::Filtered),
        (_, _, Some(frame), Some(target)) => match guard.ask(target.ip(), &call, frame) {
            Ok(()) => Fate::Send(usize::MAX),
            Err(why) => Fate::Refused(why),
        },
    };
    Item {
        exchange,
        call,
        target,
        fate,
    }
}

/// What becomes of one exchange with an application API.
fn decide_api(recorded: Recorded, api: Option<&Api>, guard: &mut Guard<'_>) -> Item {
    let Recorded { exchange, left_out } = recorded;
    let frame = exchange
        .request
        .as_ref()
        .and_then(|half| half.frame.as_ref());
    let call = frame.map(Call::of).unwrap_or_default();
    let target = api.and_then(|api| api.routes.target(exchange.flow.acceptor));
    let fate = match (left_out, frame, api, target) {
        (Some(why), ..) => Fate::Skipped(why),
        (_, None, ..) => Fate::Skipped(Skip::Cut),
        (_, Some(frame), Some(api), Some(target)) if api.makes(frame) => {
            match guard.connect(target.ip()) {
                Ok(_) => Fate::Ask(usize::MAX),
                Err(why) => Fate::Refused(why),
            }
        }
        _ => Fate::Skipped(Skip::MeshApi),
    };
    Item {
        exchange,
        call,
        target,
        fate,
    }
}

fn expect(exchange: &Exchange, timeout_ms: Option<u32>) -> Expect {
    if exchange.kind == ExchangeKind::Oneway {
        return Expect::Nothing;
    }
    let recorded = exchange.request.as_ref().and_then(|r| r.head.timeout_ms);
    let recorded = recorded
        .filter(|ms| *ms > 0)
        .map(|ms| ms.min(TIMEOUT_MAX_MS));
    Expect::Answer {
        timeout_ms: timeout_ms.or(recorded).unwrap_or(TIMEOUT_USUAL_MS),
    }
}

/// The guard with its answers about addresses, so that each is asked about once.
struct Guard<'a> {
    policy: &'a Policy,
    peers: Peers,
    admitted: HashMap<IpAddr, Result<Admitted, Refusal>>,
}

impl Guard<'_> {
    fn connect(&mut self, address: IpAddr) -> Result<Admitted, Refusal> {
        let Guard { policy, peers, .. } = self;
        *self
            .admitted
            .entry(address)
            .or_insert_with(|| policy.connect(address, peers))
    }

    fn ask(&mut self, address: IpAddr, call: &Call, request: &Frame) -> Result<(), Refusal> {
        let admitted = self.connect(address)?;
        self.policy.send(admitted, call.method.as_deref())?;
        if admitted.may_be_written() {
            return Ok(());
        }
        // Header map and body both name the method, and whoever reads the other one acts by it.
        self.policy
            .send(admitted, method_of_body(request).as_deref())
    }
}

/// A recorded connection, split by target and protocol version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Lane {
    flow: FlowId,
    target: SocketAddr,
    protocol: Protocol,
}

/// Connections made so far.
#[derive(Default)]
struct Made {
    by_recorded: HashMap<Lane, usize>,
    /// Members of each pool, and how many recorded connections it was given.
    pools: HashMap<(SocketAddr, Protocol), (Vec<usize>, usize)>,
}

impl Made {
    fn connection(
        &mut self,
        key: Lane,
        how: Connections,
        connections: &mut Vec<Connection>,
    ) -> usize {
        if let Some(connection) = self.by_recorded.get(&key) {
            return *connection;
        }
        let mut open = || {
            connections.push(Connection {
                target: key.target,
                protocol: key.protocol,
                first_id: RequestId(0),
                sends: Vec::new(),
            });
            connections.len() - 1
        };
        let connection = match how {
            Connections::Recorded => open(),
            Connections::Pooled(size) => {
                let (members, given) = self.pools.entry((key.target, key.protocol)).or_default();
                let turn = *given % size.get();
                *given += 1;
                match members.get(turn) {
                    Some(connection) => *connection,
                    None => {
                        let connection = open();
                        members.push(connection);
                        connection
                    }
                }
            }
        };
        self.by_recorded.insert(key, connection);
        connection
    }
}

/// Ids of all recorded requests, sorted, each once.
fn recorded_ids(exchanges: &[Recorded]) -> Vec<u32> {
    let mut ids: Vec<u32> = exchanges
        .iter()
        .filter_map(|r| u32::try_from(r.exchange.id.0).ok())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Ids behind a connection's requests that are kept free for heartbeats.
const HEARTBEAT_IDS: u64 = 1 << 16;
/// Ids are Java ints: what is larger reads as negative there, and works, but reads badly.
const ID_MAX: u64 = i32::MAX as u64;

/// Gives every request of a connection an id of its own, and none that the capture knows: an
/// answer that was recorded and not made for this request is then an answer to nobody.
fn remap(plan: &mut Plan, recorded: &[u32]) -> Result<(), Error> {
    for connection in &mut plan.connections {
        let count = connection.sends.len() as u64 + HEARTBEAT_IDS;
        let first = free_run(recorded, count).ok_or(Error::NoIds(connection.sends.len()))?;
        connection.first_id = RequestId(first);
        for (id, at) in (first..).zip(&connection.sends) {
            if let Some(send) = plan.sends.get_mut(*at) {
                send.frame = send.frame.with_id(RequestId(id));
            }
        }
    }
    Ok(())
}

/// The first of `count` ids in a row, from 1 to [`ID_MAX`], none of which is in `taken` (sorted);
/// behind all of them where there is room.
fn free_run(taken: &[u32], count: u64) -> Option<u64> {
    let after = u64::from(taken.last().copied().unwrap_or(0)) + 1;
    if after.checked_add(count)? <= ID_MAX + 1 {
        return Some(after);
    }
    let mut from = 1;
    for id in taken.iter().map(|id| u64::from(*id)) {
        if from + count <= id.min(ID_MAX + 1) {
            return Some(from);
        }
        from = from.max(id + 1);
    }
    None
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests over {} connections",
            self.sends.len(),
            self.connections.len()
        )
    }
}
