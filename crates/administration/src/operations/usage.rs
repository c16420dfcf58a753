//! What people really use: applications, people and groups by traffic, compared with the time before.
//!
//! Answers come from the rollups of web requests, joined with the library: its statuses as they are now. Invariants: a
//! period is whole days in UTC; what has no application is said to have none; a listing is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use catalog::taxonomy::type_name;
use catalog::{Application, Catalog, Status};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use logs::usage::{Ask, EVERY_APPLICATION, Groups, Measures, NO_APPLICATION, Over, Report, Usage, View};
use serde::Serialize;
use store::{Principal, ReadGateway, ReadLogs, ReadRules};
use types::AccountId;
use utoipa::ToSchema;

use super::applications::{self, ApplicationQuery, Reviews, status_of};
use super::logs::query_failed;
use super::time;
use crate::auth::OpContext;
use crate::failure::Failure;

/// The lengths of periods, in days.
pub const PERIODS: [u16; 4] = [1, 7, 30, 90];
/// The period when none is named.
pub const PERIOD: u16 = 30;
/// An application is new when it was not seen in as many days before a period, or in as many as the period has.
const UNSEEN: u16 = 30;
/// Most lines of one page.
pub const MOST: usize = 250;
/// How many of the largest applications, and of those that grow most, are told.
const LARGEST: usize = 24;
const GROWING: usize = 8;
/// Lines of a table on the page of one application.
const TOP: usize = 50;

/// Whole days in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Period {
    /// The first day.
    #[schema(value_type = String)]
    pub from: Date,
    /// The last day, which may be under way.
    #[schema(value_type = String)]
    pub to: Date,
    pub days: u16,
}

impl Period {
    /// Returns the last `days` days, this one among them.
    fn ending(now: Timestamp, days: u16) -> Self {
        let to = now.to_zoned(TimeZone::UTC).date();
        Self { from: to.saturating_sub((i64::from(days) - 1).days()), to, days }
    }

    /// Returns as many days before.
    fn before(self) -> Self {
        let days = i64::from(self.days).days();
        Self { from: self.from.saturating_sub(days), to: self.to.saturating_sub(days), days: self.days }
    }

    fn ask(self, view: View) -> Ask {
        Ask::new(view, self.from, self.to.saturating_add(1.day()))
    }

    /// Asks about the days in which something new was not seen.
    fn unseen(self) -> Ask {
        let days = i64::from(UNSEEN.max(self.days)).days();
        Ask::new(View::Day, self.from.saturating_sub(days), self.from)
    }

    /// Returns its days.
    pub fn dates(self) -> impl Iterator<Item = Date> {
        self.from.series(1.day()).take_while(move |date| *date <= self.to)
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Figures {
    pub requests: u64,
    pub blocked: u64,
    /// Requests that carried a file.
    pub uploads: u64,
    /// Requests that posted JSON; to an application of artificial intelligence, prompts mostly.
    pub messages: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub errors: u64,
    /// About how many, where it is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub people: Option<u64>,
    /// About how many, where it is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<u64>,
}

impl Figures {
    fn of(line: &Usage) -> Self {
        // Estimates are far below 2^52 and never negative.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate of a number of people"
        )]
        let whole = |number: f64| number.round() as u64;
        Self { people: line.people.map(whole), devices: line.devices.map(whole), ..Self::from(line.measures) }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.blocked += other.blocked;
        self.uploads += other.uploads;
        self.messages += other.messages;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.errors += other.errors;
    }
}

impl From<Measures> for Figures {
    fn from(measures: Measures) -> Self {
        let Measures { requests, blocked, uploads, messages, bytes_sent, bytes_received, errors } = measures;
        Self { requests, blocked, uploads, messages, bytes_sent, bytes_received, errors, people: None, devices: None }
    }
}

/// An application and its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApplicationUsage {
    /// The number that `app.ids` compares; 0 for what belongs to no application that is known.
    pub id: u32,
    pub human_id: String,
    pub name: String,
    pub application_type: String,
    pub type_id: u32,
    /// `chat`, `code`, `image`, `voice`, `agents`, `api`
    pub ai: Vec<&'static str>,
    /// `approved`, `unapproved`, `in review` or `unreviewed`
    pub status: &'static str,
    /// Nobody used it in the 30 days before the period, or in as many as the period has; false while there are no records
    /// of as many.
    pub new: bool,
    pub usage: Figures,
    pub before: Figures,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DayUsage {
    #[schema(value_type = String)]
    pub date: Date,
    pub usage: Figures,
    /// Requests by status of their application; `unknown` for those of none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_status: BTreeMap<&'static str, u64>,
}

