//! The life of a connection: opened, written, read, lost, closed.

use super::*;

impl Engine<'_> {
    /// Begins a connection for a lane that has none.
    pub(super) fn open(&mut self, at: usize) {
        let (Some(lane), Some(planned)) = (self.lanes.get_mut(at), self.plan.connections.get(at))
        else {
            return;
        };
        if lane.link.is_some() || lane.given_up || self.stop == Stop::Interrupted {
            return;
        }
        if self.links_open >= self.settings.open_max.get() {
            if !lane.hungry {
                lane.hungry = true;
                self.hungry.push_back(at);
            }
            return;
        }
        let number = Link(self.links.len() as u32);
        let stream = self.dial.begin(planned.target);
        let added = stream.and_then(|stream| {
            let token = Token(u64::from(number.0));
            self.poll.add(&stream, token, Interest::Write)?;
            Ok(stream)
        });
        let Ok(stream) = added else {
            self.book.counters.refused_connects += 1;
            self.attempt_failed(at);
            return;
        };
        lane.link = Some(number);
        let now = Nanos::now();
        self.links.push(Some(Box::new(Socket {
            lane: at,
            stream,
            phase: Phase::Connecting,
            interest: Interest::Write,
            out: VecDeque::new(),
            decoder: Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL),
            waiting: BTreeSet::new(),
            heartbeats: BTreeSet::new(),
            last_sent: now,
        })));
        self.links_open += 1;
        self.connecting += 1;
        let limit = now.plus_ns(ms(self.settings.connect_ms));
        self.alarms.push(Reverse((limit, Alarm::Connect(number))));
    }

    /// A connect came to its end, or there is room to write again.
    pub(super) fn writable(&mut self, link: Link) {
        match self.phase(link) {
            Some(Phase::Connecting) => {
                let Some(socket) = self.socket(link) else {
                    return;
                };
                if !matches!(socket.stream.take_error(), Ok(None)) {
                    self.connect_failed(link);
                    return;
                }
                socket.phase = Phase::Open;
                let lane = socket.lane;
                self.connecting -= 1;
                self.watch(link, Interest::Read);
                self.book.counters.opened += 1;
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.opened += 1;
                    self.book.counters.reopened += u64::from(lane.opened > 1);
                }
                let first = Nanos::now().plus_ns(ms(self.settings.heartbeat_ms));
                self.alarms.push(Reverse((first, Alarm::Heartbeat(link))));
                self.pump(lane);
                // A run that was stopped meanwhile has nothing to send here.
                self.close_if_done(link);
            }
            Some(Phase::Open) => self.flush(link),
            Some(Phase::Closing) | None => {}
        }
    }

    pub(super) fn connect_failed(&mut self, link: Link) {
        self.book.counters.refused_connects += 1;
        let Some(socket) = self.remove(link) else {
            return;
        };
        self.attempt_failed(socket.lane);
    }

    /// Tries again a little later, or gives the lane up.
    fn attempt_failed(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        lane.attempts += 1;
        if lane.attempts >= self.settings.attempts_max {
            self.give_up(at, Unsent::Unreachable);
        } else {
            let then = Nanos::now().plus_ns(RETRY_NS);
            self.alarms.push(Reverse((then, Alarm::Retry(at))));
        }
    }

    /// Nothing further is sent for this lane.
    fn give_up(&mut self, at: usize, why: Unsent) {
        let (Some(lane), Some(planned)) = (self.lanes.get_mut(at), self.plan.connections.get(at))
        else {
            return;
        };
        lane.given_up = true;
        lane.queue.clear();
        let mut begun = BTreeSet::new();
        if let Some(link) = lane.link
            && let Some(Some(socket)) = self.links.get_mut(link.0 as usize)
        {
            // What was written in part has to be written whole: its end belongs to the server.
            socket.out.retain(|piece| piece.written > 0);
            begun.extend(socket.out.iter().filter_map(|piece| piece.send));
        }
        for send in &planned.sends {
            if !begun.contains(send) {
                self.book.unsent(*send, why);
            }
        }
    }

    /// Ctrl-C: what was sent may still be answered.
    pub(super) fn stop(&mut self) {
        self.control.wake.clear();
        self.stop = Stop::Interrupted;
        for lane in 0..self.lanes.len() {
            self.give_up(lane, Unsent::Interrupted);
        }
        for link in (0..self.links.len()).map(|n| Link(n as u32)) {
            match self.phase(link) {
                Some(Phase::Connecting) => drop(self.remove(link)),
                Some(Phase::Open) => self.close_if_done(link),
                Some(Phase::Closing) | None => {}
            }
        }
    }

    fn watch(&mut self, link: Link, interest: Interest) {
        let token = Token(u64::from(link.0));
        let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
            return;
        };
        if socket.interest != interest && self.poll.modify(&socket.stream, token, interest).is_ok()
        {
            socket.interest = interest;
        }
    }

    /// Writes what is there, as much as the kernel takes.
    pub(super) fn flush(&mut self, link: Link) {
        let Some(origin) = self.origin else { return };
        loop {
            let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
                return;
            };
            if socket.phase != Phase::Open {
                return;
            }
            if socket.out.is_empty() {
                break;
            }
            let rest = |piece: &'_ Piece| piece.written;
            let slices: Vec<IoSlice<'_>> = socket
                .out
                .iter()
                .take(SLICES)
                .map(|piece| IoSlice::new(piece.bytes.get(rest(piece)..).unwrap_or(&[])))
                .collect();
            match (&socket.stream).write_vectored(&slices) {
                Ok(written) => {
                    let now = Nanos::now();
                    socket.last_sent = now;
                    self.last_sent = now;
                    self.written(link, written, now.since(origin), now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch(link, Interest::ReadWrite);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Answers may have come before the end did; nothing more is written.
                    socket.phase = Phase::Closing;
                    self.read(link);
                    self.lose(link, Loss::Reset);
                    return;
                }
            }
        }
        self.watch(link, Interest::Read);
        self.close_if_done(link);
    }

    /// The kernel took `left` bytes of what was to be written.
    fn written(&mut self, link: Link, mut left: usize, at_ns: u64, now: Nanos) {
        let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
            return;
        };
        while let Some(piece) = socket.out.front_mut() {
            let take = left.min(piece.bytes.len() - piece.written);
            piece.written += take;
            left -= take;
            if piece.written < piece.bytes.len() {
                break;
            }
            let send = piece.send;
            socket.out.pop_front();
            let Some(send) = send else { continue };
            if let Some(timeout_ms) = self.book.sent(send, link, at_ns) {
                socket.waiting.insert(send);
                let then = now.plus_ns(ms(timeout_ms));
                self.alarms
                    .push(Reverse((then, Alarm::Overdue(send, link))));
            }
        }
    }

    /// Reads what is there, and takes it into the book.
    pub(super) fn read(&mut self, link: Link) {
        if self.phase(link) == Some(Phase::Connecting) {
            return;
        }
        for _ in 0..READS_PER_TURN {
            let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
                return;
            };
            match (&socket.stream).read(&mut self.buffer) {
                Ok(0) => {
                    self.lose(link, Loss::Closed);
                    return;
                }
                Ok(n) => {
                    let now = Nanos::now();
                    let frames = &mut self.frames;
                    let bytes = self.buffer.get(..n).unwrap_or(&[]);
                    socket
                        .decoder
                        .feed((), bytes, &mut |decoded| frames.extend(decoded.frame));
                    self.hear(link, now);
                    if n < READ_BYTES {
                        // The kernel had no more; a level-triggered wait tells of what comes.
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.lose(link, Loss::Reset);
                    return;
                }
            }
        }
        if let Some(lane) = self.socket(link).map(|socket| socket.lane) {
            self.pump(lane);
            self.close_if_done(link);
        }
    }

    /// Takes decoded frames into the book.
    fn hear(&mut self, link: Link, now: Nanos) {
        let at_ns = self.at_ns(now);
        let mut frames = std::mem::take(&mut self.frames);
        let mut goaway = false;
        for frame in frames.drain(..) {
            let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
                break;
            };
            let Socket {
                lane,
                heartbeats,
                waiting,
                ..
            } = &mut **socket;
            let at = *lane;
            // Shares its bytes; only a heartbeat is looked at again.
            let heard = frame.clone();
            match self.book.hear(at, link, frame, at_ns, heartbeats, waiting) {
                Heard::Answer => {
                    if let Some(lane) = self.lanes.get_mut(at) {
                        lane.attempts = 0;
                    }
                }
                Heard::Heartbeat => {
                    let ack = socket
                        .stream
                        .local_addr()
                        .ok()
                        .and_then(|host| idiom::of(heard.head.protocol).heartbeat_ack(&heard, host))
                        .filter(|_| socket.phase == Phase::Open);
                    socket.out.extend(ack.map(|bytes| Piece {
                        bytes,
                        written: 0,
                        send: None,
                    }));
                }
                Heard::Goaway => goaway = true,
                Heard::Noted => {}
            }
        }
        // Keeps its memory for the next read. What was called for follows when all are heard: it
        // may end the connection.
        self.frames = frames;
        if goaway {
            self.retire(link);
        }
        self.flush(link);
    }

    /// The server wants nothing further here: what was not begun goes to a new connection, what
    /// was is waited for.
    fn retire(&mut self, link: Link) {
        let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
            return;
        };
        let at = socket.lane;
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        if lane.link != Some(link) {
            return;
        }
        lane.link = None;
        take_back(socket, &mut lane.queue);
        self.pump(at);
        self.close_if_done(link);
    }

    /// Sends a heartbeat where nothing was sent for long.
    pub(super) fn heartbeat(&mut self, link: Link, now: Nanos) {
        let every = ms(self.settings.heartbeat_ms);
        let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
            return;
        };
        if socket.phase != Phase::Open {
            return;
        }
        let (Some(lane), Some(planned)) = (
            self.lanes.get_mut(socket.lane),
            self.plan.connections.get(socket.lane),
        ) else {
            return;
        };
        let idle_from = socket.last_sent.plus_ns(every);
        if idle_from > now {
            self.alarms
                .push(Reverse((idle_from, Alarm::Heartbeat(link))));
            return;
        }
        if lane.heartbeats >= HEARTBEATS_MAX {
            return;
        }
        let id = planned.first_id.0 + planned.sends.len() as u64 + lane.heartbeats;
        let first = planned
            .sends
            .first()
            .and_then(|at| self.plan.sends.get(*at));
        let Some(bytes) = first.and_then(|send| {
            idiom::of(send.frame.head.protocol).heartbeat(&send.frame, RequestId(id))
        }) else {
            return;
        };
        lane.heartbeats += 1;
        socket.heartbeats.insert(id);
        socket.last_sent = now;
        socket.out.push_back(Piece {
            bytes,
            written: 0,
            send: None,
        });
        self.book.counters.heartbeats_sent += 1;
        self.alarms
            .push(Reverse((now.plus_ns(every), Alarm::Heartbeat(link))));
        self.flush(link);
    }

    /// The connection went. What waited on it is lost; what was not begun is sent on another.
    pub(super) fn lose(&mut self, link: Link, why: Loss) {
        if let Some(Some(socket)) = self.links.get_mut(link.0 as usize) {
            let frames = &mut self.frames;
            let mut sink = |decoded: meshproof_wire::decoder::Decoded<()>| {
                frames.extend(decoded.frame);
            };
            socket.decoder.finish(&mut sink);
            // Nothing may be written any more while what was held back is heard.
            socket.phase = match socket.phase {
                Phase::Connecting => Phase::Connecting,
                Phase::Open | Phase::Closing => Phase::Closing,
            };
        }
        self.hear(link, Nanos::now());
        let Some(mut socket) = self.remove(link) else {
            return;
        };
        let account = socket.decoder.account();
        self.book.counters.unreadable_bytes +=
            account.skipped + account.foreign + account.incomplete;
        let at = socket.lane;
        let mut lost = std::mem::take(&mut socket.waiting);
        let mut in_use = !lost.is_empty();
        if let Some(lane) = self.lanes.get_mut(at) {
            in_use |= take_back(&mut socket, &mut lane.queue);
        }
        lost.extend(socket.out.iter().filter_map(|piece| piece.send));
        for send in &lost {
            self.book.lost(*send, why);
        }
        if lost.is_empty() && !in_use {
            // An idle connection may close; the next request opens another.
            self.pump(at);
        } else {
            let Some(lane) = self.lanes.get_mut(at) else {
                return;
            };
            lane.attempts += 1;
            if lane.attempts >= self.settings.attempts_max {
                self.give_up(at, Unsent::Unreachable);
            } else {
                self.pump(at);
            }
        }
    }

    /// Takes a connection out, and lets one that waited for room be opened.
    fn remove(&mut self, link: Link) -> Option<Box<Socket>> {
        let socket = self.links.get_mut(link.0 as usize)?.take()?;
        self.links_open -= 1;
        if socket.phase == Phase::Connecting {
            self.connecting -= 1;
        }
        if let Some(lane) = self.lanes.get_mut(socket.lane)
            && lane.link == Some(link)
        {
            lane.link = None;
        }
        if let Some(next) = self.hungry.pop_front() {
            if let Some(lane) = self.lanes.get_mut(next) {
                lane.hungry = false;
            }
            self.open(next);
        }
        Some(socket)
    }

    /// Closes our side once nothing more is to be sent or awaited here, and listens on for what
    /// nobody asked for.
    pub(super) fn close_if_done(&mut self, link: Link) {
        let Some(Some(socket)) = self.links.get_mut(link.0 as usize) else {
            return;
        };
        if socket.phase != Phase::Open || !socket.out.is_empty() || !socket.waiting.is_empty() {
            return;
        }
        let (Some(lane), Some(planned)) = (
            self.lanes.get(socket.lane),
            self.plan.connections.get(socket.lane),
        ) else {
            return;
        };
        let retired = lane.link != Some(link);
        let more = !lane.queue.is_empty() || lane.next < planned.sends.len();
        if more && !retired && !lane.given_up {
            return;
        }
        socket.phase = Phase::Closing;
        let _ = socket.stream.shutdown(Shutdown::Write);
        let then = Nanos::now().plus_ns(ms(self.settings.linger_ms));
        self.alarms.push(Reverse((then, Alarm::Linger(link))));
    }

    pub(super) fn finish(self) -> Run {
        let origin = self.origin.unwrap_or(self.began);
        Run {
            outcomes: self.book.outcomes,
            counters: self.book.counters,
            stop: self.stop,
            span_ns: self.last_sent.since(origin),
            elapsed_ns: Nanos::now().since(origin),
        }
    }
}

/// Moves requests of which nothing was written back to the front of the queue, in order. Whether
/// there were any.
fn take_back(socket: &mut Socket, queue: &mut VecDeque<usize>) -> bool {
    let before = queue.len();
    while socket.out.back().is_some_and(|piece| piece.written == 0) {
        if let Some(send) = socket.out.pop_back().and_then(|piece| piece.send) {
            queue.push_front(send);
        }
    }
    queue.len() > before
}

fn ms(ms: u32) -> u64 {
    u64::from(ms) * 1_000_000
}
