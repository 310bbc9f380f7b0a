//! Merge requests, from events and exports of GitHub and GitLab, in one form.
//!
//! GitHub: an object with `pull_request` (as in an event), and beside it `reviews` as
//! `GET /repos/…/pulls/N/reviews` gives them. GitLab: a merge request as
//! `GET /projects/…/merge_requests/N` gives it, and beside its fields `approved_by`
//! (`…/approvals`), with `changes_count`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::unreadable;
use crate::world::{Absent, Seen};

/// Reads a merge request: `title`, `author`, `source`, `target`, `head`, `draft`, `labels`,
/// `size.{additions,deletions,lines,files}` where they are told, and where reviews are told
/// `approvals` (of others than the author, for the newest commit), `self_approvals`,
/// `stale_approvals`, `objections`.
pub fn review(seen: &Seen) -> Result<Value, Absent> {
    let document = super::json(seen)?;
    let bad = |why: String| unreadable(seen, "merge request", why);
    if let Some(request) = document.get("pull_request") {
        return github(&document, request).map_err(bad);
    }
    let attributes = document.get("object_attributes");
    if attributes.is_some() || document.get("source_branch").is_some() {
        return gitlab(&document, attributes.unwrap_or(&document)).map_err(bad);
    }
    Err(bad(
        "expected `pull_request` (GitHub) or `source_branch` (GitLab)".to_owned(),
    ))
}

fn text(value: &Value, pointer: &str) -> Result<String, String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    let found = found.filter(|text| !text.is_empty());
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("it has no text at {pointer}"))
}

fn github(document: &Value, request: &Value) -> Result<Value, String> {
    let author = text(request, "/user/login")?;
    let head = text(request, "/head/sha")?;
    let mut facts = Map::new();
    facts.insert("kind".into(), "github".into());
    facts.insert("title".into(), text(request, "/title")?.into());
    facts.insert("source".into(), text(request, "/head/ref")?.into());
    facts.insert("target".into(), text(request, "/base/ref")?.into());
    facts.insert(
        "draft".into(),
        request.get("draft").cloned().unwrap_or(Value::Null),
    );
    facts.insert("labels".into(), names(request.get("labels"), "/name"));
    let number = |name: &str| request.get(name).and_then(Value::as_u64);
    if let (Some(plus), Some(minus)) = (number("additions"), number("deletions")) {
        let size = json!({
            "additions": plus, "deletions": minus, "lines": plus.saturating_add(minus),
            "files": number("changed_files"),
        });
        facts.insert("size".into(), size);
    }
    if let Some(reviews) = document.get("reviews") {
        let reviews = reviews.as_array().ok_or("`reviews` is no list")?;
        // The last word of each counts; a remark takes nothing back.
        let mut last: BTreeMap<String, (String, String)> = BTreeMap::new();
        for review in reviews {
            let (who, state) = (text(review, "/user/login")?, text(review, "/state")?);
            let commit = text(review, "/commit_id").unwrap_or_default();
            if matches!(
                state.to_ascii_uppercase().as_str(),
                "APPROVED" | "CHANGES_REQUESTED" | "DISMISSED"
            ) {
                last.insert(who, (state.to_ascii_uppercase(), commit));
            }
        }
        let of = |wanted: &str, current: Option<bool>| {
            let all = last.iter().filter(|(_, (state, commit))| {
                state == wanted && current.is_none_or(|current| (*commit == head) == current)
            });
            all.map(|(who, _)| who.clone())
                .collect::<BTreeSet<String>>()
        };
        let objections = of("CHANGES_REQUESTED", None);
        approvals(
            &mut facts,
            &author,
            of("APPROVED", Some(true)),
            of("APPROVED", Some(false)),
            objections,
        );
    }
    facts.insert("author".into(), author.into());
    facts.insert("head".into(), head.into());
    Ok(Value::Object(facts))
}

