//! Who is asking: a person by proxy credentials, a proxy endpoint by source address, or nobody.
//!
//! It decides identity only; what an identity may do is policy's. Invariant: a credential that is sent and is not valid
//! never falls back to a weaker identity, and a valid credential is never locked out by failures of its neighbours.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use http::HeaderValue;
use jiff::Timestamp;
use moka::sync::Cache;
use policy::action::CheckSession;
use types::ProxyEndpointId;

/// A person as rules see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// The user id, as text.
    pub id: String,
    /// Lower case.
    pub email: String,
    pub name: String,
    pub group_ids: Vec<String>,
    pub group_names: Vec<String>,
    pub group_emails: Vec<String>,
}

/// The SHA-256 of a proxy token; the token itself is known to its owner alone.
pub type TokenHash = [u8; 32];

/// Every person with a proxy token.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_token: HashMap<TokenHash, Holder>,
}

#[derive(Debug, Clone)]
struct Holder {
    person: Arc<Person>,
    issued: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// One proxy token.
#[derive(Debug, Clone)]
pub struct Token {
    pub hash: TokenHash,
    pub person: Arc<Person>,
    /// When its person was given it, which is the last thing known of them signing in.
    pub issued: Option<Timestamp>,
    /// When it stops being good; none is never.
    pub until: Option<Timestamp>,
}

impl Directory {
    /// Makes a directory of tokens that do not expire.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = (TokenHash, Arc<Person>)>) -> Self {
        Self::of(tokens.into_iter().map(|(hash, person)| Token { hash, person, issued: None, until: None }))
    }

    /// Makes a directory of tokens with what is known of their age.
    #[must_use]
    pub fn of(tokens: impl IntoIterator<Item = Token>) -> Self {
        let entries = tokens.into_iter().map(|token| {
            let Token { hash, person, issued, until } = token;
            (hash, Holder { person, issued, until })
        });
        Self { by_token: entries.collect() }
    }

    /// Returns the SHA-256 of a token, as the store keeps it.
    #[must_use]
    pub fn hash(token: &str) -> TokenHash {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let mut hash = [0; 32];
        // A SHA-256 digest is 32 bytes long, so the lengths agree.
        hash.copy_from_slice(digest.as_ref());
        hash
    }

    /// Finds the person whose address and token these are, while the token is good.
    #[must_use]
    pub fn find(&self, email: &str, token: &str, now: Timestamp) -> Option<&Arc<Person>> {
        let holder = self.holder(&Self::hash(token), now).filter(|holder| holder.is(email))?;
        Some(&holder.person)
    }

    /// Finds who holds the token with this hash, while it is good.
    fn holder(&self, hash: &TokenHash, now: Timestamp) -> Option<&Holder> {
        self.by_token.get(hash).filter(|holder| holder.until.is_none_or(|until| now < until))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_token.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }
}

impl Holder {
    fn is(&self, email: &str) -> bool {
        self.person.email.eq_ignore_ascii_case(email)
    }
}

/// A proxy endpoint: whom it serves without or with credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: ProxyEndpointId,
    /// What `proxy.endpoint` reads.
    pub subdomain: String,
    pub kind: EndpointKind,
    /// Sources served without credentials; for kind `ip` only.
    pub ips: Vec<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// Whoever comes from a listed address, as nobody in particular.
    Ip,
    /// People with credentials.
    Identity,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is not `address` or `address/prefix`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address range such as 192.0.2.0/24")]
pub struct NetworkError(String);

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let fail = || NetworkError(text.chars().take(80).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fail())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) => digits.parse().ok().filter(|prefix| *prefix <= widest).ok_or_else(fail)?,
        };
        Ok(Self { address, prefix })
    }
}

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Who a request comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) person: Option<Arc<Person>>,
    /// The subdomain of the proxy endpoint, if it came through one.
    pub(crate) endpoint: Option<Arc<str>>,
    /// The hash of the token that proved who it is.
    pub(crate) token: Option<TokenHash>,
    /// When that token was issued.
    pub(crate) issued: Option<Timestamp>,
}

