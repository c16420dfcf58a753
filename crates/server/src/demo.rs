//! The demo company: two people, three sites, one list, four rules, two Workers, a proxy that asks who it is, a wiki, and an
//! MCP portal in front of two more Workers; and a month of generated traffic.
//!
//! It is ordinary content written through the same stores as anybody's; only the sites are served by this process. It
//! decides nothing at run time. Invariant: loading it twice into one data directory changes nothing.

pub mod launcher;
pub mod portal;
pub mod sites;
pub mod traffic;
pub mod wiki;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use catalog::review::Review;
use serde_json::{Value, json};
use store::{
    Binding, CatalogId, CatalogReview, Group, Isolation, List, ListType, Module, ModuleKind, NewListItem, Principal,
    ProxyEndpoint, ProxyEndpointKind, Rule, ScriptLimits, ScriptVersion, Source, Store, User, WriteGateway, WriteLists,
    WriteRules, WriteScripts, WriteUsers,
};
use types::{AccountId, Email, ListId, ProxyEndpointId, RuleId, ScriptName, Secret, UserId, VersionId};
use uuid::Uuid;

use crate::account::AccountError;
use crate::upstream::Fixed;
use sites::{CHAT, FINANCE, LEARNING};

/// A person of the demo company.
pub struct Person {
    pub email: &'static str,
    pub name: &'static str,
    pub groups: &'static [&'static str],
    /// Whether the compliance training is valid.
    pub trained: bool,
}

/// The people of the demo company.
#[must_use]
pub const fn people() -> [Person; 2] {
    [
        Person { email: "ana@acme.test", name: "Ana Costa", groups: &["Finance"], trained: true },
        Person { email: "ben@acme.test", name: "Ben Okafor", groups: &["Finance"], trained: false },
    ]
}

