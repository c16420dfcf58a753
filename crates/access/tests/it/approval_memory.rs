//! What approvals keep, in memory: as a store would, with its revisions, and in step with the table of the plane.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use access::{ApprovalLedger, ApprovalTable, KeptApproval, LedgerError, Letter, Postbox as _};
use futures_util::future::BoxFuture;
use identity::approval::ApprovalRequest;
use identity::opaque::Digest;
use types::UserId;

use crate::mailbox::Mailbox;

pub(crate) struct ApprovalMemory {
    pub(crate) gone: AtomicBool,
    kept: Mutex<HashMap<Digest, KeptApproval>>,
    pub(crate) table: Arc<ApprovalTable>,
    mailbox: Arc<Mailbox>,
}

impl ApprovalMemory {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { gone: AtomicBool::new(false), kept: Mutex::default(), table: Arc::default(), mailbox }
    }

    fn reach(&self) -> Result<(), LedgerError> {
        if self.gone.load(Ordering::SeqCst) { Err(LedgerError::Unavailable("gone".to_owned())) } else { Ok(()) }
    }

    /// As an administrator does, and the change feed tells.
    pub(crate) fn delete_all(&self) {
        for (id, _) in self.kept.lock().unwrap().drain() {
            self.table.remove(&id);
        }
    }
}

impl ApprovalLedger for ApprovalMemory {
    fn find(&self, id: Digest) -> BoxFuture<'_, Result<Option<KeptApproval>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            Ok(self.kept.lock().unwrap().get(&id).cloned())
        })
    }

    fn of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<ApprovalRequest>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let kept = self.kept.lock().unwrap();
            let requests = kept.values().map(|kept| &kept.request);
            Ok(requests.filter(|request| request.asked.user == user).cloned().collect())
        })
    }

    fn write(&self, id: Digest, new: KeptApproval, letters: Vec<Letter>) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            {
                let mut kept = self.kept.lock().unwrap();
                if kept.get(&id).map_or(0, |kept| kept.revision) != new.revision {
                    return Ok(false);
                }
                let new = KeptApproval { revision: new.revision + 1, ..new };
                kept.insert(id, new.clone());
                self.table.put(id, new);
            }
            self.mailbox.post(letters).await?;
            Ok(true)
        })
    }
}
