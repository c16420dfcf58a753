//! A browser without a screen: cookies by host, redirects, forms.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a page that is not as it should be ends its test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode};
use url::Url;

/// One person's browser.
pub struct Browser {
    client: reqwest::Client,
    /// Host, name, value.
    pub cookies: BTreeMap<(String, String), String>,
    pub language: &'static str,
}

/// What a request ended in.
pub struct Seen {
    pub url: Url,
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Seen {
    pub fn location(&self) -> Url {
        self.url.join(self.headers["location"].to_str().unwrap()).unwrap()
    }

    /// The fields and address of the form whose action ends in `action`.
    pub fn form(&self, action: &str) -> (Url, String) {
        let form = self.text.split("<form").find(|form| form.contains(&format!("cdn-cgi/access/{action}\""))).unwrap();
        let state = form.split("name=\"state\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (self.url.join(&format!("/cdn-cgi/access/{action}")).unwrap(), state)
    }
}

impl Browser {
    /// A browser that finds every name of `hosts` at `listener` and trusts `root`.
    pub fn new(hosts: &[&str], listener: SocketAddr, root: &str) -> Self {
        Self::with_certificate(hosts, listener, root, None)
    }

    /// The same for one that has a certificate to show: PEM of it and its key.
    pub fn with_certificate(hosts: &[&str], listener: SocketAddr, root: &str, own: Option<&str>) -> Self {
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(root.as_bytes()).unwrap());
        if let Some(own) = own {
            builder = builder.identity(reqwest::Identity::from_pem(own.as_bytes()).unwrap());
        }
        for host in hosts {
            builder = builder.resolve(host, listener);
        }
        Self { client: builder.build().unwrap(), cookies: BTreeMap::new(), language: "en" }
    }

    pub fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let host = url.host_str().unwrap();
        let cookies = self.cookies.iter().filter(|((owner, _), _)| owner == host);
        let cookies: Vec<String> = cookies.map(|((_, name), value)| format!("{name}={value}")).collect();
        let request = self.client.request(method, url.clone()).header("accept-language", self.language);
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    /// Sends one request as a navigation and keeps the cookies of the answer.
    pub async fn send(&mut self, request: RequestBuilder) -> Seen {
        let response = request.header("accept", "text/html,*/*").send().await.unwrap();
        self.keep(response).await
    }

    pub async fn keep(&mut self, response: reqwest::Response) -> Seen {
        let url = response.url().clone();
        let host = url.host_str().unwrap().to_owned();
        for cookie in response.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.len() <= 4_096, "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            let key = (host.clone(), name.to_owned());
            if cookie.contains("Max-Age=0") {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Seen { url, status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&mut self, url: &Url) -> Seen {
        self.send(self.request(Method::GET, url)).await
    }

    /// Follows redirects to a page.
    pub async fn open(&mut self, url: &Url) -> Seen {
        let seen = self.get(url).await;
        self.follow(seen).await
    }

    pub async fn follow(&mut self, mut seen: Seen) -> Seen {
        for _ in 0..12 {
            if !seen.status.is_redirection() {
                return seen;
            }
            let next = seen.location();
            seen = self.get(&next).await;
        }
        panic!("the redirects go in circles at {}", seen.url);
    }

    /// Sends the form of a page.
    pub async fn submit(&mut self, page: &Seen, action: &str, fields: &[(&str, &str)]) -> Seen {
        let (url, state) = page.form(action);
        let mut all = vec![("state", state.as_str())];
        all.extend_from_slice(fields);
        self.send(self.request(Method::POST, &url).form(&all)).await
    }
}
