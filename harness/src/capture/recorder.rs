//! The packets of several pods at once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use meshproof_replay::capture::{Link, Packet};
use meshproof_sys::clock::{Clocks, Nanos};
use meshproof_sys::packets::Tap;
use meshproof_sys::poll::{Interest, Poll, Token};
use meshproof_sys::wake::Wake;

use super::{Captured, Ring, Size};
use crate::Error;
use crate::environment::Environment;

/// Packets that are taken from one pod before the others have their turn.
const TURN: usize = 256;

/// Packets that are taken from one pod after the end: what waited, and no more of a flood.
const LAST_MAX: usize = 100_000;

/// Captures pods until it is stopped or dropped, on a thread of its own: one file, or a few, per
/// pod, with everything that passes its links, loopback included.
///
/// It reads sockets that were opened in the pods. While it is there the pods' networks do not go:
/// stop it before the environment is taken down.
#[derive(Debug)]
pub struct Recorder {
    stop: Arc<Wake>,
    told: Arc<Mutex<Vec<Captured>>>,
    thread: Option<JoinHandle<()>>,
    began: Clocks,
}

impl Recorder {
    /// Captures these pods into `folder`, as `POD.0001.pcapng` and on, each a ring of `size`. It
    /// sees everything that passes after this has returned. [`Error::Unsupported`] where the
    /// environment cannot [`crate::Capability::Capture`].
    pub fn start<'a>(
        environment: &dyn Environment,
        pods: impl IntoIterator<Item = &'a str>,
        folder: &Path,
        size: Size,
    ) -> Result<Recorder, Error> {
        let mut taps = Vec::new();
        for pod in pods {
            taps.push((pod.to_owned(), environment.packets(pod)?));
        }
        let stop = Arc::new(Wake::new().map_err(Error::io("a wake"))?);
        let told = Arc::default();
        let began = Clocks::now();
        // The rings live on the thread: it says when they are there.
        let (begun, ready) = mpsc::sync_channel(1);
        let (folder, theirs) = (folder.to_owned(), (Arc::clone(&stop), Arc::clone(&told)));
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || {
                let (stop, told) = theirs;
                match Reading::begin(taps, &folder, size, &stop) {
                    Ok(mut reading) => {
                        *lock(&told) = reading.captured();
                        let _ = begun.send(Ok(()));
                        reading.run(&stop, &told);
                    }
                    Err(error) => drop(begun.send(Err(error))),
                }
            })
            .map_err(Error::io("a thread for a capture"))?;
        ready
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")))
            .map_err(Error::io("the files of a capture"))?;
        Ok(Recorder {
            stop,
            told,
            thread: Some(thread),
            began,
        })
    }

    /// All pods of an environment.
    pub fn all(
        environment: &dyn Environment,
        folder: &Path,
        size: Size,
    ) -> Result<Recorder, Error> {
        let pods = environment.pods().iter().map(|pod| pod.name.as_str());
        Recorder::start(environment, pods, folder, size)
    }

    /// What was captured a moment ago, pod by pod.
    pub fn captured(&self) -> Vec<Captured> {
        lock(&self.told).clone()
    }

    /// The time of a packet, which is of the wall clock, on the clock of everything else.
    pub fn moment(&self, unix_ns: u64) -> Nanos {
        self.began.moment(unix_ns)
    }

    /// Takes what waits and ends; what was captured, pod by pod.
    pub fn stop(mut self) -> Vec<Captured> {
        self.end();
        self.captured()
    }

    fn end(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(told: &Mutex<Vec<Captured>>) -> std::sync::MutexGuard<'_, Vec<Captured>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Reading {
    poll: Poll,
    points: Vec<(Tap, Ring)>,
}

impl Reading {
    fn begin(
        taps: Vec<(String, Tap)>,
        folder: &Path,
        size: Size,
        stop: &Wake,
    ) -> std::io::Result<Reading> {
        let poll = Poll::new()?;
        let mut points = Vec::with_capacity(taps.len());
        for (number, (pod, tap)) in taps.into_iter().enumerate() {
            poll.add(&tap, Token(number as u64), Interest::Read)?;
            points.push((tap, Ring::begin(folder, &pod, size)?));
        }
        poll.add(stop, Token(points.len() as u64), Interest::Read)?;
        Ok(Reading { poll, points })
    }

    fn captured(&self) -> Vec<Captured> {
        let all = self.points.iter();
        all.map(|(tap, ring)| ring.captured(tap.lost())).collect()
    }

    fn run(&mut self, stop: &Wake, told: &Mutex<Vec<Captured>>) {
        let mut ready = Vec::new();
        let mut over = false;
        while !over {
            if self.poll.wait(&mut ready).is_err() {
                over = true;
            }
            over |= stop.clear();
            if over {
                for (tap, ring) in &mut self.points {
                    take(tap, ring, LAST_MAX);
                }
            } else {
                for event in &ready {
                    let point = usize::try_from(event.token.0).ok();
                    if let Some((tap, ring)) = point.and_then(|at| self.points.get_mut(at)) {
                        take(tap, ring, TURN);
                    }
                }
            }
            *lock(told) = self.captured();
        }
    }
}

/// At most so many packets into their files.
fn take(tap: &mut Tap, ring: &mut Ring, count: usize) {
    for _ in 0..count {
        match tap.take() {
            Ok(Some(packet)) => ring.put(&Packet {
                number: 0,
                at_ns: packet.at_ns,
                link: Link::Ethernet,
                source: 0,
                data: packet.data,
                orig_len: u32::try_from(packet.length).unwrap_or(u32::MAX),
            }),
            Ok(None) | Err(_) => break,
        }
    }
    ring.settle();
}
