//! A relay that holds back what the other side answers, until it is told to let go.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// It ends when it is dropped.
pub(crate) struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    held: bool,
    ended: bool,
    open: Vec<TcpStream>,
}

impl Gate {
    pub(crate) fn before(server: SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else {
                    continue;
                };
                let mut inner = shared.inner.lock().unwrap();
                if inner.ended {
                    return;
                }
                let copy = |stream: &TcpStream| stream.try_clone().unwrap();
                inner.open.extend([copy(&client), copy(&server)]);
                drop(inner);
                let (up, down) = ((copy(&client), copy(&server)), (server, client));
                thread::spawn(move || relay(up.0, up.1, None));
                let shared = Arc::clone(&shared);
                thread::spawn(move || relay(down.0, down.1, Some(&shared)));
            }
        });
        Gate { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers wait from now on.
    pub(crate) fn hold(&self) {
        self.state.inner.lock().unwrap().held = true;
    }

    /// They are let go.
    pub(crate) fn release(&self) {
        self.state.inner.lock().unwrap().held = false;
        self.state.changed.notify_all();
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, gate: Option<&State>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(gate) = gate {
            let inner = gate.inner.lock().unwrap();
            let wait = gate
                .changed
                .wait_while(inner, |inner| inner.held && !inner.ended);
            drop(wait);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut inner = self.state.inner.lock().unwrap();
        inner.ended = true;
        for stream in inner.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(inner);
        self.state.changed.notify_all();
        // The one that accepts looks at `ended` when somebody comes.
        let _ = TcpStream::connect(self.address);
    }
}
