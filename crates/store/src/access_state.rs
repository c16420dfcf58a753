//! What comes and goes at Access: sessions, revocations, logins, mail, OAuth records. Kept through a restart, bounded by
//! owner, swept when ended.
//!
//! It decides nothing about them; whether a session counts is the Access engine's. Invariants: what is used once is
//! taken by one caller alone; the share of one owner never grows beyond its bound, the oldest giving way.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use types::{MailId, Secret, UserId};
use uuid::Uuid;

use crate::Store;
use crate::backend::{Expect, Write};
use crate::collection::{Collection, count_bound, put, stored};
use crate::document::{self, Document, Kind, Revision, Stored};
use crate::documents::access_state::{
    AccessSession, AppSession, Approval, Factor, HashId, LoginState, Mail, MailStatus, OauthClient, OauthGrant,
    Revocation, Revoked,
};
use crate::error::StoreError;
use crate::grant::{Grant, Operate, WriteUsers};

/// Sessions of one person.
pub const SESSIONS_KEPT: usize = 32;
/// Application sessions of one session.
pub const APP_SESSIONS_KEPT: usize = 128;
/// Logins under way from one source.
pub const LOGINS_KEPT: usize = 32;
/// Mails to one address.
pub const MAILS_KEPT: usize = 20;
/// Grants of one person.
pub const GRANTS_KEPT: usize = 200;
/// Clients registered with one application.
pub const CLIENTS_KEPT: usize = 10_000;
/// How often a revocation is tried again when two meet.
const REVOCATION_ATTEMPTS: usize = 8;

/// A mail to be sent.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// The recipient's address.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text; sealed on the way in.
    pub text: Secret<String>,
    /// The same as an HTML page, for readers that show one; sealed too.
    pub html: Option<Secret<String>>,
    /// When it is worth nothing: neither sent nor kept.
    pub expires_at: Timestamp,
}

/// A kind whose owner has a bounded share.
trait Shared: Document {
    const KEPT: usize;
}

impl Shared for AccessSession {
    const KEPT: usize = SESSIONS_KEPT;
}

impl Shared for AppSession {
    const KEPT: usize = APP_SESSIONS_KEPT;
}

impl Shared for LoginState {
    const KEPT: usize = LOGINS_KEPT;
}

impl Shared for OauthClient {
    const KEPT: usize = CLIENTS_KEPT;
}

/// Stores something new and lets the owner's oldest give way. People and grants are counted themselves, so what hangs on
/// them needs no second count; what strangers make does, and says so by `counted`.
async fn add<D: Shared>(
    store: &Store,
    grant: &Grant<D::Write>,
    id: D::Id,
    document: D,
    expect: Expect,
    counted: bool,
) -> Result<Stored<D>, StoreError> {
    let mut writes = vec![Write::Put(put(grant, &id, &document, expect)?)];
    if let Some(parent) = document.parent() {
        writes.push(Write::Prune { kind: D::KIND, parent, keep: D::KEPT });
    }
    let bounds = if counted { vec![count_bound::<D>()] } else { Vec::new() };
    let (at, written) = store.commit(grant, writes, bounds).await?;
    let written = written.into_iter().next().ok_or(StoreError::NotFound(D::KIND))?;
    stored(id, document, at, written)
}

