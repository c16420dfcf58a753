//! Authorities of client certificates: who signs the certificates that devices and programs show.
//!
//! Invariant: a certificate is taken as PEM and shown by its fingerprint.

use std::collections::BTreeSet;

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Value, json};
use store::Permission;

use super::head;
use crate::failure::Failure;
use crate::operations::access::client_certificates::{HostSettings, SettingsBody};
use crate::operations::access::listener_certificates::{self, ListenerCertificateView};
use crate::operations::access::{AccessView, client_certificates};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

const TITLE: &str = "Client certificates";
const PATH: &str = "/access/certificates";

/// Serves `GET /access/certificates`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, TITLE, &body))
}

async fn draw(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let all = client_certificates::list(&visitor.cx).await?;
    let may_write = visitor.may(Permission::ClientCertificatesWrite);
    let forwarding = client_certificates::settings(&visitor.cx).await?;
    let may_see = visitor.may(Permission::AccessRead);
    let served = if may_see { listener_certificates::list(&visitor.cx).await? } else { Vec::new() };
    let forwarded = |host: &str| forwarding.iter().any(|one| one.hostname == host && one.client_certificate_forwarding);
    let every_host: BTreeSet<&str> = all.iter().flat_map(hosts_of).collect();
    Ok(html! {
        (head(visitor, "certificates", &html! {}))
        @if all.is_empty() { (empty("No authority is known.", &html! { "Add the authority that signs your devices' certificates; a policy can then ask for a certificate of it." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Authority" } th scope="col" { "Fingerprint" } th scope="col" { "Expires" } th scope="col" { "Hosts" } th scope="col" { span.hidden { "Remove" } } } }
                tbody { @for authority in &all { tr {
                    td.strong data-label="Authority" { (authority.text("name")) }
                    td data-label="Fingerprint" { code { (authority.text("fingerprint")) } }
                    td data-label="Expires" { (format::day(authority.text("expires_on"))) @if is_over(visitor, authority) { " " span.badge.bad { "expired" } } }
                    td data-label="Hosts" { (hosts(authority)) }
                    td { @if may_write { a.button.quiet href={ (PATH) "/" (authority.text("id")) "/delete" } { "Remove" span.hidden { " " (authority.text("name")) } } } }
                } } }
            }
        }
        @if !served.is_empty() {
            section {
                h2 { "Certificates of the listener" }
                p.muted { "What browsers see at each host. Where the authority has issued none, they see one of the account's own authority." }
                table.cards {
                    thead { tr { th scope="col" { "Host" } th scope="col" { "State" } th scope="col" { "Until" } th scope="col" { "Next" } } }
                    tbody { @for host in &served { tr {
                        td.strong data-label="Host" { (host.hostname) }
                        td data-label="State" { (state(host)) }
                        td data-label="Until" { @match &host.not_after { Some(end) => { (format::day(end)) } None => { "" } } }
                        td data-label="Next" { @if host.failures == 0 && host.not_after.is_some() { "renewed " } @else { "tried " } (format::time(&host.next_attempt_at)) " UTC" }
                    } } }
                }
            }
        }
        @if may_write && !every_host.is_empty() {
            section {
                h2 { "What applications are told" }
                form.sheet method="post" action={ (PATH) "/settings" } {
                    (csrf(&visitor.csrf))
                    fieldset {
                        legend { "Hosts whose application gets the certificate" }
                        div.boxes { @for host in &every_host { label { input type="checkbox" name="forward" value=(host) checked[forwarded(host)]; span { (host) } } } }
                        p.hint { "In the headers Cf-Client-Cert-Der-Base64 and Cf-Client-Cert-Sha256, and only if the certificate counts." }
                    }
                    div.actions { button.primary type="submit" { "Save" } }
                }
            }
        }
        @if may_write {
            details.fold open[all.is_empty() || fields.find("name").is_some()] {
                summary { "Add an authority" }
                (problems.summary())
                form.sheet method="post" action=(PATH) {
                    (csrf(&visitor.csrf))
                    (Control::new("name", "Name").required().placeholder("Devices").problems(problems.at("/name")).input("text", fields.get("name")))
                    (Control::new("certificate", "Certificate").required().mono().placeholder("-----BEGIN CERTIFICATE-----").hint("PEM of the authority itself, not of a device.").problems(problems.at("/certificate")).area(6, fields.get("certificate")))
                    (Control::new("hosts", "Hosts").mono().hint("One a line: where browsers are asked for a certificate. Empty: nowhere yet.").problems(problems.at("/associated_hostnames")).area(2, fields.get("hosts")))
                    div.actions { button.primary type="submit" { "Add" } }
                }
            }
        }
    })
}

fn hosts_of(authority: &AccessView) -> impl Iterator<Item = &str> {
    let hosts = authority.0.get("associated_hostnames").and_then(Value::as_array);
    hosts.into_iter().flatten().filter_map(Value::as_str)
}

/// How a host stands with the authority that is asked for its certificate, and why.
fn state(host: &ListenerCertificateView) -> Markup {
    html! {
        @match host.status {
            "active" => span.badge.calm { "in use" },
            "expired" => span.badge.bad { "expired" },
            _ => span.badge { "none yet" },
        }
        @if let Some(failure) = &host.failure { p { "Tried " (host.failures) @if host.failures == 1 { " time" } @else { " times" } " in vain: " (failure) } }
    }
}

/// An authority past its end makes no certificate count.
fn is_over(visitor: &Visitor, authority: &AccessView) -> bool {
    authority.text("expires_on").parse::<jiff::Timestamp>().is_ok_and(|end| end < visitor.cx.now())
}

fn hosts(authority: &AccessView) -> Markup {
    let hosts: Vec<_> = hosts_of(authority).collect();
    html! { @if hosts.is_empty() { span.muted { "none" } } @for host in hosts { code { (host) } " " } }
}

/// Serves `POST /access/certificates`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let document = json!({
        "name": fields.get("name"), "certificate": fields.get("certificate"), "associated_hostnames": fields.lines("hosts"),
    });
    match client_certificates::create(&visitor.cx, &document).await {
        Ok(_) => go("/access/certificates?note=created"),
        Err(failure) => {
            let body = draw(&visitor, &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, TITLE, &failure, &body))
        }
    }
}

