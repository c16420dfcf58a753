//! How the gateway reaches origins and who may use the proxy without a name: hosts, allow list, roots, do-not-inspect list,
//! proxy endpoints.
//!
//! Lists are written one entry a line. Invariant: what the operation refuses is shown again beside its reason.

use std::collections::BTreeMap;

use axum::extract::Path;
use maud::{Markup, html};

use super::head;
use crate::failure::Failure;
use crate::operations::network::{self, BypassEntry, NetworkSettings};
use crate::operations::proxy_endpoints::{self, NewProxyEndpoint};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go, id};

/// Serves `GET /settings/network`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Settings, "Network", &body))
}

/// The settings as the lines of the form.
struct Lines {
    hosts: String,
    allow: String,
    roots: String,
    own_list: bool,
    bypass: String,
}

impl Lines {
    fn of(settings: &NetworkSettings) -> Self {
        let hosts: Vec<_> = settings.hosts.iter().map(|(name, target)| format!("{name} {target}")).collect();
        let entry = |entry: &BypassEntry| {
            if entry.reason.is_empty() {
                entry.pattern.clone()
            } else {
                format!("{} # {}", entry.pattern, entry.reason)
            }
        };
        Self {
            hosts: hosts.join("\n"),
            allow: settings.allow.join("\n"),
            roots: settings.roots.join("\n"),
            own_list: settings.bypass.is_some(),
            bypass: settings.bypass.iter().flatten().map(entry).collect::<Vec<_>>().join("\n"),
        }
    }

    fn typed(fields: &Fields) -> Self {
        let text = |name: &str| fields.raw(name).to_owned();
        Self {
            hosts: text("hosts"),
            allow: text("allow"),
            roots: text("roots"),
            own_list: fields.ticked("own_list"),
            bypass: text("bypass"),
        }
    }
}

async fn draw(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let lines = if fields.find("hosts").is_some() {
        Lines::typed(fields)
    } else {
        Lines::of(&network::get(&visitor.cx).await?)
    };
    let may_write = visitor.may(store::Permission::GatewayWrite);
    Ok(html! {
        (head("network"))
        (problems.summary())
        form.sheet method="post" action="/settings/network" {
            (csrf(&visitor.csrf))
            fieldset {
                legend { "Do not inspect" }
                p.hint { "Hosts whose connections pass without decryption, because their applications refuse any other certificate. Still recorded with name, fingerprint and bytes." }
                (Control::new("own_list", "Use a list of our own in place of the one that ships with Portunus").tick(lines.own_list))
                (Control::new("bypass", "Our list").hint("One a line: host.example or *.host.example, with a reason after a #.").mono().problems(problems.at("/bypass")).area(5, &lines.bypass))
            }
            fieldset {
                legend { "Reaching origins" }
                (Control::new("allow", "Addresses to let through").hint("The gateway refuses itself, loopback, link-local and metadata addresses. One exception a line: 10.0.0.0/8, 127.0.0.1/32:8443, host:port.").mono().problems(problems.at("/allow")).area(4, &lines.allow))
                (Control::new("hosts", "Names only the gateway resolves").hint("One a line: name address, either with :port.").mono().problems(problems.at("/hosts")).area(4, &lines.hosts))
                (Control::new("roots", "Further roots to trust").hint("PEM certificates of private authorities, one after another.").mono().problems(problems.at("/roots")).area(4, &lines.roots))
            }
            div.actions { button.primary type="submit" disabled[!may_write] { "Save" } }
        }
        (endpoints(visitor, fields, problems, may_write).await?)
    })
}

