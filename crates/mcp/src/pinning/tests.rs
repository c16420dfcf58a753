//! What waits, what is shown meanwhile, and what an administrator's word does.

use serde_json::{Value, json};

use super::*;
use crate::detector::Reason;
use crate::raw::raw;

fn catalog(tools: &[Value]) -> Catalog {
    let mut catalog = Catalog::default();
    let items: Vec<_> = tools.iter().map(raw).collect();
    catalog.extend(Kind::Tool, items.iter().map(|item| &**item));
    catalog
}

fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}

/// Flags what is called poison.
fn inspect(definition: &Definition) -> Vec<Flag> {
    let bad = definition.json.get().contains("poison");
    bad.then(|| Flag { reason: Reason::Override, place: String::new(), found: String::new() }).into_iter().collect()
}

/// A server through time.
struct Server {
    ledger: Ledger,
    listed: Catalog,
    pinning: Pinning,
}

impl Server {
    fn new(pinning: Pinning) -> Self {
        Self { ledger: Ledger::default(), listed: Catalog::default(), pinning }
    }

    fn lists(&mut self, tools: &[Value]) -> &mut Self {
        let now = catalog(tools);
        let listing = Listing { pinning: self.pinning, before: &self.listed, now: &now, at: "2026-01-01T00:00:00Z" };
        // As it is stored and read in between.
        let stored = std::mem::take(&mut self.ledger).write();
        self.ledger = Ledger::read(Some(&stored)).unwrap().settled(listing, inspect);
        self.listed = now;
        self
    }

    /// What people see: names with descriptions.
    fn shown(&self) -> Vec<(String, String)> {
        let effective = effective(&self.listed, &self.ledger, self.pinning);
        let list = effective.catalog.list(Kind::Tool).iter();
        list.filter(|tool| !effective.held.contains(&(Kind::Tool, tool.key.clone())))
            .map(|tool| (tool.key.to_string(), tool.description.as_deref().unwrap_or_default().to_owned()))
            .collect()
    }

    fn sees(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(self.shown(), expected, "{:?}", self.ledger);
    }

    fn waiting(&self) -> Vec<&str> {
        self.ledger.waiting(self.pinning).map(|pin| pin.key.as_str()).collect()
    }

    fn choice(&self, key: &str) -> Choice {
        let pin = self.ledger.find(KindWord::Tool, key).unwrap();
        Choice { kind: KindWord::Tool, key: key.to_owned(), digest: pin.waiting.clone().unwrap().digest }
    }
}

#[test]
fn the_first_answer_is_trusted_and_what_comes_later_waits() {
    let mut server = Server::new(Pinning::All);
    server.lists(&[tool("a", "one")]).sees(&[("a", "one")]);
    server.lists(&[tool("a", "one"), tool("b", "two")]).sees(&[("a", "one")]);
    assert_eq!(server.waiting(), ["b"]);
    let choice = server.choice("b");
    server.ledger.approve(&choice, "ada", "now").unwrap();
    server.sees(&[("a", "one"), ("b", "two")]);
    assert_eq!(server.ledger.approve(&choice, "ada", "now"), Err(ChoiceError::NotWaiting));
}

#[test]
fn changed_words_leave_the_approved_definition_and_changed_conduct_leaves_none() {
    let mut server = Server::new(Pinning::All);
    server.lists(&[tool("a", "one"), tool("b", "two")]);
    let mut other = tool("b", "two");
    other["inputSchema"]["properties"] = json!({"target": {"type": "string"}});
    server.lists(&[tool("a", "changed"), other.clone()]).sees(&[("a", "one")]);
    assert_eq!(server.waiting(), ["a", "b"]);
    // The approved text outlives further changes, and is forgotten when the server takes its change back.
    server.lists(&[tool("a", "changed again"), other]).sees(&[("a", "one")]);
    server.lists(&[tool("a", "one"), tool("b", "two")]).sees(&[("a", "one"), ("b", "two")]);
    assert_eq!(server.waiting(), Vec::<&str>::new());
    let hints = |read_only: bool| {
        let mut tool = tool("a", "one");
        tool["annotations"] = json!({"readOnlyHint": read_only});
        tool
    };
    let mut hinted = Server::new(Pinning::All);
    hinted.lists(&[hints(true)]).sees(&[("a", "one")]);
    hinted.lists(&[hints(false)]).sees(&[]);
}

#[test]
fn what_is_flagged_waits_from_the_first_and_a_flagged_change_takes_the_tool_away() {
    for pinning in [Pinning::All, Pinning::New, Pinning::Changed] {
        let mut server = Server::new(pinning);
        server.lists(&[tool("a", "one"), tool("p", "poison")]).sees(&[("a", "one")]);
        assert_eq!(server.waiting(), ["p"], "{pinning:?}");
        server.lists(&[tool("a", "poison"), tool("p", "poison")]).sees(&[]);
        let choice = server.choice("p");
        server.ledger.approve(&choice, "ada", "now").unwrap();
        server.sees(&[("p", "poison")]);
        // Somebody looked at it: it stays, as long as it is the same.
        server.lists(&[tool("a", "one"), tool("p", "poison")]).sees(&[("a", "one"), ("p", "poison")]);
        server.lists(&[tool("a", "one"), tool("p", "more poison")]).sees(&[("a", "one")]);
    }
    let mut none = Server::new(Pinning::None);
    none.lists(&[tool("p", "poison")]).sees(&[("p", "poison")]);
}

