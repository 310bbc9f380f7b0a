//! A program that stands still.

use std::fs;
use std::io;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_sys::trace::Held;
use rustix::io::Errno;

use super::Target;
use crate::spec::Kind;
use crate::{
    Backend, Count, Error, Evidence, Hold, Leftover, Plan, Refusal, Residue, Scene, Spec, Way,
};

/// How long the tasks of a program may take to stop.
const STOP: Duration = Duration::from_secs(2);

/// Between two looks at whether the program was killed meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Standing still by a tracer; its keeper is the tracer, so that the end of the keeper ends it.
#[derive(Debug)]
pub struct Trace;

impl Backend for Trace {
    fn way(&self) -> Way {
        Way::Trace
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        if kind != Kind::Pause {
            return Err(Refusal::Inexact(format!("a tracer does no {kind}")));
        }
        let target = Target::of(scene)?;
        match tracer(target.process) {
            Some(0) => {}
            Some(other) => {
                return Err(Refusal::Missing {
                    missing: format!("a program without a tracer: process {other} has it"),
                    advice: "end the debugger".to_owned(),
                });
            }
            None => {
                return Err(Refusal::Inexact(format!(
                    "there is no process {}",
                    target.process
                )));
            }
        }
        // 2: with CAP_SYS_PTRACE; 3: nobody.
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
        if scope.as_ref().is_ok_and(|scope| scope.trim() == "3") {
            return Err(Refusal::Missing {
                missing: "the right to trace (kernel.yama.ptrace_scope is 3)".to_owned(),
                advice: "it stays so until the machine starts again".to_owned(),
            });
        }
        // Whoever may read its memory may trace it: the kernel asks the same question.
        match fs::File::open(format!("/proc/{}/mem", target.process)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(no_right(target.process));
            }
            // One without memory ends now, or is the kernel's: applying tells.
            Ok(_) | Err(_) => {}
        }
        let order = format!("hold every task of process {} by ptrace", target.process);
        let mut plan = target.plan(Way::Trace, spec, scene, order)?;
        plan.also_hit = vec![
            "everything that the program does, on all its connections; the kernel still \
             acknowledges what arrives for it"
                .to_owned(),
        ];
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let target = Target::of_plan(plan)?;
        match Held::hold(target.process, STOP) {
            Ok(held) => Ok(Box::new(Paused {
                target,
                stood: held.standing() as u64,
                held: Some(held),
            })),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
                Err(match no_right(target.process) {
                    Refusal::Missing { missing, advice } => Error::Unsupported { missing, advice },
                    Refusal::Inexact(why) => Error::Refused(why),
                })
            }
            Err(error) => Err(Error::io(format!("holding process {}", target.process))(
                error,
            )),
        }
    }
}

fn no_right(process: u32) -> Refusal {
    Refusal::Missing {
        missing: format!("the right to trace process {process}"),
        advice: "run as its user, with kernel.yama.ptrace_scope at most 0, or as root".to_owned(),
    }
}

struct Paused {
    target: Target,
    /// How many tasks stood when it was last looked.
    stood: u64,
    held: Option<Held>,
}

impl Hold for Paused {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        if let Some(held) = &mut self.held {
            held.tend();
            // What was killed while it stood has stood.
            self.stood = self.stood.max(held.standing() as u64);
        }
        Ok(Evidence {
            counts: vec![Count {
                what: format!("tasks of process {} stood still", self.target.process),
                met: self.stood,
            }],
            ..Evidence::default()
        })
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        drop(self.held.take());
        let mut residue = Residue {
            looked_at: vec![format!("the tracer of process {}", self.target.process)],
            ..Residue::default()
        };
        let here = rustix::process::getpid().as_raw_nonzero().get();
        if self.target.is_there() && tracer(self.target.process) == u32::try_from(here).ok() {
            residue.left.push(Leftover {
                kind: "task".to_owned(),
                what: format!("process {} is still traced", self.target.process),
                whose: crate::backend::TAG.to_owned(),
                advice: format!("end process {here}"),
            });
        }
        Ok(residue)
    }

    fn tick(&mut self, now: Nanos) -> Option<Nanos> {
        self.held.as_mut()?.tend();
        Some(now + LOOK)
    }
}

/// Who traces a process: 0 is nobody.
fn tracer(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok()
}
