//! The release as one HTML file: one screen, one printed page, no network, no script.
//!
//! It stands in the frame of every other page of this program. Text comes from results, so it is
//! tamed in [`Release`] and escaped by the template; what does not fit on a screen is counted.

use askama::Template;
use meshproof_record::report::html::Badge;

use crate::release::{Answer, Area, Difference, Reason, Release, Standing, Term, WaiverLine};

/// Reasons that are shown at once.
const REASONS_SHOWN: usize = 8;
/// Reasons in all.
const REASONS_MAX: usize = 200;
/// Areas.
const AREAS_MAX: usize = 40;
/// Waivers.
const WAIVERS_MAX: usize = 8;
/// Lines of each kind of difference.
const MOVED_MAX: usize = 4;
/// Notes.
const NOTES_MAX: usize = 5;

/// A heading, lines of a name and a text, and how many are left out.
pub(super) type Lines = (&'static str, Vec<(String, String)>, usize);

#[derive(Template)]
#[template(path = "release.html")]
struct Page<'a> {
    title: String,
    answer: Badge,
    version: String,
    release: &'a Release,
    facts: Vec<(&'static str, String)>,
    reasons: Vec<(Badge, &'a Reason)>,
    reasons_more: Vec<(Badge, &'a Reason)>,
    areas: Vec<(Badge, &'a Area)>,
    waivers: Vec<(&'static str, &'a WaiverLine)>,
    waivers_more: usize,
    since: String,
    said: String,
    moved: Vec<Lines>,
    notes: Vec<&'a str>,
}

/// The page.
pub fn page(release: &Release) -> String {
    let version = release.version.clone().unwrap_or_default();

    let (since, said) = since(&release.difference);
    let page = Page {
        title: format!("{} {version}", release.answer.word())
            .trim()
            .to_owned(),
        answer: answer(release.answer),
        version,
        release,
        facts: facts(release),
        reasons: release
            .reasons
            .iter()
            .take(REASONS_SHOWN)
            .map(with_badge)
            .collect(),
        reasons_more: release
            .reasons
            .iter()
            .take(REASONS_MAX)
            .skip(REASONS_SHOWN)
            .map(with_badge)
            .collect(),
        areas: release
            .areas
            .iter()
            .take(AREAS_MAX)
            .map(|area| (standing(area.standing), area))
            .collect(),
        waivers: release
            .waivers
            .iter()
            .take(WAIVERS_MAX)
            .map(|line| {
                let class = match line.term {
                    Term::Expired => "fail",
                    Term::Soon(_) => "invalid",
                    Term::InForce(_) => "known",
                };
                (class, line)
            })
            .collect(),
        waivers_more: release.waivers.len().saturating_sub(WAIVERS_MAX),
        since,
        said,
        moved: moved(&release.difference, MOVED_MAX),
        notes: release
            .notes
            .iter()
            .take(NOTES_MAX)
            .map(String::as_str)
            .collect(),
    };
    // Writing to memory cannot fail, and the template calls nothing that can.
    page.render().unwrap_or_default()
}

fn with_badge(reason: &Reason) -> (Badge, &Reason) {
    (Badge::of(reason.verdict), reason)
}

fn answer(answer: Answer) -> Badge {
    let class = match answer {
        Answer::Ship => "pass",
        Answer::DoNotShip => "fail",
        Answer::NotApplicable => "unsupported",
    };
    Badge {
        word: answer.word(),
        class,
    }
}

fn standing(standing: Standing) -> Badge {
    Badge {
        word: standing.word(),
        class: Badge::of(standing.verdict()).class,
    }
}

/// What stands beside the answer in every form.
pub(super) fn facts(release: &Release) -> Vec<(&'static str, String)> {
    let mut facts = vec![("judged", release.judged.clone())];
    if let Some(commit) = &release.commit {
        facts.push(("commit", commit.clone()));
    }
    facts.push(("rules", release.rules.clone()));
    facts.push(("record", release.record.clone()));
    facts
}

/// The heading of the difference, and what is said where there are no lines.
pub(super) fn since(difference: &Difference) -> (String, String) {
    match difference {
        Difference::NotAsked => (
            "Since the last release".to_owned(),
            "No earlier release was named (--previous).".to_owned(),
        ),
        Difference::None(why) => ("Since the last release".to_owned(), format!("{why}.")),
        Difference::Against { label, judged, .. } => (
            format!("Since {label}"),
            match difference.is_none() {
                true => format!("Nothing is other than on {judged}."),
                false => format!("It was judged on {judged}."),
            },
        ),
    }
}

/// What is otherwise, at most so many lines of a kind.
pub(super) fn moved(difference: &Difference, most: usize) -> Vec<Lines> {
    let Difference::Against {
        verdicts,
        figures,
        rules,
        packs,
        ..
    } = difference
    else {
        return Vec::new();
    };
    let verdicts = verdicts
        .iter()
        .chain(packs)
        .map(|it| (it.name.clone(), format!("{} → {}", it.before, it.now)));
    let figures = figures.iter().map(|it| (it.name.clone(), it.text()));
    let rules = rules.iter().map(|it| {
        let (rule, text) = it.text();
        (rule.to_owned(), text)
    });
    let kinds: [(&'static str, Vec<(String, String)>); 3] = [
        ("Stands otherwise", verdicts.collect()),
        ("Figures that moved", figures.collect()),
        ("Rules that changed", rules.collect()),
    ];
    kinds
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(title, mut lines)| {
            let more = lines.len().saturating_sub(most);
            lines.truncate(most);
            (title, lines, more)
        })
        .collect()
}
