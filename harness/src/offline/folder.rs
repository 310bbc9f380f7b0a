//! The folder that holds an offline mesh: topology, page and capture. It names nothing outside
//! itself and holds no original, so that it runs anywhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshproof_input::Problem;
use meshproof_replay::capture::{self, AtomicFile, Captures, Inputs, Writer};
use meshproof_replay::engine::load::{self, Loaded};
use meshproof_replay::engine::plan::Recorded;
use meshproof_replay::exchange::{self, Exchange, ExchangeKind, Half, Hop, Outcome};
use meshproof_replay::map::Map;
use meshproof_replay::rewrite;
use meshproof_replay::select::Selection;
use meshproof_replay::stream::{Flow, FlowId, Mark, OpenerBy};
use meshproof_wire::mesh_api::{Answer, Application, Call, Subscribe, protocol_code};
use meshproof_wire::{Crc, Frame, Head, Kind, Protocol, RequestId};

use super::settle::audit;
use super::shape::{MadeUp, Shape, Side, Unfit};
use super::text::{self, CAPTURE, Page, Sidecars};
use crate::Error;
use crate::mesh::MeshSpec;

/// The topology within the folder.
pub const TOPOLOGY: &str = "topology.yaml";
/// The page within the folder.
pub const PAGE: &str = "offline.yaml";

/// Why there is no offline mesh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The capture tells of no deployment that can be made.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// What a person wrote is wrong.
    #[error(transparent)]
    Input(#[from] Box<Problem>),
    /// A capture cannot be read.
    #[error("{0}")]
    Capture(String),
    /// Something of the original deployment is left.
    #[error(
        "the audit found {found} originals in the rewritten capture, `{first}` first: add rules to \
         the map (`meshproof audit` lists them all)"
    )]
    Left {
        /// How many.
        found: usize,
        /// The first of them.
        first: String,
    },
    /// A part of an audited capture shows what the whole does not.
    #[error(
        "{found} addresses or names of the small capture are not in the audited one, `{first}` \
         first: it is not written"
    )]
    Strange {
        /// How many.
        found: usize,
        /// The first of them.
        first: String,
    },
    /// The audit could not look at everything.
    #[error("the audit could not search everything: {0}")]
    Unsearched(String),
    /// A file can be neither read nor written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The mesh.
    #[error(transparent)]
    Mesh(#[from] Error),
}

impl Failed {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Failed {
        let path = path.to_path_buf();
        move |source| Failed::Io { path, source }
    }
}

impl From<capture::Error> for Failed {
    fn from(error: capture::Error) -> Failed {
        Failed::Capture(error.to_string())
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Failed {
        Failed::Input(Box::new(problem))
    }
}

/// An offline mesh: what its folder says.
#[derive(Clone, Debug)]
pub struct Offline {
    /// Where it stands, absolute.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// Where a replay enters.
    pub side: Side,
    /// The pod that the replay's connections are opened in.
    pub from: String,
    /// The pod whose sidecar is tried.
    pub sut: String,
    /// The capture.
    pub capture: PathBuf,
    /// The recorded app.
    pub app: String,
    /// Subscriptions that the capture lacks.
    pub made_up: Vec<MadeUp>,
    /// The mesh.
    pub spec: MeshSpec,
}

/// What was made, and what a reader should know of it.
#[derive(Debug)]
pub struct Made {
    /// The mesh.
    pub offline: Offline,
    /// What the capture told.
    pub shape: Shape,
    /// Packets of the rewritten capture.
    pub packets: u64,
    /// Originals that the audit searched for.
    pub searched: u64,
}

/// Makes an offline mesh from captures and a map: rewrites, audits, and writes the folder, which
/// must be empty or not there.
///
/// # Errors
/// The captures tell of nothing that can be made, something of the original deployment is left,
/// or a file can be neither read nor written. Nothing is left in the folder then.
pub fn make(
    inputs: &Inputs,
    map: &Map,
    side: Option<Side>,
    sut: &str,
    folder: &Path,
) -> Result<Made, Failed> {
    let name = folder
        .file_name()
        .map_or("offline".into(), |name| name.to_string_lossy().into_owned());
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let path = folder.display();
        let why = format!("{path} is not empty: name another folder with -o");
        return Err(Error::Refused(why).into());
    }
    std::fs::create_dir_all(folder).map_err(Failed::io(folder))?;
    let path = folder.join(CAPTURE);
    let made = rewrite(inputs, map, &path).and_then(|packets| {
        let searched = audit(inputs, map, &path)?;
        let loaded = read(&path)?;
        let exchanges: Vec<&Exchange> = loaded.exchanges.iter().map(|it| &it.exchange).collect();
        let shape = Shape::of(&exchanges, side)?;
        put(folder, &shape, &name, sut)?;
        let offline = Offline::open(folder)?;
        Ok(Made {
            offline,
            shape,
            packets,
            searched,
        })
    });
    if made.is_err() {
        for file in [CAPTURE, TOPOLOGY, PAGE] {
            // What was not written cannot be taken away.
            let _ = std::fs::remove_file(folder.join(file));
        }
    }
    made
}

