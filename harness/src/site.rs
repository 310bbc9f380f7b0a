//! Facts and capabilities of a place where meshes run.

use std::collections::BTreeSet;

use meshproof_input::{Problem, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::needs::{self, CONFIG_CENTER, Owner};

/// A profile of infrastructure: what is there, and what can be relied on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub site: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// How addresses of a service are found.
    pub registry: RegistryKind,
    /// How names of pools are found.
    pub names: NamesKind,
    /// Protocols that apps speak here: `bolt`, `tr`.
    pub protocols: BTreeSet<String>,
    /// Zones, at least one.
    pub zones: Vec<String>,
    /// What else can be relied on, as `needs:` of scenarios name it.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
}

/// How addresses of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryKind {
    /// A config center that pushes.
    ConfigCenter,
    /// None: nobody registers anywhere, and who is called stands in the configurations of sidecars
    /// and clients.
    Static,
}

/// How names of pools are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamesKind {
    /// VIPs, in both forms, by the VIP name service.
    Vip,
    /// Plain DNS names.
    Dns,
}

const SHIPPED: [(&str, &str); 3] = [
    (
        "scenarios/sites/ant-like.yaml",
        include_str!("../../scenarios/sites/ant-like.yaml"),
    ),
    (
        "scenarios/sites/public-cloud-like.yaml",
        include_str!("../../scenarios/sites/public-cloud-like.yaml"),
    ),
    (
        "scenarios/sites/static-addresses.yaml",
        include_str!("../../scenarios/sites/static-addresses.yaml"),
    ),
];

/// The sites that ship; the first is the one where none is named.
pub fn shipped() -> Vec<Site> {
    let parsed = SHIPPED.iter().map(|(name, text)| Site::parse(name, text));
    // A test reads each of them.
    parsed.filter_map(Result::ok).collect()
}

impl Default for Site {
    /// The first that ships, without its capabilities and further zones.
    fn default() -> Self {
        Site {
            site: "ant-like".into(),
            about: String::new(),
            registry: RegistryKind::ConfigCenter,
            names: NamesKind::Vip,
            protocols: ["bolt", "tr"].map(str::to_owned).into(),
            zones: vec!["zone1".into()],
            capabilities: BTreeSet::new(),
        }
    }
}

impl Site {
    /// Reads a site: it has zones, and protocols and capabilities that are known.
    pub fn parse(name: &str, text: &str) -> Result<Site, Problem> {
        const PROTOCOLS: [&str; 2] = ["bolt", "tr"];
        let site: Site = meshproof_input::parse(name, text)?;
        let at = |key: &str, word: &str, code, message: String, help: String| {
            let key = Span::of_word(text, key, 0).unwrap_or_default();
            let places = |from| Span::of_word(text, word, from);
            let first = places(key.start + key.len);
            // Of what stands twice, the second is too much.
            let again = first.filter(|_| code == "site::zone_twice");
            let again = again.and_then(|first| places(first.start + first.len));
            let span = again.or(first).unwrap_or(key);
            Problem::at(name, text, span, code, message, help)
        };
        if site.zones.is_empty() {
            let (message, help) = ("a site without zones", "name one: `zones: [zone1]`");
            let (message, help) = (message.to_owned(), help.to_owned());
            return Err(at("zones", "", "site::no_zone", message, help));
        }
        let mut zones = site.zones.iter().enumerate();
        let again =
            zones.find(|(index, zone)| site.zones.iter().take(*index).any(|it| it == *zone));
        if let Some((_, zone)) = again {
            let message = format!("the zone `{zone}` stands twice");
            let help = "keep one of the two".to_owned();
            return Err(at("zones", zone, "site::zone_twice", message, help));
        }
        let strange = site
            .protocols
            .iter()
            .find(|one| !PROTOCOLS.contains(&one.as_str()));
        if let Some(protocol) = strange {
            let help = match meshproof_input::suggestion(protocol, &PROTOCOLS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", PROTOCOLS.join(", ")),
            };
            let message = format!("`{protocol}` is no protocol of apps");
            return Err(at(
                "protocols",
                protocol,
                "site::no_protocol",
                message,
                help,
            ));
        }
        let capabilities = site.capabilities.iter().map(String::as_str);
        if let Some((strange, help)) = needs::misspelt(capabilities, Some(Owner::Site)) {
            let message = format!("`{strange}` is no capability of a site");
            let code = "site::unknown_capability";
            return Err(at("capabilities", strange, code, message, help));
        }
        let told = [CONFIG_CENTER, "registry_push"];
        let told = told.into_iter().find(|it| site.capabilities.contains(*it));
        if let Some(capability) = told.filter(|_| !site.has_center()) {
            let message =
                format!("`{capability}` needs a config center, and `registry: static` has none");
            let help = "take it out, or write `registry: config-center`".to_owned();
            let code = "site::no_config_center";
            return Err(at("capabilities", capability, code, message, help));
        }
        Ok(site)
    }

