//! Frames as events: the exact moment before or after one of them.
//!
//! A relay on the leg holds the frame (before it) or the next one (after it), and everything
//! behind, until what is to be done at this moment is done. Nothing is lost of it.

use std::time::Duration;

use super::harm;
use super::model::{Fault, FaultKind, FrameEvent};
use super::stand::Hall;
use super::world::{Armed, Edge};
use crate::Error;
use crate::relay::{Harm, Rule, RuleId};

impl FrameEvent {
    /// The same as a fault that stalls this frame: what can be said of one can be said of both.
    pub(super) fn stalled(&self) -> Fault {
        Fault {
            pod: Some(self.pod.clone()),
            port: Some(self.port),
            from: self.from,
            frame: self.frame,
            protocol: self.protocol,
            nth: Some(self.nth),
            ..Fault::new(FaultKind::Stall)
        }
    }

    fn rule(&self, edge: Edge) -> Rule {
        let held = match edge {
            Edge::Before => self.nth.value,
            Edge::After => self.nth.value.saturating_add(1),
        };
        Rule {
            first: held,
            last: Some(held),
            harm: Harm::Stall,
            ..harm::rule(&self.stalled())
        }
    }
}

/// Whether the moment has come, by how many frames the rule met and held.
fn has_come(met: u64, harmed: u64, edge: Edge, nth: u64) -> bool {
    match edge {
        Edge::Before => harmed > 0,
        Edge::After => met >= nth,
    }
}

impl Hall {
    /// From here on frames are counted, and the one that is meant is held.
    pub(super) fn arm_at(&self, frame: &FrameEvent, edge: Edge) -> Result<Armed, Error> {
        let rule = frame.rule(edge);
        let relay = self.mesh.relay_at(&frame.pod, frame.port.value)?;
        let RuleId(rule) = relay.put(rule)?;
        Ok(Armed {
            pod: frame.pod.value.clone(),
            port: frame.port.value,
            rule,
            edge,
            nth: frame.nth.value,
        })
    }

    /// Waits until it has come, no longer than `limit`.
    pub(super) fn came_at(&self, armed: &Armed, limit: Duration) -> Result<bool, Error> {
        let relay = self.mesh.relay_at(&armed.pod, armed.port)?;
        let come = relay.until(limit, |account| {
            let mut rules = account.rules.iter();
            let applied = rules.find(|it| it.id == RuleId(armed.rule))?;
            has_come(applied.met, applied.harmed, armed.edge, armed.nth).then_some(())
        });
        if come.is_some() {
            let edge = armed.edge.word();
            self.mesh.note(
                "wire",
                format!("{edge} frame {} at {}", armed.nth, armed.pod),
            );
        }
        Ok(come.is_some())
    }

    /// Lets go of what is held.
    pub(super) fn disarm_at(&self, armed: &Armed) -> Result<(), Error> {
        let relay = self.mesh.relay_at(&armed.pod, armed.port)?;
        relay.heal(RuleId(armed.rule)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_itself_is_held_or_the_one_behind_it() {
        let text = "{pod: server, port: 12199, from: app, frame: heartbeat, nth: 3}";
        let frame: FrameEvent = meshproof_input::parse("frame.yaml", text)
            .unwrap_or_else(|problem| panic!("{problem}"));
        for (edge, expected) in [
            (Edge::Before, "stall heartbeat back 3 to 3"),
            (Edge::After, "stall heartbeat back 4 to 4"),
        ] {
            assert_eq!(frame.rule(edge).to_string(), expected);
        }
        assert!(!has_come(2, 0, Edge::After, 3));
        assert!(has_come(3, 0, Edge::After, 3), "it has passed");
        assert!(!has_come(2, 0, Edge::Before, 3));
        assert!(has_come(3, 1, Edge::Before, 3), "it is held");
    }
}
