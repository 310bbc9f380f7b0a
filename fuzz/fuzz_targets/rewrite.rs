//! Captures through the rewriter.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    meshproof_replay::check::rewrite(bytes);
});
