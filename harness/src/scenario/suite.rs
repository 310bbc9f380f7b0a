//! Many stories: side by side, each on a mesh of its own, and what is told of them.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use meshproof_record::case::{Case, CaseKind, Choice};
use meshproof_record::event::Event;
use meshproof_record::verdict::{Claim, Lacking, Verdict, overall};
use meshproof_sys::clock::Nanos;

use super::Story;
use super::account::Account;
use super::make::Meshes;
use super::model::CaughtBy;
use super::needs::{CONFIG_CENTER, Offer, asks_center};
use super::teller::{Ended, Tell, Teller, allowances};
use super::world::World;
use crate::Error;
use crate::environment::Environment;
use crate::mesh::Setting;
use crate::standing::Folder;

/// Stories at a time at most.
pub const JOBS_MAX: usize = 64;

/// One story to be told.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which, by its place among the stories.
    pub story: usize,
    /// The seeded bug that all sidecars have on, of a proof.
    pub bug: Option<String>,
}

/// How stories are told.
#[derive(Clone, Debug)]
pub struct Options {
    /// So many at a time, at most [`JOBS_MAX`].
    pub jobs: usize,
    /// The record's folder of artefacts: evidence of failures goes there.
    pub artefacts: PathBuf,
    /// What is typed behind `meshproof run STORY` to run it again: ` --backend process`.
    pub again: String,
    /// Values that are told of every case: site, sidecars.
    pub choices: Vec<Choice>,
}

/// A mesh that is up, for a story.
pub(crate) trait Stand: World {
    /// Writes everything that is needed to understand a failure into a folder; the files.
    fn evidence(&self, case: &Case, account: &Account, folder: &Path)
    -> Result<Vec<String>, Error>;
    /// Copies packets that the story wants kept in any case into a folder, which is made where
    /// there are some; the files.
    fn recorded(&self, folder: &Path) -> Result<Vec<String>, Error>;
    /// What its pods are in.
    fn environment(&self) -> &dyn Environment;
    /// Ends it.
    fn down(self: Box<Self>) -> Result<(), Error>;
}

/// Brings meshes up.
pub(crate) trait Maker: Sync {
    /// What a story can be offered, before anything is started.
    fn offer(&self, story: &Story) -> Result<Offer, Error>;
    /// The mesh of a story.
    fn up(&self, story: &Story, bug: Option<&str>) -> Result<Box<dyn Stand + Send>, Error>;
    /// Called with a story that did not hold and what its pods are in, before its mesh goes.
    /// The folder of one that was found there meanwhile.
    fn failed(&self, case: &Case, environment: &dyn Environment) -> Option<Folder>;
}

/// What is called with a story that did not hold and what its pods are in, while its mesh is still
/// up; stories that are told side by side call it side by side. Where the mesh was found in a
/// folder, that is given back: it goes after the mesh.
pub type Kept<'a> = &'a (dyn Fn(&Case, &dyn Environment) -> Option<Folder> + Sync);

/// Tells stories on meshes; `told` hears every event, on the thread of the caller. The cases come
/// in the order of the jobs; where this machine can run none, each of them says so.
pub fn tell(
    stories: &[Story],
    jobs: &[Job],
    options: &Options,
    setting: &Setting,
    kept: Option<Kept<'_>>,
    stop: &AtomicBool,
    told: &mut dyn FnMut(Event),
) -> Vec<Case> {
    let meshes = Meshes::new(setting, &options.artefacts, kept);
    run(stories, jobs, options, &meshes, stop, told)
}

/// Tells them; `told` hears every event, on the thread of the caller. Cases come in the order in
/// which they end; the result is in the order of the jobs, without those that `stop` kept from
/// beginning.
pub(crate) fn run(
    stories: &[Story],
    jobs: &[Job],
    options: &Options,
    maker: &dyn Maker,
    stop: &AtomicBool,
    told: &mut dyn FnMut(Event),
) -> Vec<Case> {
    let next = AtomicUsize::new(0);
    let cases: Mutex<Vec<(usize, Case)>> = Mutex::default();
    let (tell, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, JOBS_MAX).min(jobs.len()) {
            let (tell, next, cases) = (tell.clone(), &next, &cases);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let Some(story) = stories.get(job.story) else {
                        continue;
                    };
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let case = one(story, job, options, maker, stop, &tell);
                    let _ = tell.send(Event::CaseEnded { case: case.clone() });
                    cases
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((number, case));
                }
            });
        }
        drop(tell);
        for event in heard {
            told(event);
        }
    });
    let mut cases = cases.into_inner().unwrap_or_else(PoisonError::into_inner);
    cases.sort_by_key(|(number, _)| *number);
    cases.into_iter().map(|(_, case)| case).collect()
}

