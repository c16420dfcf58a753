//! The records of sign-ins and refusals (reference section 11).
//!
//! It fills fields; whether something happened is decided elsewhere. Invariant: a record holds no secret, and one that
//! the log does not take is counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use identity::access_policy::Policy;
use identity::approval::{ApprovalRequest, State};
use identity::evaluation::{Denial, Trace};
use identity::identity::Identity;
use jiff::Timestamp;
use logs::AccessRequest;
use serde_json::{Value, json};
use types::AccessPolicyId;

use crate::caller::Who;
use crate::client_certificate;
use crate::exchange::Exchange;
use crate::snapshot::Published;
use crate::workers;

/// What was decided and why.
#[derive(Default)]
pub(crate) struct Decision {
    pub(crate) identity: Option<Arc<Identity>>,
    /// The client id of a service token.
    pub(crate) program: Option<String>,
    pub(crate) policy: Option<(AccessPolicyId, String)>,
    pub(crate) reason: String,
    pub(crate) trace: Option<Value>,
    /// The question and its answer.
    pub(crate) justification: Option<(String, String)>,
    /// What others granted.
    pub(crate) approved: Option<Arc<ApprovalRequest>>,
}

impl Decision {
    pub(crate) fn because(reason: String) -> Self {
        Self { reason, ..Self::default() }
    }

    /// Names who asked, and returns what they came by.
    pub(crate) fn of(&mut self, who: &Who) -> &'static str {
        match who {
            Who::Person(signed) => {
                let identity = &signed.live.session().identity;
                self.identity = Some(Arc::clone(identity));
                identity.provider_type.as_str()
            }
            Who::Program(program) => {
                self.program = Some(program.client_id.to_string());
                "service_token"
            }
            Who::Nobody => "",
        }
    }

    /// Explains a refusal by policy.
    pub(crate) fn denied(published: &Published, denied: Denial, trace: Option<&Trace>) -> Self {
        let policy = match denied {
            Denial::Policy(index) | Denial::Broken(index) => published.policies.policy(index),
            Denial::NoPolicy | Denial::NothingMatched => None,
        };
        let name = policy.map_or("", |policy| policy.name.as_str());
        let reason = match denied {
            Denial::Policy(_) => format!("the policy \"{name}\" denies it"),
            Denial::Broken(_) => format!("the policy \"{name}\" could not be evaluated, and so denies it"),
            Denial::NoPolicy => "the application has no policy".to_owned(),
            Denial::NothingMatched => "no policy of the application covers the caller".to_owned(),
        };
        Self {
            policy: policy.map(|policy| (policy.id, policy.name.clone())),
            trace: trace.map(words),
            ..Self::because(reason)
        }
    }

    /// Explains a refusal for want of a fact.
    pub(crate) fn unanswered(trace: &Trace) -> Self {
        let reason = "what a policy of the application asks could not be answered".to_owned();
        Self { trace: Some(words(trace)), ..Self::because(reason) }
    }
}

fn words(trace: &Trace) -> Value {
    let policies = trace.policies.iter().map(|policy| {
        json!({
            "policy": policy.policy,
            "name": policy.name,
            "decision": policy.decision,
            "outcome": format!("{:?}", policy.outcome).to_lowercase(),
            "reasons": policy.reasons,
        })
    });
    Value::Array(policies.collect())
}

/// Records a request that was refused.
pub(crate) fn refused(exchange: &Exchange, published: &Published, decision: &Decision, connection: &str) {
    exchange.plane().counters.denied.fetch_add(1, Ordering::Relaxed);
    request(exchange, base(exchange, Some(published), decision, connection));
}

fn request(exchange: &Exchange, mut record: AccessRequest) {
    if record.connection.is_empty() && matches!(exchange.client_certificate(), Some(Ok(_))) {
        "certificate".clone_into(&mut record.connection);
    }
    "request".clone_into(&mut record.action);
    exchange.host.clone_into(&mut record.app_domain);
    exchange.method.as_str().clone_into(&mut record.method);
    exchange.path.clone_into(&mut record.path);
    append(exchange, record);
}

