//! MCP servers that people's agents reach through the gateway: which, by whom, what is called there, and rules about them.
//!
//! Everything is asked of the recorded traffic when somebody looks. A rule is drafted and never saved here. Invariants: it
//! reads what [`ReadLogs`] allows and nothing else; no text of the caller is part of a query's text.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use logs::Dataset;
use logs::sql::{Answer, Bounds, Parameter, Progress};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{ReadAccess, ReadLogs};
use types::Code;
use utoipa::ToSchema;

use super::{explorer, time};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Days that are looked at, and at most.
pub const DAYS: u16 = 30;
const MOST_DAYS: u16 = 400;
/// Servers of a list; people, tools and clients of a server.
const SERVERS: usize = 500;
const ROWS: usize = 200;

/// A server that somebody reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpSeen {
    pub host: String,
    /// What it calls itself, or is known as; empty when neither is known.
    pub server: String,
    pub first_seen: String,
    pub last_seen: String,
    pub people: u64,
    pub requests: u64,
    /// Requests that call tools.
    pub calls: u64,
    /// Different tools that were called.
    pub tools: u64,
    /// Different programs that said what they are.
    pub clients: u64,
    /// Requests that were stopped.
    pub blocked: u64,
    /// `portal`, `behind_portal`, or empty: it is in the shadow. What a single request says against it counts.
    pub portal: String,
    /// The name of a known public server at this host.
    pub known: Option<&'static str>,
}

/// A server with who uses it, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpSeenDetail {
    pub server: McpSeen,
    pub people: Vec<McpSeenPerson>,
    pub tools: Vec<McpSeenTool>,
    pub clients: Vec<McpSeenClient>,
    pub days: Vec<McpSeenDay>,
}

/// Somebody whose agent reached a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpSeenPerson {
    /// Empty for traffic of nobody who signed in.
    pub email: String,
    pub requests: u64,
    pub calls: u64,
    pub last_seen: String,
}

/// A tool that was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpSeenTool {
    pub tool: String,
    pub calls: u64,
    pub people: u64,
    pub last_seen: String,
}

/// A program that spoke to a server, with the version of the protocol it spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpSeenClient {
    /// What it calls itself; its `User-Agent` where it did not say.
    pub client: String,
    pub protocol_version: String,
    pub requests: u64,
    pub people: u64,
}

/// A day in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct McpSeenDay {
    pub date: String,
    pub requests: u64,
    pub blocked: u64,
    pub people: u64,
}

/// What one may do about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Stop it.
    Block,
    /// Send it to the portal.
    Redirect,
    /// Keep its messages, masked.
    Log,
}

impl Act {
    fn named(name: &str) -> Result<Self, Failure> {
        match name {
            "block" => Ok(Self::Block),
            "redirect" => Ok(Self::Redirect),
            "log" => Ok(Self::Log),
            _ => Err(Failure::new(Code::InvalidInput, "query parameter \"action\" must be block, redirect or log")),
        }
    }
}

/// The period that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub days: u16,
}

impl Period {
    /// Reads a number of days; nothing is [`DAYS`].
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says what is possible.
    pub fn read(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self { days: DAYS });
        }
        let days = text.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days)).ok_or_else(|| {
            Failure::new(Code::InvalidInput, format!("query parameter \"days\" must be 1 to {MOST_DAYS}"))
        })?;
        Ok(Self { days })
    }

    fn since(self, now: Timestamp) -> Timestamp {
        now.checked_sub(SignedDuration::from_hours(24 * i64::from(self.days))).unwrap_or(Timestamp::MIN)
    }
}

/// What stands in every query: the period, in full days first so that other days are not opened.
macro_rules! seen {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM gateway_http WHERE IsMCP AND date >= CAST($since AS DATE) AND Datetime >= $since ",
            $rest
        )
    };
}

/// One row for each server; calls may be in a batch with others.
macro_rules! summary {
    ($rest:literal) => {
        seen!(
            "HTTPHost AS host, MAX(MCPServerName) AS server, MIN(Datetime) AS first_seen, MAX(Datetime) AS last_seen, \
             COUNT(DISTINCT Email) AS people, COUNT(*) AS requests, \
             SUM(CASE WHEN MCPTool <> '' THEN 1 ELSE 0 END) AS calls, \
             COUNT(DISTINCT CASE WHEN MCPTool <> '' THEN MCPTool END) AS tools, \
             COUNT(DISTINCT CASE WHEN MCPClientName <> '' THEN MCPClientName END) AS clients, \
             SUM(CASE WHEN Action = 'block' THEN 1 ELSE 0 END) AS blocked, MIN(MCPPortal) AS portal",
            $rest
        )
    };
}

