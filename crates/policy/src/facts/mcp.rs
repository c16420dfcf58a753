//! What a portal knows about one call, in the shape it already holds it.
//!
//! Borrowed values and, for the arguments, an index by path; decides nothing. Invariants: a field about a person, tool,
//! prompt or resource that a call does not have is absent; arguments too many to index are unknown, so that no rule that
//! reads them can be passed by making them many.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use expr::{Array, ArrayRef, Fact, Facts, FieldId, Map, MapRef, ValueRef};
use serde_json::Value;

use crate::facts::Person;
use crate::hook::mcp::id;

/// Most values the arguments of one call are indexed as; one value counts once for every part of its path.
pub const MOST_VALUES: usize = 16_384;

/// What the server says of a tool, with the protocol's defaults where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolHints {
    pub read_only: bool,
    pub destructive: bool,
    pub idempotent: bool,
    pub open_world: bool,
}

impl ToolHints {
    /// Reads the member `annotations` of a tool's definition.
    #[must_use]
    pub fn read(annotations: Option<&Value>) -> Self {
        let hint = |name: &str, default: bool| {
            annotations.and_then(|members| members.get(name)).and_then(Value::as_bool).unwrap_or(default)
        };
        let read_only = hint("readOnlyHint", false);
        Self {
            read_only,
            destructive: hint("destructiveHint", true) && !read_only,
            idempotent: hint("idempotentHint", false),
            open_world: hint("openWorldHint", true),
        }
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A tool, by its server's name for it.
    Tool(&'a str, ToolHints),
    /// A prompt, by its server's name for it.
    Prompt(&'a str),
    /// A resource, by its server's URI for it.
    Resource(&'a str),
    /// None of these.
    Nothing,
}

/// What is known about one call.
#[derive(Clone, Copy)]
pub struct McpFacts<'a> {
    /// `None`: a program with a service token.
    pub person: Option<Person<'a>>,
    /// Of the person's sign-in, each as `name=value`.
    pub oidc_claims: &'a [String],
    /// The ids of the providers the person passed.
    pub login_methods: &'a [String],
    /// RFC 8176 words.
    pub amr: &'a [String],
    /// `low`, `medium`, `high` or `unscored`; `None`: nothing tells.
    pub risk: Option<&'a str>,
    /// `None`: nothing tells.
    pub posture_passed: Option<&'a [String]>,
    pub service_token: Option<&'a str>,
    pub src_ip: IpAddr,
    /// `None`: nothing tells.
    pub country: Option<&'a str>,
    /// Name and version, as the client says.
    pub client: (Option<&'a str>, Option<&'a str>),
    pub portal: &'a str,
    /// `None`: the portal answers itself.
    pub server: Option<&'a str>,
    pub method: &'a str,
    pub subject: Subject<'a>,
    /// `None`: too many to index.
    pub arguments: Option<&'a Arguments<'a>>,
    pub code_mode: bool,
}

impl Facts for McpFacts<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        match field {
            id::IDENTITY_EMAIL
            | id::IDENTITY_NAME
            | id::IDENTITY_ID
            | id::IDENTITY_GROUPS_ID
            | id::IDENTITY_GROUPS_NAME
            | id::IDENTITY_GROUPS_EMAIL
            | id::IDENTITY_OIDC
            | id::IDENTITY_LOGIN_METHODS
            | id::IDENTITY_AMR
            | id::RISK => self.person.as_ref().map_or(Fact::Absent, |person| self.person(person, field)),
            id::POSTURE_PASSED => self.posture_passed.map_or(Fact::Unknown, strings),
            id::SERVICE_TOKEN => optional(self.service_token),
            id::SRC_IP => Fact::Known(ValueRef::Ip(self.src_ip.to_canonical())),
            id::SRC_COUNTRY => self.country.map_or(Fact::Unknown, text),
            id::CLIENT_NAME => optional(self.client.0),
            id::CLIENT_VERSION => optional(self.client.1),
            id::PORTAL => text(self.portal),
            id::SERVER => optional(self.server),
            id::METHOD => text(self.method),
            id::ARGUMENTS => {
                self.arguments.map_or(Fact::Unknown, |all| Fact::Known(ValueRef::Map(MapRef::Custom(all))))
            }
            id::CODE_MODE => Fact::Known(ValueRef::Bool(self.code_mode)),
            _ => self.subject(field),
        }
    }
}

impl McpFacts<'_> {
    fn person<'r>(&'r self, person: &'r Person<'_>, field: FieldId) -> Fact<'r> {
        match field {
            id::IDENTITY_EMAIL => text(person.email),
            id::IDENTITY_NAME => text(person.name),
            id::IDENTITY_ID => text(person.id),
            id::IDENTITY_GROUPS_ID => strings(person.group_ids),
            id::IDENTITY_GROUPS_NAME => strings(person.group_names),
            id::IDENTITY_GROUPS_EMAIL => strings(person.group_emails),
            id::IDENTITY_OIDC => strings(self.oidc_claims),
            id::IDENTITY_LOGIN_METHODS => strings(self.login_methods),
            id::IDENTITY_AMR => strings(self.amr),
            _ => self.risk.map_or(Fact::Unknown, text),
        }
    }

    fn subject(&self, field: FieldId) -> Fact<'_> {
        match (field, self.subject) {
            (id::TOOL_NAME, Subject::Tool(name, _))
            | (id::PROMPT_NAME, Subject::Prompt(name))
            | (id::RESOURCE_URI, Subject::Resource(name)) => text(name),
            (id::TOOL_READ_ONLY, Subject::Tool(_, hints)) => flag(hints.read_only),
            (id::TOOL_DESTRUCTIVE, Subject::Tool(_, hints)) => flag(hints.destructive),
            (id::TOOL_IDEMPOTENT, Subject::Tool(_, hints)) => flag(hints.idempotent),
            (id::TOOL_OPEN_WORLD, Subject::Tool(_, hints)) => flag(hints.open_world),
            _ => Fact::Absent,
        }
    }
}

