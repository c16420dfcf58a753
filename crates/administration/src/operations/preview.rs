//! Runs a version or a draft of a Worker against an invented request, before anyone's traffic meets it.
//!
//! A draft is compiled and bound as an upload would be, and not stored. Invariant: a preview needs the permission to
//! write Workers, because the draft runs with the Worker's secrets.

use serde::Deserialize;
use store::{Module, ScriptVersion, Source, WriteScripts};
use types::{Code, ScriptName, VersionId};
use utoipa::ToSchema;

use super::scripts::{Content, active, content_of, normal_name, stored_version};
use super::{modules, secrets, tokens, upload::Metadata};
use crate::app::{PreviewError, PreviewEvent, PreviewJob, PreviewReport};
use crate::auth::OpContext;
use crate::failure::Failure;

/// What to run.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBody {
    pub event: PreviewEvent,
    /// A stored version; the one that serves unless it says otherwise.
    #[serde(default)]
    pub version_id: Option<String>,
    /// A draft instead.
    #[serde(default)]
    pub draft: Option<Draft>,
}

/// A Worker that is not stored.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Modules by name, as text.
    pub modules: Vec<DraftModule>,
    /// The first unless it says otherwise.
    #[serde(default)]
    pub main_module: Option<String>,
    /// Bindings and reach; those of the version that serves unless it says otherwise.
    #[serde(default)]
    pub settings: Option<Metadata>,
}

/// A module of a draft.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftModule {
    pub name: String,
    pub text: String,
}

/// Runs a version or a draft once.
///
/// # Errors
///
/// `NotFound`, a [`Failure`] with line and column when a draft does not compile, `Unavailable` without a runtime.
pub async fn run(cx: &OpContext, name: &ScriptName, body: PreviewBody) -> Result<PreviewReport, Failure> {
    cx.authorize::<WriteScripts>()?;
    let (version, modules) = match (body.draft, body.version_id) {
        (Some(_), Some(_)) => {
            return Err(Failure::invalid("/version_id", "a draft is no stored version; send one of them"));
        }
        (Some(draft), None) => draft_version(cx, name, draft).await?,
        (None, Some(id)) => {
            let id: VersionId = id.parse().map_err(|_| Failure::invalid("/version_id", "must be a UUID"))?;
            let version = stored_version(cx, name, id).await?;
            let Content { modules, .. } = content_of(cx, &version).await?;
            (version.document, modules)
        }
        (None, None) => {
            let (_, version) = active(cx, name).await?;
            let Content { modules, .. } = content_of(cx, &version).await?;
            (version.document, modules)
        }
    };
    let job = PreviewJob { account: cx.account, script: name.clone(), version, modules, event: body.event };
    check_event(&job.event)?;
    cx.app.deps.preview.run(job).await.map_err(|error| match error {
        PreviewError::Invalid(message) => Failure::new(Code::InvalidInput, message),
        PreviewError::Unavailable(_) => Failure::new(Code::Unavailable, error.to_string()),
    })
}

fn check_event(event: &PreviewEvent) -> Result<(), Failure> {
    let PreviewEvent::Fetch { url, method, headers, .. } = event else { return Ok(()) };
    let absolute = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !absolute {
        return Err(Failure::invalid("/event/url", "must be an absolute http or https URL"));
    }
    if method.as_ref().is_some_and(|method| method.parse::<http::Method>().is_err()) {
        return Err(Failure::invalid("/event/method", "is not an HTTP method"));
    }
    for (index, (name, value)) in headers.iter().enumerate() {
        if name.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err() {
            return Err(Failure::invalid(format!("/event/headers/{index}"), "is not a header"));
        }
    }
    Ok(())
}

async fn draft_version(
    cx: &OpContext,
    name: &ScriptName,
    draft: Draft,
) -> Result<(ScriptVersion, Vec<Module>), Failure> {
    let stored = match active(cx, name).await {
        Ok((_, version)) => Some(version.document),
        Err(failure) if failure.code == Code::NotFound => None,
        Err(failure) => return Err(failure),
    };
    let mut modules = Vec::with_capacity(draft.modules.len());
    for module in draft.modules {
        let name = normal_name(&module.name);
        modules.push(Module { kind: modules::kind(&name, None)?, name, source: Source::Text(module.text) });
    }
    let first = modules.first().map(|module| module.name.clone());
    let main = draft.main_module.map(|main| normal_name(&main)).or(first);
    let main = main.ok_or_else(|| Failure::invalid("/draft/modules", "a draft needs a module"))?;
    modules::check(&main, &modules)?;
    modules::compile(&main, &modules)?;
    let known = if stored.is_some() { secrets::list(cx, name).await? } else { Vec::new() };
    let known: Vec<_> = known.into_iter().map(|secret| secret.name).collect();
    let mut version = stored.unwrap_or_else(|| empty_version(name));
    version.main_module = main;
    if let Some(settings) = draft.settings {
        settings.check()?;
        if let Some(bindings) = settings.bindings(&version.bindings, &known)? {
            if !bindings.secrets.is_empty() {
                let message = "a draft cannot set secrets; store them first";
                return Err(Failure::invalid("/draft/settings/bindings", message));
            }
            version.bindings = bindings.bound;
        }
        version.egress = settings.egress()?.unwrap_or(version.egress);
        version.isolation = settings.isolation()?.unwrap_or(version.isolation);
        version.limits = settings.limits()?.unwrap_or(version.limits);
    }
    for binding in &version.bindings {
        if let store::Binding::AdminApi { permissions, .. } = binding {
            tokens::may_hand_out(cx, *permissions)?;
        }
    }
    Ok((version, modules))
}

fn empty_version(name: &ScriptName) -> ScriptVersion {
    ScriptVersion {
        script: name.clone(),
        number: 0,
        main_module: String::new(),
        modules: Vec::new(),
        bindings: Vec::new(),
        egress: Vec::new(),
        compatibility_date: None,
        compatibility_flags: Vec::new(),
        limits: store::ScriptLimits::default(),
        isolation: store::Isolation::default(),
        queues: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
    }
}
