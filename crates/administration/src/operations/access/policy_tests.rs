//! The policy tester: what policies would decide for everybody who ever signed in (reference section 1.8).
//!
//! A test goes through the people when it is begun, within a bound of time, and its outcome is kept for whoever polls.
//! It is kept on the node that ran it, and only the newest few. Invariants: one test runs at a time, nobody is counted
//! twice, and of Workers a few are asked at a time.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use identity::policy_test::{MAX_POLICIES, PersonOutcome, PersonStatus, PolicyTest, Progress, Told};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{AccessProfile, ReadAccess, ReadUsers, Stored, User};
use tokio::sync::Semaphore;
use types::{AccessPolicyId, Code};
use utoipa::ToSchema;
use uuid::Uuid;

use super::trials::{self, Trial};
use super::{AccessView, policies};
use crate::app::Tried;
use crate::auth::OpContext;
use crate::failure::Failure;

/// How many outcomes are kept.
const KEPT: usize = 4;
/// How long a test may take.
const LONGEST: Duration = Duration::from_secs(10);
/// After how many people other work gets its turn.
const TURN: usize = 200;
/// How many Workers are asked at a time.
const ASKING: usize = 8;

/// The outcomes that can be asked for, newest last.
#[derive(Debug)]
pub struct PolicyTests {
    kept: Mutex<VecDeque<Outcome>>,
    running: tokio::sync::Mutex<()>,
    pub(super) asking: Semaphore,
}

impl Default for PolicyTests {
    fn default() -> Self {
        Self { kept: Mutex::default(), running: tokio::sync::Mutex::default(), asking: Semaphore::new(ASKING) }
    }
}

#[derive(Debug, Clone)]
struct Outcome {
    id: Uuid,
    report: Map<String, Value>,
    people: Vec<PersonOutcome>,
}

/// What is tested.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestBody {
    /// Each a policy, or the id of a stored one; they are asked in this order, as an application would.
    #[schema(value_type = Vec<Object>)]
    pub policies: Vec<Value>,
}

/// A test that was begun.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Started {
    pub id: String,
    /// `success`
    pub status: &'static str,
}

/// Goes through everybody who ever signed in.
///
/// # Errors
///
/// A [`Failure`] that points at every policy at fault; `RateLimited` while another test runs.
pub async fn start(cx: &OpContext, body: &TestBody) -> Result<Started, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let tests = &cx.app.policy_tests;
    let Ok(_running) = tests.running.try_lock() else { return Err(Failure::rate_limited(LONGEST.as_secs())) };
    let trial = Trial::of(cx, read(cx, &body.policies).await?).await?;
    let mut profiles: std::collections::HashMap<_, _> = cx
        .store()
        .access_profiles()
        .list(&grant)
        .await?
        .into_iter()
        .filter(|profile| profile.document.last_login_at.is_some())
        .map(|profile| (profile.id, profile.document))
        .collect();
    let users = cx.store().users().list(&grant).await?;
    let people: Vec<_> = users.into_iter().filter_map(|user| Some((profiles.remove(&user.id)?, user))).collect();
    let mut test = PolicyTest::begin(trial.policies.clone(), people.len() as u64);
    let outcomes = go_through(cx, &trial, &mut test, people).await;
    let id = Uuid::new_v4();
    let mut kept = tests.kept.lock();
    if kept.len() >= KEPT {
        kept.pop_front();
    }
    kept.push_back(Outcome { id, report: test.report(), people: outcomes });
    Ok(Started { id: id.to_string(), status: "success" })
}

