//! Who there is, and what happens next.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use meshproof_proxy::Bugs;
use meshproof_proxy::config::{Limits, Sharing, Timeouts, Upstream};
use meshproof_proxy::core::{Command, End, Settings, Side};
use meshproof_proxy::routing::{Endpoint, Service, Table};
use meshproof_sys::clock::Nanos;
use meshproof_wire::Kind;
use meshproof_wire::bolt::Version;

use super::super::rig::{SERVICE, address, settings};
use super::net::{Chance, Link, Owner};
use super::node::{Node, Todo};
use super::parties::{Client, Server, ServerConn};
use super::wire::{self, Speaks};

/// What happened, over one run or all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    asked: usize,
    answered: usize,
    failed: usize,
    oneways: usize,
    server_asked: usize,
    released: usize,
    drained: usize,
    paused: usize,
    unreachable: u64,
    late: u64,
    half_open: u64,
    timed_out: u64,
    overload: u64,
    no_upstream: u64,
    reset: u64,
    cancelled: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.failed += other.failed;
        self.oneways += other.oneways;
        self.server_asked += other.server_asked;
        self.released += other.released;
        self.drained += other.drained;
        self.paused += other.paused;
        self.unreachable += other.unreachable;
        self.late += other.late;
        self.half_open += other.half_open;
        self.timed_out += other.timed_out;
        self.overload += other.overload;
        self.no_upstream += other.no_upstream;
        self.reset += other.reset;
        self.cancelled += other.cancelled;
    }

    pub(super) fn must_have_seen_all(&self) {
        assert!(self.answered > self.asked / 4, "most calls fail: {self:?}");
        let counts = [
            self.failed,
            self.oneways,
            self.server_asked,
            self.released,
            self.drained,
            self.paused,
        ];
        let outcomes = [
            self.unreachable,
            self.late,
            self.half_open,
            self.timed_out,
            self.overload,
            self.no_upstream,
            self.reset,
            self.cancelled,
        ];
        assert!(
            counts.iter().all(|n| *n > 0) && outcomes.iter().all(|n| *n > 0),
            "{self:?}"
        );
    }
}

/// The shape of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    side: Side,
    chained: bool,
    servers: usize,
    clients: usize,
    sharing: Sharing,
    trouble: bool,
    speaks: Option<Speaks>,
}

#[derive(Debug)]
pub(super) struct World {
    chance: Chance,
    now: Nanos,
    plan: Plan,
    nodes: Vec<Node>,
    /// Where clients connect.
    front: usize,
    clients: Vec<Client>,
    servers: Vec<Server>,
    links: Vec<Link>,
    /// What servers have seen.
    delivered: BTreeSet<String>,
    pub(super) tally: Tally,
    generation: u64,
    bugs: Bugs,
    /// Nothing new is begun.
    finishing: bool,
}

const SIDECAR: &str = "10.0.1.1:12200";

fn server_address(n: usize) -> std::net::SocketAddr {
    match n {
        0 => address("127.0.0.1:12199"),
        n => address(&format!("10.0.2.{n}:12200")),
    }
}

impl World {
    pub(super) fn new(seed: u64, bugs: Bugs) -> World {
        let mut chance = Chance(seed);
        let side = [Side::Inbound, Side::Outbound][chance.below(2)];
        let chained = side == Side::Outbound && chance.one_in(3);
        let plan = Plan {
            side,
            chained,
            servers: match (side, chained) {
                (Side::Outbound, false) => 1 + chance.below(3),
                _ => 1,
            },
            clients: 1 + chance.below(6),
            sharing: match chance.one_in(3) {
                true => Sharing::PerClient,
                false => Sharing::Multiplexed,
            },
            trouble: !chance.one_in(4),
            speaks: match chance.one_in(2) {
                true => Some(wire::ALL[chance.below(wire::ALL.len())]),
                false => None,
            },
        };
        let mut world = World {
            chance,
            now: Nanos(5_000_000_000),
            plan,
            nodes: Vec::new(),
            front: 0,
            clients: Vec::new(),
            servers: (0..plan.servers)
                .map(|_| Server {
                    accepts: true,
                    ..Server::default()
                })
                .collect(),
            links: Vec::new(),
            delivered: BTreeSet::new(),
            tally: Tally::default(),
            generation: 0,
            bugs,
            finishing: false,
        };
        let settings = world.settings();
        world.nodes.push(Node::new(settings.clone(), bugs));
        if plan.chained {
            world.nodes.push(Node::new(settings, bugs));
        }
        world.publish(0);
        for _ in 0..plan.clients {
            world.new_client();
        }
        world
    }

