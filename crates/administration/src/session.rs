//! The browser's side of a sign-in: the cookie and the CSRF token.
//!
//! The cookie holds an opaque secret; what it means is in the store, under its hash. The CSRF token is derived from that
//! secret, so it needs no state, ends with the session and cannot be made by someone who does not hold the cookie.
//! Invariant: over https the cookie has the `__Host-` prefix, so no other host or path can set it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use types::Secret;

/// The header in which scripts of our own pages show the CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// The form field in which forms of our own pages show it.
pub const CSRF_FIELD: &str = "csrf";

const fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-portunus" } else { "portunus" }
}

/// Returns the session secret a browser sent; two cookies of the name are none. Cookies of others on this host, whatever
/// its port, may hold any bytes.
#[must_use]
pub fn cookie(headers: &HeaderMap, https: bool) -> Option<Secret<String>> {
    let mut found = None;
    for line in headers.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let own = pair.trim_ascii().strip_prefix(cookie_name(https).as_bytes());
            if let Some(value) = own.and_then(|rest| rest.strip_prefix(b"="))
                && found.replace(value).is_some()
            {
                return None;
            }
        }
    }
    found.and_then(|value| Some(Secret::new(std::str::from_utf8(value).ok()?.to_owned())))
}

/// The `Set-Cookie` value that signs a browser in.
#[must_use]
pub fn set_cookie(secret: &Secret<String>, lifetime: std::time::Duration, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let (name, secret, seconds) = (cookie_name(https), secret.expose(), lifetime.as_secs());
    let text = format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The `Set-Cookie` value that signs a browser out.
#[must_use]
pub const fn clear_cookie(https: bool) -> HeaderValue {
    if https {
        HeaderValue::from_static("__Host-portunus=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure")
    } else {
        HeaderValue::from_static("portunus=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
    }
}

/// Derives the CSRF token of a session.
#[must_use]
pub fn csrf_token(secret: &Secret<String>) -> String {
    let text = format!("portunus csrf v1\n{}", secret.expose());
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Compares without telling by time how much is equal.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderMap, HeaderValue, header};
    use types::Secret;

    use super::{cookie, csrf_token, equal, set_cookie};

    #[test]
    fn the_cookie_that_was_set_is_read_back() {
        for https in [false, true] {
            let secret = Secret::new("ptn_secret".to_owned());
            let set = set_cookie(&secret, Duration::from_secs(60), https).unwrap();
            let text = set.to_str().unwrap();
            assert!(text.contains("HttpOnly") && text.contains("SameSite=Lax"));
            assert_eq!(text.contains("; Secure"), https);
            assert_eq!(text.starts_with("__Host-"), https);
            let pair = text.split(';').next().unwrap().to_owned();
            for (sent, found) in [
                (pair.clone(), true),
                (format!("other=1; {pair}"), true),
                (format!("{pair}; {pair}"), false),
                ("other=1".to_owned(), false),
                (format!("name=Zoë; {pair}"), true),
                (format!("{pair}ë"), false),
            ] {
                let mut headers = HeaderMap::new();
                headers.insert(header::COOKIE, HeaderValue::from_str(&sent).unwrap());
                let read = cookie(&headers, https);
                assert_eq!(read.is_some_and(|read| read.expose() == secret.expose()), found, "{sent}");
            }
        }
    }

    #[test]
    fn a_csrf_token_belongs_to_one_session() {
        let [a, b] = ["a", "b"].map(|text| csrf_token(&Secret::new(text.to_owned())));
        assert_ne!(a, b);
        assert!(equal(a.as_bytes(), csrf_token(&Secret::new("a".to_owned())).as_bytes()));
        assert!(!equal(a.as_bytes(), b.as_bytes()));
    }
}