/// The id of a case: that of its story, and the bug of a proof.
pub fn id(story: &Story, bug: Option<&str>) -> String {
    match bug {
        Some(bug) => format!("{}+{bug}", story.scenario.scenario),
        None => story.scenario.scenario.value.clone(),
    }
}

/// Values that are told of a case: a story that names its site is told there.
pub fn choices(story: &Story, all: &[Choice]) -> Vec<Choice> {
    let own = |choice: &Choice| match &story.scenario.site {
        Some(site) if choice.axis == "site" => Choice {
            value: site.value.clone(),
            ..choice.clone()
        },
        _ => choice.clone(),
    };
    all.iter().map(own).collect()
}

/// What speaks against a story: what it says that it needs, and what its steps do.
fn lacks(story: &Story, offer: &Offer) -> Option<Claim> {
    let needs = story.scenario.needs.iter().chain(&story.mesh.needs);
    let lack = offer.lacks(needs.map(|need| need.as_str()));
    lack.or_else(|| {
        let steps = || asks_center(&story.scenario.steps);
        let who = story.mesh.asks_center().or_else(steps)?;
        let claim = offer.lacks([CONFIG_CENTER])?;
        Some(Claim {
            why: format!("{}; {who} asks it", claim.why),
            ..claim
        })
    })
}

fn one(
    story: &Story,
    job: &Job,
    options: &Options,
    maker: &dyn Maker,
    stop: &AtomicBool,
    tell: &mpsc::Sender<Event>,
) -> Case {
    let bug = job.bug.as_deref();
    let id = id(story, bug);
    let begun = Nanos::now();
    // Whoever listens no more has had enough.
    let send = |event| drop(tell.send(event));
    send(Event::CaseStarted { case: id.clone() });
    let again = &options.again;
    let mut case = Case {
        id: id.clone(),
        kind: match bug {
            Some(_) => CaseKind::Proof,
            None => CaseKind::Scenario,
        },
        about: story.scenario.about.clone(),
        choices: Vec::new(),
        verdict: Verdict::Invalid,
        claims: Vec::new(),
        took_ns: 0,
        rerun: match bug {
            Some(bug) => format!("meshproof run {}{again} --prove --bug {bug}", story.file),
            None => format!("meshproof run {}{again}", story.file),
        },
        evidence: Vec::new(),
    };
    case.choices = choices(story, &options.choices);
    if let Some(bug) = bug {
        case.choices.push(Choice {
            axis: "bug".to_owned(),
            value: bug.to_owned(),
        });
    }
    let stand = match maker.offer(story) {
        Ok(offer) => match lacks(story, &offer) {
            Some(lack) => Err(lack),
            None => maker.up(story, bug).map_err(|error| not_up(&error)),
        },
        Err(error) => Err(not_up(&error)),
    };
    match stand {
        Err(claim) => case.claims.push(claim),
        Ok(stand) => {
            let teller_stop = (stop, tell);
            tell_on(story, &mut case, stand.as_ref(), begun, teller_stop);
            case.verdict = overall(&case.claims);
            finish(story, &mut case, stand, options, maker);
        }
    }
    case.verdict = overall(&case.claims);
    if let Some(bug) = bug {
        turn(&mut case, story, bug);
    }
    case.took_ns = Nanos::now().since(begun);
    case
}

/// Tells a story on a mesh that is up, and judges it.
fn tell_on(
    story: &Story,
    case: &mut Case,
    stand: &dyn Stand,
    begun: Nanos,
    (stop, tell): (&AtomicBool, &mpsc::Sender<Event>),
) {
    let told = Mutex::new(tell.clone());
    let id = case.id.clone();
    let hear = |what: Tell| {
        let event = match what {
            Tell::Stepped(step) => Event::Stepped {
                case: id.clone(),
                step,
            },
            Tell::Seen(moment) => Event::Seen {
                case: id.clone(),
                moment,
            },
        };
        // Branches tell side by side; whoever listens no more has had enough.
        drop(
            told.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .send(event),
        );
    };
    let world: &dyn World = stand;
    let ended = Teller::new(world, &story.scenario, stop, &hear, begun).run(&story.scenario);
    case.claims.push(steps_claim(&ended, stop));
    match account(story, stand) {
        Ok(account) => case.claims.extend(account.claim()),
        Err(error) => case
            .claims
            .push(Claim::new("ledger", Verdict::Invalid, error.to_string())),
    }
    case.claims.push(escapes_claim(stand));
    for moment in stand.timeline() {
        hear(Tell::Seen(moment));
    }
}

