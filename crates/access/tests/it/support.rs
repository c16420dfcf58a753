//! An access plane on loopback with everything real but the Internet: applications, provider, certificates, journal.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::{
    Access, AccessConfig, Backends, CustomPage, Directory, DirectoryError, FactorLedger, FactorPlace, GrantTable,
    HostCertificates, Kept, KeptFactor, Ledger, LedgerError, Newcomer, OauthLedger, OriginParts, Parts, PasswordHash,
    Person, Published, SealKey, SessionTable, Snapshot, Standing, Which,
};
use arc_swap::ArcSwap;
use argon2::{Argon2, PasswordHasher};
use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use futures_util::future::BoxFuture;
use identity::access_policy::{Policy, PolicyDocument};
use identity::application::{Application, ApplicationDocument, ApplicationKind};
use identity::audience::Audience;
use identity::evaluation::PolicySet;
use identity::group::Groups;
use identity::keys::{KeyRing, SigningKey};
use identity::organization::{Organization, OrganizationDocument};
use identity::provider::{Provider, ProviderDocument};
use identity::service_token::{ClientId, SecretHash, ServiceToken, secret_of};
use identity::session::{Moment, Revoked, Session, SessionHash};
use jiff::Timestamp;
use logs::{Dataset, Logs, LogsConfig};
use net::acme::Challenges;
use net::ca::{CaParams, CertificateAuthority};
use net::guard::GuardParams;
use net::resolve::{Nowhere, Overridden, OverrideTable};
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, TrustParams, TrustStore};
use net::{Guard, Minter};
use serde_json::{Value, json};
use testkit::{IdentityProvider, Origin};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use types::{
    AccessPolicyId, AccountId, ApplicationId, CustomPageId, Email, ListId, ProviderId, ServiceTokenId, UserId,
};
use url::Url;
use uuid::Uuid;

use crate::approval_memory::ApprovalMemory;
use crate::mailbox::Mailbox;
use crate::oauth_memory::OauthMemory;
use crate::workers::{Mood, Scripts};
use testkit::{Browser, Seen};

pub(crate) const TEAM: &str = "team.example.test";
pub(crate) const WIKI: &str = "wiki.example.test";
pub(crate) const OTHER: &str = "other.example.test";
pub(crate) const EMAIL: &str = "ada@example.test";
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) const OIDC: ProviderId = ProviderId(Uuid::from_u128(0x11));
pub(crate) const BUILT_IN: ProviderId = ProviderId(Uuid::from_u128(0x12));
/// Of [`by_mail`].
pub(crate) const PIN: ProviderId = ProviderId(Uuid::from_u128(0x14));
const RIVAL: ProviderId = ProviderId(Uuid::from_u128(0x13));
pub(crate) const MODELS: ListId = ListId(Uuid::from_u128(0x22));
pub(crate) const LIST: ListId = ListId(Uuid::from_u128(0x21));

/// Keeps people and sessions in memory, as a store would, and can be gone.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) gone: AtomicBool,
    pub(crate) deactivated: AtomicBool,
    people: Mutex<HashMap<String, UserId>>,
    pub(crate) started: Mutex<Vec<SessionHash>>,
    pub(crate) factors: Mutex<HashMap<(UserId, FactorPlace), KeptFactor>>,
    pub(crate) used: Mutex<Vec<(ServiceTokenId, Moment)>>,
    ahead: Arc<AtomicI64>,
}

impl Memory {
    fn reach(&self) -> Result<(), LedgerError> {
        if self.gone.load(Ordering::SeqCst) { Err(LedgerError::Unavailable("gone".to_owned())) } else { Ok(()) }
    }
}

