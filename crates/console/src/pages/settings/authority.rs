//! The certificate authorities that intercept TLS, and how devices and tools come to trust them.
//!
//! Hands out certificates, never keys. Invariant: the authority in use can neither be withdrawn nor deleted here.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use maud::{Markup, html};
use serde_json::json;
use store::BindingStatus;
use types::{CertificateId, Code};

use super::head;
use crate::failure::Failure;
use crate::operations::certificates::{self, CertificateView, NewAuthority};
use crate::operations::configuration;
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::frame::{self, Place, empty, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

/// Serves `GET /settings/authority`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, "", Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Settings, "Certificate authority", &body))
}

async fn draw(visitor: &Visitor, days: &str, problems: Problems<'_>) -> Result<Markup, Failure> {
    let all = certificates::list(&visitor.cx).await?;
    let may_write = visitor.may(store::Permission::GatewayWrite);
    let proxy = &visitor.cx.app.deps.addresses.proxy;
    Ok(html! {
        (head("authority"))
        (problems.summary())
        @if all.is_empty() { (empty("There is no certificate authority yet.", &html! { "Without one nothing can be inspected. Make one below." })) }
        @for one in &all { (card(visitor, one, may_write)) }
        @if let Some(used) = all.iter().find(|one| one.in_use) { (instructions(&used.id, proxy)) }
        @if may_write {
            details.fold open[!days.is_empty()] {
                summary { "Make another authority" }
                form.sheet method="post" action="/settings/authority" {
                    (csrf(&visitor.csrf))
                    (Control::new("days", "Valid for, days").placeholder("1825").hint("Its key is made here, sealed, and never leaves the store. Activate it, hand it to the devices, then choose it.").problems(problems.at("/validity_period_days")).input("text", days))
                    div.actions { button.primary type="submit" { "Make it" } }
                }
            }
        }
    })
}

const fn status(one: &CertificateView) -> &'static str {
    match one.binding_status {
        BindingStatus::PendingDeployment => "being handed out",
        BindingStatus::Available => "available",
        BindingStatus::PendingDeletion => "being withdrawn",
        BindingStatus::Inactive => "inactive",
    }
}

fn card(visitor: &Visitor, one: &CertificateView, may_write: bool) -> Markup {
    let path = format!("/settings/authority/{}", one.id);
    let act = |name: &str, text: &str, class: &str| {
        button(&format!("{path}/{name}"), &visitor.csrf, class, &html! { (text) }, &[])
    };
    html! {
        section.card {
            div.bar {
                h2 { (one.issuer_org) @if one.in_use { span.badge.accent { "in use" } } span.badge.plain { (status(one)) } }
                div.actions { a.button href={ (path) "?as=pem" } { "PEM" } a.button href={ (path) "?as=der" } { "DER" } }
            }
            dl.pairs {
                div { dt { "Fingerprint" } dd { code.wrap { (one.fingerprint) } } }
                div { dt { "Expires" } dd { (format::day(&one.expires_on)) } }
                div { dt { "Made" } dd { (format::day(&one.created_at)) } }
            }
            @if may_write && !one.in_use {
                div.actions {
                    @if one.binding_status == BindingStatus::Inactive { (act("activate", "Activate", "")) (act("delete", "Delete", "quiet")) }
                    @if one.binding_status == BindingStatus::Available { (act("use", "Show it to intercepted sites", "")) (act("deactivate", "Deactivate", "quiet")) }
                }
            }
        }
    }
}

