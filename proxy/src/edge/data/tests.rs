//! The data thread with a real core and real sockets, against an echoing app.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use meshproof_fixtures::load::{self, Echo, Ledger, Load, Pace};
use meshproof_sys::socket::listen;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::core::Settings;
use crate::metrics::Metrics;
use crate::{Bugs, config, routing};

/// Longer than any machine takes; nothing waits for it to pass.
const LIMIT: Duration = Duration::from_secs(60);

struct Sidecar {
    data: Data,
    told: UnboundedReceiver<Told>,
    metrics: Arc<Metrics>,
    address: SocketAddr,
}

fn any() -> TcpListener {
    listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

fn sidecar(app: SocketAddr, listener: TcpListener) -> Sidecar {
    let settings = Settings {
        app,
        inbound: vec![config::Speaks::Bolt],
        outbound: vec![config::Speaks::Bolt],
        timeouts: config::Timeouts::default(),
        limits: config::Limits::default(),
        upstream: config::Upstream::default(),
        routing: routing::Settings::default(),
    };
    let metrics = Arc::new(Metrics::default());
    let core = Core::new(settings, Arc::clone(&metrics), Bugs::NONE);
    let (told, hears) = unbounded_channel();
    let data = Data::start(core, told).unwrap();
    let address = listener.local_addr().unwrap();
    let order = Order::Listen(Side::Inbound, listener);
    data.handle().order(order).unwrap();
    Sidecar {
        data,
        told: hears,
        metrics,
        address,
    }
}

fn echo() -> Echo {
    Echo::start(any(), Ledger::Kept, 0).unwrap()
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

impl Sidecar {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(future)
    }
}

/// A heartbeat of BOLT v1 with id 5, and the answer to it.
const HEARTBEAT: [u8; 22] =
    *b"\x01\x01\x00\x00\x01\x00\x00\x00\x05\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
const ACK_BYTES: usize = 20;

#[track_caller]
fn beats(stream: &mut TcpStream) {
    stream.write_all(&HEARTBEAT).unwrap();
    let mut ack = [0; ACK_BYTES];
    stream.read_exact(&mut ack).unwrap();
    assert_eq!(ack[5..9], HEARTBEAT[5..9]);
}

#[test]
fn pipelined_calls_of_many_come_back_to_whom_they_belong() {
    let app = echo();
    let it = sidecar(app.address(), any());
    for (depth, body_bytes) in [(1, 200), (32, 200), (2, 700_000)] {
        let outcome = load::run(&Load {
            to: it.address,
            connections: 5,
            pace: Pace::Depth(depth),
            duration_ns: 100_000_000,
            service: "s".into(),
            body_bytes,
            first_number: 0,
        })
        .unwrap();
        assert!(outcome.is_clean(), "{outcome:?}");
    }
    assert!(it.metrics.upstreams_opened.value() <= 4);
}

#[test]
fn a_refused_client_sees_the_end_at_once() {
    let app = echo();
    let it = sidecar(app.address(), any());
    let mut stranger = client(it.address);
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    match stranger.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(rest, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(it.metrics.foreign.value(), 1);
    beats(&mut client(it.address));
}

#[test]
fn a_closed_listener_refuses_and_comes_back_where_it_was() {
    let app = echo();
    let mut it = sidecar(app.address(), any());
    let mut stays = client(it.address);
    beats(&mut stays);
    for _ in 0..3 {
        it.block_on(it.data.handle().close_listener(Side::Inbound))
            .unwrap();
        let refused = TcpStream::connect(it.address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        beats(&mut stays);
        let again = listen(it.address).unwrap();
        let order = Order::Listen(Side::Inbound, again);
        it.data.handle().order(order).unwrap();
        beats(&mut client(it.address));
    }
    let mut changes = Vec::new();
    while let Ok(told) = it.told.try_recv() {
        changes.push(matches!(told, Told::Listening(Side::Inbound, _)));
    }
    assert_eq!(changes, [true, false, true, false, true, false, true]);
}

#[test]
fn who_was_let_in_by_the_kernel_before_a_drain_is_served() {
    let app = echo();
    let listener = any();
    let address = listener.local_addr().unwrap();
    // More than are accepted in one round.
    let mut waiting: Vec<TcpStream> = (0..150).map(|_| client(address)).collect();
    for stream in &mut waiting {
        stream.write_all(&HEARTBEAT).unwrap();
    }
    let it = sidecar(app.address(), listener);
    it.block_on(it.data.handle().finish_listener(Side::Inbound))
        .unwrap();
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    it.data.handle().core(Command::Drain).unwrap();
    for stream in &mut waiting {
        let mut ack = [0; ACK_BYTES];
        stream.read_exact(&mut ack).unwrap();
        assert_eq!(ack[5..9], HEARTBEAT[5..9]);
    }
}

#[test]
fn a_connection_goes_over_with_half_a_frame() {
    let app = echo();
    let (old, new) = (sidecar(app.address(), any()), sidecar(app.address(), any()));
    let mut stream = client(old.address);
    beats(&mut stream);
    let (front, back) = HEARTBEAT.split_at(9);
    stream.write_all(front).unwrap();
    let wake = Arc::new(Wake::new().unwrap());
    let (heir, handed) = Heir::new(wake);
    old.data.handle().order(Order::HandOver(heir)).unwrap();
    let it = handed.recv_timeout(LIMIT).unwrap();
    // Read by the predecessor, or still in the kernel: either way it goes along.
    assert!(it.unread.is_empty() || it.unread == front);
    new.data.handle().order(Order::Adopt(it)).unwrap();
    let end = handed.recv_timeout(LIMIT).map(|_| "one more came");
    assert_eq!(end, Err(RecvTimeoutError::Disconnected), "nobody is left");
    drop(old);
    stream.write_all(back).unwrap();
    let mut ack = [0; ACK_BYTES];
    stream.read_exact(&mut ack).unwrap();
    beats(&mut stream);
}

#[test]
fn at_the_end_every_socket_is_closed() {
    let app = echo();
    let mut it = sidecar(app.address(), any());
    let mut stream = client(it.address);
    beats(&mut stream);
    it.data.handle().order(Order::Stop).unwrap();
    while !matches!(it.told.blocking_recv().unwrap(), Told::Ended(Ok(()))) {}
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let refused = TcpStream::connect(it.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(it.data.handle().order(Order::Stop), Err(Ended));
}
