//! Durable state: typed documents, list items, KV values and sealed secrets, in SQLite or Postgres.
//!
//! It owns authorization (a [`Grant`] is the only way in), revisions, the change feed and sealing. It deliberately
//! decides no policy: a rule is its author's text here. Invariants: an operation touches only its grant's account; a
//! write that returned is durable; an operation always answers within its deadline, so a lost database is an error and
//! never a hang.

mod access;
mod access_state;
mod backend;
mod categories;
mod certificates;
mod collection;
mod document;
mod documents;
mod error;
mod feed;
mod grant;
mod key_file;
mod lists;
mod mcp;
mod rotation;
mod rules;
mod scripts;
mod seal;
mod secret_text;
mod sign_in;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

pub use access_state::{APP_SESSIONS_KEPT, CLIENTS_KEPT, GRANTS_KEPT, LOGINS_KEPT, MAILS_KEPT, NewMail, SESSIONS_KEPT};
pub use collection::Collection;
pub use document::{Document, Kind, Only, Revision, Stored};
pub use documents::access::{
    AccessGroup, AccessKey, AccessKeys, AccessPolicy, Application, ClientAuthority, ClientCertificateSettings,
    CustomPage, Organization, PreviousSecret, Provider, ServiceToken, ServiceTokenUse, Tag, TagName,
};
pub use documents::access_state::{
    AccessProfile, AccessSession, AppSession, Approval, Factor, FailedLogin, HashId, LoginState, Mail, MailStatus,
    OauthClient, OauthGrant, Revocation, Revoked,
};
pub use documents::account::{Account, Administrator, Session, SetupLink};
pub use documents::catalog::{CatalogEdition, CatalogId, CatalogReview, CategoryList, CategoryNames};
pub use documents::credential::{Group, ProxyToken, Token, User};
pub use documents::directory::{DirectoryGroup, DirectoryUser};
pub use documents::gateway::{
    BindingStatus, Certificate, CertificateOrigin, Configuration, DatasetRetention, Logging, NewCertificate,
    ProxyEndpoint, ProxyEndpointKind, Retention, UsageDigest,
};
pub use documents::kv::{KvKey, KvNamespace, KvPage, KvValue};
pub use documents::list::{List, ListItem, ListType, NewListItem};
pub use documents::listener_certificate::{AcmeAccount, IssuedCertificate, ListenerCertificate};
pub use documents::mail_server::{MailServer, MailTls};
pub use documents::mcp::{McpCatalog, McpCredential, McpCredentialId, McpHolder, McpPortal, McpServer};
pub use documents::network::{BypassHost, Network};
pub use documents::push_job::PushJob;
pub use documents::rule::Rule;
pub use documents::script::{
    Binding, Cron, Isolation, Module, ModuleHead, ModuleKind, RateLimit, SECURITY_EVENTS, Schedule, Script,
    ScriptContent, ScriptLimits, ScriptSecret, ScriptSecretId, ScriptVersion, Source,
};
pub use documents::signal::{
    SIGNING_KEY, SavedQuery, Severity, Signal, SignalEvent, SignalEventId, SignalState, WEBHOOK, Webhook, WebhookState,
};
pub use error::{OpenError, StoreError};
pub use feed::{Change, ChangeFeed, ChangedDocument};
pub use grant::{
    Actor, Administer, Allows, Denied, EraseLogs, Grant, Operate, Permission, Permissions, Principal, ReadAccess,
    ReadAudit, ReadClientCertificates, ReadGateway, ReadIdentity, ReadKv, ReadLists, ReadLogs, ReadRules, ReadScripts,
    ReadServiceTokens, ReadSettings, ReadTokens, ReadUsers, Requirement, Scope, UnknownPermission, WriteAccess,
    WriteClientCertificates, WriteGateway, WriteIdentity, WriteKv, WriteLists, WriteLogs, WriteRules, WriteScripts,
    WriteServiceTokens, WriteSettings, WriteTokens, WriteUsers,
};
pub use lists::{ItemCursor, MAX_ITEM_BYTES};
pub use rotation::{Resealed, SealedMembers};
pub use scripts::VERSIONS_KEPT;
pub use seal::{SealError, Sealed};
pub use secret_text::{SecretHash, is_well_formed};
pub use sign_in::{AuthenticateError, NewToken, SignedIn};
pub use values::{Expiry, MAX_KEY_BYTES, MAX_KEYS_PER_PAGE, MAX_METADATA_BYTES};

use backend::{Backend, postgres, sqlite};
use seal::Sealer;

/// Where the documents are.
#[derive(Clone)]
pub enum Location {
    /// A SQLite file; created when it is not there.
    Sqlite(PathBuf),
    /// A SQLite database that lives as long as the store, for tests and dry runs.
    Memory,
    /// A Postgres connection string (`host=… dbname=…` or `postgres://…`).
    Postgres(types::Secret<String>),
}

