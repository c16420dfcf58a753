//! Which groups a person is in, by their directory and by the token they signed in with.
//!
//! A token may name groups that the directory does not send, and the directory knows of changes that the token came
//! before. Invariant: about a group that the directory sends it alone speaks; about every other the token does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ResourceId;
use super::group::Group;
use identity::claims::MAX_VALUES;
use identity::identity::GroupClaim;

/// Brings the groups of a sign-in up to date. `people` are the person's records, `groups` every group of the directory
/// with its members, `gone` groups as they were before a change: under a former name they count no more.
///
/// A group of the directory has its `externalId` as id (which Entra's selectors name) and its `displayName` as name (which
/// Okta's do). Members of a group inside another are members of both.
#[must_use]
pub fn reconcile<'g>(
    token: &[Arc<GroupClaim>],
    people: &BTreeSet<ResourceId>,
    groups: impl IntoIterator<Item = &'g Group> + Clone,
    gone: &'g [Group],
) -> Box<[Arc<GroupClaim>]> {
    let mut inside = people.clone();
    // A group found inside another may stand before it in the list; each round finds at least one more, or ends.
    loop {
        let before = inside.len();
        for group in groups.clone() {
            if !inside.contains(&group.id) && !group.attributes.members.is_disjoint(&inside) {
                inside.insert(group.id);
            }
        }
        if inside.len() == before {
            break;
        }
    }
    let known = |claim: &GroupClaim| groups.clone().into_iter().chain(gone).any(|group| names(group, claim));
    let kept = token.iter().filter(|claim| !known(claim)).cloned();
    let member = groups.clone().into_iter().filter(|group| inside.contains(&group.id)).map(|group| {
        Arc::new(GroupClaim {
            id: group.attributes.external_id.as_deref().unwrap_or_default().into(),
            name: group.attributes.display_name.as_str().into(),
            email: "".into(),
        })
    });
    member.chain(kept).take(MAX_VALUES).collect()
}

fn names(group: &Group, claim: &GroupClaim) -> bool {
    let external = group.attributes.external_id.as_deref().unwrap_or_default();
    let name = group.attributes.display_name.as_str();
    let is = |text: &str| !text.is_empty() && (text == external || text == name);
    is(&claim.id) || is(&claim.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::reconcile;
    use crate::ResourceId;
    use crate::group::{Group, GroupAttributes};
    use identity::identity::GroupClaim;

    fn id(number: u128) -> ResourceId {
        ResourceId(Uuid::from_u128(number))
    }

    fn group(number: u128, name: &str, members: &[u128]) -> Group {
        let attributes = GroupAttributes {
            display_name: name.to_owned(),
            external_id: Some(format!("x-{name}")),
            members: members.iter().map(|member| id(*member)).collect(),
        };
        Group { id: id(number), attributes, created: Timestamp::UNIX_EPOCH, modified: Timestamp::UNIX_EPOCH }
    }

    fn claim(text: &str) -> Arc<GroupClaim> {
        Arc::new(GroupClaim { id: text.into(), name: text.into(), ..GroupClaim::default() })
    }

    #[test]
    fn the_directory_speaks_of_its_own_groups_and_the_token_of_all_others() {
        let ann = BTreeSet::from([id(1)]);
        // Staff holds Ops, which holds Ann; Admins holds somebody else.
        let groups = [group(11, "Staff", &[10]), group(10, "Ops", &[1]), group(12, "Admins", &[2])];
        let names = |token: &[Arc<GroupClaim>], gone: &[Group]| {
            reconcile(token, &ann, &groups, gone).iter().map(|group| group.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], &[]), ["Staff", "Ops"]);
        // By name or by external id, a token older than the removal does not keep Ann an administrator.
        assert_eq!(names(&[claim("Admins"), claim("x-Admins"), claim("Chess")], &[]), ["Staff", "Ops", "Chess"]);
        assert_eq!(names(&[claim("Old"), claim("Chess")], &[group(10, "Old", &[1])]), ["Staff", "Ops", "Chess"]);
        let nobody = reconcile(&[claim("Ops")], &BTreeSet::new(), &groups, &[]);
        assert!(nobody.is_empty());
    }
}