const ALL: &str = summary!("GROUP BY HTTPHost ORDER BY people DESC, requests DESC, host");
const ONE: &str = summary!("AND HTTPHost = $host GROUP BY HTTPHost");
const PEOPLE: &str = seen!(
    "Email AS person, COUNT(*) AS requests, SUM(CASE WHEN MCPTool <> '' THEN 1 ELSE 0 END) AS calls, \
     MAX(Datetime) AS last_seen",
    "AND HTTPHost = $host GROUP BY Email ORDER BY calls DESC, requests DESC, person"
);
const TOOLS: &str = seen!(
    "MCPTool AS tool, COUNT(*) AS calls, COUNT(DISTINCT Email) AS people, MAX(Datetime) AS last_seen",
    "AND HTTPHost = $host AND MCPTool <> '' GROUP BY MCPTool ORDER BY calls DESC, tool"
);
const CLIENTS: &str = seen!(
    "CASE WHEN MCPClientName <> '' THEN MCPClientName ELSE UserAgent END AS client, \
     MCPProtocolVersion AS protocol_version, COUNT(*) AS requests, COUNT(DISTINCT Email) AS people",
    "AND HTTPHost = $host GROUP BY 1, 2 ORDER BY people DESC, requests DESC, client"
);
const EACH_DAY: &str = seen!(
    "date, COUNT(*) AS requests, SUM(CASE WHEN Action = 'block' THEN 1 ELSE 0 END) AS blocked, \
     COUNT(DISTINCT Email) AS people",
    "AND HTTPHost = $host GROUP BY date ORDER BY date"
);

type Row = Map<String, Value>;

async fn ask(cx: &OpContext, period: Period, sql: &str, host: Option<&str>, rows: usize) -> Result<Vec<Row>, Failure> {
    let mut parameters = vec![("since", Parameter::Time(period.since(cx.now())))];
    parameters.extend(host.map(|host| ("host", Parameter::Text(host.to_owned()))));
    let bounds = Bounds { rows, ..Bounds::default() };
    let datasets = [Dataset::GatewayHttp];
    let logs = &cx.app.deps.logs;
    let progress: Arc<Progress> = Arc::default();
    let answer: Answer =
        logs.sql_with(cx.account, &datasets, sql, parameters, bounds, progress).await.map_err(explorer::failed)?;
    answer.rows().map_err(|error| Failure::internal("rows of an answer", &std::io::Error::other(error)))
}

