//! From the values of a cell to a mesh and to what is done in it.

use std::time::Duration;

use meshproof_input::{Entries, Span, Spanned};

use super::topology::{callers, heartbeat, servers};
use crate::matrix::{Cell, Value};
use crate::mesh::call::{Serializer, Speech};
use crate::mesh::spec::Heartbeat;
use crate::mesh::{AppSpec, Call, MeshSpec, PodSpec, Speaks, Style};
use crate::site::{NamesKind, Site};
use crate::sut::Sut;

/// The pod that calls, where no topology names one.
pub const CLIENT: &str = "client";

/// The version of the service that cells call.
pub(super) const SERVED: &str = "1.0";

/// Providers of one cell at most.
pub const PROVIDERS_MAX: usize = 8;

/// The axes that cells are made from, and what their values are.
pub const AXES: [(&str, &str); 9] = [
    ("client.mesh", "none, or the name of a sidecar"),
    ("server.mesh", "none, or the name of a sidecar"),
    (
        "providers",
        "a list of tr, bolt-v1, bolt-v2, bolt-v2-crc, bolt-only",
    ),
    ("registry_order", "as-is, reversed, shuffled"),
    ("call", "sync, oneway, exception, timeout, heartbeat, large"),
    ("speech", "auto, bolt-v1, bolt-v2, bolt-v2-crc, tr"),
    ("serializer", "hessian, json"),
    ("restart", "none, app, sidecar, registry"),
    ("site", "the name of a site"),
];

/// No cell is about apps that fall silent: one that is busy with a large body, on a machine that
/// is busy with other cells, must not count as lost.
const PATIENT_HEARTBEAT: Heartbeat = Heartbeat {
    interval_ms: 2_000,
    timeout_ms: 2_000,
    misses: 5,
};

/// Connections of a client for each provider: twice the four that a sidecar opens to one address,
/// so that some are shared and ids meet, however many providers there are.
const CONNECTIONS: usize = 8;

/// How long an app thinks, in milliseconds: calls of several connections are under way together.
const THINKS_MS: u64 = 10;

/// What the frame of a call that is to time out says.
const SHORT: Duration = Duration::from_millis(80);

/// How much longer an answer to it is waited for: a sidecar says that the time is up.
const GRACE: Duration = Duration::from_millis(200);

/// How long any other call may take.
const PATIENT: Duration = Duration::from_secs(3);

/// The same of a call that moves much.
const VERY_PATIENT: Duration = Duration::from_secs(20);

/// Failures of a round that are enough: one may be a neighbour of the cause, and the rest of a round
/// says the same again, at the price of a time-out each.
const ENOUGH: u64 = 3;

/// Calls of a style that takes long.
const FEW: u64 = 4;

/// Calls that move much.
const LARGE: u64 = 2;

/// What is restarted between two rounds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Every app.
    App,
    /// Every sidecar.
    Sidecar,
    /// The config center.
    Registry,
}

impl Restart {
    /// As a sentence has it.
    pub fn words(self) -> &'static str {
        match self {
            Restart::App => "restart every app",
            Restart::Sidecar => "restart every sidecar",
            Restart::Registry => "restart the config center",
        }
    }
}

/// One thing that a cell does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Calls.
    Call(Box<Call>),
    /// Something ends and comes back.
    Restart(Restart),
}

/// What decides over the answers of a cell when there is no mesh: cells that ask the same share a
/// reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// What the providers understand, in order.
    pub providers: Vec<String>,
    /// The style of calls.
    pub style: String,
    /// What the client speaks.
    pub speech: String,
    /// What arguments and results are written in.
    pub serializer: String,
    /// How many calls a round has.
    pub calls: u64,
}

