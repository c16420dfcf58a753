//! The library of applications: what the catalogue says, what the account says of it, and the scores of both.
//!
//! Applications come from the catalogue in force, reviews from the store, so that what was just saved is what is shown.
//! Invariants: a status changes no traffic by itself; every change of a review is audited; a listing is bounded.

use std::collections::HashMap;

use catalog::catalog::{Statistics, normalise};
use catalog::review::Review;
use catalog::score::{self, Evidence, Rubric, Score, is_date};
use catalog::taxonomy::{category_name, type_name};
use catalog::{AiKind, Application, Catalog, Role, Row, Status};
use policy::{FactsDocument, Hook, RuleSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{CatalogId, CatalogReview, Grant, ReadGateway, Store, StoreError, Stored, WriteGateway};
use utoipa::ToSchema;

use super::catalog::edition_time;
use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Most applications of one page.
pub const MOST: usize = 250;
/// Longest notes, in characters.
const LONGEST_NOTES: usize = 10_000;

/// An application, as `resource-library/applications` shows it (reference section 8.5).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ApplicationView {
    /// The number that `app.ids` compares.
    pub id: String,
    pub human_id: String,
    pub name: String,
    pub application_type: String,
    pub application_type_description: String,
    pub category_id: String,
    pub application_source: String,
    /// 0 to 5, what is certain of it; -1 while less than half is known.
    pub application_confidence_score: f64,
    /// 0 to 5; -1 when less than half is known or there is no artificial intelligence.
    pub gen_ai_score: f64,
    /// Both rubrics with each fact, its evidence, and what is certain and possible, in hundredths of a point.
    #[schema(value_type = Object)]
    pub application_score_composition: Value,
    pub hostnames: Vec<String>,
    pub support_domains: Vec<String>,
    pub ip_subnets: Vec<String>,
    pub port_protocols: Vec<String>,
    pub supported: Vec<&'static str>,
    /// The edition of the catalogue.
    pub version: String,
    pub created_at: String,
    pub updated_at: String,
    pub portunus: ApplicationExtension,
}

/// What is ours about an application.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ApplicationExtension {
    /// `approved`, `unapproved`, `in review` or `unreviewed`
    pub status: &'static str,
    pub notes: String,
    pub owner: String,
    pub review_date: Option<String>,
    pub reviewed_at: Option<String>,
    pub vendor: Option<String>,
    pub country: Option<String>,
    /// The application type that `app.type.ids` compares.
    pub type_id: u32,
    /// `chat`, `code`, `image`, `voice`, `agents`, `api`
    pub ai: Vec<&'static str>,
    /// Artificial intelligence is one feature among others.
    pub embedded_ai: bool,
    pub content_category: u32,
    pub content_category_name: String,
    pub excluded_hostnames: Vec<String>,
    pub sources: Vec<String>,
    /// Both scores in words: a range while facts are missing.
    pub score: String,
    pub gen_ai_score: Option<String>,
}

/// Which applications to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplicationQuery {
    /// Part of a name or vendor, or a host.
    pub search: Option<String>,
    pub status: Option<Status>,
    pub ai: Option<AiFilter>,
    /// An application type.
    pub kind: Option<u32>,
    pub order: Order,
    pub limit: usize,
    pub offset: usize,
}

/// What is asked about artificial intelligence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AiFilter {
    /// Applications of artificial intelligence.
    Any,
    /// Those that do this, whatever else they are.
    Kind(AiKind),
    /// Others that have some.
    Embedded,
}

impl AiFilter {
    /// Finds a filter by its word: `any`, `embedded` or a kind.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Any),
            "embedded" => Some(Self::Embedded),
            kind => AiKind::named(kind).map(Self::Kind),
        }
    }
}

/// In which order applications are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Name,
    Id,
    /// What waits for somebody first.
    Status,
}

