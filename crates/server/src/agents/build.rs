//! Stored portals, servers and catalogues to the snapshot that the plane answers from.
//!
//! Invariant: what cannot be read takes only itself out of force and is named in the log; a server without an application
//! is shown to nobody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use ::access::Backends;
use ::agents::Workers;
use ::agents::signin::{Manual, SignIn};
use ::agents::snapshot::{Portal, Remote, Served, Snapshot, Way};
use ::agents::upstream::{Address, Bounds, Candidate, Channel, Endpoint, Inner, Pace, Place, Stdio, Transport, places};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use identity::application::{ApplicationDocument, ApplicationKind};
use identity::document::{Problem, read_stored};
use identity::origin::{Origin, OriginTarget, OriginTls};
use mcp::catalog::{Catalog, Kind};
use mcp::document::credentials::AuthMode;
use mcp::document::portal::{self, PortalDocument};
use mcp::document::server::{Auth, CLIENT_SECRET, HEADERS, Pinning, Server, ServerDocument, Upstream, VARIABLE};
use mcp::names::{Change, ServerId};
use mcp::pinning::{self, Effective, Ledger};
use mcp::view::ServerView;
use net::upstream::Pool;
use policy::lists::ListSet;
use programs::{Program, Programs};
use serde_json::json;
use store::{McpCatalog, McpServer, Operate, Principal, ReadAccess, Store, Stored};
use types::{AccountId, ApplicationId, McpServerId, Secret};
use url::Url;

use super::AgentsError;
use crate::lists::{Lists, list_type};

/// What a server may take of us.
const BOUNDS: Bounds = Bounds { head: Duration::from_secs(60), silence: Duration::from_secs(300), message: 8 << 20 };

/// What a snapshot is built from.
pub(super) struct Builder {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub means: Arc<Means>,
    pub lists: Lists<Option<Arc<expr::List>>>,
    pub built: Built,
}

/// What was built last: a portal of which nothing has changed since stays as it is, for its clients as well.
#[derive(Default)]
pub(super) struct Built {
    /// By host, with a digest of what each was made from.
    portals: HashMap<String, (u64, Arc<Portal>)>,
    /// Kept, so that no other list is taken for one of them.
    lists: Vec<Arc<expr::List>>,
    /// How often lists have changed.
    epoch: u64,
}

/// What servers are reached with.
pub(crate) struct Means {
    /// To servers on this machine and without TLS: the administrator named them.
    pub backends: Backends,
    /// To all others: names, authorities and exceptions are those of the network settings.
    pub internet: Pool,
    /// Absent: programs are not run here.
    pub programs: Option<Programs>,
    pub workers: Arc<dyn Workers>,
}

/// Applications of portals by host, and of servers by id, with their audiences.
#[derive(Default)]
struct Doors {
    portals: HashMap<String, String>,
    servers: HashMap<McpServerId, (ApplicationId, String)>,
}

/// A server that is in force.
struct Known {
    server: Arc<Server>,
    address: String,
    catalog: Arc<Catalog>,
    /// Definitions that are not shown until an administrator approves them.
    held: HashSet<(Kind, Box<str>)>,
    /// A digest of what all of it was made from.
    digest: u64,
    version: Option<mcp::version::Version>,
    endpoint: Result<Channel, String>,
    credential: HeaderMap,
    sign_in: Option<Arc<SignIn>>,
}

