//! Faults of folders: the way `mount`, by mounts over them.
//!
//! Two mounts lie on the folder: an empty one in memory, whose source is our tag, so that the
//! kernel's own table tells whose they are; and, where the folder is to be read, the folder itself,
//! read-only. Both are in the mount namespace of the keeper, and go with it: with its pod. In the
//! namespace of the machine itself nothing is mounted.
//!
//! What is open when it begins stays as it was open.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use meshproof_sys::mounts;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
use rustix::io::Errno;

use crate::backend::TAG;
use crate::spec::Kind;
use crate::{
    Backend, Count, Error, Evidence, Hold, Leftover, Plan, Refusal, Residue, RuleText, Scene, Spec,
    Way,
};

/// Mounts that lie on one folder, at most: ours are two.
const STACK_MAX: usize = 16;

/// A folder that takes no writes, or whose contents are gone.
#[derive(Debug)]
pub struct Mount;

impl Backend for Mount {
    fn way(&self) -> Way {
        Way::Mount
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        if !matches!(kind, Kind::ReadOnly | Kind::Gone) {
            return Err(Refusal::Inexact(format!("a mount does no {kind}")));
        }
        let Some(folder) = &spec.folder else {
            return Err(Refusal::Inexact("no folder was named".to_owned()));
        };
        let inexact = |error: io::Error| Refusal::Inexact(format!("{}: {error}", folder.value));
        let path = fs::canonicalize(&folder.value).map_err(inexact)?;
        if !path.is_dir() {
            return Err(Refusal::Inexact(format!("{} is no folder", path.display())));
        }
        if is_of_the_machine().map_err(inexact)? {
            return Err(Refusal::Inexact(
                "these are the mounts of the machine itself; name a pod, whose own they are and \
                 with which they go"
                    .to_owned(),
            ));
        }
        let table = table().map_err(inexact)?;
        let below = table.iter().rfind(|one| path.starts_with(&one.at));
        if below.is_some_and(|one| one.shared) {
            return Err(Refusal::Inexact(format!(
                "what is mounted at {} is seen in other namespaces as well",
                path.display()
            )));
        }
        if let Some(other) = table.iter().find(|one| one.at == path && one.is_ours()) {
            return Err(Refusal::Inexact(format!(
                "another fault lies on {}: {}",
                path.display(),
                other.source
            )));
        }
        let mut plan = Plan::bare(Way::Mount, spec, scene);
        plan.rules = vec![RuleText {
            exact: match kind {
                Kind::Gone => format!("mount an empty folder over {}, read-only", path.display()),
                _ => format!("mount {} over itself, read-only", path.display()),
            },
            iptables: None,
        }];
        plan.also_hit = vec![format!(
            "everything of this pod that opens something in {}",
            path.display()
        )];
        plan.doubts = vec!["what is open already stays open, for writing too".to_owned()];
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, scene: &Scene) -> Result<Box<dyn Hold>, Error> {
        let Some(folder) = &plan.spec.folder else {
            return Err(Error::Refused("a plan that is not of this way".to_owned()));
        };
        let told = |error: io::Error| match error.raw_os_error() {
            Some(code) if code == Errno::PERM.raw_os_error() => Error::Unsupported {
                missing: "the right to mount".to_owned(),
                advice: "run as root, or in a pod of `meshproof env up`".to_owned(),
            },
            _ => Error::io(format!("mounting over {}", folder.value))(error),
        };
        let path = fs::canonicalize(&folder.value).map_err(told)?;
        let over = Over {
            path,
            tag: scene.tag(),
            kind: plan.spec.kind.value,
            healed: false,
        };
        if let Err(error) = over.put() {
            over.lift().map_err(told)?;
            return Err(told(error));
        }
        Ok(Box::new(over))
    }
}

/// Whether the mount namespace of this process is that of the machine's first one.
fn is_of_the_machine() -> io::Result<bool> {
    let own = fs::metadata("/proc/self/ns/mnt")?;
    // Who may not look at the first process is not in its namespaces, or is nobody there.
    let Ok(first) = fs::metadata("/proc/1/ns/mnt") else {
        return Ok(false);
    };
    Ok((own.dev(), own.ino()) == (first.dev(), first.ino()))
}

/// One line of the kernel's table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: PathBuf,
    source: String,
    /// Others see what is mounted on it.
    shared: bool,
}

impl Line {
    fn is_ours(&self) -> bool {
        self.source
            .strip_prefix(TAG)
            .is_some_and(|rest| rest.starts_with(' '))
    }

    /// The lease that it is of.
    fn lease(&self) -> &str {
        self.source.split(' ').next_back().unwrap_or_default()
    }
}

/// The mounts of this process, the oldest first.
fn table() -> io::Result<Vec<Line>> {
    Ok(lines(&fs::read_to_string("/proc/thread-self/mountinfo")?))
}