impl ApplicationQuery {
    /// Reads the parameters of an address: `search`, `status`, `ai`, `type`, `order_by`, `limit`, `offset`.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that names the parameter at fault.
    pub fn parse<'a>(mut get: impl FnMut(&str) -> Option<&'a str>) -> Result<Self, Failure> {
        let wrong = |name: &str, message: &str| Failure::invalid(name, message.to_owned());
        let search = get("search").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        if search.as_ref().is_some_and(|text| !(2..=200).contains(&text.chars().count())) {
            return Err(wrong("search", "must have 2 to 200 characters"));
        }
        let statuses = "must be approved, unapproved, in review or unreviewed";
        let status =
            get("status").map(|word| Status::named(word).ok_or_else(|| wrong("status", statuses))).transpose()?;
        let kinds = "must be any, embedded, chat, code, image, voice, agents or api";
        let ai = get("ai").map(|word| AiFilter::named(word).ok_or_else(|| wrong("ai", kinds))).transpose()?;
        let known = |text: &str| text.parse().ok().filter(|id| type_name(*id).is_some());
        let kind = get("type")
            .map(|text| known(text).ok_or_else(|| wrong("type", "must be the number of an application type")))
            .transpose()?;
        let order = match get("order_by") {
            None | Some("name") => Order::Name,
            Some("id") => Order::Id,
            Some("status") => Order::Status,
            Some(_) => return Err(wrong("order_by", "must be name, id or status")),
        };
        let mut number = |name: &str, fallback: usize, most: usize| match get(name) {
            None => Ok(fallback),
            Some(text) => {
                let number = text.parse().ok().filter(|number| *number <= most);
                number.ok_or_else(|| wrong(name, &format!("must be a number up to {most}")))
            }
        };
        let limit = number("limit", 50, MOST)?.max(1);
        let offset = number("offset", 0, 1_000_000)?;
        Ok(Self { search, status, ai, kind, order, limit, offset })
    }
}

/// A page of applications.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplicationPage {
    pub applications: Vec<ApplicationView>,
    /// How many fit the query.
    pub total: usize,
}

/// What the account says of applications, by their numbers.
pub type Reviews = HashMap<u32, Stored<CatalogReview>>;

pub(super) async fn reviews(cx: &OpContext) -> Result<Reviews, Failure> {
    Ok(stored_reviews(cx.store(), &cx.authorize::<ReadGateway>()?).await?)
}

/// Reads what the account says of applications.
///
/// # Errors
///
/// The store does not answer.
pub async fn stored_reviews(store: &Store, grant: &Grant<ReadGateway>) -> Result<Reviews, StoreError> {
    let all = store.catalog_reviews().list(grant).await?;
    Ok(all.into_iter().map(|review| (review.id.0, review)).collect())
}

pub(super) fn status_of(reviews: &Reviews, id: u32) -> Status {
    reviews.get(&id).map_or(Status::Unreviewed, |review| review.document.0.status)
}

/// Lists applications.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext, query: &ApplicationQuery) -> Result<ApplicationPage, Failure> {
    let reviews = reviews(cx).await?;
    let classifier = cx.app.deps.snapshot.classifier();
    let catalog = classifier.catalog();
    let mut found = matching(catalog, &reviews, query);
    let name = |application: &Application| application.name.to_lowercase();
    match query.order {
        Order::Id => {}
        Order::Name => found.sort_by_cached_key(|application| name(application)),
        Order::Status => found.sort_by_cached_key(|application| {
            let place = match status_of(&reviews, application.id) {
                Status::InReview => 0,
                Status::Unapproved => 1,
                Status::Approved => 2,
                Status::Unreviewed => 3,
            };
            (place, name(application))
        }),
    }
    let total = found.len();
    let page = found.into_iter().skip(query.offset).take(query.limit);
    let applications = page.map(|application| view(catalog, application, reviews.get(&application.id))).collect();
    Ok(ApplicationPage { applications, total })
}

