//! The first line is a content type, the rest a body; parsing must neither panic nor return bytes that are not there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use console::multipart::{Limits, boundary, parse};

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let content_type = String::from_utf8_lossy(&data[..end]);
    let body = &data[(end + 1).min(data.len())..];
    let limits = Limits { parts: 16, part_bytes: 1 << 16, header_bytes: 1 << 10 };
    if let Ok(boundary) = boundary(&content_type)
        && let Ok(parts) = parse(&boundary, body, &limits)
    {
        assert!(parts.len() <= limits.parts);
        assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= body.len());
    }
});
