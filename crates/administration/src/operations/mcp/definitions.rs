//! The definitions of an MCP server: what is approved, what waits, and an administrator's word about it.
//!
//! What waits and what people see meanwhile is the MCP engine's to say. Invariants: a decision is about the definition its
//! author saw; what is flagged is approved by name alone, never with everything else; and every decision is in the audit
//! log.

use mcp::catalog::{Catalog, Kind};
use mcp::detector::Flag;
use mcp::document::server::{Pinning, ServerDocument};
use mcp::pinning::{Choice, ChoiceError, KindWord, Ledger, Pin, Shown};
use mcp::tokens;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{McpCatalog, ReadAccess, StoreError, Stored, WriteAccess};
use types::{Code, McpServerId};
use utoipa::ToSchema;

use super::super::time;
use super::servers::{document_of, load};
use super::{SERVER_RESOURCE, author};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Most decisions of one request.
const MOST_CHOICES: usize = 2_000;

/// One definition of a server.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DefinitionView {
    /// `tool`, `prompt`, `resource` or `resource_template`
    pub kind: &'static str,
    /// The name, URI or URI template at the server.
    pub name: String,
    /// `approved`, `waiting` or `refused`
    pub state: &'static str,
    /// What people see of it: `listed`, `approved` (as it was) or `nothing`.
    pub shown: &'static str,
    /// `new` or `changed`, of what is not approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<&'static str>,
    /// Nothing but titles, descriptions, icons and examples changed.
    pub words_alone: bool,
    /// SHA-256 of what is listed; a decision names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub flags: Vec<FlagView>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who approved what is approved; absent when nobody had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// The definition as the server lists it.
    pub listed: Value,
    /// The definition that was approved, where it is another and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Value>,
    /// An estimate of what the listed definition costs a model.
    pub tokens: u64,
    /// Both as the server wrote them, for pages.
    #[serde(skip)]
    pub texts: (String, Option<String>),
}

/// Something suspicious of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FlagView {
    pub reason: &'static str,
    /// The reason in words.
    pub message: &'static str,
    /// Where in the definition: names of members with dots between.
    pub place: String,
    /// What was found, shortened, with invisible characters spelled out.
    pub found: String,
}

/// Decisions about definitions.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionBody {
    /// The definitions, as their author saw them.
    #[serde(default)]
    pub definitions: Vec<ChoiceBody>,
    /// Everything that waits and is not flagged.
    #[serde(default)]
    pub all: bool,
}

/// One definition in a decision.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceBody {
    pub kind: String,
    pub name: String,
    pub digest: String,
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Approve,
    Refuse,
}

/// What a server offers, and how each definition stands.
pub struct Definitions {
    pub pinning: Pinning,
    /// The server was asked since its definitions are pinned.
    pub begun: bool,
    pub all: Vec<DefinitionView>,
}

impl Definitions {
    /// How many wait for an administrator.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.all.iter().filter(|definition| definition.state == "waiting").count()
    }
}

/// A server's catalogue with its ledger.
struct Kept {
    stored: Option<Stored<McpCatalog>>,
    listed: Catalog,
    ledger: Ledger,
    pinning: Pinning,
}

/// Returns the definitions of a server; `state` leaves one state alone.
///
/// # Errors
///
/// `NotFound`, `InvalidInput` for a state there is not.
pub async fn list(cx: &OpContext, id: &McpServerId, state: Option<&str>) -> Result<Definitions, Failure> {
    if let Some(state) = state.filter(|state| !matches!(*state, "waiting" | "refused" | "approved")) {
        return Err(Failure::invalid("state", format!("there is no state \"{state}\"")));
    }
    let kept = kept(cx, id).await?;
    let mut all = kept.views();
    all.retain(|definition| state.is_none_or(|state| definition.state == state));
    Ok(Definitions { pinning: kept.pinning, begun: kept.ledger.is_begun(), all })
}

/// Approves or refuses definitions, all or none, and returns what waits after it.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at every definition that does not wait, or changed since.
pub async fn decide(
    cx: &OpContext,
    id: &McpServerId,
    decision: Decision,
    sent: &DecisionBody,
) -> Result<Vec<DefinitionView>, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let kept = kept(cx, id).await?;
    let choices = choices(&kept, sent)?;
    let Kept { stored, mut ledger, pinning, listed } = kept;
    let Some(stored) = stored else { return Err(nothing_waits()) };
    let (by, at) = (author(cx), time(cx.store().now()));
    let mut problems = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        let done = match decision {
            Decision::Approve => ledger.approve(choice, &by, &at),
            Decision::Refuse => ledger.refuse(choice, &by, &at),
        };
        if let Err(error @ (ChoiceError::NotWaiting | ChoiceError::Changed)) = done {
            problems.push(Problem { message: error.to_string(), pointer: Some(format!("/definitions/{index}")) });
        }
    }
    if !problems.is_empty() {
        return Err(Failure { code: Code::Conflict, ..Failure::invalid_many(problems) });
    }
    let catalog = McpCatalog { pins: Some(ledger.write()), ..stored.document.clone() };
    let saved = cx.store().mcp_catalogs().replace(&grant, id.clone(), catalog, Some(stored.revision)).await;
    let stored = match saved {
        Ok(stored) => stored,
        Err(StoreError::Stale(_)) => {
            let message = "the server was asked anew at the same time; look at its definitions again";
            return Err(Failure::new(Code::Conflict, message));
        }
        Err(error) => return Err(error.into()),
    };
    let word = match decision {
        Decision::Approve => "approved",
        Decision::Refuse => "refused",
    };
    let change = Change::new(Verb::Update, SERVER_RESOURCE, id).after(json!({ word: choices }));
    cx.record(change.note("definitions")).await?;
    let kept = Kept { stored: Some(stored), ledger, pinning, listed };
    Ok(kept.views().into_iter().filter(|definition| definition.state == "waiting").collect())
}