/// The use of every application with a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatusUsage {
    pub status: &'static str,
    pub applications: usize,
    pub usage: Figures,
}

/// Which applications are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageView {
    pub period: Period,
    pub compared_with: Period,
    /// Whether there are records of all the days it is compared with.
    pub comparable: bool,
    /// Everything recorded before this moment is counted.
    pub as_of: String,
    pub total: Figures,
    pub total_before: Figures,
    pub days: Vec<DayUsage>,
    pub days_before: Vec<DayUsage>,
    pub statuses: Vec<StatusUsage>,
    /// How many applications fit.
    pub total_applications: usize,
    /// How many of them are new.
    pub new_applications: usize,
    pub applications: Vec<ApplicationUsage>,
    /// The largest of those that fit, by requests.
    pub largest: Vec<ApplicationUsage>,
    /// Those that grew most, in requests.
    pub growing: Vec<ApplicationUsage>,
}

/// In which order applications are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UsageOrder {
    #[default]
    People,
    Requests,
    Sent,
    Received,
    Uploads,
    Messages,
    /// What grew most first, in requests.
    Growth,
    Name,
}

/// The orders by their words.
pub const ORDERS: [(&str, UsageOrder); 8] = [
    ("people", UsageOrder::People),
    ("requests", UsageOrder::Requests),
    ("bytes_sent", UsageOrder::Sent),
    ("bytes_received", UsageOrder::Received),
    ("uploads", UsageOrder::Uploads),
    ("messages", UsageOrder::Messages),
    ("growth", UsageOrder::Growth),
    ("name", UsageOrder::Name),
];

/// What to tell about applications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageQuery {
    pub days: u16,
    /// Which applications: as the library is searched.
    pub which: ApplicationQuery,
    pub only_new: bool,
    pub order: UsageOrder,
}

/// Reads the length of a period.
///
/// # Errors
///
/// A [`Failure`] that names the parameter.
pub fn days(text: Option<&str>) -> Result<u16, Failure> {
    let known = |text: &str| text.parse().ok().filter(|days| PERIODS.contains(days));
    match text {
        None => Ok(PERIOD),
        Some(text) => known(text).ok_or_else(|| Failure::invalid("days", "must be 1, 7, 30 or 90".to_owned())),
    }
}

impl UsageQuery {
    /// Reads the parameters of an address: `days`, `new`, `order_by`, and those that choose applications in the library.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that names the parameter at fault.
    pub fn parse<'a>(mut get: impl FnMut(&str) -> Option<&'a str>) -> Result<Self, Failure> {
        let order = match get("order_by") {
            None => UsageOrder::default(),
            Some(word) => ORDERS.iter().find(|(name, _)| *name == word).map(|(_, order)| *order).ok_or_else(|| {
                let words: Vec<_> = ORDERS.iter().map(|(name, _)| *name).collect();
                Failure::invalid("order_by", format!("must be one of {}", words.join(", ")))
            })?,
        };
        let only_new = match get("new") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Failure::invalid("new", "must be true or false".to_owned())),
        };
        let days = days(get("days"))?;
        let which = ApplicationQuery::parse(|name| if name == "order_by" { None } else { get(name) })?;
        Ok(Self { days, which, only_new, order })
    }

    /// Whether it is about some applications only.
    fn chooses(&self) -> bool {
        let ApplicationQuery { search, status, ai, kind, .. } = &self.which;
        search.is_some() || status.is_some() || ai.is_some() || kind.is_some()
    }
}

/// Names applications.
struct Naming<'c> {
    catalog: &'c Catalog,
    reviews: &'c Reviews,
}

impl Naming<'_> {
    fn find(&self, id: i64) -> Option<&Application> {
        self.catalog.by_id(u32::try_from(id).ok().filter(|id| *id != 0)?)
    }

    fn status(&self, id: i64) -> &'static str {
        match u32::try_from(id).ok().filter(|id| *id != 0) {
            Some(id) => status_of(self.reviews, id).as_str(),
            None => Status::Unreviewed.as_str(),
        }
    }

    /// Returns an application without its use. One that the catalogue forgot is named by its number.
    fn name(&self, id: i64) -> ApplicationUsage {
        let known = self.find(id);
        let of = |text: fn(&Application) -> String| known.map(text).unwrap_or_default();
        let name = match (known, id) {
            (Some(application), _) => application.name.to_string(),
            (None, NO_APPLICATION) => "Not in the library".to_owned(),
            (None, _) => format!("Application {id}"),
        };
        let kind = known.map_or(0, |application| application.kind);
        ApplicationUsage {
            id: u32::try_from(id).unwrap_or_default(),
            human_id: of(|application| application.slug.to_string()),
            name,
            application_type: type_name(kind).unwrap_or_default().to_owned(),
            type_id: kind,
            ai: known.map(|application| application.ai().map(|kind| kind.as_str()).collect()).unwrap_or_default(),
            status: self.status(id),
            new: false,
            usage: Figures::default(),
            before: Figures::default(),
        }
    }
}

