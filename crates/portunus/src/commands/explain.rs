//! `portunus explain`: what a rule set decides for given facts, and why, without a platform.
//!
//! It asks the rules of connections first and then those of web requests, as the gateway does. Invariant: what it was not
//! given, a fact or a list, is unknown and never empty, and it says what the verdict would hang on.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use expr::{List, Lists};
use policy::hook::http;
use policy::lists::ListType;
use policy::{CompileOptions, Evaluation, FactsDocument, Hook, RuleSpec, SpecError, StoredRule};
use serde_json::{Map, Value, json};
use types::RuleId;
use uuid::Uuid;

use crate::arguments::Explain;

/// Facts of a connection under the names that web requests have for them.
const SAME: [(&str, &str); 4] = [
    ("http.conn.src_ip", "net.src.ip"),
    ("http.conn.src_port", "net.src.port"),
    ("http.conn.dst_ip", "net.dst.ip"),
    ("http.conn.dst_port", "net.dst.port"),
];

pub(crate) fn run(explain: &Explain) -> Result<ExitCode> {
    let lists = explain.lists.as_deref().map_or_else(|| Ok(Given::default()), Given::read)?;
    let (request, connection) = facts(&explain.facts)?;
    let rules = rules(&explain.rules)?;
    let report = policy::compile(&rules, &lists, CompileOptions::default());
    if let Some(broken) = report.errors.first() {
        bail!("rule {:?} does not compile:\n{}", broken.name, listed(&broken.errors));
    }
    let now = jiff::Timestamp::now();
    let of_connections = rules.iter().any(|rule| rule.spec.hook == Hook::L4);
    let before = of_connections.then(|| timed(|| report.l4.evaluate(&connection, now)));
    let evaluation = timed(|| report.http.evaluate(&request, now));
    let missing = lists.missing.into_inner();
    if explain.json {
        let mut document = serde_json::to_value(&evaluation)?;
        document["connection"] = serde_json::to_value(&before)?;
        document["lists_not_given"] = json!(missing);
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(before) = &before {
        println!("connection");
        print(before, &connection)?;
        if before.verdict.action == "block" {
            println!("the connection is refused, so its requests are not looked at; if it were not:");
        }
        println!("request");
    }
    print(&evaluation, &request)?;
    if !missing.is_empty() {
        println!("lists that were not given, whose rules count as not matching (--lists):");
        for name in &missing {
            println!("  {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn timed(evaluate: impl FnOnce() -> Evaluation) -> Evaluation {
    let started = Instant::now();
    let mut evaluation = evaluate();
    evaluation.trace.microseconds = u64::try_from(started.elapsed().as_micros()).ok();
    evaluation
}

fn print(evaluation: &Evaluation, facts: &FactsDocument) -> Result<()> {
    let verdict = &evaluation.verdict;
    match &verdict.rule {
        Some(rule) => println!("{} by rule {:?}", verdict.action, rule.name),
        None => println!("{}: no rule matched", verdict.action),
    }
    if let Some(error) = &verdict.error {
        println!("because a rule cannot be evaluated: {error}");
    }
    if let Some(waiting) = &verdict.waits_for {
        let scheme = facts.hook().scheme();
        // What is known and waited for all the same is looked for in a list that was not given.
        let known = |name: &str| scheme.id(name).is_some_and(|field| facts.known().contains(field));
        let missing: Vec<&str> = waiting.fields.iter().copied().filter(|name| !known(name)).collect();
        if missing.is_empty() {
            println!("not final: it hangs on lists that were not given");
        } else {
            println!("while these facts are missing: {}", missing.join(", "));
        }
    }
    for next in &evaluation.if_declined {
        let rule = next.rule.as_ref().map_or_else(String::new, |rule| format!(" by rule {:?}", rule.name));
        println!("then, if the Worker has no opinion: {}{rule}", next.action);
    }
    for rule in &evaluation.rules {
        let outcome = serde_json::to_value(rule.outcome)?;
        let outcome = outcome.as_str().unwrap_or_default();
        println!("  {:>5}  {outcome:<14} {:<10} {}", rule.precedence, rule.action, rule.name);
    }
    if !evaluation.trace.facts.is_empty() {
        println!("facts used");
        for (name, value) in &evaluation.trace.facts {
            println!("  {name} = {value}");
        }
    }
    if let Some(micros) = evaluation.trace.microseconds {
        println!("decided and explained in {micros} µs");
    }
    Ok(())
}

fn rules(path: &Path) -> Result<Vec<StoredRule>> {
    let Value::Array(rules) = read(path)? else { bail!("{} is not a JSON array of rules", path.display()) };
    let mut stored = Vec::with_capacity(rules.len());
    for (index, body) in rules.iter().enumerate() {
        let spec = RuleSpec::parse(body)
            .map_err(|errors| anyhow!("{}, rule {index}:\n{}", path.display(), listed(&errors)))?;
        let id = body["id"].as_str().and_then(|id| id.parse().ok());
        let id = id.unwrap_or_else(|| RuleId(Uuid::from_u128(index as u128 + 1)));
        let precedence = spec.precedence.unwrap_or_else(|| i64::try_from(index).unwrap_or(i64::MAX));
        stored.push(StoredRule { id, precedence, spec });
    }
    Ok(stored)
}

/// Reads the facts of a request and of the connection it comes over from one document.
fn facts(path: &Path) -> Result<(FactsDocument, FactsDocument)> {
    let Value::Object(members) = read(path)? else { bail!("{} is not a JSON object of facts", path.display()) };
    let (mut request, mut connection) = (Map::new(), Map::new());
    for (name, value) in members {
        let of_connections = Hook::L4.scheme().id(&name).is_some();
        if of_connections {
            connection.insert(name.clone(), value.clone());
        }
        // A name that nothing has is refused with the fields of web requests.
        if Hook::Http.scheme().id(&name).is_some() || !of_connections {
            request.insert(name, value);
        }
    }
    for (of_request, of_connection) in SAME {
        if let Some(value) = request.get(of_request)
            && !connection.contains_key(of_connection)
        {
            connection.insert(of_connection.to_owned(), value.clone());
        }
    }
    let parse = |hook, members: Map<String, Value>| {
        FactsDocument::parse(hook, &Value::Object(members))
            .map_err(|errors| anyhow!("{}:\n{}", path.display(), listed(&errors)))
    };
    let request = parse(Hook::Http, request)?;
    if !connection.contains_key("net.sni.host")
        && let Some(host) = request.text(http::id::HOST)
    {
        connection.insert("net.sni.host".to_owned(), json!(host));
    }
    let connection = parse(Hook::L4, connection)?;
    Ok((request, connection))
}

/// The lists that were given, and the names of those that a rule asked for in vain.
#[derive(Default)]
struct Given {
    lists: HashMap<String, Arc<List>>,
    missing: RefCell<BTreeSet<String>>,
}

impl Given {
    /// Reads lists as the API shows them: `id`, `type` and `items`, each a text or an object with a `value`.
    fn read(path: &Path) -> Result<Self> {
        let Value::Array(found) = read(path)? else { bail!("{} is not a JSON array of lists", path.display()) };
        let mut lists = HashMap::with_capacity(found.len());
        for (index, list) in found.iter().enumerate() {
            let fault = |what: &str| anyhow!("{}, list {index}: {what}", path.display());
            let id = list["id"].as_str().ok_or_else(|| fault("`id` is missing"))?;
            let kind =
                list["type"].as_str().and_then(ListType::named).ok_or_else(|| fault("`type` is no list type"))?;
            let items = list["items"].as_array().ok_or_else(|| fault("`items` is not an array"))?;
            let items: Option<Vec<&str>> = items.iter().map(|item| item.as_str().or(item["value"].as_str())).collect();
            let items = items.ok_or_else(|| fault("an item is neither a text nor an object with a `value`"))?;
            let compiled = policy::lists::compile(kind, &items)
                .map_err(|errors| fault(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
            lists.insert(id.to_ascii_lowercase(), Arc::new(compiled));
        }
        Ok(Self { lists, missing: RefCell::default() })
    }
}

impl Lists for Given {
    fn list(&self, name: &str) -> Option<Arc<List>> {
        let found = self.lists.get(name).map(Arc::clone);
        Some(found.unwrap_or_else(|| {
            self.missing.borrow_mut().insert(name.to_owned());
            Arc::new(List::unknown())
        }))
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn listed(errors: &[SpecError]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}
