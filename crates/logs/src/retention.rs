//! How long records are kept: by account and dataset, in days and in bytes.
//!
//! What an account chose stands here while the process runs; where it is stored is the caller's. Invariant: a dataset of
//! which nothing is known is kept as the configuration says, so nobody's records go because their choice was not read.

use std::collections::BTreeMap;

use jiff::civil::Date;
use types::AccountId;

use crate::records::Dataset;

/// The fewest and the most days a dataset may be kept.
pub const DAYS: std::ops::RangeInclusive<u32> = 1..=3_650;
/// The fewest days that the audit trail and the sign-ins may be kept: what somebody did must outlive the day of it.
pub const FEWEST_AUDIT_DAYS: u32 = 30;
/// The fewest and the most bytes a dataset may have of its own.
pub const BYTES: std::ops::RangeInclusive<u64> = 64 * 1024 * 1024..=1 << 50;

/// How long the records of one dataset are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Whole days of UTC, today not counted.
    pub days: u32,
    /// How large the dataset may get; `None`: it shares the room of those that have none of their own.
    pub max_bytes: Option<u64>,
}

/// What an account chose; datasets that are not named are kept as the configuration says.
pub type Retention = BTreeMap<Dataset, Keep>;

/// What the lake has of a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupied {
    /// How many records.
    pub rows: u64,
    /// How large their files are.
    pub bytes: u64,
    /// The day of the oldest, in UTC.
    pub oldest: Option<Date>,
}

/// The choices of every account.
#[derive(Debug, Default)]
pub(crate) struct Choices(parking_lot::Mutex<BTreeMap<AccountId, Retention>>);

impl Choices {
    pub(crate) fn new(initial: BTreeMap<AccountId, Retention>) -> Self {
        Self(parking_lot::Mutex::new(initial))
    }

    /// Replaces what an account chose; says whether that changes anything.
    pub(crate) fn set(&self, account: AccountId, retention: Retention) -> bool {
        let mut choices = self.0.lock();
        let before = choices.get(&account).cloned().unwrap_or_default();
        let changes = before != retention;
        choices.insert(account, retention);
        changes
    }

    pub(crate) fn of(&self, account: AccountId, dataset: Dataset) -> Option<Keep> {
        self.0.lock().get(&account)?.get(&dataset).copied()
    }
}