fn by_application(table: &[Usage]) -> HashMap<i64, Figures> {
    table.iter().map(|line| (line.application, Figures::of(line))).collect()
}

fn by_date(period: Period, table: &[Usage]) -> Vec<DayUsage> {
    let of: HashMap<Date, Figures> =
        table.iter().filter_map(|line| Some((line.time?.to_zoned(TimeZone::UTC).date(), Figures::of(line)))).collect();
    let day =
        |date: Date| DayUsage { date, usage: of.get(&date).copied().unwrap_or_default(), by_status: BTreeMap::new() };
    period.dates().map(day).collect()
}

async fn report<const N: usize>(cx: &OpContext, asks: [Ask; N]) -> Result<Report<N>, Failure> {
    cx.app.deps.logs.usage(cx.account, asks).await.map_err(query_failed)
}

/// Whether there are records from this day on.
fn recorded<const N: usize>(report: &Report<N>, from: Date) -> bool {
    report.since.is_some_and(|since| since <= from)
}

/// Returns the statuses that usage is told with: who may read the one is told the other.
async fn reviews(cx: &OpContext) -> Result<Reviews, Failure> {
    let grant = Principal::system("tell usage by status").authorize::<ReadGateway>(cx.account)?;
    Ok(applications::stored_reviews(cx.store(), &grant).await?)
}

/// Returns the only line of a table.
fn only(table: &[Usage]) -> Figures {
    table.first().map(Figures::of).unwrap_or_default()
}

/// What usage is told from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub logs: &'a logs::Logs,
    pub account: AccountId,
    pub catalog: &'a Catalog,
    pub reviews: &'a Reviews,
    pub now: Timestamp,
}

/// Tells which applications are used.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn overview(cx: &OpContext, query: &UsageQuery) -> Result<UsageView, Failure> {
    overview_at(cx, cx.now(), query).await
}

/// As [`overview`], as it was at a moment.
pub(super) async fn overview_at(cx: &OpContext, now: Timestamp, query: &UsageQuery) -> Result<UsageView, Failure> {
    cx.authorize::<ReadLogs>()?;
    let reviews = reviews(cx).await?;
    let classifier = cx.app.deps.snapshot.classifier();
    let source =
        Source { logs: &cx.app.deps.logs, account: cx.account, catalog: classifier.catalog(), reviews: &reviews, now };
    told(source, query).await
}

