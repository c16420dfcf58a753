//! Stored documents of Access to the snapshot that its plane decides with.
//!
//! It reads and compiles; when, is its caller's. Invariant: a document that cannot be read takes only itself out of force
//! and is named, and nothing it guarded opens: an application without its policies admits nobody.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use access::{Backends, CustomPage, Person, Published, Snapshot};
use identity::access_policy::{Policy, PolicyDocument};
use identity::application::{Application, ApplicationDocument, ApplicationKind};
use identity::document::read_stored;
use identity::evaluation::PolicySet;
use identity::group::{Group, GroupDocument, Groups};
use identity::organization::{DEFAULT_AUTH_DOMAIN, Organization, OrganizationDocument};
use identity::provider::{Provider, ProviderDocument};
use identity::service_token::{ClientId, PreviousSecret, SecretHash, ServiceToken};
use identity::tag::CustomPageDocument;
use net::Minter;
use net::upstream::Pool;
use policy::lists::ListSet;
use serde_json::{Value, json};
use store::{
    AccessProfile, HashId, ListType, Only, Operate, Principal, ReadUsers, Store, Stored, WriteAccess, WriteIdentity,
    WriteServiceTokens,
};
use types::{AccessPolicyId, AccountId, CustomPageId, Email, ListId, ProviderId, UserId};

use super::client_certificates::Requests;
use super::{AccessError, acme, client_certificates, keys};
use crate::lists::{Lists, list_type};

/// What a snapshot is built from.
pub(super) struct Builder {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub backends: Backends,
    pub upstream: Pool,
    pub portals: super::Portals,
    pub lists: Lists<Arc<ReadList>>,
    /// The passwords of the last build, by whose they are: what a sign-in writes beside them concerns nobody here.
    pub passwords: HashMap<UserId, String>,
    /// How clients are asked for certificates, kept so that their sessions stay resumable.
    pub requests: Requests,
    /// What proves hosts to the authority that issues certificates.
    pub challenges: Arc<net::acme::Challenges>,
}

/// A document that is not in force, and why.
pub(super) type Fault = (String, String);

impl Builder {
    /// Reads everything.
    ///
    /// # Errors
    /// The store does not answer, or there is no key to sign with.
    pub(super) async fn build(
        &mut self,
        revision: u64,
        minter: Arc<Minter>,
    ) -> Result<(Snapshot, Vec<Fault>), AccessError> {
        let mut faults = Vec::new();
        let NamedLists { set: lists, networks, addresses, models } = self.lists(&mut faults).await?;
        let groups = self.groups(&mut faults).await?;
        let applications = self.applications(&groups, &lists, &mut faults).await?;
        self.backends.keep_only(applications.iter().filter_map(|published| published.self_hosted()?.origin.as_ref()));
        let (routes, conflicts) = Snapshot::index(&applications);
        faults.extend(conflicts.iter().map(|conflict| ("applications".to_owned(), format!("{conflict:?}"))));
        let keys = keys::load(&self.store, &self.principal, self.account).await?;
        let (providers, directory_secrets) = self.providers(&mut faults).await?;
        let snapshot = Snapshot {
            account: self.account,
            revision,
            organization: self.organization(&mut faults).await?,
            routes,
            applications,
            providers,
            directory_secrets,
            people: self.people().await?,
            service_tokens: self.service_tokens(&mut faults).await?,
            certificates: acme::read(self, &mut faults).await?,
            client_certificates: client_certificates::read(self, &mut faults).await?,
            pages: self.pages(&mut faults).await?,
            keys: Arc::new(keys.ring),
            seal: keys.seal,
            networks,
            addresses,
            models,
            minter,
            providers_upstream: self.upstream.clone(),
        };
        Ok((snapshot, faults))
    }

