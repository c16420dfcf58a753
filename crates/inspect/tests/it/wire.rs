//! One input of the fuzz target `mcp_wire`, which shares this file: whatever the bytes, detection keeps its promises.

use inspect::mcp::{Reading, events, masked, read};

pub(crate) fn check(data: &[u8]) {
    let whole = read(data, true);
    assert_ne!(whole, Reading::Cut, "a whole body is told");
    if let Reading::Mcp(message) = &whole {
        assert!(message.complete);
        let kept: usize = message.methods.iter().chain(&message.tools).map(String::len).sum();
        // A letter by its number is six bytes, so nothing kept is longer than what it was read from.
        assert!(kept <= data.len());
    }
    let start = read(data, false);
    if start == Reading::Other {
        assert_eq!(whole, Reading::Other, "what is something else whatever follows is so if nothing does");
    }
    for whole in [false, true] {
        let stream = events(data, whole);
        assert!(stream.count <= data.len());
    }
    if let Some(shown) = masked(data) {
        assert!(shown.as_array().is_some_and(|messages| messages.len() <= inspect::mcp::MAX_MASKED));
    }
}
