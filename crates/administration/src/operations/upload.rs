//! What a Worker upload says beside its modules: entry point, bindings, reach, isolation and limits.
//!
//! It reads the metadata that wrangler, the SDKs and curl send. Members that mean nothing here are accepted where ignoring
//! them changes nothing the author would notice; those that would (Durable Objects, assets) are refused by name.
//! Invariant: an unknown member is an error, so a misspelt limit is never silently absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use store::{Binding, Isolation, Permissions, RateLimit, SECURITY_EVENTS, ScriptLimits};
use types::{KvNamespaceId, ScriptName, Secret};
use utoipa::ToSchema;

use super::scripts::check_binding_name;
use crate::failure::Failure;

/// Most bindings of one Worker.
const MOST_BINDINGS: usize = 100;
/// Most hosts a Worker may reach.
const MOST_EGRESS: usize = 200;
/// Largest text of one variable.
const LARGEST_VARIABLE: usize = 5 * 1024;

/// The metadata of an upload, and what `PATCH …/settings` takes.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The module that exports the handlers.
    pub main_module: Option<String>,
    /// The older name of `main_module`.
    pub body_part: Option<String>,
    #[schema(value_type = Option<Vec<Object>>)]
    pub bindings: Option<Vec<BindingBody>>,
    /// Kinds of bindings to take over from the version before.
    pub keep_bindings: Option<Vec<String>>,
    pub compatibility_date: Option<String>,
    pub compatibility_flags: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    pub limits: Option<LimitsBody>,
    /// Ours: hosts that `fetch` may reach beyond the origin of the request; `*.example.com` covers subdomains.
    pub egress: Option<Vec<String>>,
    /// Ours: `shared` (state may outlive a request) or `request`.
    pub isolation: Option<String>,
    /// Ours: the queues whose batches the `queue` handler takes; there is `security-events`.
    pub queues: Option<Vec<String>>,
    pub tags: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    pub annotations: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<Object>)]
    pub usage_model: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub placement: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub logpush: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub observability: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub tail_consumers: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub keep_assets: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub cache_options: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub package_dependencies: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub exports: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub containers: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub migrations: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub assets: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub streaming_tail_consumers: Option<Value>,
}

/// One binding, as clients write it. Which members count depends on `type`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BindingBody {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<Secret<String>>,
    pub json: Option<Value>,
    pub namespace_id: Option<String>,
    pub service: Option<String>,
    pub environment: Option<String>,
    pub entrypoint: Option<String>,
    pub simple: Option<RateBody>,
    pub permissions: Option<Vec<String>>,
    pub old_name: Option<String>,
    pub version_id: Option<String>,
}

/// A rate, as clients write it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateBody {
    #[serde(deserialize_with = "number")]
    limit: u32,
    #[serde(deserialize_with = "number")]
    period: u32,
    #[serde(default, deserialize_with = "optional_number", rename = "mitigation_timeout")]
    _mitigation_timeout: Option<u32>,
}

/// Limits, as clients write them.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsBody {
    #[serde(deserialize_with = "optional_number")]
    cpu_ms: Option<u32>,
    #[serde(deserialize_with = "optional_number")]
    memory_mb: Option<u32>,
    #[serde(deserialize_with = "optional_number")]
    subrequests: Option<u32>,
}

/// A number, or its digits: forms carry text only.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    optional_number(deserializer)?.ok_or_else(|| serde::de::Error::custom("must be a whole number"))
}

fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let wrong = || serde::de::Error::custom("must be a whole number");
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()).ok_or_else(wrong).map(Some),
        Value::String(digits) => digits.parse().map(Some).map_err(|_| wrong()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(wrong()),
    }
}

/// The bindings of an upload, once understood.
#[derive(Debug, Default)]
pub struct Bindings {
    pub bound: Vec<Binding>,
    /// Secrets whose text came with the upload.
    pub secrets: Vec<(String, Secret<String>)>,
}

impl Metadata {
    /// The entry point.
    #[must_use]
    pub fn main(&self) -> Option<&str> {
        self.main_module.as_deref().or(self.body_part.as_deref())
    }

