//! From the text of a matrix to a [`Matrix`], or to what is wrong with it and where.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::Date;
use meshproof_input::{Problem, Span, Spanned, suggestion};

use super::constraint::Constraint;
use super::file::{self, File, Nested, Which};
use super::model::{
    AXES_MAX, Axis, AxisSpans, CELLS_MAX, Combination, Cover, ENTRIES_MAX, Known, Matrix, Need,
    Raise, STRENGTH_MAX, Source, TUPLES_MAX, VALUES_MAX, Written,
};
use super::solve::Solver;
use super::value::Value;

/// Words that CEL keeps for itself.
const RESERVED: [&str; 22] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
    "has",
];

/// The JSON schema of a matrix file.
pub fn schema() -> String {
    meshproof_input::schema::<File>("meshproof matrix")
}

impl Matrix {
    /// Reads a matrix. `name` is the file's name, for showing only.
    ///
    /// # Errors
    /// The first thing that is wrong, with line, caret and what to type.
    pub fn parse(name: &str, text: &str) -> Result<Matrix, Problem> {
        let file: File = meshproof_input::parse(name, text)?;
        let source = Source {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        Reader { source }.matrix(file)
    }

    /// The same matrix with these sidecars among the values of every axis of sidecars; names that
    /// an axis has already stay where they are.
    ///
    /// # Errors
    /// No axis is one of sidecars, there are too many values, or a condition has no answer for a
    /// new one.
    pub fn with_suts(&self, names: &[&str]) -> Result<Matrix, Problem> {
        let mut matrix = self.clone();
        let source = &self.written.source;
        if names.is_empty() {
            return Ok(matrix);
        }
        if self.sut_axes.is_empty() {
            return Err(Problem::of_file(
                &source.name,
                "matrix::suts",
                "no axis of this matrix is one of sidecars",
                "name those whose values are sidecars, such as `suts: [client.mesh, server.mesh]`",
            ));
        }
        for axis in &self.sut_axes {
            let Some(axis) = matrix.axes.get_mut(*axis) else {
                continue;
            };
            for name in names {
                let value = Value::Text((*name).to_owned());
                if !axis.values.contains(&value) {
                    axis.values.push(value);
                }
            }
            if axis.values.len() > VALUES_MAX {
                return Err(Problem::at(
                    &source.name,
                    &source.text,
                    self.written.sut_span,
                    "matrix::limit",
                    format!(
                        "the axis {} would have more than {VALUES_MAX} values",
                        axis.name
                    ),
                    "give fewer sidecars at a time",
                ));
            }
        }
        let reader = Reader {
            source: Source {
                name: source.name.clone(),
                text: source.text.clone(),
            },
        };
        matrix.constraints = self
            .written
            .require
            .iter()
            .map(|written| {
                Constraint::compile(source, written, &matrix.axes, &self.sut_axes).map(Arc::new)
            })
            .collect::<Result<_, Problem>>()?;
        reader.whole(&matrix, self.written.sut_span)?;
        Ok(matrix)
    }
}

struct Reader {
    source: Source,
}

impl Reader {
    fn at(
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

    fn matrix(self, file: File) -> Result<Matrix, Problem> {
        let name = self.name(&file.matrix)?;
        let (axes, places) = self.axes(&file.axes.value, file.axes.span)?;
        let sut_axes = self.sut_axes(&file.suts, &axes)?;
        for (entries, what) in [
            (file.require.len(), "conditions"),
            (file.combinations.len(), "combinations"),
            (file.cover.pin.len(), "pins"),
            (file.needs.len(), "needs"),
            (file.known.len(), "known failures"),
        ] {
            if entries > ENTRIES_MAX {
                return Err(Problem::of_file(
                    &self.source.name,
                    "matrix::limit",
                    format!("{entries} {what} are more than the {ENTRIES_MAX} that are read"),
                    "split the matrix into several",
                ));
            }
        }
        let constraints = file
            .require
            .iter()
            .map(|written| {
                Constraint::compile(&self.source, written, &axes, &sut_axes).map(Arc::new)
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        let require_span = file
            .require
            .last()
            .map_or(file.matrix.span, |last| last.span);
        let names = self.combinations(&file, &axes)?;
        let named = Named {
            axes: &axes,
            names: &names,
        };
        let needs = self.needs(&file.needs, &named)?;
        let known = self.known(&file.known, &named)?;
        let pins = file
            .cover
            .pin
            .iter()
            .map(|pin| Ok((self.which(pin, &named)?, pin.span)))
            .collect::<Result<Vec<_>, Problem>>()?;
        let cover = self.cover(&file.cover, &axes, &pins)?;
        let sut_span = file
            .suts
            .first()
            .map_or(file.matrix.span, |first| first.span);
        let matrix = Matrix {
            name,
            about: file.about,
            axes,
            sut_axes,
            constraints,
            excluded: Vec::new(),
            cover,
            work: file.cell,
            needs,
            known,
            written: Arc::new(Written {
                source: Source {
                    name: self.source.name.clone(),
                    text: self.source.text.clone(),
                },
                require: file.require,
                sut_span,
                axes: places,
            }),
        };
        self.whole(&matrix, require_span)?;
        let solver = Solver::of(&matrix);
        for (((_, pin), span), index) in pins.iter().zip(0usize..) {
            if !solver.is_possible(pin.pairs()) {
                return Err(self
                    .at(
                        *span,
                        "matrix::impossible",
                        format!("no cell can hold the pin {}", matrix.words(pin)),
                        self.guilty(&matrix, pin)
                            .unwrap_or_else(|| "the conditions forbid it".into()),
                    )
                    .label(*span, &format!("pin {}", index + 1)));
            }
        }
        for (what, combination, span) in
            file.needs
                .iter()
                .zip(&matrix.needs)
                .map(|(file, need)| ("need", &need.combination, file.combination.span))
                .chain(file.known.iter().zip(&matrix.known).map(|(file, known)| {
                    ("known failure", &known.combination, file.combination.span)
                }))
        {
            if !solver.is_possible(combination.pairs()) {
                return Err(self.at(
                    span,
                    "matrix::impossible",
                    format!(
                        "this {what} is about no cell: none can hold {}",
                        matrix.words(combination)
                    ),
                    self.guilty(&matrix, combination)
                        .unwrap_or_else(|| "the conditions forbid it".into()),
                ));
            }
        }
        Ok(matrix)
    }

    /// The condition that forbids a combination by itself.
    fn guilty(&self, matrix: &Matrix, combination: &Combination) -> Option<String> {
        matrix
            .constraints
            .iter()
            .find(|constraint| {
                !Solver::of_constraints(matrix, std::slice::from_ref(constraint))
                    .is_possible(combination.pairs())
            })
            .map(|constraint| format!("the condition `{}` forbids it", constraint.text()))
    }

    /// What can only be seen of a matrix as a whole: that it has a cell, and not too many tuples.
    fn whole(&self, matrix: &Matrix, span: Span) -> Result<(), Problem> {
        if !Solver::of(matrix).is_possible(&[]) {
            return Err(self.contradiction(matrix, span));
        }
        let counts: Vec<usize> = matrix.axes.iter().map(|axis| axis.values.len()).collect();
        let mut tuples = tuples(&counts, matrix.cover.strength);
        for raise in &matrix.cover.raise {
            let counts: Vec<usize> = raise
                .axes
                .iter()
                .filter_map(|axis| counts.get(*axis).copied())
                .collect();
            tuples = tuples.saturating_add(self::tuples(&counts, raise.strength));
        }
        if tuples > TUPLES_MAX {
            return Err(Problem::of_file(
                &self.source.name,
                "matrix::limit",
                format!(
                    "strength {} asks for {tuples} tuples, and at most {TUPLES_MAX} are covered",
                    matrix.cover.strength
                ),
                "lower the strength, and raise it for the axes that need it",
            ));
        }
        Ok(())
    }

    /// The condition with which it becomes impossible, and one before it that it contradicts.
    fn contradiction(&self, matrix: &Matrix, span: Span) -> Problem {
        let conditions = &matrix.constraints;
        let is_possible =
            |some: &[Arc<Constraint>]| Solver::of_constraints(matrix, some).is_possible(&[]);
        let at = (1..=conditions.len())
            .find(|count| !is_possible(conditions.get(..*count).unwrap_or_default()))
            .unwrap_or(conditions.len());
        let places: Vec<Span> = matrix.written.require.iter().map(|one| one.span).collect();
        let last = conditions.get(at.saturating_sub(1));
        let other = conditions
            .iter()
            .take(at.saturating_sub(1))
            .position(|one| last.is_some_and(|last| !is_possible(&[one.clone(), last.clone()])));
        let here = places.get(at.saturating_sub(1)).copied().unwrap_or(span);
        let problem = self
            .at(
                here,
                "matrix::impossible",
                "no cell satisfies all conditions",
                match other {
                    Some(_) => "these two contradict each other: take one out, or weaken it",
                    None => "together they contradict each other: take one out, or weaken it",
                },
            )
            .label(here, "with this one none is left");
        match other.and_then(|other| places.get(other)) {
            Some(first) => problem.label(*first, "the other one"),
            None => problem,
        }
    }

    fn name(&self, name: &Spanned<String>) -> Result<String, Problem> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            return Err(self.at(
                name.span,
                "matrix::name",
                format!("`{}` is no name of a matrix", name.value),
                "write up to 64 letters, digits, `-` and `_`",
            ));
        }
        Ok(name.value.clone())
    }

    fn axes(
        &self,
        nested: &Nested<file::List>,
        span: Span,
    ) -> Result<(Vec<Axis>, Vec<AxisSpans>), Problem> {
        let mut axes: Vec<(Axis, Span)> = Vec::new();
        let mut places = Vec::new();
        for (name, list) in nested.flat() {
            for word in name.value.split('.') {
                self.word(word, &name)?;
            }
            for (known, known_span) in &axes {
                let clash = known.name == name.value
                    || known.name.starts_with(&format!("{}.", name.value))
                    || name.value.starts_with(&format!("{}.", known.name));
                if clash {
                    return Err(self
                        .at(
                            name.span,
                            "matrix::axis",
                            format!(
                                "the axes `{}` and `{}` are in each other's way",
                                known.name, name.value
                            ),
                            "an axis has values or members, not both; rename one of the two",
                        )
                        .label(*known_span, "first here"));
                }
            }
            let mut values: Vec<Value> = Vec::new();
            for value in &list.value.0 {
                if values
                    .iter()
                    .any(|known| known.to_string() == value.value.to_string())
                {
                    return Err(self
                        .at(
                            value.span,
                            "matrix::value",
                            format!(
                                "the axis {} has the value `{}` twice",
                                name.value, value.value
                            ),
                            "keep one of the two",
                        )
                        .label(value.span, "again here"));
                }
                values.push(value.value.clone());
            }
            let wrong = match values.len() {
                0 => Some(("has no values", "write at least one, such as `[none]`")),
                count if count > VALUES_MAX => {
                    Some(("has more than 64 values", "split it into several axes"))
                }
                _ => None,
            };
            if let Some((what, help)) = wrong {
                return Err(self.at(
                    name.span,
                    "matrix::axis",
                    format!("the axis {} {what}", name.value),
                    help,
                ));
            }
            places.push(AxisSpans {
                name: name.span,
                values: list.value.0.iter().map(|value| value.span).collect(),
            });
            axes.push((
                Axis {
                    name: name.value,
                    values,
                },
                name.span,
            ));
        }
        if axes.is_empty() {
            return Err(self.at(
                span,
                "matrix::axis",
                "a matrix without axes has no cells",
                "write what varies, such as `axes: {call: [sync, oneway]}`",
            ));
        }
        if let Some((_, span)) = axes.get(AXES_MAX) {
            return Err(self.at(
                *span,
                "matrix::limit",
                format!("this is one axis more than the {AXES_MAX} that a matrix may have"),
                "split the matrix into several",
            ));
        }
        Ok((axes.into_iter().map(|(axis, _)| axis).collect(), places))
    }

    /// A part of an axis' name has to be a name in CEL, too.
    fn word(&self, word: &str, name: &Spanned<String>) -> Result<(), Problem> {
        let mut chars = word.chars();
        let first = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let rest = chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        let why = if !(first && rest) {
            "is no name of an axis: conditions could not name it"
        } else if RESERVED.contains(&word) {
            "is no name of an axis: it is a word of CEL"
        } else {
            return Ok(());
        };
        let plain: String = word
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        Err(self.at(
            name.span,
            "matrix::axis",
            format!("`{word}` {why}"),
            match plain != word && first {
                true => format!("write `{plain}`"),
                false if RESERVED.contains(&word) => format!("choose another, such as `{word}_`"),
                false => "begin with a letter, and use letters, digits and `_`".to_owned(),
            },
        ))
    }

    fn axis(&self, name: &Spanned<String>, axes: &[Axis]) -> Result<usize, Problem> {
        axes.iter()
            .position(|axis| axis.name == name.value)
            .ok_or_else(|| {
                let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
                self.at(
                    name.span,
                    "matrix::unknown_axis",
                    format!("there is no axis `{}`", name.value),
                    match suggestion(name, &names) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("the axes are {}", names.join(", ")),
                    },
                )
                .label(name.span, "not an axis")
            })
    }

