//! A rule as its author wrote it: the v4 JSON of reference section 5.2, read strictly, kept exactly.
//!
//! Decides whether a document is a rule; compiling its expressions is [`crate::ruleset::check`]. Invariant: what was sent
//! is what is echoed. No member is invented, expression texts keep every byte.

mod biso;
mod reader;
mod settings;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

pub use settings::{RuleSettings, SpecCache, SpecHeaders, SpecManaged, SpecWorker};

use crate::action::{Action, ActionPlan};
use crate::hook::Hook;
use crate::schedule::{DAYS, Expiration, Schedule};
pub(crate) use reader::closest;
use reader::{Problems, Reader, join};

/// Longest name of a rule, in characters.
pub const MAX_NAME: usize = 255;
/// Longest description of a rule, in characters.
pub const MAX_DESCRIPTION: usize = 4_096;
/// Longest expression, in characters (reference section 3.3).
pub const MAX_EXPRESSION: usize = 140_000;

/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 9] = [
    "id",
    "created_at",
    "updated_at",
    "deleted_at",
    "version",
    "read_only",
    "sharable",
    "source_account",
    "warning_status",
];

const MEMBERS: [&str; 12] = [
    "action",
    "name",
    "filters",
    "enabled",
    "precedence",
    "traffic",
    "identity",
    "device_posture",
    "description",
    "rule_settings",
    "schedule",
    "expiration",
];

/// One fault of a rule document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecError {
    /// RFC 6901 pointer to the member.
    pub pointer: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pointer = if self.pointer.is_empty() { "rule" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// A rule as written, with its parts read.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    pub name: String,
    pub action: Action,
    pub hook: Hook,
    /// Absent means enabled.
    pub enabled: Option<bool>,
    /// Absent means appended.
    pub precedence: Option<i64>,
    /// Empty means always, as for the next two; the three are ANDed.
    pub traffic: String,
    pub identity: String,
    pub device_posture: String,
    pub description: Option<String>,
    pub settings: RuleSettings,
    pub schedule: Option<Schedule>,
    pub expiration: Option<Expiration>,
    /// What the author should know although the rule is valid.
    pub warnings: Vec<String>,
    document: Map<String, Value>,
}

impl RuleSpec {
    /// Reads a rule. Read-only members are tolerated and dropped; every other unknown member is a fault.
    ///
    /// # Errors
    /// With every fault found, at least one.
    pub fn parse(value: &Value) -> Result<Self, Vec<SpecError>> {
        let mut problems = Problems::default();
        let spec = Self::read(value, &mut problems);
        match spec {
            Some(spec) if problems.is_empty() => Ok(spec),
            _ => Err(problems.into_vec()),
        }
    }

    /// Reads a rule from JSON text.
    ///
    /// # Errors
    /// With every fault found, at least one.
    pub fn parse_text(text: &str) -> Result<Self, Vec<SpecError>> {
        let value = serde_json::from_str(text).map_err(|error| {
            vec![SpecError { pointer: String::new(), message: format!("not JSON: {error}"), suggestion: None }]
        })?;
        Self::parse(&value)
    }

