//! Which call a frame belongs to: read from requests, remembered for their answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use meshproof_wire::{Frame, Head, Kind, RequestId, sofarpc};

use super::rule::Direction;

/// Requests of a connection whose answers are known; of more, the oldest are forgotten.
pub const REMEMBERED_MAX: usize = 16_384;

/// What is called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) service: Option<String>,
    pub(super) method: Option<String>,
}

impl Called {
    /// Of a request of SOFARPC, over BOLT or TR; none of anything else.
    fn of(frame: &[u8]) -> Option<Called> {
        let frame = Frame::parse(Bytes::copy_from_slice(frame)).ok()?;
        let request = sofarpc::request(&frame)?;
        Some(Called {
            service: request.service,
            method: request.method,
        })
    }

    pub(super) fn is_of_service(&self, asked: &str) -> bool {
        self.service.as_deref().is_some_and(|it| names(it, asked))
    }

    pub(super) fn is_of_method(&self, asked: &str) -> bool {
        self.method.as_deref() == Some(asked)
    }
}

/// Whether a service is the one that is asked for: in full, without its version, or without its
/// package.
fn names(service: &str, asked: &str) -> bool {
    let is_end = |of: &str| {
        of.strip_suffix(asked)
            .is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    let interface = service.split_once(':').map_or(service, |(front, _)| front);
    is_end(service) || is_end(interface)
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    asked: BTreeMap<(Direction, RequestId), Arc<Called>>,
    order: VecDeque<(Direction, RequestId)>,
}

impl Calls {
    /// The call of a whole frame; none of what is no call, and of answers to what was not seen.
    pub(super) fn of(
        &mut self,
        direction: Direction,
        head: &Head,
        frame: &[u8],
    ) -> Option<Arc<Called>> {
        match head.kind {
            Kind::Oneway => Called::of(frame).map(Arc::new),
            Kind::Request => {
                let called = Arc::new(Called::of(frame)?);
                let key = (direction, head.id);
                if self.asked.insert(key, Arc::clone(&called)).is_none() {
                    self.order.push_back(key);
                }
                if self.order.len() > REMEMBERED_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.asked.remove(&oldest);
                }
                Some(called)
            }
            Kind::Response => self.asked.get(&(direction.other(), head.id)).cloned(),
            Kind::Heartbeat | Kind::HeartbeatAck | Kind::Goaway | Kind::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_short_names() {
        let full = "com.alipay.demo.SampleService:1.0";
        for asked in [
            full,
            "com.alipay.demo.SampleService",
            "SampleService",
            "SampleService:1.0",
        ] {
            assert!(names(full, asked), "{asked}");
        }
        for asked in ["Service", "SampleService:2.0", "demo", "XSampleService"] {
            assert!(!names(full, asked), "{asked}");
        }
    }
}
