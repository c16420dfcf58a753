//! The launcher: the sign-in host's root, with a tile for each application a person may reach.
//!
//! Which tiles there are is the engine's to say, by the policies that guard the applications. Invariant: nobody sees a
//! tile before a policy of the launcher itself let them in, with everything that policy asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use http::{Response, StatusCode};
use identity::access_policy::Policy;
use identity::application::{ApplicationKind, Launcher};
use identity::evaluation::{Caller, Trace, Verdict};
use identity::launcher::{self as engine, Candidate, MAX_SEARCH, Tile, Tiles, Undecided};
use identity::session::Session;
use maud::{Markup, html};
use net::proxy::body::Body;
use serde_json::json;
use url::Url;

use crate::caller;
use crate::denial;
use crate::exchange::Exchange;
use crate::gate;
use crate::login::{self, COOKIE_LIFE};
use crate::mfa;
use crate::page::{self, Frame};
use crate::record::{self, Decision};
use crate::session_table::Live;
use crate::snapshot::{Published, Snapshot};
use crate::stages::OWN;
use crate::ticket::Start;
use crate::words::{Language, Message};
use crate::workers::{self, Asker, Heard, Occasion};
use identity::theme::Palette;

/// Hosts that logos of one page come from; a tile of another shows its initial, so that the header keeps a bound.
const MOST_LOGO_HOSTS: usize = 40;
/// Applications whose Workers are asked about tiles at the same time.
const APPLICATIONS_AT_ONCE: usize = 8;

/// Finds the launcher, of which there is at most one.
pub(crate) fn find(snapshot: &Snapshot) -> Option<(&Published, &Launcher)> {
    snapshot.applications.iter().find_map(|published| match &published.application.kind {
        ApplicationKind::Launcher(launcher) => Some((published, launcher.as_ref())),
        ApplicationKind::SelfHosted(_)
        | ApplicationKind::Bookmark(_)
        | ApplicationKind::McpPortal(_)
        | ApplicationKind::McpServer(_) => None,
    })
}

/// Begins a sign-in at the launcher, if `host` is where it is.
pub(crate) fn start(exchange: &Exchange, host: &str) -> Option<Start> {
    let (published, _) = find(&exchange.snapshot).filter(|_| exchange.snapshot.is_sign_in_host(host))?;
    Some(Start {
        application: published.application.id,
        host: host.to_owned(),
        back: "/".to_owned(),
        // Nothing is handed over to another host, so no cookie of another host binds it.
        browser: String::new(),
        certificate: exchange.certificate_for_sign_in(),
        policy: None,
        factor_within: None,
        approves: None,
        expires: exchange.now.after(COOKIE_LIFE).seconds(),
    })
}

/// Tells whether a session is young enough for the launcher; any session is for other applications, whose tokens have
/// lifetimes of their own.
pub(crate) async fn is_fresh(exchange: &Exchange, published: &Published, live: &Live) -> bool {
    let ApplicationKind::Launcher(launcher) = &published.application.kind else { return true };
    let Verdict::Allow(index) = verdict(exchange, published, live, None).await else { return true };
    published.policies.policy(index).is_none_or(|policy| {
        let length = gate::lifetime(exchange, policy, launcher.as_ref());
        let age = exchange.now.seconds().saturating_sub(live.session().identity.signed_in);
        u64::try_from(age).unwrap_or_default() < length.as_secs()
    })
}

async fn verdict(exchange: &Exchange, published: &Published, live: &Live, trace: Option<&mut Trace>) -> Verdict {
    gate::ask_about(exchange, published, Asker::Person(live.session()), trace).await
}

/// The address of the launcher for a link, if there is one.
pub(crate) fn address(exchange: &Exchange) -> Option<Url> {
    find(&exchange.snapshot)?;
    exchange.site(&exchange.snapshot.organization.auth_domain)
}

