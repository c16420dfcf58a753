//! Sign-ins as v4 clients read them (reference section 11): the vendor's filters and field names over the records of
//! `access_requests`.
//!
//! Requests that were refused and proofs of second factors are in the dataset too and have no place in this shape; the
//! endpoints of the dataset show them. Invariant: a filter that is not understood is refused, never left out.

use logs::{Dataset, Filter, Operator, Query};
use serde_json::{Map, Value, json};
use store::ReadLogs;
use types::{Code, ResultInfo};

use super::AccessView;
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::logs::query_failed;
use crate::operations::parse_time;

/// Most records one call looks through, so that far pages and the oldest first have a bound.
const MOST: usize = 10_000;
/// Records of one read of the journal.
const READ: usize = 1_000;

/// The vendor's filters: the parameter with the value, the one with the operator, the field.
const FILTERS: [(&str, &str, &str); 6] = [
    ("email", "emailOp", "Email"),
    ("allowed", "allowedOp", "Allowed"),
    ("app_uid", "app_uidOp", "AppUUID"),
    ("country_code", "country_codeOp", "Country"),
    ("idp", "idpOp", "Connection"),
    ("user_id", "user_idOp", "UserUID"),
];

struct Asked {
    query: Query,
    oldest_first: bool,
    page: usize,
    per_page: usize,
    /// Empty: all of them.
    members: Vec<String>,
    /// No login can fit.
    impossible: bool,
}

fn wrong(name: &str, what: &str) -> Failure {
    Failure::new(Code::InvalidInput, format!("query parameter \"{name}\" must be {what}"))
}

/// Returns a page of sign-ins and sign-outs.
///
/// # Errors
///
/// A [`Failure`] that names the parameter at fault.
pub async fn page(cx: &OpContext, parameters: &[(String, String)]) -> Result<(Vec<AccessView>, ResultInfo), Failure> {
    cx.authorize::<ReadLogs>()?;
    let asked = read(cx, parameters)?;
    let skipped = (asked.page - 1).saturating_mul(asked.per_page);
    let wanted = skipped.saturating_add(asked.per_page);
    if wanted > MOST {
        return Err(wrong("page", "nearer: narrow the times with since and until"));
    }
    let mut found = Vec::new();
    if !asked.impossible {
        let mut query = asked.query;
        let most = if asked.oldest_first { MOST + 1 } else { wanted };
        loop {
            query.limit = READ.min(most - found.len());
            let page = cx.app.deps.logs.query(query.clone()).await.map_err(query_failed)?;
            found.extend(page.entries.into_iter().map(|entry| entry.fields));
            match page.next {
                Some(next) if found.len() < most => query.before = Some(next),
                _ => break,
            }
        }
    }
    if asked.oldest_first {
        if found.len() > MOST {
            return Err(wrong("direction", "desc where there is so much: narrow the times with since and until"));
        }
        found.reverse();
    }
    let views: Vec<_> =
        found.iter().skip(skipped).take(asked.per_page).map(|record| login_view(record, &asked.members)).collect();
    let info = ResultInfo {
        page: Some(asked.page as u64),
        per_page: Some(asked.per_page as u64),
        count: Some(views.len() as u64),
        ..ResultInfo::default()
    };
    Ok((views, info))
}

fn read(cx: &OpContext, parameters: &[(String, String)]) -> Result<Asked, Failure> {
    let sent = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let given = |name: &str| sent(name).filter(|value| !value.is_empty());
    let mut query = Query::newest(cx.account, Dataset::AccessRequests);
    // The shape has two acts.
    query.filters = ["request", "mfa"].map(|act| filter("Action", Operator::NotEqual, act.into())).to_vec();
    for (name, place) in [("since", &mut query.since), ("until", &mut query.until)] {
        if let Some(text) = given(name) {
            *place = Some(parse_time("", text).map_err(|_| wrong(name, "a time such as 2026-01-02T03:04:05Z"))?);
        }
    }
    for (name, word, field) in FILTERS {
        let exact = name == "email" && given("email_exact") == Some("true");
        let Some(value) = given(name) else { continue };
        let operator = match given(word) {
            Some("eq") => Operator::Equal,
            Some("neq") => Operator::NotEqual,
            Some("contains") if name == "email" => Operator::Contains,
            // Addresses are found by their parts unless the caller says otherwise.
            None if name == "email" && !exact => Operator::Contains,
            None => Operator::Equal,
            Some(_) => return Err(wrong(word, "eq, neq or, for email, contains")),
        };
        let value = match name {
            "allowed" => Value::Bool(value.parse().map_err(|_| wrong(name, "true or false"))?),
            "email" => value.to_lowercase().into(),
            _ => value.into(),
        };
        query.filters.push(filter(field, operator, value));
    }
    if let Some(id) = given("ray_id") {
        let operator = equality(given("ray_idOp"), "ray_idOp")?;
        query.filters.push(filter("RayID", operator, id.into()));
    }
    let mut impossible = false;
    // Web applications alone are signed in to.
    if let Some(kind) = given("app_type") {
        impossible |= (kind == "self_hosted") != (equality(given("app_typeOp"), "app_typeOp")? == Operator::Equal);
    }
    // Programs do not sign in.
    if let Some(word) = given("non_identity") {
        let programs: bool = word.parse().map_err(|_| wrong("non_identity", "true or false"))?;
        impossible |= programs == (equality(given("non_identityOp"), "non_identityOp")? == Operator::Equal);
    }
    let oldest_first = match given("direction") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(wrong("direction", "asc or desc")),
    };
    let number = |name: &str, most: usize| match given(name) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(name, &format!("1 to {most}"))),
        },
    };
    let limit = number("limit", READ)?;
    let per_page = number("per_page", READ)?.or(limit).unwrap_or(25);
    let members = given("fields").map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    Ok(Asked {
        query,
        oldest_first,
        page: number("page", MOST)?.unwrap_or(1),
        per_page,
        members: members.unwrap_or_default(),
        impossible,
    })
}

fn equality(word: Option<&str>, name: &str) -> Result<Operator, Failure> {
    match word {
        None | Some("eq") => Ok(Operator::Equal),
        Some("neq") => Ok(Operator::NotEqual),
        Some(_) => Err(wrong(name, "eq or neq")),
    }
}

fn filter(field: &str, operator: Operator, value: Value) -> Filter {
    Filter { field: field.to_owned(), operator, value }
}

fn login_view(record: &Map<String, Value>, members: &[String]) -> AccessView {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let view = json!({
        "action": text("Action"),
        "allowed": record.get("Allowed").and_then(Value::as_bool).unwrap_or(false),
        "app_domain": text("AppDomain"),
        "app_name": text("AppName"),
        "app_type": "self_hosted",
        "app_uid": text("AppUUID"),
        "connection": text("Connection"),
        "country": text("Country"),
        "created_at": text("CreatedAt"),
        "ip_address": text("IPAddress"),
        "purpose_justification_prompt": text("PurposeJustificationPrompt"),
        "purpose_justification_response": text("PurposeJustificationResponse"),
        "ray_id": text("RayID"),
        "user_email": text("Email"),
        "user_id": text("UserUID"),
    });
    let mut view = super::members(&view);
    view.retain(|name, value| {
        let has_text = !value.as_str().is_some_and(str::is_empty) || !name.starts_with("purpose_");
        has_text && (members.is_empty() || members.contains(name))
    });
    AccessView(view)
}
