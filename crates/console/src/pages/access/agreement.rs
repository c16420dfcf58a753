//! Who must agree before a policy lets somebody in: every group of a policy, as its form has it.
//!
//! A group whose fields are emptied is taken out, and an empty one stands at the end for a further group, so the form needs
//! no script and no button of its own. Invariant: what is shown is what is stored; no group stays that the form did not show.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::operations::access::AccessView;
use crate::pages::control::{Control, Problems};
use crate::pages::fields::Fields;

/// Most groups that are read from a form; a policy takes fewer people than that.
const MOST: usize = 256;

/// One group as it is typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    people: String,
    needed: String,
    /// The id of a list of addresses, for a group that has one.
    list: String,
}

/// The names of a group's fields.
struct Names {
    people: String,
    needed: String,
    list: String,
}

impl Names {
    fn of(index: usize) -> Self {
        let numbered = |name: &str| if index == 0 { name.to_owned() } else { format!("{name}-{}", index + 1) };
        Self { people: numbered("approvers"), needed: numbered("approvals_needed"), list: numbered("approval_list") }
    }
}

impl Group {
    fn is_empty(&self) -> bool {
        self.people.trim().is_empty() && self.list.trim().is_empty()
    }
}

/// Reads the groups of a stored policy.
pub(super) fn stored(policy: &AccessView) -> Vec<Group> {
    let required = policy.0.get("approval_required") == Some(&Value::Bool(true));
    let groups = policy.0.get("approval_groups").and_then(Value::as_array).filter(|_| required);
    let group = |group: &Value| {
        let people = group["email_addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        Group {
            people: people.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
            needed: group["approvals_needed"].as_u64().unwrap_or(1).to_string(),
            list: group["email_list_uuid"].as_str().unwrap_or_default().to_owned(),
        }
    };
    groups.map(|groups| groups.iter().map(group).collect()).unwrap_or_default()
}

/// Reads the groups of a form, without those that are empty.
pub(super) fn typed(fields: &Fields) -> Vec<Group> {
    let sent = (0..MOST).map(Names::of).map_while(|names| {
        fields.find(&names.people).map(|people| Group {
            people: people.to_owned(),
            needed: fields.get(&names.needed).to_owned(),
            list: fields.get(&names.list).to_owned(),
        })
    });
    sent.filter(|group| !group.is_empty()).collect()
}

/// Writes groups into the document of a policy.
pub(super) fn write(document: &mut Map<String, Value>, groups: &[Group]) {
    let write = |group: &Group| {
        let people: Vec<&str> = group.people.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let needed = match group.needed.parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) if group.needed.is_empty() => json!(1),
            // What is no number is the operation's to refuse.
            Err(_) => json!(group.needed),
        };
        let mut written = json!({"approvals_needed": needed, "email_addresses": people});
        if !group.list.is_empty() {
            written["email_list_uuid"] = json!(group.list);
        }
        written
    };
    document.insert("approval_required".to_owned(), (!groups.is_empty()).into());
    document.insert("approval_groups".to_owned(), groups.iter().map(write).collect());
}

/// Draws every group, and an empty one behind them.
pub(super) fn draw(groups: &[Group], problems: Problems<'_>) -> Markup {
    let spare = Group { needed: "1".to_owned(), ..Group::default() };
    html! {
        fieldset {
            legend { "Others must agree" }
            p.hint { "Each group must agree. They get a mail, sign in and say for how long. A group without addresses is taken out when you save." }
            @for (index, group) in groups.iter().chain([&spare]).enumerate() {
                (draw_group(index, group, (index == groups.len(), groups.is_empty()), problems))
            }
        }
    }
}

fn draw_group(index: usize, group: &Group, (spare, only): (bool, bool), problems: Problems<'_>) -> Markup {
    let names = Names::of(index);
    let label = match (spare, only) {
        (true, true) => "People who may approve".to_owned(),
        (true, false) => "A further group".to_owned(),
        (false, _) => format!("Group {}", index + 1),
    };
    let needed = format!("How many of {}", if spare { "them" } else { "the group" });
    let hint = if spare { "One address on each line; empty asks nobody." } else { "" };
    let at = format!("/approval_groups/{index}");
    // Faults of the groups as a whole stand beside the first.
    let about = if index == 0 { problems.at("/approval_groups") } else { problems.at(&at) };
    html! {
        div.row {
            (Control::new(&names.people, &label).mono().hint(hint).problems(about).area(2, &group.people))
            (Control::new(&names.needed, &needed).problems(if index == 0 { problems.at("/approval_required") } else { Vec::new() }).input("number", &group.needed))
        }
        @if !group.list.is_empty() {
            (Control::new(&names.list, "And everybody on the list").mono().hint("The id of a list of addresses; empty takes it out.").input("text", &group.list))
        }
    }
}
