//! Replays the corpus of the fuzz target `mcp_message`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::wire::check;

#[test]
fn every_corpus_entry_is_read_without_a_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mcp_message");
    let mut readers = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(check(&bytes), "{} names a reader", path.display());
        readers.insert(bytes.split(|byte| *byte == b'\n').next().unwrap().to_vec());
        // Cut anywhere, it is read as well.
        for end in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
            check(&bytes[..end]);
        }
    }
    assert_eq!(readers.len(), 6, "each reader has a seed");
}
