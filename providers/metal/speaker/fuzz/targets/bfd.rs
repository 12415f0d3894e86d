#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| causeway_speaker_fuzz::bfd(octets));
