//! Replays the seeds of the multipart fuzz target.

use std::path::Path;

#[test]
fn every_seed_of_the_multipart_corpus_is_parsed_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/multipart");
    let (mut parsed, mut refused) = (0, 0);
    for entry in std::fs::read_dir(corpus).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        // As the fuzz target: the first line is the content type, the rest the body.
        let end = seed.iter().position(|byte| *byte == b'\n').unwrap_or(seed.len());
        let content_type = String::from_utf8_lossy(&seed[..end]);
        let body = &seed[(end + 1).min(seed.len())..];
        let parts = console::multipart::boundary(&content_type)
            .and_then(|boundary| console::multipart::parse(&boundary, body, &console::multipart::Limits::default()));
        match parts {
            Ok(parts) => {
                parsed += 1;
                assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= body.len());
            }
            Err(_) => refused += 1,
        }
    }
    assert!(parsed >= 8 && refused >= 8, "{parsed} parsed, {refused} refused");
}
