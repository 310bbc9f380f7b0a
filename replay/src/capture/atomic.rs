//! A file that appears under its name when it is whole, or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file being written beside its final name, under a hidden one. [`AtomicFile::commit`] gives it
/// its name; dropped before that, it is removed and what stood under the name stays.
///
/// A name that stands for a device or pipe (`/dev/null`) is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    /// The hidden name; `None` once it is gone, and for devices.
    hidden: Option<PathBuf>,
    out: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    /// Those of the operating system, with the path concerned left to the caller.
    pub fn create(path: &Path) -> io::Result<AtomicFile> {
        let special = fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
        let (hidden, file) = if special {
            (None, OpenOptions::new().write(true).open(path)?)
        } else {
            let (hidden, file) = create_hidden(path)?;
            (Some(hidden), file)
        };
        Ok(AtomicFile {
            path: path.to_owned(),
            hidden,
            out: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
        })
    }

    /// Writes what is left and gives the file its name, in place of what stood there.
    ///
    /// # Errors
    /// Those of the operating system; nothing then stands under the name that did not before.
    pub fn commit(mut self) -> io::Result<()> {
        if let Some(out) = self.out.take() {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            if let Some(hidden) = &self.hidden {
                file.sync_data()?;
                fs::rename(hidden, &self.path)?;
            }
        }
        self.hidden = None;
        Ok(())
    }
}

/// Creates a file with a name of its own in the folder of `path`.
fn create_hidden(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file")
    })?;
    for attempt in 0..1000 {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{attempt}.part", std::process::id()));
        let hidden = path.with_file_name(hidden);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&hidden)
        {
            Ok(file) => return Ok((hidden, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(buf),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Some(out) => out.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // Buffered bytes need not be written any more.
            if let Some(out) = self.out.take() {
                drop(out.into_parts());
            }
            let _ = fs::remove_file(hidden);
        }
    }
}
