//! What is wrong with a condition (CEL), in words of people. What compiles it stands elsewhere:
//! here are the words for what its parser says.

/// What stands where it should not, and what was expected there. `message` is what the parser
/// says: ANTLR's sentences, which list every token that it knows.
pub fn condition(message: &str) -> String {
    let found = quoted(message);
    let said = |word: &str| message.contains(word);
    if said("<EOF>") {
        return "it ends too early: expected a value, a field, or the bracket or quote that closes \
                what is open"
            .to_owned();
    }
    let Some(found) = found else {
        return "it cannot be read here: expected FIELD OPERATOR VALUE".to_owned();
    };
    match () {
        () if found == "=" => {
            "found `=`, expected an operator: `==` asks whether two are equal".to_owned()
        }
        () if said("token recognition") => format!(
            "found `{found}`, expected a word, a number, a text in quotes such as 'sync', or one of \
             == != < > && || !"
        ),
        () if said("extraneous") || said("mismatched") => format!(
            "found `{found}`, expected an operator such as == or &&, or the end of the condition"
        ),
        () => format!("found `{found}`, expected a value, a field or an opening bracket"),
    }
}

/// What the first quotes hold: the text that the parser stumbled over. A token is quoted by its
/// own quotes too.
fn quoted(message: &str) -> Option<&str> {
    let head = message.split(" expecting").next()?;
    let (_, rest) = head.split_once('\'')?;
    let found = rest.rsplit_once('\'').map_or(rest, |(found, _)| found);
    Some(found.trim()).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let said = condition(message);
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("expected"), "{said}");
        for word in ["EOF", "extraneous", "mismatched", "viable", "recognition"] {
            assert!(!said.contains(word), "{said}");
        }
    }

    #[test]
    fn the_parsers_sentences_are_put_in_words() {
        check(
            "Syntax error: mismatched input '<EOF>' expecting {'[', '{'}",
            "it ends too early",
        );
        check(
            "Syntax error: token recognition error at: '='",
            "found `=`, expected an operator: `==`",
        );
        check("Syntax error: token recognition error at: '#'", "found `#`");
        check(
            "Syntax error: extraneous input ')' expecting <END>",
            "found `)`, expected an operator",
        );
        check(
            "Syntax error: no viable alternative at input 'a b'",
            "found `a b`, expected a value",
        );
        check("whatever", "it cannot be read here");
    }
}
