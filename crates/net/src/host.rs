//! What a client may ask to reach: a host name in its one spelling or an address, a port, a scheme.
//!
//! It decides which texts are hosts. It does not resolve them and does not decide whether they may be reached.
//! Invariant: a [`Host::Name`] is lower case, in A-label form, without a trailing dot, never an address in disguise
//! (`127.1`, `0x7f000001`), so two spellings of one host never meet a policy, a cache or a certificate twice.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

/// The longest name DNS can carry in text form, without the final dot.
const MAX_NAME: usize = 253;

/// A host as it is matched, resolved, verified and logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    Name(Arc<str>),
    Address(IpAddr),
}

/// Why a text is not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("host is empty")]
    Empty,
    #[error("host name is longer than DNS allows")]
    TooLong,
    #[error("host name contains a character that is not allowed")]
    Character,
    #[error("host looks like an address but is not one")]
    Address,
}

impl Host {
    /// Parses a host as it stands in a URL, a `Host` header, a CONNECT target or an SNI extension.
    ///
    /// # Errors
    ///
    /// When the text is no name DNS could carry and no address.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Address)?;
            return Ipv6Addr::from_str(inner)
                .map(|address| Self::Address(address.into()))
                .map_err(|_| HostError::Address);
        }
        if let Ok(address) = IpAddr::from_str(text) {
            return Ok(Self::Address(address));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        // The ASCII check bounds what the IDNA tables are asked to look at.
        if text.len() > MAX_NAME * 4 {
            return Err(HostError::TooLong);
        }
        let name = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| HostError::Character)?
        };
        check_name(&name)?;
        Ok(Self::Name(name.into()))
    }

    /// Returns the name, or `None` for an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    /// Returns the address, or `None` for a name.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Address(address) => Some(*address),
        }
    }
}

/// Refuses what no certificate, resolver or log should meet. Underscores are allowed: real hosts have them.
fn check_name(name: &str) -> Result<(), HostError> {
    if name.len() > MAX_NAME {
        return Err(HostError::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(HostError::Character);
        }
        if label.len() > 63 {
            return Err(HostError::TooLong);
        }
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(HostError::Character);
        }
    }
    // The URL standard reads a name that ends in a number as an IPv4 address in one of several bases; getaddrinfo does
    // too. No top-level domain is a number, so such a name is only ever an attempt to hide an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostError::Address);
    }
    Ok(())
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// Prints the host as it stands in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Whether the leg to the origin is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where a request goes: scheme, host and port, all explicit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
}

impl Origin {
    pub const fn new(scheme: Scheme, host: Host, port: u16) -> Self {
        Self { scheme, host, port }
    }

    /// Returns `host` or `host:port`, leaving out the scheme's own port, as a `Host` header carries it.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, HostError, Origin, Scheme};

    #[test]
    fn every_spelling_of_a_host_becomes_one() {
        let long_label = "a".repeat(64);
        let long_name = format!("{}.example", "a.".repeat(130));
        for (text, expected) in [
            ("Example.COM", Ok("example.com")),
            ("example.com.", Ok("example.com")),
            ("bücher.example", Ok("xn--bcher-kva.example")),
            ("BÜCHER.example", Ok("xn--bcher-kva.example")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("_dmarc.example.com", Ok("_dmarc.example.com")),
            ("localhost", Ok("localhost")),
            ("192.0.2.1", Ok("192.0.2.1")),
            ("2001:db8::1", Ok("[2001:db8::1]")),
            ("[2001:DB8::1]", Ok("[2001:db8::1]")),
            ("", Err(HostError::Empty)),
            (".", Err(HostError::Empty)),
            ("a..b", Err(HostError::Character)),
            ("a b", Err(HostError::Character)),
            ("a/b", Err(HostError::Character)),
            ("a:80", Err(HostError::Character)),
            ("a\0b", Err(HostError::Character)),
            ("user@host", Err(HostError::Character)),
            ("*.example.com", Err(HostError::Character)),
            ("[::1", Err(HostError::Address)),
            ("[192.0.2.1]", Err(HostError::Address)),
            ("127.1", Err(HostError::Address)),
            ("2130706433", Err(HostError::Address)),
            ("0x7f000001", Err(HostError::Address)),
            ("0x7f.0.0.0x1", Err(HostError::Address)),
            ("0177.0.0.01", Err(HostError::Address)),
            ("256.256.256.256", Err(HostError::Address)),
            ("127.0.0.1.", Err(HostError::Address)),
            (long_label.as_str(), Err(HostError::TooLong)),
            (long_name.as_str(), Err(HostError::TooLong)),
        ] {
            assert_eq!(Host::parse(text).map(|host| host.to_string()), expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn authority_leaves_out_only_the_schemes_own_port() {
        for (scheme, port, expected) in [
            (Scheme::Https, 443, "example.com"),
            (Scheme::Https, 8443, "example.com:8443"),
            (Scheme::Https, 80, "example.com:80"),
            (Scheme::Http, 80, "example.com"),
        ] {
            assert_eq!(Origin::new(scheme, Host::parse("example.com").unwrap(), port).authority(), expected);
        }
    }
}