    pub(super) fn plan(&self) -> String {
        format!("{:?}", self.plan)
    }

    fn settings(&mut self) -> Settings {
        let tight = self.plan.trouble && self.chance.one_in(3);
        Settings {
            limits: Limits {
                buffered_bytes: 8 << 10,
                in_flight: if tight { 12 } else { 65_536 },
                in_flight_per_connection: if tight { 5 } else { 8192 },
                ..Limits::default()
            },
            upstream: Upstream {
                connections: 1 + self.chance.below(3),
                sharing: self.plan.sharing,
            },
            timeouts: Timeouts::default(),
            ..settings()
        }
    }

    /// Makes the providers known to a node that calls out.
    fn publish(&mut self, node: usize) {
        self.generation += 1;
        let addresses = match self.plan.chained {
            true => vec![address(SIDECAR)],
            false => (0..self.servers.len()).map(server_address).collect(),
        };
        let endpoints = addresses.into_iter().map(|address| Endpoint {
            address,
            bolt: true,
            tr: true,
            zone: String::new(),
            weight: 100,
        });
        let service = Service {
            endpoints: endpoints.collect(),
            ..Service::default()
        };
        let table = Table {
            generation: self.generation,
            services: [(SERVICE.to_owned(), service)].into(),
            ..Table::default()
        };
        self.command(node, Command::Routes(Arc::new(table)));
    }

    fn new_client(&mut self) {
        let from = address("10.0.0.1:4000");
        let (side, now, front) = (self.plan.side, self.now, self.front);
        let Some(conn) = self.nodes[front].core.accepted(side, from, now) else {
            return;
        };
        let link = self.links.len();
        let owners = [Owner::Client(self.clients.len()), Owner::Core(front, conn)];
        self.links.push(Link::new(owners));
        self.nodes[front].links.insert(conn, link);
        let any = wire::ALL[self.chance.below(wire::ALL.len())];
        let speaks = self.plan.speaks.unwrap_or(any);
        // Clients use the same ids, some of them around the wrap.
        let first = [1, 1, u64::from(u32::MAX) - 3][self.chance.below(3)];
        self.clients.push(Client::new(link, speaks, first));
        self.settle(front);
    }

    pub(super) fn step(&mut self) {
        match self.chance.below(100) {
            0..22 => self.client_acts(),
            22..60 => self.bytes_move(),
            60..80 => self.core_writes(),
            80..89 => self.server_acts(),
            89..95 => self.connect_ends(),
            95..98 => {
                let ms = [0, 1, 5, 50][self.chance.below(4)];
                self.time_passes(ms);
            }
            _ if self.plan.trouble => self.trouble(),
            _ => {}
        }
    }

    fn client_acts(&mut self) {
        let n = self.chance.below(self.clients.len());
        let burst = 1 + self.chance.below(4);
        let silent = self.plan.trouble && self.chance.one_in(6);
        let Some(client) = self.clients.get_mut(n) else {
            return;
        };
        if !client.alive {
            return;
        }
        for _ in 0..burst {
            if !client.owes.is_empty() && !silent {
                let at = self.chance.below(client.owes.len());
                let owed = client.owes.swap_remove(at);
                let answer = wire::response(owed.speaks, owed.id, &owed.payload);
                client.output.extend_from_slice(&answer);
                continue;
            }
            if self.finishing || client.sent_away || client.open.len() > 40 {
                break;
            }
            let id = client.take_id();
            client.next_payload += 1;
            let filler = match self.chance.below(12) {
                0 => "x".repeat(self.chance.below(9000)),
                _ => String::new(),
            };
            let payload = format!("<#{n}.{}{filler}#>", client.next_payload);
            let kind = match self.chance.below(10) {
                0 => {
                    client.heartbeats.insert(id);
                    client
                        .output
                        .extend_from_slice(&wire::heartbeat(client.speaks, id));
                    continue;
                }
                1 => Kind::Oneway,
                _ => Kind::Request,
            };
            match kind {
                Kind::Oneway => self.tally.oneways += 1,
                _ => {
                    self.tally.asked += 1;
                    client.open.insert(id, payload.clone());
                }
            }
            let timeout_ms = [100, 1000, 3000][self.chance.below(3)];
            let frame = wire::request(client.speaks, id, kind, timeout_ms, &payload);
            client.output.extend_from_slice(&frame);
        }
    }