    /// Returns the document as it was sent, without read-only members.
    #[must_use]
    pub const fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// Tells whether the rule takes part in decisions at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// Returns the three expressions with the names of their members.
    #[must_use]
    pub fn expressions(&self) -> [(&'static str, &str); 3] {
        [("traffic", &self.traffic), ("identity", &self.identity), ("device_posture", &self.device_posture)]
    }

    /// Returns what the rule asks its plane to do.
    #[must_use]
    pub fn plan(&self) -> ActionPlan {
        self.settings.plan(self.action)
    }

    fn read(value: &Value, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::open(value, "", &MEMBERS, &READ_ONLY, problems)?;
        for required in ["action", "name"] {
            if reader.get(required).is_none() {
                reader.fault(required, "is required");
            }
        }
        let name = reader.text("name", MAX_NAME);
        if name.is_some_and(|name| name.trim().is_empty()) {
            reader.fault("name", "must not be empty");
        }
        let action = reader.word("action", Action::WORDS);
        let hook = read_hook(&mut reader, action);
        if let (Some(action), Some(hook)) = (action, hook)
            && !hook.actions().contains(&action)
        {
            let known: Vec<&str> = hook.actions().iter().map(|action| action.as_str()).collect();
            reader.fault(
                "action",
                format!("`{action}` is not an action of `{}` rules: {}", hook.as_str(), known.join(", ")),
            );
        }
        let enabled = reader.boolean("enabled");
        let precedence = reader.integer("precedence", -crate::precedence::MAX..=crate::precedence::MAX);
        let [traffic, identity, device_posture] = ["traffic", "identity", "device_posture"]
            .map(|member| reader.text(member, MAX_EXPRESSION).unwrap_or_default().to_owned());
        let description = reader.text("description", MAX_DESCRIPTION).map(str::to_owned);
        let schedule = read_schedule(&mut reader);
        let expiration = read_expiration(&mut reader);
        let mut warnings = Vec::new();
        let settings = settings::read(&mut reader, action, hook, &mut warnings);
        let document = reader
            .members()
            .iter()
            .filter(|(member, _)| !READ_ONLY.contains(&member.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Some(Self {
            name: name?.to_owned(),
            action: action?,
            hook: hook?,
            enabled,
            precedence,
            traffic,
            identity,
            device_posture,
            description,
            settings,
            schedule,
            expiration,
            warnings,
            document,
        })
    }
}

impl Serialize for RuleSpec {
    /// Writes the document as it was sent, without read-only members.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

/// Reads `filters`: one word in an array. Without it the action decides, and `http` where the action fits several.
fn read_hook(reader: &mut Reader<'_, '_>, action: Option<Action>) -> Option<Hook> {
    const ELSEWHERE: [&str; 3] = ["dns", "egress", "dns_resolver"];
    let Some(filters) = reader.strings("filters", 5) else {
        if reader.get("filters").is_some() {
            return None;
        }
        return Some(match action {
            Some(Action::L4Override | Action::AuditSsh) => Hook::L4,
            _ => Hook::Http,
        });
    };
    let [word] = filters.as_slice() else {
        reader.fault("filters", "must hold exactly one of `http`, `l4`");
        return None;
    };
    if let Some(hook) = Hook::named(word) {
        return Some(hook);
    }
    let pointer = join(&reader.at("filters"), "0");
    if ELSEWHERE.contains(&word.as_str()) {
        reader.problems().add(
            &pointer,
            format!("this installation does not enforce `{word}` rules, so it does not store one: use `http` or `l4`"),
        );
    } else {
        reader.problems().push(SpecError {
            pointer,
            message: format!("`{}` is not one of http, l4", reader::shorten(word)),
            suggestion: closest(word, ["http", "l4"].into_iter()),
        });
    }
    None
}

fn read_schedule(reader: &mut Reader<'_, '_>) -> Option<Schedule> {
    const KNOWN: [&str; 8] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "time_zone"];
    let mut object = reader.object("schedule", &KNOWN)?;
    let zone = object.string("time_zone").filter(|zone| !zone.is_empty());
    let mut schedule = match Schedule::new(zone) {
        Ok(schedule) => schedule,
        Err(error) => {
            object.fault("time_zone", error.to_string());
            return None;
        }
    };
    for (index, day) in DAYS.into_iter().enumerate() {
        if let Some(text) = object.string(day)
            && let Err(error) = schedule.set_day(index, text)
        {
            object.fault(day, error.to_string());
        }
    }
    Some(schedule)
}

fn read_expiration(reader: &mut Reader<'_, '_>) -> Option<Expiration> {
    let mut object = reader.object("expiration", &["expires_at", "duration", "expired"])?;
    let duration = object.integer("duration", 1..=525_600);
    let Some(text) = object.string("expires_at") else {
        if object.get("expires_at").is_none() {
            object.fault("expires_at", "is required");
        }
        return None;
    };
    match Expiration::parse_time(text) {
        Ok(expires_at) => {
            Some(Expiration { expires_at, duration_minutes: duration.and_then(|minutes| u32::try_from(minutes).ok()) })
        }
        Err(message) => {
            object.fault("expires_at", message);
            None
        }
    }
}
