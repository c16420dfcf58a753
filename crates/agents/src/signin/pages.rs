//! What people see of their sign-ins at a portal's own address: to begin, to come back, to end, and the page on which a
//! client's question is answered.
//!
//! Needs no script. Invariants: nothing changes but by a form of this host's pages, in the browser it was shown in; a
//! person is sent to an authorization server from a page that names it; and what a browser brings back counts in the
//! sign-in that the way there was begun in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use maud::{Markup, html};
use mcp::names::ServerId;
use mcp::oauth::client::{self, About};
use mcp::oauth::flow::{Callback, CallbackError};
use mcp::view::Standing;
use net::proxy::body::{Body, collect, empty_body, full_body};
use types::ApplicationId;
use url::Url;
use url::form_urlencoded;

use super::calls::{self, Stands, site_of};
use super::{Begin, CompleteError, NoCredential, Owner, StartError};
use crate::elicit::{PAGE, PARAMETER};
use crate::page;
use crate::plane::Inner;
use crate::snapshot::{Portal, Served};
use crate::turn::Turn;
use crate::visit::{Holder, Person, Visit, Visitor};

/// The document by which authorization servers know a portal.
const DOCUMENT: &str = "/client-metadata.json";
/// Where people come back to (reference section 5.2).
const CALLBACK: &str = "/servers-callback";
const SIGN_OUT: &str = "/sign-out";
/// Of Access: where the person's session ends.
const LOGOUT: &str = "/cdn-cgi/access/logout";
const SERVERS: &str = "/servers/";
const MOST_FORM: usize = 16 << 10;
const FORM: Duration = Duration::from_secs(10);
const PURPOSE: &[u8] = b"mcp portal form 1";

/// Returns the document about a portal, which everybody may read.
pub(crate) fn client_document(path: &str, site: &Url) -> Option<Response<Body>> {
    let about = (path == DOCUMENT).then(|| about(site)).flatten()?;
    let address = about.document.as_ref()?;
    let mut response = Response::new(full_body(client::document(address, &about).to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Some(response)
}

/// What authorization servers are told of a portal. An address that only means something here has no document.
fn about(site: &Url) -> Option<About> {
    let means = |name: &str| name.contains('.') && !name.ends_with(".localhost");
    let named = site.scheme() == "https" && site.domain().is_some_and(means);
    let document = named.then(|| site.join(DOCUMENT).ok()).flatten();
    Some(About { document, site: site.clone(), redirect: site.join(CALLBACK).ok()? })
}

/// What a form of one of our pages carries: a secret of the browser's own sign-in that no other site knows.
pub(crate) fn token(person: &Person) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &person.sign_in);
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, PURPOSE).as_ref())
}

/// A person in their browser at a portal.
struct Here {
    plane: Arc<Inner>,
    portal: Arc<Portal>,
    person: Arc<Person>,
    visitor: Visitor,
    site: Url,
    open: BTreeSet<ApplicationId>,
}

impl Here {
    fn message(&self, status: StatusCode, text: &str) -> Response<Body> {
        message(&self.portal, &self.visitor, status, text)
    }

    fn holder(&self) -> Holder {
        Holder::Person(self.person.user)
    }

    /// Finds a server that the person passes: any other cannot be told from one that does not exist.
    fn served(&self, id: &ServerId) -> Option<Arc<Served>> {
        self.portal.server(id).filter(|served| self.open.contains(&served.application)).cloned()
    }
}

