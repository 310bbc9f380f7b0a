//! What runs in one pod, and with which commands it was started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::spec::{AppSpec, Heartbeat, PodSpec, Speaks};
use super::{Place, port};
use crate::Error;
use crate::environment::{Command, Environment, Program, Ready};
use crate::process::Process;
use crate::sut::template::{Unknown, Values};
use crate::sut::{ReadyWhen, Sut};

/// The folder of a sidecar, below that of its pod.
pub(super) const FOLDER: &str = "sidecar";

/// A pod and what runs in it.
pub(super) struct Member {
    /// As it is now: it may have got a sidecar since the beginning.
    pub(super) spec: PodSpec,
    pub(super) place: Place,
    pub(super) app: Option<Arc<Process>>,
    pub(super) sidecar: Option<Arc<Process>>,
    pub(super) peers: Vec<Arc<Process>>,
    /// Those that were here before, for their lines.
    pub(super) past: Vec<Arc<Process>>,
    /// Journals of its apps, one after the other.
    pub(super) journals: Vec<PathBuf>,
    /// Apps and sidecars that were started so far.
    pub(super) started: u32,
    /// Files of its sidecar that were written anew.
    pub(super) changed: BTreeMap<String, String>,
}

/// Where config center and names are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Services {
    /// None: the site has none.
    pub(super) center: Option<SocketAddr>,
    pub(super) names: SocketAddr,
}

/// The addresses of a pod.
pub(super) fn place(environment: &dyn Environment, pod: &str) -> Result<Place, Error> {
    let local = environment.local(pod)?;
    Ok(Place {
        inbound: SocketAddr::new(environment.address(pod)?, port::INBOUND),
        app: SocketAddr::new(local, port::APP),
        outbound: SocketAddr::new(local, port::OUTBOUND),
        api: SocketAddr::new(local, port::API),
        admin: SocketAddr::new(local, port::ADMIN),
        control: SocketAddr::new(local, port::CONTROL),
    })
}

/// What templates of a pod's sidecar may name.
pub(super) fn values(
    environment: &dyn Environment,
    pod: &str,
    zone: &str,
    heartbeat: Heartbeat,
    services: Services,
    providers: &[SocketAddr],
) -> Result<Values, Error> {
    let place = place(environment, pod)?;
    let open = environment.open(pod)?;
    let mut values = Values::default();
    for (name, value) in [
        ("name", pod.to_owned()),
        ("address", place.inbound.ip().to_string()),
        ("local", place.app.ip().to_string()),
        ("open", open.to_string()),
        ("zone", zone.to_owned()),
        ("vip", services.names.to_string()),
        ("vip.ip", services.names.ip().to_string()),
        ("inbound", SocketAddr::new(open, port::INBOUND).to_string()),
        ("app", place.app.to_string()),
        ("outbound", place.outbound.to_string()),
        ("api", place.api.to_string()),
        ("admin", place.admin.to_string()),
        ("heartbeat.interval_ms", heartbeat.interval_ms.to_string()),
        ("heartbeat.timeout_ms", heartbeat.timeout_ms.to_string()),
        ("heartbeat.misses", heartbeat.misses.to_string()),
        (
            "providers",
            list(providers, |address| format!("\"{address}\"")),
        ),
        (
            "providers.objects",
            list(providers, |address| {
                format!("{{\"address\": \"{address}\"}}")
            }),
        ),
    ] {
        values.set(name, value);
    }
    match services.center {
        Some(center) => {
            values.set("registry", center.to_string());
            values.set("config_center", format!("http://{center}"));
        }
        None => values.set("config_center", "null"),
    }
    Ok(values)
}

fn list(addresses: &[SocketAddr], one: impl Fn(&SocketAddr) -> String) -> String {
    let all: Vec<String> = addresses.iter().map(one).collect();
    format!("[{}]", all.join(", "))
}

/// What a template of an adapter lacks, as an error.
pub(super) fn lacks(sut: &Sut) -> impl Fn(Unknown) -> Error {
    let name = sut.sut.clone();
    move |unknown| Error::Refused(format!("adapter {name}: {unknown}"))
}

/// Fills every text of a list.
pub(super) fn filled(sut: &Sut, texts: &[String], values: &Values) -> Result<Vec<String>, Error> {
    let all = texts.iter().map(|text| values.fill(text));
    all.collect::<Result<_, _>>().map_err(lacks(sut))
}

