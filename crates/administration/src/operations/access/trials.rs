//! What policies would decide for somebody who signed in before: the ground of the policy tester and of the check of one
//! person at one application (reference sections 1.1 and 1.8).
//!
//! The engine decides; here stand the policies as they are stored, the lists they name and the identity of a person's
//! last sign-in. Workers are asked as at a sign-in, with the mark of a test, a few at a time. Nothing is asked of other
//! services and nothing is guessed: what hangs on such a fact is an error. Invariant: a policy that cannot be read makes its application's answer an error, never an admission.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use identity::access_policy::{Policy, PolicyDocument};
use identity::evaluation::{Answer, Lookups, PolicySet, PolicyTrace, Truth, WorkerWord};
use identity::group::{Group, Groups};
use identity::identity::Identity;
use identity::policy_test::{Person, PersonStatus, PolicyTest};
use identity::selector::{ExternalEvaluation, Network, Selector, WorkerQuestion};
use serde_json::{Map, Value, json};
use store::{AccessPolicy, AccessProfile, Actor, Application, ReadAccess, ReadUsers, Stored, User};
use types::{AccessPolicyId, ApplicationId, Email, ListId, UserId};

use super::{AccessView, groups, policies, system};
use crate::app::Tried;
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::people::read_email;
use crate::operations::rules::lists_named_in;

/// Policies that are ready to be asked, with the lists they name.
pub struct Trial {
    pub policies: PolicySet,
    pub lists: NamedLists,
}

/// The lists that policies name, as the engine asks about them.
#[derive(Debug, Default)]
pub struct NamedLists {
    networks: HashMap<ListId, Vec<Network>>,
    addresses: HashMap<ListId, HashSet<Email>>,
}

impl Lookups for NamedLists {
    fn email_list(&self, list: ListId, email: &Email) -> Answer {
        self.addresses.get(&list).map_or(Answer::Broken, |list| yes(list.contains(email)))
    }

    fn ip_list(&self, list: ListId, address: IpAddr) -> Answer {
        self.networks
            .get(&list)
            .map_or(Answer::Broken, |networks| yes(networks.iter().any(|network| network.contains(address))))
    }

    fn external(&self, _: &ExternalEvaluation) -> Answer {
        // Another service is asked when somebody signs in, and not to try a policy.
        Answer::NotAsked
    }

    fn worker(&self, _: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        // What it says is of one person: see [`Heard`].
        None
    }
}

/// What is known of one person: the lists, and what Workers said.
pub struct Heard<'a> {
    lists: &'a NamedLists,
    words: Vec<(WorkerQuestion, Arc<WorkerWord>)>,
}

impl Heard<'_> {
    /// Returns what was said, in words.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.words.iter().map(|(question, word)| word.explain(question)).collect()
    }
}

impl Lookups for Heard<'_> {
    fn email_list(&self, list: ListId, email: &Email) -> Answer {
        self.lists.email_list(list, email)
    }

    fn ip_list(&self, list: ListId, address: IpAddr) -> Answer {
        self.lists.ip_list(list, address)
    }

    fn external(&self, evaluation: &ExternalEvaluation) -> Answer {
        self.lists.external(evaluation)
    }

    fn worker(&self, question: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        self.words.iter().find(|(asked, _)| asked == question).map(|(_, word)| Arc::clone(word))
    }
}

const fn yes(truth: bool) -> Answer {
    if truth { Answer::Yes } else { Answer::No }
}

impl Trial {
    /// Makes policies ready.
    ///
    /// # Errors
    /// A [`Failure`] for the caller.
    pub async fn of(cx: &OpContext, policies: Vec<Policy>) -> Result<Self, Failure> {
        let known = groups::known(cx).await?;
        let lists = NamedLists::load(cx, named(&policies, &known)).await?;
        let groups: Groups = known.into_iter().collect();
        let compiled = lists_named_in(cx, policies.iter().filter_map(|policy| policy.expression.as_deref())).await?;
        Ok(Self { policies: PolicySet::compile(policies, &groups, &compiled), lists })
    }

    /// Asks the Workers that the outcome for one person hangs on, until it hangs on none.
    pub async fn hear(&self, cx: &OpContext, tried: Tried<'_>) -> Heard<'_> {
        let mut heard = Heard { lists: &self.lists, words: Vec::new() };
        loop {
            let questions = PolicyTest::questions(&self.policies, &person(tried.identity), &heard);
            if questions.is_empty() {
                return heard;
            }
            for question in questions {
                // Trials never take the places of people who want in.
                let _place = cx.app.policy_tests.asking.acquire().await.ok();
                let word = cx.app.deps.workers.ask(&question, tried).await;
                heard.words.push((question, Arc::new(word)));
            }
        }
    }
}

impl NamedLists {
    async fn load(cx: &OpContext, named: BTreeMap<ListId, bool>) -> Result<Self, Failure> {
        let mut loaded = Self::default();
        let grant = system(cx, "read the lists that policies name")?;
        for (id, is_email) in named {
            if cx.store().lists().get(&grant, &id).await?.is_none() {
                continue;
            }
            let items = cx.store().lists().all_items(&grant, id).await?;
            let values = items.iter().map(|item| item.value.as_str());
            if is_email {
                loaded.addresses.insert(id, values.filter_map(|value| value.parse().ok()).collect());
            } else {
                loaded.networks.insert(id, values.filter_map(|value| value.parse().ok()).collect());
            }
        }
        Ok(loaded)
    }
}

/// The lists that policies and groups name, and whether they are of addresses of mail.
fn named(policies: &[Policy], groups: &[Group]) -> BTreeMap<ListId, bool> {
    let of_policies = policies.iter().flat_map(|policy| [&policy.include, &policy.require, &policy.exclude]);
    let of_groups = groups.iter().flat_map(|group| [&group.include, &group.require, &group.exclude]);
    let list = |selector: &Selector| {
        if let Selector::EmailList { id } = selector {
            Some((*id, true))
        } else if let Selector::IpList { id } = selector {
            Some((*id, false))
        } else {
            None
        }
    };
    of_policies.chain(of_groups).flatten().filter_map(list).collect()
}

/// Reads the identity of somebody's last sign-in.
#[must_use]
pub fn last_identity(profile: Option<&AccessProfile>) -> Option<Identity> {
    profile.and_then(|profile| serde_json::from_value(profile.identity.clone()?).ok())
}

/// A person as policies are tried on them: posture and risk are known of nobody yet.
#[must_use]
pub const fn person(identity: &Identity) -> Person<'_> {
    Person { identity, passed: None, risk: None }
}

