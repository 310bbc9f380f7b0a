//! How a sidecar begins: afresh, or where its predecessor was.

use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::run::{Addresses, StartError};
use super::upgrade::{self, Asked, Began, RunDirectory, Taking, Upgrade};
use crate::config::Speaks;
use crate::health::Saved;
use crate::upgrade::State;
use crate::{Config, discovery};

/// What the control thread leaves to its successor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Control {
    pub(super) health: Saved,
    /// What heartbeats to the app speak.
    pub(super) speaks: Option<Speaks>,
    /// Where 12200 is, also while it is closed.
    pub(super) inbound: Option<SocketAddr>,
    /// 12200 listens.
    pub(super) listening: bool,
}

/// A sidecar that could begin.
pub(super) struct Begin {
    pub(super) addresses: Addresses,
    how: How,
}

enum How {
    Fresh {
        run: RunDirectory,
        inbound: TcpListener,
        outbound: TcpListener,
        api: TcpListener,
        admin: TcpListener,
    },
    Asked {
        asked: Box<Asked>,
        offered: (discovery::State, Control),
    },
}

/// A sidecar that has begun.
pub(super) struct Begun {
    /// `None` while the app is lost.
    pub(super) inbound: Option<TcpListener>,
    pub(super) outbound: TcpListener,
    pub(super) api: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) run: RunDirectory,
    pub(super) taking: Option<Taking>,
    /// Of the predecessor.
    pub(super) directory: Option<discovery::State>,
    /// Of the predecessor.
    pub(super) control: Option<Control>,
}

impl Begin {
    /// Takes the run directory and binds everything, or asks the sidecar that runs.
    pub(super) fn of(config: &Config, upgrade: Upgrade) -> Result<Begin, StartError> {
        match upgrade::begin(config, upgrade)? {
            Began::Fresh(run) => {
                let inbound = bind("inbound.listen", config.inbound.listen)?;
                let outbound = bind("outbound.listen", config.outbound.listen)?;
                let api = bind("api", config.api)?;
                let admin = bind("admin", config.admin)?;
                Ok(Begin {
                    addresses: Addresses {
                        inbound: inbound.local_addr()?,
                        outbound: outbound.local_addr()?,
                        api: api.local_addr()?,
                        admin: admin.local_addr()?,
                    },
                    how: How::Fresh {
                        run,
                        inbound,
                        outbound,
                        api,
                        admin,
                    },
                })
            }
            Began::Asked(asked) => {
                let offered = understand(&asked.state)?;
                let listeners = &asked.listeners;
                let inbound = match &listeners.inbound {
                    Some(listener) => listener.local_addr()?,
                    None => offered.1.inbound.unwrap_or(config.inbound.listen),
                };
                Ok(Begin {
                    addresses: Addresses {
                        inbound,
                        outbound: listeners.outbound.local_addr()?,
                        api: listeners.api.local_addr()?,
                        admin: listeners.admin.local_addr()?,
                    },
                    how: How::Asked { asked, offered },
                })
            }
        }
    }

    /// Everything is ready to serve. On an error a predecessor serves on.
    pub(super) fn take(self) -> Result<Begun, StartError> {
        let (asked, offered) = match self.how {
            How::Fresh {
                run,
                inbound,
                outbound,
                api,
                admin,
            } => {
                return Ok(Begun {
                    inbound: Some(inbound),
                    outbound,
                    api,
                    admin,
                    run,
                    taking: None,
                    directory: None,
                    control: None,
                });
            }
            How::Asked { asked, offered } => (asked, offered),
        };
        let taken = asked.take()?;
        let (directory, mut control) = understand(&taken.state).unwrap_or_else(|error| {
            // What it said a moment ago could be read, and nobody else serves any more.
            warn!(target: "proxy::upgrade", %error, "going on with an older state");
            offered
        });
        // The listener is in our hands, or it is not: what the state says of it may be older.
        let inbound = taken.listeners.inbound.filter(|_| control.listening);
        control.listening = inbound.is_some();
        Ok(Begun {
            inbound,
            outbound: taken.listeners.outbound,
            api: taken.listeners.api,
            admin: taken.listeners.admin,
            run: taken.run,
            taking: Some(taken.taking),
            directory: Some(directory),
            control: Some(control),
        })
    }
}

fn understand(state: &State) -> Result<(discovery::State, Control), std::io::Error> {
    let directory: discovery::State = Deserialize::deserialize(&state.directory)?;
    let mut control: Control = Deserialize::deserialize(&state.control)?;
    // The directory's word counts: it still answered the app when the control thread had already
    // said its last.
    let publications = directory.publications.iter();
    control.health.services = publications
        .map(|publication| publication.provider.service.clone())
        .collect();
    Ok((directory, control))
}

fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    meshproof_sys::socket::listen(address).map_err(|error| StartError::Listen {
        what,
        address,
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_last_is_watched_by_the_successor() {
        let directory = serde_json::json!({"publications": [{"provider": {
            "service": "com.example.A:1.0", "address": "10.0.0.9:12200", "protocols": ["bolt"],
        }}]});
        for services in [&[][..], &["com.example.Gone:1.0"]] {
            let state = State {
                directory: directory.clone(),
                control: serde_json::json!({"health": {"services": services}}),
            };
            let (_, control) = understand(&state).unwrap();
            let services: Vec<&str> = control.health.services.iter().map(String::as_str).collect();
            assert_eq!(services, ["com.example.A:1.0"]);
        }
    }
}
