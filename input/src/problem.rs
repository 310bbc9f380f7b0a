//! What is wrong with something that a person wrote.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};

use crate::Span;

/// What is wrong with a text, where, and what to type instead.
///
/// The text of the message is a lower-case fragment. Characters that would steer a terminal are
/// shown as `?`.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: &'static str,
    message: String,
    help: Option<String>,
    source: Option<NamedSource<String>>,
    name: String,
    labels: Vec<(Span, String)>,
}

impl Problem {
    /// A problem at one place of a text. The label there is empty; [`Problem::label`] adds more.
    ///
    /// `name` is the file's name for showing, `code` a path such as `map::overlap`.
    pub fn at(
        name: &str,
        text: &str,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let mut problem = Problem::of_file(name, code, message, help);
        problem.0.source = Some(NamedSource::new(&problem.0.name, tame(text)));
        problem.label(span, "")
    }

    /// A problem of a file as a whole.
    pub fn of_file(
        name: &str,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let help = help.into();
        Problem(Box::new(Inner {
            code,
            message: tame_line(&message.into()),
            help: (!help.is_empty()).then(|| tame(&help)),
            source: None,
            name: tame_line(name),
            labels: Vec::new(),
        }))
    }

    /// Marks a place. A second call for the same place replaces its words, so that the place given
    /// to [`Problem::at`] can get some.
    #[must_use]
    pub fn label(mut self, span: Span, words: &str) -> Problem {
        let span = match &self.0.source {
            Some(source) => clamp(source.inner(), span),
            None => span,
        };
        match self.0.labels.iter_mut().find(|(at, _)| *at == span) {
            Some((_, old)) => *old = tame_line(words),
            None => self.0.labels.push((span, tame_line(words))),
        }
        self
    }

    /// The code, such as `input::unknown_key`.
    pub fn code_name(&self) -> &'static str {
        self.0.code
    }

    /// What to type, where it is known.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The 1-based line of the first place marked.
    pub fn line(&self) -> Option<usize> {
        let source = self.0.source.as_ref()?;
        let (span, _) = self.0.labels.first()?;
        let before = source.inner().get(..span.start)?;
        Some(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.source.is_none() {
            write!(f, "{}: ", self.0.name)?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help_text()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source.as_ref().map(|source| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.0.labels.is_empty() {
            return None;
        }
        let labels = self.0.labels.iter().enumerate();
        Some(Box::new(labels.map(|(index, (span, words))| {
            let words = (!words.is_empty()).then(|| words.clone());
            let span = SourceSpan::from((span.start, span.len));
            // The first place is the one that the heading names.
            match index {
                0 => LabeledSpan::new_primary_with_span(words, span),
                _ => LabeledSpan::new_with_span(words, span),
            }
        })))
    }
}

/// Keeps a span inside the text and on character borders; a place behind the end becomes the end.
fn clamp(text: &str, span: Span) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.start.saturating_add(span.len));
    Span {
        start,
        len: end.saturating_sub(start),
    }
}

/// Replaces control characters by others of the same length in bytes, so that spans still hold.
fn tame(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => c,
            c if c.is_control() && c.len_utf8() == 1 => '?',
            c if c.is_control() => '\u{bf}',
            c => c,
        })
        .collect()
}

/// As [`tame`], for one line that is not to be longer than a few terminal lines.
fn tame_line(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut line: String = tame(text)
        .chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\t') {
                ' '
            } else {
                c
            }
        })
        .take(CHARS_MAX)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}
