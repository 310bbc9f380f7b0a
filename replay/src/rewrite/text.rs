//! What a text becomes under a map.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use regex::Regex;

use super::address::{self, Addresses, IsTraceId};
use super::pseudonym::Pseudonyms;
use crate::map::{Host, Map, Matches, Path, PathPattern, Redact, Rule, Step, compile};

/// How often each rule was used, by its line in the map.
pub(super) type Hits = BTreeMap<usize, u64>;

/// A map, compiled for use on texts and addresses.
///
/// One pass finds everything that a rule wants replaced; what was put in is not looked at again,
/// so that the order of rules does not matter. Where finds overlap, patterns go first, then
/// addresses and hosts, then apps and zones.
pub(super) struct Rules {
    pub(super) addresses: Addresses,
    hosts: Words<Host>,
    apps: Words<String>,
    zones: Words<String>,
    headers: Vec<HeaderValues>,
    whole: Vec<Whole>,
    patterns: Vec<Pattern>,
    redact: Option<(Redact, Pseudonyms)>,
}

/// The rules of one header key.
struct HeaderValues {
    key: String,
    /// New value and line, by old value.
    values: HashMap<String, (String, usize)>,
}

struct Whole {
    at: Option<PathPattern>,
    from: String,
    to: String,
    line: usize,
}

struct Pattern {
    at: Option<PathPattern>,
    regex: Regex,
    to: String,
    line: usize,
}

/// Texts that are looked for all at once.
struct Words<T> {
    automaton: Option<AhoCorasick>,
    rules: Vec<Rule<T>>,
}

impl<T: Clone> Words<T> {
    fn new(rules: &[Rule<T>], word: impl Fn(&T) -> &str, case: Case) -> Words<T> {
        let words: Vec<&str> = rules.iter().map(|rule| word(&rule.from)).collect();
        let automaton = (!words.is_empty())
            .then(|| {
                AhoCorasickBuilder::new()
                    .ascii_case_insensitive(case == Case::Ignored)
                    .build(&words)
                    // Fails for more than 2^31 words only; a map's text is 4 MiB at most.
                    .ok()
            })
            .flatten();
        Words {
            automaton,
            rules: rules.to_vec(),
        }
    }

    fn each<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a Rule<T>, Range<usize>)> {
        self.automaton
            .iter()
            .flat_map(move |automaton| automaton.find_overlapping_iter(text))
            .filter_map(|found| {
                let rule = self.rules.get(found.pattern().as_usize())?;
                Some((rule, found.range()))
            })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Matters,
    Ignored,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// From the top of the body; of a header value, `headers` and the parts of its key.
    pub(super) path: &'a Path,
    /// The key of a header value.
    pub(super) header: Option<&'a str>,
}

/// Header keys of SOFARPC 5.13.2 and the fields of SofaRequest that hold the same value.
const FIELD_OF_HEADER: [(&str, &str); 4] = [
    ("service", "targetServiceUniqueName"),
    ("sofa_head_target_service", "targetServiceUniqueName"),
    ("sofa_head_method_name", "methodName"),
    ("sofa_head_target_app", "targetAppName"),
];

impl Place<'_> {
    /// Whether this is the value of a header, or the place in a body where it stands again.
    fn is_of_header(&self, key: &str) -> bool {
        match self.header {
            Some(header) => header == key,
            None => {
                self.path.ends_as(key)
                    || FIELD_OF_HEADER
                        .iter()
                        .any(|(header, field)| *header == key && self.path.ends_as(field))
            }
        }
    }

    fn last_name(&self) -> &str {
        match self.path.0.last() {
            Some(Step::Name(name)) => name,
            _ => "",
        }
    }

    fn is_trace_id(&self) -> IsTraceId {
        if self.last_name().to_ascii_lowercase().ends_with("traceid") {
            IsTraceId::Yes
        } else {
            IsTraceId::Unknown
        }
    }
}

/// Something to be replaced; the lower the rank, the more it counts.
struct Find {
    rank: u8,
    range: Range<usize>,
    to: String,
    line: usize,
}

