//! What rules are told about a call.
//!
//! Invariant: nothing of it is what a client says of itself, but `mcp.client.*`, which is named so.

use std::net::IpAddr;

use mcp::catalog::{Definition, Kind};
use policy::facts::Person as PersonOfPolicy;
use policy::facts::mcp::{Arguments, McpFacts, Subject, ToolHints};
use serde_json::{Map, Value, json};

use crate::session::Session;
use crate::visit::Visitor;

/// A caller, in the shape facts borrow from.
pub(crate) struct PersonFacts<'a> {
    visitor: &'a Visitor,
    id: String,
    email: String,
}

impl<'a> PersonFacts<'a> {
    pub(crate) fn of(visitor: &'a Visitor) -> Self {
        let person = visitor.person();
        Self {
            visitor,
            id: person.map(|person| person.user.to_string()).unwrap_or_default(),
            email: person.map(|person| person.email.as_str().to_lowercase()).unwrap_or_default(),
        }
    }
}

/// What a call is about.
pub(crate) struct About<'a> {
    pub(crate) portal: &'a str,
    pub(crate) server: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) subject: Subject<'a>,
    /// `None`: not known, or too many.
    pub(crate) arguments: Option<&'a Arguments<'a>>,
    pub(crate) code_mode: bool,
}

pub(crate) fn facts<'a>(
    caller: &'a PersonFacts<'a>,
    session: &'a Session,
    source: IpAddr,
    about: About<'a>,
) -> McpFacts<'a> {
    let text = |text: &'a String| (!text.is_empty()).then_some(text.as_str());
    let client = (text(&session.client.name), text(&session.client.version));
    McpFacts { client, ..without_client(caller, source, about) }
}

/// What is known of a call before a client makes it.
pub(crate) fn without_client<'a>(caller: &'a PersonFacts<'a>, source: IpAddr, about: About<'a>) -> McpFacts<'a> {
    let person = caller.visitor.person();
    McpFacts {
        person: person.map(|person| PersonOfPolicy {
            id: &caller.id,
            email: &caller.email,
            name: &person.name,
            group_ids: &person.group_ids,
            group_names: &person.group_names,
            group_emails: &person.group_emails,
        }),
        oidc_claims: person.map(|person| person.claims.as_slice()).unwrap_or_default(),
        login_methods: person.map(|person| person.login_methods.as_slice()).unwrap_or_default(),
        amr: person.map(|person| person.amr.as_slice()).unwrap_or_default(),
        risk: None,
        posture_passed: None,
        service_token: match caller.visitor {
            Visitor::Program { name, .. } => Some(name),
            Visitor::Nobody | Visitor::Person(_) => None,
        },
        src_ip: source,
        country: None,
        client: (None, None),
        portal: about.portal,
        server: about.server,
        method: about.method,
        subject: about.subject,
        arguments: about.arguments,
        code_mode: about.code_mode,
    }
}

/// What Workers are told of a caller in `request.cf`: `identity` of a person and their agents, `serviceToken` of a program.
pub(crate) fn caller(visitor: &Visitor) -> Map<String, Value> {
    let (mut identity, mut service_token) = (Value::Null, Value::Null);
    match visitor {
        Visitor::Nobody => {}
        Visitor::Program { id, name } => service_token = json!({"id": id, "clientId": name}),
        Visitor::Person(person) => {
            let groups = person.group_names.iter().enumerate().map(|(at, name)| {
                json!({"id": person.group_ids.get(at), "name": name, "email": person.group_emails.get(at)})
            });
            let groups: Vec<Value> = groups.collect();
            identity = json!({"id": person.user, "email": person.email, "name": person.name, "groups": groups});
        }
    }
    Map::from_iter([("identity".to_owned(), identity), ("serviceToken".to_owned(), service_token)])
}

/// The method that uses a definition.
pub(crate) fn method_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tools/call",
        Kind::Prompt => "prompts/get",
        Kind::Resource | Kind::ResourceTemplate => "resources/read",
    }
}

pub(crate) fn subject(definition: &Definition) -> Subject<'_> {
    match definition.kind {
        Kind::Tool => Subject::Tool(&definition.key, hints(definition)),
        Kind::Prompt => Subject::Prompt(&definition.key),
        Kind::Resource | Kind::ResourceTemplate => Subject::Resource(&definition.key),
    }
}

/// What a tool says of itself, with the protocol's defaults where it is silent.
pub(crate) fn hints(definition: &Definition) -> ToolHints {
    let said = definition.annotations;
    let read_only = said.read_only_hint.unwrap_or(false);
    ToolHints {
        read_only,
        destructive: said.destructive_hint.unwrap_or(true) && !read_only,
        idempotent: said.idempotent_hint.unwrap_or(false),
        open_world: said.open_world_hint.unwrap_or(true),
    }
}
