//! Endpoints of the library of applications: the catalogue, what the account says of it, category lists.
//!
//! Paths and members of `resource-library` are the reference's; statuses, scores, lists and editions are ours, since no
//! published API writes them.

use axum::http::{Method, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::json;
use store::Permission::{GatewayRead, GatewayWrite};
use types::{Code, ResultInfo};
use utoipa::ToSchema;

use super::failure::Failure;
use super::gate::{Cx, Input};
use super::reply::{Reply, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, Shape, endpoint};
use crate::operations::{applications, category_lists, editions};
use crate::paging::single;

/// Most bytes of an imported list, and of a data file.
const LIST_BYTES: usize = catalog::import::MOST_BYTES + 1;
const EDITION_BYTES: usize = 20 << 20;

const QUERY: &[(&str, &str)] = &[
    ("search", "part of a name or vendor, or a host; 2 to 200 characters"),
    ("status", "approved, unapproved, in review or unreviewed"),
    ("ai", "any, embedded, chat, code, image, voice, agents or api"),
    ("type", "the number of an application type"),
    ("order_by", "name, id or status"),
    ("limit", "1 to 250, 50 unless it says otherwise"),
    ("offset", "how many to leave out"),
];

/// A type of applications, as the library calls its categories.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LibraryCategory {
    pub(crate) id: String,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// How many applications it has.
    pub(crate) applications: usize,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = application_endpoints();
    all.extend(list_endpoints());
    all.extend(edition_endpoints());
    all
}

fn application_endpoints() -> Vec<Endpoint> {
    const ALL: &str = "/accounts/{account_id}/resource-library/applications";
    const ONE: &str = "/accounts/{account_id}/resource-library/applications/{application}";
    const CATEGORIES: &str = "/accounts/{account_id}/resource-library/categories";
    const LOOKUP: &str = "/accounts/{account_id}/portunus/catalog/lookup";
    const SCORES: &str = "/accounts/{account_id}/portunus/catalog/scores";
    vec![
        endpoint(Method::GET, ALL, Permission(GatewayRead), "List applications of the library", list)
            .lists::<applications::ApplicationView>(Paging::No)
            .query(QUERY),
        endpoint(Method::GET, ONE, Permission(GatewayRead), "Get an application by number or slug", get)
            .returns::<applications::ApplicationView>(),
        endpoint(Method::PATCH, ONE, Permission(GatewayWrite), "Set status, notes and evidence", patch)
            .takes_json::<applications::ReviewPatch>()
            .returns::<applications::ApplicationView>(),
        endpoint(Method::GET, CATEGORIES, Permission(GatewayRead), "List categories of the library", categories)
            .lists::<LibraryCategory>(Paging::Single),
        endpoint(Method::GET, LOOKUP, Permission(GatewayRead), "Say what a host belongs to", lookup)
            .returns::<applications::LookupView>()
            .query(&[("host", "the host")]),
        endpoint(Method::GET, SCORES, Permission(GatewayRead), "Export every score as CSV or JSON", scores)
            .returns_raw("text/csv")
            .query(&[("format", "csv or json; csv unless it says otherwise")]),
    ]
}

async fn list(cx: Cx) -> Reply {
    let query = applications::ApplicationQuery::parse(|name| cx.query(name))?;
    let found = applications::list(&cx.op, &query).await?;
    let info = ResultInfo {
        page: Some((query.offset / query.limit + 1) as u64),
        per_page: Some(query.limit as u64),
        count: Some(found.applications.len() as u64),
        total_count: Some(found.total as u64),
        ..ResultInfo::default()
    };
    page(found.applications, info)
}

async fn get(cx: Cx) -> Reply {
    ok(applications::get(&cx.op, cx.text("application")).await?)
}

async fn patch(cx: Cx, input: Input) -> Reply {
    ok(applications::patch(&cx.op, cx.text("application"), input.json()?).await?)
}

