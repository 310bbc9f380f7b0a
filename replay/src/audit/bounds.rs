//! Where a word, a number or an address in text begins and ends.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::views::hex_pair;

/// What is known of the ends of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// Nothing stands before the first byte.
    pub(super) at_start: bool,
    /// Nothing stands behind the last byte.
    pub(super) at_end: bool,
    /// The bytes are text and nothing else; on the wire lengths and codes stand between words.
    pub(super) text: bool,
}

impl Context {
    /// A decoded string.
    pub(super) const FIELD: Context = Context {
        at_start: true,
        at_end: true,
        text: true,
    };
    /// A run that was laid open: it may hold anything.
    pub(super) const RUN: Context = Context {
        at_start: true,
        at_end: true,
        text: false,
    };
}

/// What must stand around a name for it to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Anything.
    None,
    /// Long names: no word may run into it from the left, and no number on at the right.
    Left,
    /// Short names: no word may run into it from either side.
    Word,
    /// Names of three letters or fewer: a field of its own, or a delimiter on both sides.
    Field,
}

/// Names shorter than this need a bound on both sides.
const LONG_FROM: usize = 8;
/// Names shorter than this need a field or delimiters.
const WORD_FROM: usize = 4;

impl Bounds {
    /// What a name needs.
    pub(super) fn of(name: &str) -> Bounds {
        match name.len() {
            LONG_FROM.. => Bounds::Left,
            WORD_FROM.. => Bounds::Word,
            _ => Bounds::Field,
        }
    }

    /// Whether they hold around `range`.
    pub(super) fn hold(self, bytes: &[u8], range: &Range<usize>, context: Context) -> bool {
        if self == Bounds::None {
            return true;
        }
        let before = range.start.checked_sub(1).and_then(|at| bytes.get(at));
        let behind = bytes.get(range.end);
        // A length before it that is its own makes it a field: u8, u16 or u32, big-endian.
        // For two letters a single byte is no proof: chance gives it too often.
        let high_is_zero = range
            .start
            .checked_sub(2)
            .and_then(|at| bytes.get(at))
            .is_some_and(|high| *high == 0);
        if !context.text
            && before.is_some_and(|before| usize::from(*before) == range.len())
            && (self != Bounds::Field || high_is_zero)
        {
            return true;
        }
        let last_is_digit = range
            .end
            .checked_sub(1)
            .and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_digit);
        if last_is_digit && behind.is_some_and(u8::is_ascii_digit) {
            return false;
        }
        // On the wire the low byte of a length may look like a letter; its high byte does not.
        let after_length = !context.text && high_is_zero;
        let left = |is_bound: fn(u8) -> bool| {
            after_length || before.is_none_or(|before| is_bound(*before))
        };
        let right = |is_bound: fn(u8) -> bool| behind.is_none_or(|behind| is_bound(*behind));
        match self {
            Bounds::None => true,
            Bounds::Left => left(|byte| !is_word(byte)),
            Bounds::Word => left(|byte| !is_word(byte)) && right(|byte| !is_word(byte)),
            Bounds::Field => left(is_delimiter) && right(is_delimiter),
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b'=' | b'"'
            | b'\''
            | b'/'
            | b','
            | b';'
            | b':'
            | b'&'
            | b'|'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'('
            | b')'
            | b'.'
            | b'@'
            | b'?'
            | b'#'
    )
}

/// Every IPv4 address in dotted form. `010.015.232.248` counts too; five numbers do not.
pub(super) fn dotted(bytes: &[u8], context: Context, mut each: impl FnMut(Range<usize>, [u8; 4])) {
    // A dot between two digits is rarer than a digit.
    let mut next = 0;
    while let Some(dot) = bytes
        .get(next..)
        .and_then(|rest| memchr::memchr(b'.', rest))
        .map(|at| next + at)
    {
        next = dot + 1;
        let digits_before = bytes[..dot]
            .iter()
            .rev()
            .take(4)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits_before == 0 || !bytes.get(dot + 1).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let mut start = dot - digits_before;
        // The low byte of a length may look like one more digit.
        let after_length =
            |start: usize| !context.text && start >= 1 && bytes.get(start - 1) == Some(&0);
        if after_length(start) && digits_before > 1 && octet(&bytes[start..dot]).is_none() {
            start += 1;
        }
        let preceded = start >= 2
            && bytes[start - 1] == b'.'
            && bytes.get(start - 2).is_some_and(u8::is_ascii_digit);
        if preceded || digits_before > 3 && start == dot - digits_before {
            continue;
        }
        let Some((end, octets)) = quad(bytes, start) else {
            continue;
        };
        next = end;
        let goes_on = bytes.get(end).is_some_and(u8::is_ascii_digit)
            || bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !goes_on {
            each(start..end, octets);
        }
    }
}

