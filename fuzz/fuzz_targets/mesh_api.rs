//! The application API in streams.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    meshproof_wire::check::mesh_api(bytes);
});