fn text(row: &Row, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(row: &Row, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn moment(row: &Row, name: &str) -> String {
    let text = text(row, name);
    text.parse::<Timestamp>().map_or(text, time)
}

fn server(row: &Row) -> McpSeen {
    let host = text(row, "host");
    McpSeen {
        server: text(row, "server"),
        first_seen: moment(row, "first_seen"),
        last_seen: moment(row, "last_seen"),
        people: number(row, "people"),
        requests: number(row, "requests"),
        calls: number(row, "calls"),
        tools: number(row, "tools"),
        clients: number(row, "clients"),
        blocked: number(row, "blocked"),
        portal: text(row, "portal"),
        known: inspect::mcp::known_server(&host).map(|server| server.name.as_str()),
        host,
    }
}

/// Lists the servers that were reached in a period, those of most people first.
///
/// # Errors
///
/// A [`Failure`] for the caller; `Unavailable` in a program without SQL.
pub async fn list(cx: &OpContext, period: Period) -> Result<Vec<McpSeen>, Failure> {
    cx.authorize::<ReadLogs>()?;
    Ok(ask(cx, period, ALL, None, SERVERS).await?.iter().map(server).collect())
}

/// Returns one server with its people, tools, clients and days.
///
/// # Errors
///
/// `NotFound` when nobody reached it in the period, and as [`list`].
pub async fn get(cx: &OpContext, period: Period, host: &str) -> Result<McpSeenDetail, Failure> {
    cx.authorize::<ReadLogs>()?;
    let of = |sql: &'static str, rows: usize| ask(cx, period, sql, Some(host), rows);
    let found = of(ONE, 1).await?.first().map(server);
    let server = found.ok_or_else(|| Failure::not_found("MCP server in the traffic of this period"))?;
    let (people, tools) = tokio::try_join!(of(PEOPLE, ROWS), of(TOOLS, ROWS))?;
    let (clients, days) = tokio::try_join!(of(CLIENTS, ROWS), of(EACH_DAY, usize::from(MOST_DAYS) + 1))?;
    Ok(McpSeenDetail {
        server,
        people: people
            .iter()
            .map(|row| McpSeenPerson {
                email: text(row, "person"),
                requests: number(row, "requests"),
                calls: number(row, "calls"),
                last_seen: moment(row, "last_seen"),
            })
            .collect(),
        tools: tools
            .iter()
            .map(|row| McpSeenTool {
                tool: text(row, "tool"),
                calls: number(row, "calls"),
                people: number(row, "people"),
                last_seen: moment(row, "last_seen"),
            })
            .collect(),
        clients: clients
            .iter()
            .map(|row| McpSeenClient {
                client: text(row, "client"),
                protocol_version: text(row, "protocol_version"),
                requests: number(row, "requests"),
                people: number(row, "people"),
            })
            .collect(),
        days: days
            .iter()
            .map(|row| McpSeenDay {
                date: text(row, "date"),
                requests: number(row, "requests"),
                blocked: number(row, "blocked"),
                people: number(row, "people"),
            })
            .collect(),
    })
}

/// Drafts a rule about a server, to be replayed and saved by whoever asked.
///
/// # Errors
///
/// `NotFound` for a server that nobody reached, and a [`Failure`] for an act that is none, a host that cannot be one, and no
/// portal to redirect to.
pub async fn draft(cx: &OpContext, host: &str, act: &str) -> Result<Map<String, Value>, Failure> {
    cx.authorize::<ReadLogs>()?;
    if ask(cx, Period { days: MOST_DAYS }, ONE, Some(host), 1).await?.is_empty() {
        return Err(Failure::not_found("MCP server in the traffic"));
    }
    let act = Act::named(act)?;
    let plain =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':' | '[' | ']');
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return Err(Failure::new(Code::InvalidInput, "the host must be a host name or an address"));
    }
    let portal = portal(cx).await?;
    let instead = portal.as_deref().map_or_else(
        || "This MCP server is not approved here.".to_owned(),
        |portal| format!("Use the company's portal for agents: {portal}"),
    );
    let (name, action, settings) = match (act, portal) {
        (Act::Block, _) => {
            (format!("Block MCP at {host}"), "block", json!({"block_page_enabled": true, "block_reason": instead}))
        }
        (Act::Redirect, Some(portal)) => {
            (format!("MCP at {host} goes to the portal"), "redirect", json!({"redirect": {"target_uri": portal}}))
        }
        (Act::Redirect, None) => {
            return Err(Failure::new(
                Code::InvalidInput,
                "there is no portal to send agents to; make one under Agents",
            ));
        }
        (Act::Log, _) => {
            (format!("Allow MCP at {host} and keep its messages"), "allow", json!({"payload_log": {"enabled": true}}))
        }
    };
    let rule = json!({
        "name": name,
        "description": "Drafted from the MCP servers that were seen.",
        "action": action,
        "filters": ["http"],
        "enabled": true,
        "traffic": format!("experimental.is_mcp and http.request.host == \"{host}\""),
        "rule_settings": settings,
    });
    Ok(rule.as_object().cloned().unwrap_or_default())
}

/// The address of the account's first portal; who may not look at portals gets none named.
///
/// # Errors
///
/// The store does not answer.
pub async fn portal(cx: &OpContext) -> Result<Option<String>, Failure> {
    let Ok(grant) = cx.authorize::<ReadAccess>() else { return Ok(None) };
    let portals = cx.store().mcp_portals().list(&grant).await?;
    let address = |host: &str| format!("{}/mcp", cx.app.deps.addresses.of_access(host));
    Ok(portals.first().map(|portal| address(&portal.document.hostname)))
}