/// Answers a request for one of these pages; `None` for any other.
pub(crate) async fn answer(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit) -> Option<Response<Body>> {
    let path = visit.request.uri().path().to_owned();
    let read = matches!(*visit.request.method(), Method::GET | Method::HEAD);
    let ours = matches!(path.as_str(), CALLBACK | PAGE | SIGN_OUT) || path.starts_with(SERVERS);
    if !ours {
        return None;
    }
    let Visitor::Person(person) = &visit.visitor else {
        return Some(message(
            portal,
            &visit.visitor,
            StatusCode::FORBIDDEN,
            "This page is for people who are signed in.",
        ));
    };
    if person.agent {
        return Some(message(portal, &visit.visitor, StatusCode::FORBIDDEN, "This page is for a person's browser."));
    }
    let here = Here {
        plane: Arc::clone(plane),
        portal: Arc::clone(portal),
        person: person.clone(),
        visitor: visit.visitor.clone(),
        site: visit.site.clone(),
        open: visit.open.clone(),
    };
    Some(match (path.as_str(), read) {
        (CALLBACK, true) => {
            let query = visit.request.uri().query().unwrap_or_default().to_owned();
            callback(&here, &query).await
        }
        (PAGE, true) => choice(plane, portal, visit).await,
        (_, true) => here.message(StatusCode::METHOD_NOT_ALLOWED, "Go there from the portal's page."),
        (_, false) => match form(visit, &here.person).await {
            Some(fields) => changed(&here, &path, &fields).await,
            None => {
                let text =
                    "This form was not sent from a page of this portal, or is too old. Open the portal and try again.";
                here.message(StatusCode::FORBIDDEN, text)
            }
        },
    })
}

pub(crate) fn message(portal: &Portal, visitor: &Visitor, status: StatusCode, text: &str) -> Response<Body> {
    page::whole(portal, visitor, status, &html! { p.empty { (text) } p { a href="/" { "Your servers" } } })
}

fn see_other(target: &str) -> Response<Body> {
    let mut response = Response::new(empty_body());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(target) = HeaderValue::try_from(target) {
        response.headers_mut().insert(header::LOCATION, target);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) type Fields = Vec<(String, String)>;

pub(crate) fn field<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
}

/// Whether a browser says that a request comes from a page of this host.
fn is_from_here(headers: &HeaderMap, site: &Url) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = site.origin().ascii_serialization();
    let (origin, fetched) = (text("origin"), text("sec-fetch-site"));
    let foreign = origin.is_some_and(|origin| origin != own) || fetched.is_some_and(|site| site != "same-origin");
    !foreign && (origin.is_some() || fetched.is_some())
}

/// Reads a form that one of our pages sent, in this browser.
pub(crate) async fn form(visit: Visit, person: &Person) -> Option<Fields> {
    let Visit { request, site, .. } = visit;
    if request.method() != Method::POST || !is_from_here(request.headers(), &site) {
        return None;
    }
    let body = tokio::time::timeout(FORM, collect(request.into_body(), MOST_FORM)).await.ok()??;
    let fields: Fields = form_urlencoded::parse(&body).into_owned().collect();
    let genuine = verify_slices_are_equal(field(&fields, "token").as_bytes(), token(person).as_bytes()).is_ok();
    genuine.then_some(fields)
}

async fn changed(here: &Here, path: &str, fields: &Fields) -> Response<Body> {
    match path {
        SIGN_OUT => return sign_out(here).await,
        PAGE => return chosen(here, fields),
        _ => {}
    }
    let back = back(field(fields, "back"));
    let named = path.strip_prefix(SERVERS).and_then(|rest| rest.split_once('/'));
    let served = named.and_then(|(id, action)| Some((here.served(&ServerId::parse(id)?)?, action)));
    match served {
        Some((served, "sign-in")) => begin(here, &served, &back).await,
        Some((served, "sign-out")) => match leave(here, &served).await {
            Ok(()) => see_other(&back),
            Err(text) => here.message(StatusCode::SERVICE_UNAVAILABLE, &text),
        },
        _ => here.message(StatusCode::NOT_FOUND, "There is no such server."),
    }
}

/// Takes the way back from a form: one of our own pages.
fn back(text: &str) -> String {
    let question =
        text.strip_prefix(PAGE).and_then(|rest| rest.strip_prefix('?')).and_then(|rest| rest.strip_prefix(PARAMETER));
    let id = question.and_then(|rest| rest.strip_prefix('=')).filter(|id| uuid::Uuid::parse_str(id).is_ok());
    id.map_or_else(|| "/".to_owned(), |id| format!("{PAGE}?{PARAMETER}={id}"))
}