impl Ledger for Memory {
    fn person<'a>(&'a self, newcomer: Newcomer<'a>) -> BoxFuture<'a, Result<UserId, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            if self.deactivated.load(Ordering::SeqCst) {
                return Err(LedgerError::Deactivated);
            }
            let mut people = self.people.lock().unwrap();
            Ok(*people.entry(newcomer.email.as_str().to_owned()).or_insert_with(|| UserId(Uuid::new_v4())))
        })
    }

    fn known(&self, user: UserId) -> BoxFuture<'_, Result<Option<(Email, String)>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let people = self.people.lock().unwrap();
            let found = people.iter().find(|(_, id)| **id == user);
            let active = found.filter(|_| !self.deactivated.load(Ordering::SeqCst));
            Ok(active.map(|(email, _)| (email.parse().unwrap(), "Ada Example".to_owned())))
        })
    }

    fn start<'a>(
        &'a self,
        hash: SessionHash,
        _: &'a Session,
        _: Newcomer<'a>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let mut started = self.started.lock().unwrap();
            assert!(!started.contains(&hash), "a store starts a session once");
            started.push(hash);
            Ok(())
        })
    }

    fn change<'a>(&'a self, hash: SessionHash, _: &'a Session) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            if self.started.lock().unwrap().contains(&hash) { Ok(()) } else { Err(LedgerError::Ended) }
        })
    }

    fn used(&self, token: ServiceTokenId, at: Moment) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.used.lock().unwrap().push((token, at));
            Ok(())
        })
    }

    fn revoke(&self, _: Revoked) -> BoxFuture<'_, Result<Moment, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            Ok(Moment(now(&self.ahead).as_millisecond()))
        })
    }
}

impl FactorLedger for Memory {
    fn of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<KeptFactor>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let factors = self.factors.lock().unwrap();
            Ok(factors.iter().filter(|((owner, _), _)| *owner == user).map(|(_, factor)| factor.clone()).collect())
        })
    }

    fn write(&self, user: UserId, factor: KeptFactor) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let mut factors = self.factors.lock().unwrap();
            let key = (user, factor.place);
            let right = factors.get(&key).map_or(0, |kept| kept.revision) == factor.revision;
            if right {
                factors.insert(key, KeptFactor { revision: factor.revision + 1, ..factor });
            }
            Ok(right)
        })
    }

    fn remove(&self, user: UserId, place: FactorPlace, revision: u64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let mut factors = self.factors.lock().unwrap();
            let right = factors.get(&(user, place)).is_some_and(|kept| kept.revision == revision);
            if right {
                factors.remove(&(user, place));
            }
            Ok(right)
        })
    }
}

/// No provider of these tests has a directory; the front door's tests have one, over the store.
impl Directory for Memory {
    fn users<'a>(
        &'a self,
        _: ProviderId,
        _: Which<'a>,
    ) -> BoxFuture<'a, Result<Vec<Kept<scim::user::User>>, DirectoryError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn groups<'a>(
        &'a self,
        _: ProviderId,
        _: Which<'a>,
    ) -> BoxFuture<'a, Result<Vec<Kept<scim::group::Group>>, DirectoryError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn carry_out<'a>(
        &'a self,
        _: &'a Provider,
        _: Vec<scim::change::Change>,
        _: Option<i64>,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        Box::pin(async { Err(DirectoryError::Unavailable("there is none".to_owned())) })
    }

    fn standing<'a>(
        &'a self,
        _: &'a Provider,
        _: &'a types::Email,
        _: &'a [Arc<identity::identity::GroupClaim>],
    ) -> BoxFuture<'a, Result<Standing, DirectoryError>> {
        Box::pin(async { Ok(Standing::default()) })
    }
}

fn now(ahead: &AtomicI64) -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_millis(ahead.load(Ordering::SeqCst))
}

