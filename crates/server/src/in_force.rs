//! What is in force, part by part: which documents a part hangs on, when it is built again, and the snapshot of all parts.
//!
//! It builds no part itself. Invariant: a part that cannot be built stays as it was and holds up no other, so a person or
//! credential taken away is gone although a rule does not compile; and what stays behind is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway::{BypassList, Directory, Endpoint, EndpointKind, McpPlaces, Settings, Snapshot};
use net::Minter;
use store::{Change, Kind};
use worker::Script;

use crate::scripts::Prepared;
use crate::snapshot::{Broken, BuildError, Builder, Rules};
use crate::state::chain;

/// What is built as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Settings,
    Rules,
    Workers,
    People,
    ProxyEndpoints,
    Network,
    Authority,
    Mcp,
    Catalog,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Settings,
        Self::Rules,
        Self::Workers,
        Self::People,
        Self::ProxyEndpoints,
        Self::Network,
        Self::Authority,
        Self::Mcp,
        Self::Catalog,
    ];

    /// Returns the words a person reads.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Rules => "rules",
            Self::Workers => "Workers",
            Self::People => "people",
            Self::ProxyEndpoints => "proxy endpoints",
            Self::Network => "network",
            Self::Authority => "certificate authority",
            Self::Mcp => "MCP portals and servers",
            Self::Catalog => "application catalogue",
        }
    }

    /// Returns the parts that documents of this kind are read for.
    const fn of(kind: Kind) -> &'static [Self] {
        match kind {
            // How e-mail addresses match is a setting; so is which authority signs.
            Kind::Configuration => &[Self::Settings, Self::Rules, Self::Authority],
            Kind::Logging => &[Self::Settings],
            Kind::Rule | Kind::List => &[Self::Rules],
            Kind::Script | Kind::ScriptVersion | Kind::ScriptContent | Kind::ScriptSecret => &[Self::Workers],
            Kind::User | Kind::ProxyToken => &[Self::People],
            Kind::ProxyEndpoint => &[Self::ProxyEndpoints],
            Kind::Network => &[Self::Network],
            Kind::Certificate => &[Self::Authority],
            // Where they are, so that what goes around them can be told.
            Kind::McpPortal | Kind::McpServer => &[Self::Mcp],
            Kind::CatalogReview | Kind::CatalogEdition | Kind::CategoryList => &[Self::Catalog],
            Kind::Account
            // The lake's, which follows it by itself.
            | Kind::Retention
            | Kind::UsageDigest
            | Kind::Schedule
            | Kind::KvNamespace
            | Kind::Token
            | Kind::Administrator
            | Kind::Session
            | Kind::SetupLink
            // The gateway knows nothing of Access; its plane has a snapshot of its own.
            | Kind::Application
            | Kind::AccessPolicy
            | Kind::AccessGroup
            | Kind::Provider
            | Kind::DirectoryUser
            | Kind::DirectoryGroup
            | Kind::Organization
            | Kind::ServiceToken
            | Kind::ServiceTokenUse
            | Kind::ClientAuthority
            | Kind::ClientCertificateSettings
            | Kind::Tag
            | Kind::CustomPage
            | Kind::AccessKeys
            | Kind::AccessProfile
            | Kind::Factor
            | Kind::AccessSession
            | Kind::AppSession
            | Kind::Revocation
            | Kind::LoginState
            | Kind::Mail
            | Kind::MailServer
            | Kind::ListenerCertificate
            | Kind::AcmeAccount
            | Kind::Approval
            | Kind::OauthClient
            | Kind::OauthGrant
            | Kind::McpCatalog
            | Kind::McpCredential
            // Read with its list, which names it.
            | Kind::CategoryNames
            // Read when they are due.
            | Kind::SavedQuery
            | Kind::Signal
            | Kind::PushJob
            | Kind::SignalState
            | Kind::SignalEvent => &[],
        }
    }

    /// Returns the parts a change may concern.
    pub(crate) fn touched(change: &Change) -> &'static [Self] {
        match change {
            Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document) => {
                Self::of(document.kind)
            }
            Change::Resync { .. } => &Self::ALL,
        }
    }
}

/// Why a part is not what the store holds.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Worth trying again although no document changes.
    passing: bool,
}

