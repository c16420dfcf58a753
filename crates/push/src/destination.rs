//! Where records go: the `destination_conf` of the Logpush API, a URL whose parameters say how.
//!
//! Read from text and shown as text without its secrets. It reaches nothing. Invariant: what is shown holds no value of a
//! parameter that may be a secret, and whatever is not known to be none may be.

use serde::{Deserialize, Serialize};
use types::Secret;
use url::{Host, Url};

/// What stands in the place of a secret.
pub const REDACTED: &str = "REDACTED";
/// The longest text of a destination, in bytes.
pub const MAX_TEXT: usize = 8 * 1024;
/// The most headers.
const MAX_HEADERS: usize = 32;
/// Parameters whose values are shown, beside those of [`shown`] itself.
const OPEN: [&str; 10] = [
    "region",
    "endpoint",
    "sse",
    "account-id",
    "sourcetype",
    "insecure-skip-verify",
    "allow-plaintext",
    "app-name",
    "hostname",
    "facility",
];

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An HTTP endpoint.
    Http(Http),
    /// A syslog receiver.
    Syslog(Syslog),
    /// A bucket.
    S3(S3),
}

/// An HTTP endpoint: batches are posted to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Http {
    /// Where to.
    pub url: Url,
    /// What is sent along.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// A syslog receiver: each record is a message (RFC 5424) over TCP with its length (RFC 6587 section 3.4.1), or TLS (RFC 5425).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Its name or address.
    pub host: String,
    /// Its port; 601 (RFC 3195) or 6514 with TLS unless it says otherwise.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// `APP-NAME` of messages.
    pub app_name: String,
    /// `HOSTNAME` of messages.
    pub hostname: String,
    /// The facility, 0 to 23.
    pub facility: u8,
}

/// A bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// Its name.
    pub bucket: String,
    /// What names of objects begin with; `{DATE}` is the day.
    pub prefix: String,
    /// Its region.
    pub region: String,
    /// Where the store is, if it is not that of the region.
    pub endpoint: Option<Url>,
    /// Who writes.
    pub access_key_id: String,
    /// With which secret.
    pub secret_access_key: Secret<String>,
    /// The server encrypts with keys of its own (`AES256`).
    pub encrypted: bool,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DestinationError(String);

fn wrong<T>(message: impl Into<String>) -> Result<T, DestinationError> {
    Err(DestinationError(message.into()))
}

/// The kinds of destinations there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Http,
    Syslog,
    S3,
}

impl Destination {
    /// Reads a `destination_conf`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong; it quotes no value.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return wrong(format!("must be a URL of at most {MAX_TEXT} bytes"));
        }
        let Ok(url) = Url::parse(text) else {
            return wrong("must be a URL: https://…, splunk://…, syslog+tls://…, syslog+tcp://… or s3://…");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("must not hold a name or a password before its host; use header_Authorization");
        }
        if url.fragment().is_some() {
            return wrong("must not hold a #");
        }
        let parameters = Parameters::of(&url)?;
        match url.scheme() {
            "https" | "http" => http(&url, parameters),
            "splunk" => splunk(&url, parameters),
            "syslog+tls" | "syslog+tcp" => syslog(&url, parameters),
            "s3" | "r2" => s3(&url, parameters),
            "syslog+udp" | "syslog" => {
                wrong("syslog goes over syslog+tls:// or syslog+tcp://; UDP loses records unseen")
            }
            scheme => {
                wrong(format!("{scheme}:// is no destination; there are https, splunk, syslog+tls, syslog+tcp and s3"))
            }
        }
    }

    /// Returns which kind it is.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Http(_) => Family::Http,
            Self::Syslog(_) => Family::Syslog,
            Self::S3(_) => Family::S3,
        }
    }
}

