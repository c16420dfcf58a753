//! Holds the head check of the gateway against any bytes: no panic, and nothing with two framings passes.
#![no_main]

use net::proxy::head::{check, end};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(length) = end(data, 0) else { return };
    // Wherever the bytes were cut, the end of the head is the same.
    for cut in [1, length / 2, length.saturating_sub(1)] {
        assert_eq!(end(data, cut.min(length)), Some(length));
    }
    if check(&data[..length], 200).is_ok() {
        let head = String::from_utf8_lossy(&data[..length]).to_ascii_lowercase();
        let framings = head.matches("\ncontent-length:").count() + head.matches("\ntransfer-encoding:").count();
        assert!(framings <= 1);
    }
});
