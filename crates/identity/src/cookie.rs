//! Cookies of Access and the URLs people return to (reference section 2.1).
//!
//! Decides names, attributes and where a browser may be sent after sign-in. Invariant: no cookie this writes is longer
//! than 4 KB or can end its header, and no URL this accepts leaves the application it was asked for.

use std::fmt::Write as _;
use std::time::Duration;

use url::Url;

use crate::application::{CookieRules, SameSite};

/// The organisation's session on the sign-in host; the application's token on its own.
pub const AUTHORIZATION: &str = "CF_Authorization";
/// The companion that binds a session to a browser; never reaches the origin.
pub const BINDING: &str = "CF_Binding";
/// Guards a sign-in against another site starting it, on the sign-in host.
pub const SIGN_IN: &str = "CF_Session";
/// The same on the application's host.
pub const APP_SIGN_IN: &str = "CF_AppSession";
/// Names the device for second factors and codes by mail.
pub const DEVICE: &str = "CF_Device";
/// The language somebody chose for our pages.
pub const LANGUAGE: &str = "CF_Language";
/// Cookies that are ours and that an origin has no business with.
pub const STRIPPED: [&str; 5] = [BINDING, SIGN_IN, APP_SIGN_IN, DEVICE, LANGUAGE];
/// Longest cookie, name and attributes included, in bytes.
pub const MAX_COOKIE: usize = 4_096;
/// Longest `Cookie` header that is read, in bytes.
pub const MAX_HEADER: usize = 32 * 1_024;
const MAX_RETURN: usize = 2_048;

/// A cookie to set. Always `Secure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie<'a> {
    pub name: &'a str,
    pub value: &'a str,
    pub path: &'a str,
    /// Zero deletes it; `None` ends it with the browser.
    pub lifetime: Option<Duration>,
    pub http_only: bool,
    pub same_site: SameSite,
}

/// A cookie that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    #[error("the cookie is longer than 4 KB")]
    TooLong,
    #[error("the cookie holds a character that would end it")]
    Character,
}

impl<'a> Cookie<'a> {
    /// Makes the cookie of an application's session, with the application's own flags.
    #[must_use]
    pub const fn application(value: &'a str, path: &'a str, lifetime: Duration, rules: CookieRules) -> Self {
        let path = if rules.path_scoped && !path.is_empty() { path } else { "/" };
        Self {
            name: AUTHORIZATION,
            value,
            path,
            lifetime: Some(lifetime),
            http_only: rules.http_only,
            same_site: rules.same_site,
        }
    }

    /// Makes a cookie of the sign-in itself: only for HTTP, on the whole host.
    #[must_use]
    pub const fn own(name: &'a str, value: &'a str, lifetime: Duration, same_site: SameSite) -> Self {
        Self { name, value, path: "/", lifetime: Some(lifetime), http_only: true, same_site }
    }

    /// Writes the value of `Set-Cookie`.
    ///
    /// # Errors
    /// If the cookie is too long or would not be one cookie.
    pub fn header(&self) -> Result<String, CookieError> {
        let value = |b: u8| matches!(b, 0x21 | 0x23..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E);
        let path = self.path.bytes().all(|b| (0x21..0x7F).contains(&b) && b != b';' && b != b',');
        if !self.value.bytes().all(value) || !path || !self.path.starts_with('/') {
            return Err(CookieError::Character);
        }
        let mut text = format!("{}={}; Path={}; Secure", self.name, self.value, self.path);
        if let Some(lifetime) = self.lifetime {
            // Writing to a string cannot fail.
            let _ = write!(text, "; Max-Age={}", lifetime.as_secs());
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        text.push_str(match self.same_site {
            SameSite::None => "; SameSite=None",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
        });
        if text.len() > MAX_COOKIE { Err(CookieError::TooLong) } else { Ok(text) }
    }
}

/// Returns every value of a cookie in a `Cookie` header. A browser sends one name twice when two paths match, and another
/// site on a parent domain can add one, so the caller tries each and none is taken on faith. Other cookies may hold any
/// bytes; what we set is ASCII, so a value that is no text is not ours.
pub fn values<'h>(header: &'h [u8], name: &'h str) -> impl Iterator<Item = &'h str> {
    let header = if header.len() > MAX_HEADER { b"" } else { header };
    pieces(b';', header).filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(std::str::from_utf8(value).ok()?.trim_matches('"'))
    })
}

