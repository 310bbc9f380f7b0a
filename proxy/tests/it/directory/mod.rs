//! The directory over sockets: the app's calls, the reference config center, a name server.

mod world;

use std::net::Ipv4Addr;
use std::time::Duration;

use meshproof_fixtures::registry::{Availability, Control, Restart};
use meshproof_proxy::discovery::Event;
use meshproof_proxy::edge::directory::Told;

use world::{NameServer, SERVICE, Says, With, World, config_center, provide};

const LIMIT: Duration = Duration::from_secs(20);
const VIP: &str = "sample-pool.gz00a.alipay.net";

fn providers(center: &meshproof_fixtures::registry::Handle) -> Vec<String> {
    let list = center.lookup(SERVICE);
    let one = |one: &meshproof_wire::registry::Provider| {
        format!("{} {}", one.address, one.protocols.join("+"))
    };
    list.providers.iter().map(one).collect()
}

#[tokio::test]
async fn a_provider_comes_goes_and_comes_back() {
    let center = config_center();
    let world = World::new(&format!("config_center: {}", center.url()));
    let answer = world
        .ask("/configs/application", r#"{"appName":"sample-server"}"#)
        .await;
    assert!(answer.success && answer.error_message.is_empty());
    // The answer comes when the config center has said yes.
    assert!(world.publish("bolt").await.success);
    assert_eq!(providers(&center), ["10.0.0.9:12200 bolt"]);
    assert!(world.publish("tr").await.success);
    assert_eq!(providers(&center), ["10.0.0.9:12200 bolt+tr"]);
    assert_eq!(
        world.directory.deregister_all(LIMIT).await,
        Told::Acknowledged
    );
    assert!(providers(&center).is_empty());
    assert!(center.lookup(SERVICE).confirmed);
    assert_eq!(
        world.directory.register_all(LIMIT).await,
        Told::Acknowledged
    );
    assert_eq!(providers(&center), ["10.0.0.9:12200 bolt+tr"]);
    let body = format!(r#"{{"serviceName":"{SERVICE}","protocolType":"bolt","group":null}}"#);
    assert!(world.ask("/services/unpublish", &body).await.success);
    assert_eq!(providers(&center), ["10.0.0.9:12200 tr"]);
    let body = format!(r#"{{"serviceName":"{SERVICE}","protocolType":"tr"}}"#);
    assert!(world.ask("/services/unpublish", &body).await.success);
    assert!(providers(&center).is_empty());
}

#[tokio::test]
async fn the_first_table_is_there_before_anybody_can_call() {
    let to = "outbound: {routes: [{class: com.example.Echo, to: ['10.0.0.1:12200']}]}";
    let mut world = World::new(to);
    // Nothing was awaited, so that no task has run.
    assert_eq!(world.table().rules.len(), 1);
}

#[tokio::test]
async fn how_long_the_config_center_is_waited_for_follows_a_reload() {
    // Takes connections and says nothing.
    let mute = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let base = format!("config_center: http://{}", mute.local_addr().unwrap());
    let mut world = World::new(&format!("{base}\ntimeouts: {{config_center: 10m}}"));
    let shorter = World::config(&format!("{base}\ntimeouts: {{config_center: 10ms}}"));
    world.directory.configure(std::sync::Arc::new(shorter));
    assert!(world.publish("bolt").await.success);
    world
        .until(|event| match event {
            Event::ConfigCenterLost { why } => why.ends_with("no answer within 10 ms"),
            _ => false,
        })
        .await;
}

#[tokio::test]
async fn a_consumer_follows_the_config_center() {
    let center = config_center();
    provide(&center, 1, &["bolt"]);
    let mut world = World::new(&format!("config_center: {}", center.url()));
    let answer = world.subscribe(None).await;
    let data = "10.0.0.1:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=sample&_WEIGHT=100";
    assert!(answer.success);
    assert_eq!(answer.service_name.as_deref(), Some(SERVICE));
    assert_eq!(answer.datas, Some(vec![data.to_owned()]));
    provide(&center, 2, &["tr"]);
    world
        .until_addresses(&["10.0.0.1:12200", "10.0.0.2:12200"])
        .await;
    let answer = world.subscribe(None).await;
    let datas = answer.datas.unwrap().concat();
    assert!(datas.starts_with("10.0.0.2:12200?p=13&"), "{datas}");
    // Trouble: an empty list. The right one comes when it is asked for again.
    center.control(&Control {
        push_empty: vec![SERVICE.to_owned()],
        ..Control::default()
    });
    world
        .until(|event| matches!(event, Event::PushIgnored { .. }))
        .await;
    // The config center begins anew and knows nobody.
    center.control(&Control {
        restart: Some(Restart::WithoutMemory),
        ..Control::default()
    });
    world
        .until(|event| matches!(event, Event::PushIgnored { .. }))
        .await;
    assert!(world.has_no_new_table(), "nobody was let go of");
    provide(&center, 3, &["bolt"]);
    world
        .until_addresses(&["10.0.0.3:12200", "10.0.0.1:12200", "10.0.0.2:12200"])
        .await;
    assert!(world.metrics.pushes_ignored.value() >= 2);
}

#[tokio::test]
async fn a_config_center_without_memory_is_told_again() {
    let center = config_center();
    let mut world = World::new(&format!("config_center: {}", center.url()));
    world.publish("bolt").await;
    world
        .until(|event| matches!(event, Event::Registered { .. }))
        .await;
    center.control(&Control {
        restart: Some(Restart::WithoutMemory),
        ..Control::default()
    });
    // At the next renewal.
    world
        .until(|event| matches!(event, Event::Registered { .. }))
        .await;
    assert_eq!(providers(&center), ["10.0.0.9:12200 bolt"]);
}

#[tokio::test]
async fn a_restart_with_a_dead_config_center_still_has_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("directory.json");
    let center = config_center();
    let yaml = format!("config_center: {}", center.url());
    let with = || With {
        yaml: &yaml,
        snapshot: Some(snapshot.clone()),
        ..With::default()
    };
    provide(&center, 1, &["bolt"]);
    let world = World::with(with());
    world.subscribe(None).await;
    // The write is under way; the file appears whole or not at all.
    let written = async {
        while !snapshot.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, written).await.unwrap();
    drop(world);
    center.control(&Control {
        availability: Some(Availability::Refuse),
        ..Control::default()
    });
    let mut world = World::with(with());
    let answer = world.subscribe(None).await;
    assert!(answer.success);
    assert!(answer.datas.unwrap().concat().starts_with("10.0.0.1:12200"));
    world.until_addresses(&["10.0.0.1:12200"]).await;
    // It comes back with others.
    provide(&center, 2, &["bolt"]);
    center.control(&Control {
        availability: Some(Availability::Up),
        ..Control::default()
    });
    world
        .until_addresses(&["10.0.0.1:12200", "10.0.0.2:12200"])
        .await;
}

#[tokio::test]
async fn a_vip_follows_its_name_server() {
    let names = NameServer::start();
    names.says(VIP, Says::Addresses(vec![Ipv4Addr::new(10, 0, 1, 4)]));
    let yaml = format!("vip: {{server: '{}', refresh: 20ms}}", names.address);
    let mut world = World::new(&yaml);
    let legacy = format!("http://{VIP}:12200?_TIMEOUT=3000");
    let answer = world.subscribe(Some(&legacy)).await;
    let data = "10.0.1.4:12200?p=1&_SERIALIZETYPE=hessian2&v=4.0&app_name=sample&_WEIGHT=100&_TIMEOUT=3000";
    assert_eq!(answer.datas, Some(vec![data.to_owned()]));
    world.until_addresses(&["10.0.1.4:12200"]).await;
    names.says(
        VIP,
        Says::Addresses(vec![Ipv4Addr::new(10, 0, 1, 5), Ipv4Addr::new(10, 0, 1, 6)]),
    );
    world
        .until_addresses(&["10.0.1.5:12200", "10.0.1.6:12200"])
        .await;
    names.says(VIP, Says::ServFail);
    world
        .until(|event| matches!(event, Event::NotResolved { .. }))
        .await;
    assert!(world.has_no_new_table(), "the last good addresses stay");
    names.says(VIP, Says::Addresses(vec![Ipv4Addr::new(10, 0, 1, 7)]));
    world.until_addresses(&["10.0.1.7:12200"]).await;
    // Another name, which does not exist.
    let answer = world
        .subscribe(Some("none-pool.gz00a.alipay.net:12200"))
        .await;
    assert!(!answer.success);
    assert!(answer.error_message.contains("NXDOMAIN"), "{answer:?}");
}

#[tokio::test]
async fn bad_requests_are_answered_and_good_ones_go_on() {
    let world = World::new("");
    let (status, body) = world.post("/services/none", "{}").await;
    assert_eq!(status, 404);
    assert!(body.contains("/services/publish"), "{body}");
    let get = b"GET /services/publish HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(world.raw(get).await.0, 405);
    // SOFARPC reads the message of a 200 only.
    let (status, body) = world.post("/services/publish", "{\"serviceName\":").await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""success":false"#), "{body}");
    let large = format!(r#"{{"serviceName":"{}"}}"#, "a".repeat(2 << 20));
    let (status, _) = world.post("/services/publish", &large).await;
    // The sidecar may close before the app has sent it all.
    assert!(matches!(status, 413 | 0), "{status}");
    for garbage in [
        b"\0\x01\x02\x03\r\n\r\n".to_vec(),
        b"POST / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /services/publish HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat(),
    ] {
        let (status, _) = world.raw(&garbage).await;
        assert!(matches!(status, 0 | 400..=499 | 505), "{status}");
    }
    let known = r#"{"serviceName":"a:1","protocolType":"bolt","unknown":{"x":[1]}}"#;
    assert!(world.ask("/services/publish", known).await.success);
}

#[tokio::test]
async fn a_successor_takes_over_and_nothing_is_deregistered() {
    let center = config_center();
    provide(&center, 1, &["bolt"]);
    let yaml = format!("config_center: {}", center.url());
    let old = World::new(&yaml);
    old.publish("bolt").await;
    old.subscribe(None).await;
    let (port, api) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), old.api);
    let state = old.directory.hand_over().await;
    assert!(tokio::net::TcpStream::connect(api).await.is_err());
    let both = ["10.0.0.1:12200 bolt", "10.0.0.9:12200 bolt"];
    assert_eq!(providers(&center), both);
    assert_eq!(state.publications.len(), 1);
    let mut new = World::with(With {
        yaml: &yaml,
        restored: Some(state.clone()),
        listener: Some(port),
        ..With::default()
    });
    drop(old);
    new.until_addresses(&["10.0.0.1:12200", "10.0.0.9:12200"])
        .await;
    new.until(|event| matches!(event, Event::Registered { .. }))
        .await;
    assert_eq!(providers(&center), both);
    assert_eq!(new.directory.state().await.session, state.session);
    assert_eq!(center.health().sessions, 2, "one of them elsewhere");
}
