//! Witnesses from outside: the config center's pushes, and a port that takes connections or not.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_wire::registry::Push;

use crate::{Environment, Error};

/// Longest line of the config center that is read.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// From one look at a port to the next.
const PAUSE: Duration = Duration::from_millis(1);

/// When a port began to take connections, or to refuse them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Not before: the begin of the last look that saw the other.
    pub after: Nanos,
    /// Not later: the end of the first look that saw it.
    pub at: Nanos,
}

/// What a witness saw, and when.
#[derive(Debug, Default)]
struct Seen<T> {
    list: Mutex<(Vec<(Nanos, T)>, bool)>,
    changed: Condvar,
}

impl<T: Clone> Seen<T> {
    fn all(&self) -> Vec<(Nanos, T)> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.0.clone()
    }

    fn add(&self, seen: T) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.0.push((Nanos::now(), seen));
        drop(list);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// The first that was seen at `from` or later and that `wanted` takes.
    fn first<U>(
        &self,
        from: Nanos,
        limit: Duration,
        wanted: impl Fn(&T) -> Option<U>,
    ) -> Option<(Nanos, U)> {
        let end = Nanos::now() + limit;
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = list
                .0
                .iter()
                .filter(|(at, _)| *at >= from)
                .find_map(|(at, seen)| wanted(seen).map(|seen| (*at, seen)));
            let left = end.since(Nanos::now());
            if found.is_some() || left == 0 || list.1 {
                return found;
            }
            list = self
                .changed
                .wait_timeout(list, Duration::from_nanos(left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Listens to the config center's pushes, as a subscriber gets them.
#[derive(Debug)]
pub struct Pushes {
    seen: Arc<Seen<Push>>,
}

impl Pushes {
    /// Subscribes from `pod`; ends with the environment, or when the config center cuts it off.
    pub fn watch(
        environment: &dyn Environment,
        pod: &str,
        center: SocketAddr,
        services: &[&str],
    ) -> Result<Pushes, Error> {
        let what = || format!("watching the config center at {center}");
        let mut stream = environment.connect(pod, center, Duration::from_secs(5))?;
        // Of HTTP/1.0, so that the body is not cut into chunks.
        let query: Vec<String> = services
            .iter()
            .map(|service| format!("service={}", service.replace(':', "%3A")))
            .collect();
        let request = format!(
            "GET /v1/watch?{} HTTP/1.0\r\nHost: {center}\r\nAccept: text/event-stream\r\n\r\n",
            query.join("&")
        );
        stream
            .write_all(request.as_bytes())
            .map_err(Error::io(what()))?;
        let mut lines = BufReader::new(stream);
        let mut status = String::new();
        (&mut lines)
            .take(LINE_BYTES_MAX)
            .read_line(&mut status)
            .map_err(Error::io(what()))?;
        if !status.contains(" 200 ") {
            let status = status.trim_end();
            return Err(Error::Refused(format!("{}: {status}", what())));
        }
        let seen: Arc<Seen<Push>> = Arc::new(Seen {
            list: Mutex::default(),
            changed: Condvar::new(),
        });
        let told = Arc::clone(&seen);
        std::thread::Builder::new()
            .name("pushes".into())
            .spawn(move || {
                let mut line = String::new();
                loop {
                    line.clear();
                    let read = (&mut lines).take(LINE_BYTES_MAX).read_line(&mut line);
                    if !matches!(read, Ok(1..)) {
                        break;
                    }
                    // An event is one line of data here; the names of events need not be read.
                    if let Some(data) = line.strip_prefix("data:")
                        && let Ok(push) = serde_json::from_str::<Push>(data.trim())
                    {
                        told.add(push);
                    }
                }
                told.end();
            })
            .map_err(Error::io("a thread for pushes"))?;
        Ok(Pushes { seen })
    }

    /// The first push, at `from` or later, of which `wanted` says something.
    pub fn until<T>(
        &self,
        from: Nanos,
        limit: Duration,
        wanted: impl Fn(&Push) -> Option<T>,
    ) -> Option<(Nanos, T)> {
        self.seen.first(from, limit, wanted)
    }

    /// Every push so far, with the moment at which it was read.
    pub fn all(&self) -> Vec<(Nanos, Push)> {
        self.seen.all()
    }

    /// Whether the config center has cut it off: nothing more can come.
    pub fn has_ended(&self) -> bool {
        self.seen
            .list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
    }

    /// When, at `from` or later, a list had `address` in it, or had not; and its revision.
    pub fn lists(
        &self,
        address: SocketAddr,
        there: Presence,
        from: Nanos,
        limit: Duration,
    ) -> Option<(Nanos, u64)> {
        let address = address.to_string();
        self.seen.first(from, limit, |push| {
            let has = push
                .providers
                .iter()
                .any(|provider| provider.address == address);
            let wanted = (there == Presence::There) == has;
            wanted.then_some(push.revision)
        })
    }
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    There,
    /// It is not.
    Gone,
}

/// Looks at a port from another pod, every millisecond, for as long as this lives.
pub struct Port<'a> {
    seen: Arc<Seen<(Presence, Nanos)>>,
    stop: Arc<AtomicBool>,
    gap_ns: Arc<AtomicU64>,
    looking: Option<std::thread::ScopedJoinHandle<'a, ()>>,
}

impl<'a> Port<'a> {
    /// Looks from `pod`, until this is dropped.
    pub fn watch<'e>(
        scope: &'a std::thread::Scope<'a, 'e>,
        environment: &'e dyn Environment,
        pod: &'e str,
        port: SocketAddr,
    ) -> Port<'a> {
        let seen: Arc<Seen<(Presence, Nanos)>> = Arc::new(Seen {
            list: Mutex::default(),
            changed: Condvar::new(),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let gap_ns = Arc::new(AtomicU64::new(0));
        let (told, told_stop, told_gap) =
            (Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&gap_ns));
        let looking = scope.spawn(move || {
            let mut last: Option<(Presence, Nanos)> = None;
            let mut looked = Nanos::now();
            let never = (Mutex::new(()), Condvar::new());
            while !told_stop.load(Ordering::Relaxed) {
                let begun = Nanos::now();
                let answer = environment.connect(pod, port, Duration::from_secs(1));
                if matches!(answer, Err(Error::Gone(_))) {
                    break;
                }
                let before = std::mem::replace(&mut looked, Nanos::now());
                told_gap.fetch_max(looked.since(before), Ordering::Relaxed);
                if let Some(now) = presence(&answer) {
                    match last.replace((now, begun)) {
                        Some((before, _)) if before == now => {}
                        before => told.add((now, before.map_or(begun, |(_, at)| at))),
                    }
                }
                let guard = never.0.lock().unwrap_or_else(PoisonError::into_inner);
                drop(never.1.wait_timeout(guard, PAUSE));
            }
            told.end();
        });
        Port {
            seen,
            stop,
            gap_ns,
            looking: Some(looking),
        }
    }

    /// When, at `from` or later, it began to take connections or to refuse them.
    pub fn turns(&self, there: Presence, from: Nanos, limit: Duration) -> Option<Turn> {
        let wanted = |(seen, after): &(Presence, Nanos)| (*seen == there).then_some(*after);
        let found = self.seen.first(from, limit, wanted);
        found.map(|(at, after)| Turn { after, at })
    }

    /// The longest time between two looks: what was measured may be late by that.
    pub fn longest_gap(&self) -> Duration {
        Duration::from_nanos(self.gap_ns.load(Ordering::Relaxed))
    }
}

/// What one look says of a port. Nothing where nobody answered, or where the onlooker itself had
/// no socket: a listener that accepts no more is not closed.
fn presence<T>(answer: &Result<T, Error>) -> Option<Presence> {
    match answer {
        Ok(_) => Some(Presence::There),
        Err(error) if error.io_kind() == Some(ErrorKind::ConnectionRefused) => Some(Presence::Gone),
        Err(_) => None,
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            // Its look is the last.
            let _ = looking.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[track_caller]
    fn check(error: Error, expected: Option<Presence>) {
        assert_eq!(presence::<()>(&Err(error)), expected);
    }

    #[test]
    fn only_a_refusal_says_that_a_port_is_closed() {
        assert_eq!(presence(&Ok(())), Some(Presence::There));
        let io = |source: io::Error| Error::io("connecting")(source);
        check(
            io(ErrorKind::ConnectionRefused.into()),
            Some(Presence::Gone),
        );
        check(io(ErrorKind::TimedOut.into()), None);
        check(io(ErrorKind::ConnectionReset.into()), None);
        check(io(rustix::io::Errno::MFILE.into()), None);
        check(Error::Refused("no pod is called `x`".into()), None);
    }
}