    async fn organization(&self, faults: &mut Vec<Fault>) -> Result<Organization, AccessError> {
        let grant = self.principal.authorize::<WriteIdentity>(self.account)?;
        let stored = self.store.organization().get(&grant, &Only).await?;
        let mut body = stored.map_or_else(|| json!({}), |stored| stored.document.body);
        if let Some(members) = body.as_object_mut() {
            members.entry("auth_domain").or_insert_with(|| DEFAULT_AUTH_DOMAIN.into());
            members.entry("name").or_insert_with(|| "Portunus".into());
        }
        match organization(&body) {
            Ok(organization) => Ok(organization),
            Err(reason) => {
                faults.push(("organization".to_owned(), reason));
                organization(&json!({ "name": "Portunus", "auth_domain": DEFAULT_AUTH_DOMAIN }))
                    .map_err(AccessError::Document)
            }
        }
    }

    async fn groups(&self, faults: &mut Vec<Fault>) -> Result<Groups, AccessError> {
        let grant = self.principal.authorize::<WriteIdentity>(self.account)?;
        let stored = self.store.access_groups().list(&grant).await?;
        let mut known = Vec::new();
        for group in stored {
            let parsed = read::<GroupDocument>(&group.document.body)
                .and_then(|document| Group::parse(group.id, &document).map_err(words));
            match parsed {
                Ok(group) => known.push(group),
                Err(reason) => faults.push((format!("group {}", group.document.name), reason)),
            }
        }
        Ok(known.into_iter().collect())
    }

    async fn applications(
        &self,
        groups: &Groups,
        lists: &ListSet,
        faults: &mut Vec<Fault>,
    ) -> Result<Vec<Published>, AccessError> {
        let grant = self.principal.authorize::<WriteAccess>(self.account)?;
        let mut policies = HashMap::new();
        for policy in self.store.access_policies().list(&grant).await? {
            policies.insert(policy.id, policy.document.body);
        }
        let mut published = Vec::new();
        for stored in self.store.applications().list(&grant).await? {
            let name = format!("application {}", stored.document.name);
            let links = linked(&stored.document.body);
            let parsed = parse_application(&stored);
            let application = match parsed {
                Ok(application) => application,
                Err(reason) => {
                    faults.push((name, reason));
                    continue;
                }
            };
            let mut own = Vec::new();
            for id in links {
                let parsed = policies
                    .get(&id)
                    .ok_or_else(|| "it does not exist".to_owned())
                    .and_then(read::<PolicyDocument>)
                    .and_then(|document| Policy::parse(id, &document).map_err(words));
                match parsed {
                    Ok(policy) => own.push(policy),
                    // One that denies may be among those that cannot be read: then nobody is admitted.
                    Err(reason) => {
                        faults.push((format!("{name}, policy {id}"), reason));
                        own.clear();
                        break;
                    }
                }
            }
            let backend = match &application.kind {
                ApplicationKind::SelfHosted(app) => app.origin.as_ref().map(|origin| self.backends.backend(origin)),
                ApplicationKind::Bookmark(_)
                | ApplicationKind::Launcher(_)
                | ApplicationKind::McpPortal(_)
                | ApplicationKind::McpServer(_) => None,
            };
            let backend = match backend.transpose() {
                Ok(backend) => backend,
                Err(error) => {
                    faults.push((name, error.to_string()));
                    None
                }
            };
            let inside = self.portal(&application);
            let policies = PolicySet::compile(own, groups, lists);
            published.push(Published { application, policies, backend, inside });
        }
        Ok(published)
    }

    /// What answers for an application that is part of this process.
    fn portal(&self, application: &Application) -> Option<Arc<dyn access::Inside>> {
        let ApplicationKind::McpPortal(app) = &application.kind else { return None };
        let host = app.destinations.first()?.host().to_owned();
        Some((self.portals)(host))
    }

