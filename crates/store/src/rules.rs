//! The secrets of rules with a managed action: sealed one by one, kept with their rule, opened for the system alone.
//!
//! What a secret is for is the template's. Invariant: a secret opens only in the rule and under the parameter it was
//! sealed for, so copying one into another rule yields nothing.

use std::collections::BTreeMap;

use types::{RuleId, Secret};

use crate::Store;
use crate::backend::Expect;
use crate::collection::Collection;
use crate::document::{Kind, Stored};
use crate::documents::rule::Rule;
use crate::error::StoreError;
use crate::grant::{Grant, Operate, WriteRules};
use crate::seal::{Place, Sealed};

impl Collection<'_, Rule> {
    /// Seals one parameter of a rule. The result is stored with the rule, by the caller.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when the cryptography library refuses.
    pub fn seal(
        &self,
        grant: &Grant<WriteRules>,
        id: RuleId,
        parameter: &str,
        value: &Secret<String>,
    ) -> Result<Sealed, StoreError> {
        let id = id.to_string();
        Ok(self.store.sealer().seal(place(grant.account(), &id, parameter), value)?)
    }

    /// Opens every secret of a rule, by parameter.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when one does not open.
    pub fn open(
        &self,
        grant: &Grant<Operate>,
        rule: &Stored<Rule>,
    ) -> Result<BTreeMap<String, Secret<String>>, StoreError> {
        let id = rule.id.to_string();
        let secrets = rule.document.secrets.iter();
        secrets
            .map(|(parameter, sealed)| {
                let value = self.store.sealer().open(place(grant.account(), &id, parameter), sealed)?;
                Ok((parameter.clone(), value))
            })
            .collect()
    }
}

impl Store {
    /// Seals the secrets of rules again, as [`Store::reseal`] does with all others.
    pub(crate) async fn reseal_rules(
        &self,
        grant: &Grant<Operate>,
        count: &mut (impl FnMut(usize) + Send),
    ) -> Result<(), StoreError> {
        for Stored { id, revision, mut document, .. } in self.rules().list(grant).await? {
            let text = id.to_string();
            let mut changed = 0;
            for (parameter, sealed) in &mut document.secrets {
                if !self.sealer().is_current(sealed) {
                    let place = place(grant.account(), &text, parameter);
                    *sealed = self.sealer().seal(place, &self.sealer().open(place, sealed)?)?;
                    changed += 1;
                }
            }
            if changed > 0 {
                self.rules().save(grant, id, document, Expect::Revision(revision.0)).await?;
                count(changed);
            }
        }
        Ok(())
    }
}

const fn place<'a>(account: types::AccountId, id: &'a str, parameter: &'a str) -> Place<'a> {
    Place { account, kind: Kind::Rule, id, field: parameter }
}
