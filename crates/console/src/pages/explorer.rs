//! The log explorer: SQL over what was recorded, with questions ready to ask, a table, a picture and a file to take away.
//!
//! The operations run the query; here its answer is drawn. A query runs only when somebody presses the button: an address
//! fills the editor in and runs nothing. Invariant: what a record holds is shown as text.

use std::sync::Arc;

use ::chart::{Bar, Bars, Clock, Fold, Form as Drawn, Series, Step, TimeSeries, Tone, Unit};
use ::logs::sql::{Answer, Column};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::Page;
use super::control::{Problems, csrf};
use super::fields::Fields;
use super::format;
use super::frame::{self, Place, empty, refused_form, title};
use super::signals;
use super::visitor::{Submission, Visitor};
use crate::operations::explorer::{self, DatasetView, Form};
use crate::operations::questions::{QUESTIONS, named};
use crate::operations::saved_queries::{self, SavedQueryView};

/// Rows that a page shows; a file has them all.
const SHOWN: usize = 500;
/// Bars and lines that a picture has.
const BARS: usize = 25;
const LINES: usize = 4;
/// Characters of a cell.
const CELL: usize = 300;

/// Serves `GET /explore`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let datasets = explorer::datasets(&visitor.cx)?;
    let kept = saved_queries::list(&visitor.cx).await?;
    let opened = kept.iter().find(|query| query.id == visitor.query.get("saved"));
    let asked = opened.map_or_else(|| visitor.query.get("query"), |query| query.sql.as_str());
    let text = match named(visitor.query.get("question")) {
        Some(question) => question.sql,
        // One that has an answer wherever there is traffic, and a picture.
        None if asked.is_empty() => named("requests-by-day").map_or("", |question| question.sql),
        None => asked,
    };
    let body = html! {
        (heading())
        (editor(&visitor, text, &datasets, opened))
        (signals::saved(&visitor, &kept))
        (questions())
    };
    Ok(frame::page(&visitor, Place::Explore, "Explore", &body))
}

/// Serves `POST /explore`: the answer, drawn or as a file.
pub(super) async fn run(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let text = fields.get("query");
    let datasets = explorer::datasets(&visitor.cx)?;
    let opened = opened(&visitor, &fields).await?;
    let form = Form::named(fields.get("format"));
    let answered = explorer::run(&visitor.cx, text, Arc::default()).await;
    let wanted = answered.and_then(|answer| match form {
        Some(form) => form.write(&answer).map(|bytes| Wanted::File(form, bytes)),
        None => explorer::view(&answer).map(|view| Wanted::Rows(Box::new(answer), view.rows)),
    });
    match wanted {
        Ok(Wanted::File(form, bytes)) => Ok(file(form, bytes)),
        Ok(Wanted::Rows(answer, rows)) => {
            let body = html! {
                (heading())
                (editor(&visitor, text, &datasets, opened.as_ref()))
                (result(&answer, &rows))
                (questions())
            };
            Ok(frame::page(&visitor, Place::Explore, "Explore", &body))
        }
        Err(failure) => {
            let body = html! {
                (heading())
                (Problems::of(&failure).plain())
                (editor(&visitor, text, &datasets, opened.as_ref()))
                (questions())
            };
            Ok(refused_form(&visitor, Place::Explore, "Explore", &failure, &body))
        }
    }
}

/// Returns the saved query that a form is about, as it was changed in it so far.
async fn opened(visitor: &Visitor, fields: &Fields) -> Result<Option<SavedQueryView>, super::Refused> {
    if fields.get("saved").is_empty() {
        return Ok(None);
    }
    let mut kept = saved_queries::list(&visitor.cx).await?.into_iter();
    let found = kept.find(|query| query.id == fields.get("saved"));
    Ok(found.map(|query| SavedQueryView {
        name: fields.get("name").to_owned(),
        description: fields.get("description").to_owned(),
        ..query
    }))
}

/// What somebody wants of an answer.
enum Wanted {
    File(Form, Vec<u8>),
    Rows(Box<Answer>, Vec<Map<String, Value>>),
}

fn heading() -> Markup {
    title(
        "Explore",
        "Everything recorded, in SQL: each dataset is a table, a record is in it within a second.",
        &html! {},
    )
}

