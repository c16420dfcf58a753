//! Where a redirect leads (reference section 1.10): the target, what it keeps of the original URL, and the context
//! parameters. Pure text arithmetic; the status code is the gateway's choice.
//!
//! # Security
//! The host is always the target's: nothing of the original request can change it. An original parameter that carries a
//! context parameter's name is dropped when context is added, so a link cannot forge what the receiver is told.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The context parameters in the order in which they are appended.
pub const CONTEXT_PARAMETERS: [&str; 13] = [
    "cf_user_email",
    "cf_site_uri",
    "cf_request_categories",
    "cf_referer",
    "cf_rule_id",
    "cf_source_ip",
    "cf_device_id",
    "cf_application_name",
    "cf_filter",
    "cf_account_id",
    "cf_query_id",
    "cf_connection_id",
    "cf_request_id",
];

/// Longest target accepted.
pub const MAX_TARGET: usize = 2_048;

/// Longest value of one context parameter, before encoding; the rest is cut off.
const MAX_CONTEXT_VALUE: usize = 1_024;

/// What may stand unencoded in a context parameter: the unreserved characters and those a query permits that cannot end
/// a parameter.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b':')
    .remove(b'/')
    .remove(b',');

/// What must not stand raw in a header value that holds a URL.
const UNSAFE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// What must not stand raw in a path.
const PATH: &AsciiSet = &UNSAFE.add(b'?').add(b'#');

/// A `target_uri`, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    /// Scheme (if the author wrote one) and authority.
    base: String,
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Target {
    /// Reads a target: an `http` or `https` URL, or a host with an optional path and query.
    ///
    /// # Errors
    /// With a message for the author.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be an http or https URL, for example `https://example.com/notice`";
        if text.is_empty() || text.len() > MAX_TARGET {
            return Err("must be 1 to 2048 bytes long");
        }
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err("must not contain spaces or control characters");
        }
        if text.contains('\\') {
            // Browsers read it as a slash, other readers do not, so the host would depend on the reader.
            return Err("must not contain a backslash");
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => (Some(scheme), rest),
            _ => (None, text),
        };
        if scheme.is_some_and(|s| !s.eq_ignore_ascii_case("http") && !s.eq_ignore_ascii_case("https")) {
            return Err(FORM);
        }
        let whole = format!("{}://{rest}", scheme.unwrap_or("https"));
        let url = url::Url::parse(&whole).map_err(|_| FORM)?;
        if url.host_str().is_none_or(|host| scheme.is_none() && !host.contains('.') && host != "localhost") {
            return Err(FORM);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain a user name or password");
        }
        let (rest, fragment) = split(rest, '#');
        let (rest, query) = split(rest, '?');
        let path_start = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_start);
        let authority = if authority.is_ascii() { authority.to_owned() } else { url.authority().to_owned() };
        Ok(Self {
            text: text.to_owned(),
            base: scheme.map_or_else(|| authority.clone(), |scheme| format!("{scheme}://{authority}")),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            fragment: fragment.map(str::to_owned),
        })
    }

    /// Returns the author's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The original URL, as far as a redirect may keep it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Original<'a> {
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
}

/// What the receiver is told; a part that is not known is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    pub user_email: Option<&'a str>,
    pub site_uri: Option<&'a str>,
    pub request_categories: Option<&'a str>,
    pub referer: Option<&'a str>,
    pub rule_id: Option<&'a str>,
    pub source_ip: Option<&'a str>,
    pub device_id: Option<&'a str>,
    pub application_name: Option<&'a str>,
    /// `http`, `dns`, `av` or `l4`.
    pub filter: Option<&'a str>,
    pub account_id: Option<&'a str>,
    pub query_id: Option<&'a str>,
    pub connection_id: Option<&'a str>,
    pub request_id: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// Visits the known parameters in their order.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let values = [
            self.user_email,
            self.site_uri,
            self.request_categories,
            self.referer,
            self.rule_id,
            self.source_ip,
            self.device_id,
            self.application_name,
            self.filter,
            self.account_id,
            self.query_id,
            self.connection_id,
            self.request_id,
        ];
        CONTEXT_PARAMETERS.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Computes the redirect in the author's own form: a target without a scheme stays without one.
#[must_use]
pub fn compose(target: &Target, keep: Option<Original<'_>>, context: Option<&Context<'_>>) -> String {
    let mut out = target.base.clone();
    match keep {
        Some(original) => append_path(&mut out, &target.path, original.path),
        None => out.push_str(&target.path),
    }
    let mut query = Query { out: &mut out, open: false };
    if let Some(own) = &target.query {
        query.append(own);
    }
    if let Some(text) = keep.and_then(|original| original.query) {
        for parameter in text.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = name_of(parameter);
            let collides = target.query.iter().flat_map(|own| own.split('&')).any(|own| name_of(own) == name);
            let forged = context.is_some() && CONTEXT_PARAMETERS.contains(&name.as_ref());
            if !collides && !forged {
                query.append(&utf8_percent_encode(parameter, UNSAFE).to_string());
            }
        }
    }
    for (name, value) in context.into_iter().flat_map(Context::parameters) {
        let end =
            value.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_CONTEXT_VALUE).last();
        query.append(&format!("{name}={}", utf8_percent_encode(&value[..end.unwrap_or(0)], VALUE)));
    }
    if let Some(fragment) = &target.fragment {
        // Writing to a string cannot fail.
        let _ = write!(out, "#{fragment}");
    }
    out
}