/// A mesh, and what is done in it.
#[derive(Clone, Debug)]
pub struct Made {
    /// The mesh.
    pub spec: MeshSpec,
    /// In this order.
    pub acts: Vec<Act>,
    /// What its answers depend on when there is no mesh.
    pub asked: Asked,
    /// The site; none: that of the setting.
    pub site: Option<String>,
    /// What the app of each pod understands, for a drawing.
    pub runs: Vec<(String, String)>,
}

/// Why no mesh can be made of a cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotMade {
    /// A value that means nothing here.
    #[error("axis {axis}: `{value}` means nothing to a cell: expected {expected}")]
    Value {
        /// The axis.
        axis: &'static str,
        /// What was found.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// An axis that changes nothing.
    #[error(
        "axis {axis} changes nothing in a cell: cells are made from {}",
        known()
    )]
    Axis {
        /// The axis.
        axis: String,
    },
    /// TR carries one serializer.
    #[error("serializer={serializer} cannot go over TR, which carries Hessian alone")]
    NotOverTr {
        /// What was asked for.
        serializer: &'static str,
    },
    /// A list that is not one of the topology's apps.
    #[error(
        "providers has {found} words, and the topology has {wanted} apps, in this order: {apps}"
    )]
    Providers {
        /// Words of the list.
        found: usize,
        /// Apps of the topology.
        wanted: usize,
        /// Their pods.
        apps: String,
    },
}

fn known() -> String {
    AXES.map(|(axis, _)| axis).join(", ")
}

fn expected(axis: &str) -> &'static str {
    AXES.iter()
        .find(|(known, _)| *known == axis)
        .map_or("", |(_, values)| values)
}

fn wrong(axis: &'static str, value: impl ToString) -> NotMade {
    NotMade::Value {
        axis,
        value: value.to_string(),
        expected: expected(axis),
    }
}

/// What one word for a provider stands for.
struct Provider {
    speaks: Speaks,
    /// What it is called in where the client may choose.
    speech: Option<Speech>,
}

fn provider(word: &Value) -> Result<Provider, NotMade> {
    // A server that knows BOLT knows TR too, as those of the fleet that moved did: only so can
    // everything be called in TR where one provider knows nothing else.
    let (speaks, speech) = match word.as_text() {
        Some("tr") => (Speaks::Old, None),
        Some("bolt" | "bolt-v1") => (Speaks::New, None),
        Some("bolt-v2") => (Speaks::New, Some(Speech::BoltV2)),
        Some("bolt-v2-crc") => (Speaks::New, Some(Speech::BoltV2Crc)),
        Some("bolt-only") => (Speaks::Bolt, None),
        _ => return Err(wrong("providers", word)),
    };
    Ok(Provider { speaks, speech })
}