fn put(folder: &Path, shape: &Shape, name: &str, sut: &str) -> Result<(), Failed> {
    for (file, text) in [
        (
            TOPOLOGY,
            text::topology(shape, name, Sidecars::tried(shape.side, sut)),
        ),
        (PAGE, text::page(shape, name)),
    ] {
        let path = folder.join(file);
        std::fs::write(&path, text).map_err(Failed::io(&path))?;
    }
    Ok(())
}

/// Writes a folder around a capture that needs no rewriting any more: a part of one that was
/// audited. The shape says on which side it enters.
pub(super) fn around(folder: &Path, side: Side, sut: &str) -> Result<Offline, Failed> {
    let loaded = read(&folder.join(CAPTURE))?;
    let exchanges: Vec<&Exchange> = loaded.exchanges.iter().map(|it| &it.exchange).collect();
    let shape = Shape::of(&exchanges, Some(side))?;
    let name = folder
        .file_name()
        .map_or("small".into(), |name| name.to_string_lossy().into_owned());
    put(folder, &shape, &name, sut)?;
    Offline::open(folder)
}

fn rewrite(inputs: &Inputs, map: &Map, path: &Path) -> Result<u64, Failed> {
    let mut captures = Captures::open(inputs)?;
    let mut file = AtomicFile::create(path).map_err(Failed::io(path))?;
    let mut writer = Writer::new(&mut file).map_err(Failed::io(path))?;
    let limits = rewrite::Limits::USUAL;
    let summary = rewrite::rewrite(&mut captures, map, limits, &mut writer)
        .map_err(|error| Failed::Capture(error.to_string()))?;
    writer.finish().map_err(Failed::io(path))?;
    file.commit().map_err(Failed::io(path))?;
    Ok(summary.packets.written)
}

pub(super) fn read(path: &Path) -> Result<Loaded, Failed> {
    let mut captures = Captures::open(&Inputs::of([path]))?;
    load::load(&mut captures, &Selection::default())
        .map_err(|error| Failed::Capture(error.to_string()))
}

impl Offline {
    /// Reads the folder of an offline mesh.
    ///
    /// # Errors
    /// It is none: a file is missing, or wrong.
    pub fn open(folder: &Path) -> Result<Offline, Failed> {
        let folder = std::path::absolute(folder).map_err(Failed::io(folder))?;
        let text = |name: &str| -> Result<(String, String), Failed> {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(Failed::io(&path))?;
            let name = path.display().to_string();
            let text = meshproof_input::text(&name, bytes)?;
            Ok((name, text))
        };
        let (name, page_text) = text(PAGE)?;
        let page: Page = text::parse_page(&name, &page_text)?;
        let (topology, topology_text) = text(TOPOLOGY)?;
        let here = folder.to_string_lossy();
        let spec = text::parse_topology(&topology, &topology_text, &here)?;
        for pod in [&page.from, &page.sut] {
            if !spec.pods.iter().any(|(name, _)| name.value == pod.value) {
                let known: Vec<&str> = spec.pods.iter().map(|(it, _)| it.value.as_str()).collect();
                return Err(Problem::at(
                    &name,
                    &page_text,
                    pod.span,
                    "offline::bad_pod",
                    format!("no pod of {TOPOLOGY} is called `{}`", pod.value),
                    format!("there are {}", known.join(", ")),
                )
                .into());
            }
        }
        Ok(Offline {
            name: page.offline,
            side: page.side.value.into(),
            from: page.from.value,
            sut: page.sut.value,
            capture: folder.join(page.capture.value),
            app: page.app,
            made_up: page.subscribe.iter().map(MadeUp::from).collect(),
            spec,
            folder,
        })
    }

    /// Reads its capture: every exchange, with the subscriptions that are made up in front.
    ///
    /// # Errors
    /// The capture cannot be read.
    pub fn load(&self) -> Result<Loaded, Failed> {
        Ok(self.with_subscriptions(read(&self.capture)?))
    }

