//! Temporary access (reference section 1.9): somebody asks, people whom the policy names agree, the application opens for
//! a while.
//!
//! Who must agree and what an answer is worth is `identity::approval`'s. Here are the pages of both sides, what is kept, and
//! the table that every request is held against.

mod answer;
mod ask;
mod ledger;
mod table;

pub(crate) use answer::{show, take};
pub(crate) use ask::{ask, step, wait};
pub use ledger::{ApprovalLedger, KeptApproval};
pub use table::ApprovalTable;
pub(crate) use table::{granted, owed};

use jiff::Timestamp;

/// Writes a moment as people read it.
fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y-%m-%d %H:%M UTC").to_string()
}
