//! HTTP messages and server-sent events.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    meshproof_wire::check::http(bytes);
});