/// As [`overview`], for the platform itself.
///
/// # Errors
///
/// A [`Failure`] when the log cannot be read.
pub async fn told(source: Source<'_>, query: &UsageQuery) -> Result<UsageView, Failure> {
    let Source { catalog, reviews, .. } = source;
    let chosen: Option<BTreeSet<i64>> = query.chooses().then(|| {
        let all = applications::matching(catalog, reviews, &query.which);
        all.into_iter().map(|application| i64::from(application.id)).collect()
    });
    let period = Period::ending(source.now, query.days);
    let before = period.before();
    let whole = |ask: Ask| match &chosen {
        Some(chosen) => ask.together(chosen),
        None => ask.application(EVERY_APPLICATION),
    };
    let unseen = period.unseen();
    let unseen_from = unseen.from;
    let asks = [
        period.ask(View::Day),
        before.ask(View::Day).measures_only(),
        whole(period.ask(View::Day)),
        whole(before.ask(View::Day)),
        whole(period.ask(View::Day)).over(Over::Days),
        whole(before.ask(View::Day)).over(Over::Days),
        period.ask(View::Day).over(Over::Days).measures_only().groups(by_status(reviews, chosen.as_ref())),
        unseen.measures_only(),
    ];
    let report = source.logs.usage(source.account, asks).await.map_err(query_failed)?;
    let [now, then, total, total_before, days, days_before, each_day, seen] = &report.tables;
    let naming = Naming { catalog, reviews };
    let fits = |id: i64| id != EVERY_APPLICATION && chosen.as_ref().is_none_or(|chosen| chosen.contains(&id));
    let then = by_application(then);
    let known = recorded(&report, unseen_from);
    let seen: HashSet<i64> = seen.iter().map(|line| line.application).collect();
    let mut used: Vec<ApplicationUsage> = now
        .iter()
        .filter(|line| fits(line.application))
        .map(|line| ApplicationUsage {
            new: known && line.application != NO_APPLICATION && !seen.contains(&line.application),
            usage: Figures::of(line),
            before: then.get(&line.application).copied().unwrap_or_default(),
            ..naming.name(line.application)
        })
        .collect();
    let statuses = statuses(&used);
    let new_applications = used.iter().filter(|application| application.new).count();
    used.retain(|application| application.new || !query.only_new);
    let first = |used: &mut Vec<ApplicationUsage>, order: UsageOrder, most: usize| {
        sort(used, order);
        used.iter().take(most).cloned().collect::<Vec<_>>()
    };
    let largest = first(&mut used, UsageOrder::Requests, LARGEST);
    let mut growing = first(&mut used, UsageOrder::Growth, GROWING);
    growing.retain(|application| application.usage.requests > application.before.requests);
    sort(&mut used, query.order);
    let total_applications = used.len();
    let mut days = by_date(period, days);
    for line in each_day {
        let date = line.time.map(|time| time.to_zoned(TimeZone::UTC).date());
        let status = usize::try_from(line.application).ok().and_then(|group| STATUSES.get(group));
        if let Some(day) = days.iter_mut().find(|day| Some(day.date) == date) {
            *day.by_status.entry(status.map_or("unknown", |status| status.as_str())).or_default() +=
                line.measures.requests;
        }
    }
    Ok(UsageView {
        period,
        compared_with: before,
        comparable: recorded(&report, before.from),
        as_of: time(report.as_of),
        total: only(total),
        total_before: only(total_before),
        days,
        days_before: by_date(before, days_before),
        statuses,
        total_applications,
        new_applications,
        applications: used.into_iter().skip(query.which.offset).take(query.which.limit).collect(),
        largest,
        growing,
    })
}

/// The statuses, in the order that usage is told by.
const STATUSES: [Status; 4] = [Status::Unreviewed, Status::InReview, Status::Approved, Status::Unapproved];
/// The group of requests that belong to no application.
const NO_STATUS: i64 = STATUSES.len() as i64;

/// Groups the chosen applications, or all, by the place of their status in [`STATUSES`].
fn by_status(reviews: &Reviews, chosen: Option<&BTreeSet<i64>>) -> Groups {
    let place = |status| STATUSES.iter().position(|known| *known == status).unwrap_or_default() as i64;
    let of = |id: i64| place(u32::try_from(id).map_or(Status::Unreviewed, |id| status_of(reviews, id)));
    match chosen {
        Some(chosen) => Groups { of: chosen.iter().map(|id| (*id, of(*id))).collect(), others: None },
        None => {
            let reviewed = reviews.keys().map(|id| (i64::from(*id), of(i64::from(*id))));
            let of = reviewed.chain([(NO_APPLICATION, NO_STATUS)]).collect();
            Groups { of, others: Some(place(Status::Unreviewed)) }
        }
    }
}

fn statuses(used: &[ApplicationUsage]) -> Vec<StatusUsage> {
    let mut all: Vec<_> = STATUSES
        .map(|status| StatusUsage { status: status.as_str(), applications: 0, usage: Figures::default() })
        .into();
    for application in used.iter().filter(|application| application.id != 0) {
        if let Some(status) = all.iter_mut().find(|status| status.status == application.status) {
            status.applications += 1;
            status.usage.add(&application.usage);
        }
    }
    all
}

fn sort(used: &mut [ApplicationUsage], order: UsageOrder) {
    let number = |application: &ApplicationUsage| -> i128 {
        let usage = &application.usage;
        i128::from(match order {
            UsageOrder::People => usage.people.unwrap_or_default(),
            UsageOrder::Requests => usage.requests,
            UsageOrder::Sent => usage.bytes_sent,
            UsageOrder::Received => usage.bytes_received,
            UsageOrder::Uploads => usage.uploads,
            UsageOrder::Messages => usage.messages,
            UsageOrder::Growth => return i128::from(usage.requests) - i128::from(application.before.requests),
            UsageOrder::Name => 0,
        })
    };
    // What equals is in the order of requests, then of names; names alone are in their own.
    used.sort_by_cached_key(|application| {
        let requests = if order == UsageOrder::Name { 0 } else { application.usage.requests };
        (-number(application), std::cmp::Reverse(requests), application.name.to_lowercase(), application.id)
    });
}

