//! `portunus replay`: what a draft of the rules would have changed for the traffic that a platform recorded.
//!
//! It asks the platform that runs over a data directory, shows how far it is, and prints the report. Invariant: the
//! credential that it makes for itself is gone once the platform has begun, however the command ends.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use store::Permission;

use super::door::{Door, accepted, events, field};
use crate::arguments::Replay;

/// Most lines of one part of the summary.
const SHOWN: usize = 10;

pub(crate) async fn run(replay: Replay) -> Result<ExitCode> {
    let body = body(&replay)?;
    let mut door = Door::find(&replay.state).await?;
    let begun = door
        .pass("replay", &[Permission::GatewayRead, Permission::LogsRead], async |visit| {
            let request = visit.request(reqwest::Method::POST, "/gateway/rules/replay");
            let sent = request.header("accept", "text/event-stream").json(&body).send().await;
            accepted(sent.context("cannot reach the platform")?).await
        })
        .await?;
    let Some(stream) = begun else { bail!("interrupted") };
    let report = tokio::select! {
        report = follow(stream) => report?,
        // Hanging up ends it there, too.
        () = door.asked_to_end() => bail!("interrupted"),
    };
    if replay.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", summary(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// The request: what to replay, and over which part of the log.
fn body(replay: &Replay) -> Result<Value> {
    let mut body = Map::new();
    if let Some(path) = &replay.rules {
        let rules = read(path)?;
        if !rules.is_array() {
            bail!("{} is not a JSON array of rules", path.display());
        }
        body.insert("rules".to_owned(), rules);
    } else if let Some(path) = &replay.rule {
        let rule = read(path)?;
        if !rule.is_object() {
            bail!("{} is not a rule, which is a JSON object", path.display());
        }
        body.insert("rule".to_owned(), rule);
    } else if let Some(id) = &replay.rule_id {
        let action = if replay.enable {
            "enable"
        } else if replay.delete {
            "delete"
        } else {
            "disable"
        };
        body.insert("change".to_owned(), json!({ "rule_id": id, "action": action }));
    }
    let texts = [("since", Some(&replay.since)), ("until", replay.until.as_ref())];
    body.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str())))));
    body.insert("limit".to_owned(), Value::from(replay.limit));
    body.insert("seconds".to_owned(), Value::from(replay.seconds));
    Ok(Value::Object(body))
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Shows the progress until the result is there.
async fn follow(mut stream: reqwest::Response) -> Result<Value> {
    // It draws on a terminal alone.
    let bar = ProgressBar::new(1_000);
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}")?);
    let mut buffer = Vec::new();
    while let Some(chunk) = stream.chunk().await.context("the platform ended the replay")? {
        buffer.extend_from_slice(&chunk);
        for event in events(&mut buffer) {
            let Some(data) = field(&event, "data") else { continue };
            let data: Value = serde_json::from_str(data).context("the platform's answer cannot be read")?;
            match field(&event, "event") {
                Some("progress") => {
                    let share = data["fraction"].as_f64().unwrap_or_default();
                    bar.set_position((share * 1_000.0) as u64);
                    bar.set_message(format!("{} records, {} changed", data["scanned"], data["changed"]));
                }
                Some("result") => {
                    bar.finish_and_clear();
                    return Ok(data);
                }
                Some("error") => bail!("{}", data["message"].as_str().unwrap_or("the replay failed")),
                _ => {}
            }
        }
    }
    bail!("the platform ended the replay before its result")
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// What a person wants to know first, then the rest.
fn summary(report: &Value) -> String {
    let mut out = String::new();
    let records = &report["records"];
    let _ = writeln!(out, "{} to {}", text(report, "reached"), text(report, "until"));
    if report["complete"] == false {
        let why =
            if report["stopped_by"] == "limit" { "the number of records (--limit)" } else { "the time (--seconds)" };
        let _ = writeln!(out, "PARTIAL: stopped at {why}; the period asked for begins at {}", text(report, "since"));
    }
    for (name, says) in [
        ("scanned", "records looked at"),
        ("changed", "would change"),
        ("unchanged", "would not"),
        ("undecided", "hang on facts that are not recorded"),
        ("set_aside", "no rule is asked about"),
    ] {
        let _ = writeln!(out, "{:>10}  {says}", records[name].to_string());
    }
    changes(&mut out, report);
    rankings(&mut out, report);
    let unknown = report["unknown"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !unknown.is_empty() {
        let _ = writeln!(out, "\nnot recorded, and deciding");
        for one in unknown.iter().take(SHOWN) {
            let _ = writeln!(out, "{:>10}  {}: {}", one["records"].to_string(), text(one, "fact"), text(one, "why"));
        }
    }
    let in_force = &report["in_force"];
    if in_force["differs"].as_u64().is_some_and(|count| count > 0) {
        let _ = writeln!(
            out,
            "\n{} records were decided otherwise at the time than the rules in force would now",
            in_force["differs"]
        );
    }
    for rule in report["broken_rules"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "\nrule {:?} does not compile and took no part", text(rule, "name"));
    }
    out
}

fn ruling(ruling: &Value) -> String {
    if ruling.is_null() {
        return "not certain".to_owned();
    }
    match ruling["rule_name"].as_str() {
        Some(rule) => format!("{} by {rule:?}", text(ruling, "action")),
        None => text(ruling, "action").to_owned(),
    }
}

fn changes(out: &mut String, report: &Value) {
    for change in report["transitions"].as_array().into_iter().flatten().take(SHOWN) {
        let at_least = if change["people_exact"] == false { "at least " } else { "" };
        let (from, to) = (ruling(&change["from"]), ruling(&change["to"]));
        let _ = writeln!(out, "\n{from} -> {to}");
        let _ = writeln!(out, "{:>10}  records, {at_least}{} people", change["records"].to_string(), change["people"]);
        for example in change["examples"].as_array().into_iter().flatten().take(3) {
            let (at, person) = (text(example, "at"), text(example, "person"));
            let _ =
                writeln!(out, "            {at}  {person}  {} {}", text(example, "method"), text(example, "target"));
        }
    }
}

fn rankings(out: &mut String, report: &Value) {
    for (member, title) in
        [("people", "who would meet a change"), ("hosts", "where"), ("applications", "in which applications")]
    {
        let top = report[member]["top"].as_array().map(Vec::as_slice).unwrap_or_default();
        if top.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{title} ({} in all)", report[member]["distinct"]);
        for one in top.iter().take(SHOWN) {
            let _ = writeln!(out, "{:>10}  {}", one["records"].to_string(), text(one, "name"));
        }
    }
}