async fn categories(cx: Cx) -> Reply {
    applications::statistics(&cx.op)?;
    let classifier = cx.op.app.deps.snapshot.classifier();
    let all = classifier.catalog().applications();
    let categories = catalog::taxonomy::types().iter().map(|(id, name)| LibraryCategory {
        id: id.to_string(),
        name,
        description: "",
        applications: all.iter().filter(|application| application.kind == *id).count(),
    });
    ok(single(categories.collect::<Vec<_>>(), cx.query("page"))?)
}

async fn lookup(cx: Cx) -> Reply {
    ok(applications::lookup(&cx.op, cx.query("host").unwrap_or_default())?)
}

async fn scores(cx: Cx) -> Reply {
    match cx.query("format") {
        None | Some("csv") => {
            let text = applications::scores_csv(&applications::all_scores(&cx.op).await?);
            let disposition = "attachment; filename=\"application-scores.csv\"";
            let headers =
                [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)];
            Ok((headers, text).into_response())
        }
        Some("json") => ok(applications::all_scores(&cx.op).await?),
        Some(_) => Err(Failure::invalid("format", "must be csv or json")),
    }
}

fn list_endpoints() -> Vec<Endpoint> {
    const LISTS: &str = "/accounts/{account_id}/portunus/category_lists";
    const LIST: &str = "/accounts/{account_id}/portunus/category_lists/{category_list_id}";
    vec![
        endpoint(Method::GET, LISTS, Permission(GatewayRead), "List category lists", list_lists)
            .lists::<category_lists::CategoryListView>(Paging::Single),
        endpoint(
            Method::PUT,
            LISTS,
            Permission(GatewayWrite),
            "Import a list of domains into a category; one of the same name is replaced",
            import_list,
        )
        .takes(Shape::Raw("text/plain"))
        .returns::<category_lists::CategoryListView>()
        .query(&[
            ("name", "what to call it"),
            ("category", "a category's number or name"),
            ("format", "hosts, domains, ut1 or adblock; guessed when absent"),
        ])
        .body_limit(LIST_BYTES),
        endpoint(Method::DELETE, LIST, Permission(GatewayWrite), "Delete a category list", delete_list),
    ]
}

async fn list_lists(cx: Cx) -> Reply {
    ok(single(category_lists::list(&cx.op).await?, cx.query("page"))?)
}

async fn import_list(cx: Cx, input: Input) -> Reply {
    let import = category_lists::Import {
        name: cx.query("name").unwrap_or_default(),
        category: cx.query("category").unwrap_or_default(),
        format: cx.query("format"),
        text: text(&input)?,
    };
    ok(category_lists::import(&cx.op, import).await?)
}

async fn delete_list(cx: Cx) -> Reply {
    category_lists::delete(&cx.op, cx.id("category_list_id", "category list")?).await?;
    ok(json!({}))
}

fn text(input: &Input) -> Result<&str, Failure> {
    std::str::from_utf8(input.bytes()).map_err(|_| Failure::new(Code::InvalidInput, "the body must be text in UTF-8"))
}

fn edition_endpoints() -> Vec<Endpoint> {
    const EDITION: &str = "/accounts/{account_id}/portunus/catalog/edition";
    vec![
        endpoint(Method::GET, EDITION, Permission(GatewayRead), "Get the edition of the catalogue", get_edition)
            .returns::<editions::EditionView>(),
        endpoint(Method::PUT, EDITION, Permission(GatewayWrite), "Use a newer data file", put_edition)
            .takes(Shape::Raw("application/jsonl"))
            .returns::<editions::EditionView>()
            .query(&[("dry_run", "true: say what would change, and change nothing")])
            .body_limit(EDITION_BYTES),
        endpoint(Method::DELETE, EDITION, Permission(GatewayWrite), "Use the edition that ships", reset_edition)
            .returns::<editions::EditionView>(),
    ]
}

async fn get_edition(cx: Cx) -> Reply {
    ok(editions::get(&cx.op).await?)
}

async fn put_edition(cx: Cx, input: Input) -> Reply {
    ok(editions::replace(&cx.op, text(&input)?, cx.query("dry_run") == Some("true")).await?)
}

async fn reset_edition(cx: Cx) -> Reply {
    ok(editions::reset(&cx.op).await?)
}
