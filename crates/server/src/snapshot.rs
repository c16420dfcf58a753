//! Stored documents to the parts of what the data plane runs on: rules, people, settings and so on, each by itself.
//!
//! It reads and compiles, off the hot path; it never changes the store, and it does not decide when a part is built.
//! Invariant: a part is whole or is not built, and a rule that does not compile never silently drops out: the rules fail
//! as one or, when there are none to keep yet, it blocks in its place.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Catalog, CategoryIndex, Classifier};
use gateway::{
    BlockPage, BlockRedirect, BypassEntry, BypassList, Directory, Endpoint, EndpointKind, LogSwitches, Logging, Look,
    McpPlaces, Person, Settings, Token,
};
use net::Minter;
use policy::lists::ListSet;
use policy::redirect::Target;
use policy::ruleset::{HttpRuleset, L4Ruleset};
use policy::{ActionPlan, CompileOptions, CompileReport, Hook, RuleSpec, StoredRule};
use serde_json::{Map, Value, json};
use store::{
    CatalogEdition, Denied, Grant, Only, Operate, Principal, ProxyEndpointKind, ReadAccess, ReadGateway, ReadUsers,
    Revision, Store, StoreError,
};
use types::{AccountId, CategoryListId, CertificateId, RuleId, ScriptName};
use worker::Script;

use crate::account::{AccountError, authority_in_use, load_authority};
use crate::lists::{Lists, list_type};
use crate::managed::{Kept, Managed};
use crate::scripts::{Prepared, ScriptError, Scripts};
use crate::state::chain;
use crate::upstream::{NetworkError, Upstream};

