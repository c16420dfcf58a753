//! Rule groups (reference section 1.5). Invariant: a stored group names only groups that exist, and never itself.

use identity::group::{Group, GroupDocument, Groups};
use serde_json::{Map, Value};
use store::{AccessGroup, AccessPolicy, Collection, Store, Stored};
use types::{AccessGroupId, Code};
use uuid::Uuid;

use super::{AccessView, Kept, body, members, refused, system, view};
use crate::auth::OpContext;
use crate::failure::Failure;

impl Kept for AccessGroup {
    const RESOURCE: &'static str = "access_group";
    const THING: &'static str = "rule group";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.access_groups()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        members(&stored.document.body)
    }
}

/// Returns every group.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    super::list::<AccessGroup>(cx).await
}

/// Returns one group.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: AccessGroupId) -> Result<AccessView, Failure> {
    Ok(view(&super::load::<AccessGroup>(cx, &id).await?))
}

/// Makes a group.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<store::WriteIdentity>()?;
    let id = AccessGroupId(Uuid::new_v4());
    let document = read(cx, id, document).await?;
    Ok(view(&super::create(cx, id, document).await?))
}

/// Replaces a group.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at every member at fault.
pub async fn replace(cx: &OpContext, id: AccessGroupId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<store::WriteIdentity>()?;
    let before = super::load::<AccessGroup>(cx, &id).await?;
    let document = read(cx, id, document).await?;
    Ok(view(&super::replace(cx, &before, document).await?))
}

/// Deletes a group that no policy or other group names.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is in use.
pub async fn delete(cx: &OpContext, id: AccessGroupId) -> Result<(), Failure> {
    cx.authorize::<store::WriteIdentity>()?;
    let before = super::load::<AccessGroup>(cx, &id).await?;
    let grant = system(cx, "check that a rule group is not in use")?;
    let named = serde_json::json!({"group": {"id": id.to_string()}});
    let names = |body: &Value| {
        ["include", "require", "exclude"]
            .iter()
            .any(|list| body.get(list).and_then(Value::as_array).is_some_and(|selectors| selectors.contains(&named)))
    };
    let policies: Vec<Stored<AccessPolicy>> = cx.store().access_policies().list(&grant).await?;
    if let Some(policy) = policies.iter().find(|policy| names(&policy.document.body)) {
        let message = format!("policy \"{}\" names this group; change the policy first", policy.document.name);
        return Err(Failure::new(Code::Conflict, message));
    }
    let groups = cx.store().access_groups().list(&grant).await?;
    if let Some(group) = groups.iter().find(|group| group.id != id && names(&group.document.body)) {
        let message = format!("group \"{}\" names this group; change it first", group.document.name);
        return Err(Failure::new(Code::Conflict, message));
    }
    super::delete(cx, &before).await
}

async fn read(cx: &OpContext, id: AccessGroupId, document: &Value) -> Result<AccessGroup, Failure> {
    let document = GroupDocument::read(document).map_err(refused)?;
    let group = Group::parse(id, &document).map_err(refused)?;
    let lists = [("include", &group.include), ("require", &group.require), ("exclude", &group.exclude)];
    for (list, selectors) in lists {
        for (index, selector) in selectors.iter().enumerate() {
            if let Some(why) = selector.not_offered() {
                return Err(Failure::invalid(format!("/{list}/{index}"), why));
            }
        }
    }
    let name = group.name.clone();
    let others = known(cx).await?;
    let groups: Groups = others.into_iter().filter(|other| other.id != id).chain([group]).collect();
    groups.check(id).map_err(|fault| Failure::invalid("/include", fault.to_string()))?;
    Ok(AccessGroup { name, body: body(&document)? })
}

/// Every group of the account as the engine knows it; one that cannot be read is left out, so that what names it is broken.
pub async fn known(cx: &OpContext) -> Result<Vec<Group>, Failure> {
    let grant = system(cx, "check what a policy names")?;
    let stored = cx.store().access_groups().list(&grant).await?;
    let read = |stored: &Stored<AccessGroup>| {
        let document = identity::document::read_stored::<GroupDocument>(&stored.document.body).ok()?;
        Group::parse(stored.id, &document).ok()
    };
    Ok(stored.iter().filter_map(read).collect())
}
