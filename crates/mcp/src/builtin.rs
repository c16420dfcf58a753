//! The portal's own tools: what they are called, what they say of themselves, what their arguments mean.
//!
//! Decides shapes. Toggling, running scripts and calling tools is the plane's. Invariants: the definitions do not depend on
//! how many servers there are; a search by regular expression takes time in proportion to what it searches.

use regex::RegexBuilder;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::codemode;
use crate::message::{ErrorCode, RpcError};
use crate::names::ServerId;
use crate::raw::{self, Object};
use crate::surface::Surface;
use crate::view::{ServerView, Standing, View};

const MAX_PATTERN: usize = 256;
/// Most bytes a compiled pattern, and its cache, may take.
const PATTERN_MEMORY: usize = 1024 * 1_024;
/// Most tools `portal_query_tools` answers with.
const MAX_MATCHES: usize = 25;

/// One of the portal's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    ListServers,
    ToggleServers,
    ToggleSingleServer,
    QueryTools,
    Execute,
    CodemodeSearch,
    CodemodeExecute,
}

impl BuiltIn {
    pub const ALL: [Self; 7] = [
        Self::ListServers,
        Self::ToggleServers,
        Self::ToggleSingleServer,
        Self::QueryTools,
        Self::Execute,
        Self::CodemodeSearch,
        Self::CodemodeExecute,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListServers => "portal_list_servers",
            Self::ToggleServers => "portal_toggle_servers",
            Self::ToggleSingleServer => "portal_toggle_single_server",
            Self::QueryTools => "portal_query_tools",
            Self::Execute => "portal_execute",
            Self::CodemodeSearch => "portal_codemode_search",
            Self::CodemodeExecute => "portal_codemode_execute",
        }
    }

    /// Finds one by name, on whichever surface it stands.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Returns those a surface has, in the order in which they are listed. No other can be called on it.
    #[must_use]
    pub const fn of(surface: Surface) -> &'static [Self] {
        match surface {
            Surface::Full => &[Self::ListServers, Self::ToggleServers, Self::ToggleSingleServer],
            Surface::MinimizeTools => {
                &[Self::ListServers, Self::ToggleServers, Self::ToggleSingleServer, Self::QueryTools]
            }
            Surface::SearchAndExecute => &[Self::QueryTools, Self::Execute],
            Surface::CodeMode => &[Self::CodemodeSearch, Self::CodemodeExecute],
        }
    }

    /// Returns the definition for `tools/list`.
    #[must_use]
    pub fn definition(self) -> Box<RawValue> {
        let read_only = json!({"readOnlyHint": true, "openWorldHint": false});
        let changes = json!({"readOnlyHint": false, "destructiveHint": false, "openWorldHint": false});
        let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let nothing = json!({"type": "object", "additionalProperties": false});
        let (description, schema, annotations) = match self {
            Self::ListServers => {
                ("Lists the MCP servers behind this portal and whether each is on.", nothing, read_only)
            }
            Self::ToggleServers => {
                ("Returns a page on which the user chooses which servers are on in this session.", nothing, changes)
            }
            Self::ToggleSingleServer => (
                "Turns one server on (toggle) or off (untoggle) for this session.",
                object(
                    json!({"server_id": {"type": "string"}, "action": {"enum": ["toggle", "untoggle"]}}),
                    json!(["server_id", "action"]),
                ),
                changes,
            ),
            Self::QueryTools => (
                "Finds tools whose name, title or description matches a regular expression, ignoring case. \
                 Returns their descriptions and input schemas.",
                object(json!({"pattern": {"type": "string"}}), json!(["pattern"])),
                read_only,
            ),
            Self::Execute => (
                "Calls a tool that portal_query_tools found, with arguments of its input schema.",
                object(json!({"name": {"type": "string"}, "arguments": {"type": "object"}}), json!(["name"])),
                json!({"openWorldHint": true}),
            ),
            Self::CodemodeSearch => {
                (codemode::SEARCH_DESCRIPTION, object(json!({"code": {"type": "string"}}), json!(["code"])), read_only)
            }
            Self::CodemodeExecute => (
                codemode::EXECUTE_DESCRIPTION,
                object(json!({"code": {"type": "string"}}), json!(["code"])),
                json!({"openWorldHint": true}),
            ),
        };
        raw::raw(&Definition { name: self.name(), description, input_schema: schema, annotations })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    name: &'static str,
    description: &'static str,
    input_schema: Value,
    annotations: Value,
}

