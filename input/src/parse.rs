//! YAML text becomes a value, or a [`Problem`] that shows where and what to type.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

use crate::spanned::place_of;
use crate::{Problem, Span};

/// Longest text accepted, in bytes (4 MiB).
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// Most `*alias` uses in one text.
pub const ALIASES_MAX: usize = 1_000;
/// Most parser events that aliases may bring back, in sum: what a bomb of nested aliases runs into.
pub const REPLAYED_EVENTS_MAX: usize = 100_000;
/// Deepest nesting of mappings and sequences.
pub const DEPTH_MAX: usize = 32;
/// Most events of one text.
const EVENTS_MAX: usize = 1_000_000;

/// Makes text of a file's bytes: UTF-8 of at most [`TEXT_BYTES_MAX`] bytes, a leading byte order
/// mark taken off.
pub fn text(name: &str, bytes: Vec<u8>) -> Result<String, Problem> {
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(too_long(name, bytes.len()));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let good = error.as_bytes().get(..at).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Problem::of_file(
                name,
                "input::not_text",
                format!("line {line}, byte {at}: not UTF-8"),
                "is this the right file? Text in another encoding has to be converted first",
            ))
        }
    }
}

/// Reads one YAML document.
///
/// Keys that stand twice are refused, and so are unknown ones where `T` says
/// `deny_unknown_fields` (every type of this project does). A text of nothing but comments is an
/// empty mapping. `name` is for showing only.
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(too_long(name, text.len()));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let nothing = text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#')
    });
    let yaml = if nothing { "{}" } else { text };
    serde_saphyr::from_str_with_options(yaml, options()).map_err(|error| {
        let error = error.without_snippet();
        match error {
            Error::SerdeMissingField { field, .. } if nothing => Problem::of_file(
                name,
                "input::missing_key",
                format!("the file is empty, and the key `{field}` is needed"),
                format!("add `{field}: …`"),
            ),
            error => problem(name, text, error),
        }
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_recorded_anchor_events: REPLAYED_EVENTS_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_EVENTS_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

fn too_long(name: &str, len: usize) -> Problem {
    Problem::of_file(
        name,
        "input::too_long",
        format!("{len} bytes are more than the {TEXT_BYTES_MAX} that are read"),
        "is this the right file? Split it where it can be split",
    )
}

/// The most similar of `known`, when one is similar enough to be meant.
pub fn suggestion<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    const CUTOFF: f32 = 0.6;
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
    if let Some(same) = known.iter().find(|known| plain(known) == plain(word)) {
        return Some(same);
    }
    // A word of any length may be handed over; what people mistype is short.
    let word = word.get(..word.floor_char_boundary(64))?;
    similar::get_close_matches(word, known, 1, CUTOFF)
        .first()
        .copied()
}

fn choices(word: &str, known: &[&str]) -> String {
    match suggestion(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "no key is expected here".to_owned(),
        None => {
            let list: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("expected one of {}", list.join(", "))
        }
    }
}

/// Translates the parser's error.
fn problem(name: &str, text: &str, error: &Error) -> Problem {
    let span = error
        .location()
        .and_then(|location| place_of(&location, text))
        .unwrap_or_default();
    let at =
        |code, message: String, help: String| Problem::at(name, text, span, code, message, help);
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => at(
            "input::unknown_key",
            format!("unknown key `{field}`"),
            choices(field, expected),
        )
        .label(span, "not known here"),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => at(
            "input::unknown_value",
            format!("unknown value `{variant}`"),
            choices(variant, expected),
        )
        .label(span, "not known here"),
        Error::SerdeMissingField { field, .. } => at(
            "input::missing_key",
            format!("the key `{field}` is missing"),
            format!("add `{field}: …`"),
        )
        .label(span, "in this mapping"),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            let problem = at(
                "input::duplicate_key",
                format!("the key `{key}` stands twice"),
                "keep one of the two".to_owned(),
            )
            .label(span, "again here");
            match first_of(text, span) {
                Some(first) => problem.label(first, "first set here"),
                None => problem,
            }
        }
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => at(
            "input::wrong_type",
            format!("expected {expected}, found {unexpected}"),
            String::new(),
        )
        .label(span, &format!("expected {expected}")),
        Error::Unexpected { expected, .. } => {
            let expected = match *expected {
                "sequence start" => "a list (`- item` lines)",
                "mapping start" => "a mapping (`key: value` lines)",
                "string scalar" => "text",
                other => other,
            };
            at(
                "input::wrong_type",
                format!("expected {expected}"),
                String::new(),
            )
            .label(span, "found this")
        }
        Error::InvalidBooleanStrict { .. } => at(
            "input::wrong_type",
            "expected `true` or `false`".to_owned(),
            String::new(),
        ),
        Error::InvalidScalar { ty, .. } => {
            at("input::wrong_type", format!("expected {ty}"), String::new())
        }
        Error::UnknownAnchor { .. } => at(
            "input::syntax",
            "`*` refers to a name that no `&` has set".to_owned(),
            "put quotes around it if no reference is meant".to_owned(),
        ),
        Error::Message { msg, .. } => {
            let (message, help) = msg.split_once('\n').unwrap_or((msg, ""));
            at("input::bad_value", message.to_owned(), help.to_owned())
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => at(
            "input::limit",
            over(error),
            format!(
                "limits: {DEPTH_MAX} levels, {ALIASES_MAX} aliases, {EVENTS_MAX} nodes, one document"
            ),
        ),
        error => syntax(name, text, span, error),
    }
}

