//! The demo company's web sites, served by this process over TLS under names that only the gateway resolves.
//!
//! They decide nothing and keep nothing: each page shows what reached it, so a visitor sees what the gateway did. The
//! listener is on loopback with a port of its own choosing and a certificate from a root that lives only in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::people;

pub const FINANCE: &str = "finance.acme.test";
pub const LEARNING: &str = "learning.acme.test";
pub const CHAT: &str = "chat.openmind.test";

/// A handshake slower than this is dropped.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The running sites.
pub struct Sites {
    /// Where all of them listen.
    pub address: SocketAddr,
    /// The root their certificate chains to, PEM.
    pub root: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SitesError {
    #[error("cannot make the demo certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot use the demo certificate")]
    Tls(#[from] rustls::Error),
    #[error("cannot listen for the demo sites")]
    Listen(#[from] std::io::Error),
}

/// Starts the sites; they stop when `stop` is cancelled, and every task is on `tasks`.
///
/// # Errors
/// No loopback port, or a certificate that cannot be made.
pub async fn start(tasks: &TaskTracker, stop: CancellationToken) -> Result<Sites, SitesError> {
    let (root, tls) = certificate()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let owner = tasks.clone();
    tasks.spawn(async move {
        while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            let acceptor = acceptor.clone();
            owner.spawn(stop.clone().run_until_cancelled_owned(async move {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    serve(stream).await;
                }
            }));
        }
    });
    Ok(Sites { address, root })
}

async fn serve(stream: TlsStream<TcpStream>) {
    let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
        sites().oneshot(request.map(axum::body::Body::new)).await
    });
    let server = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
    // A peer that goes away is the gateway closing its connection; there is nobody to tell.
    let _ = server.serve_connection_with_upgrades(hyper_util::rt::TokioIo::new(stream), service).await;
}

fn certificate() -> Result<(String, rustls::ServerConfig), SitesError> {
    let root_key = rcgen::KeyPair::generate()?;
    let mut root = rcgen::CertificateParams::new(Vec::new())?;
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    root.distinguished_name.push(rcgen::DnType::CommonName, "Acme demo sites");
    let root_pem = root.self_signed(&root_key)?.pem();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate()?;
    let names = [FINANCE, LEARNING, CHAT].map(String::from).to_vec();
    let leaf = rcgen::CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((root_pem, tls))
}

fn sites() -> Router {
    let finance = Router::new().fallback(finance);
    let chat = Router::new().fallback(chat);
    let learning = Router::new()
        .route("/api/training", axum::routing::get(training))
        .route("/compliance", axum::routing::get(compliance))
        .fallback(learning_home);
    Router::new().fallback(by_host).with_state(Hosts { finance, learning, chat })
}

#[derive(Clone)]
struct Hosts {
    finance: Router,
    learning: Router,
    chat: Router,
}

async fn by_host(State(hosts): State<Hosts>, request: Request) -> Response {
    let header = request.headers().get("host").and_then(|host| host.to_str().ok());
    let host = request.uri().host().or(header).unwrap_or("").to_owned();
    let site = match host.split(':').next().unwrap_or("") {
        FINANCE => hosts.finance,
        LEARNING => hosts.learning,
        CHAT => hosts.chat,
        _ => return (StatusCode::MISDIRECTED_REQUEST, "no such demo site\n").into_response(),
    };
    site.oneshot(request).await.into_response()
}

async fn finance(headers: HeaderMap) -> Markup {
    let shown = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("(not sent)");
        format!("{name}: {value}")
    };
    page(
        "Acme Finance",
        html! {
            p { "You reached the finance site. What the gateway added on the way:" }
            pre { (shown("x-training-valid-until")) }
        },
    )
}

async fn learning_home(headers: HeaderMap) -> Markup {
    let learner = headers.get("x-learner").and_then(|value| value.to_str().ok()).unwrap_or("nobody we know");
    page("Acme Learning", html! { p { "Welcome, " (learner) "." } })
}

async fn chat() -> Markup {
    page("OpenMind Chat", html! { p { "Ask me anything." } })
}

#[derive(Deserialize)]
struct Person {
    person: String,
}

#[derive(Serialize)]
struct Training {
    status: &'static str,
    expires: &'static str,
}

async fn training(Query(query): Query<Person>) -> axum::Json<Training> {
    let valid = people().iter().any(|person| person.email == query.person && person.trained);
    axum::Json(if valid {
        Training { status: "valid", expires: "2027-06-30" }
    } else {
        Training { status: "expired", expires: "2025-12-31" }
    })
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: String,
}

async fn compliance(Query(query): Query<From>) -> Markup {
    page(
        "Compliance training",
        html! {
            p { "Your compliance training has expired. It takes ten minutes." }
            @if !query.from.is_empty() {
                p { "You were on your way to " code { (query.from) } "." }
            }
        },
    )
}

fn page(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (title) } }
            body { h1 { (title) } (content) }
        }
    }
}