/// Where the sealing key is.
#[derive(Clone)]
pub enum KeySource {
    /// A file of mode 0600; created when it is not there and the database holds no secrets yet.
    File(PathBuf),
    /// A key that is gone with the process, for stores that live in memory.
    Ephemeral,
}

/// What the store asks the time. Everything it stores carries that time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Bounds that an operator may move.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Items in one list.
    pub list_items: usize,
    /// Bytes of one KV value.
    pub kv_value_bytes: usize,
    /// Keys in one KV namespace.
    pub kv_keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { list_items: 200_000, kv_value_bytes: 1024 * 1024, kv_keys: 1_000_000 }
    }
}

/// How to open a store.
#[derive(Clone)]
pub struct StoreConfig {
    /// Where the documents are.
    pub location: Location,
    /// Where the sealing key is.
    pub key: KeySource,
    /// How long one operation may take.
    pub deadline: Duration,
    /// How often feeds look for changes nobody woke them for.
    pub poll_interval: Duration,
    /// Threads that read SQLite, or connections to Postgres.
    pub readers: usize,
    /// Bounds.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
}

impl StoreConfig {
    /// Returns the defaults for a location: ten seconds a call, a poll each second, four readers.
    #[must_use]
    pub fn new(location: Location, key: KeySource) -> Self {
        Self {
            location,
            key,
            deadline: Duration::from_secs(10),
            poll_interval: Duration::from_secs(1),
            readers: 4,
            limits: Limits::default(),
            clock: Arc::new(Timestamp::now),
        }
    }

    /// Returns a store in memory with a key that is gone with it.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(Location::Memory, KeySource::Ephemeral)
    }
}

/// How the store is.
#[derive(Debug)]
pub struct Health {
    /// `sqlite` or `postgres`.
    pub backend: &'static str,
    /// How long it took to answer, or why it did not.
    pub answered: Result<Duration, StoreError>,
}

/// A handle on the stored documents; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    sealer: Sealer,
    wake: Arc<watch::Sender<u64>>,
    deadline: Duration,
    poll_interval: Duration,
    limits: Limits,
    clock: Clock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.inner.backend.name()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database, brings its schema up to date and checks that the sealing key belongs to it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says which of these failed; nothing is changed then, except that migrations before a failed one stay.
    pub async fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let wake = Arc::new(watch::Sender::new(0));
        let readers = config.readers.clamp(1, 64);
        let backend: Arc<dyn Backend> = match config.location {
            Location::Sqlite(path) => Arc::new(sqlite::Sqlite::open(Some(path), readers).await?),
            Location::Memory => Arc::new(sqlite::Sqlite::open(None, readers).await?),
            Location::Postgres(connection) => {
                Arc::new(postgres::Postgres::open(&connection, readers, config.deadline, Arc::clone(&wake)).await?)
            }
        };
        let sealer = match open_sealer(config.key, backend.as_ref()).await {
            Ok(sealer) => sealer,
            Err(error) => {
                backend.close().await;
                return Err(error);
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                backend,
                sealer,
                wake,
                deadline: config.deadline,
                poll_interval: config.poll_interval,
                limits: config.limits,
                clock: config.clock,
            }),
        })
    }

    /// Asks the database for a sign of life.
    pub async fn health(&self) -> Health {
        let started = std::time::Instant::now();
        let answered = self.bounded(self.inner.backend.ping()).await.map(|()| started.elapsed());
        Health { backend: self.inner.backend.name(), answered }
    }

    /// Finishes what is queued and lets go of threads and connections. Later operations fail as unavailable.
    pub async fn close(&self) {
        self.inner.backend.close().await;
    }

    /// Returns the bounds this store keeps.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Returns the time of this store's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.inner.backend.as_ref()
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    pub(crate) fn poll_interval(&self) -> Duration {
        self.inner.poll_interval
    }

    pub(crate) fn wake(&self) -> watch::Receiver<u64> {
        self.inner.wake.subscribe()
    }

    pub(crate) fn announce(&self) {
        self.inner.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Gives an operation its deadline.
    pub(crate) async fn bounded<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.inner.deadline, operation).await.unwrap_or(Err(StoreError::TimedOut))
    }
}

macro_rules! collections {
    ($($(#[$doc:meta])* $name:ident: $document:ty;)*) => {
        impl Store {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> Collection<'_, $document> {
                Collection::new(self)
            })*
        }
    };
}