/// Returns a `destination_conf` without its secrets. It can be read by people, and is the same for the same text.
#[must_use]
pub fn shown(text: &str) -> String {
    let Some((address, query)) = text.split_once('?') else { return text.to_owned() };
    let parameters = query.split('&').map(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return parameter.to_owned() };
        if value.is_empty() || OPEN.contains(&name.to_ascii_lowercase().as_str()) {
            return parameter.to_owned();
        }
        format!("{name}={REDACTED}")
    });
    format!("{address}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// Says whether a text holds the mark of a secret that was left out.
#[must_use]
pub fn is_redacted(text: &str) -> bool {
    text.split_once('?').is_some_and(|(_, query)| {
        query.split('&').any(|parameter| parameter.split_once('=').is_some_and(|(_, value)| value == REDACTED))
    })
}

/// The parameters of a URL; what nobody took is too many.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(url: &Url) -> Result<Self, DestinationError> {
        let all: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        if all.iter().any(|(_, value)| value == REDACTED) {
            return wrong(format!("has {REDACTED} in the place of a secret; give the secret"));
        }
        Ok(Self(all))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(self.0.remove(place).1).filter(|value| !value.is_empty())
    }

    fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, DestinationError> {
        let (headers, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("header_")));
        self.0 = rest;
        if headers.len() > MAX_HEADERS {
            return wrong(format!("has more than {MAX_HEADERS} headers"));
        }
        headers
            .into_iter()
            .map(|(name, value)| {
                let name = name.get(7..).unwrap_or_default().to_owned();
                let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
                if name.is_empty() || !name.bytes().all(token) {
                    return wrong("has a header_ without a name of a header");
                }
                if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(&name)) {
                    return wrong(format!("must not set {name}, which is written for each batch"));
                }
                if !value.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
                    return wrong(format!("has a value for {name} that no header can hold"));
                }
                Ok((name, value))
            })
            .collect()
    }

    fn none_left(self, scheme: &str) -> Result<(), DestinationError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => wrong(format!("has the parameter {name}, which {scheme}:// does not know")),
        }
    }
}

/// Headers that each batch has of its own.
const OURS: [&str; 6] = ["host", "content-length", "content-encoding", "transfer-encoding", "connection", "te"];

fn http(url: &Url, mut parameters: Parameters) -> Result<Destination, DestinationError> {
    let plain = parameters.flag("allow-plaintext");
    if url.scheme() == "http" && !plain && !is_this_machine(url) {
        return wrong("sends records in clear: use https://, or add allow-plaintext=true");
    }
    let headers = parameters.headers()?;
    Ok(Destination::Http(Http { url: with_query(url.clone(), &parameters), headers }))
}

/// Splunk's HTTP Event Collector, its raw endpoint: `splunk://host:8088/services/collector/raw?channel=…&header_Authorization=…`.
fn splunk(url: &Url, mut parameters: Parameters) -> Result<Destination, DestinationError> {
    if parameters.flag("insecure-skip-verify") {
        return wrong(
            "asks not to verify the certificate; add the authority to the roots of the network settings instead",
        );
    }
    let text = url.as_str().replacen("splunk://", "https://", 1);
    let Ok(mut target) = Url::parse(&text) else { return wrong("must name a host") };
    if target.path() == "/" {
        target.set_path("/services/collector/raw");
    }
    let headers = parameters.headers()?;
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        return wrong("needs header_Authorization=Splunk%20<token>");
    }
    Ok(Destination::Http(Http { url: with_query(target, &parameters), headers }))
}

fn with_query(mut url: Url, parameters: &Parameters) -> Url {
    url.set_query(None);
    if !parameters.0.is_empty() {
        url.query_pairs_mut().extend_pairs(&parameters.0);
    }
    url
}

fn syslog(url: &Url, mut parameters: Parameters) -> Result<Destination, DestinationError> {
    let tls = url.scheme() == "syslog+tls";
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return wrong("must name a host") };
    if !matches!(url.path(), "" | "/") {
        return wrong("must not have a path");
    }
    let plain = parameters.flag("allow-plaintext");
    if !tls && !plain && !is_this_machine(url) {
        return wrong("sends records in clear: use syslog+tls://, or add allow-plaintext=true");
    }
    let named = |name: &str, value: Option<String>, longest: usize, default: &str| match value {
        None => Ok(default.to_owned()),
        Some(value) if value.len() <= longest && value.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(value),
        Some(_) => wrong(format!("has a value for {name} that is not up to {longest} printable characters")),
    };
    let app_name = named("app-name", parameters.take("app-name"), 48, "portunus")?;
    let hostname = named("hostname", parameters.take("hostname"), 255, "-")?;
    let facility = match parameters.take("facility").map(|text| text.parse::<u8>()) {
        // 13 is that of log audits (RFC 5424 section 6.2.1).
        None => 13,
        Some(Ok(facility @ 0..=23)) => facility,
        Some(_) => return wrong("has a facility that is not 0 to 23"),
    };
    parameters.none_left(url.scheme())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(if tls { 6514 } else { 601 });
    Ok(Destination::Syslog(Syslog { host, port, tls, app_name, hostname, facility }))
}

