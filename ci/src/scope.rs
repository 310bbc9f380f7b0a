//! Parameters, filled into what is written: `${coverage}`.

use std::collections::BTreeMap;

use meshproof_input::{Problem, Span, Spanned, suggestion};

use crate::file::{Given, Source};
use crate::outcome::Origin;

/// Longest text after filling in, in bytes.
const FILLED_BYTES_MAX: usize = 64 << 10;

/// Where rules are written, and what their parameters are worth there.
pub(crate) struct Scope<'a> {
    /// The text.
    pub(crate) source: &'a Source,
    /// `rust@1`; `None` for the project's own.
    pub(crate) pack: Option<String>,
    /// The generation of the packs.
    pub(crate) generation: u64,
    /// The parameters by the name that they have here.
    pub(crate) parameters: BTreeMap<String, Given>,
}

impl Scope<'_> {
    /// Where a place is.
    pub(crate) fn origin(&self, span: Span) -> Origin {
        Origin {
            file: self.source.name.clone(),
            line: self.source.line(span.start),
            pack: self.pack.clone(),
            generation: self.generation,
        }
    }

    /// A problem at a place.
    pub(crate) fn problem(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::at(
            &self.source.name,
            &self.source.text,
            span,
            code,
            message,
            help,
        )
    }

    /// A text with its parameters filled in.
    pub(crate) fn fill(&self, written: &Spanned<String>) -> Result<String, Problem> {
        self.fill_at(&written.value, written.span)
    }

    /// A text with its parameters filled in, which is not empty.
    pub(crate) fn fill_some(&self, written: &Spanned<String>) -> Result<String, Problem> {
        let filled = self.fill(written)?;
        if filled.trim().is_empty() {
            let message = "expected a text, found nothing";
            return Err(self.problem(written.span, "gate::empty", message, ""));
        }
        Ok(filled)
    }

    /// A text that stands at a place, with its parameters filled in.
    pub(crate) fn fill_at(&self, written: &str, span: Span) -> Result<String, Problem> {
        let mut filled = String::with_capacity(written.len());
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                return Err(self.problem(
                    span,
                    "gate::parameter",
                    "this `${` is not closed",
                    "write `${NAME}`",
                ));
            };
            match self.given(name, span)? {
                Given::One(text) => filled.push_str(text),
                Given::Many(_) => {
                    return Err(self.problem(
                        span,
                        "gate::parameter",
                        format!("`{name}` is a list, and one value is needed here"),
                        "a list may stand alone as an item of a list",
                    ));
                }
            }
            rest = after;
            if filled.len() > FILLED_BYTES_MAX {
                let message = format!("filled in, this is longer than {FILLED_BYTES_MAX} bytes");
                return Err(self.problem(span, "gate::parameter", message, ""));
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// A list with its parameters filled in; an item that is a list itself becomes its items.
    pub(crate) fn fill_list(&self, written: &[Spanned<String>]) -> Result<Vec<String>, Problem> {
        let mut all = Vec::with_capacity(written.len());
        for item in written {
            let alone = item
                .value
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'))
                .filter(|name| !name.contains(['$', '{', '}']));
            match alone {
                Some(name) => match self.given(name, item.span)? {
                    Given::One(text) => all.push(text.clone()),
                    Given::Many(items) => all.extend(items.iter().cloned()),
                },
                None => all.push(self.fill(item)?),
            }
        }
        Ok(all)
    }

    fn given(&self, name: &str, span: Span) -> Result<&Given, Problem> {
        self.parameters.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
            let help = match suggestion(name, &known) {
                Some(near) => format!("did you mean `${{{near}}}`?"),
                None if known.is_empty() => "there are no parameters here".to_owned(),
                None => format!("the parameters are {}", known.join(", ")),
            };
            let message = format!("there is no parameter `{name}`");
            self.problem(span, "gate::parameter", message, help)
        })
    }
}