impl Made {
    /// Makes it; `calls` is how many calls a round has. On a topology its pods stay: axes that a
    /// cell has change what runs in them.
    ///
    /// # Errors
    /// A value of a known axis that means nothing, or an axis that changes nothing.
    pub fn of(cell: &Cell, calls: u64, topology: Option<&MeshSpec>) -> Result<Made, NotMade> {
        for choice in &cell.choices {
            if !AXES.iter().any(|(known, _)| *known == choice.axis) {
                return Err(NotMade::Axis {
                    axis: choice.axis.clone(),
                });
            }
        }
        let text = |axis: &'static str, usual: &'static str| match cell.value(axis) {
            None => Ok(usual),
            Some(value) => value.as_text().ok_or_else(|| wrong(axis, value)),
        };
        let (call, speech) = (text("call", "sync")?, text("speech", "auto")?);
        let words = cell.items("providers");
        if words.len() > PROVIDERS_MAX {
            return Err(wrong("providers", words.len()));
        }
        let mut providers = words.iter().map(provider).collect::<Result<Vec<_>, _>>()?;
        let mut spec = match topology {
            None => {
                if providers.is_empty() {
                    providers.push(provider(&Value::Text("bolt-v1".into()))?);
                }
                of_axes(providers.len())
            }
            Some(topology) => MeshSpec {
                heartbeat: heartbeat(topology, PATIENT_HEARTBEAT),
                ..topology.clone()
            },
        };
        let from: Vec<String> = callers(&spec).map(|(pod, _)| pod.to_owned()).collect();
        let pods: Vec<String> = servers(&spec).map(|(pod, _)| pod.to_owned()).collect();
        if !providers.is_empty() && providers.len() != pods.len() {
            return Err(NotMade::Providers {
                found: providers.len(),
                wanted: pods.len(),
                apps: pods.join(", "),
            });
        }
        let mut asked: Vec<String> = words.iter().map(ToString::to_string).collect();
        if asked.is_empty() && topology.is_none() {
            asked.push("bolt-v1".to_owned());
        }
        let mut spoken = providers.iter();
        for (name, pod) in &mut spec.pods.0 {
            let side = match pod.value.app {
                Some(_) => "server.mesh",
                None if from.contains(&name.value) => "client.mesh",
                None => continue,
            };
            if cell.value(side).is_some() {
                pod.value.sidecar = sidecar(text(side, "none")?);
            }
            if let Some(app) = &mut pod.value.app {
                match spoken.next() {
                    Some(provider) => app.speaks = provider.speaks,
                    None => asked.push(word_of(app.speaks).to_owned()),
                }
                if !app.arguments.iter().any(|it| it == "--delay") {
                    let delay = ["--delay".to_owned(), THINKS_MS.to_string()];
                    app.arguments.extend(delay);
                }
            }
        }
        let style = style(call)?;
        let chosen = match speech {
            "auto" => providers.iter().find_map(|provider| provider.speech),
            "bolt-v1" => Some(Speech::BoltV1),
            "bolt-v2" => Some(Speech::BoltV2),
            "bolt-v2-crc" => Some(Speech::BoltV2Crc),
            "tr" => Some(Speech::Tr),
            other => return Err(wrong("speech", other)),
        };
        let written = serializer(text("serializer", "hessian")?)?;
        // Where one provider knows TR alone, a sidecar has all of them called in it.
        if (chosen == Some(Speech::Tr) || knows_tr_alone(&spec).is_some())
            && written != Serializer::Hessian
        {
            return Err(NotMade::NotOverTr {
                serializer: written.word(),
            });
        }
        if topology.is_none() || cell.value("registry_order").is_some() {
            spec.registry_order = order(text("registry_order", "as-is")?, &pods)?;
        }
        spec.topology.clone_from(&cell.id);
        spec.about = cell.written();
        let runs = pods
            .iter()
            .zip(&asked)
            .map(|(pod, word)| (pod.clone(), format!("app {word}")))
            .collect();
        let plain = from.iter().map(|from| Call {
            speech: chosen,
            serializer: written,
            connections: CONNECTIONS * pods.len(),
            timeout: PATIENT,
            enough: Some(ENOUGH),
            ..Call::new(from, calls)
        });
        Ok(Made {
            acts: acts(style, plain.collect(), restart(text("restart", "none")?)?),
            spec,
            asked: Asked {
                providers: asked,
                style: call.to_owned(),
                speech: speech.to_owned(),
                serializer: written.word().to_owned(),
                calls,
            },
            site: cell.text("site").map(str::to_owned),
            runs,
        })
    }

    /// The same without any mesh, in the order of the providers, without a restart: what its
    /// answers are compared with.
    #[must_use]
    pub fn without_mesh(&self) -> Made {
        let mut plain = self.clone();
        for (_, pod) in &mut plain.spec.pods.0 {
            pod.value.sidecar = None;
        }
        plain.spec.topology = format!("{} without a mesh", self.asked.style);
        plain.spec.registry_order = "as-is".into();
        let first = plain
            .acts
            .iter()
            .position(|act| matches!(act, Act::Restart(_)))
            .unwrap_or(plain.acts.len());
        plain.acts.truncate(first);
        plain
    }

