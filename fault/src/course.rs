//! The course of a fault in its keeper: when it comes into force, and when it goes, as often as
//! its schedule says.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use meshproof_sys::clock::Nanos;

use crate::evidence::Occurred;
use crate::spec::Occurrence;
use crate::{Backend, Count, Error, Evidence, Hold, Plan, Residue, Scene};

/// A fault from when it was asked for until the last time that it is in force.
pub(crate) struct Course {
    backend: Box<dyn Backend>,
    scene: Scene,
    /// Made anew each time but the first: who is there may be others.
    plan: Plan,
    fresh: bool,
    start: Nanos,
    ahead: VecDeque<Occurrence>,
    now: Option<Now>,
    over: Vec<Occurred>,
    counts: Vec<Count>,
    reasons: Vec<String>,
    residue: Residue,
}

/// In force.
struct Now {
    hold: Box<dyn Hold>,
    due: Nanos,
    since: Nanos,
    until: Option<Nanos>,
}

/// Whether it ended as its schedule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Due,
    Early,
}

impl Course {
    /// Begins: what is due at once is in force when this returns.
    pub(crate) fn begin(
        backend: Box<dyn Backend>,
        plan: Plan,
        scene: Scene,
        start: Nanos,
    ) -> Result<Course, Error> {
        let ahead = match plan.spec.is_scheduled() {
            true => plan.spec.occurrences(),
            // Its end is that of its lease.
            false => vec![Occurrence {
                from: std::time::Duration::ZERO,
                until: None,
            }],
        };
        let mut course = Course {
            backend,
            scene,
            plan,
            fresh: true,
            start,
            ahead: ahead.into(),
            now: None,
            over: Vec::new(),
            counts: Vec::new(),
            reasons: Vec::new(),
            residue: Residue::default(),
        };
        course.step(start)?;
        Ok(course)
    }

    /// Does what is due at `now`; when to call again. After an error it is in force no more, or
    /// [`Course::heal`] is to be called.
    pub(crate) fn step(&mut self, now: Nanos) -> Result<Option<Nanos>, Error> {
        let ends = self.now.as_ref().and_then(|it| it.until);
        if ends.is_some_and(|until| until <= now) {
            self.end(End::Due)?;
        }
        let due = |one: &Occurrence| self.start + one.from;
        if self.now.is_none()
            && let Some(next) = self.ahead.front().copied().filter(|one| due(one) <= now)
        {
            self.ahead.pop_front();
            let (due, until) = (due(&next), next.until.map(|until| self.start + until));
            let plan = match std::mem::take(&mut self.fresh) && due == self.start {
                true => self.plan.clone(),
                false => self
                    .backend
                    .preflight(&self.plan.spec, &self.scene)
                    .map_err(|refusal| {
                        let times = self.over.len() + 1;
                        Error::Refused(format!("time {times} of its schedule: {refusal}"))
                    })?,
            };
            let hold = self.backend.apply(&plan, &self.scene)?;
            self.now = Some(Now {
                hold,
                due,
                since: Nanos::now(),
                until,
            });
        }
        let next = match &mut self.now {
            Some(it) => {
                let tick = it.hold.tick(now);
                [tick, it.until].into_iter().flatten().min()
            }
            None => self.ahead.front().map(|one| self.start + one.from),
        };
        Ok(next)
    }

    /// Whether its schedule is over.
    pub(crate) fn is_over(&self) -> bool {
        self.now.is_none() && self.ahead.is_empty()
    }

    /// Descriptors that are readable when it wants to be called, whatever the time.
    pub(crate) fn watched(&self) -> Vec<BorrowedFd<'_>> {
        self.now.iter().flat_map(|it| it.hold.watched()).collect()
    }

    /// What met it until now, all times together.
    pub(crate) fn evidence(&mut self) -> Result<Evidence, Error> {
        let mut evidence = Evidence {
            counts: self.counts.clone(),
            reasons: self.reasons.clone(),
            ..Evidence::default()
        };
        if let Some(now) = &mut self.now {
            let met = now.hold.evidence()?;
            add(&mut evidence.counts, met.counts);
            evidence.reasons.extend(met.reasons);
        } else if self.over.is_empty() {
            evidence
                .reasons
                .push("it was over before it had begun".to_owned());
        }
        if self.plan.spec.is_scheduled() {
            evidence.occurrences.clone_from(&self.over);
        }
        Ok(evidence)
    }

    /// Takes it away, for good; what is left of any of its times.
    pub(crate) fn heal(&mut self) -> Result<Residue, Error> {
        self.end(End::Early)?;
        self.ahead.clear();
        Ok(std::mem::take(&mut self.residue))
    }

    fn end(&mut self, how: End) -> Result<(), Error> {
        let Some(mut now) = self.now.take() else {
            return Ok(());
        };
        // Counters go with the rules; what cannot be read is no reason to let them stand.
        let met = now.hold.evidence();
        let residue = now.hold.heal()?;
        let met = met?;
        self.over.push(Occurred {
            due_ns: now.due.0,
            from_ns: now.since.0,
            until_ns: Nanos::now().0,
            met: met.met(),
            cut_short: how == End::Early,
        });
        add(&mut self.counts, met.counts);
        for reason in met.reasons {
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
        self.residue.left.extend(residue.left);
        // Each time looks at the same.
        self.residue.looked_at = residue.looked_at;
        Ok(())
    }
}