    fn sut_axes(&self, names: &[Spanned<String>], axes: &[Axis]) -> Result<Vec<usize>, Problem> {
        let mut all = Vec::new();
        for name in names {
            let axis = self.axis(name, axes)?;
            if all.contains(&axis) {
                return Err(self.at(
                    name.span,
                    "matrix::suts",
                    format!("the axis {} is named twice", name.value),
                    "keep one of the two",
                ));
            }
            all.push(axis);
        }
        Ok(all)
    }

    fn combinations(
        &self,
        file: &File,
        axes: &[Axis],
    ) -> Result<Vec<(String, Combination)>, Problem> {
        let mut names = Vec::new();
        for (name, nested) in &file.combinations {
            let combination = self.assignment(&nested.value, nested.span, axes)?;
            names.push((name.value.clone(), combination));
        }
        Ok(names)
    }

    fn assignment(
        &self,
        nested: &Nested<Value>,
        span: Span,
        axes: &[Axis],
    ) -> Result<Combination, Problem> {
        let mut pairs: Vec<(usize, u8)> = Vec::new();
        for (name, value) in nested.flat() {
            let at = self.axis(&name, axes)?;
            let values: &[Value] = axes.get(at).map_or(&[], |axis| &axis.values);
            let Some(place) = values.iter().position(|known| known == value.value) else {
                let known: Vec<&Value> = values.iter().collect();
                return Err(self
                    .at(
                        value.span,
                        "matrix::unknown_value",
                        format!("the axis {} has no value `{}`", name.value, value.value),
                        super::value::nearest(value.value, &known),
                    )
                    .label(value.span, "not a value of this axis"));
            };
            if pairs.iter().any(|(known, _)| *known == at) {
                return Err(self.at(
                    name.span,
                    "matrix::axis",
                    format!("the axis {} is named twice", name.value),
                    "keep one of the two",
                ));
            }
            pairs.push((at, u8::try_from(place).unwrap_or(u8::MAX)));
        }
        if pairs.is_empty() {
            return Err(self.at(
                span,
                "matrix::combination",
                "a combination has at least one value",
                "write axes and values, such as `{client.mesh: none}`",
            ));
        }
        pairs.sort_unstable();
        Ok(Combination(pairs))
    }

