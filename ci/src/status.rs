//! Commit statuses: where a service wants them, and what is said there.
//!
//! What is to be posted is made here of variables and values; [`crate::edge::status`] posts it.

use meshproof_record::report::text::tame;
use serde_json::{Value, json};

/// Longest description that services take, in characters.
const DESCRIPTION_CHARS_MAX: usize = 140;
/// The name of the status.
pub const CONTEXT: &str = "meshproof/gate";

/// How the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It is at work.
    Pending,
    /// The change may go on.
    Success,
    /// Something was shown not to hold.
    Failure,
    /// Nothing could be shown, or nothing was to be judged: it may not go on either.
    Error,
}

impl Stand {
    /// Of an exit code.
    pub fn of_exit(code: u8) -> Stand {
        match code {
            0 => Stand::Success,
            1 => Stand::Failure,
            _ => Stand::Error,
        }
    }
}

/// Where statuses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    service: Service,
    /// The address of the commit's statuses.
    pub url: String,
    /// The page of this run.
    link: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Github,
    Gitlab,
}

impl Place {
    /// The place that the variables of a service name. `event` reads the file of the event.
    ///
    /// # Errors
    /// A sentence where this is no such service, or a variable is missing.
    pub fn of(
        variable: &dyn Fn(&str) -> Option<String>,
        event: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<Place, String> {
        let some = |name: &str| variable(name).filter(|value| !value.is_empty());
        let need = |name: &str| some(name).ok_or_else(|| format!("the variable {name} is not set"));
        let or = |name: &str, usual: &str| some(name).unwrap_or_else(|| usual.to_owned());
        if some("GITHUB_ACTIONS").is_some() {
            let api = or("GITHUB_API_URL", "https://api.github.com");
            let repository = need("GITHUB_REPOSITORY")?;
            // What is built for a pull request is a merge that nobody else knows; its status is
            // that of the commit that was pushed.
            let pushed = some("GITHUB_EVENT_PATH").and_then(|path| event(&path));
            let pushed = pushed.and_then(|event| {
                let sha = event.pointer("/pull_request/head/sha")?.as_str()?;
                Some(sha.to_owned())
            });
            let sha = match pushed {
                Some(sha) => sha,
                None => need("GITHUB_SHA")?,
            };
            let server = or("GITHUB_SERVER_URL", "https://github.com");
            let link = some("GITHUB_RUN_ID")
                .map(|run| format!("{}/{repository}/actions/runs/{run}", base(&server)));
            return Ok(Place {
                service: Service::Github,
                url: format!("{}/repos/{repository}/statuses/{}", base(&api), hex(&sha)?),
                link: link.unwrap_or_default(),
            });
        }
        if some("GITLAB_CI").is_some() {
            let api = need("CI_API_V4_URL")?;
            // A pipeline of merged results builds a commit that nobody else knows, too.
            let project = some("CI_MERGE_REQUEST_SOURCE_PROJECT_ID");
            let project = project.map_or_else(|| need("CI_PROJECT_ID"), Ok)?;
            let sha = some("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA");
            let sha = sha.map_or_else(|| need("CI_COMMIT_SHA"), Ok)?;
            return Ok(Place {
                service: Service::Gitlab,
                url: format!("{}/projects/{project}/statuses/{}", base(&api), hex(&sha)?),
                link: or("CI_JOB_URL", ""),
            });
        }
        Err("neither GITHUB_ACTIONS nor GITLAB_CI is set: there is no service to tell".to_owned())
    }

    /// The variables that may hold its token, in the order in which they are asked.
    pub fn tokens(&self) -> &'static [&'static str] {
        match self.service {
            Service::Github => &["MESHPROOF_STATUS_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"],
            Service::Gitlab => &["MESHPROOF_STATUS_TOKEN", "GITLAB_TOKEN"],
        }
    }

