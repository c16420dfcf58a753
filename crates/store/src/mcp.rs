//! MCP servers with what hangs on them, and the secrets of MCP documents.
//!
//! It speaks to no server. Invariants: what a server offers and every sign-in at it go with it, all or none; a sealed
//! member opens only in the document and under the name it was sealed for, and for the system alone.

use types::{McpServerId, UserId};

use crate::Store;
use crate::backend::{Expect, Scan, Write};
use crate::collection::{Collection, expectation};
use crate::document::{Document as _, Kind, Revision};
use crate::documents::mcp::{McpCatalog, McpCredential, McpCredentialId, McpHolder, McpServer};
use crate::error::StoreError;
use crate::grant::{Grant, Operate, Scope, WriteAccess, WriteUsers};
use crate::rotation::SealedMembers;
use crate::seal::Sealed;

impl Collection<'_, McpServer> {
    /// Deletes a server with what it offers and every sign-in at it.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_sign_ins(
        &self,
        grant: &Grant<WriteAccess>,
        id: &McpServerId,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let writes = vec![
            Write::Delete { kind: Kind::McpServer, id: id.to_string(), expect: expectation(expected) },
            Write::Delete { kind: Kind::McpCatalog, id: id.to_string(), expect: Expect::Anything },
            Write::DeleteChildren { kind: Kind::McpCredential, parent: id.to_string() },
        ];
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Collection<'_, McpCatalog> {
    /// Keeps what a server offers, over the catalogue that was read; `None`: there was none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] or [`StoreError::Taken`] when someone else kept one since.
    pub async fn keep(
        &self,
        grant: &Grant<Operate>,
        server: McpServerId,
        catalog: McpCatalog,
        read: Option<Revision>,
    ) -> Result<Revision, StoreError> {
        let expect = read.map_or(Expect::Absent, |revision| Expect::Revision(revision.0));
        self.save(grant, server, catalog, expect).await.map(|stored| stored.revision)
    }
}

impl Collection<'_, McpCredential> {
    /// Keeps a sign-in over the one that was read; `None`: there was none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] or [`StoreError::Taken`] when someone else kept one since: read it, and use that.
    pub async fn keep(
        &self,
        grant: &Grant<WriteUsers>,
        id: McpCredentialId,
        credential: McpCredential,
        read: Option<Revision>,
    ) -> Result<Revision, StoreError> {
        if credential.server != id.server {
            return Err(StoreError::Invalid("a sign-in belongs to the server of its id"));
        }
        let expect = read.map_or(Expect::Absent, |revision| Expect::Revision(revision.0));
        self.save(grant, id, credential, expect).await.map(|stored| stored.revision)
    }

    /// Forgets every sign-in at a server: what they were given for is not so any more.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`]; there being none is no error.
    pub async fn forget_server(&self, grant: &Grant<WriteAccess>, server: &McpServerId) -> Result<(), StoreError> {
        let write = Write::DeleteChildren { kind: Kind::McpCredential, parent: server.to_string() };
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }

    /// Forgets every sign-in of a person.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`]; there being none is no error.
    pub async fn forget_person(&self, grant: &Grant<Operate>, user: UserId) -> Result<(), StoreError> {
        let writes = self.store.sign_ins_of(grant, user).await?;
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}

impl Store {
    /// What deletes every sign-in of a person, at whatever servers there are.
    pub(crate) async fn sign_ins_of<S: Scope>(&self, grant: &Grant<S>, user: UserId) -> Result<Vec<Write>, StoreError> {
        let limit = McpServer::MAX_COUNT;
        let scan = Scan { account: Some(grant.account()), kind: Kind::McpServer, parent: None, limit };
        let servers = self.bounded(self.backend().scan(scan)).await?;
        let delete = |server: McpServerId| {
            let id = McpCredentialId { holder: McpHolder::Person(user), server };
            Write::Delete { kind: Kind::McpCredential, id: id.to_string(), expect: Expect::Anything }
        };
        Ok(servers.into_iter().filter_map(|row| row.id.parse().ok()).map(delete).collect())
    }
}

impl SealedMembers for McpServer {
    /// By the engine's names.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.secrets.iter_mut().map(|(name, sealed)| (name.clone(), sealed)).collect()
    }
}

impl SealedMembers for McpCredential {
    /// `tokens`
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        vec![("tokens".to_owned(), &mut self.tokens)]
    }
}
