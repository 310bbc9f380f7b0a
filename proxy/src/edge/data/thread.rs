//! The loop of the data thread.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use meshproof_sys::clock::Nanos;
use meshproof_sys::poll::{Interest, Poll, Ready};
use meshproof_sys::socket;
use meshproof_sys::wake::Wake;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};

use super::sockets::{Phase, Socket, Sockets, Source};
use super::{Handed, Heir, Order, Told};
use crate::core::{Action, Command, Conn, Core, End, Event, Side};

/// One read takes at most this much; what is longer comes with the next round. Larger ones fall
/// out of the second-level cache.
const READ_BYTES: usize = 256 << 10;
/// Connections accepted per listener and round, so that a storm of connects starves nobody.
const ACCEPTS_PER_ROUND: usize = 64;
/// Rounds in which those are accepted who wait for a listener that is to close: as many as a queue of
/// the kernel holds.
const FINISH_ROUNDS_MAX: usize = 4096 / ACCEPTS_PER_ROUND + 1;
/// With no descriptor left, accepting rests this long.
const ACCEPT_REST_NS: u64 = 100_000_000;
/// A connection that we have ended is read until its peer ends it too, this long at most: closing
/// it with bytes unread would be a reset, and could take our last answers from the peer.
const LINGER_NS: u64 = 1_000_000_000;
/// Connections that are waited for in that way; beyond, they are closed at once.
const LINGERING_MAX: usize = 1024;

const SIDES: [Side; 2] = [Side::Inbound, Side::Outbound];

/// A listening socket.
struct Listener {
    socket: TcpListener,
    /// Accepting rests until then.
    rests_until: Option<Nanos>,
}

/// A connection that is only waited for to end.
struct Lingering {
    stream: TcpStream,
    number: u32,
    until: Nanos,
}

/// Everything that the thread has.
pub(super) struct Thread {
    core: Core,
    poll: Poll,
    orders: Receiver<Order>,
    wake: Arc<Wake>,
    told: UnboundedSender<Told>,
    listeners: [Option<Listener>; 2],
    sockets: Sockets,
    lingering: VecDeque<Lingering>,
    lingered: u32,
    heir: Option<Heir>,
    buffer: Box<[u8]>,
    now: Nanos,
    stop: bool,
    // Kept between rounds for their capacity.
    ready: Vec<Ready>,
    actions: Vec<Action>,
    dirty: Vec<Conn>,
    events: Vec<Event>,
}

