//! Environments in which sidecars are tried.
