//! The thread that waits for a successor, and gives way to it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::poll::{Interest, Poll, Token};
use meshproof_sys::wake::Wake;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::channel::Channel;
use super::directory::RunDirectory;
use super::take::Taking;
use super::{Offered, Request};
use crate::core::{Command, Side};
use crate::edge::data::{Handed, Handle, Heir, Order};
use crate::upgrade::{Hello, Message, Offer, Predecessor, Refusal, Step, VERSION};

const LISTENER: Token = Token(0);
const WAKE: Token = Token(1);
const PEER: Token = Token(2);
const PREDECESSOR: Token = Token(3);

/// How often a wait for the control side looks whether all of this is to end.
const LOOK_FOR_STOP: Duration = Duration::from_millis(20);
/// Connections handed over between two looks at the clock.
const HANDED_PER_ROUND: usize = 64;

/// The thread that serves the upgrade socket. It ends when this is dropped.
#[derive(Debug)]
pub struct Upgrades {
    stop: Arc<AtomicBool>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Upgrades {
    /// Starts it. `taking`: a predecessor whose connections are still to come. `drain_ns`: how
    /// long, in nanoseconds, what is in flight is waited for when this sidecar gives way; whoever
    /// keeps a copy may change it until then.
    pub fn start(
        run: RunDirectory,
        name: &str,
        drain_ns: Arc<AtomicU64>,
        taking: Option<Taking>,
        data: Handle,
        control: mpsc::UnboundedSender<Request>,
    ) -> io::Result<Upgrades> {
        let wake = Arc::new(Wake::new()?);
        let stop = Arc::new(AtomicBool::new(false));
        run.socket.set_nonblocking(true)?;
        let predecessor = Predecessor::new(name, drain_ns.load(Ordering::Relaxed));
        let (woken, stopped) = (Arc::clone(&wake), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("upgrade".to_owned())
            .spawn(move || {
                let served = Poll::new().and_then(|poll| {
                    let mut serving = Serving {
                        run,
                        predecessor,
                        drain_ns,
                        data,
                        control,
                        poll,
                        wake: woken,
                        stop: stopped,
                        peer: None,
                        heir: None,
                        handed: 0,
                    };
                    serving.take(taking)?;
                    serving.serve()
                });
                if let Err(error) = served {
                    error!(target: "proxy::upgrade", %error, "no upgrade is possible any more");
                }
            })?;
        Ok(Upgrades {
            stop,
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for Upgrades {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving {
    run: RunDirectory,
    predecessor: Predecessor,
    drain_ns: Arc<AtomicU64>,
    data: Handle,
    control: mpsc::UnboundedSender<Request>,
    poll: Poll,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    /// The successor.
    peer: Option<Channel>,
    /// Connections for it.
    heir: Option<std_mpsc::Receiver<Handed>>,
    handed: u64,
}

impl Serving {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes the predecessor's connections in, until it has ended. Whoever asks meanwhile waits.
    fn take(&mut self, taking: Option<Taking>) -> io::Result<()> {
        self.poll.add(&self.wake, WAKE, Interest::Read)?;
        let Some(mut taking) = taking else {
            return Ok(());
        };
        self.poll
            .add(&taking.channel, PREDECESSOR, Interest::Read)?;
        let mut ready = Vec::new();
        while !self.stopped() {
            self.poll.wait(&mut ready)?;
            self.wake.clear();
            let heard = ready.iter().any(|one| one.token == PREDECESSOR);
            if heard && !taking.next(&self.data) {
                break;
            }
        }
        Ok(())
    }

    fn serve(&mut self) -> io::Result<()> {
        self.poll.add(&self.run.socket, LISTENER, Interest::Read)?;
        let mut ready = Vec::new();
        while !self.stopped() {
            let now = Nanos::now();
            self.poll
                .wait_until(&mut ready, self.predecessor.next_deadline(), now)?;
            let mut over = false;
            // What the successor said, or that it is gone, goes before who asks next.
            ready.sort_by_key(|event| event.token == LISTENER);
            for event in &ready {
                match event.token {
                    WAKE => over |= self.woken(),
                    // Once it is given away, who asks is the successor's.
                    LISTENER if self.heir.is_none() => self.accept(),
                    PEER => self.hear(),
                    _ => {}
                }
            }
            if let Some(step) = self.predecessor.tick(Nanos::now()) {
                over |= self.step(step);
            }
            if over {
                break;
            }
        }
        Ok(())
    }

    /// Does a step; `true` at the end.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Resume => {
                warn!(target: "proxy::upgrade", "the successor did not come to anything; serving on");
                self.hang_up();
            }
            Step::GiveWay => {
                if let Err(error) = self.give_way() {
                    error!(target: "proxy::upgrade", %error, "the successor went away as it took over");
                    return self.lost();
                }
            }
            Step::Drain => {
                error!(target: "proxy::upgrade", "the successor is gone; finishing what is in flight");
                self.hang_up();
                return self.data.core(Command::Drain).is_err();
            }
            Step::End => {
                let handed = self.handed;
                info!(target: "proxy::upgrade", handed, "everything is handed over");
                if let Some(peer) = &mut self.peer {
                    // It serves anyway.
                    let _ = peer.send(&Message::Done { handed }, &[], &[]);
                }
                let _ = self.control.send(Request::End);
                return true;
            }
            // Carried out where somebody asks.
            Step::Refuse(_) | Step::Offer => {}
        }
        false
    }

    fn lost(&mut self) -> bool {
        self.predecessor.lost().is_some_and(|step| self.step(step))
    }

    fn hang_up(&mut self) {
        if let Some(peer) = self.peer.take() {
            let _ = self.poll.remove(&peer);
        }
    }

    fn accept(&mut self) {
        let stream = match self.run.socket.accept() {
            Ok((stream, _)) => stream,
            Err(_) => return,
        };
        if let Err(error) = self.asked(stream) {
            warn!(target: "proxy::upgrade", %error, "somebody asked who cannot be spoken to");
        }
    }

    fn asked(&mut self, stream: UnixStream) -> io::Result<()> {
        let ours = rustix::process::getuid();
        let theirs = rustix::net::sockopt::socket_peercred(&stream)?.uid;
        if theirs != ours && !theirs.is_root() {
            return Err(io::Error::other(format!(
                "user {} may not take over from user {}",
                theirs.as_raw(),
                ours.as_raw()
            )));
        }
        let mut channel = Channel::new(stream)?;
        let Some(received) = channel.receive()? else {
            // Somebody looked whether we live.
            return Ok(());
        };
        let Message::Hello(hello) = received.message else {
            return Err(io::Error::other("its first word was no `hello`"));
        };
        // Whoever asked before may be gone since the wait that told of this one.
        if self.peer.is_some() {
            let mut ready = Vec::new();
            let now = Nanos::now();
            self.poll.wait_until(&mut ready, Some(now), now)?;
            if ready.iter().any(|event| event.token == PEER) {
                self.hear();
            }
        }
        let why = match self.predecessor.asked(&hello, Nanos::now()) {
            Step::Refuse(why) => why,
            _ => match self.offer(&hello, channel) {
                Ok(None) => return Ok(()),
                Ok(Some(mut channel)) => {
                    // The control side has other plans.
                    self.predecessor.lost();
                    return channel.send(&refused(Refusal::Ending), &[], &[]);
                }
                Err(error) => {
                    self.predecessor.lost();
                    return Err(error);
                }
            },
        };
        warn!(target: "proxy::upgrade", pid = hello.pid, %why, "an upgrade was refused");
        channel.send(&refused(why), &[], &[])
    }

    /// Makes the offer; gives the channel back where there is nothing to offer.
    fn offer(&mut self, hello: &Hello, mut channel: Channel) -> io::Result<Option<Channel>> {
        let Some(Some(Offered { api, admin, state })) = self.ask(Request::Offer) else {
            return Ok(Some(channel));
        };
        let share = |side| -> io::Result<Option<TcpListener>> {
            let (answer, shared) = oneshot::channel();
            let order = Order::ShareListener(side, answer);
            self.data.order(order).map_err(io::Error::other)?;
            shared.blocking_recv().map_err(io::Error::other)
        };
        let inbound = share(Side::Inbound)?;
        let outbound = share(Side::Outbound)?;
        let mut listeners = Vec::new();
        let mut beside: Vec<BorrowedFd<'_>> = Vec::new();
        for (name, listener) in [
            ("inbound", inbound.as_ref()),
            ("outbound", outbound.as_ref()),
            ("api", Some(&api)),
            ("admin", Some(&admin)),
        ] {
            if let Some(listener) = listener {
                listeners.push((name.to_owned(), Some(listener.local_addr()?)));
                beside.push(listener.as_fd());
            }
        }
        for (name, descriptor) in [
            ("lock", self.run.lock.as_fd()),
            ("upgrade", self.run.socket.as_fd()),
        ] {
            listeners.push((name.to_owned(), None));
            beside.push(descriptor);
        }
        let offer = Offer {
            version: VERSION,
            listeners,
            state,
        };
        channel.send(&Message::Offer(Box::new(offer)), &[], &beside)?;
        info!(
            target: "proxy::upgrade",
            pid = hello.pid,
            program = hello.program,
            "a successor wants to take over"
        );
        self.poll.add(&channel, PEER, Interest::Read)?;
        self.peer = Some(channel);
        Ok(None)
    }

    /// Asks the control side. It may end, and with it this thread, before it answers.
    fn ask<T>(&self, request: impl FnOnce(std_mpsc::SyncSender<T>) -> Request) -> Option<T> {
        let (answer, answered) = std_mpsc::sync_channel(1);
        self.control.send(request(answer)).ok()?;
        loop {
            match answered.recv_timeout(LOOK_FOR_STOP) {
                Ok(answer) => return Some(answer),
                Err(std_mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(std_mpsc::RecvTimeoutError::Timeout) if self.stopped() => return None,
                Err(std_mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The successor said something.
    fn hear(&mut self) {
        let Some(peer) = &mut self.peer else {
            return;
        };
        let step = match peer.receive() {
            Ok(Some(received)) if received.message == Message::Ready => {
                self.predecessor
                    .configure(self.drain_ns.load(Ordering::Relaxed));
                self.predecessor.confirmed(Nanos::now())
            }
            _ => self.predecessor.lost(),
        };
        if let Some(step) = step {
            self.step(step);
        }
    }

    fn give_way(&mut self) -> io::Result<()> {
        let state = self
            .ask(Request::GiveWay)
            .ok_or_else(|| io::Error::other("the control side has ended"))?;
        // The successor has these sockets too: what connects now waits for it in the kernel.
        let (heir, received) = Heir::new(Arc::clone(&self.wake));
        for side in [Side::Inbound, Side::Outbound] {
            let (done, closed) = oneshot::channel();
            let order = Order::CloseListener(side, done);
            self.data.order(order).map_err(io::Error::other)?;
            closed.blocking_recv().map_err(io::Error::other)?;
        }
        let _ = self.poll.remove(&self.run.socket);
        self.heir = Some(received);
        self.data
            .order(Order::HandOver(heir))
            .map_err(io::Error::other)?;
        let state = Box::new(state);
        match &mut self.peer {
            Some(peer) => peer.send(&Message::Yours { state }, &[], &[]),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Hands on what the data thread has let go of; `true` at the end.
    fn woken(&mut self) -> bool {
        self.wake.clear();
        for _ in 0..HANDED_PER_ROUND {
            let Some(heir) = &self.heir else {
                return false;
            };
            match heir.try_recv() {
                // Released before the core heard that nobody takes it.
                Ok(handed) if self.peer.is_none() => drop(handed),
                Ok(handed) => {
                    if let Err(error) = self.hand_on(&handed) {
                        warn!(target: "proxy::upgrade", %error, "a connection could not be handed over");
                        return self.lost();
                    }
                }
                Err(std_mpsc::TryRecvError::Empty) => return false,
                Err(std_mpsc::TryRecvError::Disconnected) => {
                    self.heir = None;
                    let step = self.predecessor.drained();
                    return step.is_some_and(|step| self.step(step));
                }
            }
        }
        // There may be more.
        self.wake.raise();
        false
    }

    fn hand_on(&mut self, handed: &Handed) -> io::Result<()> {
        let peer = self.peer.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let side = handed.side.into();
        peer.send(
            &Message::Connection { side },
            &handed.unread,
            &[handed.stream.as_fd()],
        )?;
        self.handed += 1;
        Ok(())
    }
}

fn refused(why: Refusal) -> Message {
    Message::Refused { why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::upgrade::tests::{any, configured, data};
    use crate::edge::upgrade::{Began, Upgrade, begin, directory};
    use crate::upgrade::State;

    /// Answers offers until the thread that asks is gone.
    fn play_control(mut asked: mpsc::UnboundedReceiver<Request>) {
        while let Some(request) = asked.blocking_recv() {
            let Request::Offer(answer) = request else {
                panic!("nobody says that it is ready: {request:?}");
            };
            let state = State {
                directory: serde_json::Value::Null,
                control: serde_json::Value::Null,
            };
            let offered = Offered {
                api: any(),
                admin: any(),
                state,
            };
            answer.send(Some(offered)).unwrap();
        }
    }

    #[test]
    fn one_that_went_unheard_does_not_stand_in_the_way_of_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let config = configured(dir.path(), "a");
        let Began::Fresh(run) = begin(&config, Upgrade::Refused).unwrap() else {
            panic!("nobody runs");
        };
        run.socket.set_nonblocking(true).unwrap();
        let (data, _told) = data();
        let handle = data.handle().clone();
        for side in [Side::Inbound, Side::Outbound] {
            handle.order(Order::Listen(side, any())).unwrap();
        }
        let (control, asked) = mpsc::unbounded_channel();
        let plays = std::thread::spawn(|| play_control(asked));
        let mut serving = Serving {
            run,
            predecessor: Predecessor::new("a", 0),
            drain_ns: Arc::default(),
            data: handle,
            control,
            poll: Poll::new().unwrap(),
            wake: Arc::new(Wake::new().unwrap()),
            stop: Arc::new(AtomicBool::new(false)),
            peer: None,
            heir: None,
            handed: 0,
        };
        for _ in 0..3 {
            let mut asks = Channel::new(directory::connect(&config.run).unwrap()).unwrap();
            let hello = Hello {
                version: VERSION,
                name: "a".to_owned(),
                pid: 1,
                program: String::new(),
            };
            asks.send(&Message::Hello(hello), &[], &[]).unwrap();
            // No wait tells in between that the one before is gone.
            serving.accept();
            let heard = asks.receive().unwrap().unwrap().message;
            assert!(matches!(heard, Message::Offer(_)), "{heard:?}");
        }
        drop(serving);
        plays.join().unwrap();
    }
}