impl<D: Document<Id = HashId>> Collection<'_, D> {
    /// Takes a document out: of many callers, one gets it.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn take(&self, grant: &Grant<D::Write>, id: HashId) -> Result<Option<Stored<D>>, StoreError> {
        let Some(found) = self.get(grant, &id).await? else { return Ok(None) };
        match self.delete(grant, &id, Some(found.revision)).await {
            Ok(()) => Ok(Some(found)),
            Err(StoreError::NotFound(_) | StoreError::Stale(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Collection<'_, AccessSession> {
    /// Stores a session, or what changed of one; beyond [`SESSIONS_KEPT`] the person's oldest ends.
    ///
    /// # Errors
    ///
    /// As [`Collection::put`].
    pub async fn start(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        session: AccessSession,
    ) -> Result<Stored<AccessSession>, StoreError> {
        add(self.store, grant, id, session, Expect::Anything, false).await
    }

    /// Ends a session with the application sessions that hang on it and the grants that were given in it, and says so to
    /// every node. One that is not there is fine.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn end(&self, grant: &Grant<Operate>, id: HashId) -> Result<(), StoreError> {
        self.store.revocations().revoke(grant, Revoked::Session(id)).await?;
        let mut writes = vec![
            Write::Delete { kind: Kind::AccessSession, id: id.to_string(), expect: Expect::Anything },
            Write::DeleteChildren { kind: Kind::AppSession, parent: id.to_string() },
        ];
        if let Some(session) = self.get(grant, &id).await? {
            let grants = self.store.oauth_grants().list_of(grant, session.document.user).await?;
            let given = grants.into_iter().filter(|given| given.document.session == Some(id));
            writes.extend(given.map(|given| without_grant(given.id)));
        }
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }

    /// Ends every session of a person, as [`Collection::end`] does with one, and every sign-in of theirs at MCP servers.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn end_all(&self, grant: &Grant<Operate>, user: UserId) -> Result<(), StoreError> {
        self.store.revocations().revoke(grant, Revoked::User(user)).await?;
        let sessions = self.list_of(grant, user).await?;
        let mut writes = vec![
            Write::DeleteChildren { kind: Kind::AccessSession, parent: user.to_string() },
            Write::DeleteChildren { kind: Kind::OauthGrant, parent: user.to_string() },
        ];
        writes.extend(
            sessions
                .into_iter()
                .map(|session| Write::DeleteChildren { kind: Kind::AppSession, parent: session.id.to_string() }),
        );
        writes.extend(self.store.sign_ins_of(grant, user).await?);
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Collection<'_, AppSession> {
    /// Stores a session at an application; beyond [`APP_SESSIONS_KEPT`] the oldest of its session ends.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn start(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        session: AppSession,
    ) -> Result<Stored<AppSession>, StoreError> {
        add(self.store, grant, id, session, Expect::Absent, false).await
    }
}

impl Collection<'_, Revocation> {
    /// Revokes what was made until now, and tells every node through the change feed. The latest moment holds, whatever
    /// the order of calls.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like; then nothing was revoked.
    pub async fn revoke(&self, grant: &Grant<Operate>, what: Revoked) -> Result<Stored<Revocation>, StoreError> {
        const DAY: u64 = 24 * 3_600;
        // A day more than the longest session (reference section 1.7), and than the longest grant: those of a person or
        // session are deleted when it is revoked, those of an application are held against its revocation.
        let kept = Duration::from_secs(match what {
            Revoked::User(_) | Revoked::Session(_) => 32 * DAY,
            Revoked::Application(_) | Revoked::Everything => 367 * DAY,
        });
        let now = self.store.now();
        for _ in 0..REVOCATION_ATTEMPTS {
            let standing = self.get(grant, &what).await?;
            let at = standing.as_ref().map_or(now, |standing| standing.document.at.max(now));
            let expires_at = at.checked_add(kept).map_err(|_| StoreError::Invalid("a time is out of range"))?;
            let expect = standing.map_or(Expect::Absent, |standing| Expect::Revision(standing.revision.0));
            match self.save(grant, what, Revocation { at, expires_at }, expect).await {
                Err(StoreError::Stale(_) | StoreError::Taken(_) | StoreError::NotFound(_)) => {}
                other => return other,
            }
        }
        Err(StoreError::Stale(Kind::Revocation))
    }
}