fn s3(url: &Url, mut parameters: Parameters) -> Result<Destination, DestinationError> {
    let r2 = url.scheme() == "r2";
    let Some(bucket) = url.host_str().filter(|host| !host.is_empty()) else { return wrong("must name a bucket") };
    let mut needed = |name: &'static str| match parameters.take(name) {
        Some(value) => Ok(value),
        None => wrong(format!("needs {name}=")),
    };
    let access_key_id = needed("access-key-id")?;
    let secret_access_key = Secret::new(needed("secret-access-key")?);
    let (region, endpoint) = if r2 {
        let account = needed("account-id")?;
        if !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return wrong("has an account-id that is none");
        }
        ("auto".to_owned(), Some(format!("https://{account}.r2.cloudflarestorage.com")))
    } else {
        (needed("region")?, parameters.take("endpoint"))
    };
    let plain = parameters.flag("allow-plaintext");
    let endpoint = match endpoint {
        None => None,
        Some(text) => {
            let text = if text.contains("://") { text } else { format!("https://{text}") };
            let parsed = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
            let Some(endpoint) = parsed.filter(|url| url.host().is_some()) else {
                return wrong("has an endpoint that is no https:// address");
            };
            if endpoint.scheme() == "http" && !plain && !is_this_machine(&endpoint) {
                return wrong("sends records in clear: use an https:// endpoint, or add allow-plaintext=true");
            }
            Some(endpoint)
        }
    };
    let encrypted = match parameters.take("sse").as_deref() {
        None => false,
        Some("AES256") => true,
        Some(_) => return wrong("has an sse that is not AES256"),
    };
    parameters.none_left(url.scheme())?;
    let path = url.path().trim_matches('/');
    let prefix = percent_decoded(path)?;
    if prefix.split('/').any(|part| part == "..") {
        return wrong("must not have .. in its path");
    }
    Ok(Destination::S3(S3 {
        bucket: bucket.to_owned(),
        prefix,
        region,
        endpoint,
        access_key_id,
        secret_access_key,
        encrypted,
    }))
}

