//! `rule_settings`: every member of reference sections 1.9 and 5.2, and `worker` and `managed`, which are ours.
//!
//! Checks shapes, limits and which member has an effect with which action. Invariant: an absent or null member reads as
//! its documented default and is never written back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use types::ScriptName;

use super::reader::{Reader, join, strings};
use super::{SpecError, biso};
use crate::action::{
    Action, ActionPlan, AllowPlan, BlockPage, BlockPlan, CheckSession, IsolatePlan, ManagedPlan, Notification, OnError,
    QuarantinePlan, RedirectPlan, UntrustedCertificate, WorkerPlan,
};
use crate::duration::GoDuration;
use crate::headers::{self, HeaderPlan, Template};
use crate::hook::Hook;
use crate::redirect::Target;

/// Longest `block_reason`, in characters.
const MAX_REASON: usize = 1_024;
/// Longest `notification_settings.msg`, in characters (reference section 1.9).
const MAX_MESSAGE: usize = 100;
/// Most fields in a Worker's cache key.
const MAX_CACHE_KEY: usize = 16;
/// Most bytes of managed parameters, as JSON.
const MAX_PARAMETERS: usize = 64 << 10;

const QUARANTINE_TYPES: [&str; 12] =
    ["exe", "pdf", "doc", "docm", "docx", "rtf", "ppt", "pptx", "xls", "xlsm", "xlsx", "zip"];

/// Members with an effect, and the actions that have it.
const EFFECTS: [(&str, &[Action]); 15] = [
    ("add_headers", &[Action::Allow]),
    ("set_headers", &[Action::Allow]),
    ("delete_headers", &[Action::Allow]),
    ("untrusted_cert", &[Action::Allow]),
    ("check_session", &[Action::Allow]),
    ("redirect", &[Action::Redirect]),
    ("block_page", &[Action::Block]),
    ("block_reason", &[Action::Block]),
    ("notification_settings", &[Action::Block]),
    ("payload_log", &[Action::Allow, Action::Block]),
    ("forensic_copy", &[Action::Allow, Action::Block]),
    ("gen_ai_prompt_log", &[Action::Allow, Action::Block]),
    ("quarantine", &[Action::Quarantine]),
    ("biso_admin_controls", &[Action::Isolate]),
    ("worker", &[Action::Worker]),
];

/// Members with an effect on connection rules; the rest need a request to have one.
const L4_EFFECTS: [&str; 3] = ["check_session", "block_reason", "notification_settings"];

/// Members that have their effect once this installation has something it lacks.
const LATER: [(&str, &str); 4] = [
    ("payload_log", "data loss prevention, except on what speaks MCP"),
    ("forensic_copy", "data loss prevention"),
    ("gen_ai_prompt_log", "inspection of conversations with AI services"),
    ("notification_settings", "the device client"),
];

/// Members that belong to other engines or to parent accounts: stored, echoed, without effect.
const WITHOUT_EFFECT: [&str; 14] = [
    "allow_child_bypass",
    "audit_ssh",
    "block_page_enabled",
    "bypass_parent_rule",
    "dns_resolvers",
    "egress",
    "ignore_cname_category_matches",
    "insecure_disable_dnssec_validation",
    "ip_categories",
    "ip_indicator_feeds",
    "l4override",
    "override_host",
    "override_ips",
    "resolve_dns_internally",
];

/// The settings of a rule, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSettings {
    pub headers: SpecHeaders,
    pub untrusted_cert: Option<UntrustedCertificate>,
    pub check_session: Option<CheckSession>,
    pub redirect: Option<RedirectPlan>,
    pub block_page: Option<BlockPage>,
    pub block_reason: Option<String>,
    pub notification: Option<Notification>,
    pub payload_log: bool,
    pub forensic_copy: bool,
    pub prompt_log: bool,
    pub quarantine: Option<QuarantinePlan>,
    pub isolation: Option<IsolatePlan>,
    pub worker: Option<SpecWorker>,
    pub managed: Option<SpecManaged>,
}

/// Header changes, with templates read.
pub type SpecHeaders = HeaderPlan;
/// `rule_settings.managed`.
pub type SpecManaged = ManagedPlan;

