//! Portals of the platform: one server, one with few tools, and ten servers with many; each for every service token.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::Platform;

use crate::client::Site;
use crate::server::{COUNT, FEW, Servers};

/// Callers.
const TOKENS: usize = 20;
const MCP: &str = "/access/ai-controls/mcp";
const HOSTS: [&str; 3] = ["one.localhost", "few.localhost", "many.localhost"];

pub(crate) struct Published<'p> {
    platform: &'p Platform,
    tokens: Vec<[(&'static str, String); 2]>,
    client: reqwest::Client,
    port: u16,
}

impl<'p> Published<'p> {
    pub(crate) async fn make(platform: &'p Platform, servers: &Servers) -> Result<Self> {
        let mut tokens = Vec::new();
        for number in 0..TOKENS {
            let name = json!({ "name": format!("agent {number}") });
            let token = platform.api("POST", "/access/service_tokens", Some(name)).await?;
            let text = |member: &str| token[member].as_str().map(str::to_owned).context("no credential");
            tokens.push([
                ("cf-access-client-id", text("client_id")?),
                ("cf-access-client-secret", text("client_secret")?),
            ]);
        }
        for number in 0..COUNT {
            server(platform, &format!("s{number}"), servers.usual(number)).await?;
        }
        server(platform, "few", servers.url(FEW, 0)).await?;
        let all: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
        for (id, members) in [("one", vec!["s0".to_owned()]), ("few", vec!["few".to_owned()]), ("many", all)] {
            let members: Vec<Value> =
                members.iter().map(|server| json!({ "server_id": server, "on_behalf": false })).collect();
            let host = format!("{id}.localhost");
            let portal = json!({ "id": id, "name": id, "hostname": host, "servers": members });
            platform.api("POST", &format!("{MCP}/portals"), Some(portal)).await?;
        }
        open(platform).await?;
        let port = platform.ready.access_url.parse::<reqwest::Url>()?.port().context("the listener has no port")?;
        let client = client(platform, port)?;
        let published = Self { platform, tokens, client, port };
        published.settled().await?;
        Ok(published)
    }

    /// Waits until what was stored is in force.
    async fn settled(&self) -> Result<()> {
        for host in HOSTS {
            let site = self.site(host);
            let mut last = None;
            for _ in 0..100 {
                match crate::client::Client::begin(&site).await {
                    Ok(mut client) => match client.tools().await?.as_array().map_or(0, Vec::len) {
                        0..50 => last = None,
                        _ => break,
                    },
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            if let Some(error) = last {
                return Err(error.context(host));
            }
        }
        Ok(())
    }

    pub(crate) fn site(&self, host: &str) -> Site {
        self.site_of(host, 0)
    }

    /// A portal as the caller of this number reaches it.
    pub(crate) fn site_of(&self, host: &str, caller: usize) -> Site {
        Site {
            url: format!("https://{host}:{}/mcp", self.port),
            client: self.client.clone(),
            headers: self.tokens[caller].to_vec(),
            query: "",
            tool: "s0_add_0",
            process: self.platform.process_id(),
        }
    }
}

/// Connections are shared: a session is more than one of them, and less.
fn client(platform: &Platform, port: u16) -> Result<reqwest::Client> {
    let authority = std::fs::read(&platform.ready.ca_certificate)?;
    let mut client =
        reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&authority)?]).http1_only();
    for host in HOSTS {
        client = client.resolve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    Ok(client.build()?)
}

async fn server(platform: &Platform, id: &str, url: String) -> Result<()> {
    let server = json!({ "id": id, "name": id, "hostname": url, "auth_type": "unauthenticated" });
    platform.api("POST", &format!("{MCP}/servers"), Some(server)).await?;
    platform.api("POST", &format!("{MCP}/servers/{id}/sync"), Some(json!({}))).await?;
    Ok(())
}

/// Lets service tokens in everywhere.
async fn open(platform: &Platform) -> Result<()> {
    let apps = platform.api("GET", "/access/apps?per_page=100", None).await?;
    for app in apps.as_array().context("no list of applications")? {
        if matches!(app["type"].as_str(), Some("mcp" | "mcp_portal")) {
            let include = json!([{ "any_valid_service_token": {} }]);
            let policy = json!({ "name": "agents", "decision": "non_identity", "include": include });
            let path = format!("/access/apps/{}/policies", app["id"].as_str().context("no id")?);
            platform.api("POST", &path, Some(policy)).await?;
        }
    }
    Ok(())
}
