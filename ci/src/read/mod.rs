//! Results that tools leave: bytes in, values out. What cannot be read whole is not read at all.

mod coverage;
mod json;
mod junit;
mod review;
mod sarif;
mod table;
mod xml;

use serde_json::Value;

pub use coverage::{Lines, cobertura, lcov};
pub use json::json;
pub use junit::junit;
pub use review::review;
pub use sarif::sarif;
pub use table::table;

use crate::outcome::Code;
use crate::world::{Absent, Seen};

/// A file that cannot be read, with its name.
fn unreadable(seen: &Seen, kind: &str, why: impl std::fmt::Display) -> Absent {
    Absent::new(
        Code::Unreadable,
        format!("{} is no whole {kind}: {why}", seen.path),
    )
}

/// A file that holds nothing to judge.
fn empty(seen: &Seen, what: &str) -> Absent {
    Absent::new(Code::Empty, format!("{} holds no {what}", seen.path))
}

/// The text of a file.
fn text<'a>(seen: &'a Seen, kind: &str) -> Result<&'a str, Absent> {
    let bytes = seen.bytes.strip_prefix(b"\xef\xbb\xbf");
    let bytes = bytes.unwrap_or(&seen.bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Absent::new(
            Code::Empty,
            format!("{} is empty ({} bytes)", seen.path, seen.bytes.len()),
        ));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        unreadable(seen, kind, format!("byte {at} is not UTF-8"))
    })
}

/// `part` of `whole` in percent, rounded down to three digits behind the point, so that nothing
/// is rounded up to a limit.
fn percent(part: u64, whole: u64) -> Value {
    if whole == 0 {
        return Value::Null;
    }
    let thousandths = u128::from(part) * 100_000 / u128::from(whole);
    // At most 100,000.
    Value::from(thousandths as f64 / 1_000.0)
}

#[cfg(test)]
pub(crate) fn seen(path: &str, text: &str) -> Seen {
    Seen {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
        changed_unix_ns: 0,
    }
}