impl Rules {
    pub(super) fn new(map: &Map) -> Rules {
        let mut headers: Vec<HeaderValues> = Vec::new();
        for rule in &map.headers {
            let value = (rule.to.clone(), rule.line);
            match headers.iter_mut().find(|known| known.key == rule.key) {
                Some(known) => {
                    known.values.insert(rule.from.clone(), value);
                }
                None => headers.push(HeaderValues {
                    key: rule.key.clone(),
                    values: HashMap::from([(rule.from.clone(), value)]),
                }),
            }
        }
        let mut whole = Vec::new();
        let mut patterns = Vec::new();
        for rule in &map.strings {
            let (at, to, line) = (rule.at.clone(), rule.to.clone(), rule.line);
            match &rule.matches {
                Matches::Whole(from) => whole.push(Whole {
                    at,
                    from: from.clone(),
                    to,
                    line,
                }),
                // Reading the map has compiled it once.
                Matches::Pattern(pattern) => {
                    patterns.extend(compile(pattern).ok().map(|regex| Pattern {
                        at,
                        regex,
                        to,
                        line,
                    }));
                }
            }
        }
        Rules {
            addresses: Addresses::new(map),
            hosts: Words::new(&map.vips, |host| &host.name, Case::Ignored),
            apps: Words::new(&map.apps, String::as_str, Case::Matters),
            zones: Words::new(&map.zones, String::as_str, Case::Matters),
            headers,
            whole,
            patterns,
            redact: map
                .redact
                .as_ref()
                .map(|redact| (redact.clone(), Pseudonyms::new(&redact.key))),
        }
    }

    /// The pseudonyms to use at a place, when what stands there is personal.
    pub(super) fn redacts(&self, place: Place<'_>) -> Option<&Pseudonyms> {
        let (redact, pseudonyms) = self.redact.as_ref()?;
        let personal = redact.headers.iter().any(|key| place.is_of_header(key))
            || redact.fields.iter().any(|name| place.path.passes(name))
            || redact.paths.iter().any(|path| place.path.is_within(path));
        personal.then_some(pseudonyms)
    }

    /// What a text becomes; `None` where it stays.
    pub(super) fn text(&self, place: Place<'_>, text: &str, hits: &mut Hits) -> Option<String> {
        if let Some(pseudonyms) = self.redacts(place) {
            let made = pseudonyms.text(text);
            return (made != text).then_some(made);
        }
        self.key(place, text, hits)
    }

    /// What the key of a map becomes: as a text, but never a pseudonym, for a key names what
    /// stands under it.
    pub(super) fn key(&self, place: Place<'_>, text: &str, hits: &mut Hits) -> Option<String> {
        if text.is_empty() && self.headers.is_empty() {
            return None;
        }
        for HeaderValues { key, values } in &self.headers {
            if let Some((to, line)) = values.get(text)
                && place.is_of_header(key)
            {
                *hits.entry(*line).or_default() += 1;
                return Some(to.clone());
            }
        }
        for rule in &self.whole {
            if rule.from == text && rule.at.as_ref().is_none_or(|at| place.path.is_at(at)) {
                *hits.entry(rule.line).or_default() += 1;
                return Some(rule.to.clone());
            }
        }
        let finds = self.finds(place, text);
        (!finds.is_empty()).then(|| replaced(text, finds, hits))
    }

    fn finds(&self, place: Place<'_>, text: &str) -> Vec<Find> {
        let mut finds = Vec::new();
        for rule in &self.patterns {
            if rule.at.as_ref().is_some_and(|at| !place.path.is_at(at)) {
                continue;
            }
            for captures in rule.regex.captures_iter(text) {
                let Some(all) = captures.get(0).filter(|all| !all.is_empty()) else {
                    continue;
                };
                let mut to = String::new();
                captures.expand(&rule.to, &mut to);
                finds.push(Find {
                    rank: 0,
                    range: all.range(),
                    to,
                    line: rule.line,
                });
            }
        }
        if !self.addresses.is_empty() {
            self.find_addresses(place, text, &mut finds);
        }
        self.find_hosts(text, &mut finds);
        self.find_words(place, text, &mut finds);
        finds
    }