pub(super) fn matching<'c>(catalog: &'c Catalog, reviews: &Reviews, query: &ApplicationQuery) -> Vec<&'c Application> {
    let words = query.search.as_ref().map(|text| text.to_lowercase());
    let by_host =
        query.search.as_ref().and_then(|text| catalog.find(&normalise(text))).map(|found| found.application.id);
    let named = |application: &Application| {
        words.as_ref().is_none_or(|words| {
            by_host == Some(application.id)
                || application.name.to_lowercase().contains(words)
                || application.slug.contains(words.as_str())
                || application.vendor.as_ref().is_some_and(|vendor| vendor.to_lowercase().contains(words))
        })
    };
    let ai = |application: &Application| match query.ai {
        None => true,
        Some(AiFilter::Any) => application.is_ai(),
        Some(AiFilter::Embedded) => !application.is_ai() && application.embedded,
        Some(AiFilter::Kind(kind)) => application.ai().any(|own| own == kind),
    };
    catalog
        .applications()
        .iter()
        .filter(|application| query.kind.is_none_or(|kind| kind == application.kind))
        .filter(|application| ai(application))
        .filter(|application| query.status.is_none_or(|status| status == status_of(reviews, application.id)))
        .filter(|application| named(application))
        .collect()
}

pub(super) fn find<'c>(catalog: &'c Catalog, text: &str) -> Result<&'c Application, Failure> {
    let by_id = text.parse().ok().and_then(|id| catalog.by_id(id));
    by_id.or_else(|| catalog.by_slug(text)).ok_or_else(|| Failure::not_found("application"))
}

/// Returns one application by its number or its slug.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: &str) -> Result<ApplicationView, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    let classifier = cx.app.deps.snapshot.classifier();
    let application = find(classifier.catalog(), id)?;
    let review = cx.store().catalog_reviews().get(&grant, &CatalogId(application.id)).await?;
    Ok(view(classifier.catalog(), application, review.as_ref()))
}

fn view(catalog: &Catalog, application: &Application, review: Option<&Stored<CatalogReview>>) -> ApplicationView {
    let row = catalog.row(application);
    let nothing = Review::default();
    let said = review.map_or(&nothing, |review| &review.document.0);
    let (posture, gen_ai) = scores(&row, said);
    let created = edition_time(&catalog.header().version);
    ApplicationView {
        id: application.id.to_string(),
        human_id: row.slug,
        name: row.name,
        application_type: type_name(row.kind).unwrap_or_default().to_owned(),
        application_type_description: String::new(),
        category_id: row.kind.to_string(),
        application_source: "portunus".to_owned(),
        application_confidence_score: posture.number(),
        gen_ai_score: gen_ai.as_ref().map_or(-1.0, Score::number),
        application_score_composition: json!({"application": posture, "gen_ai": gen_ai}),
        hostnames: row.hosts,
        support_domains: row.support,
        ip_subnets: Vec::new(),
        port_protocols: Vec::new(),
        supported: vec!["GATEWAY"],
        version: catalog.header().version.clone(),
        updated_at: review.map_or_else(|| created.clone(), |review| time(review.updated_at)),
        created_at: created,
        portunus: ApplicationExtension {
            status: said.status.as_str(),
            notes: said.notes.clone(),
            owner: said.owner.clone(),
            review_date: said.review_date.clone(),
            reviewed_at: review.map(|review| time(review.updated_at)),
            vendor: row.vendor,
            country: row.country,
            type_id: row.kind,
            ai: row.ai.iter().map(|kind| kind.as_str()).collect(),
            embedded_ai: row.embedded,
            content_category: row.category,
            content_category_name: category_name(row.category).unwrap_or_default().to_owned(),
            excluded_hostnames: row.exclude,
            sources: row.sources,
            score: posture.shown(),
            gen_ai_score: gen_ai.as_ref().map(Score::shown),
        },
    }
}

/// The score of an application, and that of its artificial intelligence if it has any.
fn scores(row: &Row, said: &Review) -> (Score, Option<Score>) {
    let gen_ai = (!row.ai.is_empty()).then(|| score::score(Rubric::GenAi, row, &said.evidence));
    (score::score(Rubric::Application, row, &said.evidence), gen_ai)
}

/// What to change about the account's view of an application; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewPatch {
    /// `approved`, `unapproved`, `in review` or `unreviewed`
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub status: Option<Status>,
    #[serde(default)]
    pub notes: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    /// A date; empty to have none.
    #[serde(default)]
    pub review_date: Option<String>,
    /// Every fact the account knows, in place of those it knew.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub evidence: Option<Vec<Evidence>>,
}

