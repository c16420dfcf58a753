//! Decides whether one HTTP/1 request head is unambiguous, from its raw bytes, before any parser normalises it.
//!
//! It deliberately does not build a request: hyper does, after this check. Invariant: a head that two implementations
//! could frame differently (RFC 9112 section 6.3, 11.2) is a fault, whatever hyper would make of it. Pure, no allocation.

/// Why a head is refused. The number is carried to the page by the synthetic request line of `framing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadFault {
    #[error("the request line is not `METHOD target HTTP/1.x`")]
    RequestLine,
    #[error("a line ends in a bare line feed or holds a bare carriage return")]
    BareNewline,
    #[error("a header line is folded onto the next one")]
    ObsoleteFold,
    #[error("a header name holds a character that names may not have")]
    HeaderName,
    #[error("a header value holds a control character")]
    HeaderValue,
    #[error("there are both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    #[error("Content-Length is given more than once")]
    DuplicateLength,
    #[error("Content-Length is not a plain decimal number")]
    BadLength,
    #[error("Transfer-Encoding is something other than chunked, or is sent with HTTP/1.0")]
    BadEncoding,
    #[error("Host is missing")]
    MissingHost,
    #[error("Host is given more than once or is not a host name")]
    BadHost,
    #[error("the target names one host and the Host header another")]
    HostMismatch,
    #[error("the head is larger than this listener accepts")]
    TooLarge,
    #[error("there are more header fields than this listener accepts")]
    TooManyFields,
    #[error("the head did not arrive in time")]
    TooSlow,
    #[error("a header field of HTTP/1 connections was sent over HTTP/2")]
    ConnectionField,
}

impl HeadFault {
    /// Every fault, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::RequestLine,
        Self::BareNewline,
        Self::ObsoleteFold,
        Self::HeaderName,
        Self::HeaderValue,
        Self::LengthAndEncoding,
        Self::DuplicateLength,
        Self::BadLength,
        Self::BadEncoding,
        Self::MissingHost,
        Self::BadHost,
        Self::HostMismatch,
        Self::TooLarge,
        Self::TooManyFields,
        Self::TooSlow,
        Self::ConnectionField,
    ];

    /// Returns the number of this fault.
    #[must_use]
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|fault| *fault == self).unwrap_or(0)
    }

    /// Returns the HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyFields => 431,
            Self::TooSlow => 408,
            Self::RequestLine
            | Self::BareNewline
            | Self::ObsoleteFold
            | Self::HeaderName
            | Self::HeaderValue
            | Self::LengthAndEncoding
            | Self::DuplicateLength
            | Self::BadLength
            | Self::BadEncoding
            | Self::MissingHost
            | Self::BadHost
            | Self::HostMismatch
            | Self::ConnectionField => 400,
        }
    }
}

/// What follows the head on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// A body of this many bytes, then the next head.
    Length(u64),
    /// A chunked body, then the next head.
    Chunked,
    /// Not HTTP/1 any more if the request is granted: CONNECT or an upgrade.
    Other,
}

/// Finds the end of the head that starts at `bytes[0]`: the index after its empty line.
///
/// Looks for the first line that is empty under the laxest reading, so that a bare line feed cannot hide a head.
#[must_use]
pub fn end(bytes: &[u8], from: usize) -> Option<usize> {
    // An end that straddles two reads starts up to three bytes before the new ones.
    let mut at = from.saturating_sub(3);
    while let Some(newline) = memchr::memchr(b'\n', bytes.get(at..)?) {
        let next = at + newline + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// Checks a complete head, empty line included, and says what follows it.
///
/// # Errors
/// The first fault, in reading order.
///
/// # Security
/// Request smuggling needs two readings of one head; every header that frames a message has exactly one here.
pub fn check(head: &[u8], fields: usize) -> Result<Following, HeadFault> {
    let mut lines = Lines { rest: head };
    let line = RequestLine::parse(lines.next().ok_or(HeadFault::RequestLine)??)?;
    let mut seen = Seen::default();
    for count in 0.. {
        let text = lines.next().ok_or(HeadFault::BareNewline)??;
        if text.is_empty() {
            break;
        }
        if count >= fields {
            return Err(HeadFault::TooManyFields);
        }
        seen.field(text)?;
    }
    seen.finish(&line)
}

/// Lines that end in CR LF, without it.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], HeadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let newline = memchr::memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at(newline);
        self.rest = rest.get(1..).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r") else { return Some(Err(HeadFault::BareNewline)) };
        Some(if memchr::memchr(b'\r', line).is_some() { Err(HeadFault::BareNewline) } else { Ok(line) })
    }
}

