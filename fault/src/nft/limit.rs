//! Whether the kernel counts connections as it says.
//!
//! Kernels have differed: with `ct state new ct count over 2` one admitted a single connection of
//! four. What is asked of it here is another rule (the first packet, whatever connection tracking
//! says of it), and each kernel is tried before it is believed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use meshproof_sys::links::Links;
use meshproof_sys::namespaces::{Namespace, unshare};
use meshproof_sys::netlink::{self, Subsystem};

use super::recipe::{Aim, Listener, Only, aimed};
use super::rule::{Action, Transport};
use super::table::Owned;

/// Connections that are to be let through in the trial, and how many are tried beyond.
const BEYOND: u32 = 2;
const MORE: u32 = 2;

/// Tries it in a network of its own, on a thread that ends with it. What is wrong is a sentence:
/// that it may not be tried, or that the kernel counts differently.
pub fn self_test() -> Result<(), String> {
    let tried = std::thread::spawn(|| admitted(BEYOND, BEYOND + MORE)).join();
    match tried {
        Ok(Ok(BEYOND)) => Ok(()),
        Ok(Ok(admitted)) => Err(format!(
            "the kernel let {admitted} connections through of {} with a limit of {BEYOND}",
            BEYOND + MORE
        )),
        Ok(Err(error)) => Err(format!("the limit could not be tried: {error}")),
        Err(_) => Err("the limit could not be tried".to_owned()),
    }
}

/// How many of `tried` connections are let through with a limit of `beyond`.
fn admitted(beyond: u32, tried: u32) -> io::Result<u32> {
    unshare(&[Namespace::Network])?;
    let links = Links::open()?;
    links.up(links.find("lo")?)?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let to = listener.local_addr()?;
    let aim = Aim {
        transport: Transport::Tcp,
        listener: Listener::Here,
        sender: None,
        port: Some(to.port()),
        source_port: None,
        peer: None,
        version: None,
        owner: None,
    };
    let only = Only::Beyond(beyond);
    let table =
        aimed("meshproof_trial", "", &aim, &only, Action::Reset).map_err(io::Error::other)?;
    let _owned =
        Owned::make(netlink::open(Subsystem::Netfilter)?, table).map_err(io::Error::other)?;
    let mut open = Vec::new();
    for _ in 0..tried {
        match TcpStream::connect(to) {
            Ok(connection) => open.push(connection),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
    Ok(open.len() as u32)
}