    /// Some link moves bytes: from a party into it, or out of it to the other.
    fn bytes_move(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let link = self.chance.below(self.links.len());
        self.link_moves(link);
    }

    fn link_moves(&mut self, link: usize) {
        for end in 0..2 {
            self.party_writes(link, end);
            self.deliver(link, end);
        }
    }

    /// What a client or server has put out goes into the pipe.
    fn party_writes(&mut self, link: usize, end: usize) {
        let output = match self.links[link].owners[end] {
            Owner::Client(n) => &mut self.clients[n].output,
            Owner::Server(n) => match self.servers[n].conns.get_mut(&link) {
                Some(conn) if !conn.vanished => &mut conn.output,
                _ => return,
            },
            Owner::Core(..) => return,
        };
        let len = output.len().min(self.links[link].space(end));
        let bytes: Vec<u8> = output.drain(..len).collect();
        if !self.links[link].closed[end] {
            self.links[link].write(end, &bytes);
        }
    }

    /// What the end `from` wrote reaches the other, cut anywhere.
    fn deliver(&mut self, link: usize, from: usize) {
        let to = 1 - from;
        if self.links[link].closed[to] {
            return;
        }
        let owner = self.links[link].owners[to];
        match owner {
            Owner::Core(n, conn) if self.nodes[n].paused.contains(&conn) => return,
            Owner::Client(n) if self.clients[n].deaf => return,
            Owner::Server(n)
                if self.servers[n]
                    .conns
                    .get(&link)
                    .is_none_or(|conn| conn.vanished) =>
            {
                return;
            }
            _ => {}
        }
        let have = self.links[link].pipes[from].len();
        if have == 0 {
            let ended = self.links[link].closed[from] && !self.links[link].told[from];
            if ended {
                self.links[link].told[from] = true;
                self.end_of(link, to);
            }
            return;
        }
        let len = match self.chance.below(3) {
            0 => 1 + self.chance.below(have.min(40)),
            1 => 1 + self.chance.below(have),
            _ => have,
        };
        let bytes: Vec<u8> = self.links[link].pipes[from].drain(..len).collect();
        match owner {
            Owner::Core(n, conn) => {
                self.nodes[n].core.received(conn, &bytes, self.now);
                self.settle(n);
            }
            Owner::Client(n) => {
                let got = self.clients[n].read(&bytes);
                self.tally.answered += got.answered;
                self.tally.failed += got.failed;
                self.tally.server_asked += got.asked;
            }
            Owner::Server(n) => {
                let conn = self.servers[n].conns.get_mut(&link).unwrap();
                for payload in conn.read(&bytes) {
                    assert!(
                        self.delivered.insert(payload.clone()),
                        "{payload} came twice"
                    );
                }
            }
        }
    }

    /// The end `to` of a link learns that the other is closed.
    fn end_of(&mut self, link: usize, to: usize) {
        match self.links[link].owners[to] {
            Owner::Core(n, conn) => {
                self.links[link].close(to);
                self.nodes[n].forget(conn);
                let how = [End::Eof, End::Reset][self.chance.below(2)];
                self.nodes[n].core.ended(conn, how, self.now);
                self.settle(n);
            }
            Owner::Client(n) => {
                self.links[link].close(to);
                self.clients[n].alive = false;
            }
            Owner::Server(n) => {
                self.links[link].close(to);
                self.servers[n].conns.remove(&link);
            }
        }
    }