/// Records some of the requests that are let through, as many of a thousand as the organisation says.
pub(crate) fn passed(exchange: &Exchange, published: &Published, policy: &Policy, who: &Who) {
    let rate = u64::from(exchange.snapshot.organization.logged_allows);
    if rate == 0 {
        return;
    }
    let number = exchange.plane().counters.sampled.fetch_add(1, Ordering::Relaxed);
    if !is_sampled(number, rate) {
        return;
    }
    let said = workers::notes(exchange, published.application.id);
    let mut decision = Decision {
        policy: Some((policy.id, policy.name.clone())),
        ..Decision::because(format!("the policy \"{}\" lets it through{said}", policy.name))
    };
    let connection = decision.of(who);
    let mut record = base(exchange, Some(published), &decision, connection);
    record.allowed = true;
    request(exchange, record);
}

/// Whether a request is recorded when `rate` of a thousand are: of any thousand in a row exactly so many, spread evenly.
const fn is_sampled(number: u64, rate: u64) -> bool {
    let place = number % 1_000;
    (place + 1) * rate / 1_000 > place * rate / 1_000
}

/// Records a sign-in that was let in or refused.
pub(crate) fn login(exchange: &Exchange, published: &Published, host: &str, decision: &Decision, allowed: bool) {
    let connection = decision.identity.as_ref().map_or("", |identity| identity.provider_type.as_str());
    let mut record = base(exchange, Some(published), decision, connection);
    "login".clone_into(&mut record.action);
    host.clone_into(&mut record.app_domain);
    record.allowed = allowed;
    append(exchange, record);
}

/// Records a sign-in that named nobody.
pub(crate) fn failed_login(
    exchange: &Exchange,
    published: Option<&Published>,
    host: &str,
    email: &str,
    connection: &str,
    reason: String,
) {
    let mut record = base(exchange, published, &Decision::because(reason), connection);
    "login".clone_into(&mut record.action);
    host.clone_into(&mut record.app_domain);
    email.clone_into(&mut record.email);
    append(exchange, record);
}

/// Records a sign-out.
pub(crate) fn logout(exchange: &Exchange, identity: &Arc<Identity>) {
    let decision = Decision { identity: Some(Arc::clone(identity)), ..Decision::default() };
    let mut record = base(exchange, None, &decision, identity.provider_type.as_str());
    "logout".clone_into(&mut record.action);
    exchange.host.clone_into(&mut record.app_domain);
    record.allowed = true;
    append(exchange, record);
}

/// Records that a second factor was proved, refused or changed.
pub(crate) fn factor(exchange: &Exchange, identity: &Arc<Identity>, what: &str, allowed: bool) {
    let decision = Decision { identity: Some(Arc::clone(identity)), ..Decision::because(what.to_owned()) };
    let mut record = base(exchange, None, &decision, identity.provider_type.as_str());
    "mfa".clone_into(&mut record.action);
    exchange.host.clone_into(&mut record.app_domain);
    record.allowed = allowed;
    append(exchange, record);
}

/// Records that an approval was asked for or answered: whose access it is about, and what came of it.
pub(crate) fn approval(exchange: &Exchange, published: Option<&Published>, request: &ApprovalRequest, what: String) {
    let asked = &request.asked;
    let policy = published.and_then(|published| published.policies.policies().find(|policy| policy.id == asked.policy));
    let mut record = base(exchange, published, &Decision::because(what), "");
    "approval".clone_into(&mut record.action);
    exchange.host.clone_into(&mut record.app_domain);
    record.allowed = matches!(request.state(exchange.now.seconds()), State::Granted { .. });
    asked.email.as_str().clone_into(&mut record.email);
    record.user_uid = asked.user.to_string();
    record.policy_id = asked.policy.to_string();
    record.policy_name = policy.map(|policy| policy.name.clone()).unwrap_or_default();
    record.prompt = policy.and_then(|policy| policy.justification.clone()).unwrap_or_default();
    record.justification = asked.justification.clone().unwrap_or_default();
    record.approvers = approvers(request);
    record.approved_seconds = seconds(request);
    append(exchange, record);
}

