//! Rule groups: selectors under a name, which policies and other groups use (reference section 1.5).
//!
//! Decides what a set of groups means when they name each other. Invariant: [`Groups::resolve`] answers every group that
//! takes part in a cycle, or names one that does not exist, as broken; what is broken never matches.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::AccessGroupId;

use crate::access_policy::MAX_SELECTORS;
use crate::document::{self, Problem, Problems};
use crate::selector::Selector;

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 4] = ["id", "uid", "created_at", "updated_at"];
/// Deepest nesting of groups.
pub const MAX_DEPTH: usize = 16;
/// Most rules a group may hold with those of the groups it names put in: what one evaluation may cost.
pub const MAX_RULES: usize = 20_000;

/// A rule group as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupDocument {
    pub name: String,
    pub include: Vec<Selector>,
    pub require: Vec<Selector>,
    pub exclude: Vec<Selector>,
    /// Offered first when a policy is written.
    pub is_default: bool,
}

impl GroupDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        document::read(value, &READ_ONLY)
    }
}

/// A rule group, known to be sound by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub id: AccessGroupId,
    pub name: String,
    pub include: Vec<Selector>,
    pub require: Vec<Selector>,
    pub exclude: Vec<Selector>,
    pub is_default: bool,
}

impl Group {
    /// Makes a group of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(id: AccessGroupId, document: &GroupDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", document::name(&document.name, 255)).unwrap_or_default();
        if document.include.is_empty() {
            problems.add("/include", "must hold at least one rule");
        }
        for (list, selectors) in
            [("include", &document.include), ("require", &document.require), ("exclude", &document.exclude)]
        {
            if selectors.len() > MAX_SELECTORS {
                problems.add(format!("/{list}"), format!("must hold at most {MAX_SELECTORS} rules"));
            }
        }
        problems.finish(Self {
            id,
            name,
            include: document.include.clone(),
            require: document.require.clone(),
            exclude: document.exclude.clone(),
            is_default: document.is_default,
        })
    }

    fn references(&self) -> impl Iterator<Item = AccessGroupId> {
        self.include
            .iter()
            .chain(&self.require)
            .chain(&self.exclude)
            .filter_map(|selector| if let Selector::Group { id } = selector { Some(*id) } else { None })
    }
}

/// Why a group cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupFault {
    #[error("rule group {0} does not exist")]
    Missing(AccessGroupId),
    #[error("rule group {0} names itself, through {1} others")]
    Cycle(AccessGroupId, usize),
    #[error("rule groups are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("rule groups name each other so often that they hold more than {MAX_RULES} rules")]
    TooLarge,
}

/// Every rule group of an account.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    groups: HashMap<AccessGroupId, Arc<Group>>,
}

impl FromIterator<Group> for Groups {
    fn from_iter<T: IntoIterator<Item = Group>>(groups: T) -> Self {
        Self { groups: groups.into_iter().map(|group| (group.id, Arc::new(group))).collect() }
    }
}

impl Groups {
    /// Returns a group.
    #[must_use]
    pub fn get(&self, id: AccessGroupId) -> Option<&Arc<Group>> {
        self.groups.get(&id)
    }

    /// Checks that a group and everything it names can be evaluated.
    ///
    /// # Errors
    /// With the first reason why not.
    pub fn check(&self, id: AccessGroupId) -> Result<(), GroupFault> {
        self.walk(id, &mut Vec::new(), &mut HashMap::new()).map(|_| ())
    }

    /// Finds what lies below a group. What was measured once is remembered with its depth, so that a group reached again
    /// further down still counts as deep as it is.
    fn walk(
        &self,
        id: AccessGroupId,
        above: &mut Vec<AccessGroupId>,
        measured: &mut HashMap<AccessGroupId, Extent>,
    ) -> Result<Extent, GroupFault> {
        if let Some(at) = above.iter().position(|other| *other == id) {
            return Err(GroupFault::Cycle(id, above.len() - at - 1));
        }
        if let Some(extent) = measured.get(&id) {
            return Ok(*extent);
        }
        if above.len() >= MAX_DEPTH {
            return Err(GroupFault::TooDeep);
        }
        let group = self.groups.get(&id).ok_or(GroupFault::Missing(id))?;
        let own = group.include.len() + group.require.len() + group.exclude.len();
        let mut extent = Extent { depth: 1, rules: own };
        above.push(id);
        for other in group.references() {
            let below = self.walk(other, above, measured)?;
            extent.depth = extent.depth.max(below.depth + 1);
            extent.rules = extent.rules.saturating_add(below.rules);
            if extent.depth > MAX_DEPTH {
                return Err(GroupFault::TooDeep);
            }
            if extent.rules > MAX_RULES {
                return Err(GroupFault::TooLarge);
            }
        }
        above.pop();
        measured.insert(id, extent);
        Ok(extent)
    }
}

/// What lies at and below a group.
#[derive(Debug, Clone, Copy)]
struct Extent {
    depth: usize,
    /// With those of groups put in, as often as they are named.
    rules: usize,
}

#[cfg(test)]
mod tests {
    use types::AccessGroupId;
    use uuid::Uuid;

    use super::{Group, GroupDocument, GroupFault, Groups};
    use crate::selector::Selector;

    fn group(id: u128, names: &[u128]) -> Group {
        let include = names.iter().map(|id| Selector::Group { id: AccessGroupId(Uuid::from_u128(*id)) });
        let include = include.chain([Selector::Everyone {}]).collect();
        let document = GroupDocument { name: format!("group {id}"), include, ..GroupDocument::default() };
        Group::parse(AccessGroupId(Uuid::from_u128(id)), &document).unwrap()
    }

    #[test]
    fn cycles_missing_groups_and_depth_are_found() {
        let chain = (100..120).map(|id| group(id, &[id + 1]));
        let groups: Groups = [
            group(1, &[2, 3]),
            group(2, &[3]),
            group(3, &[]),
            group(4, &[5]),
            group(5, &[4]),
            group(6, &[6]),
            group(7, &[99]),
        ]
        .into_iter()
        .chain(chain)
        .chain([group(120, &[])])
        .collect();
        let id = |id| AccessGroupId(Uuid::from_u128(id));
        for (start, expected) in [
            (1, Ok(())),
            (3, Ok(())),
            (4, Err(GroupFault::Cycle(id(4), 1))),
            (6, Err(GroupFault::Cycle(id(6), 0))),
            (7, Err(GroupFault::Missing(id(99)))),
            (100, Err(GroupFault::TooDeep)),
            (110, Ok(())),
        ] {
            assert_eq!(groups.check(id(start)), expected, "group {start}");
        }
    }

    #[test]
    fn what_an_evaluation_may_cost_is_bounded_however_groups_are_wired() {
        // Each names the next four times: 4^15 rules if nobody counted.
        let wide = (0..15_u128).map(|id| group(id, &[id + 1, id + 1, id + 1, id + 1])).chain([group(15, &[])]);
        // Parts of one long chain, named from the far end, so that each part alone is short.
        let parts: Vec<u128> = (100..200).rev().step_by(10).collect();
        let chain = (100..200).map(|id| group(id, &[id + 1])).chain([group(200, &[]), group(99, &parts)]);
        let groups: Groups = wide.chain(chain).collect();
        let id = |id| AccessGroupId(Uuid::from_u128(id));
        assert_eq!(groups.check(id(0)), Err(GroupFault::TooLarge));
        assert_eq!(groups.check(id(12)), Ok(()));
        assert_eq!(groups.check(id(99)), Err(GroupFault::TooDeep));
        assert_eq!(groups.check(id(190)), Ok(()));
    }
}
