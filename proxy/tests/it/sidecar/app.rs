//! An app that answers heartbeats, unless it is muted, and counts them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use meshproof_wire::Kind;
use meshproof_wire::bolt::{self, Step, Version};

/// It ends when it is dropped.
pub(crate) struct App {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    muted: AtomicBool,
    ended: AtomicBool,
    heartbeats: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl App {
    pub(crate) fn start() -> App {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared
                    .open
                    .lock()
                    .unwrap()
                    .push(stream.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        App { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether heartbeats go unanswered.
    pub(crate) fn mute(&self, muted: bool) {
        self.state.muted.store(muted, Ordering::SeqCst);
    }

    /// Heartbeats that have come.
    pub(crate) fn heartbeats(&self) -> u64 {
        self.state.heartbeats.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, state: &State) {
    let mut held = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        held.extend_from_slice(&buffer[..read]);
        while let Step::Head(head) = bolt::Head::parse(&held) {
            let len = head.frame_len() as usize;
            if held.len() < len {
                break;
            }
            held.drain(..len);
            if head.kind() != Kind::Heartbeat {
                continue;
            }
            state.heartbeats.fetch_add(1, Ordering::SeqCst);
            if !state.muted.load(Ordering::SeqCst) {
                let ack = bolt::heartbeat_ack(Version::V1, head.id);
                let _ = stream.write_all(&ack);
            }
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.address);
    }
}