impl Thread {
    pub(super) fn new(
        core: Core,
        orders: Receiver<Order>,
        wake: Arc<Wake>,
        told: UnboundedSender<Told>,
    ) -> io::Result<Thread> {
        let poll = Poll::new()?;
        poll.add(&wake, Source::Orders.token(), Interest::Read)?;
        Ok(Thread {
            core,
            poll,
            orders,
            wake,
            told,
            listeners: [None, None],
            sockets: Sockets::default(),
            lingering: VecDeque::new(),
            lingered: 0,
            heir: None,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            now: Nanos::now(),
            stop: false,
            ready: Vec::new(),
            actions: Vec::new(),
            dirty: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Serves until it is told to stop. Fails only where epoll does.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        while !self.stop {
            let deadline = self.next_deadline();
            self.poll.wait_until(&mut ready, deadline, self.now)?;
            self.now = Nanos::now();
            for event in &ready {
                match Source::of(event.token) {
                    Source::Connection(conn) => self.ready(conn, event),
                    Source::Listener(side) => {
                        self.accept(side);
                    }
                    Source::Orders => self.take_orders(),
                    Source::Linger(number) => self.drain(number),
                }
            }
            if self.core.next_deadline().is_some_and(|at| at <= self.now) {
                self.core.tick(self.now);
            }
            self.settle();
            self.expire();
            self.log();
        }
        Ok(())
    }

    /// What the core has to tell. It is the message itself that says what happened.
    fn log(&mut self) {
        self.core.events(&mut self.events);
        for event in self.events.drain(..) {
            match event {
                Event::Goaway { .. } => info!(target: "proxy::core", "{event}"),
                _ => warn!(target: "proxy::core", "{event}"),
            }
        }
    }

    fn next_deadline(&self) -> Option<Nanos> {
        let rests = self
            .listeners
            .iter()
            .flatten()
            .filter_map(|listener| listener.rests_until);
        let lingering = self.lingering.front().map(|one| one.until);
        self.core
            .next_deadline()
            .into_iter()
            .chain(rests)
            .chain(lingering)
            .min()
    }

    /// Something has come of one connection.
    #[inline]
    fn ready(&mut self, conn: Conn, event: &Ready) {
        // Not there: it was closed earlier in this round.
        let Some(socket) = self.sockets.find(conn) else {
            return;
        };
        match socket.phase {
            Phase::Connecting => {
                let result = match socket.stream.take_error() {
                    Ok(None) if event.writable => Ok(()),
                    Ok(None) => return,
                    Ok(Some(error)) | Err(error) => Err(error.kind()),
                };
                self.connected(conn, result);
            }
            Phase::Open => {
                if event.writable {
                    self.unblock(conn);
                }
                if event.readable {
                    self.read(conn, event.failed);
                }
            }
            // Nothing that comes is looked at any more, the end of the stream neither.
            Phase::Closing => {
                if event.writable {
                    self.unblock(conn);
                }
            }
        }
    }

    fn connected(&mut self, conn: Conn, result: Result<(), ErrorKind>) {
        match result {
            Ok(()) => {
                if let Some(socket) = self.sockets.find(conn) {
                    socket.phase = Phase::Open;
                }
                self.watch(conn);
            }
            // The core forgets it.
            Err(_) => drop(self.sockets.remove(conn)),
        }
        self.core.connected(conn, result, self.now);
    }

    #[inline]
    fn read(&mut self, conn: Conn, failed: bool) {
        let Some(socket) = self.sockets.find(conn) else {
            return;
        };
        if socket.paused {
            // Not asked for, so that it can only be a failure; not to be told of it for ever.
            if failed {
                self.ended(conn, End::Reset);
            }
            return;
        }
        match socket.stream.read(&mut self.buffer) {
            Ok(0) => self.ended(conn, End::Eof),
            Ok(n) => {
                let bytes = self.buffer.get(..n).unwrap_or_default();
                self.core.received(conn, bytes, self.now);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.ended(conn, End::Reset),
        }
    }

    /// The peer is gone; so is the socket, and the core forgets the connection.
    fn ended(&mut self, conn: Conn, how: End) {
        drop(self.sockets.remove(conn));
        self.core.ended(conn, how, self.now);
    }

    fn unblock(&mut self, conn: Conn) {
        if let Some(socket) = self.sockets.find(conn)
            && socket.blocked
        {
            socket.blocked = false;
            self.write(conn);
            self.watch(conn);
        }
    }

    /// Does what the core wants done, and writes what it has got to write, until both are nothing.
    #[inline]
    fn settle(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        let mut dirty = std::mem::take(&mut self.dirty);
        loop {
            self.core.actions(&mut actions);
            let acted = !actions.is_empty();
            for action in actions.drain(..) {
                self.act(action);
            }
            self.core.dirty(&mut dirty);
            let wrote = !dirty.is_empty();
            for conn in dirty.drain(..) {
                self.write(conn);
            }
            if !acted && !wrote {
                break;
            }
        }
        self.actions = actions;
        self.dirty = dirty;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, to } => match socket::connect(to) {
                Ok(stream) => {
                    if let Err(error) = self.insert(conn, stream, Phase::Connecting) {
                        self.core.connected(conn, Err(error.kind()), self.now);
                    }
                }
                Err(error) => {
                    warn!(target: "proxy::core", %to, %error, "no connect could be begun");
                    self.core.connected(conn, Err(error.kind()), self.now);
                }
            },
            Action::Close(conn) => {
                if let Some(socket) = self.sockets.remove(conn) {
                    self.linger(socket.stream);
                }
            }
            Action::CloseWhenWritten(conn) => {
                if let Some(socket) = self.sockets.find(conn) {
                    socket.phase = Phase::Closing;
                    self.write(conn);
                    self.watch(conn);
                }
            }
            Action::Pause(conn) => self.pause(conn, true),
            Action::Resume(conn) => self.pause(conn, false),
            Action::Release { conn, side, unread } => self.release(conn, side, unread),
            Action::Drained => {
                self.heir = None;
                self.tell(Told::Drained);
            }
        }
    }

    fn insert(&mut self, conn: Conn, stream: TcpStream, phase: Phase) -> io::Result<()> {
        let mut socket = Socket {
            stream,
            generation: conn.generation,
            phase,
            paused: false,
            blocked: false,
            interest: Interest::Nothing,
        };
        socket.interest = socket.wants();
        self.poll.add(
            &socket.stream,
            Source::Connection(conn).token(),
            socket.interest,
        )?;
        if let Some(closed) = self.sockets.insert(conn, socket) {
            self.linger(closed.stream);
        }
        Ok(())
    }

    fn pause(&mut self, conn: Conn, paused: bool) {
        if let Some(socket) = self.sockets.find(conn) {
            socket.paused = paused;
            self.watch(conn);
        }
    }

    /// Tells epoll what a socket waits for, where that has changed.
    #[inline]
    fn watch(&mut self, conn: Conn) {
        let Some(socket) = self.sockets.find(conn) else {
            return;
        };
        let wants = socket.wants();
        if wants == socket.interest {
            return;
        }
        socket.interest = wants;
        let token = Source::Connection(conn).token();
        if let Err(error) = self.poll.modify(&socket.stream, token, wants) {
            // Cannot be, as the socket was added; a connection that nobody watches must not stay.
            warn!(target: "proxy::core", %error, "a connection could not be watched");
            self.ended(conn, End::Reset);
        }
    }

    /// Writes what waits, once.
    #[inline]
    fn write(&mut self, conn: Conn) {
        let Some(socket) = self.sockets.find(conn) else {
            return;
        };
        if socket.blocked || socket.phase == Phase::Connecting {
            return;
        }
        let output = self.core.output(conn);
        let wanted = output.len();
        let wrote = match wanted {
            0 => Ok(0),
            _ => socket.stream.write(output),
        };
        match wrote {
            Ok(n) => {
                let closing = socket.phase == Phase::Closing;
                if n < wanted {
                    socket.blocked = true;
                    self.watch(conn);
                }
                if n > 0 {
                    self.core.wrote(conn, n, self.now);
                }
                if closing
                    && n == wanted
                    && let Some(socket) = self.sockets.remove(conn)
                {
                    self.linger(socket.stream);
                }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                socket.blocked = true;
                self.watch(conn);
            }
            Err(_) => self.ended(conn, End::Reset),
        }
    }

    /// Ends our direction and waits for the peer to end its own.
    fn linger(&mut self, stream: TcpStream) {
        if self.lingering.len() >= LINGERING_MAX || stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let number = self.lingered;
        self.lingered = self.lingered.wrapping_add(1);
        let token = Source::Linger(number).token();
        if self.poll.modify(&stream, token, Interest::Read).is_ok() {
            self.lingering.push_back(Lingering {
                stream,
                number,
                until: self.now.plus_ns(LINGER_NS),
            });
        }
    }

    /// Reads a lingering connection; closes it at its end.
    fn drain(&mut self, number: u32) {
        let Some(at) = self.lingering.iter().position(|one| one.number == number) else {
            return;
        };
        let over =
            self.lingering
                .get_mut(at)
                .is_none_or(|one| match one.stream.read(&mut self.buffer) {
                    Ok(n) => n == 0,
                    Err(error) => {
                        !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
                    }
                });
        if over {
            self.lingering.remove(at);
        }
    }

    /// Ends what has lingered long enough; accepts again after a rest.
    fn expire(&mut self) {
        while self
            .lingering
            .front()
            .is_some_and(|one| one.until <= self.now)
        {
            self.lingering.pop_front();
        }
        for (side, listener) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = listener
                && listener.rests_until.is_some_and(|at| at <= self.now)
            {
                listener.rests_until = None;
                let token = Source::Listener(side).token();
                let _ = self.poll.modify(&listener.socket, token, Interest::Read);
            }
        }
    }