const LIST: ListId = ListId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
const ENDPOINT: &str = "People of the demo";
const TRAINING_CHECK: &str = "training-check";
const LEARNER_HEADER: &str = "learner-header";

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Sites(#[from] sites::SitesError),
    #[error("demo content is not well formed")]
    Content(#[from] serde_json::Error),
    #[error("the demo's MCP servers cannot be asked: {0}")]
    Tools(String),
    #[error(transparent)]
    Traffic(#[from] traffic::TrafficError),
    #[error("demo content has a bad name")]
    Name(#[from] types::IdError),
}

impl From<store::StoreError> for DemoError {
    fn from(error: store::StoreError) -> Self {
        Self::Account(error.into())
    }
}

impl From<store::Denied> for DemoError {
    fn from(error: store::Denied) -> Self {
        Self::Account(error.into())
    }
}

/// A person and the token their browser shows the proxy.
pub struct Credential {
    pub person: Person,
    pub token: Secret<String>,
    /// What they sign in at Access with.
    pub password: Secret<String>,
}

/// What the demo adds to the network settings, so that the gateway finds the sites and trusts them.
#[must_use]
pub fn network(address: SocketAddr, root: &str) -> Fixed {
    let hosts = [FINANCE, LEARNING, CHAT].map(|name| (format!("{name}:443"), address.to_string()));
    Fixed {
        hosts: BTreeMap::from(hosts),
        allow: vec![format!("{}/32:{}", address.ip(), address.port())],
        roots: vec![root.to_owned()],
        ..Fixed::default()
    }
}

/// Writes what is missing and returns a fresh proxy token for each person.
///
/// # Errors
/// The store does not answer.
pub async fn load(store: &Store, principal: &Principal, account: AccountId) -> Result<Vec<Credential>, DemoError> {
    load_list(store, principal, account).await?;
    let asks = || vec![LEARNING.to_owned()];
    let check = include_str!("../demo/training-check.ts");
    load_script(store, principal, account, TRAINING_CHECK, check, (training_env(), asks())).await?;
    let header = include_str!("../demo/learner-header.ts");
    load_script(store, principal, account, LEARNER_HEADER, header, (Vec::new(), asks())).await?;
    load_rules(store, principal, account).await?;
    load_endpoint(store, principal, account).await?;
    load_reviews(store, principal, account).await?;
    load_people(store, principal, account).await
}

async fn load_list(store: &Store, principal: &Principal, account: AccountId) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteLists>(account)?;
    if store.lists().get(&grant, &LIST).await?.is_some() {
        return Ok(());
    }
    let list = List {
        name: "Unapproved AI sites".into(),
        description: "Chat sites nobody has reviewed yet".into(),
        item_type: ListType::Domain,
    };
    let items = vec![NewListItem { value: CHAT.into(), description: "OpenMind Chat".into() }];
    store.lists().create_with_items(&grant, LIST, list, items).await?;
    Ok(())
}

/// Says of some applications what the demo company thinks of them; the others wait for a review.
async fn load_reviews(store: &Store, principal: &Principal, account: AccountId) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteGateway>(account)?;
    if !store.catalog_reviews().list(&grant).await?.is_empty() {
        return Ok(());
    }
    for (id, status) in traffic::statuses() {
        let review = Review { status, owner: "IT".to_owned(), ..Review::default() };
        store.catalog_reviews().create(&grant, CatalogId(id), CatalogReview(review)).await?;
    }
    Ok(())
}

fn training_env() -> Vec<Binding> {
    let site = format!("https://{LEARNING}");
    vec![
        Binding::PlainText { name: "LEARNING_API".into(), text: site.clone() },
        Binding::PlainText { name: "LEARNING_SITE".into(), text: site },
    ]
}

async fn load_script(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    name: &str,
    source: &str,
    (bindings, egress): (Vec<Binding>, Vec<String>),
) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteScripts>(account)?;
    let name: ScriptName = name.parse()?;
    if store.scripts().get(&grant, &name).await?.is_some() {
        return Ok(());
    }
    let version = ScriptVersion {
        script: name.clone(),
        number: 0,
        main_module: format!("{name}.ts"),
        modules: Vec::new(),
        bindings,
        egress,
        compatibility_date: None,
        compatibility_flags: Vec::new(),
        limits: ScriptLimits::default(),
        isolation: Isolation::default(),
        queues: Vec::new(),
        annotations: BTreeMap::new(),
    };
    let module =
        Module { name: format!("{name}.ts"), kind: ModuleKind::TypeScript, source: Source::Text(source.to_owned()) };
    store.scripts().upload(&grant, &name, VersionId(Uuid::new_v4()), version, vec![module], true).await?;
    Ok(())
}

/// The four rules, first to last, as the API would take them.
fn rules() -> [Value; 4] {
    let worker = |script: &str| json!({ "script": script, "timeout_ms": 2000, "cpu_ms": 50, "memory_mb": 32, "on_error": "block" });
    [
        json!({
            "name": "Unapproved AI sites are blocked", "action": "block", "filters": ["http"], "precedence": 1000,
            "traffic": format!("any(http.request.domains[*] in ${LIST})"),
            "rule_settings": { "block_reason": "This AI site has not been reviewed. Ask the security team to look at it." },
        }),
        json!({
            "name": "Old finance reports have moved", "action": "redirect", "filters": ["http"], "precedence": 2000,
            "traffic": format!("http.request.host == \"{FINANCE}\" and starts_with(http.request.uri.path, \"/reports-2019\")"),
            "rule_settings": { "redirect": { "target_uri": format!("https://{FINANCE}/archive"), "preserve_path_and_query": true, "include_context": false } },
        }),
        json!({
            "name": "Finance needs compliance training", "action": "worker", "filters": ["http"], "precedence": 3000,
            "traffic": format!("http.request.host == \"{FINANCE}\""),
            "rule_settings": { "worker": worker(TRAINING_CHECK) },
        }),
        json!({
            "name": "The learning system knows who is asking", "action": "worker", "filters": ["http"], "precedence": 4000,
            "traffic": format!("http.request.host == \"{LEARNING}\""),
            "rule_settings": { "worker": worker(LEARNER_HEADER) },
        }),
    ]
}

