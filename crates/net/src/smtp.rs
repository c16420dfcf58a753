//! Hands one mail to a mail server (RFC 5321), over implicit TLS or STARTTLS, or in clear on this machine.
//!
//! It decides whether a failure is worth another attempt and nothing about when. Invariants: a password and a message
//! leave only over a connection whose certificate was believed, or that stays on this machine; a server that stops
//! answering costs no more than the attempt's time.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use types::Secret;

use crate::guard::{Allow, GuardParams};
use crate::resolve::Resolve;
use crate::upstream::{ConnectError, Connector, ConnectorParams, DialTimeouts, TrustError, TrustParams, TrustStore};
use crate::{Clock, Guard, Host};

/// What a server may say during one attempt, handshake included. Bytes; the mail client reads an answer again with each of
/// its lines, so more would cost seconds.
const HEARD: usize = 64 * 1024;
/// Answers that ask for another sign-in.
const SIGN_IN: [u16; 4] = [530, 534, 535, 538];

/// How a connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// TLS from the first byte (RFC 8314), by custom on port 465.
    Implicit,
    /// STARTTLS (RFC 3207), insisted upon; by custom on port 587.
    StartTls,
    /// None; for servers on this machine alone.
    Loopback,
}

/// How to reach a mail server.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    pub host: Host,
    pub port: u16,
    pub protection: Protection,
    /// Name and password, for servers that ask.
    pub credentials: Option<(String, Secret<String>)>,
    /// Who mail comes from: `name@example.com` or `Name <name@example.com>`.
    pub from: String,
}

/// One mail.
#[derive(Debug)]
pub struct Letter<'a> {
    pub to: &'a str,
    pub subject: &'a str,
    /// Plain text.
    pub text: &'a str,
    /// The same as an HTML page, for readers that show one.
    pub html: Option<&'a str>,
    /// What stands before the `@` of its `Message-ID`; the same in every attempt, so that a receiver can see that two
    /// are one.
    pub id: &'a str,
    pub date: Timestamp,
}

/// Why a server did not take a mail. The text is the server's where it said something.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The settings or the letter cannot be used at all.
    #[error("{0}")]
    Unusable(String),
    #[error("the mail server cannot be reached: {0}")]
    Unreachable(#[from] ConnectError),
    #[error("{0}")]
    Server(#[from] lettre::transport::smtp::Error),
    /// It turned away whoever connects, before it heard of a letter.
    #[error("the mail server serves nobody: {0}")]
    Greeting(lettre::transport::smtp::Error),
    #[error("the mail server is not on this machine; choose TLS")]
    Elsewhere,
    #[error("the mail server refused the name and password: {0}")]
    SignIn(lettre::transport::smtp::Error),
    #[error("the mail server did not answer in time")]
    Timeout,
}

impl SmtpError {
    /// Tells whether another attempt at this letter is in vain: the server refused it for good (RFC 5321 section 4.2.1),
    /// or it cannot be written. What an administrator mends, like a refused password, lets the letter wait.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unusable(_) => true,
            Self::Server(error) => {
                // RFC 4954 section 6: it wants to know who asks.
                error.is_permanent() && error.status().is_none_or(|code| !SIGN_IN.contains(&u16::from(code)))
            }
            Self::Unreachable(_) | Self::Greeting(_) | Self::Elsewhere | Self::SignIn(_) | Self::Timeout => false,
        }
    }
}

/// What stands behind settings: names, roots, the addresses of our own listeners.
pub struct SmtpGround {
    pub resolver: Arc<dyn Resolve>,
    pub trust: TrustParams,
    pub own_listeners: Vec<SocketAddr>,
    pub clock: Clock,
}

/// A protection with what it needs.
enum Tls {
    Implicit(TlsConnector, ServerName<'static>),
    Upgraded(TlsParameters),
    Loopback,
}

/// A mail server, ready to be sent to.
pub struct Smtp {
    settings: SmtpSettings,
    from: Mailbox,
    connector: Connector,
    tls: Tls,
    /// One attempt, from the name's resolution to the server's answer.
    within: Duration,
}

impl Smtp {
    /// Makes settings ready. Reads the system's roots, so call it when settings change and not for each mail.
    ///
    /// # Errors
    /// When the sender is no address or the roots cannot be read.
    pub fn new(settings: SmtpSettings, ground: SmtpGround, within: Duration) -> Result<Self, SmtpError> {
        let from = mailbox(&settings.from)?;
        let tls = match settings.protection {
            Protection::Implicit => implicit(&settings.host, &ground.trust)?,
            Protection::StartTls => Tls::Upgraded(parameters(&settings.host, &ground.trust)?),
            Protection::Loopback => Tls::Loopback,
        };
        // An administrator may name a server on this machine or in the house; what the guard must refuse is ourselves.
        let networks = if settings.protection == Protection::Loopback {
            &["127.0.0.0/8", "::1/128"][..]
        } else {
            &["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"][..]
        };
        let allow = networks.iter().map(|network| network.parse::<Allow>());
        let allow = allow.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
        let guard = Guard::new(GuardParams { own_listeners: ground.own_listeners, allow, refuse_private: false });
        let none = TrustParams { bundled_roots: false, native_roots: false, ..TrustParams::default() };
        let connector = Connector::new(ConnectorParams {
            resolver: ground.resolver,
            guard,
            // TLS is spoken by the mail client; the connector only dials.
            trust: TrustStore::new(&none).map_err(unusable)?,
            clock: ground.clock,
            timeouts: DialTimeouts::default(),
        });
        let connector = connector.map_err(unusable)?;
        Ok(Self { settings, from, connector, tls, within })
    }