    /// Refuses what would be missed.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that points at the member.
    pub fn check(&self) -> Result<(), Failure> {
        let absent = |value: &Option<Value>| match value {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(members)) => members.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
        };
        for (member, value, what) in [
            ("migrations", &self.migrations, "Durable Objects are"),
            ("assets", &self.assets, "static assets are"),
            ("containers", &self.containers, "containers are"),
            ("tail_consumers", &self.tail_consumers, "tail consumers are"),
            ("streaming_tail_consumers", &self.streaming_tail_consumers, "tail consumers are"),
        ] {
            if !absent(value) {
                return Err(Failure::invalid(format!("/{member}"), format!("{what} not offered; remove this member")));
            }
        }
        if let Some(date) = &self.compatibility_date
            && date.parse::<jiff::civil::Date>().is_err()
        {
            return Err(Failure::invalid("/compatibility_date", "must be a date as in 2026-01-31"));
        }
        let flags = self.compatibility_flags.iter().flatten();
        if flags.clone().count() > 100 || flags.clone().any(|flag| flag.len() > 100) {
            return Err(Failure::invalid("/compatibility_flags", "is limited to 100 flags of 100 characters"));
        }
        let annotations = self.annotations.iter().flatten();
        if annotations.clone().count() > 20
            || annotations.clone().any(|(name, text)| name.len() > 100 || text.len() > 1000)
        {
            return Err(Failure::invalid("/annotations", "is limited to 20 annotations of 1000 characters"));
        }
        let tags = self.tags.iter().flatten();
        if tags.clone().count() > 20 || tags.clone().any(|tag| tag.is_empty() || tag.len() > 100) {
            return Err(Failure::invalid("/tags", "is limited to 20 tags of 1 to 100 characters"));
        }
        Ok(())
    }

    /// Reads the hosts the Worker may reach.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that points at the host at fault.
    pub fn egress(&self) -> Result<Option<Vec<String>>, Failure> {
        let Some(hosts) = &self.egress else { return Ok(None) };
        if hosts.len() > MOST_EGRESS {
            return Err(Failure::invalid("/egress", format!("is limited to {MOST_EGRESS} hosts")));
        }
        for (index, host) in hosts.iter().enumerate() {
            if let Err(error) = worker::EgressList::parse([host.as_str()]) {
                return Err(Failure::invalid(format!("/egress/{index}"), error.to_string()));
            }
        }
        Ok(Some(hosts.clone()))
    }

    /// Reads the isolation asked for.
    ///
    /// # Errors
    ///
    /// A [`Failure`] for an unknown word.
    pub fn isolation(&self) -> Result<Option<Isolation>, Failure> {
        match self.isolation.as_deref() {
            None => Ok(None),
            Some("shared") => Ok(Some(Isolation::Shared)),
            Some("request") => Ok(Some(Isolation::Request)),
            Some(_) => Err(Failure::invalid("/isolation", "must be shared or request")),
        }
    }

    /// Reads the queues asked for.
    ///
    /// # Errors
    ///
    /// A [`Failure`] for a queue that does not exist.
    pub fn queues(&self) -> Result<Option<Vec<String>>, Failure> {
        let Some(queues) = &self.queues else { return Ok(None) };
        match queues.iter().position(|queue| queue != SECURITY_EVENTS) {
            None => Ok(Some(queues.iter().take(1).cloned().collect())),
            Some(index) => {
                Err(Failure::invalid(format!("/queues/{index}"), format!("the only queue is \"{SECURITY_EVENTS}\"")))
            }
        }
    }

    /// Reads the limits asked for.
    ///
    /// # Errors
    ///
    /// A [`Failure`] for a limit out of range.
    pub fn limits(&self) -> Result<Option<ScriptLimits>, Failure> {
        let Some(LimitsBody { cpu_ms, memory_mb, subrequests }) = self.limits else { return Ok(None) };
        for (pointer, value, most) in [
            ("/limits/cpu_ms", cpu_ms, 30_000),
            ("/limits/memory_mb", memory_mb, 512),
            ("/limits/subrequests", subrequests, 1_000),
        ] {
            if value.is_some_and(|value| value == 0 || value > most) {
                return Err(Failure::invalid(pointer, format!("must be 1 to {most}")));
            }
        }
        Ok(Some(ScriptLimits { cpu_ms, memory_mb, subrequests }))
    }

    /// Reads the bindings; those that name the version before are taken from `before`.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that points at the binding at fault.
    pub fn bindings(&self, before: &[Binding], before_secrets: &[String]) -> Result<Option<Bindings>, Failure> {
        let Some(bodies) = &self.bindings else {
            return Ok(self
                .keep_bindings
                .as_ref()
                .map(|kinds| Bindings { bound: kept(before, kinds), ..Bindings::default() }));
        };
        if bodies.len() > MOST_BINDINGS {
            return Err(Failure::invalid("/bindings", format!("is limited to {MOST_BINDINGS} bindings")));
        }
        let mut read = Bindings::default();
        let mut names = std::collections::BTreeSet::new();
        for (index, body) in bodies.iter().enumerate() {
            let pointer = format!("/bindings/{index}");
            check_binding_name(&format!("{pointer}/name"), &body.name)?;
            if !names.insert(body.name.clone()) {
                return Err(Failure::invalid(format!("{pointer}/name"), "another binding has this name"));
            }
            body.read(&pointer, before, before_secrets, &mut read)?;
        }
        let kinds = self.keep_bindings.iter().flatten().cloned().collect::<Vec<_>>();
        read.bound.extend(kept(before, &kinds).into_iter().filter(|binding| !names.contains(binding.name())));
        Ok(Some(read))
    }
}

