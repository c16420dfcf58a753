//! The launcher: which tiles a person sees, and where each leads (reference section 11).
//!
//! Decides by the same policies that guard the applications, for the request a tile would make: a GET of its start page.
//! Whether somebody may open the launcher at all is the launcher's own policy, which the caller asks first. Invariant: a
//! tile is shown only where a policy is known to let the person in; hiding a tile blocks nothing.

use std::collections::BTreeMap;

use expr::{Map, ValueRef};
use types::ApplicationId;
use url::Url;

use crate::application::{Application, ApplicationKind};
use crate::evaluation::{Caller, Lookups, Need, PolicySet, RequestContext, RequestHead, Verdict};

/// Longest search text that is looked at, in bytes.
pub const MAX_SEARCH: usize = 256;

/// One application that may have a tile.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    pub application: &'a Application,
    /// The application's own policies; a bookmark has none.
    pub policies: &'a PolicySet,
    /// What is known about the person at this application.
    pub lookups: &'a dyn Lookups,
}

/// One tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    pub application: ApplicationId,
    pub name: String,
    /// Absolute, http or https.
    pub url: Url,
    /// https.
    pub logo: Option<Url>,
    pub tags: Vec<String>,
    /// A link only, with no policy behind it.
    pub bookmark: bool,
}

/// What a person sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiles {
    /// In the order of their names.
    pub tiles: Vec<Tile>,
    /// Applications whose tile hangs on these facts; without them it is not shown.
    pub undecided: Vec<Undecided>,
}

/// An application whose tile is not decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    pub application: ApplicationId,
    /// Where the tile would lead.
    pub url: Url,
    pub needs: Vec<Need>,
}

struct NoHeaders;

impl Map for NoHeaders {
    fn len(&self) -> usize {
        0
    }

    fn is_empty(&self) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<ValueRef<'_>> {
        None
    }

    fn entry(&self, _: usize) -> Option<(&[u8], ValueRef<'_>)> {
        None
    }
}

/// Finds the tiles of somebody who may open the launcher. `port` is the one the applications are served at; the request
/// of `context` is put in for each application.
#[must_use]
pub fn tiles<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    port: u16,
    caller: &Caller<'_>,
    context: &RequestContext<'_>,
) -> Tiles {
    let mut found = Tiles::default();
    for Candidate { application, policies, lookups } in candidates {
        let Some((url, bookmark)) = target(application, port) else { continue };
        if !bookmark {
            let request = RequestHead {
                application: application.id,
                application_name: &application.name,
                host: url.host_str().unwrap_or_default(),
                method: "GET",
                path: url.path(),
                query: None,
                headers: Some(&NoHeaders),
            };
            let context = RequestContext { request: Some(request), ..*context };
            match policies.evaluate(caller, &context, lookups, None) {
                Verdict::Allow(_) | Verdict::NonIdentity(_) | Verdict::Bypass(_) => {}
                Verdict::Needs(needs) => {
                    found.undecided.push(Undecided { application: application.id, url, needs });
                    continue;
                }
                Verdict::SignIn | Verdict::Deny(_) => continue,
            }
        }
        found.tiles.push(Tile {
            application: application.id,
            name: application.name.clone(),
            url,
            logo: application.logo.clone(),
            tags: application.tags.clone(),
            bookmark,
        });
    }
    found.tiles.sort_by_cached_key(|tile| (tile.name.to_lowercase(), tile.application));
    found
}

/// Returns where a tile leads: the first destination that is one host. `None` where there is no tile.
fn target(application: &Application, port: u16) -> Option<(Url, bool)> {
    if !application.visible {
        return None;
    }
    match &application.kind {
        ApplicationKind::Bookmark(url) => Some((url.clone(), true)),
        ApplicationKind::Launcher(_) | ApplicationKind::McpServer(_) => None,
        ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app) => {
            let start = app.destinations.iter().find_map(crate::destination::Pattern::start)?;
            let mut url = Url::parse(&start).ok()?;
            // The port of the scheme is left out by the URL itself.
            url.set_port(Some(port)).ok()?;
            Some((url, false))
        }
    }
}

/// Returns every tag with the number of its tiles, in order.
#[must_use]
pub fn tags(tiles: &[Tile]) -> Vec<(&str, usize)> {
    let mut counts = BTreeMap::new();
    for tile in tiles {
        let distinct: std::collections::BTreeSet<&str> = tile.tags.iter().map(String::as_str).collect();
        for tag in distinct {
            *counts.entry(tag).or_insert(0) += 1;
        }
    }
    counts.into_iter().collect()
}

impl Tile {
    /// Tells whether the tile has the tag, if one is named, and holds every word of a search in its name, host or tags,
    /// without regard to case. An empty search finds all, one that is too long nothing.
    #[must_use]
    pub fn matches(&self, search: &str, tag: Option<&str>) -> bool {
        if search.len() > MAX_SEARCH || tag.is_some_and(|tag| !self.tags.iter().any(|own| own == tag)) {
            return false;
        }
        let host = self.url.host_str().unwrap_or_default();
        let text = format!("{} {host} {}", self.name, self.tags.join(" ")).to_lowercase();
        search.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}
