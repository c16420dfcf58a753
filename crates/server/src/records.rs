//! The log records this crate writes itself: Workers that ran for an event and not for a request.

use std::time::Duration;

use jiff::Timestamp;
use logs::WorkerInvocation;
use serde_json::json;
use types::AccountId;
use worker::{CallReport, Script};

/// What became of a call, in the words of the log.
pub(crate) struct Ended<'a> {
    pub(crate) event: &'static str,
    /// The cron expression or the queue.
    pub(crate) trigger: &'a str,
    /// `ok`, or the kind of failure.
    pub(crate) outcome: &'a str,
    pub(crate) error: &'a str,
    pub(crate) report: &'a CallReport,
}

pub(crate) fn worker_event(account: AccountId, script: &Script, ended: &Ended<'_>, now: Timestamp) -> WorkerInvocation {
    let Ended { event, trigger, outcome, error, report } = ended;
    let exceptions = if error.is_empty() { Vec::new() } else { vec![json!({ "name": outcome, "message": error })] };
    let logs = report
        .logs
        .iter()
        .map(|line| json!({ "level": format!("{:?}", line.level).to_lowercase(), "message": line.message }));
    WorkerInvocation {
        id: logs::record_id(),
        datetime: now,
        account_id: account.to_string(),
        cpu_time_ms: millis(report.cpu),
        entrypoint: (*event).to_owned(),
        event: Some(json!({ "trigger": trigger })),
        event_timestamp_ms: now.as_millisecond(),
        event_type: (*event).to_owned(),
        exceptions,
        logs: logs.collect(),
        outcome: (*outcome).to_owned(),
        script_name: script.key.name.clone(),
        script_version: Some(json!({ "id": script.key.version })),
        wall_time_ms: millis(report.wall),
        cpu_time_micros: micros(report.cpu),
        wall_time_micros: micros(report.wall),
        subrequests: report.subrequests.into(),
        cold_start: report.cold,
        ..WorkerInvocation::default()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
