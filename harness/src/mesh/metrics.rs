//! Prometheus text, as sidecars tell their metrics.

/// Samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric.
    pub name: String,
    /// Its labels, in the order of the line.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Reads Prometheus text; a line that is none is left out.
    pub fn parse(text: &str) -> Metrics {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics {
            samples: lines.filter_map(sample).collect(),
        }
    }

    /// The sum of all samples of a metric that have these labels; none where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &Sample, (key, value): (&str, &str)| {
            let mut all = sample.labels.iter();
            all.any(|(known, it)| known == key && it == value)
        };
        let found = self
            .samples
            .iter()
            .filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, *label)));
        found
            .map(|sample| sample.value)
            .reduce(|one, other| one + other)
    }

    /// All of it.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

/// `name{label="value",…} 1.5`, with a timestamp behind it or not.
fn sample(line: &str) -> Option<Sample> {
    let (name, labels, rest) = match line.split_once('{') {
        None => {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            (name, Vec::new(), rest)
        }
        Some((name, rest)) => {
            let (labels, rest) = labels(rest)?;
            (name, labels, rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.trim().to_owned(),
        labels,
        value,
    })
}

/// The labels, and what stands behind the brace.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut end = None;
        let mut chars = after.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = Some(at + 1);
                    break;
                }
                '\\' => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        labels.push((name.trim().to_owned(), value));
        rest = after.get(end?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, labels: &[(&str, &str)], expected: Option<f64>) {
        let text = "# HELP a what\na 1\nb{x=\"1\",y=\"}\"} 2.5 1700000000\nb{x=\"2\",y=\"a\\\"b\"} 4\n\
                    b{broken\nb{x=\"3\"}\nc{} 1e3\n";
        assert_eq!(Metrics::parse(text).sum(name, labels), expected);
    }

    #[test]
    fn samples_are_added_up_by_name_and_labels() {
        check("a", &[], Some(1.0));
        check("b", &[], Some(6.5));
        check("b", &[("x", "1")], Some(2.5));
        check("b", &[("y", "}")], Some(2.5));
        check("b", &[("y", "a\"b")], Some(4.0));
        check("b", &[("x", "3")], None);
        check("c", &[], Some(1000.0));
        check("d", &[], None);
    }
}
