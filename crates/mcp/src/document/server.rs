//! An MCP server: the v4 document, ours beyond it, and what both mean once they are known to be sound.
//!
//! Decides where a server is reached and how Portunus signs in to it; what it offers is the catalogue's. Invariants: what
//! signs in is never part of a document; an address or a kind of sign-in does not change under a stored secret, so a
//! secret is shown to none but the server it was given for.

use std::collections::{BTreeMap, BTreeSet};

use identity::document::{Problem, Problems, link, name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{McpServerId, ScriptName, Secret};
use url::Url;

use super::credentials::{AuthConfig, AuthMode, Credentials, MAX_SECRET, ManualClient};
use super::overrides::{self, Override, OverrideDocument};
use super::rule::{self, RuleDocument, ToolRule};
use super::{MAX_DESCRIPTION, MAX_NAME, members, prose, read_over};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// The secret that holds the headers of every request, as an object of strings in JSON.
pub const HEADERS: &str = "headers";
/// The secret of an OAuth client.
pub const CLIENT_SECRET: &str = "client_secret";
/// What the name of the secret of an environment variable begins with.
pub const VARIABLE: &str = "env/";
/// Members of the read form that are taken back without effect.
const READ_ONLY: [&str; 10] = [
    "tools",
    "prompts",
    "status",
    "authentication_status",
    "auth_config_summary",
    "error",
    "error_details",
    "last_synced",
    "last_successful_sync",
    // Where the settings of an OAuth client are kept; they come in `auth_credentials`.
    "auth_config",
];
const MAX_URL: usize = 2_048;
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT: usize = 4_096;
const MAX_VARIABLES: usize = 64;

identity::words! {
    /// How calls to a server are authenticated.
    AuthType {
        Oauth = "oauth",
        Bearer = "bearer",
        Unauthenticated = "unauthenticated",
    }
}

identity::words! {
    /// Which definitions wait until an administrator approves them.
    Pinning {
        /// New and changed ones.
        All = "all",
        New = "new",
        Changed = "changed",
        None = "none",
    }
}

/// A server as written. A member that is absent reads as its default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerDocument {
    /// Stands in the path as well, and is kept beside the document.
    #[serde(skip_serializing)]
    pub id: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The whole address, for all its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<AuthType>,
    /// Taken out by [`ServerDocument::take_secrets`].
    #[serde(skip_serializing)]
    pub auth_credentials: Option<Secret<Value>>,
    #[serde(skip_serializing)]
    pub client_secret: Option<Secret<String>>,
    /// What `auth_credentials` held that is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_config: Option<AuthConfig>,
    pub is_shared_oauth_callback_enabled: bool,
    pub secure_web_gateway: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub updated_tools: Vec<OverrideDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub updated_prompts: Vec<OverrideDocument>,
    /// What the vendor's documents have no word for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portunus: Option<ServerExtension>,
}

/// The group `portunus` of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerExtension {
    /// A program that Portunus runs, in place of an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio: Option<StdioDocument>,
    /// A Worker that is the server, in place of an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<ScriptName>,
    /// Absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinning: Option<Pinning>,
    /// For calls through every portal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleDocument>,
}

/// `portunus.stdio`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StdioDocument {
    pub command: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<VariableDocument>,
}

/// One entry of `portunus.stdio.env`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VariableDocument {
    pub name: String,
    /// Written and never shown; one that is not sent stays.
    #[serde(skip_serializing)]
    pub value: Option<Secret<String>>,
}

/// A server, known to be sound.
#[derive(Debug, Clone)]
pub struct Server {
    pub id: McpServerId,
    pub name: String,
    pub description: Option<String>,
    pub upstream: Upstream,
    pub auth: Auth,
    pub shared_callback: bool,
    pub secure_web_gateway: bool,
    pub tools: Vec<Override>,
    pub prompts: Vec<Override>,
    pub pinning: Pinning,
    pub rules: Vec<ToolRule>,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    Remote(Url),
    /// A program with its arguments and the names of its variables, whose values are secrets.
    Stdio {
        command: String,
        args: Vec<String>,
        env: Vec<String>,
    },
    Worker(ScriptName),
}

