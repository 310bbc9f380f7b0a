//! CSV with a head, as a mapping for each row. Numbers become numbers; every row is as long as
//! the head.

use serde_json::{Map, Value, json};

use super::{empty, text, unreadable};
use crate::outcome::Code;
use crate::world::{Absent, Seen};

/// Most rows of all files together.
const ROWS_MAX: usize = 1_000_000;

/// Reads CSV files as one: `rows` and `count`.
pub fn table(files: &[Seen]) -> Result<Value, Absent> {
    let mut rows = Vec::new();
    for seen in files {
        let text = text(seen, "CSV")?;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let bad = |error: csv::Error| unreadable(seen, "CSV", error);
        let head = reader.headers().map_err(bad)?.clone();
        let twice = head
            .iter()
            .enumerate()
            .find(|(at, name)| head.iter().take(*at).any(|before| before == *name));
        if let Some((_, name)) = twice {
            let why = format!("the column `{name}` stands twice");
            return Err(unreadable(seen, "CSV", why));
        }
        let before = rows.len();
        for row in reader.records() {
            let row = row.map_err(bad)?;
            let cells: Map<String, Value> = head
                .iter()
                .zip(&row)
                .map(|(name, cell)| (name.to_owned(), cell_of(cell)))
                .collect();
            rows.push(Value::Object(cells));
            if rows.len() > ROWS_MAX {
                let why = format!("there are more than {ROWS_MAX} rows");
                return Err(Absent::new(Code::TooLarge, why));
            }
        }
        if rows.len() == before {
            return Err(empty(seen, "row below its head"));
        }
    }
    let count = rows.len();
    Ok(json!({ "rows": rows, "count": count }))
}

/// A number where it reads back as it stands; an empty cell is nothing.
fn cell_of(cell: &str) -> Value {
    let cell = cell.trim();
    if cell.is_empty() {
        return Value::Null;
    }
    if let Ok(whole) = cell.parse::<i64>() {
        return Value::from(whole);
    }
    let is_number = cell
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
    match cell.parse::<f64>() {
        Ok(number) if is_number && number.is_finite() => Value::from(number),
        _ => Value::from(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Code>) {
        let read = table(&[seen("t.csv", text)]).map_err(|absent| absent.code);
        let shown = read.map(|facts| facts["rows"].to_string());
        assert_eq!(shown.as_deref().map_err(|code| *code), expected, "{text}");
    }

    #[test]
    fn rows_are_mappings() {
        check(
            "name,p99_ms\n\"a,b\",1.5\nc,\n",
            Ok(r#"[{"name":"a,b","p99_ms":1.5},{"name":"c","p99_ms":null}]"#),
        );
        check("a\nNaN\n", Ok(r#"[{"a":"NaN"}]"#));
        check("a,b\n1\n", Err(Code::Unreadable));
        check("a,a\n1,2\n", Err(Code::Unreadable));
        check("a,b\n", Err(Code::Empty));
        check("", Err(Code::Empty));
    }
}