    /// Says how many came.
    fn accept(&mut self, side: usize) -> usize {
        for came in 0..ACCEPTS_PER_ROUND {
            let Some(Some(listener)) = self.listeners.get_mut(side) else {
                return came;
            };
            let (stream, peer) = match socket::accept(&listener.socket) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return came,
                Err(error) if socket::is_exhausted(&error) => {
                    // The connection waits in the kernel; asking again at once would only spin.
                    warn!(target: "proxy::core", %error, side = ?SIDES[side & 1], "accepting rests");
                    listener.rests_until = Some(self.now.plus_ns(ACCEPT_REST_NS));
                    let token = Source::Listener(side).token();
                    let _ = self.poll.modify(&listener.socket, token, Interest::Nothing);
                    return came;
                }
                // That one connection is over already.
                Err(error) => {
                    debug!(target: "proxy::core", %error, "a connection ended before it was accepted");
                    continue;
                }
            };
            let Some(conn) = self.core.accepted(SIDES[side & 1], peer, self.now) else {
                continue;
            };
            if let Err(error) = self.insert(conn, stream, Phase::Open) {
                warn!(target: "proxy::core", %error, "a connection could not be watched");
                self.core.ended(conn, End::Reset, self.now);
            }
        }
        ACCEPTS_PER_ROUND
    }

    fn take_orders(&mut self) {
        self.wake.clear();
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.obey(order),
                Err(TryRecvError::Empty) => return,
                // Nobody could ever order a stop.
                Err(TryRecvError::Disconnected) => {
                    self.stop = true;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Core(command) => self.core.command(command, self.now),
            Order::Listen(side, socket) => self.listen(side, socket),
            Order::CloseListener(side, done) => {
                self.close_listener(side);
                let _ = done.send(());
            }
            Order::FinishListener(side, done) => {
                // A round less than full was the last; no queue of the kernel is longer than all.
                for _ in 0..FINISH_ROUNDS_MAX {
                    if self.accept(side as usize) < ACCEPTS_PER_ROUND {
                        break;
                    }
                }
                self.close_listener(side);
                let _ = done.send(());
            }
            Order::ShareListener(side, answer) => {
                let shared = self.listeners.get(side as usize).and_then(Option::as_ref);
                let _ = answer.send(shared.and_then(|one| one.socket.try_clone().ok()));
            }
            Order::Adopt(handed) => self.adopt(handed),
            Order::HandOver(heir) => {
                self.heir = Some(heir);
                self.core.command(Command::HandOver, self.now);
            }
            Order::Stop => self.stop = true,
        }
    }

    fn listen(&mut self, side: Side, socket: TcpListener) {
        self.close_listener(side);
        let added = socket
            .set_nonblocking(true)
            .and_then(|()| {
                let token = Source::Listener(side as usize).token();
                self.poll.add(&socket, token, Interest::Read)
            })
            .and_then(|()| socket.local_addr());
        match added {
            Ok(address) => {
                if let Some(place) = self.listeners.get_mut(side as usize) {
                    *place = Some(Listener {
                        socket,
                        rests_until: None,
                    });
                }
                info!(target: "proxy::core", ?side, %address, "listening");
                self.tell(Told::Listening(side, address));
            }
            Err(error) => {
                warn!(target: "proxy::core", ?side, %error, "a listener could not be watched");
                self.tell(Told::ListenerClosed(side));
            }
        }
    }

    fn close_listener(&mut self, side: Side) {
        if let Some(listener) = self.listeners.get_mut(side as usize).and_then(Option::take) {
            // A successor may hold the same socket, and the watch would outlive our descriptor.
            let _ = self.poll.remove(&listener.socket);
            drop(listener);
            info!(target: "proxy::core", ?side, "no longer listening");
            self.tell(Told::ListenerClosed(side));
        }
    }

    fn adopt(&mut self, handed: Handed) {
        let Handed {
            side,
            stream,
            unread,
        } = handed;
        // One that is reset already has no peer address, and nobody who waits.
        let Ok(peer) = stream.peer_addr() else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let conn = self.core.adopted(side, peer, &unread, self.now);
        if let Err(error) = self.insert(conn, stream, Phase::Open) {
            warn!(target: "proxy::core", %error, "a connection could not be watched");
            self.core.ended(conn, End::Reset, self.now);
        }
    }

    fn release(&mut self, conn: Conn, side: Side, unread: Vec<u8>) {
        let Some(socket) = self.sockets.remove(conn) else {
            return;
        };
        let _ = self.poll.remove(&socket.stream);
        let handed = Handed {
            side,
            stream: socket.stream,
            unread,
        };
        if let Some(heir) = &self.heir {
            heir.give(handed);
        }
    }

    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}