/// What a stand is made from.
pub(crate) struct Setup {
    pub(crate) config: AccessConfig,
    pub(crate) organization: Value,
    /// Merged into the wiki's document.
    pub(crate) wiki: Value,
    pub(crate) policies: Vec<Value>,
    /// Further applications: document and policies.
    pub(crate) more: Vec<(Value, Vec<Value>)>,
    /// Further providers.
    pub(crate) providers: Vec<(ProviderId, Value)>,
    /// Replaces the wiki's origin.
    pub(crate) origin: Option<Value>,
    /// Serves the documents of OAuth clients at `https://ide.example`.
    pub(crate) documents: Router,
    /// The issuer of a second provider, "Rival".
    pub(crate) rival: Option<String>,
    pub(crate) pages: HashMap<CustomPageId, CustomPage>,
    /// The scripts that policies ask.
    pub(crate) workers: Arc<Scripts>,
    pub(crate) client_certificates: HashMap<String, Arc<HostCertificates>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: AccessConfig::default(),
            organization: json!({}),
            wiki: json!({}),
            policies: vec![allow(json!({"email_domain": {"domain": "example.test"}}))],
            more: Vec::new(),
            providers: Vec::new(),
            origin: None,
            documents: Router::new(),
            rival: None,
            pages: HashMap::new(),
            workers: Scripts::that(Mood::Throws),
            client_certificates: HashMap::new(),
        }
    }
}

/// A provider that sends codes by mail.
pub(crate) fn by_mail() -> (ProviderId, Value) {
    (PIN, json!({"name": "Mail", "type": "onetimepin"}))
}

pub(crate) fn allow(include: Value) -> Value {
    json!({"name": "Staff", "decision": "allow", "include": [include]})
}

/// A running plane.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    pub(crate) access: Access,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) sessions: Arc<SessionTable>,
    pub(crate) ledger: Arc<Memory>,
    pub(crate) oauth: Arc<OauthMemory>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) approvals: Arc<ApprovalMemory>,
    pub(crate) agents: Arc<GrantTable>,
    pub(crate) provider: IdentityProvider,
    pub(crate) logs: Logs,
    pub(crate) root: String,
    pub(crate) token: (ClientId, String),
    pub(crate) ahead: Arc<AtomicI64>,
    pub(crate) account: AccountId,
    stop: CancellationToken,
    serving: JoinSet<()>,
    _directory: tempfile::TempDir,
    _origins: [Origin; 2],
}

/// The wiki, and what a test has besides.
fn published(setup: &Setup, backends: &Backends, origin: SocketAddr) -> Vec<Published> {
    let behind = setup.origin.clone().unwrap_or_else(|| json!({"url": format!("http://{origin}")}));
    let mut wiki = json!({"name": "Wiki", "domain": WIKI, "portunus": {"origin": behind}});
    wiki.as_object_mut().unwrap().extend(setup.wiki.as_object().unwrap().clone());
    let more = setup.more.iter().enumerate().map(|(index, (document, policies))| {
        publish(backends, index as u128 + 2, &with_origin(document, origin), policies)
    });
    std::iter::once(publish(backends, 1, &wiki, &setup.policies)).chain(more).collect()
}

