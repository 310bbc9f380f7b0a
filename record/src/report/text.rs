//! Numbers and hostile text, made fit for a person's eyes.

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration with three significant digits and its unit: `812 µs`, `1.25 ms`, `12.4 s`.
pub fn duration(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    let units = [(1e3, "µs"), (1e6, "ms"), (1e9, "s")];
    let value = ns as f64;
    // 999.6 µs would round to "1000 µs": the next unit says it better.
    let fits = |scale: f64| value / scale < 999.5;
    match units.into_iter().find(|(scale, _)| fits(*scale)) {
        Some((scale, unit)) => format!("{} {unit}", significant(value / scale)),
        None => {
            let seconds = ns / 1_000_000_000;
            match seconds {
                ..7_200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
                _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
            }
        }
    }
}

/// A duration that was chosen, not measured: `64 ms`, not `64.0 ms`.
pub fn round_duration(ns: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let whole = units
        .into_iter()
        .find(|(scale, _)| ns >= *scale && ns.is_multiple_of(*scale));
    match whole {
        Some((scale, unit)) => format!("{} {unit}", thousands(ns / scale)),
        None => duration(ns),
    }
}

fn significant(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Bytes: `574 B`, `1.22 MiB`.
pub fn bytes(n: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(scale, _)| n >= *scale) {
        Some((scale, unit)) => format!("{} {unit}", significant(n as f64 / scale as f64)),
        None => format!("{n} B"),
    }
}

/// A share in percent: `0 %`, `0.31 %`, `< 0.01 %`, `100 %`; never 0 or 100 by rounding alone.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return "0 %".into();
    }
    if part >= whole {
        return "100 %".into();
    }
    let share = part as f64 / whole as f64 * 100.0;
    match share {
        ..0.01 => "< 0.01 %".into(),
        ..1.0 => format!("{share:.2} %"),
        99.9.. => "> 99.9 %".into(),
        _ => format!("{share:.1} %"),
    }
}

/// Text from the wire: control characters (terminal escapes, line breaks, direction overrides)
/// become visible escapes, and no more than `chars_max` characters are kept.
pub fn tame(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == chars_max {
            let more = text.chars().count() - chars_max;
            out.push_str(&format!("… (+{more} characters)"));
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || is_invisible(c) => {
                out.push_str(&format!("\\u{{{:x}}}", c as u32))
            }
            c => out.push(c),
        }
    }
    out
}

/// Two values side by side, tamed, of which no more than about `chars_max` characters each are
/// kept: those around the first place where they part.
pub fn excerpts(a: &str, b: &str, chars_max: usize) -> (String, String) {
    let longer = a.chars().count().max(b.chars().count());
    let common = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let skip = common.saturating_sub(chars_max / 4);
    // The note that something was skipped is as long as a few characters.
    if longer <= chars_max || skip < 24 {
        return (tame(a, chars_max), tame(b, chars_max));
    }
    let from = |text: &str| {
        let at = text
            .char_indices()
            .nth(skip)
            .map_or(text.len(), |(at, _)| at);
        let rest = text.get(at..).unwrap_or("");
        format!(
            "({} equal) …{}",
            thousands(skip as u64),
            tame(rest, chars_max)
        )
    };
    (from(a), from(b))
}