/// Tells what the policies of an application decide for one person, as they last signed in: `email` or `user_id` says
/// who; without either it is the administrator who asks.
///
/// # Errors
///
/// `NotFound` for an unknown application or person, and for a person who never signed in.
pub async fn check(
    cx: &OpContext,
    id: ApplicationId,
    email: Option<&str>,
    user: Option<&str>,
) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let application = super::load::<Application>(cx, &id).await?;
    let user = find(cx, email, user).await?;
    let profile = cx.store().access_profiles().get(&system(cx, "try policies")?, &user.id).await?;
    let profile = profile.map(|profile| profile.document);
    let identity = last_identity(profile.as_ref());
    let Some(identity) = identity else {
        return Err(Failure::not_found(format!(
            "sign-in of {} yet: nothing is known to decide by",
            user.document.email
        )));
    };
    let stored = cx.store().access_policies().list(&grant).await?;
    let stored: HashMap<AccessPolicyId, Stored<AccessPolicy>> = stored.into_iter().map(|one| (one.id, one)).collect();
    let mut own = Vec::new();
    let mut unreadable = false;
    for link in policies::links(&application) {
        match stored.get(&link).and_then(parse) {
            Some(policy) => own.push(policy),
            None => unreadable = true,
        }
    }
    let trial = Trial::of(cx, own).await?;
    let body = &application.document.body;
    let hostname = body.get("domain").and_then(Value::as_str).or_else(|| body["destinations"][0]["uri"].as_str());
    let hostname = hostname.unwrap_or_default();
    let page = page(cx, hostname);
    let at = (id, application.document.name.as_str(), page.as_str());
    let tried = Tried { account: cx.account, identity: &identity, application: Some(at) };
    let heard = trial.hear(cx, tried).await;
    let (outcome, trace) = PolicyTest::begin(trial.policies.clone(), 1).explain(&person(&identity), &heard);
    let mut status = outcome.status;
    if unreadable || user.document.disabled {
        status = if unreadable { PersonStatus::Error } else { PersonStatus::Blocked };
    }
    let state = json!({
        "app_uid": id.to_string(),
        "aud": application.document.aud,
        "hostname": hostname,
        "name": application.document.name,
        "policies": trace.policies.iter().map(explained).collect::<Vec<_>>(),
        "status": status,
    });
    Ok(AccessView(Map::from_iter([
        ("app_state".to_owned(), state),
        ("user_identity".to_owned(), shown(cx, &identity)),
    ])))
}

/// Reads a stored policy.
#[must_use]
pub fn parse(stored: &Stored<AccessPolicy>) -> Option<Policy> {
    let document = identity::document::read_stored::<PolicyDocument>(&stored.document.body).ok()?;
    Policy::parse(stored.id, &document).ok()
}

/// The address at which a sign-in to a destination would begin.
fn page(cx: &OpContext, destination: &str) -> String {
    let (host, path) = destination.split_once('/').unwrap_or((destination, ""));
    format!("{}/{path}", cx.app.deps.addresses.of_access(host))
}

fn explained(policy: &PolicyTrace) -> Value {
    let status = match policy.outcome {
        Truth::Yes => "matched",
        Truth::No => "did not match",
        Truth::Unknown => "cannot be told before sign-in",
        Truth::Broken => "cannot be evaluated",
    };
    json!({
        "id": policy.policy, "name": policy.name, "decision": policy.decision, "status": status,
        "reasons": policy.reasons,
    })
}

async fn find(cx: &OpContext, email: Option<&str>, user: Option<&str>) -> Result<Stored<User>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let found = match (user, email, cx.actor()) {
        (Some(id), _, _) => {
            let id: UserId = id.parse().map_err(|_| Failure::not_found("user"))?;
            cx.store().users().get(&grant, &id).await?
        }
        (None, Some(email), _) => cx.store().users().find(&grant, read_email("/email", email)?.as_str()).await?,
        (None, None, Actor::Administrator { email, .. }) => cx.store().users().find(&grant, email).await?,
        (None, None, Actor::Token { .. } | Actor::System { .. }) => {
            return Err(Failure::invalid("", "say whose access is checked: ?email= or ?user_id="));
        }
    };
    found.ok_or_else(|| Failure::not_found("user"))
}

/// An identity as the vendor shows it beside a check.
fn shown(cx: &OpContext, identity: &Identity) -> Value {
    json!({
        "id": identity.user, "user_uuid": identity.user, "account_id": cx.account.to_string(),
        "email": identity.email, "name": identity.name, "iat": identity.signed_in,
        "geo": {"country": identity.country()}, "device_sessions": {}, "is_gateway": false, "is_warp": false,
        "version": 2,
    })
}
