//! Holds the rules of a portal and of a server against one call.
//!
//! Pure. A call must pass both lists; in either the first enabled rule that applies decides. Invariant: a rule whose
//! expression hangs on what is not known blocks, under its own name; it is never skipped.

use std::sync::Arc;
use std::time::Duration;

use expr::Outcome;
use mcp::document::rule::{Effect, OnError, ToolRule};
use policy::facts::mcp::McpFacts;
use policy::hook::mcp::id;
use regex::Regex;
use types::ScriptName;

/// What is to become of a call.
#[derive(Debug, Default)]
pub(crate) struct Ruling {
    /// The rules that decided, the portal's first.
    pub(crate) by: Vec<String>,
    pub(crate) verdict: Verdict,
    /// What is taken out on the way, both ways.
    pub(crate) redactions: Vec<Redaction>,
    /// Conditions that a person or a Worker has yet to meet, in order.
    pub(crate) conditions: Vec<Condition>,
}

/// Whether it may go on once its conditions are met.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    #[default]
    Allow,
    Block {
        rule: String,
        message: Option<String>,
    },
}

/// What has to happen before a call goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The person confirms on a page; once, or for as long as `lifetime` for calls of the same tool.
    Approval { rule: String, lifetime: Duration },
    /// The person proved a second factor no longer ago than `max_age`.
    Factor { rule: String, max_age: Duration },
    /// A Worker does not refuse.
    Worker { rule: String, script: ScriptName, on_error: OnError },
}

/// What a rule takes out of arguments and results.
#[derive(Debug, Clone)]
pub(crate) struct Redaction {
    pub(crate) paths: Arc<[String]>,
    pub(crate) patterns: Arc<[Regex]>,
}

impl Condition {
    pub(crate) fn rule(&self) -> &str {
        match self {
            Self::Approval { rule, .. } | Self::Factor { rule, .. } | Self::Worker { rule, .. } => rule,
        }
    }
}

/// Asks one list of rules about a call.
#[must_use]
pub(crate) fn decide(rules: &[ToolRule], facts: &McpFacts<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    apply(rules, facts, &mut ruling);
    ruling
}

/// Asks both lists, with the same facts.
#[must_use]
pub(crate) fn decide_both(lists: [&[ToolRule]; 2], facts: &McpFacts<'_>) -> Ruling {
    let [portal, server] = lists;
    let mut ruling = decide(portal, facts);
    if ruling.verdict == Verdict::Allow {
        let more = decide(server, facts);
        ruling.by.extend(more.by);
        ruling.verdict = more.verdict;
        ruling.redactions.extend(more.redactions);
        ruling.conditions.extend(more.conditions);
    }
    ruling
}

/// Asks the rules whether a definition is shown, before anything is known of the arguments of a call. Hidden is what is
/// blocked whatever they turn out to be.
#[must_use]
pub(crate) fn visible(lists: [&[ToolRule]; 2], facts: &McpFacts<'_>) -> Verdict {
    for rules in lists {
        for rule in rules.iter().filter(|rule| rule.enabled) {
            let blocks = matches!(rule.effect, Effect::Block { .. });
            match rule.expression.evaluate(facts) {
                Outcome::False => {}
                Outcome::True if blocks => return Verdict::Block { rule: rule.name.clone(), message: None },
                Outcome::True => break,
                Outcome::Needs(fields) if fields.contains(id::ARGUMENTS) => {
                    // Some calls may pass by this rule; if it blocks, what comes after decides about the others.
                    if !blocks {
                        break;
                    }
                }
                Outcome::Needs(_) | Outcome::Error(_) => {
                    return Verdict::Block { rule: rule.name.clone(), message: None };
                }
            }
        }
    }
    Verdict::Allow
}

