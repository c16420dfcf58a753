//! Uploading Workers, reading their source and keeping their secrets.
//!
//! An upload stores a version, its source and the head that points to it in one transaction, and discards versions
//! beyond the newest few. It does not check that the source runs. Invariant: the active version and its source exist.

use types::{ScriptName, Secret, VersionId};

use crate::backend::{Expect, Write};
use crate::collection::{Collection, count_bound, expectation, is_storable, put, stored};
use crate::document::{Document as _, Kind, Revision, Stored};
use crate::documents::script::{
    Module, ModuleHead, Script, ScriptContent, ScriptSecret, ScriptSecretId, ScriptVersion,
};
use crate::error::StoreError;
use crate::grant::{Allows, Grant, Operate, ReadScripts, WriteScripts};
use crate::rotation::place;

/// How many versions of a Worker are kept.
pub const VERSIONS_KEPT: usize = 25;

impl Collection<'_, Script> {
    /// Stores a version with its source and, when `activate`, makes it the one that serves. The first always serves.
    ///
    /// # Errors
    ///
    /// [`StoreError::LimitExceeded`] for source out of bounds, [`StoreError::Stale`] when another upload won the race;
    /// uploading again is then safe.
    pub async fn upload(
        &self,
        grant: &Grant<WriteScripts>,
        name: &ScriptName,
        id: VersionId,
        version: ScriptVersion,
        modules: Vec<Module>,
        activate: bool,
    ) -> Result<(Stored<Script>, Stored<ScriptVersion>), StoreError> {
        let current = self.get(grant, name).await?;
        let number = current.as_ref().map_or(0, |script| script.document.versions) + 1;
        let head = match &current {
            Some(script) => Script {
                active: if activate { id } else { script.document.active },
                versions: number,
                tags: script.document.tags.clone(),
            },
            None => Script { active: id, versions: number, tags: Vec::new() },
        };
        let expect = current.map_or(Expect::Absent, |script| Expect::Revision(script.revision.0));
        let heads = modules
            .iter()
            .map(|module| ModuleHead {
                name: module.name.clone(),
                kind: module.kind,
                size: module.source.as_bytes().len() as u64,
            })
            .collect();
        let version = ScriptVersion { script: name.clone(), number, modules: heads, ..version };
        let content = ScriptContent { script: name.clone(), modules };
        let mut writes = vec![
            Write::Put(put(grant, name, &head, expect)?),
            Write::Put(put(grant, &id, &version, Expect::Absent)?),
            Write::Put(put(grant, &id, &content, Expect::Absent)?),
        ];
        // A version that serves while newer ones wait must not be discarded by age.
        let active_is_newest = head.active == id;
        if active_is_newest {
            for kind in [Kind::ScriptVersion, Kind::ScriptContent] {
                writes.push(Write::Prune { kind, parent: name.to_string(), keep: VERSIONS_KEPT });
            }
        }
        let bounds = vec![count_bound::<Script>(), count_bound::<ScriptVersion>()];
        let (at, written) = match self.store.commit(grant, writes, bounds).await {
            // Another upload created the Worker first: to the caller the same as saving first.
            Err(StoreError::Taken(Kind::Script)) => return Err(StoreError::Stale(Kind::Script)),
            other => other?,
        };
        let mut written = written.into_iter();
        let (Some(first), Some(second)) = (written.next(), written.next()) else {
            return Err(StoreError::NotFound(Kind::Script));
        };
        Ok((stored(name.clone(), head, at, first)?, stored(id, version, at, second)?))
    }

    /// Makes a stored version the one that serves.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when the Worker or the version does not exist, [`StoreError::Stale`] after a race.
    pub async fn activate(
        &self,
        grant: &Grant<WriteScripts>,
        name: &ScriptName,
        version: VersionId,
    ) -> Result<Stored<Script>, StoreError> {
        let script = self.get(grant, name).await?.ok_or(StoreError::NotFound(Kind::Script))?;
        let known = self.store.script_versions().get(grant, &version).await?;
        if known.is_none_or(|known| known.document.script != *name) {
            return Err(StoreError::NotFound(Kind::ScriptVersion));
        }
        let document = Script { active: version, ..script.document };
        self.replace(grant, name.clone(), document, Some(script.revision)).await
    }

    /// Returns the source of a version.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn content<S: Allows<ReadScripts>>(
        &self,
        grant: &Grant<S>,
        version: VersionId,
    ) -> Result<Option<Stored<ScriptContent>>, StoreError> {
        Collection::<ScriptContent>::new(self.store).get(grant, &version).await
    }

    /// Deletes a Worker with its versions, source, secrets and triggers.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_versions(
        &self,
        grant: &Grant<WriteScripts>,
        name: &ScriptName,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let parent = name.to_string();
        let mut writes = vec![Write::Delete { kind: Kind::Script, id: parent.clone(), expect: expectation(expected) }];
        for kind in [Kind::ScriptVersion, Kind::ScriptContent, Kind::ScriptSecret] {
            writes.push(Write::DeleteChildren { kind, parent: parent.clone() });
        }
        writes.push(Write::Delete { kind: Kind::Schedule, id: parent, expect: Expect::Anything });
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Collection<'_, ScriptSecret> {
    /// Seals and stores a secret of an existing Worker.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without the Worker, [`StoreError::Invalid`] for a name that is no variable name.
    pub async fn set(
        &self,
        grant: &Grant<WriteScripts>,
        id: ScriptSecretId,
        value: &Secret<String>,
    ) -> Result<Stored<ScriptSecret>, StoreError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !is_storable(&id.name, 128) || !id.name.bytes().all(is_name) {
            return Err(StoreError::Invalid("a secret's name has 1 to 128 letters, digits, _ and -"));
        }
        let text = id.to_string();
        let sealed = self.store.sealer().seal(place::<ScriptSecret>(grant.account(), &text), value)?;
        let document = ScriptSecret { script: id.script.clone(), value: sealed };
        let writes = vec![
            // The touch fails when the Worker is gone, and tells the feed that its environment changed.
            Write::Touch { kind: Kind::Script, id: id.script.to_string(), expect: Expect::Present },
            Write::Put(put(grant, &id, &document, Expect::Anything)?),
        ];
        let (at, written) = self.store.commit(grant, writes, vec![count_bound::<ScriptSecret>()]).await?;
        let written = written.into_iter().nth(1).ok_or(StoreError::NotFound(ScriptSecret::KIND))?;
        stored(id, document, at, written)
    }

    /// Opens every secret of a Worker, for its `env`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when one does not open.
    pub async fn open(
        &self,
        grant: &Grant<Operate>,
        script: &ScriptName,
    ) -> Result<Vec<(String, Secret<String>)>, StoreError> {
        let secrets = self.list_of(grant, script).await?;
        secrets
            .into_iter()
            .map(|secret| {
                let text = secret.id.to_string();
                let value =
                    self.store.sealer().open(place::<ScriptSecret>(grant.account(), &text), &secret.document.value)?;
                Ok((secret.id.name, value))
            })
            .collect()
    }
}