/// Undoes the escapes of a path: `{DATE}` arrives as `%7BDATE%7D`.
fn percent_decoded(path: &str) -> Result<String, DestinationError> {
    let pair = format!("p={}", path.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded
        .filter(|text| !text.contains('\u{fffd}'))
        .ok_or_else(|| DestinationError("has a path that is no text".into()))
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            // Of schemes it does not know, the parser leaves addresses as names.
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Destination, is_redacted, shown};

    fn http(text: &str) -> super::Http {
        let Ok(Destination::Http(http)) = Destination::parse(text) else { panic!("{text}") };
        http
    }

    #[test]
    fn http_endpoints_have_headers_in_their_parameters() {
        let read =
            http("https://siem.example.com:8443/in/put?header_Authorization=Bearer%20abc&tags=a:b&header_X-Key=k");
        assert_eq!(read.url.as_str(), "https://siem.example.com:8443/in/put?tags=a%3Ab");
        let headers = [("Authorization".to_owned(), "Bearer abc".to_owned()), ("X-Key".to_owned(), "k".to_owned())];
        assert_eq!(read.headers, headers);
        assert_eq!(http("http://127.0.0.1:9/x").url.as_str(), "http://127.0.0.1:9/x");
        assert_eq!(http("http://siem.example.com/x?allow-plaintext=true").url.as_str(), "http://siem.example.com/x");
        let hec = http(
            "splunk://splunk.example.com:8088?channel=c-1&insecure-skip-verify=false&sourcetype=json&header_Authorization=Splunk%20t",
        );
        assert_eq!(
            hec.url.as_str(),
            "https://splunk.example.com:8088/services/collector/raw?channel=c-1&sourcetype=json"
        );
    }

    #[test]
    fn syslog_receivers_have_defaults() {
        let Ok(Destination::Syslog(read)) = Destination::parse("syslog+tls://logs.example.com") else { panic!() };
        assert_eq!((read.host.as_str(), read.port, read.tls, read.facility), ("logs.example.com", 6514, true, 13));
        assert_eq!((read.app_name.as_str(), read.hostname.as_str()), ("portunus", "-"));
        let text = "syslog+tcp://[::1]:1514?app-name=gate&hostname=node-1&facility=16";
        let Ok(Destination::Syslog(read)) = Destination::parse(text) else { panic!() };
        assert_eq!((read.host.as_str(), read.port, read.tls, read.facility), ("::1", 1514, false, 16));
        assert_eq!((read.app_name.as_str(), read.hostname.as_str()), ("gate", "node-1"));
    }

    #[test]
    fn buckets_are_s3_or_r2() {
        let text = "s3://logs/portunus/{DATE}?region=eu-central-1&access-key-id=AK&secret-access-key=a%2Fb&sse=AES256";
        let Ok(Destination::S3(read)) = Destination::parse(text) else { panic!() };
        assert_eq!((read.bucket.as_str(), read.prefix.as_str()), ("logs", "portunus/{DATE}"));
        assert_eq!((read.region.as_str(), read.secret_access_key.expose().as_str()), ("eu-central-1", "a/b"));
        assert!(read.encrypted && read.endpoint.is_none());
        let text = "r2://logs?account-id=abc123&access-key-id=AK&secret-access-key=s";
        let Ok(Destination::S3(read)) = Destination::parse(text) else { panic!() };
        let endpoint = read.endpoint.map(|url| url.to_string());
        assert_eq!(endpoint.as_deref(), Some("https://abc123.r2.cloudflarestorage.com/"));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_value() {
        for (text, said) in [
            ("nonsense", "must be a URL"),
            ("ftp://x/y", "is no destination"),
            ("https://user:hunter2@x/", "name or a password"),
            ("http://siem.example.com/", "in clear"),
            ("https://x/?header_=hunter2", "without a name"),
            ("https://x/?header_Host=hunter2", "must not set Host"),
            ("https://x/?header_A=hunter2%0d%0aB:c", "no header can hold"),
            ("https://x/?header_A=REDACTED", "give the secret"),
            ("splunk://x?insecure-skip-verify=true&header_Authorization=hunter2", "not to verify"),
            ("splunk://x?channel=1", "header_Authorization"),
            ("syslog+tcp://logs.example.com", "in clear"),
            ("syslog+udp://logs.example.com", "UDP"),
            ("syslog+tls://logs.example.com/path", "path"),
            ("syslog+tls://logs.example.com?colour=hunter2", "parameter colour"),
            ("syslog+tls://logs.example.com?facility=24", "facility"),
            ("syslog+tls://logs.example.com?app-name=a%20b", "app-name"),
            ("s3://b?region=r&access-key-id=k", "needs secret-access-key"),
            ("s3://b?access-key-id=k&secret-access-key=hunter2", "needs region"),
            ("s3://b/../x?region=r&access-key-id=k&secret-access-key=hunter2&sse=x", "sse"),
            ("s3://b?region=r&access-key-id=k&secret-access-key=hunter2&endpoint=http://far.example", "in clear"),
        ] {
            let error = Destination::parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (text, expected) in [
            ("https://x/y", "https://x/y"),
            (
                "https://x/y?header_Authorization=Bearer%20hunter2&token=hunter2&tags=a",
                "https://x/y?header_Authorization=REDACTED&token=REDACTED&tags=REDACTED",
            ),
            (
                "s3://b/p?region=eu&access-key-id=AK&secret-access-key=hunter2&endpoint=https://m:9000",
                "s3://b/p?region=eu&access-key-id=REDACTED&secret-access-key=REDACTED&endpoint=https://m:9000",
            ),
            ("syslog+tls://h:6514?app-name=gate&facility=16", "syslog+tls://h:6514?app-name=gate&facility=16"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(is_redacted(&shown(text)), expected.contains("REDACTED"));
        }
    }

    proptest! {
        #[test]
        fn no_secret_survives(secret in "[a-z0-9]{12,20}", name in "[a-zA-Z_-]{1,12}") {
            prop_assume!(!super::OPEN.contains(&name.to_ascii_lowercase().as_str()));
            let shown = shown(&format!("https://example.com/in?{name}={secret}&region=x"));
            prop_assert!(!shown.contains(&secret));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,120}") {
            let _ = Destination::parse(&text);
            let _ = shown(&text);
        }
    }
}
