//! Whether the person behind a grant may still use the application: at consent, for a code, at every refresh.
//!
//! Policies are asked without a request; what depends on one is decided with each. Invariant: what
//! cannot be found out gives nothing and ends nothing.

use identity::access_policy::Policy;
use identity::evaluation::{Denial, Trace, Verdict};
use identity::oauth::grant::Standing;
use identity::session::{AppSession, Session, SessionHash};

use super::discovery::Server;
use super::ledger::KeptGrant;
use crate::approval;
use crate::exchange::Exchange;
use crate::gate;
use crate::snapshot::Published;
use crate::workers::{self, Occasion};

/// What the policies say about a person and an application as a whole.
pub(crate) enum Outcome<'s> {
    /// By these policies, of which each request is covered by one, or by none; the first stands for all at the consent.
    /// Empty: nobody needs to be anybody here.
    Allowed(Vec<&'s Policy>),
    Denied(Option<Denial>, Trace),
}

/// Asks the policies of an application about a person, for no request in particular. A policy that hangs on the request
/// alone denies nobody here and is decided with each request.
pub(crate) async fn policies<'s>(exchange: &Exchange, published: &'s Published, session: &Session) -> Outcome<'s> {
    let set = &published.policies;
    let mut trace = Trace::default();
    let outlook = gate::foresee(exchange, published, (session, Occasion::Grant), None, &mut trace).await;
    let found: Vec<_> = set.candidates(&outlook).into_iter().filter_map(|index| set.policy(index)).collect();
    match outlook.verdict {
        Verdict::Allow(_) | Verdict::Bypass(_) | Verdict::NonIdentity(_) => Outcome::Allowed(found),
        Verdict::Needs(_) | Verdict::SignIn | Verdict::Deny(_) if !outlook.perhaps.is_empty() => {
            Outcome::Allowed(found)
        }
        Verdict::Needs(_) | Verdict::SignIn => Outcome::Denied(None, trace),
        Verdict::Deny(denied) => Outcome::Denied(Some(denied), trace),
    }
}

/// Tells whether a policy is the one a consent is held to.
pub(crate) async fn stands_for_all(
    exchange: &Exchange,
    published: &Published,
    session: &Session,
    policy: &Policy,
) -> bool {
    let outcome = policies(exchange, published, session).await;
    matches!(outcome, Outcome::Allowed(found) if found.first().is_some_and(|first| first.id == policy.id))
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
    let owed = |policy: &&Policy| approval::owed(exchange, server.published, policy, (hash, session));
    match policies(exchange, server.published, session).await {
        Outcome::Allowed(found) if !found.is_empty() && found.iter().all(owed) => {
            (Standing::Denied, "what others approved for the person is over".to_owned())
        }
        Outcome::Allowed(_) => (Standing::Allowed, String::new()),
        // What could not be found out ends nothing: the Worker may answer the next time.
        Outcome::Denied(..) if workers::any_silent(exchange) => {
            (Standing::Unknown, "a Worker that a policy asks gave no answer".to_owned())
        }
        Outcome::Denied(denied, trace) => {
            let why = denied.map_or_else(
                || crate::record::Decision::unanswered(&trace).reason,
                |denied| crate::record::Decision::denied(server.published, denied, Some(&trace)).reason,
            );
            (Standing::Denied, why)
        }
    }
}