fn text(text: &str) -> Fact<'_> {
    Fact::Known(ValueRef::from(text))
}

fn optional(value: Option<&str>) -> Fact<'_> {
    value.map_or(Fact::Absent, text)
}

const fn flag(value: bool) -> Fact<'static> {
    Fact::Known(ValueRef::Bool(value))
}

fn strings(items: &[String]) -> Fact<'_> {
    Fact::Known(ValueRef::Array(ArrayRef::Strings(items)))
}

/// The arguments of a call by path: `issue.fields.labels` holds every text, number and truth value at or below it, and
/// the empty path all there are. Elements of a list share the path of the list; in a name, `\.` stands for a dot.
#[derive(Debug, Default)]
pub struct Arguments<'a>(Vec<(String, Texts<'a>)>);

#[derive(Debug, Default)]
struct Texts<'a>(Vec<Cow<'a, str>>);

impl<'a> Arguments<'a> {
    /// Indexes the arguments of a call; `None`: they are too many.
    #[must_use]
    pub fn index(arguments: &'a Value) -> Option<Self> {
        let mut paths: BTreeMap<String, Texts<'a>> = BTreeMap::new();
        let mut left = MOST_VALUES;
        let mut pending = vec![(vec![String::new()], arguments)];
        while let Some((above, value)) = pending.pop() {
            let found = match value {
                Value::Null => continue,
                Value::Object(members) => {
                    for (name, member) in members {
                        left = left.checked_sub(above.len())?;
                        pending.push((below(&above, name), member));
                    }
                    continue;
                }
                Value::Array(items) => {
                    for item in items {
                        left = left.checked_sub(above.len())?;
                        pending.push((above.clone(), item));
                    }
                    continue;
                }
                Value::String(text) => Cow::Borrowed(text.as_str()),
                Value::Bool(true) => Cow::Borrowed("true"),
                Value::Bool(false) => Cow::Borrowed("false"),
                Value::Number(number) => Cow::Owned(number.to_string()),
            };
            for path in above {
                paths.entry(path).or_default().0.push(found.clone());
            }
        }
        Some(Self(paths.into_iter().collect()))
    }
}

/// The paths a member's values stand under: those of what holds it, and its own.
fn below(above: &[String], name: &str) -> Vec<String> {
    let name = part(name);
    let own = match above.last() {
        Some(last) if !last.is_empty() => format!("{last}.{name}"),
        _ => name.into_owned(),
    };
    above.iter().cloned().chain([own]).collect()
}

/// A name as part of a path. No two members share a path, or a caller could put a harmless value beside the one that counts.
fn part(name: &str) -> Cow<'_, str> {
    match name {
        "" => Cow::Borrowed("\\"),
        _ if name.contains(['.', '\\']) => Cow::Owned(name.replace('\\', "\\\\").replace('.', "\\.")),
        _ => Cow::Borrowed(name),
    }
}

impl Array for Texts<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Option<ValueRef<'_>> {
        self.0.get(index).map(|text| ValueRef::from(&**text))
    }
}