/// Errors of form, where the words of the parser can be bettered by looking at the line.
fn syntax(name: &str, text: &str, span: Span, error: &Error) -> Problem {
    if let Some(tab) = tab_in_indent(text, span.start) {
        return Problem::at(
            name,
            text,
            tab,
            "input::tab",
            "a tab cannot indent YAML",
            "replace it by spaces",
        )
        .label(tab, "tab");
    }
    let code = match error {
        Error::ExternalMessage { .. } | Error::Eof { .. } => "input::syntax",
        _ => "input::wrong_type",
    };
    Problem::at(name, text, span, code, plain(error), String::new())
}

/// Which limit a text has run into.
fn over(error: &Error) -> String {
    use serde_saphyr::budget::BudgetBreach;
    match error {
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Documents { .. } => "a second document begins here",
            BudgetBreach::Depth { .. } => "nested too deep",
            BudgetBreach::Aliases { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
                "too many aliases"
            }
            BudgetBreach::Anchors { .. } => "too many anchors",
            _ => "too many nodes",
        },
        _ => "the aliases say too much",
    }
    .to_owned()
}

/// The parser's own words, without place.
fn plain(error: &Error) -> String {
    use serde_saphyr::MessageFormatter;
    serde_saphyr::DefaultMessageFormatter
        .format_message(error)
        .into_owned()
}

/// The tab that indents the line of `at` or the one before it, where the parser may have noticed.
fn tab_in_indent(text: &str, at: usize) -> Option<Span> {
    let at = text.floor_char_boundary(at);
    let before = text.get(..at)?;
    let line_at = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_before_at = text
        .get(..line_at.saturating_sub(1))?
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    [line_at, line_before_at].into_iter().find_map(|start| {
        let line = text.get(start..)?.lines().next()?;
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line.get(..indent)?.find('\t')?;
        Some(Span {
            start: start + tab,
            len: 1,
        })
    })
}

/// The first place of a key that stands again at `again`: the nearest earlier line of the same
/// indentation within the same block that begins with the same words.
fn first_of(text: &str, again: Span) -> Option<Span> {
    let key = text.get(again.start..again.start.checked_add(again.len)?)?;
    let line_at = text.get(..again.start)?.rfind('\n')? + 1;
    let column = again.start - line_at;
    let mut end = line_at - 1;
    loop {
        let start = text
            .get(..end)?
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let line = text.get(start..end)?;
        let words = line.trim_start();
        let indent = line.len() - words.len();
        // A list item's first key stands behind the dash, at the same column as its sisters.
        let item = words.strip_prefix("- ").map(str::trim_start);
        let item_at = item.map(|item| line.len() - item.len());
        for (begin, at) in [(Some(words), Some(indent)), (item, item_at)] {
            if let (Some(begin), Some(at)) = (begin, at)
                && at == column
                && begin
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with(':'))
            {
                return Some(Span {
                    start: start + at,
                    len: key.len(),
                });
            }
        }
        let content = !words.is_empty() && !words.starts_with('#');
        if start == 0 || (content && indent < column) {
            return None;
        }
        end = start - 1;
    }
}
