//! What a sidecar is asked and told by its admin interface, as its adapter says.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::http::{self, Answer};
use super::metrics::Metrics;
use super::{Mesh, lock, pod};
use crate::Error;
use crate::sut::template::Values;
use crate::sut::{Ask, Sut};

impl Mesh {
    /// The sidecar of a pod, and what its templates may name.
    pub(super) fn adapter(&self, pod: &str) -> Result<(Sut, Values), Error> {
        let sut = self.sidecar_of(pod)?;
        let sut = sut.ok_or_else(|| Error::Refused(format!("pod {pod} has no sidecar")))?;
        let spec = lock(self.member(pod)?).spec.clone();
        let site = self.site()?;
        let values = site.values(pod, &spec, &site.folder(pod))?;
        Ok((sut, values))
    }

    fn lacks(sut: &Sut, what: &str) -> Error {
        let name = &sut.sut;
        Error::Refused(format!("adapter {name} does not say how {what}"))
    }

    fn fetch(&self, pod: &str, url: &str) -> Result<Answer, Error> {
        let (address, path) = http::split(url)?;
        http::get(self.environment(), pod, address, &path)
    }

    /// The answer to any question to the sidecar's admin interface: `/state`.
    pub fn ask_admin(&self, pod: &str, path: &str) -> Result<Answer, Error> {
        http::get(self.environment(), pod, self.place(pod)?.admin, path)
    }

    /// Tells the sidecar's admin interface something: `/log`, `level=debug`.
    pub fn tell_admin(&self, pod: &str, path: &str, body: &str) -> Result<Answer, Error> {
        http::post(self.environment(), pod, self.place(pod)?.admin, path, body)
    }

    /// The version of the sidecar that runs in a pod, as it says.
    pub fn version(&self, pod: &str) -> Result<String, Error> {
        let (sut, values) = self.adapter(pod)?;
        let version = sut.version.as_ref();
        let version = version.ok_or_else(|| Self::lacks(&sut, "its version is asked for"))?;
        let url = values.fill(&version.url).map_err(pod::lacks(&sut))?;
        let text = self.fetch(pod, &url)?.good(&url)?;
        let wrong = || Error::Refused(format!("{url}: no version in {text}"));
        match (&version.field, &version.after) {
            (Some(field), _) => {
                let said: serde_json::Value = serde_json::from_str(&text).map_err(|_| wrong())?;
                let found = said.get(field).and_then(serde_json::Value::as_str);
                found.map(str::to_owned).ok_or_else(wrong)
            }
            (None, Some(after)) => {
                let (_, rest) = text.split_once(after.as_str()).ok_or_else(wrong)?;
                let word = rest.split_whitespace().next();
                word.map(str::to_owned).ok_or_else(wrong)
            }
            (None, None) => Ok(text.trim().to_owned()),
        }
    }

    /// The metrics of a pod's sidecar.
    pub fn metrics(&self, pod: &str) -> Result<Metrics, Error> {
        let (sut, values) = self.adapter(pod)?;
        let url = sut.metrics.as_ref();
        let url = url.ok_or_else(|| Self::lacks(&sut, "its metrics are asked for"))?;
        let url = values.fill(url).map_err(pod::lacks(&sut))?;
        Ok(Metrics::parse(&self.fetch(pod, &url)?.good(&url)?))
    }

    /// Sets the log level of a pod's sidecar while it runs: `error`, `warn`, `info`, `debug`.
    pub fn set_log_level(&self, pod: &str, level: &str) -> Result<(), Error> {
        let (sut, values) = self.adapter(pod)?;
        let ask = sut.log_level.as_ref();
        let ask = ask.ok_or_else(|| Self::lacks(&sut, "its log level is set"))?;
        let own = ask.words.iter().find(|(word, _)| word.value == level);
        let word = own.map_or(level, |(_, word)| word.value.as_str());
        self.tell(pod, &sut, ask, &values.with("level", word))?;
        self.note("admin", format!("the sidecar of pod {pod} logs at {level}"));
        Ok(())
    }

    /// Makes a pod's sidecar read its configuration again.
    pub fn reload(&self, pod: &str) -> Result<(), Error> {
        let (sut, values) = self.adapter(pod)?;
        let ask = sut.reload.as_ref();
        let ask = ask.ok_or_else(|| Self::lacks(&sut, "its configuration is read again"))?;
        self.tell(pod, &sut, ask, &values)?;
        self.note(
            "admin",
            format!("the sidecar of pod {pod} read its configuration"),
        );
        Ok(())
    }

    /// Begins the graceful end of a pod's sidecar.
    pub fn drain(&self, pod: &str) -> Result<(), Error> {
        let (sut, values) = self.adapter(pod)?;
        match &sut.drain {
            Some(ask) => self.tell(pod, &sut, ask, &values)?,
            None => self
                .process(pod, super::Part::Sidecar)?
                .signal(sut.stop.signal)?,
        }
        self.note(
            "admin",
            format!("the sidecar of pod {pod} is to end gracefully"),
        );
        Ok(())
    }