/// Changes the account's view of an application.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault; `Conflict` when somebody else changed it at the same time.
pub async fn patch(cx: &OpContext, id: &str, patch: ReviewPatch) -> Result<ApplicationView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let classifier = cx.app.deps.snapshot.classifier();
    let application = find(classifier.catalog(), id)?;
    let problems = check(&patch);
    if !problems.is_empty() {
        return Err(Failure::invalid_many(problems));
    }
    let key = CatalogId(application.id);
    let before = cx.store().catalog_reviews().get(&grant, &key).await?;
    let mut review = before.as_ref().map(|stored| stored.document.0.clone()).unwrap_or_default();
    let old = review.clone();
    if let Some(status) = patch.status {
        review.status = status;
    }
    if let Some(notes) = patch.notes {
        review.notes = notes;
    }
    if let Some(owner) = patch.owner {
        review.owner = owner;
    }
    if let Some(date) = patch.review_date {
        review.review_date = Some(date).filter(|date| !date.is_empty());
    }
    if let Some(evidence) = patch.evidence {
        review.evidence = evidence;
    }
    let document = CatalogReview(review.clone());
    let stored = match before {
        Some(before) => cx.store().catalog_reviews().replace(&grant, key, document, Some(before.revision)).await?,
        None => cx.store().catalog_reviews().create(&grant, key, document).await?,
    };
    let said = |review: &Review| json!({"application": &*application.slug, "review": review});
    let change = Change::new(Verb::Update, "application", application.id).before(said(&old)).after(said(&review));
    cx.record(change).await?;
    Ok(view(classifier.catalog(), application, Some(&stored)))
}

fn check(patch: &ReviewPatch) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |pointer: String, message: String| problems.push(Problem { message, pointer: Some(pointer) });
    for (member, text, most) in [("notes", &patch.notes, LONGEST_NOTES), ("owner", &patch.owner, 200)] {
        let fits = |text: &String| {
            text.chars().count() <= most && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        };
        if text.as_ref().is_some_and(|text| !fits(text)) {
            problem(format!("/{member}"), format!("is limited to {most} characters, none of them control characters"));
        }
    }
    if patch.review_date.as_ref().is_some_and(|date| !date.is_empty() && !is_date(date)) {
        problem("/review_date".to_owned(), "must be a date as in 2026-01-31".to_owned());
    }
    let mut facts = std::collections::HashSet::new();
    for (index, evidence) in patch.evidence.iter().flatten().enumerate() {
        if let Err((member, message)) = evidence.check() {
            problem(format!("/evidence/{index}/{member}"), message);
        } else if !facts.insert(&evidence.fact) {
            problem(format!("/evidence/{index}/fact"), "stands there twice".to_owned());
        }
    }
    problems
}

/// A rule that may decide a request to an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TouchingRule {
    pub id: String,
    pub name: String,
    pub action: String,
    /// `http` or `l4`
    pub hook: String,
    pub enabled: bool,
    /// Whether it applies whatever else a request says.
    pub always: bool,
}

/// Returns the rules that nothing about an application's hosts rules out, in order of precedence. A rule that asks for
/// nothing of the host is none of them.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn touching_rules(cx: &OpContext, id: &str) -> Result<Vec<TouchingRule>, Failure> {
    let grant = cx.authorize::<store::ReadRules>()?;
    let classifier = cx.app.deps.snapshot.classifier();
    let application = find(classifier.catalog(), id)?;
    let hosts = classifier.catalog().row(application).hosts;
    let facts = [Hook::Http, Hook::L4]
        .map(|hook| (hook, hosts.iter().map(|host| host_facts(hook, host, &classifier)).collect()));
    let stored = cx.store().rules().list(&grant).await?;
    let rules: Vec<_> =
        stored.iter().filter_map(|rule| super::rules::spec_of(rule).ok().map(|spec| (rule, spec))).collect();
    let texts = rules.iter().flat_map(|(_, spec)| spec.expressions().map(|(_, text)| text));
    let lists = super::rules::lists_named_in(cx, texts).await?;
    let mut touching = Vec::new();
    for (rule, spec) in rules {
        let of_hook =
            facts.iter().find(|(hook, _)| *hook == spec.hook).map_or(&[][..], |(_, facts): &(_, Vec<_>)| facts);
        if let Some(always) = touches(&spec, of_hook, &lists) {
            touching.push(TouchingRule {
                id: rule.id.to_string(),
                name: rule.document.name.clone(),
                action: spec.action.as_str().to_owned(),
                hook: spec.hook.as_str().to_owned(),
                enabled: rule.document.enabled,
                always,
            });
        }
    }
    Ok(touching)
}