/// Decides for one after the other, while Workers are asked about the next ones.
async fn go_through(
    cx: &OpContext,
    trial: &Trial,
    test: &mut PolicyTest,
    people: Vec<(AccessProfile, Stored<User>)>,
) -> Vec<PersonOutcome> {
    let end = tokio::time::Instant::now() + LONGEST;
    let mut outcomes = Vec::with_capacity(people.len());
    let asked = people.into_iter().map(async |(profile, user)| {
        let Some(identity) = trials::last_identity(Some(&profile)) else { return Err(user) };
        let heard = trial.hear(cx, Tried { account: cx.account, identity: &identity, application: None }).await;
        Ok((heard, identity))
    });
    let mut asked = std::pin::pin!(stream::iter(asked).buffered(ASKING));
    loop {
        let Ok(next) = tokio::time::timeout_at(end, asked.next()).await else {
            test.stop(Progress::ExceededTime);
            break;
        };
        let Some(next) = next else { break };
        outcomes.push(match next {
            Ok((heard, identity)) => {
                let told = heard.told();
                let outcome = test.judge(&trials::person(&identity), &heard);
                PersonOutcome { portunus: (!told.is_empty()).then_some(Told { workers: told }), ..outcome }
            }
            // The sign-in was before identities were kept.
            Err(user) => test.unknown(user.id, user.document.email, user.document.name),
        });
        if outcomes.len().is_multiple_of(TURN) {
            tokio::task::yield_now().await;
            if tokio::time::Instant::now() > end {
                test.stop(Progress::ExceededTime);
                break;
            }
        }
    }
    outcomes
}

async fn read(cx: &OpContext, sent: &[Value]) -> Result<Vec<identity::access_policy::Policy>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    if sent.is_empty() || sent.len() > MAX_POLICIES {
        return Err(Failure::invalid("/policies", format!("must hold 1 to {MAX_POLICIES} policies")));
    }
    let mut read = Vec::with_capacity(sent.len());
    for (index, entry) in sent.iter().enumerate() {
        let pointer = format!("/policies/{index}");
        read.push(match entry {
            Value::String(id) => {
                let missing = || Failure::invalid(pointer.clone(), "there is no such policy");
                let id: AccessPolicyId = id.parse().map_err(|_| missing())?;
                let stored = cx.store().access_policies().get(&grant, &id).await?.ok_or_else(missing)?;
                trials::parse(&stored).ok_or_else(|| Failure::invalid(pointer, "this stored policy cannot be read"))?
            }
            Value::Object(_) => policies::unstored(cx, entry).await.map_err(|failure| prefixed(failure, &pointer))?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                return Err(Failure::invalid(pointer, "must be a policy or the id of one"));
            }
        });
    }
    Ok(read)
}

fn prefixed(mut failure: Failure, pointer: &str) -> Failure {
    if failure.code == Code::InvalidInput {
        for problem in &mut failure.problems {
            problem.pointer = Some(format!("{pointer}{}", problem.pointer.take().unwrap_or_default()));
        }
    }
    failure
}

/// Returns how a test stands.
///
/// # Errors
///
/// `NotFound` for a test that was never begun here or is not kept any more.
pub fn get(cx: &OpContext, id: Uuid) -> Result<AccessView, Failure> {
    let mut report = find(cx, id, |outcome| outcome.report.clone())?;
    report.insert("id".to_owned(), json!(id.to_string()));
    Ok(AccessView(report))
}

/// Returns what came out for each person, or for those of one `status`: `success`, `fail` or `error`.
///
/// # Errors
///
/// `NotFound` as [`get`], `InvalidInput` for another word.
pub fn people(cx: &OpContext, id: Uuid, status: Option<&str>) -> Result<Vec<AccessView>, Failure> {
    let wanted = match status {
        None => None,
        Some(word) => Some(
            PersonStatus::of_filter(word)
                .ok_or_else(|| Failure::invalid("", "query parameter \"status\" must be success, fail or error"))?,
        ),
    };
    let fits = |person: &&PersonOutcome| wanted.is_none_or(|wanted| person.status == wanted);
    find(cx, id, |outcome| {
        let people = outcome.people.iter().filter(fits).filter_map(|person| serde_json::to_value(person).ok());
        people.map(|person| AccessView(super::members(&person))).collect()
    })
}

fn find<T>(cx: &OpContext, id: Uuid, read: impl FnOnce(&Outcome) -> T) -> Result<T, Failure> {
    cx.authorize::<ReadAccess>()?;
    cx.authorize::<ReadUsers>()?;
    let kept = cx.app.policy_tests.kept.lock();
    kept.iter().find(|outcome| outcome.id == id).map(read).ok_or_else(|| Failure::not_found("policy test"))
}
