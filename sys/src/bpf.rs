//! Programs and maps of the machine that the kernel has inside (eBPF), by bpf(2).
//!
//! Everything here is a descriptor, closed on exec: what nobody holds any more is gone. A program
//! that hangs at a map of sockets is held by the map, the map by its descriptor, and a socket in
//! it is an ordinary one again when the map goes.

#![expect(
    unsafe_code,
    reason = "bpf(2) takes addresses as numbers, and no crate here wraps it"
)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// Longest name of a map or program, in bytes: letters, digits, `_` and `.`.
pub const NAME_BYTES_MAX: usize = 15;

/// What the verifier says at most of a program that it refuses, in bytes.
const LOG_BYTES: usize = 1 << 16;

/// One instruction, as the kernel reads it.
pub type Instruction = [u8; 8];

/// Commands of bpf(2).
mod command {
    pub(super) const MAP_CREATE: i64 = 0;
    pub(super) const MAP_LOOKUP: i64 = 1;
    pub(super) const MAP_UPDATE: i64 = 2;
    pub(super) const MAP_DELETE: i64 = 3;
    pub(super) const PROG_LOAD: i64 = 5;
    pub(super) const PROG_ATTACH: i64 = 8;
    pub(super) const PROG_NEXT_ID: i64 = 11;
    pub(super) const PROG_BY_ID: i64 = 13;
    pub(super) const INFO: i64 = 15;
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Values by keys of any kind.
    Hash,
    /// Values by numbers from 0 on; they are there from the beginning, all zeros.
    Array,
    /// Sockets by numbers from 0 on. A value is a descriptor, of 4 bytes.
    Sockets,
    /// Sockets by keys. A value is a descriptor, of 4 bytes.
    SocketHash,
}

impl MapKind {
    fn number(self) -> u32 {
        match self {
            MapKind::Hash => 1,
            MapKind::Array => 2,
            MapKind::Sockets => 15,
            MapKind::SocketHash => 18,
        }
    }
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// It judges what is sent on the sockets of a map (`BPF_PROG_TYPE_SK_MSG`).
    SocketMessage,
}

impl ProgramKind {
    fn number(self) -> u32 {
        match self {
            ProgramKind::SocketMessage => 16,
        }
    }

    /// Where it hangs at a map.
    fn place(self) -> u32 {
        match self {
            // BPF_SK_MSG_VERDICT
            ProgramKind::SocketMessage => 7,
        }
    }
}