impl Stand {
    pub(crate) async fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = AccountId(Uuid::from_u128(7));
        let logs = Logs::open(&directory.path().join("logs"), LogsConfig::default()).await.unwrap();
        let authority = authority();
        let root = authority.certificate_pem().to_owned();
        let ahead = Arc::new(AtomicI64::new(0));
        let clock: net::Clock = {
            let ahead = Arc::clone(&ahead);
            Arc::new(move || now(&ahead))
        };
        let provider = IdentityProvider::start(EMAIL).await.unwrap();
        let origin = Origin::start(application(), None).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (providers_upstream, backends) = upstream(&clock, address);
        let applications = published(&setup, &backends, origin.address);
        let (routes, conflicts) = Snapshot::index(&applications);
        assert!(conflicts.is_empty());
        let (token, secret) = service_token();
        let snapshot = Snapshot {
            account,
            revision: 1,
            organization: organization(&setup.organization),
            routes,
            applications,
            providers: known_providers(&provider.issuer, setup.rival.as_deref(), &setup.providers),
            directory_secrets: HashMap::new(),
            people: HashMap::from([(EMAIL.parse().unwrap(), person())]),
            service_tokens: HashMap::from([(token.client_id.clone(), token.clone())]),
            pages: setup.pages,
            client_certificates: setup.client_certificates,
            certificates: HashMap::new(),
            keys: Arc::new(KeyRing::new(SigningKey::parse(signing_key(), "certificate".to_owned()).unwrap(), None)),
            seal: SealKey::new(&[9; 32]).unwrap(),
            networks: HashMap::new(),
            addresses: HashMap::from([(LIST, [EMAIL.parse().unwrap()].into())]),
            models: HashMap::from([(MODELS, [Uuid::from_bytes([7; 16])].into())]),
            minter: Arc::new(Minter::new(authority, 100).unwrap()),
            providers_upstream,
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let config = AccessConfig { public_port: address.port(), ..setup.config };
        let sessions = Arc::new(SessionTable::new(config.sessions));
        let ledger = Arc::new(Memory { ahead: Arc::clone(&ahead), ..Memory::default() });
        let oauth = Arc::new(OauthMemory::default());
        let mailbox = Arc::new(Mailbox::default());
        let approvals = Arc::new(ApprovalMemory::new(Arc::clone(&mailbox)));
        let agents = Arc::new(GrantTable::new(config.agent_grants));
        let (documents, documents_origin) = documents(&clock, setup.documents).await;
        let challenges = Arc::new(Challenges::default());
        let access = Access::new(Parts {
            config,
            snapshot: Arc::clone(&snapshot),
            sessions: Arc::clone(&sessions),
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            factors: Arc::clone(&ledger) as Arc<dyn FactorLedger>,
            pins: Arc::clone(&mailbox) as Arc<dyn access::PinLedger>,
            postbox: Arc::clone(&mailbox) as Arc<dyn access::Postbox>,
            approvals: Arc::clone(&approvals) as Arc<dyn access::ApprovalLedger>,
            approved: Arc::clone(&approvals.table),
            oauth: Arc::clone(&oauth) as Arc<dyn OauthLedger>,
            agents: Arc::clone(&agents),
            documents,
            directory: Arc::clone(&ledger) as Arc<dyn Directory>,
            workers: setup.workers,
            challenges: Arc::clone(&challenges),
            logs: logs.clone(),
            clock,
        });
        let (stop, serving) = serve(&access, listener);
        Self {
            address,
            access,
            snapshot,
            challenges,
            sessions,
            ledger,
            oauth,
            mailbox,
            approvals,
            agents,
            provider,
            logs,
            root,
            token: (token.client_id, secret),
            ahead,
            account,
            stop,
            serving,
            _directory: directory,
            _origins: [origin, documents_origin],
        }
    }

    /// Puts a changed configuration into force, as the store's follower does.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = (**self.snapshot.load()).clone();
        change(&mut snapshot);
        snapshot.revision += 1;
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Gives the wiki other policies.
    pub(crate) fn govern(&self, policies: &[Value]) {
        let compiled = compile(1, policies);
        self.change(|snapshot| snapshot.applications[0].policies = compiled);
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&[TEAM, WIKI, OTHER], self.address, &self.root)
    }

    pub(crate) fn url(&self, host: &str, path: &str) -> Url {
        Url::parse(&format!("https://{host}:{}{path}", self.address.port())).unwrap()
    }

    /// Signs a browser in at the wiki by the provider and returns what it then sees.
    pub(crate) async fn sign_in(&self, browser: &mut Browser, path: &str) -> Seen {
        let page = browser.open(&self.url(WIKI, path)).await;
        assert!(page.text.contains("Continue with Test provider"), "{}", page.text);
        let away = browser.submit(&page, "provider", &[]).await;
        browser.follow(away).await
    }

    /// A TLS connection to the listener that asks for `host`.
    pub(crate) async fn tls(&self, host: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Every record of access so far, oldest first.
    pub(crate) async fn records(&self) -> Vec<Value> {
        self.logs.flush().await.unwrap();
        let page = self.logs.query(logs::Query::newest(self.account, Dataset::AccessRequests)).await.unwrap();
        page.entries.into_iter().rev().map(|entry| Value::Object(entry.fields)).collect()
    }

    /// Seconds since the epoch, as the plane sees them.
    pub(crate) fn seconds(&self) -> i64 {
        now(&self.ahead).as_second()
    }

    pub(crate) fn advance(&self, length: Duration) {
        self.ahead.fetch_add(length.as_millis() as i64, Ordering::SeqCst);
    }

    pub(crate) async fn shut_down(mut self) {
        self.stop.cancel();
        self.serving.join_next().await.unwrap().unwrap();
    }
}