async fn begin(here: &Here, served: &Served, back: &str) -> Response<Body> {
    let refused = |text: &str| here.message(StatusCode::BAD_GATEWAY, text);
    let Some((owner, site)) = site_of(&here.visitor, served) else {
        return here.message(StatusCode::NOT_FOUND, "Nobody signs in at this server.");
    };
    let Some(about) = about(&here.site) else { return refused("The portal's own address is not one.") };
    let begin = Begin { owner, server: &served.id, site, about: &about, bound: here.person.sign_in, back };
    match here.plane.sign_ins.begin(begin).await {
        Ok(url) => leaving(&here.portal, &here.visitor, served, &url),
        Err(StartError::Server(reason)) => {
            tracing::warn!(%reason, server = %served.id, "people cannot sign in at an MCP server");
            refused(&format!("The sign-in at {} cannot begin: {reason}.", served.view.name))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a sign-in at an MCP server cannot begin");
            refused("The sign-in cannot begin at the moment. Try again shortly.")
        }
    }
}

/// The page between: a form may lead nowhere else, and the person sees where they go.
fn leaving(portal: &Portal, visitor: &Visitor, served: &Served, url: &Url) -> Response<Body> {
    let host = url.host_str().unwrap_or_default();
    // Of a quote or a `;` in the address the query makes percent-escapes; what stands before it came through the parser.
    let refresh = format!("0; url={url}");
    let body = html! {
        p { "You are on your way to " strong { (host) } " to sign in at " strong { (served.view.name) } "." }
        p { a.button rel="noreferrer" href=(url) { "Continue to " (host) } }
        p { a href="/" { "Go back" } }
    };
    page::page(portal, visitor, StatusCode::OK, &html! { meta http-equiv="refresh" content=(refresh); }, &body)
}

async fn callback(here: &Here, query: &str) -> Response<Body> {
    let query: Fields = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let text = |name: &str| query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let callback = Callback { code: text("code"), iss: text("iss"), error: text("error") };
    match redeem(here, text("state").unwrap_or_default(), &callback).await {
        Ok((server, back)) => {
            signed_in(here, &server, &back);
            see_other(&back)
        }
        Err(error) => {
            tracing::info!(reason = %error, user = %here.person.user, "a sign-in at an MCP server did not end well");
            let text = match &error {
                CompleteError::Callback(CallbackError::Refused(word)) if word == "access_denied" => {
                    "You did not allow the portal to use the server.".to_owned()
                }
                CompleteError::Vault(_) => "The sign-in cannot be kept at the moment. Try again shortly.".to_owned(),
                CompleteError::Unknown
                | CompleteError::Callback(_)
                | CompleteError::Settings
                | CompleteError::Answer(_)
                | CompleteError::Wire(_) => format!("The sign-in did not succeed: {error}."),
            };
            here.message(StatusCode::BAD_REQUEST, &text)
        }
    }
}

/// Tells the person's clients.
fn signed_in(here: &Here, server: &ServerId, back: &str) {
    let (plane, holder) = (&here.plane, here.holder());
    plane.end_links_of(holder, server.as_str());
    for session in plane.sessions.of(holder) {
        plane.tell_changed(&session);
    }
    let at = here.portal.settings.id.as_str();
    let question = back.strip_prefix(PAGE).and_then(|rest| rest.split_once('=')).map(|(_, id)| id);
    if let Some(id) = question
        && plane.elicitations.find(id, at, holder).is_some_and(|asked| asked.server.as_ref() == Some(server))
    {
        plane.elicitations.done(id, at, holder);
    }
}

