//! Requests to services over HTTP and TLS: bounded in time and size, without redirects.
//!
//! Roots of trust are those of Mozilla, or the PEM file that `SSL_CERT_FILE` or
//! `CI_SERVER_TLS_CA_FILE` names. Proxies are those of the environment.

use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

/// Variables that name a file with roots of trust.
const ROOTS: [&str; 2] = ["SSL_CERT_FILE", "CI_SERVER_TLS_CA_FILE"];
/// Characters that are kept of what a service says.
const SAID_CHARS_MAX: usize = 300;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: &'static str,
    /// The address.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent; nothing for `GET`.
    pub body: Vec<u8>,
    /// How long all of it may take.
    pub within: Duration,
    /// Most bytes of an answer.
    pub bytes_max: u64,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What it says.
    pub body: Vec<u8>,
}

impl Answer {
    /// The start of what it says, fit to be shown.
    pub fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        meshproof_record::report::text::tame(text.trim(), SAID_CHARS_MAX)
    }
}

/// Sends a request once.
///
/// # Errors
/// A sentence where there is no answer: no connection, no trust, its time over, too long.
pub fn send(request: &Request) -> Result<Answer, String> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(request.within))
        .http_status_as_error(false)
        // A token is meant for who was asked, and for nobody they point to.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .tls_config(TlsConfig::builder().root_certs(roots()?).build())
        .build()
        .into();
    let told = |error: ureq::Error| format!("{}: {error}", request.url);
    let mut building = http::Request::builder()
        .method(request.method)
        .uri(&request.url);
    for (name, value) in &request.headers {
        building = building.header(name, value);
    }
    let bad = |error: http::Error| format!("{}: {error}", request.url);
    let response = match request.method {
        "GET" => agent.run(building.body(()).map_err(bad)?),
        _ => agent.run(building.body(request.body.as_slice()).map_err(bad)?),
    };
    let response = response.map_err(told)?;
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let mut body: Body = response.into_body();
    let body = body.with_config().limit(request.bytes_max).read_to_vec();
    Ok(Answer {
        status,
        headers,
        body: body.map_err(told)?,
    })
}

fn roots() -> Result<RootCerts, String> {
    let named = ROOTS
        .iter()
        .filter_map(std::env::var_os)
        .find(|path| !path.is_empty());
    let Some(path) = named else {
        return Ok(RootCerts::WebPki);
    };
    let shown = path.to_string_lossy().into_owned();
    let text = std::fs::read(&path).map_err(|error| format!("{shown}: {error}"))?;
    let certificates: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(format!("{shown} holds no certificate in PEM")),
        false => Ok(RootCerts::from(certificates)),
    }
}
