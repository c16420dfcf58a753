//! Who may do what: permissions, principals and the grants that every store method demands.
//!
//! A [`Grant`] can only come out of [`Principal::authorize`], so a handler that forgets its authorization check does
//! not compile. It does not authenticate: principals are made by the token and session lookups of this crate.
//! Invariant: a grant never widens; write implies read, `Admin` implies every permission, and only
//! [`Principal::system`] reaches secrets in clear.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::{AccountId, Code, TokenId, UserId};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $cloudflare:literal;)*) => {
        /// One right a token or an administrator may carry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// Every permission, for pages and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the stable text form, as stored and as accepted by the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns the name of the Cloudflare permission group that grants the same.
            #[must_use]
            pub const fn cloudflare_name(self) -> &'static str {
                match self { $(Self::$name => $cloudflare,)* }
            }
        }
    };
}

permissions! {
    /// Read rules, configuration, certificates, proxy endpoints and logging settings.
    GatewayRead = "gateway:read", "Zero Trust Read";
    /// Change them.
    GatewayWrite = "gateway:write", "Zero Trust Write";
    /// Read lists and their items.
    ListsRead = "lists:read", "Account Rule Lists Read";
    /// Change lists and their items.
    ListsWrite = "lists:write", "Account Rule Lists Write";
    /// Read Worker scripts, versions and schedules, and the names of their secrets.
    WorkersRead = "workers:read", "Workers Scripts Read";
    /// Change them and set secrets.
    WorkersWrite = "workers:write", "Workers Scripts Write";
    /// Read KV namespaces, keys and values.
    KvRead = "kv:read", "Workers KV Storage Read";
    /// Change them.
    KvWrite = "kv:write", "Workers KV Storage Write";
    /// Read traffic and Worker logs.
    LogsRead = "logs:read", "Logs Read";
    /// Choose how long records are kept, and where what is recorded is sent: signals, push jobs, the weekly letter.
    LogsWrite = "logs:write", "Logs Write";
    /// Erase what is recorded of a person.
    LogsErase = "logs:erase", "Logs Erase";
    /// Read people, their groups and the names of their proxy tokens.
    UsersRead = "users:read", "Access: Users Read";
    /// Change people and issue proxy tokens.
    UsersWrite = "users:write", "Access: Users Write";
    /// Read applications, access policies, tags, custom pages, MCP portals and servers (never their secrets).
    AccessRead = "access:read", "Access: Apps and Policies Read";
    /// Change them, and end every session at an application.
    AccessWrite = "access:write", "Access: Apps and Policies Write";
    /// Read the organisation, identity providers (never their secrets), rule groups and the state of signing keys.
    IdentityRead = "identity:read", "Access: Organizations, Identity Providers, and Groups Read";
    /// Change them, rotate signing keys, and end every session of a person.
    IdentityWrite = "identity:write", "Access: Organizations, Identity Providers, and Groups Write";
    /// Read service tokens (never their secret).
    ServiceTokensRead = "service_tokens:read", "Access: Service Tokens Read";
    /// Issue, rotate and revoke service tokens.
    ServiceTokensWrite = "service_tokens:write", "Access: Service Tokens Write";
    /// Read the authorities of client certificates.
    ClientCertificatesRead = "client_certificates:read", "Access: Mutual TLS Certificates Read";
    /// Change them.
    ClientCertificatesWrite = "client_certificates:write", "Access: Mutual TLS Certificates Write";
    /// Read API tokens (never their secret).
    TokensRead = "tokens:read", "Account API Tokens Read";
    /// Issue and revoke API tokens.
    TokensWrite = "tokens:write", "Account API Tokens Write";
    /// Read the account and its administrators.
    SettingsRead = "settings:read", "Account Settings Read";
    /// Change the account.
    SettingsWrite = "settings:write", "Account Settings Write";
    /// Read the audit log.
    AuditRead = "audit:read", "Account Audit Logs Read";
    /// Everything in the account, administrators included.
    Admin = "admin", "Super Administrator";
}