    /// The same exchanges, with the subscriptions that are made up in front.
    pub fn with_subscriptions(&self, mut loaded: Loaded) -> Loaded {
        let made_up = subscriptions(&self.app, &self.made_up);
        let made_up = made_up.into_iter().map(Recorded::from);
        loaded.exchanges.splice(0..0, made_up);
        loaded
    }

    /// The same capture in a mesh with other sidecars, its topology made of the shape that the
    /// capture told.
    ///
    /// # Errors
    /// None for a shape of this capture.
    pub fn with_sidecars(&self, shape: &Shape, sidecars: Sidecars<'_>) -> Result<Offline, Failed> {
        let text = text::topology(shape, &self.name, sidecars);
        let here = self.folder.to_string_lossy();
        let sut = match (self.side, sidecars.client, sidecars.server) {
            (Side::Outbound, None, Some(_)) => shape.providers.first().map(|it| it.pod.clone()),
            _ => None,
        };
        Ok(Offline {
            spec: text::parse_topology(TOPOLOGY, &text, &here)?,
            sut: sut.unwrap_or_else(|| self.sut.clone()),
            ..self.clone()
        })
    }

    /// The same mesh with another sidecar to be tried.
    pub fn with_adapter(mut self, adapter: &str) -> Offline {
        let mut pods = self.spec.pods.0.iter_mut();
        if let Some((_, pod)) = pods.find(|(name, _)| name.value == self.sut) {
            pod.value.sidecar = Some(adapter.to_owned());
        }
        self
    }

    /// The adapter of the sidecar that is tried.
    pub fn adapter(&self) -> &str {
        let mut pods = self.spec.pods.iter();
        let found = pods.find(|(name, _)| name.value == self.sut);
        let sidecar = found.and_then(|(_, pod)| pod.sidecar.as_deref());
        sidecar.unwrap_or(crate::sut::REFERENCE)
    }
}

/// Subscriptions that a capture lacks, as if it had them: asked before everything else, and
/// answered with an address of the protocol that the calls are in.
pub(super) fn subscriptions(app: &str, lacking: &[MadeUp]) -> Vec<Exchange> {
    if lacking.is_empty() {
        return Vec::new();
    }
    let application = Call::Application(Application {
        app_name: Some(app.to_owned()),
    });
    let yes = Answer {
        success: true,
        ..Answer::default()
    };
    let mut asked = vec![made_up(&application, &yes)];
    for MadeUp { service, protocol } in lacking {
        let subscribe = Call::Subscribe(Subscribe {
            service_name: service.clone(),
            protocol_type: protocol.clone(),
            ..Subscribe::default()
        });
        let code = match protocol.as_str() {
            "tr" => protocol_code::TR,
            _ => protocol_code::BOLT,
        };
        let answer = Answer {
            service_name: Some(service.clone()),
            datas: Some(vec![format!("127.0.0.1:12200?p={code}")]),
            ..yes.clone()
        };
        asked.push(made_up(&subscribe, &answer));
    }
    asked
}

/// A connection of the application API that nobody recorded.
fn made_up(call: &Call, answer: &Answer) -> Exchange {
    const API: &str = "127.0.0.1:13330";
    let half = |bytes: Vec<u8>, kind, status| {
        let head = Head {
            protocol: Protocol::MeshApi,
            kind,
            id: RequestId(1),
            len: bytes.len() as u64,
            codec: 0,
            timeout_ms: None,
            status,
        };
        Half {
            mark: Mark::default(),
            offset: 0,
            head,
            missing: 0,
            frame: Some(Frame {
                head,
                bytes: bytes.into(),
            }),
            crc: Crc::Absent,
        }
    };
    let local = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Exchange {
        flow: Arc::new(Flow {
            id: FlowId(u32::MAX),
            source: u16::MAX,
            opener: local(1),
            acceptor: local(13330),
            opener_by: OpenerBy::Handshake,
            connection: 1,
            from_start: true,
        }),
        hop: Hop::Unknown,
        protocol: Protocol::MeshApi,
        kind: ExchangeKind::MeshApi,
        from: exchange::From::Client,
        id: RequestId(1),
        request: Some(half(call.encode(API), Kind::Request, None)),
        response: Some(half(answer.encode(), Kind::Response, Some(200))),
        outcome: Outcome::Answered,
        late: false,
    }
}
