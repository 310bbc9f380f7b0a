//! Pipelines of CI services that run the gate: the templates that ship.

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// GitHub's actions.
    Github,
    /// GitLab's pipelines.
    Gitlab,
    /// Jenkins, multibranch.
    Jenkins,
}

impl Service {
    /// Every one.
    pub const ALL: [Service; 3] = [Service::Github, Service::Gitlab, Service::Jenkins];

    /// Where the service looks for its pipeline, from the repository's root.
    pub fn path(self) -> &'static str {
        match self {
            Service::Github => ".github/workflows/gate.yml",
            Service::Gitlab => ".gitlab-ci.yml",
            Service::Jenkins => "Jenkinsfile",
        }
    }

    /// The pipeline.
    pub fn template(self) -> &'static str {
        match self {
            Service::Github => include_str!("../templates/github.yml"),
            Service::Gitlab => include_str!("../templates/gitlab.yml"),
            Service::Jenkins => include_str!("../templates/Jenkinsfile"),
        }
    }

    /// What is to be set at the service before it works.
    pub fn needs(self) -> &'static str {
        match self {
            Service::Github => {
                "set the repository's variables MESHPROOF_URL and MESHPROOF_SHA256, and require \
                 the check `gate`"
            }
            Service::Gitlab => {
                "set the CI variables MESHPROOF_URL, MESHPROOF_SHA256 and, for commit statuses, \
                 GITLAB_TOKEN (scope api), and let pipelines have to succeed"
            }
            Service::Jenkins => {
                "set MESHPROOF_URL and MESHPROOF_SHA256 in the folder's environment, and require \
                 the check of the branch source"
            }
        }
    }
}
