//! What a page that wants to hurt can do: come to its end, or be given up with a word.

use markdown::{ConvertError, Converter};

/// Feeds one piece again and again; returns the bytes written and how it ended.
fn feed(piece: &str, times: usize) -> (usize, Result<(), ConvertError>) {
    let mut converter = Converter::new("text/html; charset=utf-8", None);
    let mut written = 0;
    for _ in 0..times {
        match converter.push(piece.as_bytes()) {
            Ok(text) => written += text.len(),
            Err(error) => {
                // Whoever goes on is told again, and nothing breaks.
                assert!(converter.push(b"x").is_err());
                return (written, Err(error));
            }
        }
    }
    (written, converter.end().map(|text| written += text.len()))
}

#[test]
fn nesting_without_end_is_given_up() {
    for piece in ["<div>", "<b><i>", "<ul><li>", "<blockquote>", "<table><tr><td>", "<x-y>"] {
        let (written, end) = feed(&piece.repeat(100), 10_000);
        assert!(matches!(end, Err(ConvertError::Depth | ConvertError::Memory)), "{piece}: {end:?}");
        assert!(written < 1 << 20, "{piece}: {written}");
    }
}

#[test]
fn a_tag_or_comment_without_end_is_held_within_the_bound() {
    for begin in ["<a href='", "<div x", "<!-- ", "<", "<![CDATA[", "&"] {
        let mut converter = Converter::new("text/html; charset=utf-8", None);
        let piece = "y".repeat(64 << 10);
        let mut fed = converter.push(format!("<p>{begin}").as_bytes()).map(|_| ());
        let mut pieces = 0;
        while fed.is_ok() && pieces < 256 {
            fed = converter.push(piece.as_bytes()).map(|_| ());
            pieces += 1;
        }
        if fed.is_ok() {
            converter.end().unwrap();
        }
    }
}

#[test]
fn text_flows_through_whatever_it_stands_in() {
    let words = "word ".repeat(2_000);
    for (begin, end) in [
        ("<p>", ""),
        ("<pre>", "</pre>"),
        ("<pre>\n```\n", "</pre>"),
        ("<code>", "</code>"),
        ("<h1>", "</h1>"),
        ("<table><tr><td>", "</table>"),
        ("<li>", ""),
        ("<a href='https://x.example/'>", "</a>"),
    ] {
        let mut converter = Converter::new("text/html; charset=utf-8", None);
        let mut seen = converter.push(begin.as_bytes()).unwrap();
        for round in 1..=50 {
            seen.push_str(&converter.push(words.as_bytes()).unwrap());
            // It comes out as it goes in: at most a block of code is held.
            assert!(seen.len() + (64 << 10) >= round * words.len(), "{begin}: {} after {round}", seen.len());
        }
        seen.push_str(&converter.push(end.as_bytes()).unwrap());
        seen.push_str(&converter.end().unwrap());
        assert_eq!(seen.matches("word").count(), 100_000, "{begin}");
    }
}

#[test]
fn an_address_is_written_once_however_many_blocks_it_spans() {
    let address = format!("https://x.example/{}", "a".repeat(1_900));
    let page = format!("<a href='{address}'>{}", "<p>x".repeat(1_000));
    let text = super::convert(&page);
    assert_eq!(text.matches(&address).count(), 1);
    // One that is longer than anybody reads is none.
    let text = super::convert(&format!("<a href='https://x.example/{}'>x</a>", "a".repeat(4_000)));
    assert_eq!(text, "x\n");
}
