//! Everything a request needs to be decided: one immutable value, built off the hot path and swapped whole.
//!
//! Plain data; `server` builds it from the store. Invariant: a request sees one snapshot from its first stage to its
//! last, so applications, policies, providers and keys in it belong together.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use identity::application::{Application, ApplicationKind, SelfHosted};
use identity::destination::Pattern;
use identity::evaluation::{Answer, Lookups, PolicySet, WorkerWord};
use identity::keys::KeyRing;
use identity::organization::Organization;
use identity::provider::Provider;
use identity::routes::{Conflict, Routes};
use identity::selector::{ExternalEvaluation, WorkerQuestion};
use identity::service_token::{ClientId, ServiceToken};
use types::{AccountId, CustomPageId, Email, ListId, ProviderId};
use uuid::Uuid;

use crate::backend::Backend;
use crate::client_certificate::HostCertificates;
use crate::custom::CustomPage;
use crate::inside::Inside;
use crate::password::PasswordHash;
use crate::seal::SealKey;

/// One revision of an account's configuration.
#[derive(Clone)]
pub struct Snapshot {
    pub account: AccountId,
    pub revision: u64,
    pub organization: Organization,
    /// Which application a host and path belong to, by index into `applications`.
    pub routes: Routes<usize>,
    pub applications: Vec<Published>,
    /// In the order people are shown them.
    pub providers: Vec<Arc<Provider>>,
    /// SHA-256 of the secrets that providers' directories show at the SCIM endpoints.
    pub directory_secrets: HashMap<ProviderId, [u8; 32]>,
    /// Passwords of people who sign in with the built-in provider, by address in lower case.
    pub people: HashMap<Email, Person>,
    pub service_tokens: HashMap<ClientId, ServiceToken>,
    /// What an authority issued for hosts of the listener, by name in lower case; the others get a leaf of `minter`.
    pub certificates: HashMap<String, Arc<net::acme::ListenerCertificate>>,
    /// Hosts whose clients are asked for a certificate, in lower case.
    pub client_certificates: HashMap<String, Arc<HostCertificates>>,
    /// The organisation's own pages.
    pub pages: HashMap<CustomPageId, CustomPage>,
    /// Signs application tokens.
    pub keys: Arc<KeyRing>,
    /// Seals what a browser carries from one step of a sign-in to the next. Shared by every node of the account.
    pub seal: SealKey,
    /// Networks of the lists that policies name.
    pub networks: HashMap<ListId, Vec<ipnet::IpNet>>,
    /// Addresses of the lists that policies name, in lower case.
    pub addresses: HashMap<ListId, std::collections::HashSet<Email>>,
    /// Models of authenticators (AAGUID) of the lists that `mfa_config` may name.
    pub models: HashMap<ListId, BTreeSet<Uuid>>,
    /// Signs the listener's certificates with the account's authority.
    pub minter: Arc<net::Minter>,
    /// The guarded way to identity providers.
    pub providers_upstream: net::upstream::Pool,
}

/// An application with what was made ready for it.
#[derive(Clone)]
pub struct Published {
    pub application: Application,
    pub policies: PolicySet,
    /// `None`: none was named, or it cannot be used; requests get an error page.
    pub backend: Option<Backend>,
    /// It is part of this process; nothing is sent anywhere.
    pub inside: Option<Arc<dyn Inside>>,
}

/// Somebody who signs in with a password.
#[derive(Debug, Clone)]
pub struct Person {
    pub name: String,
    pub password: PasswordHash,
}

impl Published {
    /// Returns the part of a web application, if it is one; a portal is.
    #[must_use]
    pub fn self_hosted(&self) -> Option<&SelfHosted> {
        match &self.application.kind {
            ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app) => Some(app),
            ApplicationKind::Bookmark(_) | ApplicationKind::Launcher(_) | ApplicationKind::McpServer(_) => None,
        }
    }
}

impl Snapshot {
    /// Builds the index over the hosts and paths of web applications, in their order.
    pub fn index(applications: &[Published]) -> (Routes<usize>, Vec<Conflict<usize>>) {
        let patterns = applications.iter().enumerate().flat_map(|(index, published)| {
            let destinations: &[Pattern] = published.self_hosted().map_or(&[], |app| &app.destinations);
            destinations.iter().map(move |pattern| (pattern.clone(), index))
        });
        Routes::build(patterns)
    }

    pub(crate) fn provider(&self, id: ProviderId) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    pub(crate) fn is_sign_in_host(&self, host: &str) -> bool {
        self.organization.auth_domain == host
    }
}

impl Lookups for Snapshot {
    fn email_list(&self, list: ListId, email: &Email) -> Answer {
        self.addresses.get(&list).map_or(Answer::Broken, |list| yes(list.contains(email)))
    }

    fn ip_list(&self, list: ListId, address: IpAddr) -> Answer {
        self.networks
            .get(&list)
            .map_or(Answer::Broken, |networks| yes(networks.iter().any(|network| network.contains(&address))))
    }

    fn external(&self, _: &ExternalEvaluation) -> Answer {
        // Asked at sign-in and kept in the session.
        Answer::NotAsked
    }

    fn worker(&self, _: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        // Asked for each caller; what it said is the exchange's.
        None
    }
}

const fn yes(truth: bool) -> Answer {
    if truth { Answer::Yes } else { Answer::No }
}
