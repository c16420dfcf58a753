//! Replays recorded traffic under a draft of the rules: what would change, for whom, how often, before anybody meets it.
//!
//! It reads the log page by page, newest first, both kinds of traffic back to the same moment, and stops at a number of
//! records, at a time, or when whoever asked goes away; the comparison is the policy engine's. Invariant: nothing is
//! stored but the audit record, memory is bounded by one page and the report, and a partial result says that it is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use expr::List;
use jiff::{SignedDuration, Timestamp};
use logs::{Cursor, Dataset, Entry, MAX_LIMIT, Query};
use policy::facts::HostFacts;
use policy::replay::{Meanings, Replay, ReplayOptions, Report};
use policy::{CompileOptions, RuleSpec, StoredRule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{ReadLogs, ReadRules};
use tokio::time::Instant;
use types::{Code, RuleId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::evaluate::{extended_email_matching, within};
use super::logs::query_failed;
use super::rules::{lists_named_in, refused, spec_of};
use super::{parse_time, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Records looked at unless the request says otherwise.
pub const DEFAULT_RECORDS: u64 = 200_000;
/// Most records of one replay.
pub const MOST_RECORDS: u64 = 20_000_000;
/// How long a replay may take unless the request says otherwise.
const DEFAULT_SECONDS: u64 = 60;
/// The longest a replay may take.
pub const MOST_SECONDS: u64 = 900;
/// The period before now unless the request says otherwise.
const DEFAULT_PERIOD: &str = "7d";
/// Most rules of a set.
const MOST_RULES: usize = 1_000;
/// Replays at once; each keeps a core busy.
pub const AT_ONCE: usize = 2;

/// What to replay: one of `rule`, `rules` and `change`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// A draft: it takes the place of the stored rule with its `id`, or is added. It counts as enabled.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub rule: Option<Value>,
    /// A whole rule set in place of the stored one, in order unless rules carry a precedence.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub rules: Option<Vec<Value>>,
    /// A change to a stored rule.
    #[serde(default)]
    pub change: Option<RuleChange>,
    /// Not before this: a time, or how long before now, as in `90m`, `24h` or `7d`. Seven days unless it says otherwise.
    #[serde(default)]
    pub since: Option<String>,
    /// Before this, in the same words. Now unless it says otherwise.
    #[serde(default)]
    pub until: Option<String>,
    /// Look at no more than this many records, the newest first.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Take no longer than this.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// A change to a stored rule.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleChange {
    pub rule_id: String,
    pub action: ChangeAction,
}

/// What would be done with a stored rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    Enable,
    Disable,
    Delete,
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReplayView {
    /// The period that was asked for.
    pub since: String,
    pub until: String,
    /// Whether every record of the period was looked at.
    pub complete: bool,
    /// Why not: `limit` or `deadline`. The report then covers the newest part, back to `reached`.
    pub stopped_by: Option<&'static str>,
    /// Everything after this was looked at.
    pub reached: String,
    /// How long it took.
    pub milliseconds: u64,
    /// Rules that do not compile and took no part.
    #[schema(value_type = Vec<Object>)]
    pub broken_rules: Vec<Value>,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub report: Report,
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReplayProgress {
    pub scanned: u64,
    pub changed: u64,
    pub undecided: u64,
    /// Everything after this was looked at.
    pub reached: String,
    /// How much of the period that is, from 0 to 1.
    pub fraction: f64,
}

/// A replay that may begin.
pub struct Prepared {
    replay: Replay,
    feeds: [Feed; 2],
    since: Timestamp,
    until: Timestamp,
    limit: u64,
    within: Duration,
    _room: tokio::sync::OwnedSemaphorePermit,
}

/// What the catalogue in force makes of a host.
struct Today(Arc<catalog::Classifier>);

impl Meanings for Today {
    fn meaning(&self, host: &str) -> HostFacts<'_> {
        let meaning = self.0.meaning(self.0.classify(host));
        HostFacts {
            app_ids: meaning.app_ids,
            app_type_ids: meaning.app_type_ids,
            app_supports_ids: meaning.app_supports_ids,
            app_statuses: meaning.app_statuses,
            content_categories: meaning.content_categories,
            security_categories: meaning.security_categories,
        }
    }
}

/// Checks what is asked, reads the rules and takes a place among the replays of this installation.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault, `NotFound` for a rule that is not there, `Unavailable` while as many
/// replays run as may.
pub async fn prepare(cx: &OpContext, body: ReplayBody) -> Result<Prepared, Failure> {
    let grant = cx.authorize::<ReadRules>()?;
    cx.authorize::<ReadLogs>()?;
    let now = cx.now();
    let since = moment("/since", body.since.as_deref().unwrap_or(DEFAULT_PERIOD), now)?;
    let until = body.until.as_deref().map_or(Ok(now), |until| moment("/until", until, now))?;
    if since >= until {
        return Err(Failure::invalid("/since", "must be before the end of the period"));
    }
    let limit = body.limit.unwrap_or(DEFAULT_RECORDS);
    if !(1..=MOST_RECORDS).contains(&limit) {
        return Err(Failure::invalid("/limit", format!("must be 1 to {MOST_RECORDS}")));
    }
    let seconds = body.seconds.unwrap_or(DEFAULT_SECONDS);
    if !(1..=MOST_SECONDS).contains(&seconds) {
        return Err(Failure::invalid("/seconds", format!("must be 1 to {MOST_SECONDS}")));
    }
    let mut current = Vec::new();
    for rule in &cx.store().rules().list(&grant).await? {
        // A stored rule that cannot be read takes no part in either set; the banner of every page names it.
        if let Ok(spec) = spec_of(rule) {
            current.push(StoredRule { id: rule.id, precedence: rule.document.precedence, spec });
        }
    }
    let (draft, what) = drafted(&current, &body)?;
    let texts = current.iter().chain(&draft).flat_map(|rule| rule.spec.expressions().map(|(_, text)| text));
    let lists = lists_named_in(cx, texts).await?;
    check(&draft, &lists, &body)?;
    let compile = CompileOptions { extended_email_matching: extended_email_matching(cx).await? };
    let options = ReplayOptions {
        compile,
        inspection: cx.app.deps.snapshot.inspection(),
        meanings: Some(Arc::new(Today(cx.app.deps.snapshot.classifier()))),
        now,
    };
    let replay = Replay::new(&current, &draft, &lists, options);
    let room = Arc::clone(&cx.app.replays).try_acquire_owned().map_err(|_| Failure {
        retry_after: Some(5),
        ..Failure::new(Code::Unavailable, format!("{AT_ONCE} replays run already; try again when one has ended"))
    })?;
    let period = json!({"draft": what, "since": time(since), "until": time(until), "limit": limit});
    cx.record(Change::new(Verb::Replay, "gateway_rules", "replay").after(period)).await?;
    let feeds = [Dataset::GatewayHttp, Dataset::GatewayNetwork].map(|dataset| Feed::new(dataset, until));
    Ok(Prepared { replay, feeds, since, until, limit, within: Duration::from_secs(seconds), _room: room })
}

/// Replays, telling `progress` after each page. Dropping the future ends it.
///
/// # Errors
///
/// `Unavailable` when the log cannot be read.
pub async fn run(
    cx: &OpContext,
    prepared: Prepared,
    mut progress: impl FnMut(ReplayProgress) + Send,
) -> Result<ReplayView, Failure> {
    let Prepared { mut replay, mut feeds, since, until, mut limit, within, _room } = prepared;
    let started = Instant::now();
    let broken = |errors: &policy::RuleErrors| {
        let texts: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
        json!({"id": errors.id.to_string(), "name": errors.name, "errors": texts})
    };
    let broken_rules: Vec<Value> = replay.broken().iter().map(broken).collect();
    let mut stopped_by = None;
    // The dataset that is behind goes first, so that what was looked at reaches back to one moment.
    while let Some(feed) = feeds.iter_mut().filter(|feed| !feed.ended).max_by_key(|feed| feed.reached) {
        if limit == 0 || started.elapsed() >= within {
            stopped_by = Some(if limit == 0 { "limit" } else { "deadline" });
            break;
        }
        let rows = feed.next(cx, since, until, limit).await?;
        limit -= rows.len() as u64;
        let dataset = feed.dataset;
        // Comparing a page takes milliseconds of a core: not on a thread of the runtime.
        let compared = tokio::task::spawn_blocking(move || {
            for entry in &rows {
                if dataset == Dataset::GatewayHttp {
                    replay.web(&entry.fields)
                } else {
                    replay.connection(&entry.fields)
                }
            }
            replay
        });
        replay = compared.await.map_err(|error| Failure::internal("replay", &error))?;
        let records = replay.report_counts();
        let reached = reached(&feeds, since);
        progress(ReplayProgress {
            scanned: records.scanned,
            changed: records.changed,
            undecided: records.undecided,
            reached: time(reached),
            fraction: share(since, reached, until),
        });
    }
    Ok(ReplayView {
        since: time(since),
        until: time(until),
        complete: stopped_by.is_none(),
        stopped_by,
        reached: time(reached(&feeds, since)),
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        broken_rules,
        report: replay.report(),
    })
}

/// Back to when every feed has been read.
fn reached(feeds: &[Feed], since: Timestamp) -> Timestamp {
    feeds.iter().filter(|feed| !feed.ended).map(|feed| feed.reached).max().unwrap_or(since)
}

fn share(since: Timestamp, reached: Timestamp, until: Timestamp) -> f64 {
    let whole = until.duration_since(since).as_secs_f64();
    (until.duration_since(reached).as_secs_f64() / whole).clamp(0.0, 1.0)
}

/// One dataset, read newest first.
struct Feed {
    dataset: Dataset,
    before: Option<Cursor>,
    reached: Timestamp,
    ended: bool,
}

impl Feed {
    const fn new(dataset: Dataset, until: Timestamp) -> Self {
        Self { dataset, before: None, reached: until, ended: false }
    }

    async fn next(
        &mut self,
        cx: &OpContext,
        since: Timestamp,
        until: Timestamp,
        limit: u64,
    ) -> Result<Vec<Entry>, Failure> {
        let query = Query {
            since: Some(since),
            until: Some(until),
            limit: usize::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
            before: self.before,
            ..Query::newest(cx.account, self.dataset)
        };
        let page = cx.app.deps.logs.query(query).await.map_err(query_failed)?;
        self.before = page.next;
        self.ended = page.next.is_none();
        if let Some(last) = page.entries.last().and_then(at) {
            self.reached = self.reached.min(last);
        }
        Ok(page.entries)
    }
}

/// The time of a record, by which they are in order.
fn at(entry: &Entry) -> Option<Timestamp> {
    entry.fields.get("Datetime").and_then(Value::as_str)?.parse().ok()
}

/// Reads a time, or a duration before now.
fn moment(pointer: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let unit = match text.as_bytes().last() {
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        _ => return parse_time(pointer, text),
    };
    let number = text.get(..text.len() - 1).and_then(|digits| digits.parse::<i64>().ok());
    let before = number.filter(|number| (0..=5_000_000).contains(number)).map(|number| number * unit);
    let at = before.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    at.ok_or_else(|| Failure::invalid(pointer, "must be a time, or how long before now, as in 90m, 24h or 7d"))
}

/// Makes the draft of the rules, and says in a few words what it is.
fn drafted(current: &[StoredRule], body: &ReplayBody) -> Result<(Vec<StoredRule>, Value), Failure> {
    match (&body.rule, &body.rules, &body.change) {
        (Some(rule), None, None) => with_rule(current, rule),
        (None, Some(rules), None) => Ok((whole(current, rules)?, json!({"rules": rules.len()}))),
        (None, None, Some(change)) => with_change(current, change),
        _ => Err(Failure::invalid("", "name exactly one of rule, rules and change")),
    }
}

fn with_rule(current: &[StoredRule], draft: &Value) -> Result<(Vec<StoredRule>, Value), Failure> {
    let mut spec = RuleSpec::parse(draft).map_err(|errors| within(refused(&errors), "/rule"))?;
    // What an enabled rule would do is the question, while the draft is not.
    spec.enabled = Some(true);
    let id = named_id(draft).unwrap_or_else(|| RuleId(Uuid::new_v4()));
    let what = json!({"rule": spec.name, "rule_id": named_id(draft).map(|id| id.to_string())});
    let mut rules = current.to_vec();
    let place = rules.iter().position(|rule| rule.id == id);
    let last = rules.iter().map(|rule| rule.precedence).max().unwrap_or(0).saturating_add(1);
    let precedence = spec.precedence.or(place.map(|place| rules[place].precedence)).unwrap_or(last);
    let draft = StoredRule { id, precedence, spec };
    match place {
        Some(place) => rules[place] = draft,
        None => rules.push(draft),
    }
    Ok((rules, what))
}

/// A rule without an id that is written like a stored one is that one.
fn whole(current: &[StoredRule], drafts: &[Value]) -> Result<Vec<StoredRule>, Failure> {
    if drafts.len() > MOST_RULES {
        return Err(Failure::invalid("/rules", format!("a set has at most {MOST_RULES} rules")));
    }
    let mut rules: Vec<StoredRule> = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let spec = RuleSpec::parse(draft).map_err(|errors| within(refused(&errors), &format!("/rules/{index}")))?;
        let taken = |id: RuleId, rules: &[StoredRule]| rules.iter().any(|rule| rule.id == id);
        let alike = |rule: &&StoredRule| rule.spec.name == spec.name && !taken(rule.id, &rules);
        let id = named_id(draft).or_else(|| current.iter().find(alike).map(|rule| rule.id));
        if id.is_some_and(|id| taken(id, &rules)) {
            return Err(Failure::invalid(format!("/rules/{index}/id"), "is the id of another rule of the set"));
        }
        let place = i64::try_from(index).unwrap_or(i64::MAX);
        let precedence = spec.precedence.unwrap_or(place);
        rules.push(StoredRule { id: id.unwrap_or_else(|| RuleId(Uuid::new_v4())), precedence, spec });
    }
    Ok(rules)
}

fn with_change(current: &[StoredRule], change: &RuleChange) -> Result<(Vec<StoredRule>, Value), Failure> {
    let id: RuleId = change.rule_id.parse().map_err(|_| Failure::not_found("rule"))?;
    let mut rules = current.to_vec();
    let place = rules.iter().position(|rule| rule.id == id).ok_or_else(|| Failure::not_found("rule"))?;
    let word = match change.action {
        ChangeAction::Enable => {
            rules[place].spec.enabled = Some(true);
            "enable"
        }
        ChangeAction::Disable => {
            rules[place].spec.enabled = Some(false);
            "disable"
        }
        ChangeAction::Delete => {
            rules.remove(place);
            "delete"
        }
    };
    Ok((rules, json!({"change": word, "rule_id": id.to_string()})))
}

/// A draft must be a rule that could be stored; of what is stored already, faults are reported beside the result.
fn check(draft: &[StoredRule], lists: &HashMap<String, Arc<List>>, body: &ReplayBody) -> Result<(), Failure> {
    let fault = |rule: &StoredRule, prefix: &str| {
        policy::check(&rule.spec, lists).map(|_| ()).map_err(|errors| within(refused(&errors), prefix))
    };
    match (&body.rule, &body.rules) {
        (Some(document), _) => {
            let id = named_id(document);
            let rule = draft.iter().find(|rule| id.map_or_else(|| is_written_as(rule, document), |id| rule.id == id));
            rule.map_or(Ok(()), |rule| fault(rule, "/rule"))
        }
        (None, Some(_)) => {
            draft.iter().enumerate().try_for_each(|(index, rule)| fault(rule, &format!("/rules/{index}")))
        }
        (None, None) => Ok(()),
    }
}

fn is_written_as(rule: &StoredRule, document: &Value) -> bool {
    rule.spec.document().iter().all(|(member, value)| document.get(member) == Some(value))
}

fn named_id(draft: &Value) -> Option<RuleId> {
    draft.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        for (text, at) in [
            ("7d", "2026-11-21T12:00:00Z"),
            ("90m", "2026-11-28T10:30:00Z"),
            ("24h", "2026-11-27T12:00:00Z"),
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        ] {
            assert_eq!(moment("/since", text, now).unwrap(), at.parse().unwrap(), "{text}");
        }
        for bad in ["", "d", "-1d", "7w", "yesterday", "99999999999d"] {
            assert!(moment("/since", bad, now).is_err(), "{bad}");
        }
    }
}
