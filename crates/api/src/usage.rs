//! Endpoints of what is really used: applications, people and groups by traffic.
//!
//! Ours: no published API tells it. Answers come from rollups and say up to when they count.

use axum::http::Method;
use store::Permission::{GatewayRead, LogsRead, LogsWrite};

use super::failure::Failure;
use super::gate::{Cx, Input};
use super::reply::{Reply, ok};
use super::table::Access::Permission;
use super::table::{Endpoint, endpoint};
use crate::operations::digest;
use crate::operations::findings;
use crate::operations::usage::{self, Subject, UsageQuery};

const APPLICATIONS: &str = "/accounts/{account_id}/portunus/usage/applications";
const APPLICATION: &str = "/accounts/{account_id}/portunus/usage/applications/{application}";
const RULE: &str = "/accounts/{account_id}/portunus/usage/applications/{application}/rule";
const DIGEST: &str = "/accounts/{account_id}/portunus/usage/digest";
const LETTER: &str = "/accounts/{account_id}/portunus/usage/digest/letter";
const PEOPLE: &str = "/accounts/{account_id}/portunus/usage/people";
const PERSON: &str = "/accounts/{account_id}/portunus/usage/people/{person}";
const GROUPS: &str = "/accounts/{account_id}/portunus/usage/groups";
const GROUP: &str = "/accounts/{account_id}/portunus/usage/groups/{group}";

const DAYS: (&str, &str) = ("days", "1, 7, 30 or 90, this day among them; 30 unless it says otherwise");
const SEARCH: (&str, &str) = ("search", "a part of the name");
const LIMIT: (&str, &str) = ("limit", "1 to 250, 50 unless it says otherwise");
const QUERY: &[(&str, &str)] = &[
    DAYS,
    ("search", "part of a name or vendor, or a host; 2 to 200 characters"),
    ("status", "approved, unapproved, in review or unreviewed"),
    ("ai", "any, embedded, chat, code, image, voice, agents or api"),
    ("type", "the number of an application type"),
    ("new", "true for those that nobody used before"),
    ("order_by", "people, requests, bytes_sent, bytes_received, uploads, messages, growth or name"),
    LIMIT,
    ("offset", "how many to leave out"),
];

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, APPLICATIONS, Permission(LogsRead), "Tell which applications are used", applications)
            .returns::<usage::UsageView>()
            .query(QUERY),
        endpoint(Method::GET, APPLICATION, Permission(LogsRead), "Tell how an application is used", application)
            .returns::<usage::ApplicationUsageView>()
            .query(&[DAYS]),
        endpoint(Method::GET, RULE, Permission(GatewayRead), "Draft the rule that follows from a finding", rule)
            .returns::<serde_json::Value>()
            .query(&[("finding", "block, redirect, coach, uploads or log")]),
        endpoint(Method::GET, DIGEST, Permission(LogsRead), "Tell who gets the weekly letter", recipients)
            .returns::<digest::DigestView>(),
        endpoint(Method::PUT, DIGEST, Permission(LogsWrite), "Say who gets the weekly letter", set_recipients)
            .takes_json::<digest::DigestBody>()
            .returns::<digest::DigestView>(),
        endpoint(Method::GET, LETTER, Permission(LogsRead), "Write the letter about the last whole week", letter)
            .returns::<digest::LetterView>(),
        endpoint(Method::GET, PEOPLE, Permission(LogsRead), "List people by their traffic", people)
            .returns::<usage::SubjectsView>()
            .query(&[DAYS, SEARCH, LIMIT]),
        endpoint(Method::GET, PERSON, Permission(LogsRead), "Tell what a person uses", person)
            .returns::<usage::SubjectUsageView>()
            .query(&[DAYS]),
        endpoint(Method::GET, GROUPS, Permission(LogsRead), "List groups by their traffic", groups)
            .returns::<usage::SubjectsView>()
            .query(&[DAYS, SEARCH, LIMIT]),
        endpoint(Method::GET, GROUP, Permission(LogsRead), "Tell what a group uses", group)
            .returns::<usage::SubjectUsageView>()
            .query(&[DAYS]),
    ]
}

async fn applications(cx: Cx) -> Reply {
    let query = UsageQuery::parse(|name| cx.query(name))?;
    ok(usage::overview(&cx.op, &query).await?)
}

async fn application(cx: Cx) -> Reply {
    ok(usage::application(&cx.op, cx.text("application"), usage::days(cx.query("days"))?).await?)
}

async fn recipients(cx: Cx) -> Reply {
    ok(digest::get(&cx.op).await?)
}

async fn set_recipients(cx: Cx, input: Input) -> Reply {
    ok(digest::replace(&cx.op, input.json()?).await?)
}

async fn letter(cx: Cx) -> Reply {
    ok(digest::preview(&cx.op).await?)
}

async fn rule(cx: Cx) -> Reply {
    ok(findings::draft(&cx.op, cx.query("finding").unwrap_or_default(), cx.text("application")).await?)
}

async fn people(cx: Cx) -> Reply {
    subjects(&cx, Subject::Person).await
}

async fn groups(cx: Cx) -> Reply {
    subjects(&cx, Subject::Group).await
}

async fn subjects(cx: &Cx, subject: Subject) -> Reply {
    let days = usage::days(cx.query("days"))?;
    let limit = match cx.query("limit") {
        None => 50,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=usage::MOST).contains(limit))
            .ok_or_else(|| Failure::invalid("limit", format!("must be a number from 1 to {}", usage::MOST)))?,
    };
    ok(usage::subjects(&cx.op, subject, days, cx.query("search").unwrap_or_default(), limit).await?)
}

async fn person(cx: Cx) -> Reply {
    subject(&cx, Subject::Person, "person").await
}

async fn group(cx: Cx) -> Reply {
    subject(&cx, Subject::Group, "group").await
}

/// Who was not seen in the period, nor in the one before, is not there as far as usage goes.
async fn subject(cx: &Cx, subject: Subject, name: &'static str) -> Reply {
    let view = usage::subject(&cx.op, subject, cx.text(name), usage::days(cx.query("days"))?).await?;
    if view.total.requests == 0 && view.total_before.requests == 0 {
        return Err(Failure::not_found(name));
    }
    ok(view)
}
