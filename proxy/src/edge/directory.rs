//! The sidecar's directory of services: application API, config center and VIP names together,
//! on the control thread.
//!
//! [`Directory::start`] spawns one task that owns the pure state machine, and tasks that talk to
//! the world for it. They end when the [`Directory`] is dropped.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_wire::mesh_api::Answer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::api::{self, Asked};
use super::config_center::{self, Client};
use super::snapshot;
use super::vip::Resolver;
use crate::discovery::{CallId, Discovery, Event, Input, Output, Said, Settings, State};
use crate::metrics::Metrics;
use crate::routing::Table;
use crate::{Bugs, Config};

/// Things that happened and are not handled yet, at most; who brings more waits.
const INPUTS_MAX: usize = 1024;

/// Things that are handled before conclusions are drawn, at most.
const BATCH_MAX: usize = 256;

/// From a change to its snapshot on disk: several changes make one write.
const SNAPSHOT_AFTER: Duration = Duration::from_millis(200);

/// Calls of the application API that are under way at a hand-over are waited for this long.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// What a directory is started with.
pub struct Setup {
    /// `address`, `zone`, `config_center`, `vip`, `outbound.routes`, `timeouts`, `limits`, `name`.
    pub config: Arc<Config>,
    /// Seeded bugs that are on.
    pub bugs: Bugs,
    /// For pushes.
    pub metrics: Arc<Metrics>,
    /// The application API's listener, bound here or taken over from a predecessor.
    pub api: TcpListener,
    /// Where others call this pod: `config.address` with the port that is really bound.
    pub inbound: SocketAddr,
    /// Keeps the last good addresses for a restart; `None`: nothing is kept.
    pub snapshot: Option<PathBuf>,
    /// From a predecessor; without it a session of its own begins.
    pub restored: Option<State>,
    /// Gets every new table, in order, the first one before [`Directory::start`] returns; must not
    /// block.
    pub tables: Box<dyn Fn(Arc<Table>) + Send>,
    /// Gets every event, in order; must not block.
    pub events: Box<dyn Fn(Event) + Send>,
}

/// Whether the config center has said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has, or there is none, or there was nothing to say.
    Acknowledged,
    /// Time was up; it is told again and again until it answers.
    Unanswered,
}

/// A directory that runs. Dropping it ends it; nothing is deregistered.
#[derive(Debug)]
pub struct Directory {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Order {
    Enroll(oneshot::Sender<()>),
    Withdraw(oneshot::Sender<()>),
    Configure(Arc<Config>),
    State(oneshot::Sender<State>),
    HandOver(oneshot::Sender<State>),
}

impl Directory {
    /// Starts it on the runtime that it is called in. Fails where `config_center` or a route's
    /// target cannot be understood, or the listener cannot be used.
    pub fn start(setup: Setup) -> io::Result<Directory> {
        let Setup {
            config,
            bugs,
            metrics,
            api,
            inbound,
            snapshot,
            restored,
            tables,
            events,
        } = setup;
        api.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(api)?;
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let within = within(&config);
        let client = config
            .config_center
            .as_deref()
            .map(|base| Client::new(base, within))
            .transpose()
            .map_err(wrong)?;
        let settings =
            Settings::new(&config, inbound, bugs).map_err(|bad| wrong(bad.to_string()))?;
        let session = match &restored {
            Some(state) if !state.session.is_empty() => state.session.clone(),
            _ => new_session(&config.name),
        };
        let mut discovery = Discovery::new(settings, session, metrics, bugs);
        match restored {
            Some(state) => discovery.restore(state),
            None => {
                if let Some(kept) = snapshot.as_deref().and_then(snapshot::read) {
                    discovery.recall(kept);
                }
            }
        }
        let (orders, ordered) = mpsc::unbounded_channel();
        let (inputs, happened) = mpsc::channel(INPUTS_MAX);
        let (asking, asked) = mpsc::channel(INPUTS_MAX);
        let mut tasks = JoinSet::new();
        let (stop, stopped) = watch::channel(());
        let serving = tasks.spawn(api::serve(listener, asking, stopped));
        let mut actor = Actor {
            discovery,
            client,
            resolver: Arc::new(Resolver::new(&config.vip)),
            inbound,
            bugs,
            tables,
            events,
            inputs,
            tasks,
            serving,
            stop,
            watching: Vec::new(),
            answers: HashMap::new(),
            calls: 0,
            standing: Vec::new(),
            snapshot: snapshot.map(snapshot::Keeper::new),
            leaving: None,
        };
        // Who starts this lets the app in next, and its first call must find a table.
        actor.discovery.advance(Nanos::now());
        actor.carry_out();
        let task = tokio::spawn(actor.run(ordered, happened, asked));
        Ok(Directory { orders, task })
    }

