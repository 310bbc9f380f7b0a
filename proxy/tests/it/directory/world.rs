//! A directory on a runtime, the app in front of it, the config center and a name server behind.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType, rdata::A};
use meshproof_fixtures::hosted::Hosted;
use meshproof_fixtures::registry::{Handle, Registry, Settings};
use meshproof_proxy::discovery::{Event, State};
use meshproof_proxy::edge::directory::{Directory, Setup};
use meshproof_proxy::metrics::Metrics;
use meshproof_proxy::routing::Table;
use meshproof_proxy::{Bugs, Config};
use meshproof_wire::mesh_api::Answer;
use meshproof_wire::registry::{Provider, Register};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) const SERVICE: &str = "com.example.Sample:1.0";

/// Far longer than anything takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn config_center() -> Hosted<Handle> {
    Registry::start(SocketAddr::from(([127, 0, 0, 1], 0)), Settings::plain()).unwrap()
}

/// A provider elsewhere, which stays.
pub(crate) fn provide(center: &Handle, number: u8, protocols: &[&str]) {
    let provider = Provider {
        service: SERVICE.to_owned(),
        address: format!("10.0.0.{number}:12200"),
        protocols: protocols.iter().map(|&one| one.to_owned()).collect(),
        app: "sample".to_owned(),
        zone: String::new(),
        weight: 100,
        properties: serde_json::Map::new(),
    };
    let register = Register {
        session: format!("elsewhere-{number}"),
        lease_ms: 3_600_000,
        providers: vec![provider],
    };
    center.register(register).unwrap();
}

pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) api: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    tables: mpsc::UnboundedReceiver<Arc<Table>>,
    events: mpsc::UnboundedReceiver<Event>,
}

/// What differs from test to test.
#[derive(Default)]
pub(crate) struct With<'a> {
    /// Lines of the configuration.
    pub(crate) yaml: &'a str,
    pub(crate) snapshot: Option<PathBuf>,
    pub(crate) restored: Option<State>,
    pub(crate) listener: Option<TcpListener>,
}

impl World {
    pub(crate) fn new(yaml: &str) -> World {
        World::with(With {
            yaml,
            ..With::default()
        })
    }

    pub(crate) fn config(yaml: &str) -> Config {
        let yaml = format!("name: pod\naddress: 10.0.0.9\nrun: run\n{yaml}\n");
        meshproof_input::parse("pod.yaml", &yaml).unwrap()
    }

    pub(crate) fn with(with: With<'_>) -> World {
        let config = World::config(with.yaml);
        let listener = with
            .listener
            .unwrap_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let api = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::default());
        let (tell_table, tables) = mpsc::unbounded_channel();
        let (tell_event, events) = mpsc::unbounded_channel();
        let directory = Directory::start(Setup {
            config: Arc::new(config),
            bugs: Bugs::NONE,
            metrics: Arc::clone(&metrics),
            api: listener,
            inbound: SocketAddr::from(([10, 0, 0, 9], 12200)),
            snapshot: with.snapshot,
            restored: with.restored,
            tables: Box::new(move |table| drop(tell_table.send(table))),
            events: Box::new(move |event| drop(tell_event.send(event))),
        });
        World {
            directory: directory.unwrap(),
            api,
            metrics,
            tables,
            events,
        }
    }

    /// Status and body of the answer to raw bytes; an answer without end counts up to its end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let exchange = async {
            let mut stream = TcpStream::connect(self.api).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // A reset after the answer is as good as an end.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        };
        let answer = timeout(PATIENCE, exchange).await.unwrap();
        let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or(0), body.to_owned())
    }

    /// One call as SOFARPC makes it.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        self.raw(request.as_bytes()).await
    }

    pub(crate) async fn ask(&self, path: &str, body: &str) -> Answer {
        let (status, body) = self.post(path, body).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn publish(&self, protocol: &str) -> Answer {
        let body = format!(
            r#"{{"serviceName":"{SERVICE}","protocolType":"{protocol}","providerMetaInfo":{{"protocol":"{protocol}","version":"4.0","serializeType":"hessian2","appName":"sample-server","properties":{{}}}},"onlyPublishInCloud":false,"group":null}}"#
        );
        self.ask("/services/publish", &body).await
    }

    pub(crate) async fn subscribe(&self, target: Option<&str>) -> Answer {
        let target = target.map_or("null".to_owned(), |target| format!("\"{target}\""));
        let body = format!(
            r#"{{"serviceName":"{SERVICE}","protocolType":"bolt","targetAppAddress":{target},"vipEnforce":false,"vipOnly":false,"localCloudFirst":false,"group":null,"properties":null}}"#
        );
        self.ask("/services/subscribe", &body).await
    }

    /// Waits until the service has these providers.
    pub(crate) async fn until_addresses(&mut self, expect: &[&str]) {
        let mut last = None;
        let wait = async {
            while let Some(table) = self.tables.recv().await {
                let service = table.services.get(SERVICE);
                let endpoints = service.into_iter().flat_map(|service| &service.endpoints);
                let addresses: Vec<String> = endpoints.map(|one| one.address.to_string()).collect();
                let is_it = addresses == expect;
                last = Some(addresses);
                if is_it {
                    return;
                }
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "last {last:?}, expected {expect:?}");
    }

    /// Waits for an event.
    pub(crate) async fn until(&mut self, is_it: impl Fn(&Event) -> bool) {
        let mut seen = Vec::new();
        let wait = async {
            while let Some(event) = self.events.recv().await {
                let found = is_it(&event);
                seen.push(event);
                if found {
                    return;
                }
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "seen: {seen:#?}");
    }

    /// No table has come since the last wait.
    /// The table that was told of already.
    pub(crate) fn table(&mut self) -> Arc<Table> {
        self.tables.try_recv().expect("a table was told of")
    }

    pub(crate) fn has_no_new_table(&mut self) -> bool {
        self.tables.try_recv().is_err()
    }
}

/// What the name server says.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Addresses(Vec<Ipv4Addr>),
    ServFail,
}

/// A DNS server of a few names; a name that it does not know is NXDOMAIN.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Says>>>,
    stop: Arc<Mutex<bool>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    pub(crate) fn start() -> NameServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let names = Arc::new(Mutex::new(HashMap::new()));
        let stop = Arc::new(Mutex::new(false));
        let (known, stopped) = (Arc::clone(&names), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if *stopped.lock().unwrap() {
                    return;
                }
                if let Some(answer) = answer(&buffer[..length], &known.lock().unwrap()) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        NameServer {
            address,
            names,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn says(&self, name: &str, says: Says) {
        self.names.lock().unwrap().insert(format!("{name}."), says);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        // Any datagram wakes it.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _ = socket.send_to(b"stop", self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(question: &[u8], names: &HashMap<String, Says>) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut answer = Message::new(
        question.metadata.id,
        MessageType::Response,
        question.metadata.op_code,
    );
    answer.metadata.recursion_available = true;
    match names.get(&query.name().to_string()) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Says::ServFail) => answer.metadata.response_code = ResponseCode::ServFail,
        Some(Says::Addresses(addresses)) if query.query_type() == RecordType::A => {
            for address in addresses {
                let data = RData::A(A(*address));
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            }
        }
        Some(Says::Addresses(_)) => {}
    }
    answer.add_query(query);
    answer.to_vec().ok()
}
