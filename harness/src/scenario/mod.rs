//! Stories: steps, probes, the runner, the evidence of a failure.