/// The use of something by one key: a person, a device, a country, ….
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyUsage {
    /// Empty when it is not known.
    pub key: String,
    /// What it is called, where that is not the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub usage: Figures,
}

/// How one application is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApplicationUsageView {
    pub period: Period,
    pub compared_with: Period,
    /// Whether there are records of all the days it is compared with.
    pub comparable: bool,
    pub as_of: String,
    pub application: ApplicationUsage,
    pub days: Vec<DayUsage>,
    pub days_before: Vec<DayUsage>,
    /// Requests by the hours of the period that had any, in UTC.
    #[schema(value_type = Vec<Object>)]
    pub hours: Vec<(Timestamp, u64)>,
    /// The fifty that used it most; so the others.
    pub people: Vec<KeyUsage>,
    pub groups: Vec<KeyUsage>,
    pub devices: Vec<KeyUsage>,
    /// Where requests came from.
    pub countries: Vec<KeyUsage>,
    pub methods: Vec<KeyUsage>,
    pub actions: Vec<KeyUsage>,
    /// The rules that decided.
    pub policies: Vec<KeyUsage>,
    pub answers: Vec<KeyUsage>,
}

/// The keys of a table, the most requests first.
fn keys(table: &[Usage]) -> Vec<KeyUsage> {
    let mut all: Vec<_> =
        table.iter().map(|line| KeyUsage { key: line.key.clone(), name: None, usage: Figures::of(line) }).collect();
    all.sort_by(|a, b| b.usage.requests.cmp(&a.usage.requests).then_with(|| a.key.cmp(&b.key)));
    all.truncate(TOP);
    all
}

/// Tells how an application, by its number or slug, is used; `0` for what belongs to none.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn application(cx: &OpContext, id: &str, days: u16) -> Result<ApplicationUsageView, Failure> {
    cx.authorize::<ReadLogs>()?;
    let reviews = reviews(cx).await?;
    let classifier = cx.app.deps.snapshot.classifier();
    let catalog = classifier.catalog();
    let number = if id == "0" { NO_APPLICATION } else { i64::from(applications::find(catalog, id)?.id) };
    let period = Period::ending(cx.now(), days);
    let before = period.before();
    let unseen = period.unseen();
    let unseen_from = unseen.from;
    let asks = [
        period.ask(View::Day),
        before.ask(View::Day),
        period.ask(View::Day).over(Over::Days),
        before.ask(View::Day).over(Over::Days),
        unseen.measures_only(),
        period.ask(View::Hour).over(Over::Hours).measures_only(),
        period.ask(View::Person),
        period.ask(View::Group),
        period.ask(View::Device),
        period.ask(View::Country),
        period.ask(View::Method),
        period.ask(View::Action),
        period.ask(View::Policy),
        period.ask(View::Status),
    ];
    let report = report(cx, asks.map(|ask| ask.application(number))).await?;
    let [now, then, each_day, each_day_before, seen, hours, divided @ ..] = &report.tables;
    let [people, groups, devices, countries, methods, actions, policies, answers] = divided;
    let usage = only(now);
    Ok(ApplicationUsageView {
        period,
        compared_with: before,
        comparable: recorded(&report, before.from),
        as_of: time(report.as_of),
        application: ApplicationUsage {
            new: recorded(&report, unseen_from) && number != NO_APPLICATION && seen.is_empty() && usage.requests > 0,
            usage,
            before: only(then),
            ..Naming { catalog, reviews: &reviews }.name(number)
        },
        days: by_date(period, each_day),
        days_before: by_date(before, each_day_before),
        hours: hours.iter().filter_map(|line| Some((line.time?, line.measures.requests))).collect(),
        people: keys(people),
        groups: keys(groups),
        devices: keys(devices),
        countries: keys(countries),
        methods: keys(methods),
        actions: keys(actions),
        policies: named_rules(cx, keys(policies)).await?,
        answers: keys(answers),
    })
}

/// Puts the names of rules beside their ids. Whoever may not read rules sees the ids.
async fn named_rules(cx: &OpContext, mut policies: Vec<KeyUsage>) -> Result<Vec<KeyUsage>, Failure> {
    let Ok(grant) = cx.authorize::<ReadRules>() else { return Ok(policies) };
    let rules = cx.store().rules().list(&grant).await?;
    let names: HashMap<String, String> =
        rules.into_iter().map(|rule| (rule.id.to_string(), rule.document.name.clone())).collect();
    for policy in &mut policies {
        policy.name = names.get(&policy.key).cloned();
    }
    Ok(policies)
}