async fn load_rules(store: &Store, principal: &Principal, account: AccountId) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteRules>(account)?;
    let present = store.rules().list(&grant).await?;
    for mut body in rules() {
        body["enabled"] = json!(true);
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        if present.iter().any(|rule| rule.document.name == name) {
            continue;
        }
        let precedence = body["precedence"].as_i64().unwrap_or_default();
        let body = serde_json::value::to_raw_value(&body)?;
        store
            .rules()
            .create(
                &grant,
                RuleId(Uuid::new_v4()),
                Rule { name, enabled: true, precedence, body, secrets: BTreeMap::new() },
            )
            .await?;
    }
    Ok(())
}

/// A browser shows its credential only when it is asked, and from loopback it is asked only where people are served by
/// name. Without this a newcomer's browser would be nobody to the rules, and none of them would do what they are for.
async fn load_endpoint(store: &Store, principal: &Principal, account: AccountId) -> Result<(), DemoError> {
    let grant = principal.authorize::<WriteGateway>(account)?;
    if store.proxy_endpoints().find(&grant, ENDPOINT).await?.is_none() {
        let endpoint = ProxyEndpoint {
            name: ENDPOINT.into(),
            kind: ProxyEndpointKind::Identity,
            ips: Vec::new(),
            subdomain: "demo".into(),
        };
        store.proxy_endpoints().create(&grant, ProxyEndpointId(Uuid::new_v4()), endpoint).await?;
    }
    Ok(())
}

async fn load_people(store: &Store, principal: &Principal, account: AccountId) -> Result<Vec<Credential>, DemoError> {
    let grant = principal.authorize::<WriteUsers>(account)?;
    let mut credentials = Vec::new();
    for person in people() {
        let id = match store.users().find(&grant, person.email).await? {
            Some(known) => known.id,
            None => {
                let email: Email = person.email.parse()?;
                let groups = person.groups.iter();
                let groups = groups.map(|name| Group { id: (*name).into(), name: (*name).into(), email: None });
                let user = User { email, name: person.name.into(), groups: groups.collect(), disabled: false };
                store.users().create(&grant, UserId(Uuid::new_v4()), user).await?.id
            }
        };
        // A token's text is known only when it is made, and this start prints it.
        for old in store.proxy_tokens().list(&grant).await?.into_iter().filter(|token| token.document.user == id) {
            store.proxy_tokens().delete(&grant, &old.id, None).await?;
        }
        let (_, token) = store.proxy_tokens().issue(&grant, id, "demo".into(), None).await?;
        credentials.push(Credential { person, token, password: crate::account::new_password()? });
    }
    Ok(credentials)
}

/// The commands a newcomer pastes, each with what to expect.
#[must_use]
pub fn commands(proxy: &str, authority: &str, credentials: &[Credential]) -> Vec<(String, String)> {
    let curl = |credential: &Credential, rest: &str| {
        let user = credential.person.email.replace('@', "%40");
        let address = proxy.trim_start_matches("http://");
        format!("curl -s --cacert {authority} -x http://{user}:{}@{address} {rest}", credential.token.expose())
    };
    let [ana, ben, ..] = credentials else { return Vec::new() };
    vec![
        (
            format!(
                "{} is sent to the training page, because the learning system says it has expired",
                ben.person.name
            ),
            curl(ben, &format!("-i https://{FINANCE}/")),
        ),
        (
            format!("{} passes, and the finance site sees the header that the Worker added", ana.person.name),
            curl(ana, &format!("https://{FINANCE}/")),
        ),
        ("An unreviewed AI site shows the block page".into(), curl(ana, &format!("-i https://{CHAT}/"))),
        ("An old address moves on by a plain rule".into(), curl(ana, &format!("-i https://{FINANCE}/reports-2019/q3"))),
    ]
}