collections! {
    /// Returns the account itself.
    account: Account;
    /// Returns the gateway rules, in order of precedence.
    rules: Rule;
    /// Returns the lists and their items.
    lists: List;
    /// Returns the gateway configuration.
    configuration: Configuration;
    /// Returns the logging settings.
    logging: Logging;
    /// Returns how long records are kept.
    retention: Retention;
    usage_digest: UsageDigest;
    /// Returns how the gateway reaches origins.
    network: Network;
    /// Returns the certificate authorities.
    certificates: Certificate;
    /// Returns the proxy endpoints.
    proxy_endpoints: ProxyEndpoint;
    /// Returns the Workers.
    scripts: Script;
    /// Returns the versions of Workers.
    script_versions: ScriptVersion;
    /// Returns the secrets of Workers.
    script_secrets: ScriptSecret;
    /// Returns the cron triggers of Workers.
    schedules: Schedule;
    /// Returns the KV namespaces and their values.
    kv: KvNamespace;
    /// Returns the API tokens.
    tokens: Token;
    /// Returns the people whose traffic is decided.
    users: User;
    /// Returns the tokens people show the proxy.
    proxy_tokens: ProxyToken;
    /// Returns the people who sign in to the console.
    administrators: Administrator;
    /// Returns the signed-in browsers.
    sessions: Session;
    /// Returns the applications that Access publishes.
    applications: Application;
    /// Returns the access policies, reusable ones and those of one application.
    access_policies: AccessPolicy;
    /// Returns the rule groups of access policies.
    access_groups: AccessGroup;
    /// Returns the identity providers.
    providers: Provider;
    /// Returns the people of providers' directories.
    directory_users: DirectoryUser;
    /// Returns the groups of providers' directories.
    directory_groups: DirectoryGroup;
    /// Returns the organisation's settings.
    organization: Organization;
    /// Returns the service tokens.
    service_tokens: ServiceToken;
    /// Returns when service tokens were last used.
    service_token_uses: ServiceTokenUse;
    /// Returns the authorities of client certificates.
    client_authorities: ClientAuthority;
    /// Returns what is done with client certificates at each host.
    client_certificate_settings: ClientCertificateSettings;
    /// Returns the tags of applications.
    tags: Tag;
    /// Returns the organisation's own pages.
    custom_pages: CustomPage;
    /// Returns the keys that tokens are signed with.
    access_keys: AccessKeys;
    /// Returns what Access knows of people.
    access_profiles: AccessProfile;
    /// Returns people's second factors.
    factors: Factor;
    /// Returns the sessions of people at Access.
    access_sessions: AccessSession;
    /// Returns the sessions at single applications.
    app_sessions: AppSession;
    /// Returns what was revoked.
    revocations: Revocation;
    /// Returns the logins under way.
    login_states: LoginState;
    /// Returns the outbox.
    outbox: Mail;
    /// Returns the mail server that the outbox is emptied into.
    mail_server: MailServer;
    /// Returns the certificates that an authority issued for the access listener.
    listener_certificates: ListenerCertificate;
    /// Returns the account at that authority.
    acme_account: AcmeAccount;
    /// Returns temporary approvals.
    approvals: Approval;
    /// Returns the OAuth clients that registered themselves.
    oauth_clients: OauthClient;
    /// Returns what people granted OAuth clients.
    oauth_grants: OauthGrant;
    /// Returns the MCP portals.
    mcp_portals: McpPortal;
    /// Returns the MCP servers.
    mcp_servers: McpServer;
    /// Returns what MCP servers offer.
    mcp_catalogs: McpCatalog;
    /// Returns the sign-ins at MCP servers.
    mcp_credentials: McpCredential;
    /// Returns what the account says about applications.
    catalog_reviews: CatalogReview;
    /// Returns the edition of the catalogue that is used in place of the one that ships.
    catalog_edition: CatalogEdition;
    /// Returns the category lists.
    category_lists: CategoryList;
    /// Returns the names of category lists.
    category_names: CategoryNames;
    /// Returns the queries that were saved.
    saved_queries: SavedQuery;
    /// Returns the push jobs.
    push_jobs: PushJob;
    /// Returns the signals.
    signals: Signal;
    /// Returns how far each signal is.
    signal_states: SignalState;
    /// Returns the security events of signals.
    signal_events: SignalEvent;
}

/// Where the database keeps what tells whether a key file belongs to it.
const MARK: &str = "sealing_key_mark";

/// Loads the key and compares it with the mark in the database; the first key of a database leaves its mark.
async fn open_sealer(source: KeySource, backend: &dyn Backend) -> Result<Sealer, OpenError> {
    let mark = backend.meta(MARK, None).await.map_err(OpenError::Database)?;
    let sealer = match source {
        KeySource::Ephemeral => Sealer::ephemeral()?,
        KeySource::File(path) => Sealer::from_file(&path, mark.is_none())?,
    };
    // Two nodes may start on an empty database at once: the mark that stands afterwards decides.
    let mark = match mark {
        Some(mark) => mark,
        None => {
            let own = sealer.mark()?;
            backend.meta(MARK, Some(own.clone())).await.map_err(OpenError::Database)?.unwrap_or(own)
        }
    };
    if !sealer.recognises(&mark) {
        return Err(OpenError::SealingKey(SealError::WrongKey));
    }
    // After a rotation the mark must open without the old key.
    if !sealer.is_current_mark(&mark) {
        backend.set_meta(MARK, sealer.mark()?).await.map_err(OpenError::Database)?;
    }
    Ok(sealer)
}
