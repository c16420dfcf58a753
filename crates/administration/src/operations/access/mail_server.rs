//! The mail server that the outbox is emptied into, and a mail to try it with.
//!
//! Whether the server can be reached shows in the outbox. Invariants: no view holds the password; a password that is kept
//! goes to no other server, port or user than those it was given for.

use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Administer, MailServer, MailTls, NewMail, Only, Stored};
use types::{Email, Secret};
use utoipa::ToSchema;

use super::system;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};
use crate::operations::access::outbox::{self, MailView};

/// How long a mail to try the server with is kept and tried.
const TRIAL: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// The settings, as the API shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MailServerView {
    pub host: String,
    pub port: u16,
    /// `implicit`, `starttls` or `none`
    #[schema(value_type = String)]
    pub tls: MailTls,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    pub has_password: bool,
    pub from: String,
}

/// The settings, as the API takes them.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailServerSettings {
    pub host: String,
    pub port: u16,
    /// `implicit`, `starttls`, or `none` for a server on this machine
    #[schema(value_type = String)]
    pub tls: MailTls,
    #[serde(default)]
    pub username: Option<String>,
    /// Kept when absent and nothing but `from` changes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret<String>>,
    /// `name@example.com` or `Name <name@example.com>`
    pub from: String,
}

/// Whom to send a mail to, to try the server.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub to: String,
}

fn view(server: &MailServer) -> MailServerView {
    MailServerView {
        host: server.host.clone(),
        port: server.port,
        tls: server.tls,
        username: server.username.clone(),
        has_password: server.password.is_some(),
        from: server.from.clone(),
    }
}

async fn stored(cx: &OpContext) -> Result<Option<Stored<MailServer>>, Failure> {
    let grant = cx.authorize::<Administer>()?;
    Ok(cx.store().mail_server().get(&grant, &Only).await?)
}

/// Returns the settings, if there are any.
///
/// # Errors
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<Option<MailServerView>, Failure> {
    Ok(stored(cx).await?.map(|stored| view(&stored.document)))
}

/// Sets the server.
///
/// # Errors
/// A [`Failure`] that points at the member at fault.
pub async fn put(cx: &OpContext, settings: MailServerSettings) -> Result<MailServerView, Failure> {
    let grant = cx.authorize::<Administer>()?;
    let before = stored(cx).await?;
    let username = settings.username.clone().filter(|name| !name.is_empty());
    let problems = check(&settings, username.as_deref());
    if !problems.is_empty() {
        return Err(Failure::invalid_many(problems));
    }
    let given = settings.password.filter(|password| !password.expose().is_empty());
    let servers = cx.store().mail_server();
    let password = match (&username, given) {
        (None, _) => None,
        (Some(_), Some(given)) => Some(servers.seal_member(&grant, &Only, "password", &given)?),
        (Some(name), None) => {
            let same = before.as_ref().map(|stored| &stored.document).filter(|known| {
                (known.host.as_str(), known.port, known.tls, known.username.as_ref())
                    == (settings.host.as_str(), settings.port, settings.tls, Some(name))
            });
            let kept = same.and_then(|known| known.password.clone());
            Some(kept.ok_or_else(|| Failure::invalid("/password", "is needed with this server and user name"))?)
        }
    };
    let server = MailServer {
        host: settings.host,
        port: settings.port,
        tls: settings.tls,
        username,
        password,
        from: settings.from,
    };
    let shown = view(&server);
    match &before {
        Some(before) => servers.replace(&grant, Only, server, Some(before.revision)).await?,
        None => servers.create(&grant, Only, server).await?,
    };
    let old = before.as_ref().map(|before| json!(view(&before.document))).unwrap_or_default();
    cx.record(Change::new(Verb::Update, "mail_server", "only").before(old).after(json!(shown))).await?;
    Ok(shown)
}

/// Removes the server; mail waits in the outbox from then on.
///
/// # Errors
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext) -> Result<(), Failure> {
    let grant = cx.authorize::<Administer>()?;
    let before = stored(cx).await?.ok_or_else(|| Failure::not_found("mail server"))?;
    cx.store().mail_server().delete(&grant, &Only, Some(before.revision)).await?;
    cx.record(Change::new(Verb::Delete, "mail_server", "only").before(json!(view(&before.document)))).await
}

/// Puts a mail in the outbox that says that mail arrives.
///
/// # Errors
/// A [`Failure`] when the address is none.
pub async fn trial(cx: &OpContext, trial: &Trial) -> Result<MailView, Failure> {
    cx.authorize::<Administer>()?;
    let to: Email = trial.to.trim().parse().map_err(|_| Failure::invalid("/to", "is not a mail address"))?;
    let operate = system(cx, "put a mail in the outbox that an administrator asked for")?;
    let expires_at = cx.store().now().checked_add(TRIAL).map_err(|error| Failure::internal("clock", &error))?;
    let mail = NewMail {
        to: to.as_str().to_owned(),
        subject: "Mail from Portunus arrives".to_owned(),
        text: Secret::new("An administrator asked for this mail, to see that mail from Portunus arrives.\n".to_owned()),
        html: None,
        expires_at,
    };
    let queued = cx.store().outbox().enqueue(&operate, mail).await?;
    cx.record(Change::new(Verb::Create, "mail", queued.id).after(json!({ "to": to.as_str() }))).await?;
    outbox::get(cx, queued.id).await
}

fn check(settings: &MailServerSettings, username: Option<&str>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut fault = |pointer: &str, message: &str| {
        problems.push(Problem { pointer: Some(pointer.to_owned()), message: message.to_owned() });
    };
    match net::Host::parse(&settings.host) {
        Err(_) => fault("/host", "is neither a host name nor an address"),
        Ok(net::Host::Address(address)) if settings.tls == MailTls::None && !address.is_loopback() => {
            fault("/tls", "may be none only for a server on this machine");
        }
        Ok(host) if settings.tls == MailTls::None && host.name().is_some_and(|name| name != "localhost") => {
            fault("/tls", "may be none only for a server on this machine");
        }
        Ok(_) => {}
    }
    if settings.port == 0 {
        fault("/port", "must be 1 to 65535");
    }
    if net::smtp::mailbox(&settings.from).is_err() {
        fault("/from", "is not a mail address, nor a name with one in angle brackets");
    }
    if username.is_some_and(|name| name.len() > 256 || name.chars().any(char::is_control)) {
        fault("/username", "must be at most 256 characters of text");
    }
    problems
}
