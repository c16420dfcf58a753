//! Posts to webhooks: what is shown of an address, and how a post is signed (Standard Webhooks 1.0.0).
//!
//! It sends nothing. Invariants: an address is shown without what lets somebody post to it; the signature covers the id, the
//! time and every byte of the body.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use types::Secret;
use url::Url;

use crate::destination::REDACTED;

/// What the text of a key begins with.
const PREFIX: &str = "whsec_";
/// Bytes that a key may have.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of a key that is made here.
const MADE: usize = 32;
/// The longest address, in bytes.
const MAX_ADDRESS: usize = 2_000;

/// A post that is ready to be sent.
pub struct Post {
    /// Where to.
    pub url: Secret<String>,
    /// `webhook-id`, `webhook-timestamp` and, where there is a key, `webhook-signature`.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

/// What posts are signed with.
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and 24 to 64 bytes in base64")]
pub struct NoSigningKey;

impl SigningKey {
    /// Reads a key, `whsec_` and its bytes in base64.
    ///
    /// # Errors
    ///
    /// [`NoSigningKey`] for anything else.
    pub fn parse(text: &Secret<String>) -> Result<Self, NoSigningKey> {
        let bytes = text.expose().strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| LENGTHS.contains(&bytes.len())).ok_or(NoSigningKey)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Writes a key of random bytes as text.
    #[must_use]
    pub fn text_of(bytes: &[u8; MADE]) -> Secret<String> {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes)))
    }
}

/// Makes a post of a body. `id` is the same for each attempt, and holds no dot.
#[must_use]
pub fn post(url: Secret<String>, key: Option<&SigningKey>, id: String, at: Timestamp, body: String) -> Post {
    let at = at.as_second().to_string();
    let signature = key.map(|key| {
        let mut signing = hmac::Context::with_key(&key.0);
        for part in [id.as_str(), ".", &at, ".", &body] {
            signing.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(signing.sign()))
    });
    let mut headers = vec![("webhook-id", id), ("webhook-timestamp", at)];
    headers.extend(signature.map(|signature| ("webhook-signature", signature)));
    Post { url, headers, body }
}

/// Reads an address that is posted to.
///
/// # Errors
///
/// What is wrong with it, without quoting it.
pub fn address(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an address that begins with https://")?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || text.len() > MAX_ADDRESS {
        return Err("must be an address that begins with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a name or a password");
    }
    if url.path().contains(REDACTED) {
        return Err("must be the whole address; what was left out of it is not known for this host");
    }
    Ok(url)
}

/// Returns what is shown of an address: its host, since path and query are often all that is needed to post there. What is
/// shown stays as it is when it is shown again.
#[must_use]
pub fn shown(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return REDACTED.to_owned() };
    url.set_fragment(None);
    if url.path().len() > 1 || url.query().is_some() {
        url.set_query(None);
        url.set_path(REDACTED);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::{SigningKey, address, post, shown};
    use types::Secret;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_post_is_signed_as_the_standard_says() {
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let key = SigningKey::parse(&key).unwrap();
        let at = "2021-02-25T15:02:10Z".parse().unwrap();
        let (url, id) = (Secret::new("https://example.com/".to_owned()), "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned());
        let post = post(url, Some(&key), id, at, r#"{"test": 2432232314}"#.to_owned());
        assert_eq!(post.headers[1], ("webhook-timestamp", "1614265330".to_owned()));
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned();
        assert_eq!(post.headers[2], ("webhook-signature", signature));
    }

    #[test]
    fn keys_are_24_to_64_bytes_in_base64() {
        let parsed = |text: &str| SigningKey::parse(&Secret::new(text.to_owned())).is_ok();
        assert!(parsed(SigningKey::text_of(&[7; 32]).expose()));
        for wrong in
            ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_MfKQ9r8G"]
        {
            assert!(!parsed(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_shown_without_what_lets_somebody_post_there() {
        for (text, expected) in [
            ("https://hooks.example.com/services/T0/B0/secret", "https://hooks.example.com/REDACTED"),
            ("https://example.com:8443/?key=secret", "https://example.com:8443/REDACTED"),
            ("https://example.com/#secret", "https://example.com/"),
            ("https://example.com", "https://example.com/"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(shown(expected), expected);
            assert!(address(text).is_ok());
        }
        assert!(address("https://hooks.example.com/REDACTED").is_err());
    }
}
