//! Endpoints of Workers: scripts and their content, versions, settings, secrets, triggers, preview.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};
use store::Permission::{WorkersRead, WorkersWrite};
use store::{Module, ModuleKind, Source};
use types::{Code, ScriptName};
use utoipa::ToSchema;

use super::gate::{Cx, Input};
use super::reply::{Reply, done, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, Shape, endpoint};
use crate::app::PreviewReport;
use crate::failure::Failure;
use crate::operations::scripts::{self, Content, Serve, Upload};
use crate::operations::upload::Metadata;
use crate::operations::{modules, preview, secrets};
use crate::paging::{PageRequest, single};
use crate::{form, multipart, strict};

const SCRIPTS: &str = "/accounts/{account_id}/workers/scripts";
const SCRIPT: &str = "/accounts/{account_id}/workers/scripts/{script_name}";
const CONTENT: &str = "/accounts/{account_id}/workers/scripts/{script_name}/content";
const CONTENT_V2: &str = "/accounts/{account_id}/workers/scripts/{script_name}/content/v2";
const SETTINGS: &str = "/accounts/{account_id}/workers/scripts/{script_name}/settings";
const SCRIPT_SETTINGS: &str = "/accounts/{account_id}/workers/scripts/{script_name}/script-settings";
const SECRETS: &str = "/accounts/{account_id}/workers/scripts/{script_name}/secrets";
const SECRET: &str = "/accounts/{account_id}/workers/scripts/{script_name}/secrets/{secret_name}";
const SECRETS_BULK: &str = "/accounts/{account_id}/workers/scripts/{script_name}/secrets-bulk";
const SCHEDULES: &str = "/accounts/{account_id}/workers/scripts/{script_name}/schedules";
const VERSIONS: &str = "/accounts/{account_id}/workers/scripts/{script_name}/versions";
const VERSION: &str = "/accounts/{account_id}/workers/scripts/{script_name}/versions/{version_id}";
const DEPLOYMENTS: &str = "/accounts/{account_id}/workers/scripts/{script_name}/deployments";
const PREVIEW: &str = "/accounts/{account_id}/workers/scripts/{script_name}/preview";
const SUBDOMAIN: &str = "/accounts/{account_id}/workers/scripts/{script_name}/subdomain";
const SERVICE: &str = "/accounts/{account_id}/workers/services/{script_name}";
const ACCOUNT_SUBDOMAIN: &str = "/accounts/{account_id}/workers/subdomain";

/// Most bytes of an upload: the modules and the form around them.
const UPLOAD_BYTES: usize = modules::LARGEST_WORKER + (1 << 20);

/// Whether a Worker is reachable on a public subdomain, which it never is here: rules call it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SubdomainView {
    pub(crate) enabled: bool,
    pub(crate) previews_enabled: bool,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = vec![
        endpoint(Method::GET, SCRIPTS, Permission(WorkersRead), "List Workers", list)
            .lists::<scripts::ScriptView>(Paging::Single),
        endpoint(Method::GET, SCRIPT, Permission(WorkersRead), "Download a Worker", download)
            .returns_raw("application/javascript"),
        endpoint(Method::PUT, SCRIPT, Permission(WorkersWrite), "Upload a Worker and serve it", upload)
            .takes(Shape::WorkerForm)
            .returns::<scripts::ScriptView>()
            .body_limit(UPLOAD_BYTES),
        endpoint(Method::DELETE, SCRIPT, Permission(WorkersWrite), "Delete a Worker that no rule calls", delete)
            .query(&[("force", "true to delete it although a rule calls it")]),
        endpoint(Method::GET, CONTENT, Permission(WorkersRead), "Download a Worker's modules", content)
            .returns_raw("multipart/form-data"),
        endpoint(Method::GET, CONTENT_V2, Permission(WorkersRead), "Download a Worker's modules", content)
            .returns_raw("multipart/form-data"),
        endpoint(Method::PUT, CONTENT, Permission(WorkersWrite), "Replace a Worker's modules", put_content)
            .takes(Shape::WorkerForm)
            .returns::<scripts::ScriptView>()
            .body_limit(UPLOAD_BYTES),
        endpoint(Method::GET, SERVICE, Permission(WorkersRead), "Get a Worker as a service", service),
        endpoint(Method::POST, PREVIEW, Permission(WorkersWrite), "Run a version or a draft once", run_preview)
            .takes_json::<preview::PreviewBody>()
            .returns::<PreviewReport>()
            .body_limit(UPLOAD_BYTES),
        endpoint(Method::GET, SUBDOMAIN, Permission(WorkersRead), "Whether a Worker has a public address", subdomain)
            .returns::<SubdomainView>(),
        endpoint(Method::POST, SUBDOMAIN, Permission(WorkersWrite), "Workers have no public address", subdomain)
            .returns::<SubdomainView>(),
        endpoint(Method::GET, ACCOUNT_SUBDOMAIN, Permission(WorkersRead), "There is no public subdomain", no_subdomain),
    ];
    all.extend(version_endpoints());
    all.extend(setting_endpoints());
    all
}