impl Builder {
    /// Reads everything.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn build(&mut self, revision: u64) -> Result<Snapshot, AgentsError> {
        let lists = self.lists().await?;
        let doors = self.doors().await?;
        let servers = self.servers(&lists).await?;
        let grant = self.principal.authorize::<ReadAccess>(self.account)?;
        let (mut portals, mut built) = (BTreeMap::new(), HashMap::new());
        for stored in self.store.mcp_portals().list(&grant).await? {
            let read = read_stored::<PortalDocument>(&stored.document.body).map_err(|error| error.to_string());
            let parsed =
                read.and_then(|document| portal::Portal::parse(stored.id.clone(), &document, &lists).map_err(words));
            match parsed {
                Ok(settings) => {
                    let Some(audience) = doors.portals.get(&settings.hostname).cloned() else {
                        report("portal", stored.id.as_str(), "no application stands before it");
                        continue;
                    };
                    let host = settings.hostname.clone();
                    let parts: Vec<_> = settings
                        .servers
                        .iter()
                        .map(|link| {
                            (servers.get(&link.server).map(|known| known.digest), doors.servers.get(&link.server))
                        })
                        .collect();
                    let digest = digest(&(stored.id.as_str(), stored.revision.0, &audience, self.built.epoch, parts));
                    let same = self.built.portals.get(&host).filter(|(before, _)| *before == digest);
                    let portal = same.map(|(_, portal)| Arc::clone(portal)).unwrap_or_else(|| {
                        let served = settings.servers.iter().filter_map(|link| serve(link, &servers, &doors)).collect();
                        Arc::new(Portal { settings, audience, servers: served, revision })
                    });
                    built.insert(host.clone(), (digest, Arc::clone(&portal)));
                    portals.insert(host, portal);
                }
                Err(reason) => report("portal", stored.id.as_str(), &reason),
            }
        }
        self.built.portals = built;
        Ok(Snapshot { revision, portals })
    }

    async fn lists(&mut self) -> Result<ListSet, AgentsError> {
        let Self { store, principal, account, lists, .. } = self;
        let read = lists.read(store, principal, *account, |list, values| {
            let compiled = policy::lists::compile(list_type(list.document.item_type), values).ok().map(Arc::new);
            Ok::<_, AgentsError>(compiled)
        });
        let (mut set, mut all) = (ListSet::default(), Vec::new());
        for (id, list) in read.await? {
            if let Some(list) = list {
                all.push(Arc::clone(&list));
                set.insert(id, list);
            }
        }
        let before = &self.built.lists;
        if before.len() != all.len() || before.iter().zip(&all).any(|(before, list)| !Arc::ptr_eq(before, list)) {
            self.built.epoch += 1;
        }
        self.built.lists = all;
        Ok(set)
    }

    async fn doors(&self) -> Result<Doors, AgentsError> {
        let grant = self.principal.authorize::<ReadAccess>(self.account)?;
        let mut doors = Doors::default();
        for stored in self.store.applications().list(&grant).await? {
            let Ok(document) = read_stored::<ApplicationDocument>(&stored.document.body) else { continue };
            let Ok(audience) = stored.document.aud.parse() else { continue };
            // What cannot be read is named by Access, whose document it is.
            let Ok(application) = identity::application::Application::parse(stored.id, audience, &document) else {
                continue;
            };
            match application.kind {
                ApplicationKind::McpPortal(app) => {
                    for pattern in &app.destinations {
                        doors.portals.insert(pattern.host().to_owned(), stored.document.aud.clone());
                    }
                }
                ApplicationKind::McpServer(server) => {
                    doors.servers.insert(server.server, (stored.id, stored.document.aud.clone()));
                }
                ApplicationKind::SelfHosted(_) | ApplicationKind::Bookmark(_) | ApplicationKind::Launcher(_) => {}
            }
        }
        Ok(doors)
    }

    async fn servers(&self, lists: &ListSet) -> Result<HashMap<McpServerId, Known>, AgentsError> {
        let grant = self.principal.authorize::<ReadAccess>(self.account)?;
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let catalogs = self.store.mcp_catalogs().list(&grant).await?;
        let catalogs: HashMap<McpServerId, McpCatalog> =
            catalogs.into_iter().map(|stored| (stored.id, stored.document)).collect();
        let mut known = HashMap::new();
        for mut stored in self.store.mcp_servers().list(&grant).await? {
            let secrets = self.store.mcp_servers().open_members(&operate, &mut stored)?;
            let catalog = catalogs.get(&stored.id);
            match read(&self.means, &stored, &secrets, lists) {
                Ok(Read { server, address, endpoint, credential, sign_in }) => {
                    let endpoint = endpoint.map(|endpoint| expected(endpoint, catalog));
                    let shown = catalog.map(|catalog| shown(&stored.id, catalog, server.pinning));
                    let Effective { catalog: shown, held } = shown.unwrap_or_default();
                    let server = Known {
                        server: Arc::new(server),
                        sign_in,
                        address,
                        catalog: Arc::new(shown),
                        held,
                        digest: digest(&(stored.revision.0, catalog.map(content))),
                        version: catalog.and_then(spoken),
                        endpoint,
                        credential,
                    };
                    known.insert(stored.id, server);
                }
                Err(reason) => report("server", stored.id.as_str(), &reason),
            }
        }
        Ok(known)
    }
}

/// What of a catalogue clients can tell: all but when the server was asked.
fn content(catalog: &McpCatalog) -> String {
    let McpCatalog { tools, prompts, resources, resource_templates, pins, server, .. } = catalog;
    json!([tools, prompts, resources, resource_templates, pins, server]).to_string()
}

