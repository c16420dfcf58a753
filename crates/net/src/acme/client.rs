//! One order at an authority, over the guarded way out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use parking_lot::Mutex;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use types::Secret;

use super::certificate::{ListenerCertificate, ListenerCertificateError};
use crate::host::{Host, Origin, Scheme};
use crate::tls::Offer;
use crate::upstream::{Pool, Route};

/// One request, head and body.
const REQUEST: Duration = Duration::from_secs(30);
/// An order from its proof to its certificate: authorities look from several places and take their time.
const ORDER: Duration = Duration::from_secs(150);
const MAX_ANSWER: usize = 256 * 1_024;
const MAX_REASON: usize = 400;

/// Whose certificates, as the configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The address of the directory document.
    pub directory: String,
    /// `mailto:` addresses the authority may write to.
    pub contact: Vec<String>,
}

/// An account at an authority.
pub struct Acme {
    account: Account,
    wishes: Arc<Mutex<Option<Duration>>>,
}

/// What an order came to.
pub struct Issued {
    /// PEM, the certificate of the name first.
    pub chain: String,
    /// PKCS #8 DER.
    pub private_key: Secret<Vec<u8>>,
    pub certificate: ListenerCertificate,
}

/// Why there is no certificate. The text is for an administrator.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error("{text}")]
    Refused {
        text: String,
        /// For how long the authority wants to be left alone.
        retry_after: Option<Duration>,
    },
    #[error("the certificate that was issued cannot be served: {0}")]
    Unusable(#[from] ListenerCertificateError),
    #[error("no key could be made")]
    Key(#[from] rcgen::Error),
    #[error("the account stored for the authority cannot be read")]
    Credentials,
    #[error("the proof cannot be shown: {0}")]
    Proof(String),
}

impl AcmeError {
    /// Returns for how long the authority wants to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unusable(_) | Self::Key(_) | Self::Credentials | Self::Proof(_) => None,
        }
    }
}

impl Acme {
    /// Opens an account, which agrees to the authority's terms, and returns what it is known by: keep it sealed.
    ///
    /// # Errors
    ///
    /// When the authority does not answer or refuses.
    pub async fn register(pool: Pool, settings: &AcmeSettings) -> Result<(Self, Secret<String>), AcmeError> {
        let client = Client::new(pool);
        let wishes = Arc::clone(&client.wishes);
        let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
        let account = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(client));
        let made = builder.create(&account, settings.directory.clone(), None).await;
        let (account, credentials) = made.map_err(|error| refused(error, &wishes))?;
        let text = serde_json::to_string(&credentials).map_err(|_| AcmeError::Credentials)?;
        Ok((Self { account, wishes }, Secret::new(text)))
    }

    /// Goes on with an account that [`Acme::register`] opened.
    ///
    /// # Errors
    ///
    /// When what was kept cannot be read or the authority does not answer.
    pub async fn resume(pool: Pool, credentials: &Secret<String>) -> Result<Self, AcmeError> {
        let client = Client::new(pool);
        let wishes = Arc::clone(&client.wishes);
        let credentials = serde_json::from_str(credentials.expose()).map_err(|_| AcmeError::Credentials)?;
        let account = Account::builder_with_http(Box::new(client)).from_credentials(credentials).await;
        Ok(Self { account: account.map_err(|error| refused(error, &wishes))?, wishes })
    }

    /// Orders a certificate for one name. `show` is given the digest that proves it, SHA-256 in hexadecimal, and returns
    /// when every listener of the name shows it.
    ///
    /// # Errors
    ///
    /// When the authority refuses, does not find the proof or does not come to an end, or what it issues cannot be served.
    pub async fn issue<S, F>(&self, name: &str, show: S) -> Result<Issued, AcmeError>
    where
        S: Fn(String) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let refused = |error| refused(error, &self.wishes);
        let identifiers = [Identifier::Dns(name.to_owned())];
        let mut order = self.account.new_order(&NewOrder::new(&identifiers)).await.map_err(refused)?;
        self.prove(&mut order, show).await?;
        let patience = RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(ORDER);
        let status = order.poll_ready(&patience).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            let reason = reason(&mut order).await;
            return Err(match (reason, status) {
                (Some(reason), _) => AcmeError::Refused { text: reason, retry_after: self.wishes.lock().take() },
                (None, Err(error)) => refused(error),
                (None, Ok(_)) => AcmeError::Refused {
                    text: "the authority gave the order up without a reason".to_owned(),
                    retry_after: None,
                },
            });
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?;
        order.finalize_csr(request.der()).await.map_err(refused)?;
        let chain = order.poll_certificate(&patience).await.map_err(refused)?;
        let private_key = Secret::new(key.serialize_der());
        let certificate = ListenerCertificate::load(name, &chain, private_key.expose())?;
        Ok(Issued { chain, private_key, certificate })
    }

    async fn prove<S, F>(&self, order: &mut Order, show: S) -> Result<(), AcmeError>
    where
        S: Fn(String) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let refused = |error| refused(error, &self.wishes);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(refused)?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => {
                    let text = format!("the authority's authorization is {:?}", authorization.status).to_lowercase();
                    return Err(AcmeError::Refused { text, retry_after: None });
                }
            }
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                let text =
                    "the authority offers no proof by TLS-ALPN-01, the only one that is answered here".to_owned();
                return Err(AcmeError::Refused { text, retry_after: None });
            };
            let authorized = challenge.key_authorization();
            let digest = authorized.digest().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            show(digest).await.map_err(AcmeError::Proof)?;
            challenge.set_ready().await.map_err(refused)?;
        }
        Ok(())
    }
}