/// Computes the value of a `Location` header; a target without a scheme is reached over https.
#[must_use]
pub fn location(
    target: &Target,
    preserve_path_and_query: bool,
    original: Original<'_>,
    context: Option<&Context<'_>>,
) -> String {
    let composed = compose(target, preserve_path_and_query.then_some(original), context);
    let composed = utf8_percent_encode(&composed, UNSAFE).to_string();
    if target.base.contains("://") { composed } else { format!("https://{composed}") }
}

/// Joins both paths with exactly one slash between them.
fn append_path(out: &mut String, target: &str, original: &str) {
    out.push_str(target.strip_suffix('/').unwrap_or(target));
    if !original.starts_with('/') {
        out.push('/');
    }
    out.extend(utf8_percent_encode(original, PATH));
}

/// Appends parameters with the right separator.
struct Query<'o> {
    out: &'o mut String,
    open: bool,
}

impl Query<'_> {
    fn append(&mut self, parameters: &str) {
        if parameters.is_empty() {
            return;
        }
        self.out.push(if self.open { '&' } else { '?' });
        self.out.push_str(parameters);
        self.open = true;
    }
}

/// Returns a parameter's name with its escapes undone, so that `%6B` and `k` collide.
fn name_of(parameter: &str) -> std::borrow::Cow<'_, str> {
    percent_decode_str(parameter.split('=').next().unwrap_or(parameter)).decode_utf8_lossy()
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests {
    use super::{Context, Original, Target, compose, location};

    fn original(text: &str) -> Original<'_> {
        let (path, query) = super::split(text, '?');
        Original { path, query }
    }

    #[test]
    fn the_documented_case_comes_out_to_the_letter() {
        let target = Target::parse("cloudflare.com/redirect-path?querystring=Y").unwrap();
        let context = Context { user_email: Some("user@example.com"), ..Context::default() };
        assert_eq!(
            compose(&target, Some(original("/path/to/page?querystring=X&k=1")), Some(&context)),
            "cloudflare.com/redirect-path/path/to/page?querystring=Y&k=1&cf_user_email=user@example.com"
        );
    }

    #[test]
    fn each_combination_of_options_keeps_what_it_should() {
        let context = Context { user_email: Some("a@b.example"), filter: Some("http"), ..Context::default() };
        for (target, from, preserve, with_context, expected) in [
            ("https://t.example/x?a=1", "/p?b=2", false, false, "https://t.example/x?a=1"),
            ("https://t.example/x?a=1", "/p?b=2", true, false, "https://t.example/x/p?a=1&b=2"),
            (
                "https://t.example/x?a=1",
                "/p?b=2",
                false,
                true,
                "https://t.example/x?a=1&cf_user_email=a@b.example&cf_filter=http",
            ),
            (
                "https://t.example",
                "/p?b=2",
                true,
                true,
                "https://t.example/p?b=2&cf_user_email=a@b.example&cf_filter=http",
            ),
            ("https://t.example/", "/p", true, false, "https://t.example/p"),
            ("https://t.example/x", "/", true, false, "https://t.example/x/"),
            ("https://t.example/x?k=1", "/p?%6B=2&m=3", true, false, "https://t.example/x/p?k=1&m=3"),
            ("https://t.example/x#part", "/p?b=2", true, false, "https://t.example/x/p?b=2#part"),
            ("t.example/x", "/p", true, false, "https://t.example/x/p"),
            ("https://t.example/x", "/p?&&b&c=", true, false, "https://t.example/x/p?b&c="),
            ("https://t.example/x", "//evil.example", true, false, "https://t.example/x//evil.example"),
            ("https://t.example", "@evil.example", true, false, "https://t.example/@evil.example"),
            ("https://b\u{fc}cher.example/x", "/p", false, false, "https://xn--bcher-kva.example/x"),
            ("https://t.example/x", "/a b\r\nX: y", true, false, "https://t.example/x/a%20b%0D%0AX:%20y"),
        ] {
            let shown =
                location(&Target::parse(target).unwrap(), preserve, original(from), with_context.then_some(&context));
            assert_eq!(shown, expected, "{target} from {from}");
        }
    }

    #[test]
    fn a_link_cannot_forge_the_context() {
        let target = Target::parse("https://t.example/").unwrap();
        let context = Context { user_email: Some("real@b.example"), ..Context::default() };
        assert_eq!(
            location(&target, true, original("/?cf_user_email=fake@b.example&cf%5Frule_id=1&x=1"), Some(&context)),
            "https://t.example/?x=1&cf_user_email=real@b.example"
        );
    }

    #[test]
    fn context_values_cannot_end_their_parameter() {
        let target = Target::parse("https://t.example/").unwrap();
        let context = Context { site_uri: Some("https://a.example/?b=1&c#d\r\n"), ..Context::default() };
        assert_eq!(
            location(&target, false, Original::default(), Some(&context)),
            "https://t.example/?cf_site_uri=https://a.example/%3Fb%3D1%26c%23d%0D%0A"
        );
    }

    #[test]
    fn targets_that_are_not_web_addresses_are_refused() {
        for bad in [
            "",
            "javascript:alert(1)",
            "ftp://a.example",
            "https://",
            "https://user:pw@a.example/",
            "a b.example",
            "/path",
            "word",
            "https://a.example/\r\nX:y",
            "https://a.example\\@evil.example/",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
