//! Steps at an event.

use meshproof_input::Spanned;

use super::{Checked, Checker};
use crate::scenario::model::{Step, When};

impl Checker<'_> {
    pub(super) fn when(&mut self, step: &Spanned<Step>, when: &When, depth: usize) -> Checked {
        self.time(when.within)?;
        self.some(step, when.steps.len(), "steps")?;
        let said = [
            when.before.is_some(),
            when.after.is_some(),
            !when.all.is_empty(),
        ];
        if said.iter().filter(|said| **said).count() != 1 {
            return Err(self.wrong(
                step.span,
                "scenario::when",
                "`when` is one event: a frame or what is seen",
                "write one of `before: {pod: …, port: …, nth: …}`, `after: {…}` and `all: [PROBE]`",
            ));
        }
        for frame in when.before.iter().chain(&when.after) {
            self.pod(&frame.pod)?;
            let stalled = frame.stalled();
            stalled.check(self.name, self.text)?;
            self.leg(&stalled)?;
            self.direction(&stalled)?;
        }
        when.all.iter().try_for_each(|probe| self.probe(probe))?;
        self.steps(&when.meanwhile, depth + 1)?;
        self.steps(&when.steps, depth + 1)
    }
}
