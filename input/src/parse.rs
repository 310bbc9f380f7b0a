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
            let bytes = error.as_bytes();
            let byte = bytes.get(at).copied().unwrap_or_default();
            // Everything in front of the place is good, so that the place is the same in it.
            let shown = String::from_utf8_lossy(bytes);
            let span = Span { start: at, len: 1 };
            let problem = Problem::at(
                name,
                &shown,
                span,
                "input::not_text",
                format!("byte {at} is {byte:#04x}, which is not UTF-8"),
                "is this the right file? Text in another encoding has to be converted first: \
                 iconv -f LATIN1 -t UTF-8",
            );
            Err(problem.label(span, "not UTF-8"))
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
            Error::SerdeMissingField { field, .. } if nothing => {
                // Behind the comments, where it is to be written.
                let end = text.trim_end().len();
                let next = text.get(end..).and_then(|rest| rest.find('\n'));
                let start = next.map_or(end, |newline| end + newline + 1);
                let start = if start < text.len() { start } else { end };
                let span = Span { start, len: 0 };
                let message = format!("the file is empty, and the key `{field}` is needed");
                let help = format!("add `{field}: …`");
                match text.is_empty() {
                    true => Problem::of_file(name, "input::missing_key", message, help),
                    false => Problem::at(name, text, span, "input::missing_key", message, help),
                }
            }
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
        reject_unsupported_tags: true,
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

/// What people call a type of the program's.
fn kind(ty: &str) -> &str {
    match ty {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" | "floating point" => "a number",
        "bool" | "boolean" => "`true` or `false`",
        other => other,
    }
}

/// `, found …`: what stands at a place; empty where nothing does.
fn found(text: &str, span: Span) -> String {
    const CHARS_MAX: usize = 40;
    let rest = text.get(span.start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default().trim();
    let marked = rest.get(..span.len).and_then(|words| words.lines().next());
    let words = marked.unwrap_or_default().trim();
    match words {
        _ if line.starts_with('[') || line == "-" || line.starts_with("- ") => {
            ", found a list".to_owned()
        }
        _ if line.starts_with('{') => ", found a mapping".to_owned(),
        // A value that is missing stands where its colon does.
        "" if line.trim_matches(':').is_empty() => ", found nothing".to_owned(),
        "" if line.ends_with(':') || line.contains(": ") => ", found a mapping".to_owned(),
        "" => String::new(),
        words if words.chars().count() <= CHARS_MAX => format!(", found `{words}`"),
        words => {
            let front: String = words.chars().take(CHARS_MAX).collect();
            format!(", found `{front}…`")
        }
    }
}

/// What people call what serde found.
fn shape(unexpected: &str) -> &str {
    match unexpected {
        "map" => "a mapping",
        "sequence" => "a list",
        "unit value" | "null" | "Option value" => "nothing",
        other => other,
    }
}

/// What to type where something of another form stands.
fn type_help(text: &str, span: Span, expected: &str, found: &str) -> String {
    let rest = text.get(span.start..).unwrap_or_default();
    let word = rest.get(..span.len).unwrap_or_default().trim();
    let one_line = !word.is_empty() && !word.contains(['\n', '{', '[']);
    let (key, value) = word.split_once(':').unwrap_or((word, ""));
    match expected {
        "text" if rest.starts_with("{{") => {
            "put quotes around it: braces without them begin a mapping".to_owned()
        }
        _ if found.ends_with("found nothing") => {
            "write its value, indented by two more spaces than the key".to_owned()
        }
        _ if expected.starts_with("a list") && one_line => format!("write `[{word}]`"),
        _ if expected.starts_with("a list") && found.ends_with("a mapping") => {
            "write `- ` in front of each item".to_owned()
        }
        _ if expected.starts_with("a mapping") && rest.starts_with("- ") => {
            "take the `- ` away: a key stands without it".to_owned()
        }
        _ if expected.starts_with("a mapping") && one_line && !value.is_empty() => {
            format!("write `{key}: {value}`, with a space behind the colon")
        }
        _ if expected.starts_with("a mapping") && one_line => "write `key: value`".to_owned(),
        _ => String::new(),
    }
}

/// The word in front of a place needs a value, and none comes.
fn missing_value(name: &str, text: &str, span: Span) -> Option<Problem> {
    let (at, word) = word_before(text, span.start)?;
    let (message, help) = (
        format!("`{word}` needs a value"),
        format!("write `{word}: …`"),
    );
    let problem = Problem::at(name, text, at, "input::missing_value", message, help);
    Some(problem.label(at, "the value is missing"))
}

/// A `[` or `{` that nothing closes.
struct Open {
    at: usize,
    bracket: char,
}

impl Open {
    fn problem(&self, name: &str, text: &str, noticed: Span) -> Problem {
        let Open { at, bracket } = *self;
        let span = Span { start: at, len: 1 };
        let message = format!("this `{bracket}` is not closed");
        let close = if bracket == '[' { ']' } else { '}' };
        let help = format!("add `{close}` at the end of what it holds");
        let noticed = Span { len: 0, ..noticed };
        Problem::at(name, text, span, "input::not_closed", message, help)
            .label(span, "opened here")
            .label(noticed, "noticed here")
    }
}

/// The last `[` or `{` in front of a place that is not closed there. Quotes and comments are
/// passed over; a bracket inside of a plain word is none.
fn unclosed(text: &str, until: usize) -> Option<Open> {
    let before = text.get(..text.floor_char_boundary(until))?;
    let mut open: Vec<Open> = Vec::new();
    let mut quote = None;
    let mut comment = false;
    // What stood last, apart from spaces: a bracket opens only where a value may begin.
    let mut last = '\n';
    let mut blank = true;
    for (at, c) in before.char_indices() {
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some(mark), c) if mark == c => quote = None,
            (Some(_), _) => {}
            (None, '#') if blank => comment = true,
            (None, '"' | '\'') if !last.is_alphanumeric() => quote = Some(c),
            (None, '[' | '{') if matches!(last, ':' | ',' | '-' | '[' | '{' | '\n') => {
                open.push(Open { at, bracket: c });
            }
            (None, ']' | '}') => drop(open.pop()),
            _ => {}
        }
        blank = c.is_whitespace();
        if c == '\n' || !blank {
            last = c;
        }
    }
    open.pop()
}

