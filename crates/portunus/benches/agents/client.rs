//! An MCP client that calls one tool over and over and believes no answer unread.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::measure::Measured;
use crate::measure::process::{cpu_seconds, family};
use crate::measure::turns::{Turn, Turns};

const VERSION: &str = "2025-06-18";

/// Where tools are called.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) query: &'static str,
    /// The tool that adds, by its name there.
    pub(crate) tool: &'static str,
    /// Whose CPU is counted.
    pub(crate) process: u32,
}

/// A client in its session.
pub(crate) struct Client {
    site: Site,
    session: Option<String>,
    next: u64,
}

impl Client {
    pub(crate) async fn begin(site: &Site) -> Result<Self> {
        let mut client = Self { site: site.clone(), session: None, next: 0 };
        let info = json!({ "name": "bench", "version": "1" });
        let params = json!({ "protocolVersion": VERSION, "capabilities": {}, "clientInfo": info });
        client.ask("initialize", params).await.context("initialize")?;
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let response = client.post(&message).await?;
        ensure!(response.status().is_success(), "initialized: {}", response.status());
        Ok(client)
    }

    async fn post(&self, message: &Value) -> Result<reqwest::Response> {
        let mut request = self
            .site
            .client
            .post(format!("{}{}", self.site.url, self.site.query))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .json(message);
        for (name, value) in &self.site.headers {
            request = request.header(*name, value);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        Ok(request.send().await?)
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next += 1;
        let response =
            self.post(&json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params })).await?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = Some(session.to_str()?.to_owned());
        }
        let (status, text) = (response.status(), response.text().await?);
        // The answer is the last event of a stream.
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(&text);
        let mut answer: Value = serde_json::from_str(last.trim()).with_context(|| format!("{status}: {text}"))?;
        if answer["id"] != self.next || answer.get("result").is_none() {
            bail!("{status}: {text}");
        }
        Ok(answer["result"].take())
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value> {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    pub(crate) async fn add(&mut self, a: i64, b: i64) -> Result<i64> {
        let tool = self.site.tool;
        let result = self.call(tool, json!({ "a": a, "b": b })).await?;
        let text = result["content"][0]["text"].as_str().with_context(|| format!("no sum in {result}"))?;
        Ok(text.trim().parse()?)
    }

    /// Every definition, over all pages.
    pub(crate) async fn tools(&mut self) -> Result<Value> {
        let (mut found, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
            let mut page = self.ask("tools/list", params).await?;
            found.append(page["tools"].as_array_mut().context("no list")?);
            cursor = page["nextCursor"].take();
            if cursor.is_null() {
                return Ok(Value::Array(found));
            }
        }
    }
}

/// Calls over and over with so many clients at once, each in a session of its own.
pub(crate) async fn load(site: &Site, clients: usize, pause: Option<Duration>, length: Duration) -> Result<Measured> {
    let mut ready = Vec::new();
    for _ in 0..clients {
        let mut client = Client::begin(site).await?;
        client.add(1, 1).await?;
        ready.push(client);
    }
    let members = family(site.process)?;
    let (start, cpu) = (Instant::now(), cpu_seconds(&members));
    let mut tasks = JoinSet::new();
    let mut turns = pause.map(Turns::new);
    for client in ready {
        let turn = turns.as_mut().map_or_else(Turn::always, Turns::client);
        tasks.spawn(repeat(client, turn, start + length));
    }
    if let Some(turns) = turns {
        turns.begin(start + length);
    }
    let mut latencies = Vec::new();
    while let Some(times) = tasks.join_next().await {
        latencies.extend(times??);
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_seconds(&members) - cpu);
    ensure!(!latencies.is_empty(), "no call was answered");
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |share: f64| latencies[((count - 1) as f64 * share) as usize];
    let rate = count as f64 / elapsed.as_secs_f64();
    Ok(Measured { rate, cpu: cpu / count as f64, count: count as u64, p50: at(0.50), p99: at(0.99) })
}

async fn repeat(mut client: Client, mut turn: Turn, until: Instant) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for number in 0.. {
        if !turn.next().await {
            break;
        }
        let start = Instant::now();
        let sum = client.add(number, 7).await?;
        latencies.push(start.elapsed());
        ensure!(sum == number + 7, "{number} and 7 are said to be {sum}");
        if Instant::now() >= until {
            break;
        }
    }
    Ok(latencies)
}
