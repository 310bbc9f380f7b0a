//! Looking: at ports, at the config center's pushes, at logs, journals, sockets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use meshproof_wire::registry::Push;

use super::probe::{Door, RegistryProbe};
use super::say;
use super::world::Look;
use crate::watch::Pushes;
use crate::{Environment, Error};

/// How long one look at a port may take.
const LIMIT: Duration = Duration::from_secs(1);

/// What one look says of a port. Nothing where nobody answered: a listener that accepts no more
/// is not closed.
pub(super) fn door(
    environment: &dyn Environment,
    from: &str,
    at: SocketAddr,
) -> Result<Option<Door>, Error> {
    match environment.connect(from, at, LIMIT) {
        Ok(_) => Ok(Some(Door::Open)),
        Err(error) if error.io_kind() == Some(ErrorKind::ConnectionRefused) => {
            Ok(Some(Door::Closed))
        }
        Err(error @ Error::Gone(_)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A port as a probe wants it.
pub(super) fn port(found: Option<Door>, wanted: Door, at: SocketAddr) -> Look {
    Look::new(
        found == Some(wanted),
        format!("{at} is {}", say::door(found)),
    )
}

/// A subscriber of its own at the config center, which takes part in nothing.
#[derive(Default)]
pub(super) struct Registry {
    watch: Mutex<Option<Pushes>>,
}

impl Registry {
    /// The last list of a service, as a subscriber has it; none: it never got one.
    pub(super) fn last(
        &self,
        environment: &dyn Environment,
        pod: &str,
        center: SocketAddr,
        services: &[&str],
        service: &str,
    ) -> Option<Push> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.as_ref().is_none_or(Pushes::has_ended) {
            // A config center that is away has nothing to say: what it said last stands.
            let again = Pushes::watch(environment, pod, center, services).ok();
            if let Some(again) = again {
                // The first push of a service comes with the watch itself.
                let _ = again.until(meshproof_sys::clock::Nanos(0), LIMIT, |push| {
                    (push.service == service).then_some(())
                });
                *watch = Some(again);
            }
        }
        let all = watch.as_ref()?.all();
        let mut of_service = all.into_iter().rev().map(|(_, push)| push);
        of_service.find(|push| push.service == service)
    }
}

/// What a list says to a probe; addresses of pods are `IP:12200`.
pub(super) fn registry(
    push: Option<&Push>,
    probe: &RegistryProbe,
    address: impl Fn(&str) -> Option<String>,
) -> Look {
    let Some(push) = push else {
        return Look::new(false, "the config center has told nothing yet");
    };
    let named: Vec<&str> = push
        .providers
        .iter()
        .map(|provider| &provider.address[..])
        .collect();
    let has = |pod: &str| address(pod).is_some_and(|address| named.contains(&&address[..]));
    let with = probe.with.as_ref().is_none_or(|pod| has(pod));
    let without = probe.without.as_ref().is_none_or(|pod| !has(pod));
    let count = probe
        .count
        .is_none_or(|count| count.holds(named.len() as f64));
    let found = match named.is_empty() {
        true => format!("revision {}: nobody provides it", push.revision),
        false => format!("revision {}: {}", push.revision, named.join(", ")),
    };
    Look::new(with && without && count, found)
}

/// The value of a metric in Prometheus text: a line with these labels, or the sum of all lines of
/// this name.
pub(super) fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let (front, value) = line.rsplit_once(' ')?;
        let same = front == name
            || (!name.contains('{') && front.split_once('{').is_some_and(|(it, _)| it == name));
        let value: f64 = value.parse().ok()?;
        same.then_some(value)
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Established connections to an address, in the text of `/proc/net/tcp`.
pub(super) fn connections(text: &str, to: SocketAddr) -> usize {
    let SocketAddr::V4(to) = to else { return 0 };
    // The address stands there as the machine holds it, the port as people read it.
    let address = u32::from_ne_bytes(to.ip().octets());
    let wanted = format!("{address:08X}:{:04X}", to.port());
    text.lines()
        .skip(1)
        .filter(|line| {
            let mut fields = line.split_whitespace();
            let remote = fields.nth(2);
            // 01: established.
            remote == Some(&wanted) && fields.next() == Some("01")
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_with_labels_and_summed_without() {
        let text = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\n";
        assert_eq!(metric(text, "a{x=\"2\"}"), Some(3.0));
        assert_eq!(metric(text, "a"), Some(5.0));
        assert_eq!(metric(text, "ab"), Some(7.0));
        assert_eq!(metric(text, "b"), None);
    }

    #[test]
    fn established_connections_are_counted() {
        // From a machine that is little-endian, as all are that this runs on.
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0200630A:A1B2 0300630A:2FA8 01 0:0\n\
             1: 0200630A:A1B3 0300630A:2FA8 06 0:0\n\
             2: 0200630A:A1B4 0400630A:2FA8 01 0:0\n";
        let at = |last| SocketAddr::from(([10, 99, 0, last], 12200));
        assert_eq!(connections(text, at(3)), 1);
        assert_eq!(connections(text, at(4)), 1);
        assert_eq!(connections(text, at(5)), 0);
    }
}