fn nothing_waits() -> Failure {
    Failure::new(Code::Conflict, "nothing waits for approval; the server has not been asked yet")
}

/// The definitions that are decided about.
fn choices(kept: &Kept, sent: &DecisionBody) -> Result<Vec<Choice>, Failure> {
    if sent.all != sent.definitions.is_empty() {
        return Err(Failure::invalid("/definitions", "name definitions, or set `all`, and not both"));
    }
    if sent.definitions.len() > MOST_CHOICES {
        return Err(Failure::invalid("/definitions", format!("must be at most {MOST_CHOICES}")));
    }
    if sent.all {
        let waiting = kept.ledger.waiting(kept.pinning).filter(|pin| pin.flags.is_empty());
        let choice = |pin: &Pin| {
            let digest = pin.waiting.as_ref()?.digest.clone();
            Some(Choice { kind: pin.kind, key: pin.key.clone(), digest })
        };
        return Ok(waiting.filter_map(choice).collect());
    }
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for (index, choice) in sent.definitions.iter().enumerate() {
        let mut problem = |member: &str, message: String| {
            problems.push(Problem { message, pointer: Some(format!("/definitions/{index}/{member}")) });
        };
        match (KindWord::named(&choice.kind), choice.digest.parse()) {
            (None, _) => problem("kind", "must be tool, prompt, resource or resource_template".to_owned()),
            (_, Err(error)) => problem("digest", format!("is {error}")),
            (Some(kind), Ok(digest)) => found.push(Choice { kind, key: choice.name.clone(), digest }),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(Failure::invalid_many(problems)) }
}

async fn kept(cx: &OpContext, id: &McpServerId) -> Result<Kept, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let server = load(cx, id).await?;
    let pinning = pinning_of(&document_of(&server)?);
    let stored = cx.store().mcp_catalogs().get(&grant, id).await?;
    let document = stored.as_ref().map(|stored| &stored.document);
    let listed = document.map(listed).unwrap_or_default();
    let ledger = Ledger::read(document.and_then(|document| document.pins.as_ref()))
        .map_err(|error| Failure::internal("the approved definitions of an MCP server", &error))?;
    Ok(Kept { stored, listed, ledger, pinning })
}

/// Which definitions of a server wait.
#[must_use]
pub fn pinning_of(document: &ServerDocument) -> Pinning {
    document.portunus.as_ref().and_then(|ours| ours.pinning).unwrap_or(Pinning::All)
}

/// Makes a catalogue of what a server listed.
#[must_use]
pub fn listed(stored: &McpCatalog) -> Catalog {
    Catalog::of([&stored.tools, &stored.prompts, &stored.resources, &stored.resource_templates])
}

impl Kept {
    fn views(&self) -> Vec<DefinitionView> {
        let definitions = Kind::ALL.into_iter().flat_map(|kind| self.listed.list(kind));
        definitions.map(|definition| self.view(definition)).collect()
    }

    fn view(&self, definition: &mcp::catalog::Definition) -> DefinitionView {
        let kind = KindWord::from(definition.kind);
        let pin = self.ledger.find(kind, &definition.key);
        let shown = match mcp::pinning::shown(&self.ledger, self.pinning, definition) {
            Shown::AsListed => "listed",
            Shown::AsApproved(_) => "approved",
            Shown::Held => "nothing",
        };
        let waiting = pin.and_then(|pin| pin.waiting.as_ref()).filter(|_| shown != "listed");
        let approval = pin.and_then(|pin| pin.approved.as_ref());
        let text = approval.and_then(|approval| approval.text.as_ref()).map(|text| text.get().to_owned());
        let refused = pin.filter(|pin| pin.is_refused()).and_then(|pin| pin.refused.as_ref());
        let value = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        DefinitionView {
            kind: kind.as_str(),
            name: definition.key.to_string(),
            state: match (shown, refused) {
                ("listed", _) => "approved",
                (_, Some(_)) => "refused",
                (_, None) => "waiting",
            },
            shown,
            change: waiting.map(|_| if approval.is_some() { "changed" } else { "new" }),
            words_alone: pin.is_some_and(Pin::changed_words_alone),
            digest: Some(waiting.map_or_else(|| mcp::pinning::whole(definition), |waiting| waiting.digest.clone()))
                .map(|digest| digest.to_string()),
            flags: pin.map(|pin| pin.flags.iter().map(flag).collect()).unwrap_or_default(),
            since: waiting.map(|waiting| waiting.since.clone()),
            approved_by: approval.map(|approval| approval.by.clone()).filter(|by| !by.is_empty()),
            approved_at: approval.map(|approval| approval.at.clone()),
            refused_by: refused.map(|refused| refused.by.clone()),
            listed: value(definition.json.get()),
            approved: text.as_deref().map(value),
            tokens: tokens::estimate(definition.json.get()),
            texts: (definition.json.get().to_owned(), text),
        }
    }
}

fn flag(flag: &Flag) -> FlagView {
    FlagView {
        reason: flag.reason.as_str(),
        message: flag.reason.told(),
        place: flag.place.clone(),
        found: flag.found.clone(),
    }
}