/// Serves `POST /access/certificates/settings`. What is set for hosts without an authority stays.
pub(in crate::pages) async fn put_settings(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let all = client_certificates::list(&visitor.cx).await?;
    let shown: BTreeSet<&str> = all.iter().flat_map(hosts_of).collect();
    let mut settings = client_certificates::settings(&visitor.cx).await?;
    for host in shown {
        let client_certificate_forwarding = fields.all("forward").any(|chosen| chosen == host);
        match settings.iter_mut().find(|known| known.hostname == host) {
            Some(known) => known.client_certificate_forwarding = client_certificate_forwarding,
            None => settings.push(HostSettings {
                hostname: host.to_owned(),
                china_network: false,
                client_certificate_forwarding,
            }),
        }
    }
    client_certificates::put_settings(&visitor.cx, SettingsBody { settings }).await?;
    go("/access/certificates?note=saved")
}

/// Serves `GET /access/certificates/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(authority): Path<String>) -> Page {
    let authority = client_certificates::get(&visitor.cx, id(&authority, "certificate")?).await?;
    let text =
        html! { p { "Certificates signed by " strong { (authority.text("name")) } " count for nothing any more." } };
    let act = format!("{PATH}/{}/delete", authority.text("id"));
    Ok(confirm(&visitor, Place::Access, "Remove this authority?", &text, (&act, "Remove the authority"), PATH))
}

/// Serves `POST /access/certificates/{id}/delete`.
pub(in crate::pages) async fn delete(Path(authority): Path<String>, form: Submission) -> Page {
    client_certificates::delete(&form.visitor.cx, id(&authority, "certificate")?).await?;
    go("/access/certificates?note=deleted")
}