/// Answers a request for the launcher.
pub(crate) async fn home(exchange: &Exchange) -> Response<Body> {
    let snapshot = Arc::clone(&exchange.snapshot);
    let Some((published, launcher)) = find(&snapshot) else { return page::nothing_here(exchange) };
    let session = login::session(exchange).filter(|(_, live)| gate::fits(live.session(), launcher));
    let Some((hash, mut live)) = session else { return stranger(exchange, launcher) };
    if !is_fresh(exchange, published, &live).await {
        return stranger(exchange, launcher);
    }
    // Whatever an application's policies want to know of the person is asked before its tile is shown or not.
    for asking in &snapshot.applications {
        live = match login::answered(exchange, asking, hash, live).await {
            Ok(live) => live,
            Err(response) => return response,
        };
    }
    let mut trace = Trace::default();
    match verdict(exchange, published, &live, Some(&mut trace)).await {
        Verdict::Allow(index) => match published.policies.policy(index) {
            Some(policy) => admitted(exchange, published, launcher, policy, &live).await,
            None => page::failed(exchange),
        },
        // Everybody is let in, so this person is.
        Verdict::Bypass(_) | Verdict::NonIdentity(_) => Page::new(exchange, published, launcher, &live).await.render(),
        Verdict::Needs(_) | Verdict::SignIn => {
            let why = "what a policy of the launcher asks could not be answered".to_owned();
            refused(exchange, published, launcher, &live, Decision::because(why), Message::DeniedText)
        }
        Verdict::Deny(denied) => {
            let decision = Decision::denied(published, denied, Some(&trace));
            refused(exchange, published, launcher, &live, decision, Message::DeniedText)
        }
    }
}

/// A policy matched; what it asks besides is asked here.
async fn admitted(
    exchange: &Exchange,
    published: &Published,
    launcher: &Launcher,
    policy: &Policy,
    live: &Arc<Live>,
) -> Response<Body> {
    let refuse = |why: Message| {
        let decision =
            Decision { policy: Some((policy.id, policy.name.clone())), ..Decision::because(why.english().to_owned()) };
        refused(exchange, published, launcher, live, decision, why)
    };
    // Answers and approvals are given for one session at one application; the launcher has none of its own.
    if !policy.approval.is_empty() || policy.justification.is_some() {
        return refuse(Message::LauncherAsks);
    }
    let rules = gate::mfa(exchange, policy, launcher);
    if caller::owes_factor(rules.as_ref(), live.session(), exchange.now) {
        let step_up = |start| mfa::step_up(exchange, &start, policy.id);
        return start(exchange, &exchange.host).map_or_else(|| page::failed(exchange), step_up);
    }
    Page::new(exchange, published, launcher, live).await.render()
}

fn refused(
    exchange: &Exchange,
    published: &Published,
    launcher: &Launcher,
    live: &Live,
    decision: Decision,
    why: Message,
) -> Response<Body> {
    let identity = Arc::clone(&live.session().identity);
    let decision = Decision { identity: Some(Arc::clone(&identity)), ..decision };
    record::refused(exchange, published, &decision, identity.provider_type.as_str());
    denial::denied_with(exchange, published, launcher, Some(&identity), why)
}

/// What somebody sees who is not signed in.
fn stranger(exchange: &Exchange, launcher: &Launcher) -> Response<Body> {
    if !page::wants_page(exchange) {
        return page::json(StatusCode::UNAUTHORIZED, &json!({"error": "unauthenticated", "message": "sign in first"}));
    }
    let sign_in = format!("{OWN}login/{}", exchange.host);
    if launcher.skip_landing {
        return page::redirect(&sign_in);
    }
    let language = exchange.language(&launcher.sign_in.languages);
    let landing = &launcher.landing;
    let title = landing.title.as_deref().unwrap_or_else(|| Message::Welcome.text(language));
    let frame = Frame { exchange, language, status: StatusCode::OK, title };
    let logo = logo(exchange, launcher);
    let body = html! {
        main {
            div.card {
                (frame.brand(logo))
                @if let Some(image) = &landing.image { img.landing src=(image.as_str()) alt=""; }
                h1 { (title) }
                p {
                    @match &landing.message {
                        Some(message) => (message),
                        None => (Message::WelcomeText.text(language)),
                    }
                }
                a.button href=(sign_in) { (Message::SignIn.text(language)) }
            }
        }
        (frame.footer(&links(launcher)))
    };
    frame.sheet(&body, palette(exchange, launcher), logo.into_iter().chain(&landing.image))
}

