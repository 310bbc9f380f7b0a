//! A whole sidecar: what is bound, which threads run, how they end.
//!
//! Nothing here is global to the process: several sidecars live in one, which is how tests run
//! them. Whoever wants logs installs a `tracing` subscriber; this does not.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::{Bugs, Config};

/// What is not in the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Seeded bugs, beside those that the configuration names.
    pub bugs: Bugs,
    /// Where the configuration was read from: what a reload reads again. Without it there is
    /// nothing to reload.
    pub file: Option<PathBuf>,
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
    /// A thread, a runtime, a descriptor.
    #[error("cannot start: {0}")]
    Resources(#[from] io::Error),
}

/// Starts sidecars.
#[derive(Debug)]
pub struct Proxy;

impl Proxy {
    /// Binds every listener and starts the threads. When it returns, the sidecar serves.
    pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
        let bugs = config.bugs.iter().copied().fold(options.bugs, Bugs::with);
        let inbound = bind("inbound.listen", config.inbound.listen)?;
        let outbound = bind("outbound.listen", config.outbound.listen)?;
        let api = bind("api", config.api)?;
        let admin = bind("admin", config.admin)?;
        let addresses = Addresses {
            inbound: inbound.local_addr()?,
            outbound: outbound.local_addr()?,
            api: api.local_addr()?,
            admin: admin.local_addr()?,
        };
        let metrics = Arc::new(Metrics::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (orders, mut received) = mpsc::unbounded_channel();
        let control = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                let _ = (inbound, outbound, api, admin, bugs);
                runtime.block_on(async move {
                    let Some(Order::Drain | Order::Stop) = received.recv().await else {
                        return;
                    };
                });
            })?;
        Ok(Running {
            addresses,
            metrics,
            orders,
            control: Some(control),
        })
    }
}

fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| StartError::Listen {
        what,
        address,
        error,
    })
}

#[derive(Debug)]
enum Order {
    Drain,
    Stop,
}

/// A sidecar that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    metrics: Arc<Metrics>,
    orders: mpsc::UnboundedSender<Order>,
    control: Option<JoinHandle<()>>,
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

    /// Begins a graceful end and returns at once: deregisters, sends GoAway, finishes what is in
    /// flight, ends.
    pub fn drain(&self) {
        let _ = self.orders.send(Order::Drain);
    }

    /// Waits until it has ended, by [`Running::drain`] or by orders of the admin interface or of
    /// a successor.
    pub fn wait(mut self) {
        self.join();
    }

    /// Ends it at once: every socket is closed, nothing is waited for.
    pub fn stop(mut self) {
        let _ = self.orders.send(Order::Stop);
        self.join();
    }

    fn join(&mut self) {
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        self.join();
    }
}
