//! The app behind the sidecar: answers every request with its own content, and damages its answer
//! where the content says so. Like any server it closes a connection on which there is no frame.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use meshproof_wire::{Frame, Kind, Protocol};

use super::cut::Cutter;
use super::talk::echo;
use crate::Error;

/// What it has seen.
#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    /// Numbers of cases whose requests came, in whatever shape.
    came: Mutex<BTreeSet<u64>>,
    /// Frames whose content is none that was sent.
    garbled: AtomicU64,
    /// What each connection speaks, and its socket.
    connections: Mutex<Vec<(Option<Protocol>, TcpStream)>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is whole at any time.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An app that serves until it is dropped.
pub(crate) struct App {
    shared: Arc<Shared>,
    at: std::net::SocketAddr,
    dial: crate::environment::Dialer,
    accepting: Option<JoinHandle<()>>,
}

/// What a request says to the app: `case 7 flip 3 255`, `case 7`, `good 3`.
struct Says {
    case: Option<u64>,
    flip: Option<(usize, u8)>,
}

fn says(content: &[u8]) -> Option<Says> {
    let text = std::str::from_utf8(content).ok()?;
    let mut words = text.split(' ');
    let case = match words.next()? {
        "case" => Some(words.next()?.parse().ok()?),
        "good" => None,
        _ => return None,
    };
    let flip = match words.next() {
        Some("flip") => Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?)),
        _ => None,
    };
    Some(Says { case, flip })
}

impl App {
    /// `dial` is what wakes it when it is over.
    pub(crate) fn start(
        listener: TcpListener,
        dial: crate::environment::Dialer,
    ) -> Result<App, Error> {
        let at = listener
            .local_addr()
            .map_err(Error::io("the address of an app"))?;
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let accepting = std::thread::Builder::new()
            .name("app".into())
            .spawn(move || {
                let mut serving = Vec::new();
                for stream in listener.incoming() {
                    if theirs.over.load(Ordering::Relaxed) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let shared = Arc::clone(&theirs);
                    let serve = move || serve(stream, &shared);
                    let thread = std::thread::Builder::new().name("app".into());
                    serving.extend(thread.spawn(serve).ok());
                    serving.retain(|thread: &JoinHandle<()>| !thread.is_finished());
                }
                theirs.close(|_| true);
                for thread in serving {
                    let _ = thread.join();
                }
            })
            .map_err(Error::io("a thread for an app"))?;
        Ok(App {
            shared,
            at,
            dial,
            accepting: Some(accepting),
        })
    }

    pub(crate) fn at(&self) -> std::net::SocketAddr {
        self.at
    }

    /// Whether the request of a case came.
    pub(crate) fn got(&self, case: u64) -> bool {
        lock(&self.shared.came).contains(&case)
    }

    /// Frames that came in no shape in which they were sent.
    pub(crate) fn garbled(&self) -> u64 {
        self.shared.garbled.load(Ordering::Relaxed)
    }

    /// What came is forgotten.
    pub(crate) fn forget(&self) {
        lock(&self.shared.came).clear();
    }

    /// Closes the connections of a protocol.
    pub(crate) fn close(&self, protocol: Protocol) {
        self.shared.close(|spoken| spoken == Some(protocol));
    }
}

impl Shared {
    fn close(&self, which: impl Fn(Option<Protocol>) -> bool) {
        lock(&self.connections).retain(|(protocol, stream)| {
            let goes = which(*protocol);
            if goes {
                let _ = stream.shutdown(Shutdown::Both);
            }
            !goes
        });
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes who accepts; where that fails it has ended already.
        let _ = (self.dial)(self.at, std::time::Duration::from_secs(5));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let Ok(other) = stream.try_clone() else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let number = other.peer_addr().ok();
    lock(&shared.connections).push((None, other));
    let mut cutter = Cutter::default();
    let mut buffer = vec![0; 64 << 10];
    let mut out = Vec::new();
    let mut known = false;
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        out.clear();
        let bytes = buffer.get(..read).unwrap_or_default();
        let mut protocol = None;
        let cut = cutter.feed(bytes, &mut |frame| {
            protocol.get_or_insert(frame.head.protocol);
            answer(&frame, shared, &mut out);
        });
        if !known && protocol.is_some() {
            known = true;
            for (spoken, stream) in lock(&shared.connections).iter_mut() {
                if stream.peer_addr().ok() == number {
                    *spoken = protocol;
                }
            }
        }
        if !out.is_empty() && stream.write_all(&out).is_err() {
            break;
        }
        if cut.is_err() {
            shared.garbled.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    lock(&shared.connections).retain(|(_, stream)| {
        let peer = stream.peer_addr().ok();
        peer.is_some() && peer != number
    });
}

fn answer(frame: &Frame, shared: &Shared, out: &mut Vec<u8>) {
    let said = match frame.head.kind {
        Kind::Heartbeat => None,
        _ => match says(frame.content()) {
            None => {
                shared.garbled.fetch_add(1, Ordering::Relaxed);
                None
            }
            some => some,
        },
    };
    if let Some(case) = said.as_ref().and_then(|said| said.case) {
        lock(&shared.came).insert(case);
    }
    let Some(answer) = echo(frame) else { return };
    let from = out.len();
    out.extend_from_slice(&answer);
    if let Some((byte, mask)) = said.and_then(|said| said.flip)
        && let Some(byte) = out.get_mut(from + byte)
    {
        *byte ^= mask;
    }
}
