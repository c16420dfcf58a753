//! Hands a batch to its destination, and says whether that took it.
//!
//! HTTP goes the guarded way that Workers and webhooks go, syslog through the same connector. Invariants: success means that
//! the destination said so: an HTTP status 2xx, or a syslog receiver that read to the end of the connection and closed it; an
//! error names no secret.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use net::Host;
use net::host::{Origin, Scheme};
use net::tls::Offer;
use net::upstream::{ConnectError, Route};
use push::output::Format;
use push::retry::Failure;
use push::{Destination, Http, S3, Syslog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::batch::Packed;
use super::bucket;
use crate::upstream::Upstream;

/// One attempt, from the name's resolution to the answer.
const ATTEMPT: Duration = Duration::from_secs(90);
/// How long an endpoint may take to answer what it was sent.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a syslog receiver may take to close after the end.
const FAREWELL: Duration = Duration::from_secs(15);
/// How long a reset may come after the end of a connection, at least.
const SETTLED: Duration = Duration::from_millis(250);
/// How long what it says to a refusal is waited for, and how much of it is shown. Bytes.
const PATIENCE: Duration = Duration::from_secs(2);
const SHOWN: usize = 200;

/// Why a batch was not taken.
#[derive(Debug)]
pub(super) struct SendError {
    /// What happened and what to do about it.
    pub message: String,
    pub kind: Failure,
    /// What the receiver asked for.
    pub retry_after: Option<Duration>,
    /// The receiver takes smaller ones than this, which had so many records.
    pub too_large: Option<u64>,
}

impl SendError {
    fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Failure::Passing, retry_after: None, too_large: None }
    }

    fn mending(message: impl Into<String>) -> Self {
        Self { kind: Failure::Mending, ..Self::passing(message) }
    }
}

/// The way to destinations.
pub(super) struct Sender {
    upstream: Arc<Upstream>,
}

impl Sender {
    pub(super) const fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream }
    }

    /// Sends a batch. When it returns well, the destination has it.
    pub(super) async fn send(&self, destination: &Destination, packed: Packed) -> Result<(), SendError> {
        let sending = async {
            match destination {
                Destination::Http(http) => self.post(http, packed).await,
                Destination::Syslog(syslog) => self.syslog(syslog, &packed.body).await,
                Destination::S3(s3) => self.put(s3, packed).await,
            }
        };
        let sent = tokio::time::timeout(ATTEMPT, sending).await;
        sent.unwrap_or_else(|_| Err(SendError::passing("the destination did not take the batch in time")))
    }

    async fn post(&self, http: &Http, packed: Packed) -> Result<(), SendError> {
        let media_type = match packed.format {
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv",
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(http.url.as_str())
            .header(header::USER_AGENT, concat!("portunus/", env!("CARGO_PKG_VERSION")))
            .header("Portunus-Batch-Id", &packed.name)
            .header("Portunus-Records", packed.records);
        if packed.job.is_empty() {
            request = request.header("Portunus-Test", "true");
        } else {
            request = request.header("Portunus-Job-Id", &packed.job).header("Portunus-Dataset", packed.dataset);
        }
        let own = |name: &str| http.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !own("content-type") {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        for (name, value) in &http.headers {
            request = request.header(name, value);
        }
        request = request.header(header::CONTENT_ENCODING, "gzip");
        let request = request.body(worker::full_body(packed.body));
        let request =
            request.map_err(|_| SendError::mending("destination_conf is no address that can be posted to"))?;
        self.ask(request, packed.records, "give others in header_Authorization").await
    }

    async fn put(&self, s3: &S3, packed: Packed) -> Result<(), SendError> {
        let records = packed.records;
        let request = bucket::put(s3, packed, Timestamp::now());
        let request = request.map_err(|_| SendError::mending("destination_conf is no address of a bucket"))?;
        self.ask(request, records, "the key must exist, and may put objects into this bucket").await
    }

    /// Sends a request; `access` is what to do when the credentials are not accepted.
    async fn ask(&self, request: Request<worker::Body>, records: u64, access: &str) -> Result<(), SendError> {
        let answer = gateway::fetch(&self.upstream.pool, ANSWER, request).await;
        let answer = answer.map_err(|error| SendError::passing(error.message))?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            return Ok(());
        }
        // What it says is a help, and no more.
        let said = tokio::time::timeout(PATIENCE, beginning(body)).await.unwrap_or_default();
        Err(refused(parts.status, &parts.headers, &said, records, access))
    }

    async fn syslog(&self, syslog: &Syslog, bytes: &[u8]) -> Result<(), SendError> {
        let host = Host::parse(&syslog.host).map_err(|error| SendError::mending(error.to_string()))?;
        let scheme = if syslog.tls { Scheme::Https } else { Scheme::Http };
        let route = Route::new(Origin::new(scheme, host.clone(), syslog.port), Offer::Nothing);
        let connector = self.upstream.connector();
        let failed = |error: &ConnectError| unreachable(error, &syslog.host);
        let broke =
            |error: std::io::Error| SendError::passing(format!("the connection to {} broke off: {error}", syslog.host));
        let dialled = connector.dial(&host, syslog.port).await.map_err(|error| failed(&error))?;
        let settled = SETTLED.max(dialled.timings.tcp * 3);
        let socket = std::net::TcpStream::from(dialled.stream.as_fd().try_clone_to_owned().map_err(broke)?);
        let mut stream = connector.over(&route, dialled).await.map_err(|error| failed(&error))?.stream;
        stream.write_all(bytes).await.map_err(broke)?;
        stream.flush().await.map_err(broke)?;
        // Syslog has no acknowledgement. A receiver that closes in its turn has read all before our end; one that closed
        // with something unread, or before it arrived, resets the connection.
        stream.shutdown().await.map_err(broke)?;
        let mut rest = [0; 512];
        let farewell = async {
            loop {
                match stream.read(&mut rest).await {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    // Not every receiver ends TLS before it closes (RFC 8446 section 6.1).
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(broke(error)),
                }
            }
        };
        let unsure = format!(
            "{} did not close the connection after the end of the batch, so that it may not have read it",
            syslog.host
        );
        let closed = tokio::time::timeout(FAREWELL, farewell).await;
        closed.unwrap_or_else(|_| Err(SendError::passing(unsure)))?;
        // The reset of what closed too early comes after its end, by one way there and back.
        tokio::time::sleep(settled).await;
        socket.take_error().map_err(broke)?.map_or(Ok(()), |error| Err(broke(error)))
    }
}

