//! The servers behind the portal: each adds, as fast as it can.

use std::net::SocketAddr;

use anyhow::Result;
use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::client::Site;

/// Servers; each has this many tools, and one server more has [`FEW`].
pub(crate) const COUNT: usize = 10;
const TOOLS: usize = 50;
/// The tools of the small portal.
pub(crate) const FEW: usize = 52;

pub(crate) struct Servers {
    pub(crate) address: SocketAddr,
}

impl Servers {
    pub(crate) async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{tools}/{number}/mcp", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address })
    }

    /// The address of a server with `tools` tools.
    pub(crate) fn url(&self, tools: usize, number: usize) -> String {
        format!("http://{}/{tools}/{number}/mcp", self.address)
    }

    pub(crate) fn usual(&self, number: usize) -> String {
        self.url(TOOLS, number)
    }

    /// A server as clients reach it without a portal.
    pub(crate) fn site(&self, number: usize, process: u32) -> Site {
        Site {
            url: self.usual(number),
            client: reqwest::Client::new(),
            headers: Vec::new(),
            query: "",
            tool: "add_0",
            process,
        }
    }
}

async fn answer(Path((tools, number)): Path<(usize, usize)>, Json(asked): Json<Value>) -> Response {
    let result = match asked["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": format!("sums {number}"), "version": "1" },
        }),
        "tools/list" => json!({ "tools": (0..tools).map(tool).collect::<Vec<_>>() }),
        "tools/call" => {
            let arguments = &asked["params"]["arguments"];
            let sum = arguments["a"].as_i64().unwrap_or(0) + arguments["b"].as_i64().unwrap_or(0);
            json!({ "content": [{ "type": "text", "text": sum.to_string() }], "isError": false })
        }
        "ping" => json!({}),
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result })).into_response()
}

/// A definition of usual size.
fn tool(number: usize) -> Value {
    json!({
        "name": format!("add_{number}"),
        "description": format!("Adds two numbers and returns their sum. Variant {number} is kept for callers of older versions."),
        "inputSchema": {
            "type": "object",
            "properties": {
                "a": { "type": "integer", "description": "The first number." },
                "b": { "type": "integer", "description": "The second number." },
            },
            "required": ["a", "b"],
        },
        "annotations": { "readOnlyHint": true },
    })
}
