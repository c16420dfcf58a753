//! The words every part of Portunus shares: ids, accounts, error codes, the API envelope, secrets.
//!
//! It owns shapes and their text forms. It deliberately has no behaviour: nothing here decides, reads a clock, draws a
//! random number or knows a socket. Invariant: a value of one of these types is well formed, so nobody checks it again.

mod code;
mod envelope;
mod ids;
mod secret;
mod verbatim;

pub use code::Code;
pub use envelope::{ApiMessage, Envelope, MessageSource, ResultInfo};
pub use ids::{
    AccessGroupId, AccessPolicyId, AccountId, ApplicationId, CategoryListId, CertificateId, CustomPageId,
    DirectoryRecordId, Email, FactorId, IdError, KvNamespaceId, ListId, MailId, McpPortalId, McpServerId,
    PostureRuleId, ProviderId, ProxyEndpointId, PushJobId, RequestId, RuleId, SavedQueryId, ScriptName, ServiceTokenId,
    SignalId, TokenId, UserId, VersionId,
};
pub use secret::Secret;
pub use verbatim::Verbatim;