/// Asks why an order failed: the challenge says it, not the order.
async fn reason(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        let fault = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = fault {
            return Some(spoken(problem));
        }
    }
    None
}

fn spoken(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    let detail = problem.detail.as_deref().unwrap_or("no detail");
    short(&if kind.is_empty() { detail.to_owned() } else { format!("{detail} ({kind})") })
}

/// What an authority says is outside input: one line of it, short.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn refused(error: instant_acme::Error, wishes: &Mutex<Option<Duration>>) -> AcmeError {
    let text = match error {
        instant_acme::Error::Api(problem) => format!("the authority refuses: {}", spoken(&problem)),
        instant_acme::Error::Timeout(_) => "the authority did not come to an end in time".to_owned(),
        instant_acme::Error::Json(_) => "what answers at the directory's address does not speak ACME".to_owned(),
        other => short(&other.to_string()),
    };
    AcmeError::Refused { text, retry_after: wishes.lock().take() }
}

/// Requests of the library, over our own pool.
struct Client {
    pool: Pool,
    /// What the last refusal asked for.
    wishes: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    fn new(pool: Pool) -> Self {
        Self { pool, wishes: Arc::default() }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (pool, wishes) = (self.pool.clone(), Arc::clone(&self.wishes));
        Box::pin(async move {
            let sent = tokio::time::timeout(REQUEST, send(&pool, request)).await;
            let answer = sent.map_err(|_| other("the authority did not answer in time"))??;
            if answer.parts.status.is_client_error() || answer.parts.status.is_server_error() {
                *wishes.lock() = retry_after(&answer.parts.headers);
            }
            Ok(answer)
        })
    }
}

async fn send(pool: &Pool, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, instant_acme::Error> {
    let route = route(request.uri()).ok_or_else(|| other("an address of the authority is not https with a host"))?;
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(header::USER_AGENT, header::HeaderValue::from_static("Portunus"));
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    parts.uri = Uri::try_from(target)?;
    let answer = pool.send(&route, Request::from_parts(parts, body)).await;
    let answer = answer.map_err(|error| other(&format!("the authority cannot be reached: {}", chain(&error))))?;
    let (parts, body) = answer.response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| other("the authority's answer broke off"))?;
    Ok(BytesResponse { parts, body: Box::new(body.to_bytes()) })
}

/// Everything an error says, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn route(address: &Uri) -> Option<Route> {
    if address.scheme_str() != Some("https") {
        return None;
    }
    let host = Host::parse(address.host()?.trim_matches(['[', ']'])).ok()?;
    let origin = Origin::new(Scheme::Https, host, address.port_u16().unwrap_or(443));
    Some(Route::new(origin, Offer::Both))
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A date counts from the authority's own clock, which it says.
        Err(_) => {
            let read = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
            let then = read(text)?;
            let now = read(headers.get(header::DATE)?.to_str().ok()?)?;
            then.duration_since(now).try_into().ok()
        }
    }
}

fn other(text: &str) -> instant_acme::Error {
    instant_acme::Error::Other(text.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};

    use super::{retry_after, route, short};

    #[test]
    fn a_wish_is_read_as_seconds_or_as_a_date() {
        for (value, expected) in [
            ("120", Some(120)),
            ("Fri, 27 Nov 2026 01:10:00 GMT", Some(600)),
            ("Fri, 27 Nov 2026 00:00:00 GMT", None),
            ("soon", None),
            ("-5", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(value));
            headers.insert("date", HeaderValue::from_static("Fri, 27 Nov 2026 01:00:00 GMT"));
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn an_authority_is_reached_by_https_alone() {
        for (address, reached) in [
            ("https://acme.example.net/directory", true),
            ("https://[::1]:14000/dir", true),
            ("http://acme.example.net/directory", false),
            ("/directory", false),
        ] {
            assert_eq!(route(&address.parse().unwrap()).is_some(), reached, "{address}");
        }
    }

    #[test]
    fn what_an_authority_says_is_cut_to_one_short_line() {
        assert_eq!(short("a\nb\u{7}c"), "abc");
        assert_eq!(short(&"x".repeat(5_000)).len(), 400);
    }
}
