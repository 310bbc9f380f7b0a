//! The map as a person writes it, and what is checked of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use meshproof_input::{Addr, Entries, Net, Problem, Socket, Span, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;

use super::overlap::{self, Clash, Interval, Ranged, Shared};
use super::{
    HeaderRule, Host, Keep, Map, Matches, PathPattern, Redact, Rule, StringRule, Target, Writes,
};

/// The text of a map, before it is checked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Document {
    /// Network to network of equal length, such as `10.15.0.0/16: 10.99.0.0/16`. Host bits stay.
    networks: Entries<Net, Net>,
    /// Address to address, such as `10.15.232.248: 127.0.0.1`. Goes before `networks`.
    addresses: Entries<Addr, Addr>,
    /// Address and port to the same, such as `10.15.232.248:12200: 127.0.0.1:13200`. Goes before
    /// `addresses`.
    endpoints: Entries<Socket, Socket>,
    /// Host name to host name, such as `sample-pool.zone1.alipay.net: offline-pool.z9.test.net`,
    /// with a port on both sides or on neither.
    vips: Entries<String, String>,
    /// App to app.
    apps: Entries<String, String>,
    /// Zone to zone.
    zones: Entries<String, String>,
    /// Header key to its values: `{rpc_req_baggage.targetZone: {zone1: zone9}}`.
    headers: Entries<String, Entries<String, String>>,
    /// Replacements within strings, by place, whole value or pattern.
    strings: Vec<Spanned<StringEntry>>,
    /// Values that are personal and become pseudonyms.
    redact: Option<RedactEntry>,
    /// What is kept although it cannot be understood.
    keep: Vec<KeepWord>,
    /// Let two originals share a replacement; there is no inverse then.
    many_to_one: bool,
    /// Where a replay may go.
    targets: Vec<TargetEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StringEntry {
    /// Place, such as `[1].callbackUrl`; `*` stands for any one step. Everywhere without it.
    #[serde(default)]
    at: Option<Spanned<String>>,
    /// The whole string that is replaced. Either this or `pattern`.
    #[serde(default)]
    from: Option<Spanned<String>>,
    /// A regular expression; every match is replaced. Either this or `from`.
    #[serde(default)]
    pattern: Option<Spanned<String>>,
    /// The replacement; with `pattern`, `$1` and `${name}` stand for its groups.
    to: Spanned<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RedactEntry {
    /// Secret that the pseudonyms depend on; the same key gives the same pseudonyms.
    key: Spanned<String>,
    /// Header keys.
    #[serde(default)]
    headers: Vec<Spanned<String>>,
    /// Names of fields or keys, wherever they stand.
    #[serde(default)]
    fields: Vec<Spanned<String>>,
    /// Places, such as `[1].customer`.
    #[serde(default)]
    paths: Vec<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum KeepWord {
    /// Link-layer addresses.
    Mac,
    /// Streams of no known protocol.
    Foreign,
    /// Packets that are not TCP.
    NonTcp,
    /// Bytes that are no whole frame, bodies that cannot be decoded, fragments, malformed packets.
    Undecodable,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TargetEntry {
    /// Network, such as `10.99.0.0/16`.
    network: Spanned<Net>,
    /// Who answers for it.
    owner: String,
    /// Whether methods that write may be called there; `deny` without it.
    #[serde(default)]
    writes: WritesWord,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum WritesWord {
    /// Methods that write are refused.
    #[default]
    Deny,
    /// They are sent.
    Allow,
}

/// The JSON schema of a map.
pub fn schema() -> String {
    meshproof_input::schema::<Document>("meshproof rewrite map")
}

impl Map {
    /// Reads and checks a map. `name` is the file's name, for showing only.
    ///
    /// Refuses, with line and suggestion: unknown keys, networks of unequal length, replacements
    /// of another address family, originals that overlap, replacements inside an original, and
    /// replacements that are shared without `many-to-one: true`.
    pub fn parse(name: &str, text: &str) -> Result<Map, Problem> {
        let document: Document = meshproof_input::parse(name, text)?;
        let check = Check::new(name, text, document.many_to_one);
        check.map(document)
    }
}

/// One side of a rule, for messages.
struct Side<'a> {
    text: String,
    span: Span,
    rule: &'a str,
}

/// What the checks need to say where something is wrong.
struct Check<'a> {
    name: &'a str,
    text: &'a str,
    shared: Shared,
    line_starts: Vec<usize>,
}

impl<'a> Check<'a> {
    fn new(name: &'a str, text: &'a str, many_to_one: bool) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Check {
            name,
            text,
            shared: if many_to_one {
                Shared::Allowed
            } else {
                Shared::Refused
            },
            line_starts: std::iter::once(0).chain(newlines).collect(),
        }
    }

    fn line(&self, span: Span) -> usize {
        self.line_starts
            .partition_point(|start| *start <= span.start)
    }

    fn problem(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::at(self.name, self.text, span, code, message, help)
    }

    fn map(&self, document: Document) -> Result<Map, Problem> {
        let networks = self.networks(&document.networks)?;
        let addresses = self.addresses(&document.addresses)?;
        let endpoints = self.endpoints(&document.endpoints)?;
        self.kind("networks", &document.networks, &networks)?;
        self.kind("addresses", &document.addresses, &addresses)?;
        self.kind("endpoints", &document.endpoints, &endpoints)?;
        self.across(&document, &networks, &addresses, &endpoints)?;
        let vips = self.rules(&document.vips, |side| self.host(side))?;
        for ((from, to), rule) in document.vips.iter().zip(&vips) {
            if rule.from.port.is_some() != rule.to.port.is_some() {
                return Err(self
                    .problem(
                        to.span,
                        "map::port",
                        "a port stands on one side of the rule only",
                        "write the port on both sides, or on neither to keep every port",
                    )
                    .label(from.span, "the other side"));
            }
        }
        self.kind("vips", &document.vips, &vips)?;
        let apps = self.rules(&document.apps, |side| self.word(side))?;
        self.kind("apps", &document.apps, &apps)?;
        let zones = self.rules(&document.zones, |side| self.word(side))?;
        self.kind("zones", &document.zones, &zones)?;
        Ok(Map {
            networks,
            addresses,
            endpoints,
            vips,
            apps,
            zones,
            headers: self.headers(&document.headers)?,
            strings: self.strings(&document.strings)?,
            redact: document
                .redact
                .as_ref()
                .map(|entry| self.redact(entry))
                .transpose()?,
            keep: keep(&document.keep),
            many_to_one: document.many_to_one,
            targets: document
                .targets
                .iter()
                .map(|target| Target {
                    network: target.network.value.0,
                    owner: target.owner.clone(),
                    writes: match target.writes {
                        WritesWord::Deny => Writes::Deny,
                        WritesWord::Allow => Writes::Allow,
                    },
                    line: self.line(target.network.span),
                })
                .collect(),
        })
    }

    fn rules<K, T>(
        &self,
        entries: &Entries<K, K>,
        value: impl Fn(&Spanned<K>) -> Result<T, Problem>,
    ) -> Result<Vec<Rule<T>>, Problem> {
        entries
            .iter()
            .map(|(from, to)| {
                Ok(Rule {
                    from: value(from)?,
                    to: value(to)?,
                    line: self.line(from.span),
                })
            })
            .collect()
    }

    fn networks(&self, entries: &Entries<Net, Net>) -> Result<Vec<Rule<IpNet>>, Problem> {
        for (from, to) in entries {
            self.same_family(
                from.span,
                to.span,
                from.value.0.addr(),
                to.value.0.addr(),
                "network",
            )?;
            let (wanted, found) = (from.value.0.prefix_len(), to.value.0.prefix_len());
            if wanted != found {
                let fitting = IpNet::new(to.value.0.addr(), wanted)
                    .map(|net| net.trunc().to_string())
                    .unwrap_or_default();
                return Err(self
                    .problem(
                        to.span,
                        "map::prefix_length",
                        format!("a /{wanted} cannot be replaced by a /{found}"),
                        format!(
                            "the host bits are kept, so both need the same length: write {fitting}"
                        ),
                    )
                    .label(from.span, &format!("{wanted} bits"))
                    .label(to.span, &format!("{found} bits")));
            }
        }
        self.rules(entries, |side| Ok(side.value.0))
    }

    fn addresses(&self, entries: &Entries<Addr, Addr>) -> Result<Vec<Rule<IpAddr>>, Problem> {
        for (from, to) in entries {
            self.same_family(from.span, to.span, from.value.0, to.value.0, "address")?;
        }
        self.rules(entries, |side| Ok(side.value.0))
    }

    fn endpoints(
        &self,
        entries: &Entries<Socket, Socket>,
    ) -> Result<Vec<Rule<SocketAddr>>, Problem> {
        for (from, to) in entries {
            let (a, b) = (from.value.0.ip(), to.value.0.ip());
            self.same_family(from.span, to.span, a, b, "endpoint")?;
        }
        self.rules(entries, |side| Ok(side.value.0))
    }

    fn same_family(
        &self,
        from_span: Span,
        to_span: Span,
        from: IpAddr,
        to: IpAddr,
        what: &str,
    ) -> Result<(), Problem> {
        if from.is_ipv4() == to.is_ipv4() {
            return Ok(());
        }
        let (family, example) = match (from, what) {
            (IpAddr::V4(_), "network") => ("IPv4", "10.99.0.0/16"),
            (IpAddr::V4(_), _) => ("IPv4", "127.0.0.1"),
            (IpAddr::V6(_), "network") => ("IPv6", "fd00:99::/32"),
            (IpAddr::V6(_), _) => ("IPv6", "fd00::1"),
        };
        Err(self
            .problem(
                to_span,
                "map::family",
                format!("an {family} {what} cannot be replaced by one of the other family"),
                format!("packet headers have room for {family} only: write one such as {example}"),
            )
            .label(from_span, family))
    }

    fn word(&self, side: &Spanned<String>) -> Result<String, Problem> {
        if side.value.is_empty() || side.value.trim() != side.value {
            return Err(self.problem(
                side.span,
                "map::empty",
                "a name is empty or begins or ends with a space",
                "write the name, or take the rule out",
            ));
        }
        Ok(side.value.clone())
    }

    /// Both forms of a VIP, and any other host name; options of the legacy form are let go.
    fn host(&self, side: &Spanned<String>) -> Result<Host, Problem> {
        Host::parse(&side.value).ok_or_else(|| {
            self.problem(
                side.span,
                "map::host",
                format!("`{}` is not a host name", side.value),
                "write one such as sample-pool.zone1.alipay.net or \
                 sample-pool.zone1.alipay.net:12200; addresses stand under `addresses`",
            )
        })
    }

    fn headers(
        &self,
        entries: &Entries<String, Entries<String, String>>,
    ) -> Result<Vec<HeaderRule>, Problem> {
        let mut all = Vec::new();
        for (key, values) in entries {
            let rules = self.rules(&values.value, |side| Ok(side.value.clone()))?;
            self.kind("headers", &values.value, &rules)?;
            all.extend(rules.into_iter().map(|rule| HeaderRule {
                key: key.value.clone(),
                from: rule.from,
                to: rule.to,
                line: rule.line,
            }));
        }
        Ok(all)
    }

    fn strings(&self, entries: &[Spanned<StringEntry>]) -> Result<Vec<StringRule>, Problem> {
        let mut rules = Vec::new();
        type Sides<'a> = Vec<(&'a Spanned<String>, &'a Spanned<String>)>;
        let mut whole: HashMap<Option<&str>, Sides<'_>> = HashMap::new();
        for entry in entries {
            let at = entry.value.at.as_ref();
            let path = at.map(|at| self.path(at)).transpose()?;
            let (matches, span) = match (&entry.value.from, &entry.value.pattern) {
                (Some(from), None) => {
                    whole
                        .entry(at.map(|at| at.value.as_str()))
                        .or_default()
                        .push((from, &entry.value.to));
                    (Matches::Whole(self.word(from)?), from.span)
                }
                (None, Some(pattern)) => (Matches::Pattern(self.pattern(pattern)?), pattern.span),
                (Some(from), Some(pattern)) => {
                    return Err(self
                        .problem(
                            pattern.span,
                            "map::string_rule",
                            "a rule for strings has either `from` or `pattern`",
                            "make two rules of it",
                        )
                        .label(from.span, "the other one"));
                }
                (None, None) => {
                    return Err(self.problem(
                        entry.span,
                        "map::string_rule",
                        "a rule for strings needs `from` or `pattern`",
                        "add `from: the whole string`, or `pattern: a regular expression`",
                    ));
                }
            };
            rules.push(StringRule {
                at: path,
                matches,
                to: entry.value.to.value.clone(),
                line: self.line(span),
            });
        }
        // Each place is a kind of its own; the order of the places does not matter for the first
        // problem found, as long as it is always the same one.
        let mut places: Vec<_> = whole.into_iter().collect();
        places.sort_by_key(|(place, _)| *place);
        for (_, sides) in places {
            let intervals = |value: &Spanned<String>| value.value.interval();
            let froms: Vec<_> = sides.iter().map(|(from, _)| intervals(from)).collect();
            let tos: Vec<_> = sides.iter().map(|(_, to)| intervals(to)).collect();
            let side = |value: &Spanned<String>| Side {
                text: value.value.clone(),
                span: value.span,
                rule: "strings",
            };
            let from_sides: Vec<_> = sides.iter().map(|(from, _)| side(from)).collect();
            let to_sides: Vec<_> = sides.iter().map(|(_, to)| side(to)).collect();
            self.clash(
                overlap::find(&froms, &tos, self.shared),
                &from_sides,
                &to_sides,
            )?;
        }
        Ok(rules)
    }

    fn pattern(&self, pattern: &Spanned<String>) -> Result<String, Problem> {
        match super::compile(&pattern.value) {
            Ok(regex) if regex.is_match("") => Err(self.problem(
                pattern.span,
                "map::pattern",
                "the pattern matches the empty string, so it would match everywhere",
                "make it longer, for example by `+` in place of `*`",
            )),
            Ok(_) => Ok(pattern.value.clone()),
            Err(error) => Err(self.problem(
                pattern.span,
                "map::pattern",
                "the pattern is not a regular expression",
                error.to_string(),
            )),
        }
    }

    fn path(&self, path: &Spanned<String>) -> Result<PathPattern, Problem> {
        PathPattern::parse(&path.value).ok_or_else(|| {
            self.problem(
                path.span,
                "map::path",
                format!("`{}` is not a place", path.value),
                "write steps with dots between them, such as [1].callbackUrl; `*` is any step",
            )
        })
    }

    fn redact(&self, entry: &RedactEntry) -> Result<Redact, Problem> {
        const KEY_CHARS_MIN: usize = 8;
        if entry.key.value.chars().count() < KEY_CHARS_MIN {
            return Err(self.problem(
                entry.key.span,
                "map::redact_key",
                format!("the key is shorter than {KEY_CHARS_MIN} characters"),
                "pseudonyms of a key that can be guessed can be undone: write a long one",
            ));
        }
        let words = |list: &[Spanned<String>]| -> Result<Vec<String>, Problem> {
            list.iter().map(|word| self.word(word)).collect()
        };
        Ok(Redact {
            key: entry.key.value.clone(),
            headers: words(&entry.headers)?,
            fields: words(&entry.fields)?,
            paths: entry
                .paths
                .iter()
                .map(|path| self.path(path))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Checks the rules of one kind against each other.
    fn kind<K: ToString, T: Ranged>(
        &self,
        rule: &str,
        entries: &Entries<K, K>,
        rules: &[Rule<T>],
    ) -> Result<(), Problem> {
        let froms: Vec<_> = rules.iter().map(|rule| rule.from.interval()).collect();
        let tos: Vec<_> = rules.iter().map(|rule| rule.to.interval()).collect();
        self.clash(
            overlap::find(&froms, &tos, self.shared),
            &sides(rule, entries.iter().map(|(from, _)| from)),
            &sides(rule, entries.iter().map(|(_, to)| to)),
        )
    }

    /// An address lies in a network, so a replacement of one kind may be the original of another.
    fn across(
        &self,
        document: &Document,
        networks: &[Rule<IpNet>],
        addresses: &[Rule<IpAddr>],
        endpoints: &[Rule<SocketAddr>],
    ) -> Result<(), Problem> {
        fn intervals<T: Ranged>(
            rules: &[Rule<T>],
            side: fn(&Rule<T>) -> &T,
        ) -> Vec<Interval<T::Key>> {
            rules.iter().map(|rule| side(rule).interval()).collect()
        }
        let mut originals = intervals(networks, |rule| &rule.from);
        originals.extend(intervals(addresses, |rule| &rule.from));
        originals.extend(intervals(endpoints, |rule| &rule.from));
        let mut original_sides = sides("networks", document.networks.iter().map(|(from, _)| from));
        original_sides.extend(sides(
            "addresses",
            document.addresses.iter().map(|(from, _)| from),
        ));
        original_sides.extend(sides(
            "endpoints",
            document.endpoints.iter().map(|(from, _)| from),
        ));
        let mut replacements = intervals(networks, |rule| &rule.to);
        replacements.extend(intervals(addresses, |rule| &rule.to));
        let mut replacement_sides = sides("networks", document.networks.iter().map(|(_, to)| to));
        replacement_sides.extend(sides(
            "addresses",
            document.addresses.iter().map(|(_, to)| to),
        ));
        // Originals of different kinds may overlap: the closer one goes first. And an endpoint may
        // share its address with the rule for the address: only its port differs.
        if self.shared == Shared::Refused {
            let shared = overlap::first_shared(&replacements).map(|(a, b)| Clash::Shared(a, b));
            self.clash(shared, &original_sides, &replacement_sides)?;
        }
        replacements.extend(intervals(endpoints, |rule| &rule.to));
        replacement_sides.extend(sides(
            "endpoints",
            document.endpoints.iter().map(|(_, to)| to),
        ));
        let inside = overlap::first_inside(&originals, &replacements)
            .map(|(from, to)| Clash::Inside { from, to });
        self.clash(inside, &original_sides, &replacement_sides)
    }

    /// Makes a problem of what was found.
    fn clash(
        &self,
        clash: Option<Clash>,
        froms: &[Side<'_>],
        tos: &[Side<'_>],
    ) -> Result<(), Problem> {
        let Some(clash) = clash else {
            return Ok(());
        };
        let pair = |a: Option<&Side<'_>>, b: Option<&Side<'_>>| match (a, b) {
            (Some(a), Some(b)) => Some((
                (a.text.clone(), a.span, a.rule.to_owned()),
                (b.text.clone(), b.span, b.rule.to_owned()),
            )),
            _ => None,
        };
        let found = match clash {
            Clash::Overlap(first, again) => pair(froms.get(again), froms.get(first)).map(
                |((text, span, rule), (first, first_span, _))| {
                    self.problem(
                        span,
                        "map::overlap",
                        format!("`{text}` overlaps `{first}`"),
                        format!(
                            "originals under `{rule}` must not overlap: take one out, or make \
                             them disjoint (one address of a network goes under `addresses`)"
                        ),
                    )
                    .label(first_span, "overlaps this one")
                },
            ),
            Clash::Inside { from, to } => pair(tos.get(to), froms.get(from)).map(
                |((text, span, _), (original, original_span, _))| {
                    let help = if from == to && text == original {
                        "take the rule out: what has no rule stays as it is".to_owned()
                    } else {
                        "choose a replacement that is no original: else nobody can tell a value \
                         that was replaced from one that was missed"
                            .to_owned()
                    };
                    self.problem(
                        span,
                        "map::replacement_is_original",
                        format!("the replacement `{text}` lies inside the original `{original}`"),
                        help,
                    )
                    .label(original_span, "this original")
                },
            ),
            Clash::Shared(first, again) => pair(tos.get(again), tos.get(first)).map(
                |((text, span, _), (other, first_span, _))| {
                    let original = froms.get(first).map_or(other, |side| side.text.clone());
                    self.problem(
                        span,
                        "map::shared_replacement",
                        format!("the replacement `{text}` is taken already, for `{original}`"),
                        "choose another one, or write `many-to-one: true` when what is different \
                         may become the same (there is no inverse then)",
                    )
                    .label(first_span, "taken here")
                },
            ),
        };
        found.map_or(Ok(()), Err)
    }
}

fn sides<'r, 'e, K: ToString + 'e>(
    rule: &'r str,
    values: impl Iterator<Item = &'e Spanned<K>>,
) -> Vec<Side<'r>> {
    values
        .map(|value| Side {
            text: value.value.to_string(),
            span: value.span,
            rule,
        })
        .collect()
}

fn keep(words: &[KeepWord]) -> Keep {
    let mut keep = Keep::default();
    for word in words {
        match word {
            KeepWord::Mac => keep.mac = true,
            KeepWord::Foreign => keep.foreign = true,
            KeepWord::NonTcp => keep.non_tcp = true,
            KeepWord::Undecodable => keep.undecodable = true,
        }
    }
    keep
}
