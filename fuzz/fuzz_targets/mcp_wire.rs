//! Feeds arbitrary bytes to the detection of MCP: as a body, as the start of one, as a stream of events. What it promises
//! stands in the shared module.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/inspect/tests/it/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    wire::check(data);
});
