//! `targets::sip_framer` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::sip_framer::run(data));