/// `rule_settings.worker`; the cache key still names its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecWorker {
    pub script: ScriptName,
    pub timeout: Duration,
    pub cpu: Duration,
    pub memory_bytes: u64,
    pub on_error: OnError,
    pub cache: Option<SpecCache>,
}

/// `rule_settings.worker.cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecCache {
    pub key: Vec<String>,
    pub ttl: Duration,
}

impl RuleSettings {
    /// Returns what the action asks its plane to do. A Worker's cache key holds the fields that the HTTP scheme knows.
    pub(super) fn plan(&self, action: Action) -> ActionPlan {
        match action {
            Action::Off => ActionPlan::Off,
            Action::NoScan => ActionPlan::NoScan,
            Action::NoIsolate => ActionPlan::NoIsolate,
            Action::Block => ActionPlan::Block(Arc::new(self.block_plan())),
            Action::Isolate => ActionPlan::Isolate(Arc::new(self.isolation.clone().unwrap_or_default())),
            Action::Redirect => {
                self.redirect.clone().map_or_else(unplanned, |plan| ActionPlan::Redirect(Arc::new(plan)))
            }
            Action::Quarantine => {
                self.quarantine.clone().map_or_else(unplanned, |plan| ActionPlan::Quarantine(Arc::new(plan)))
            }
            Action::Worker => {
                self.worker.as_ref().map_or_else(unplanned, |worker| ActionPlan::Worker(Arc::new(worker.plan())))
            }
            Action::Managed => self.managed.clone().map_or_else(unplanned, |plan| ActionPlan::Managed(Arc::new(plan))),
            Action::Allow => ActionPlan::Allow(Arc::new(self.allow_plan())),
            Action::On
            | Action::Scan
            | Action::SafeSearch
            | Action::YtRestricted
            | Action::Override
            | Action::L4Override
            | Action::Egress
            | Action::Resolve
            | Action::AuditSsh => unplanned(),
        }
    }

    fn allow_plan(&self) -> AllowPlan {
        AllowPlan {
            headers: self.headers.clone(),
            untrusted_cert: self.untrusted_cert.unwrap_or_default(),
            check_session: self.check_session,
            payload_log: self.payload_log,
            forensic_copy: self.forensic_copy,
            prompt_log: self.prompt_log,
        }
    }

    fn block_plan(&self) -> BlockPlan {
        BlockPlan {
            reason: self.block_reason.clone(),
            page: self.block_page.clone(),
            notification: self.notification.clone(),
            payload_log: self.payload_log,
            forensic_copy: self.forensic_copy,
            prompt_log: self.prompt_log,
        }
    }
}

impl SpecWorker {
    fn plan(&self) -> WorkerPlan {
        let scheme = crate::hook::http::scheme();
        let cache = self.cache.as_ref().map(|cache| crate::action::CachePlan {
            key: cache.key.iter().filter_map(|name| scheme.id(name)).collect(),
            ttl: cache.ttl,
        });
        WorkerPlan {
            script: self.script.clone(),
            timeout: self.timeout,
            cpu: self.cpu,
            memory_bytes: self.memory_bytes,
            on_error: self.on_error,
            cache,
        }
    }
}

/// The plan of an action without the settings it needs. Reading a rule refuses such documents, so this is never reached
/// with one that was read; it blocks.
fn unplanned() -> ActionPlan {
    ActionPlan::Unevaluable("the rule's action has no settings".into())
}

/// Reads `rule_settings`, adds faults to the reader and remarks to `warnings`.
pub(super) fn read(
    rule: &mut Reader<'_, '_>,
    action: Option<Action>,
    hook: Option<Hook>,
    warnings: &mut Vec<String>,
) -> RuleSettings {
    let known: Vec<&str> = EFFECTS
        .iter()
        .map(|(name, _)| *name)
        .chain(["managed", "resolve_dns_through_cloudflare"])
        .chain(WITHOUT_EFFECT)
        .collect();
    let mut settings = RuleSettings::default();
    if let Some(mut object) = rule.object("rule_settings", &known) {
        read_members(&mut object, &mut settings);
        if let Some(action) = action {
            check_effects(&mut object, action, hook, warnings);
        }
    } else if rule.get("rule_settings").is_some() {
        // Present and not an object: the fault is already noted.
        return settings;
    }
    if let Some(action) = action {
        require(rule, action, &settings);
    }
    settings
}

