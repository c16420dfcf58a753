//! Turns requests and responses into protocol messages and back. Everything from a process is checked here.
//!
//! Framing is not a script's business: `Content-Length`, `Transfer-Encoding`, `Connection` and the like are dropped, and
//! whoever sends the message writes its own. Invariant: what leaves here is a well-formed message within bounds.

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use url::Url;

use crate::host::HostError;
use crate::protocol::{BodyId, BodySource, HeaderList, OutgoingRequest, RequestHead, ResponseHead};

/// Longest URL, in bytes.
pub(crate) const MAX_URL: usize = 16 << 10;
/// Most header fields of one message, and their bytes in all.
const MAX_HEADERS: usize = 512;
const MAX_HEADER_BYTES: usize = 128 << 10;

/// Fields that say how a message is framed on one connection.
const FRAMING: [HeaderName; 9] = [
    CONTENT_LENGTH,
    http::header::CONNECTION,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::TE,
    http::header::TRAILER,
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

/// Describes a request to the script.
pub(crate) fn request_head(request: &http::request::Parts, cf: &str, body: Option<BodyId>) -> RequestHead {
    RequestHead {
        method: request.method.as_str().to_owned(),
        url: request.uri.to_string(),
        headers: header_list(&request.headers),
        cf: cf.to_owned(),
        body,
    }
}

/// Describes a response to the script.
pub(crate) fn response_head(
    response: &http::response::Parts,
    body: BodySource,
    url: &str,
    redirected: bool,
) -> ResponseHead {
    ResponseHead {
        status: response.status.as_u16(),
        status_text: response.status.canonical_reason().unwrap_or_default().to_owned(),
        headers: header_list(&response.headers),
        body,
        url: url.to_owned(),
        redirected,
    }
}

fn header_list(headers: &HeaderMap) -> HeaderList {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// A request as a script made it, without its body.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl Outgoing {
    /// Checks what a script wants to send.
    pub(crate) fn parse(request: &OutgoingRequest) -> Result<Self, HostError> {
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| HostError::type_error("the method is not a token"))?;
        if method == Method::CONNECT || method == Method::TRACE || method.as_str().eq_ignore_ascii_case("track") {
            return Err(HostError::type_error(format!("{method} is not a method scripts may use")));
        }
        Ok(Self { method, url: parse_url(&request.url)?, headers: header_map(&request.headers, false)? })
    }

    /// Builds the request.
    pub(crate) fn build<B>(&self, body: B) -> Result<http::Request<B>, HostError> {
        let uri = Uri::try_from(self.url.as_str()).map_err(|_| HostError::type_error("the URL is not valid"))?;
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// Parses an absolute `http` or `https` URL without credentials or fragment.
pub(crate) fn parse_url(text: &str) -> Result<Url, HostError> {
    if text.len() > MAX_URL {
        return Err(HostError::type_error("the URL is too long"));
    }
    let mut url = Url::parse(text).map_err(|_| HostError::type_error("the URL is not valid"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(HostError::type_error("only http and https URLs can be fetched"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HostError::type_error("a URL with credentials cannot be fetched"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// A script's response, without its body. `head_request` keeps a `Content-Length` that describes what is not sent.
pub(crate) fn response_parts(head: &ResponseHead, head_request: bool) -> Result<http::Response<()>, HostError> {
    let status = StatusCode::from_u16(head.status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| HostError::type_error(format!("{} is not a response status", head.status)))?;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless && !matches!(head.body, BodySource::None) {
        return Err(HostError::type_error(format!("a response with status {} has no body", head.status)));
    }
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = header_map(&head.headers, head_request)?;
    Ok(response)
}

fn header_map(list: &HeaderList, keep_length: bool) -> Result<HeaderMap, HostError> {
    let bytes: usize = list.iter().map(|(name, value)| name.len() + value.len()).sum();
    if list.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(HostError::type_error("the headers are too large"));
    }
    let mut headers = HeaderMap::with_capacity(list.len());
    for (name, value) in list {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| HostError::type_error("a header name is not a token"))?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| HostError::type_error(format!("the value of header {name} is not valid")))?;
        if name == HOST || (FRAMING.contains(&name) && !(keep_length && name == CONTENT_LENGTH)) {
            continue;
        }
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::{Outgoing, parse_url, response_parts};
    use crate::protocol::{BodySource, OutgoingRequest, Redirect, ResponseHead};

    fn outgoing(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<http::Request<()>, String> {
        let request = OutgoingRequest {
            method: method.into(),
            url: url.into(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            body: BodySource::None,
            redirect: Redirect::Follow,
        };
        Outgoing::parse(&request).and_then(|outgoing| outgoing.build(())).map_err(|error| error.to_string())
    }

    #[test]
    fn requests_that_are_not_well_formed_are_refused() {
        for (method, url, headers) in [
            ("GET", "ftp://example.com/", &[][..]),
            ("GET", "file:///etc/passwd", &[]),
            ("GET", "https://user:secret@example.com/", &[]),
            ("GET", "/relative", &[]),
            ("GET", "https://", &[]),
            ("CONNECT", "https://example.com/", &[]),
            ("TRACE", "https://example.com/", &[]),
            ("Track", "https://example.com/", &[]),
            ("GET /\r\nX:", "https://example.com/", &[]),
            ("", "https://example.com/", &[]),
            ("GET", "https://example.com/", &[("a b", "c")]),
            ("GET", "https://example.com/", &[("a", "b\r\nc: d")]),
            ("GET", "https://example.com/", &[("", "b")]),
        ] {
            assert!(outgoing(method, url, headers).is_err(), "{method} {url} {headers:?}");
        }
        assert!(parse_url(&format!("https://example.com/{}", "x".repeat(20_000))).is_err());
        let many: Vec<_> = (0..600).map(|_| ("a", "b")).collect();
        assert!(outgoing("GET", "https://example.com/", &many).is_err());
    }

    #[test]
    fn framing_and_host_are_not_the_scripts_business() {
        let headers = [
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-secret"),
            ("host", "evil.example"),
            ("upgrade", "websocket"),
            ("keep-alive", "1"),
            ("x-kept", "1"),
            ("x-kept", "2"),
        ];
        let request = outgoing("PATCH", "https://example.com/a b?c#d", &headers).unwrap();
        assert_eq!(request.uri(), "https://example.com/a%20b?c");
        assert_eq!(request.headers().len(), 2);
        assert_eq!(request.headers().get_all("x-kept").iter().count(), 2);
    }

    #[test]
    fn responses_have_a_status_that_ends_an_exchange() {
        let head = |status, body| ResponseHead {
            status,
            status_text: String::new(),
            headers: vec![("content-length".into(), b"7".to_vec())],
            body,
            url: String::new(),
            redirected: false,
        };
        for (status, body, valid) in [
            (200, BodySource::Inline(b"x".to_vec()), true),
            (599, BodySource::None, true),
            (101, BodySource::None, false),
            (100, BodySource::None, false),
            (600, BodySource::None, false),
            (0, BodySource::None, false),
            (204, BodySource::None, true),
            (204, BodySource::Inline(b"x".to_vec()), false),
            (304, BodySource::Host(2), false),
        ] {
            let head = head(status, body);
            assert_eq!(response_parts(&head, false).is_ok(), valid, "{head:?}");
        }
        let head = head(200, BodySource::None);
        assert!(response_parts(&head, false).unwrap().headers().is_empty());
        assert_eq!(response_parts(&head, true).unwrap().headers()["content-length"], "7");
    }
}
