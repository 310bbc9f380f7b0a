//! The merged rules, and where each came from.

use std::fmt::Write as _;

use crate::gate::{Checkpoint, From, Gate, Kind, Read, Test, Wanted};
use crate::outcome::Told;

/// Everything that the gate would judge, in its order.
pub fn explain(gate: &Gate) -> String {
    let mut out = String::new();
    let packs = match gate.packs.as_slice() {
        [] => "no pack".to_owned(),
        packs => packs.join(", "),
    };
    let _ = writeln!(
        out,
        "{} checkpoints of {packs} and the project, generation {}",
        gate.checkpoints.len(),
        gate.generation
    );
    if !gate.parameters.is_empty() {
        let _ = writeln!(out, "\nparameters");
        for setting in &gate.parameters {
            let _ = writeln!(
                out,
                "  {:<32} {:<24} {}",
                setting.name, setting.value, setting.origin
            );
        }
    }
    for checkpoint in &gate.checkpoints {
        let _ = writeln!(out, "\n{}  {}", checkpoint.id, checkpoint.origin);
        of_checkpoint(&mut out, gate, checkpoint);
    }
    if !gate.waivers.is_empty() {
        let _ = writeln!(out, "\nwaivers");
        for waiver in &gate.waivers {
            let codes: Vec<&str> = waiver.codes.iter().map(|code| code.word()).collect();
            let _ = writeln!(
                out,
                "  {} [{}] until {} by {}: {}  {}",
                waiver.rule,
                codes.join(", "),
                waiver.expires,
                waiver.owner,
                waiver.reason,
                waiver.origin
            );
        }
    }
    out
}

fn of_checkpoint(out: &mut String, gate: &Gate, checkpoint: &Checkpoint) {
    let mut say = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {name:<9} {text}");
        }
    };
    say("about", &checkpoint.about);
    say("owner", &checkpoint.owner);
    let after: Vec<&str> = checkpoint
        .after
        .iter()
        .filter_map(|at| gate.checkpoints.get(*at))
        .map(|before| before.id.as_str())
        .collect();
    say("after", &after.join(", "));
    let when = &checkpoint.when;
    if let Some(pattern) = &when.exists {
        say("when", &format!("{pattern} exists"));
    }
    if let Some((written, value)) = &when.not_off {
        say("when", &format!("{written} is not off (it is {value})"));
    }
    if let Some(name) = &when.variable {
        say("when", &format!("the variable {name} is set"));
    }
    if let Some(pattern) = &when.branch {
        say("when", &format!("the branch matches {pattern}"));
    }
    if let Some(run) = &checkpoint.run {
        let words = meshproof_record::report::text::shell(&run.words);
        say(
            "run",
            &format!("{words} (at most {})", super::millis(run.within_ms)),
        );
        say("leaves", &run.artefacts.join(", "));
    }
    if let Some(read) = &checkpoint.read {
        say("read", &of_read(read));
    }
    if let Some(read) = &checkpoint.baseline {
        say("baseline", &of_read(read));
    }
    for rule in &checkpoint.rules {
        say(
            "rule",
            &format!("{}: {}  {}", rule.id, of_test(&rule.test), rule.origin),
        );
    }
    say("fix", &checkpoint.fix);
}

/// Every rule that is written, in its order.
pub(crate) fn rules(gate: &Gate) -> Vec<Told> {
    let all = gate.checkpoints.iter().flat_map(|it| &it.rules);
    all.map(|rule| Told {
        rule: rule.id.clone(),
        wanted: of_test(&rule.test),
        origin: rule.origin.clone(),
    })
    .collect()
}

fn of_read(read: &Read) -> String {
    match &read.from {
        From::Files(kind, pattern) => {
            let kind = match kind {
                Kind::Junit => "JUnit",
                Kind::Cobertura(_) => "Cobertura",
                Kind::Lcov(_) => "LCOV",
                Kind::Sarif => "SARIF",
                Kind::Json => "JSON",
                Kind::Csv => "CSV",
                Kind::Review => "merge request",
            };
            format!("{kind} {pattern}")
        }
        From::Record(question) => {
            let without = match question.without.as_slice() {
                [] => String::new(),
                without => format!(" without {}", without.join(", ")),
            };
            format!(
                "the newest record of {question}{without} below {}",
                question.below
            )
        }
        From::Git(question) => match &question.target {
            Some(target) => format!("git, to be merged into {target}"),
            None => "git".to_owned(),
        },
    }
}

fn of_test(test: &Test) -> String {
    match test {
        Test::Limits { name, limits, .. } => {
            let limits: Vec<String> = limits.iter().map(ToString::to_string).collect();
            format!("{} {}", name.text(), limits.join(" and "))
        }
        Test::Equals { name, wanted } => format!("{} == {wanted}", name.text()),
        Test::Texts {
            name,
            written,
            wanted,
            ..
        } => match wanted {
            Wanted::Every => format!("every {} matches {written}", name.text()),
            Wanted::None => format!("no {} has {written}", name.text()),
        },
        Test::Present(names) => {
            let names: Vec<&str> = names.iter().map(crate::value::Name::text).collect();
            format!("there are {}", names.join(", "))
        }
        Test::Fresh(ms) => format!("no older than {}", super::millis(*ms)),
        Test::Ran(cases) => {
            let cases: Vec<&str> = cases.iter().map(|(case, _)| case.as_str()).collect();
            format!("ran: {}", cases.join(", "))
        }
        Test::Cel(condition) => condition.text().to_owned(),
    }
}