/// Leaf certificates remembered per authority.
const LEAVES: u64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error("network settings")]
    Network(#[from] NetworkError),
    #[error("cannot prepare certificates")]
    Mint(#[from] net::mint::MintError),
    #[error("do-not-inspect list")]
    Bypass(#[from] gateway::PatternError),
    #[error("list {name:?}, item {index}: {value:?} {message}")]
    List { name: String, index: usize, value: String, message: &'static str },
    #[error("proxy endpoint {name:?}")]
    Endpoint { name: String, source: gateway::NetworkError },
    #[error("application catalogue, edition {edition:?}")]
    Edition { edition: String, source: catalog::LoadError },
    #[error("category list {list:?}: {source}")]
    Categories { list: String, source: catalog::categories::TooMany },
    #[error("{} of the rules do not compile: {}", .0.len(), first(.0))]
    Rules(Vec<(String, String)>),
}

fn first(errors: &[(String, String)]) -> String {
    errors.first().map(|(rule, reason)| format!("rule {rule}: {reason}")).unwrap_or_default()
}

impl BuildError {
    /// Whether the same documents may well be read the next time.
    pub(crate) fn is_passing(&self) -> bool {
        let (Self::Store(error) | Self::Account(AccountError::Store(error)) | Self::Script(ScriptError::Store(error))) =
            self
        else {
            return false;
        };
        error.is_passing()
    }
}

/// What to do with a rule that does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Fail, so that the rules in force stay.
    Refuse,
    /// Block in its place, because there are no rules to keep.
    Block,
}

/// The rules of every hook, compiled.
pub(crate) struct Rules {
    /// What they were compiled from.
    stored: Vec<StoredRule>,
    pub http: Arc<HttpRuleset>,
    pub l4: Arc<L4Ruleset>,
    /// The scripts of managed actions.
    pub managed: HashMap<RuleId, Arc<Script>>,
    /// Rules that do not compile or cannot be carried out, and block in their place, by id.
    pub errors: Vec<(String, String)>,
}

impl Rules {
    /// Returns the script of every rule that has one: managed actions, and the owner's Workers under the rule's limits.
    pub(crate) fn workers(&self, own: &HashMap<ScriptName, Arc<Script>>) -> HashMap<RuleId, Arc<Script>> {
        let mut workers = self.managed.clone();
        workers.extend(crate::scripts::of_rules(&self.stored, own));
        workers
    }
}

/// Category lists, each as it was read.
type ListRevisions = Vec<(CategoryListId, Revision)>;

/// Builds parts, reusing what did not change.
pub(crate) struct Builder {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub scripts: Arc<Scripts>,
    pub managed: Managed,
    pub upstream: Arc<Upstream>,
    minter: Option<(CertificateId, Arc<Minter>)>,
    lists: Lists<Arc<expr::List>>,
    network: Option<Revision>,
    /// The edition of the catalogue that was read last, by its revision; none: the one that ships.
    edition: Option<(Option<Revision>, Arc<Catalog>)>,
    /// The index of categories, with the lists it was made from.
    lists_of_categories: Option<(ListRevisions, Arc<CategoryIndex>)>,
}

impl Builder {
    pub(crate) fn new(
        store: Store,
        account: AccountId,
        scripts: Arc<Scripts>,
        managed: Managed,
        upstream: Arc<Upstream>,
    ) -> Self {
        Self {
            store,
            account,
            principal: Principal::system("snapshot"),
            scripts,
            managed,
            upstream,
            minter: None,
            lists: Lists::default(),
            network: None,
            edition: None,
            lists_of_categories: None,
        }
    }

    /// Reads the catalogue of applications, the account's word on each, and the category lists.
    ///
    /// # Errors
    /// The store does not answer, or what it holds is no edition of the catalogue or more names than there is room for.
    pub(crate) async fn classifier(&mut self) -> Result<Arc<Classifier>, BuildError> {
        let read = self.principal.authorize::<ReadGateway>(self.account)?;
        let edition = self.store.catalog_edition().get(&read, &Only).await?;
        let key = edition.as_ref().map(|stored| stored.revision);
        let catalog = match (&self.edition, edition) {
            (Some((kept, catalog)), _) if *kept == key => Arc::clone(catalog),
            (_, None) => Catalog::embedded(),
            (_, Some(stored)) => {
                let CatalogEdition { version: edition, data } = stored.document;
                Arc::new(Catalog::parse(data).map_err(|source| BuildError::Edition { edition, source })?)
            }
        };
        self.edition = Some((key, Arc::clone(&catalog)));
        let categories = self.categories(&read).await?;
        let reviews = self.store.catalog_reviews().list(&read).await?;
        let statuses = reviews.into_iter().map(|review| (review.id.0, review.document.0.status));
        Ok(Arc::new(Classifier::new(catalog, categories, statuses)))
    }

    /// Reads the category lists; names are only read again when a list changed.
    async fn categories(&mut self, read: &Grant<ReadGateway>) -> Result<Arc<CategoryIndex>, BuildError> {
        let lists = self.store.category_lists().list(read).await?;
        let key: Vec<_> = lists.iter().map(|list| (list.id, list.revision)).collect();
        if let Some((kept, index)) = &self.lists_of_categories
            && *kept == key
        {
            return Ok(Arc::clone(index));
        }
        let index = if lists.is_empty() {
            CategoryIndex::own()
        } else {
            let mut builder = CategoryIndex::with_own();
            for list in lists {
                let Some(names) = self.store.category_names().get(read, &list.id).await? else { continue };
                for name in names.document.0.lines() {
                    let added = builder.add(list.document.category, name);
                    added.map_err(|source| BuildError::Categories { list: list.document.name.clone(), source })?;
                }
            }
            Arc::new(builder.finish())
        };
        self.lists_of_categories = Some((key, Arc::clone(&index)));
        Ok(index)
    }

    /// Reads the account settings. Whether callers must say who they are is not among them.
    pub(crate) async fn settings(&self) -> Result<Settings, BuildError> {
        let read = self.principal.authorize::<ReadGateway>(self.account)?;
        let logging = self.store.logging().get(&read, &Only).await?;
        let logging = logging.map(|stored| stored.document.settings).unwrap_or_default();
        Ok(settings(&self.configuration().await?, &logging))
    }

    async fn configuration(&self) -> Result<Map<String, Value>, BuildError> {
        let read = self.principal.authorize::<ReadGateway>(self.account)?;
        let configuration = self.store.configuration().get(&read, &Only).await?;
        Ok(configuration.map(|stored| stored.document.settings).unwrap_or_default())
    }

    async fn options(&self) -> Result<CompileOptions, BuildError> {
        let configuration = self.configuration().await?;
        Ok(CompileOptions { extended_email_matching: enabled(&configuration, "extended_email_matching", false) })
    }

    /// Reads and compiles the rules and the lists they name.
    ///
    /// # Errors
    /// The store does not answer, a list does not compile or, unless it is to block in its place, a rule.
    pub(crate) async fn rules(&mut self, broken: Broken) -> Result<Rules, BuildError> {
        let options = self.options().await?;
        let (mut stored, kept, unread) = self.stored_rules().await?;
        let lists = self.lists().await?;
        let mut report = policy::compile(&stored, &lists, options);
        let reasons = report
            .errors
            .iter()
            .map(|error| (error.id.to_string(), error.errors.first().map(ToString::to_string).unwrap_or_default()));
        let mut errors: Vec<_> = unread.into_iter().chain(reasons).collect();
        if !errors.is_empty() {
            if broken == Broken::Refuse {
                return Err(BuildError::Rules(errors));
            }
            let failed: Vec<RuleId> = report.errors.iter().map(|error| error.id).collect();
            for rule in stored.iter_mut().filter(|rule| failed.contains(&rule.id)) {
                *rule = blocking(rule);
            }
            report = policy::compile(&stored, &lists, options);
        }
        let (managed, unprepared) = self.managed.prepare(self.account, &stored, &kept);
        errors.extend(unprepared.iter().map(|error| (error.subject(), chain(error))));
        let CompileReport { http, l4, .. } = report;
        Ok(Rules { stored, http: Arc::new(http), l4: Arc::new(l4), managed, errors })
    }

    /// Compiles rules that are kept with the lists and settings as they stand, so that these take effect although some
    /// rule in the store does not compile.
    ///
    /// # Errors
    /// The store does not answer, or a kept rule does not fit the lists any more; it must stay as it was compiled then.
    pub(crate) async fn again(&mut self, rules: &mut Rules) -> Result<(), BuildError> {
        let options = self.options().await?;
        let lists = self.lists().await?;
        let CompileReport { http, l4, errors } = policy::compile(&rules.stored, &lists, options);
        if errors.is_empty() {
            (rules.http, rules.l4) = (Arc::new(http), Arc::new(l4));
        }
        Ok(())
    }

    /// Prepares every Worker.
    pub(crate) async fn scripts(&self) -> Result<Prepared, BuildError> {
        Ok(self.scripts.prepare_all(&self.store, &self.principal, self.account).await?)
    }

    /// Reads every rule. One whose document is no rule blocks in its place, and is named with the reason.
    async fn stored_rules(
        &self,
    ) -> Result<(Vec<StoredRule>, HashMap<RuleId, Kept>, Vec<(String, String)>), BuildError> {
        let grant = self.principal.authorize::<Operate>(self.account)?;
        let (mut rules, mut kept, mut unread) = (Vec::new(), HashMap::new(), Vec::new());
        for stored in self.store.rules().list(&grant).await? {
            let body: Value = serde_json::from_str(stored.document.body.get()).unwrap_or(Value::Null);
            let spec = match RuleSpec::parse(&body) {
                Ok(spec) => spec,
                Err(_) if !stored.document.enabled => continue,
                Err(errors) => {
                    let reason = errors.first().map(ToString::to_string).unwrap_or_default();
                    unread.push((stored.id.to_string(), reason));
                    let hook = body["filters"][0].as_str().unwrap_or(Hook::Http.as_str());
                    let Some(spec) = stop(&stored.document.name, hook) else {
                        return Err(BuildError::Rules(unread));
                    };
                    spec
                }
            };
            if let ActionPlan::Managed(_) = spec.plan() {
                let secrets = self.store.rules().open(&grant, &stored).map_err(|error| chain(&error));
                kept.insert(stored.id, Kept { revision: stored.revision, secrets });
            }
            rules.push(StoredRule { id: stored.id, precedence: stored.document.precedence, spec });
        }
        Ok((rules, kept, unread))
    }

    async fn lists(&mut self) -> Result<ListSet, BuildError> {
        let Self { store, principal, account, lists, .. } = self;
        let read = lists.read(store, principal, *account, |list, values| {
            let compiled = policy::lists::compile(list_type(list.document.item_type), values);
            compiled.map(Arc::new).map_err(|errors| {
                let error = errors.into_iter().next();
                let (index, value, message) =
                    error.map_or((0, String::new(), "is not valid"), |e| (e.index, e.value, e.message));
                BuildError::List { name: list.document.name.clone(), index, value, message }
            })
        });
        let mut set = ListSet::default();
        for (id, compiled) in read.await? {
            set.insert(id, compiled);
        }
        Ok(set)
    }

    /// Reads the people and their tokens.
    pub(crate) async fn people(&self) -> Result<Directory, BuildError> {
        let grant = self.principal.authorize::<ReadUsers>(self.account)?;
        let people: HashMap<_, _> = self
            .store
            .users()
            .list(&grant)
            .await?
            .into_iter()
            .filter(|user| !user.document.disabled)
            .map(|user| (user.id, Arc::new(person(user))))
            .collect();
        let tokens = self.store.proxy_tokens().list(&grant).await?;
        Ok(Directory::of(tokens.into_iter().filter_map(|token| {
            let hash = token_hash(&token.document.secret_hash)?;
            let person = Arc::clone(people.get(&token.document.user)?);
            Some(Token { hash, person, issued: Some(token.created_at), until: token.document.expires_at })
        })))
    }

    /// Reads the proxy endpoints.
    pub(crate) async fn endpoints(&self) -> Result<Vec<Endpoint>, BuildError> {
        let grant = self.principal.authorize::<ReadGateway>(self.account)?;
        let mut endpoints = Vec::new();
        for stored in self.store.proxy_endpoints().list(&grant).await? {
            let endpoint = stored.document;
            let ips = endpoint.ips.iter().map(|range| range.parse()).collect::<Result<Vec<_>, _>>();
            let ips = ips.map_err(|source| BuildError::Endpoint { name: endpoint.name.clone(), source })?;
            let kind = match endpoint.kind {
                ProxyEndpointKind::Ip => EndpointKind::Ip,
                ProxyEndpointKind::Identity => EndpointKind::Identity,
            };
            endpoints.push(Endpoint { id: stored.id, subdomain: endpoint.subdomain, kind, ips });
        }
        Ok(endpoints)
    }

    /// Puts changed network settings in force and returns the do-not-inspect list.
    pub(crate) async fn apply_network(&mut self) -> Result<BypassList, BuildError> {
        let grant = self.principal.authorize::<ReadGateway>(self.account)?;
        let stored = self.store.network().get(&grant, &Only).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let network = stored.map(|stored| stored.document).unwrap_or_default();
        if self.network != revision {
            self.upstream.apply(&network)?;
            self.network = revision;
        }
        let entries = network.bypass.map_or_else(gateway::default_entries, |hosts| {
            hosts.into_iter().map(|host| BypassEntry { pattern: host.pattern, reason: host.reason }).collect()
        });
        Ok(BypassList::compile(&entries)?)
    }

    /// Reads at which hosts the account's MCP portals are, and the servers behind them.
    pub(crate) async fn mcp(&self) -> Result<McpPlaces, BuildError> {
        let grant = self.principal.authorize::<ReadAccess>(self.account)?;
        let mut places = McpPlaces::default();
        for stored in self.store.mcp_portals().list(&grant).await? {
            places.portals.insert(stored.document.hostname.to_ascii_lowercase());
        }
        for stored in self.store.mcp_servers().list(&grant).await? {
            // A program of this machine has no address.
            let address = stored.document.body.get("hostname").and_then(Value::as_str);
            let address = address.and_then(|address| url::Url::parse(address).ok());
            places.servers.extend(address.and_then(|address| address.host_str().map(str::to_owned)));
        }
        Ok(places)
    }

    /// Loads the authority in use.
    pub(crate) async fn minter(&mut self) -> Result<Arc<Minter>, BuildError> {
        let grant = self.principal.authorize::<ReadGateway>(self.account)?;
        let id = authority_in_use(&self.store, &grant).await?;
        if let Some((known, minter)) = &self.minter
            && Some(*known) == id
        {
            return Ok(Arc::clone(minter));
        }
        let authority = load_authority(&self.store, &self.principal, self.account).await?;
        let minter = Arc::new(Minter::new(Arc::new(authority), LEAVES)?);
        if let Some(id) = id {
            self.minter = Some((id, Arc::clone(&minter)));
        }
        Ok(minter)
    }
}

/// A rule that blocks all of its hook's traffic, in place of one whose condition is not known.
fn blocking(rule: &StoredRule) -> StoredRule {
    // The document is ours and always parses; were it not to, the broken rule stays and compiling reports it.
    let spec = stop(&rule.spec.name, rule.spec.hook.as_str()).unwrap_or_else(|| rule.spec.clone());
    StoredRule { id: rule.id, precedence: rule.precedence, spec }
}

fn stop(name: &str, hook: &str) -> Option<RuleSpec> {
    let body = json!({
        "name": name, "action": "block", "enabled": true, "filters": [hook],
        "rule_settings": { "block_reason": "A rule at this place cannot be evaluated. The administrator sees why in the console." },
    });
    RuleSpec::parse(&body).ok()
}

fn person(user: store::Stored<store::User>) -> Person {
    let groups = user.document.groups;
    Person {
        id: user.id.to_string(),
        email: user.document.email.to_string(),
        name: user.document.name,
        group_emails: groups.iter().filter_map(|group| group.email.clone()).collect(),
        group_ids: groups.iter().map(|group| group.id.clone()).collect(),
        group_names: groups.into_iter().map(|group| group.name).collect(),
    }
}

/// The 32 bytes behind the stored hexadecimal form.
fn token_hash(text: &str) -> Option<gateway::TokenHash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn enabled(settings: &Map<String, Value>, name: &str, default: bool) -> bool {
    settings.get(name).and_then(|block| block["enabled"].as_bool()).unwrap_or(default)
}

fn settings(configuration: &Map<String, Value>, logging: &Map<String, Value>) -> Settings {
    Settings {
        tls_decrypt: enabled(configuration, "tls_decrypt", true),
        block_page: block_page(configuration.get("block_page").unwrap_or(&Value::Null)),
        logging: self::logging(logging),
        ..Settings::default()
    }
}

fn block_page(block: &Value) -> BlockPage {
    let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
    if block["mode"] == "redirect_uri" {
        let include_context = block["include_context"].as_bool().unwrap_or(false);
        // The API checked it; a target that no longer parses shows the built-in page, which blocks just the same.
        let redirect = Target::parse(&text("target_uri")).ok().map(|target| BlockRedirect { target, include_context });
        return BlockPage { redirect, ..BlockPage::default() };
    }
    if block["mode"] != "customized_block_page" {
        return BlockPage::default();
    }
    let look = Look {
        name: text("name"),
        header_text: text("header_text"),
        footer_text: text("footer_text"),
        background_color: text("background_color"),
        logo: text("logo_path"),
        mailto_address: text("mailto_address"),
        mailto_subject: text("mailto_subject"),
        suppress_footer: block["suppress_footer"].as_bool().unwrap_or(false),
    };
    BlockPage { redirect: None, look }
}

fn logging(settings: &Map<String, Value>) -> Logging {
    let default = Logging::default();
    let switches = |hook: &str, default: LogSwitches| {
        let block = settings.get("settings_by_rule_type").map(|block| &block[hook]);
        let flag = |name: &str, default| block.and_then(|block| block[name].as_bool()).unwrap_or(default);
        LogSwitches { log_all: flag("log_all", default.log_all), log_blocks: flag("log_blocks", default.log_blocks) }
    };
    Logging {
        redact_pii: settings.get("redact_pii").and_then(Value::as_bool).unwrap_or(default.redact_pii),
        http: switches("http", default.http),
        l4: switches("l4", default.l4),
    }
}
