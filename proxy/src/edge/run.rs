//! A whole sidecar: what is bound, which threads run, how they end.
//!
//! Nothing here is global to the process: several sidecars live in one, which is how tests run
//! them. Whoever wants logs installs a `tracing` subscriber; this does not.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use meshproof_sys::clock::Nanos;
use tokio::sync::mpsc;

use super::admin::{self, Admin};
use super::app::AppLink;
use super::begin::Begin;
use super::control::{self, Control, Inputs, Offers, Order};
use super::data::{self, Data};
use super::directory::{self, Directory};
use super::log_file::LogFile;
use super::shared::Shared;
use super::speech::Speech;
use super::upgrade::{TakeError, Upgrade, Upgrades};
use crate::core::{Command, Core, Settings, Side};
use crate::health::{Lifecycle, Monitor};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::{Bugs, Config, routing};

/// What is not in the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Seeded bugs, beside those that the configuration names.
    pub bugs: Bugs,
    /// Seeded bugs that are told to nobody: whoever judges the sidecar cannot ask it for them.
    pub seeded: Bugs,
    /// Whether to take over from one of the same name that runs.
    pub upgrade: Upgrade,
    /// Where the configuration was read from: what a reload reads again. Without it there is
    /// nothing to reload.
    pub file: Option<PathBuf>,
    /// Whose levels the admin interface shows and changes, and where the sidecar's threads log
    /// to. Without it they log to whatever is the process's default, and levels cannot be changed.
    pub logs: Option<(Logs, tracing::Dispatch)>,
    /// The file that these logs go to, beside what else they go to: what it loses is told.
    pub log_file: Option<LogFile>,
}

/// Where a sidecar listens: as configured, with the kernel's choice for a port of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// From the network to the app (12200).
    pub inbound: SocketAddr,
    /// From the app to the network (12220).
    pub outbound: SocketAddr,
    /// The application API (13330).
    pub api: SocketAddr,
    /// The admin interface.
    pub admin: SocketAddr,
}

/// Why a sidecar does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address that it is to listen on.
    #[error("cannot listen on {address} for `{what}`: {error}")]
    Listen {
        /// The key of the configuration.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The sidecar that runs already, or whose directory this is.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// A thread, a runtime, a descriptor.
    #[error("cannot start: {0}")]
    Resources(#[from] io::Error),
}

/// How a sidecar ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Gracefully.
    Drained,
    /// A successor took over.
    HandedOver,
    /// At once, by [`Running::stop`].
    Stopped,
    /// It could not go on.
    Failed(String),
}

/// Starts sidecars.
#[derive(Debug)]
pub struct Proxy;