impl Permission {
    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Returns the read permission that holding `self` implies, if `self` is a write permission.
    const fn implied(self) -> Option<Self> {
        match self {
            Self::GatewayWrite => Some(Self::GatewayRead),
            Self::ListsWrite => Some(Self::ListsRead),
            Self::WorkersWrite => Some(Self::WorkersRead),
            Self::KvWrite => Some(Self::KvRead),
            Self::LogsWrite => Some(Self::LogsRead),
            Self::UsersWrite => Some(Self::UsersRead),
            Self::AccessWrite => Some(Self::AccessRead),
            Self::IdentityWrite => Some(Self::IdentityRead),
            Self::ServiceTokensWrite => Some(Self::ServiceTokensRead),
            Self::ClientCertificatesWrite => Some(Self::ClientCertificatesRead),
            Self::TokensWrite => Some(Self::TokensRead),
            Self::SettingsWrite => Some(Self::SettingsRead),
            Self::GatewayRead
            | Self::ListsRead
            | Self::WorkersRead
            | Self::KvRead
            | Self::LogsRead
            | Self::LogsErase
            | Self::UsersRead
            | Self::AccessRead
            | Self::IdentityRead
            | Self::ServiceTokensRead
            | Self::ClientCertificatesRead
            | Self::TokensRead
            | Self::SettingsRead
            | Self::AuditRead
            | Self::Admin => None,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown permission {0:?}")]
pub struct UnknownPermission(String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.as_str() == text)
            .ok_or_else(|| UnknownPermission(text.chars().take(80).collect()))
    }
}

/// A set of permissions; stored and sent as a list of their text forms.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Permissions(u32);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything an account has.
    pub const ADMIN: Self = Self(Permission::Admin.bit());

    /// Returns this set with `permission` in it.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// Says whether the set carries `wanted`, directly or because a stronger permission implies it.
    #[must_use]
    pub fn allow(self, wanted: Permission) -> bool {
        self.iter().any(|held| held == Permission::Admin || held == wanted || held.implied() == Some(wanted))
    }

    /// Says whether everything in `other` is allowed by this set.
    #[must_use]
    pub fn cover(self, other: Self) -> bool {
        other.iter().all(|permission| self.allow(permission))
    }

    /// Returns only what both sets allow.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Permission::ALL
            .iter()
            .copied()
            .filter(|permission| self.allow(*permission) && other.allow(*permission))
            .collect()
    }

    /// Returns the permissions named in the set, in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.0 & permission.bit() != 0)
    }

    /// Says whether the set names nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Permission::as_str))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    /// Reads a list; a name this version does not know grants nothing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// What a scope asks of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// A permission that tokens and administrators can hold.
    Permission(Permission),
    /// Only code that said why with [`Principal::system`].
    System,
}

mod closed {
    pub trait Closed {}
}

/// A right as a type, so that a read grant cannot call a write.
pub trait Scope: closed::Closed + Send + Sync + 'static {
    /// What a principal must hold to be granted this scope.
    const REQUIREMENT: Requirement;
}

/// Says that a grant of `Self` is good for a method that wants `S`.
pub trait Allows<S: Scope>: Scope {}

impl<S: Scope> Allows<S> for S {}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident: $requirement:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl closed::Closed for $name {}
            impl Scope for $name {
                const REQUIREMENT: Requirement = $requirement;
            }
        )*
    };
}

