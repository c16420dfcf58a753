//! As which client the portal goes to an authorization server: one an administrator registered, else the address of a
//! document about the portal, else one that registers itself (RFC 7591).
//!
//! Invariants: the order is that of the specification, and nothing an authorization server says changes it but what it
//! supports; a client is used at the issuer it was made at and with the way back it was made with.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use types::Secret;
use url::Url;

use super::discovery::Authority;
use super::{MAX_DOCUMENT, plain_error};
use crate::document::credentials::{MAX_SECRET, ManualClient, TokenAuthMethod};

/// What people are shown as the name of the client.
const NAME: &str = "Portunus";
const MAX_ID: usize = 2_048;

/// The client at one authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub secret: Option<Secret<String>>,
    pub method: TokenAuthMethod,
    /// When the secret ends, in seconds since the epoch.
    pub secret_expires: Option<i64>,
}

/// What an authorization server is told of a client, and where its document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Of the document at a public address; `None` where there is no such address.
    pub document: Option<Url>,
    /// The page of the portal.
    pub site: Url,
    /// Where people come back to.
    pub redirect: Url,
}

/// How the portal becomes a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Client(Client),
    /// It registers itself there first.
    Register(Url),
}

/// Why it cannot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("it takes neither the address of a document nor a registration: an administrator has to register a client")]
    NoWay,
    #[error("it asks clients for a proof that is not known here")]
    Method,
    #[error("it refused to register a client: {0}")]
    Refused(String),
    #[error("its answer to a registration is not one")]
    Malformed,
}

/// Chooses. `registers` leaves documents out: their authorization server must be able to fetch them.
///
/// # Errors
/// The authorization server knows no way.
pub fn choose(authority: &Authority, about: &About, registers: bool) -> Result<Choice, ClientError> {
    let document = about.document.as_ref().filter(|_| authority.client_documents && !registers);
    if let Some(document) = document {
        let client =
            Client { id: document.to_string(), secret: None, method: TokenAuthMethod::None, secret_expires: None };
        return Ok(Choice::Client(client));
    }
    authority.registration.clone().map(Choice::Register).ok_or(ClientError::NoWay)
}

/// Makes the client an administrator registered.
#[must_use]
pub fn manual(client: &ManualClient, secret: Option<&Secret<String>>) -> Client {
    let secret = secret.filter(|_| client.auth_method != TokenAuthMethod::None).cloned();
    Client { id: client.client_id.clone(), secret, method: client.auth_method, secret_expires: None }
}

/// Returns the document about the portal as a client, at the address that is its id.
#[must_use]
pub fn document(address: &Url, about: &About) -> Value {
    let mut document = metadata(about, TokenAuthMethod::None);
    document["client_id"] = address.as_str().into();
    document
}

/// Returns the body of a registration at an authorization server.
#[must_use]
pub fn registration(authority: &Authority, about: &About) -> Value {
    metadata(about, preferred(&authority.methods))
}

/// A secret that is sent in a header is the one that fewest servers log.
fn preferred(methods: &[TokenAuthMethod]) -> TokenAuthMethod {
    let order = [TokenAuthMethod::Basic, TokenAuthMethod::Post, TokenAuthMethod::None];
    order.into_iter().find(|method| methods.contains(method)).unwrap_or(TokenAuthMethod::None)
}

fn metadata(about: &About, method: TokenAuthMethod) -> Value {
    // OpenID Connect Registration section 2: a native client comes back to the person's own machine, by any scheme.
    let own = matches!(about.redirect.scheme(), "http");
    json!({
        "client_name": NAME,
        "client_uri": about.site,
        "redirect_uris": [about.redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method.as_str(),
        "application_type": if own { "native" } else { "web" },
    })
}

#[derive(Serialize, Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    client_secret_expires_at: Option<i64>,
    token_endpoint_auth_method: Option<String>,
}

