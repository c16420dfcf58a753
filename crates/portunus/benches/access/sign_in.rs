//! Somebody signs in with a password, as a browser without a screen: cookies by host, redirects, one form.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, RequestBuilder, Response, Url};
use testkit::Platform;

pub(crate) const SIGN_IN: &str = "access.localhost";

/// Somebody with a password.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) email: &'static str,
    pub(crate) password: String,
}

impl Person {
    /// Makes the person known to the platform.
    pub(crate) fn add(binary: &Path, platform: &Platform, email: &'static str) -> Result<Self> {
        portunus(binary, platform, &["user", "add", email])?;
        let set = portunus(binary, platform, &["user", "password", email, "--json"])?;
        let set: serde_json::Value = serde_json::from_str(&set)?;
        Ok(Self { email, password: set["password"].as_str().context("no password was set")?.to_owned() })
    }
}

fn portunus(binary: &Path, platform: &Platform, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary).args(arguments).arg("--data").arg(platform.data()).output()?;
    ensure!(output.status.success(), "portunus {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// One browser.
pub(crate) struct Browser {
    pub(crate) client: Client,
    /// It is sent to no other hosts.
    hosts: &'static [&'static str],
    /// Host and name to value.
    cookies: BTreeMap<(String, String), String>,
    /// The page it shows.
    text: String,
}

impl Browser {
    /// A browser at `source`, an address of this machine, that finds `hosts` at `listener` and trusts `authority` (PEM).
    pub(crate) fn new(
        authority: &str,
        listener: SocketAddr,
        hosts: &'static [&'static str],
        source: Ipv4Addr,
    ) -> Result<Self> {
        let mut builder = Client::builder()
            .no_proxy()
            // What every server that is compared speaks.
            .http1_only()
            .local_address(IpAddr::from(source))
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?]);
        for host in hosts {
            builder = builder.resolve(host, listener);
        }
        Ok(Self { client: builder.build()?, hosts, cookies: BTreeMap::new(), text: String::new() })
    }

    /// Signs in on the way to `page` and returns where that ends: at the page, or on the way to a host that is not ours.
    pub(crate) async fn sign_in(&mut self, person: &Person, page: &Url) -> Result<Url> {
        self.cookies.clear();
        let at = self.follow(self.client.get(page.clone()), page.clone()).await?;
        self.submit(&at, &[("email", person.email), ("password", person.password.as_str())]).await
    }

    /// Sends the first form of the page it shows at `at`, with `fields`; returns where that ends.
    pub(crate) async fn submit(&mut self, at: &Url, fields: &[(&str, &str)]) -> Result<Url> {
        let action = between(&self.text, "action=\"", "\"").context("no form")?.replace("&amp;", "&");
        let state = between(&self.text, "name=\"state\" value=\"", "\"").context("no state in the form")?;
        let to = at.join(&action)?;
        let request = self.client.post(to.clone()).form(&[&[("state", state)], fields].concat());
        self.follow(request, to).await
    }

    /// Returns the cookie that opens an application, as it is sent.
    pub(crate) fn token(&self, host: &str) -> Result<String> {
        let token = self.cookies.get(&(host.to_owned(), "CF_Authorization".to_owned()));
        Ok(format!("CF_Authorization={}", token.context("no application cookie")?))
    }

    async fn follow(&mut self, mut request: RequestBuilder, mut at: Url) -> Result<Url> {
        for _ in 0..10 {
            let host = at.host_str().unwrap_or_default().to_owned();
            let own = self.cookies.iter().filter(|((owner, _), _)| *owner == host);
            let cookies: Vec<String> = own.map(|((_, name), value)| format!("{name}={value}")).collect();
            if !cookies.is_empty() {
                request = request.header("cookie", cookies.join("; "));
            }
            let response = request.header("accept", "text/html").send().await?;
            self.keep(&host, &response)?;
            let Some(next) = response.headers().get("location") else {
                let status = response.status();
                self.text = response.text().await?;
                ensure!(status.is_success(), "{at}: {status}: {}", self.text);
                return Ok(at);
            };
            at = at.join(next.to_str()?)?;
            if !self.hosts.iter().any(|host| at.host_str() == Some(host)) {
                return Ok(at);
            }
            request = self.client.get(at.clone());
        }
        bail!("the redirects go in circles at {at}");
    }

    fn keep(&mut self, host: &str, response: &Response) -> Result<()> {
        for cookie in response.headers().get_all("set-cookie") {
            let first = cookie.to_str()?.split(';').next().unwrap_or_default();
            let (name, value) = first.split_once('=').context("a cookie without a value")?;
            self.cookies.insert((host.to_owned(), name.to_owned()), value.to_owned());
        }
        Ok(())
    }
}

/// Where the access listener is.
pub(crate) fn listener(platform: &Platform) -> Result<SocketAddr> {
    let url = Url::parse(&platform.ready.access_url)?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, url.port_or_known_default().context("no port")?)))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