fn account(story: &Story, world: &dyn World) -> Result<Account, Error> {
    let allowed = allowances(&story.scenario);
    world.account(&|step| allowed.get(&step).cloned().unwrap_or_default())
}

fn steps_claim(ended: &Ended, stop: &AtomicBool) -> Claim {
    let Ended { held, steps, .. } = *ended;
    match &ended.broken {
        Some((number, Verdict::Unsupported, why)) => {
            Claim::unsupported("steps", Lacking::Machine, format!("step {number}: {why}"))
        }
        Some((number, verdict, why)) => {
            let why = format!("step {number} of {steps}: {why}");
            Claim::new("steps", *verdict, why)
        }
        None if held < steps || stop.load(Ordering::Relaxed) => {
            let why = format!("stopped after {held} of {steps} steps");
            Claim::new("steps", Verdict::Invalid, why)
        }
        None => Claim::new(
            "steps",
            Verdict::Pass,
            format!("{held} of {steps} steps held"),
        ),
    }
}

fn escapes_claim(world: &dyn World) -> Claim {
    const NAME: &str = "escapes";
    match world.escapes() {
        Ok(escapes) if escapes.packets == 0 => {
            Claim::new(NAME, Verdict::Pass, "0 packets tried to leave the mesh")
        }
        Ok(escapes) => {
            let some = escapes.samples.join("; ");
            let why = format!(
                "{} packets tried to leave the mesh: {some}",
                escapes.packets
            );
            Claim::new(NAME, Verdict::Fail, why)
        }
        Err(error @ Error::Unsupported { .. }) => {
            Claim::unsupported(NAME, Lacking::Machine, error.to_string())
        }
        Err(error) => Claim::new(NAME, Verdict::Invalid, error.to_string()),
    }
}

/// Evidence where it is needed, and the end of the mesh.
fn finish(
    story: &Story,
    case: &mut Case,
    stand: Box<dyn Stand + Send>,
    options: &Options,
    maker: &dyn Maker,
) {
    // A proof is meant to fail: its evidence would tell of a bug that everybody knows.
    let wanted =
        case.kind != CaseKind::Proof && matches!(case.verdict, Verdict::Fail | Verdict::Invalid);
    let mut stood = None;
    if wanted {
        let account = account(story, stand.as_ref()).unwrap_or_default();
        let folder = options.artefacts.join(&case.id);
        let kept = std::fs::create_dir_all(&folder)
            .map_err(Error::io(format!("making {}", folder.display())))
            .and_then(|()| stand.evidence(case, &account, &folder));
        match kept {
            Ok(files) => case.evidence = files,
            Err(error) => {
                case.claims
                    .push(Claim::new("evidence", Verdict::Invalid, error.to_string()))
            }
        }
        stood = maker.failed(case, stand.environment());
    } else if case.kind != CaseKind::Proof {
        match stand.recorded(&options.artefacts.join(&case.id)) {
            Ok(names) => {
                let below = names.into_iter().map(|name| format!("{}/{name}", case.id));
                case.evidence.extend(below);
            }
            Err(error) => {
                let why = format!("packets that were to be kept: {error}");
                case.claims
                    .push(Claim::new("record", Verdict::Invalid, why));
            }
        }
    }
    if let Err(error) = stand.down() {
        let why = format!("the mesh did not end: {error}");
        case.claims.push(Claim::new("end", Verdict::Invalid, why));
    }
    // Whoever told it to end waits for the folder's lock. What cannot be removed says that nothing
    // stands there.
    let _ = stood.map(Folder::remove);
}

/// What follows when a mesh did not come up.
fn not_up(error: &Error) -> Claim {
    match error {
        Error::Unsupported { .. } => {
            Claim::unsupported("mesh", Lacking::Machine, error.to_string())
        }
        // A sidecar that does not start is a finding: the environment did.
        Error::NotReady { .. } => Claim::new("mesh", Verdict::Fail, error.to_string()),
        _ => Claim::new("mesh", Verdict::Invalid, error.to_string()),
    }
}

