//! Applications with the policies that are theirs alone, and the secrets of Access documents.
//!
//! It reads no policy. Invariants: an application and its own policies are saved and deleted together, all or none; a
//! sealed member opens only in the document and under the name it was sealed for, and for the system alone.

use std::collections::BTreeMap;

use types::{AccessPolicyId, ApplicationId, ProviderId, Secret};

use crate::backend::{Expect, Write};
use crate::collection::{Collection, count_bound, expectation, put, stored};
use crate::document::{Kind, Revision, Stored};
use crate::documents::access::{AccessKeys, AccessPolicy, Application, Provider};
use crate::documents::access_state::{Factor, LoginState, Mail};
use crate::documents::listener_certificate::{AcmeAccount, ListenerCertificate};
use crate::documents::mail_server::MailServer;
use crate::documents::push_job::PushJob;
use crate::documents::signal::Signal;
use crate::error::StoreError;
use crate::grant::{Grant, Operate, WriteAccess, WriteIdentity};
use crate::rotation::{SealedMembers, member};
use crate::seal::Sealed;

impl Collection<'_, Application> {
    /// Saves an application with policies of its own: those in `policies` are created or replaced, those in `dropped`
    /// deleted. `expected` is the revision the caller read; `None` creates.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when the application to create exists, [`StoreError::Stale`] and [`StoreError::NotFound`]
    /// as in [`Collection::replace`].
    pub async fn save_with_policies(
        &self,
        grant: &Grant<WriteAccess>,
        id: ApplicationId,
        application: Application,
        expected: Option<Revision>,
        policies: Vec<(AccessPolicyId, AccessPolicy)>,
        dropped: Vec<AccessPolicyId>,
    ) -> Result<Stored<Application>, StoreError> {
        if policies.iter().any(|(_, policy)| policy.application != Some(id)) {
            return Err(StoreError::Invalid("a policy saved with an application belongs to it"));
        }
        let expect = expected.map_or(Expect::Absent, |revision| Expect::Revision(revision.0));
        let mut writes = vec![Write::Put(put(grant, &id, &application, expect)?)];
        for (policy_id, policy) in &policies {
            writes.push(Write::Put(put(grant, policy_id, policy, Expect::Anything)?));
        }
        writes.extend(dropped.iter().map(|policy| Write::Delete {
            kind: Kind::AccessPolicy,
            id: policy.to_string(),
            expect: Expect::Anything,
        }));
        let bounds = vec![count_bound::<Application>(), count_bound::<AccessPolicy>()];
        let (at, written) = self.store.commit(grant, writes, bounds).await?;
        let written = written.into_iter().next().ok_or(StoreError::NotFound(Kind::Application))?;
        stored(id, application, at, written)
    }

    /// Deletes an application with the policies that are its alone.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_policies(
        &self,
        grant: &Grant<WriteAccess>,
        id: ApplicationId,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let writes = vec![
            Write::Delete { kind: Kind::Application, id: id.to_string(), expect: expectation(expected) },
            Write::DeleteChildren { kind: Kind::AccessPolicy, parent: id.to_string() },
        ];
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Collection<'_, Provider> {
    /// Deletes a provider with the people and groups of its directory.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_directory(
        &self,
        grant: &Grant<WriteIdentity>,
        id: ProviderId,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let mut writes =
            vec![Write::Delete { kind: Kind::Provider, id: id.to_string(), expect: expectation(expected) }];
        let owned = [Kind::DirectoryUser, Kind::DirectoryGroup];
        writes.extend(owned.map(|kind| Write::DeleteChildren { kind, parent: id.to_string() }));
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl<D: SealedMembers> Collection<'_, D> {
    /// Seals one member of a document. The result is stored with the document, by the caller.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when the cryptography library refuses.
    pub fn seal_member(
        &self,
        grant: &Grant<D::Write>,
        id: &D::Id,
        name: &str,
        value: &Secret<String>,
    ) -> Result<Sealed, StoreError> {
        let id = id.to_string();
        Ok(self.store.sealer().seal(member::<D>(grant.account(), &id, name), value)?)
    }

    /// Opens every sealed member of a document, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when one does not open.
    pub fn open_members(
        &self,
        grant: &Grant<Operate>,
        stored: &mut Stored<D>,
    ) -> Result<BTreeMap<String, Secret<String>>, StoreError> {
        let id = stored.id.to_string();
        let members = stored.document.sealed_members().into_iter();
        members
            .map(|(name, sealed)| {
                let value = self.store.sealer().open(member::<D>(grant.account(), &id, &name), sealed)?;
                Ok((name, value))
            })
            .collect()
    }
}

impl SealedMembers for Provider {
    /// By the member of `config`.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.secrets.iter_mut().map(|(name, sealed)| (name.clone(), sealed)).collect()
    }
}

impl SealedMembers for AccessKeys {
    /// By the key's id.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.keys.iter_mut().map(|key| (key.kid.clone(), &mut key.private_key)).collect()
    }
}

impl SealedMembers for Factor {
    /// `secret`.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        vec![("secret".to_owned(), &mut self.secret)]
    }
}

impl SealedMembers for LoginState {
    /// `state`.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        vec![("state".to_owned(), &mut self.state)]
    }
}

impl SealedMembers for Mail {
    /// `text` and `html`, until a server took the mail.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        let members = [("text", &mut self.text), ("html", &mut self.html)].into_iter();
        members.filter_map(|(name, sealed)| Some((name.to_owned(), sealed.as_mut()?))).collect()
    }
}

impl SealedMembers for ListenerCertificate {
    /// `private_key`, once a certificate was issued.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.issued.iter_mut().map(|issued| ("private_key".to_owned(), &mut issued.private_key)).collect()
    }
}

impl SealedMembers for AcmeAccount {
    /// `credentials`
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        vec![("credentials".to_owned(), &mut self.credentials)]
    }
}

impl SealedMembers for PushJob {
    /// `destination_conf`
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        vec![("destination_conf".to_owned(), &mut self.destination_conf)]
    }
}

impl SealedMembers for Signal {
    /// Those of [`Signal::secrets`].
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.secrets.iter_mut().map(|(name, sealed)| (name.clone(), sealed)).collect()
    }
}

impl SealedMembers for MailServer {
    /// `password`, for servers that ask for one.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.password.iter_mut().map(|password| ("password".to_owned(), password)).collect()
    }
}
