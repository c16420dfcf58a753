//! Approvals in memory: what each request of a person is held against without a database.
//!
//! The server fills it from the store at the start and keeps it in step by the store's change feed; answers given on this
//! node enter it at once. Invariants: reading takes no lock; a grant admits until its end and not a second longer, whatever
//! becomes of the store; an older state of a request never takes the place of a newer one.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use identity::access_policy::Policy;
use identity::approval::{self, ApprovalRequest};
use identity::opaque::Digest;
use identity::session::{Session, SessionHash};
use parking_lot::Mutex;
use types::UserId;

use super::ledger::KeptApproval;
use crate::exchange::Exchange;
use crate::snapshot::Published;

type Requests = HashMap<Digest, (u64, Arc<ApprovalRequest>)>;

/// Requests by [`identity::approval::id`]. The store bounds their number.
#[derive(Default)]
pub struct ApprovalTable {
    requests: ArcSwap<Requests>,
    /// Serialises changes; readers never take it.
    changing: Mutex<()>,
}

impl ApprovalTable {
    fn change(&self, change: impl FnOnce(&mut Requests)) {
        let _one_at_a_time = self.changing.lock();
        let mut requests = Requests::clone(&self.requests.load());
        change(&mut requests);
        self.requests.store(Arc::new(requests));
    }

    /// Takes over a request as it is kept.
    pub fn put(&self, id: Digest, kept: KeptApproval) {
        let KeptApproval { revision, request } = kept;
        self.change(|requests| {
            if requests.get(&id).is_none_or(|(known, _)| *known <= revision) {
                requests.insert(id, (revision, Arc::new(request)));
            }
        });
    }

    /// Forgets a request that was deleted: what it granted ends.
    pub fn remove(&self, id: &Digest) {
        self.change(|requests| drop(requests.remove(id)));
    }

    /// Forgets what a person asked for.
    pub fn remove_person(&self, user: UserId) {
        self.change(|requests| requests.retain(|_, (_, request)| request.asked.user != user));
    }

    /// Forgets what is over.
    pub(crate) fn sweep(&self, now: i64) {
        let is_over = |request: &ApprovalRequest| request.ends_at() <= now;
        if self.requests.load().values().any(|(_, request)| is_over(request)) {
            self.change(|requests| requests.retain(|_, (_, request)| !is_over(request)));
        }
    }

    /// Takes over everything that is kept, and forgets the rest.
    pub fn fill(&self, all: impl IntoIterator<Item = (Digest, KeptApproval)>) {
        let all = all.into_iter().map(|(id, kept)| (id, (kept.revision, Arc::new(kept.request)))).collect();
        self.change(|requests| *requests = all);
    }

    /// Tells whether a request is known.
    #[must_use]
    pub fn holds(&self, id: &Digest) -> bool {
        self.requests.load().contains_key(id)
    }

    /// Finds a request.
    pub(crate) fn find(&self, id: &Digest) -> Option<Arc<ApprovalRequest>> {
        self.requests.load().get(id).map(|(_, request)| Arc::clone(request))
    }
}

/// Finds the grant that admits a session now to an application by a policy that asks for one.
pub(crate) fn granted(
    exchange: &Exchange,
    published: &Published,
    policy: &Policy,
    (hash, session): (SessionHash, &Session),
) -> Option<Arc<ApprovalRequest>> {
    let application = published.application.id;
    let request = exchange.plane().approvals.find(&approval::id(hash, application, policy.id))?;
    let user = session.identity.user;
    request.admits(user, application, policy.id, hash, exchange.now.seconds())?;
    Some(request)
}

/// Tells whether a policy asks for an approval that this session does not have.
pub(crate) fn owed(
    exchange: &Exchange,
    published: &Published,
    policy: &Policy,
    session: (SessionHash, &Session),
) -> bool {
    !policy.approval.is_empty() && granted(exchange, published, policy, session).is_none()
}

#[cfg(test)]
mod tests {
    use identity::approval::{self, ApprovalRequest, Approvers, Asked, REQUEST_LIFETIME};
    use identity::session::SessionSecret;
    use types::{AccessPolicyId, ApplicationId, UserId};
    use uuid::Uuid;

    use super::ApprovalTable;
    use crate::approval::KeptApproval;

    fn kept(user: u128, revision: u64, asked_at: i64) -> KeptApproval {
        let asked = Asked {
            user: UserId(Uuid::from_u128(user)),
            email: "ada@example.test".parse().unwrap(),
            application: ApplicationId(Uuid::nil()),
            policy: AccessPolicyId(Uuid::nil()),
            session: SessionSecret::of([7; 32]).hash(),
            justification: None,
        };
        let groups = [Approvers { needed: 1, people: vec!["boss@example.test".parse().unwrap()] }];
        let (request, _) = ApprovalRequest::open(asked, &groups, &[1; 32], asked_at).unwrap();
        KeptApproval { revision, request }
    }

    #[test]
    fn an_older_state_takes_no_newer_ones_place_and_what_is_over_is_forgotten() {
        let table = ApprovalTable::default();
        let id = |number: u8| {
            let session = SessionSecret::of([number; 32]).hash();
            approval::id(session, ApplicationId(Uuid::nil()), AccessPolicyId(Uuid::nil()))
        };
        table.put(id(1), kept(1, 5, 200));
        table.put(id(1), kept(1, 4, 100));
        assert_eq!(table.find(&id(1)).unwrap().asked_at, 200);
        table.put(id(2), kept(2, 1, 300));
        table.sweep(200 + REQUEST_LIFETIME);
        assert!(!table.holds(&id(1)) && table.holds(&id(2)));
        table.remove_person(UserId(Uuid::from_u128(2)));
        assert!(!table.holds(&id(2)));
        table.fill([(id(3), kept(3, 1, 0))]);
        table.remove(&id(3));
        assert!(!table.holds(&id(3)));
    }
}