/// Says whether one of the bytes is such a one. Looks at all of them, many at once: a cookie is some thousands, and hardly
/// ever one stops it.
fn has(bytes: &[u8], such: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, byte| found | such(*byte))
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    http_1_1: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, HeadFault> {
        let mut parts = line.split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadFault::RequestLine);
        };
        let http_1_1 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(HeadFault::RequestLine),
        };
        let odd = |b: u8| b <= b' ' || b == 0x7f;
        if method.is_empty() || !method.iter().all(|b| is_token(*b)) || target.is_empty() || has(target, odd) {
            return Err(HeadFault::RequestLine);
        }
        Ok(Self { method, target, http_1_1 })
    }

    /// Returns the authority that the target itself names, if it does.
    fn authority(&self) -> Option<&'a [u8]> {
        if self.method == b"CONNECT" {
            return Some(self.target);
        }
        let at = self.target.windows(3).position(|window| window == b"://")?;
        // A path may hold `://`; a scheme precedes every slash.
        if self.target.iter().position(|b| *b == b'/')? < at {
            return None;
        }
        let rest = self.target.get(at + 3..)?;
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        rest.get(..end)
    }

    fn is_https(&self) -> bool {
        self.target.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"https://"))
    }
}

/// The header fields that frame or route a message.
#[derive(Default)]
struct Seen<'a> {
    length: Option<u64>,
    encoding: bool,
    host: Option<&'a [u8]>,
    upgrade: bool,
}

impl<'a> Seen<'a> {
    fn field(&mut self, line: &'a [u8]) -> Result<(), HeadFault> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadFault::ObsoleteFold);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(HeadFault::HeaderName)?;
        let (name, value) = line.split_at(colon);
        // A space before the colon is among the characters that no token has (RFC 9112 section 5.1).
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(HeadFault::HeaderName);
        }
        let value = trim(value.get(1..).unwrap_or_default());
        if has(value, |b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err(HeadFault::HeaderValue);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // One coding, once: a list or a repetition is where implementations differ.
                if self.encoding || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadFault::BadEncoding);
                }
                self.encoding = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), HeadFault> {
        if self.host.is_some() || !is_authority(value) {
            return Err(HeadFault::BadHost);
        }
        self.host = Some(value);
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.length.is_some() {
            return Err(HeadFault::DuplicateLength);
        }
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(HeadFault::BadLength);
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn finish(self, line: &RequestLine<'_>) -> Result<Following, HeadFault> {
        if self.length.is_some() && self.encoding {
            return Err(HeadFault::LengthAndEncoding);
        }
        if self.encoding && !line.http_1_1 {
            return Err(HeadFault::BadEncoding);
        }
        if line.http_1_1 && self.host.is_none() {
            return Err(HeadFault::MissingHost);
        }
        if let Some(authority) = line.authority() {
            if !is_authority(authority) || authority.is_empty() {
                return Err(HeadFault::BadHost);
            }
            let connect = line.method == b"CONNECT";
            let port: &[u8] = if line.is_https() || connect { b"443" } else { b"80" };
            if let Some(host) = self.host
                && !same_authority(authority, host, port, connect)
            {
                return Err(HeadFault::HostMismatch);
            }
        }
        Ok(if line.method == b"CONNECT" || self.upgrade {
            Following::Other
        } else if self.encoding {
            Following::Chunked
        } else {
            Following::Length(self.length.unwrap_or(0))
        })
    }
}

/// Compares two authorities, a missing port being `port`; CONNECT clients may leave the port out of Host.
fn same_authority(target: &[u8], host: &[u8], port: &[u8], any_port: bool) -> bool {
    let (target_name, target_port) = split_port(target);
    let (host_name, host_port) = split_port(host);
    target_name.eq_ignore_ascii_case(host_name)
        && (target_port.unwrap_or(port) == host_port.unwrap_or(port) || (any_port && host_port.is_none()))
}

fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match authority.iter().rposition(|b| *b == b':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some(at) if !authority.get(at..).is_some_and(|rest| rest.contains(&b']')) => {
            let (name, port) = authority.split_at(at);
            (name, port.get(1..).filter(|digits| !digits.is_empty()))
        }
        _ => (authority, None),
    }
}

/// Accepts `host`, `host:port` and `[v6]:port`; no user information, no spaces, no path. Empty is a valid Host.
fn is_authority(value: &[u8]) -> bool {
    let (name, port) = split_port(value);
    let port_is_valid = port.is_none_or(|digits| digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit));
    let name_is_valid = match name.strip_prefix(b"[") {
        Some(rest) => rest
            .strip_suffix(b"]")
            .is_some_and(|v6| !v6.is_empty() && v6.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))),
        None => name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~' | b'%')),
    };
    value.len() <= 512 && port_is_valid && name_is_valid
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9110 section 5.6.2.
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::{Following, HeadFault, check, end};

    #[test]
    fn ambiguous_heads_are_refused_and_plain_ones_framed() {
        use Following::{Chunked, Length, Other};
        let table: &[(&str, Result<Following, HeadFault>)] = &[
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Length(0))),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Length(0))),
            ("GET http://a/?x=http://b HTTP/1.1\r\nHost: A:80\r\n\r\n", Ok(Length(0))),
            ("GET /?u=http://b HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Length(0))),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", Ok(Length(12))),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok(Chunked)),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Ok(Other)),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Other)),
            ("CONNECT a:8443 HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Other)),
            ("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", Ok(Other)),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", Ok(Other)),
            ("GET / HTTP/1.0\r\n\r\n", Ok(Length(0))),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(HeadFault::LengthAndEncoding),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Err(HeadFault::LengthAndEncoding),
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Err(HeadFault::DuplicateLength),
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Err(HeadFault::BadLength)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Err(HeadFault::BadLength)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", Err(HeadFault::BadLength)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Err(HeadFault::BadLength)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Err(HeadFault::BadEncoding)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(HeadFault::BadEncoding)),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(HeadFault::BadEncoding),
            ),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadFault::BadEncoding)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", Err(HeadFault::ObsoleteFold)),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(HeadFault::ObsoleteFold)),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(HeadFault::HeaderName)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Err(HeadFault::HeaderName)),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", Err(HeadFault::HeaderName)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Err(HeadFault::HeaderValue)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Err(HeadFault::BareNewline)),
            ("GET / HTTP/1.1\nHost: a\n\n", Err(HeadFault::BareNewline)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Err(HeadFault::BareNewline)),
            ("GET / HTTP/1.1\r\n\r\n", Err(HeadFault::MissingHost)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(HeadFault::BadHost)),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(HeadFault::BadHost)),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(HeadFault::BadHost)),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadFault::BadHost)),
            ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Err(HeadFault::HostMismatch)),
            ("GET http://a/ HTTP/1.1\r\nHost: a:81\r\n\r\n", Err(HeadFault::HostMismatch)),
            ("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", Err(HeadFault::HostMismatch)),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadFault::RequestLine)),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Err(HeadFault::RequestLine)),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(HeadFault::RequestLine)),
            ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadFault::RequestLine)),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadFault::RequestLine)),
        ];
        for (text, expected) in table {
            assert_eq!(check(text.as_bytes(), 200), *expected, "{text:?}");
        }
    }

    #[test]
    fn more_fields_than_the_bound_are_refused() {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5));
        assert_eq!(check(head.as_bytes(), 6), Ok(Following::Length(0)));
        assert_eq!(check(head.as_bytes(), 5), Err(HeadFault::TooManyFields));
    }

    #[test]
    fn the_end_is_found_however_the_bytes_are_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let length = head.len() - 4;
        assert_eq!(end(head, 0), Some(length));
        for cut in 1..length {
            assert_eq!(end(&head[..cut], 0), None, "{cut}");
            assert_eq!(end(head, cut), Some(length), "{cut}");
        }
        assert_eq!(end(b"a\n\nb", 0), Some(3));
        assert_eq!(end(b"a\r\n\n", 0), Some(4));
    }
}