/// What one person or one group uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubjectUsageView {
    /// The person's address, or the group's name.
    pub subject: String,
    pub period: Period,
    pub compared_with: Period,
    /// Whether there are records of all the days it is compared with.
    pub comparable: bool,
    pub as_of: String,
    pub total: Figures,
    pub total_before: Figures,
    pub days: Vec<DayUsage>,
    pub days_before: Vec<DayUsage>,
    pub applications: Vec<ApplicationUsage>,
}

/// Whom a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Person,
    Group,
}

impl Subject {
    const fn view(self) -> View {
        match self {
            Self::Person => View::Person,
            Self::Group => View::Group,
        }
    }
}

/// Tells what a person or a group uses.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn subject(cx: &OpContext, subject: Subject, key: &str, days: u16) -> Result<SubjectUsageView, Failure> {
    cx.authorize::<ReadLogs>()?;
    let reviews = reviews(cx).await?;
    let classifier = cx.app.deps.snapshot.classifier();
    let naming = Naming { catalog: classifier.catalog(), reviews: &reviews };
    let period = Period::ending(cx.now(), days);
    let before = period.before();
    let of = |period: Period| period.ask(subject.view()).key(key);
    let asks = [
        of(period),
        of(before),
        of(period).application(EVERY_APPLICATION).over(Over::Days),
        of(before).application(EVERY_APPLICATION).over(Over::Days),
    ];
    let report = report(cx, asks).await?;
    let [now, then, each_day, each_day_before] = &report.tables;
    let (now, then) = (by_application(now), by_application(then));
    let known = recorded(&report, before.from);
    let mut used: Vec<ApplicationUsage> = now
        .iter()
        .filter(|(id, _)| **id != EVERY_APPLICATION)
        .map(|(id, usage)| ApplicationUsage {
            new: known && *id != NO_APPLICATION && !then.contains_key(id),
            usage: *usage,
            before: then.get(id).copied().unwrap_or_default(),
            ..naming.name(*id)
        })
        .collect();
    sort(&mut used, UsageOrder::Requests);
    used.truncate(MOST);
    Ok(SubjectUsageView {
        subject: key.to_owned(),
        period,
        compared_with: before,
        comparable: recorded(&report, before.from),
        as_of: time(report.as_of),
        total: now.get(&EVERY_APPLICATION).copied().unwrap_or_default(),
        total_before: then.get(&EVERY_APPLICATION).copied().unwrap_or_default(),
        days: by_date(period, each_day),
        days_before: by_date(before, each_day_before),
        applications: used,
    })
}

/// People or groups by their traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubjectsView {
    pub period: Period,
    pub as_of: String,
    /// How many there are.
    pub total: usize,
    /// The most requests first.
    pub subjects: Vec<SubjectUsage>,
}

/// A person or a group, and what was counted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubjectUsage {
    pub subject: String,
    pub usage: Figures,
    pub before: Figures,
}

/// Lists the people or groups that a text is part of.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn subjects(
    cx: &OpContext,
    subject: Subject,
    days: u16,
    search: &str,
    limit: usize,
) -> Result<SubjectsView, Failure> {
    cx.authorize::<ReadLogs>()?;
    let period = Period::ending(cx.now(), days);
    let of = |period: Period| period.ask(subject.view()).application(EVERY_APPLICATION);
    let report = report(cx, [of(period), of(period.before())]).await?;
    let [now, then] = &report.tables;
    let then: HashMap<&str, Figures> = then.iter().map(|line| (line.key.as_str(), Figures::of(line))).collect();
    let search = search.to_lowercase();
    let mut all: Vec<SubjectUsage> = now
        .iter()
        .filter(|line| line.key.to_lowercase().contains(&search))
        .map(|line| SubjectUsage {
            subject: line.key.clone(),
            usage: Figures::of(line),
            before: then.get(line.key.as_str()).copied().unwrap_or_default(),
        })
        .collect();
    all.sort_by(|a, b| b.usage.requests.cmp(&a.usage.requests).then_with(|| a.subject.cmp(&b.subject)));
    let total = all.len();
    all.truncate(limit.min(MOST));
    Ok(SubjectsView { period, as_of: time(report.as_of), total, subjects: all })
}