/// The last word in front of a place, on whatever line: what a parser that looks for a value went
/// on behind.
fn word_before(text: &str, at: usize) -> Option<(Span, &str)> {
    let before = text.get(..text.floor_char_boundary(at))?;
    let before = before.trim_end_matches([' ', '\n', '\r', '\t', '}', ']', ',']);
    let start = before
        .rfind([' ', '\n', '\t', '{', '[', ','])
        .map_or(0, |blank| blank + 1);
    let word = before.get(start..)?;
    let len = word.len();
    (!word.is_empty()).then_some((Span { start, len }, word))
}

/// What to type for a number whose key says the unit already: `interval_ms: 300ms`.
fn unit_help(text: &str, span: Span) -> String {
    let before = text.get(..span.start).unwrap_or_default();
    let key = before.trim_end_matches([' ', '"', '\'']);
    let words = text.get(span.start..span.start.saturating_add(span.len));
    let unit_at = words.and_then(|words| words.find(|c: char| !c.is_ascii_digit()));
    let (Some(words), Some(unit_at)) = (words, unit_at) else {
        return String::new();
    };
    let in_ms = match words.split_at(unit_at) {
        ("", _) => None,
        (number, "ms") => Some(number.to_owned()),
        (number, "s") => Some(format!("{number}000")),
        _ => None,
    };
    match in_ms {
        Some(number) if key.ends_with("_ms:") => {
            format!("write {number}: the name of the key says the unit, milliseconds")
        }
        _ => String::new(),
    }
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
            format!("expected {expected}, found {}", shape(unexpected)),
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
            let nothing_follows = text
                .get(span.start..)
                .is_some_and(|rest| rest.trim().is_empty());
            if nothing_follows
                && text
                    .get(..span.start)
                    .is_some_and(|before| before.ends_with('\n'))
                && let Some(problem) = missing_value(name, text, span)
            {
                return problem;
            }
            let found = found(text, span);
            let help = type_help(text, span, expected, &found);
            at(
                "input::wrong_type",
                format!("expected {expected}{found}"),
                help,
            )
            .label(span, "found this")
        }
        Error::InvalidBooleanStrict { .. } => at(
            "input::wrong_type",
            "expected `true` or `false`".to_owned(),
            String::new(),
        ),
        Error::InvalidScalar { ty, .. } => {
            let words = text.get(span.start..span.start.saturating_add(span.len));
            let line_len = words.and_then(|words| words.find('\n'));
            if line_len.is_some()
                && let Some(open) = unclosed(text, span.start)
            {
                return open.problem(name, text, span);
            }
            let len = line_len.unwrap_or(span.len);
            let span = Span { len, ..span };
            let message = format!("expected {}{}", kind(ty), found(text, span));
            Problem::at(
                name,
                text,
                span,
                "input::wrong_type",
                message,
                unit_help(text, span),
            )
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            let key = text.get(span.start..span.start.saturating_add(span.len));
            let message = match key {
                Some(key) if !key.is_empty() => {
                    format!("`{key}` is a second key where one is meant")
                }
                _ => "a second key stands where one is meant".to_owned(),
            };
            let help = "indent it by two more spaces where it belongs to the first, or begin a new \
                        item with `-`";
            at("input::second_key", message, help.to_owned()).label(span, "the second")
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => at(
            "input::wrong_type",
            format!(
                "expected a word, or one key with its value{}",
                found(text, span)
            ),
            String::new(),
        ),
        Error::UnexpectedValueForUnitEnumVariant { .. } => at(
            "input::wrong_type",
            "this word takes no value".to_owned(),
            "write the word alone, without `:`".to_owned(),
        ),
        Error::UnexpectedSequenceEnd { .. } | Error::UnexpectedMappingEnd { .. } => {
            missing_value(name, text, span).unwrap_or_else(|| {
                let message = "a value is missing".to_owned();
                at("input::missing_value", message, String::new())
            })
        }
        Error::UnsupportedTag { .. }
        | Error::TaggedEnumMismatch { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => at(
            "input::tag",
            "what begins with `!` is a tag of YAML, and none is known here".to_owned(),
            "put quotes around the whole text where no tag is meant".to_owned(),
        ),
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
            match error {
                Error::Budget {
                    breach: serde_saphyr::budget::BudgetBreach::Documents { .. },
                    ..
                } => "a file holds one document: take `---` and what follows out".to_owned(),
                _ => limits(),
            },
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
    let words = plain(error);
    if words.starts_with("budget breached") {
        let message = match words.contains("Alias") || words.contains("Anchor") {
            true => "the aliases say too much",
            false => "too many nodes",
        };
        return Problem::at(name, text, span, "input::limit", message, limits());
    }
    let of_brackets = [
        "illegal placement",
        "flow",
        "end of",
        "mapping values are not allowed",
    ];
    if of_brackets.iter().any(|part| words.contains(part))
        && let Some(open) = unclosed(text, span.start)
    {
        return open.problem(name, text, span);
    }
    if let Some((message, help)) = bettered(&words, text, span) {
        return Problem::at(name, text, span, "input::syntax", message, help);
    }
    let code = match error {
        Error::ExternalMessage { .. } | Error::Eof { .. } => "input::syntax",
        _ => "input::wrong_type",
    };
    Problem::at(name, text, span, code, words, String::new())
}

/// What is meant by the parser's words, and what to type, where the line tells it.
fn bettered(words: &str, text: &str, span: Span) -> Option<(String, String)> {
    let line_at = text
        .get(..span.start)?
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let line = text.get(line_at..)?.lines().next()?;
    let (message, help) = if words.contains("block scalar") {
        (
            "`>` or `|` begins a block of text, and words stand behind it".to_owned(),
            match line.split_once(": ") {
                Some((_, value)) => format!("put quotes around it: \"{}\"", value.trim()),
                None => "put quotes around the text".to_owned(),
            },
        )
    } else if words.contains("trailing content") {
        (
            "words stand behind the closing quote".to_owned(),
            "put quotes of the other kind around the whole text".to_owned(),
        )
    } else if words.contains("did not find expected key")
        || words.contains("did not find expected '-'")
    {
        (
            "this line is not indented like its neighbours".to_owned(),
            "the keys of one mapping, and the items of one list, begin in one column".to_owned(),
        )
    } else if words.contains("mapping values are not allowed") {
        (
            "a second `: ` stands in this line".to_owned(),
            "put quotes around the text that holds it, or begin a new line for a new key"
                .to_owned(),
        )
    } else {
        return None;
    };
    Some((message, help))
}

/// The limits of a text.
fn limits() -> String {
    format!("limits: {DEPTH_MAX} levels, {ALIASES_MAX} aliases, {EVENTS_MAX} nodes, one document")
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