fn authority() -> Arc<CertificateAuthority> {
    let params = CaParams { organisation: "Test".to_owned(), validity_days: 30, now: Timestamp::now() };
    Arc::new(CertificateAuthority::generate(&params).unwrap())
}

fn serve(access: &Access, listener: TcpListener) -> (CancellationToken, JoinSet<()>) {
    let (access, stop) = (access.clone(), CancellationToken::new());
    let mut serving = JoinSet::new();
    let ending = stop.clone();
    serving.spawn(async move { access.serve(listener, ending).await });
    (stop, serving)
}

/// The ways to providers and to applications, on loopback.
fn upstream(clock: &net::Clock, listener: SocketAddr) -> (Pool, Backends) {
    let guard = GuardParams { allow: vec!["127.0.0.0/8".parse().unwrap()], ..GuardParams::default() };
    let trust = TrustParams { bundled_roots: false, native_roots: false, ..TrustParams::default() };
    let resolver: Arc<dyn net::resolve::Resolve> =
        Arc::new(Overridden::new(OverrideTable::default(), Arc::new(Nowhere)));
    let connector = Connector::new(ConnectorParams {
        resolver: Arc::clone(&resolver),
        guard: Guard::new(guard),
        trust: TrustStore::new(&trust).unwrap(),
        clock: Arc::clone(clock),
        timeouts: DialTimeouts::default(),
    });
    let backends = Backends::new(OriginParts {
        resolver,
        guard: GuardParams { own_listeners: vec![listener], ..GuardParams::default() },
        trust,
        clock: Arc::clone(clock),
    });
    (Pool::new(Arc::new(connector.unwrap()), PoolLimits::default()), backends)
}

fn organization(own: &Value) -> Organization {
    let mut document = json!({"name": "Example", "auth_domain": TEAM});
    document.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    Organization::parse(&OrganizationDocument::read(&document).unwrap()).unwrap()
}

/// The way to documents of OAuth clients, of which there is one host.
async fn documents(clock: &net::Clock, router: Router) -> (Pool, Origin) {
    let tls = testkit::OriginTls::for_names(&["ide.example"], &["h2", "http/1.1"]).unwrap();
    let origin = Origin::start(router, Some(&tls)).await.unwrap();
    let mut table = OverrideTable::default();
    table.insert_text("ide.example", &origin.address.to_string()).unwrap();
    let trust =
        TrustParams { bundled_roots: false, native_roots: false, extra_pem: vec![tls.root], ..TrustParams::default() };
    let guard = GuardParams { allow: vec!["127.0.0.0/8".parse().unwrap()], ..GuardParams::default() };
    let connector = Connector::new(ConnectorParams {
        resolver: Arc::new(Overridden::new(table, Arc::new(Nowhere))),
        guard: Guard::new(guard),
        trust: TrustStore::new(&trust).unwrap(),
        clock: Arc::clone(clock),
        timeouts: DialTimeouts::default(),
    });
    (Pool::new(Arc::new(connector.unwrap()), PoolLimits::default()), origin)
}

/// A web application that names no origin gets that of the wiki.
fn with_origin(document: &Value, origin: SocketAddr) -> Value {
    let mut document = document.clone();
    if document.get("type").is_none() && document.get("portunus").is_none() {
        document["portunus"] = json!({"origin": {"url": format!("http://{origin}")}});
    }
    document
}