    /// Registers every publication, those to come included, and waits for the config center's
    /// answer for at most `within`. A directory starts registered.
    pub async fn register_all(&self, within: Duration) -> Told {
        self.order(Order::Enroll, within).await
    }

    /// Takes every publication off the config center; they are remembered, as are new ones, until
    /// [`Directory::register_all`]. Waits for the answer for at most `within`.
    pub async fn deregister_all(&self, within: Duration) -> Told {
        self.order(Order::Withdraw, within).await
    }

    async fn order(&self, order: fn(oneshot::Sender<()>) -> Order, within: Duration) -> Told {
        let (done, is_done) = oneshot::channel();
        let _ = self.orders.send(order(done));
        match timeout(within, is_done).await {
            Ok(Ok(())) => Told::Acknowledged,
            _ => Told::Unanswered,
        }
    }

    /// Takes over what can change while it runs: routes, VIP refresh and time-outs. Routes that
    /// cannot be understood change nothing (a warning is logged); who reads the configuration
    /// checks them with [`Settings::new`] first.
    pub fn configure(&self, config: Arc<Config>) {
        let _ = self.orders.send(Order::Configure(config));
    }

    /// What a successor needs to know; empty where the directory has ended.
    pub async fn state(&self) -> State {
        let (state, told) = oneshot::channel();
        let _ = self.orders.send(Order::State(state));
        told.await.unwrap_or_default()
    }

