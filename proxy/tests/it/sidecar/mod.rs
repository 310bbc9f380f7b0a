//! A whole sidecar in this process, between the reference config center and an app that can be
//! muted.

mod admin;
mod app;
mod gate;
mod heartbeat;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshproof_fixtures::hosted::Hosted;
use meshproof_fixtures::registry::{self, Registry};
use meshproof_proxy::edge::{Options, Proxy, Running};
use meshproof_proxy::{Bugs, Config};
use meshproof_sys::clock::Nanos;

pub(crate) use app::App;
pub(crate) use gate::Gate;

pub(crate) const SERVICE: &str = "com.example.Sample:1.0";

/// Longest wait for anything; reached only when something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Where logs go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pod and its config center. Everything ends with it, the sidecar first.
pub(crate) struct Rig {
    pub(crate) sidecar: Running,
    pub(crate) app: App,
    /// Before the config center: it can hold its answers back.
    pub(crate) gate: Gate,
    pub(crate) registry: Hosted<registry::Handle>,
    /// The configuration's file.
    pub(crate) file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Rig {
    /// A sidecar; `more` stands behind what a configuration needs.
    pub(crate) fn start(bugs: Bugs, more: &str) -> Rig {
        let options = Options {
            bugs,
            ..Options::default()
        };
        Rig::with(options, more)
    }

    /// The same with more than bugs; the file is the rig's.
    pub(crate) fn with(options: Options, more: &str) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let registry = Registry::start(any, registry::Settings::plain()).unwrap();
        let gate = Gate::before(registry.address());
        let app = App::start();
        let yaml = format!(
            "name: pod\naddress: 127.0.0.1\nrun: {}\n\
             inbound: {{listen: 127.0.0.1:0, app: {}}}\noutbound: {{listen: 127.0.0.1:0}}\n\
             api: 127.0.0.1:0\nadmin: 127.0.0.1:0\nconfig_center: http://{}\n{more}",
            folder.path().join("run").display(),
            app.address(),
            gate.address(),
        );
        let file = folder.path().join("pod.yaml");
        std::fs::write(&file, &yaml).unwrap();
        let config = Config::parse("pod.yaml", &yaml).unwrap();
        let options = Options {
            file: Some(file.clone()),
            ..options
        };
        Rig {
            sidecar: Proxy::start(config, options).unwrap(),
            app,
            gate,
            registry,
            file,
            _folder: folder,
        }
    }

    /// The app publishes [`SERVICE`], as SOFARPC does.
    pub(crate) fn publish(&self) {
        self.publish_service(SERVICE);
    }

    /// The app publishes a service.
    pub(crate) fn publish_service(&self, service: &str) {
        let api = self.sidecar.addresses().api;
        let body = format!(r#"{{"serviceName":"{service}","protocolType":"bolt"}}"#);
        let (status, answer) = http(api, "POST", "/services/publish", &body);
        assert_eq!(status, 200);
        assert!(answer.contains("\"success\":true"), "{answer}");
    }

    /// Waits until so many requests of one kind have reached the config center.
    pub(crate) fn until_registry_saw(&self, operation: &str, times: usize) {
        let count = || {
            let lines = self.registry.journal().lines();
            let of_kind = |line: &&registry::Line| matches!(&line.event, registry::Event::Request { operation: known, .. } if known == operation);
            lines.iter().filter(of_kind).count()
        };
        until(&format!("{operation} at the config center"), || {
            count() >= times
        });
    }

    /// Whether the kernel accepts connections on 12200.
    pub(crate) fn accepts(&self) -> bool {
        TcpStream::connect(self.sidecar.addresses().inbound).is_ok()
    }
}

/// Waits for something that nobody tells of.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Nanos::now();
    // Nobody sends: a pause that is no sleep.
    let (_keep, never): (_, Receiver<()>) = channel();
    while !is_so() {
        let waited = Duration::from_nanos(Nanos::now().since(begin));
        assert!(waited < LIMIT, "{what} did not come");
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
}

/// One request on a connection of its own: status and body of the answer.
pub(crate) fn http(to: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