    /// Providers, and the hashes of the secrets their directories show.
    async fn providers(
        &self,
        faults: &mut Vec<Fault>,
    ) -> Result<(Vec<Arc<Provider>>, HashMap<ProviderId, [u8; 32]>), AccessError> {
        let grant = self.principal.authorize::<WriteIdentity>(self.account)?;
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let (mut known, mut directories) = (Vec::new(), HashMap::new());
        for mut stored in self.store.providers().list(&grant).await? {
            let secrets = self.store.providers().open_members(&operate, &mut stored)?;
            if let Some(Ok(hash)) = stored.document.scim_secret_hash.as_deref().map(str::parse::<HashId>) {
                directories.insert(stored.id, *hash.as_bytes());
            }
            let mut body = stored.document.body;
            for (member, secret) in secrets {
                body["config"][member] = secret.expose().as_str().into();
            }
            let parsed = read::<ProviderDocument>(&body)
                .and_then(|document| Provider::parse(stored.id, &document).map_err(words));
            match parsed {
                Ok(provider) => known.push(Arc::new(provider)),
                Err(reason) => faults.push((format!("provider {}", stored.document.name), reason)),
            }
        }
        Ok((known, directories))
    }

    /// People who may sign in with a password. Those who are disabled may not.
    async fn people(&mut self) -> Result<HashMap<Email, Person>, AccessError> {
        let grant = self.principal.authorize::<ReadUsers>(self.account)?;
        let profiles = self.store.access_profiles().list(&grant).await?;
        let users = self.store.users().list(&grant).await?;
        let hash = |profile: Stored<AccessProfile>| Some((profile.id, profile.document.password_hash?));
        self.passwords = profiles.into_iter().filter_map(hash).collect();
        let mut people = HashMap::new();
        for user in users.into_iter().filter(|user| !user.document.disabled) {
            let hash = self.passwords.get(&user.id).and_then(|hash| access::PasswordHash::parse(hash).ok());
            if let Some(password) = hash {
                people.insert(user.document.email, Person { name: user.document.name, password });
            }
        }
        Ok(people)
    }

    async fn pages(&self, faults: &mut Vec<Fault>) -> Result<HashMap<CustomPageId, CustomPage>, AccessError> {
        let grant = self.principal.authorize::<WriteAccess>(self.account)?;
        let mut pages = HashMap::new();
        for stored in self.store.custom_pages().list(&grant).await? {
            let read = read::<CustomPageDocument>(&stored.document.body);
            let page = read.and_then(|document| {
                let kind = document.kind.ok_or_else(|| "it does not say when it is shown".to_owned())?;
                Ok(CustomPage { kind, html: document.custom_html })
            });
            match page {
                Ok(page) => drop(pages.insert(stored.id, page)),
                Err(reason) => faults.push((format!("custom page {}", stored.document.name), reason)),
            }
        }
        Ok(pages)
    }

    /// Tells whether a change of this person's profile changed what they sign in with.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn has_new_password(&self, user: &UserId) -> Result<bool, AccessError> {
        let grant = self.principal.authorize::<ReadUsers>(self.account)?;
        let profile = self.store.access_profiles().get(&grant, user).await?;
        let hash = profile.and_then(|profile| profile.document.password_hash);
        Ok(hash.as_ref() != self.passwords.get(user))
    }

    async fn service_tokens(&self, faults: &mut Vec<Fault>) -> Result<HashMap<ClientId, ServiceToken>, AccessError> {
        let grant = self.principal.authorize::<WriteServiceTokens>(self.account)?;
        let mut tokens = HashMap::new();
        for stored in self.store.service_tokens().list(&grant).await? {
            let document = stored.document;
            let hash =
                |text: &str| serde_json::from_value::<SecretHash>(text.into()).map_err(|error| error.to_string());
            let read = || -> Result<ServiceToken, String> {
                let client_id: ClientId =
                    serde_json::from_value(document.client_id.as_str().into()).map_err(|error| error.to_string())?;
                let previous = document
                    .previous
                    .as_ref()
                    .map(|previous| -> Result<_, String> {
                        Ok(PreviousSecret { hash: hash(&previous.secret_hash)?, expires_at: previous.expires_at })
                    })
                    .transpose()?;
                Ok(ServiceToken {
                    id: stored.id,
                    name: document.name.clone(),
                    client_id,
                    hash: hash(&document.secret_hash)?,
                    version: document.version,
                    previous,
                    expires_at: document.expires_at,
                    enabled: document.enabled,
                })
            };
            match read() {
                Ok(token) => drop(tokens.insert(token.client_id.clone(), token)),
                Err(reason) => faults.push((format!("service token {}", document.name), reason)),
            }
        }
        Ok(tokens)
    }

    async fn lists(&mut self, faults: &mut Vec<Fault>) -> Result<NamedLists, AccessError> {
        let Self { store, principal, account, lists, .. } = self;
        let read =
            lists.read(store, principal, *account, |list, values| Ok::<_, AccessError>(ReadList::of(list, values)));
        let mut named = NamedLists::default();
        for (id, list) in read.await? {
            match &list.compiled {
                Some(compiled) => named.set.insert(id, Arc::clone(compiled)),
                None => faults.push((format!("list {}", list.name), "an item is not valid".to_owned())),
            }
            // The API refuses what does not parse, so nothing is lost here that a policy could have meant.
            match list.item_type {
                ListType::Ip => drop(named.networks.insert(id, list.networks.clone())),
                ListType::Email => drop(named.addresses.insert(id, list.addresses.clone())),
                ListType::Aaguid => drop(named.models.insert(id, list.models.clone())),
                ListType::Serial
                | ListType::Url
                | ListType::Domain
                | ListType::Category
                | ListType::Location
                | ListType::Device => {}
            }
        }
        Ok(named)
    }
}

