//! The live access tokens of this node: a token check is one lookup by hash, without a database.
//!
//! Filled from [`Grant`] records as they change. Invariant: it never holds a token that the grant it came from no longer
//! lists, and never more than its capacity.

use std::collections::HashMap;
use std::sync::Arc;

use types::{ApplicationId, UserId};

use super::grant::{ACCESS_PREFIX, Grant, GrantId};
use crate::opaque::Digest;

/// Bytes of an access token's text: the prefix and 32 bytes of base64url.
const TOKEN_BYTES: usize = ACCESS_PREFIX.len() + 43;

/// What one live access token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessGrant {
    pub grant: GrantId,
    pub user: UserId,
    pub application: ApplicationId,
    pub client: Arc<str>,
    pub resource: Arc<str>,
    /// Space-separated.
    pub scope: Arc<str>,
    /// Hash of the session the person consented in.
    pub session: Digest,
    /// Seconds since the epoch.
    pub issued_at: i64,
    pub expires_at: i64,
}

/// Live access tokens by hash.
#[derive(Debug)]
pub struct AccessIndex {
    tokens: HashMap<Digest, Arc<AccessGrant>>,
    grants: HashMap<GrantId, Vec<Digest>>,
    capacity: usize,
}

/// The index is full: a token that does not fit must be looked up in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the index of access tokens is full")]
pub struct IndexFull;

impl AccessIndex {
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { tokens: HashMap::new(), grants: HashMap::new(), capacity }
    }

    /// Replaces what is known of a grant by what its record says at `now`.
    ///
    /// # Errors
    /// If there is no room; what was known of the grant is forgotten in any case.
    pub fn apply(&mut self, grant: &Grant, now: i64) -> Result<(), IndexFull> {
        self.forget(grant.id);
        let live: Vec<(Digest, AccessGrant)> = grant.live_access(now).collect();
        if live.is_empty() {
            return Ok(());
        }
        if self.tokens.len() + live.len() > self.capacity {
            self.expire(now);
            if self.tokens.len() + live.len() > self.capacity {
                return Err(IndexFull);
            }
        }
        self.grants.insert(grant.id, live.iter().map(|(hash, _)| *hash).collect());
        self.tokens.extend(live.into_iter().map(|(hash, grant)| (hash, Arc::new(grant))));
        Ok(())
    }

    /// Finds what a presented token stands for at `application`. A token of another application is not found.
    #[must_use]
    pub fn check(&self, token: &str, application: ApplicationId, now: i64) -> Option<&Arc<AccessGrant>> {
        self.find(token, now).filter(|grant| grant.application == application)
    }

    /// Finds what a token stands for, for revocation and introspection.
    #[must_use]
    pub fn find(&self, token: &str, now: i64) -> Option<&Arc<AccessGrant>> {
        if token.len() != TOKEN_BYTES || !token.starts_with(ACCESS_PREFIX) {
            return None;
        }
        self.tokens.get(&Digest::of(token)).filter(|grant| now < grant.expires_at)
    }

    /// Whether a token of a grant is held.
    #[must_use]
    pub fn holds(&self, grant: GrantId) -> bool {
        self.grants.contains_key(&grant)
    }

    /// Forgets one grant.
    pub fn forget(&mut self, grant: GrantId) {
        for hash in self.grants.remove(&grant).into_iter().flatten() {
            self.tokens.remove(&hash);
        }
    }

    /// Forgets every grant that has a token of which `ended` is true: of a person, an application, a session.
    pub fn forget_where(&mut self, ended: impl Fn(&AccessGrant) -> bool) {
        let over: Vec<GrantId> = self.tokens.values().filter(|grant| ended(grant)).map(|grant| grant.grant).collect();
        over.into_iter().for_each(|grant| self.forget(grant));
    }

    /// Drops tokens that have expired.
    pub fn expire(&mut self, now: i64) {
        self.tokens.retain(|_, grant| now < grant.expires_at);
        let tokens = &self.tokens;
        self.grants.retain(|_, hashes| {
            hashes.retain(|hash| tokens.contains_key(hash));
            !hashes.is_empty()
        });
    }

    /// Returns how many tokens are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}
