//! The map that leads back.

use super::{HeaderRule, Map, Matches, Rule, StringRule};

/// Why a map has no inverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoInverse {
    /// Different originals may have become the same.
    #[error("the map says `many-to-one: true`")]
    ManyToOne,
    /// Pseudonyms lead nowhere.
    #[error("the map redacts values")]
    Redact,
    /// What a pattern matched cannot be told from what it made.
    #[error("the pattern in line {line} cannot be undone")]
    Pattern {
        /// Line of the rule.
        line: usize,
    },
}

impl Map {
    /// The map that undoes this one: every rule turned round; what is kept stays the same.
    /// Targets are left as they are.
    ///
    /// It gives the original packets back where no length changed and no original already held a
    /// replacement.
    pub fn inverse(&self) -> Result<Map, NoInverse> {
        if self.many_to_one {
            return Err(NoInverse::ManyToOne);
        }
        if self.redact.is_some() {
            return Err(NoInverse::Redact);
        }
        let strings = self
            .strings
            .iter()
            .map(|rule| match &rule.matches {
                Matches::Whole(from) => Ok(StringRule {
                    at: rule.at.clone(),
                    matches: Matches::Whole(rule.to.clone()),
                    to: from.clone(),
                    line: rule.line,
                }),
                Matches::Pattern(_) => Err(NoInverse::Pattern { line: rule.line }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Map {
            networks: turned(&self.networks),
            addresses: turned(&self.addresses),
            endpoints: turned(&self.endpoints),
            vips: turned(&self.vips),
            apps: turned(&self.apps),
            zones: turned(&self.zones),
            headers: self
                .headers
                .iter()
                .map(|rule| HeaderRule {
                    key: rule.key.clone(),
                    from: rule.to.clone(),
                    to: rule.from.clone(),
                    line: rule.line,
                })
                .collect(),
            strings,
            redact: None,
            keep: self.keep,
            many_to_one: false,
            targets: self.targets.clone(),
        })
    }
}

fn turned<T: Clone>(rules: &[Rule<T>]) -> Vec<Rule<T>> {
    rules
        .iter()
        .map(|rule| Rule {
            from: rule.to.clone(),
            to: rule.from.clone(),
            line: rule.line,
        })
        .collect()
}