impl Caller {
    /// Says why the session that `check` asks for is not there: the time since the proxy token was issued is its age, and
    /// without a token there is none.
    pub(crate) fn session_fault(&self, check: Option<CheckSession>, now: Timestamp) -> Option<String> {
        let check = check.filter(|check| check.enforce)?;
        let limit = words(check.duration);
        match (self.issued, &self.token) {
            (Some(issued), _) => {
                let age = now.duration_since(issued).unsigned_abs();
                let fresh = issued <= now && age <= check.duration;
                (!fresh).then(|| {
                    format!(
                        "It asks for a sign-in within the last {limit}, and this proxy token was issued {} ago.",
                        words(age)
                    )
                })
            }
            (None, Some(_)) => Some(format!(
                "It asks for a sign-in within the last {limit}, and nothing says when this proxy token was issued."
            )),
            (None, None) => Some(format!(
                "It asks for a sign-in within the last {limit}, and this request comes without a proxy token."
            )),
        }
    }
}

/// A duration in its two largest units, as in `1 d 2 h`.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let shown: Vec<String> = units
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if shown.is_empty() { "0 s".to_owned() } else { shown.join(" ") }
}

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credential, and this source needs one.
    Missing,
    /// The credential is malformed, unknown or belongs to another address.
    Wrong,
    /// Wrong, and too often.
    TooMany,
    /// What opened the tunnel is not good any more.
    Withdrawn,
}

/// What the account asks of callers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requirements {
    pub(crate) trust_loopback: bool,
    pub(crate) now: Timestamp,
}

/// Decides who sends a request inside a tunnel that `opener` opened: the same, as long as what opened it is still good.
pub(crate) fn again(
    people: &Directory,
    endpoints: &[Endpoint],
    source: IpAddr,
    opener: &Caller,
    requirements: Requirements,
) -> Result<Caller, Refusal> {
    let Some(token) = &opener.token else {
        return identify(people, endpoints, source, None, requirements).map_err(|_| Refusal::Withdrawn);
    };
    // The person may have got other groups since.
    let holder = people.holder(token, requirements.now).ok_or(Refusal::Withdrawn)?;
    Ok(Caller { person: Some(Arc::clone(&holder.person)), issued: holder.issued, ..opener.clone() })
}

/// Decides who sends a request with this `Proxy-Authorization` from `source`.
pub(crate) fn identify(
    people: &Directory,
    endpoints: &[Endpoint],
    source: IpAddr,
    credential: Option<&HeaderValue>,
    requirements: Requirements,
) -> Result<Caller, Refusal> {
    let source = source.to_canonical();
    if let Some(credential) = credential {
        let (email, token) = basic(credential).ok_or(Refusal::Wrong)?;
        let hash = Directory::hash(&token);
        let holder = people.holder(&hash, requirements.now).filter(|holder| holder.is(&email)).ok_or(Refusal::Wrong)?;
        let mut identity = endpoints.iter().filter(|endpoint| endpoint.kind == EndpointKind::Identity);
        // Several identity endpoints share one listener; with more than one the name is not known.
        let endpoint = match (identity.next(), identity.next()) {
            (Some(only), None) => Some(only.subdomain.as_str().into()),
            _ => None,
        };
        let person = Some(Arc::clone(&holder.person));
        return Ok(Caller { person, endpoint, token: Some(hash), issued: holder.issued });
    }
    let by_source = endpoints
        .iter()
        .find(|endpoint| endpoint.kind == EndpointKind::Ip && endpoint.ips.iter().any(|range| range.contains(source)));
    if let Some(endpoint) = by_source {
        return Ok(Caller { person: None, endpoint: Some(endpoint.subdomain.as_str().into()), ..Caller::default() });
    }
    if source.is_loopback() && requirements.trust_loopback {
        return Ok(Caller::default());
    }
    Err(Refusal::Missing)
}

/// Reads `Basic` credentials (RFC 7617).
fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let text = value.to_str().ok().filter(|text| text.len() <= 1024)?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Counts failed sign-ins per source, for a minute each, for a bounded number of sources.
#[derive(Debug)]
pub(crate) struct Failures {
    by_source: Cache<IpAddr, Arc<AtomicU32>>,
    limit: u32,
}

impl Failures {
    pub(crate) fn new(limit: u32) -> Self {
        let by_source = Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build();
        Self { by_source, limit }
    }

    /// Counts one more failure of `source` and says whether there have been too many.
    pub(crate) fn count(&self, source: IpAddr) -> bool {
        let counter = self.by_source.get_with(bucket(source), Arc::default);
        counter.fetch_add(1, Ordering::Relaxed) >= self.limit
    }
}

