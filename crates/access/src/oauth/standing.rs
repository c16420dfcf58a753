//! Whether the person behind a grant may still use the application: at consent, for a code, at every refresh.
//!
//! Policies are asked without a request, as at sign-in; what depends on a request is asked with each one. Invariant: what
//! cannot be found out gives nothing and ends nothing.

use identity::access_policy::{Decision, Policy};
use identity::evaluation::{Caller, Denial, Trace, Verdict};
use identity::oauth::grant::Standing;
use identity::session::{AppSession, Session, SessionHash};

use super::discovery::Server;
use super::ledger::KeptGrant;
use crate::approval;
use crate::exchange::Exchange;
use crate::gate;
use crate::workers::{self, Asker, Heard, Occasion};

/// What the policies say about a person and an application as a whole.
pub(crate) enum Outcome<'s> {
    /// By this policy; `None`: nobody needs to be anybody here.
    Allowed(Option<&'s Policy>),
    Denied(Option<Denial>, Trace),
}

/// Asks the policies of an application about a person.
pub(crate) async fn policies<'s>(exchange: &Exchange, server: Server<'s>, session: &Session) -> Outcome<'s> {
    let set = &server.published.policies;
    let mut trace = Trace::default();
    let caller = Caller { identity: Some(&session.identity), ..Caller::default() };
    let about = (Asker::Person(session), Occasion::Grant);
    let verdict = workers::settled(exchange, server.published, about, || {
        let rest = &session.frozen.with(&*exchange.snapshot);
        let lookups = Heard { exchange, application: server.published.application.id, rest };
        set.evaluate(&caller, &gate::context(exchange), &lookups, gate::fresh(Some(&mut trace)))
    });
    match verdict.await {
        Verdict::Allow(index) => {
            set.policy(index).map_or(Outcome::Denied(None, trace), |found| Outcome::Allowed(Some(found)))
        }
        Verdict::Bypass(_) | Verdict::NonIdentity(_) => Outcome::Allowed(None),
        // An expression about the request is decided when the request comes.
        Verdict::Needs(_) | Verdict::SignIn => {
            let mut later =
                set.policies().filter(|policy| policy.decision == Decision::Allow && policy.expression.is_some());
            later.next().map_or(Outcome::Denied(None, trace), |found| Outcome::Allowed(Some(found)))
        }
        Verdict::Deny(denied) => Outcome::Denied(Some(denied), trace),
    }
}

/// Tells whether the session a grant was given in was revoked, for this person, application and session.
pub(crate) fn is_revoked(
    exchange: &Exchange,
    server_application: types::ApplicationId,
    hash: SessionHash,
    session: &Session,
) -> bool {
    let revocations = exchange.plane().sessions.revocations();
    let application = AppSession {
        parent: hash,
        application: server_application,
        policy: types::AccessPolicyId(uuid::Uuid::nil()),
        issued: session.seen,
        expires: session.expires,
        binding: None,
    };
    let user = session.identity.user;
    session.check(hash, &revocations, None, exchange.now).is_err()
        || application.check(user, server_application, None, &revocations, exchange.now).is_err()
}

/// Finds out how the person behind a grant stands now, from the policies in force and from what this node has heard. A
/// revocation that it hears of later ends the tokens with the next request: [`is_revoked`] is asked for each.
pub(crate) async fn of(exchange: &Exchange, server: Server<'_>, kept: &KeptGrant) -> (Standing, String) {
    let hash = SessionHash::of(kept.grant.session.0);
    let session = &kept.session;
    if is_revoked(exchange, server.published.application.id, hash, session) {
        return (Standing::Denied, "what the grant hangs on was revoked".to_owned());
    }
    match exchange.plane().oauth_ledger.is_active(session.identity.user).await {
        Ok(true) => {}
        Ok(false) => return (Standing::Denied, "the person was deactivated".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "how a person stands cannot be found out");
            return (Standing::Unknown, error.to_string());
        }
    }
    match policies(exchange, server, session).await {
        Outcome::Allowed(Some(policy)) if approval::owed(exchange, server.published, policy, (hash, session)) => {
            (Standing::Denied, "what others approved for the person is over".to_owned())
        }
        Outcome::Allowed(_) => (Standing::Allowed, String::new()),
        // What could not be found out ends nothing: the Worker may answer the next time.
        Outcome::Denied(..) if workers::any_silent(exchange) => {
            (Standing::Unknown, "a Worker that a policy asks gave no answer".to_owned())
        }
        Outcome::Denied(denied, trace) => {
            let why = denied.map_or_else(
                || "no policy of the application lets the person in".to_owned(),
                |denied| crate::record::Decision::denied(server.published, denied, Some(&trace)).reason,
            );
            (Standing::Denied, why)
        }
    }
}
