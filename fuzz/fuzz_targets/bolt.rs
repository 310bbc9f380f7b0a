//! BOLT streams and heads.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    meshproof_wire::check::bolt(bytes);
    meshproof_wire::check::bolt_head(bytes);
});
