//! Reads `application/x-www-form-urlencoded` requests of OAuth endpoints, from a body or a query.
//!
//! Stricter than the WHATWG form parser: bad escapes, bad UTF-8, control characters and repeated parameters are refused,
//! because a second parser that reads them otherwise is how parameters are smuggled. Invariant: what is returned is
//! bounded and each name but `resource` stands once (RFC 6749 section 3.1, RFC 8707 section 2).

use percent_encoding::percent_decode_str;

/// Most bytes of a request.
pub const MAX_BYTES: usize = 16 * 1024;
/// Most parameters of a request.
pub const MAX_PARAMETERS: usize = 32;
/// Most bytes of one decoded name or value.
pub const MAX_VALUE: usize = 4 * 1024;

/// The parameters of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

/// Why a form is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("the request is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the request has more than {MAX_PARAMETERS} parameters")]
    TooMany,
    #[error("a parameter is longer than {MAX_VALUE} bytes")]
    ValueTooLong,
    #[error("a parameter is not percent-encoded UTF-8 text without control characters")]
    Encoding,
    #[error("a parameter is given more than once")]
    Repeated,
}

impl Form {
    /// Reads a form or query.
    ///
    /// # Errors
    /// On anything but short, well-encoded, unrepeated parameters.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        if bytes.len() > MAX_BYTES {
            return Err(FormError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FormError::Encoding)?;
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if pairs.len() == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            if name != "resource" && pairs.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Repeated);
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Returns a parameter; an empty one counts as left out (RFC 6749 section 3.1).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns every value of a parameter.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Returns the pairs in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Undoes percent and plus encoding of one name or value.
pub(crate) fn decode(text: &str) -> Result<String, FormError> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).ok_or(FormError::Encoding)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(FormError::Encoding);
        }
        rest = &rest[at + 3..];
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| FormError::Encoding)?;
    if decoded.chars().any(char::is_control) {
        return Err(FormError::Encoding);
    }
    if decoded.len() > MAX_VALUE {
        return Err(FormError::ValueTooLong);
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Form, FormError, MAX_BYTES, MAX_PARAMETERS, MAX_VALUE};

    #[test]
    fn a_form_is_read_once_and_strictly() {
        let many = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        let long = format!("a={}", "x".repeat(MAX_VALUE + 1));
        for (text, error) in [
            ("a=%", FormError::Encoding),
            ("a=%4", FormError::Encoding),
            ("a=%zz", FormError::Encoding),
            ("a=%ff", FormError::Encoding),
            ("a=%00", FormError::Encoding),
            ("a=b%0d%0aSet-Cookie:x", FormError::Encoding),
            ("a=1&a=2", FormError::Repeated),
            ("client_id=1&client%5fid=2", FormError::Repeated),
            (many.as_str(), FormError::TooMany),
            (long.as_str(), FormError::ValueTooLong),
            (&"&".repeat(MAX_BYTES + 1), FormError::TooLong),
        ] {
            assert_eq!(Form::parse(text.as_bytes()), Err(error), "{}", text.chars().take(40).collect::<String>());
        }
        let form = Form::parse("a=b+c&é=%C3%A9&empty=&flag&resource=x&resource=y&&".as_bytes()).unwrap();
        assert_eq!(form.get("a"), Some("b c"));
        assert_eq!(form.get("é"), Some("é"));
        assert_eq!((form.get("empty"), form.get("flag")), (None, None));
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }
}