/// A proof holds when its story does not, by the claim that the story names; where it names none,
/// by one that is about what the sidecar did.
fn turn(case: &mut Case, story: &Story, bug: &str) {
    let named = story.scenario.caught_by.iter();
    let mut named = named.filter(|(name, _)| name.value == bug);
    let by = named.next().map(|(_, by)| &by.value);
    let catches = |claim: &&Claim| match by {
        Some(by) => {
            let says = by.says.as_ref();
            claim.name == by.claim.word() && says.is_none_or(|says| claim.why.contains(&says[..]))
        }
        None => ["steps", "ledger", "escapes"].contains(&claim.name.as_str()),
    };
    let mut failed = case.claims.iter().filter(|it| it.verdict == Verdict::Fail);
    let claim = match (case.verdict, failed.clone().find(catches), failed.next()) {
        (Verdict::Fail, Some(claim), _) => Claim::new(
            "caught",
            Verdict::Pass,
            format!("`{bug}` is caught: {}: {}", claim.name, claim.why),
        ),
        (Verdict::Fail, None, Some(other)) => {
            let expected = by.map_or("steps, ledger or escapes".to_owned(), CaughtBy::told);
            let why = format!(
                "`{bug}` is not caught by what the story names ({expected}): what failed is {}: {}",
                other.name, other.why
            );
            Claim::new("caught", Verdict::Fail, why)
        }
        (Verdict::Pass, ..) => Claim::new(
            "caught",
            Verdict::Fail,
            format!("`{bug}` is not caught: the story holds with it"),
        ),
        _ => match case.claims.first() {
            Some(first) => Claim {
                name: "caught".to_owned(),
                ..first.clone()
            },
            None => Claim::new("caught", Verdict::Invalid, "nothing ran"),
        },
    };
    case.verdict = claim.verdict;
    case.claims = vec![claim];
}

#[cfg(test)]
mod tests {
    use super::super::{Known, load, shipped};
    use super::*;

    /// What a proof of `bug` becomes, when these claims came of the story.
    #[track_caller]
    fn check(head: &str, claims: &[(&str, Verdict, &str)], expected: Verdict, why: &str) {
        let text = format!(
            "scenario: it\nabout: a\ntopology: pair\n{head}steps:\n  - call: {{from: client}}\n"
        );
        let topologies = |name: &str| Some((name.to_owned(), shipped::topology(name)?.to_owned()));
        let known = Known {
            suts: &["reference"],
            sites: &[],
            bugs: &["crc-dropped"],
        };
        let story = load("it.yaml", &text, &topologies, &known).expect("a story");
        let claims: Vec<Claim> = claims
            .iter()
            .map(|(name, verdict, why)| Claim::new(*name, *verdict, *why))
            .collect();
        let mut case = Case {
            id: "it+crc-dropped".to_owned(),
            kind: CaseKind::Proof,
            about: String::new(),
            choices: Vec::new(),
            verdict: overall(&claims),
            claims,
            took_ns: 0,
            rerun: String::new(),
            evidence: Vec::new(),
        };
        turn(&mut case, &story, "crc-dropped");
        assert_eq!(case.verdict, expected, "{:?}", case.claims);
        let told = &case.claims.first().expect("a claim").why;
        assert!(told.contains(why), "{told}");
    }

    #[test]
    fn a_bug_is_caught_by_the_claim_that_the_story_names_and_by_no_other() {
        const CATCHES: &str = "catches: [crc-dropped]\n";
        let named = format!("{CATCHES}caught_by: {{crc-dropped: {{says: \"functional: \"}}}}\n");
        let step = |why| ("steps", Verdict::Fail, why);
        let passed = ("ledger", Verdict::Pass, "all seen");
        check(
            CATCHES,
            &[step("step 1"), passed],
            Verdict::Pass,
            "is caught",
        );
        check(CATCHES, &[passed], Verdict::Fail, "the story holds with it");
        // A mesh that does not come up shows nothing of a bug, unless the story says so.
        let down = ("mesh", Verdict::Fail, "not ready");
        check(
            CATCHES,
            &[down],
            Verdict::Fail,
            "what failed is mesh: not ready",
        );
        let mesh = format!("{CATCHES}caught_by: {{crc-dropped: {{claim: mesh}}}}\n");
        check(&mesh, &[down], Verdict::Pass, "is caught: mesh");
        // Another claim, and another sentence of the same one.
        let differs = step("step 1 of 1: functional: 3 answers differ");
        check(&named, &[differs], Verdict::Pass, "3 answers differ");
        let other = step("step 1 of 1: heartbeats: not answered");
        check(
            &named,
            &[other],
            Verdict::Fail,
            "not caught by what the story names",
        );
        let lost = ("ledger", Verdict::Fail, "functional: lost");
        check(&named, &[lost], Verdict::Fail, "what failed is ledger");
    }
}
