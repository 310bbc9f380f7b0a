//! VIP names, asked of a DNS server.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use meshproof_wire::address::Host;
use tokio::time::timeout;

use crate::config::VipNames;
use crate::discovery::NoAddress;

/// Asks the VIP name service, or the system's where none is configured. Remembers nothing: how
/// long an answer is good is the machine's to say.
pub(super) struct Resolver {
    inner: Result<TokioResolver, String>,
    /// For all questions about one name together.
    within: Duration,
}

impl Resolver {
    pub(super) fn new(config: &VipNames) -> Resolver {
        Resolver {
            // IPv4 and then IPv6, each within the configured time.
            within: Duration::from_millis(config.timeout.0.max(1)) * 2,
            inner: build(config)
                .map_err(|error| format!("no resolver: {error}; name one under `vip.server`")),
        }
    }

    pub(super) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        match name.parse() {
            Ok(Host::Ip(ip)) => return Ok(vec![ip]),
            Ok(Host::Name(_) | Host::Vip(_)) => {}
            Err(_) => return Err(NoAddress::NoSuchName("that is no host name".to_owned())),
        }
        let resolver = self
            .inner
            .as_ref()
            .map_err(|why| NoAddress::Trouble(why.clone()))?;
        // Absolute: a search list would turn one name into several.
        let absolute = format!("{}.", name.trim_end_matches('.'));
        let Ok(answer) = timeout(self.within, resolver.lookup_ip(absolute)).await else {
            return Err(NoAddress::Trouble(format!(
                "the name service did not answer within {} ms",
                self.within.as_millis()
            )));
        };
        match answer {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if error.is_nx_domain() => Err(NoAddress::NoSuchName(
                "the name service says that there is no such name (NXDOMAIN)".to_owned(),
            )),
            Err(error) if is_empty(&error) => Err(NoAddress::NoSuchName(
                "the name service knows the name and no address of it".to_owned(),
            )),
            Err(error) => Err(NoAddress::Trouble(format!(
                "the name service does not answer as it should: {error}"
            ))),
        }
    }
}

/// `NOERROR` without a record. Other failures (`SERVFAIL`, `REFUSED`) carry no records either.
fn is_empty(error: &hickory_resolver::net::NetError) -> bool {
    use hickory_resolver::net::{DnsError, NetError};
    use hickory_resolver::proto::op::ResponseCode;
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError
    )
}

fn build(config: &VipNames) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match config.server {
        None => TokioResolver::builder(provider)?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections
                .into_iter()
                .map(|mut connection| {
                    connection.port = server.port();
                    connection
                })
                .collect();
            let server = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, provider)
        }
    };
    let options = builder.options_mut();
    options.timeout = Duration::from_millis(config.timeout.0.max(1));
    options.attempts = 1;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    if config.server.is_some() {
        options.use_hosts_file = ResolveHosts::Never;
    }
    builder.build()
}
