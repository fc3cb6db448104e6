//! `targets::srtp_unprotect` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::srtp_unprotect::run(data));
