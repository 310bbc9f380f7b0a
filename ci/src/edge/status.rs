//! Posts commit statuses.

use std::time::Duration;

use serde_json::Value;

use super::http::{Request, send};
use crate::status::{Place, Stand};

/// How long one try may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Between tries; there is one more try than there are pauses.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// Most bytes of an answer and of an event.
const BYTES_MAX: u64 = 25 << 20;

/// Where statuses of this run go, and the token for it.
#[derive(Debug)]
pub struct Statuses {
    place: Place,
    token: String,
}

impl Statuses {
    /// As the environment says.
    ///
    /// # Errors
    /// A sentence where no service is named, or no token is there.
    pub fn of_environment() -> Result<Statuses, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let event = |path: &str| -> Option<Value> {
            let bytes = std::fs::metadata(path).ok()?.len();
            let text = std::fs::read(path).ok().filter(|_| bytes <= BYTES_MAX)?;
            serde_json::from_slice(&text).ok()
        };
        let place = Place::of(&variable, &event)?;
        let token = place
            .tokens()
            .iter()
            .filter_map(|name| variable(name))
            .find(|token| !token.is_empty());
        match token {
            Some(token) => Ok(Statuses { place, token }),
            None => Err(format!(
                "no token for {}: set {}",
                place.url,
                place.tokens().join(" or ")
            )),
        }
    }

    /// Posts; at most three tries and about 16 seconds. A server's error and a lost connection
    /// are tried again, a refusal is not.
    ///
    /// # Errors
    /// A sentence where the service did not take it.
    pub fn post(&self, stand: Stand, description: &str) -> Result<(), String> {
        let request = Request {
            method: "POST",
            url: self.place.url.clone(),
            headers: self.place.headers(&self.token),
            body: self.place.body(stand, description).to_string().into_bytes(),
            within: WITHIN,
            bytes_max: BYTES_MAX,
        };
        let mut pauses = PAUSES.iter();
        loop {
            let why = match send(&request) {
                Ok(answer) if self.place.is_done(answer.status, &answer.said()) => return Ok(()),
                Ok(answer) => {
                    let (status, said) = (answer.status, answer.said());
                    let why = format!("{} answered {status}: {said}", request.url);
                    if status < 500 && status != 429 {
                        return Err(why);
                    }
                    why
                }
                Err(why) => why,
            };
            let Some(pause) = pauses.next() else {
                return Err(format!("{why} ({} tries)", PAUSES.len() + 1));
            };
            wait(*pause);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server that failed is not asked again at once, and tells no event"
)]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}
