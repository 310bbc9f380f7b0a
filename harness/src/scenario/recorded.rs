//! Frames of captures that arrive in place of others.

use std::path::Path;
use std::sync::Arc;

use meshproof_fault::spec::Recorded;
use meshproof_replay::capture::{Captures, Inputs};
use meshproof_replay::pipeline::{self, Options, Visitor};
use meshproof_replay::stream::{Direction, Flow, Mark};
use meshproof_wire::Frame;
use meshproof_wire::decoder::Decoded;

use super::stand::refused;
use crate::Error;
use crate::relay::{Rule, Sort};

/// Looks for a whole frame of a capture.
struct Sought<'a> {
    rule: &'a Rule,
    number: u64,
    seen: u64,
    found: Option<Frame>,
}

impl Visitor for Sought<'_> {
    fn frame(&mut self, _: &Arc<Flow>, _: Direction, decoded: &Decoded<Mark>) {
        let Some(frame) = &decoded.frame else { return };
        let Rule {
            sorts, protocols, ..
        } = self.rule;
        let head = &frame.head;
        let fits = (sorts.is_empty() || sorts.contains(&Sort::of(head.kind)))
            && (protocols.is_empty() || protocols.contains(&head.protocol));
        self.seen += u64::from(fits);
        if fits && self.seen == self.number {
            self.found = Some(frame.clone());
        }
    }
}

/// The recorded frame that is to arrive, of the sort and protocol that the rule names.
pub(super) fn frame(recorded: &Recorded, rule: &Rule) -> Result<Frame, Error> {
    let (path, number) = (Path::new(recorded.capture.as_str()), recorded.number.value);
    let unread = |why: String| refused(format!("{}: {why}", path.display()));
    let mut captures = Captures::open(&Inputs::of(&[path.to_path_buf()]))
        .map_err(|error| unread(error.to_string()))?;
    let mut sought = Sought {
        rule,
        number,
        seen: 0,
        found: None,
    };
    pipeline::read(&mut captures, &Options::FRAMES, &mut sought)
        .map_err(|error| unread(error.to_string()))?;
    let seen = sought.seen;
    sought.found.ok_or_else(|| {
        unread(format!(
            "has {seen} frames of this sort: there is no frame {number} to put in place"
        ))
    })
}

#[cfg(test)]
mod tests {
    use meshproof_input::Spanned;
    use meshproof_wire::RequestId;

    use super::*;
    use crate::relay::{Harm, Rule};

    #[test]
    fn a_recorded_frame_is_found_by_its_number() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/captures");
        let text = |number: u64| format!("{{capture: {folder}/bolt-v2.pcapng, number: {number}}}");
        let of = |number: u64, sort| {
            let it: Spanned<Recorded> = meshproof_input::parse("it", &text(number)).unwrap();
            let rule = Rule {
                sorts: vec![sort],
                ..Rule::new(Harm::Drop)
            };
            frame(&it, &rule)
        };
        let first = of(1, Sort::Response).unwrap();
        assert_eq!(Sort::of(first.head.kind), Sort::Response);
        assert_eq!(first.with_id(RequestId(77)).head.id, RequestId(77));
        assert_ne!(of(2, Sort::Response).unwrap().head.id, first.head.id);
        let none = of(1_000_000, Sort::Response).unwrap_err().to_string();
        assert!(none.contains("there is no frame 1000000"), "{none}");
    }
}