async fn redeem(here: &Here, state: &str, callback: &Callback<'_>) -> Result<(ServerId, String), CompleteError> {
    let completed = here.plane.sign_ins.take(state).await?;
    if completed.owner != Owner::Person(here.person.user) {
        return Err(CallbackError::Browser.into());
    }
    let served = here.served(&completed.server).ok_or(CompleteError::Settings)?;
    let (_, site) = site_of(&here.visitor, &served).ok_or(CompleteError::Settings)?;
    here.plane.sign_ins.complete(&completed, site, callback, here.person.sign_in).await?;
    Ok((completed.server, completed.back))
}

/// Signs a person out at one server.
async fn leave(here: &Here, served: &Served) -> Result<(), String> {
    let Some((owner, site)) = site_of(&here.visitor, served) else { return Ok(()) };
    here.plane.end_links_of(here.holder(), served.id.as_str());
    here.plane.sign_ins.sign_out(owner, &served.id, site).await.map_err(|error| {
        tracing::error!(%error, "a sign-in at an MCP server cannot be forgotten");
        "You cannot be signed out at the moment. Try again shortly.".to_owned()
    })
}

/// Signs a person out at every server of the portal, then at Access.
async fn sign_out(here: &Here) -> Response<Body> {
    for served in &here.portal.servers {
        if let Err(text) = leave(here, served).await {
            return here.message(StatusCode::SERVICE_UNAVAILABLE, &text);
        }
    }
    let (plane, at) = (&here.plane, here.portal.settings.id.as_str());
    let sessions = plane.sessions.of(here.holder()).into_iter().filter(|session| session.portal == at);
    let ended = sessions.filter_map(|session| plane.sessions.end(&session.id, at, session.holder)).collect();
    plane.end_all(ended);
    see_other(LOGOUT)
}

/// A server with its state and what can be done about it.
pub(crate) fn named(turn: &Turn, stands: &Stands, back: &str) -> Markup {
    let (class, state) = match (&stands.own, stands.standing) {
        (Some(Err(NoCredential::Missing)), _) => ("attention", "Not signed in"),
        (Some(Err(NoCredential::More)), _) => ("attention", "Wants to be allowed more"),
        (_, Standing::SignInAgain) => ("attention", "Sign in again"),
        (_, Standing::Unreachable) => ("attention", "Cannot be used at the moment"),
        (_, Standing::Ready) if stands.on => ("ready", "Ready"),
        (_, Standing::Ready) => ("off", "Off until a client turns it on"),
    };
    let id = stands.server.id.as_str();
    let act = |action: &str, label: &str| {
        html! {
            @if let Visitor::Person(person) = &turn.visitor && !person.agent {
                form.act method="post" action={ (SERVERS) (id) "/" (action) } {
                    input type="hidden" name="token" value=(token(person));
                    input type="hidden" name="back" value=(back);
                    button type="submit" aria-label={ (label) " at " (stands.server.name) } { (label) }
                }
            }
        }
    };
    html! {
        span.name { (stands.server.name) } " " code { (id) }
        span class={ "state " (class) } { (state) }
        @match &stands.own {
            Some(Ok(())) => (act("sign-out", "Sign out")),
            Some(Err(NoCredential::Missing)) => (act("sign-in", "Sign in")),
            Some(Err(NoCredential::Lapsed | NoCredential::More)) => {
                (act("sign-in", "Sign in again"))
                (act("sign-out", "Sign out"))
            },
            Some(Err(NoCredential::Unavailable(_))) | None => {},
        }
    }
}

/// The question a page answers, if it is one of this person's at this portal.
fn question(visit: &Visit) -> Option<String> {
    let query = visit.request.uri().query().unwrap_or_default();
    let id = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == PARAMETER)?.1.into_owned();
    uuid::Uuid::parse_str(&id).is_ok().then_some(id)
}

