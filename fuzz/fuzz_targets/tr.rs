//! TR streams and fronts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    meshproof_wire::check::tr(bytes);
});