fn file(form: Form, bytes: Vec<u8>) -> axum::response::Response {
    let mut response = bytes.into_response();
    let name = format!("attachment; filename=\"logs.{}\"", form.extension());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

fn editor(visitor: &Visitor, text: &str, datasets: &[DatasetView], opened: Option<&SavedQueryView>) -> Markup {
    let rows = (text.lines().count() + 1).clamp(6, 20);
    html! {
        form.explore method="post" action="/explore" {
            (csrf(&visitor.csrf))
            label for="query" { "Query" }
            textarea.code id="query" name="query" rows=(rows) spellcheck="false" autocapitalize="off" autocomplete="off"
                aria-describedby="query-hint" data-completes="#names" required { (text) }
            p.hint id="query-hint" { "One SELECT. Names of datasets and fields are completed as you type; Ctrl Enter runs it. Each query is recorded in the audit log." }
            div.actions {
                button.primary type="submit" { "Run" }
                button type="submit" name="format" value="csv" { "CSV" }
                button type="submit" name="format" value="jsonl" { "JSON lines" }
                button type="submit" name="format" value="parquet" { "Parquet" }
            }
            @if visitor.may(store::Permission::LogsWrite) { (keep(opened)) }
        }
        datalist id="names" {
            @for dataset in datasets {
                option value=(dataset.dataset) label="dataset" {}
                @for field in &dataset.fields { option value=(field.name) label={ (dataset.dataset) ": " (field.kind) } {} }
            }
        }
        details.names {
            summary { "Datasets and fields" }
            @for dataset in datasets {
                details {
                    summary { code { (dataset.dataset) } " " span.muted { (dataset.fields.len()) " fields" } }
                    dl.fields {
                        dt { code { "date" } " " span.muted { "date" } }
                        dd { "The day of the record in UTC; queries that name it read less." }
                        @for field in &dataset.fields {
                            dt { code { (field.name) } " " span.muted { (field.kind) } }
                            dd { (field.description) }
                        }
                    }
                }
            }
        }
    }
}

/// The part of the form that saves: under the name of what was opened, or a new one.
fn keep(opened: Option<&SavedQueryView>) -> Markup {
    let member = |of: fn(&SavedQueryView) -> &String| opened.map_or("", |query| of(query).as_str());
    html! {
        details.fold open[opened.is_some()] {
            summary { @if opened.is_some() { "Saved query" } @else { "Save it" } }
            @if let Some(query) = opened { input type="hidden" name="saved" value=(query.id); }
            div.row {
                div.field { label for="name" { "Name" } input type="text" id="name" name="name" maxlength="120" value=(member(|query| &query.name)) autocomplete="off"; }
                div.field { label for="description" { "What it is for" } input type="text" id="description" name="description" value=(member(|query| &query.description)) autocomplete="off"; }
            }
            p.hint { "A query of a signal names its window as " code { "$from" } " and " code { "$until" } "; here they are the last 24 hours." }
            div.actions { button type="submit" formaction="/explore/saved" { "Save" } }
        }
    }
}

fn questions() -> Markup {
    html! {
        section.questions aria-labelledby="questions" {
            h2 id="questions" { "Questions ready to ask" }
            ul {
                @for question in QUESTIONS {
                    li {
                        a href={ "/explore?question=" (question.name) } { (question.title) }
                        " " span.muted { (question.about) }
                    }
                }
            }
        }
    }
}

fn result(answer: &Answer, rows: &[Map<String, Value>]) -> Markup {
    html! {
        section.answer aria-labelledby="answer" {
            h2 id="answer" tabindex="-1" { (::chart::count(rows.len() as u64)) @if rows.len() == 1 { " row" } @else { " rows" } }
            p.muted {
                "Read " (::chart::count(answer.rows_read)) " rows, " (::chart::bytes(answer.bytes_read)) " of files, in "
                (answer.elapsed.as_millis()) " ms."
                @if answer.truncated { " There are more rows: narrow the query, or group it." }
                @if rows.len() > SHOWN { " The first " (SHOWN) " are shown; a file has them all." }
            }
            @if rows.is_empty() {
                (empty("No row.", &html! { "Nothing recorded is as the query asks." }))
            } @else {
                @if let Some(picture) = picture(answer, rows) { (picture) }
                (table(&answer.columns, rows))
            }
            details { summary { "Plan" } pre.plan tabindex="0" { (answer.plan) } }
        }
    }
}

fn table(columns: &[Column], rows: &[Map<String, Value>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="answer" {
            table.answer {
                thead { tr { @for column in columns { th scope="col" class=[numeric(column).then_some("number")] { (column.name) } } } }
                tbody {
                    @for row in rows.iter().take(SHOWN) {
                        tr { @for column in columns { td class=[numeric(column).then_some("number")] { (cell(column, row.get(&column.name))) } } }
                    }
                }
            }
        }
    }
}

fn numeric(column: &Column) -> bool {
    matches!(column.kind, "int" | "float")
}

fn cell(column: &Column, value: Option<&Value>) -> Markup {
    let text = match value {
        None | Some(Value::Null) => return html! { span.muted { "none" } },
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    if column.kind == "time" {
        return format::time(&text);
    }
    if text.chars().count() > CELL {
        let short: String = text.chars().take(CELL).collect();
        return html! { (short) "…" };
    }
    html! { (text) }
}

/// Draws an answer whose first column says what and whose other columns say how many: over time, or as a ranking.
fn picture(answer: &Answer, rows: &[Map<String, Value>]) -> Option<Markup> {
    let (first, rest) = answer.columns.split_first()?;
    let measures: Vec<&Column> = rest.iter().filter(|column| numeric(column)).take(LINES).collect();
    if rows.len() < 2 || measures.is_empty() || numeric(first) {
        return None;
    }
    match first.kind {
        "date" => over_days(first, &measures, rows),
        "string" => Some(ranking(first, measures.first()?, rows)),
        _ => None,
    }
}

fn amount(row: &Map<String, Value>, column: &Column) -> Option<u64> {
    let value = row.get(&column.name)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "pictures show whole, positive amounts"
    )]
    value.as_u64().or_else(|| value.as_f64().map(|value| value.max(0.0).round() as u64))
}

