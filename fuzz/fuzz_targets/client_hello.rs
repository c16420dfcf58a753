//! Feeds arbitrary first flights to the ClientHello parser.
//!
//! Beyond not panicking: a buffer is never called complete before the bytes it needs are there, and what was complete
//! or broken does not change its mind about a shorter buffer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::client_hello::{MAX_BYTES, Parsed, looks_like_tls, parse};

fuzz_target!(|data: &[u8]| {
    match parse(data) {
        Ok(Parsed::Incomplete { at_least }) => assert!(data.len() < at_least && at_least <= MAX_BYTES),
        Ok(Parsed::Hello(hello)) => {
            assert_eq!(looks_like_tls(data), Some(true));
            assert_eq!(hello.ja4.len(), 36);
            for cut in 0..data.len().min(64) {
                assert!(!matches!(parse(&data[..cut]), Err(_) | Ok(Parsed::Hello(_))) || cut >= 40);
            }
        }
        Err(_) => {}
    }
});
