//! Pages in, documents out: what is written, what is not, and what a hostile page costs.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod documents;
mod hostile;
mod laws;

use markdown::Converter;

/// Converts a page that comes in pieces of `size` bytes.
fn convert_in(page: &[u8], size: usize) -> String {
    let mut converter = Converter::new("text/html; charset=utf-8", "https://wiki.example/docs/page?x=1".parse().ok());
    let mut text = String::new();
    for piece in page.chunks(size.max(1)) {
        text.push_str(&converter.push(piece).unwrap());
    }
    text + &converter.end().unwrap()
}

fn convert(page: &str) -> String {
    convert_in(page.as_bytes(), usize::MAX)
}
