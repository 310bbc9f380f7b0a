//! How a long run is doing, on stderr: live counts and what is slowest on a terminal, one line for
//! each case that does not pass where there is none.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use meshproof_record::case::Case;
use meshproof_record::report::text::{self, duration};
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_sys::clock::Nanos;

/// A run under way. Shared by those who run its cases.
pub(crate) struct Live {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Cases under way, the longest first.
    running: Vec<(String, Nanos)>,
    wrong: u64,
    aside: u64,
    slowest: Option<(String, u64)>,
}

impl Live {
    /// So many cases are to come.
    pub(crate) fn new(total: u64) -> Live {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Live {
            bar,
            state: Mutex::default(),
        }
    }

    /// A case begins.
    pub(crate) fn began(&self, case: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running.push((case.to_owned(), Nanos::now()));
        self.show(&state);
    }

    /// A case is over.
    pub(crate) fn ended(&self, case: &Case) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running.retain(|(id, _)| *id != case.id);
        match case.verdict {
            Verdict::Fail | Verdict::Invalid => {
                state.wrong += 1;
                self.tell(&line(case));
            }
            Verdict::Known | Verdict::Unsupported => state.aside += 1,
            Verdict::Pass => {}
        }
        if state
            .slowest
            .as_ref()
            .is_none_or(|(_, took)| *took < case.took_ns)
        {
            state.slowest = Some((case.id.clone(), case.took_ns));
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        self.show(&state);
    }

    /// Takes it off the terminal.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn tell(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Nobody to tell it to is no reason to stop.
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }

    fn show(&self, state: &State) {
        let Some(bar) = &self.bar else { return };
        let now = Nanos::now();
        let mut words = Vec::new();
        if state.wrong > 0 {
            words.push(format!("{} wrong", text::thousands(state.wrong)));
        }
        if state.aside > 0 {
            words.push(format!(
                "{} known or unsupported",
                text::thousands(state.aside)
            ));
        }
        if let Some((case, since)) = state.running.first() {
            words.push(format!(
                "longest under way {case} {}",
                duration(now.since(*since))
            ));
        }
        if let Some((case, took)) = &state.slowest {
            words.push(format!("slowest {case} {}", duration(*took)));
        }
        bar.set_message(words.join(" · "));
    }
}

/// `FAIL c012: Invalid protocol header:1 …`.
fn line(case: &Case) -> String {
    let wanted = |claim: &&Claim| claim.verdict == case.verdict;
    let why = case
        .claims
        .iter()
        .find(wanted)
        .map_or("", |claim| &claim.why);
    format!(
        "{} {}: {}",
        case.verdict,
        text::tame(&case.id, 80),
        text::tame(why, 300)
    )
}