    /// Whether a config center tells who provides what.
    pub fn has_center(&self) -> bool {
        self.registry == RegistryKind::ConfigCenter
    }

    /// Why no deployment of a capture can be made here; none: it can.
    pub fn lacks_deployment(&self) -> Option<String> {
        let why = format!(
            "{} has no config center (`registry: static`), whose contents an offline mesh takes \
             from its capture",
            self.site
        );
        (!self.has_center()).then_some(why)
    }

    /// Everything that can be relied on here: what its file says, and a config center where it has
    /// one.
    pub fn offers(&self) -> BTreeSet<String> {
        let mut all = self.capabilities.clone();
        all.extend(self.has_center().then(|| CONFIG_CENTER.to_owned()));
        all
    }

    /// Why nothing that is called in this protocol runs here; none: it does.
    pub fn lacks_protocol(&self, protocol: &str) -> Option<String> {
        let lacks = !self.protocols.contains(protocol);
        lacks.then(|| format!("apps of {} do not speak {protocol}", self.site))
    }

    /// Why this site cannot give what a capability of sites stands for; none: it can, or that is
    /// no capability of sites.
    pub fn lacks(&self, capability: &str) -> Option<String> {
        let known = needs::CAPABILITIES
            .iter()
            .any(|(name, owner, _)| *name == capability && *owner == Owner::Site);
        let lacks = known && !self.offers().contains(capability);
        lacks.then(|| format!("{} lacks {capability}", self.site))
    }

    /// A site that ships, by its name.
    pub fn shipped(name: &str) -> Option<Site> {
        shipped().into_iter().find(|site| site.site == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_can_be_read() {
        let names: Vec<String> = SHIPPED
            .iter()
            .map(|(name, text)| Site::parse(name, text).unwrap().site)
            .collect();
        assert_eq!(names, ["ant-like", "public-cloud-like", "static-addresses"]);
        assert!(Site::shipped("ant-like").is_some());
        assert!(Site::shipped("ant").is_none());
    }

    #[track_caller]
    fn check(text: &str, line: usize, message: &str, help: &str) {
        let problem = Site::parse("site.yaml", text).unwrap_err();
        let told = problem.help_text().unwrap_or_default();
        assert_eq!(
            (problem.line(), problem.to_string().as_str(), told),
            (Some(line), message, help)
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let head = "site: s\nregistry: config-center\nnames: vip\n";
        check(
            &format!("{head}protocols: [bolt]\nzones: []\n"),
            5,
            "a site without zones",
            "name one: `zones: [zone1]`",
        );
        check(
            &format!("{head}protocols: [blot]\nzones: [a]\n"),
            4,
            "`blot` is no protocol of apps",
            "did you mean `bolt`?",
        );
        check(
            "site: s\nregistry: zookeeper\n",
            2,
            "unknown value `zookeeper`",
            "expected one of `config-center`, `static`",
        );
        check(
            "site: s\nregistry: static\nnames: dns\nprotocols: [bolt]\nzones: [a]\n\
             capabilities: [dns, registry_push]\n",
            6,
            "`registry_push` needs a config center, and `registry: static` has none",
            "take it out, or write `registry: config-center`",
        );
    }

    #[test]
    fn a_config_center_is_a_capability_of_those_who_have_one() {
        for site in shipped() {
            let lacks = site.lacks(CONFIG_CENTER);
            assert_eq!(lacks.is_none(), site.has_center(), "{}", site.site);
        }
        let site = Site::shipped("static-addresses").expect("it ships");
        assert_eq!(
            site.lacks("registry_push").as_deref(),
            Some("static-addresses lacks registry_push")
        );
    }
}