fn version_endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, VERSIONS, Permission(WorkersRead), "List versions", list_versions)
            .returns::<scripts::VersionList>(),
        endpoint(
            Method::POST,
            VERSIONS,
            Permission(WorkersWrite),
            "Upload a version without serving it",
            upload_version,
        )
        .takes(Shape::WorkerForm)
        .returns::<scripts::VersionView>()
        .body_limit(UPLOAD_BYTES),
        endpoint(Method::GET, VERSION, Permission(WorkersRead), "Get a version", get_version)
            .returns::<scripts::VersionView>(),
        endpoint(Method::GET, DEPLOYMENTS, Permission(WorkersRead), "Which version serves", list_deployments)
            .returns::<scripts::DeploymentList>(),
        endpoint(Method::POST, DEPLOYMENTS, Permission(WorkersWrite), "Serve another version", deploy)
            .takes_json::<scripts::NewDeployment>()
            .returns::<scripts::DeploymentView>(),
    ]
}

fn setting_endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, SETTINGS, Permission(WorkersRead), "Get bindings and settings", get_settings)
            .returns::<scripts::SettingsView>(),
        endpoint(Method::PATCH, SETTINGS, Permission(WorkersWrite), "Change bindings and settings", patch_settings)
            .takes_json::<Metadata>()
            .returns::<scripts::SettingsView>(),
        endpoint(Method::GET, SCRIPT_SETTINGS, Permission(WorkersRead), "Get tags", get_script_settings)
            .returns::<scripts::ScriptSettingsView>(),
        endpoint(Method::PATCH, SCRIPT_SETTINGS, Permission(WorkersWrite), "Change tags", patch_script_settings)
            .takes_json::<Metadata>()
            .returns::<scripts::ScriptSettingsView>(),
        endpoint(Method::GET, SECRETS, Permission(WorkersRead), "List the names of secrets", list_secrets)
            .lists::<secrets::SecretView>(Paging::Single),
        endpoint(Method::PUT, SECRETS, Permission(WorkersWrite), "Set a secret", put_secret)
            .takes_json::<secrets::NewSecret>()
            .returns::<secrets::SecretView>(),
        endpoint(Method::PATCH, SECRETS_BULK, Permission(WorkersWrite), "Set and delete many secrets", patch_secrets)
            .takes_json::<secrets::SecretsPatch>(),
        endpoint(Method::GET, SECRET, Permission(WorkersRead), "Whether a secret is set", get_secret)
            .returns::<secrets::SecretView>(),
        endpoint(Method::DELETE, SECRET, Permission(WorkersWrite), "Delete a secret", delete_secret),
        endpoint(Method::GET, SCHEDULES, Permission(WorkersRead), "Get cron triggers", get_schedules)
            .returns::<scripts::Schedules>(),
        endpoint(Method::PUT, SCHEDULES, Permission(WorkersWrite), "Replace cron triggers", put_schedules)
            .takes_list::<scripts::NewCron>()
            .returns::<scripts::Schedules>(),
    ]
}

/// The Worker a path names. One that cannot exist is not found, except where it would be made.
fn name(cx: &Cx) -> Result<ScriptName, Failure> {
    cx.id("script_name", "Worker").map_err(|failure| failure.numbered(10007))
}

async fn list(cx: Cx) -> Reply {
    ok(single(scripts::list(&cx.op).await?, cx.query("page"))?)
}

/// One module is sent as it is; several as a form.
async fn download(cx: Cx) -> Reply {
    let content = scripts::content(&cx.op, &name(&cx)?).await?;
    match content.modules.as_slice() {
        [module] => {
            Ok((source_headers(&content.etag, media_type_of(module)), module.source.as_bytes().to_vec())
                .into_response())
        }
        _ => modules_form(&content),
    }
}

async fn content(cx: Cx) -> Reply {
    modules_form(&scripts::content(&cx.op, &name(&cx)?).await?)
}

const fn media_type_of(module: &Module) -> &'static str {
    match module.kind {
        ModuleKind::EsModule => "application/javascript",
        ModuleKind::TypeScript | ModuleKind::Text | ModuleKind::Json | ModuleKind::Data | ModuleKind::SourceMap => {
            modules::media_type(module.kind)
        }
    }
}