fn logo<'a>(exchange: &'a Exchange, launcher: &'a Launcher) -> Option<&'a Url> {
    launcher.logo.as_ref().or(exchange.snapshot.organization.design.logo.as_ref())
}

fn palette(exchange: &Exchange, launcher: &Launcher) -> Palette {
    let design = &exchange.snapshot.organization.design;
    Palette {
        back: launcher.background.or(design.background),
        text: design.text,
        bar: launcher.header_background,
        button: launcher.landing.button,
        button_text: launcher.landing.button_text,
    }
}

fn links(launcher: &Launcher) -> Markup {
    html! {
        @if !launcher.footer.is_empty() {
            ul { @for (name, url) in &launcher.footer { li { a href=(url.as_str()) { (name) } } } }
        }
    }
}

/// Decides which applications have a tile, as far as it is known.
fn find_tiles(exchange: &Exchange, launcher: &Published, session: &Session) -> Tiles {
    let snapshot = &exchange.snapshot;
    let caller = Caller { identity: Some(&session.identity), ..Caller::default() };
    let rest = &session.frozen.with(&**snapshot);
    let others = snapshot.applications.iter().filter(|other| other.application.id != launcher.application.id);
    let heard: Vec<_> =
        others.map(|other| (other, Heard { exchange, application: other.application.id, rest })).collect();
    let candidates = heard.iter().map(|(other, lookups)| Candidate {
        application: &other.application,
        policies: &other.policies,
        lookups,
    });
    engine::tiles(candidates, exchange.plane().config.public_port, &caller, &gate::context(exchange))
}

/// Asks the Workers that tiles hang on, those of a few applications at a time. False if there are none.
async fn ask_workers(exchange: &Exchange, session: &Session, undecided: &[Undecided]) -> bool {
    let known = |id| exchange.snapshot.applications.iter().find(|published| published.application.id == id);
    let mut asked = Vec::with_capacity(undecided.len());
    for tile in undecided {
        let about = (Asker::Person(session), Occasion::Tile(&tile.url));
        asked.extend(known(tile.application).map(|published| workers::ask(exchange, published, about, &tile.needs)));
    }
    let asked: Vec<bool> = futures_util::stream::iter(asked).buffer_unordered(APPLICATIONS_AT_ONCE).collect().await;
    asked.contains(&true)
}

/// The page of tiles.
struct Page<'a> {
    exchange: &'a Exchange,
    launcher: &'a Launcher,
    live: &'a Live,
    language: Language,
    tiles: Vec<Tile>,
    /// What is searched for; empty for nothing.
    search: String,
    tag: Option<String>,
}

impl<'a> Page<'a> {
    async fn new(exchange: &'a Exchange, published: &Published, launcher: &'a Launcher, live: &'a Live) -> Self {
        let mut tiles = loop {
            let Tiles { tiles, undecided } = find_tiles(exchange, published, live.session());
            if !ask_workers(exchange, live.session(), &undecided).await {
                break tiles;
            }
        };
        let mut hosts = BTreeSet::new();
        for tile in &mut tiles {
            let host = tile.logo.as_ref().map(|logo| logo.origin().ascii_serialization());
            if let Some(host) = host
                && !hosts.contains(&host)
                && (hosts.len() == MOST_LOGO_HOSTS || !hosts.insert(host))
            {
                tile.logo = None;
            }
        }
        Self {
            exchange,
            launcher,
            live,
            language: exchange.language(&launcher.sign_in.languages),
            tiles,
            search: exchange.parameter("q").unwrap_or_default().trim().to_owned(),
            tag: exchange.parameter("tag").filter(|tag| !tag.is_empty()),
        }
    }

