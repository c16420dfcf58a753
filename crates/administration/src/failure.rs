//! Why an operation was refused, in words a person can act on, independent of HTTP.
//!
//! Operations return a [`Failure`]; the API renders it as an envelope and pages render it beside the field it is about.
//! Invariant: a message says what to do and never repeats a secret or an internal error's text.

use std::error::Error;

use types::Code;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and what to do about it.
    pub message: String,
    /// RFC 6901 pointer into the request body, where one member is at fault.
    pub pointer: Option<String>,
}

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The closed reason.
    pub code: Code,
    /// At least one problem.
    pub problems: Vec<Problem>,
    /// The number clients of the v4 API know this failure by, where it differs from the code's own.
    pub number: Option<u32>,
    /// Seconds to wait before trying again, for `RateLimited` and `Unavailable`.
    pub retry_after: Option<u64>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let problems = vec![Problem { message: message.into(), pointer: None }];
        Self { code, problems, number: None, retry_after: None }
    }

    /// A value in the request is wrong; `pointer` is the RFC 6901 pointer to it.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let problems = vec![Problem { message: message.into(), pointer: Some(pointer.into()) }];
        Self { code: Code::InvalidInput, problems, number: None, retry_after: None }
    }

    /// Several values are wrong.
    #[must_use]
    pub fn invalid_many(mut problems: Vec<Problem>) -> Self {
        if problems.is_empty() {
            problems.push(Problem { message: "the request is not valid".to_owned(), pointer: None });
        }
        Self { code: Code::InvalidInput, problems, number: None, retry_after: None }
    }

    /// There is no such `thing`.
    pub fn not_found(thing: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no such {thing}"))
    }

    /// The name or number is taken.
    pub fn conflict(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Code::Conflict, ..Self::invalid(pointer, message) }
    }

    /// Too many attempts; `seconds` until the next one may succeed.
    #[must_use]
    pub fn rate_limited(seconds: u64) -> Self {
        let seconds = seconds.max(1);
        let message = format!("too many requests; try again in {seconds} seconds");
        Self { retry_after: Some(seconds), ..Self::new(Code::RateLimited, message) }
    }

    /// Records `error` for the operator and hides it from the client.
    pub fn internal(context: &'static str, error: &(dyn Error + 'static)) -> Self {
        tracing::error!(context, error = %Chain(error), "console operation failed");
        Self::new(Code::Internal, "something went wrong on our side; the log of this server says what")
    }

    /// Gives the failure the number v4 clients know it by.
    #[must_use]
    pub const fn numbered(mut self, number: u32) -> Self {
        self.number = Some(number);
        self
    }

    /// The number in the envelope.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number.unwrap_or_else(|| self.code.number())
    }
}

impl From<store::Denied> for Failure {
    fn from(denied: store::Denied) -> Self {
        match denied {
            store::Denied::OtherAccount => Self::not_found("account"),
            store::Denied::MissingPermission(permission) => Self::missing_permission(permission),
            store::Denied::SystemOnly => Self::new(Code::PermissionDenied, "this is reserved to the system"),
        }
    }
}

impl Failure {
    /// The credential is valid and lacks `permission`.
    #[must_use]
    pub fn missing_permission(permission: store::Permission) -> Self {
        let message =
            format!("the credential lacks the permission \"{permission}\" ({})", permission.cloudflare_name());
        Self::new(Code::PermissionDenied, message)
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        let code = error.code();
        match code {
            Code::Internal => Self::internal("store", &error),
            Code::Unavailable => {
                tracing::warn!(error = %Chain(&error), "store unavailable");
                let message = "the store cannot be reached; traffic continues under the last configuration, try again";
                Self { retry_after: Some(5), ..Self::new(code, message) }
            }
            Code::Stale => Self::new(code, "someone else saved first; read it again, then repeat the change"),
            Code::InvalidInput
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::Conflict
            | Code::LimitExceeded
            | Code::RateLimited => Self::new(code, error.to_string()),
        }
    }
}

/// Words a taken name with `failure`, and any other error as usual.
pub fn taken(error: store::StoreError, failure: impl FnOnce() -> Failure) -> Failure {
    if matches!(error, store::StoreError::Taken(_)) { failure() } else { error.into() }
}

/// An error with all its sources, on one line.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