    /// A combination with what it is called.
    fn which(
        &self,
        which: &Spanned<Which>,
        named: &Named<'_>,
    ) -> Result<(String, Combination), Problem> {
        match &which.value {
            Which::Written(nested) => {
                let combination = self.assignment(nested, which.span, named.axes)?;
                Ok((words(&combination, named.axes), combination))
            }
            Which::Named(name) => {
                let known = named.names.iter().find(|(known, _)| known == name);
                known.cloned().ok_or_else(|| {
                    let names: Vec<&str> = named.names.iter().map(|(name, _)| name.as_str()).collect();
                    let help = match suggestion(name, &names) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if names.is_empty() => {
                            "write it under `combinations`, or its values here: `{client.mesh: none}`".to_owned()
                        }
                        None => format!("`combinations` has {}", names.join(", ")),
                    };
                    self.at(
                        which.span,
                        "matrix::combination",
                        format!("there is no combination `{name}`"),
                        help,
                    )
                })
            }
        }
    }

    fn needs(&self, needs: &[file::Need], named: &Named<'_>) -> Result<Vec<Need>, Problem> {
        needs
            .iter()
            .map(|need| {
                let (_, combination) = self.which(&need.combination, named)?;
                if need.capabilities.is_empty() {
                    return Err(self.at(
                        need.combination.span,
                        "matrix::needs",
                        "this need names no capability",
                        "write what is needed, such as `capabilities: [tr]`",
                    ));
                }
                let capabilities: BTreeSet<String> = need
                    .capabilities
                    .iter()
                    .map(|one| one.value.clone())
                    .collect();
                Ok(Need {
                    combination,
                    capabilities,
                })
            })
            .collect()
    }