    fn text(&self, message: Message) -> &'static str {
        message.text(self.language)
    }

    fn render(&self) -> Response<Body> {
        let title = self.text(Message::Applications);
        let frame = Frame { exchange: self.exchange, language: self.language, status: StatusCode::OK, title };
        let logo = logo(self.exchange, self.launcher);
        let found: Vec<&Tile> =
            self.tiles.iter().filter(|tile| tile.matches(&self.search, self.tag.as_deref())).collect();
        let body = html! {
            a.skip href="#tiles" { (self.text(Message::SkipToApplications)) }
            header.bar {
                (frame.brand(logo))
                nav aria-label=(self.text(Message::Account)) {
                    a href=(format!("{OWN}account")) { (self.text(Message::Account)) }
                    a href=(format!("{OWN}logout")) { (self.text(Message::SignOut)) }
                }
            }
            main.wide {
                div.heading {
                    div {
                        h1 { (title) }
                        p.who {
                            (self.text(Message::SignedInAs)) " " (self.live.session().identity.email)
                        }
                    }
                    @if !self.tiles.is_empty() { (self.search_form()) }
                }
                @if !self.tiles.is_empty() { (self.filter()) }
                (self.found(&found))
            }
            (frame.footer(&links(self.launcher)))
        };
        let images = logo.into_iter().chain(self.tiles.iter().filter_map(|tile| tile.logo.as_ref()));
        frame.sheet(&body, palette(self.exchange, self.launcher), images)
    }

    fn search_form(&self) -> Markup {
        html! {
            form.search role="search" method="get" action="/" {
                @if let Some(tag) = &self.tag { input type="hidden" name="tag" value=(tag); }
                label.unseen for="q" { (self.text(Message::Search)) }
                input id="q" name="q" type="search" value=(self.search) maxlength=(MAX_SEARCH)
                    placeholder=(self.text(Message::Search)) autocomplete="off";
                button type="submit" { (self.text(Message::Find)) }
            }
        }
    }

    /// The tags of what the search found, each with the number of its tiles.
    fn filter(&self) -> Markup {
        let searched: Vec<Tile> = self.tiles.iter().filter(|tile| tile.matches(&self.search, None)).cloned().collect();
        let tags = engine::tags(&searched);
        let known = self.tag.as_deref().filter(|tag| !tags.iter().any(|(name, _)| name == tag));
        let tags: Vec<(&str, usize)> = tags.iter().copied().chain(known.map(|tag| (tag, 0))).collect();
        let link = |tag: Option<&str>, name: &str, count: usize| {
            let current = (self.tag.as_deref() == tag).then_some("true");
            html! {
                li {
                    a href=(self.link(tag)) aria-current=[current] { (name) " " span.count { (count) } }
                }
            }
        };
        html! {
            @if !tags.is_empty() {
                nav aria-label=(self.text(Message::Tags)) {
                    ul.tags {
                        (link(None, self.text(Message::AllTags), searched.len()))
                        @for (tag, count) in tags { (link(Some(tag), tag, count)) }
                    }
                }
            }
        }
    }

    fn link(&self, tag: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if let Some(tag) = tag {
            query.append_pair("tag", tag);
        }
        let query = query.finish();
        if query.is_empty() { "/".to_owned() } else { format!("/?{query}") }
    }

    fn found(&self, found: &[&Tile]) -> Markup {
        html! {
            @if found.is_empty() {
                div.nothing #tiles {
                    @if self.tiles.is_empty() {
                        h2 { (self.text(Message::NoApplications)) }
                        p { (self.text(Message::NoApplicationsText)) }
                    } @else {
                        h2 { (self.text(Message::NothingFound)) }
                        p { a href="/" { (self.text(Message::ShowAll)) } }
                    }
                }
            } @else {
                ul.tiles #tiles { @for tile in found { li { (self.tile(tile)) } } }
            }
        }
    }

    fn tile(&self, tile: &Tile) -> Markup {
        html! {
            a.tile href=(tile.url.as_str()) rel=[tile.bookmark.then_some("noreferrer")] {
                @if let Some(logo) = &tile.logo {
                    img src=(logo.as_str()) alt="" loading="lazy";
                } @else {
                    span.mark aria-hidden="true" { (page::initial(&tile.name)) }
                }
                span.about {
                    span.name { (tile.name) }
                    span.host { (tile.url.host_str().unwrap_or_default()) }
                    @if tile.bookmark || !tile.tags.is_empty() {
                        span.labels {
                            @if tile.bookmark { span.label { (self.text(Message::Bookmark)) } }
                            @for tag in &tile.tags { span.label { (tag) } }
                        }
                    }
                }
            }
        }
    }
}