fn publish(backends: &Backends, number: u128, document: &Value, policies: &[Value]) -> Published {
    let id = ApplicationId(Uuid::from_u128(number));
    let mut aud = [0; 32];
    aud[31] = number as u8;
    let document = ApplicationDocument::read(document).unwrap();
    let application = Application::parse(id, Audience(aud), &document).unwrap();
    let policies = compile(number, policies);
    let backend = match &application.kind {
        ApplicationKind::SelfHosted(app) => app.origin.as_ref().map(|origin| backends.backend(origin).unwrap()),
        ApplicationKind::Bookmark(_)
        | ApplicationKind::Launcher(_)
        | ApplicationKind::McpPortal(_)
        | ApplicationKind::McpServer(_) => None,
    };
    Published { application, policies, backend, inside: None }
}

fn compile(number: u128, policies: &[Value]) -> PolicySet {
    let policies = policies.iter().enumerate().map(|(index, document)| {
        let id = AccessPolicyId(Uuid::from_u128(number * 100 + index as u128));
        Policy::parse(id, &PolicyDocument::read(document).unwrap()).unwrap()
    });
    let policies = PolicySet::compile(policies.collect(), &Groups::default(), &());
    assert!(policies.faults().is_empty());
    policies
}

fn known_providers(issuer: &str, rival: Option<&str>, more: &[(ProviderId, Value)]) -> Vec<Arc<Provider>> {
    let mut providers = vec![
        read_provider(OIDC, &oidc("Test provider", issuer)),
        read_provider(BUILT_IN, &json!({"name": "Example people", "type": "portunus"})),
    ];
    providers.extend(rival.map(|issuer| read_provider(RIVAL, &oidc("Rival", issuer))));
    providers.extend(more.iter().map(|(id, document)| read_provider(*id, document)));
    providers
}

fn oidc(name: &str, issuer: &str) -> Value {
    json!({
        "name": name, "type": "oidc",
        "config": {"issuer": issuer, "client_id": testkit::CLIENT_ID, "client_secret": testkit::CLIENT_SECRET,
            "claims": ["department"]},
    })
}

pub(crate) fn read_provider(id: ProviderId, document: &Value) -> Arc<Provider> {
    let mut parsed = ProviderDocument::read(document).unwrap();
    parsed.config.client_secret =
        document["config"]["client_secret"].as_str().map(|secret| types::Secret::new(secret.to_owned()));
    Arc::new(Provider::parse(id, &parsed).unwrap())
}

pub(crate) fn signing_key() -> &'static [u8] {
    static KEY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    KEY.get_or_init(|| testkit::rsa_key().unwrap())
}

fn person() -> Person {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let hash = HASH.get_or_init(|| Argon2::default().hash_password(PASSWORD.as_bytes()).unwrap().to_string());
    Person { name: "Ada Example".to_owned(), password: PasswordHash::parse(hash).unwrap() }
}

fn service_token() -> (ServiceToken, String) {
    let random: [u8; 96] = std::array::from_fn(|index| (index * 2) as u8);
    let secret = secret_of(&random).unwrap();
    let token = ServiceToken {
        id: ServiceTokenId(Uuid::from_u128(0x31)),
        name: "robot".to_owned(),
        client_id: ClientId::of([3; 16]),
        hash: SecretHash::of(secret.expose()),
        version: 1,
        previous: None,
        expires_at: None,
        enabled: true,
    };
    (token, secret.expose().clone())
}

/// The application behind the wiki: it says what it was sent.
fn application() -> Router {
    let echo = |request: Request| async move {
        let headers: serde_json::Map<String, Value> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), json!(String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let body = axum::body::to_bytes(request.into_body(), 64 << 20).await.unwrap();
        let answer = json!({"method": method, "uri": uri, "headers": headers, "length": body.len()});
        ([("set-cookie", "CF_Authorization=forged"), ("x-application", "wiki")], axum::Json(answer)).into_response()
    };
    let events = || async {
        let events = ["data: one\n\n", "data: two\n\n"].map(Ok::<_, std::io::Error>);
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(futures_util::stream::iter(events)))
    };
    let socket = |upgrade: axum::extract::ws::WebSocketUpgrade| async move {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    Router::new().route("/events", get(events)).route("/socket", get(socket)).fallback(any(echo))
}
