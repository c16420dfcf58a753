//! One platform from start to end.
//!
//! Start in order: store, account, log, Worker runtime, first snapshot, listeners, loops. Stop in the reverse: listeners
//! first, so that nothing new comes in; the log last, so that everything that happened is in it. Invariant: a platform
//! that says it is ready accepts on every listener, and one that has stopped has no task left.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::access::AccessConfig;
use console::{Addresses, ConsoleDeps};
use gateway::{Gateway, GatewayConfig};
use logs::{Logs, LogsConfig};
use parking_lot::Mutex;
use programs::Programs;
use store::{KvNamespace, Principal, Store, WriteKv};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{AccountId, KvNamespaceId};
use uuid::Uuid;
use worker::{Runtime, RuntimeConfig};

use crate::account::{self, AccountError};
use crate::background::Background;
use crate::config::{AcmeConfig, Config, ProgramsConfig, Role};
use crate::demo::{self, DemoError};
use crate::digest::Digest;
use crate::door::Door;
use crate::managed::Managed;
use crate::outbox::Outbox;
use crate::preview::Previewer;
use crate::push::{Probe, Pusher};
use crate::ready::Ready;
use crate::retention;
use crate::scripts::Scripts;
use crate::services::{EventHost, PolicyWorkers, Services};
use crate::snapshot::{BuildError, Builder};
use crate::state::{Served, State};
use crate::upstream::{Fixed, NetworkError, Upstream};