fn octet(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn quad(bytes: &[u8], start: usize) -> Option<(usize, [u8; 4])> {
    let mut octets = [0; 4];
    let mut at = start;
    for (index, value) in octets.iter_mut().enumerate() {
        if index > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let len = bytes
            .get(at..)?
            .iter()
            .take(3)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        *value = octet(bytes.get(at..at + len)?)?;
        at += len;
    }
    Some((at, octets))
}

/// The port in `:12200` at `at`, and where it ends.
pub(super) fn port_after(bytes: &[u8], at: usize) -> Option<(u16, usize)> {
    if bytes.get(at) != Some(&b':') {
        return None;
    }
    let len = bytes
        .get(at + 1..)?
        .iter()
        .take(6)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let end = at + 1 + len;
    let port = std::str::from_utf8(bytes.get(at + 1..end)?).ok()?.parse();
    Some((port.ok()?, end))
}

/// The port in `]:12200` at `at`, and where it ends.
pub(super) fn port_after_bracket(bytes: &[u8], at: usize) -> Option<(u16, usize)> {
    match bytes.get(at) {
        Some(b']') => port_after(bytes, at + 1),
        _ => None,
    }
}

/// Longest text form of an IPv6 address, in bytes.
const V6_TEXT_MAX: usize = 45;

/// Every IPv6 address in one of its text forms.
pub(super) fn colons(bytes: &[u8], context: Context, mut each: impl FnMut(Range<usize>, Ipv6Addr)) {
    let fits = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':' || *byte == b'.';
    let mut next = 0;
    while let Some(colon) = bytes
        .get(next..)
        .and_then(|rest| memchr::memchr(b':', rest))
        .map(|at| next + at)
    {
        next = colon + 1;
        let before = bytes[..colon]
            .iter()
            .rev()
            .take(5)
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let behind = bytes[colon..].iter().take(V6_TEXT_MAX + 1);
        let end = colon + behind.take_while(|byte| fits(byte)).count();
        if bytes[colon..end]
            .iter()
            .filter(|byte| **byte == b':')
            .count()
            < 2
        {
            continue;
        }
        // One digit more than a group has, or one that fits, may be the low byte of a length.
        let starts = match context.text {
            true => [Some(colon - before), None],
            false => [
                Some(colon - before),
                (before > 0).then(|| colon + 1 - before),
            ],
        };
        // A full stop or a port may stand behind it.
        let found = starts.into_iter().flatten().find_map(|start| {
            let mut end = end;
            while end > colon + 1 {
                let text = std::str::from_utf8(bytes.get(start..end)?).ok()?;
                if let Ok(address) = text.parse() {
                    return Some((start..end, address));
                }
                end = start + text.rfind(['.', ':'])?;
            }
            None
        });
        if let Some((range, address)) = found {
            next = range.end.max(next);
            each(range, address);
        } else {
            next = end.max(next);
        }
    }
}

/// Every four pairs of hexadecimal digits with the same separator: `0a:0f:e8:f8`, `0A-0F-E8-F8`,
/// `0x0a, 0x0f, 0xe8, 0xf8`, `\x0a\x0f\xe8\xf8`.
pub(super) fn separated_hex(bytes: &[u8], mut each: impl FnMut(Range<usize>, [u8; 4])) {
    const SEPARATORS: [&[u8]; 9] = [b":", b"-", b" ", b".", b",", b", ", b",0x", b", 0x", b"\\x"];
    for at in 0..bytes.len().saturating_sub(10) {
        if bytes.get(at + 2).is_none_or(u8::is_ascii_alphanumeric) {
            continue;
        }
        let Some(first) = hex_pair(bytes, at) else {
            continue;
        };
        let glued = at
            .checked_sub(1)
            .and_then(|before| bytes.get(before))
            .is_some_and(u8::is_ascii_hexdigit);
        if glued {
            continue;
        }
        'separators: for separator in SEPARATORS {
            let mut address = [first, 0, 0, 0];
            let mut end = at + 2;
            for value in &mut address[1..] {
                if !bytes
                    .get(end..)
                    .is_some_and(|rest| rest.starts_with(separator))
                {
                    continue 'separators;
                }
                end += separator.len();
                match hex_pair(bytes, end) {
                    Some(pair) => *value = pair,
                    None => continue 'separators,
                }
                end += 2;
            }
            if !bytes.get(end).is_some_and(u8::is_ascii_hexdigit) {
                each(at..end, address);
            }
        }
    }
}

/// Every decimal number that may be an IPv4 address: 8 to 10 digits, or a negative 32-bit one.
pub(super) fn decimal(bytes: &[u8], mut each: impl FnMut(Range<usize>, u32)) {
    super::views::runs(bytes, u8::is_ascii_digit, 1, |run| {
        if run.len() > 10 {
            return;
        }
        let Some(number) = bytes
            .get(run.clone())
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<u64>().ok())
        else {
            return;
        };
        let negative = run.start.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'-');
        if negative && let Ok(number) = i32::try_from(-(number as i64)) {
            each(run.start - 1..run.end, number as u32);
        }
        if run.len() >= 8
            && let Ok(number) = u32::try_from(number)
        {
            each(run, number);
        }
    });
}

/// Whether a time in milliseconds since 1970 follows, 13 digits, as in a SOFA trace id: eight
/// hexadecimal digits of the caller's address, the time, a counter, the process id.
pub(super) fn millis_follow(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 13).is_some_and(|digits| {
        digits.iter().all(u8::is_ascii_digit) && digits.first().is_some_and(|first| *first == b'1')
    })
}