async fn endpoints(
    visitor: &Visitor,
    fields: &Fields,
    problems: Problems<'_>,
    may_write: bool,
) -> Result<Markup, Failure> {
    let all = proxy_endpoints::list(&visitor.cx).await?;
    Ok(html! {
        section {
            h2 { "Proxy endpoints" }
            p.muted { "Who may use the proxy: by where they come from, or by who they are." }
            @if !all.is_empty() {
                table.cards {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Serves" } th scope="col" { span.hidden { "Delete" } } } }
                    tbody {
                        @for one in &all {
                            tr {
                                td data-label="Name" { b { (one.name) } }
                                td data-label="Serves" { @if let Some(ips) = &one.ips { code { (ips.join(" ")) } } @else { "people with a proxy token" } }
                                td { @if may_write { a.button.quiet href={ "/settings/network/endpoints/" (one.id) "/delete" } { "Delete" } } }
                            }
                        }
                    }
                }
            }
            @if may_write {
                form.sheet method="post" action="/settings/network/endpoints" {
                    (csrf(&visitor.csrf))
                    div.row {
                        (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", fields.get("name")))
                        (Control::new("kind", "Serves").select(&[("ip", "Source ranges"), ("identity", "People with a proxy token")], fields.get("kind")))
                    }
                    (Control::new("ips", "Source ranges").hint("One a line, as 192.0.2.0/24.").mono().problems(problems.at("/ips")).area(2, fields.raw("ips")))
                    div.actions { button type="submit" { "Add an endpoint" } }
                }
            }
        }
    })
}

/// Splits PEM text into its certificates.
fn certificates(text: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    text.split_inclusive(END).map(str::trim).filter(|one| !one.is_empty()).map(|one| format!("{one}\n")).collect()
}

fn read(fields: &Fields) -> Result<NetworkSettings, Failure> {
    let mut hosts = BTreeMap::new();
    for line in fields.lines("hosts") {
        let (name, target) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| Failure::invalid("/hosts", format!("\"{line}\" needs a name and an address")))?;
        hosts.insert(name.to_owned(), target.trim().to_owned());
    }
    let bypass = fields.ticked("own_list").then(|| {
        let entry = |line: String| match line.split_once('#') {
            Some((pattern, reason)) => {
                BypassEntry { pattern: pattern.trim().to_owned(), reason: reason.trim().to_owned() }
            }
            None => BypassEntry { pattern: line, reason: String::new() },
        };
        fields.lines("bypass").into_iter().map(entry).collect()
    });
    Ok(NetworkSettings { hosts, allow: fields.lines("allow"), roots: certificates(fields.raw("roots")), bypass })
}

/// Serves `POST /settings/network`.
pub(in crate::pages) async fn save(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let saved = match read(&fields) {
        Ok(settings) => network::replace(&visitor.cx, settings).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(_) => go("/settings/network?note=saved"),
        Err(failure) => refuse(&visitor, &fields, &failure).await,
    }
}

async fn refuse(visitor: &Visitor, fields: &Fields, failure: &Failure) -> Page {
    let body = draw(visitor, fields, Problems::of(failure)).await?;
    Ok(refused_form(visitor, Place::Settings, "Network", failure, &body))
}

/// Serves `POST /settings/network/endpoints`.
pub(in crate::pages) async fn create_endpoint(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let by_name = fields.get("kind") == "identity";
    let kind = if by_name { store::ProxyEndpointKind::Identity } else { store::ProxyEndpointKind::Ip };
    let ips = (!by_name).then(|| fields.lines("ips"));
    match proxy_endpoints::create(&visitor.cx, NewProxyEndpoint { name: fields.get("name").to_owned(), kind, ips })
        .await
    {
        Ok(_) => go("/settings/network?note=created"),
        Err(failure) => refuse(&visitor, &fields, &failure).await,
    }
}

/// Serves `GET /settings/network/endpoints/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(endpoint): Path<String>) -> Page {
    let endpoint = proxy_endpoints::get(&visitor.cx, id(&endpoint, "proxy endpoint")?).await?;
    let text = html! { p { "Whoever uses the proxy through " strong { (endpoint.name) } " alone is shut out." } };
    let action = format!("/settings/network/endpoints/{}/delete", endpoint.id);
    Ok(confirm(
        &visitor,
        Place::Settings,
        "Delete this endpoint?",
        &text,
        (&action, "Delete the endpoint"),
        "/settings/network",
    ))
}

/// Serves `POST /settings/network/endpoints/{id}/delete`.
pub(in crate::pages) async fn delete_endpoint(Path(endpoint): Path<String>, form: Submission) -> Page {
    proxy_endpoints::delete(&form.visitor.cx, id(&endpoint, "proxy endpoint")?).await?;
    go("/settings/network?note=deleted")
}

#[cfg(test)]
mod tests {
    use super::certificates;

    #[test]
    fn pasted_certificates_are_told_apart() {
        let one = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----";
        assert_eq!(certificates(&format!("\n{one}\n\n{one}\n")).len(), 2);
        assert_eq!(certificates("  \n").len(), 0);
        assert_eq!(certificates("nonsense"), ["nonsense\n"]);
    }
}