/// Reads the answer to a registration.
///
/// # Errors
/// It is a refusal, or no client that can be used.
pub fn registered(status: u16, body: &[u8], authority: &Authority) -> Result<Client, ClientError> {
    if body.len() > MAX_DOCUMENT {
        return Err(ClientError::Malformed);
    }
    if !(200..300).contains(&status) {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let word = plain_error(document["error"].as_str().unwrap_or_default());
        return Err(ClientError::Refused(if word.is_empty() { format!("status {status}") } else { word }));
    }
    let found: Registered = serde_json::from_slice(body).map_err(|_| ClientError::Malformed)?;
    let plain = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    };
    let secret = found.client_secret.filter(|secret| !secret.is_empty());
    if !plain(&found.client_id, MAX_ID) || secret.as_deref().is_some_and(|secret| !plain(secret, MAX_SECRET)) {
        return Err(ClientError::Malformed);
    }
    let method = match found.token_endpoint_auth_method.as_deref() {
        Some(word) => TokenAuthMethod::named(word).ok_or(ClientError::Method)?,
        None if secret.is_none() => TokenAuthMethod::None,
        // RFC 7591 section 2: what is not said is `client_secret_basic`, where the server takes it.
        None => Some(preferred(&authority.methods))
            .filter(|m| *m != TokenAuthMethod::None)
            .unwrap_or(TokenAuthMethod::Basic),
    };
    let method = if secret.is_none() { TokenAuthMethod::None } else { method };
    let secret_expires = found.client_secret_expires_at.filter(|at| *at > 0 && secret.is_some());
    Ok(Client { id: found.client_id, secret: secret.map(Secret::new), method, secret_expires })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::{About, Choice, ClientError, choose, document, registered, registration};
    use crate::document::credentials::TokenAuthMethod;
    use crate::oauth::discovery::Authority;

    fn about() -> About {
        About {
            document: Some("https://mcp.example.com/client-metadata.json".parse().unwrap()),
            site: "https://mcp.example.com/".parse().unwrap(),
            redirect: "https://mcp.example.com/servers-callback".parse().unwrap(),
        }
    }

    fn authority(change: &[(&str, Value)]) -> Authority {
        let mut document = json!({
            "issuer": "https://as.example",
            "authorization_endpoint": "https://as.example/authorize",
            "token_endpoint": "https://as.example/token",
            "registration_endpoint": "https://as.example/register",
            "code_challenge_methods_supported": ["S256"],
            "client_id_metadata_document_supported": true,
        });
        for (member, value) in change {
            document[*member] = value.clone();
        }
        Authority::parse(document.to_string().as_bytes(), &Url::parse("https://as.example").unwrap()).unwrap()
    }

    #[test]
    fn a_document_comes_before_a_registration_unless_the_administrator_wants_one() {
        let choice = choose(&authority(&[]), &about(), false).unwrap();
        let Choice::Client(client) = choice else { panic!("{choice:?}") };
        assert_eq!(client.id, "https://mcp.example.com/client-metadata.json");
        assert!(matches!(choose(&authority(&[]), &about(), true), Ok(Choice::Register(_))));
        let no_documents = [("client_id_metadata_document_supported", json!(false))];
        assert!(matches!(choose(&authority(&no_documents), &about(), false), Ok(Choice::Register(_))));
        let nothing = [no_documents[0].clone(), ("registration_endpoint", Value::Null)];
        assert_eq!(choose(&authority(&nothing), &about(), false), Err(ClientError::NoWay));
    }

    #[test]
    fn a_client_says_the_same_of_itself_in_its_document_and_in_a_registration() {
        let about = about();
        let shown = document(about.document.as_ref().unwrap(), &about);
        assert_eq!(shown["client_id"], "https://mcp.example.com/client-metadata.json");
        assert_eq!(shown["redirect_uris"], json!(["https://mcp.example.com/servers-callback"]));
        for (methods, expected) in [
            (json!(["client_secret_post", "client_secret_basic"]), "client_secret_basic"),
            (json!(["none", "client_secret_post"]), "client_secret_post"),
            (json!(["none"]), "none"),
        ] {
            let authority = authority(&[("token_endpoint_auth_methods_supported", methods)]);
            let sent = registration(&authority, &about);
            assert_eq!(sent["token_endpoint_auth_method"], expected);
            assert_eq!(sent["application_type"], "web");
        }
        let own = About { redirect: "http://127.0.0.1:9080/x".parse().unwrap(), ..about };
        assert_eq!(registration(&authority(&[]), &own)["application_type"], "native");
    }

    #[test]
    fn an_answer_to_a_registration_is_used_only_when_it_is_one() {
        let read = |status: u16, body: Value| registered(status, body.to_string().as_bytes(), &authority(&[]));
        let client = read(201, json!({"client_id": "c", "client_secret": "s", "client_secret_expires_at": 0})).unwrap();
        assert_eq!((client.method, client.secret_expires), (TokenAuthMethod::Basic, None));
        let public = read(201, json!({"client_id": "c", "token_endpoint_auth_method": "client_secret_post"})).unwrap();
        assert_eq!(public.method, TokenAuthMethod::None);
        let refused = read(400, json!({"error": "invalid_redirect_uri<b>"}));
        assert_eq!(refused, Err(ClientError::Refused("invalid_redirect_urib".into())));
        assert_eq!(read(403, json!("no")), Err(ClientError::Refused("status 403".into())));
        for bad in [json!({}), json!({"client_id": "a\nb"}), json!([])] {
            assert_eq!(read(201, bad.clone()), Err(ClientError::Malformed), "{bad}");
        }
        let asked =
            read(201, json!({"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "private_key_jwt"}));
        assert_eq!(asked, Err(ClientError::Method));
    }
}
