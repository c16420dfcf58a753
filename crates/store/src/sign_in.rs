//! Making credentials and turning presented ones into principals.
//!
//! Tokens, browser sessions, proxy tokens and the set-up link share one text form and are found by hash. Passwords are
//! not checked here. Invariants: a credential's text leaves this crate once, when it is made; a disabled, expired or
//! not yet valid credential is nobody, and so is one whose owner is disabled.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use types::{AccountId, Code, Email, Secret, TokenId, UserId};
use uuid::Uuid;

use crate::Store;
use crate::backend::{Expect, Row, Write};
use crate::collection::{Collection, put};
use crate::document::{self, Document, Kind, Only, Stored};
use crate::documents::account::{Account, Administrator, Session, SetupLink};
use crate::documents::credential::{ProxyToken, Token, User};
use crate::error::StoreError;
use crate::grant::{Actor, Grant, Operate, Permissions, Principal, WriteTokens, WriteUsers};
use crate::secret_text::{self, SecretHash};

/// Why a presented credential makes no principal.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// It is unknown, disabled, expired, or its owner is.
    #[error("the credential is not valid")]
    Invalid,
    /// It could not be looked up.
    #[error("the credential could not be checked")]
    Store(#[from] StoreError),
}

impl AuthenticateError {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid => Code::Unauthenticated,
            Self::Store(source) => source.code(),
        }
    }
}

/// How long an API token that expired is still listed, for whoever wonders why a program is refused.
const EXPIRED_TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(1);

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub permissions: Permissions,
    /// The first moment it works.
    pub not_before: Option<Timestamp>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A browser session that is valid at the moment.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// What the administrator may do.
    pub principal: Principal,
    /// The administrator's account.
    pub account: AccountId,
    /// The session.
    pub session: Stored<Session>,
    /// The administrator.
    pub administrator: Stored<Administrator>,
}

impl Collection<'_, Token> {
    /// Makes a token; its text is returned here and never again.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn issue(
        &self,
        grant: &Grant<WriteTokens>,
        new: NewToken,
    ) -> Result<(Stored<Token>, Secret<String>), StoreError> {
        let (secret, hash) = secret_text::generate()?;
        let NewToken { name, permissions, not_before, expires_at } = new;
        let token = Token { name, secret_hash: hash.to_string(), permissions, not_before, expires_at, disabled: false };
        Ok((self.create(grant, TokenId(Uuid::new_v4()), token).await?, secret))
    }

    /// Gives a token a new text; the old one stops working.
    ///
    /// # Errors
    ///
    /// As [`Collection::replace`].
    pub async fn roll(
        &self,
        grant: &Grant<WriteTokens>,
        id: TokenId,
    ) -> Result<(Stored<Token>, Secret<String>), StoreError> {
        let token = self.get(grant, &id).await?.ok_or(StoreError::NotFound(Kind::Token))?;
        let (secret, hash) = secret_text::generate()?;
        let document = Token { secret_hash: hash.to_string(), ..token.document };
        Ok((self.replace(grant, id, document, Some(token.revision)).await?, secret))
    }
}

impl Collection<'_, ProxyToken> {
    /// Makes a proxy token for a person; its text is returned here and never again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such person.
    pub async fn issue(
        &self,
        grant: &Grant<WriteUsers>,
        user: UserId,
        name: String,
        expires_at: Option<Timestamp>,
    ) -> Result<(Stored<ProxyToken>, Secret<String>), StoreError> {
        let (secret, hash) = secret_text::generate()?;
        let id = TokenId(Uuid::new_v4());
        let token = ProxyToken { user, name, secret_hash: hash.to_string(), expires_at };
        let writes = vec![
            Write::Touch { kind: Kind::User, id: user.to_string(), expect: Expect::Present },
            Write::Put(put(grant, &id, &token, Expect::Absent)?),
        ];
        let bounds = vec![crate::collection::count_bound::<ProxyToken>()];
        let (at, written) = self.store.commit(grant, writes, bounds).await?;
        let written = written.into_iter().nth(1).ok_or(StoreError::NotFound(Kind::ProxyToken))?;
        Ok((crate::collection::stored(id, token, at, written)?, secret))
    }
}

