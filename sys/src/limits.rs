//! What the kernel allows this process.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of descriptors that this process may have open as far as it may itself, and
/// tells it; `None` where there is no limit. Fails where the kernel does not let it, and leaves
/// it as it was.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_it_may() {
        let may = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files().unwrap(), may);
        assert_eq!(getrlimit(Resource::Nofile).current, may);
    }
}
