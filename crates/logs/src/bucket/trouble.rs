//! What went wrong at a store, with what to do about it.
//!
//! Stores answer with a code in XML ("List of error codes" of the S3 API), and connections fail in the words of the
//! system; an owner needs to know which line of the configuration to look at. Pure: errors in, errors out. Invariant: the
//! kind of an error stays what it was, but that an object of a bucket that is not there is not merely absent.

use std::error::Error as _;

use s3::client::{HttpError, HttpErrorKind};

/// How much of what a store says is passed on, in characters.
const LONGEST: usize = 300;

/// What advice speaks of.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    pub name: String,
    pub endpoint: Option<String>,
}

/// An error of a store, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Advice(String);

impl Whereabouts {
    /// Returns an error as the lake knows it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others differ in nothing that a caller acts upon")]
    pub(crate) fn translate(&self, error: s3::Error) -> object_store::Error {
        use object_store::Error;
        let text = self.explain(&error);
        let gone = code(&error.to_string()) == Some("NoSuchBucket");
        let source = Box::new(Advice(text));
        match error {
            s3::Error::NotFound { .. } if gone => Error::Generic { store: "S3", source },
            s3::Error::NotFound { path, .. } => Error::NotFound { path, source },
            s3::Error::AlreadyExists { path, .. } => Error::AlreadyExists { path, source },
            s3::Error::Precondition { path, .. } => Error::Precondition { path, source },
            s3::Error::NotModified { path, .. } => Error::NotModified { path, source },
            s3::Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source },
            s3::Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source },
            s3::Error::NotSupported { .. } => Error::NotSupported { source },
            s3::Error::NotImplemented { operation, implementer } => Error::NotImplemented { operation, implementer },
            _ => Error::Generic { store: "S3", source },
        }
    }

    fn explain(&self, error: &s3::Error) -> String {
        let said = error.to_string();
        let place = self.endpoint.as_deref().unwrap_or("Amazon S3");
        let name = &self.name;
        let what = match code(&said) {
            Some("NoSuchBucket") => {
                format!("there is no bucket {name:?} at {place}: create it, or correct `url` or `endpoint` of [logs.bucket]")
            }
            Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                format!("{place} does not know these credentials: correct those that [logs.bucket] names")
            }
            Some("RequestTimeTooSkewed") => {
                format!("this machine's clock and that of {place} differ: set it")
            }
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "TemporaryRedirect") => {
                format!("the bucket {name:?} is in another region: set `region` of [logs.bucket]")
            }
            _ if said.contains("169.254.169.254") || said.contains("169.254.170.2") => {
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give this machine a role, or name a \
                 file as `credentials` of [logs.bucket]"
                    .to_owned()
            }
            _ if said.contains("redirect without LOCATION") => {
                format!("the bucket {name:?} is in another region: set `region` of [logs.bucket]")
            }
            _ if matches!(error, s3::Error::PermissionDenied { .. } | s3::Error::Unauthenticated { .. }) => format!(
                "{place} does not let us: the credentials need s3:ListBucket, GetObject, PutObject, DeleteObject and \
                 AbortMultipartUpload on the bucket {name:?}"
            ),
            _ => match http(error) {
                Some(kind) => format!("{place} does not answer ({kind})"),
                None => match message(&said) {
                    Some(_) => format!("{place} refuses"),
                    None => return short(&said),
                },
            },
        };
        format!("{what}: {}", short(&message(&said).unwrap_or_else(|| root(error))))
    }
}

/// Returns the code in the answer of a store.
fn code(said: &str) -> Option<&str> {
    element(said, "Code")
}

/// Returns the code and the message in the answer of a store.
fn message(said: &str) -> Option<String> {
    let code = code(said)?;
    Some(element(said, "Message").map_or_else(|| code.to_owned(), |message| format!("{code}, {message}")))
}

fn element<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// Returns why a connection failed, when one did.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list is not closed; what is not told apart is one")]
fn http(error: &s3::Error) -> Option<&'static str> {
    let mut below = error.source();
    while let Some(error) = below {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(match http.kind() {
                HttpErrorKind::Connect => "no connection",
                HttpErrorKind::Timeout => "too slow",
                _ => "the connection broke",
            });
        }
        below = error.source();
    }
    None
}

/// Returns what lies at the bottom of an error.
fn root(error: &s3::Error) -> String {
    let mut lowest: &dyn std::error::Error = error;
    while let Some(below) = lowest.source() {
        lowest = below;
    }
    lowest.to_string()
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() && text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
