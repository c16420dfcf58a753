//! The weekly letter about what is used: who gets it, and what it says.
//!
//! Sending is the outbox's. Invariant: the letter says nothing that the page about usage does not say, and names no person.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Only, ReadLogs, UsageDigest, WriteLogs};
use utoipa::ToSchema;

use super::people::read_email;
use super::usage::{self, ApplicationUsage, Source, UsageQuery, UsageView};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Most who get it.
pub const MOST: usize = 50;
/// Lines of a list in it.
const LINES: usize = 10;

/// Who gets the letter, and the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DigestView {
    pub recipients: Vec<String>,
    /// The last day of the week that was written about last.
    pub written_up_to: Option<String>,
}

/// Who is to get the letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestBody {
    /// Addresses, at most 50; none: no letter is written.
    pub recipients: Vec<String>,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LetterView {
    pub subject: String,
    pub text: String,
}

fn view(stored: UsageDigest) -> DigestView {
    DigestView { recipients: stored.recipients, written_up_to: stored.written_up_to }
}

/// Returns who gets it.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<DigestView, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let stored = cx.store().usage_digest().get(&grant, &Only).await?;
    Ok(view(stored.map(|stored| stored.document).unwrap_or_default()))
}

/// Says who gets it from now on.
///
/// # Errors
///
/// A [`Failure`] that points at the address at fault.
pub async fn replace(cx: &OpContext, body: DigestBody) -> Result<DigestView, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let mut problems = Vec::new();
    if body.recipients.len() > MOST {
        let message = format!("is limited to {MOST} addresses");
        problems.push(Problem { pointer: Some("/recipients".to_owned()), message });
    }
    let mut recipients = BTreeSet::new();
    for (index, text) in body.recipients.iter().enumerate().take(MOST) {
        match read_email(&format!("/recipients/{index}"), text) {
            Ok(email) => drop(recipients.insert(email.to_string())),
            Err(failure) => problems.extend(failure.problems),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::invalid_many(problems));
    }
    let stored = cx.store().usage_digest().get(&grant, &Only).await?;
    let revision = stored.as_ref().map(|stored| stored.revision);
    let before = stored.map(|stored| stored.document).unwrap_or_default();
    let recipients = recipients.into_iter().collect();
    let new = UsageDigest { recipients, written_up_to: before.written_up_to.clone() };
    // What the platform notes meanwhile must not be taken back: a week would be written about twice.
    match revision {
        Some(revision) => cx.store().usage_digest().replace(&grant, Only, new.clone(), Some(revision)).await?,
        None => cx.store().usage_digest().create(&grant, Only, new.clone()).await?,
    };
    let said = |digest: &UsageDigest| json!({ "recipients": digest.recipients });
    cx.record(Change::new(Verb::Update, "usage_digest", "only").before(said(&before)).after(said(&new))).await?;
    Ok(view(new))
}

/// Writes the letter about the last whole week, as it would be sent.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn preview(cx: &OpContext) -> Result<LetterView, Failure> {
    let last = last_day(cx.now());
    let view = usage::overview_at(cx, end_of(last)?, &query()).await?;
    Ok(letter(&view, &cx.app.deps.addresses.console_url))
}

/// Returns the last day of the last week that is over: a Sunday, in UTC.
#[must_use]
pub fn last_day(now: Timestamp) -> Date {
    let today = now.to_zoned(TimeZone::UTC).date();
    today.saturating_sub(i64::from(today.weekday().to_monday_one_offset()).days())
}

fn end_of(day: Date) -> Result<Timestamp, Failure> {
    let end = day.at(23, 59, 59, 0).to_zoned(TimeZone::UTC).map_err(|error| Failure::internal("calendar", &error))?;
    Ok(end.timestamp())
}

fn query() -> UsageQuery {
    let mut query = UsageQuery { days: 7, ..UsageQuery::default() };
    query.which.limit = usize::MAX;
    query
}

/// Writes the letter about the week that ends with a day, for the platform itself.
///
/// # Errors
///
/// A [`Failure`] when the log cannot be read.
pub async fn of_week(source: Source<'_>, last: Date, console_url: &str) -> Result<LetterView, Failure> {
    let source = Source { now: end_of(last)?, ..source };
    Ok(letter(&usage::told(source, &query()).await?, console_url))
}

/// One paragraph of the letter: a heading and lines.
struct Part {
    heading: String,
    lines: Vec<String>,
}

/// Writes the letter.
#[must_use]
pub fn letter(view: &UsageView, console_url: &str) -> LetterView {
    let (from, to) = (view.period.from, view.period.to);
    let subject = match view.new_applications {
        0 => format!("What was used from {from} to {to}"),
        1 => format!("What was used from {from} to {to}: 1 new application"),
        new => format!("What was used from {from} to {to}: {new} new applications"),
    };
    let parts = parts(view);
    let link = format!("{console_url}/usage?days=7");
    let mut text = String::new();
    for part in &parts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", part.heading);
        for line in &part.lines {
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "More: {link}");
    LetterView { subject, text }
}

fn parts(view: &UsageView) -> Vec<Part> {
    let compared = |now: u64, before: u64| match (view.comparable, before) {
        (true, 1..) => format!("{now} ({before} the week before)"),
        _ => now.to_string(),
    };
    let (now, before) = (&view.total, &view.total_before);
    let mut parts = vec![Part {
        heading: "In short".to_owned(),
        lines: vec![
            format!("People: {}", compared(now.people.unwrap_or_default(), before.people.unwrap_or_default())),
            format!("Applications: {}", view.total_applications),
            format!("Requests: {}, blocked: {}", compared(now.requests, before.requests), now.blocked),
            format!("Uploads: {}", compared(now.uploads, before.uploads)),
        ],
    }];
    let mut list = |heading: &str, of: &mut dyn Iterator<Item = &ApplicationUsage>| {
        let all: Vec<_> = of.collect();
        if all.is_empty() {
            return;
        }
        let mut lines: Vec<String> = all.iter().take(LINES).map(|application| line(application)).collect();
        if all.len() > LINES {
            lines.push(format!("and {} more", all.len() - LINES));
        }
        parts.push(Part { heading: heading.to_owned(), lines });
    };
    let all = || view.applications.iter().filter(|application| application.id != 0);
    list("New", &mut all().filter(|application| application.new));
    list("In use although unapproved", &mut all().filter(|application| application.status == "unapproved"));
    list(
        "Artificial intelligence that nobody has reviewed",
        &mut all().filter(|application| application.status == "unreviewed" && !application.ai.is_empty()),
    );
    if view.comparable {
        list("Growing most", &mut view.growing.iter());
    }
    parts
}

fn line(application: &ApplicationUsage) -> String {
    let people = application.usage.people.unwrap_or_default();
    let requests = application.usage.requests;
    let people = if people == 1 { "1 person".to_owned() } else { format!("{people} people") };
    let requests = if requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") };
    format!("{}: {people}, {requests}", application.name)
}