#[test]
fn the_setting_says_what_waits() {
    for (pinning, shown, waiting) in [
        (Pinning::All, &[("a", "one")][..], &["a", "b"][..]),
        (Pinning::New, &[("a", "changed")], &["b"]),
        (Pinning::Changed, &[("a", "one"), ("b", "two")], &["a"]),
        (Pinning::None, &[("a", "changed"), ("b", "two")], &[]),
    ] {
        let mut server = Server::new(pinning);
        server.lists(&[tool("a", "one")]).lists(&[tool("a", "changed"), tool("b", "two")]).sees(shown);
        assert_eq!(server.waiting(), waiting, "{pinning:?}");
        // A setting that is loosened counts at once.
        server.pinning = Pinning::None;
        server.sees(&[("a", "changed"), ("b", "two")]);
    }
}

#[test]
fn leaving_a_definition_out_for_a_while_is_no_way_around() {
    for pinning in [Pinning::All, Pinning::Changed] {
        let mut server = Server::new(pinning);
        server.lists(&[tool("a", "one")]).lists(&[]).sees(&[]);
        server.lists(&[tool("a", "other")]).sees(&[]);
        assert_eq!(server.waiting(), ["a"]);
        server.lists(&[]).lists(&[tool("a", "one")]).sees(&[("a", "one")]);
    }
}

#[test]
fn what_changes_while_somebody_looks_is_not_approved_with_it() {
    let mut server = Server::new(Pinning::All);
    server.lists(&[tool("a", "one")]).lists(&[tool("a", "two")]);
    let seen = server.choice("a");
    server.lists(&[tool("a", "three")]);
    assert_eq!(server.ledger.approve(&seen, "ada", "now"), Err(ChoiceError::Changed));
    server.sees(&[("a", "one")]);
    let unknown = Choice { key: "zzz".to_owned(), ..seen };
    assert_eq!(server.ledger.approve(&unknown, "ada", "now"), Err(ChoiceError::NotWaiting));
}

#[test]
fn what_was_refused_asks_for_nobodys_attention_until_it_changes_again() {
    let mut server = Server::new(Pinning::All);
    server.lists(&[tool("a", "one")]).lists(&[tool("a", "two"), tool("b", "b")]);
    for key in ["a", "b"] {
        let choice = server.choice(key);
        server.ledger.refuse(&choice, "ada", "now").unwrap();
    }
    assert_eq!(server.waiting(), Vec::<&str>::new());
    server.sees(&[("a", "one")]);
    server.lists(&[tool("a", "two"), tool("b", "b")]).sees(&[("a", "one")]);
    assert_eq!(server.waiting(), Vec::<&str>::new());
    // A setting that lets others pass does not undo somebody's word; none at all does.
    server.pinning = Pinning::New;
    server.lists(&[tool("a", "two"), tool("b", "b")]).sees(&[("a", "one")]);
    server.pinning = Pinning::All;
    server.lists(&[tool("a", "three"), tool("b", "b")]);
    assert_eq!(server.waiting(), ["a"]);
}

#[test]
fn what_nobody_looked_at_is_held_once_it_is_found_out() {
    let mut server = Server::new(Pinning::All);
    let listed = catalog(&[tool("a", "poison")]);
    let listing = Listing { pinning: Pinning::All, before: &Catalog::default(), now: &listed, at: "t" };
    // What it speaks of was not there the first time.
    server.ledger = Ledger::default().settled(listing, |_| Vec::new());
    server.listed = listed;
    server.sees(&[("a", "poison")]);
    server.lists(&[tool("a", "poison")]).sees(&[]);
}

#[test]
fn resources_wait_only_when_they_are_flagged() {
    let resources = |names: &[&str]| {
        let mut catalog = Catalog::default();
        let items: Vec<_> =
            names.iter().map(|name| raw(&json!({"uri": format!("x://{name}"), "name": name}))).collect();
        catalog.extend(Kind::Resource, items.iter().map(|item| &**item));
        catalog
    };
    let (one, two) = (resources(&["a"]), resources(&["a", "b", "poison"]));
    let at = |before, now| Listing { pinning: Pinning::All, before, now, at: "t" };
    let ledger = Ledger::default().settled(at(&Catalog::default(), &one), inspect).settled(at(&one, &two), inspect);
    let shown = effective(&two, &ledger, Pinning::All);
    assert_eq!(shown.held.iter().map(|(_, key)| &**key).collect::<Vec<_>>(), ["x://poison"]);
    // It is still known, so that a URI of it is answered as one that never existed.
    assert!(shown.catalog.find(Kind::Resource, "x://poison").is_some());
}

#[test]
fn a_ledger_has_bounds_whatever_a_server_lists() {
    let mut server = Server::new(Pinning::New);
    for round in 0..4 {
        let tools: Vec<_> = (0..700).map(|number| tool(&format!("t{round}-{number}"), "poison")).collect();
        server.lists(&tools);
        for pin in server.ledger.clone().pins().iter().filter(|pin| pin.waiting.is_some()) {
            let digest = pin.waiting.clone().unwrap().digest;
            let choice = Choice { kind: pin.kind, key: pin.key.clone(), digest };
            server.ledger.approve(&choice, "ada", "now").unwrap();
        }
    }
    assert_eq!(server.ledger.pins().len(), 700 + MOST_GONE);
    // Texts that are kept beside what is listed have a bound; beyond it a tool is held, not shown unapproved.
    let long = |number: usize, text: &str| tool(&format!("t{number}"), &format!("{text}{}", "x".repeat(200_000)));
    let mut large = Server::new(Pinning::All);
    large.lists(&(0..30).map(|number| long(number, "a")).collect::<Vec<_>>());
    assert_eq!(large.shown().len(), 30);
    large.lists(&(0..30).map(|number| long(number, "b")).collect::<Vec<_>>());
    assert_eq!(large.shown().len(), MOST_KEPT / 200_100);
}