/// Every part as it was last built, and those that wait to be.
pub(crate) struct InForce {
    builder: Builder,
    settings: Settings,
    rules: Rules,
    /// Rules of the store that do not compile, by id; they are why `rules` are older.
    refused: Vec<(String, String)>,
    scripts: Arc<Prepared>,
    workers: Arc<std::collections::HashMap<types::RuleId, Arc<Script>>>,
    people: Arc<Directory>,
    proxy_endpoints: Arc<[Endpoint]>,
    classifier: Arc<catalog::Classifier>,
    bypass: Arc<BypassList>,
    minter: Arc<Minter>,
    mcp: Arc<McpPlaces>,
    due: BTreeSet<Part>,
    failed: BTreeMap<Part, Failure>,
}

impl InForce {
    /// Builds every part for the first time. A rule that does not compile blocks in its place.
    ///
    /// # Errors
    /// The first part that cannot be built; there is nothing to keep in its stead.
    pub(crate) async fn first(mut builder: Builder) -> Result<Self, BuildError> {
        let rules = builder.rules(Broken::Block).await?;
        let scripts = Arc::new(builder.scripts().await?);
        Ok(Self {
            settings: builder.settings().await?,
            workers: Arc::new(rules.workers(&scripts.ready)),
            people: Arc::new(builder.people().await?),
            proxy_endpoints: builder.endpoints().await?.into(),
            classifier: builder.classifier().await?,
            bypass: Arc::new(builder.apply_network().await?),
            minter: builder.minter().await?,
            mcp: Arc::new(builder.mcp().await?),
            refused: Vec::new(),
            rules,
            scripts,
            builder,
            due: BTreeSet::new(),
            failed: BTreeMap::new(),
        })
    }

    /// Marks the parts that these changes concern.
    pub(crate) fn mark(&mut self, changes: &[Change]) {
        self.due.extend(changes.iter().flat_map(Part::touched));
    }

    /// Marks the parts that failed for a reason that passes.
    pub(crate) fn mark_failed(&mut self) {
        self.due.extend(self.failed.iter().filter(|(_, failure)| failure.passing).map(|(part, _)| *part));
    }

    /// Whether any part is marked.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Builds the parts that are marked. One that cannot be built stays, and the reason with it.
    pub(crate) async fn refresh(&mut self) {
        for part in std::mem::take(&mut self.due) {
            match self.rebuild(part).await {
                Ok(()) => drop(self.failed.remove(&part)),
                Err(error) => {
                    let failure = Failure { reason: chain(&error), passing: error.is_passing() };
                    if self.failed.get(&part).is_none_or(|known| known.reason != failure.reason) {
                        tracing::error!(part = part.as_str(), reason = %failure.reason, "a part of the stored configuration is not in force; what it was before stays");
                    }
                    self.failed.insert(part, failure);
                }
            }
        }
    }

    async fn rebuild(&mut self, part: Part) -> Result<(), BuildError> {
        match part {
            Part::Settings => self.settings = self.builder.settings().await?,
            Part::Rules => {
                self.rebuild_rules().await?;
                self.workers = Arc::new(self.rules.workers(&self.scripts.ready));
            }
            Part::Workers => {
                self.scripts = Arc::new(self.builder.scripts().await?);
                self.workers = Arc::new(self.rules.workers(&self.scripts.ready));
            }
            Part::People => self.people = Arc::new(self.builder.people().await?),
            Part::ProxyEndpoints => self.proxy_endpoints = self.builder.endpoints().await?.into(),
            Part::Network => self.bypass = Arc::new(self.builder.apply_network().await?),
            Part::Authority => self.minter = self.builder.minter().await?,
            Part::Mcp => self.mcp = Arc::new(self.builder.mcp().await?),
            Part::Catalog => self.classifier = self.builder.classifier().await?,
        }
        Ok(())
    }