    /// The headers of a request with this token.
    pub fn headers(&self, token: &str) -> Vec<(String, String)> {
        let of_service = match self.service {
            Service::Github => vec![
                ("authorization", format!("Bearer {token}")),
                ("accept", "application/vnd.github+json".to_owned()),
                ("x-github-api-version", "2022-11-28".to_owned()),
            ],
            Service::Gitlab => vec![("private-token", token.to_owned())],
        };
        let common = [
            ("content-type", "application/json".to_owned()),
            (
                "user-agent",
                format!("meshproof/{}", env!("CARGO_PKG_VERSION")),
            ),
        ];
        let all = of_service.into_iter().chain(common);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What is posted.
    pub fn body(&self, stand: Stand, description: &str) -> Value {
        let words: Vec<&str> = description.split_whitespace().collect();
        // What is tamed may be longer than it was.
        let description = tame(&words.join(" "), DESCRIPTION_CHARS_MAX);
        let description: String = description.chars().take(DESCRIPTION_CHARS_MAX).collect();
        let state = match (self.service, stand) {
            (_, Stand::Pending) => "pending",
            (_, Stand::Success) => "success",
            (Service::Github, Stand::Failure) => "failure",
            (Service::Github, Stand::Error) => "error",
            (Service::Gitlab, Stand::Failure | Stand::Error) => "failed",
        };
        let name = match self.service {
            Service::Github => "context",
            Service::Gitlab => "name",
        };
        let mut body = json!({"state": state, name: CONTEXT, "description": description});
        if !self.link.is_empty() {
            body["target_url"] = self.link.as_str().into();
        }
        body
    }

    /// Whether an answer says that it is as it was asked for. GitLab refuses a status that stands
    /// already.
    pub fn is_done(&self, status: u16, said: &str) -> bool {
        let stands = self.service == Service::Gitlab
            && status == 400
            && said.contains("Cannot transition status");
        (200..300).contains(&status) || stands
    }
}

fn base(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// A commit's name, as nothing but one may stand in an address.
fn hex(sha: &str) -> Result<&str, String> {
    let is_hex = !sha.is_empty() && sha.len() <= 64 && sha.bytes().all(|it| it.is_ascii_hexdigit());
    is_hex
        .then_some(sha)
        .ok_or_else(|| format!("`{}` is no name of a commit", tame(sha, 80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn place(variables: &[(&str, &str)], event: Value) -> Result<Place, String> {
        let of = |name: &str| {
            let found = variables.iter().find(|(it, _)| *it == name)?;
            Some(found.1.to_owned())
        };
        Place::of(&of, &|_| Some(event.clone()))
    }

    const GITHUB: [(&str, &str); 4] = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "a/b"),
        ("GITHUB_SHA", "00ff"),
        ("GITHUB_RUN_ID", "7"),
    ];

    #[test]
    fn github_is_told_of_the_commit_that_was_pushed() {
        let plain = place(&GITHUB, Value::Null).expect("a place");
        assert_eq!(plain.url, "https://api.github.com/repos/a/b/statuses/00ff");
        let body = plain.body(Stand::Error, "INVALID: nothing");
        assert_eq!(body["state"], "error");
        assert_eq!(body["context"], CONTEXT);
        assert_eq!(body["target_url"], "https://github.com/a/b/actions/runs/7");
        let mut all = GITHUB.to_vec();
        all.push(("GITHUB_EVENT_PATH", "event.json"));
        let event = json!({"pull_request": {"head": {"sha": "aa11"}}});
        let pushed = place(&all, event).expect("a place");
        assert!(pushed.url.ends_with("/statuses/aa11"), "{}", pushed.url);
        let event = json!({"pull_request": {"head": {"sha": "../../../x"}}});
        assert!(
            place(&all, event)
                .expect_err("no commit")
                .contains("no name of a commit")
        );
    }

    #[test]
    fn gitlab_is_told_at_the_project_that_the_branch_is_of() {
        let all = [
            ("GITLAB_CI", "true"),
            ("CI_API_V4_URL", "https://gitlab.example.org/api/v4/"),
            ("CI_PROJECT_ID", "3"),
            ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "12"),
            ("CI_COMMIT_SHA", "00ff"),
        ];
        let place = place(&all, Value::Null).expect("a place");
        let url = "https://gitlab.example.org/api/v4/projects/12/statuses/00ff";
        assert_eq!(place.url, url);
        assert_eq!(place.body(Stand::Failure, "x")["state"], "failed");
        assert!(place.is_done(400, r#"{"message": "Cannot transition status via :run"}"#));
        assert!(!place.is_done(400, "no such project"));
        assert!(!place.is_done(500, ""));
    }

    #[test]
    fn descriptions_are_one_short_line() {
        let place = place(&GITHUB, Value::Null).expect("a place");
        let long = "many\nlines ".repeat(60);
        let body = place.body(Stand::Success, &long);
        let text = body["description"].as_str().expect("a text");
        assert!(text.chars().count() <= DESCRIPTION_CHARS_MAX && !text.contains('\n'));
    }

    #[test]
    fn elsewhere_there_is_no_place() {
        let none = place(&[], Value::Null).expect_err("no service");
        assert!(none.contains("GITLAB_CI"), "{none}");
        let lacking = place(&[("GITHUB_ACTIONS", "true")], Value::Null);
        assert!(
            lacking
                .expect_err("no repository")
                .contains("GITHUB_REPOSITORY")
        );
    }
}