/// Characters that change what a reader sees without being seen: zero width, direction marks.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A command line that a shell reads back as it was.
pub fn shell(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `1 answer`, `2 answers`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// `1 of 20 compared answers differs`.
pub fn differ(differing: u64, compared: u64) -> String {
    format!(
        "{} of {} compared {} {}",
        thousands(differing),
        thousands(compared),
        if compared == 1 { "answer" } else { "answers" },
        if differing == 1 { "differs" } else { "differ" },
    )
}

/// Two values split into what they share at the front, what differs, and what they share at the
/// end: `(front, recorded, observed, end)`.
pub fn split_common<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str, &'a str, &'a str) {
    let front: usize = a
        .chars()
        .zip(b.chars())
        .take_while(|(x, y)| x == y)
        .map(|(x, _)| x.len_utf8())
        .sum();
    let (front, rest_a) = a.split_at(front);
    let rest_b = b.get(front.len()..).unwrap_or("");
    let end: usize = rest_a
        .chars()
        .rev()
        .zip(rest_b.chars().rev())
        .take_while(|(x, y)| x == y)
        .map(|(x, _)| x.len_utf8())
        .sum();
    let (mid_a, end_text) = rest_a.split_at(rest_a.len().saturating_sub(end));
    let mid_b = rest_b.get(..rest_b.len().saturating_sub(end)).unwrap_or("");
    (front, mid_a, mid_b, end_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(n), text);
        }
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (812_300, "812 µs"),
            (999_600, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (1_250_000_000, "1.25 s"),
            (1_500_000_000_000, "25 min 00 s"),
            (9_000_000_000_000, "2 h 30 min"),
        ] {
            assert_eq!(duration(ns), text);
        }
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (1, 100_000, "< 0.01 %"),
            (3, 1_000, "0.30 %"),
            (1, 3, "33.3 %"),
            (99_999, 100_000, "> 99.9 %"),
            (7, 7, "100 %"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
        for (n, text) in [(574, "574 B"), (1_280_000, "1.22 MiB")] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn hostile_text_is_tamed() {
        for (text, tamed) in [
            ("plain ünï", "plain ünï"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
        ] {
            assert_eq!(tame(text, 40), tamed);
        }
        assert_eq!(tame("abcdef", 4), "abcd… (+2 characters)");
        assert_eq!(tame("abcd", 4), "abcd");
    }

    #[test]
    fn an_excerpt_shows_what_differs() {
        let (a, b) = excerpts("short", "shirt", 20);
        assert_eq!((a.as_str(), b.as_str()), ("short", "shirt"));
        let same = "x".repeat(5_000);
        let (a, b) = excerpts(&format!("{same}A{same}"), &format!("{same}B"), 20);
        assert_eq!(a, "(4,995 equal) …xxxxxAxxxxxxxxxxxxxx… (+4986 characters)");
        assert_eq!(b, "(4,995 equal) …xxxxxB");
        let (a, b) = excerpts(&same, "", 4);
        assert_eq!((a.as_str(), b.as_str()), ("xxxx… (+4996 characters)", ""));
    }

    #[test]
    fn a_shell_reads_the_command_back() {
        let words = [
            "meshproof",
            "replay",
            "a b.pcap",
            "--where",
            "service == 'x'",
            "",
        ];
        assert_eq!(
            shell(&words.map(String::from)),
            r"meshproof replay 'a b.pcap' --where 'service == '\''x'\''' ''"
        );
    }

    #[test]
    fn what_differs_is_found() {
        for (a, b, expect) in [
            ("amount=42;", "amount=43;", ("amount=4", "2", "3", ";")),
            ("same", "same", ("same", "", "", "")),
            ("aa", "aaa", ("aa", "", "a", "")),
            ("", "x", ("", "", "x", "")),
            ("né1", "nè1", ("n", "é", "è", "1")),
        ] {
            assert_eq!(split_common(a, b), expect);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

        #[test]
        fn any_text_is_tamed_and_split_without_loss(a: String, b: String, shared: String) {
            let (a, b) = (format!("{shared}{a}"), format!("{shared}{b}"));
            let (front, in_a, in_b, end) = split_common(&a, &b);
            proptest::prop_assert_eq!(format!("{front}{in_a}{end}"), a.as_str());
            proptest::prop_assert_eq!(format!("{front}{in_b}{end}"), b.as_str());
            for text in <[String; 2]>::from(excerpts(&a, &b, 12)) {
                proptest::prop_assert!(!text.chars().any(char::is_control));
                // A character becomes ten at most (`\\u{10ffff}`), and the notes are short.
                proptest::prop_assert!(text.chars().count() <= 12 * 10 + 60);
            }
        }
    }
}