scopes! {
    /// Read gateway rules.
    ReadRules: Requirement::Permission(Permission::GatewayRead);
    /// Change gateway rules.
    WriteRules: Requirement::Permission(Permission::GatewayWrite);
    /// Read configuration, certificates, proxy endpoints and logging settings.
    ReadGateway: Requirement::Permission(Permission::GatewayRead);
    /// Change them.
    WriteGateway: Requirement::Permission(Permission::GatewayWrite);
    /// Read lists and items.
    ReadLists: Requirement::Permission(Permission::ListsRead);
    /// Change lists and items.
    WriteLists: Requirement::Permission(Permission::ListsWrite);
    /// Read scripts, versions, schedules.
    ReadScripts: Requirement::Permission(Permission::WorkersRead);
    /// Change them.
    WriteScripts: Requirement::Permission(Permission::WorkersWrite);
    /// Read KV namespaces and values.
    ReadKv: Requirement::Permission(Permission::KvRead);
    /// Change KV namespaces and values.
    WriteKv: Requirement::Permission(Permission::KvWrite);
    /// Read traffic logs; asked for by the console, not by a store method.
    ReadLogs: Requirement::Permission(Permission::LogsRead);
    /// Choose how long records are kept.
    WriteLogs: Requirement::Permission(Permission::LogsWrite);
    /// Erase what is recorded of a person; asked for by the console, not by a store method.
    EraseLogs: Requirement::Permission(Permission::LogsErase);
    /// Read the audit log; asked for by the console, not by a store method.
    ReadAudit: Requirement::Permission(Permission::AuditRead);
    /// Read people.
    ReadUsers: Requirement::Permission(Permission::UsersRead);
    /// Change people and their proxy tokens.
    WriteUsers: Requirement::Permission(Permission::UsersWrite);
    /// Read applications, access policies, tags, custom pages.
    ReadAccess: Requirement::Permission(Permission::AccessRead);
    /// Change them.
    WriteAccess: Requirement::Permission(Permission::AccessWrite);
    /// Read the organisation, providers, rule groups, signing keys without their private halves.
    ReadIdentity: Requirement::Permission(Permission::IdentityRead);
    /// Change them.
    WriteIdentity: Requirement::Permission(Permission::IdentityWrite);
    /// Read service tokens.
    ReadServiceTokens: Requirement::Permission(Permission::ServiceTokensRead);
    /// Issue, rotate and revoke service tokens.
    WriteServiceTokens: Requirement::Permission(Permission::ServiceTokensWrite);
    /// Read the authorities of client certificates.
    ReadClientCertificates: Requirement::Permission(Permission::ClientCertificatesRead);
    /// Change them.
    WriteClientCertificates: Requirement::Permission(Permission::ClientCertificatesWrite);
    /// Read API tokens.
    ReadTokens: Requirement::Permission(Permission::TokensRead);
    /// Issue and revoke API tokens.
    WriteTokens: Requirement::Permission(Permission::TokensWrite);
    /// Read the account and its administrators.
    ReadSettings: Requirement::Permission(Permission::SettingsRead);
    /// Change the account.
    WriteSettings: Requirement::Permission(Permission::SettingsWrite);
    /// Change administrators.
    Administer: Requirement::Permission(Permission::Admin);
    /// Open sealed secrets, sign people in, create accounts.
    Operate: Requirement::System;
}

impl Allows<ReadRules> for WriteRules {}
impl Allows<ReadGateway> for WriteGateway {}
impl Allows<ReadLists> for WriteLists {}
impl Allows<ReadScripts> for WriteScripts {}
impl Allows<ReadKv> for WriteKv {}
impl Allows<ReadLogs> for WriteLogs {}
impl Allows<ReadUsers> for WriteUsers {}
impl Allows<ReadAccess> for WriteAccess {}
impl Allows<ReadIdentity> for WriteIdentity {}
impl Allows<ReadServiceTokens> for WriteServiceTokens {}
impl Allows<ReadClientCertificates> for WriteClientCertificates {}
impl Allows<ReadTokens> for WriteTokens {}
impl Allows<ReadSettings> for WriteSettings {}
impl Allows<ReadSettings> for Administer {}
impl Allows<ReadRules> for Operate {}
impl Allows<ReadGateway> for Operate {}
impl Allows<ReadLists> for Operate {}
impl Allows<ReadScripts> for Operate {}
impl Allows<ReadKv> for Operate {}
impl Allows<ReadLogs> for Operate {}
impl Allows<ReadUsers> for Operate {}
impl Allows<ReadAccess> for Operate {}
impl Allows<ReadIdentity> for Operate {}
impl Allows<ReadServiceTokens> for Operate {}
impl Allows<ReadClientCertificates> for Operate {}
impl Allows<Administer> for Operate {}
impl Allows<ReadTokens> for Operate {}
impl Allows<ReadSettings> for Operate {}