/// Returns the first bytes of an answer.
async fn beginning(mut body: worker::Body) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < SHOWN
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(bytes) = frame.into_data() {
            read.extend_from_slice(&bytes[..bytes.len().min(SHOWN)]);
        }
    }
    read
}

fn unreachable(error: &ConnectError, host: &str) -> SendError {
    let mut message = format!("{host}: {error}");
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        message = format!("{message}: {error}");
        below = error.source();
    }
    if let Some(words) = error.certificate().and_then(|certificate| certificate.plain_words(&Host::parse(host).ok()?)) {
        message = format!("{message}: {words}");
    }
    SendError::passing(message)
}

/// Says why a batch was refused, and what to do.
fn refused(status: StatusCode, headers: &HeaderMap, said: &[u8], records: u64, access: &str) -> SendError {
    let unaccepted = format!("the credentials are not accepted: {access}");
    let advice = match status.as_u16() {
        401 | 403 => unaccepted.as_str(),
        404 | 405 | 410 => "nothing takes records at this address: look at host and path",
        413 if records > 1 => "the batch is too large for it, and is sent in smaller ones",
        413 => "it takes no record as large as this one: raise its limit",
        429 => "it takes no more just now",
        300..=399 => "it points elsewhere, and redirects are not followed: give the address it points to",
        400..=499 => "it does not take records in this form: look at output_options and the address",
        _ => "it cannot take records just now",
    };
    let text: String = String::from_utf8_lossy(said).chars().filter(|one| !one.is_control()).take(SHOWN).collect();
    // A page says in many words what the status says.
    let tells = !text.trim().is_empty() && !text.trim_start().starts_with('<');
    let quoted = if tells { format!(" (\"{}\")", text.trim()) } else { String::new() };
    let message = format!("the destination answered {}: {advice}{quoted}", status.as_u16());
    let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    let error = if passes { SendError::passing(message) } else { SendError::mending(message) };
    let asked = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    SendError {
        retry_after: asked.map(Duration::from_secs),
        too_large: (status == StatusCode::PAYLOAD_TOO_LARGE && records > 1).then_some(records),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode, header};
    use push::retry::Failure;

    use super::refused;

    #[test]
    fn refusals_say_what_to_do_and_whether_they_pass() {
        for (status, records, kind, too_large, said) in [
            (401, 5, Failure::Mending, false, "header_Authorization"),
            (404, 5, Failure::Mending, false, "host and path"),
            (413, 5, Failure::Mending, true, "smaller"),
            (413, 1, Failure::Mending, false, "raise its limit"),
            (422, 5, Failure::Mending, false, "output_options"),
            (302, 5, Failure::Mending, false, "redirects"),
            (429, 5, Failure::Passing, false, "no more just now"),
            (503, 5, Failure::Passing, false, "cannot take"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
            let error =
                refused(status, &headers, b"{\"text\":\n\"no\"}", records, "give others in header_Authorization");
            assert_eq!((error.kind, error.too_large.is_some()), (kind, too_large), "{status}");
            assert!(
                error.message.contains(said) && error.message.ends_with("(\"{\"text\":\"no\"}\")"),
                "{}",
                error.message
            );
            assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        }
    }
}