    /// Ends it for a successor: no new call of the application API is accepted, those under way
    /// are answered, then the config center is not spoken to any more. Nothing is deregistered.
    pub async fn hand_over(&self) -> State {
        let (state, told) = oneshot::channel();
        let _ = self.orders.send(Order::HandOver(state));
        told.await.unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long the config center is waited for.
fn within(config: &Config) -> Duration {
    Duration::from_millis(config.timeouts.config_center.0.max(1))
}

/// A name for the session that no other sidecar and no earlier life of this one has.
fn new_session(name: &str) -> String {
    let random = RandomState::new().hash_one((std::process::id(), Nanos::now()));
    format!("{name}-{random:016x}")
}

/// Owns the machine, and every task that talks to the world for it.
struct Actor {
    discovery: Discovery,
    client: Option<Client>,
    resolver: Arc<Resolver>,
    inbound: SocketAddr,
    bugs: Bugs,
    tables: Box<dyn Fn(Arc<Table>) + Send>,
    events: Box<dyn Fn(Event) + Send>,
    inputs: mpsc::Sender<Input>,
    /// Dropped with the actor, and with it everything that runs for it.
    tasks: JoinSet<()>,
    serving: tokio::task::AbortHandle,
    stop: watch::Sender<()>,
    watching: Vec<tokio::task::AbortHandle>,
    answers: HashMap<CallId, oneshot::Sender<Answer>>,
    calls: u64,
    standing: Vec<oneshot::Sender<()>>,
    snapshot: Option<snapshot::Keeper>,
    leaving: Option<Leaving>,
}

struct Leaving {
    until: Nanos,
    state: oneshot::Sender<State>,
}

impl Actor {
    async fn run(
        mut self,
        mut ordered: mpsc::UnboundedReceiver<Order>,
        mut happened: mpsc::Receiver<Input>,
        mut asked: mpsc::Receiver<Asked>,
    ) {
        loop {
            self.discovery.advance(Nanos::now());
            self.carry_out();
            if self.has_left() {
                return;
            }
            let pause = self.pause();
            tokio::select! {
                order = ordered.recv() => match order {
                    Some(order) => self.ordered(order),
                    None => return,
                },
                Some(input) = happened.recv() => {
                    self.discovery.handle(input, Nanos::now());
                }
                Some(call) = asked.recv() => self.asked(call),
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = sleep(pause) => {}
            }
            for _ in 0..BATCH_MAX {
                if let Ok(order) = ordered.try_recv() {
                    self.ordered(order);
                } else if let Ok(input) = happened.try_recv() {
                    self.discovery.handle(input, Nanos::now());
                } else if let Ok(call) = asked.try_recv() {
                    self.asked(call);
                } else {
                    break;
                }
            }
        }
    }

    /// Until something is due by itself.
    fn pause(&self) -> Duration {
        let now = Nanos::now();
        let machine = self.discovery.next_deadline();
        let snapshot = self.snapshot.as_ref().and_then(snapshot::Keeper::due);
        let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
        let next = machine.into_iter().chain(snapshot).chain(leaving).min();
        next.map_or(Duration::from_secs(3600), |at| {
            Duration::from_nanos(at.since(now))
        })
    }

    fn ordered(&mut self, order: Order) {
        let now = Nanos::now();
        match order {
            Order::Enroll(done) => {
                self.discovery.handle(Input::Enroll, now);
                // What another order wanted to stand is wanted no more.
                self.standing.clear();
                self.standing.push(done);
            }
            Order::Withdraw(done) => {
                self.discovery.handle(Input::Withdraw, now);
                self.standing.clear();
                self.standing.push(done);
            }
            Order::Configure(config) => match Settings::new(&config, self.inbound, self.bugs) {
                Ok(settings) => {
                    self.resolver = Arc::new(Resolver::new(&config.vip));
                    if let Some(client) = &mut self.client {
                        client.configure(within(&config));
                    }
                    self.discovery.handle(Input::Configure(settings), now);
                }
                Err(error) => {
                    tracing::warn!(target: "proxy::discovery", %error, "routes stay as they were");
                }
            },
            Order::State(state) => {
                let _ = state.send(self.discovery.state());
            }
            Order::HandOver(state) => {
                let _ = self.stop.send(());
                let until = now + HAND_OVER_WITHIN;
                self.leaving = Some(Leaving { until, state });
            }
        }
    }

    fn asked(&mut self, asked: Asked) {
        self.calls += 1;
        let call = CallId(self.calls);
        self.answers.insert(call, asked.answer);
        let input = Input::Call {
            call,
            operation: asked.operation,
            body: asked.body,
        };
        self.discovery.handle(input, Nanos::now());
    }

    /// Whether a hand-over has come to its end.
    fn has_left(&mut self) -> bool {
        let is_over = self
            .leaving
            .as_ref()
            .is_some_and(|leaving| self.serving.is_finished() || leaving.until <= Nanos::now());
        if !is_over {
            return false;
        }
        if let Some(leaving) = self.leaving.take() {
            let _ = leaving.state.send(self.discovery.state());
        }
        true
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.discovery.next_output() {
            match output {
                Output::Say(say) => {
                    let inputs = self.inputs.clone();
                    let client = self.client.clone();
                    self.tasks.spawn(async move {
                        let said = match client {
                            Some(client) => client.say(&say).await,
                            None => Said::Failed("there is no config center".to_owned()),
                        };
                        let _ = inputs.send(Input::Said(said)).await;
                    });
                }
                Output::Watch(services) => self.watch(&services),
                Output::Ask(service) => {
                    let inputs = self.inputs.clone();
                    let client = self.client.clone();
                    self.tasks.spawn(async move {
                        let list = match client {
                            Some(client) => client.list(&service).await.ok(),
                            None => None,
                        };
                        let input = list.map_or(Input::NoList { service }, Input::Push);
                        let _ = inputs.send(input).await;
                    });
                }
                Output::Resolve(name) => {
                    let inputs = self.inputs.clone();
                    let resolver = Arc::clone(&self.resolver);
                    self.tasks.spawn(async move {
                        let answer = resolver.resolve(&name).await;
                        let _ = inputs.send(Input::Resolved { name, answer }).await;
                    });
                }
                Output::Table(table) => (self.tables)(table),
                Output::Answer(call, answer) => {
                    if let Some(waiting) = self.answers.remove(&call) {
                        let _ = waiting.send(answer);
                    }
                }
                Output::Event(event) => {
                    log(&event);
                    (self.events)(event);
                }
                Output::Changed => {
                    if let Some(keeper) = &mut self.snapshot {
                        keeper.changed(Nanos::now() + SNAPSHOT_AFTER);
                    }
                }
            }
        }
        self.standing.retain(|done| !done.is_closed());
        if !self.standing.is_empty() && self.discovery.is_standing() {
            for done in self.standing.drain(..) {
                let _ = done.send(());
            }
        }
        if let Some(keeper) = &mut self.snapshot {
            keeper.keep(Nanos::now(), || self.discovery.state(), &mut self.tasks);
        }
    }

    fn watch(&mut self, services: &BTreeSet<String>) {
        for watch in self.watching.drain(..) {
            watch.abort();
        }
        let Some(client) = &self.client else {
            return;
        };
        for query in config_center::queries(services) {
            let watch = client.clone().watch(query, self.inputs.clone());
            self.watching.push(self.tasks.spawn(watch));
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::ConfigCenterLost { .. } | Event::NotResolved { .. } | Event::PushIgnored { .. } => {
            tracing::warn!(target: "proxy::discovery", ?event, "directory");
        }
        Event::Refused { .. } => tracing::warn!(target: "proxy::api", ?event, "directory"),
        _ => tracing::info!(target: "proxy::discovery", ?event, "directory"),
    }
}
