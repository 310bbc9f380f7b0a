//! The sockets of a stub: one thread, any number of connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use meshproof_wire::decoder::{Decoder, Detail, Limits, Start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::shelf::{Reply, Report, Shelf};

/// How long an answer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latency {
    /// No longer than it must.
    #[default]
    None,
    /// As long as the recorded one took.
    Recorded,
    /// Always this long.
    Fixed {
        /// Milliseconds.
        ms: u32,
    },
}

impl std::str::FromStr for Latency {
    type Err = crate::engine::pace::NotUnderstood;

    /// `none`, `recorded`, or milliseconds.
    fn from_str(text: &str) -> Result<Latency, Self::Err> {
        match text {
            "none" => Ok(Latency::None),
            "recorded" => Ok(Latency::Recorded),
            _ => text
                .strip_suffix("ms")
                .unwrap_or(text)
                .parse()
                .map(|ms| Latency::Fixed { ms })
                .map_err(|_| crate::engine::pace::NotUnderstood {
                    given: text.to_owned(),
                    what: "latency",
                    expected: "`none`, `recorded` or milliseconds such as `5`",
                }),
        }
    }
}

/// How a stub serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long answers take.
    pub latency: Latency,
    /// Connections at a time; more are turned away and counted.
    pub connections_max: usize,
    /// Delayed answers at a time, over all connections; further requests wait to be read.
    pub delayed_max: usize,
}

impl Options {
    /// 4,096 connections, 65,536 delayed answers.
    pub fn usual(latency: Latency) -> Options {
        Options {
            latency,
            connections_max: 4_096,
            delayed_max: 65_536,
        }
    }
}

/// A running stub. Dropping it stops it.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Listens on `listen` (port 0: one that is free) and answers from `shelf`, on a thread of its
    /// own. Fails when the address cannot be bound.
    pub fn bind(listen: SocketAddr, mut shelf: Shelf, options: Options) -> io::Result<Stub> {
        let listener = StdListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        shelf.host = address;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shelf = Arc::new(Mutex::new(shelf));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shelf);
        let thread = std::thread::Builder::new()
            .name("stub".into())
            .spawn(move || runtime.block_on(serve(listener, served, options, stopped)))?;
        Ok(Stub {
            address,
            shelf,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen so far.
    pub fn report(&self) -> Report {
        lock(&self.shelf).report.clone()
    }

    /// Closes every connection and tells what was seen.
    pub fn stop(mut self) -> Report {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        // Dropping the sender is the signal; an error of the thread is a panic that it told.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    listener: StdListener,
    shelf: Arc<Mutex<Shelf>>,
    options: Options,
    mut stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let delayed = Arc::new(Semaphore::new(options.delayed_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: those that close give some back.
            if connections.join_next().await.is_none() {
                break;
            }
            continue;
        };
        if connections.len() >= options.connections_max {
            lock(&shelf).report.turned_away += 1;
            continue;
        }
        lock(&shelf).report.connections += 1;
        let (shelf, delayed) = (Arc::clone(&shelf), Arc::clone(&delayed));
        connections.spawn(connection(stream, shelf, options.latency, delayed));
    }
    connections.shutdown().await;
}

/// Serves one connection until either side ends it.
async fn connection(
    stream: TcpStream,
    shelf: Arc<Mutex<Shelf>>,
    latency: Latency,
    delayed: Arc<Semaphore>,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(AsyncMutex::new(writer));
    let mut decoder = Decoder::new(Start::Beginning, Detail::Frames, Limits::USUAL);
    let mut buffer = BytesMut::with_capacity(64 << 10);
    // Delayed answers end with their connection.
    let mut answers = JoinSet::new();
    loop {
        buffer.clear();
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let mut frames = Vec::new();
        decoder.feed((), &buffer, &mut |decoded| frames.extend(decoded.frame));
        let mut at_once = BytesMut::new();
        for frame in &frames {
            let reply = lock(&shelf).reply(frame);
            let Reply::Answer { bytes, recorded_ns } = reply else {
                continue;
            };
            let delay = match latency {
                Latency::None => Duration::ZERO,
                Latency::Recorded => Duration::from_nanos(recorded_ns),
                Latency::Fixed { ms } => Duration::from_millis(u64::from(ms)),
            };
            if delay.is_zero() {
                at_once.extend_from_slice(&bytes);
                continue;
            }
            while answers.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&delayed).acquire_owned().await else {
                break;
            };
            let writer = Arc::clone(&writer);
            answers.spawn(async move {
                tokio::time::sleep(delay).await;
                write(&writer, bytes).await;
                drop(permit);
            });
        }
        if !at_once.is_empty() {
            write(&writer, at_once.freeze()).await;
        }
    }
    // A client that closed its side may still wait for answers.
    while answers.join_next().await.is_some() {}
    decoder.finish(&mut |_| {});
    let account = decoder.account();
    lock(&shelf).report.unreadable_bytes += account.skipped + account.foreign + account.incomplete;
}

/// Writes whole answers; one that cannot be written has no reader any more.
async fn write(writer: &AsyncMutex<OwnedWriteHalf>, bytes: Bytes) {
    let _ = writer.lock().await.write_all(&bytes).await;
}
