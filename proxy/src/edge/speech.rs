//! In which protocol the app is asked whether it is well.

use std::collections::BTreeSet;

use crate::config::Speaks;
use crate::discovery::Publication;

/// What the app speaks: BOLT where it publishes any service by it, else TR.
#[derive(Debug, Default)]
pub(super) struct Speech {
    by_bolt: BTreeSet<String>,
    /// The app was lost since: what it published before says nothing about the one that comes
    /// back as soon as that one has published anything.
    outdated: bool,
}

impl Speech {
    /// After these publications.
    pub(super) fn of(publications: &[Publication]) -> Speech {
        let outdated = publications.iter().all(|one| one.outdated);
        Speech {
            by_bolt: publications
                .iter()
                .filter(|one| one.outdated == outdated && is_bolt(&one.provider.protocols))
                .map(|one| one.provider.service.clone())
                .collect(),
            outdated,
        }
    }

    pub(super) fn published(&mut self, service: &str, protocols: &[String]) {
        if std::mem::take(&mut self.outdated) {
            self.by_bolt.clear();
        }
        if is_bolt(protocols) {
            self.by_bolt.insert(service.to_owned());
        } else {
            self.by_bolt.remove(service);
        }
    }

    pub(super) fn unpublished(&mut self, service: &str) {
        self.by_bolt.remove(service);
    }

    pub(super) fn app_lost(&mut self) {
        self.outdated = true;
    }

    pub(super) fn speaks(&self) -> Speaks {
        if self.by_bolt.is_empty() {
            Speaks::Tr
        } else {
            Speaks::Bolt
        }
    }
}

fn is_bolt(protocols: &[String]) -> bool {
    protocols.iter().any(|name| name == "bolt")
}

#[cfg(test)]
mod tests {
    use meshproof_wire::registry::Provider;

    use super::*;

    /// `A bolt+tr` publishes, `-A` withdraws, `lost` is the app.
    fn after(mut speech: Speech, steps: &[&str]) -> Speaks {
        for step in steps {
            match step.split_once(' ') {
                Some((service, protocols)) => {
                    let protocols: Vec<String> = protocols.split('+').map(Into::into).collect();
                    speech.published(service, &protocols);
                }
                None => match step.strip_prefix('-') {
                    Some(service) => speech.unpublished(service),
                    None => speech.app_lost(),
                },
            }
        }
        speech.speaks()
    }

    #[test]
    fn bolt_where_any_service_is_published_by_it() {
        let check = |steps: &[&str], expected| {
            assert_eq!(after(Speech::default(), steps), expected, "{steps:?}");
        };
        check(&["A tr"], Speaks::Tr);
        check(&["A tr", "A bolt+tr"], Speaks::Bolt);
        check(&["A bolt", "B tr"], Speaks::Bolt);
        check(&["A bolt+tr", "A tr"], Speaks::Tr);
        check(&["A bolt", "B tr", "-A"], Speaks::Tr);
        check(&["A bolt", "lost"], Speaks::Bolt);
        check(&["A bolt", "lost", "A tr"], Speaks::Tr);
        check(&["A bolt", "B bolt", "lost", "A tr"], Speaks::Tr);
        check(&["A bolt", "lost", "A tr", "B bolt", "C tr"], Speaks::Bolt);
    }

    #[test]
    fn a_successor_speaks_as_its_predecessor_did() {
        let check = |publications: &[(&str, bool)], steps: &[&str], expected| {
            let publication =
                |(number, (protocols, outdated)): (usize, &(&str, bool))| Publication {
                    provider: Provider {
                        service: number.to_string(),
                        address: "10.0.0.9:12200".to_owned(),
                        protocols: protocols.split('+').map(Into::into).collect(),
                        app: String::new(),
                        zone: String::new(),
                        weight: 100,
                        properties: serde_json::Map::new(),
                    },
                    outdated: *outdated,
                };
            let all: Vec<Publication> = publications.iter().enumerate().map(publication).collect();
            assert_eq!(after(Speech::of(&all), steps), expected, "{publications:?}");
        };
        check(&[("tr", false), ("bolt+tr", false)], &[], Speaks::Bolt);
        check(&[("tr", false)], &[], Speaks::Tr);
        check(&[("tr", false), ("bolt", true)], &[], Speaks::Tr);
        check(&[("tr", true), ("bolt", true)], &[], Speaks::Bolt);
        check(&[("tr", true), ("bolt", true)], &["0 tr"], Speaks::Tr);
        check(&[("tr", false), ("bolt", false)], &["0 tr"], Speaks::Bolt);
    }
}