/// How long requests in flight may go on after the listeners have closed.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);
/// Bytes of records that may wait for the disk. Each request in flight holds room for its own, so this is also how many
/// there may be before the log pushes back.
const LOG_QUEUE: usize = 64 << 20;
/// How long a program that is an MCP server runs without anything to do.
const PROGRAM_IDLE: Duration = Duration::from_secs(15 * 60);
/// What managed actions remember lives here.
const MANAGED_MEMORY: &str = "Managed actions";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the data directory {path}")]
    Data { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot serve the console over TLS")]
    Tls(#[from] net::certificate_files::CertificateFilesError),
    #[error("cannot open the store")]
    Store(#[from] store::OpenError),
    #[error("cannot prepare the account")]
    Account(#[from] AccountError),
    #[error("cannot open the log")]
    Logs(#[from] logs::OpenError),
    #[error("cannot start the Worker runtime")]
    Workers(#[from] worker::StartError),
    #[error("cannot start Access")]
    Access(#[from] crate::access::AccessError),
    #[error("cannot start MCP portals")]
    Agents(#[from] crate::agents::AgentsError),
    #[error("cannot make ready to run programs")]
    Programs(#[source] std::io::Error),
    #[error("cannot load the demo")]
    Demo(#[from] DemoError),
    #[error("cannot use the network settings")]
    Network(#[from] NetworkError),
    #[error("cannot put the stored configuration in force")]
    Build(#[from] BuildError),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
}

impl From<store::StoreError> for StartError {
    fn from(error: store::StoreError) -> Self {
        Self::Account(error.into())
    }
}

/// What a person should be told once the platform is up.
pub struct Notice {
    pub ready: Ready,
    /// The link is of use: nobody can sign in yet.
    pub needs_setup: bool,
    /// Commands to paste, each with what to expect; empty without the demo.
    pub commands: Vec<(String, String)>,
    pub revision: u64,
    /// Rules that do not compile, by id.
    pub rule_errors: Vec<(String, String)>,
}

/// A running platform.
pub struct Platform {
    pub notice: Notice,
    data: PathBuf,
    core: Core,
    upstream: Arc<Upstream>,
    tasks: Tasks,
}

/// Every task of a platform, in the two groups that end one after the other.
#[derive(Default)]
struct Tasks {
    listeners: TaskTracker,
    close_listeners: CancellationToken,
    loops: TaskTracker,
    end_loops: CancellationToken,
}

/// Where the listeners of this node's roles are, once bound.
#[derive(Clone, Copy)]
struct Bound {
    console: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    access: Option<SocketAddr>,
}

/// What everything else stands on.
struct Core {
    store: Store,
    account: AccountId,
    logs: Logs,
    runtime: Arc<Runtime>,
    programs: Option<Programs>,
    generated: Option<Arc<console::GeneratedTraffic>>,
    clock: net::Clock,
}

/// The parts that decide and serve, put together.
struct Running {
    state: Arc<State>,
    services: Arc<Services>,
    scripts: Arc<Scripts>,
    gateway: Gateway,
    events: Mutex<Option<mpsc::Receiver<gateway::SecurityEvent>>>,
}

impl Platform {
    /// Starts everything the configuration asks for.
    ///
    /// # Errors
    /// The first part that does not start, with what it needs.
    pub async fn start(config: Config, with_demo: bool) -> Result<Self, StartError> {
        create_private(&config.data)?;
        let console_listener = listen(&config, Role::Console, config.console).await?;
        let proxy_listener = listen(&config, Role::Gateway, config.proxy).await?;
        let access_listener = listen(&config, Role::Access, config.access).await?;
        let addresses = Bound {
            console: address(console_listener.as_ref())?,
            proxy: address(proxy_listener.as_ref())?,
            access: address(access_listener.as_ref())?,
        };
        let door = addresses.console.map(|bound| Door::new(bound, &config)).transpose()?;
        let store = Store::open(crate::store_config(&config)).await?;
        let system = Principal::system("start");
        if with_demo && store.accounts(&system).await?.is_empty() {
            demo::traffic::claim(&config.data, (crate::clock())()).map_err(DemoError::from)?;
        }
        let account = account::ensure_account(&store, &system).await?;
        account::ensure_authority(&store, &system, account, (crate::clock())()).await?;
        let tasks = Tasks::default();
        let (fixed, credentials, agent) = if with_demo {
            let sites = demo::sites::start(&tasks.loops, tasks.end_loops.clone()).await.map_err(DemoError::from)?;
            let wiki = demo::wiki::start(&tasks.loops, tasks.end_loops.clone()).await;
            let wiki = wiki.map_err(|error| DemoError::from(demo::sites::SitesError::from(error)))?;
            let mut people = demo::load(&store, &system, account).await?;
            demo::launcher::load(&store, &system, account).await?;
            let agent = demo::wiki::load(&store, &system, account, wiki, &mut people).await?;
            demo::portal::load(&store, &system, account).await?;
            (demo::network(sites.address, &sites.root), people, Some(agent))
        } else {
            (Fixed::default(), Vec::new(), None)
        };
        let listeners = [addresses.console, addresses.proxy, addresses.access].into_iter().flatten().collect();
        let fixed = Fixed { listeners, ..fixed };
        let changes = store.changes().await?;
        let retention = retention::chosen(&store, account).await?;
        let bucket = config.bucket.clone();
        let logs_config = LogsConfig { queue_bytes: LOG_QUEUE, bucket, retention, ..LogsConfig::default() };
        let logs = Logs::open(&config.logs, logs_config).await?;
        let following = retention::follow(store.clone(), account, logs.clone(), changes, tasks.end_loops.clone());
        tasks.loops.spawn(following);
        let runtime = Arc::new(Runtime::start(RuntimeConfig::default()).await?);
        let programs = config.programs.as_ref().map(|programs| run_programs(&config.data, programs)).transpose()?;
        let traffic = demo::traffic::find(&config.data).map_err(DemoError::from)?;
        let generated = traffic.as_ref().map(|traffic| Arc::clone(&traffic.shown));
        if let Some(traffic) = traffic {
            tasks.loops.spawn(traffic.fill(account, logs.clone(), tasks.end_loops.clone()));
        }
        let core = Core { store, account, logs, runtime, programs, generated, clock: crate::clock() };
        let network = account::network(&core.store, &system, account).await?;
        let upstream = Arc::new(Upstream::new(fixed, &network, Arc::clone(&core.clock))?);
        let running = core.assemble(&upstream, &tasks).await?;
        let (ready, needs_setup) = core.ready(&config, door.as_ref(), addresses).await?;
        let router = core.console(&running, &upstream, &ready, door.as_ref());
        running.services.set_api(router.clone());
        core.loops(&running, &tasks, &ready.console_url);
        let collecting = crate::trail::collect(config.data.clone(), core.logs.clone(), tasks.end_loops.clone());
        tasks.loops.spawn(collecting);
        core.deliver(&upstream, &tasks).await?;
        if let Some(proxy_listener) = proxy_listener {
            let (gateway, stop) = (running.gateway.clone(), tasks.close_listeners.clone());
            tasks.listeners.spawn(async move { gateway.serve(proxy_listener, stop).await });
        }
        if let (Some(listener), Some(bound)) = (access_listener, addresses.access) {
            core.publish(listener, bound, &running, &upstream, config.acme.clone(), &tasks).await?;
        }
        let write = |source| StartError::Write { path: config.data.clone(), source };
        let reached = door.as_ref().map(|door| (door.local(), door.trust()));
        let announced = crate::ready::Running::new(&ready.api_url, reached);
        crate::ready::announce_api(&config.data, &announced).map_err(write)?;
        if let (Some(listener), Some(door)) = (console_listener, door) {
            let state = Arc::clone(&running.state);
            let serving = door.serve(listener, router, state, Arc::clone(&core.clock), tasks.close_listeners.clone());
            tasks.listeners.spawn(serving);
        }
        let authority = ready.ca_certificate.display().to_string();
        let mut commands = demo::commands(&ready.proxy, &authority, &credentials);
        if let (Some(bound), Some(agent)) = (addresses.access, &agent) {
            commands.extend(demo::wiki::commands(bound.port(), &authority, &credentials, agent));
            commands.extend(demo::launcher::commands(bound.port(), &authority, &credentials));
            commands.extend(demo::portal::commands(bound.port(), &authority, &credentials, agent));
            // What its servers offer is there before anybody is told of it.
            for server in demo::portal::SERVERS {
                let id = server.parse().map_err(DemoError::from)?;
                console::McpServers::sync(&*running.state, &id).await.map_err(|error| DemoError::Tools(error.0))?;
            }
            console::SnapshotView::settle(&*running.state).await;
        }
        let status = console::SnapshotView::status(&*running.state);
        let notice =
            Notice { needs_setup, commands, revision: status.revision, rule_errors: status.rule_errors, ready };
        Ok(Self { notice, data: config.data, core, upstream, tasks })
    }

    /// Stops in order: no new connections, those in flight finish within a bound, everything logged is on disk.
    pub async fn stop(self) {
        let Self { data, core, upstream, tasks, .. } = self;
        crate::ready::withdraw_api(&data);
        tasks.close_listeners.cancel();
        tasks.listeners.close();
        tasks.listeners.wait().await;
        tasks.end_loops.cancel();
        tasks.loops.close();
        tasks.loops.wait().await;
        if let Some(programs) = &core.programs {
            programs.close().await;
        }
        core.runtime.shutdown(Duration::from_secs(2)).await;
        upstream.pool.shut_down().await;
        core.logs.shutdown().await;
        core.store.close().await;
    }
}

impl Core {
    /// Builds the first snapshot and the gateway on it, and starts the loop that follows the store.
    async fn assemble(&self, upstream: &Arc<Upstream>, tasks: &Tasks) -> Result<Running, StartError> {
        let services = Arc::new(Services::new(
            self.store.clone(),
            upstream.pool.clone(),
            Arc::clone(&self.runtime),
            Arc::clone(&self.clock),
        ));
        let scripts = Arc::new(Scripts::default());
        let memory = managed_memory(&self.store, &Principal::system("start"), self.account).await?;
        let builder = Builder::new(
            self.store.clone(),
            self.account,
            Arc::clone(&scripts),
            Managed::new(memory),
            Arc::clone(upstream),
        );
        // The feed is opened before the state is read, so that no change falls between.
        let feed = self.store.changes().await?;
        let (state, watcher) =
            State::first(builder, Arc::clone(&services), Arc::clone(&self.runtime), feed, Arc::clone(&self.clock))
                .await?;
        tasks.loops.spawn(watcher.run(tasks.end_loops.clone()));
        let (gateway, events) = Gateway::new(gateway::Parts {
            config: GatewayConfig { drain_timeout: DRAIN, ..GatewayConfig::default() },
            snapshot: Arc::clone(&state.snapshot),
            runtime: Arc::clone(&self.runtime) as Arc<dyn gateway::Runner>,
            logs: self.logs.clone(),
            services: Arc::new(EventHost::new(Arc::clone(&services))),
            clock: Arc::clone(&self.clock),
        });
        state.set_metrics(crate::metrics::source(gateway.clone(), Arc::clone(&self.runtime), self.logs.clone()));
        Ok(Running { state, services, scripts, gateway, events: Mutex::new(Some(events)) })
    }

    /// Makes what the ready file holds, and says whether nobody can sign in yet.
    async fn ready(&self, config: &Config, door: Option<&Door>, bound: Bound) -> Result<(Ready, bool), StartError> {
        let system = Principal::system("start");
        let setup = account::setup_secret(&self.store, &system, self.account).await?;
        // A node without a role has no address for it; the file says so with an empty text.
        let console_url = door.map(Door::url).unwrap_or_default();
        let ready = Ready {
            account_id: self.account,
            api_url: if console_url.is_empty() { String::new() } else { format!("{console_url}/client/v4") },
            api_token: account::issue_full_token(&self.store, &system, self.account, &config.data).await?,
            setup_url: setup.as_ref().map_or_else(
                || format!("{console_url}/sign-in"),
                |secret| format!("{console_url}/setup?token={}", secret.expose()),
            ),
            console_url,
            proxy: bound.proxy.map(|address| format!("http://{address}")).unwrap_or_default(),
            access_url: bound
                .access
                .map(|address| format!("https://{}:{}", identity::organization::DEFAULT_AUTH_DOMAIN, address.port()))
                .unwrap_or_default(),
            ca_certificate: write_authority(config, &self.store, &system, self.account).await?,
        };
        Ok((ready, setup.is_some()))
    }

    /// Starts Access on its listener, and the loop that keeps it in step with the store.
    async fn publish(
        &self,
        listener: TcpListener,
        bound: SocketAddr,
        running: &Running,
        upstream: &Arc<Upstream>,
        acme: Option<AcmeConfig>,
        tasks: &Tasks,
    ) -> Result<(), StartError> {
        let portals = crate::agents::assemble(crate::agents::Ground {
            store: self.store.clone(),
            account: self.account,
            logs: self.logs.clone(),
            clock: Arc::clone(&self.clock),
            runtime: Arc::clone(&self.runtime),
            upstream: Arc::clone(upstream),
            programs: self.programs.clone(),
            services: Arc::clone(&running.services),
        })
        .await?;
        tasks.loops.spawn(portals.follower.run(tasks.end_loops.clone()));
        let feed = self.store.changes().await?;
        tasks.loops.spawn(Arc::clone(&portals.syncing).run(feed, tasks.end_loops.clone()));
        let (store, account, sign_ins, stop) =
            (self.store.clone(), self.account, Arc::clone(&portals.sign_ins), tasks.end_loops.clone());
        tasks.loops.spawn(async move {
            if let Err(error) = crate::agents::vault::follow(store, account, sign_ins, stop).await {
                tracing::error!(%error, "changes of sign-ins at MCP servers are not followed");
            }
        });
        let (agents, stop) = (portals.agents.clone(), tasks.end_loops.clone());
        tasks.loops.spawn(async move { agents.run(stop).await });
        running.state.set_agents(crate::state::Portals { settle: portals.settle, syncing: portals.syncing });
        let ground = crate::access::Ground {
            portals: Arc::new(move |host| {
                let agents = portals.agents.clone();
                Arc::new(crate::agents::Portal { agents, host }) as Arc<dyn access::Inside>
            }),
            store: self.store.clone(),
            account: self.account,
            logs: self.logs.clone(),
            clock: Arc::clone(&self.clock),
            upstream: Arc::clone(upstream),
            workers: Arc::new(PolicyWorkers { services: Arc::clone(&running.services) }),
            gateway: Arc::clone(&running.state.snapshot),
        };
        let config = AccessConfig { public_port: bound.port(), drain_timeout: DRAIN, ..AccessConfig::default() };
        let assembled = crate::access::assemble(ground, config, acme).await?;
        running.state.set_access(Served { access: assembled.access.clone(), settle: assembled.settle });
        tasks.loops.spawn(assembled.follower.run(tasks.end_loops.clone()));
        if let Some(orders) = assembled.orders {
            tasks.loops.spawn(orders.run(tasks.end_loops.clone()));
        }
        let (access, stop) = (assembled.access, tasks.close_listeners.clone());
        tasks.listeners.spawn(async move { access.serve(listener, stop).await });
        Ok(())
    }

    /// Starts the loop that empties the outbox. Every node has one; each mail is claimed by one of them.
    async fn deliver(&self, upstream: &Arc<Upstream>, tasks: &Tasks) -> Result<(), StartError> {
        let outbox = Outbox {
            store: self.store.clone(),
            account: self.account,
            clock: Arc::clone(&self.clock),
            upstream: Arc::clone(upstream),
            feed: self.store.changes().await?,
        };
        tasks.loops.spawn(outbox.run(tasks.end_loops.clone()));
        let pusher = Pusher {
            store: self.store.clone(),
            account: self.account,
            logs: self.logs.clone(),
            upstream: Arc::clone(upstream),
            feed: self.store.changes().await?,
        };
        tasks.loops.spawn(pusher.run(tasks.end_loops.clone()));
        Ok(())
    }

    fn console(&self, running: &Running, upstream: &Arc<Upstream>, ready: &Ready, door: Option<&Door>) -> axum::Router {
        console::router(ConsoleDeps {
            store: Arc::new(self.store.clone()),
            logs: self.logs.clone(),
            account: self.account,
            snapshot: Arc::clone(&running.state) as Arc<dyn console::SnapshotView>,
            preview: Arc::new(Previewer {
                store: self.store.clone(),
                scripts: Arc::clone(&running.scripts),
                services: Arc::clone(&running.services),
                runtime: Arc::clone(&self.runtime),
                clock: Arc::clone(&self.clock),
            }),
            workers: Arc::new(PolicyWorkers { services: Arc::clone(&running.services) }),
            mcp: Some(Arc::clone(&running.state) as Arc<dyn console::McpServers>),
            push: Some(Arc::new(Probe { upstream: Arc::clone(upstream) })),
            addresses: Addresses {
                console_url: ready.console_url.clone(),
                api_url: ready.api_url.clone(),
                proxy: ready.proxy.clone(),
                // Empty where it is not served.
                access_port: ready.access_url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()),
                host_names: door.map(Door::host_names).unwrap_or_default(),
                https: door.is_some_and(Door::is_https),
                insist_on_https: door.is_some_and(Door::has_own_certificate),
            },
            generated: self.generated.clone(),
            worker_types: worker::TYPES,
            limits: console::Limits::default(),
            clock: Arc::clone(&self.clock),
        })
    }

    fn loops(&self, running: &Running, tasks: &Tasks, console_url: &str) {
        let background = Background {
            store: self.store.clone(),
            account: self.account,
            runtime: Arc::clone(&self.runtime),
            services: Arc::clone(&running.services),
            logs: self.logs.clone(),
            clock: Arc::clone(&self.clock),
        };
        tasks.loops.spawn(background.clone().run_schedules(tasks.end_loops.clone()));
        let news = Arc::default();
        tasks.loops.spawn(background.clone().run_signals(Arc::clone(&news), tasks.end_loops.clone()));
        tasks.loops.spawn(background.clone().run_telling(news, tasks.end_loops.clone()));
        tasks.loops.spawn(background.clone().run_tidying(tasks.end_loops.clone()));
        let state = Arc::clone(&running.state);
        let digest = Digest {
            store: self.store.clone(),
            account: self.account,
            logs: self.logs.clone(),
            catalog: Box::new(move || Arc::clone(console::SnapshotView::classifier(&*state).catalog())),
            console_url: console_url.to_owned(),
            clock: Arc::clone(&self.clock),
        };
        tasks.loops.spawn(digest.run(tasks.end_loops.clone()));
        if let Some(events) = running.events.lock().take() {
            tasks.loops.spawn(background.run_events(events, tasks.end_loops.clone()));
        }
    }
}

/// Binds the listener of a role, if this node has it.
async fn listen(config: &Config, role: Role, address: SocketAddr) -> Result<Option<TcpListener>, StartError> {
    if !config.roles.contains(&role) {
        return Ok(None);
    }
    TcpListener::bind(address).await.map(Some).map_err(|source| StartError::Listen { address, source })
}

fn address(listener: Option<&TcpListener>) -> Result<Option<SocketAddr>, StartError> {
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = listener.map(TcpListener::local_addr).transpose();
    address.map_err(|source| StartError::Listen { address: unspecified, source })
}

/// Makes ready to run programs as MCP servers.
fn run_programs(data: &std::path::Path, config: &ProgramsConfig) -> Result<Programs, StartError> {
    let settings = programs::Settings {
        // This very program, even after another version was put in its place.
        launcher: PathBuf::from("/proc/self/exe"),
        homes: data.join("run"),
        read: config.read.clone(),
        write: config.write.clone(),
        limits: programs::Limits::default(),
        idle: PROGRAM_IDLE,
    };
    Programs::new(settings).map_err(StartError::Programs)
}

/// Creates the data directory for its owner alone.
fn create_private(path: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|source| StartError::Data { path: path.to_path_buf(), source })
}

/// Writes the authority's certificate where people and scripts can take it from.
async fn write_authority(
    config: &Config,
    store: &Store,
    principal: &Principal,
    account: AccountId,
) -> Result<PathBuf, StartError> {
    let path = config.data.join("ca.pem");
    let authority = account::load_authority(store, principal, account).await?;
    let write = |source| StartError::Write { path: path.clone(), source };
    crate::ready::write_private(&path, authority.certificate_pem().as_bytes()).map_err(write)?;
    path.canonicalize().map_err(write)
}

/// The namespace in which managed actions remember things, such as acknowledgements.
async fn managed_memory(store: &Store, principal: &Principal, account: AccountId) -> Result<KvNamespaceId, StartError> {
    let grant = principal.authorize::<WriteKv>(account).map_err(AccountError::from)?;
    if let Some(known) = store.kv().find(&grant, MANAGED_MEMORY).await? {
        return Ok(known.id);
    }
    let id = KvNamespaceId(Uuid::new_v4());
    store.kv().create(&grant, id, KvNamespace { title: MANAGED_MEMORY.into() }).await?;
    Ok(id)
}