    fn known(&self, known: &[file::Known], named: &Named<'_>) -> Result<Vec<Known>, Problem> {
        known
            .iter()
            .map(|known| {
                let (_, combination) = self.which(&known.combination, named)?;
                let since = self.day(&known.since)?;
                let expires = self.day(&known.expires)?;
                if expires < since {
                    return Err(self
                        .at(
                            known.expires.span,
                            "matrix::known",
                            format!("{expires} is before {since}"),
                            "an entry expires after it was written down",
                        )
                        .label(known.since.span, "written down here"));
                }
                if known.owner.trim().is_empty() {
                    return Err(self.at(
                        known.owner.span,
                        "matrix::known",
                        "a known failure has an owner",
                        "write who answers for it",
                    ));
                }
                Ok(Known {
                    combination,
                    evidence: known.evidence.clone(),
                    because: known.because.clone(),
                    owner: known.owner.value.clone(),
                    since,
                    expires,
                })
            })
            .collect()
    }

    fn day(&self, text: &Spanned<String>) -> Result<Date, Problem> {
        // The parser of dates takes more than a date.
        let plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        text.parse::<Date>().ok().filter(|_| plain).ok_or_else(|| {
            self.at(
                text.span,
                "matrix::known",
                format!("`{}` is no day", text.value),
                "write year, month and day, such as 2026-11-23",
            )
        })
    }