    /// The same where it stands. Without VIPs nobody answers for names, and who is called is told
    /// by addresses alone. With them, who calls through a sidecar that can calls the first pool in
    /// the end by its legacy form, whatever the config center knows; a pool that tells nothing of
    /// protocols is called only where every app of it understands BOLT.
    #[must_use]
    pub fn at(&self, site: &Site, suts: &[Sut]) -> Made {
        let mut here = self.clone();
        if site.names == NamesKind::Dns {
            here.spec.vips = Entries::default();
            return here;
        }
        let answers = |pod: &String| {
            servers(&here.spec).any(|(name, spec)| {
                let app = spec.app.as_ref();
                name == pod && app.is_some_and(|app| app.speaks != Speaks::Old && serves(app))
            })
        };
        let mut pools = here.spec.vips.iter();
        let pool = pools.find(|(_, pods)| !pods.is_empty() && pods.iter().all(answers));
        let Some((app, zone)) = pool.and_then(|(pool, _)| pool.split_once('.')) else {
            return here;
        };
        let legacy = |timeout: Duration| {
            let timeout_ms = timeout.as_millis();
            format!("http://{app}-pool.{zone}.alipay.net:12200?_TIMEOUT={timeout_ms}")
        };
        let can = |pod: &str| {
            let mut all = callers(&here.spec).filter(|(name, _)| *name == pod);
            let sidecar = all.next().and_then(|(_, spec)| spec.sidecar.as_deref());
            let sut = sidecar.and_then(|name| suts.iter().find(|sut| sut.sut == name));
            sut.is_some_and(|sut| sut.can("subscribes") && sut.can("vip"))
        };
        let mut called: Vec<&str> = Vec::new();
        let mut more = Vec::new();
        for act in &here.acts {
            let Act::Call(call) = act else { continue };
            let is_plain = call.style == Style::Sync && call.speech != Some(Speech::Tr);
            if is_plain && can(&call.from) && !called.contains(&call.from.as_str()) {
                called.push(&call.from);
                more.push(Act::Call(Box::new(Call {
                    vip: Some(legacy(call.timeout)),
                    vip_only: true,
                    ..call.as_ref().clone()
                })));
            }
        }
        here.acts.extend(more);
        here
    }

    /// Whether it is its own reference.
    pub fn is_plain(&self) -> bool {
        self.spec
            .pods
            .iter()
            .all(|(_, pod)| pod.value.sidecar.is_none())
    }

    /// Roughly how long it takes beside others, in milliseconds: longest first.
    pub fn weight_ms(&self) -> u64 {
        let acts = self.acts.iter().map(|act| match act {
            Act::Call(call) if call.style == Style::Timeout => 350,
            Act::Call(call) if call.style == Style::Large => 300,
            Act::Call(_) => 60,
            Act::Restart(Restart::Registry) => 1_200,
            Act::Restart(_) => 500,
        });
        let pods = self.spec.pods.iter().map(|(_, pod)| {
            let sidecar = u64::from(pod.value.sidecar.is_some());
            let app = u64::from(pod.value.app.is_some());
            60 * (sidecar + app)
        });
        acts.sum::<u64>() + pods.sum::<u64>()
    }
}

/// A client and so many servers, which are named by their number.
fn of_axes(servers: usize) -> MeshSpec {
    let mut all = vec![entry(CLIENT, PodSpec::default())];
    for number in 1..=servers {
        let app = Some(AppSpec::default());
        let pod = PodSpec {
            app,
            ..PodSpec::default()
        };
        all.push(entry(&format!("server-{number}"), pod));
    }
    MeshSpec {
        topology: String::new(),
        about: String::new(),
        needs: Vec::new(),
        heartbeat: PATIENT_HEARTBEAT,
        registry_order: "as-is".into(),
        vips: Entries::default(),
        pods: Entries(all),
    }
}