fn kept(before: &[Binding], kinds: &[String]) -> Vec<Binding> {
    before.iter().filter(|binding| kinds.iter().any(|kind| kind == binding_kind(binding))).cloned().collect()
}

/// The word of a binding's kind.
pub const fn binding_kind(binding: &Binding) -> &'static str {
    match binding {
        Binding::PlainText { .. } => "plain_text",
        Binding::Json { .. } => "json",
        Binding::SecretText { .. } => "secret_text",
        Binding::KvNamespace { .. } => "kv_namespace",
        Binding::Service { .. } => "service",
        Binding::Ratelimit { .. } => "ratelimit",
        Binding::AdminApi { .. } => "admin_api",
    }
}

impl BindingBody {
    fn read(
        &self,
        pointer: &str,
        before: &[Binding],
        before_secrets: &[String],
        read: &mut Bindings,
    ) -> Result<(), Failure> {
        let name = self.name.clone();
        let need = |member: &str| {
            Failure::invalid(format!("{pointer}/{member}"), format!("a {} binding needs {member}", self.kind))
        };
        let binding = match self.kind.as_str() {
            "plain_text" => {
                let text = self.text.as_ref().ok_or_else(|| need("text"))?.expose().clone();
                check_size(pointer, "text", text.len())?;
                Binding::PlainText { name, text }
            }
            "json" => {
                let json = match self.json.clone().ok_or_else(|| need("json"))? {
                    // Forms flatten a value to its text.
                    Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                    other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                        other
                    }
                };
                check_size(pointer, "json", json.to_string().len())?;
                Binding::Json { name, json }
            }
            "secret_text" => {
                let text = self.text.as_ref().ok_or_else(|| need("text"))?.clone();
                check_size(pointer, "text", text.expose().len())?;
                read.secrets.push((name, text));
                return Ok(());
            }
            "kv_namespace" => {
                let id: Option<KvNamespaceId> = self.namespace_id.as_deref().and_then(|id| id.parse().ok());
                Binding::KvNamespace { name, namespace_id: id.ok_or_else(|| need("namespace_id"))? }
            }
            "service" => {
                let service: Option<ScriptName> = self.service.as_deref().and_then(|service| service.parse().ok());
                if self
                    .entrypoint
                    .as_deref()
                    .is_some_and(|entrypoint| !entrypoint.is_empty() && entrypoint != "default")
                {
                    let message = "only the default entry point is offered";
                    return Err(Failure::invalid(format!("{pointer}/entrypoint"), message));
                }
                Binding::Service { name, service: service.ok_or_else(|| need("service"))? }
            }
            "ratelimit" => {
                let RateBody { limit, period, .. } = self.simple.ok_or_else(|| need("simple"))?;
                if limit == 0 || !matches!(period, 1..=3600) {
                    let message = "needs a limit of 1 or more and a period of 1 to 3600 seconds";
                    return Err(Failure::invalid(format!("{pointer}/simple"), message));
                }
                let namespace_id = self.namespace_id.clone().unwrap_or_else(|| name.clone());
                Binding::Ratelimit { name, namespace_id, simple: RateLimit { limit, period } }
            }
            "admin_api" => {
                let mut permissions = Permissions::NONE;
                for word in self.permissions.iter().flatten() {
                    let unknown = |_| Failure::invalid(format!("{pointer}/permissions"), "names an unknown permission");
                    permissions = permissions.with(word.parse().map_err(unknown)?);
                }
                if permissions.is_empty() {
                    return Err(need("permissions"));
                }
                Binding::AdminApi { name, permissions }
            }
            "inherit" => return self.inherit(pointer, before, before_secrets, read),
            other => {
                let message = format!(
                    "bindings of type \"{other}\" are not offered; there are plain_text, secret_text, json, kv_namespace, \
                     ratelimit, service, admin_api and inherit"
                );
                return Err(Failure::invalid(format!("{pointer}/type"), message));
            }
        };
        read.bound.push(binding);
        Ok(())
    }

    /// Takes a binding over from the version before, where it may have had another name.
    fn inherit(
        &self,
        pointer: &str,
        before: &[Binding],
        before_secrets: &[String],
        read: &mut Bindings,
    ) -> Result<(), Failure> {
        let old = self.old_name.as_ref().unwrap_or(&self.name);
        if before_secrets.contains(old) && *old == self.name {
            return Ok(());
        }
        let found = before.iter().find(|binding| binding.name() == old);
        let missing = || Failure::invalid(format!("{pointer}/name"), "the version before has no binding of this name");
        read.bound.push(renamed(found.ok_or_else(missing)?.clone(), &self.name));
        Ok(())
    }
}

