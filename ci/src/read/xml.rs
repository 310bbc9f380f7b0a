//! XML as elements that open and close. A document that is cut short, has two roots or none is an
//! error; entities of its own are not expanded.

use std::collections::BTreeMap;

use quick_xml::events::{BytesStart, Event};

/// Most elements of a document.
const ELEMENTS_MAX: usize = 5_000_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// What happens in a document.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// An element opens.
    Open(&'a str, &'a BTreeMap<String, String>),
    /// It closes.
    Close(&'a str),
}

/// Walks a whole document. The error is one sentence.
pub(super) fn walk(
    text: &str,
    mut visit: impl FnMut(Part<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut open: Vec<String> = Vec::new();
    let mut elements = 0;
    let mut roots = 0;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("{error} (byte {})", reader.error_position()))?;
        match event {
            Event::Start(start) => {
                let (name, attributes) = element(&start)?;
                roots += usize::from(open.is_empty());
                visit(Part::Open(&name, &attributes))?;
                open.push(name);
                elements += 1;
            }
            Event::Empty(start) => {
                let (name, attributes) = element(&start)?;
                roots += usize::from(open.is_empty());
                visit(Part::Open(&name, &attributes))?;
                visit(Part::Close(&name))?;
                elements += 1;
            }
            Event::End(_) => match open.pop() {
                Some(name) => visit(Part::Close(&name))?,
                None => return Err("an element is closed that was not opened".to_owned()),
            },
            Event::Text(text) if open.is_empty() && !text.iter().all(u8::is_ascii_whitespace) => {
                return Err("there is text outside of its root".to_owned());
            }
            Event::Eof => break,
            _ => {}
        }
        if roots > 1 {
            return Err("it has more than one root".to_owned());
        }
        if elements > ELEMENTS_MAX {
            return Err(format!("it has more than {ELEMENTS_MAX} elements"));
        }
        if open.len() > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
    }
    match open.last() {
        Some(name) => Err(format!(
            "it ends before <{name}> is closed: it was cut short"
        )),
        None if roots == 0 => Err("it has no element".to_owned()),
        None => Ok(()),
    }
}

fn element(start: &BytesStart<'_>) -> Result<(String, BTreeMap<String, String>), String> {
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    let mut all = BTreeMap::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("<{name}>: {error}"))?;
        let key = String::from_utf8_lossy(attribute.key.local_name().as_ref()).into_owned();
        let raw = String::from_utf8_lossy(&attribute.value).into_owned();
        let value = match quick_xml::escape::unescape(&raw) {
            Ok(value) => value.into_owned(),
            // An entity of the document's own: kept as it is written.
            Err(_) => raw,
        };
        all.insert(key, value);
    }
    Ok((name, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<usize, &str>) {
        let mut elements = 0;
        let walked = walk(text, |part| {
            elements += usize::from(matches!(part, Part::Open(..)));
            Ok(())
        });
        match (walked, expected) {
            (Ok(()), Ok(count)) => assert_eq!(elements, count, "{text}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
            (walked, _) => panic!("{text}: {walked:?}"),
        }
    }

    #[test]
    fn only_a_whole_document_is_walked() {
        check("<?xml version='1.0'?>\n<a><b x='1'/><b/></a>\n", Ok(3));
        check("<a><b></a>", Err(""));
        check("<a><b>", Err("cut short"));
        check("<a", Err(""));
        check("<a/><b/>", Err("more than one root"));
        check("<a/>text", Err("outside"));
        check("<a x='1' x='2'/>", Err("<a>"));
        check("<!-- nothing -->", Err("no element"));
        check("</a>", Err(""));
        check(&"<a>".repeat(100), Err("nested"));
    }
}