fn add(to: &mut Vec<Count>, counts: Vec<Count>) {
    for count in counts {
        match to.iter_mut().find(|known| known.what == count.what) {
            Some(known) => known.met += count.met,
            None => to.push(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::{Refusal, Spec, Way};

    /// A way that writes down what is done, and is met once each time.
    struct Diary(Rc<RefCell<Vec<String>>>);

    struct Page(Rc<RefCell<Vec<String>>>);

    impl Backend for Diary {
        fn way(&self) -> Way {
            Way::Relay
        }

        fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
            self.0.borrow_mut().push("plan".to_owned());
            Ok(Plan::bare(Way::Relay, spec, scene))
        }

        fn apply(&self, _: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
            self.0.borrow_mut().push("apply".to_owned());
            Ok(Box::new(Page(Rc::clone(&self.0))))
        }
    }

    impl Hold for Page {
        fn evidence(&mut self) -> Result<Evidence, Error> {
            Ok(Evidence {
                counts: vec![Count {
                    what: "frames".to_owned(),
                    met: 1,
                }],
                ..Evidence::default()
            })
        }

        fn heal(&mut self) -> Result<Residue, Error> {
            self.0.borrow_mut().push("heal".to_owned());
            Ok(Residue::default())
        }
    }

    fn begin(text: &str) -> (Course, Rc<RefCell<Vec<String>>>) {
        let spec = Spec::parse("fault.yaml", text).expect("a fault");
        let scene = Scene {
            run: "run".to_owned(),
            lease: "lease".to_owned(),
            process: None,
            control: None,
        };
        let said = Rc::new(RefCell::new(Vec::new()));
        let plan = Plan::bare(Way::Relay, &spec, &scene);
        let diary = Box::new(Diary(Rc::clone(&said)));
        let course = Course::begin(diary, plan, scene, ms(0)).expect("it begins");
        (course, said)
    }

    fn ms(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    #[test]
    fn each_time_is_put_in_force_and_healed_when_it_is_due() {
        let text = "{kind: drop, port: 1, at: 100ms, for: 50ms, repeat: {times: 2, every: 200ms}}";
        let (mut course, said) = begin(text);
        let told = |course: &mut Course, at: u64| {
            let next = course.step(ms(at)).expect("a step");
            (std::mem::take(&mut *said.borrow_mut()).join(" "), next)
        };
        assert_eq!(told(&mut course, 0), (String::new(), Some(ms(100))));
        assert_eq!(told(&mut course, 99), (String::new(), Some(ms(100))));
        assert_eq!(told(&mut course, 100), ("plan apply".into(), Some(ms(150))));
        assert_eq!(told(&mut course, 150), ("heal".into(), Some(ms(300))));
        assert!(!course.is_over());
        assert_eq!(told(&mut course, 301), ("plan apply".into(), Some(ms(350))));
        assert_eq!(told(&mut course, 360), ("heal".into(), None));
        assert!(course.is_over());
        let evidence = course.evidence().expect("evidence");
        assert_eq!(evidence.met(), 2);
        let due: Vec<u64> = evidence.occurrences.iter().map(|it| it.due_ns).collect();
        assert_eq!(due, [ms(100).0, ms(300).0]);
        assert!(!evidence.is_empty());
    }

    #[test]
    fn one_without_a_schedule_is_in_force_until_it_is_healed() {
        let (mut course, said) = begin("{kind: drop, port: 1, for: 1s}");
        assert_eq!(said.borrow().join(" "), "apply");
        assert_eq!(course.step(ms(5000)).expect("a step"), None);
        assert!(!course.is_over());
        course.heal().expect("healed");
        assert_eq!(said.borrow().join(" "), "apply heal");
        assert!(course.is_over());
        assert_eq!(course.evidence().expect("evidence").occurrences, []);
    }

    #[test]
    fn one_that_is_healed_before_it_began_met_nothing() {
        let (mut course, said) = begin("{kind: drop, port: 1, at: 1s}");
        course.heal().expect("healed");
        let evidence = course.evidence().expect("evidence");
        assert!(evidence.is_empty());
        assert_eq!(evidence.reasons, ["it was over before it had begun"]);
        assert!(said.borrow().is_empty());
    }
}
