//! The app behind the sidecar: answers every request with its own content.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};

use super::good::answer;

/// Serves until it is dropped.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start() -> Echo {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // Each ends with its connection, which the sidecar closes.
                std::thread::spawn(move || serve(stream.expect("a connection")));
            }
        });
        Echo {
            address,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener; where that fails it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream) {
    let mut decoder = Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL);
    let mut buffer = vec![0; 64 << 10];
    let mut out = Vec::new();
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            return;
        }
        out.clear();
        decoder.feed((), &buffer[..n], &mut |it| {
            let said = it.frame.as_ref().and_then(answer);
            out.extend_from_slice(said.as_deref().unwrap_or_default());
        });
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}
