//! What the data path costs without sockets: nanoseconds for one request and its answer.
//!
//! `cargo run --release -p meshproof-proxy --example core_cost [BATCH…]`

use std::sync::Arc;

use meshproof_proxy::Bugs;
use meshproof_proxy::config::{Limits, Speaks, Timeouts, Upstream};
use meshproof_proxy::core::{Action, Conn, Core, Settings, Side};
use meshproof_proxy::metrics::Metrics;
use meshproof_proxy::routing::{self, Endpoint, Service, Table};
use meshproof_sys::clock::Nanos;
use meshproof_wire::bolt::{self, Build, Version, cmdcode, encode_headers};

const CLIENTS: usize = 64;
const REQUESTS: usize = 2_000_000;
const SERVICE: &str = "com.alipay.demo.SampleService:1.0";

fn frame(version: Version, command: bolt::Command, id: u32) -> Vec<u8> {
    let headers = encode_headers([
        ("rpc_trace_context.sofaRpcId", "0"),
        ("sofa_head_target_service", SERVICE),
        ("service", SERVICE),
    ]);
    let build = Build {
        version,
        command,
        cmdcode: match command {
            bolt::Command::Response { .. } => cmdcode::RESPONSE,
            _ => cmdcode::REQUEST,
        },
        id,
        codec: 1,
        class: b"com.alipay.sofa.rpc.core.request.SofaRequest",
        headers: &headers,
        content: &[7; 64],
    };
    build
        .encode()
        .map(|bytes| bytes.to_vec())
        .unwrap_or_default()
}

struct Edge {
    core: Core,
    now: Nanos,
    actions: Vec<Action>,
    dirty: Vec<Conn>,
    spent_ns: u64,
}

impl Edge {
    /// As the real one does after a batch; gives what was written, by connection.
    fn settle(&mut self, written: &mut Vec<(Conn, Vec<u8>)>) {
        written.clear();
        let start = Nanos::now();
        self.core.actions(&mut self.actions);
        self.core.dirty(&mut self.dirty);
        self.spent_ns += Nanos::now().since(start);
        for action in std::mem::take(&mut self.actions) {
            if let Action::Connect { conn, .. } = action {
                self.core.connected(conn, Ok(()), self.now);
            }
        }
        for conn in std::mem::take(&mut self.dirty) {
            written.push((conn, self.core.output(conn).to_vec()));
            let len = self.core.output(conn).len();
            let start = Nanos::now();
            self.core.wrote(conn, len, self.now);
            self.spent_ns += Nanos::now().since(start);
        }
    }

    fn received(&mut self, conn: Conn, bytes: &[u8]) {
        let start = Nanos::now();
        self.core.received(conn, bytes, self.now);
        self.spent_ns += Nanos::now().since(start);
    }
}

fn measure(side: Side, version: Version, batch: usize) -> f64 {
    let to = ([10, 0, 0, 1], 12200).into();
    let settings = Settings {
        app: to,
        inbound: vec![Speaks::Bolt],
        outbound: vec![Speaks::Bolt],
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        upstream: Upstream::default(),
        routing: routing::Settings::default(),
    };
    let mut edge = Edge {
        core: Core::new(settings, Arc::new(Metrics::default()), Bugs::NONE),
        now: Nanos::now(),
        actions: Vec::new(),
        dirty: Vec::new(),
        spent_ns: 0,
    };
    let endpoint = Endpoint {
        address: to,
        bolt: true,
        tr: false,
        zone: String::new(),
        weight: 100,
    };
    let service = Service {
        endpoints: vec![endpoint],
        ..Service::default()
    };
    let table = Table {
        generation: 1,
        services: [(SERVICE.to_owned(), service)].into(),
        ..Table::default()
    };
    let routes = meshproof_proxy::core::Command::Routes(Arc::new(table));
    edge.core.command(routes, edge.now);
    let peer = ([10, 0, 0, 9], 4000).into();
    let clients: Vec<Conn> = (0..CLIENTS)
        .filter_map(|_| edge.core.accepted(side, peer, edge.now))
        .collect();
    let request = frame(version, bolt::Command::Request { timeout_ms: 3000 }, 7);
    let asked = request.repeat(batch);
    let response = frame(version, bolt::Command::Response { status: 0 }, 7);
    let response = meshproof_wire::Frame::parse(response.into()).ok();
    let mut written = Vec::new();
    let rounds = REQUESTS / batch / CLIENTS;
    let mut answers = Vec::new();
    for round in 0..rounds + rounds / 10 {
        if round == rounds / 10 {
            edge.spent_ns = 0;
        }
        // What one wait of epoll finds ready: a few clients at a time.
        for ready in clients.chunks(8) {
            edge.now = edge.now.plus_ns(20_000);
            for client in ready {
                edge.received(*client, &asked);
            }
            edge.settle(&mut written);
            answers.clear();
            for (conn, bytes) in &written {
                let mut out = Vec::new();
                for frame in bytes.chunks_exact(request.len()) {
                    let at = if version == Version::V1 { 5 } else { 6 };
                    let id = frame.get(at..at + 4).and_then(|id| id.try_into().ok());
                    let id = u32::from_be_bytes(id.unwrap_or_default());
                    if let Some(response) = &response {
                        let id = meshproof_wire::RequestId(id.into());
                        out.extend_from_slice(&response.with_id(id).bytes);
                    }
                }
                answers.push((*conn, out));
            }
            for (conn, out) in &answers {
                edge.received(*conn, out);
            }
            edge.settle(&mut written);
            edge.core.tick(edge.now);
        }
    }
    edge.spent_ns as f64 / (rounds * CLIENTS * batch) as f64
}

fn main() {
    let batches: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let batches = if batches.is_empty() {
        vec![1, 16, 64]
    } else {
        batches
    };
    for (name, side, version) in [
        ("inbound, v1", Side::Inbound, Version::V1),
        ("inbound, v2 with CRC", Side::Inbound, Version::V2_CRC),
        ("outbound, v1", Side::Outbound, Version::V1),
    ] {
        for batch in &batches {
            let ns = measure(side, version, *batch);
            #[expect(clippy::print_stdout, reason = "the result of this program")]
            {
                println!("{name:<22} batch {batch:>3}: {ns:>7.0} ns per request");
            }
        }
    }
}
