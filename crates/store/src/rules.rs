//! The secrets of rules with a managed action: sealed one by one, kept with their rule, opened for the system alone.
//!
//! What a secret is for is the template's. Invariant: a secret opens only in the rule and under the parameter it was
//! sealed for, so copying one into another rule yields nothing.

use std::collections::BTreeMap;

use types::{RuleId, Secret};

use crate::collection::Collection;
use crate::document::Stored;
use crate::documents::rule::Rule;
use crate::error::StoreError;
use crate::grant::{Grant, Operate, WriteRules};
use crate::rotation::{SealedMembers, member};
use crate::seal::Sealed;

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
        Ok(self.store.sealer().seal(member::<Rule>(grant.account(), &id, parameter), value)?)
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
                let value = self.store.sealer().open(member::<Rule>(grant.account(), &id, parameter), sealed)?;
                Ok((parameter.clone(), value))
            })
            .collect()
    }
}

impl SealedMembers for Rule {
    /// By the parameter of the managed action.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)> {
        self.secrets.iter_mut().map(|(parameter, sealed)| (parameter.clone(), sealed)).collect()
    }
}
