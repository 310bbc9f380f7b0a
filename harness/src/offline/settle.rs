//! Whether a capture may have its name: the audit of a rewritten one against its original, and of
//! a part of an audited one against the whole.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use meshproof_replay::audit::{Audit, Kind, Needles, Original};
use meshproof_replay::capture::{Captures, Inputs};
use meshproof_replay::map::Map;

use super::folder::Failed;

/// Searches the rewritten capture for what must not be left; how much was searched for. A map that
/// hides nothing leaves nothing to search for.
pub(super) fn audit(inputs: &Inputs, map: &Map, path: &Path) -> Result<u64, Failed> {
    if map.hides_nothing() {
        return Ok(0);
    }
    let mut captures = Captures::open(inputs)?;
    let original = Original::read(&mut captures, map)?;
    let needles = Needles::new(map, Some(&original));
    let mut audit = Audit::new(&needles).map_err(Failed::Capture)?;
    let mut captures = Captures::open(&Inputs::of([path]))?;
    audit.packets(&mut captures)?;
    let file = std::fs::File::open(path).map_err(Failed::io(path))?;
    audit
        .blocks(&path.to_string_lossy(), file)
        .map_err(Failed::io(path))?;
    audit.reading(&captures.findings());
    let report = audit.finish();
    if let Some(first) = report.findings.first() {
        return Err(Failed::Left {
            found: report.findings.len(),
            first: first.needle.clone(),
        });
    }
    if let Some(why) = report.unsearched.first() {
        return Err(Failed::Unsearched(why.clone()));
    }
    Ok(report.needles.map + report.needles.original)
}

/// What the originals of a capture are known by, beside the offline mesh that was made from it.
#[derive(Clone, Copy, Debug)]
pub struct Originals<'a> {
    /// The map that it was rewritten by.
    pub map: &'a Map,
    /// The captures before they were rewritten.
    pub captures: &'a Inputs,
}

/// Gives a capture that was made of a part of an audited one its name, once it passed the audit.
/// It may show no address, VIP, app or zone that the whole does not show; where the originals are
/// at hand, it is searched for them as the whole was. How much was searched for.
///
/// # Errors
/// Something is there that must not be, and nothing stands under the name then; or a file can be
/// neither read nor written.
pub(super) fn settle(
    part: tempfile::NamedTempFile,
    whole: &Path,
    originals: Option<Originals<'_>>,
    name: &Path,
) -> Result<u64, Failed> {
    let searched = within(part.path(), whole)?;
    let more = match originals {
        Some(Originals { map, captures }) => audit(captures, map, part.path())?,
        None => 0,
    };
    part.as_file().sync_data().map_err(Failed::io(name))?;
    part.persist(name)
        .map_err(|error| Failed::io(name)(error.error))?;
    Ok(searched + more)
}

/// Searches for what the whole does not show; how much was looked at.
fn within(part: &Path, whole: &Path) -> Result<u64, Failed> {
    let shown = |path: &Path| -> Result<(Original, Vec<String>), Failed> {
        let mut captures = Captures::open(&Inputs::of([path]))?;
        let shown = Original::read(&mut captures, &Map::default())?;
        let hides = captures.findings();
        let hides = hides.iter().filter(|finding| finding.what.hides());
        Ok((shown, hides.map(ToString::to_string).collect()))
    };
    let (shown_part, hides) = shown(part)?;
    if let Some(why) = hides.into_iter().next() {
        return Err(Failed::Unsearched(why));
    }
    let (shown_whole, _) = shown(whole)?;
    let addresses: BTreeSet<IpAddr> = shown_whole.addresses().map(|it| it.0).collect();
    let names: BTreeSet<(Kind, &str)> = shown_whole.names().map(|it| (it.0, it.1)).collect();
    let strange: Vec<String> = shown_part
        .addresses()
        .filter(|(address, _)| !addresses.contains(address))
        .map(|(address, _)| address.to_string())
        .chain(
            shown_part
                .names()
                .filter(|(kind, name, _)| !names.contains(&(*kind, name)))
                .map(|(_, name, _)| name.to_owned()),
        )
        .collect();
    if let Some(first) = strange.first() {
        return Err(Failed::Strange {
            found: strange.len(),
            first: first.clone(),
        });
    }
    Ok((shown_part.addresses().count() + shown_part.names().count()) as u64)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::text::CAPTURE;
    use super::*;

    fn real(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
        folder.join(name)
    }

    /// Settles `part` as a part of `whole`.
    fn settled(part: &str, whole: &str, map: Option<&str>) -> (Result<u64, Failed>, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = tempfile::NamedTempFile::new_in(&folder).expect("a file");
        std::fs::copy(real(part), file.path()).expect("a copy");
        let name = folder.path().join(CAPTURE);
        let map = map.map(|text| Map::parse("map.yaml", text).expect("a map"));
        let captures = Inputs::of([real(whole)]);
        let originals = map.as_ref().map(|map| Originals {
            map,
            captures: &captures,
        });
        let settled = settle(file, &real(whole), originals, &name);
        // Whatever came of it, no other file is left.
        let left = std::fs::read_dir(&folder).expect("it is there").count();
        assert_eq!(left, usize::from(name.exists()));
        (settled, name.exists())
    }

    #[test]
    fn a_part_gets_its_name_after_the_audit_and_never_before() {
        let whole = "sofarpc_bolt_hessian2.pcap";
        let (settled_as, there) = settled(whole, whole, None);
        assert!(settled_as.expect("it is a part of itself") > 0);
        assert!(there);
        // Another capture shows what this one does not.
        let (settled_as, there) = settled("mesh_vip_legacy.pcap", whole, None);
        assert!(
            matches!(settled_as, Err(Failed::Strange { .. })),
            "{settled_as:?}"
        );
        assert!(!there);
        // What a map was to replace is still in it.
        let map = "apps: {sample-client: c1}\n";
        let (settled_as, there) = settled(whole, whole, Some(map));
        assert!(
            matches!(settled_as, Err(Failed::Left { .. })),
            "{settled_as:?}"
        );
        assert!(!there);
    }
}