/// What is known of a request when only its host is.
fn host_facts(hook: Hook, host: &str, classifier: &catalog::Classifier) -> FactsDocument {
    // A `*` stands for any label; one that nobody uses does for all.
    let host = host.replace('*', "any");
    let name = if hook == Hook::Http { "http.request.host" } else { "net.sni.host" };
    let mut facts = FactsDocument::parse(hook, &json!({name: host})).unwrap_or_else(|_| FactsDocument::none(hook));
    super::evaluate::supply_meaning(&mut facts, classifier);
    facts
}

/// Whether a rule may apply to one of the hosts, and if it does, whether to all of them whatever else a request says.
fn touches(spec: &RuleSpec, hosts: &[FactsDocument], lists: &dyn expr::Lists) -> Option<bool> {
    let scheme = spec.hook.scheme();
    let compile = |text: &str| expr::Expression::compile(scheme, text, lists, &expr::Limits::default()).ok();
    let parts: Vec<_> =
        spec.expressions().into_iter().filter(|(_, text)| !text.is_empty()).map(|(_, text)| compile(text)).collect();
    let parts: Vec<expr::Expression> = parts.into_iter().collect::<Option<_>>()?;
    let asks = |part: &expr::Expression| {
        hosts.first().is_some_and(|facts| !part.fields().intersection(facts.known()).is_empty())
    };
    if !parts.iter().any(asks) {
        return None;
    }
    let outcomes = |facts: &FactsDocument| parts.iter().map(|part| part.evaluate(facts)).collect::<Vec<_>>();
    let mut possible = false;
    let mut always = true;
    for facts in hosts {
        let outcomes = outcomes(facts);
        possible |= !outcomes.contains(&expr::Outcome::False);
        always &= outcomes.iter().all(|outcome| *outcome == expr::Outcome::True);
    }
    possible.then_some(always)
}

/// What a host means.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LookupView {
    pub host: String,
    /// The application it is or supports.
    pub application: Option<LookedUp>,
    pub content_categories: Vec<CategoryName>,
    pub security_categories: Vec<CategoryName>,
}

/// An application a host belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LookedUp {
    pub id: u32,
    pub human_id: String,
    pub name: String,
    /// `own`: the host is the application; `support`: it needs the host, and rules on the application leave it alone.
    pub role: &'static str,
    pub status: &'static str,
}

/// A category by number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CategoryName {
    pub id: i64,
    pub name: &'static str,
}

/// Says what a host means under the running configuration.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn lookup(cx: &OpContext, host: &str) -> Result<LookupView, Failure> {
    cx.authorize::<ReadGateway>()?;
    let classifier = cx.app.deps.snapshot.classifier();
    if host.trim().is_empty() {
        return Err(Failure::invalid("host", "query parameter \"host\" must name a host"));
    }
    Ok(look_up(&classifier, host))
}

/// Says what a host means.
#[must_use]
pub fn look_up(classifier: &catalog::Classifier, host: &str) -> LookupView {
    let host = normalise(host);
    let meaning = classifier.meaning(classifier.classify(&host));
    let named = |ids: &[i64]| {
        let name = |id: &i64| u32::try_from(*id).ok().and_then(category_name).unwrap_or_default();
        ids.iter().map(|id| CategoryName { id: *id, name: name(id) }).collect()
    };
    let role = classifier.catalog().find(&host).map(|found| found.role);
    LookupView {
        application: meaning.application.map(|application| LookedUp {
            id: application.id,
            human_id: application.slug.to_string(),
            name: application.name.to_string(),
            role: if role == Some(Role::Own) { "own" } else { "support" },
            status: classifier.status(application.id).as_str(),
        }),
        content_categories: named(meaning.content_categories),
        security_categories: named(meaning.security_categories),
        host,
    }
}

/// Counts what the catalogue in force holds.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn statistics(cx: &OpContext) -> Result<Statistics, Failure> {
    cx.authorize::<ReadGateway>()?;
    Ok(cx.app.deps.snapshot.classifier().catalog().statistics())
}

