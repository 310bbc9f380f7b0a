//! Pods as loopback addresses of one machine, for where namespaces are forbidden.
//!
//! Needs no privilege. A pod is an address of a range 127.A.B.0/24 that this environment has to
//! itself, with the ports of production; several environments stand side by side, each with a
//! range of its own. What a namespace would give is not there: a program that listens on 0.0.0.0
//! takes its port from all pods, one that does not bind its source calls from 127.0.0.1, names of
//! pods do not resolve, and packets that leave are not seen.
//!
//! **What ends with it.** Programs are children of a keeper, which is a child of a guard; both
//! adopt what their descendants leave behind. Whichever one of holder, guard and keeper is killed,
//! with SIGKILL too, those that are left kill every descendant, double-forked ones in sessions of
//! their own included, remove the folder, and end. Best effort, where guard *and* keeper are
//! killed at once: the kernel still ends the programs that were started, unless they run with
//! the rights of another user (set-user-id); what those started themselves stays, and the folder
//! goes when the next environment of the same user is made. Not ours are processes that another
//! service starts when asked, such as containers.

mod folder;
mod keeper;
mod range;
mod stages;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::environment::{Backend, Command, Dialer, Environment, Pod, Streams, Topology, find};
use crate::netns::{Netns, Options, sockets};
use crate::{Error, Process};

pub(crate) use stages::{GUARD, KEEPER, STARTER, stage, starter};

/// A running environment. Dropping it ends everything in it, and so does the end of this
/// process, whatever ends it.
#[derive(Debug)]
pub struct Loopback {
    /// Guard and keeper are spoken to as the stages of the other backend are.
    held: Netns,
}

impl Loopback {
    /// Makes it, of our own executable.
    pub fn up(topology: &Topology) -> Result<Loopback, Error> {
        Loopback::up_with(topology, &Options::default())
    }

    /// Makes it; returns when programs can be started. [`Error::Unsupported`] where not even
    /// loopback addresses are to be had.
    pub fn up_with(topology: &Topology, options: &Options) -> Result<Loopback, Error> {
        let held = Netns::up_from(topology, options, GUARD)?;
        Ok(Loopback { held })
    }

    /// What it has to do without, if anything.
    pub fn notes(&self) -> &[String] {
        self.held.notes()
    }

    /// The process id of the guard.
    pub fn guard_pid(&self) -> u32 {
        self.held.outer_pid()
    }
}

/// A socket for TCP whose connections come from `pod`.
fn stream(pod: &Pod) -> Result<OwnedFd, Error> {
    let socket = open(SocketType::STREAM)?;
    let from = SocketAddr::new(pod.address.into(), 0);
    rustix::net::bind(&socket, &from)
        .map_err(|error| Error::io(format!("binding to pod {}", pod.name))(error.into()))?;
    Ok(socket)
}

fn open(kind: SocketType) -> Result<OwnedFd, Error> {
    socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)
        .map_err(|error| Error::io("a socket")(error.into()))
}

fn dial(pod: &Pod, to: SocketAddr, limit: Duration) -> Result<TcpStream, Error> {
    sockets::connect(stream(pod)?, to, limit).map_err(Error::io(format!(
        "connecting from pod {} to {to}",
        pod.name
    )))
}

impl Environment for Loopback {
    fn pods(&self) -> &[Pod] {
        self.held.pods()
    }

    fn start(&self, pod: &str, command: Command) -> Result<Process, Error> {
        self.held.start(pod, command)
    }

    fn spawn(&self, pod: &str, command: Command, streams: Streams) -> Result<Process, Error> {
        self.held.spawn(pod, command, streams)
    }

    fn ended(&self, limit: Duration) -> bool {
        self.held.ended(limit)
    }

    fn backend(&self) -> Backend {
        Backend::Process
    }

    fn local(&self, pod: &str) -> Result<IpAddr, Error> {
        self.address(pod)
    }

    fn open(&self, pod: &str) -> Result<IpAddr, Error> {
        self.address(pod)
    }

    fn connect(&self, pod: &str, to: SocketAddr, limit: Duration) -> Result<TcpStream, Error> {
        dial(find(self.pods(), pod)?, to, limit)
    }

    fn dialer(&self, pod: &str) -> Result<Dialer, Error> {
        let pod = find(self.pods(), pod)?.clone();
        Ok(Box::new(move |to, limit| dial(&pod, to, limit)))
    }

    fn listen(&self, pod: &str, at: SocketAddr) -> Result<TcpListener, Error> {
        find(self.pods(), pod)?;
        sockets::listen(open(SocketType::STREAM)?, at)
            .map_err(Error::io(format!("listening in pod {pod} on {at}")))
    }

    fn datagrams(&self, pod: &str, at: SocketAddr) -> Result<UdpSocket, Error> {
        find(self.pods(), pod)?;
        let socket = open(SocketType::DGRAM)?;
        rustix::net::bind(socket.as_fd(), &at)
            .map_err(|error| Error::io(format!("binding in pod {pod} to {at}"))(error.into()))?;
        Ok(UdpSocket::from(socket))
    }

    fn place(&self, name: &str, contents: &str) -> Result<PathBuf, Error> {
        self.held.place(name, contents)
    }

    fn down(self: Box<Self>) -> Result<(), Error> {
        Box::new(self.held).down()
    }
}