impl Collection<'_, User> {
    /// Deletes a person with their proxy tokens, profile, factors, sessions, approvals and grants. Whoever calls it
    /// revokes the sessions first, so that nodes which know them hear of it.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_tokens(&self, grant: &Grant<WriteUsers>, id: UserId) -> Result<(), StoreError> {
        const OWNED: [Kind; 5] =
            [Kind::ProxyToken, Kind::Factor, Kind::AccessSession, Kind::Approval, Kind::OauthGrant];
        let mut writes = vec![
            Write::Delete { kind: Kind::User, id: id.to_string(), expect: Expect::Present },
            Write::Delete { kind: Kind::AccessProfile, id: id.to_string(), expect: Expect::Anything },
        ];
        writes.extend(OWNED.map(|kind| Write::DeleteChildren { kind, parent: id.to_string() }));
        writes.extend(self.store.sign_ins_of(grant, id).await?);
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Collection<'_, Session> {
    /// Signs an administrator in for `lifetime`; the cookie's secret is returned here and never again. The caller has
    /// checked the password.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn start(
        &self,
        grant: &Grant<Operate>,
        administrator: UserId,
        user_agent: String,
        lifetime: Duration,
    ) -> Result<(Stored<Session>, Secret<String>), StoreError> {
        let (secret, hash) = secret_text::generate()?;
        let expires_at = self.store.after(lifetime)?;
        // Outside input: keep what is stored of it short.
        let user_agent = user_agent.chars().filter(|c| !c.is_control()).take(200).collect();
        let session = Session { administrator, secret_hash: hash.to_string(), expires_at, user_agent };
        // Room first: sessions that ended are only rows.
        self.forget_ended(grant).await?;
        Ok((self.save(grant, TokenId(Uuid::new_v4()), session, Expect::Absent).await?, secret))
    }

    /// Ends a session; one that is not there is fine.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn end(&self, grant: &Grant<Operate>, id: TokenId) -> Result<(), StoreError> {
        let write = Write::Delete { kind: Kind::Session, id: id.to_string(), expect: Expect::Anything };
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }

    /// Ends every session of an administrator, as after a changed password.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn end_all(&self, grant: &Grant<Operate>, administrator: UserId) -> Result<(), StoreError> {
        let write = Write::DeleteChildren { kind: Kind::Session, parent: administrator.to_string() };
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }

    async fn forget_ended(&self, grant: &Grant<Operate>) -> Result<(), StoreError> {
        let now = self.store.now();
        let sessions = self.list(grant).await?;
        let writes: Vec<_> = sessions
            .into_iter()
            .filter(|session| session.document.expires_at <= now)
            .map(|session| Write::Delete { kind: Kind::Session, id: session.id.to_string(), expect: Expect::Anything })
            .collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Store {
    /// Deletes API tokens that expired an hour ago or before, so that an account is never full of them.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn sweep_tokens(&self, grant: &Grant<Operate>) -> Result<(), StoreError> {
        let now = self.now();
        let over = |token: &Stored<Token>| {
            token.document.expires_at.is_some_and(|end| now.duration_since(end) >= EXPIRED_TOKENS_KEPT)
        };
        let tokens = self.tokens().list(grant).await?;
        let writes: Vec<_> = tokens
            .into_iter()
            .filter(over)
            // Someone who gives it a new end at this moment keeps it, and the next sweep takes the rest.
            .map(|token| Write::Delete {
                kind: Kind::Token,
                id: token.id.to_string(),
                expect: Expect::Revision(token.revision.0),
            })
            .collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.commit(grant, writes, Vec::new()).await.map(|_| ())
    }

    /// Turns an API token's text into the principal it stands for.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::Invalid`] for every reason of the credential's own, so that a caller learns none of them.
    pub async fn authenticate_token(&self, secret: &Secret<String>) -> Result<Principal, AuthenticateError> {
        let (account, token) = self.by_secret::<Token>(secret.expose()).await?;
        let now = self.now();
        let Token { name, permissions, not_before, expires_at, disabled, .. } = token.document;
        let valid = !disabled && not_before.is_none_or(|from| from <= now) && expires_at.is_none_or(|end| now < end);
        if !valid {
            return Err(AuthenticateError::Invalid);
        }
        Ok(Principal::of_account(Actor::Token { id: token.id, name }, account, permissions))
    }

    /// Turns a session cookie's secret into the administrator who is signed in.
    ///
    /// # Errors
    ///
    /// As [`Store::authenticate_token`].
    pub async fn authenticate_session(&self, secret: &Secret<String>) -> Result<SignedIn, AuthenticateError> {
        let (account, session) = self.by_secret::<Session>(secret.expose()).await?;
        if session.document.expires_at <= self.now() {
            return Err(AuthenticateError::Invalid);
        }
        let key = crate::backend::Key::Id(session.document.administrator.to_string());
        let row = self.bounded(self.backend().get(account, Kind::Administrator, key)).await?;
        let row = row.ok_or(AuthenticateError::Invalid)?;
        let administrator = document::read::<Administrator>(row)?;
        if administrator.document.disabled {
            return Err(AuthenticateError::Invalid);
        }
        let actor = Actor::Administrator { id: administrator.id, email: administrator.document.email.to_string() };
        let principal = Principal::of_account(actor, account, administrator.document.permissions);
        Ok(SignedIn { principal, account, session, administrator })
    }

    /// Finds the administrator who signs in with an address, for the caller to check the password of.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::Invalid`] when there is none, or it is disabled.
    pub async fn administrator_by_email(
        &self,
        email: &Email,
    ) -> Result<(AccountId, Stored<Administrator>), AuthenticateError> {
        let found = self.by_lookup::<Administrator>(email.to_string()).await?;
        found.filter(|(_, administrator)| !administrator.document.disabled).ok_or(AuthenticateError::Invalid)
    }

    /// Creates an account.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when it exists.
    pub async fn create_account(
        &self,
        grant: &Grant<Operate>,
        account: Account,
    ) -> Result<Stored<Account>, StoreError> {
        Collection::<Account>::new(self).save(grant, grant.account(), account, Expect::Absent).await
    }

    /// Returns the accounts a principal can reach: its own, or all of them for the system.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like.
    pub async fn accounts(&self, principal: &Principal) -> Result<Vec<Stored<Account>>, StoreError> {
        let scan =
            crate::backend::Scan { account: principal.account(), kind: Kind::Account, parent: None, limit: 10_000 };
        let rows = self.bounded(self.backend().scan(scan)).await?;
        rows.into_iter().map(document::read).collect()
    }

    /// Makes the one-time link that creates the first administrator; an older link stops working.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn issue_setup_link(
        &self,
        grant: &Grant<Operate>,
        lifetime: Duration,
    ) -> Result<Secret<String>, StoreError> {
        let (secret, hash) = secret_text::generate()?;
        let link = SetupLink { secret_hash: hash.to_string(), expires_at: self.after(lifetime)? };
        Collection::<SetupLink>::new(self).save(grant, Only, link, Expect::Anything).await?;
        Ok(secret)
    }

    /// Says which account a set-up link is for, without using it up.
    ///
    /// # Errors
    ///
    /// As [`Store::authenticate_token`].
    pub async fn check_setup_link(&self, secret: &Secret<String>) -> Result<AccountId, AuthenticateError> {
        let (account, link) = self.by_secret::<SetupLink>(secret.expose()).await?;
        if link.document.expires_at <= self.now() {
            return Err(AuthenticateError::Invalid);
        }
        Ok(account)
    }

    /// Uses a set-up link up and creates the administrator, both or neither.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::Invalid`] when the link is used, expired or unknown.
    pub async fn redeem_setup_link(
        &self,
        secret: &Secret<String>,
        administrator: Administrator,
    ) -> Result<(AccountId, Stored<Administrator>), AuthenticateError> {
        let (account, link) = self.by_secret::<SetupLink>(secret.expose()).await?;
        if link.document.expires_at <= self.now() {
            return Err(AuthenticateError::Invalid);
        }
        let grant = Principal::system("first-run set-up")
            .authorize::<Operate>(account)
            .map_err(|_| AuthenticateError::Invalid)?;
        let id = UserId(Uuid::now_v7());
        let writes = vec![
            Write::Delete { kind: Kind::SetupLink, id: Only.to_string(), expect: Expect::Revision(link.revision.0) },
            Write::Put(put(&grant, &id, &administrator, Expect::Absent)?),
        ];
        let (at, written) = match self.commit(&grant, writes, Vec::new()).await {
            Err(StoreError::NotFound(Kind::SetupLink) | StoreError::Stale(Kind::SetupLink)) => {
                return Err(AuthenticateError::Invalid);
            }
            other => other?,
        };
        let written = written.into_iter().next().ok_or(StoreError::NotFound(Kind::Administrator))?;
        Ok((account, crate::collection::stored(id, administrator, at, written)?))
    }

    async fn by_secret<D: Document>(&self, secret: &str) -> Result<(AccountId, Stored<D>), AuthenticateError> {
        let hash = SecretHash::of(secret).ok_or(AuthenticateError::Invalid)?;
        self.by_lookup(hash.to_string()).await?.ok_or(AuthenticateError::Invalid)
    }

    async fn by_lookup<D: Document>(&self, lookup: String) -> Result<Option<(AccountId, Stored<D>)>, StoreError> {
        let row: Option<Row> = self.bounded(self.backend().lookup(D::KIND, lookup)).await?;
        row.map(|row| Ok((row.account, document::read(row)?))).transpose()
    }

    fn after(&self, lifetime: Duration) -> Result<Timestamp, StoreError> {
        self.now().checked_add(lifetime).map_err(|_| StoreError::Invalid("the lifetime is too long"))
    }
}
