//! Where a recorded and an observed response part.

use serde::{Deserialize, Serialize};

/// One place where two responses differ, named by a path into the decoded response:
/// `status`, `class`, `headers.sofa_head_response_error`, `body.appResponse.amount`,
/// `body.appResponse.hosts[1]`, `exception.class`, `exception.cause.message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where.
    pub path: String,
    /// What was recorded, as text; `None` where it is not there.
    pub recorded: Option<String>,
    /// What was observed, as text; `None` where it is not there.
    pub observed: Option<String>,
    /// `false` for what is shown and not judged: stack frames, noise.
    pub judged: bool,
}
