//! What a change of a record asks for: what to store, whose sessions end, whose identity is read anew.
//!
//! Decides by the provider's SCIM settings; acting on it is the caller's, in one transaction, sessions first. Invariant:
//! whoever stops being an active person under an address loses the sessions of that address, by whichever request it
//! happened: removed, made inactive, created inactive, or given another address.

use std::collections::BTreeSet;

use types::Email;

use super::ResourceId;
use super::group::Group;
use super::user::User;
use identity::provider::{ScimRules, UpdateBehavior};
use identity::words;

words! {
    /// Why sessions end.
    EndReason {
        /// The person is gone from the provider, or from this address.
        Deprovisioned = "deprovisioned",
        /// The person's record changed, and the provider is set to ask them to sign in again.
        Changed = "changed",
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    StoreUser(Box<User>),
    RemoveUser(ResourceId),
    StoreGroup(Box<Group>),
    RemoveGroup(ResourceId),
    /// Ends every session of the person with this address.
    EndSessions {
        email: Email,
        reason: EndReason,
    },
    /// Takes the person's seat.
    FreeSeat {
        email: Email,
    },
    /// Carries the record into the sessions of the person with this address.
    RefreshIdentity {
        email: Email,
    },
}

/// Finds what follows from a person's record becoming another one. `None` is no record.
#[must_use]
pub fn of_user(before: Option<&User>, after: Option<User>, rules: ScimRules) -> Vec<Change> {
    let active = |user: Option<&User>| {
        user.filter(|user| user.attributes.active).map(|user| user.attributes.addresses()).unwrap_or_default()
    };
    let all = |user: Option<&User>| user.map(|user| user.attributes.addresses()).unwrap_or_default();
    let (old, new) = (active(before), active(after.as_ref()));
    let mut changes = Vec::new();
    if rules.deprovision {
        // Everybody who was named in either record and is not an active person's address any more.
        let mut named: BTreeSet<Email> = all(before);
        named.extend(all(after.as_ref()));
        for email in named.difference(&new) {
            changes.push(Change::EndSessions { email: email.clone(), reason: EndReason::Deprovisioned });
            if rules.free_seat {
                changes.push(Change::FreeSeat { email: email.clone() });
            }
        }
    }
    let said = |user: Option<&User>| user.map(|user| (user.attributes.name(), user.attributes.addresses()));
    if said(before) != said(after.as_ref()) && before.is_some() {
        let ended = |email: &Email| rules.deprovision && !new.contains(email);
        let people = old.union(&new).filter(|email| !ended(email));
        changes.extend(people.filter_map(|email| update(email, rules)));
    }
    match (before, after) {
        (_, Some(after)) => changes.push(Change::StoreUser(Box::new(after))),
        (Some(before), None) => changes.push(Change::RemoveUser(before.id)),
        (None, None) => {}
    }
    changes
}

/// Finds what follows from a group's record becoming another one. `addresses` returns those of a member's record; a member
/// without one is skipped.
#[must_use]
pub fn of_group(
    before: Option<&Group>,
    after: Option<Group>,
    rules: ScimRules,
    addresses: impl Fn(ResourceId) -> BTreeSet<Email>,
) -> Vec<Change> {
    let members = |group: Option<&Group>| group.map(|group| group.attributes.members.clone()).unwrap_or_default();
    let name = |group: Option<&Group>| group.map(|group| group.attributes.display_name.clone());
    let (old, new) = (members(before), members(after.as_ref()));
    // Policies know a group by its name, so a new name is a change for everybody in it.
    let touched: BTreeSet<ResourceId> = if name(before) == name(after.as_ref()) {
        old.symmetric_difference(&new).copied().collect()
    } else {
        old.union(&new).copied().collect()
    };
    let mut changes = Vec::new();
    if rules.updates != UpdateBehavior::NoAction {
        let people: BTreeSet<Email> = touched.into_iter().flat_map(addresses).collect();
        changes.extend(people.iter().filter_map(|email| update(email, rules)));
    }
    match (before, after) {
        (_, Some(after)) => changes.push(Change::StoreGroup(Box::new(after))),
        (Some(before), None) => changes.push(Change::RemoveGroup(before.id)),
        (None, None) => {}
    }
    changes
}

fn update(email: &Email, rules: ScimRules) -> Option<Change> {
    let email = email.clone();
    match rules.updates {
        UpdateBehavior::Automatic => Some(Change::RefreshIdentity { email }),
        UpdateBehavior::Reauth => Some(Change::EndSessions { email, reason: EndReason::Changed }),
        UpdateBehavior::NoAction => None,
    }
}
