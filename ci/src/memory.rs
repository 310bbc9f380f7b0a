//! A world in memory: for the fixtures of packs, and for whoever tries a gate without a machine.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::outcome::Code;
use crate::world::{Absent, Command, Ending, Facts, GitQuestion, Ran, RecordQuestion, Seen, World};

/// Everything that a gate sees, said beforehand.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Nanoseconds since 1970.
    pub now_unix_ns: i128,
    /// Files by path.
    pub files: BTreeMap<String, Seen>,
    /// Variables.
    pub variables: BTreeMap<String, String>,
    /// What the repository says; `None`: there is none.
    pub git: Option<Value>,
    /// Records, the newest last: the words of their command lines behind the program, and what they say.
    pub records: Vec<(Vec<String>, Result<Facts, Absent>)>,
    /// How every command ends.
    pub ending: Ending,
    /// How long before `now_unix_ns` commands begin, in nanoseconds.
    pub began_before_ns: i128,
}

impl Memory {
    /// A world without anything, where commands end with exit 0.
    pub fn new(now_unix_ns: i128) -> Memory {
        Memory {
            now_unix_ns,
            files: BTreeMap::new(),
            variables: BTreeMap::new(),
            git: None,
            records: Vec::new(),
            ending: Ending::Exit(0),
            began_before_ns: 1_000_000_000,
        }
    }

    /// Puts a file there, of this age in nanoseconds (below 0: of the future).
    pub fn file(&mut self, path: &str, text: &str, age_ns: i128) {
        let seen = Seen {
            path: path.to_owned(),
            bytes: text.as_bytes().to_vec(),
            changed_unix_ns: self.now_unix_ns - age_ns,
        };
        self.files.insert(path.to_owned(), seen);
    }

    fn fitting<'a>(&'a self, pattern: &str) -> Vec<&'a Seen> {
        let Ok(pattern) = glob::Pattern::new(pattern) else {
            return Vec::new();
        };
        let fits = |seen: &&Seen| pattern.matches(&seen.path) || seen.path == pattern.as_str();
        self.files.values().filter(fits).collect()
    }
}

impl World for Memory {
    fn now_unix_ns(&self) -> i128 {
        self.now_unix_ns
    }

    fn files(&self, pattern: &str) -> Result<Vec<Seen>, Absent> {
        let found: Vec<Seen> = self.fitting(pattern).into_iter().cloned().collect();
        if found.is_empty() {
            return Err(Absent::new(Code::Missing, format!("there is no {pattern}")));
        }
        Ok(found)
    }

    fn exists(&self, pattern: &str) -> bool {
        !self.fitting(pattern).is_empty()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn git(&self, _: &GitQuestion) -> Result<Facts, Absent> {
        match &self.git {
            Some(values) => Ok(Facts {
                values: values.clone(),
                made_unix_ns: None,
                place: "git".to_owned(),
            }),
            None => Err(Absent::new(Code::Missing, "this is no repository of git")),
        }
    }

    fn record(&self, question: &RecordQuestion) -> Result<Facts, Absent> {
        let mut newest = self.records.iter().rev();
        let newest = newest.find(|(words, _)| question.fits(words));
        match newest {
            Some((_, facts)) => facts.clone(),
            None => {
                let why = format!("there is no record of {question} below {}", question.below);
                Err(Absent::new(Code::NotRun, why))
            }
        }
    }

    fn run(&self, _: &Command) -> Ran {
        Ran {
            ending: self.ending.clone(),
            began_unix_ns: self.now_unix_ns - self.began_before_ns,
            took_ms: 1_000,
            tail: String::new(),
            log: String::new(),
        }
    }
}