/// Faults a rule whose action lacks the settings that give it a meaning.
fn require(rule: &mut Reader<'_, '_>, action: Action, settings: &RuleSettings) {
    let (member, present, form) = match action {
        Action::Redirect => ("redirect", settings.redirect.is_some(), r#"{"target_uri": "https://…"}"#),
        Action::Quarantine => ("quarantine", settings.quarantine.is_some(), r#"{"file_types": ["exe"]}"#),
        Action::Worker => ("worker", settings.worker.is_some(), r#"{"script": "name"}"#),
        Action::Managed => ("managed", settings.managed.is_some(), r#"{"template": "name", "parameters": {}}"#),
        Action::On
        | Action::Off
        | Action::Allow
        | Action::Block
        | Action::Scan
        | Action::NoScan
        | Action::SafeSearch
        | Action::YtRestricted
        | Action::Isolate
        | Action::NoIsolate
        | Action::Override
        | Action::L4Override
        | Action::Egress
        | Action::Resolve
        | Action::AuditSsh => return,
    };
    let given =
        rule.get("rule_settings").and_then(|settings| settings.get(member)).is_some_and(|value| !value.is_null());
    if !present && !given {
        let pointer = join(&rule.at("rule_settings"), member);
        rule.problems().add(&pointer, format!("the action `{action}` needs `rule_settings.{member}`: {form}"));
    }
}

/// Faults members that the action ignores, and remarks on those that nothing here uses.
fn check_effects(object: &mut Reader<'_, '_>, action: Action, hook: Option<Hook>, warnings: &mut Vec<String>) {
    let on_connections = hook == Some(Hook::L4) && Hook::L4.actions().contains(&action);
    let given: Vec<&String> =
        object.members().iter().filter(|(_, value)| !is_neutral(value)).map(|(name, _)| name).collect();
    for name in given {
        let actions = match name.as_str() {
            "managed" => Some(&[Action::Managed][..]),
            name => EFFECTS.iter().find(|(known, _)| *known == name).map(|(_, actions)| *actions),
        };
        match actions {
            Some(actions) if !actions.contains(&action) => {
                let words: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
                object.fault(name, format!("has no effect with the action `{action}`, only with {}", words.join(", ")));
            }
            Some(_) if on_connections && !L4_EFFECTS.contains(&name.as_str()) => {
                object.fault(name, "has no effect on `l4` rules");
            }
            Some(_) => {
                if let Some((_, what)) = LATER.iter().find(|(later, _)| later == name) {
                    warnings.push(format!("rule_settings.{name} has no effect until this installation has {what}"));
                }
            }
            None if WITHOUT_EFFECT.contains(&name.as_str()) || name == "resolve_dns_through_cloudflare" => {
                warnings.push(format!("rule_settings.{name} has no effect on this rule"));
            }
            None => {}
        }
    }
}

/// Tells whether a value asks for nothing: null, false, empty, or a switch that is off.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_neutral),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn read_members(object: &mut Reader<'_, '_>, settings: &mut RuleSettings) {
    settings.headers = read_headers(object);
    settings.untrusted_cert = object.object("untrusted_cert", &["action"]).and_then(|mut object| {
        object.word(
            "action",
            &[
                ("pass_through", UntrustedCertificate::PassThrough),
                ("block", UntrustedCertificate::Block),
                ("error", UntrustedCertificate::Error),
            ],
        )
    });
    settings.check_session = object.object("check_session", &["enforce", "duration"]).and_then(|mut object| {
        let enforce = object.boolean("enforce").unwrap_or(false);
        let text = object.string("duration")?;
        match GoDuration::parse(text) {
            Ok(duration) => Some(CheckSession { enforce, duration: duration.value() }),
            Err(error) => {
                object.fault("duration", error.to_string());
                None
            }
        }
    });
    settings.redirect = read_redirect(object);
    settings.block_page = object.object("block_page", &["target_uri", "include_context"]).and_then(|mut object| {
        let include_context = object.boolean("include_context").unwrap_or(false);
        Some(BlockPage { target: read_target(&mut object)?, include_context })
    });
    settings.block_reason = object.text("block_reason", MAX_REASON).map(str::to_owned);
    settings.notification = read_notification(object);
    let mut switch = |name: &str| {
        object.object(name, &["enabled"]).and_then(|mut object| object.boolean("enabled")).unwrap_or(false)
    };
    settings.payload_log = switch("payload_log");
    settings.forensic_copy = switch("forensic_copy");
    settings.prompt_log = switch("gen_ai_prompt_log");
    settings.quarantine = read_quarantine(object);
    settings.isolation = biso::read(object);
    settings.worker = read_worker(object);
    settings.managed = read_managed(object);
}

fn read_headers(object: &mut Reader<'_, '_>) -> SpecHeaders {
    let mut plan = HeaderPlan::default();
    let mut operations = 0;
    for name in object.strings("delete_headers", 1_000).unwrap_or_default() {
        operations += 1;
        match headers::header_name(&name) {
            Ok(name) => plan.delete.push(name),
            Err(message) => object.fault("delete_headers", message),
        }
    }
    for (member, into) in [("set_headers", &mut plan.set), ("add_headers", &mut plan.add)] {
        let Some(value) = object.get(member) else { continue };
        let Value::Object(entries) = value else {
            object.fault(member, "must be an object: header name to an array of values");
            continue;
        };
        for (name, values) in entries {
            let pointer = join(&object.at(member), name);
            let Some(values) = strings(values, &pointer, 1_000, object.problems()) else { continue };
            operations += values.len().max(1);
            let templates: Result<Vec<Template>, String> = values.iter().map(|value| Template::parse(value)).collect();
            match headers::header_name(name).and_then(|name| Ok((name, templates?))) {
                Ok(entry) => into.push(entry),
                Err(message) => object.problems().add(&pointer, message),
            }
        }
    }
    if operations > headers::MAX_OPERATIONS {
        let pointer = object.pointer().to_owned();
        object.problems().add(
            &pointer,
            format!("a rule changes at most {} headers, this one {operations}", headers::MAX_OPERATIONS),
        );
    }
    plan
}

fn read_redirect(settings: &mut Reader<'_, '_>) -> Option<RedirectPlan> {
    let mut object = settings.object("redirect", &["target_uri", "include_context", "preserve_path_and_query"])?;
    let include_context = object.boolean("include_context").unwrap_or(false);
    let preserve_path_and_query = object.boolean("preserve_path_and_query").unwrap_or(false);
    Some(RedirectPlan { target: read_target(&mut object)?, include_context, preserve_path_and_query })
}

fn read_target(object: &mut Reader<'_, '_>) -> Option<Target> {
    let Some(text) = object.string("target_uri") else {
        if object.get("target_uri").is_none() {
            object.fault("target_uri", "is required");
        }
        return None;
    };
    match Target::parse(text) {
        Ok(target) => Some(target),
        Err(message) => {
            object.fault("target_uri", message);
            None
        }
    }
}

fn read_notification(settings: &mut Reader<'_, '_>) -> Option<Notification> {
    let mut object = settings.object("notification_settings", &["enabled", "msg", "support_url", "include_context"])?;
    let enabled = object.boolean("enabled").unwrap_or(false);
    let notification = Notification {
        message: object.text("msg", MAX_MESSAGE).unwrap_or_default().to_owned(),
        support_url: object.text("support_url", 2_048).unwrap_or_default().to_owned(),
        include_context: object.boolean("include_context").unwrap_or(false),
    };
    if !notification.support_url.is_empty() && Target::parse(&notification.support_url).is_err() {
        object.fault("support_url", "must be an http or https URL");
    }
    enabled.then_some(notification)
}

fn read_quarantine(settings: &mut Reader<'_, '_>) -> Option<QuarantinePlan> {
    let mut object = settings.object("quarantine", &["file_types"])?;
    let file_types = object.strings("file_types", 100)?;
    if file_types.is_empty() {
        object.fault("file_types", "must name at least one file type");
    }
    for (index, word) in file_types.iter().enumerate() {
        if word != "rar" && !QUARANTINE_TYPES.contains(&word.as_str()) {
            let pointer = join(&object.at("file_types"), &index.to_string());
            object.problems().push(SpecError {
                pointer,
                message: format!("`{}` is not a file type that can be quarantined", super::reader::shorten(word)),
                suggestion: super::closest(word, QUARANTINE_TYPES.into_iter().chain(["rar"])),
            });
        }
    }
    Some(QuarantinePlan { file_types })
}

fn read_worker(settings: &mut Reader<'_, '_>) -> Option<SpecWorker> {
    const MEMBERS: [&str; 6] = ["script", "timeout_ms", "cpu_ms", "memory_mb", "on_error", "cache"];
    let mut object = settings.object("worker", &MEMBERS)?;
    let script = read_name(&mut object, "script");
    let timeout = milliseconds(object.integer("timeout_ms", 1..=30_000), 1_000);
    let cpu = milliseconds(object.integer("cpu_ms", 1..=5_000), 50);
    let memory = object.integer("memory_mb", 4..=512).unwrap_or(32);
    let on_error = object
        .word("on_error", &[("block", OnError::Block), ("continue", OnError::Continue), ("allow", OnError::Allow)])
        .unwrap_or_default();
    let cache = object.object("cache", &["key", "ttl_s"]).and_then(|mut cache| read_cache(&mut cache));
    Some(SpecWorker {
        script: script?,
        timeout,
        cpu,
        memory_bytes: u64::try_from(memory).unwrap_or(32) << 20,
        on_error,
        cache,
    })
}

fn read_cache(object: &mut Reader<'_, '_>) -> Option<SpecCache> {
    for required in ["key", "ttl_s"] {
        if object.get(required).is_none() {
            object.fault(required, "is required");
        }
    }
    let key = object.strings("key", MAX_CACHE_KEY)?;
    let ttl = object.integer("ttl_s", 1..=86_400)?;
    if key.is_empty() {
        object.fault("key", "must name at least one field, or every request would share one answer");
    }
    let fields = crate::hook::http::fields();
    for (index, name) in key.iter().enumerate() {
        let pointer = join(&object.at("key"), &index.to_string());
        let Some((id, _)) = fields.find(name) else {
            let names = fields.table().iter().map(|row| row.name);
            object.problems().push(SpecError {
                pointer,
                message: format!("there is no field `{}`", super::reader::shorten(name)),
                suggestion: super::closest(name, names),
            });
            continue;
        };
        if fields.info(id).phase > crate::hook::Phase::RequestHead {
            object.problems().add(&pointer, format!("`{name}` is not known yet when the Worker is asked"));
        }
    }
    Some(SpecCache { key, ttl: Duration::from_secs(u64::try_from(ttl).unwrap_or(0)) })
}

fn read_managed(settings: &mut Reader<'_, '_>) -> Option<SpecManaged> {
    let mut object = settings.object("managed", &["template", "parameters"])?;
    let template = read_name(&mut object, "template");
    let parameters = match object.get("parameters") {
        None => serde_json::Map::new(),
        Some(Value::Object(members)) if Value::Object(members.clone()).to_string().len() <= MAX_PARAMETERS => {
            members.clone()
        }
        Some(Value::Object(_)) => {
            object.fault("parameters", format!("must be at most {MAX_PARAMETERS} bytes of JSON"));
            return None;
        }
        Some(_) => {
            object.fault("parameters", "must be an object");
            return None;
        }
    };
    Some(ManagedPlan { template: template?, parameters })
}

fn read_name(object: &mut Reader<'_, '_>, member: &str) -> Option<ScriptName> {
    let Some(text) = object.string(member) else {
        if object.get(member).is_none() {
            object.fault(member, "is required");
        }
        return None;
    };
    match text.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            object.fault(member, error.to_string());
            None
        }
    }
}

fn milliseconds(value: Option<i64>, default: u64) -> Duration {
    Duration::from_millis(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}