fn apply(rules: &[ToolRule], facts: &McpFacts<'_>, ruling: &mut Ruling) {
    for rule in rules.iter().filter(|rule| rule.enabled) {
        match rule.expression.evaluate(facts) {
            Outcome::False => continue,
            Outcome::True => {}
            Outcome::Needs(_) | Outcome::Error(_) => {
                let message = Some("what the rule asks about is not known".to_owned());
                ruling.verdict = Verdict::Block { rule: rule.name.clone(), message };
                ruling.by.push(rule.name.clone());
                return;
            }
        }
        ruling.by.push(rule.name.clone());
        let name = || rule.name.clone();
        match &rule.effect {
            Effect::Allow => {}
            Effect::Block { message } => {
                ruling.verdict = Verdict::Block { rule: name(), message: message.clone() };
            }
            Effect::RequireApproval { lifetime } => {
                ruling.conditions.push(Condition::Approval { rule: name(), lifetime: *lifetime });
            }
            Effect::RequireMfa { max_age } => {
                ruling.conditions.push(Condition::Factor { rule: name(), max_age: *max_age });
            }
            Effect::Redact { paths, patterns } => {
                ruling.redactions.push(Redaction { paths: Arc::clone(paths), patterns: Arc::clone(patterns) });
            }
            Effect::Worker { script, on_error } => {
                ruling.conditions.push(Condition::Worker { rule: name(), script: script.clone(), on_error: *on_error });
            }
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use mcp::document::rule::{RuleDocument, ToolRule};
    use policy::facts::mcp::{Arguments, McpFacts, Subject, ToolHints};
    use serde_json::{Value, json};

    use super::{Condition, Ruling, Verdict, decide_both, visible};

    fn rules(value: Value) -> Vec<ToolRule> {
        let documents: Vec<RuleDocument> = serde_json::from_value(value).unwrap();
        documents.iter().map(|document| ToolRule::parse(document, &()).unwrap()).collect()
    }

    fn ruling(portal: Value, server: Value, tool: &str, annotations: Value, arguments: &Value) -> Ruling {
        let indexed = Arguments::index(arguments);
        let facts = McpFacts {
            person: None,
            oidc_claims: &[],
            login_methods: &[],
            amr: &[],
            risk: None,
            posture_passed: None,
            service_token: None,
            src_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            country: None,
            client: (None, None),
            portal: "staff",
            server: Some("jira"),
            method: "tools/call",
            subject: Subject::Tool(tool, ToolHints::read(Some(&annotations))),
            arguments: indexed.as_ref(),
            code_mode: false,
        };
        decide_both([&rules(portal), &rules(server)], &facts)
    }

    #[test]
    fn the_first_rule_of_either_list_decides_and_both_lists_are_asked() {
        let reads = json!([
            {"name": "reading", "expression": "mcp.tool.annotations.readOnlyHint", "action": "allow"},
            {"name": "no writing", "expression": "mcp.method == \"tools/call\"", "action": "block", "message": "read only"},
        ]);
        let no_hr = json!([{"name": "not HR", "expression": "any(mcp.arguments[\"project\"][*] == \"HR\")", "action": "block"}]);
        let read = json!({"readOnlyHint": true});
        for (annotations, arguments, by, blocked) in [
            (&read, json!({"project": "ENG"}), &["reading"][..], None),
            (&read, json!({"project": "HR"}), &["reading", "not HR"], Some(("not HR", None))),
            (&json!({}), json!({"project": "HR"}), &["no writing"], Some(("no writing", Some("read only")))),
        ] {
            let found = ruling(reads.clone(), no_hr.clone(), "x", annotations.clone(), &arguments);
            assert_eq!(found.by, by);
            let verdict = match blocked {
                Some((rule, message)) => Verdict::Block { rule: rule.to_owned(), message: message.map(str::to_owned) },
                None => Verdict::Allow,
            };
            assert_eq!(found.verdict, verdict);
        }
        let none = ruling(json!([]), json!([]), "x", json!({}), &json!({}));
        assert_eq!((none.verdict, none.by.len()), (Verdict::Allow, 0));
    }

    #[test]
    fn hidden_is_what_is_blocked_whatever_the_arguments() {
        let block_hr =
            json!({"name": "HR", "expression": "any(mcp.arguments[\"project\"][*] == \"HR\")", "action": "block"});
        let block_all = json!({"name": "all", "expression": "mcp.method == \"tools/call\"", "action": "block"});
        let allow_eng =
            json!({"name": "ENG", "expression": "any(mcp.arguments[\"project\"][*] == \"ENG\")", "action": "allow"});
        let factor = json!({"name": "factor", "expression": "mcp.method == \"tools/call\"", "action": "require_mfa"});
        let posture = json!({"name": "posture", "expression": "any(device_posture.checks.passed[*] == \"x\")", "action": "allow"});
        for (list, shown) in [
            (json!([]), true),
            (json!([block_hr]), true),
            (json!([block_hr, block_all]), false),
            (json!([allow_eng, block_all]), true),
            (json!([block_all, allow_eng]), false),
            (json!([factor, block_all]), true),
            (json!([posture]), false),
        ] {
            let facts = McpFacts {
                person: None,
                oidc_claims: &[],
                login_methods: &[],
                amr: &[],
                risk: None,
                posture_passed: None,
                service_token: None,
                src_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
                country: None,
                client: (None, None),
                portal: "staff",
                server: Some("jira"),
                method: "tools/call",
                subject: Subject::Tool("x", ToolHints::read(None)),
                arguments: None,
                code_mode: false,
            };
            assert_eq!(visible([&rules(list.clone()), &[]], &facts) == Verdict::Allow, shown, "{list}");
        }
    }

    #[test]
    fn what_is_not_known_blocks_under_the_name_of_its_rule() {
        let unknown = json!([{"name": "posture", "expression": "any(device_posture.checks.passed[*] == \"x\")", "action": "allow"}]);
        let found = ruling(unknown, json!([]), "x", json!({}), &json!({}));
        assert!(matches!(found.verdict, Verdict::Block { rule, .. } if rule == "posture"));
        let many = Value::Array(vec![json!(1); policy::facts::mcp::MOST_VALUES + 1]);
        let reads = json!([{"name": "args", "expression": "any(mcp.arguments[\"a\"][*] == \"x\")", "action": "block"}]);
        assert!(matches!(ruling(reads, json!([]), "x", json!({}), &many).verdict, Verdict::Block { .. }));
    }

    #[test]
    fn conditions_and_redactions_of_both_lists_come_together() {
        let portal = json!([{"name": "factor", "expression": "mcp.tool.name == \"delete\"", "action": "require_mfa", "mfa": {"max_age": "5m"}}]);
        let server = json!([{"name": "no cards", "expression": "mcp.method == \"tools/call\"", "action": "redact", "redact": {"paths": ["/card"], "patterns": ["[0-9]{16}"]}}]);
        let found = ruling(portal, server, "delete", json!({}), &json!({}));
        assert_eq!(found.conditions, [Condition::Factor { rule: "factor".into(), max_age: Duration::from_secs(300) }]);
        assert_eq!((found.redactions.len(), found.redactions[0].patterns.len()), (1, 1));
        assert_eq!(found.verdict, Verdict::Allow);
    }
}
