//! Finds the authorization server of a server, and the client the portal is there.
//!
//! Invariant: a server is asked what it wants before anything is believed of it, and what was found is asked for again
//! after a while.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use mcp::oauth::challenge::Challenge;
use mcp::oauth::client::{self, About, Choice, Client, ClientError};
use mcp::oauth::discovery::{Authority, DiscoveryError, Resource, issuer_locations, resource_locations};
use mcp::oauth::flow::{self, Endpoints, Plan};
use mcp::version::Version;
use serde_json::json;
use url::Url;

use super::SignIn;
use super::keeping::SignIns;
use super::wire::WireError;
use crate::upstream::http::{ExchangeError, METHOD, SESSION, VERSION};
use crate::upstream::link::{META, client_info};

/// What is known of the way to sign in at a server.
#[derive(Debug)]
pub(super) struct Found {
    resource: String,
    /// What the server asks for when nobody is signed in, else everything it describes.
    challenged: Option<String>,
    described: Option<String>,
    /// `None`: an administrator wrote the addresses.
    authority: Option<Authority>,
}

/// Why nobody can sign in at a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("the server names no authorization server, and describes none itself")]
    Nothing,
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl SignIns {
    /// Makes the plan of a sign-in. `granted` and `wanted` are what the person has, and what the server asked for since.
    pub(super) async fn plan(
        &self,
        site: &SignIn,
        about: &About,
        granted: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<Plan, Arc<FindError>> {
        let found = self.found.try_get_with(site.settings.clone(), self.find(site)).await?;
        let challenged = wanted.or(found.challenged.as_deref());
        let mut scope = flow::scope(challenged, found.described.as_deref(), granted.filter(|_| wanted.is_some()));
        let (endpoints, client) = match (&site.manual, &found.authority) {
            (Some(manual), _) => {
                scope = manual.client.scope.clone().or(scope);
                (Endpoints::from(&manual.client), client::manual(&manual.client, manual.secret.as_ref()))
            }
            (None, Some(authority)) => {
                (Endpoints::from(authority), self.client(site, authority, about).await.map_err(Arc::new)?)
            }
            (None, None) => return Err(Arc::new(FindError::Nothing)),
        };
        Ok(Plan { endpoints, client, resource: found.resource.clone(), scope, redirect: about.redirect.clone() })
    }

    async fn find(&self, site: &SignIn) -> Result<Arc<Found>, FindError> {
        let challenge = challenge(site).await;
        if let Some(manual) = &site.manual {
            let resource = manual.client.resource.as_ref().unwrap_or(&site.address);
            return Ok(Arc::new(Found {
                resource: named(resource),
                challenged: challenge.scope,
                described: None,
                authority: None,
            }));
        }
        let described = self.resource(site, &challenge).await?;
        let (resource, scopes, authority) = match described {
            Some(Resource { resource, authorities, scopes }) => {
                (resource, scopes, self.authority(site, &authorities, Authority::parse).await?)
            }
            // Servers of 2025-03-26 are their own authorization servers, described at their root.
            None => {
                let root = [root(&site.address)];
                (named(&site.address), None, self.authority(site, &root, Authority::parse_at_root).await?)
            }
        };
        Ok(Arc::new(Found { resource, challenged: challenge.scope, described: scopes, authority: Some(authority) }))
    }

    async fn resource(&self, site: &SignIn, challenge: &Challenge) -> Result<Option<Resource>, FindError> {
        for location in resource_locations(&site.address, challenge.resource_metadata.as_ref()) {
            let answer = self.wire.get(site, &location).await?;
            if answer.status == 200 {
                return Ok(Some(Resource::parse(&answer.body, &site.address)?));
            }
        }
        // A description that was promised and is not there is no reason to guess.
        if challenge.resource_metadata.is_some() { Err(FindError::Nothing) } else { Ok(None) }
    }

    async fn authority(
        &self,
        site: &SignIn,
        issuers: &[Url],
        read: fn(&[u8], &Url) -> Result<Authority, DiscoveryError>,
    ) -> Result<Authority, FindError> {
        let mut fault = FindError::Nothing;
        for issuer in issuers {
            for location in issuer_locations(issuer) {
                let answer = match self.wire.get(site, &location).await {
                    Ok(answer) if answer.status == 200 => answer,
                    Ok(_) => continue,
                    Err(error) => {
                        fault = error.into();
                        break;
                    }
                };
                match read(&answer.body, issuer) {
                    Ok(authority) => return Ok(authority),
                    Err(error) => {
                        fault = error.into();
                        break;
                    }
                }
            }
        }
        Err(fault)
    }

    /// Returns the client at an authorization server, registered there when it is first needed.
    async fn client(&self, site: &SignIn, authority: &Authority, about: &About) -> Result<Client, FindError> {
        let address = match client::choose(authority, about, site.registers)? {
            Choice::Client(client) => return Ok(client),
            Choice::Register(address) => address,
        };
        let key = client_key(site, &authority.issuer, &about.redirect);
        let now = self.now();
        let fresh = |client: &Arc<Client>| client.secret_expires.is_none_or(|at| now + 60 < at);
        if let Some(known) = self.clients.get(&key).filter(fresh) {
            return Ok((*known).clone());
        }
        let answer = self.wire.post_json(site, &address, &client::registration(authority, about)).await?;
        let client = client::registered(answer.status, &answer.body, authority)?;
        self.clients.insert(key, Arc::new(client.clone()));
        Ok(client)
    }

    /// Forgets a client that its authorization server does not know any more.
    pub(super) fn forget_client(&self, site: &SignIn, plan: &Plan) {
        if let Some(issuer) = &plan.endpoints.issuer {
            self.clients.invalidate(&client_key(site, issuer, &plan.redirect));
        }
    }
}

/// A client is of one issuer and one way back.
fn client_key(site: &SignIn, issuer: &str, redirect: &Url) -> String {
    format!("{}\0{issuer}\0{redirect}", site.settings)
}

/// A resource as RFC 8707 names it: without a fragment, and a bare host without the slash.
fn named(address: &Url) -> String {
    let mut address = address.clone();
    address.set_fragment(None);
    let text = address.to_string();
    if address.path() == "/" && address.query().is_none() { text.trim_end_matches('/').to_owned() } else { text }
}

fn root(address: &Url) -> Url {
    let mut root = address.clone();
    root.set_path("/");
    root.set_query(None);
    root
}

/// Speaks to a server as nobody, and returns what it asks for.
async fn challenge(site: &SignIn) -> Challenge {
    match with_session(site).await {
        Some(asked) => asked,
        None => without_session(site).await.unwrap_or_default(),
    }
}

/// Begins a session. Some servers let everybody begin and ask at the first request. `None`: it asked for nothing.
async fn with_session(site: &SignIn) -> Option<Challenge> {
    let version = Version::LATEST_WITH_SESSIONS.as_str();
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client_info()});
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let session = match site.endpoint.post(HeaderMap::new(), Bytes::from(initialize.to_string())).await {
        Ok(answered) => answered.session,
        // It would not be reached any better the second time.
        Err(ExchangeError::Send(_) | ExchangeError::Late(_)) => return Some(Challenge::default()),
        Err(error) => return asked(&error),
    };
    let mut headers = HeaderMap::new();
    headers.insert(VERSION, HeaderValue::from_static(version));
    if let Some(session) = &session {
        headers.insert(SESSION, session.clone());
    }
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let answer = site.endpoint.post(headers.clone(), Bytes::from(list.to_string())).await;
    if session.is_some() {
        site.endpoint.end(headers).await;
    }
    answer.err().as_ref().and_then(asked)
}

/// Asks as clients do since 2026-07-28: a server that has no sessions may refuse to begin one before it looks at who asks.
async fn without_session(site: &SignIn) -> Option<Challenge> {
    let version = Version::V2026_07_28.as_str();
    let member = |name: &str| format!("{META}{name}");
    let meta = json!({
        member("protocolVersion"): version, member("clientCapabilities"): {}, member("clientInfo"): client_info(),
    });
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}});
    let mut headers = HeaderMap::new();
    headers.insert(VERSION, HeaderValue::from_static(version));
    headers.insert(METHOD, HeaderValue::from_static("tools/list"));
    site.endpoint.post(headers, Bytes::from(list.to_string())).await.err().as_ref().and_then(asked)
}

fn asked(error: &ExchangeError) -> Option<Challenge> {
    if let ExchangeError::Status { challenge: Some(challenge), .. } = error {
        return Some(Challenge::parse(challenge));
    }
    None
}
