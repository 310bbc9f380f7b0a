//! The successor's side of the conversation.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use meshproof_sys::clock::Nanos;
use meshproof_sys::poll::{Interest, Poll, Token};
use tracing::{debug, info, warn};

use super::channel::{Channel, Received};
use super::directory::{self, Claim, RunDirectory, RunError};
use crate::Config;
use crate::edge::data::{Handed, Handle, Order};
use crate::upgrade::{GaveUp, Hello, Message, Next, State, Successor, VERSION, Wanted};

/// Why there is no taking over. The predecessor serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The run directory.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The conversation.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    /// The socket.
    #[error("the sidecar that runs cannot be spoken to: {0}")]
    Io(#[from] io::Error),
}

/// Listeners that a predecessor has given.
#[derive(Debug)]
pub struct Listeners {
    /// Not there while its app is lost.
    pub inbound: Option<TcpListener>,
    /// From the app to the network.
    pub outbound: TcpListener,
    /// The application API.
    pub api: TcpListener,
    /// The admin interface.
    pub admin: TcpListener,
}

/// How a sidecar begins.
#[derive(Debug)]
pub enum Began {
    /// Nobody runs: everything is to be bound.
    Fresh(RunDirectory),
    /// A predecessor runs, and gives way.
    Asked(Box<Asked>),
}

/// A predecessor has offered; it still serves.
#[derive(Debug)]
pub struct Asked {
    /// Its listeners: to be accepted from after [`Asked::take`] only.
    pub listeners: Listeners,
    /// Its state, to be checked; the one that counts comes with [`Asked::take`].
    pub state: State,
    run: RunDirectory,
    name: String,
    successor: Successor,
    channel: Channel,
    poll: Poll,
}

/// The predecessor accepts nothing any more: this process is the sidecar now.
#[derive(Debug)]
pub struct Taken {
    /// Its listeners.
    pub listeners: Listeners,
    /// Its last state.
    pub state: State,
    /// For [`super::Upgrades::start`].
    pub run: RunDirectory,
    /// For [`super::Upgrades::start`]: its connections come here.
    pub taking: Taking,
}

/// A conversation by which connections come.
#[derive(Debug)]
pub struct Taking {
    pub(super) successor: Successor,
    pub(super) channel: Channel,
    taken: u64,
}

/// Begins: takes the run directory, or, where `config`'s sidecar runs already and `upgrade` is
/// wanted, asks it to give way.
pub fn begin(config: &Config, upgrade: Upgrade) -> Result<Began, TakeError> {
    match (RunDirectory::claim(&config.run, &config.name)?, upgrade) {
        (Claim::Mine(run), _) => Ok(Began::Fresh(run)),
        (Claim::Held { pid }, Upgrade::Refused) => Err(RunError::Runs {
            name: config.name.clone(),
            pid,
        }
        .into()),
        (Claim::Held { pid }, Upgrade::Wanted) => {
            info!(target: "proxy::upgrade", pid, "asking the sidecar that runs to give way");
            Ok(Began::Asked(Box::new(Asked::ask(config)?)))
        }
    }
}

/// Whether one that runs is to be taken over from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// It is not: two of a name are a mistake.
    #[default]
    Refused,
    /// It is.
    Wanted,
}

fn wanted(config: &Config) -> Wanted {
    Wanted {
        listeners: vec![
            ("inbound", config.inbound.listen),
            ("outbound", config.outbound.listen),
            ("api", config.api),
            ("admin", config.admin),
            // These have no address.
            ("lock", SocketAddr::from(([0, 0, 0, 0], 0))),
            ("upgrade", SocketAddr::from(([0, 0, 0, 0], 0))),
        ],
        may_miss: vec!["inbound"],
    }
}