    /// Hands over one letter. When it returns well, the server has taken responsibility for it.
    ///
    /// # Errors
    /// [`SmtpError`]; where the connection broke after the text was sent, the server may have taken it all the same.
    pub async fn send(&self, letter: &Letter<'_>) -> Result<(), SmtpError> {
        let (envelope, text) = self.write(letter)?;
        tokio::time::timeout(self.within, self.hand_over(&envelope, &text)).await.map_err(|_| SmtpError::Timeout)?
    }

    async fn hand_over(&self, envelope: &Envelope, text: &[u8]) -> Result<(), SmtpError> {
        let dialled = self.connector.dial(&self.settings.host, self.settings.port).await?;
        if matches!(self.tls, Tls::Loopback) && !dialled.peer.ip().is_loopback() {
            return Err(SmtpError::Elsewhere);
        }
        let own = dialled.stream.local_addr().map_err(ConnectError::Tcp)?.ip();
        // RFC 5321 section 4.1.3: a client without a name of its own says its address.
        let hello = match own {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        let mut connection = self.open(dialled.stream, &hello).await?;
        if let Some((name, password)) = &self.settings.credentials {
            let credentials = Credentials::new(name.clone(), password.expose().clone());
            let taken = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            taken.map_err(SmtpError::SignIn)?;
        }
        connection.send(envelope, text).await?;
        // The letter is taken; what becomes of the farewell changes nothing.
        connection.abort().await;
        Ok(())
    }

    async fn open(&self, stream: TcpStream, hello: &ClientId) -> Result<AsyncSmtpConnection, SmtpError> {
        let open = AsyncSmtpConnection::connect_with_transport;
        let stream = Bounded { stream, left: HEARD };
        let opened = match &self.tls {
            Tls::Loopback => open(Box::new(stream), hello).await,
            Tls::Upgraded(parameters) => {
                let mut connection = open(Box::new(stream), hello).await.map_err(SmtpError::Greeting)?;
                connection.starttls(parameters.clone(), hello).await.map(|()| connection)
            }
            Tls::Implicit(connector, name) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(ConnectError::Tls)?;
                open(Box::new(Encrypted(stream)), hello).await
            }
        };
        opened.map_err(SmtpError::Greeting)
    }

    /// Writes a letter as a message (RFC 5322) in ASCII alone, whatever its text.
    fn write(&self, letter: &Letter<'_>) -> Result<(Envelope, Vec<u8>), SmtpError> {
        let to = mailbox(letter.to)?;
        let domain = self.from.email.domain();
        let date = u64::try_from(letter.date.as_second()).unwrap_or(0);
        let builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject)
            .message_id(Some(format!("<{}@{domain}>", letter.id)))
            .date(std::time::UNIX_EPOCH + Duration::from_secs(date))
            .raw_header(automatic());
        let part = |kind, text: &str| {
            let part = SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable);
            part.body(text.to_owned())
        };
        let text = part(ContentType::TEXT_PLAIN, letter.text);
        let message = match letter.html {
            None => builder.singlepart(text),
            // RFC 2046 section 5.1.4: the richest comes last.
            Some(html) => builder
                .multipart(MultiPart::alternative().singlepart(text).singlepart(part(ContentType::TEXT_HTML, html))),
        };
        let message = message.map_err(|error| SmtpError::Unusable(format!("the letter cannot be written: {error}")))?;
        Ok((message.envelope().clone(), message.formatted()))
    }
}

/// Tells the receiver's machines that no answer is wanted (RFC 3834 section 5).
fn automatic() -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned())
}

/// Reads `name@example.com` or `Name <name@example.com>`.
///
/// # Errors
/// When it is neither.
pub fn mailbox(text: &str) -> Result<Mailbox, SmtpError> {
    text.parse().map_err(|error| SmtpError::Unusable(format!("{text:?} is no mail address: {error}")))
}

/// Returns the roots the administrator of this machine or of the platform added to the bundled ones.
fn added_roots(trust: &TrustParams) -> Result<Vec<CertificateDer<'static>>, SmtpError> {
    let mut roots = Vec::new();
    if trust.native_roots {
        roots.extend(rustls_native_certs::load_native_certs().certs);
    }
    for pem in &trust.extra_pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.push(certificate.map_err(|_| TrustError::Certificate(0)).map_err(unusable)?);
        }
    }
    // One that no verifier takes must not keep the others out.
    roots.retain(|root| RootCertStore::empty().add(root.clone()).is_ok());
    Ok(roots)
}

fn unusable(error: impl std::fmt::Display) -> SmtpError {
    SmtpError::Unusable(error.to_string())
}

fn implicit(host: &Host, trust: &TrustParams) -> Result<Tls, SmtpError> {
    let mut roots = RootCertStore::empty();
    if trust.bundled_roots {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.add_parsable_certificates(added_roots(trust)?);
    let config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_string()).map_err(unusable)?;
    Ok(Tls::Implicit(TlsConnector::from(Arc::new(config)), name))
}

fn parameters(host: &Host, trust: &TrustParams) -> Result<TlsParameters, SmtpError> {
    let bundled = if trust.bundled_roots { CertificateStore::WebpkiRoots } else { CertificateStore::None };
    let mut builder = TlsParameters::builder(host.to_string()).certificate_store(bundled);
    for root in added_roots(trust)? {
        builder = builder.add_root_certificate(Certificate::from_der(root.to_vec())?);
    }
    Ok(builder.build_rustls()?)
}

/// A connection whose other end may say only so much: the mail client keeps an answer whole, however long.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(std::io::Error::other("the mail server says too much")));
        }
        let before = into.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, into);
        self.left = self.left.saturating_sub(into.filled().len() - before);
        outcome
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection that speaks TLS from its first byte.
#[derive(Debug)]
struct Encrypted(TlsStream<Bounded>);

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