    fn cover(
        &self,
        cover: &file::Cover,
        axes: &[Axis],
        pins: &[((String, Combination), Span)],
    ) -> Result<Cover, Problem> {
        let strength = self.strength(&cover.strength, axes.len(), "the matrix has")?;
        let mut raise = Vec::new();
        for one in &cover.raise {
            let mut places = Vec::new();
            for name in &one.axes.value {
                let axis = self.axis(name, axes)?;
                if places.contains(&axis) {
                    return Err(self.at(
                        name.span,
                        "matrix::raise",
                        format!("the axis {} is named twice", name.value),
                        "keep one of the two",
                    ));
                }
                places.push(axis);
            }
            places.sort_unstable();
            let raised = self.strength(&one.strength, places.len(), "this entry names")?;
            if raised <= strength {
                return Err(self.at(
                    one.strength.span,
                    "matrix::raise",
                    format!("strength {raised} is not above the {strength} of the whole matrix"),
                    format!("write at least {}, or leave the entry out", strength + 1),
                ));
            }
            raise.push(Raise {
                axes: places,
                strength: raised,
            });
        }
        let count = |number: &Spanned<u64>, what: &str| {
            usize::try_from(number.value)
                .ok()
                .filter(|count| *count <= CELLS_MAX)
                .ok_or_else(|| {
                    self.at(
                        number.span,
                        "matrix::limit",
                        format!(
                            "{} {what} are more than the {CELLS_MAX} of a plan",
                            number.value
                        ),
                        "write fewer",
                    )
                })
        };
        let cells_max = match &cover.cells {
            None => None,
            Some(cells) if cells.value == 0 => {
                return Err(self.at(
                    cells.span,
                    "matrix::limit",
                    "a plan of no cells shows nothing",
                    "write at least 1, or leave `cells` out for as many as are needed",
                ));
            }
            Some(cells) => Some(count(cells, "cells")?),
        };
        Ok(Cover {
            strength,
            raise,
            pins: pins.iter().map(|(pin, _)| pin.clone()).collect(),
            seed: cover.seed,
            cells_max,
            random: count(&cover.random, "cells at random")?,
        })
    }

    fn strength(&self, strength: &Spanned<u64>, axes: usize, who: &str) -> Result<usize, Problem> {
        let most = axes.min(STRENGTH_MAX);
        let wrong = |message: String, help: String| {
            self.at(strength.span, "matrix::strength", message, help)
        };
        match usize::try_from(strength.value) {
            Ok(0) => Err(wrong(
                "strength 0 covers nothing".to_owned(),
                "write 2 for pairs, 3 for triples".to_owned(),
            )),
            Ok(number) if number <= most => Ok(number),
            // The default of 2 on a matrix of one axis.
            Ok(2) if strength.span == Span::default() => Ok(1),
            _ if most < STRENGTH_MAX => Err(wrong(
                format!(
                    "strength {} is more than the {axes} axes that {who}",
                    strength.value
                ),
                format!("write 1 to {most}"),
            )),
            _ => Err(wrong(
                format!("strength {} is more than {STRENGTH_MAX}", strength.value),
                format!("write 1 to {most}"),
            )),
        }
    }
}

struct Named<'a> {
    axes: &'a [Axis],
    names: &'a [(String, Combination)],
}

fn words(combination: &Combination, axes: &[Axis]) -> String {
    let words: Vec<String> = combination
        .pairs()
        .iter()
        .filter_map(|(axis, value)| {
            let axis = axes.get(*axis)?;
            Some(format!(
                "{}={}",
                axis.name,
                axis.values.get(usize::from(*value))?
            ))
        })
        .collect();
    words.join(" ∧ ")
}

/// How many tuples of a strength there are: the elementary symmetric polynomial of the counts.
fn tuples(counts: &[usize], strength: usize) -> usize {
    let mut sums = vec![0usize; strength + 1];
    if let Some(one) = sums.first_mut() {
        *one = 1;
    }
    for count in counts {
        for t in (1..=strength).rev() {
            let below = sums.get(t - 1).copied().unwrap_or(0);
            if let Some(sum) = sums.get_mut(t) {
                *sum = sum.saturating_add(below.saturating_mul(*count));
            }
        }
    }
    sums.last().copied().unwrap_or(0)
}