/// `36 35 98:0 /root /at options shared:1 - type source options` (proc_pid_mountinfo(5)).
fn lines(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let (place, what) = line.split_once(" - ")?;
        let mut fields = place.split(' ');
        let at = PathBuf::from(plain(fields.nth(4)?));
        Some(Line {
            at,
            source: plain(what.split(' ').nth(1)?),
            shared: fields.any(|field| field.starts_with("shared:")),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Without the octal numbers in whose place a space, a tab, a line's end and a backslash stand.
fn plain(field: &str) -> String {
    let codes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    codes.iter().fold(field.to_owned(), |text, (code, sign)| {
        text.replace(code, sign)
    })
}

struct Over {
    path: PathBuf,
    tag: String,
    kind: Kind,
    healed: bool,
}

impl Over {
    fn put(&self) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below: OwnedFd = open(&self.path, flags, Mode::empty())?;
        mounts::empty_read_only(&self.path, &self.tag)?;
        if self.kind == Kind::ReadOnly {
            // The path leads to the empty one by now; the descriptor does not.
            let below = PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd()));
            mounts::bind_read_only(&below, &self.path)?;
        }
        Ok(())
    }

    /// Takes it away; without it nothing happens.
    fn lift(&self) -> io::Result<()> {
        lift(&self.path, &self.tag)
    }

    fn is_there(&self) -> io::Result<bool> {
        Ok(is_there(&table()?, &self.path, &self.tag))
    }
}

fn is_there(table: &[Line], path: &Path, tag: &str) -> bool {
    table.iter().any(|one| one.at == path && one.source == tag)
}

/// Takes what lies on top away until the mount with this tag is gone.
fn lift(path: &Path, tag: &str) -> io::Result<()> {
    for _ in 0..STACK_MAX {
        if !is_there(&table()?, path, tag) {
            return Ok(());
        }
        mounts::detach(path)?;
    }
    Ok(())
}

impl Hold for Over {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        let there = self.is_there().map_err(Error::io("the table of mounts"))?;
        // Also for one who may write everywhere.
        let refuses =
            accessat(CWD, &self.path, Access::WRITE_OK, AtFlags::empty()) == Err(Errno::ROFS);
        let mut evidence = Evidence {
            counts: vec![Count {
                what: format!("{} refuses to be written", self.path.display()),
                met: u64::from(there && refuses),
            }],
            ..Evidence::default()
        };
        if !there {
            evidence
                .reasons
                .push("somebody has taken the mount away meanwhile".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        self.healed = true;
        self.lift()
            .map_err(Error::io(format!("taking {} away", self.tag)))?;
        let mut residue = Residue {
            looked_at: vec![format!("what is mounted at {}", self.path.display())],
            ..Residue::default()
        };
        if self.is_there().map_err(Error::io("the table of mounts"))? {
            residue.left.push(leftover(&self.path, &self.tag));
        }
        Ok(residue)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        if !self.healed {
            // Nobody is left to be told.
            let _ = self.lift();
        }
    }
}

pub(crate) fn leftover(path: &Path, tag: &str) -> Leftover {
    Leftover {
        kind: "mount".to_owned(),
        what: format!("{} ({tag})", path.display()),
        whose: TAG.to_owned(),
        advice: "meshproof fault heal --all".to_owned(),
    }
}

/// What stands of ours though no keeper of these leases does: folder and lease.
pub(crate) fn strays(kept: &dyn Fn(&str) -> bool) -> io::Result<Vec<(PathBuf, String)>> {
    let ours = table()?.into_iter().filter(Line::is_ours);
    Ok(ours
        .filter(|one| !kept(one.lease()))
        .map(|one| (one.at, one.source))
        .collect())
}

/// Takes all of it away.
pub(crate) fn sweep_strays(kept: &dyn Fn(&str) -> bool) -> Result<Residue, Error> {
    let told = || Error::io("the table of mounts");
    let mut residue = Residue::default();
    for (path, tag) in strays(kept).map_err(told())? {
        lift(&path, &tag).map_err(Error::io(format!("taking {tag} away")))?;
        residue
            .looked_at
            .push(format!("{} ({tag})", path.display()));
    }
    let left = strays(kept).map_err(told())?;
    let left = left.iter().map(|(path, tag)| leftover(path, tag));
    residue.left.extend(left);
    Ok(residue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let text = "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                    36 22 0:31 / /run/a\\040b ro,relatime - tmpfs meshproof\\040r1\\040one ro\n";
        let found = lines(text);
        let at: Vec<_> = found
            .iter()
            .map(|one| (one.shared, one.is_ours()))
            .collect();
        assert_eq!(at, [(true, false), (false, true)]);
        assert_eq!(found[1].at, Path::new("/run/a b"));
        assert_eq!(found[1].lease(), "one");
        assert!(is_there(&found, Path::new("/run/a b"), "meshproof r1 one"));
        assert!(!is_there(&found, Path::new("/run/a b"), "meshproof r1 two"));
    }
}
