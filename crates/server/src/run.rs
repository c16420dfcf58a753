//! One platform from start to end.
//!
//! Start in order: store, account, log, Worker runtime, first snapshot, listeners, loops. Stop in the reverse: listeners
//! first, so that nothing new comes in; the log last, so that everything that happened is in it. Invariant: a platform
//! that says it is ready accepts on every listener, and one that has stopped has no task left.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use console::{Addresses, ConsoleDeps};
use gateway::{Gateway, GatewayConfig};
use logs::{Logs, LogsConfig};
use store::{KvNamespace, Principal, Store, WriteKv};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{AccountId, KvNamespaceId};
use uuid::Uuid;
use worker::{Runtime, RuntimeConfig};

use crate::account::{self, AccountError};
use crate::background::Background;
use crate::config::{Config, Role};
use crate::demo::{self, Credential, DemoError};
use crate::managed::Managed;
use crate::preview::Previewer;
use crate::ready::Ready;
use crate::scripts::Scripts;
use crate::services::{EventHost, Services};
use crate::snapshot::{BuildError, Builder};
use crate::state::State;
use crate::upstream::{Fixed, NetworkError, Upstream};

/// How long requests in flight may go on after the listeners have closed.
const DRAIN: Duration = Duration::from_secs(20);
/// What managed actions remember lives here.
const MANAGED_MEMORY: &str = "Managed actions";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the data directory {path}")]
    Data { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot open the store")]
    Store(#[from] store::OpenError),
    #[error("cannot prepare the account")]
    Account(#[from] AccountError),
    #[error("cannot open the log")]
    Logs(#[from] logs::OpenError),
    #[error("cannot start the Worker runtime")]
    Workers(#[from] worker::StartError),
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
    store: Store,
    logs: Logs,
    runtime: Arc<Runtime>,
    upstream: Arc<Upstream>,
    listeners: TaskTracker,
    loops: TaskTracker,
    close_listeners: CancellationToken,
    end_loops: CancellationToken,
}

impl Platform {
    /// Starts everything the configuration asks for.
    ///
    /// # Errors
    /// The first part that does not start, with what it needs.
    pub async fn start(config: Config, with_demo: bool) -> Result<Self, StartError> {
        create_private(&config.data)?;
        let console_listener = listen(config.console).await?;
        let proxy_listener = listen(config.proxy).await?;
        let (console_address, proxy_address) = (address(&console_listener)?, address(&proxy_listener)?);
        let store = Store::open(crate::store_config(&config)).await?;
        let clock = crate::clock();
        let system = Principal::system("start");
        let account = account::ensure_account(&store, &system).await?;
        account::ensure_authority(&store, &system, account, clock()).await?;
        let (listeners, loops) = (TaskTracker::new(), TaskTracker::new());
        let (close_listeners, end_loops) = (CancellationToken::new(), CancellationToken::new());
        let mut fixed = Fixed { listeners: vec![console_address, proxy_address], ..Fixed::default() };
        let credentials = if with_demo {
            let sites = demo::sites::start(&loops, end_loops.clone()).await.map_err(DemoError::from)?;
            fixed = Fixed { listeners: fixed.listeners, ..demo::network(sites.address, &sites.root) };
            demo::load(&store, &system, account).await?
        } else {
            Vec::new()
        };
        let authority = write_authority(&config, &store, &system, account).await?;
        let logs = Logs::open(&config.logs, LogsConfig::default()).await?;
        let runtime = Arc::new(Runtime::start(RuntimeConfig::default()).await?);
        let network = account::network(&store, &system, account).await?;
        let upstream = Arc::new(Upstream::new(fixed, &network, Arc::clone(&clock))?);
        let services = Arc::new(Services::new(
            store.clone(),
            upstream.pool.clone(),
            Arc::clone(&runtime),
            Arc::clone(&clock),
        ));
        let scripts = Arc::new(Scripts::default());
        let memory = managed_memory(&store, &system, account).await?;
        let builder = Arc::new(Builder::new(
            store.clone(),
            account,
            Arc::clone(&scripts),
            Managed::new(memory),
            Arc::clone(&upstream),
        ));
        let feed = store.changes().await?;
        let (state, watcher) =
            State::first(builder, Arc::clone(&services), Arc::clone(&runtime), feed, Arc::clone(&clock)).await?;
        loops.spawn(watcher.run(end_loops.clone()));

        let setup = account::setup_secret(&store, &system, account).await?;
        let console_url = format!("http://{console_address}");
        let ready = Ready {
            account_id: account,
            api_url: format!("{console_url}/client/v4"),
            api_token: account::issue_full_token(&store, &system, account).await?,
            setup_url: setup.as_ref().map_or_else(
                || format!("{console_url}/sign-in"),
                |secret| format!("{console_url}/setup?token={}", secret.expose()),
            ),
            console_url: console_url.clone(),
            proxy: format!("http://{proxy_address}"),
            ca_certificate: authority,
        };

        let (gateway, events) = Gateway::new(gateway::Parts {
            config: GatewayConfig { drain_timeout: DRAIN, ..GatewayConfig::default() },
            snapshot: Arc::clone(&state.snapshot),
            runtime: Arc::clone(&runtime) as Arc<dyn gateway::Runner>,
            logs: logs.clone(),
            services: Arc::new(EventHost::new(Arc::clone(&services))),
            clock: Arc::clone(&clock),
        });
        state.set_metrics(crate::metrics::source(gateway.clone(), Arc::clone(&runtime), logs.clone()));
        let router = console::router(ConsoleDeps {
            store: Arc::new(store.clone()),
            logs: logs.clone(),
            account,
            snapshot: Arc::clone(&state) as Arc<dyn console::SnapshotView>,
            preview: Arc::new(Previewer {
                store: store.clone(),
                scripts,
                services: Arc::clone(&services),
                runtime: Arc::clone(&runtime),
                clock: Arc::clone(&clock),
            }),
            addresses: Addresses {
                console_url,
                api_url: ready.api_url.clone(),
                proxy: ready.proxy.clone(),
                ..Addresses::default()
            },
            worker_types: worker::TYPES,
            limits: console::Limits::default(),
            clock: Arc::clone(&clock),
        });
        services.set_api(router.clone());

        let background = Background {
            store: store.clone(),
            account,
            runtime: Arc::clone(&runtime),
            services,
            logs: logs.clone(),
            clock,
        };
        loops.spawn(background.clone().run_schedules(end_loops.clone()));
        loops.spawn(background.clone().run_tidying(end_loops.clone()));
        loops.spawn(background.run_events(events, end_loops.clone()));
        if config.roles.contains(&Role::Gateway) {
            let stop = close_listeners.clone();
            listeners.spawn(async move {
                if let Err(error) = gateway.serve(proxy_listener, stop).await {
                    tracing::error!(%error, "the proxy listener ended");
                }
            });
        }
        if config.roles.contains(&Role::Console) {
            listeners.spawn(serve_console(console_listener, router, close_listeners.clone()));
        }
        let commands = demo::commands(&ready.proxy, &ready.ca_certificate.display().to_string(), &credentials);
        let status = console::SnapshotView::status(&*state);
        let notice = Notice {
            needs_setup: setup.is_some(),
            commands,
            revision: status.revision,
            rule_errors: status.rule_errors,
            ready,
        };
        Ok(Self { notice, store, logs, runtime, upstream, listeners, loops, close_listeners, end_loops })
    }

    /// Stops in order: no new connections, those in flight finish within a bound, everything logged is on disk.
    pub async fn stop(self) {
        self.close_listeners.cancel();
        self.listeners.close();
        self.listeners.wait().await;
        self.end_loops.cancel();
        self.loops.close();
        self.loops.wait().await;
        self.runtime.shutdown(Duration::from_secs(2)).await;
        self.upstream.pool.shut_down().await;
        self.logs.shutdown().await;
        self.store.close().await;
    }
}

async fn serve_console(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let closing = stop.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { closing.cancelled().await });
    let bounded = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    // A live view never ends by itself; the bound ends it.
    tokio::select! {
        result = server => if let Err(error) = result {
            tracing::error!(%error, "the console listener ended");
        },
        () = bounded => {}
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { address: unspecified, source })
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
