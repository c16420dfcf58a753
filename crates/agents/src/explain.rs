//! What one person sees of a portal, and why, asked by an administrator.
//!
//! It asks the view and the rules that answer the person. Invariant: what it calls visible is what a client of that person
//! is shown, as far as the person's last sign-in still holds.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use mcp::catalog::{Definition, Kind};
use mcp::explanation::{SeenDefinition, SeenServer, Why};
use mcp::names::ServerId;
use mcp::view::{ServerView, Toggles, View};
use policy::facts::mcp::McpFacts;
use types::ApplicationId;

use crate::facts::{self, About, PersonFacts};
use crate::plane::Agents;
use crate::rules::{self, Condition, Verdict};
use crate::snapshot::{Portal, Served, Way};
use crate::visit::Visitor;

/// A definition in the set of those that are seen: its server's place in the view, kind and key.
type Place<'a> = (&'a ServerId, Kind, &'a str);

impl Agents {
    /// Says what a visitor sees of a portal; `open` are the applications of servers that let them in. `None` where the
    /// portal is not in force.
    #[must_use]
    pub fn explain(
        &self,
        portal: &str,
        visitor: &Visitor,
        source: IpAddr,
        open: &BTreeSet<ApplicationId>,
    ) -> Option<Vec<SeenServer>> {
        let snapshot = self.snapshot();
        let portal = snapshot.portals.values().find(|found| found.settings.id.as_str() == portal)?;
        let caller = PersonFacts::of(visitor);
        let asker = Asker { portal, caller: &caller, source };
        let servers = portal.servers.iter().filter(|served| open.contains(&served.application));
        let views = servers.map(|served| std::sync::Arc::clone(&served.view));
        let view = View::merge(views, &Toggles::default(), |server, definition| {
            portal.server(&server.id).is_some_and(|served| asker.blocking(served, definition).is_none())
        });
        let seen: HashSet<Place<'_>> = Kind::ALL
            .into_iter()
            .flat_map(|kind| view.list(kind).map(move |target| (&target.server.id, kind, &*target.definition.key)))
            .collect();
        Some(portal.servers.iter().map(|served| asker.server(served, open, &seen)).collect())
    }
}

/// Who asks the rules, about what.
struct Asker<'a> {
    portal: &'a Portal,
    caller: &'a PersonFacts<'a>,
    source: IpAddr,
}

impl Asker<'_> {
    fn server(&self, served: &Served, open: &BTreeSet<ApplicationId>, seen: &HashSet<Place<'_>>) -> SeenServer {
        let is_open = open.contains(&served.application);
        let kinds = Kind::ALL.into_iter().filter(|_| is_open);
        let definitions = kinds.flat_map(|kind| served.view.catalog.list(kind));
        let broken = if let Way::Broken(why) = &served.way { Some(why.clone()) } else { None };
        SeenServer {
            id: served.id.to_string(),
            name: served.server.name.clone(),
            open: is_open,
            on: !served.view.default_disabled,
            broken,
            definitions: definitions.map(|definition| self.definition(served, definition, seen)).collect(),
        }
    }

    fn definition(&self, served: &Served, definition: &Definition, seen: &HashSet<Place<'_>>) -> SeenDefinition {
        let view = &served.view;
        let place = (definition.kind, definition.key.clone());
        let why = if seen.contains(&(&served.id, definition.kind, &*definition.key)) {
            self.visible(served, definition)
        } else if is_disabled(view, &place) {
            Why::Disabled
        } else if view.held.contains(&place) {
            Why::Held
        } else if let Some(rule) = self.blocking(served, definition) {
            Why::Rule(rule)
        } else if view.default_disabled {
            Why::Off
        } else {
            Why::Taken
        };
        SeenDefinition {
            kind: definition.kind.into(),
            key: definition.key.to_string(),
            exposed: view.exposed_name(definition),
            why,
        }
    }

    /// The rule that hides a definition whatever the arguments.
    fn blocking(&self, served: &Served, definition: &Definition) -> Option<String> {
        let lists = [&*self.portal.settings.rules, &*served.server.rules];
        match rules::visible(lists, &self.facts(served, definition)) {
            Verdict::Block { rule, .. } => Some(rule),
            Verdict::Allow => None,
        }
    }

    fn visible(&self, served: &Served, definition: &Definition) -> Why {
        let lists = [&*self.portal.settings.rules, &*served.server.rules];
        let ruling = rules::decide_both(lists, &self.facts(served, definition));
        match ruling.verdict {
            // The definition is seen, so what is not known are the arguments of a call.
            Verdict::Block { rule, .. } => Why::Depends(rule),
            Verdict::Allow => {
                let conditions = ruling.conditions.iter().map(condition).collect();
                Why::Visible { rules: ruling.by, conditions }
            }
        }
    }

    fn facts<'a>(&'a self, served: &'a Served, definition: &'a Definition) -> McpFacts<'a> {
        let about = About {
            portal: self.portal.settings.id.as_str(),
            server: Some(served.id.as_str()),
            method: facts::method_of(definition.kind),
            subject: facts::subject(definition),
            arguments: None,
            code_mode: false,
        };
        facts::without_client(self.caller, self.source, about)
    }
}

fn is_disabled(view: &ServerView, place: &(Kind, Box<str>)) -> bool {
    view.overrides.get(place).is_some_and(|change| change.enabled == Some(false))
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Approval { rule, .. } => format!("{rule}: a person's confirmation"),
        Condition::Factor { rule, .. } => format!("{rule}: a second factor"),
        Condition::Worker { rule, script, .. } => format!("{rule}: the Worker {script}"),
    }
}
