//! The mail server that the outbox is emptied into: its settings, and a mail to try it with.
//!
//! Invariant: the password is never drawn; a refused form keeps everything else that was typed.

use maud::{Markup, html};
use serde_json::json;
use store::MailTls;

use super::head;
use crate::failure::Failure;
use crate::operations::access::mail_server::{self, MailServerView, Trial};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go};

const PROTECTIONS: [(&str, &str); 3] = [
    ("implicit", "TLS from the first byte, by custom port 465"),
    ("starttls", "STARTTLS, by custom port 587"),
    ("none", "None, for a server on this machine"),
];

/// Serves `GET /access/outbox/server`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, None, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Mail server", &body))
}

async fn draw(visitor: &Visitor, typed: Option<&Fields>, problems: Problems<'_>) -> Result<Markup, Failure> {
    let stored = mail_server::get(&visitor.cx).await?;
    Ok(html! {
        (head(visitor, "outbox", &html! {}))
        p.crumbs { a href="/access/outbox" { "Outbox" } " / Mail server" }
        p { "Without a mail server, mail waits in the outbox until it is worth nothing." }
        (problems.summary())
        (form(visitor, stored.as_ref(), typed, problems))
        @if stored.is_some() {
            form.sheet method="post" action="/access/outbox/server/test" {
                (csrf(&visitor.csrf))
                (Control::new("to", "Send a mail to try it").required().hint("What came of it shows in the outbox.").problems(problems.at("/to")).input("email", typed.map_or("", |fields| fields.get("to"))))
                div.actions { button type="submit" { "Send" } }
            }
            (button("/access/outbox/server/delete", &visitor.csrf, "quiet", &html! { "Use no mail server" }, &[]))
        }
    })
}

fn form(visitor: &Visitor, stored: Option<&MailServerView>, typed: Option<&Fields>, problems: Problems<'_>) -> Markup {
    let of = |field: &str, known: fn(&MailServerView) -> String| {
        let typed = typed.and_then(|fields| fields.find(field)).map(str::to_owned);
        typed.or_else(|| stored.map(known)).unwrap_or_default()
    };
    let tls = of("tls", |server| word(server.tls).to_owned());
    let kept = stored.is_some_and(|server| server.has_password);
    let hint = if kept { "Empty keeps the one there is, unless the server or the user changes." } else { "" };
    html! {
        form.sheet method="post" action="/access/outbox/server" {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("host", "Server").required().mono().placeholder("mail.example.com").problems(problems.at("/host")).input("text", &of("host", |server| server.host.clone())))
                (Control::new("port", "Port").required().mono().placeholder("465").problems(problems.at("/port")).input("text", &of("port", |server| server.port.to_string())))
            }
            (Control::new("tls", "Protection").problems(problems.at("/tls")).select(&PROTECTIONS, &tls))
            div.row {
                (Control::new("username", "User name").autocomplete("off").hint("Empty: the server asks for none.").problems(problems.at("/username")).input("text", &of("username", |server| server.username.clone().unwrap_or_default())))
                (Control::new("password", "Password").autocomplete("new-password").hint(hint).problems(problems.at("/password")).input("password", ""))
            }
            (Control::new("from", "Mail comes from").required().placeholder("Example <portunus@example.com>").problems(problems.at("/from")).input("text", &of("from", |server| server.from.clone())))
            div.actions { button.primary type="submit" { "Save" } }
        }
    }
}

const fn word(tls: MailTls) -> &'static str {
    match tls {
        MailTls::Implicit => "implicit",
        MailTls::Starttls => "starttls",
        MailTls::None => "none",
    }
}

/// Serves `POST /access/outbox/server`.
pub(in crate::pages) async fn save(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let settings = json!({
        "host": fields.get("host"),
        "port": fields.get("port").parse::<u16>().unwrap_or(0),
        "tls": fields.get("tls"),
        "username": fields.text("username"),
        "password": fields.find("password").filter(|password| !password.is_empty()),
        "from": fields.get("from"),
    });
    let parsed = serde_json::from_value(settings).map_err(|_| Failure::invalid("/tls", "is not one of the choices"));
    let outcome = match parsed {
        Ok(settings) => mail_server::put(&visitor.cx, settings).await.map(drop),
        Err(failure) => Err(failure),
    };
    answered(&visitor, &fields, outcome, "/access/outbox/server?note=saved").await
}

/// Serves `POST /access/outbox/server/test`.
pub(in crate::pages) async fn test(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let outcome = mail_server::trial(&visitor.cx, &Trial { to: fields.get("to").to_owned() }).await.map(drop);
    answered(&visitor, &fields, outcome, "/access/outbox").await
}

async fn answered(visitor: &Visitor, fields: &Fields, outcome: Result<(), Failure>, to: &str) -> Page {
    match outcome {
        Ok(()) => go(to),
        Err(failure) => {
            let body = draw(visitor, Some(fields), Problems::of(&failure)).await?;
            Ok(refused_form(visitor, Place::Access, "Mail server", &failure, &body))
        }
    }
}

/// Serves `POST /access/outbox/server/delete`.
pub(in crate::pages) async fn delete(submission: Submission) -> Page {
    mail_server::delete(&submission.visitor.cx).await?;
    go("/access/outbox")
}