fn renamed(mut binding: Binding, to: &str) -> Binding {
    match &mut binding {
        Binding::PlainText { name, .. }
        | Binding::Json { name, .. }
        | Binding::SecretText { name }
        | Binding::KvNamespace { name, .. }
        | Binding::Service { name, .. }
        | Binding::Ratelimit { name, .. }
        | Binding::AdminApi { name, .. } => to.clone_into(name),
    }
    binding
}

fn check_size(pointer: &str, member: &str, size: usize) -> Result<(), Failure> {
    if size > LARGEST_VARIABLE {
        return Err(Failure::invalid(format!("{pointer}/{member}"), format!("is limited to {LARGEST_VARIABLE} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use store::Binding;

    use super::Metadata;
    use crate::strict;

    fn read(value: Value) -> Result<Metadata, crate::failure::Failure> {
        strict::from_value(value)
    }

    #[test]
    fn bindings_are_read_from_json_and_from_flattened_forms() {
        for (limit, period, variable) in
            [(json!(10), json!(60), json!({"a": 1})), (json!("10"), json!("60"), json!("{\"a\":1}"))]
        {
            let metadata = read(json!({"bindings": [
                {"name": "A", "type": "plain_text", "text": "x"},
                {"name": "J", "type": "json", "json": variable},
                {"name": "S", "type": "secret_text", "text": "hush"},
                {"name": "K", "type": "kv_namespace", "namespace_id": "0123456789abcdef0123456789abcdef"},
                {"name": "L", "type": "ratelimit", "namespace_id": "1", "simple": {"limit": limit, "period": period}},
                {"name": "W", "type": "service", "service": "other", "environment": "production"},
                {"name": "API", "type": "admin_api", "permissions": ["lists:read"]},
            ]}))
            .unwrap();
            let bindings = metadata.bindings(&[], &[]).unwrap().unwrap();
            let names: Vec<_> = bindings.bound.iter().map(Binding::name).collect();
            assert_eq!(names, ["A", "J", "K", "L", "W", "API"]);
            assert_eq!(bindings.bound[1], Binding::Json { name: "J".to_owned(), json: json!({"a": 1}) });
            assert_eq!(bindings.secrets.len(), 1);
            assert!(!format!("{metadata:?}").contains("hush"));
        }
    }

    #[test]
    fn bindings_can_be_kept_and_inherited() {
        let before = [
            Binding::PlainText { name: "A".to_owned(), text: "old".to_owned() },
            Binding::Json { name: "J".to_owned(), json: json!(1) },
        ];
        let metadata = read(json!({"keep_bindings": ["plain_text"], "bindings": [
            {"name": "B", "type": "inherit", "old_name": "J"}, {"name": "S", "type": "inherit"}
        ]}))
        .unwrap();
        let bindings = metadata.bindings(&before, &["S".to_owned()]).unwrap().unwrap();
        let names: Vec<_> = bindings.bound.iter().map(Binding::name).collect();
        assert_eq!(names, ["B", "A"]);
        let missing = read(json!({"bindings": [{"name": "X", "type": "inherit"}]})).unwrap();
        assert!(missing.bindings(&before, &[]).is_err());
        assert!(read(json!({})).unwrap().bindings(&before, &[]).unwrap().is_none());
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        for (metadata, pointer) in [
            (json!({"bindings": [{"name": "D", "type": "d1"}]}), "/bindings/0/type"),
            (json!({"bindings": [{"name": "K", "type": "kv_namespace"}]}), "/bindings/0/namespace_id"),
            (json!({"bindings": [{"name": "1x", "type": "plain_text", "text": ""}]}), "/bindings/0/name"),
            (
                json!({"bindings": [{"name": "A", "type": "plain_text", "text": ""}, {"name": "A", "type": "plain_text", "text": ""}]}),
                "/bindings/1/name",
            ),
            (
                json!({"bindings": [{"name": "L", "type": "ratelimit", "simple": {"limit": 0, "period": 60}}]}),
                "/bindings/0/simple",
            ),
        ] {
            let failure = read(metadata.clone()).unwrap().bindings(&[], &[]).unwrap_err();
            assert_eq!(failure.problems[0].pointer.as_deref(), Some(pointer), "{metadata}");
        }
        for (metadata, pointer) in [
            (json!({"migrations": {"new_tag": "v1"}}), "/migrations"),
            (json!({"assets": {"jwt": "x"}}), "/assets"),
            (json!({"compatibility_date": "today"}), "/compatibility_date"),
        ] {
            let failure = read(metadata.clone()).unwrap().check().unwrap_err();
            assert_eq!(failure.problems[0].pointer.as_deref(), Some(pointer), "{metadata}");
        }
        assert!(
            read(json!({"main_modul": "x"})).unwrap_err().problems[0].message.contains("did you mean \"main_module\"")
        );
    }
}
