//! A bucket of an S3-compatible object store: where it is, how to be let in, what to do when it refuses.
//!
//! It checks the text of a configuration and connects; what lies in the bucket is the lake's to know. Requests run on
//! threads of their own, since connections outlive the runtime of whoever first needed one. Invariant: no secret is sent
//! in clear but to this machine, unless the owner says so.

mod credentials;
mod remote;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use s3::aws::{AmazonS3Builder, S3ConditionalPut};
use s3::client::SpawnedReqwestConnector;
use s3::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use types::Secret;
use url::{Host, Url};

use credentials::Kept;
use remote::{Remote, Requests};
use trouble::Whereabouts;

/// How long a connection takes at most.
const CONNECT: Duration = Duration::from_secs(5);
/// How long nothing may come of an answer.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a request takes at most, in which some megabytes may be sent.
const REQUEST: Duration = Duration::from_secs(300);
/// How long a request that failed is tried again. Whoever keeps the lake tries for ever; whoever looks at a page does not.
const RETRY: Duration = Duration::from_secs(10);
const RETRIES: usize = 5;
/// How many threads requests run on.
const THREADS: usize = 2;

/// What a configuration says of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// `s3://name` or `s3://name/prefix`.
    pub url: String,
    /// The region, where the store has some.
    pub region: Option<String>,
    /// Where the store is reached, when it is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in the path rather than before the host; as it does at an endpoint by default.
    pub path_style: Option<bool>,
    /// Whether the endpoint may be reached without TLS though it is not this machine.
    pub allow_http: bool,
    /// PEM of the authorities that the endpoint's certificate is checked by, besides the usual ones.
    pub ca: Option<PathBuf>,
    /// What lets us in.
    pub credentials: Credentials,
}

/// What lets us in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// What the environment has: keys (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), the token of a web
    /// identity, the role of a container or of the machine.
    #[default]
    Environment,
    /// A file as the AWS command line has it; read again when it has changed.
    File {
        /// Which.
        path: PathBuf,
        /// The section, `default` when there is none.
        profile: Option<String>,
    },
    /// These.
    Keys {
        /// The access key's id.
        id: String,
        /// Its secret.
        secret: Secret<String>,
        /// The token of temporary keys.
        token: Option<Secret<String>>,
    },
}

/// A bucket that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    name: String,
    prefix: Path,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: bool,
    allow_http: bool,
    ca: Option<PathBuf>,
    credentials: Credentials,
}

/// Why there is no such bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The URL is none.
    #[error("url {0:?} is not of the form s3://bucket or s3://bucket/prefix")]
    Url(String),
    /// The endpoint is none.
    #[error("endpoint {0:?} is not of the form https://host or https://host:port")]
    Endpoint(String),
    /// It would send records and credentials in clear.
    #[error("endpoint {0:?} has no TLS; use https, or say allow_http = true if everybody on the way may read along")]
    Clear(String),
    /// The file of authorities cannot be used.
    #[error("ca {path:?} cannot be used: {problem}")]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] credentials::CredentialsError),
    /// It cannot be connected to at all.
    #[error("the bucket cannot be used: {0}")]
    Client(String),
    /// The system does not let us run threads.
    #[error("no threads for requests")]
    Threads(#[source] std::io::Error),
    /// An object is not what a path may be.
    #[error("{0:?} cannot be the name of an object")]
    Name(String),
    /// The store refuses, or is away.
    #[error("{0}")]
    Store(String),
}

impl Bucket {
    /// Checks what a configuration says.
    ///
    /// # Errors
    ///
    /// [`BucketError::Url`], [`BucketError::Endpoint`], [`BucketError::Clear`].
    pub fn new(settings: BucketSettings) -> Result<Self, BucketError> {
        let wrong = || BucketError::Url(settings.url.clone());
        let rest = settings.url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
        if name.len() < 3 || name.len() > 63 || !name.chars().all(plain) || rest.contains(['?', '#']) {
            return Err(wrong());
        }
        let prefix = Path::parse(prefix).map_err(|_| wrong())?;
        let path_style = settings.path_style.unwrap_or(settings.endpoint.is_some());
        let endpoint = match &settings.endpoint {
            Some(text) => Some(endpoint(text, name, path_style, settings.allow_http)?),
            None => None,
        };
        let allow_http = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http:"));
        let BucketSettings { region, ca, credentials, .. } = settings;
        Ok(Self { name: name.to_owned(), prefix, region, endpoint, path_style, allow_http, ca, credentials })
    }

    /// Returns `s3://name/prefix`.
    #[must_use]
    pub fn url(&self) -> String {
        if self.prefix.as_ref().is_empty() {
            format!("s3://{}", self.name)
        } else {
            format!("s3://{}/{}", self.name, self.prefix)
        }
    }

    /// Writes an object below the bucket's prefix, in the place of one that may be there.
    ///
    /// # Errors
    ///
    /// [`BucketError`], with what to do about it.
    pub async fn put(&self, name: &str, bytes: bytes::Bytes) -> Result<(), BucketError> {
        let path = Path::parse(name).map_err(|_| BucketError::Name(name.to_owned()))?;
        let store = self.connect()?;
        store.put(&path, PutPayload::from(bytes)).await.map(drop).map_err(|error| BucketError::Store(error.to_string()))
    }

