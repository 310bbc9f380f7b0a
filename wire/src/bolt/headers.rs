//! The header section as ordered pairs with byte ranges.

use std::ops::Range;

use bytes::Bytes;

/// The header section of a frame: pairs in wire order.
///
/// Coded as `i32 length, key, i32 length, value` and again, with no count and no end mark; a
/// negative length stands for null. The order is that of a Java `HashMap` and varies: compare as
/// a map. Holds the frame's bytes, shared and not copied; ranges count from the frame's first
/// byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap {
    frame: Bytes,
    entries: Vec<Entry>,
    damage: Option<Damage>,
}

/// Where one pair lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key's bytes, without their length; `None` for null.
    pub key: Option<Range<usize>>,
    /// The value's bytes, without their length; `None` for null.
    pub value: Option<Range<usize>>,
}

/// A header section that does not add up. The pairs before the damage are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header map breaks at byte {at}: {why}")]
pub struct Damage {
    /// Offset of the length that does not fit, from the frame's first byte.
    pub at: usize,
    /// What is wrong, as a lower-case fragment.
    pub why: &'static str,
}

impl HeaderMap {
    /// Reads `section` of `frame`. Bytes that are not there count as damage.
    pub fn parse(frame: &Bytes, section: Range<usize>) -> HeaderMap {
        let mut map = HeaderMap {
            frame: frame.clone(),
            entries: Vec::new(),
            damage: None,
        };
        let mut at = section.start;
        while at < section.end {
            match pair(frame, at, section.end) {
                Ok((entry, next)) => {
                    map.entries.push(entry);
                    at = next;
                }
                Err(damage) => {
                    map.damage = Some(damage);
                    break;
                }
            }
        }
        map
    }

    /// Where the pairs lie, in wire order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What broke the section, where something did.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many pairs there are, repeated keys and nulls included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of the first pair with this key, where it is UTF-8.
    pub fn get(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.get_bytes(key)?).ok()
    }

    /// The value of the first pair with this key.
    pub fn get_bytes(&self, key: &str) -> Option<&[u8]> {
        self.pairs()
            .find(|(found, _)| *found == Some(key.as_bytes()))
            .and_then(|(_, value)| value)
    }

    /// Keys and values in wire order; `None` is null.
    pub fn pairs(&self) -> impl Iterator<Item = (Option<&[u8]>, Option<&[u8]>)> {
        self.entries.iter().map(|entry| {
            let slice = |range: &Option<Range<usize>>| {
                range.clone().and_then(|range| self.frame.get(range))
            };
            (slice(&entry.key), slice(&entry.value))
        })
    }

    /// Keys and values as text for people, in wire order. Bytes that are not UTF-8 are replaced;
    /// pairs with a null, which SOFARPC passes over, are left out.
    pub fn texts(&self) -> impl Iterator<Item = (String, String)> {
        self.pairs().filter_map(|(key, value)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(key?), text(value?)))
        })
    }
}

/// The pair at `at`, and where the next one starts.
fn pair(frame: &[u8], at: usize, end: usize) -> Result<(Entry, usize), Damage> {
    let (key, at) = text(frame, at, end)?;
    let (value, at) = text(frame, at, end)?;
    Ok((Entry { key, value }, at))
}

/// The length-prefixed text at `at`, and where the next one starts.
fn text(frame: &[u8], at: usize, end: usize) -> Result<(Option<Range<usize>>, usize), Damage> {
    let damage = |why| Damage { at, why };
    let start = at.saturating_add(4);
    let prefix = if start <= end {
        frame.get(at..start).and_then(|bytes| bytes.try_into().ok())
    } else {
        None
    };
    let Some(prefix) = prefix else {
        return Err(damage("a length is cut short"));
    };
    let Ok(len) = usize::try_from(i32::from_be_bytes(prefix)) else {
        return Ok((None, start));
    };
    let stop = start.saturating_add(len);
    if stop > end || stop > frame.len() {
        return Err(damage("a length points past the section"));
    }
    Ok((Some(start..stop), stop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(section: &[u8], expect: &[(Option<&str>, Option<&str>)], damage: Option<usize>) {
        let frame = Bytes::from([b"xx", section].concat());
        let map = HeaderMap::parse(&frame, 2..frame.len());
        let pairs: Vec<_> = map
            .pairs()
            .map(|(k, v)| {
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                (k.map(text), v.map(text))
            })
            .collect();
        assert_eq!(pairs, expect);
        assert_eq!(map.damage().map(|damage| damage.at), damage);
    }

    #[test]
    fn pairs_in_wire_order() {
        check(b"", &[], None);
        check(b"\0\0\0\x01k\0\0\0\x01v", &[(Some("k"), Some("v"))], None);
        check(
            b"\0\0\0\x01b\0\0\0\0\0\0\0\x01a\xff\xff\xff\xff",
            &[(Some("b"), Some("")), (Some("a"), None)],
            None,
        );
    }

    #[test]
    fn damage_keeps_what_came_before() {
        let first: &[u8] = b"\0\0\0\x01k\0\0\0\x01v";
        let expect = [(Some("k"), Some("v"))];
        check(&[first, b"\0\0"].concat(), &expect, Some(12));
        check(&[first, b"\0\0\0\x02k"].concat(), &expect, Some(12));
        check(&[first, b"\0\0\0\x01k"].concat(), &expect, Some(17));
        check(&[first, b"\x7f\xff\xff\xff"].concat(), &expect, Some(12));
    }

    #[test]
    fn a_section_that_is_not_there_is_damage() {
        let map = HeaderMap::parse(&Bytes::from_static(b"ab"), 1..usize::MAX);
        assert_eq!(map.damage().map(|damage| damage.at), Some(1));
    }
}