    fn tell(&self, pod: &str, sut: &Sut, ask: &Ask, values: &Values) -> Result<(), Error> {
        let url = values.fill(&ask.url).map_err(pod::lacks(sut))?;
        let body = values.fill(&ask.body).map_err(pod::lacks(sut))?;
        let (address, path) = http::split(&url)?;
        let answer = http::post(self.environment(), pod, address, &path, &body)?;
        answer.good(&format!("the sidecar of pod {pod}, told {path} {body}"))?;
        Ok(())
    }

    /// A file of a pod's sidecar as it was written: `sidecar.yaml`.
    pub fn config(&self, pod: &str, file: &str) -> Result<String, Error> {
        let changed = lock(self.member(pod)?).changed.get(file).cloned();
        if let Some(text) = changed {
            return Ok(text);
        }
        let (sut, values) = self.adapter(pod)?;
        let found = sut.files.iter().find(|(name, _)| name.value == file);
        let Some((_, template)) = found else {
            let known: Vec<&str> = sut.files.iter().map(|(name, _)| &name.value[..]).collect();
            let known = known.join(", ");
            return Err(Error::Refused(format!(
                "adapter {} has no file `{file}`; it has {known}",
                sut.sut
            )));
        };
        values.fill(template).map_err(pod::lacks(&sut))
    }

    /// Writes a file of a pod's sidecar anew; it is read by [`Mesh::reload`].
    pub fn set_config(&self, pod: &str, file: &str, text: &str) -> Result<(), Error> {
        // Only files that the adapter has.
        self.config(pod, file)?;
        let place = format!("{pod}/{}/{file}", pod::FOLDER);
        self.environment().place(&place, text)?;
        let mut member = lock(self.member(pod)?);
        member.changed.insert(file.to_owned(), text.to_owned());
        Ok(())
    }

    /// Changes keys of a pod's sidecar's configuration, which is the first of its files, and makes
    /// it read that again: `heartbeat.interval` to `"1s"`.
    pub fn change_config(&self, pod: &str, changes: &[(String, Value)]) -> Result<(), Error> {
        let (sut, _) = self.adapter(pod)?;
        let first = sut.files.iter().next();
        let Some((file, _)) = first else {
            return Err(Self::lacks(&sut, "it is configured"));
        };
        let text = self.config(pod, file)?;
        let mut config: Value = meshproof_input::parse(file, &text)
            .map_err(|problem| Error::Refused(format!("{file} of pod {pod}: {problem}")))?;
        for (key, value) in changes {
            set(&mut config, key, value.clone())
                .map_err(|why| Error::Refused(format!("{file} of pod {pod}: {why}")))?;
        }
        // JSON is YAML.
        self.set_config(pod, file, &format!("{config:#}\n"))?;
        self.reload(pod)
    }

    /// Everything that a sidecar tells of itself, by the names of files; what it does not answer
    /// is told in its place.
    pub fn dumps(&self, pod: &str) -> Result<BTreeMap<String, String>, Error> {
        let (sut, values) = self.adapter(pod)?;
        let mut dumps = BTreeMap::new();
        for (name, url) in &sut.dumps {
            let url = values.fill(url).map_err(pod::lacks(&sut))?;
            let said = self.fetch(pod, &url).map(|answer| answer.body);
            let said = said.unwrap_or_else(|error| format!("{error}\n"));
            dumps.insert(name.value.clone(), said);
        }
        Ok(dumps)
    }

    /// Whether the routes that a sidecar tells of name an address; none where it tells of none.
    pub(super) fn routes_to(&self, pod: &str, address: SocketAddr) -> Option<bool> {
        let (sut, values) = self.adapter(pod).ok()?;
        let (_, url) = sut
            .dumps
            .iter()
            .find(|(name, _)| name.value == "routes.json")?;
        let said = self.fetch(pod, &values.fill(url).ok()?).ok()?;
        Some(said.body.contains(&format!("\"{address}\"")))
    }
}

/// Sets a value by its dotted key; mappings on the way are made.
fn set(config: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let mut at = config;
    for part in key.split('.') {
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        let map = at.as_object_mut();
        let map =
            map.ok_or_else(|| format!("`{key}`: what `{part}` is to stand in is no mapping"))?;
        at = map.entry(part).or_insert(Value::Null);
    }
    *at = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, expected: &str) {
        let mut config = serde_json::json!({"a": {"b": 1}, "c": 2});
        let told = match set(&mut config, key, "x".into()) {
            Ok(()) => config.to_string(),
            Err(why) => why,
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_dotted_key_is_set() {
        check("c", r#"{"a":{"b":1},"c":"x"}"#);
        check("a.b", r#"{"a":{"b":"x"},"c":2}"#);
        check("a.d.e", r#"{"a":{"b":1,"d":{"e":"x"}},"c":2}"#);
        check("c.d", "`c.d`: what `d` is to stand in is no mapping");
    }
}
