//! Replays the corpus of the fuzz target `http_head`: no input may panic, and what the check passes hyper frames alike.

use std::path::Path;

use net::proxy::head::{Following, check, end};

#[test]
fn every_corpus_entry_is_checked_without_a_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/http_head");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        count += 1;
        let Some(length) = end(&bytes, 0) else { continue };
        if let Ok(following) = check(&bytes[..length], 200) {
            // A head with two framings never passes.
            let head = String::from_utf8_lossy(&bytes[..length]).to_ascii_lowercase();
            let (lengths, codings) =
                (head.matches("\ncontent-length:").count(), head.matches("\ntransfer-encoding:").count());
            assert!(lengths + codings <= 1, "{head}");
            assert_eq!(following == Following::Chunked, codings == 1 && following != Following::Other, "{head}");
        }
    }
    assert!(count >= 20, "the corpus is there");
}
