//! One input of the fuzz target `access_wire`, which shares this file: the first line names a reader, the rest is its input.
//! Whatever the bytes, a reader refuses them or keeps its promise.

use ::scim::filter::{Filter, Path};
use ::scim::group::{GroupAttributes, MAX_MEMBERS};
use ::scim::patch::Patch;
use ::scim::user::{MAX_EMAILS, UserAttributes};
use ::scim::{Query, ResourceType};
use identity::access_policy::{Policy, PolicyDocument};
use identity::application::{Application, ApplicationDocument};
use identity::audience::Audience;
use identity::certificate::{CertificateDocument, ClientAuthorities};
use identity::cookie::{AUTHORIZATION, BINDING, ReturnUrl, for_origin, values};
use identity::destination::Pattern;
use identity::document::read_stored;
use identity::group::{Group, GroupDocument};
use identity::jose::{Algorithm, Jwks, Unverified};
use identity::organization::{Organization, OrganizationDocument};
use identity::provider::{Provider, ProviderDocument};
use identity::relying_party::Metadata;
use identity::routes::{Routes, host_of};
use identity::service_token::read;
use identity::token_response::{TokenResponse, join_user_info};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

const ID: &str = "aa0a4aab-672b-4bdb-bc33-a59f1130a11f";

/// Feeds one input to the reader it names; tells whether there is such a reader.
pub(crate) fn check(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (reader, body) = (&data[..end], &data[(end + 1).min(data.len())..]);
    documents(reader, body) || answers(reader, body) || addresses(reader, body) || scim(reader, body)
}

fn documents(reader: &[u8], body: &[u8]) -> bool {
    match reader {
        b"application" => document(
            body,
            |value| ApplicationDocument::read(value).ok(),
            |document| {
                let app = Application::parse(ID.parse().unwrap(), Audience([1; 32]), document);
                assert!(app.is_err() || !document.show().is_empty());
            },
        ),
        b"policy" => document(
            body,
            |value| PolicyDocument::read(value).ok(),
            |document| {
                let policy = Policy::parse(ID.parse().unwrap(), document);
                assert!(policy.is_err() || !policy.unwrap().include.is_empty());
            },
        ),
        b"group" => document(
            body,
            |value| GroupDocument::read(value).ok(),
            |document| {
                let _ = Group::parse(ID.parse().unwrap(), document);
            },
        ),
        b"organization" => document(
            body,
            |value| OrganizationDocument::read(value).ok(),
            |document| {
                let _ = Organization::parse(document);
            },
        ),
        b"certificate" => document(
            body,
            |value| CertificateDocument::read(value).ok(),
            |document| {
                let found = ClientAuthorities::parse(ID.parse().unwrap(), document);
                assert!(found.is_err() || !found.unwrap().authorities.is_empty());
            },
        ),
        b"provider" => {
            if let Ok(value) = serde_json::from_slice(body)
                && let Ok(document) = ProviderDocument::read(&value)
            {
                let _ = Provider::parse(ID.parse().unwrap(), &document);
            }
        }
        _ => return false,
    }
    true
}

fn answers(reader: &[u8], body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap_or_default();
    match reader {
        b"jose" => {
            let all: Vec<Algorithm> = Algorithm::WORDS.iter().map(|(_, algorithm)| *algorithm).collect();
            if let Ok(token) = Unverified::parse(text, &all) {
                assert!(token.verify(&Jwks::default()).is_err(), "no key, no trust");
            }
        }
        b"jwks" => {
            let _ = Jwks::parse(body);
        }
        b"metadata" => {
            let issuer = Url::parse("https://id.example.com").unwrap();
            if let Ok(found) = Metadata::parse(body, &issuer) {
                assert!(found.token.scheme() == "https" || found.token.scheme() == "http");
                assert_eq!(found.issuer.unwrap().trim_end_matches('/'), "https://id.example.com");
            }
        }
        b"token" => {
            if let Ok(found) = TokenResponse::parse(200, body) {
                assert!(found.access_token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
            }
            let claims: Value = serde_json::json!({"sub": "u1", "amr": ["pwd"]});
            if let Ok(joined) = join_user_info(claims.as_object().unwrap().clone(), 200, body) {
                assert_eq!((&joined["sub"], &joined["amr"]), (&claims["sub"], &claims["amr"]));
            }
        }
        _ => return false,
    }
    true
}

fn addresses(reader: &[u8], body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap_or_default();
    match reader {
        b"return" => {
            let origin = Url::parse("https://wiki.example.com").unwrap();
            if let Ok(url) = ReturnUrl::parse(text, &origin) {
                assert!(url.as_str().starts_with("https://wiki.example.com/"), "{}", url.as_str());
                assert_eq!(origin.join(url.path_and_query()).unwrap().host_str(), Some("wiki.example.com"));
            }
        }
        b"cookie" => {
            let _ = values(body, AUTHORIZATION).count();
            if let Some(kept) = for_origin(body, false) {
                assert_eq!(values(&kept, AUTHORIZATION).count() + values(&kept, BINDING).count(), 0, "{text}");
            }
        }
        b"host" => {
            if let Ok(host) = host_of(text) {
                assert!(host.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase() && b != b'@' && b != b'/'));
            }
        }
        b"path" => {
            let patterns = ["h.example", "h.example/admin", "h.example/a/*/b"];
            let patterns = patterns.iter().enumerate().map(|(at, text)| (text.parse::<Pattern>().unwrap(), at));
            let _ = Routes::build(patterns).0.find("h.example", text);
        }
        b"pattern" => {
            if let Ok(pattern) = text.parse::<Pattern>() {
                assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
            }
        }
        b"service_token" => {
            let single = |name: &str| (name == "x").then_some(body).into_iter();
            let _ = read(single, Some("x"));
        }
        _ => return false,
    }
    true
}

fn scim(reader: &[u8], body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap_or_default();
    match reader {
        b"scim_user" => {
            if let Ok(user) = UserAttributes::create(body) {
                sound(&user);
            }
        }
        b"scim_patch" => {
            if let Ok(patch) = Patch::read(body) {
                let user = UserAttributes::create(
                    br#"{"userName":"a@x.example","emails":[{"value":"a@x.example","type":"work"}]}"#,
                );
                if let Ok(user) = user.unwrap().patch(&patch) {
                    sound(&user);
                }
                let group = GroupAttributes { display_name: "g".into(), ..GroupAttributes::default() };
                if let Ok(group) = group.patch(&patch) {
                    assert!(!group.display_name.is_empty() && group.members.len() <= MAX_MEMBERS);
                }
            }
        }
        b"scim_filter" => {
            let _ =
                (Filter::parse(ResourceType::User, text), Filter::parse(ResourceType::Group, text), Path::parse(text));
            if let Ok(query) = Query::parse(ResourceType::User, [("startIndex", text), ("count", text)]) {
                assert!(query.range().len() <= 200);
            }
        }
        _ => return false,
    }
    true
}

/// What was read from an author is written to the store and read back as the same document.
fn document<T>(body: &[u8], read: impl Fn(&Value) -> Option<T>, parse: impl Fn(&T))
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(value) = serde_json::from_slice(body) else { return };
    let Some(document) = read(&value) else { return };
    parse(&document);
    let stored = serde_json::to_value(&document).unwrap();
    assert_eq!(read_stored::<T>(&stored).unwrap(), document);
}

fn sound(user: &UserAttributes) {
    assert!(!user.user_name.is_empty() && user.emails.len() <= MAX_EMAILS);
    assert!(user.emails.iter().all(|email| !email.value.is_empty()));
}