/// What `portal_toggle_single_server` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toggle {
    pub server: ServerId,
    pub on: bool,
}

/// What `portal_execute` was asked to call.
#[derive(Debug, Clone)]
pub struct Execute {
    pub name: String,
    /// A JSON object.
    pub arguments: Option<Box<RawValue>>,
}

fn invalid(message: &str) -> RpcError {
    RpcError::new(ErrorCode::InvalidParams, message)
}

fn arguments(arguments: Option<&RawValue>) -> Result<Object<'_>, RpcError> {
    let text = arguments.map_or("{}", RawValue::get);
    Object::parse(text).map_err(|_| invalid("arguments must be an object"))
}

impl Toggle {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When they are not those of the tool, or name no server of the view.
    pub fn read(raw: Option<&RawValue>, view: &View) -> Result<Self, RpcError> {
        let object = arguments(raw)?;
        let on = match object.text("action").as_deref() {
            Some("toggle") => true,
            Some("untoggle") => false,
            _ => return Err(invalid("action must be toggle or untoggle")),
        };
        let server = object.text("server_id").and_then(|id| ServerId::parse(&id));
        let known = server.filter(|id| view.servers().any(|(server, _)| server.id == *id));
        Ok(Self { server: known.ok_or_else(|| invalid("Unknown server"))?, on })
    }
}

impl Execute {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When they are not those of the tool. Whether the tool exists is for the view to say.
    pub fn read(raw: Option<&RawValue>) -> Result<Self, RpcError> {
        let object = arguments(raw)?;
        let name = object.text("name").ok_or_else(|| invalid("name must be the name of a tool"))?.into_owned();
        let arguments = object.value("arguments").map(ToOwned::to_owned);
        if arguments.as_ref().is_some_and(|arguments| !arguments.get().starts_with('{')) {
            return Err(invalid("arguments must be an object"));
        }
        Ok(Self { name, arguments })
    }
}

/// Reads `code`, the one argument of both tools of Code Mode.
///
/// # Errors
/// When it is missing, empty or longer than a script may be.
pub fn read_code(raw: Option<&RawValue>) -> Result<String, RpcError> {
    let object = arguments(raw)?;
    let code = object.text("code").ok_or_else(|| invalid("code must be a text"))?.into_owned();
    if code.trim().is_empty() || code.len() > codemode::MAX_CODE {
        return Err(invalid("code must be 1 byte to 64 KiB"));
    }
    Ok(code)
}

/// A server as `portal_list_servers` tells of it.
pub struct Listed<'a> {
    pub server: &'a ServerView,
    pub on: bool,
    pub standing: Standing,
    /// Where its person changes how it stands.
    pub link: Option<&'a str>,
}

/// Answers `portal_list_servers`.
#[must_use]
pub fn list_servers(servers: &[Listed<'_>]) -> Box<RawValue> {
    let entry = |listed: &Listed<'_>| {
        let status = match listed.standing {
            Standing::Ready => "ready",
            Standing::SignInAgain => "sign_in_again",
            Standing::Unreachable => "unreachable",
        };
        let server = listed.server;
        let mut entry =
            json!({"server_id": server.id.as_str(), "name": server.name, "enabled": listed.on, "status": status});
        if let Some(link) = listed.link {
            entry["sign_in_at"] = link.into();
        }
        entry
    };
    let servers: Vec<_> = servers.iter().map(entry).collect();
    if servers.is_empty() {
        return text_result("No allowed servers available, check your Zero Trust Policies");
    }
    text_result(&Value::from(servers).to_string())
}