fn source_headers(etag: &str, media_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [(header::CONTENT_TYPE, media_type), (header::ETAG, &format!("\"{etag}\""))] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers
}

fn modules_form(content: &Content) -> Reply {
    // The hash of the content cannot be part of the content.
    let boundary = format!("portunus-{}", &content.etag[..content.etag.len().min(40)]);
    let mut body = Vec::new();
    for module in &content.modules {
        let name = module.name.replace('"', "%22");
        let media_type = modules::media_type(module.kind);
        body.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
                 Content-Type: {media_type}\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(module.source.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let mut headers = source_headers(&content.etag, &format!("multipart/form-data; boundary={boundary}"));
    if let Ok(main) = HeaderValue::from_str(&content.main) {
        headers.insert("cf-entrypoint", main);
    }
    Ok((headers, body).into_response())
}

async fn upload(cx: Cx, input: Input) -> Reply {
    let name = scripts::parse_name(cx.text("script_name"))?;
    let (view, _) = scripts::put(&cx.op, &name, read_upload(&input)?, Serve::Now).await?;
    ok(view)
}

async fn upload_version(cx: Cx, input: Input) -> Reply {
    let name = scripts::parse_name(cx.text("script_name"))?;
    let (_, version) = scripts::put(&cx.op, &name, read_upload(&input)?, Serve::Later).await?;
    ok(version)
}

async fn put_content(cx: Cx, input: Input) -> Reply {
    let mut upload = read_upload(&input)?;
    // Named in a header by clients that send no metadata.
    if upload.metadata.main().is_none() {
        let named = input.headers().get("cf-worker-main-module-part").and_then(|value| value.to_str().ok());
        upload.metadata.main_module = named.map(str::to_owned);
    }
    ok(scripts::put_content(&cx.op, &name(&cx)?, upload).await?)
}

/// Reads an upload: a form, or one module as the whole body.
fn read_upload(input: &Input) -> Result<Upload, Failure> {
    if input.is_form() {
        return read_upload_form(input);
    }
    let media_type =
        input.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = modules::kind("", Some(&media_type)).ok();
    let name = match kind {
        Some(ModuleKind::EsModule) => "worker.js",
        Some(ModuleKind::TypeScript) => "worker.ts",
        _ => {
            let message = "send a multipart form with the modules and metadata, or one module as application/typescript \
                           or application/javascript";
            return Err(Failure::new(Code::InvalidInput, message).numbered(crate::refusal::UNSUPPORTED_TYPE));
        }
    };
    let source = Source::from_bytes(input.bytes().to_vec());
    let module = Module { name: name.to_owned(), kind: modules::kind(name, Some(&media_type))?, source };
    let metadata = Metadata { main_module: Some(name.to_owned()), ..Metadata::default() };
    Ok(Upload { metadata, modules: vec![module] })
}

fn read_upload_form(input: &Input) -> Result<Upload, Failure> {
    let limits = multipart::Limits { part_bytes: modules::LARGEST_WORKER, ..multipart::Limits::default() };
    let parts = input.form(&limits)?;
    let (mut metadata, mut modules) = (MetadataParts::default(), Vec::new());
    for part in &parts {
        if part.filename.is_none() && metadata.take("metadata", part)? {
            continue;
        }
        let name = scripts::normal_name(part.filename.as_deref().unwrap_or(&part.name));
        let kind = modules::kind(&name, part.content_type.as_deref())?;
        modules.push(Module { name, kind, source: Source::from_bytes(part.body.to_vec()) });
    }
    Ok(Upload { metadata: metadata.finish()?, modules })
}

/// Metadata as one JSON part, or flattened into bracketed fields.
#[derive(Default)]
struct MetadataParts {
    json: Option<Value>,
    flattened: Value,
}

impl MetadataParts {
    /// Takes the part if it is one of `root`.
    fn take(&mut self, root: &str, part: &multipart::Part<'_>) -> Result<bool, Failure> {
        let Some((name, segments)) = form::split_name(&part.name) else { return Ok(false) };
        if name != root {
            return Ok(false);
        }
        if segments.is_empty() {
            if self.json.replace(strict::parse_value(part.body)?).is_some() {
                return Err(Failure::invalid(format!("/{root}"), "the form has this part twice"));
            }
        } else {
            let text = std::str::from_utf8(part.body)
                .map_err(|_| Failure::invalid(format!("/{root}"), "a field of the form is not UTF-8"))?;
            form::insert(&mut self.flattened, &segments, Value::String(text.to_owned()))?;
        }
        Ok(true)
    }

    fn finish(self) -> Result<Metadata, Failure> {
        match (self.json, self.flattened) {
            (Some(json), Value::Null) => strict::from_value(json),
            (None, Value::Null) => Ok(Metadata::default()),
            (None, flattened) => strict::from_value(flattened),
            (Some(_), _) => Err(Failure::invalid("/metadata", "the form has metadata twice, as JSON and as fields")),
        }
    }
}

async fn delete(cx: Cx) -> Reply {
    scripts::delete(&cx.op, &name(&cx)?, cx.query("force") == Some("true")).await?;
    done()
}

async fn service(cx: Cx) -> Reply {
    let not_found = |failure: Failure| if failure.code == Code::NotFound { failure.numbered(10090) } else { failure };
    let script = scripts::get(&cx.op, &name(&cx).map_err(not_found)?).await.map_err(not_found)?;
    ok(json!({
        "id": script.id,
        "created_on": script.created_on,
        "modified_on": script.modified_on,
        "default_environment": {
            "environment": "production",
            "created_on": script.created_on,
            "modified_on": script.modified_on,
            "script": script,
        },
        "environments": [{"environment": "production"}],
    }))
}

async fn run_preview(cx: Cx, input: Input) -> Reply {
    let name = scripts::parse_name(cx.text("script_name"))?;
    ok(preview::run(&cx.op, &name, input.json()?).await?)
}

async fn subdomain(cx: Cx) -> Reply {
    scripts::get(&cx.op, &name(&cx)?).await?;
    ok(SubdomainView { enabled: false, previews_enabled: false })
}

async fn no_subdomain(cx: Cx) -> Reply {
    let _ = &cx.op;
    Err(Failure::new(Code::NotFound, "Workers have no public subdomain here; rules call them").numbered(10007))
}

/// Older clients read `result.items`; the paging is beside it.
async fn list_versions(cx: Cx) -> Reply {
    let all = scripts::versions(&cx.op, &name(&cx)?).await?;
    let (items, info) = PageRequest::parse(cx.query("page"), cx.query("per_page"), 100)?.cut(all);
    page(scripts::VersionList { items }, info)
}

async fn get_version(cx: Cx) -> Reply {
    ok(scripts::version(&cx.op, &name(&cx)?, cx.id("version_id", "version")?).await?)
}

async fn list_deployments(cx: Cx) -> Reply {
    ok(scripts::deployments(&cx.op, &name(&cx)?).await?)
}

async fn deploy(cx: Cx, input: Input) -> Reply {
    ok(scripts::deploy(&cx.op, &name(&cx)?, input.json()?).await?)
}

async fn get_settings(cx: Cx) -> Reply {
    ok(scripts::settings(&cx.op, &name(&cx)?).await?)
}

async fn patch_settings(cx: Cx, input: Input) -> Reply {
    ok(scripts::patch_settings(&cx.op, &name(&cx)?, read_settings(&input)?).await?)
}

async fn get_script_settings(cx: Cx) -> Reply {
    ok(scripts::script_settings(&cx.op, &name(&cx)?).await?)
}

async fn patch_script_settings(cx: Cx, input: Input) -> Reply {
    ok(scripts::patch_script_settings(&cx.op, &name(&cx)?, read_settings(&input)?).await?)
}

/// Settings come as JSON, or as the part `settings` of a form.
fn read_settings(input: &Input) -> Result<Metadata, Failure> {
    if !input.is_form() {
        return Ok(input.json()?);
    }
    let parts = input.form(&multipart::Limits::default())?;
    let mut settings = MetadataParts::default();
    for part in &parts {
        if !settings.take("settings", part)? {
            return Err(Failure::new(Code::InvalidInput, "the form has a part that is not \"settings\""));
        }
    }
    settings.finish()
}

async fn list_secrets(cx: Cx) -> Reply {
    ok(single(secrets::list(&cx.op, &name(&cx)?).await?, cx.query("page"))?)
}

async fn put_secret(cx: Cx, input: Input) -> Reply {
    ok(secrets::put(&cx.op, &name(&cx)?, input.json()?).await?)
}

async fn patch_secrets(cx: Cx, input: Input) -> Reply {
    ok(secrets::patch(&cx.op, &name(&cx)?, input.json()?).await?)
}

async fn get_secret(cx: Cx) -> Reply {
    ok(secrets::get(&cx.op, &name(&cx)?, cx.text("secret_name")).await?)
}

async fn delete_secret(cx: Cx) -> Reply {
    secrets::delete(&cx.op, &name(&cx)?, cx.text("secret_name")).await?;
    done()
}

async fn get_schedules(cx: Cx) -> Reply {
    ok(scripts::schedules(&cx.op, &name(&cx)?).await?)
}

async fn put_schedules(cx: Cx, input: Input) -> Reply {
    ok(scripts::put_schedules(&cx.op, &name(&cx)?, input.json()?).await?)
}
