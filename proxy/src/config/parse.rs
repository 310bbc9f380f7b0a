//! Text becomes a configuration.

use std::net::{IpAddr, SocketAddr};

use meshproof_input::{Addr, Problem, Socket};
use serde::{Deserialize, Deserializer};

use super::Config;
use super::check::check;
use super::places::Places;

/// Title of the schema.
const TITLE: &str = "meshproof proxy configuration";

impl Config {
    /// Reads a configuration; `name` is the file's name for showing.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to type: YAML that is none, keys and values that
    /// are not known, and values that contradict each other.
    pub fn parse(name: &str, text: &str) -> Result<Config, Problem> {
        let config = meshproof_input::parse(name, text)?;
        check(&config, &Places::of(name, text))?;
        Ok(config)
    }
}

/// The JSON schema of the file.
pub fn schema() -> String {
    meshproof_input::schema::<Config>(TITLE)
}

pub(super) fn ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    Addr::deserialize(deserializer).map(|addr| addr.0)
}

pub(super) fn socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    Socket::deserialize(deserializer).map(|socket| socket.0)
}

pub(super) fn socket_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let socket = Option::<Socket>::deserialize(deserializer)?;
    Ok(socket.map(|socket| socket.0))
}
