//! Feeds arbitrary bytes to everything Access reads from outside: documents, tokens, provider answers, URLs, hosts and
//! paths, cookies, SCIM. The first line of an input names the reader; what each promises stands in the shared module.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/identity/tests/it/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    wire::check(data);
});
