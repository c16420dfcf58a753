//! The closed set of reasons an operation fails, as callers tell them apart.

/// Why an operation failed. The edge alone turns a code into an HTTP status and the number in the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is not well formed or a value is out of range.
    InvalidInput,
    /// No credential, or one that is not valid.
    Unauthenticated,
    /// The credential is valid and does not carry the permission.
    PermissionDenied,
    /// There is no such thing, or the caller may not know that there is.
    NotFound,
    /// The name or number is taken.
    Conflict,
    /// The caller wrote over a revision it had not read.
    Stale,
    /// A size, count or rate limit.
    LimitExceeded,
    /// Too many requests from this caller.
    RateLimited,
    /// A part this needs (database, disk, peer) is not reachable; trying again may succeed.
    Unavailable,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// Returns the HTTP status of this code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidInput => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Stale => 412,
            Self::LimitExceeded => 413,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// Returns the number used in the `errors` array of the envelope (1000 or more, see reference section 5.1).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::InvalidInput => 1004,
            Self::Unauthenticated => 10000,
            Self::PermissionDenied => 10001,
            Self::NotFound => 1002,
            Self::Conflict => 1005,
            Self::Stale => 1006,
            Self::LimitExceeded => 1007,
            Self::RateLimited => 10429,
            Self::Unavailable => 1100,
            Self::Internal => 1000,
        }
    }

    /// Every code, for tables and documentation.
    pub const ALL: [Self; 10] = [
        Self::InvalidInput,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::Conflict,
        Self::Stale,
        Self::LimitExceeded,
        Self::RateLimited,
        Self::Unavailable,
        Self::Internal,
    ];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Code;

    #[test]
    fn every_code_has_a_number_of_its_own() {
        let numbers: BTreeSet<_> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert!(numbers.iter().all(|number| *number >= 1000));
    }
}