fn unit(column: &Column) -> Unit {
    let name = column.name.to_ascii_lowercase();
    if ["bytes", "sent", "received"].iter().any(|word| name.contains(word)) { Unit::Bytes } else { Unit::Count }
}

fn over_days(day: &Column, measures: &[&Column], rows: &[Map<String, Value>]) -> Option<Markup> {
    let date = |row: &Map<String, Value>| row.get(&day.name)?.as_str()?.parse::<Date>().ok();
    let days: Vec<Date> = rows.iter().filter_map(date).collect();
    let (first, last) = (days.iter().min()?, days.iter().max()?);
    let steps = usize::try_from(first.until(*last).ok()?.get_days()).ok()? + 1;
    let series = measures.iter().enumerate().map(|(place, measure)| {
        let mut values = vec![Some(0); steps.min(1_000)];
        for row in rows {
            let at = date(row).and_then(|date| usize::try_from(first.until(date).ok()?.get_days()).ok());
            if let Some(slot) = at.and_then(|at| values.get_mut(at)) {
                *slot = amount(row, measure);
            }
        }
        Series { name: measure.name.clone(), tone: Tone::of(place), values }
    });
    let chart = TimeSeries {
        id: "explored",
        title: "By day",
        clock: Clock { start: first.to_zoned(TimeZone::UTC).ok()?.timestamp(), step: Step::Day, zone: TimeZone::UTC },
        unit: unit(measures.first()?),
        fold: Fold::Sum,
        form: Drawn::Lines,
        series: series.collect(),
        before: None,
    };
    Some(chart.draw())
}

fn ranking(what: &Column, measure: &Column, rows: &[Map<String, Value>]) -> Markup {
    let bars = rows.iter().take(BARS).filter_map(|row| {
        let name = row.get(&what.name)?.as_str().filter(|name| !name.is_empty()).unwrap_or("none").to_owned();
        Some(Bar { name, link: None, values: vec![amount(row, measure)?], before: None })
    });
    let title = format!("{} by {}", measure.name, what.name);
    Bars { title: &title, unit: unit(measure), parts: vec![(&measure.name, Tone::One)], bars: bars.collect() }.draw()
}