/// Who acts, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A program with an API token.
    Token {
        /// The token's public id.
        id: TokenId,
        /// The name its owner gave it.
        name: String,
    },
    /// A person signed in to the console.
    Administrator {
        /// The administrator's id.
        id: UserId,
        /// The address they sign in with.
        email: String,
    },
    /// Portunus itself.
    System {
        /// Why it needed to act without a person.
        reason: &'static str,
    },
}

/// A caller whose identity is established, with what it may do.
#[derive(Debug, Clone)]
pub struct Principal {
    actor: Arc<Actor>,
    /// `None` reaches every account and is only ever set by [`Principal::system`].
    account: Option<AccountId>,
    permissions: Permissions,
}

/// Why a principal may not have a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The account is not the principal's own; to the caller it does not exist.
    #[error("no such account")]
    OtherAccount,
    /// The permission is not among those the principal holds.
    #[error("permission {0} is missing")]
    MissingPermission(Permission),
    /// Nothing a client holds can grant this.
    #[error("reserved to the system")]
    SystemOnly,
}

impl Denied {
    /// Returns the closed code the edge answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::OtherAccount => Code::NotFound,
            Self::MissingPermission(_) | Self::SystemOnly => Code::PermissionDenied,
        }
    }
}

impl Principal {
    /// Returns the principal Portunus uses for its own work, such as building a snapshot; `reason` goes to the audit log.
    ///
    /// # Security
    ///
    /// It reaches every account and every sealed secret. Never build one on behalf of a request.
    #[must_use]
    pub fn system(reason: &'static str) -> Self {
        Self { actor: Arc::new(Actor::System { reason }), account: None, permissions: Permissions::ADMIN }
    }

    pub(crate) fn of_account(actor: Actor, account: AccountId, permissions: Permissions) -> Self {
        Self { actor: Arc::new(actor), account: Some(account), permissions }
    }

    /// Grants scope `S` in `account`, or says why not.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the account is another one or the permission is missing.
    pub fn authorize<S: Scope>(&self, account: AccountId) -> Result<Grant<S>, Denied> {
        if self.account.is_some_and(|own| own != account) {
            return Err(Denied::OtherAccount);
        }
        match S::REQUIREMENT {
            Requirement::System if !self.is_system() => Err(Denied::SystemOnly),
            Requirement::Permission(wanted) if !self.permissions.allow(wanted) => {
                Err(Denied::MissingPermission(wanted))
            }
            Requirement::System | Requirement::Permission(_) => {
                Ok(Grant { account, actor: Arc::clone(&self.actor), permissions: self.permissions, scope: PhantomData })
            }
        }
    }

    /// Returns the same principal with at most `permissions` in `account`, for a binding that hands out less than its
    /// owner has. A restricted system principal belongs to that account alone and cannot open sealed secrets.
    #[must_use]
    pub fn restrict(&self, account: AccountId, permissions: Permissions) -> Self {
        let reachable = self.account.is_none_or(|own| own == account);
        let permissions = if reachable { self.permissions.intersection(permissions) } else { Permissions::NONE };
        Self { actor: Arc::clone(&self.actor), account: Some(self.account.unwrap_or(account)), permissions }
    }

    /// Returns who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns the one account this principal belongs to; the system belongs to none.
    #[must_use]
    pub const fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// Returns what the principal may do.
    #[must_use]
    pub const fn permissions(&self) -> Permissions {
        self.permissions
    }

    const fn is_system(&self) -> bool {
        self.account.is_none()
    }
}

