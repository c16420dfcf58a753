//! `mcp-contextforge-gateway` (PyPI) on SQLite in front of the same server, as its own documentation starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::Site;
use crate::measure::process::{await_listener, end, free_port, pin_family};
use crate::server::Servers;

const SECRET: &str = "only-for-this-measurement-and-long-enough";
const ADMIN: &str = "admin@example.test";
const SETTINGS: [(&str, &str); 11] = [
    ("JWT_SECRET_KEY", SECRET),
    ("AUTH_ENCRYPTION_SECRET", SECRET),
    ("PLATFORM_ADMIN_EMAIL", ADMIN),
    ("CACHE_TYPE", "memory"),
    ("LOG_LEVEL", "ERROR"),
    ("MCPGATEWAY_UI_ENABLED", "false"),
    ("MCPGATEWAY_ADMIN_API_ENABLED", "true"),
    ("SSRF_ALLOW_LOCALHOST", "true"),
    ("SSRF_ALLOW_PRIVATE_NETWORKS", "true"),
    ("PLUGINS_ENABLED", "false"),
    ("RATE_LIMITING_ENABLED", "false"),
];

pub(crate) struct Peer {
    child: Child,
    pub(crate) site: Site,
}

impl Drop for Peer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Peer {
    pub(crate) async fn start(work: &Path, servers: &Servers) -> Result<Self> {
        let directory = PathBuf::from(std::env::var("CONTEXTFORGE").context("CONTEXTFORGE names no directory")?);
        let address = free_port()?;
        let database = format!("sqlite:///{}", work.join("mcp.db").display());
        let child = Command::new(directory.join("bin/mcpgateway"))
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .current_dir(work)
            .env("DATABASE_URL", &database)
            .envs(SETTINGS)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("mcpgateway")?;
        let token = Command::new(directory.join("bin/python"))
            .args(["-m", "mcpgateway.utils.create_jwt_token", "--username", ADMIN, "--exp", "600", "--secret", SECRET])
            .current_dir(work)
            .env("DATABASE_URL", &database)
            .envs(SETTINGS)
            .output()?;
        let token = String::from_utf8(token.stdout)?.lines().last().context("no token")?.trim().to_owned();
        let mut peer = Self {
            site: Site {
                url: String::new(),
                client: reqwest::Client::new(),
                headers: vec![("authorization", format!("Bearer {token}"))],
                query: "",
                tool: "",
                process: child.id(),
            },
            child,
        };
        await_listener(address)?;
        pin_family(peer.child.id(), "0")?;
        let server = peer.register(address, servers).await?;
        peer.site.url = format!("http://{address}/servers/{server}/mcp");
        Ok(peer)
    }

    async fn api(&self, method: reqwest::Method, url: String, body: Option<Value>) -> Result<Value> {
        let mut request = self.site.client.request(method, &url);
        for (name, value) in &self.site.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        if !status.is_success() {
            bail!("{url}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Puts the first server behind it and returns the id under which its tools are offered.
    async fn register(&mut self, address: SocketAddr, servers: &Servers) -> Result<String> {
        let at = |path: &str| format!("http://{address}{path}");
        let gateway = json!({ "name": "s0", "url": servers.usual(0), "transport": "STREAMABLEHTTP" });
        // It takes requests before it is ready for them.
        let mut last = None;
        for _ in 0..60 {
            match self.api(reqwest::Method::POST, at("/gateways"), Some(gateway.clone())).await {
                Ok(_) => {
                    last = None;
                    break;
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if let Some(error) = last {
            return Err(error);
        }
        let tools = self.api(reqwest::Method::GET, at("/tools?limit=0"), None).await?;
        let tools = tools.as_array().or_else(|| tools["data"].as_array()).context("no tools")?.clone();
        let ids: Vec<&Value> = tools.iter().map(|tool| &tool["id"]).collect();
        let name = tools.iter().filter_map(|tool| tool["name"].as_str()).find(|name| name.ends_with("add-0"));
        self.site.tool = name.context("the tool that adds is missing")?.to_owned().leak();
        let server = json!({ "server": { "name": "bench", "associated_tools": ids } });
        let server = self.api(reqwest::Method::POST, at("/servers"), Some(server)).await?;
        Ok(server["id"].as_str().context("no id")?.to_owned())
    }
}
