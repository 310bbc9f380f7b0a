//! A relay between two programs that knows frames and can harm them.