/// Whether an app provides what cells call.
pub(super) fn serves(app: &AppSpec) -> bool {
    app.versions.iter().any(|version| version == SERVED)
}

/// A pod whose app knows TR and nothing else.
pub(super) fn knows_tr_alone(spec: &MeshSpec) -> Option<&str> {
    let old = |pod: &PodSpec| pod.app.as_ref().is_some_and(|it| it.speaks == Speaks::Old);
    servers(spec).find_map(|(name, pod)| old(pod).then_some(name))
}

/// What an app of a topology understands, as an axis would say it.
fn word_of(speaks: Speaks) -> &'static str {
    match speaks {
        Speaks::Old => "tr",
        Speaks::Bolt => "bolt-only",
        Speaks::New => "bolt-v1",
    }
}

pub(super) fn sidecar(name: &str) -> Option<String> {
    (name != "none").then(|| name.to_owned())
}

fn entry(name: &str, pod: PodSpec) -> (Spanned<String>, Spanned<PodSpec>) {
    let span = Span::default();
    (
        Spanned {
            value: name.to_owned(),
            span,
        },
        Spanned { value: pod, span },
    )
}

fn style(word: &str) -> Result<Style, NotMade> {
    Ok(match word {
        "sync" => Style::Sync,
        "oneway" => Style::Oneway,
        "exception" | "error" => Style::Exception,
        "timeout" => Style::Timeout,
        "heartbeat" => Style::Heartbeat,
        "large" => Style::Large,
        other => return Err(wrong("call", other)),
    })
}

fn serializer(word: &str) -> Result<Serializer, NotMade> {
    Ok(match word {
        "hessian" => Serializer::Hessian,
        "json" => Serializer::Json,
        other => return Err(wrong("serializer", other)),
    })
}

fn restart(word: &str) -> Result<Option<Restart>, NotMade> {
    Ok(match word {
        "none" => None,
        "app" => Some(Restart::App),
        "sidecar" => Some(Restart::Sidecar),
        "registry" => Some(Restart::Registry),
        other => return Err(wrong("restart", other)),
    })
}

/// The order of the config center's answers. It is the same in every run of the cell, whichever
/// app was registered first.
pub(super) fn order(word: &str, pods: &[String]) -> Result<String, NotMade> {
    let mut pods = pods.to_vec();
    match word {
        "as-is" => {}
        "reversed" => pods.reverse(),
        // Of three and more, neither of the two; a cell must be the same whenever it runs.
        "shuffled" => {
            let by = usize::from(pods.len() > 1);
            pods.rotate_left(by);
        }
        other => return Err(wrong("registry_order", other)),
    }
    Ok(format!("fixed:{}", pods.join(",")))
}

/// Plain calls of everybody who calls, those of the style, and after a restart both again. Plain
/// calls are in every cell: what is wrong whatever the style is then blamed on no style.
fn acts(style: Style, plain: Vec<Call>, restart: Option<Restart>) -> Vec<Act> {
    let styled = |plain: &Call| match style {
        Style::Sync => None,
        Style::Oneway | Style::Exception | Style::Heartbeat => Some(Call {
            style,
            ..plain.clone()
        }),
        Style::Timeout => Some(Call {
            style,
            count: FEW,
            connections: FEW as usize,
            timeout: SHORT,
            grace: GRACE,
            ..plain.clone()
        }),
        Style::Large => Some(Call {
            style,
            count: LARGE,
            connections: LARGE as usize,
            timeout: VERY_PATIENT,
            ..plain.clone()
        }),
    };
    let styled: Vec<Call> = plain.iter().filter_map(styled).collect();
    let round: Vec<Act> = plain
        .into_iter()
        .chain(styled)
        .map(|call| Act::Call(Box::new(call)))
        .collect();
    let mut acts = round.clone();
    if let Some(restart) = restart {
        acts.push(Act::Restart(restart));
        acts.extend(round);
    }
    acts
}
