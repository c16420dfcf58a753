//! The cursor of merged lists: after which name or URI the next page begins.
//!
//! Decides only what a cursor is. It names a place in an order, not a thing, so one that is made up shows its sender nothing
//! but their own view from another place, and one kept while tools come and go neither skips nor repeats what stayed.
//! Invariant: a cursor for one kind is none for another, and none is longer than any that was given out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::catalog::Kind;
use crate::message::{ErrorCode, RpcError};

/// The form below; another one would have another number.
const FORM: u8 = 1;
/// The longest URI of a catalogue with every byte percent-encoded, behind its prefix, in Base64.
const MAX_TEXT: usize = 9_000;

/// What was sent as a cursor is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Invalid cursor")]
pub struct CursorError;

impl CursorError {
    #[must_use]
    pub fn error(self) -> RpcError {
        RpcError::new(ErrorCode::InvalidParams, self.to_string())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last name or URI of the page before.
    pub(super) key: String,
}

impl Cursor {
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Self, CursorError> {
        if text.len() > MAX_TEXT {
            return Err(CursorError);
        }
        let bytes = BASE64.decode(text).map_err(|_| CursorError)?;
        match bytes.as_slice() {
            [FORM, of, key @ ..] if *of == kind as u8 && !key.is_empty() => {
                String::from_utf8(key.to_vec()).map(|key| Self { key }).map_err(|_| CursorError)
            }
            _ => Err(CursorError),
        }
    }

    pub(super) fn to_text(&self, kind: Kind) -> String {
        let mut bytes = vec![FORM, kind as u8];
        bytes.extend_from_slice(self.key.as_bytes());
        BASE64.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_not_given_out_is_no_cursor() {
        let tools = Cursor { key: "a_b".to_owned() }.to_text(Kind::Tool);
        assert!(Cursor::parse(Kind::Tool, &tools).is_ok());
        let other_form = BASE64.encode([2, 0, b'a']);
        let not_text = BASE64.encode([FORM, 0, 0xff]);
        let long = BASE64.encode([vec![FORM, 0], vec![b'a'; 8_000]].concat());
        for text in ["", "a", "AQ", "AQA", "not base64!", &format!("{tools}="), &other_form, &not_text, &long] {
            assert_eq!(Cursor::parse(Kind::Tool, text), Err(CursorError), "{text}");
        }
        assert_eq!(Cursor::parse(Kind::Prompt, &tools), Err(CursorError));
        assert_eq!(CursorError.error().code, -32602);
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(key in "\\PC{1,200}") {
            for kind in Kind::ALL {
                let cursor = Cursor { key: key.clone() };
                prop_assert_eq!(Cursor::parse(kind, &cursor.to_text(kind)), Ok(cursor));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = Cursor::parse(Kind::Tool, &text);
        }
    }
}