fn gitlab(document: &Value, request: &Value) -> Result<Value, String> {
    let author = text(request, "/author/username").or_else(|_| text(document, "/user/username"))?;
    let head = text(request, "/sha").or_else(|_| text(request, "/last_commit/id"))?;
    let mut facts = Map::new();
    facts.insert("kind".into(), "gitlab".into());
    facts.insert("title".into(), text(request, "/title")?.into());
    facts.insert("source".into(), text(request, "/source_branch")?.into());
    facts.insert("target".into(), text(request, "/target_branch")?.into());
    let draft = request
        .get("draft")
        .or_else(|| request.get("work_in_progress"));
    facts.insert("draft".into(), draft.cloned().unwrap_or(Value::Null));
    let labels = match request.get("labels").and_then(Value::as_array) {
        Some(labels) if labels.iter().all(Value::is_string) => Value::from(labels.clone()),
        _ => names(request.get("labels"), "/title"),
    };
    facts.insert("labels".into(), labels);
    if let Some(approved) = request
        .get("approved_by")
        .or_else(|| document.get("approved_by"))
    {
        let approved = approved.as_array().ok_or("`approved_by` is no list")?;
        let who = approved.iter().map(|one| text(one, "/user/username"));
        let who: BTreeSet<String> = who.collect::<Result<_, _>>()?;
        approvals(&mut facts, &author, who, BTreeSet::new(), BTreeSet::new());
    }
    facts.insert("author".into(), author.into());
    facts.insert("head".into(), head.into());
    Ok(Value::Object(facts))
}

fn approvals(
    facts: &mut Map<String, Value>,
    author: &str,
    mut approved: BTreeSet<String>,
    stale: BTreeSet<String>,
    objections: BTreeSet<String>,
) {
    // Names of both services do not tell small from large letters.
    let own = |who: &String| who.eq_ignore_ascii_case(author);
    let by_author: Vec<String> = approved.iter().filter(|who| own(who)).cloned().collect();
    approved.retain(|who| !own(who));
    facts.insert("approval_count".into(), approved.len().into());
    facts.insert("approvals".into(), Vec::from_iter(approved).into());
    facts.insert("self_approvals".into(), by_author.len().into());
    facts.insert("stale_approvals".into(), Vec::from_iter(stale).into());
    facts.insert("objections".into(), Vec::from_iter(objections).into());
}

fn names(list: Option<&Value>, pointer: &str) -> Value {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    let names = items.filter_map(|item| item.pointer(pointer).and_then(Value::as_str));
    names.map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;
    use crate::outcome::Code;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Code>) {
        let read = review(&seen("event.json", text)).map_err(|absent| absent.code);
        let shown = read.map(|facts| {
            [
                "author",
                "target",
                "approvals",
                "self_approvals",
                "stale_approvals",
                "objections",
            ]
            .map(|name| facts.get(name).map_or("-".to_owned(), Value::to_string))
            .join(" ")
        });
        assert_eq!(shown.as_deref().map_err(|code| *code), expected, "{text}");
    }

    #[test]
    fn both_services_say_the_same() {
        let github = r#"{"pull_request": {"title": "t", "user": {"login": "ann"},
            "head": {"ref": "feature/x", "sha": "abc"}, "base": {"ref": "main"},
            "additions": 3, "deletions": 4, "changed_files": 1}, "reviews": [
            {"user": {"login": "bob"}, "state": "CHANGES_REQUESTED", "commit_id": "abc"},
            {"user": {"login": "bob"}, "state": "APPROVED", "commit_id": "abc"},
            {"user": {"login": "bob"}, "state": "COMMENTED", "commit_id": "abc"},
            {"user": {"login": "eve"}, "state": "APPROVED", "commit_id": "old"},
            {"user": {"login": "Ann"}, "state": "APPROVED", "commit_id": "abc"}]}"#;
        check(github, Ok(r#""ann" "main" ["bob"] 1 ["eve"] []"#));
        let gitlab = r#"{"title": "t", "author": {"username": "ann"}, "sha": "abc",
            "source_branch": "x", "target_branch": "main",
            "approved_by": [{"user": {"username": "bob"}}, {"user": {"username": "ann"}}]}"#;
        check(gitlab, Ok(r#""ann" "main" ["bob"] 1 [] []"#));
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        let event = r#"{"pull_request": {"title": "t", "user": {"login": "ann"},
            "head": {"ref": "x", "sha": "abc"}, "base": {"ref": "main"}}}"#;
        check(event, Ok(r#""ann" "main" - - - -"#));
        check(r#"{"pull_request": {"title": "t"}}"#, Err(Code::Unreadable));
        check(r#"{"push": true}"#, Err(Code::Unreadable));
    }
}
