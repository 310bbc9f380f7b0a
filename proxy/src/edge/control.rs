//! The control thread: one loop that hears of everything and carries out what the state machines
//! decide.
//!
//! It owns [`Monitor`] and [`Lifecycle`]. Orders to the data thread and to the directory are given
//! from here alone, so that nobody can close what another one opens.

use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{debug, error};

use super::app::{AppLink, Heard};
use super::begin;
use super::data::{self, Data};
use super::directory::{self, Directory};
use super::run::Ending;
use super::shared::{Shared, Status};
use super::speech::Speech;
use super::upgrade::{Offered, Request, Upgrades};
use crate::core::{Command, Side};
use crate::discovery;
use crate::health::{Act, Action, Lifecycle, Monitor, Op, Saved, Sign, State, Waits, What};
use crate::logs::{Levels, Logs};
use crate::{Config, config, upgrade};

/// The data thread answers within this; it never waits for anybody.
const LISTENER_WAIT_NS: u64 = 1_000_000_000;
/// A listener that could not be opened is tried again after this long.
const LISTENER_RETRY_NS: u64 = 500_000_000;

/// What is asked of the control thread.
#[derive(Debug)]
pub(super) enum Order {
    /// Begin the graceful end.
    Drain,
    /// End at once.
    Stop,
    /// Read the configuration again; the answer is what has changed, or why nothing was taken.
    Reload(Option<oneshot::Sender<Result<Vec<String>, String>>>),
    /// What the directory knows.
    Directory(oneshot::Sender<discovery::State>),
}

/// How long acknowledgements are waited for.
pub(super) fn waits(timeouts: &config::Timeouts) -> Waits {
    Waits {
        config_center_ns: timeouts.config_center.0.saturating_mul(1_000_000),
        listener_ns: LISTENER_WAIT_NS,
        drain_ns: drain_ns(timeouts),
        retry_ns: LISTENER_RETRY_NS,
    }
}

/// For how long what is in flight is waited for.
pub(super) fn drain_ns(timeouts: &config::Timeouts) -> u64 {
    timeouts.drain.0.saturating_mul(1_000_000)
}

/// Everything that the control thread has.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) data: Data,
    pub(super) directory: Arc<Directory>,
    pub(super) monitor: Monitor,
    pub(super) lifecycle: Lifecycle,
    pub(super) link: AppLink,
    pub(super) speech: Speech,
    pub(super) inputs: Inputs,
    /// Listeners that a successor gets beside those of the data thread.
    pub(super) offers: Offers,
    /// The admin interface, which a successor serves in our place.
    pub(super) admin: AbortHandle,
    /// After the inputs: it ends when nobody answers it any more.
    pub(super) _upgrades: Upgrades,
    /// How long they give what is in flight, in nanoseconds.
    pub(super) drain_ns: Arc<AtomicU64>,
    /// Where the configuration was read from.
    pub(super) file: Option<PathBuf>,
    /// Whose levels a reload changes.
    pub(super) logs: Option<Logs>,
    /// The drain under way.
    pub(super) draining: Option<Op>,
}

/// What the control thread hears.
pub(super) struct Inputs {
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) told: mpsc::UnboundedReceiver<data::Told>,
    pub(super) events: mpsc::UnboundedReceiver<discovery::Event>,
    pub(super) done: mpsc::UnboundedReceiver<(Op, Result<(), String>)>,
    /// The other end of `done`.
    pub(super) report: mpsc::UnboundedSender<(Op, Result<(), String>)>,
    /// Of a successor.
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
}

/// Copies of listeners.
pub(super) struct Offers {
    pub(super) api: TcpListener,
    pub(super) admin: TcpListener,
}