/// What policies may ask of a list.
pub(super) struct ReadList {
    name: String,
    item_type: ListType,
    compiled: Option<Arc<expr::List>>,
    networks: Vec<ipnet::IpNet>,
    addresses: HashSet<Email>,
    models: BTreeSet<uuid::Uuid>,
}

impl ReadList {
    fn of(list: &Stored<store::List>, values: &[&str]) -> Arc<Self> {
        let item_type = list.document.item_type;
        let of_type = |wanted| if item_type == wanted { values } else { &[] };
        Arc::new(Self {
            name: list.document.name.clone(),
            item_type,
            compiled: policy::lists::compile(list_type(item_type), values).ok().map(Arc::new),
            networks: of_type(ListType::Ip).iter().filter_map(|value| network(value)).collect(),
            addresses: of_type(ListType::Email).iter().filter_map(|value| value.parse().ok()).collect(),
            models: of_type(ListType::Aaguid).iter().filter_map(|value| value.parse().ok()).collect(),
        })
    }
}

/// The lists as the snapshot holds them.
#[derive(Default)]
struct NamedLists {
    set: ListSet,
    networks: HashMap<ListId, Vec<ipnet::IpNet>>,
    addresses: HashMap<ListId, HashSet<Email>>,
    models: HashMap<ListId, BTreeSet<uuid::Uuid>>,
}

fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from))
}

fn organization(body: &Value) -> Result<Organization, String> {
    Organization::parse(&read::<OrganizationDocument>(body)?).map_err(words)
}

fn parse_application(stored: &store::Stored<store::Application>) -> Result<Application, String> {
    let aud = stored.document.aud.parse().map_err(|error| format!("{error}"))?;
    let document = read::<ApplicationDocument>(&stored.document.body)?;
    Application::parse(stored.id, aud, &document).map_err(words)
}

/// The policies an application names, in their order.
fn linked(body: &Value) -> Vec<AccessPolicyId> {
    let mut links: Vec<&Value> = body["policies"].as_array().into_iter().flatten().collect();
    links.sort_by_key(|link| link["precedence"].as_i64().unwrap_or(i64::MAX));
    links.into_iter().filter_map(|link| link["id"].as_str()?.parse().ok()).collect()
}

pub(super) fn read<T: serde::de::DeserializeOwned>(body: &Value) -> Result<T, String> {
    read_stored(body).map_err(|problem| problem.to_string())
}

pub(super) fn words(problems: Vec<identity::document::Problem>) -> String {
    problems.first().map(ToString::to_string).unwrap_or_default()
}
