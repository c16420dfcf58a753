//! Certificate authorities whose private keys never touch the database in clear. It does not mint or parse
//! certificates. Invariant: only a grant of the system opens a key.

use types::{CertificateId, Secret};

use crate::backend::Expect;
use crate::collection::Collection;
use crate::document::{Kind, Stored};
use crate::documents::gateway::{Certificate, NewCertificate};
use crate::error::StoreError;
use crate::grant::{Grant, Operate, WriteGateway};
use crate::rotation::place;

impl Collection<'_, Certificate> {
    /// Seals the private key and stores the certificate.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn import(
        &self,
        grant: &Grant<WriteGateway>,
        id: CertificateId,
        new: NewCertificate,
    ) -> Result<Stored<Certificate>, StoreError> {
        let text = id.to_string();
        let private_key = self.store.sealer().seal(place::<Certificate>(grant.account(), &text), &new.private_key)?;
        let document = Certificate {
            origin: new.origin,
            binding_status: new.binding_status,
            certificate: new.certificate,
            private_key,
            fingerprint: new.fingerprint,
            issuer_org: new.issuer_org,
            issuer_raw: new.issuer_raw,
            expires_on: new.expires_on,
        };
        self.save(grant, id, document, Expect::Absent).await
    }

    /// Opens a certificate's private key.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], and [`StoreError::Seal`] when it does not open.
    pub async fn private_key(&self, grant: &Grant<Operate>, id: CertificateId) -> Result<Secret<String>, StoreError> {
        let certificate = self.get(grant, &id).await?.ok_or(StoreError::NotFound(Kind::Certificate))?;
        let text = id.to_string();
        Ok(self.store.sealer().open(place::<Certificate>(grant.account(), &text), &certificate.document.private_key)?)
    }
}
