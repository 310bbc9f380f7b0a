//! Who listens and who serves while one process takes over from another.
