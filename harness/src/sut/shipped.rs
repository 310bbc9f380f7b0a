//! The adapters that are there: those that ship, those of files, and binaries in their places.

use std::path::{Path, PathBuf};

use super::{REFERENCE, Sut};
use crate::Error;

const SHIPPED: [(&str, &str); 2] = [
    (
        "scenarios/suts/reference.yaml",
        include_str!("../../../scenarios/suts/reference.yaml"),
    ),
    (
        "scenarios/suts/mosn.yaml",
        include_str!("../../../scenarios/suts/mosn.yaml"),
    ),
];

/// The adapters that ship: the reference sidecar and MOSN.
pub fn shipped() -> Vec<Sut> {
    let parsed = SHIPPED.iter().map(|(name, text)| Sut::parse(name, text));
    // A test reads each of them.
    parsed.filter_map(Result::ok).collect()
}

/// Adapters by name, and which of them were chosen for a run.
#[derive(Clone, Debug)]
pub struct Suts {
    all: Vec<Sut>,
    /// Names that `--sut` gave, in order.
    named: Vec<String>,
}

impl Default for Suts {
    fn default() -> Self {
        Suts {
            all: shipped(),
            named: Vec::new(),
        }
    }
}

impl Suts {
    /// Adds the adapter of a file; one of the same name is replaced.
    pub fn add(&mut self, sut: Sut) {
        match self.all.iter_mut().find(|known| known.sut == sut.sut) {
            Some(known) => *known = sut,
            None => self.all.push(sut),
        }
    }

    /// Takes `NAME=BINARY`: puts a binary in the place of an adapter's. NAME is an adapter's name,
    /// or one with `-` and anything behind it, which makes a second adapter of it: `mosn-old`.
    ///
    /// A path with a `/` in it is made absolute: programs start in folders of their own.
    pub fn choose(&mut self, text: &str) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Refused(format!("--sut {text}: {why}")));
        let Some((name, binary)) = text.split_once('=') else {
            return wrong("expected NAME=BINARY, such as mosn=./mosn".into());
        };
        let binary = PathBuf::from(binary);
        if binary.as_os_str().is_empty() {
            return wrong("no binary is named behind the `=`".into());
        }
        if self.named.iter().any(|known| known == name) {
            return wrong(format!("two binaries for `{name}`"));
        }
        let Some(found) = self.base_of(name).cloned() else {
            let known: Vec<&str> = self.all.iter().map(|sut| sut.sut.as_str()).collect();
            let help = match meshproof_input::suggestion(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}; --sut-file adds others", known.join(", ")),
            };
            return wrong(format!("no adapter is called `{name}`; {help}"));
        };
        let binary = absolute(&binary);
        if let Some(path) = binary.as_deref().filter(|path| !path.is_file()) {
            return wrong(format!("there is no file {}", path.display()));
        }
        self.named.push(name.to_owned());
        self.add(Sut {
            sut: name.to_owned(),
            binary: Some(binary.unwrap_or_else(|| text_after(text))),
            needs_binary: false,
            ..found
        });
        Ok(())
    }

    /// The adapter that a name of `--sut` is about: it has that name, or one that `-` and anything
    /// behind it are added to.
    pub fn base_of(&self, name: &str) -> Option<&Sut> {
        let base = |sut: &&Sut| {
            let rest = name.strip_prefix(sut.sut.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        self.all.iter().filter(base).max_by_key(|sut| sut.sut.len())
    }

    /// The adapter of this name; an error names those that there are.
    pub fn named(&self, name: &str) -> Result<&Sut, Error> {
        find(&self.all, name)
    }

    /// All adapters.
    pub fn all(&self) -> &[Sut] {
        &self.all
    }

    /// Those that can be started: what needs a binary has one.
    pub fn ready(&self) -> impl Iterator<Item = &Sut> {
        self.all.iter().filter(|sut| !sut.needs_binary)
    }

    /// The names that `--sut` gave, in order; where it gave none, the reference sidecar. Several
    /// are values of an axis.
    pub fn axis(&self) -> Vec<String> {
        match self.named.is_empty() {
            true => vec![REFERENCE.to_owned()],
            false => self.named.clone(),
        }
    }
}

fn text_after(text: &str) -> PathBuf {
    text.split_once('=')
        .map_or_else(PathBuf::new, |(_, binary)| binary.into())
}

/// A path that has a folder in it, from the root on; none for a name that PATH is to find.
fn absolute(path: &Path) -> Option<PathBuf> {
    let has_folder = path
        .parent()
        .is_some_and(|folder| !folder.as_os_str().is_empty());
    has_folder.then(|| std::path::absolute(path).ok()).flatten()
}

/// The adapter of this name.
pub(crate) fn find<'a>(suts: &'a [Sut], name: &str) -> Result<&'a Sut, Error> {
    let found = suts.iter().find(|sut| sut.sut == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = suts.iter().map(|sut| sut.sut.as_str()).collect();
        let help = match meshproof_input::suggestion(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        Error::Refused(format!("no sidecar is called `{name}`; {help}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_can_be_read() {
        let names: Vec<String> = SHIPPED
            .iter()
            .map(|(name, text)| Sut::parse(name, text).unwrap().sut)
            .collect();
        assert_eq!(names, ["reference", "mosn"]);
        assert_eq!(shipped().len(), names.len());
    }

    #[track_caller]
    fn check(given: &[&str], expected: &str) {
        let mut suts = Suts::default();
        let told = given.iter().try_for_each(|text| suts.choose(text));
        let told = match told {
            Ok(()) => suts.axis().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_binary_takes_an_adapters_place_or_a_place_beside_it() {
        check(&[], "reference");
        check(
            &["reference=true", "reference-old=false"],
            "reference reference-old",
        );
        check(&["reference=/bin/sh"], "reference");
        check(
            &["reference"],
            "--sut reference: expected NAME=BINARY, such as mosn=./mosn",
        );
        check(
            &["reference="],
            "--sut reference=: no binary is named behind the `=`",
        );
        check(
            &["reference=a", "reference=b"],
            "--sut reference=b: two binaries for `reference`",
        );
        check(
            &["refrence=a"],
            "--sut refrence=a: no adapter is called `refrence`; did you mean `reference`?",
        );
        check(
            &["reference=/no/such/file"],
            "--sut reference=/no/such/file: there is no file /no/such/file",
        );
        let mut suts = Suts::default();
        suts.choose("reference-new=sh").unwrap();
        let made = suts.named("reference-new").unwrap();
        assert_eq!(made.binary, Some("sh".into()));
        assert!(made.can("subscribes"));
        assert!(suts.named(REFERENCE).unwrap().binary.is_none());
        // MOSN is known, and cannot be started without a binary.
        let ready = |suts: &Suts| suts.ready().any(|sut| sut.sut == "mosn");
        assert!(!ready(&suts));
        suts.choose("mosn=sh").unwrap();
        assert!(ready(&suts));
    }
}