    fn find_addresses(&self, place: Place<'_>, text: &str, finds: &mut Vec<Find>) {
        for found in address::in_text(text) {
            let alone = found.address;
            let socket = found
                .port
                .as_ref()
                .and_then(|(port, _)| self.addresses.socket(SocketAddr::new(alone, *port)));
            let (to, port, line) = match (socket, &found.port) {
                (Some(socket), Some((old, at))) => (
                    socket.to.ip(),
                    (socket.to.port() != *old).then(|| (socket.to.port(), at.clone())),
                    socket.line,
                ),
                _ => match self.addresses.address(alone) {
                    Some(address) => (address.to, None, address.line),
                    None => continue,
                },
            };
            finds.push(Find {
                rank: 1,
                range: found.range,
                to: to.to_string(),
                line,
            });
            if let Some((port, at)) = port {
                finds.push(Find {
                    rank: 1,
                    range: at,
                    to: port.to_string(),
                    line,
                });
            }
        }
        for found in address::in_trace_ids(text, place.is_trace_id()) {
            if let Some(address) = self.addresses.address(IpAddr::V4(found.address))
                && let IpAddr::V4(to) = address.to
            {
                let like = text.get(found.range.clone()).unwrap_or_default();
                finds.push(Find {
                    rank: 1,
                    to: address::hex_like(to, like),
                    range: found.range,
                    line: address.line,
                });
            }
        }
    }

    fn find_hosts(&self, text: &str, finds: &mut Vec<Find>) {
        for (rule, range) in self.hosts.each(text) {
            if !is_host_by_itself(text, &range) {
                continue;
            }
            let port = port_range(text, range.end);
            match (rule.from.port, rule.to.port) {
                (None, _) => {}
                (Some(wanted), Some(to)) => {
                    let Some((port, at)) = port.filter(|(port, _)| *port == wanted) else {
                        continue;
                    };
                    if to != port {
                        finds.push(Find {
                            rank: 2,
                            range: at,
                            to: to.to_string(),
                            line: rule.line,
                        });
                    }
                }
                // Reading the map refuses a port on one side only.
                (Some(_), None) => continue,
            }
            finds.push(Find {
                rank: 2,
                range,
                to: rule.to.name.clone(),
                line: rule.line,
            });
        }
    }

    fn find_words(&self, place: Place<'_>, text: &str, finds: &mut Vec<Find>) {
        // The same word may be an app and a zone: the name of the place decides.
        let zone_like = place.last_name().to_ascii_lowercase().contains("zone");
        let (app_rank, zone_rank) = if zone_like { (4, 3) } else { (3, 4) };
        for (rule, range) in self.apps.each(text) {
            let end = range.end;
            // The app of a VIP: `APP-pool.ZONE.alipay.net`.
            let of_vip = text
                .get(end..)
                .is_some_and(|rest| rest.starts_with("-pool."));
            if starts_word(text, range.start)
                && (of_vip || ends_word(text, end))
                && !is_in_class_name(text, &range)
            {
                finds.push(Find {
                    rank: app_rank,
                    range,
                    to: rule.to.clone(),
                    line: rule.line,
                });
            }
        }
        for (rule, range) in self.zones.each(text) {
            if starts_word(text, range.start)
                && ends_word(text, range.end)
                && !is_in_class_name(text, &range)
            {
                finds.push(Find {
                    rank: zone_rank,
                    range,
                    to: rule.to.clone(),
                    line: rule.line,
                });
            }
        }
    }
}