fn digest(parts: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// What a stored server is made into.
pub(super) struct Read {
    pub server: Server,
    pub address: String,
    pub endpoint: Result<Channel, String>,
    pub credential: HeaderMap,
    pub sign_in: Option<Arc<SignIn>>,
}

/// Makes a server of what is stored.
pub(super) fn read(
    means: &Means,
    stored: &Stored<McpServer>,
    secrets: &BTreeMap<String, Secret<String>>,
    lists: &dyn expr::Lists,
) -> Result<Read, String> {
    let document = read_stored::<ServerDocument>(&stored.document.body).map_err(|error| error.to_string())?;
    let held = |name: &str| secrets.contains_key(name);
    let server = Server::parse(stored.id.clone(), &document, &held, lists).map_err(words)?;
    let endpoint = match &server.upstream {
        Upstream::Remote(url) => address(means, url),
        Upstream::Stdio { command, args, env } => match &means.programs {
            Some(programs) => {
                let value = |name: &String| Some((name.clone(), secrets.get(&format!("{VARIABLE}{name}"))?.clone()));
                let env = env.iter().filter_map(value).collect();
                let program = Arc::new(Program { command: command.clone(), args: args.clone(), env });
                let (programs, server) = (programs.clone(), stored.id.to_string());
                Ok(Channel::Program(Stdio { programs, server, owner: String::new(), program, bounds: BOUNDS }))
            }
            None => Err("programs are not run here; whoever operates this service has to allow it".to_owned()),
        },
        Upstream::Worker(script) => Ok(Channel::Worker(Inner {
            workers: Arc::clone(&means.workers),
            script: script.clone(),
            facts: json!({"identity": null, "serviceToken": null, "mcp": {"server": stored.id.as_str()}})
                .to_string()
                .into(),
            bounds: BOUNDS,
        })),
    };
    let credential = secrets.get(HEADERS).map_or_else(|| Ok(HeaderMap::new()), credential)?;
    let sign_in = match (&server.upstream, &endpoint) {
        (Upstream::Remote(url), Ok(_)) => {
            let endpoint = endpoint_of(means, url)?;
            sign_in(&server, &document, url, &endpoint, secrets)
        }
        (Upstream::Remote(_) | Upstream::Stdio { .. } | Upstream::Worker(_), _) => None,
    };
    Ok(Read { server, address: document.address(), endpoint, credential, sign_in })
}

/// How one signs in at a server that people sign in at.
fn sign_in(
    server: &Server,
    document: &ServerDocument,
    url: &Url,
    endpoint: &Endpoint,
    secrets: &BTreeMap<String, Secret<String>>,
) -> Option<Arc<SignIn>> {
    let manual = match &server.auth {
        Auth::None | Auth::Headers => return None,
        Auth::Dynamic => None,
        Auth::Manual(client) => {
            Some(Arc::new(Manual { client: (**client).clone(), secret: secrets.get(CLIENT_SECRET).cloned() }))
        }
    };
    let secret = manual.as_ref().and_then(|manual| manual.secret.as_ref()).map(|secret| secret.expose().as_str());
    let told = serde_json::json!([server.id, url, document.auth_config, secret]).to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, told.as_bytes());
    Some(Arc::new(SignIn {
        address: url.clone(),
        endpoint: endpoint.clone(),
        manual,
        registers: document.auth_config.as_ref().is_some_and(|config| config.auth_mode == Some(AuthMode::Dcr)),
        settings: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
    }))
}

/// The places where a server of an address is looked for.
fn address(means: &Means, url: &Url) -> Result<Channel, String> {
    let endpoint = endpoint_of(means, url)?;
    let candidates = places(url.path(), url.query());
    let candidates = candidates.iter().filter_map(|place| Candidate::at(&endpoint, place)).collect();
    Ok(Channel::Remote(Address::new(candidates)))
}

/// Looks for a server first where it was found when it was last looked at.
fn expected(channel: Channel, catalog: Option<&McpCatalog>) -> Channel {
    let place = catalog.and_then(|catalog| {
        let found = catalog.server.as_ref()?.get("transport")?;
        let transport = [Transport::Streamable, Transport::Events];
        let kind = found.get("type")?.as_str()?;
        let transport = transport.into_iter().find(|transport| transport.as_str() == kind)?;
        Some(Place { transport, target: found.get("target")?.as_str()?.to_owned() })
    });
    match channel {
        Channel::Remote(remote) => Channel::Remote(remote.expect(place.as_ref())),
        Channel::Program(_) | Channel::Worker(_) => channel,
    }
}