/// The page for a client's question: which servers its session uses, and every sign-in that is missing.
async fn choice(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit) -> Response<Body> {
    let Some(id) = question(&visit) else { return see_other("/") };
    let asked = plane.elicitations.find(&id, portal.settings.id.as_str(), visit.visitor.holder());
    let session = asked.and_then(|asked| asked.session.upgrade());
    let turn = match &session {
        Some(session) => Some(Turn::new(Arc::clone(plane), Arc::clone(portal), Arc::clone(session), visit)),
        None => page::browsing(plane, portal, visit),
    };
    let Some(turn) = turn else { return see_other("/") };
    let standings = calls::standings(&turn).await;
    let here = format!("{PAGE}?{PARAMETER}={id}");
    let missing = standings.iter().filter(|stands| matches!(stands.own, Some(Err(_)))).count();
    let body = html! {
        section aria-labelledby="sign-ins" {
            h2 id="sign-ins" { "Your servers" }
            @match missing {
                0 => p { "You are signed in wherever you need to be. You can go back to your client." },
                1 => p { "One server waits for you to sign in." },
                more => p { (more) " servers wait for you to sign in." },
            }
            ul.servers { @for stands in &standings { li { (named(&turn, stands, &here)) } } }
        }
        @if let (Some(_), Visitor::Person(person)) = (&session, &turn.visitor) {
            section aria-labelledby="choice" {
                h2 id="choice" { "Used by this client" }
                form.choice method="post" action=(PAGE) {
                    input type="hidden" name="token" value=(token(person));
                    input type="hidden" name=(PARAMETER) value=(id);
                    @for stands in &standings {
                        label {
                            input type="checkbox" name="on" value=(stands.server.id.as_str()) checked[stands.on];
                            " " (stands.server.name)
                        }
                    }
                    button type="submit" { "Save" }
                }
            }
        }
    };
    page::whole(&turn.portal, &turn.visitor, StatusCode::OK, &body)
}

/// Takes the choice of a client's servers.
fn chosen(here: &Here, fields: &Fields) -> Response<Body> {
    let (id, at, holder) = (field(fields, PARAMETER), here.portal.settings.id.as_str(), here.holder());
    let asked = here.plane.elicitations.find(id, at, holder);
    let Some(session) = asked.as_ref().and_then(|asked| asked.session.upgrade()) else {
        let text = "The client that asked has left. Ask it again, or choose there.";
        return here.message(StatusCode::NOT_FOUND, text);
    };
    for served in here.portal.servers.iter().filter(|served| here.open.contains(&served.application)) {
        let on = fields.iter().any(|(name, value)| name == "on" && value == served.id.as_str());
        session.switch(served.id.clone(), on);
    }
    here.plane.tell_changed(&session);
    if asked.is_some_and(|asked| asked.server.is_none()) {
        here.plane.elicitations.done(id, at, holder);
    }
    here.message(StatusCode::OK, "Saved. You can go back to your client.")
}

#[cfg(test)]
mod tests {
    use super::{about, back, client_document};

    #[test]
    fn the_way_back_is_a_page_of_ours() {
        let id = "0191d3a2-0000-7000-8000-000000000001";
        assert_eq!(back(&format!("/authorize?elicitationId={id}")), format!("/authorize?elicitationId={id}"));
        for other in [
            "",
            "/",
            "//evil.example",
            "/authorize?elicitationId=x",
            "https://evil.example/authorize?elicitationId=1",
            "/authorize?elicitationId=x&y",
        ] {
            assert_eq!(back(other), "/", "{other}");
        }
    }

    #[test]
    fn a_portal_is_a_client_by_its_document_only_at_a_name_that_means_something_elsewhere() {
        let about = |site: &str| about(&site.parse().unwrap()).unwrap();
        assert_eq!(
            about("https://mcp.example.com/").document.unwrap().as_str(),
            "https://mcp.example.com/client-metadata.json"
        );
        for site in
            ["http://mcp.example.com/", "https://127.0.0.1:8443/", "https://portal:8443/", "https://mcp.localhost/"]
        {
            assert_eq!(about(site).document, None, "{site}");
        }
        let site = "https://mcp.example.com/".parse().unwrap();
        assert!(client_document("/client-metadata.json", &site).is_some());
        assert!(client_document("/", &site).is_none());
    }
}