/// How Portunus signs in to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    None,
    /// With the headers in the secret [`HEADERS`], if it is known.
    Headers,
    /// As a client that registers itself.
    Dynamic,
    Manual(Box<ManualClient>),
}

/// The secrets a document came with, by the names they are sealed under.
pub type Secrets = BTreeMap<String, Secret<String>>;

impl ServerDocument {
    /// Reads what an author sent, over the document that stands: a member that is not sent stays.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(sent: &Value, standing: Option<&Self>) -> Result<Self, Vec<Problem>> {
        let mut document: Self = read_over(sent, standing.map(members), &READ_ONLY)?;
        if let Some(standing) = standing {
            document.auth_config.clone_from(&standing.auth_config);
        }
        // What stands in for an address is shown, and may come back.
        let shown = |known: &Self| known.runs_here() && known.address() == document.hostname;
        if shown(&document) || standing.is_some_and(shown) {
            document.hostname.clear();
        }
        Ok(document)
    }

    /// Takes the secrets out of a document that was sent, and keeps what is no secret.
    ///
    /// # Errors
    /// With every fault of what signs in.
    pub fn take_secrets(&mut self) -> Result<Secrets, Vec<Problem>> {
        let mut problems = Problems::default();
        let mut secrets = Secrets::new();
        if let Some(credentials) = self.auth_credentials.take().map(Secret::into_inner)
            && credentials != Value::String(String::new())
        {
            match Credentials::read(&credentials) {
                Ok(Credentials::Headers(headers)) => drop(secrets.insert(HEADERS.to_owned(), headers)),
                Ok(Credentials::Oauth(config)) => self.auth_config = Some(config),
                Err(faults) => problems.extend("/auth_credentials", faults),
            }
        }
        if let Some(secret) = self.client_secret.take().filter(|secret| !secret.expose().is_empty()) {
            if secret.expose().len() > MAX_SECRET {
                problems.add("/client_secret", "is too long");
            }
            secrets.insert(CLIENT_SECRET.to_owned(), secret);
        }
        let stdio = self.portunus.as_mut().and_then(|extension| extension.stdio.as_mut());
        for (index, variable) in stdio.into_iter().flat_map(|stdio| &mut stdio.env).enumerate() {
            let Some(value) = variable.value.take() else { continue };
            if value.expose().len() > MAX_SECRET || value.expose().contains('\0') {
                problems
                    .add(format!("/portunus/stdio/env/{index}/value"), "must be a text of at most 16 KiB without NUL");
            }
            secrets.insert(format!("{VARIABLE}{}", variable.name), value);
        }
        problems.finish(secrets)
    }

    /// Returns the settings of an OAuth client that an administrator registered.
    #[must_use]
    pub fn manual(&self) -> Option<&AuthConfig> {
        self.auth_config.as_ref().filter(|config| config.auth_mode == Some(AuthMode::Manual))
    }

    fn runs_here(&self) -> bool {
        self.portunus.as_ref().is_some_and(|extension| extension.stdio.is_some() || extension.worker.is_some())
    }

    /// Returns the address as it is shown: a URL, or what stands in for one.
    #[must_use]
    pub fn address(&self) -> String {
        let extension = self.portunus.as_ref();
        match extension.map(|extension| (&extension.stdio, &extension.worker)) {
            Some((Some(stdio), _)) => format!("stdio:{}", stdio.command),
            Some((None, Some(script))) => format!("worker:{script}"),
            Some((None, None)) | None => self.hostname.clone(),
        }
    }

    /// Tells whether a sealed secret still belongs to the document.
    #[must_use]
    pub fn wants(&self, secret: &str) -> bool {
        match secret {
            HEADERS => self.auth_type == Some(AuthType::Bearer),
            CLIENT_SECRET => self.manual().is_some(),
            _ => {
                let stdio = self.portunus.as_ref().and_then(|extension| extension.stdio.as_ref());
                let mut variables = stdio.into_iter().flat_map(|stdio| &stdio.env);
                secret.strip_prefix(VARIABLE).is_some_and(|name| variables.any(|variable| variable.name == name))
            }
        }
    }

    /// Names what a server may not change in its life: a secret that was given for one address must not go to another.
    #[must_use]
    pub fn changed_for_good(&self, standing: &Self) -> Vec<Problem> {
        let kept = "cannot change, because what signs in was given for it; make another server";
        let mut problems = Problems::default();
        if self.hostname != standing.hostname {
            problems.add("/hostname", kept);
        }
        let kind = |document: &Self| document.auth_type.unwrap_or(AuthType::Unauthenticated);
        if kind(self) != kind(standing) {
            problems.add("/auth_type", kept);
        }
        let parts = |document: &Self| {
            let extension = document.portunus.clone().unwrap_or_default();
            (extension.stdio.map(|stdio| stdio.command), extension.worker)
        };
        let ((command, worker), (standing_command, standing_worker)) = (parts(self), parts(standing));
        if command != standing_command {
            problems.add("/portunus/stdio/command", kept);
        }
        if worker != standing_worker {
            problems.add("/portunus/worker", kept);
        }
        problems.into_vec()
    }

    /// Shows the members an author may write.
    #[must_use]
    pub fn show(&self) -> Map<String, Value> {
        let mut shown = members(self);
        shown.remove("auth_config");
        shown.insert("hostname".to_owned(), self.address().into());
        shown.insert("auth_type".to_owned(), self.auth_type.unwrap_or(AuthType::Unauthenticated).as_str().into());
        for list in ["updated_tools", "updated_prompts"] {
            shown.entry(list).or_insert_with(|| Value::Array(Vec::new()));
        }
        shown
    }
}