    fn core_writes(&mut self) {
        let n = self.chance.below(self.nodes.len());
        let waiting: Vec<_> = self.nodes[n].dirty.iter().copied().collect();
        if waiting.is_empty() {
            return;
        }
        let conn = waiting[self.chance.below(waiting.len())];
        let most = match self.chance.below(3) {
            0 => 1 + self.chance.below(60),
            _ => usize::MAX,
        };
        self.core_writes_to(n, conn, most);
    }

    fn core_writes_to(&mut self, n: usize, conn: meshproof_proxy::core::Conn, most: usize) {
        let node = &mut self.nodes[n];
        let Some(&link) = node.links.get(&conn) else {
            // It connects still: what there is to write waits.
            assert!(
                node.core.output(conn).is_empty(),
                "output before the connect ended"
            );
            node.dirty.remove(&conn);
            return;
        };
        let end = self.links[link].end_of(Owner::Core(n, conn));
        let output = node.core.output(conn);
        let len = output.len().min(most).min(self.links[link].space(end));
        self.links[link].write(end, &output[..len]);
        let closing = node.closing.contains(&conn);
        if output.len() == len {
            node.dirty.remove(&conn);
        }
        let done = output.len() == len && closing;
        node.core.wrote(conn, len, self.now);
        if done {
            node.forget(conn);
            self.links[link].close(end);
        }
        self.settle(n);
    }

    fn server_acts(&mut self) {
        let trouble = self.plan.trouble && !self.finishing;
        let n = self.chance.below(self.servers.len());
        let links: Vec<_> = self.servers[n].conns.keys().copied().collect();
        if links.is_empty() {
            return;
        }
        let link = links[self.chance.below(links.len())];
        let chance = &mut self.chance;
        let conn = self.servers[n].conns.get_mut(&link).unwrap();
        for _ in 0..1 + chance.below(6) {
            if conn.owes.is_empty() {
                break;
            }
            let at = chance.below(conn.owes.len());
            if trouble && chance.one_in(40) {
                // It will never be answered.
                conn.owes[at].kind = Kind::Unknown;
                continue;
            }
            if conn.owes[at].kind == Kind::Unknown {
                continue;
            }
            let owed = conn.owes.swap_remove(at);
            let speaks = match owed.speaks {
                // Without a CRC, as real servers answer exceptions.
                Speaks::Bolt(Version::V2_CRC) if chance.one_in(4) => {
                    Speaks::Bolt(Version::V2_PLAIN)
                }
                speaks => speaks,
            };
            conn.output
                .extend_from_slice(&wire::response(speaks, owed.id, &owed.payload));
            if trouble && chance.one_in(60) {
                // Twice, as some servers do.
                conn.output
                    .extend_from_slice(&wire::response(speaks, owed.id, &owed.payload));
            }
        }
        if let Some(speaks) = conn.speaks
            && !self.finishing
        {
            if chance.one_in(10) {
                conn.next_id += 1;
                let payload = format!("<#s{n}.{link}.{}#>", conn.next_id);
                let kind = match chance.one_in(3) {
                    true => Kind::Oneway,
                    false => Kind::Request,
                };
                if kind == Kind::Request {
                    conn.open.insert(conn.next_id, payload.clone());
                }
                let frame = wire::request(speaks, conn.next_id, kind, 1000, &payload);
                conn.output.extend_from_slice(&frame);
            }
            if trouble && !conn.said_goaway && chance.one_in(60) {
                conn.said_goaway = true;
                let frame = wire::goaway(speaks, 0).unwrap_or_default();
                conn.output.extend_from_slice(&frame);
            }
        }
    }

