//! Cells carried out: the running half of a matrix.
//!
//! - [`Made`]: from the values of a cell to a mesh and what is done in it.
//! - [`judge`]: whether what was seen is what it would have been without a mesh.
//! - [`topology`]: what cells stand on, where a matrix says it.
//! - [`Replay`]: cells that replay a capture in place of calls.
//! - [`fits`]: whether cells use everything that a matrix file says.
//! - [`Runner`]: many cells side by side, each in an environment of its own.

mod exec;
mod files;
mod fits;
mod judge;
mod make;
mod merged;
mod replayed;
mod sites;
pub mod topology;
mod whole;
mod witness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use meshproof_record::case::{Case, CaseKind, Detail};
use meshproof_record::verdict::{Claim, Lacking, Verdict, overall};
use meshproof_sys::clock::Nanos;

use super::Cell;
use crate::Error;
use crate::environment::Capability;
use crate::inline::cell::Ground;
use crate::inline::{self, Peers, Pods};
use crate::mesh::{Mesh, MeshSpec, Names, REGISTRY, Setting};
use crate::pick::Raised;
use crate::site::Site;

pub(crate) use exec::{left_out, style_word};
pub(crate) use files::{Sighting, open};
pub use fits::{Known, fits};
pub use judge::{Answer, Judged, Observed, Open, Round, judge};
pub use make::{AXES, Act, Asked, CLIENT, Made, NotMade, PROVIDERS_MAX, Restart};
pub use merged::merge;
pub use replayed::{REPLAY_AXES, Replay};
pub use sites::exclude_by_sites;
pub use whole::{BLAME_CELLS_MAX, Scope, Told, Wanted, run_matrix};

/// Cells that are run side by side at most.
pub const JOBS_MAX: usize = 64;

/// Frames in the evidence of a failure.
const FRAMES_KEPT: usize = 400;

/// So often what calls come to without a mesh is found out where not all of it is right: where
/// nothing can be wrong but the machine, which may have held up a call that was to time out.
const REFERENCES_MAX: u32 = 3;

/// How cells are run.
pub struct Options {
    /// How meshes are brought up. Its folder is not looked at: every cell has one of its own.
    pub setting: Setting,
    /// Sites that cells may name.
    pub sites: Vec<Site>,
    /// Cells side by side, 1 to [`JOBS_MAX`].
    pub jobs: usize,
    /// How long one cell may take.
    pub budget: Duration,
    /// How many calls a round has.
    pub calls: u64,
    /// What cells stand on; none: they are made from the axes.
    pub topology: Option<MeshSpec>,
    /// A capture that cells replay in place of calls.
    pub replay: Option<Arc<Replay>>,
    /// Where the files of cells stand while they run; what is left of cells that passed is
    /// removed.
    pub scratch: PathBuf,
    /// The artefacts of the record, for the evidence of failures; none: it is not kept.
    pub artefacts: Option<PathBuf>,
    /// Peers of this process in place of programs; it must be able to make networks.
    pub in_process: Option<Arc<dyn Peers>>,
    /// What runs a cell again when its id stands behind it: `meshproof matrix mixed-mesh --cell`.
    pub rerun: String,
}

/// A cell that was run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ran {
    /// For the record.
    pub case: Case,
    /// What speaks against it, the most telling first, the same in every cell with this cause.
    pub evidence: Vec<String>,
    /// The first of it as a sentence, with place and number.
    pub sentence: String,
}

