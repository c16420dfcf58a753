//! Text that is written so that a model may read it and a person does not: base64 and hexadecimal.
//!
//! Invariant: each run of characters is looked at once, and at most so much of it is decoded.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::{Found, Reason};

/// The shortest run that is decoded, and the shortest that is flagged whatever it holds.
const SHORT: usize = 32;
const LONG: usize = 400;
/// Bytes of a run that are decoded.
const MOST: usize = 4_096;

pub(super) fn look(text: &str, place: &str, found: &mut Found) {
    let runs = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_')));
    for run in runs.filter(|run| run.len() >= SHORT) {
        if let Some(decoded) = decoded(run) {
            found.add(Reason::Encoded, place, &format!("decodes to \"{decoded}\""));
        } else if run.len() >= LONG && is_mixed(run) {
            found.add(Reason::Encoded, place, run);
        }
    }
}

/// Returns what a run stands for where that is text.
fn decoded(run: &str) -> Option<String> {
    let run = run.get(..run.len().min(MOST))?;
    if run.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return readable(&bytes_of_hex(run));
    }
    // Bits beyond the last whole group are left out.
    let whole = run.get(..run.len() - run.len() % 4)?;
    let bytes = STANDARD_NO_PAD.decode(whole).or_else(|_| URL_SAFE_NO_PAD.decode(whole)).ok()?;
    readable(&bytes)
}

fn bytes_of_hex(run: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0);
    // Two digits make at most 255.
    run.as_bytes().chunks_exact(2).map(|pair| (digit(pair[0]) * 16 + digit(pair[1])) as u8).collect()
}

/// Text of words with spaces between, which chance does not make.
fn readable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let printable = text.chars().all(|c| matches!(c, ' '..='~' | '\n' | '\t'));
    (printable && text.contains(' ')).then(|| text.to_owned())
}

/// Whether a long run is data, not a word: capitals, small letters and digits.
fn is_mixed(run: &str) -> bool {
    let has = |test: fn(&u8) -> bool| run.as_bytes().iter().any(test);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}