/// Every score, for a spreadsheet or a program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreRow {
    pub id: u32,
    pub human_id: String,
    pub name: String,
    pub vendor: Option<String>,
    pub status: &'static str,
    pub owner: String,
    pub review_date: Option<String>,
    pub application: Score,
    pub gen_ai: Option<Score>,
}

/// Returns the score of every application, in the order of their numbers.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn all_scores(cx: &OpContext) -> Result<Vec<ScoreRow>, Failure> {
    let reviews = reviews(cx).await?;
    let classifier = cx.app.deps.snapshot.classifier();
    let catalog = classifier.catalog();
    let nothing = Review::default();
    let rows = catalog.applications().iter().map(|application| {
        let row = catalog.row(application);
        let said = reviews.get(&application.id).map_or(&nothing, |review| &review.document.0);
        let (posture, gen_ai) = scores(&row, said);
        ScoreRow {
            id: application.id,
            human_id: row.slug,
            name: row.name,
            vendor: row.vendor,
            status: said.status.as_str(),
            owner: said.owner.clone(),
            review_date: said.review_date.clone(),
            application: posture,
            gen_ai,
        }
    });
    Ok(rows.collect())
}

/// Writes scores as CSV (RFC 4180): one application a line, a column for each fact; what is not known is empty.
#[must_use]
pub fn scores_csv(rows: &[ScoreRow]) -> String {
    let facts = |rubric: Rubric| {
        let rows = rubric.components().iter();
        rows.flat_map(|row| row.questions.iter().chain(&row.forfeits)).map(|question| question.name)
    };
    let mut text = "id,human_id,name,vendor,status,owner,review_date,score_at_least,score_at_most,score_known,\
                    gen_ai_at_least,gen_ai_at_most,gen_ai_known"
        .to_owned();
    for fact in facts(Rubric::Application).chain(facts(Rubric::GenAi)) {
        text.push(',');
        text.push_str(fact);
    }
    text.push_str("\r\n");
    for row in rows {
        let mut cells = vec![
            row.id.to_string(),
            row.human_id.clone(),
            row.name.clone(),
            row.vendor.clone().unwrap_or_default(),
            row.status.to_owned(),
            row.owner.clone(),
            row.review_date.clone().unwrap_or_default(),
        ];
        for score in [Some(&row.application), row.gen_ai.as_ref()] {
            for part in [|score: &Score| score.at_least, |score: &Score| score.at_most, |score: &Score| score.known] {
                cells.push(score.map(|score| score::points(part(score))).unwrap_or_default());
            }
        }
        for (rubric, score) in [(Rubric::Application, Some(&row.application)), (Rubric::GenAi, row.gen_ai.as_ref())] {
            for fact in facts(rubric) {
                let known =
                    score.into_iter().flat_map(|score| &score.components).flat_map(|component| &component.facts);
                let value = known.filter(|it| it.fact == fact).find_map(|it| it.value.clone());
                cells.push(value.unwrap_or_default());
            }
        }
        let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Writes one cell, so that no spreadsheet takes it for a formula.
fn csv_cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::{AiFilter, ApplicationQuery, Order, csv_cell};
    use catalog::{AiKind, Status};

    #[test]
    fn a_query_is_read_from_an_address() {
        let parse = |text: &'static str| {
            ApplicationQuery::parse(|name| {
                text.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|it| it.1)
            })
        };
        let query = parse("search=chat&status=in_review&ai=code&type=25&order_by=status&limit=10&offset=20").unwrap();
        assert_eq!(query.search.as_deref(), Some("chat"));
        assert_eq!((query.status, query.ai), (Some(Status::InReview), Some(AiFilter::Kind(AiKind::Code))));
        assert_eq!((query.kind, query.order, query.limit, query.offset), (Some(25), Order::Status, 10, 20));
        for wrong in ["search=x", "status=good", "ai=robots", "type=1", "order_by=size", "limit=251", "offset=-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cell_is_never_a_formula() {
        for (text, cell) in [("a", "a"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("=1+1", "'=1+1")] {
            assert_eq!(csv_cell(text), cell);
        }
    }
}