/// What a runner tells while it runs.
#[derive(Debug)]
pub enum News<'a> {
    /// A cell began.
    Started(&'a Cell),
    /// A cell is over.
    Ended(&'a Ran),
}

/// Answers without a mesh, made once.
type Reference = Arc<OnceLock<Result<Vec<Round>, String>>>;

/// Runs cells. What they are compared with is kept from one run to the next.
pub struct Runner {
    options: Options,
    references: Mutex<BTreeMap<Asked, Reference>>,
    /// Folders that were made.
    folders: AtomicUsize,
    /// Pods of cells that passed, for the next ones: nothing runs in them.
    pods: Mutex<Vec<Pods>>,
    /// The same, for cells of programs.
    environments: Mutex<Vec<Raised>>,
    /// Cells that were run again for their packets.
    witnessed: witness::Witnessed,
}

/// One thing for a thread to do.
enum Work<'a> {
    /// Find out what some answers are without a mesh.
    Refer(Vec<(Made, Reference)>),
    /// Run a cell.
    Run(usize, &'a Cell, Box<Result<Made, NotMade>>),
    /// Replay through a cell.
    Replay(usize, &'a Cell, &'a Replay),
}

impl Runner {
    /// One that has run nothing yet.
    pub fn new(options: Options) -> Runner {
        Runner {
            options,
            references: Mutex::default(),
            folders: AtomicUsize::new(0),
            pods: Mutex::default(),
            environments: Mutex::default(),
            witnessed: witness::Witnessed::default(),
        }
    }

    /// How it runs.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Runs cells, those that take longest first; results in the order of the cells. When `stop`
    /// becomes true, cells that have not begun are left out.
    pub fn run(
        &self,
        cells: &[Cell],
        stop: &AtomicBool,
        told: &(dyn Fn(News<'_>) + Sync),
    ) -> Vec<Ran> {
        let queue = self.queue(cells);
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Ran)>> = Mutex::default();
        let jobs = self.options.jobs.clamp(1, JOBS_MAX).min(queue.len().max(1));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(work) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match work {
                            // Somebody may wait for it: it is made also when all is to stop.
                            Work::Refer(wanted) => self.refer(wanted),
                            Work::Run(..) | Work::Replay(..) if stop.load(Ordering::Relaxed) => {}
                            Work::Replay(at, cell, replay) => {
                                told(News::Started(cell));
                                let begun = Nanos::now();
                                let ran = self.ran(cell, begun, self.replayed(cell, replay));
                                told(News::Ended(&ran));
                                lock(&done).push((*at, ran));
                            }
                            Work::Run(at, cell, made) => {
                                told(News::Started(cell));
                                let ran = self.cell(cell, made);
                                told(News::Ended(&ran));
                                lock(&done).push((*at, ran));
                            }
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, ran)| ran).collect()
    }

    /// References first, since cells wait for them; then the longest cells.
    fn queue<'a>(&'a self, cells: &'a [Cell]) -> Vec<Work<'a>> {
        if let Some(replay) = &self.options.replay {
            let cells = cells.iter().enumerate();
            return cells
                .map(|(at, cell)| Work::Replay(at, cell, replay))
                .collect();
        }
        let mut references: BTreeMap<Vec<String>, Vec<(Made, Reference)>> = BTreeMap::new();
        let mut runs = Vec::with_capacity(cells.len());
        for (at, cell) in cells.iter().enumerate() {
            let made = Made::of(cell, self.options.calls, self.options.topology.as_ref());
            if let Ok(made) = &made {
                let mut known = lock(&self.references);
                if !known.contains_key(&made.asked) {
                    let slot = Reference::default();
                    known.insert(made.asked.clone(), Arc::clone(&slot));
                    let same = references.entry(made.asked.providers.clone()).or_default();
                    same.push((made.without_mesh(), slot));
                }
            }
            let weight = made.as_ref().map_or(0, Made::weight_ms);
            runs.push((weight, Work::Run(at, cell, Box::new(made))));
        }
        runs.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let references = references.into_values().map(Work::Refer);
        references
            .chain(runs.into_iter().map(|(_, work)| work))
            .collect()
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let folder = self.options.scratch.join(format!("{number}-{name}"));
        fs::create_dir_all(&folder)
            .map_err(Error::io(format!("the folder {}", folder.display())))?;
        Ok(folder)
    }

    /// The setting of one mesh.
    fn setting(&self, site: Option<&str>, folder: &Path) -> Result<Setting, Error> {
        let mut setting = Setting {
            folder: Some(folder.to_path_buf()),
            names: Names::WithVips,
            ..self.options.setting.clone()
        };
        if let Some(name) = site {
            let sites = &self.options.sites;
            let found = sites.iter().find(|site| site.site == name);
            setting.site = found.cloned().ok_or_else(|| {
                let known: Vec<&str> = sites.iter().map(|site| site.site.as_str()).collect();
                let known = known.join(", ");
                Error::Refused(format!("no site is called `{name}`; there are {known}"))
            })?;
        }
        Ok(setting)
    }

    /// Finds out what calls come to without a mesh: of one list of providers, in one environment.
    fn refer(&self, wanted: &[(Made, Reference)]) {
        let Some((first, _)) = wanted.first() else {
            return;
        };
        let all = || -> Result<Vec<Vec<Round>>, Error> {
            let mut made = first.clone();
            made.acts = wanted
                .iter()
                .flat_map(|(made, _)| made.acts.clone())
                .collect();
            let folder = self.folder("reference")?;
            let seen = match &self.options.in_process {
                Some(peers) => self.inside(peers, &made, &folder)?,
                None => {
                    let setting = self.setting(made.site.as_deref(), &folder)?;
                    let made = made.at(&setting.site, &setting.suts);
                    let raised = self.take(&made.spec, &setting)?;
                    let mesh = Mesh::up_in(raised, &made.spec, &setting)?;
                    let end = Nanos::now() + self.options.budget * 4;
                    let seen = exec::carry_out(&mesh, &made, &folder, end)?;
                    self.give_back(mesh)?;
                    seen
                }
            };
            sweep(&folder);
            if let Some(why) = seen.stuck {
                return Err(Error::Refused(why));
            }
            let mut rounds = seen.rounds.into_iter();
            Ok(wanted
                .iter()
                .map(|(made, _)| rounds.by_ref().take(made.acts.len()).collect())
                .collect())
        };
        let mut found = Vec::new();
        for _ in 0..REFERENCES_MAX {
            found = match all() {
                Ok(all) => (wanted.iter().zip(all))
                    .map(|((made, _), rounds)| right(rounds, made.acts.len()))
                    .collect(),
                Err(error) => wanted.iter().map(|_| Err(error.to_string())).collect(),
            };
            if found.iter().all(Result::is_ok) {
                break;
            }
        }
        for ((_, slot), rounds) in wanted.iter().zip(found) {
            // Nobody else sets it.
            let _ = slot.set(rounds);
        }
    }

    fn cell(&self, cell: &Cell, made: &Result<Made, NotMade>) -> Ran {
        let begun = Nanos::now();
        let outcome = match made {
            Ok(made) => self.attempt(cell, made),
            Err(error) => Err(Error::Refused(error.to_string())),
        };
        self.ran(cell, begun, outcome)
    }

    /// What came of a cell, for the record.
    fn ran(&self, cell: &Cell, begun: Nanos, outcome: Result<(Judged, Vec<String>), Error>) -> Ran {
        let (judged, evidence) = outcome.unwrap_or_else(|error| (not_run(&error), Vec::new()));
        let case = Case {
            id: cell.id.clone(),
            kind: CaseKind::Cell,
            about: cell.written(),
            choices: cell.choices.clone(),
            verdict: overall(&judged.claims),
            claims: judged.claims,
            took_ns: Nanos::now().since(begun),
            rerun: format!("{} {}", self.options.rerun, cell.id),
            evidence,
        };
        Ran {
            case,
            evidence: judged.evidence,
            sentence: judged.sentence,
        }
    }

    /// Runs a cell and judges it; also the files of its evidence.
    fn attempt(&self, cell: &Cell, made: &Made) -> Result<(Judged, Vec<String>), Error> {
        let folder = self.folder(&cell.id)?;
        let (seen, mesh) = match &self.options.in_process {
            Some(peers) => (self.inside(peers, made, &folder)?, None),
            None => self.in_programs(made, &folder)?,
        };
        let reference = lock(&self.references).get(&made.asked).cloned();
        let reference = reference.as_ref().map(|slot| slot.wait());
        let judging = |seen: &Observed| match reference {
            Some(Ok(rounds)) => judge(seen, rounds),
            Some(Err(why)) => Judged {
                claims: vec![Claim::new("reference", Verdict::Invalid, why.clone())],
                ..Judged::default()
            },
            None => judge(seen, &[]),
        };
        let judged = judging(&seen);
        let mut kept = Vec::new();
        if overall(&judged.claims) != Verdict::Pass {
            let again = match &mesh {
                Some(mesh) => self.witness(cell, (made, mesh), &judged, &judging)?,
                None => None,
            };
            kept = match (again, &mesh) {
                (Some(kept), _) => kept,
                (None, Some(mesh)) => {
                    let detail = exec::detail(mesh, &cell.id, &seen, &folder, &[]);
                    self.keep(cell, &detail, Some(mesh))?
                }
                (None, None) => {
                    let detail = Detail {
                        case: cell.id.clone(),
                        ..Detail::default()
                    };
                    self.keep(cell, &detail, None)?
                }
            };
        }
        match mesh {
            // What is in doubt is not used again.
            Some(mesh) if overall(&judged.claims) == Verdict::Pass => self.give_back(mesh)?,
            Some(mesh) => drop(mesh.down()?),
            None => {}
        }
        sweep(&folder);
        Ok((judged, kept))
    }

    /// An environment for a mesh: one that was given back, or a new one.
    fn take(&self, spec: &MeshSpec, setting: &Setting) -> Result<Raised, Error> {
        let pooled = {
            let mut pool = lock(&self.environments);
            let fits = (0..pool.len()).filter(|at| Mesh::fits(&pool[*at], spec));
            // The larger ones are for those who need them.
            let smallest = fits.min_by_key(|at| pool[*at].environment.pods().len());
            smallest.map(|at| pool.swap_remove(at))
        };
        match pooled {
            Some(raised) => Ok(raised),
            None => Mesh::environment_for(spec, setting),
        }
    }

    /// Ends a mesh. Its environment is for the next one, where that can be emptied and where only
    /// programs of ours ran, of which is known what they leave: files in folders of theirs.
    fn give_back(&self, mesh: Mesh) -> Result<(), Error> {
        let own = mesh.pods().all(|pod| {
            let sidecar = mesh.sidecar_of(pod).ok().flatten();
            sidecar.is_none_or(|sut| sut.binary.is_none())
        });
        if !own || !mesh.environment().can(Capability::Reset) {
            return mesh.down().map(drop);
        }
        // One that cannot be emptied has ended; the next cell gets a new one.
        if let Ok(raised) = mesh.vacate() {
            lock(&self.environments).push(raised);
        }
        Ok(())
    }

    /// In a mesh of programs, which is still up.
    fn in_programs(&self, made: &Made, folder: &Path) -> Result<(Observed, Option<Mesh>), Error> {
        let setting = self.setting(made.site.as_deref(), folder)?;
        let made = &made.at(&setting.site, &setting.suts);
        let end = Nanos::now() + self.options.budget;
        let raised = self.take(&made.spec, &setting)?;
        match Mesh::up_in(raised, &made.spec, &setting) {
            Ok(mesh) => Ok((exec::carry_out(&mesh, made, folder, end)?, Some(mesh))),
            Err(error) => {
                let seen = Observed {
                    stuck: Some(exec::stuck(error)?),
                    ..Observed::default()
                };
                Ok((seen, None))
            }
        }
    }

    /// With peers of this process.
    fn inside(
        &self,
        peers: &Arc<dyn Peers>,
        made: &Made,
        folder: &Path,
    ) -> Result<Observed, Error> {
        let site = self.setting(made.site.as_deref(), folder)?.site;
        if !site.has_center() {
            return Err(Error::Refused(format!(
                "site {} has no config center, and cells in process have one: run this one by \
                 itself, without --in-process",
                site.site
            )));
        }
        let io = Error::io("a cell in process");
        let names = std::iter::once(REGISTRY);
        let names = names.chain(made.spec.pods.iter().map(|(name, _)| name.value.as_str()));
        let names: Vec<&str> = names.collect();
        let pooled = {
            let mut pool = lock(&self.pods);
            let fits = |pods: &Pods| names.iter().all(|name| pods.has(name));
            pool.iter().position(fits).map(|at| pool.swap_remove(at))
        };
        let carried = || {
            let pods = match pooled {
                Some(pods) => pods,
                None => Pods::make(names)?,
            };
            let ground = Ground {
                pods: &pods,
                peers,
                folder,
                bugs: &self.options.setting.bugs,
            };
            let seen = inline::cell::carry_out(made, &ground)?;
            // What is in doubt is not used again.
            if seen.stuck.is_none() && seen.refused.is_empty() {
                lock(&self.pods).push(pods);
            }
            Ok(seen)
        };
        carried().map_err(io)
    }

    /// Puts the evidence of a failure into the record; the names of its files.
    fn keep(
        &self,
        cell: &Cell,
        detail: &Detail,
        mesh: Option<&Mesh>,
    ) -> Result<Vec<String>, Error> {
        let Some(artefacts) = &self.options.artefacts else {
            return Ok(Vec::new());
        };
        let place = artefacts.join(&cell.id);
        let io = || Error::io(format!("the evidence in {}", place.display()));
        fs::create_dir_all(&place).map_err(io())?;
        let mut names = match mesh {
            // What cannot be had of a mesh in trouble is left out.
            Some(mesh) => mesh.evidence(&place).unwrap_or_default(),
            None => Vec::new(),
        };
        let text = serde_json::to_vec(detail).unwrap_or_default();
        fs::write(place.join("detail.json"), text).map_err(io())?;
        names.push("detail.json".to_owned());
        names.sort();
        Ok(names
            .iter()
            .map(|name| format!("{}/{name}", cell.id))
            .collect())
    }
}

/// Rounds without a mesh, of which every call must be right: what else could others be held to?
fn right(rounds: Vec<Round>, wanted: usize) -> Result<Vec<Round>, String> {
    let made = rounds.len();
    if made != wanted && rounds.iter().all(|round| round.right == round.wanted) {
        return Err(format!(
            "{made} of {wanted} rounds were made without any mesh"
        ));
    }
    match rounds.iter().find(|round| round.right != round.wanted) {
        None => Ok(rounds),
        Some(round) => {
            let said = round.first.as_deref().unwrap_or("nothing was said");
            let (right, wanted, style) = (round.right, round.wanted, round.style);
            Err(format!(
                "{right} of {wanted} {style} calls are right without any mesh: {said}"
            ))
        }
    }
}

/// What is left of a cell that is over; what cannot be removed goes with the scratch folder.
fn sweep(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

/// A cell that shows nothing of the mesh.
fn not_run(error: &Error) -> Judged {
    let claim = match error {
        Error::Unsupported { .. } => {
            Claim::unsupported("mesh", Lacking::Machine, error.to_string())
        }
        _ => Claim::new("mesh", Verdict::Invalid, error.to_string()),
    };
    Judged {
        claims: vec![claim],
        ..Judged::default()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder of the run.
        let _ = fs::remove_dir_all(&self.options.scratch);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is held is a map or a list that is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