    fn connect_ends(&mut self) {
        let n = self.chance.below(self.nodes.len());
        let connecting = self.nodes[n].connecting.len();
        if connecting == 0 {
            return;
        }
        let at = self.chance.below(connecting);
        let (conn, to) = self.nodes[n].connecting.remove(at);
        let from = address("10.0.1.1:5000");
        let link = self.links.len();
        let own = Owner::Core(n, conn);
        let server = (0..self.servers.len()).find(|n| server_address(*n) == to);
        let owner = match server {
            Some(server) if self.servers[server].accepts => {
                self.servers[server]
                    .conns
                    .insert(link, ServerConn::default());
                Some(Owner::Server(server))
            }
            Some(_) => None,
            None => {
                let accepted = self.nodes[1].core.accepted(Side::Inbound, from, self.now);
                accepted.map(|conn| {
                    self.nodes[1].links.insert(conn, link);
                    Owner::Core(1, conn)
                })
            }
        };
        match owner {
            Some(owner) => {
                self.links.push(Link::new([own, owner]));
                self.nodes[n].links.insert(conn, link);
                self.nodes[n].core.connected(conn, Ok(()), self.now);
            }
            None => {
                self.nodes[n].forget(conn);
                let refused = Err(ErrorKind::ConnectionRefused);
                self.nodes[n].core.connected(conn, refused, self.now);
            }
        }
        self.settle(n);
        if self.plan.chained {
            self.settle(1);
        }
    }

    fn time_passes(&mut self, ms: u64) {
        let end = self
            .now
            .plus_ns(ms * 1_000_000 + self.chance.below(999_999) as u64);
        loop {
            let wants = self
                .nodes
                .iter()
                .filter_map(|node| node.core.next_deadline());
            let Some(at) = wants.min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            for n in 0..self.nodes.len() {
                self.nodes[n].core.tick(self.now);
                self.settle(n);
                let next = self.nodes[n].core.next_deadline();
                assert!(
                    next.is_none_or(|next| next > self.now),
                    "the clock stands still"
                );
            }
        }
        self.now = end;
    }

    fn trouble(&mut self) {
        match self.chance.below(17) {
            0 | 1 => {
                // A client goes, with what it asked.
                let n = self.chance.below(self.clients.len());
                let link = self.clients[n].link;
                if self.clients[n].alive {
                    self.clients[n].alive = false;
                    self.links[link].close(0);
                }
            }
            2..5 => self.new_client(),
            5 => {
                let n = self.chance.below(self.servers.len());
                let links: Vec<_> = self.servers[n].conns.keys().copied().collect();
                if let Some(link) = links.get(self.chance.below(links.len())).copied() {
                    let end = self.links[link].end_of(Owner::Server(n));
                    self.links[link].close(end);
                    self.servers[n].conns.remove(&link);
                }
            }
            6 => {
                let n = self.chance.below(self.servers.len());
                if let Some(conn) = self.servers[n].conns.values_mut().next_back() {
                    conn.vanished = self.chance.one_in(3);
                }
            }
            7 => {
                let n = self.chance.below(self.servers.len());
                self.servers[n].accepts = !self.servers[n].accepts;
            }
            8 | 9 => {
                let n = self.chance.below(self.clients.len());
                self.clients[n].deaf = !self.clients[n].deaf;
            }
            10 => self.time_passes(500),
            11 => self.time_passes(2000),
            12 => self.publish(0),
            15 => {
                // What no sidecar serves: Dubbo, TLS, HTTP/2, noise.
                let n = self.chance.below(self.clients.len());
                let noise = [
                    &b"\xda\xbb\xc2\0"[..],
                    b"\x16\x03\x01",
                    b"PRI * HTTP/2.0",
                    b"\0",
                ];
                let noise = noise[self.chance.below(noise.len())];
                self.clients[n].output.extend_from_slice(noise);
                self.clients[n].foreign = true;
            }
            13 => {
                let last = self.nodes.len() - 1;
                self.command(last, Command::CloseInbound);
            }
            14 => {
                let last = self.nodes.len() - 1;
                self.command(last, Command::OpenInbound);
            }
            _ => self.upgrade(),
        }
    }