/// `union bpf_attr`, with addresses of memory that is borrowed for `'a`.
struct Attributes<'a> {
    bytes: [u8; 128],
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a> Attributes<'a> {
    fn new() -> Attributes<'a> {
        Attributes {
            bytes: [0; 128],
            borrowed: PhantomData,
        }
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Attributes<'a> {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
        self
    }

    fn number(self, at: usize, number: u32) -> Attributes<'a> {
        self.put(at, &number.to_ne_bytes())
    }

    fn descriptor(self, at: usize, fd: BorrowedFd<'_>) -> Attributes<'a> {
        self.put(at, &fd.as_raw_fd().to_ne_bytes())
    }

    /// Memory that the kernel reads.
    fn given(self, at: usize, memory: &'a [u8]) -> Attributes<'a> {
        self.put(at, &(memory.as_ptr() as u64).to_ne_bytes())
    }

    /// Memory that the kernel writes.
    fn room(self, at: usize, memory: &'a mut [u8]) -> Attributes<'a> {
        self.put(at, &(memory.as_mut_ptr() as u64).to_ne_bytes())
    }

    fn name(self, at: usize, name: &str) -> Attributes<'a> {
        let bytes = name.as_bytes();
        let cut = bytes.get(..NAME_BYTES_MAX).unwrap_or(bytes);
        self.put(at, cut)
    }

    /// Calls the kernel, which may write into the attributes, too.
    fn call(&mut self, command: i64) -> io::Result<RawFd> {
        // SAFETY: the attributes are ours for the call, and as long as it is told. Every address
        // in them was put by `given` or `room` from memory that is borrowed for as long as they
        // live, and each caller below says its length beside it, or has checked it against the
        // size that the map was made with.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                self.bytes.as_mut_ptr(),
                self.bytes.len(),
            )
        };
        match RawFd::try_from(done) {
            Ok(done) if done >= 0 => Ok(done),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A call whose answer is a descriptor.
    fn open(&mut self, command: i64) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just made it for us, closed on exec, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn wrong_size(what: &str, found: usize, expected: usize) -> io::Error {
    let why = format!("a {what} of {found} bytes: the map was made for {expected}");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// A map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

impl Map {
    /// Makes one. EPERM: this user may not (CAP_BPF, of maps of sockets CAP_NET_ADMIN as well, in
    /// the machine's own user namespace).
    pub fn new(
        kind: MapKind,
        name: &str,
        key_bytes: u32,
        value_bytes: u32,
        entries: u32,
    ) -> io::Result<Map> {
        let fd = Attributes::new()
            .number(0, kind.number())
            .number(4, key_bytes)
            .number(8, value_bytes)
            .number(12, entries)
            .name(28, name)
            .open(command::MAP_CREATE)?;
        Ok(Map {
            fd,
            key_bytes: key_bytes as usize,
            value_bytes: value_bytes as usize,
        })
    }

    fn element<'a>(&self, key: &'a [u8]) -> io::Result<Attributes<'a>> {
        if key.len() != self.key_bytes {
            return Err(wrong_size("key", key.len(), self.key_bytes));
        }
        Ok(Attributes::new().descriptor(0, self.as_fd()).given(8, key))
    }

    /// Puts a value at a key. Of a map of sockets: EBUSY, another program judges this one already;
    /// EOPNOTSUPP, it is no connection that stands.
    pub fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if value.len() != self.value_bytes {
            return Err(wrong_size("value", value.len(), self.value_bytes));
        }
        let mut attributes = self.element(key)?.given(16, value);
        attributes.call(command::MAP_UPDATE).map(drop)
    }

    /// Puts a socket into a map of sockets.
    pub fn put_socket(&self, key: &[u8], socket: BorrowedFd<'_>) -> io::Result<()> {
        self.put(key, &socket.as_raw_fd().to_ne_bytes())
    }

    /// The value at a key; none: there is none.
    pub fn value(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_bytes];
        let mut attributes = self.element(key)?.room(16, &mut value);
        match attributes.call(command::MAP_LOOKUP) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a key out; whether it was there. A socket that was in it is an ordinary one again.
    pub fn remove(&self, key: &[u8]) -> io::Result<bool> {
        match self.element(key)?.call(command::MAP_DELETE) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            // A socket that has ended left the map by itself.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has a program judge the sockets of this map, those that are in it and those to come.
    pub fn attach(&self, program: &Program) -> io::Result<()> {
        Attributes::new()
            .descriptor(0, self.as_fd())
            .descriptor(4, program.fd.as_fd())
            .number(8, program.kind.place())
            .call(command::PROG_ATTACH)
            .map(drop)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Why a program was not taken.
#[derive(Debug)]
pub struct NotLoaded {
    /// What the kernel returned. EPERM: this user may not; EACCES and EINVAL: the verifier refused
    /// it, or the kernel is too old for it.
    pub error: io::Error,
    /// What the verifier said last; empty where it was not asked.
    pub said: String,
}

/// A program that the kernel has taken.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    kind: ProgramKind,
    id: u32,
}

impl Program {
    /// Loads one. It uses nothing that the kernel keeps for programs under the GPL.
    pub fn load(
        kind: ProgramKind,
        name: &str,
        instructions: &[Instruction],
    ) -> Result<Program, NotLoaded> {
        const LICENSE: &[u8] = b"Apache-2.0\0";
        let code = instructions.concat();
        let count = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
        let attributes = || {
            Attributes::new()
                .number(0, kind.number())
                .number(4, count)
                .given(8, &code)
                .given(16, LICENSE)
                .name(48, name)
        };
        let silent = |error| NotLoaded {
            error,
            said: String::new(),
        };
        match attributes().open(command::PROG_LOAD) {
            Ok(fd) => {
                let id = info(fd.as_fd()).map_err(silent)?.id;
                Ok(Program { fd, kind, id })
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(silent(error)),
            Err(error) => {
                // Once more, for the words.
                let mut log = vec![0; LOG_BYTES];
                let _ = attributes()
                    .number(24, 1)
                    .number(28, LOG_BYTES as u32)
                    .room(32, &mut log)
                    .open(command::PROG_LOAD);
                let end = log.iter().position(|byte| *byte == 0);
                log.truncate(end.unwrap_or(LOG_BYTES));
                let said = String::from_utf8_lossy(&log).into_owned();
                Err(NotLoaded { error, said })
            }
        }
    }

    /// The number by which the kernel knows it.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// A program of anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The number by which the kernel knows it.
    pub id: u32,
    /// Its name.
    pub name: String,
}

fn info(program: BorrowedFd<'_>) -> io::Result<Seen> {
    // `struct bpf_prog_info` up to its name; the kernel writes no more than it is told.
    const BYTES: usize = 80;
    let mut room = [0; BYTES];
    Attributes::new()
        .descriptor(0, program)
        .number(4, BYTES as u32)
        .room(8, &mut room)
        .call(command::INFO)?;
    let [_, _, _, _, a, b, c, d, rest @ ..] = room;
    let name: Vec<u8> = rest
        .into_iter()
        .skip(56)
        .take_while(|it| *it != 0)
        .collect();
    Ok(Seen {
        id: u32::from_ne_bytes([a, b, c, d]),
        name: String::from_utf8_lossy(&name).into_owned(),
    })
}

/// Every program that the kernel has, whosever it is. EPERM: this user may not look
/// (CAP_SYS_ADMIN).
pub fn programs() -> io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut last = 0;
    loop {
        let mut next = Attributes::new().number(0, last);
        match next.call(command::PROG_NEXT_ID) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(seen),
            Err(error) => return Err(error),
        }
        let [_, _, _, _, a, b, c, d, ..] = next.bytes;
        last = u32::from_ne_bytes([a, b, c, d]);
        match Attributes::new().number(0, last).open(command::PROG_BY_ID) {
            Ok(program) => seen.push(info(program.as_fd())?),
            // It went meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_there_until_it_is_taken_out() {
        let map = match Map::new(MapKind::Hash, "meshproof_test", 4, 8, 2) {
            Ok(map) => map,
            Err(error) => return println!("SKIPPED: needs to make maps: {error}"),
        };
        let (key, value) = ([1, 2, 3, 4], 7_u64.to_ne_bytes());
        assert_eq!(map.value(&key).unwrap(), None);
        map.put(&key, &value).unwrap();
        assert_eq!(map.value(&key).unwrap(), Some(value.to_vec()));
        assert!(map.remove(&key).unwrap());
        assert!(!map.remove(&key).unwrap());
        // Memory that is too short is never shown to the kernel.
        assert!(map.put(&key, &[0; 4]).is_err());
        assert!(map.value(&[0; 3]).is_err());
    }

    #[test]
    fn a_program_is_there_as_long_as_it_is_held() {
        // r0 = 1; exit
        let code = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let program = match Program::load(ProgramKind::SocketMessage, "meshproof_one", &code) {
            Ok(program) => program,
            Err(not) if not.error.raw_os_error() == Some(libc::EPERM) => {
                return println!("SKIPPED: needs to load programs");
            }
            Err(not) => panic!("{not:?}"),
        };
        let seen = Seen {
            id: program.id(),
            name: "meshproof_one".to_owned(),
        };
        assert!(programs().unwrap().contains(&seen));
        // What the verifier does not like is told: nothing is in r0.
        let not = Program::load(ProgramKind::SocketMessage, "meshproof_two", &code[1..]);
        let not = not.unwrap_err();
        assert!(not.said.contains("R0"), "{not:?}");
    }
}
