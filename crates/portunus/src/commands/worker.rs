//! `portunus worker test`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use console::{PreviewEvent, PreviewReport};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use server::trial::{self, Trial};

use crate::arguments::Worker;

/// The request file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    cf: Option<Value>,
}

pub(crate) async fn run(worker: Worker) -> Result<ExitCode> {
    let Worker::Test { file, request, variables, egress, json } = worker;
    let source = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = std::fs::read_to_string(&request).with_context(|| format!("cannot read {}", request.display()))?;
    let request: Request =
        serde_json::from_str(&text).with_context(|| format!("{} is not a request", request.display()))?;
    let file_name = file.file_name().context("the script has no file name")?.to_string_lossy().into_owned();
    let event = PreviewEvent::Fetch {
        url: request.url,
        method: request.method,
        headers: request.headers.into_iter().collect(),
        body: request.body,
        cf: request.cf,
    };
    let report =
        trial::run(Trial { file_name, source, variables: variables.into_iter().collect(), egress, event }).await?;
    let succeeded = matches!(report.outcome.as_str(), "response" | "request" | "none");
    if json {
        println!("{}", machine_readable(&report))
    } else {
        show(&report)
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn machine_readable(report: &PreviewReport) -> Value {
    let mut value = Map::new();
    value.insert("outcome".into(), json!(report.outcome));
    if !report.detail.is_null() {
        value.insert(report.outcome.clone(), report.detail.clone());
    }
    value.insert("logs".into(), json!(report.console));
    value.insert("subrequests".into(), json!(report.subrequests));
    value.insert("cpu_microseconds".into(), json!(report.cpu_microseconds));
    value.insert("wall_microseconds".into(), json!(report.wall_microseconds));
    Value::Object(value)
}

fn show(report: &PreviewReport) {
    for line in &report.console {
        println!("{:>5}  {}", line.level, line.message);
    }
    for subrequest in &report.subrequests {
        println!("fetch  {} {} -> {}", subrequest["method"], subrequest["url"], subrequest["status"]);
    }
    match report.outcome.as_str() {
        "none" => println!("no opinion: the next rule decides"),
        "response" => {
            println!("response {}", report.detail["status"]);
            show_message(&report.detail);
        }
        "request" => {
            println!("request {} {}", text(&report.detail["method"]), text(&report.detail["url"]));
            show_message(&report.detail);
        }
        _ => println!("{} ({})\n{}", text(&report.detail["message"]), report.outcome, text(&report.detail["stack"])),
    }
    println!("\n{} us CPU, {} us elapsed", report.cpu_microseconds, report.wall_microseconds);
}

fn show_message(detail: &Value) {
    for header in detail["headers"].as_array().into_iter().flatten() {
        println!("{}: {}", text(&header[0]), text(&header[1]));
    }
    println!("\n{}", text(&detail["body"]));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
