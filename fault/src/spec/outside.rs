//! Faults of what is outside of the pods: the config center and the VIP names. Which kinds each
//! of them has, and what may be said of them.

use meshproof_input::{Problem, Span};

use super::{Kind, Outside, Spec};

impl Outside {
    /// What can go wrong with it.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Outside::ConfigCenter => &[
                Kind::Slow,
                Kind::Unavailable,
                Kind::Stale,
                Kind::Empty,
                Kind::Partial,
                Kind::Flapping,
                Kind::Reorder,
                Kind::Expired,
            ],
            Outside::Vip => &[
                Kind::Slow,
                Kind::Nxdomain,
                Kind::Servfail,
                Kind::Silent,
                Kind::Empty,
                Kind::Wrong,
            ],
        }
    }

    /// The pod of an environment that it runs in.
    pub fn pod(self) -> &'static str {
        match self {
            Outside::ConfigCenter => "registry",
            Outside::Vip => "vip",
        }
    }

    /// In a sentence.
    pub fn told(self) -> &'static str {
        match self {
            Outside::ConfigCenter => "the config center",
            Outside::Vip => "the VIP names",
        }
    }
}

/// What is wrong, and where.
struct Wrong {
    span: Span,
    message: String,
    help: String,
}

impl Spec {
    /// Finds what contradicts itself in a fault of what is outside, or of another that says what
    /// only such a fault says.
    pub(super) fn check_outside(&self, name: &str, text: &str) -> Result<(), Problem> {
        let Some(wrong) = self.wrong_outside() else {
            return Ok(());
        };
        let Wrong {
            span,
            message,
            help,
        } = wrong;
        Err(Problem::at(
            name,
            text,
            span,
            "fault::outside",
            message,
            help,
        ))
    }

    fn wrong_outside(&self) -> Option<Wrong> {
        let kind = self.kind.value;
        let wrong = |span: Span, message: String, help: String| {
            Some(Wrong {
                span,
                message,
                help,
            })
        };
        let whose: Vec<Outside> = Outside::ALL
            .iter()
            .copied()
            .filter(|of| of.kinds().contains(&kind))
            .collect();
        let Some(of) = self.of else {
            let others = !matches!(kind, Kind::Slow | Kind::Reorder);
            if let (Some(first), true) = (whose.first(), others) {
                return wrong(
                    self.kind.span,
                    format!("{kind} of what?"),
                    format!("add `of: {first}`"),
                );
            }
            let said = [
                (self.addresses.first().map(|it| it.span), "addresses"),
                (self.name.as_ref().map(|it| it.span), "name"),
            ];
            let (span, key) = said
                .into_iter()
                .find_map(|(span, key)| Some((span?, key)))?;
            return wrong(
                span,
                format!("`{key}` is said of the config center or of VIP names"),
                "add `of: config-center` or `of: vip`, or leave it out".to_owned(),
            );
        };
        let outside = of.value;
        if !whose.contains(&outside) {
            let kinds: Vec<&str> = outside.kinds().iter().map(|kind| kind.word()).collect();
            return wrong(
                self.kind.span,
                format!("{} cannot be `{kind}`", outside.told()),
                format!("write one of {}", kinds.join(", ")),
            );
        }
        self.wrong_words(outside)
    }

    /// Words that a fault of this sort lacks, or has no use for.
    fn wrong_words(&self, outside: Outside) -> Option<Wrong> {
        let kind = self.kind.value;
        let has_lists =
            outside == Outside::ConfigCenter && !matches!(kind, Kind::Slow | Kind::Unavailable);
        let has_addresses = matches!(
            kind,
            Kind::Partial | Kind::Flapping | Kind::Reorder | Kind::Expired | Kind::Wrong
        );
        let needs_addresses = matches!(kind, Kind::Partial | Kind::Wrong);
        let first = self.addresses.first().map(|it| it.span);
        let of = |word: &str| format!("`{word}` says nothing of {kind} of {}", outside.told());
        let refused = [
            (first.filter(|_| !has_addresses), "addresses"),
            (
                self.service
                    .as_ref()
                    .map(|it| it.span)
                    .filter(|_| !has_lists),
                "service",
            ),
            (
                self.name
                    .as_ref()
                    .map(|it| it.span)
                    .filter(|_| outside != Outside::Vip),
                "name",
            ),
            (
                self.by
                    .map(|it| it.span)
                    .filter(|_| !matches!(kind, Kind::Slow | Kind::Flapping)),
                "by",
            ),
            (
                self.seed
                    .map(|it| it.span)
                    .filter(|_| kind != Kind::Reorder),
                "seed",
            ),
        ];
        let refused = refused
            .into_iter()
            .find_map(|(span, word)| Some((span?, word)));
        if let Some((span, word)) = refused {
            return Some(Wrong {
                span,
                message: of(word),
                help: "leave it out".to_owned(),
            });
        }
        if needs_addresses && first.is_none() {
            return Some(Wrong {
                span: self.kind.span,
                message: format!("{kind} needs addresses"),
                help: "name `addresses`, such as `addresses: [10.0.0.1]`; in a story pods will do"
                    .to_owned(),
            });
        }
        let no_time = self.by.is_none_or(|by| by.value.0 == 0);
        (kind == Kind::Flapping && no_time).then(|| Wrong {
            span: self.by.map_or(self.kind.span, |by| by.span),
            message: "flapping needs a time".to_owned(),
            help: "name `by`, how long each state lasts, such as `by: 200ms`".to_owned(),
        })
    }
}
