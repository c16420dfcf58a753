//! Feeds arbitrary bytes to everything a portal reads of MCP clients and servers: messages, results, requests, catalogues,
//! URIs, programs. The first line of an input names the reader; what each promises stands in the shared module.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/mcp/tests/it/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    wire::check(data);
});