/// Answers `portal_query_tools`: the full definitions of what matches, as many as one answer holds.
///
/// # Errors
/// When the pattern is missing or no regular expression that is run here.
pub fn query_tools(raw: Option<&RawValue>, view: &View) -> Result<Box<RawValue>, RpcError> {
    let object = arguments(raw)?;
    let pattern = object.text("pattern").ok_or_else(|| invalid("pattern must be a regular expression"))?;
    if pattern.len() > MAX_PATTERN {
        return Err(invalid("pattern must be at most 256 bytes"));
    }
    // The engine takes linear time; a bound on its size keeps the constant small.
    let pattern = RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .size_limit(PATTERN_MEMORY)
        .dfa_size_limit(PATTERN_MEMORY)
        .build()
        .map_err(|_| invalid("pattern is not a regular expression of the supported kind"))?;
    let mut found = Vec::new();
    let mut more = 0_usize;
    for target in view.list(Kind::Tool) {
        let texts = [Some(target.exposed), target.definition.title.as_deref(), target.description()];
        if !texts.into_iter().flatten().any(|text| pattern.is_match(text)) {
            continue;
        }
        if found.len() < MAX_MATCHES {
            found.push(target.render(Surface::Full));
        } else {
            more += 1;
        }
    }
    let list = raw::raw(&found);
    let text = if more == 0 {
        list.get().to_owned()
    } else {
        format!("{}\n{more} more match; use a narrower pattern.", list.get())
    };
    Ok(text_result(&text))
}

/// Makes the result of a tool that answers with text.
#[must_use]
pub fn text_result(text: &str) -> Box<RawValue> {
    raw::raw(&json!({"content": [{"type": "text", "text": text}], "isError": false}))
}

/// A page a person has to visit before a request can be answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlElicitation {
    pub elicitation_id: String,
    pub url: String,
    pub message: String,
}

