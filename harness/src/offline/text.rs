//! An offline mesh as a person reads it: a topology, and a page of its own.

use std::fmt::Write as _;

use meshproof_input::{Problem, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::{MadeUp, Provider, Shape, Side};
use crate::mesh::MeshSpec;

/// What stands for the folder of an offline mesh in its topology.
pub const HERE: &str = "{{here}}";

/// The capture within the folder.
pub const CAPTURE: &str = "capture.pcapng";

/// The pod that the replay's connections are opened in, where calls enter at 12200.
const CALLER: &str = "caller";
/// The pod whose app the replay is, where calls enter at 12220.
const CLIENT: &str = "client";

/// The page of an offline mesh: `offline.yaml`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Page {
    /// Its name.
    pub offline: String,
    /// `outbound`: calls enter at 12220, after the subscriptions; `inbound`: at 12200.
    pub side: Spanned<Way>,
    /// The pod that the replay's connections are opened in.
    pub from: Spanned<String>,
    /// The pod whose sidecar is tried.
    pub sut: Spanned<String>,
    /// The capture, in the same folder.
    pub capture: Spanned<String>,
    /// The recorded app.
    pub app: String,
    /// Subscriptions that are made before those of the capture.
    #[serde(default)]
    pub subscribe: Vec<Subscription>,
}

/// See [`Side`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// At 12220.
    Outbound,
    /// At 12200.
    Inbound,
}

impl From<Way> for Side {
    fn from(way: Way) -> Side {
        match way {
            Way::Outbound => Side::Outbound,
            Way::Inbound => Side::Inbound,
        }
    }
}

/// A subscription that the capture lacks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// The service.
    pub service: String,
    /// `bolt` or `tr`.
    pub protocol: String,
}

impl From<&Subscription> for MadeUp {
    fn from(it: &Subscription) -> MadeUp {
        MadeUp {
            service: it.service.clone(),
            protocol: it.protocol.clone(),
        }
    }
}

/// The schema of [`Page`], as JSON.
pub fn schema() -> String {
    meshproof_input::schema::<Page>("a mesh made from a capture")
}

/// A text as a YAML scalar.
fn quoted(text: &str) -> String {
    // A JSON string is one of YAML.
    serde_json::Value::from(text).to_string()
}

fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = texts.into_iter().map(|it| quoted(it.as_ref())).collect();
    format!("[{}]", all.join(", "))
}

/// Which pods of an offline mesh have a sidecar, by the names of adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sidecars<'a> {
    /// Of the app whose calls were recorded; where calls enter at 12200, nobody's.
    pub client: Option<&'a str>,
    /// Of every pod that answers.
    pub server: Option<&'a str>,
}