/// Writes the sidecar's files, and says how it is started.
pub(super) fn sidecar(
    environment: &dyn Environment,
    sut: &Sut,
    arguments: &[String],
    pod: &str,
    folder: &Path,
    values: &Values,
) -> Result<Command, Error> {
    if sut.needs_binary {
        return Err(Error::Refused(format!(
            "sidecar {0} of pod {pod} has no binary: give it by --sut {0}=BINARY",
            sut.sut
        )));
    }
    for (name, contents) in &sut.files {
        let contents = values.fill(contents).map_err(lacks(sut))?;
        environment.place(&format!("{pod}/{FOLDER}/{}", name.value), &contents)?;
    }
    let variables = sut.variables.iter().map(|(name, value)| {
        let value = values.fill(value)?;
        Ok((name.value.clone(), value))
    });
    let variables = variables.collect::<Result<_, _>>().map_err(lacks(sut))?;
    let program = match &sut.binary {
        None => Program::Own,
        Some(path) => Program::Named(path.clone()),
    };
    let own = Command::own("the sidecar", filled(sut, arguments, values)?);
    Ok(Command {
        program,
        variables,
        // What it writes without being told where stays with it.
        directory: (!sut.files.is_empty()).then(|| folder.to_path_buf()),
        ..own
    })
}

/// Where the number of a process is to stand that does not run yet.
pub(super) const PID: &str = "{{pid}}";

/// Whether the harness has to look itself: what programs cannot be waited for by.
pub(super) enum Waits {
    /// The environment waits.
    Command(Ready),
    /// Until an answer holds a text.
    Answer { url: String, holds: String },
}

/// When a program of an adapter or a peer is ready.
pub(super) fn waits(when: &ReadyWhen, values: &Values) -> Result<Waits, Error> {
    let fill = |text: &str| {
        let filled = values.fill(text);
        filled.map_err(|unknown| Error::Refused(format!("ready: {unknown}")))
    };
    Ok(match when {
        ReadyWhen::Line(start) => Waits::Command(Ready::Line(fill(start)?)),
        ReadyWhen::Exit => Waits::Command(Ready::Done),
        ReadyWhen::Port(address) => {
            let text = fill(address)?;
            let address = text.parse::<SocketAddr>().map_err(|_| {
                Error::Refused(format!("ready: `{text}` is no address: write IP:PORT"))
            })?;
            Waits::Command(Ready::Port(address))
        }
        ReadyWhen::Http { url, holds } => Waits::Answer {
            url: fill(url)?,
            // Its number is known when it runs.
            holds: values
                .with("pid", PID)
                .fill(holds)
                .map_err(|unknown| Error::Refused(format!("ready: {unknown}")))?,
        },
    })
}

/// Where an app listens, and to whom it makes itself known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stands {
    /// On 12199, behind a sidecar that publishes for it.
    Behind,
    /// On 12199, behind a sidecar that does not: it registers itself, as 12200, where there is a
    /// config center.
    BehindSilent,
    /// On 12200, without a sidecar: it registers itself where there is a config center.
    Alone,
}

/// How an app is started; behind a sidecar it listens on `behind`.
#[expect(clippy::too_many_arguments, reason = "each is one word of the command")]
pub(super) fn app(
    app: &AppSpec,
    stands: Stands,
    place: &Place,
    behind: SocketAddr,
    open: std::net::IpAddr,
    center: Option<SocketAddr>,
    zone: &str,
    journal: &Path,
) -> Command {
    let listen = match stands {
        Stands::Behind | Stands::BehindSilent => behind,
        Stands::Alone => SocketAddr::new(open, port::INBOUND),
    };
    let speaks = match app.speaks {
        Speaks::Old => "old",
        Speaks::Bolt => "bolt",
        Speaks::New => "new",
    };
    let mut arguments: Vec<String> = ["fixture", "app", "--speaks", speaks]
        .map(str::to_owned)
        .into();
    let mut add = |name: &str, value: String| {
        arguments.push(format!("--{name}"));
        arguments.push(value);
    };
    add("listen", listen.to_string());
    add("control", place.control.to_string());
    add("log", journal.to_string_lossy().into_owned());
    for version in &app.versions {
        add("service-version", version.clone());
    }
    match (stands, center) {
        (Stands::Behind, _) => add("sidecar", format!("http://{}", place.api)),
        // Others have its address in their configurations.
        (Stands::BehindSilent | Stands::Alone, None) => {}
        (Stands::BehindSilent | Stands::Alone, Some(center)) => {
            add("config-center", format!("http://{center}"));
            add("advertise", place.inbound.to_string());
            add("zone", zone.to_owned());
        }
    }
    arguments.extend(app.arguments.iter().cloned());
    Command::own("the app", arguments).ready(Ready::Line("READY".into()))
}

/// A provider as a configuration names it: a scheme where it speaks one protocol alone.
pub(super) fn configured(address: SocketAddr, speaks: Speaks) -> String {
    match speaks {
        Speaks::Old => format!("tr://{address}"),
        Speaks::Bolt => format!("bolt://{address}"),
        Speaks::New => address.to_string(),
    }
}

/// What an app says at the config center: names of its protocols.
pub(super) fn protocols(speaks: Speaks) -> &'static [&'static str] {
    match speaks {
        Speaks::Old => &["tr"],
        Speaks::Bolt => &["bolt"],
        Speaks::New => &["bolt", "tr"],
    }
}

/// What is to be seen at the config center: by service, who must stand there with what.
pub(super) type Expected = BTreeMap<String, Vec<(String, &'static [&'static str])>>;
