//! Axes, covering arrays, cells, blame.
