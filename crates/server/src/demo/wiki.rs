//! The demo's internal wiki, published behind Access: plain HTTP on loopback, and the content that lets people and an
//! agent in.
//!
//! It shows what reached it, so a visitor sees what Access told it. Invariant: it listens on loopback alone, and what it
//! is published with is ordinary content that loading twice does not double.

use std::net::{Ipv4Addr, SocketAddr};

use access::PasswordHash;
use axum::Router;
use axum::http::HeaderMap;
use identity::service_token::{ClientId, SecretHash, secret_of};
use maud::{DOCTYPE, Markup, html};
use serde_json::{Value, json};
use store::{
    AccessPolicy, AccessProfile, Application, Principal, Provider, ServiceToken, Store, WriteAccess, WriteIdentity,
    WriteServiceTokens, WriteUsers,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{AccessPolicyId, AccountId, ApplicationId, ProviderId, Secret, ServiceTokenId};
use uuid::Uuid;

use super::{Credential, DemoError};
use crate::account::AccountError;

/// Where people reach it. Browsers take every name under `localhost` for this machine.
pub const WIKI: &str = "wiki.localhost";

const APPLICATION: ApplicationId = ApplicationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0011));
const PEOPLE: AccessPolicyId = AccessPolicyId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0012));
const AGENT: AccessPolicyId = AccessPolicyId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0013));
const PROVIDER: ProviderId = ProviderId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0014));
pub(super) const TOKEN: ServiceTokenId = ServiceTokenId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0015));

/// What an agent shows.
pub struct AgentToken {
    pub client_id: String,
    pub secret: Secret<String>,
}

/// Starts the wiki; it stops when `stop` is cancelled.
///
/// # Errors
/// No loopback port.
pub async fn start(tasks: &TaskTracker, stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let serving =
            axum::serve(listener, Router::new().fallback(home)).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "the demo wiki ended");
        }
    });
    Ok(address)
}

async fn home(headers: HeaderMap) -> Markup {
    let told = headers.contains_key("cf-access-jwt-assertion");
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width"; title { "Acme wiki" } }
            body {
                h1 { "Acme wiki" }
                p { "The holiday calendar, the on-call list, and how to make the coffee machine stop beeping." }
                p { "Access " (if told { "told" } else { "did not tell" }) " this page who you are, in a signed token." }
            }
        }
    }
}

/// Writes what is missing, and returns a fresh credential for the agent. The people get fresh passwords.
///
/// # Errors
/// The store does not answer.
pub async fn load(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    origin: SocketAddr,
    people: &mut [Credential],
) -> Result<AgentToken, DemoError> {
    let identity = principal.authorize::<WriteIdentity>(account)?;
    let provider = json!({ "name": "Acme people", "type": "portunus" });
    let provider = Provider {
        name: "Acme people".into(),
        body: provider,
        secrets: std::collections::BTreeMap::new(),
        scim_secret_hash: None,
    };
    store.providers().put(&identity, PROVIDER, provider).await?;
    let agent = load_token(store, principal, account).await?;
    load_application(store, principal, account, origin).await?;
    let users = principal.authorize::<WriteUsers>(account)?;
    for credential in people {
        let Some(user) = store.users().find(&users, credential.person.email).await? else { continue };
        let hash = PasswordHash::of(&credential.password).map_err(|error| AccountError::Password(error.to_string()))?;
        let known = store.access_profiles().get(&users, &user.id).await?.map(|known| known.document);
        let profile = AccessProfile { password_hash: Some(hash.as_str().to_owned()), ..known.unwrap_or_default() };
        store.access_profiles().put(&users, user.id, profile).await?;
    }
    Ok(agent)
}

async fn load_token(store: &Store, principal: &Principal, account: AccountId) -> Result<AgentToken, DemoError> {
    let grant = principal.authorize::<WriteServiceTokens>(account)?;
    let client_id = ClientId::of(rand_bytes()?).as_str().to_owned();
    let secret = secret_of(&rand_bytes()?).ok_or_else(|| AccountError::Password("no randomness".to_owned()))?;
    let hash = serde_json::to_value(SecretHash::of(secret.expose()))?;
    let token = ServiceToken {
        name: "Agent of the demo".into(),
        client_id: client_id.clone(),
        secret_hash: hash.as_str().unwrap_or_default().to_owned(),
        version: 1,
        previous: None,
        duration: "forever".into(),
        expires_at: None,
        enabled: true,
    };
    store.service_tokens().put(&grant, TOKEN, token).await?;
    Ok(AgentToken { client_id, secret })
}

async fn load_application(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    origin: SocketAddr,
) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteAccess>(account)?;
    let policy = |name: &str, body: Value| AccessPolicy { name: name.to_owned(), application: Some(APPLICATION), body };
    let staff = json!({
        "name": "People of Acme", "decision": "allow", "include": [{ "email_domain": { "domain": "acme.test" } }],
    });
    let agents = json!({
        "name": "The demo's agent", "decision": "non_identity",
        "include": [{ "service_token": { "token_id": TOKEN } }],
    });
    store.access_policies().put(&grant, PEOPLE, policy("People of Acme", staff)).await?;
    store.access_policies().put(&grant, AGENT, policy("The demo's agent", agents)).await?;
    let known = store.applications().get(&grant, &APPLICATION).await?;
    let aud = match known {
        Some(known) => known.document.aud,
        None => format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
    };
    let mut body = json!({
        "type": "self_hosted", "name": "Acme wiki", "domain": WIKI,
        "portunus": { "origin": { "url": format!("http://{origin}") } },
        "oauth_configuration": {
            "dynamic_client_registration": {
                "enabled": true, "allow_any_on_localhost": true, "allow_any_on_loopback": true,
            },
        },
        "policies": [{ "id": AGENT, "precedence": 1 }, { "id": PEOPLE, "precedence": 2 }],
    });
    super::launcher::dress(&mut body);
    // The wiki has another port with every start.
    store.applications().put(&grant, APPLICATION, Application { name: "Acme wiki".into(), aud, body }).await?;
    Ok(())
}

fn rand_bytes<const N: usize>() -> Result<[u8; N], DemoError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AccountError::Password("no randomness".to_owned()))?;
    Ok(bytes)
}

/// The commands a newcomer pastes, each with what to expect.
#[must_use]
pub fn commands(port: u16, authority: &str, people: &[Credential], agent: &AgentToken) -> Vec<(String, String)> {
    let Some(ana) = people.first() else { return Vec::new() };
    let curl = format!("curl -s --cacert {authority} --resolve {WIKI}:{port}:127.0.0.1");
    vec![
        (
            format!(
                "The wiki behind Access sends a stranger to sign in; in a browser that trusts the authority, be {} with the password {}",
                ana.person.email,
                ana.password.expose()
            ),
            format!("{curl} -i -H 'Accept: text/html' https://{WIKI}:{port}/"),
        ),
        (
            "An agent that has no token yet is told where a person can give it one (managed OAuth)".into(),
            format!("{curl} -i https://{WIKI}:{port}/"),
        ),
        (
            "An agent reads the same wiki with its service token".into(),
            format!(
                "{curl} -H 'CF-Access-Client-Id: {}' -H 'CF-Access-Client-Secret: {}' https://{WIKI}:{port}/",
                agent.client_id,
                agent.secret.expose()
            ),
        ),
    ]
}
