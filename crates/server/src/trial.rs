//! Runs one script once without a platform: what `portunus worker test` does.
//!
//! The sandbox, the engine and the limits are those of production; the store is empty and in memory. Invariant: nothing
//! on disk is read but the script, and nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use console::{Preview, PreviewEvent, PreviewJob, PreviewReport};
use store::{
    Binding, Isolation, Module, ModuleKind, Principal, ScriptLimits, ScriptVersion, Source, Store, StoreConfig,
};
use types::ScriptName;
use worker::{Runtime, RuntimeConfig};

use crate::preview::Previewer;
use crate::run::StartError;
use crate::scripts::Scripts;
use crate::services::Services;
use crate::upstream::{Fixed, Upstream};

/// A script to try.
pub struct Trial {
    /// Ends in `.ts` or `.js`.
    pub file_name: String,
    pub source: String,
    /// Plain text variables of `env`.
    pub variables: BTreeMap<String, String>,
    /// Hosts its `fetch` may reach.
    pub egress: Vec<String>,
    pub event: PreviewEvent,
}

#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Preview(#[from] console::PreviewError),
    #[error("cannot name the script")]
    Name(#[from] types::IdError),
}

/// Runs the script.
///
/// # Errors
/// The runtime does not start, or the script does not compile.
pub async fn run(trial: Trial) -> Result<PreviewReport, TrialError> {
    let clock = crate::clock();
    let store = Store::open(StoreConfig::memory()).await.map_err(StartError::from)?;
    let account =
        crate::account::ensure_account(&store, &Principal::system("trial")).await.map_err(StartError::from)?;
    let runtime = Arc::new(Runtime::start(RuntimeConfig::default()).await.map_err(StartError::from)?);
    let upstream = Upstream::new(Fixed::default(), &store::Network::default(), Arc::clone(&clock));
    let upstream = upstream.map_err(StartError::from)?;
    let services = Services::new(store.clone(), upstream.pool.clone(), Arc::clone(&runtime), Arc::clone(&clock));
    let previewer = Previewer {
        store: store.clone(),
        scripts: Arc::new(Scripts::default()),
        services: Arc::new(services),
        runtime: Arc::clone(&runtime),
        clock,
    };
    let name: ScriptName = "trial".parse()?;
    let typescript = !trial.file_name.ends_with(".js") && !trial.file_name.ends_with(".mjs");
    let kind = if typescript { ModuleKind::TypeScript } else { ModuleKind::EsModule };
    let bindings = trial.variables.into_iter().map(|(name, text)| Binding::PlainText { name, text }).collect();
    let version = ScriptVersion {
        script: name.clone(),
        number: 0,
        main_module: trial.file_name.clone(),
        modules: Vec::new(),
        bindings,
        egress: trial.egress,
        compatibility_date: None,
        compatibility_flags: Vec::new(),
        limits: ScriptLimits::default(),
        isolation: Isolation::default(),
        queues: Vec::new(),
        annotations: BTreeMap::new(),
    };
    let modules = vec![Module { name: trial.file_name, kind, source: Source::Text(trial.source) }];
    let report = previewer.run(PreviewJob { account, script: name, version, modules, event: trial.event }).await;
    runtime.shutdown(std::time::Duration::from_secs(1)).await;
    store.close().await;
    Ok(report?)
}