impl Server {
    /// Makes a server of a document; `held` says which secrets are known.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(
        id: McpServerId,
        document: &ServerDocument,
        held: &dyn Fn(&str) -> bool,
        lists: &dyn expr::Lists,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let extension = document.portunus.clone().unwrap_or_default();
        let name = problems.check("/name", name(&document.name, MAX_NAME)).unwrap_or_default();
        let description = document.description.as_deref().filter(|text| !text.is_empty());
        let description = description.and_then(|text| problems.check("/description", prose(text, MAX_DESCRIPTION)));
        let upstream = upstream(document, &extension, held, &mut problems);
        let auth = auth(document, upstream.as_ref(), held, &mut problems);
        let tools = overrides::parse(&document.updated_tools, "/updated_tools", &mut problems);
        let prompts = overrides::parse(&document.updated_prompts, "/updated_prompts", &mut problems);
        let rules = rule::parse(&extension.rules, lists, "/portunus/rules", &mut problems);
        let (Some(upstream), Some(auth)) = (upstream, auth) else { return Err(problems.into_vec()) };
        problems.finish(Self {
            id,
            name,
            description,
            upstream,
            auth,
            shared_callback: document.is_shared_oauth_callback_enabled,
            secure_web_gateway: document.secure_web_gateway,
            tools,
            prompts,
            pinning: extension.pinning.unwrap_or(Pinning::All),
            rules,
        })
    }
}

fn upstream(
    document: &ServerDocument,
    extension: &ServerExtension,
    held: &dyn Fn(&str) -> bool,
    problems: &mut Problems,
) -> Option<Upstream> {
    let found = match (&extension.stdio, &extension.worker) {
        (Some(_), Some(_)) => {
            problems.add("/portunus", "a server is a program or a Worker, not both");
            return None;
        }
        (None, None) => return problems.check("/hostname", address(&document.hostname)).map(Upstream::Remote),
        (Some(stdio), None) => program(stdio, held, problems),
        (None, Some(script)) => Upstream::Worker(script.clone()),
    };
    if !document.hostname.is_empty() {
        problems.add("/hostname", "does not belong to a server that Portunus runs itself");
    }
    if document.secure_web_gateway {
        problems.add("/secure_web_gateway", "is for servers with an address; Portunus runs this one itself");
    }
    Some(found)
}