impl Proxy {
    /// Binds every listener and starts the threads. When it returns, the sidecar serves.
    pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
        let told = config.bugs.iter().copied().fold(options.bugs, Bugs::with);
        let bugs = options.seeded.iter().fold(told, Bugs::with);
        let begin = Begin::of(&config, options.upgrade)?;
        let addresses = begin.addresses;
        let metrics = Arc::new(Metrics::default());
        let config = Arc::new(config);
        let shared = Arc::new(Shared::new(
            addresses,
            Arc::clone(&config),
            (bugs, told),
            Arc::clone(&metrics),
        ));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (orders, taken) = mpsc::unbounded_channel();
        let (told, hears) = mpsc::unbounded_channel();
        let core = Core::new(settings(&config), Arc::clone(&metrics), bugs);
        let data = Data::start(core, told)?;
        let handle = data.handle().clone();
        // Everything that can fail has been done: from here on this process is the sidecar.
        let begun = begin.take()?;
        let offers = Offers {
            api: begun.api.try_clone()?,
            admin: begun.admin.try_clone()?,
        };
        let (happened, events) = mpsc::unbounded_channel();
        let inherited = begun.directory.as_ref();
        let publications = inherited.map_or_else(Vec::new, |state| state.publications.clone());
        let dispatch = options.logs.as_ref().map(|(_, dispatch)| dispatch.clone());
        let directory = {
            let _guard = runtime.enter();
            let _default = dispatch.as_ref().map(tracing::dispatcher::set_default);
            let shared = Arc::clone(&shared);
            let routes = handle.clone();
            let others_call = SocketAddr::new(config.address, addresses.inbound.port());
            Directory::start(directory::Setup {
                config: Arc::clone(&config),
                bugs,
                metrics: Arc::clone(&metrics),
                api: begun.api,
                inbound: others_call,
                snapshot: Some(config.run.join("directory.json")),
                restored: begun.directory,
                tables: Box::new(move |table| {
                    shared.set_table(Arc::clone(&table));
                    let _ = routes.core(Command::Routes(table));
                }),
                events: Box::new(move |event| {
                    let _ = happened.send(event);
                }),
            })?
        };
        // Only now, behind the first routes: a call that came before them would find no provider.
        // Who comes meanwhile waits in the kernel, and at a predecessor.
        for (side, listener) in [
            (Side::Inbound, begun.inbound),
            (Side::Outbound, Some(begun.outbound)),
        ] {
            if let Some(listener) = listener {
                handle
                    .order(data::Order::Listen(side, listener))
                    .map_err(io::Error::other)?;
            }
        }
        let (requests, requested) = mpsc::unbounded_channel();
        let drain_ns = Arc::new(AtomicU64::new(control::drain_ns(&config.timeouts)));
        let upgrades = Upgrades::start(
            begun.run,
            &config.name,
            Arc::clone(&drain_ns),
            begun.taking,
            handle,
            requests,
        )?;
        let admin = {
            let _guard = runtime.enter();
            begun.admin.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(begun.admin)?;
            let admin = Admin {
                shared: Arc::clone(&shared),
                orders: orders.clone(),
                logs: options.logs.as_ref().map(|(logs, _)| logs.clone()),
                log_file: options.log_file.clone(),
            };
            tokio::spawn(admin::serve(listener, admin)).abort_handle()
        };
        let (report, done) = mpsc::unbounded_channel();
        let mut control = Control {
            data,
            directory: Arc::new(directory),
            monitor: Monitor::new(config.heartbeat, bugs),
            lifecycle: Lifecycle::new(control::waits(&config.timeouts), bugs),
            link: AppLink::new(config.inbound.app),
            speech: Speech::default(),
            offers,
            admin,
            _upgrades: upgrades,
            drain_ns,
            inputs: Inputs {
                orders: taken,
                told: hears,
                events,
                done,
                report,
                requests: requested,
            },
            file: options.file,
            logs: options.logs.as_ref().map(|(logs, _)| logs.clone()),
            draining: None,
            shared: Arc::clone(&shared),
        };
        control.go_on(begun.control, &publications);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                let _default = dispatch.as_ref().map(tracing::dispatcher::set_default);
                runtime.block_on(control.run())
            })?;
        Ok(Running {
            addresses,
            metrics,
            orders,
            control: Some(thread),
        })
    }
}

/// What of a configuration the data path runs by.
pub(super) fn settings(config: &Config) -> Settings {
    let outbound = &config.outbound;
    let zone_first = outbound.zone_first && !config.zone.is_empty();
    Settings {
        app: config.inbound.app,
        inbound: config.inbound.protocols.clone(),
        outbound: outbound.protocols.clone(),
        timeouts: config.timeouts,
        limits: config.limits,
        upstream: config.upstream,
        routing: routing::Settings {
            balance: outbound.balance,
            zone_first: zone_first.then(|| config.zone.clone()),
            cache: outbound.cache,
            seed: Nanos::now().0,
        },
    }
}

/// A sidecar that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    metrics: Arc<Metrics>,
    orders: mpsc::UnboundedSender<Order>,
    control: Option<JoinHandle<Ending>>,
}

impl Running {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// For orders, also while somebody else waits.
    pub fn handle(&self) -> Handle {
        Handle {
            orders: self.orders.clone(),
        }
    }

    /// As [`Handle::drain`].
    pub fn drain(&self) {
        let _ = self.orders.send(Order::Drain);
    }

    /// Waits until it has ended, by [`Running::drain`] or by orders of the admin interface or of
    /// a successor.
    pub fn wait(mut self) -> Ending {
        self.join()
    }

    /// Ends it at once: every socket is closed, nothing is waited for.
    pub fn stop(mut self) {
        let _ = self.orders.send(Order::Stop);
        self.join();
    }

    fn join(&mut self) -> Ending {
        match self.control.take().map(JoinHandle::join) {
            Some(Ok(ending)) => ending,
            // What a panic had to say was said by its hook.
            Some(Err(_)) => Ending::Failed("the control thread has panicked".into()),
            None => Ending::Stopped,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        self.join();
    }
}

/// Gives orders to a sidecar that runs. An order to one that has ended does nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::UnboundedSender<Order>,
}

impl Handle {
    /// Begins a graceful end and returns at once: deregisters, sends GoAway, finishes what is in
    /// flight, ends.
    pub fn drain(&self) {
        let _ = self.orders.send(Order::Drain);
    }

    /// Ends it at once.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    /// Reads the configuration's file again and takes what has changed, or nothing where
    /// something is wrong; what came of it is logged, and an event.
    pub fn reload(&self) {
        let _ = self.orders.send(Order::Reload(None));
    }
}