impl<'a> Sidecars<'a> {
    /// The one that is tried on a side, and none else.
    pub fn tried(side: Side, sut: &'a str) -> Sidecars<'a> {
        match side {
            Side::Outbound => Sidecars {
                client: Some(sut),
                server: None,
            },
            Side::Inbound => Sidecars {
                client: None,
                server: Some(sut),
            },
        }
    }
}

/// The topology of a shape, with these sidecars.
pub fn topology(shape: &Shape, name: &str, sidecars: Sidecars<'_>) -> String {
    let mut text = String::new();
    let mut line = |written: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{written}");
    };
    line(format_args!(
        "# Made by `meshproof env from-capture`; {CAPTURE} stands beside it."
    ));
    line(format_args!("topology: {}", quoted(name)));
    line(format_args!(
        "about: {}",
        quoted(&format!(
            "{} calls of {}, {}, against stubs",
            shape.calls,
            shape.app,
            shape.side.name()
        ))
    ));
    if !shape.vips.is_empty() {
        line(format_args!("vips:"));
        for (name, behind) in &shape.vips {
            let pods = behind.iter().filter_map(|at| shape.providers.get(*at));
            let pods = list(pods.map(|it| it.pod.as_str()));
            line(format_args!("  {}: {pods}", quoted(name)));
        }
    }
    line(format_args!("pods:"));
    let front = match shape.side {
        Side::Outbound => CLIENT,
        Side::Inbound => CALLER,
    };
    let mut zones = shape.providers.iter().map(|it| it.zone.as_deref());
    let zone = zones.next().flatten();
    let zone = zone.filter(|zone| shape.side == Side::Outbound && zones.all(|it| it == Some(zone)));
    let said = [
        zone.map(|zone| format!("zone: {}", quoted(zone))),
        sidecars
            .client
            .map(|sut| format!("sidecar: {}", quoted(sut))),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    line(format_args!("  {front}: {{{}}}", said.join(", ")));
    for provider in &shape.providers {
        if !provider.stands_for.is_empty() {
            let stands_for = provider.stands_for.join(", ");
            line(format_args!("  # stands for {stands_for}"));
        }
        line(format_args!("  {}:", provider.pod));
        line(format_args!("    serves: true"));
        if let Some(zone) = &provider.zone {
            line(format_args!("    zone: {}", quoted(zone)));
        }
        if let Some(sidecar) = sidecars.server {
            line(format_args!("    sidecar: {}", quoted(sidecar)));
        }
        line(format_args!("    peers:"));
        for (port, words) in stubs(provider, &shape.app, sidecars) {
            line(format_args!("      - name: stub-{port}"));
            line(format_args!("        command: {}", list(words)));
            line(format_args!("        ready: {{line: READY}}"));
        }
    }
    text
}

/// What answers in the pod of a provider, by port: in the place of the app behind a sidecar, or as
/// a server by itself. Ports that no sidecar has are its own.
fn stubs(provider: &Provider, app: &str, sidecars: Sidecars<'_>) -> Vec<(u16, Vec<String>)> {
    let mut main = match sidecars.server {
        Some(_) => stub("{{local}}", 12199),
        None => stub("{{open}}", 12200),
    };
    if !provider.services.is_empty() {
        for service in &provider.services {
            main.extend(["--service".to_owned(), service.clone()]);
        }
        let known: &[&str] = match sidecars.server {
            Some(_) => &["--publish", "http://{{api}}"],
            None => &[
                "--config-center",
                "http://{{registry}}",
                "--advertise",
                "{{address}}:12200",
            ],
        };
        main.extend(known.iter().map(|word| (*word).to_owned()));
        main.extend(["--app".to_owned(), app.to_owned()]);
        let zone = provider.zone.as_ref().filter(|_| sidecars.server.is_none());
        main.extend(
            zone.into_iter()
                .flat_map(|zone| ["--zone".to_owned(), zone.clone()]),
        );
    }
    let port = match sidecars.server {
        Some(_) => 12199,
        None => 12200,
    };
    let others = provider.ports.iter();
    let others = others.map(|port| (*port, stub("{{open}}", *port)));
    std::iter::once((port, main)).chain(others).collect()
}

/// The command of a stub that listens on an address of its pod.
fn stub(address: &str, port: u16) -> Vec<String> {
    let capture = format!("{HERE}/{CAPTURE}");
    let listen = format!("{address}:{port}");
    ["meshproof", "stub", &capture, "--listen", &listen]
        .map(str::to_owned)
        .into()
}

/// The page of a shape.
pub fn page(shape: &Shape, name: &str) -> String {
    let (from, sut) = match shape.side {
        Side::Outbound => (CLIENT, CLIENT),
        Side::Inbound => (CALLER, "server"),
    };
    let mut text = format!(
        "# Made by `meshproof env from-capture`; `meshproof replay --through` takes this folder.\n\
         offline: {}\nside: {}\nfrom: {from}\nsut: {sut}\ncapture: {CAPTURE}\napp: {}\n",
        quoted(name),
        shape.side.name(),
        quoted(&shape.app),
    );
    if !shape.made_up.is_empty() {
        text.push_str("subscribe:\n");
        for made_up in &shape.made_up {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  - {{service: {}, protocol: {}}}",
                quoted(&made_up.service),
                made_up.protocol
            );
        }
    }
    text
}

/// Reads a page; `name` is for showing only.
///
/// # Errors
/// What is wrong, where, and what to type instead.
pub fn parse_page(name: &str, text: &str) -> Result<Page, Problem> {
    let page: Page = meshproof_input::parse(name, text)?;
    for subscription in &page.subscribe {
        if !["bolt", "tr"].contains(&subscription.protocol.as_str()) {
            return Err(Problem::of_file(
                name,
                "offline::bad_protocol",
                format!("`{}` is no protocol", subscription.protocol),
                "write `bolt` or `tr`",
            ));
        }
    }
    if page.capture.contains('/') {
        return Err(Problem::at(
            name,
            text,
            page.capture.span,
            "offline::bad_capture",
            format!("`{}` is not in the folder of this page", page.capture.value),
            "write the name of a file beside it, without `/`",
        ));
    }
    Ok(page)
}

/// Reads a topology whose folder is `here`; `name` is for showing only.
///
/// # Errors
/// What is wrong, where, and what to type instead.
pub fn parse_topology(name: &str, text: &str, here: &str) -> Result<MeshSpec, Problem> {
    meshproof_input::parse(name, &text.replace(HERE, here))
}