fn address(text: &str) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!("must be at most {MAX_URL} bytes"));
    }
    if text.is_empty() {
        return Err("is required: the whole URL of the server, such as `https://mcp.example.com/mcp`".to_owned());
    }
    let url = link(text)?;
    if url.fragment().is_some() { Err("must not have a fragment".to_owned()) } else { Ok(url) }
}

fn program(stdio: &StdioDocument, held: &dyn Fn(&str) -> bool, problems: &mut Problems) -> Upstream {
    let text = |text: &str| text.len() <= MAX_ARGUMENT && !text.contains('\0');
    let command = stdio.command.trim();
    if command.is_empty() || !text(command) || command.chars().any(char::is_control) {
        problems.add("/portunus/stdio/command", "is required: the program, without arguments");
    }
    if stdio.args.len() > MAX_ARGUMENTS || !stdio.args.iter().all(|argument| text(argument)) {
        let message = format!("must be at most {MAX_ARGUMENTS} texts of at most {MAX_ARGUMENT} bytes, without NUL");
        problems.add("/portunus/stdio/args", message);
    }
    if stdio.env.len() > MAX_VARIABLES {
        problems.add("/portunus/stdio/env", format!("must hold at most {MAX_VARIABLES} variables"));
    }
    let mut names = BTreeSet::new();
    for (index, variable) in stdio.env.iter().enumerate().take(MAX_VARIABLES) {
        let pointer = format!("/portunus/stdio/env/{index}");
        if let Err(message) = variable_name(&variable.name) {
            problems.add(format!("{pointer}/name"), message);
        } else if !names.insert(&variable.name) {
            problems.add(format!("{pointer}/name"), "stands twice");
        } else if !held(&format!("{VARIABLE}{}", variable.name)) {
            problems.add(format!("{pointer}/value"), "is required for a variable that has none yet");
        }
    }
    let env = stdio.env.iter().map(|variable| variable.name.clone()).collect();
    Upstream::Stdio { command: command.to_owned(), args: stdio.args.clone(), env }
}

fn variable_name(name: &str) -> Result<(), &'static str> {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !begins || name.len() > 128 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("must be the name of an environment variable: letters, digits and `_`");
    }
    // What the loader reads would make any program run any code.
    if name.starts_with("LD_") || name.starts_with("DYLD_") {
        return Err("is read by the system's loader, and is not a server's to set");
    }
    Ok(())
}

fn auth(
    document: &ServerDocument,
    upstream: Option<&Upstream>,
    held: &dyn Fn(&str) -> bool,
    problems: &mut Problems,
) -> Option<Auth> {
    let runs_here = matches!(upstream, Some(Upstream::Stdio { .. } | Upstream::Worker(_)));
    let kind = match document.auth_type {
        Some(AuthType::Oauth | AuthType::Bearer) if runs_here => {
            problems.add("/auth_type", "must be `unauthenticated` for a server that Portunus runs itself");
            return None;
        }
        None if runs_here => AuthType::Unauthenticated,
        Some(kind) => kind,
        None => {
            problems.add("/auth_type", "is required: oauth, bearer or unauthenticated");
            return None;
        }
    };
    let (headers, secret) = (held(HEADERS), held(CLIENT_SECRET));
    if headers && kind != AuthType::Bearer {
        let message = "a token or headers belong to servers whose `auth_type` is `bearer`";
        problems.add("/auth_credentials", message);
    }
    if document.auth_config.is_some() && kind != AuthType::Oauth {
        let message = "settings with `auth_mode` belong to servers whose `auth_type` is `oauth`";
        problems.add("/auth_credentials", message);
    }
    if secret && document.manual().is_none() {
        problems.add("/client_secret", "belongs to servers whose `auth_mode` is `manual`");
    }
    match (kind, document.manual()) {
        (AuthType::Unauthenticated, _) => Some(Auth::None),
        (AuthType::Bearer, _) => Some(Auth::Headers),
        (AuthType::Oauth, None) => Some(Auth::Dynamic),
        (AuthType::Oauth, Some(config)) => match ManualClient::parse(config, secret) {
            Ok(client) => Some(Auth::Manual(Box::new(client))),
            Err(faults) => {
                problems.extend("/auth_credentials", faults);
                None
            }
        },
    }
}
