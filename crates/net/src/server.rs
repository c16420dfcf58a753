//! The client's leg: what a connection opens with, and the TLS handshake with a minted certificate.
//!
//! It decides nothing about interception: it says what the first bytes are, and runs the handshake it is told to run.
//! Invariant: reading the opening and the handshake are each bounded in bytes and in time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client_hello::{self, ClientHello, Invalid, Parsed};
use crate::tls::TlsInfo;

/// What a connection's first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Tls(Box<ClientHello>),
    /// A TLS record that no well-behaved client would send; it must not be intercepted or passed on as something else.
    BrokenTls(Invalid),
    /// Not TLS: plain HTTP, SSH, anything.
    Other,
    /// The client closed without saying anything.
    Closed,
}

/// Why the opening could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    #[error("client sent nothing in time")]
    Timeout,
    #[error("connection failed")]
    Io(#[from] io::Error),
}

/// Reads as much of `io` as it takes to know what the client speaks.
///
/// The bytes come back with the answer; put them in front again with [`crate::Prefixed`].
///
/// # Errors
///
/// When the client says too little within `within`, or the connection breaks.
pub async fn read_opening<IO: AsyncRead + Unpin>(
    io: &mut IO,
    already_read: Bytes,
    within: Duration,
) -> Result<(Opening, Bytes), OpeningError> {
    timeout(within, read_opening_unbounded(io, already_read)).await.map_err(|_| OpeningError::Timeout)?
}

async fn read_opening_unbounded<IO: AsyncRead + Unpin>(
    io: &mut IO,
    already_read: Bytes,
) -> Result<(Opening, Bytes), OpeningError> {
    let mut buffer = BytesMut::from(already_read);
    loop {
        let wanted = match client_hello::looks_like_tls(&buffer) {
            Some(false) => return Ok((Opening::Other, buffer.freeze())),
            None => buffer.len() + 1,
            Some(true) => match client_hello::parse(&buffer) {
                Ok(Parsed::Hello(hello)) => return Ok((Opening::Tls(hello), buffer.freeze())),
                Ok(Parsed::Incomplete { at_least }) => at_least,
                Err(invalid) => return Ok((Opening::BrokenTls(invalid), buffer.freeze())),
            },
        };
        while buffer.len() < wanted {
            // Growing by what is missing, not by what a length field claims, keeps a liar from reserving memory.
            buffer.reserve((wanted - buffer.len()).min(4 * 1024));
            if io.read_buf(&mut buffer).await? == 0 {
                let opening = if buffer.is_empty() { Opening::Closed } else { Opening::BrokenTls(Invalid::Length) };
                return Ok((opening, buffer.freeze()));
            }
        }
    }
}

/// Why a client's handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("client did not finish its handshake in time")]
    Timeout,
    /// The client does not trust the gateway's authority: it pins certificates, or the authority is not installed.
    #[error("client refuses the gateway's certificate")]
    Distrusted(#[source] io::Error),
    #[error("client and gateway cannot agree on TLS parameters")]
    Handshake(#[source] io::Error),
    #[error("connection failed during the handshake")]
    Io(#[source] io::Error),
}

/// A client connection after its handshake.
#[derive(Debug)]
pub struct Accepted<IO> {
    pub stream: TlsStream<IO>,
    pub tls: TlsInfo,
    /// The server name of the hello that was really used.
    pub sni: Option<String>,
    /// What the client showed, its own certificate first, whose key it holds; empty where it was not asked or has none.
    /// A resumed session shows what its first handshake did.
    pub client_chain: Vec<CertificateDer<'static>>,
}

/// Runs the server side of a handshake with a configuration from [`crate::Minter::server_config`].
///
/// # Errors
///
/// When the handshake fails or takes longer than `within`; the alert has been sent then.
pub async fn accept<IO>(io: IO, config: Arc<ServerConfig>, within: Duration) -> Result<Accepted<IO>, AcceptError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let started = Instant::now();
    let stream = match timeout(within, TlsAcceptor::from(config).accept(io)).await {
        Err(_) => return Err(AcceptError::Timeout),
        Ok(Err(error)) => return Err(accept_error(error)),
        Ok(Ok(stream)) => stream,
    };
    let (_, state) = stream.get_ref();
    let tls = TlsInfo::of(state, started.elapsed());
    let sni = state.server_name().map(str::to_owned);
    let client_chain = state.peer_certificates().unwrap_or_default().to_vec();
    Ok(Accepted { stream, tls, sni, client_chain })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn accept_error(error: io::Error) -> AcceptError {
    use rustls::AlertDescription as Alert;
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return AcceptError::Io(error);
    };
    match cause {
        // How a client says, in its own words, that it will not have this certificate.
        rustls::Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied
            // What some say when they know an authority of the same name with another key.
            | Alert::DecryptError,
        ) => AcceptError::Distrusted(error),
        _ => AcceptError::Handshake(error),
    }
}