/// Records a step of managed OAuth: a client that registered, a consent, the end of a grant.
pub(crate) fn oauth(
    exchange: &Exchange,
    published: &Published,
    identity: Option<&Arc<Identity>>,
    what: String,
    allowed: bool,
) {
    let decision = Decision { identity: identity.map(Arc::clone), ..Decision::because(what) };
    let mut record = base(exchange, Some(published), &decision, "oauth");
    "oauth".clone_into(&mut record.action);
    exchange.host.clone_into(&mut record.app_domain);
    record.allowed = allowed;
    append(exchange, record);
}

fn base(exchange: &Exchange, published: Option<&Published>, decision: &Decision, connection: &str) -> AccessRequest {
    let application = published.map(|published| &published.application);
    let identity = decision.identity.as_deref();
    let certificate = exchange.client_certificate().map(|outcome| outcome.map_err(Cow::into_owned));
    let mut reason = decision.reason.clone();
    if let Some(Err(fault)) = &certificate {
        let joint = if reason.is_empty() { "" } else { "; " };
        reason.push_str(&format!("{joint}the client certificate does not count: {fault}"));
    }
    let (prompt, justification) = decision.justification.clone().unwrap_or_default();
    AccessRequest {
        id: exchange.id,
        datetime: Timestamp::from_millisecond(exchange.now.0).unwrap_or_default(),
        account_id: exchange.snapshot.account.to_string(),
        app_uuid: application.map(|application| application.id.to_string()).unwrap_or_default(),
        app_name: application.map(|application| application.name.clone()).unwrap_or_default(),
        connection: connection.to_owned(),
        email: identity.map(|identity| identity.email.as_str().to_owned()).unwrap_or_default(),
        user_uid: match (&decision.program, identity) {
            (Some(program), _) => program.clone(),
            (None, Some(identity)) => identity.user.to_string(),
            (None, None) => String::new(),
        },
        ip_address: exchange.source().to_string(),
        policy_id: decision.policy.as_ref().map(|(id, _)| id.to_string()).unwrap_or_default(),
        policy_name: decision.policy.as_ref().map(|(_, name)| name.clone()).unwrap_or_default(),
        reason,
        certificate: certificate.as_ref().map(|outcome| {
            client_certificate::words(outcome.as_ref().map(|certificate| *certificate).map_err(String::as_str))
        }),
        trace: decision.trace.clone(),
        prompt,
        justification,
        approvers: decision.approved.as_deref().map(approvers).unwrap_or_default(),
        approved_seconds: decision.approved.as_deref().map(seconds).unwrap_or_default(),
        ..AccessRequest::default()
    }
}

fn approvers(request: &ApprovalRequest) -> Vec<String> {
    request.approvers().into_iter().map(|email| email.as_str().to_owned()).collect()
}

fn seconds(request: &ApprovalRequest) -> u64 {
    request.granted().map_or(0, |granted| granted.as_secs())
}

fn append(exchange: &Exchange, record: AccessRequest) {
    if let Err(error) = exchange.plane().logs.try_append(record) {
        exchange.plane().counters.records_lost.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "a record of access was lost");
    }
}

#[cfg(test)]
mod tests {
    use super::is_sampled;

    #[test]
    fn of_any_thousand_requests_in_a_row_exactly_the_rate_is_recorded() {
        for rate in [0, 1, 7, 333, 500, 999, 1_000] {
            for start in [0, 1, 499, 12_345] {
                let recorded = (start..start + 1_000).filter(|number| is_sampled(*number, rate)).count();
                assert_eq!(recorded as u64, rate, "{rate} per mille from {start}");
            }
        }
    }
}