fn instructions(certificate: &str, proxy: &str) -> Markup {
    let file = "portunus-ca.pem";
    let ways: [(&str, String); 9] = [
        (
            "Debian, Ubuntu",
            format!("sudo cp {file} /usr/local/share/ca-certificates/portunus.crt && sudo update-ca-certificates"),
        ),
        ("Fedora, RHEL", format!("sudo cp {file} /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust")),
        (
            "macOS",
            format!("sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {file}"),
        ),
        ("Windows (as administrator)", format!("certutil -addstore -f Root {file}")),
        ("curl", format!("curl --cacert {file} -x {proxy} --proxy-user EMAIL:TOKEN https://example.com/")),
        (
            "git",
            format!(
                "git config --global http.sslCAInfo {file}\ngit config --global http.proxy {}",
                with_credentials(proxy)
            ),
        ),
        (
            "npm",
            format!(
                "npm config set cafile {file}\nnpm config set proxy {0} && npm config set https-proxy {0}",
                with_credentials(proxy)
            ),
        ),
        (
            "pip, requests",
            format!("export REQUESTS_CA_BUNDLE={file} PIP_CERT={file} HTTPS_PROXY={}", with_credentials(proxy)),
        ),
        (
            "Node.js",
            format!("export NODE_EXTRA_CA_CERTS={file} HTTPS_PROXY={} NODE_USE_ENV_PROXY=1", with_credentials(proxy)),
        ),
    ];
    html! {
        section {
            h2 { "Trust it" }
            p { "Download the " a href={ "/settings/authority/" (certificate) "?as=pem" } { "certificate (PEM)" } " and put it where each tool looks. Every person needs a " a href="/settings/people" { "proxy token" } "." }
            div.ways {
                @for (tool, command) in &ways { details { summary { (tool) } pre.code data-copy { (command) } } }
                details { summary { "Browsers" } p { "Chrome, Edge and Safari use the system's store. In Firefox: Settings, Privacy & Security, View Certificates, Authorities, Import; or set " code { "security.enterprise_roots.enabled" } ". Point the browser's HTTP and HTTPS proxy at " code { (proxy) } "." } }
            }
        }
    }
}

/// `http://host:port` with placeholders for who one is.
fn with_credentials(proxy: &str) -> String {
    proxy.replacen("://", "://EMAIL:TOKEN@", 1)
}

/// Serves `GET /settings/authority/{id}`: the certificate as a file.
pub(in crate::pages) async fn download(visitor: Visitor, Path(certificate): Path<String>) -> Page {
    let certificate: CertificateId = id(&certificate, "certificate")?;
    let one = certificates::get(&visitor.cx, certificate).await?;
    if visitor.query.get("as") != "der" {
        return Ok(file(
            "application/x-pem-file",
            "attachment; filename=\"portunus-ca.pem\"",
            one.certificate.into_bytes(),
        ));
    }
    let base64: String = one.certificate.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(base64);
    let der = der.map_err(|_| Failure::new(Code::Internal, "the stored certificate cannot be read"))?;
    Ok(file("application/pkix-cert", "attachment; filename=\"portunus-ca.der\"", der))
}

fn file(media_type: &'static str, disposition: &'static str, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
    ];
    (headers, bytes).into_response()
}

/// Serves `POST /settings/authority`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let days = match fields.get("days") {
        "" => Ok(None),
        text => {
            text.parse().map(Some).map_err(|_| Failure::invalid("/validity_period_days", "must be a number of days"))
        }
    };
    let made = match days {
        Ok(validity_period_days) => certificates::create(&visitor.cx, NewAuthority { validity_period_days }).await,
        Err(failure) => Err(failure),
    };
    match made {
        Ok(_) => go("/settings/authority?note=created"),
        Err(failure) => {
            let body = draw(&visitor, fields.get("days"), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Settings, "Certificate authority", &failure, &body))
        }
    }
}

/// Serves `POST /settings/authority/{id}/{act}`.
pub(in crate::pages) async fn act(Path((certificate, act)): Path<(String, String)>, form: Submission) -> Page {
    let certificate: CertificateId = id(&certificate, "certificate")?;
    let cx = &form.visitor.cx;
    let note = match act.as_str() {
        "activate" => certificates::activate(cx, certificate).await.map(|_| "activated"),
        "deactivate" => certificates::deactivate(cx, certificate).await.map(|_| "deactivated"),
        "delete" => certificates::delete(cx, certificate).await.map(|_| "deleted"),
        "use" => {
            let chosen = json!({"settings": {"certificate": {"id": certificate.to_string()}}});
            configuration::merge(cx, chosen).await.map(|_| "chosen")
        }
        _ => Err(Failure::not_found("act")),
    }?;
    go(&format!("/settings/authority?note={note}"))
}