impl Map for Arguments<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        let index = self.0.binary_search_by(|(path, _)| path.as_bytes().cmp(key)).ok()?;
        self.entry(index).map(|(_, value)| value)
    }

    fn entry(&self, index: usize) -> Option<(&[u8], ValueRef<'_>)> {
        let (path, texts) = self.0.get(index)?;
        Some((path.as_bytes(), ValueRef::Array(ArrayRef::Custom(texts))))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use expr::{Expression, Limits, Outcome};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Arguments, MOST_VALUES, McpFacts, Subject, ToolHints};
    use crate::facts::Person;
    use crate::hook::mcp::scheme;

    fn facts<'a>(subject: Subject<'a>, arguments: Option<&'a Arguments<'a>>) -> McpFacts<'a> {
        McpFacts {
            person: None,
            oidc_claims: &[],
            login_methods: &[],
            amr: &[],
            risk: None,
            posture_passed: None,
            service_token: None,
            src_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            country: None,
            client: (Some("agent"), None),
            portal: "staff",
            server: Some("jira"),
            method: "tools/call",
            subject,
            arguments,
            code_mode: false,
        }
    }

    fn outcome(text: &str, facts: &McpFacts<'_>) -> Outcome {
        Expression::compile(scheme(), text, &(), &Limits::default()).unwrap().evaluate(facts)
    }

    #[test]
    fn a_call_is_seen_as_it_is() {
        let annotations = json!({"readOnlyHint": true});
        let arguments = json!({
            "issue": {"project": "HR", "labels": ["a", {"name": "b"}], "points": 3},
            "draft": true, "note": null, "a.b": "dotted", "": {"draft": "x"},
        });
        let indexed = Arguments::index(&arguments).unwrap();
        let groups = ["eng".to_owned()];
        let person = Person { id: "7", email: "ana@example.com", group_names: &groups, ..Person::default() };
        let tool = Subject::Tool("get_issue", ToolHints::read(Some(&annotations)));
        let seen = McpFacts { person: Some(person), ..facts(tool, Some(&indexed)) };
        for (text, expected) in [
            ("mcp.server.id == \"jira\" and mcp.portal.id == \"staff\" and mcp.method == \"tools/call\"", true),
            ("mcp.tool.name == \"get_issue\"", true),
            ("mcp.tool.annotations.readOnlyHint", true),
            ("mcp.tool.annotations.destructiveHint", false),
            ("mcp.tool.annotations.openWorldHint", true),
            ("any(mcp.arguments[\"issue.project\"][*] == \"HR\")", true),
            ("any(mcp.arguments[\"issue\"][*] == \"b\")", true),
            ("any(mcp.arguments[\"issue.labels.name\"][*] == \"a\")", false),
            ("any(mcp.arguments[\"issue.points\"][*] == \"3\")", true),
            ("any(mcp.arguments[\"draft\"][*] == \"true\")", true),
            ("any(mcp.arguments[\"draft\"][*] == \"x\")", false),
            ("any(mcp.arguments[\"\"][*] contains \"H\")", true),
            ("any(mcp.arguments[\"nothing\"][*] == \"x\")", false),
            ("any(mcp.arguments[\"a\\\\.b\"][*] == \"dotted\")", true),
            ("any(mcp.arguments[\"a.b\"][*] == \"dotted\")", false),
            ("identity.email == \"ana@example.com\" and any(identity.groups.name[*] == \"eng\")", true),
            ("http.conn.src_ip in {192.0.2.0/24}", true),
            ("mcp.client.name == \"agent\"", true),
            ("mcp.client.version == \"1\"", false),
            ("mcp.prompt.name == \"get_issue\" or mcp.resource.uri == \"get_issue\"", false),
            ("mcp.code_mode", false),
        ] {
            assert_eq!(outcome(text, &seen), if expected { Outcome::True } else { Outcome::False }, "{text}");
        }
    }

    #[test]
    fn a_silent_server_is_taken_for_one_that_may_destroy() {
        let hints = ToolHints::read(None);
        assert!(hints.destructive && hints.open_world && !hints.read_only && !hints.idempotent);
        assert_eq!(ToolHints::read(Some(&json!({"readOnlyHint": "yes"}))), hints);
    }

    #[test]
    fn what_a_call_does_not_have_is_absent_and_what_nobody_tells_is_unknown() {
        let none = Arguments::default();
        let seen = facts(Subject::Prompt("review"), Some(&none));
        assert_eq!(outcome("mcp.tool.annotations.destructiveHint", &seen), Outcome::False);
        assert_eq!(outcome("identity.email == \"\"", &seen), Outcome::False);
        assert!(matches!(outcome("any(device_posture.checks.passed[*] == \"x\")", &seen), Outcome::Needs(_)));
    }

    #[test]
    fn arguments_too_many_to_index_are_unknown() {
        let many = Value::Array(vec![json!(1); MOST_VALUES + 1]);
        assert!(Arguments::index(&many).is_none());
        let mut deep = json!("x");
        for _ in 0..120 {
            deep = json!({"a": deep});
        }
        assert_eq!(Arguments::index(&deep).unwrap().0.len(), 121);
        let wide = Value::Array(vec![deep; 200]);
        assert!(Arguments::index(&wide).is_none());
        let seen = facts(Subject::Nothing, None);
        assert!(matches!(outcome("any(mcp.arguments[\"a\"][*] == \"x\")", &seen), Outcome::Needs(_)));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z.]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z.]{0,3}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    fn texts_in(value: &Value) -> usize {
        match value {
            Value::Object(members) => members.values().map(texts_in).sum(),
            Value::Array(items) => items.iter().map(texts_in).sum(),
            Value::Null => 0,
            Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        }
    }

    proptest! {
        #[test]
        fn no_text_escapes_the_empty_path_and_no_path_holds_more(value in json_value()) {
            let indexed = Arguments::index(&value).unwrap();
            let all = texts_in(&value);
            let of = |path: &str| indexed.0.iter().find(|(known, _)| known == path).map_or(0, |(_, texts)| texts.0.len());
            prop_assert_eq!(of(""), all);
            prop_assert!(indexed.0.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