/// Makes the error that sends a person to pages, for clients that can open them.
#[must_use]
pub fn url_elicitation_required(message: &str, pages: &[UrlElicitation]) -> RpcError {
    let pages: Vec<_> = pages
        .iter()
        .map(|page| {
            json!({"mode": "url", "elicitationId": page.elicitation_id, "url": page.url, "message": page.message})
        })
        .collect();
    RpcError::with(ErrorCode::UrlElicitationRequired, message, &json!({"elicitations": pages}))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixture::{id, real};
    use crate::view::Toggles;

    fn view() -> View {
        let servers =
            ["memory", "filesystem"].map(|name| Arc::new(ServerView::new(id(name), name.to_uppercase(), real(name))));
        let off: Toggles = [(id("memory"), false)].into();
        View::merge(servers, &off, |_, _| true)
    }

    fn json(value: &Value) -> Box<RawValue> {
        raw::raw(value)
    }

    fn text(result: &RawValue) -> String {
        let result: Value = serde_json::from_str(result.get()).unwrap();
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn each_surface_has_its_own_tools_and_each_is_found_by_name() {
        for (surface, count) in
            [(Surface::Full, 3), (Surface::MinimizeTools, 4), (Surface::SearchAndExecute, 2), (Surface::CodeMode, 2)]
        {
            assert_eq!(BuiltIn::of(surface).len(), count);
        }
        for tool in BuiltIn::ALL {
            let definition: Value = serde_json::from_str(tool.definition().get()).unwrap();
            assert_eq!(BuiltIn::named(definition["name"].as_str().unwrap()), Some(tool));
            assert_eq!(definition["inputSchema"]["type"], "object");
        }
        assert_eq!(BuiltIn::named("portal_other"), None);
    }

    fn listed(view: &View) -> Vec<Listed<'_>> {
        view.servers()
            .map(|(server, on)| {
                let missing = server.id == id("memory");
                let standing = if missing { Standing::SignInAgain } else { Standing::Ready };
                Listed { server, on, standing, link: missing.then_some("https://x/") }
            })
            .collect()
    }

    #[test]
    fn servers_are_listed_with_their_state() {
        assert_eq!(
            serde_json::from_str::<Value>(&text(&list_servers(&listed(&view())))).unwrap(),
            json!([
                {"server_id": "memory", "name": "MEMORY", "enabled": false, "status": "sign_in_again", "sign_in_at": "https://x/"},
                {"server_id": "filesystem", "name": "FILESYSTEM", "enabled": true, "status": "ready"},
            ])
        );
        let nobody = View::merge([], &Toggles::new(), |_, _| true);
        assert!(text(&list_servers(&listed(&nobody))).starts_with("No allowed servers available"));
    }

    #[test]
    fn a_toggle_names_a_server_of_the_view() {
        let toggle = |value: Value| Toggle::read(Some(&json(&value)), &view());
        assert_eq!(
            toggle(json!({"server_id": "memory", "action": "toggle"})).unwrap(),
            Toggle { server: id("memory"), on: true }
        );
        assert!(!toggle(json!({"server_id": "filesystem", "action": "untoggle"})).unwrap().on);
        for value in [
            json!({"server_id": "other", "action": "toggle"}),
            json!({"server_id": "memory", "action": "on"}),
            json!({"action": "toggle"}),
            json!([]),
        ] {
            assert_eq!(toggle(value.clone()).unwrap_err().code, -32602, "{value}");
        }
    }

    #[test]
    fn tools_are_found_by_a_pattern_among_those_the_person_sees() {
        let names = |pattern: &str| -> Vec<String> {
            let found = query_tools(Some(&json(&json!({"pattern": pattern}))), &view()).unwrap();
            let found: Vec<Value> = serde_json::from_str(&text(&found)).unwrap();
            assert!(found.iter().all(|tool| tool["inputSchema"]["type"] == "object"));
            found.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("^FILESYSTEM_read_(text|media)"), ["filesystem_read_media_file", "filesystem_read_text_file"]);
        assert!(names("entities").is_empty(), "memory is switched off");
        assert_eq!(names("deprecated"), ["filesystem_read_file"]);
        for pattern in ["(", "(?:a{100}){100}{100}", &"x".repeat(300)] {
            let refused = query_tools(Some(&json(&json!({"pattern": pattern}))), &view());
            assert_eq!(refused.unwrap_err().code, -32602, "{pattern}");
        }
        // A pattern that makes backtracking engines hang.
        assert!(names("^(([a-z])+.)+[A-Z]([a-z])+$~").is_empty());
    }

    #[test]
    fn more_matches_than_one_answer_holds_are_counted() {
        let servers = ["playwright", "filesystem"].map(|name| Arc::new(ServerView::new(id(name), name, real(name))));
        let view = View::merge(servers, &Toggles::new(), |_, _| true);
        let found = query_tools(Some(&json(&json!({"pattern": ""}))), &view).unwrap();
        assert!(text(&found).ends_with("\n14 more match; use a narrower pattern."));
    }

    #[test]
    fn arguments_of_execute_and_code_are_read_or_refused() {
        let execute = Execute::read(Some(&json(&json!({"name": "a_b", "arguments": {"x": 1.5}})))).unwrap();
        assert_eq!((execute.name.as_str(), execute.arguments.unwrap().get()), ("a_b", r#"{"x":1.5}"#));
        assert!(Execute::read(Some(&json(&json!({"name": "a"})))).unwrap().arguments.is_none());
        assert!(Execute::read(Some(&json(&json!({"name": "a", "arguments": []})))).is_err());
        assert!(Execute::read(None).is_err());
        assert_eq!(read_code(Some(&json(&json!({"code": "1"})))).unwrap(), "1");
        for value in [json!({}), json!({"code": " "}), json!({"code": 1}), json!({"code": "x".repeat(65_537)})] {
            assert!(read_code(Some(&json(&value))).is_err());
        }
    }

    #[test]
    fn a_person_is_sent_to_a_page_with_the_error_for_it() {
        let page =
            UrlElicitation { elicitation_id: "e".into(), url: "https://p/authorize".into(), message: "m".into() };
        let error = url_elicitation_required("choose", &[page]);
        assert_eq!(error.code, -32042);
        assert_eq!(
            serde_json::from_str::<Value>(error.data.unwrap().get()).unwrap(),
            json!({"elicitations": [{"mode": "url", "elicitationId": "e", "url": "https://p/authorize", "message": "m"}]})
        );
    }
}
