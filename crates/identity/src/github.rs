//! GitHub as an identity provider: OAuth 2.0 and three answers of its API in place of an ID token.
//!
//! Decides where GitHub is (github.com, or an Enterprise Server by its base URL), what is asked of it and what its
//! answers make of a person. The steps of the sign-in itself are [`crate::relying_party`]'s. Invariant: a person is named
//! by the primary address alone, and only when GitHub says that it is verified.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use types::ProviderId;
use url::Url;

use crate::claims::{ClaimsError, Established, MAX_VALUES, address};
use crate::identity::{Claim, Gaps, GroupClaim, ProviderClaims};
use crate::provider::{Client, Endpoints, OidcSettings, endpoint};
use crate::relying_party::Metadata;
use crate::token_response::{AnswerError, MAX_ANSWER};

/// Items of one page of an answer, the most GitHub gives.
pub const PAGE: usize = 100;
/// Most pages of organisations or teams that are asked for.
pub const MAX_PAGES: usize = 5;

/// How GitHub is spoken to.
#[derive(Debug, Clone)]
pub struct GithubSettings {
    /// For [`crate::relying_party::begin`] and [`crate::relying_party::redeem`].
    pub oauth: OidcSettings,
    pub metadata: Metadata,
    /// Each is asked with the access token as a bearer token.
    pub user: Url,
    pub emails: Url,
    pub organizations: Url,
    pub teams: Url,
}

impl GithubSettings {
    /// Makes settings for a client of github.com, or of the Enterprise Server at `base`.
    ///
    /// # Errors
    /// If `base` is not an https URL.
    pub fn new(client: Client, base: Option<&str>) -> Result<Self, String> {
        let (web, api) = match base.map(|base| base.trim_end_matches('/')) {
            None => ("https://github.com".to_owned(), "https://api.github.com".to_owned()),
            Some(base) => (base.to_owned(), format!("{base}/api/v3")),
        };
        let authorization = endpoint(&format!("{web}/login/oauth/authorize"))?;
        let token = endpoint(&format!("{web}/login/oauth/access_token"))?;
        let metadata = Metadata {
            issuer: None,
            authorization: authorization.clone(),
            token: token.clone(),
            // GitHub signs no ID token; nothing is ever fetched from here.
            keys: endpoint(&web)?,
            end_session: None,
            user_info: None,
            names_itself: false,
        };
        let list = |path: &str| endpoint(&format!("{api}/user/{path}?per_page={PAGE}"));
        Ok(Self {
            oauth: OidcSettings {
                client,
                endpoints: Endpoints::Fixed { authorization, token, keys: metadata.keys.clone(), issuer: None },
                scopes: ["read:user", "user:email", "read:org"].map(str::to_owned).to_vec(),
                claims: Vec::new(),
                email_claim: None,
                pkce: true,
                prompt: None,
                hosted_domain: None,
                groups: true,
                contexts: false,
                user_info: false,
            },
            metadata,
            user: endpoint(&format!("{api}/user"))?,
            emails: list("emails")?,
            organizations: list("orgs")?,
            teams: list("teams")?,
        })
    }
}

/// Returns the URL of a page of a list, counted from one.
#[must_use]
pub fn page(list: &Url, number: usize) -> Url {
    let mut url = list.clone();
    url.query_pairs_mut().append_pair("page", &number.to_string());
    url
}

/// What GitHub's API answered about the holder of an access token, each body as it came with status 200.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub user: Vec<u8>,
    /// The first page; a person's primary address stands there.
    pub emails: Vec<u8>,
    /// Pages, in order.
    pub organizations: Vec<Vec<u8>>,
    pub teams: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Organization {
    login: String,
}

#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Organization,
}

/// Why GitHub's answers name nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GithubError {
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}

impl Answers {
    /// Tells whether a page was full, so that another may follow.
    ///
    /// # Errors
    /// If the page is not a list.
    pub fn is_full(page: &[u8]) -> Result<bool, AnswerError> {
        parse::<Vec<serde::de::IgnoredAny>>(page).map(|items| items.len() >= PAGE)
    }

