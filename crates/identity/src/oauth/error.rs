//! The errors of OAuth endpoints as their RFCs name them, and the JSON they are answered with.
//!
//! Invariant: a description is a fixed text of ours or names only what the client itself sent, so it leaks nothing.

use std::borrow::Cow;

use serde_json::{Value, json};
use types::Code;

use crate::document::words;

words! {
    /// `error` of RFC 6749, 6750, 7009, 7591, 8707 and OpenID Connect's authorization errors.
    ErrorCode {
        InvalidRequest = "invalid_request",
        InvalidClient = "invalid_client",
        InvalidGrant = "invalid_grant",
        UnauthorizedClient = "unauthorized_client",
        UnsupportedGrantType = "unsupported_grant_type",
        UnsupportedResponseType = "unsupported_response_type",
        UnsupportedTokenType = "unsupported_token_type",
        InvalidScope = "invalid_scope",
        InvalidTarget = "invalid_target",
        InvalidRedirectUri = "invalid_redirect_uri",
        InvalidClientMetadata = "invalid_client_metadata",
        AccessDenied = "access_denied",
        LoginRequired = "login_required",
        InteractionRequired = "interaction_required",
        RequestNotSupported = "request_not_supported",
        RequestUriNotSupported = "request_uri_not_supported",
        ServerError = "server_error",
        TemporarilyUnavailable = "temporarily_unavailable",
    }
}

/// An error of an OAuth endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct OauthError {
    pub code: ErrorCode,
    /// Printable ASCII for the client's developer.
    pub description: Cow<'static, str>,
}

impl OauthError {
    pub(crate) fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        let description = description.into();
        // RFC 6749 section 5.2 allows %x20-21 / %x23-5B / %x5D-7E only.
        let clean = description.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\');
        let description = if clean {
            description
        } else {
            description
                .chars()
                .map(|c| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '?' })
                .collect::<String>()
                .into()
        };
        Self { code, description }
    }

    /// Returns the reason as the rest of the product tells reasons apart.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self.code {
            ErrorCode::InvalidClient => Code::Unauthenticated,
            ErrorCode::AccessDenied | ErrorCode::UnauthorizedClient => Code::PermissionDenied,
            ErrorCode::ServerError => Code::Internal,
            ErrorCode::TemporarilyUnavailable => Code::Unavailable,
            ErrorCode::InvalidRequest
            | ErrorCode::InvalidGrant
            | ErrorCode::UnsupportedGrantType
            | ErrorCode::UnsupportedResponseType
            | ErrorCode::UnsupportedTokenType
            | ErrorCode::InvalidScope
            | ErrorCode::InvalidTarget
            | ErrorCode::InvalidRedirectUri
            | ErrorCode::InvalidClientMetadata
            | ErrorCode::LoginRequired
            | ErrorCode::InteractionRequired
            | ErrorCode::RequestNotSupported
            | ErrorCode::RequestUriNotSupported => Code::InvalidInput,
        }
    }

    /// Returns the HTTP status of a token, revocation or registration answer (RFC 6749 section 5.2: 400 for all but
    /// client authentication).
    #[must_use]
    pub fn status(&self) -> u16 {
        let code = self.code();
        if code == Code::PermissionDenied { 400 } else { code.status() }
    }

    /// Returns the JSON body.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({"error": self.code.as_str(), "error_description": self.description})
    }
}
