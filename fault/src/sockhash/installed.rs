//! A program and its maps, in the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use meshproof_sys::bpf::{Map, MapKind, NotLoaded, Program, ProgramKind};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use super::assembler::assemble;
use super::program::{Maps, Wanted, connection, counter, steps};

/// What the program is called, before the front of the lease's name.
pub(super) const NAME: &str = "mp_";

/// What lost frames are read into.
const SINK_BYTES: usize = 1 << 16;

/// Why it cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotInstalled {
    /// The kernel refused.
    #[error("{what}: {source}")]
    Kernel {
        /// What.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The verifier refused.
    #[error("the program: {error}; {said}")]
    Program {
        /// What it returned.
        error: io::Error,
        /// The last thing that it said.
        said: String,
    },
}

impl NotInstalled {
    /// Whether it is the user who may not, and not the kernel that cannot: the verifier, which
    /// refuses with the same numbers, has something to say.
    pub(super) fn is_rights(&self) -> bool {
        match self {
            NotInstalled::Kernel { .. } => true,
            NotInstalled::Program { said, .. } => said.is_empty(),
        }
    }

    /// What the kernel returned.
    pub(super) fn error(&self) -> &io::Error {
        match self {
            NotInstalled::Kernel { source, .. } => source,
            NotInstalled::Program { error, .. } => error,
        }
    }
}

fn kernel(what: &'static str) -> impl Fn(io::Error) -> NotInstalled {
    move |source| NotInstalled::Kernel { what, source }
}

/// The ports of a connection, as the program finds it by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// At the end that sends.
    pub(super) here: u16,
    /// At the other.
    pub(super) there: u16,
}

impl Ports {
    fn key(self) -> Vec<u8> {
        let here = u32::from(self.here).to_ne_bytes();
        // A word in the order of the network.
        let there = u32::from(self.there).to_be_bytes();
        [here, there].concat()
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Frames that were read.
    pub(super) read: u64,
    /// Of these, those of the wanted sorts and protocols.
    pub(super) wanted: u64,
    /// Of these, those that were lost.
    pub(super) dropped: u64,
    /// Of these, those that should have been, and were sent in pieces.
    pub(super) pieces: u64,
    /// Connections on which nobody knows where frames begin.
    pub(super) astray: u64,
}

/// A program, its maps, and the socket to which lost frames go. Dropping it gives the sockets back.
#[derive(Debug)]
pub(super) struct Installed {
    program: Program,
    connections: Map,
    counters: Map,
    sockets: Map,
    _sink: Map,
    /// What is put into the sink can be read at the first; the second keeps it open.
    lost: (OwnedFd, OwnedFd),
    /// Sockets that are in the map.
    taken: u32,
}

impl Installed {
    /// Everything but the sockets, which nothing is done to yet.
    pub(super) fn new(
        name: &str,
        wanted: &Wanted,
        sockets: u32,
    ) -> Result<Installed, NotInstalled> {
        let entries = sockets.max(1);
        let map = |kind, key, value, entries| {
            Map::new(kind, name, key, value, entries).map_err(kernel("a map"))
        };
        let connections = map(
            MapKind::Hash,
            connection::KEY_BYTES,
            connection::BYTES,
            entries,
        )?;
        let counters = map(MapKind::Array, 4, counter::BYTES, 1)?;
        let sink = map(MapKind::Sockets, 4, 4, 1)?;
        let sockets = map(MapKind::SocketHash, 4, 4, entries)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let lost = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| kernel("a pair of sockets")(error.into()))?;
        sink.put_socket(&0_u32.to_ne_bytes(), lost.0.as_fd())
            .map_err(kernel("a socket for lost frames"))?;
        let maps = Maps {
            connections: connections.as_fd().as_raw_fd(),
            counters: counters.as_fd().as_raw_fd(),
            sink: sink.as_fd().as_raw_fd(),
        };
        let code = assemble(&steps(wanted, &maps)).map_err(|wrong| NotInstalled::Program {
            error: io::ErrorKind::InvalidData.into(),
            said: wrong.to_string(),
        })?;
        let program = Program::load(ProgramKind::SocketMessage, name, &code).map_err(
            |NotLoaded { error, said }| {
                let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
                let last = lines.len().saturating_sub(3);
                let said = lines.get(last..).unwrap_or_default().join(" / ");
                NotInstalled::Program { error, said }
            },
        )?;
        sockets
            .attach(&program)
            .map_err(kernel("the program at a map of sockets"))?;
        Ok(Installed {
            program,
            connections,
            counters,
            sockets,
            _sink: sink,
            lost,
            taken: 0,
        })
    }

    /// The number by which the kernel knows the program.
    pub(super) fn id(&self) -> u32 {
        self.program.id()
    }

    /// From now on what this socket sends is judged. EBUSY: another such program does already.
    pub(super) fn take(
        &mut self,
        ports: Ports,
        share: u64,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut value = share.to_ne_bytes().to_vec();
        value.resize(connection::BYTES as usize, 0);
        self.connections.put(&ports.key(), &value)?;
        self.sockets.put_socket(&self.taken.to_ne_bytes(), socket)?;
        self.taken += 1;
        Ok(())
    }

    /// What was counted until now.
    pub(super) fn counted(&self) -> io::Result<Counted> {
        let value = self
            .counters
            .value(&0_u32.to_ne_bytes())?
            .unwrap_or_default();
        let at = |offset: i16| {
            let bytes = usize::try_from(offset).ok().and_then(|at| value.get(at..));
            bytes
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        Ok(Counted {
            read: at(counter::READ),
            wanted: at(counter::WANTED),
            dropped: at(counter::DROPPED),
            pieces: at(counter::PIECES),
            astray: at(counter::ASTRAY),
        })
    }

    /// Throws away what was lost; how many bytes. The kernel keeps them until then.
    pub(super) fn drain(&self) -> u64 {
        let mut bytes = 0;
        let mut room = vec![0; SINK_BYTES];
        while let Ok((read @ 1.., _)) = recv(&self.lost.0, room.as_mut_slice(), RecvFlags::DONTWAIT)
        {
            bytes += read as u64;
        }
        bytes
    }

    /// Gives the sockets back.
    pub(super) fn release(&mut self) -> io::Result<()> {
        while let Some(last) = self.taken.checked_sub(1) {
            self.sockets.remove(&last.to_ne_bytes())?;
            self.taken = last;
        }
        Ok(())
    }
}