impl Asked {
    fn ask(config: &Config) -> Result<Asked, TakeError> {
        let mut channel = Channel::new(directory::connect(&config.run)?)?;
        let (mut successor, next) = Successor::new(wanted(config), Nanos::now());
        debug_assert_eq!(next, Next::SayHello);
        channel.send(
            &Message::Hello(Hello {
                version: VERSION,
                name: config.name.clone(),
                pid: std::process::id(),
                program: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            &[],
            &[],
        )?;
        let mut poll = Poll::new()?;
        poll.add(&channel, Token(0), Interest::Read)?;
        let (next, descriptors) = hear(&mut successor, &mut channel, &mut poll)?;
        let offer = match next {
            Next::Prepare(offer) => offer,
            other => return Err(gave_up(other)),
        };
        let names = offer.listeners.into_iter().map(|(name, _)| name);
        let mut came: HashMap<String, OwnedFd> = names.zip(descriptors).collect();
        let mut of = |name: &'static str| came.remove(name).ok_or(GaveUp::Missing { name });
        let listeners = Listeners {
            inbound: of("inbound").ok().map(TcpListener::from),
            outbound: of("outbound")?.into(),
            api: of("api")?.into(),
            admin: of("admin")?.into(),
        };
        let run = RunDirectory::inherited(
            &config.run,
            File::from(of("lock")?),
            UnixListener::from(of("upgrade")?),
        );
        Ok(Asked {
            listeners,
            state: offer.state,
            run,
            name: config.name.clone(),
            successor,
            channel,
            poll,
        })
    }

    /// Everything is made ready: takes over. On an error the predecessor serves on, and this
    /// process is to end without having accepted anything.
    pub fn take(mut self) -> Result<Taken, TakeError> {
        match self.successor.prepared(Ok(()), Nanos::now()) {
            Next::SayReady => self.channel.send(&Message::Ready, &[], &[])?,
            other => return Err(gave_up(other)),
        }
        let (next, _) = hear(&mut self.successor, &mut self.channel, &mut self.poll)?;
        let state = match next {
            Next::Serve(state) => *state,
            other => return Err(gave_up(other)),
        };
        if let Err(error) = self.run.sign(&self.name) {
            // The name is the same; only the process id is not.
            debug!(target: "proxy::upgrade", %error, "the lock file keeps its old owner");
        }
        info!(target: "proxy::upgrade", "took over");
        Ok(Taken {
            listeners: self.listeners,
            state,
            run: self.run,
            taking: Taking {
                successor: self.successor,
                channel: self.channel,
                taken: 0,
            },
        })
    }
}

/// Waits for the next word, at most as long as the successor wants to.
fn hear(
    successor: &mut Successor,
    channel: &mut Channel,
    poll: &mut Poll,
) -> Result<(Next, Vec<OwnedFd>), TakeError> {
    let mut ready = Vec::new();
    loop {
        let now = Nanos::now();
        if let Some(next) = successor.tick(now) {
            return Ok((next, Vec::new()));
        }
        poll.wait_until(&mut ready, successor.next_deadline(), now)?;
        if !ready.is_empty() {
            return match channel.receive()? {
                None => Ok((successor.lost(), Vec::new())),
                Some(Received {
                    message,
                    descriptors,
                    ..
                }) => Ok((successor.heard(message), descriptors)),
            };
        }
    }
}

fn gave_up(next: Next) -> TakeError {
    match next {
        Next::GiveUp(why) => why.into(),
        // The successor's own order of steps forbids it.
        other => TakeError::Io(io::Error::other(format!("{other:?} is out of order"))),
    }
}

impl Taking {
    /// Takes the next connection that waits, and gives it to the data thread; `false` at the end.
    pub(super) fn next(&mut self, data: &Handle) -> bool {
        let (next, raw, descriptors) = match self.channel.receive() {
            Ok(Some(it)) => (self.successor.heard(it.message), it.raw, it.descriptors),
            Ok(None) => (self.successor.lost(), Vec::new(), Vec::new()),
            Err(error) => {
                warn!(target: "proxy::upgrade", %error, "the predecessor spoke nonsense");
                (self.successor.lost(), Vec::new(), Vec::new())
            }
        };
        match next {
            Next::Adopt(side) => {
                for descriptor in descriptors.into_iter().take(1) {
                    self.taken += 1;
                    let handed = Handed {
                        side,
                        stream: TcpStream::from(descriptor),
                        unread: raw.clone(),
                    };
                    if data.order(Order::Adopt(handed)).is_err() {
                        return false;
                    }
                }
                true
            }
            Next::Finished {
                handed: Some(handed),
            } => {
                info!(
                    target: "proxy::upgrade",
                    handed,
                    taken = self.taken,
                    "the predecessor has ended, and the upgrade with it"
                );
                false
            }
            _ => {
                warn!(
                    target: "proxy::upgrade",
                    taken = self.taken,
                    "the predecessor ended without a word; what it had in flight is lost"
                );
                false
            }
        }
    }
}