/// An IPv6 host owns its /64, so that is what is counted.
fn bucket(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine;
    use jiff::Timestamp;
    use types::ProxyEndpointId;
    use uuid::Uuid;

    use super::{Directory, Endpoint, EndpointKind, Failures, Network, Person, Refusal, Requirements, identify};

    fn directory() -> Directory {
        let person = Person { email: "ada@example.com".to_owned(), ..Person::default() };
        Directory::new([(Directory::hash("ptn_secret"), Arc::new(person))])
    }

    fn endpoint(kind: EndpointKind, ranges: &[&str]) -> Endpoint {
        Endpoint {
            id: ProxyEndpointId(Uuid::from_u128(2)),
            subdomain: "branch".to_owned(),
            kind,
            ips: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        }
    }

    /// Who `credential` from `source` is: an address, `endpoint NAME`, `nobody` or the refusal.
    fn who(source: &str, credential: Option<&str>, endpoints: &[Endpoint], trust_loopback: bool) -> String {
        let header = credential.map(|text| match text.split_once(' ') {
            Some(("raw", text)) => text.parse().unwrap(),
            _ => format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)).parse().unwrap(),
        });
        let requirements = Requirements { trust_loopback, now: Timestamp::UNIX_EPOCH };
        match identify(&directory(), endpoints, source.parse().unwrap(), header.as_ref(), requirements) {
            Ok(caller) => match (caller.person, caller.endpoint) {
                (Some(person), _) => person.email.clone(),
                (None, Some(endpoint)) => format!("endpoint {endpoint}"),
                (None, None) => "nobody".to_owned(),
            },
            Err(Refusal::Missing) => "missing".to_owned(),
            Err(Refusal::Wrong) => "wrong".to_owned(),
            Err(Refusal::TooMany) => "too many".to_owned(),
            Err(Refusal::Withdrawn) => "withdrawn".to_owned(),
        }
    }

    #[test]
    fn a_caller_is_a_person_an_endpoint_nobody_or_refused() {
        let none = &[][..];
        let branch = &[endpoint(EndpointKind::Ip, &["192.0.2.0/24", "2001:db8::/32"])][..];
        for (source, credential, endpoints, trust, expected) in [
            ("127.0.0.1", None, none, true, "nobody"),
            ("::ffff:127.0.0.1", None, none, true, "nobody"),
            ("127.0.0.1", None, none, false, "missing"),
            ("10.0.0.1", None, none, true, "missing"),
            ("192.0.2.7", None, branch, true, "endpoint branch"),
            ("::ffff:192.0.2.7", None, branch, true, "endpoint branch"),
            ("2001:db8:1::1", None, branch, true, "endpoint branch"),
            ("192.0.3.7", None, branch, true, "missing"),
            ("10.0.0.1", Some("ada@example.com:ptn_secret"), none, true, "ada@example.com"),
            ("10.0.0.1", Some("Ada@Example.com:ptn_secret"), none, true, "ada@example.com"),
            ("192.0.2.7", Some("ada@example.com:ptn_secret"), branch, true, "ada@example.com"),
            ("127.0.0.1", Some("ada@example.com:ptn_other"), none, true, "wrong"),
            ("192.0.2.7", Some("bob@example.com:ptn_secret"), branch, true, "wrong"),
            ("127.0.0.1", Some("raw Bearer abc"), none, true, "wrong"),
            ("127.0.0.1", Some("raw Basic ???"), none, true, "wrong"),
            ("127.0.0.1", Some("no-colon"), none, true, "wrong"),
        ] {
            assert_eq!(who(source, credential, endpoints, trust), expected, "{source} {credential:?}");
        }
    }

    #[test]
    fn failures_are_counted_per_source_and_per_ipv6_network() {
        let failures = Failures::new(2);
        let count = |text: &str| failures.count(text.parse().unwrap());
        assert!(!count("192.0.2.1") && !count("192.0.2.1") && count("192.0.2.1"));
        assert!(!count("192.0.2.2"));
        assert!(!count("2001:db8::1") && !count("2001:db8::2") && count("2001:db8::3"));
    }

    #[test]
    fn ranges_are_read_strictly() {
        for bad in ["", "192.0.2.0/33", "2001:db8::/129", "a", "192.0.2.0/", "192.0.2.0/-1", "192.0.2/24"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()) && !all.contains("2001:db8::1".parse().unwrap()));
    }
}
