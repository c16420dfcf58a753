//! Replays the corpus of the fuzz target `mcp_wire`.

use std::path::Path;

use crate::wire::check;

#[test]
fn every_corpus_entry_keeps_the_promises_cut_anywhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mcp_wire");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for end in (0..bytes.len()).step_by(bytes.len() / 64 + 1).chain([bytes.len()]) {
            check(&bytes[..end]);
        }
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn every_row_of_the_tables_keeps_them() {
    for row in crate::messages::mcp().iter().chain(&crate::messages::other()) {
        for end in 0..=row.body.len() {
            check(&row.body.as_bytes()[..end]);
        }
    }
}
