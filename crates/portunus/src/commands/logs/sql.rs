//! `portunus logs sql`: one query about everything recorded, with its answer as a table, JSON or a file.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::Permission;

use crate::arguments::State;
use crate::commands::door::{Door, accepted, events, field};

/// How wide a column of the table gets, in characters.
const WIDEST: usize = 60;

/// What is asked.
pub(crate) enum Asked {
    /// A text; standard input where it is `-` or missing.
    Text(Option<String>),
    /// The saved query of this name.
    Saved(String),
}

pub(crate) async fn run(state: &State, asked: Asked, json: bool, output: Option<PathBuf>) -> Result<ExitCode> {
    let format = output.as_deref().map(format_of).transpose()?;
    let mut door = Door::find(state).await?;
    let query = match asked {
        Asked::Text(Some(query)) if query != "-" => query,
        Asked::Text(_) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the query from standard input")?;
            text
        }
        Asked::Saved(name) => match saved(&mut door, &name).await? {
            Some(query) => query,
            None => return Ok(ExitCode::FAILURE),
        },
    };
    let body = json!({ "query": query });
    let begun = door
        .pass("logs sql", &[Permission::LogsRead, Permission::AuditRead], async |visit| {
            let path = match format {
                Some(format) => format!("/logs/explorer/query?format={format}"),
                None => "/portunus/logs/explorer/stream".to_owned(),
            };
            let response = visit.request(reqwest::Method::POST, &path).json(&body).send().await;
            accepted(response.context("cannot reach the platform")?).await
        })
        .await?;
    let Some(response) = begun else { return Ok(ExitCode::FAILURE) };
    let Some(path) = output else {
        let answer = tokio::select! {
            answer = follow(response) => answer?,
            // Hanging up ends it there, too.
            () = door.asked_to_end() => bail!("interrupted"),
        };
        show(&answer, json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let bytes = response.bytes().await.context("the platform ended the answer")?;
    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{} in {}", HumanBytes(bytes.len() as u64), path.display());
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct Saved {
    name: String,
    sql: String,
}

#[derive(Deserialize)]
struct Listed {
    result: Vec<Saved>,
}

/// Returns the text of a saved query; `None` when the command was asked to end meanwhile.
async fn saved(door: &mut Door, name: &str) -> Result<Option<String>> {
    let listed = door
        .pass("logs sql", &[Permission::LogsRead], async |visit| {
            let response = visit.request(reqwest::Method::GET, "/portunus/logs/queries").send().await;
            let response = accepted(response.context("cannot reach the platform")?).await?;
            response.json::<Listed>().await.context("the saved queries cannot be read")
        })
        .await?;
    let Some(Listed { result: all }) = listed else { return Ok(None) };
    if let Some(found) = all.iter().find(|query| query.name == name) {
        return Ok(Some(found.sql.clone()));
    }
    let names: Vec<_> = all.iter().map(|query| format!("  {}", query.name)).collect();
    match names.is_empty() {
        true => bail!("there is no saved query yet: save one under Explore in the console"),
        false => bail!("no saved query is called {name:?}; there are\n{}", names.join("\n")),
    }
}

/// The form of a file by the end of its name.
fn format_of(path: &Path) -> Result<&'static str> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok("csv"),
        Some("jsonl" | "ndjson") => Ok("jsonl"),
        Some("parquet") => Ok("parquet"),
        _ => bail!("{}: the name must end in .csv, .jsonl or .parquet", path.display()),
    }
}

#[derive(Deserialize)]
struct Answer {
    columns: Vec<Column>,
    rows: Vec<Map<String, Value>>,
    truncated: bool,
    elapsed_ms: u64,
    rows_read: u64,
    bytes_read: u64,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Progress {
    rows_read: u64,
    rows_in_range: u64,
}

/// Waits for the answer and shows how far it is meanwhile.
async fn follow(mut stream: reqwest::Response) -> Result<Answer> {
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} rows, {elapsed}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let mut buffer = Vec::new();
    while let Some(chunk) = stream.chunk().await.context("the platform ended the query")? {
        buffer.extend_from_slice(&chunk);
        for event in events(&mut buffer) {
            let Some(data) = field(&event, "data") else { continue };
            match field(&event, "event") {
                Some("progress") => {
                    let progress: Progress = serde_json::from_str(data)?;
                    bar.set_length(progress.rows_in_range);
                    bar.set_position(progress.rows_read);
                }
                Some("answer") => {
                    bar.finish_and_clear();
                    return serde_json::from_str(data).context("the platform's answer cannot be read");
                }
                Some("error") => {
                    bar.finish_and_clear();
                    bail!("{}", serde_json::from_str::<String>(data)?);
                }
                _ => {}
            }
        }
    }
    bail!("the platform ended the query")
}

fn show(answer: &Answer, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        for row in &answer.rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
    } else {
        out.write_all(table(answer).as_bytes())?;
    }
    let more = if answer.truncated { ", more were left out" } else { "" };
    if !json || std::io::stderr().is_terminal() {
        eprintln!(
            "{} rows{more}; read {} rows, {} in {} ms",
            HumanCount(answer.rows.len() as u64),
            HumanCount(answer.rows_read),
            HumanBytes(answer.bytes_read),
            answer.elapsed_ms
        );
    }
    Ok(())
}

/// Lays rows out in columns.
fn table(answer: &Answer) -> String {
    let names: Vec<String> = answer.columns.iter().map(|column| column.name.clone()).collect();
    let cells = |row: &Map<String, Value>| names.iter().map(|name| cell(row.get(name))).collect::<Vec<_>>();
    let rows: Vec<_> = answer.rows.iter().map(cells).collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|at| rows.iter().chain([&names]).map(|row| row[at].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in [&names].into_iter().chain(&rows) {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns a value as a cell of a table: short, and without what would move a terminal's cursor.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let clean = text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character });
    let mut cell: String = clean.clone().take(WIDEST).collect();
    if clean.count() > WIDEST {
        cell.push('…');
    }
    cell
}