fn endpoint_of(means: &Means, url: &Url) -> Result<Endpoint, String> {
    let host = url.host_str().ok_or("its address names no host")?.to_owned();
    let port = url.port_or_known_default().ok_or("its address names no port")?;
    let target = match url.scheme() {
        "http" => OriginTarget::Http { host, port },
        _ => OriginTarget::Https { host, port, tls: OriginTls::default() },
    };
    let backend = means.backends.backend(&Origin { target, host_header: None }).map_err(|error| error.to_string())?;
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = url.authority().rsplit('@').next().unwrap_or_default().to_owned();
    Ok(Endpoint {
        pool: if url.scheme() == "https" { means.internet.clone() } else { backend.pool },
        route: backend.route,
        target: PathAndQuery::try_from(path).map_err(|error| error.to_string())?,
        authority: HeaderValue::try_from(authority).map_err(|error| error.to_string())?,
        bounds: BOUNDS,
        pace: Pace::default(),
    })
}

fn credential(headers: &Secret<String>) -> Result<HeaderMap, String> {
    let unreadable = |_| "its stored credential cannot be read".to_owned();
    let members: BTreeMap<String, String> =
        serde_json::from_str(headers.expose()).map_err(|_| "its stored credential cannot be read".to_owned())?;
    let mut found = HeaderMap::new();
    for (name, value) in members {
        let name = HeaderName::try_from(name).map_err(|_| unreadable(()))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| unreadable(()))?;
        value.set_sensitive(true);
        found.insert(name, value);
    }
    Ok(found)
}

/// Makes a catalogue of what a server listed.
pub(super) fn listed(stored: &McpCatalog) -> Catalog {
    Catalog::of([&stored.tools, &stored.prompts, &stored.resources, &stored.resource_templates])
}

/// What people are shown of it. Where nobody can say what was approved, nothing was.
fn shown(id: &McpServerId, stored: &McpCatalog, pinning: Pinning) -> Effective {
    let listed = listed(stored);
    match Ledger::read(stored.pins.as_ref()) {
        Ok(ledger) => pinning::effective(&listed, &ledger, pinning),
        Err(error) => {
            report("server", id.as_str(), &format!("what was approved of it cannot be read: {error}"));
            Effective::default()
        }
    }
}

fn spoken(catalog: &McpCatalog) -> Option<mcp::version::Version> {
    catalog.server.as_ref()?.get("protocolVersion")?.as_str()?.parse().ok()
}

/// Puts a server behind a portal.
fn serve(link: &portal::Link, servers: &HashMap<McpServerId, Known>, doors: &Doors) -> Option<Arc<Served>> {
    let known = servers.get(&link.server)?;
    let id = ServerId::parse(link.server.as_str())?;
    let Some((application, audience)) = doors.servers.get(&link.server).cloned() else {
        report("server", link.server.as_str(), "no application says who may use it");
        return None;
    };
    let mut view = ServerView::new(id.clone(), known.server.name.clone(), Arc::clone(&known.catalog));
    view.held.clone_from(&known.held);
    view.default_disabled = link.default_disabled;
    view.prefixed = link.prefixed;
    for (kind, portal, server) in
        [(Kind::Tool, &link.tools, &known.server.tools), (Kind::Prompt, &link.prompts, &known.server.prompts)]
    {
        view.change(kind, server.iter().map(Change::from), portal.iter().map(Change::from));
    }
    if matches!(known.server.upstream, Upstream::Worker(_)) {
        view.hold_writes();
    }
    let way = match &known.endpoint {
        Ok(endpoint) => Way::Remote(Box::new(Remote {
            endpoint: endpoint.clone(),
            credential: known.credential.clone(),
            version: known.version,
        })),
        Err(why) => Way::Broken(why.clone()),
    };
    Some(Arc::new(Served {
        id,
        server: Arc::clone(&known.server),
        application,
        audience,
        address: known.address.clone(),
        view: Arc::new(view),
        way,
        sign_in: known.sign_in.clone(),
        on_behalf: link.on_behalf,
    }))
}

fn words(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn report(what: &str, id: &str, why: &str) {
    tracing::warn!(what, id, why, "a part of the MCP portals is not in force");
}