/// Takes a text apart at each `mark`.
fn pieces(mark: u8, text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        // Tokens are a thousand bytes long, and there is hardly ever a mark in them.
        let (piece, after) = match memchr::memchr(mark, text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(piece)
    })
}

/// Removes cookies that an origin has no business with and leaves the others as they came, byte for byte; `None` when
/// nothing is left. The application's token stays only where `keep_token` says so.
#[must_use]
pub fn for_origin(header: &[u8], keep_token: bool) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = pieces(b';', header).filter(|pair| !is_ours(pair, keep_token)).collect();
    let kept = kept.join(&b';');
    let kept = kept.trim_ascii();
    kept.iter().any(|byte| *byte != b';' && !byte.is_ascii_whitespace()).then(|| kept.to_vec())
}

/// Tells whether a server could take one pair of a `Cookie` header, or the beginning of a `Set-Cookie`, for a cookie of
/// ours. The application's token is none where `keep_token` says so.
///
/// # Security
/// Servers trim names of whatever they take for space (of Latin-1 and Unicode too), some end a cookie at a comma, and
/// browsers send a cookie without a name as its value alone, so `=CF_Binding=x` comes back as `CF_Binding=x`.
#[must_use]
pub fn is_ours(pair: &[u8], keep_token: bool) -> bool {
    let around = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'=');
    pieces(b',', pair).any(|piece| {
        let begins = piece.iter().position(|byte| !around(byte)).unwrap_or(piece.len());
        let name = piece[begins..].split(|byte| *byte == b'=').next().unwrap_or_default();
        let ends = name.iter().rposition(|byte| !around(byte)).map_or(0, |last| last + 1);
        let is = |own: &str| name[..ends] == *own.as_bytes();
        STRIPPED.into_iter().any(is) || (!keep_token && is(AUTHORIZATION))
    })
}

/// Where a browser goes once it is signed in: a path of the application's own host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnUrl(Url);

/// A URL nobody is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address to return to is not one of the application's")]
pub struct ReturnError;