    /// Makes a step of a sign-in of the answers. Organisations are groups with an id alone, teams are groups with their
    /// organisation's id and their own slug as the name; `login` and `id` are kept as claims.
    ///
    /// # Errors
    /// If an answer is not GitHub's, or there is no verified primary address.
    pub fn establish(&self, provider: ProviderId) -> Result<Established, GithubError> {
        let user: User = parse(&self.user)?;
        let addresses: Vec<Address> = parse(&self.emails)?;
        let primary = addresses.iter().find(|address| address.primary).ok_or(ClaimsError::NoEmail)?;
        if !primary.verified {
            return Err(ClaimsError::Unverified.into());
        }
        let mut groups = Vec::new();
        for page in self.organizations.iter().take(MAX_PAGES) {
            for Organization { login } in parse::<Vec<Organization>>(page)? {
                groups.push(GroupClaim { id: login.into(), ..GroupClaim::default() });
            }
        }
        for page in self.teams.iter().take(MAX_PAGES) {
            for Team { slug, organization } in parse::<Vec<Team>>(page)? {
                let id = organization.login.into();
                groups.push(GroupClaim { id, name: slug.into(), ..GroupClaim::default() });
            }
        }
        let gaps = Gaps { groups: groups.len() > MAX_VALUES, claims: false };
        groups.truncate(MAX_VALUES);
        let name = user.name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| user.login.clone());
        let claims: [Claim; 2] = [("login".into(), user.login.into()), ("id".into(), user.id.to_string().into())];
        Ok(Established {
            email: address(&primary.email).ok_or(ClaimsError::NoEmail)?,
            name: name.chars().filter(|c| !c.is_control()).take(255).collect(),
            amr: Vec::new(),
            claims: ProviderClaims {
                provider,
                groups: groups.into_iter().map(Arc::new).collect(),
                claims: claims.into_iter().map(Arc::new).collect(),
                gaps,
            },
        })
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    if body.len() > MAX_ANSWER {
        return Err(AnswerError::TooLarge);
    }
    serde_json::from_slice(body).map_err(|_| AnswerError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use types::{ProviderId, Secret};
    use uuid::Uuid;

    use super::{Answers, GithubError, GithubSettings, PAGE, page};
    use crate::claims::ClaimsError;
    use crate::provider::Client;
    use crate::token_response::AnswerError;

    fn bytes(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    fn answers(emails: &Value) -> Answers {
        Answers {
            user: bytes(&json!({"id": 7, "login": "ann", "name": null, "email": "public@x.example"})),
            emails: bytes(emails),
            organizations: vec![bytes(&json!([{"login": "acme", "id": 1}]))],
            teams: vec![bytes(&json!([{"slug": "core", "name": "Core", "organization": {"login": "acme"}}]))],
        }
    }

    #[test]
    fn a_person_is_their_verified_primary_address_with_organisations_and_teams() {
        let provider = ProviderId(Uuid::from_u128(1));
        let found = answers(&json!([
            {"email": "old@x.example", "primary": false, "verified": true, "visibility": null},
            {"email": "Ann@X.example", "primary": true, "verified": true, "visibility": "private"},
        ]))
        .establish(provider)
        .unwrap();
        assert_eq!((found.email.as_str(), found.name.as_str()), ("ann@x.example", "ann"));
        let groups: Vec<(&str, &str)> = found.claims.groups.iter().map(|group| (&*group.id, &*group.name)).collect();
        assert_eq!(groups, [("acme", ""), ("acme", "core")]);
        for (emails, expected) in [
            (json!([{"email": "a@x.example", "primary": true, "verified": false}]), ClaimsError::Unverified.into()),
            (json!([{"email": "a@x.example", "primary": false, "verified": true}]), ClaimsError::NoEmail.into()),
            (json!([]), ClaimsError::NoEmail.into()),
            (json!({"message": "Bad credentials"}), GithubError::Answer(AnswerError::Malformed)),
        ] {
            assert_eq!(answers(&emails).establish(provider), Err(expected), "{emails}");
        }
        // An answer that is missing is a fault, never "no organisations".
        let broken = Answers {
            teams: vec![b"{}".to_vec()],
            ..answers(&json!([{"email": "a@x.example", "primary": true, "verified": true}]))
        };
        assert_eq!(broken.establish(provider), Err(GithubError::Answer(AnswerError::Malformed)));
    }

    #[test]
    fn an_enterprise_server_has_its_own_addresses() {
        let client = || Client { id: "c".into(), secret: Some(Secret::new("s".into())) };
        let public = GithubSettings::new(client(), None).unwrap();
        assert_eq!(public.metadata.token.as_str(), "https://github.com/login/oauth/access_token");
        assert_eq!(page(&public.teams, 2).as_str(), "https://api.github.com/user/teams?per_page=100&page=2");
        let own = GithubSettings::new(client(), Some("https://git.example.com/")).unwrap();
        assert_eq!(own.user.as_str(), "https://git.example.com/api/v3/user");
        assert!(GithubSettings::new(client(), Some("http://git.example.com")).is_err());
        let full: Vec<u8> = bytes(&Value::Array(vec![json!({}); PAGE]));
        assert_eq!((Answers::is_full(&full), Answers::is_full(b"[]")), (Ok(true), Ok(false)));
    }
}