/// The text with the finds that count: by rank, then the longer one, then the first.
fn replaced(text: &str, mut finds: Vec<Find>, hits: &mut Hits) -> String {
    finds.sort_by(|a, b| {
        a.rank
            .cmp(&b.rank)
            .then_with(|| b.range.len().cmp(&a.range.len()))
            .then_with(|| a.range.start.cmp(&b.range.start))
    });
    let mut taken: BTreeMap<usize, Find> = BTreeMap::new();
    for find in finds {
        let before = taken.range(..find.range.end).next_back();
        if before.is_none_or(|(_, before)| before.range.end <= find.range.start) {
            taken.insert(find.range.start, find);
        }
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    for find in taken.into_values() {
        out.push_str(text.get(at..find.range.start).unwrap_or_default());
        out.push_str(&find.to);
        at = find.range.end;
        *hits.entry(find.line).or_default() += 1;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Letters, digits, `_` and `-` make a word. A URL-escaped byte (`%2F`) ends one.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

fn starts_word(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    if before.chars().next_back().is_none_or(|c| !is_word(c)) {
        return true;
    }
    before
        .len()
        .checked_sub(3)
        .and_then(|escape| before.as_bytes().get(escape..))
        .is_some_and(|escape| {
            matches!(escape, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        })
}

fn ends_word(text: &str, at: usize) -> bool {
    text.get(at..)
        .and_then(|rest| rest.chars().next())
        .is_none_or(|c| !is_word(c))
}

/// Neither part of a longer label nor of a longer name.
fn is_host_by_itself(text: &str, range: &Range<usize>) -> bool {
    let dot_before = text
        .get(..range.start)
        .is_some_and(|before| before.ends_with('.'));
    let label_behind = text
        .get(range.end..)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|rest| rest.starts_with(is_word));
    !dot_before && !label_behind && starts_word(text, range.start) && ends_word(text, range.end)
}

/// Whether a word is a part of `com.alipay.demo.SampleService`: dotted, without dashes, and the
/// last part is written like a class. Names of classes are contracts between programs, not of a
/// deployment.
fn is_in_class_name(text: &str, range: &Range<usize>) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let before = text.get(..range.start).unwrap_or_default();
    let behind = text.get(range.end..).unwrap_or_default();
    let start = before.trim_end_matches(of_name).len();
    let end = range.end + behind.len() - behind.trim_start_matches(of_name).len();
    let name = text.get(start..end).unwrap_or_default().trim_matches('.');
    let Some((_, last)) = name.rsplit_once('.') else {
        return false;
    };
    last.starts_with(char::is_uppercase) && last.contains(char::is_lowercase) && !name.contains('-')
}

/// The port behind a host, and where it stands.
fn port_range(text: &str, at: usize) -> Option<(u16, Range<usize>)> {
    let digits_at = match text.get(at..)? {
        rest if rest.starts_with(':') => at + 1,
        rest if rest.starts_with("%3A") || rest.starts_with("%3a") => at + 3,
        _ => return None,
    };
    let digits = text.get(digits_at..)?;
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    let range = digits_at..digits_at + len;
    Some((text.get(range.clone())?.parse().ok()?, range))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "networks: {10.15.0.0/16: 10.99.0.0/16}\n\
        endpoints: {10.15.246.182:12200: 127.0.0.2:13200}\n\
        vips:\n  sample-pool.zone1.alipay.net: offline-pool.z9.test.net\n  \
        other.alipay.net:80: o.test.net:8080\n\
        apps: {sample: s1, sample-client: c1, demo: d1, both: b-app}\n\
        zones: {zone1: zoneA, GZ00A: T1, both: b-zone}\n\
        headers: {rpc_req_baggage.targetZone: {zoneX: zoneY}, service: {'a.B:1.0': 'c.D:1.0'}}\n\
        strings:\n  - {from: secret, to: open, at: '[0].word'}\n  \
        - {pattern: 'ord-(\\d+)', to: test-$1}\n\
        redact: {key: long enough, fields: [mobile], headers: [x-user]}\n";

    #[track_caller]
    fn check(place: &str, text: &str, expect: &str) {
        let map = Map::parse("map", MAP).unwrap_or_else(|problem| panic!("{problem}"));
        let rules = Rules::new(&map);
        let header = place.strip_prefix("headers.");
        let mut steps = Vec::new();
        for part in place.split('.') {
            match part
                .strip_prefix('[')
                .and_then(|part| part.strip_suffix(']'))
            {
                Some(index) => steps.push(Step::Index(index.parse().expect("a number"))),
                None => steps.push(Step::Name(part.to_owned())),
            }
        }
        let path = Path(steps);
        let place = Place {
            path: &path,
            header,
        };
        let mut hits = Hits::new();
        let made = rules.text(place, text, &mut hits);
        assert_eq!(made.as_deref().unwrap_or(text), expect);
        if !place.path.passes("mobile") && header != Some("x-user") {
            assert_eq!(made.is_some(), !hits.is_empty(), "hits are counted");
        }
    }

    #[test]
    fn hosts_in_both_forms() {
        check(
            "[1].url",
            "http://sample-pool.zone1.alipay.net:12200?_TIMEOUT=3000",
            "http://offline-pool.z9.test.net:12200?_TIMEOUT=3000",
        );
        check(
            "[1].url",
            "Sample-Pool.zone1.alipay.net:12200",
            "offline-pool.z9.test.net:12200",
        );
        check(
            "[1].url",
            "http%3A%2F%2Fsample-pool.zone1.alipay.net%3A12200",
            "http%3A%2F%2Foffline-pool.z9.test.net%3A12200",
        );
        check("[1]", "x.other.alipay.net:80", "x.other.alipay.net:80");
        check("[1]", "other.alipay.net:80/x", "o.test.net:8080/x");
        check("[1]", "other.alipay.net:81", "other.alipay.net:81");
        check("[1]", "other.alipay.net.cn:80", "other.alipay.net.cn:80");
        check("[1]", "see other.alipay.net:80.", "see o.test.net:8080.");
    }

    #[test]
    fn addresses_everywhere() {
        check("[1]", "10.15.246.182:12200", "127.0.0.2:13200");
        check("[1]", "10.15.246.182:12201", "10.99.246.182:12201");
        check(
            "[1].list",
            "bolt://10.15.246.182:12200?a=b,10.15.1.1",
            "bolt://127.0.0.2:13200?a=b,10.99.1.1",
        );
        check(
            "headers.rpc_trace_context.sofaTraceId",
            "0a0fe8f8179542344391810018173",
            "0a63e8f8179542344391810018173",
        );
        check(
            "[0].note",
            "id 0A0FE8F8179542344391810018173",
            "id 0A63E8F8179542344391810018173",
        );
    }

    #[test]
    fn apps_and_zones_are_whole_words() {
        check("headers.app", "sample-client", "c1");
        check(
            "[0].url",
            "bolt://x?appName=sample-client&zone=GZ00A",
            "bolt://x?appName=c1&zone=T1",
        );
        check(
            "[0]",
            "sample-clients sample_client",
            "sample-clients sample_client",
        );
        check(
            "[0]",
            "sample-pool.zone2.alipay.net",
            "s1-pool.zone2.alipay.net",
        );
        check("[0]", "x-pool.zone1.alipay.net", "x-pool.zoneA.alipay.net");
        check("[0]", "x-pool.GZ00A.alipay.net", "x-pool.T1.alipay.net");
        check(
            "[0]",
            "com.alipay.demo.SampleService:1.0",
            "com.alipay.demo.SampleService:1.0",
        );
        check("[0]", "called by demo.", "called by d1.");
        check("headers.app", "both", "b-app");
        check("headers.zone", "both", "b-zone");
    }

    #[test]
    fn headers_reach_the_body() {
        check("headers.rpc_req_baggage.targetZone", "zoneX", "zoneY");
        check(
            "[0].requestProps.rpc_req_baggage.targetZone",
            "zoneX",
            "zoneY",
        );
        check("[0].requestProps.targetZone", "zoneX", "zoneX");
        check("[0].targetServiceUniqueName", "a.B:1.0", "c.D:1.0");
    }

    #[test]
    fn strings_by_place_and_pattern() {
        check("[0].word", "secret", "open");
        check("[0].other", "secret", "secret");
        check("[0].other", "ord-17 and ord-18", "test-17 and test-18");
        // What was put in is not looked at again.
        check("[0]", "zone1 zoneA", "zoneA zoneA");
    }

    #[test]
    fn personal_values() {
        let map = Map::parse("map", MAP).expect("a map");
        let made = Rules::new(&map)
            .redact
            .expect("redacts")
            .1
            .text("13800138000");
        check("[1].customer.mobile", "13800138000", &made);
        check("headers.x-user", "13800138000", &made);
        check("[1].customer.name", "13800138000", "13800138000");
    }
}
