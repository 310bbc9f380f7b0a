//! A file that the log goes to, which may fail without anybody waiting for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use meshproof_sys::clock::Nanos;
use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::Counter;

/// The file is opened anew when something is to be written and this has gone by, in nanoseconds:
/// one that was moved away by a rotation is left, and a folder or disk that fails is noticed,
/// though the file that is open could still be written.
const REOPEN_NS: u64 = 1_000_000_000;

/// One that cannot be opened or written is tried again after this, in nanoseconds.
const RETRY_NS: u64 = 100_000_000;

/// Appends each line to a file. A line that cannot be written is lost, and counted; nothing else
/// happens: a sidecar whose disk is full goes on serving.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    lost: Counter,
    /// The newest line was lost.
    failing: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    file: Option<File>,
    /// When it is opened the next time.
    open_at: Nanos,
    /// Of the newest line a part was written.
    torn: bool,
}

impl LogFile {
    /// Of this path; it is opened with the first line. Its folder is made where it is missing.
    pub fn new(path: PathBuf) -> LogFile {
        LogFile(Arc::new(Inner {
            path,
            lost: Counter::default(),
            failing: AtomicBool::new(false),
            held: Mutex::default(),
        }))
    }

    /// Lines that were lost.
    pub fn lost(&self) -> u64 {
        self.0.lost.value()
    }

    /// Whether the newest line was lost.
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }

    fn append(&self, line: &[u8], now: Nanos) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let written = held.append(&self.0.path, line, now);
        if written.is_err() {
            held.file = None;
            held.open_at = now.plus_ns(RETRY_NS);
            self.0.lost.add(1);
        }
        self.0.failing.store(written.is_err(), Ordering::Relaxed);
    }
}

impl Held {
    fn append(&mut self, path: &PathBuf, line: &[u8], now: Nanos) -> io::Result<()> {
        if now >= self.open_at {
            self.file = None;
            self.file = Some(open(path)?);
            self.open_at = now.plus_ns(REOPEN_NS);
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        // Whoever reads it finds whole lines behind one that was cut.
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend(self.torn.then_some(b'\n'));
        whole.extend_from_slice(line);
        let written = file.write(&whole)?;
        if written < whole.len() {
            self.torn = written > 0;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.torn = false;
        Ok(())
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        // Where it cannot be made, opening says why.
        let _ = std::fs::create_dir_all(folder);
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Takes what is written as one line; there is never a reason to write it again.
impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line, Nanos::now());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LogFile;

    fn make_writer(&'a self) -> LogFile {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        folder: PathBuf,
        log: LogFile,
        now: Nanos,
    }

    impl Rig {
        fn new(name: &str) -> Rig {
            let folder = std::env::temp_dir().join(format!("log-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            Rig {
                log: LogFile::new(folder.join("deep/sidecar.log")),
                folder,
                now: Nanos(1),
            }
        }

        fn write(&mut self, line: &str, later_ns: u64) {
            self.now = self.now.plus_ns(later_ns);
            self.log.append(format!("{line}\n").as_bytes(), self.now);
        }

        #[track_caller]
        fn check(&self, file: &str, text: &str, lost: u64) {
            let found = std::fs::read_to_string(self.folder.join(file)).unwrap();
            assert_eq!((found.as_str(), self.log.lost()), (text, lost));
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_file_that_is_moved_away_is_left() {
        let mut rig = Rig::new("rotated");
        rig.write("one", 0);
        let deep = rig.folder.join("deep");
        std::fs::rename(deep.join("sidecar.log"), deep.join("old.log")).unwrap();
        rig.write("two", 1);
        rig.write("three", REOPEN_NS);
        rig.check("deep/old.log", "one\ntwo\n", 0);
        rig.check("deep/sidecar.log", "three\n", 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_tried_again() {
        let mut rig = Rig::new("failing");
        std::fs::create_dir_all(&rig.folder).unwrap();
        // Where the folder should be, a file is.
        std::fs::write(rig.folder.join("deep"), "").unwrap();
        rig.write("lost", 0);
        assert!(rig.log.is_failing());
        std::fs::remove_file(rig.folder.join("deep")).unwrap();
        rig.write("lost, too: it is not tried at once", 1);
        rig.write("there", RETRY_NS);
        assert!(!rig.log.is_failing());
        rig.check("deep/sidecar.log", "there\n", 2);
    }

    #[test]
    fn a_disk_without_room_loses_lines_and_no_more() {
        // It takes whatever is opened, and has room for nothing.
        let full = LogFile::new("/dev/full".into());
        full.append(b"lost\n", Nanos(1));
        full.append(b"lost\n", Nanos(2));
        assert_eq!((full.lost(), full.is_failing()), (2, true));
    }
}