impl ReturnUrl {
    /// Accepts a URL or a path to return to. `origin` is the application's, `https://host[:port]`.
    ///
    /// # Errors
    /// If it would lead anywhere else: another host, scheme or port, credentials, a backslash, a control character.
    pub fn parse(text: &str, origin: &Url) -> Result<Self, ReturnError> {
        // Browsers read a backslash as a slash and drop tabs and line ends, so `/\evil` and `/\t/evil` leave the host.
        if text.len() > MAX_RETURN || text.contains('\\') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(ReturnError);
        }
        if text.starts_with("//") {
            return Err(ReturnError);
        }
        let url = if text.starts_with('/') { origin.join(text) } else { Url::parse(text) };
        let url = url.map_err(|_| ReturnError)?;
        let same = url.scheme() == origin.scheme()
            && url.host() == origin.host()
            && url.port_or_known_default() == origin.port_or_known_default();
        let plain = url.username().is_empty() && url.password().is_none() && matches!(url.scheme(), "http" | "https");
        // `/x//` is an ordinary path; one that begins with two slashes is a host again when it is written alone.
        if same && plain && !url.path().starts_with("//") { Ok(Self(url)) } else { Err(ReturnError) }
    }

    /// Returns the absolute URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the URL's path and query.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.0[url::Position::BeforePath..url::Position::AfterQuery]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use url::Url;

    use super::{AUTHORIZATION, BINDING, Cookie, CookieError, ReturnUrl, for_origin, values};
    use crate::application::{CookieRules, SameSite};

    #[test]
    fn a_cookie_carries_the_applications_flags_and_fits() {
        let rules =
            CookieRules { binding: false, http_only: true, same_site: SameSite::None, path_scoped: true, eager: true };
        let hour = Duration::from_secs(3_600);
        let header = Cookie::application("abc", "/docs", hour, rules).header().unwrap();
        assert_eq!(header, "CF_Authorization=abc; Path=/docs; Secure; Max-Age=3600; HttpOnly; SameSite=None");
        let open = CookieRules { http_only: false, path_scoped: false, same_site: SameSite::Lax, ..rules };
        let header = Cookie::application("abc", "/docs", hour, open).header().unwrap();
        assert_eq!(header, "CF_Authorization=abc; Path=/; Secure; Max-Age=3600; SameSite=Lax");
        let long = "a".repeat(4_096);
        assert_eq!(Cookie::own(BINDING, &long, hour, SameSite::None).header(), Err(CookieError::TooLong));
        for bad in ["a;b", "a b", "a\r\nb", "a,b", "é", "a\"b"] {
            assert_eq!(Cookie::own(BINDING, bad, hour, SameSite::None).header(), Err(CookieError::Character), "{bad}");
        }
    }

    #[test]
    fn cookies_are_read_by_exact_name_whatever_bytes_stand_beside_them() {
        let header =
            b"a=\xff; CF_Authorization=x; xCF_Authorization=n; CF_Authorization=\xe9; CF_Authorization=\"y\"; flag";
        assert_eq!(values(header, AUTHORIZATION).collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn an_origin_gets_the_cookies_that_are_not_ours_as_they_came() {
        /// A header, whether the token stays, and what is left.
        type Case = (&'static [u8], bool, Option<&'static [u8]>);
        let cases: [Case; 9] = [
            (
                b"a=1; CF_Authorization=x; xCF_Authorization=n; CF_Binding=b; flag",
                false,
                Some(b"a=1; xCF_Authorization=n; flag"),
            ),
            (b"a=1; CF_Authorization=x; CF_Binding=b", true, Some(b"a=1; CF_Authorization=x")),
            (b"CF_Binding=b; CF_AppSession=c", true, None),
            (b"CF_Binding=b;  ; ", true, None),
            (b"name=Zo\xeb; CF_Binding=b; a=\xff\xfe", true, Some(b"name=Zo\xeb; a=\xff\xfe")),
            (b"a=1;b=\"2,3\";  c = 4 ;; cf_binding=d", true, Some(b"a=1;b=\"2,3\";  c = 4 ;; cf_binding=d")),
            // What a server may take for a cookie of ours: spaces of Latin-1 and Unicode, commas, quotes, no name.
            (
                b"\xa0CF_Binding=b; \xe2\x80\x83CF_Device=d; CF_Session\xc2\x85=s; \x1fCF_Language=l; e=1",
                true,
                Some(b"e=1"),
            ),
            (b"a=1,CF_Binding=b; =CF_Binding=b; \"CF_Device\"=d; CF_Session; e=1", true, Some(b"e=1")),
            (b"\xa0CF_Authorization =x; e=1", false, Some(b"e=1")),
        ];
        for (header, keep_token, kept) in cases {
            let text = String::from_utf8_lossy(header);
            assert_eq!(for_origin(header, keep_token).as_deref(), kept, "{text}");
        }
    }

    #[test]
    fn nobody_is_sent_away_from_the_application() {
        let origin = Url::parse("https://wiki.example.com").unwrap();
        for (text, accepted) in [
            ("/", true),
            ("/a?b=c#d", true),
            ("/a//b", true),
            ("https://wiki.example.com/a", true),
            ("https://WIKI.example.com:443/a", true),
            ("http://wiki.example.com/a", false),
            ("https://wiki.example.com:8443/a", false),
            ("https://wiki.example.com.evil.example/", false),
            ("https://wiki.example.com@evil.example/", false),
            ("https://a:b@wiki.example.com/", false),
            ("https:evil.example", false),
            ("https:/evil.example", false),
            ("//evil.example", false),
            ("///evil.example", false),
            ("/\\evil.example", false),
            ("\\\\evil.example", false),
            ("/\t/evil.example", false),
            ("/x/..//evil.example", false),
            ("https://wiki.example.com//evil.example", false),
            (" https://evil.example", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("a/b", false),
            ("", false),
        ] {
            assert_eq!(ReturnUrl::parse(text, &origin).is_ok(), accepted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_around_them_carry_our_cookies_to_an_origin(
            before in "[ -~\u{80}-\u{ff}]{0,16}", between in "[ \t\u{85}\u{a0}\u{2003}\"]{0,3}", after in "[ -~]{0,16}",
        ) {
            let header = format!("{before};{between}CF_Binding{between}=secret;{after}");
            let kept = for_origin(header.as_bytes(), false).unwrap_or_default();
            prop_assert!(!String::from_utf8_lossy(&kept).contains("CF_Binding"));
            prop_assert_eq!(values(&kept, BINDING).count(), 0);
        }

        #[test]
        fn an_accepted_url_stays_on_the_host(text in "[/\\\\.:@a-z?#%\\t;-]{0,32}") {
            let origin = Url::parse("https://wiki.example.com").unwrap();
            if let Ok(url) = ReturnUrl::parse(&text, &origin) {
                prop_assert!(url.as_str().starts_with("https://wiki.example.com/"));
                let again = origin.join(url.path_and_query()).unwrap();
                prop_assert_eq!(again.host_str(), Some("wiki.example.com"));
            }
        }
    }
}