    async fn rebuild_rules(&mut self) -> Result<(), BuildError> {
        match self.builder.rules(Broken::Refuse).await {
            Ok(rules) => {
                self.rules = rules;
                self.refused.clear();
                Ok(())
            }
            Err(BuildError::Rules(errors)) => {
                // Who was taken off a list must not stay on it because of some other rule.
                self.builder.again(&mut self.rules).await?;
                self.refused.clone_from(&errors);
                Err(BuildError::Rules(errors))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns all parts as one.
    pub(crate) fn snapshot(&self, revision: u64) -> Snapshot {
        // A browser shows its credential only when it is asked, so an account that serves people by name asks from loopback too.
        let require_identity = self.proxy_endpoints.iter().any(|endpoint| endpoint.kind == EndpointKind::Identity);
        let upstream = &self.builder.upstream;
        Snapshot {
            account: self.builder.account,
            revision,
            http: Arc::clone(&self.rules.http),
            l4: Arc::clone(&self.rules.l4),
            workers: Arc::clone(&self.workers),
            people: Arc::clone(&self.people),
            proxy_endpoints: Arc::clone(&self.proxy_endpoints),
            settings: Settings { require_identity, ..self.settings.clone() },
            classifier: Arc::clone(&self.classifier),
            bypass: Arc::clone(&self.bypass),
            mcp: Arc::clone(&self.mcp),
            minter: Arc::clone(&self.minter),
            upstream: upstream.pool.clone(),
            resolver: upstream.resolver(),
        }
    }

    /// Returns the parts that are older than the store, with the reason.
    pub(crate) fn stale(&self) -> Vec<console::StalePart> {
        let stale = |(part, failure): (&Part, &Failure)| console::StalePart {
            part: part.as_str().to_owned(),
            reason: failure.reason.clone(),
        };
        self.failed.iter().map(stale).collect()
    }

    /// Returns the rules that do not compile or cannot be carried out, by id, with the reason.
    pub(crate) fn rule_errors(&self) -> Vec<(String, String)> {
        if self.refused.is_empty() { self.rules.errors.clone() } else { self.refused.clone() }
    }

    /// Returns the Workers in force.
    pub(crate) fn scripts(&self) -> &Arc<Prepared> {
        &self.scripts
    }

    /// Returns every script that may be called.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Arc<Script>> {
        self.scripts.ready.values().chain(self.workers.values())
    }

    /// Asks the store for a sign of life.
    pub(crate) async fn store_answers(&self) -> bool {
        self.builder.store.health().await.answered.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway::Directory;
    use jiff::Timestamp;
    use store::{
        Change, ChangeFeed, McpPortal, Operate, Principal, ProxyEndpoint, ProxyEndpointKind, Rule, Store, StoreConfig,
        User, WriteAccess, WriteGateway, WriteRules, WriteUsers,
    };
    use types::{AccountId, KvNamespaceId, ProxyEndpointId, RuleId, UserId};
    use uuid::Uuid;

    use super::{InForce, Part};
    use crate::managed::Managed;
    use crate::scripts::Scripts;
    use crate::snapshot::Builder;
    use crate::upstream::{Fixed, Upstream};

    struct World {
        store: Store,
        account: AccountId,
        system: Principal,
        feed: ChangeFeed,
        in_force: InForce,
    }

    impl World {
        async fn start() -> Self {
            let store = Store::open(StoreConfig::memory()).await.unwrap();
            let system = Principal::system("test");
            let account = crate::account::ensure_account(&store, &system).await.unwrap();
            crate::account::ensure_authority(&store, &system, account, Timestamp::now()).await.unwrap();
            let upstream = Upstream::new(Fixed::default(), &store::Network::default(), crate::clock()).unwrap();
            let builder = Builder::new(
                store.clone(),
                account,
                Arc::new(Scripts::default()),
                Managed::new(KvNamespaceId(Uuid::nil())),
                Arc::new(upstream),
            );
            let feed = store.changes().await.unwrap();
            let in_force = InForce::first(builder).await.unwrap();
            Self { store, account, system, feed, in_force }
        }

        async fn rule(&self, id: u128, body: &str) {
            let grant = self.system.authorize::<WriteRules>(self.account).unwrap();
            let body = serde_json::value::RawValue::from_string(body.to_owned()).unwrap();
            let rule = Rule {
                name: "r".into(),
                enabled: true,
                precedence: 1,
                body,
                secrets: std::collections::BTreeMap::new(),
            };
            self.store.rules().put(&grant, RuleId(Uuid::from_u128(id)), rule).await.unwrap();
        }

        async fn person(&self, email: &str) -> (UserId, String) {
            let grant = self.system.authorize::<WriteUsers>(self.account).unwrap();
            let id = UserId(Uuid::new_v4());
            let user = User { email: email.parse().unwrap(), name: String::new(), groups: Vec::new(), disabled: false };
            self.store.users().create(&grant, id, user).await.unwrap();
            let (_, token) = self.store.proxy_tokens().issue(&grant, id, "t".into(), None).await.unwrap();
            (id, token.expose().clone())
        }

        async fn follow(&mut self) {
            let changes = self.feed.ready().await.unwrap();
            self.in_force.mark(&changes);
            self.in_force.refresh().await;
        }

        fn people(&self) -> Arc<Directory> {
            self.in_force.snapshot(2).people
        }
    }

    const BLOCKS: &str = r#"{"name":"r","action":"block","enabled":true,"filters":["http"],"traffic":"http.request.host == \"a.test\""}"#;
    const BROKEN: &str =
        r#"{"name":"r","action":"block","enabled":true,"filters":["http"],"traffic":"http.request.host === 1"}"#;

    #[tokio::test]
    async fn a_person_taken_away_is_gone_although_a_rule_does_not_compile() {
        let mut world = World::start().await;
        let (ann, token) = world.person("ann@acme.test").await;
        world.rule(1, BLOCKS).await;
        world.follow().await;
        let now = Timestamp::now();
        assert!(world.people().find("ann@acme.test", &token, now).is_some());
        let deciding = |world: &World| world.in_force.snapshot(2).http.rules().map(|rule| rule.id).collect::<Vec<_>>();
        let rules = deciding(&world);

        world.rule(2, BROKEN).await;
        let users = world.system.authorize::<WriteUsers>(world.account).unwrap();
        let mut user = world.store.users().get(&users, &ann).await.unwrap().unwrap();
        user.document.disabled = true;
        world.store.users().replace(&users, ann, user.document, None).await.unwrap();
        let gateway = world.system.authorize::<WriteGateway>(world.account).unwrap();
        let endpoint = ProxyEndpoint {
            name: "office".into(),
            subdomain: "office".into(),
            kind: ProxyEndpointKind::Identity,
            ips: Vec::new(),
        };
        world.store.proxy_endpoints().create(&gateway, ProxyEndpointId(Uuid::new_v4()), endpoint).await.unwrap();
        world.follow().await;

        assert!(world.people().find("ann@acme.test", &token, now).is_none(), "revoked");
        assert!(world.in_force.snapshot(3).settings.require_identity, "the new proxy endpoint is in force");
        let stale = world.in_force.stale();
        assert_eq!(stale.iter().map(|part| part.part.as_str()).collect::<Vec<_>>(), ["rules"]);
        assert_eq!(world.in_force.rule_errors()[0].0, RuleId(Uuid::from_u128(2)).to_string());
        assert_eq!(deciding(&world), rules, "the rules before the change decide");

        world.rule(2, BLOCKS).await;
        world.follow().await;
        assert!(world.in_force.stale().is_empty() && world.in_force.rule_errors().is_empty());
    }

    #[tokio::test]
    async fn the_gateway_knows_where_portals_and_servers_are() {
        let mut world = World::start().await;
        let grant = world.system.authorize::<WriteAccess>(world.account).unwrap();
        let portal = McpPortal {
            hostname: "Tools.acme.test".into(),
            body: serde_json::json!({}),
            created_by: String::new(),
            modified_by: String::new(),
        };
        world.store.mcp_portals().create(&grant, "tools".parse().unwrap(), portal).await.unwrap();
        for (id, hostname) in [("jira", Some("https://Jira.acme.test:8443/mcp")), ("program", None)] {
            let server: store::McpServer =
                serde_json::from_value(serde_json::json!({"body": {"hostname": hostname}})).unwrap();
            world.store.mcp_servers().create(&grant, id.parse().unwrap(), server).await.unwrap();
        }
        world.follow().await;
        let places = gateway::McpPlaces {
            portals: ["tools.acme.test".to_owned()].into(),
            servers: ["jira.acme.test".to_owned()].into(),
        };
        assert_eq!(*world.in_force.snapshot(2).mcp, places);
    }

    #[tokio::test]
    async fn only_what_a_change_concerns_is_built_again() {
        let mut world = World::start().await;
        world.person("ann@acme.test").await;
        let before = world.in_force.snapshot(1);
        world.follow().await;
        let after = world.in_force.snapshot(2);
        assert!(!Arc::ptr_eq(&before.people, &after.people));
        assert!(Arc::ptr_eq(&before.http, &after.http) && Arc::ptr_eq(&before.workers, &after.workers));
        assert!(Arc::ptr_eq(&before.minter, &after.minter) && Arc::ptr_eq(&before.bypass, &after.bypass));
        let grant = world.system.authorize::<Operate>(world.account).unwrap();
        world.store.issue_setup_link(&grant, std::time::Duration::from_secs(60)).await.unwrap();
        let changes = world.feed.ready().await.unwrap();
        world.in_force.mark(&changes);
        assert!(!world.in_force.is_due(), "nothing that decides traffic changed: {changes:?}");
        assert_eq!(Part::touched(&Change::Resync { seq: 1 }), Part::ALL);
    }
}