    /// Makes the client of the bucket; nothing is sent yet.
    pub(crate) fn connect(&self) -> Result<Arc<dyn ObjectStore>, BucketError> {
        let requests = Requests::start(THREADS).map_err(BucketError::Threads)?;
        let wrong = |error: s3::Error| BucketError::Client(error.to_string());
        let mut builder = match &self.credentials {
            Credentials::Environment => AmazonS3Builder::from_env(),
            Credentials::File { path, profile } => {
                let kept = Kept::read(path.clone(), profile.clone())?;
                AmazonS3Builder::new().with_credentials(Arc::new(kept))
            }
            Credentials::Keys { id, secret, token } => {
                let builder = AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret.expose());
                match token {
                    Some(token) => builder.with_token(token.expose()),
                    None => builder,
                }
            }
        };
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY,
            backoff: BackoffConfig { max_backoff: Duration::from_secs(4), ..BackoffConfig::default() },
        };
        let store = builder
            .with_bucket_name(&self.name)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // One object at a time is deleted, which every store knows.
            .with_disable_bulk_delete(true)
            .with_client_options(self.options()?)
            .with_retry(retry)
            .with_http_connector(SpawnedReqwestConnector::new(requests.handle()))
            .build()
            .map_err(wrong)?;
        let whereabouts = Whereabouts { name: self.name.clone(), endpoint: self.endpoint.clone() };
        let prefix = s3::path::Path::from_iter(self.prefix.parts().map(|part| part.as_ref().to_owned()));
        Ok(Arc::new(Remote::new(store, prefix, whereabouts, requests)))
    }

    fn options(&self) -> Result<ClientOptions, BucketError> {
        let mut options = ClientOptions::new()
            .with_allow_http(self.allow_http)
            .with_connect_timeout(CONNECT)
            .with_read_timeout(SILENCE)
            .with_timeout(REQUEST);
        if let Some(path) = &self.ca {
            let unusable = |problem: String| BucketError::Authority { path: path.clone(), problem };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
            if certificates.is_empty() {
                return Err(unusable("no certificate is in it".to_owned()));
            }
            options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
        }
        Ok(options)
    }
}

/// Checks an endpoint; returns it with the bucket's name before the host, where that is its place.
fn endpoint(text: &str, name: &str, path_style: bool, allow_http: bool) -> Result<String, BucketError> {
    let wrong = || BucketError::Endpoint(text.to_owned());
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let host = url.host().map(|host| host.to_owned()).ok_or_else(wrong)?;
    if !plain || !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    let here = match &host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if url.scheme() == "http" && !here && !allow_http {
        return Err(BucketError::Clear(text.to_owned()));
    }
    if !path_style {
        let Host::Domain(host) = host else { return Err(wrong()) };
        url.set_host(Some(&format!("{name}.{host}"))).map_err(|_| wrong())?;
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Bucket, BucketSettings};

    #[test]
    fn what_cannot_be_a_bucket_is_refused() {
        for (url, endpoint, allow_http, path_style, result) in [
            ("s3://lake", None, false, None, "s3://lake virtual -"),
            ("s3://lake/", None, false, None, "s3://lake virtual -"),
            ("s3://lake/a/b", Some("https://s3.example"), false, None, "s3://lake/a/b path https://s3.example"),
            ("s3://lake", Some("https://s3.example/"), false, Some(false), "s3://lake virtual https://lake.s3.example"),
            ("s3://lake", Some("http://127.0.0.1:9000"), false, None, "s3://lake path http://127.0.0.1:9000"),
            ("s3://lake", Some("http://[::1]:9000"), false, None, "s3://lake path http://[::1]:9000"),
            ("s3://lake", Some("http://localhost:9000"), false, None, "s3://lake path http://localhost:9000"),
            ("s3://lake", Some("http://minio:9000"), true, None, "s3://lake path http://minio:9000"),
            ("s3://lake", Some("http://minio:9000"), false, None, "has no TLS"),
            ("s3://lake", Some("http://127.0.0.1.example"), false, None, "has no TLS"),
            ("s3://lake", Some("http://127.0.0.1:9000"), false, Some(false), "is not of the form https://"),
            ("s3://lake", Some("https://key:secret@s3.example"), false, None, "is not of the form https://"),
            ("s3://lake", Some("ftp://s3.example"), false, None, "is not of the form https://"),
            ("s3://lake", Some("s3.example"), false, None, "is not of the form https://"),
            ("https://lake", None, false, None, "is not of the form s3://"),
            ("s3://", None, false, None, "is not of the form s3://"),
            ("s3://Lake", None, false, None, "is not of the form s3://"),
            ("s3://la", None, false, None, "is not of the form s3://"),
            ("s3://lake@host/x", None, false, None, "is not of the form s3://"),
            ("s3://lake/a//b", None, false, None, "is not of the form s3://"),
            ("s3://lake/../b", None, false, None, "is not of the form s3://"),
            ("s3://lake/a?region=x", None, false, None, "is not of the form s3://"),
        ] {
            let settings = BucketSettings {
                url: url.to_owned(),
                endpoint: endpoint.map(str::to_owned),
                allow_http,
                path_style,
                ..BucketSettings::default()
            };
            let found = match Bucket::new(settings) {
                Ok(bucket) => {
                    let style = if bucket.path_style { "path" } else { "virtual" };
                    format!("{} {style} {}", bucket.url(), bucket.endpoint.as_deref().unwrap_or("-"))
                }
                Err(error) => error.to_string(),
            };
            assert!(found == result || found.contains(result), "{url} {endpoint:?}: {found}");
        }
    }
}