/// The proof that scope `S` was authorized in one account.
#[derive(Debug)]
pub struct Grant<S: Scope> {
    account: AccountId,
    actor: Arc<Actor>,
    /// All that its holder may do, so that a document cannot confer more.
    permissions: Permissions,
    scope: PhantomData<S>,
}

impl<S: Scope> Clone for Grant<S> {
    fn clone(&self) -> Self {
        Self {
            account: self.account,
            actor: Arc::clone(&self.actor),
            permissions: self.permissions,
            scope: PhantomData,
        }
    }
}

impl<S: Scope> Grant<S> {
    /// Returns the account the grant is for.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// Returns who was granted.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    pub(crate) const fn permissions(&self) -> Permissions {
        self.permissions
    }
}

#[cfg(test)]
mod tests {
    use types::AccountId;

    use super::{Denied, Operate, Permission, Permissions, Principal, ReadLists, ReadRules, WriteRules};
    use crate::grant::{Actor, Administer};

    fn principal(permissions: &[Permission]) -> Principal {
        let actor = Actor::System { reason: "test" };
        Principal::of_account(actor, account(1), permissions.iter().copied().collect())
    }

    fn account(number: u128) -> AccountId {
        AccountId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn write_implies_read_and_nothing_else() {
        let writer = principal(&[Permission::GatewayWrite]);
        assert!(writer.authorize::<WriteRules>(account(1)).is_ok());
        assert!(writer.authorize::<ReadRules>(account(1)).is_ok());
        assert_eq!(
            writer.authorize::<ReadLists>(account(1)).unwrap_err(),
            Denied::MissingPermission(Permission::ListsRead)
        );
    }

    #[test]
    fn read_does_not_imply_write() {
        let reader = principal(&[Permission::GatewayRead]);
        assert_eq!(
            reader.authorize::<WriteRules>(account(1)).unwrap_err(),
            Denied::MissingPermission(Permission::GatewayWrite)
        );
    }

    #[test]
    fn another_account_is_as_if_it_did_not_exist() {
        let admin = principal(&[Permission::Admin]);
        let denied = admin.authorize::<ReadRules>(account(2)).unwrap_err();
        assert_eq!(denied.code(), types::Code::NotFound);
    }

    #[test]
    fn an_administrator_has_every_permission_but_not_the_secrets() {
        let admin = principal(&[Permission::Admin]);
        assert!(admin.authorize::<Administer>(account(1)).is_ok());
        assert_eq!(admin.authorize::<Operate>(account(1)).unwrap_err(), Denied::SystemOnly);
        for permission in Permission::ALL {
            assert!(admin.permissions().allow(*permission), "{permission}");
        }
    }

    #[test]
    fn restricting_never_widens() {
        let reader = principal(&[Permission::GatewayRead]);
        let restricted = reader.restrict(account(1), Permissions::ADMIN);
        assert!(restricted.authorize::<ReadRules>(account(1)).is_ok());
        assert!(restricted.authorize::<WriteRules>(account(1)).is_err());
        let elsewhere = reader.restrict(account(2), Permissions::ADMIN);
        assert!(elsewhere.authorize::<ReadRules>(account(2)).is_err());
        assert!(elsewhere.authorize::<ReadRules>(account(1)).is_err());
        let system = Principal::system("test").restrict(account(1), Permissions::NONE.with(Permission::ListsRead));
        assert!(system.authorize::<Operate>(account(1)).is_err());
        assert!(system.authorize::<ReadLists>(account(2)).is_err());
    }

    #[test]
    fn permissions_are_stored_as_words_and_unknown_words_grant_nothing() {
        let set = Permissions::NONE.with(Permission::LogsRead).with(Permission::GatewayWrite);
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, r#"["gateway:write","logs:read"]"#);
        assert_eq!(serde_json::from_str::<Permissions>(&text).unwrap(), set);
        assert!(serde_json::from_str::<Permissions>(r#"["future:write"]"#).unwrap().is_empty());
    }
}
