//! What an account thinks of an application: its status, who looks after it, when it is looked at again.
//!
//! Data only. Invariant: an application nobody looked at is `unreviewed`, and a status changes nothing by itself (reference
//! section 8.5): a rule must use it.

use serde::{Deserialize, Serialize};

use crate::score::Evidence;

/// Whether an application may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    #[serde(rename = "approved")]
    Approved,
    #[serde(rename = "unapproved")]
    Unapproved,
    #[serde(rename = "in review")]
    InReview,
    #[default]
    #[serde(rename = "unreviewed")]
    Unreviewed,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Approved, Self::Unapproved, Self::InReview, Self::Unreviewed];

    /// Returns the word as expressions compare it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.words()[0]
    }

    /// Returns the word as an array of one.
    #[must_use]
    pub const fn words(self) -> &'static [&'static str; 1] {
        match self {
            Self::Approved => &["approved"],
            Self::Unapproved => &["unapproved"],
            Self::InReview => &["in review"],
            Self::Unreviewed => &["unreviewed"],
        }
    }

    /// Finds a status by its word; addresses may write `in_review`.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let word = word.replace('_', " ");
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// The account's view of one application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    #[serde(default)]
    pub status: Status,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Who looks after it: an address, a team, a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// When it is to be looked at again, as a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_date: Option<String>,
    /// What the account found out for the confidence scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_status_is_found_by_the_word_it_is_written_with() {
        for status in Status::ALL {
            assert_eq!(Status::named(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!(Status::named("in_review"), Some(Status::InReview));
        assert_eq!(Status::named("Approved"), None);
    }
}
