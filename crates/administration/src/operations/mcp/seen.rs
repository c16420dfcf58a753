//! What one person sees of a portal, and why.
//!
//! The policies are tried as they are on one person at one application; the plane says what its view and rules make of the
//! rest. Nothing is stored and nobody's session changes. Invariant: a person is as they last signed in, and who never did
//! is told apart from who sees nothing.

use identity::identity::Identity;
use mcp::explanation::{SeenServer, Why};
use serde::Serialize;
use serde_json::Value;
use store::{AccessProfile, ReadUsers};
use types::{ApplicationId, Code, McpPortalId, McpServerId};
use utoipa::ToSchema;

use super::super::access::{AccessView, mcp_applications, system, trials};
use super::portals;
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::people::read_email;

/// What somebody sees of a portal.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SeenView {
    pub email: String,
    /// Whether the policies of the portal let them in: `approved`, `blocked` or `error`.
    pub portal: GateView,
    pub servers: Vec<SeenServerView>,
}

/// What the policies of an application say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct GateView {
    /// Absent where there is no application, which lets nobody in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// `approved`, `blocked` or `error`
    pub status: String,
    /// The policies in their order, with what each said.
    #[schema(value_type = Vec<Object>)]
    pub policies: Vec<Value>,
}

/// A server of the portal.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SeenServerView {
    pub server_id: String,
    pub name: String,
    pub gate: GateView,
    /// It is on before the person chooses.
    pub on: bool,
    /// Why calls fail, where they would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Nothing for a server whose policies do not let the person in.
    pub definitions: Vec<SeenDefinitionView>,
}

/// A definition of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SeenDefinitionView {
    /// `tool`, `prompt`, `resource` or `resource_template`
    pub kind: &'static str,
    pub name: String,
    /// What clients call it.
    pub exposed: String,
    pub visible: bool,
    /// What decided: `rule`, `arguments`, `off`, `disabled`, `held`, `taken` or `nothing`.
    pub decided_by: &'static str,
    /// In words.
    pub why: String,
}

/// Says what a person sees of a portal.
///
/// # Errors
///
/// `NotFound` for a portal or person there is not, or a person who never signed in; `Unavailable` where the portal is not
/// in force on this node.
pub async fn of(cx: &OpContext, portal: &McpPortalId, email: &str) -> Result<SeenView, Failure> {
    let document = portals::document(cx, portal).await?;
    let (email, identity) = person(cx, email).await?;
    let gate = match mcp_applications::of_portal(cx, &document.hostname).await? {
        Some(app) => asked(cx, app.id, &email).await?,
        None => GateView { status: "error".to_owned(), ..GateView::default() },
    };
    let (mut gates, mut open) = (Vec::new(), Vec::new());
    for link in &document.servers {
        let Ok(server) = link.server_id.parse::<McpServerId>() else { continue };
        let Some(app) = mcp_applications::of_server(cx, &server).await? else { continue };
        let gate = asked(cx, app.id, &email).await?;
        if gate.status == "approved" {
            open.push(app.id);
        }
        gates.push((server, gate));
    }
    let seen = cx.app.deps.mcp.as_ref().and_then(|mcp| mcp.sees(portal, &identity, &open));
    let not_here = || Failure::new(Code::Unavailable, "the portal is not in force on this node");
    let seen = seen.ok_or_else(not_here)?;
    let gate_of = |id: &str| gates.iter().find(|(server, _)| server.as_str() == id).map(|(_, gate)| gate.clone());
    let servers = seen.into_iter().map(|server| shown(gate_of(&server.id).unwrap_or_default(), server)).collect();
    Ok(SeenView { email, portal: gate, servers })
}

async fn person(cx: &OpContext, email: &str) -> Result<(String, Identity), Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let address = read_email("/email", email)?;
    let found = cx.store().users().find(&grant, address.as_str()).await?;
    let user = found.ok_or_else(|| Failure::not_found("person"))?;
    let profile = cx.store().access_profiles().get(&system(cx, "say what somebody sees")?, &user.id).await?;
    let profile: Option<AccessProfile> = profile.map(|profile| profile.document);
    let never = || Failure::not_found(format!("sign-in of {} yet: nothing is known to decide by", user.document.email));
    let identity = trials::last_identity(profile.as_ref()).ok_or_else(never)?;
    Ok((user.document.email.to_string(), identity))
}

/// What the policies of an application say of somebody.
async fn asked(cx: &OpContext, app: ApplicationId, email: &str) -> Result<GateView, Failure> {
    let AccessView(found) = trials::check(cx, app, Some(email), None).await?;
    let state = found.get("app_state").cloned().unwrap_or_default();
    Ok(GateView {
        app_id: Some(app.to_string()),
        status: state["status"].as_str().unwrap_or("error").to_owned(),
        policies: state["policies"].as_array().cloned().unwrap_or_default(),
    })
}

fn shown(gate: GateView, server: SeenServer) -> SeenServerView {
    let definitions = server.definitions.into_iter().map(|definition| {
        let (decided_by, why) = told(&definition.why);
        SeenDefinitionView {
            kind: definition.kind.as_str(),
            name: definition.key,
            exposed: definition.exposed,
            visible: definition.why.is_visible(),
            decided_by,
            why,
        }
    });
    SeenServerView {
        server_id: server.id,
        name: server.name,
        gate,
        on: server.on,
        problem: server.broken,
        definitions: definitions.collect(),
    }
}

fn told(why: &Why) -> (&'static str, String) {
    match why {
        Why::Visible { rules, .. } if rules.is_empty() => ("nothing", "no rule is against it".to_owned()),
        Why::Visible { rules, conditions } if conditions.is_empty() => ("rule", format!("by {}", quoted(rules))),
        Why::Visible { conditions, .. } => ("rule", format!("a call needs {}", conditions.join(", then "))),
        Why::Depends(rule) => ("arguments", format!("the rule \"{rule}\" decides by the arguments of a call")),
        Why::Off => ("off", "the server is off until the person turns it on".to_owned()),
        Why::Disabled => ("disabled", "an administrator turned it off".to_owned()),
        Why::Held => ("held", "it waits for an administrator's approval".to_owned()),
        Why::Rule(rule) => ("rule", format!("the rule \"{rule}\" blocks it")),
        Why::Taken => ("taken", "another one has its name".to_owned()),
    }
}

fn quoted(rules: &[String]) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| format!("the rule \"{rule}\"")).collect();
    rules.join(" and ")
}