impl Collection<'_, LoginState> {
    /// Stores a login under way; beyond [`LOGINS_KEPT`] the oldest of its source gives way.
    ///
    /// # Errors
    ///
    /// [`StoreError::LimitExceeded`] when there are too many in all.
    pub async fn begin(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        source: String,
        state: &Secret<String>,
        lifetime: Duration,
    ) -> Result<Stored<LoginState>, StoreError> {
        self.put_state(grant, id, source, state, lifetime, Expect::Absent).await
    }

    /// Stores a login under way as [`Collection::begin`] does, over whatever stands there.
    ///
    /// # Errors
    ///
    /// [`StoreError::LimitExceeded`] when there are too many in all.
    pub async fn begin_again(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        source: String,
        state: &Secret<String>,
        lifetime: Duration,
    ) -> Result<Stored<LoginState>, StoreError> {
        self.put_state(grant, id, source, state, lifetime, Expect::Anything).await
    }

    async fn put_state(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        source: String,
        state: &Secret<String>,
        lifetime: Duration,
        expect: Expect,
    ) -> Result<Stored<LoginState>, StoreError> {
        let expires_at = self.store.end_of(lifetime)?;
        let state = self.seal_member(grant, &id, "state", state)?;
        add(self.store, grant, id, LoginState { source, expires_at, state }, expect, true).await
    }

    /// Stores a state over revision `read`, or where there is none, and lets it live from now on. `false`: another write
    /// came first.
    ///
    /// # Errors
    ///
    /// As [`Collection::begin_again`].
    pub async fn keep(
        &self,
        grant: &Grant<WriteUsers>,
        (id, source): (HashId, String),
        state: &Secret<String>,
        lifetime: Duration,
        read: Option<Revision>,
    ) -> Result<bool, StoreError> {
        let expect = read.map_or(Expect::Absent, |revision| Expect::Revision(revision.0));
        match self.put_state(grant, id, source, state, lifetime, expect).await {
            Ok(_) => Ok(true),
            Err(StoreError::Taken(_) | StoreError::NotFound(_) | StoreError::Stale(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a login's state over the one that was read. `false`: another write came first, or it has ended.
    ///
    /// # Errors
    ///
    /// As [`Collection::replace`].
    pub async fn settle(
        &self,
        grant: &Grant<WriteUsers>,
        read: Stored<LoginState>,
        state: &Secret<String>,
    ) -> Result<bool, StoreError> {
        let state = self.seal_member(grant, &read.id, "state", state)?;
        let document = LoginState { state, ..read.document };
        match self.replace(grant, read.id, document, Some(read.revision)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound(_) | StoreError::Stale(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a login's state: once, and not after its end.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`], and [`StoreError::Seal`] when it does not open.
    pub async fn redeem(&self, grant: &Grant<Operate>, id: HashId) -> Result<Option<Secret<String>>, StoreError> {
        let Some(mut found) = self.get(grant, &id).await? else { return Ok(None) };
        let expect = Expect::Revision(found.revision.0);
        let write = Write::Delete { kind: Kind::LoginState, id: id.to_string(), expect };
        match self.store.commit(grant, vec![write], Vec::new()).await {
            Ok(_) => {}
            Err(StoreError::NotFound(_) | StoreError::Stale(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        if found.document.expires_at <= self.store.now() {
            return Ok(None);
        }
        Ok(self.open_members(grant, &mut found)?.remove("state"))
    }
}

impl Collection<'_, OauthClient> {
    /// Stores a client; beyond [`CLIENTS_KEPT`] the oldest of its application gives way.
    ///
    /// # Errors
    ///
    /// [`StoreError::LimitExceeded`] when there are too many in all.
    pub async fn register(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        client: OauthClient,
    ) -> Result<Stored<OauthClient>, StoreError> {
        add(self.store, grant, id, client, Expect::Absent, true).await
    }
}

impl Collection<'_, OauthGrant> {
    /// What gives way to a further grant of a person: deletions, each of which every node hears of.
    async fn giving_way(&self, grant: &Grant<WriteUsers>, user: UserId) -> Result<Vec<Write>, StoreError> {
        let mut kept = self.list_of(grant, user).await?;
        let excess = kept.len().saturating_sub(GRANTS_KEPT - 1);
        kept.sort_by_key(|grant| (grant.created_at, grant.id));
        Ok(kept.into_iter().take(excess).map(|grant| without_grant(grant.id)).collect())
    }

    /// Stores a grant; beyond [`GRANTS_KEPT`] the person's oldest gives way.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn give(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        given: OauthGrant,
    ) -> Result<Stored<OauthGrant>, StoreError> {
        let mut writes = vec![Write::Put(put(grant, &id, &given, Expect::Absent)?)];
        writes.extend(self.giving_way(grant, given.user).await?);
        let (at, written) = self.store.commit(grant, writes, vec![count_bound::<OauthGrant>()]).await?;
        let written = written.into_iter().next().ok_or(StoreError::NotFound(Kind::OauthGrant))?;
        stored(id, given, at, written)
    }

    /// Stores a grant and takes out the login it answers, in one write: of many callers, one succeeds. Beyond
    /// [`GRANTS_KEPT`] the person's oldest gives way. `false`: the login is not there any more.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn approve(
        &self,
        grant: &Grant<WriteUsers>,
        login: HashId,
        id: HashId,
        given: OauthGrant,
    ) -> Result<bool, StoreError> {
        let mut writes = vec![
            Write::Delete { kind: Kind::LoginState, id: login.to_string(), expect: Expect::Present },
            Write::Put(put(grant, &id, &given, Expect::Absent)?),
        ];
        writes.extend(self.giving_way(grant, given.user).await?);
        match self.store.commit(grant, writes, vec![count_bound::<OauthGrant>()]).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound(Kind::LoginState) | StoreError::Stale(Kind::LoginState)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces what is kept of a grant, of which `read` is the revision that was read; whose it is and when it ends stay as
    /// they were. `None`: another write came first, and nothing was stored.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn settle<S: Serialize>(
        &self,
        grant: &Grant<WriteUsers>,
        id: HashId,
        given: &OauthGrant<S>,
        read: Revision,
    ) -> Result<Option<Revision>, StoreError> {
        let write = Write::Rewrite {
            kind: Kind::OauthGrant,
            id: id.to_string(),
            schema_version: OauthGrant::<Value>::SCHEMA_VERSION,
            body: document::text_of::<OauthGrant>(given)?,
            read: read.0,
        };
        match self.store.commit(grant, vec![write], Vec::new()).await {
            Ok(_) => Ok(Some(Revision(read.0 + 1))),
            Err(StoreError::NotFound(_) | StoreError::Stale(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a grant with its codes and tokens. One that is not there is fine.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn revoke(&self, grant: &Grant<WriteUsers>, id: HashId) -> Result<(), StoreError> {
        self.store.commit(grant, vec![without_grant(id)], Vec::new()).await.map(|_| ())
    }
}

/// What deletes a grant.
fn without_grant(id: HashId) -> Write {
    Write::Delete { kind: Kind::OauthGrant, id: id.to_string(), expect: Expect::Anything }
}

impl Collection<'_, Mail> {
    /// Puts a mail in the queue; beyond [`MAILS_KEPT`] the oldest to the same address gives way.
    ///
    /// # Errors
    ///
    /// [`StoreError::LimitExceeded`] when the outbox is full.
    pub async fn enqueue(&self, grant: &Grant<Operate>, new: NewMail) -> Result<Stored<Mail>, StoreError> {
        let (id, mail) = self.sealed(grant, new)?;
        let writes = vec![
            Write::Put(put(grant, &id, &mail, Expect::Absent)?),
            Write::Prune { kind: Kind::Mail, parent: mail.to.clone(), keep: MAILS_KEPT },
        ];
        let (at, written) = self.store.commit(grant, writes, vec![count_bound::<Mail>()]).await?;
        let written = written.into_iter().next().ok_or(StoreError::NotFound(Kind::Mail))?;
        stored(id, mail, at, written)
    }

    /// Makes a mail that waits, its text sealed, under a new id.
    fn sealed(&self, grant: &Grant<Operate>, new: NewMail) -> Result<(MailId, Mail), StoreError> {
        let id = MailId(Uuid::now_v7());
        let name = id.to_string();
        let seal = |member, value: &Secret<String>| {
            self.store.sealer().seal(crate::rotation::member::<Mail>(grant.account(), &name, member), value)
        };
        let mail = Mail {
            to: new.to,
            subject: new.subject,
            text: Some(seal("text", &new.text)?),
            html: new.html.as_ref().map(|html| seal("html", html)).transpose()?,
            status: MailStatus::Pending,
            attempts: 0,
            next_attempt_at: self.store.now(),
            failure: None,
            sent_at: None,
            expires_at: new.expires_at,
        };
        Ok((id, mail))
    }

    /// Returns the mails whose next attempt is due and whose end has not come, at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn due(&self, grant: &Grant<Operate>, limit: usize) -> Result<Vec<Stored<Mail>>, StoreError> {
        let now = self.store.now();
        let due = |mail: &Stored<Mail>| {
            let mail = &mail.document;
            mail.status == MailStatus::Pending && mail.next_attempt_at <= now && now < mail.expires_at
        };
        Ok(self.list(grant).await?.into_iter().filter(due).take(limit).collect())
    }

    /// Claims a mail for one attempt, so that no other node sends it meanwhile: its next attempt moves `pause` ahead.
    /// `None`: another node was first.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn claim(
        &self,
        grant: &Grant<Operate>,
        mail: Stored<Mail>,
        pause: Duration,
    ) -> Result<Option<Stored<Mail>>, StoreError> {
        let next_attempt_at = self.store.end_of(pause)?;
        let document = Mail { attempts: mail.document.attempts.saturating_add(1), next_attempt_at, ..mail.document };
        match self.save(grant, mail.id, document, Expect::Revision(mail.revision.0)).await {
            Ok(claimed) => Ok(Some(claimed)),
            Err(StoreError::NotFound(_) | StoreError::Stale(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that a server took a claimed mail, and forgets its text. One that was swept meanwhile is fine.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn sent(&self, grant: &Grant<Operate>, mail: Stored<Mail>) -> Result<(), StoreError> {
        let sent_at = Some(self.store.now());
        let document =
            Mail { status: MailStatus::Sent, sent_at, failure: None, text: None, html: None, ..mail.document };
        // Whoever claimed it meanwhile finds that it is done.
        self.settle(grant, mail.id, document, Expect::Present).await
    }

    /// Notes that an attempt at a claimed mail failed; it is tried again after `again`, or never.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn failed(
        &self,
        grant: &Grant<Operate>,
        mail: Stored<Mail>,
        reason: &str,
        again: Option<Duration>,
    ) -> Result<(), StoreError> {
        // What a mail server says is outside input: keep what is stored of it short.
        let failure = Some(reason.chars().filter(|c| !c.is_control()).take(300).collect());
        let (status, next_attempt_at) = match again {
            Some(pause) => (MailStatus::Pending, self.store.end_of(pause)?),
            None => (MailStatus::Failed, mail.document.next_attempt_at),
        };
        let expect = Expect::Revision(mail.revision.0);
        self.settle(grant, mail.id, Mail { status, failure, next_attempt_at, ..mail.document }, expect).await
    }

    async fn settle(
        &self,
        grant: &Grant<Operate>,
        id: MailId,
        document: Mail,
        expect: Expect,
    ) -> Result<(), StoreError> {
        match self.save(grant, id, document, expect).await {
            Ok(_) | Err(StoreError::NotFound(_) | StoreError::Stale(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Collection<'_, Approval> {
    /// Writes a request over the revision that was read, if one was, together with mails that ask for answers: all or
    /// nothing. Returns the new revision; `None`: another write came first.
    ///
    /// # Errors
    ///
    /// [`StoreError::LimitExceeded`] when there are too many requests, or the outbox is full.
    pub async fn write(
        &self,
        grant: &Grant<Operate>,
        id: HashId,
        approval: Approval,
        read: Option<Revision>,
        mails: Vec<NewMail>,
    ) -> Result<Option<Revision>, StoreError> {
        let expect = read.map_or(Expect::Absent, |read| Expect::Revision(read.0));
        let mut writes = vec![Write::Put(put(grant, &id, &approval, expect)?)];
        let mut bounds = vec![count_bound::<Approval>()];
        if !mails.is_empty() {
            bounds.push(count_bound::<Mail>());
        }
        for new in mails {
            let (id, mail) = self.store.outbox().sealed(grant, new)?;
            let parent = mail.to.clone();
            writes.push(Write::Put(put(grant, &id, &mail, Expect::Absent)?));
            writes.push(Write::Prune { kind: Kind::Mail, parent, keep: MAILS_KEPT });
        }
        match self.store.commit(grant, writes, bounds).await {
            Ok((_, written)) => Ok(written.into_iter().next().map(|written| Revision(written.revision))),
            Err(StoreError::NotFound(Kind::Approval) | StoreError::Stale(Kind::Approval) | StoreError::Taken(_)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Collection<'_, Factor> {
    /// Deletes every factor of a person.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn reset(&self, grant: &Grant<WriteUsers>, user: UserId) -> Result<(), StoreError> {
        let write = Write::DeleteChildren { kind: Kind::Factor, parent: user.to_string() };
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }
}

impl Store {
    /// Deletes what has ended of everything that ends. To be called now and then, by one owner on each node.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like.
    pub async fn sweep_access(&self, grant: &Grant<Operate>) -> Result<(), StoreError> {
        const ENDING: [Kind; 8] = [
            Kind::AccessSession,
            Kind::AppSession,
            Kind::Revocation,
            Kind::LoginState,
            Kind::Mail,
            Kind::Approval,
            Kind::OauthClient,
            Kind::OauthGrant,
        ];
        let through = self.now().as_millisecond();
        for kind in ENDING {
            // One at a time: a sweep must not hold up a login for as long as all of them take.
            self.commit(grant, vec![Write::Sweep { kind, through }], Vec::new()).await?;
        }
        Ok(())
    }

    fn end_of(&self, lifetime: Duration) -> Result<Timestamp, StoreError> {
        self.now().checked_add(lifetime).map_err(|_| StoreError::Invalid("the lifetime is too long"))
    }
}
