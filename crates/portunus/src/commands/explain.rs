//! `portunus explain`: what a rule set decides for given facts, and why, without a platform.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use policy::{CompileOptions, FactsDocument, Hook, RuleSpec, SpecError, StoredRule};
use serde_json::Value;
use types::RuleId;
use uuid::Uuid;

use super::check::AnyList;
use crate::arguments::Explain;

pub(crate) fn run(explain: &Explain) -> Result<ExitCode> {
    let rules = read(&explain.rules)?;
    let Value::Array(rules) = rules else { bail!("{} is not a JSON array of rules", explain.rules.display()) };
    let facts = read(&explain.facts)?;
    let facts = FactsDocument::parse(Hook::Http, &facts)
        .map_err(|errors| anyhow::anyhow!("{}:\n{}", explain.facts.display(), listed(&errors)))?;
    let mut stored = Vec::with_capacity(rules.len());
    for (index, body) in rules.iter().enumerate() {
        let spec = RuleSpec::parse(body)
            .map_err(|errors| anyhow::anyhow!("{}, rule {index}:\n{}", explain.rules.display(), listed(&errors)))?;
        let id = body["id"].as_str().and_then(|id| id.parse().ok());
        let id = id.unwrap_or_else(|| RuleId(Uuid::from_u128(index as u128 + 1)));
        let precedence = spec.precedence.unwrap_or_else(|| i64::try_from(index).unwrap_or(i64::MAX));
        stored.push(StoredRule { id, precedence, spec });
    }
    let report = policy::compile(&stored, &AnyList, CompileOptions::default());
    if let Some(broken) = report.errors.first() {
        bail!("rule {:?} does not compile:\n{}", broken.name, listed(&broken.errors));
    }
    let evaluation = report.http.evaluate(&facts, jiff::Timestamp::now());
    if explain.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
        return Ok(ExitCode::SUCCESS);
    }
    match &evaluation.verdict.rule {
        Some(rule) => println!("{} by rule {:?}", evaluation.verdict.action, rule.name),
        None => println!("{}: no rule matched", evaluation.verdict.action),
    }
    if let Some(waiting) = &evaluation.verdict.waits_for {
        println!("while these facts are missing: {}", waiting.fields.join(", "));
    }
    for rule in &evaluation.rules {
        let outcome = serde_json::to_value(rule.outcome)?;
        let outcome = outcome.as_str().unwrap_or_default();
        println!("  {:>5}  {outcome:<14} {:<10} {}", rule.precedence, rule.action, rule.name);
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn listed(errors: &[SpecError]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}