    /// A second process takes over from the one in front.
    fn upgrade(&mut self) {
        if self.plan.chained || self.nodes.len() > 3 {
            return;
        }
        let settings = self.settings();
        let heir = self.nodes.len();
        self.nodes.push(Node::new(settings, self.bugs));
        self.publish(heir);
        self.nodes[self.front].heir = Some(heir);
        let old = std::mem::replace(&mut self.front, heir);
        self.command(old, Command::HandOver);
    }

    fn command(&mut self, node: usize, command: Command) {
        self.nodes[node].core.command(command, self.now);
        self.settle(node);
    }

    /// Does what a core wants done, until it wants nothing.
    fn settle(&mut self, n: usize) {
        loop {
            let paused = self.nodes[n].paused.len();
            let todo = self.nodes[n].settle();
            self.tally.paused += self.nodes[n].paused.len().saturating_sub(paused);
            if todo.is_empty() {
                break;
            }
            for one in todo {
                match one {
                    Todo::Close(link, conn) => {
                        let end = self.links[link].end_of(Owner::Core(n, conn));
                        self.links[link].close(end);
                    }
                    Todo::Release(link, conn, side, unread) => {
                        self.tally.released += 1;
                        let heir = self.nodes[n].heir.expect("somebody takes over");
                        let end = self.links[link].end_of(Owner::Core(n, conn));
                        let from = address("10.0.0.1:4000");
                        let core = &mut self.nodes[heir].core;
                        let taken = core.adopted(side, from, &unread, self.now);
                        self.links[link].owners[end] = Owner::Core(heir, taken);
                        self.nodes[heir].links.insert(taken, link);
                        self.settle(heir);
                    }
                }
            }
        }
    }

    /// Lets everything come to its end, and looks at what is left.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        for client in &mut self.clients {
            client.deaf = false;
        }
        for round in 0..60 {
            for link in 0..self.links.len() {
                for _ in 0..8 {
                    self.link_moves(link);
                }
            }
            for n in 0..self.nodes.len() {
                while !self.nodes[n].connecting.is_empty() {
                    self.connect_ends();
                }
                for conn in self.nodes[n].dirty.clone() {
                    self.core_writes_to(n, conn, usize::MAX);
                }
            }
            for _ in 0..20 {
                self.server_acts();
                self.client_acts();
            }
            // The last rounds only bring what is on its way to its end.
            if round % 4 == 3 && round < 48 {
                self.time_passes(1700);
            }
        }
        for client in self.clients.iter().filter(|client| client.alive) {
            assert!(!client.foreign, "foreign bytes are held");
            assert!(self.links[client.link].open());
            assert!(client.open.is_empty(), "not ended: {:?}", client.open);
            assert!(client.heartbeats.is_empty());
        }
        for (n, server) in self.servers.iter().enumerate() {
            for (link, _) in server.conns.iter().filter(|(_, conn)| conn.vanished) {
                let end = self.links[*link].end_of(Owner::Server(n));
                assert!(self.links[*link].closed[1 - end], "half open for good");
            }
            for conn in server.conns.values().filter(|conn| !conn.vanished) {
                assert!(
                    conn.open.is_empty(),
                    "server {n} got no answer: {:?}",
                    conn.open
                );
            }
        }
        for (n, node) in self.nodes.iter().enumerate() {
            let census = node.core.census();
            let left = (
                census.flights,
                census.in_flight,
                census.waiting,
                census.buffered_bytes,
            );
            assert_eq!(left, (0, 0, 0, 0), "node {n}: {census:?}");
            assert_eq!(node.drained, node.heir.is_some(), "node {n}: {census:?}");
            self.tally.drained += usize::from(node.drained);
            let metrics = &node.metrics;
            self.tally.late += metrics.late_answers.value();
            self.tally.half_open += metrics.half_open.value();
            self.tally.unreachable += metrics.connect_failures.value();
            for side in &metrics.requests {
                let [_, _, timed_out, no_upstream, overload, reset, cancelled] =
                    side.each_ref().map(|counter| counter.value());
                self.tally.timed_out += timed_out;
                self.tally.no_upstream += no_upstream;
                self.tally.overload += overload;
                self.tally.reset += reset;
                self.tally.cancelled += cancelled;
            }
        }
    }
}
