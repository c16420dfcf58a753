//! The clock scripts see. A port may read it; engines may not.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the wall clock in milliseconds since the epoch.
pub(crate) fn now_ms() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "this is the edge where scripts get their time from")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}