impl Control {
    /// Serves until the end.
    pub(super) async fn run(mut self) -> Ending {
        self.shared.tell(Nanos::now(), What::Started);
        loop {
            if self.carry_out() {
                return Ending::Drained;
            }
            self.publish();
            let deadline = [self.monitor.next_deadline(), self.lifecycle.next_deadline()]
                .into_iter()
                .flatten()
                .min();
            // What was heard goes before time that has passed: an answer that lies in the
            // kernel's buffer was in time, however late this thread gets to run.
            tokio::select! {
                biased;
                heard = self.link.next() => self.heard(heard),
                Some((op, result)) = self.inputs.done.recv() => {
                    self.lifecycle.done(op, result, Nanos::now());
                }
                Some(event) = self.inputs.events.recv() => self.discovered(event),
                told = self.inputs.told.recv() => {
                    if let Some(ending) = self.told(told) {
                        return ending;
                    }
                }
                Some(request) = self.inputs.requests.recv() => {
                    if let Request::End = request {
                        return Ending::HandedOver;
                    }
                    self.succeed(request);
                }
                order = self.inputs.orders.recv() => match order {
                    None | Some(Order::Stop) => return Ending::Stopped,
                    Some(order) => self.order(order),
                },
                () = until(deadline) => {
                    let now = Nanos::now();
                    self.monitor.tick(now);
                    self.lifecycle.tick(now);
                }
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Connected(link, result) => self.monitor.connected(link, result),
            Heard::Closed(link) => self.monitor.closed(link),
            Heard::Answered(link, id) => self.monitor.answered(link, id, Nanos::now()),
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Drain => self.lifecycle.drain(Nanos::now()),
            Order::Stop => {}
            Order::Reload(answer) => {
                let result = self.reload();
                let what = match &result {
                    Ok(changed) => What::Reloaded {
                        changed: changed.join(", "),
                    },
                    Err(error) => What::ReloadRefused {
                        error: error.clone(),
                    },
                };
                self.shared.tell(Nanos::now(), what);
                if let Some(answer) = answer {
                    let _ = answer.send(result);
                }
            }
            Order::Directory(answer) => {
                let directory = Arc::clone(&self.directory);
                tokio::spawn(async move {
                    let _ = answer.send(directory.state().await);
                });
            }
        }
    }

    /// A successor comes.
    fn succeed(&mut self, request: Request) {
        let directory = Arc::clone(&self.directory);
        let now = Nanos::now();
        match request {
            Request::Offer(answer) => {
                let ends = matches!(self.lifecycle.state(), State::Draining | State::Ended);
                let offers = self
                    .offers
                    .api
                    .try_clone()
                    .and_then(|api| Ok((api, self.offers.admin.try_clone()?)));
                let (Ok((api, admin)), false) = (offers, ends) else {
                    let _ = answer.send(None);
                    return;
                };
                let control = self.inheritance();
                tokio::spawn(async move {
                    let state = legacy(&directory.state().await, &control);
                    let offered = Offered { api, admin, state };
                    let _ = answer.send(Some(offered));
                });
            }
            Request::GiveWay(answer) => {
                let control = self.inheritance();
                self.lifecycle.hand_over(now);
                self.monitor.stop();
                self.admin.abort();
                tokio::spawn(async move {
                    let _ = answer.send(legacy(&directory.hand_over().await, &control));
                });
            }
            Request::End => {}
        }
    }

    fn inheritance(&self) -> begin::Control {
        begin::Control {
            health: self.lifecycle.saved(),
            speaks: Some(self.link.speaks()),
            inbound: Some(self.shared.addresses.inbound),
            listening: self.lifecycle.is_listening(),
        }
    }

    /// Goes on where a predecessor was.
    pub(super) fn go_on(
        &mut self,
        inherited: Option<begin::Control>,
        publications: &[discovery::Publication],
    ) {
        let Some(inherited) = inherited else {
            return;
        };
        let config = self.shared.config();
        if let Some(speaks) = inherited.speaks {
            self.link.speak(speaks);
        }
        if !publications.is_empty() {
            self.speech = Speech::of(publications);
            self.link.speak(self.speech.speaks());
        }
        let watches = !inherited.health.services.is_empty();
        if inherited.health.lost {
            let monitor = Monitor::new(config.heartbeat, self.shared.bugs);
            self.monitor = monitor.with_app_lost();
            self.command(Command::CloseInbound);
        }
        let saved = Saved {
            listening: inherited.listening,
            ..inherited.health
        };
        let waits = waits(&config.timeouts);
        self.lifecycle = Lifecycle::restored(saved, waits, self.shared.bugs);
        // What the predecessor had begun is gone on with.
        self.lifecycle.resume(Nanos::now());
        if watches {
            self.monitor.start(Nanos::now());
        }
    }

    fn reload(&mut self) -> Result<Vec<String>, String> {
        let file = self.file.as_deref();
        let reload = super::reload::read(file, &self.shared.config())?;
        let config = Arc::new(reload.config);
        self.shared.set_config(Arc::clone(&config));
        let logs_changed = reload.changed.iter().any(|path| path.starts_with("log."));
        if let (true, Some(logs), Ok(levels)) = (logs_changed, &self.logs, Levels::of(&config.log))
        {
            logs.set(levels, self.shared.bugs);
        }
        if !reload.changed.is_empty() {
            self.configure(config);
        }
        Ok(reload.changed)
    }

    fn configure(&mut self, config: Arc<Config>) {
        self.monitor.configure(config.heartbeat, Nanos::now());
        self.lifecycle.configure(waits(&config.timeouts));
        self.drain_ns
            .store(drain_ns(&config.timeouts), Ordering::Relaxed);
        let settings = super::run::settings(&config);
        self.command(Command::Configure(Box::new(settings)));
        self.directory.configure(config);
    }

    fn discovered(&mut self, event: discovery::Event) {
        let now = Nanos::now();
        match &event {
            discovery::Event::Published { service, protocols } => {
                self.speech.published(service, protocols);
                self.speak();
                if self.lifecycle.published(service) {
                    let to = self.shared.config().inbound.app;
                    self.shared.tell(now, What::HeartbeatsStarted { to });
                    self.monitor.start(now);
                }
            }
            discovery::Event::Unpublished { service, .. } => {
                self.speech.unpublished(service);
                let was_last = self.lifecycle.unpublished(service);
                if was_last {
                    self.monitor.stop();
                    self.shared.tell(now, What::HeartbeatsStopped);
                } else {
                    self.speak();
                }
            }
            _ => {}
        }
        self.shared.tell_of_directory(now, event);
    }

    fn speak(&mut self) {
        if self.link.speak(self.speech.speaks()) {
            self.monitor.renew();
        }
    }

    fn told(&mut self, told: Option<data::Told>) -> Option<Ending> {
        match told {
            Some(data::Told::Drained) => {
                if let Some(op) = self.draining.take() {
                    self.lifecycle.done(op, Ok(()), Nanos::now());
                }
                None
            }
            Some(told @ (data::Told::Listening(..) | data::Told::ListenerClosed(_))) => {
                debug!(target: "proxy::health", ?told, "data thread");
                None
            }
            Some(data::Told::Ended(Err(error))) => {
                error!(target: "proxy::health", %error, "the data thread has failed");
                Some(Ending::Failed(error.to_string()))
            }
            Some(data::Told::Ended(Ok(()))) | None => {
                Some(Ending::Failed("the data thread has ended".to_owned()))
            }
        }
    }

    /// Does what was decided; `true` at the end.
    fn carry_out(&mut self) -> bool {
        loop {
            let actions = self.monitor.take_actions();
            let signs = self.monitor.take_signs();
            for action in actions {
                match action {
                    Action::Connect(link) => self.link.connect(link),
                    Action::Send { link, id } => {
                        self.shared.metrics.app_heartbeats_sent.add(1);
                        self.link.send(link, id);
                    }
                    Action::Close(link) => self.link.close(link),
                }
            }
            for (at, sign) in signs {
                match sign {
                    Sign::Answered => {}
                    Sign::Missed { in_a_row } => {
                        self.shared.metrics.app_heartbeats_missed.add(1);
                        self.shared.tell(at, What::HeartbeatMissed { in_a_row });
                    }
                    Sign::Lost { misses } => {
                        self.speech.app_lost();
                        self.lifecycle.app_lost(misses, at);
                    }
                    Sign::Back => self.lifecycle.app_back(at),
                }
            }
            for event in self.lifecycle.take_events() {
                self.shared.tell(event.at, event.what);
            }
            let acts = self.lifecycle.take_acts();
            if acts.is_empty() {
                return false;
            }
            for act in acts {
                if self.act(act) {
                    return true;
                }
            }
        }
    }

    fn act(&mut self, act: Act) -> bool {
        let within = Duration::from_millis(self.shared.config().timeouts.config_center.0);
        match act {
            Act::Deregister(op) => {
                let directory = Arc::clone(&self.directory);
                self.report(op, async move {
                    acknowledged(directory.deregister_all(within).await)
                });
            }
            Act::Register(op) => {
                let directory = Arc::clone(&self.directory);
                self.report(op, async move {
                    acknowledged(directory.register_all(within).await)
                });
            }
            Act::CloseListener(op) => {
                let data = self.data.handle().clone();
                self.report(op, async move {
                    let closed = data.close_listener(Side::Inbound).await;
                    closed.map_err(|error| error.to_string())
                });
            }
            Act::GoAway => self.command(Command::CloseInbound),
            Act::OpenListener(op) => {
                let result = self.open_listener();
                self.report(op, std::future::ready(result));
            }
            Act::Drain(op) => {
                self.draining = Some(op);
                let data = self.data.handle().clone();
                tokio::spawn(async move {
                    for side in [Side::Inbound, Side::Outbound] {
                        let _ = data.finish_listener(side).await;
                    }
                    let _ = data.core(Command::Drain);
                });
            }
            Act::Finish => return true,
        }
        false
    }

    /// The kernel accepts connections as soon as the socket listens, so that nobody has to wait
    /// for the data thread.
    fn open_listener(&self) -> Result<(), String> {
        let listener: TcpListener = meshproof_sys::socket::listen(self.shared.addresses.inbound)
            .map_err(|error| error.to_string())?;
        self.command(Command::OpenInbound);
        let order = data::Order::Listen(Side::Inbound, listener);
        self.data
            .handle()
            .order(order)
            .map_err(|error| error.to_string())
    }

    fn command(&self, command: Command) {
        if let Err(error) = self.data.handle().core(command) {
            error!(target: "proxy::health", %error, "an order got lost");
        }
    }

    fn report(&self, op: Op, work: impl Future<Output = Result<(), String>> + Send + 'static) {
        let report = self.inputs.report.clone();
        tokio::spawn(async move {
            let _ = report.send((op, work.await));
        });
    }

    fn publish(&self) {
        self.shared.set_status(Status {
            state: self.lifecycle.state(),
            listening: self.lifecycle.is_listening()
                && !matches!(self.lifecycle.state(), State::Draining | State::Ended),
            registered: self.lifecycle.is_registered(),
            watched: self.monitor.is_watching(),
            app_lost: self.monitor.is_lost(),
        });
    }
}

/// What is left to a successor. A part that could not be written is null, which it refuses.
fn legacy(directory: &discovery::State, control: &begin::Control) -> upgrade::State {
    upgrade::State {
        directory: serde_json::to_value(directory).unwrap_or_default(),
        control: serde_json::to_value(control).unwrap_or_default(),
    }
}

fn acknowledged(told: directory::Told) -> Result<(), String> {
    match told {
        directory::Told::Acknowledged => Ok(()),
        directory::Told::Unanswered => Err("no answer in time".to_owned()),
    }
}

async fn until(deadline: Option<Nanos>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => {
            // The runtime's timers tick in milliseconds and never fire early.
            let left = Duration::from_nanos(deadline.since(Nanos::now()));
            tokio::time::sleep(left).await;
        }
    }
}
