//! Seals secrets before they reach the database, with a key that lives outside it.
//!
//! AES-256-GCM with a random nonce. The text names the key, so that old secrets open after a new key was put first. The
//! place of the secret (account, kind, id, field) is authenticated: a sealed text copied to another document does not
//! open. It does not guard against someone who has both the database and the key file. Invariant: what is sealed is sealed
//! with the first key the file holds at that moment, so a rotation beside a running process takes effect in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use types::{AccountId, Secret};

use crate::document::Kind;
use crate::key_file::{self, KEY_BYTES};

/// What the mark of a database says once opened.
const MARK_TEXT: &str = "portunus-sealing-key-v1";
const TEXT_TAG: &str = "sealed-v1";

/// A secret as it is stored: opaque text that only the sealing key opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// Why a secret cannot be sealed or opened, or a key cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The text was sealed with a key that is not in the key file.
    #[error("the secret was sealed with key {0}, which is not in the key file")]
    UnknownKey(String),
    /// The text is not a sealed secret of this place, or was changed.
    #[error("the secret does not open; it was changed, or belongs elsewhere")]
    DoesNotOpen,
    /// The cryptography library refused.
    #[error("the cryptography library failed")]
    Cryptography,
    /// The key file cannot be read or written.
    #[error("sealing key file {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The key file can be read by others.
    #[error("sealing key file {0} is readable by others; set its mode to 0600")]
    Exposed(PathBuf),
    /// The key file does not hold a key.
    #[error("sealing key file {0} does not hold a key")]
    Malformed(PathBuf),
    /// The database holds secrets of another key.
    #[error("the database was sealed with another key; put its key file back")]
    WrongKey,
    /// The key file is gone while the database holds secrets of it.
    #[error("sealing key file {0} is missing while the database holds sealed secrets; put it back")]
    Missing(PathBuf),
    /// Another process changes the key file.
    #[error("another rotation of {0} is running; wait until it has ended")]
    Busy(PathBuf),
    /// The key file was changed a moment ago.
    #[error(
        "{0} was changed within the last minute; a running platform may still store what it sealed before: try again in a minute"
    )]
    TooFresh(PathBuf),
    /// There is no file, because the key lives in memory.
    #[error("the sealing key of this store is not in a file")]
    NoFile,
}

/// Where a secret belongs; part of what is authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub account: AccountId,
    pub kind: Kind,
    pub id: &'a str,
    pub field: &'a str,
}

impl Place<'_> {
    /// Length-prefixed, so that no two places share a text.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for part in [&self.account.to_string(), self.kind.as_str(), self.id, self.field] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

struct NamedKey {
    name: String,
    key: LessSafeKey,
}

/// The keys of one key file: the first seals, all open.
pub(crate) struct Sealer {
    /// Where the keys are; a key without a file lives as long as the process.
    file: Option<PathBuf>,
    keys: RwLock<Arc<[NamedKey]>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.read().iter().map(|key| &key.name)).finish()
    }
}

impl Sealer {
    /// Makes a sealer with a fresh key that is kept nowhere, for stores that live in memory.
    ///
    /// # Errors
    ///
    /// [`SealError::Cryptography`] when the system gives no randomness.
    pub(crate) fn ephemeral() -> Result<Self, SealError> {
        let keys = named_keys(&[random::<KEY_BYTES>()?])?;
        Ok(Self { file: None, keys: RwLock::new(keys) })
    }

    /// Reads the key file, or creates it with a fresh key when `may_create` and there is none.
    ///
    /// # Errors
    ///
    /// [`SealError`] when the file is missing and may not be created, is readable by others, or holds no key.
    pub(crate) fn from_file(path: &Path, may_create: bool) -> Result<Self, SealError> {
        let keys = match key_file::read(path) {
            Err(SealError::Missing(_)) if may_create => key_file::create(path)?,
            keys => keys?,
        };
        Ok(Self { file: Some(path.to_owned()), keys: RwLock::new(named_keys(&keys)?) })
    }

    /// Returns where the keys are.
    ///
    /// # Errors
    ///
    /// [`SealError::NoFile`] for a key in memory.
    pub(crate) fn file(&self) -> Result<&Path, SealError> {
        self.file.as_deref().ok_or(SealError::NoFile)
    }

    /// Reads the key file again.
    ///
    /// # Errors
    ///
    /// As [`Sealer::from_file`]; the keys stay as they were.
    pub(crate) fn reload(&self) -> Result<(), SealError> {
        if let Some(path) = &self.file {
            *self.keys.write() = named_keys(&key_file::read(path)?)?;
        }
        Ok(())
    }

    /// Seals `secret` for `place` with the first key of the file as it stands.
    pub(crate) fn seal(&self, place: Place<'_>, secret: &Secret<String>) -> Result<Sealed, SealError> {
        // Sealing is rare, and a key that is gone from the file would open nothing after a restart.
        self.reload()?;
        self.seal_with_known(place, secret)
    }

    fn seal_with_known(&self, place: Place<'_>, secret: &Secret<String>) -> Result<Sealed, SealError> {
        let keys = Arc::clone(&self.keys.read());
        let first = keys.first().ok_or(SealError::Cryptography)?;
        let nonce_bytes = random::<NONCE_LEN>()?;
        let mut data = secret.expose().clone().into_bytes();
        let nonce = Nonce::assume_unique_for_key(nonce_bytes);
        first
            .key
            .seal_in_place_append_tag(nonce, Aad::from(place.associated_data()), &mut data)
            .map_err(|_| SealError::Cryptography)?;
        let text = format!("{TEXT_TAG}:{}:{}:{}", first.name, BASE64.encode(nonce_bytes), BASE64.encode(data));
        Ok(Sealed(text))
    }

    /// Opens what was sealed for `place`. A key that is not known yet is looked for in the file.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Secret<String>, SealError> {
        match self.open_with_known(place, sealed) {
            Err(SealError::UnknownKey(_)) => {
                self.reload()?;
                self.open_with_known(place, sealed)
            }
            opened => opened,
        }
    }

    fn open_with_known(&self, place: Place<'_>, sealed: &Sealed) -> Result<Secret<String>, SealError> {
        let mut parts = sealed.0.split(':');
        let (Some(TEXT_TAG), Some(name), Some(nonce), Some(data), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::DoesNotOpen);
        };
        let keys = Arc::clone(&self.keys.read());
        let key = keys
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| SealError::UnknownKey(name.chars().take(16).collect()))?;
        let nonce: [u8; NONCE_LEN] =
            BASE64.decode(nonce).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(SealError::DoesNotOpen)?;
        let mut data = BASE64.decode(data).map_err(|_| SealError::DoesNotOpen)?;
        let plain = key
            .key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(place.associated_data()), &mut data)
            .map_err(|_| SealError::DoesNotOpen)?;
        let text = std::str::from_utf8(plain).map_err(|_| SealError::DoesNotOpen)?;
        Ok(Secret::new(text.to_owned()))
    }

    /// Says whether a text was sealed with the first key; if not, it is due to be sealed again.
    pub(crate) fn is_current(&self, sealed: &Sealed) -> bool {
        let name = sealed.0.split(':').nth(1);
        self.keys.read().first().is_some_and(|first| Some(first.name.as_str()) == name)
    }

    /// Says whether a mark was made with the first key.
    pub(crate) fn is_current_mark(&self, mark: &str) -> bool {
        self.is_current(&Sealed(mark.to_owned()))
    }

    /// Seals a fixed text that tells later whether a key file belongs to a database.
    pub(crate) fn mark(&self) -> Result<String, SealError> {
        Ok(self.seal_with_known(MARK, &Secret::new(MARK_TEXT.to_owned()))?.0)
    }

    /// Says whether the mark of a database opens with these keys.
    pub(crate) fn recognises(&self, mark: &str) -> bool {
        self.open(MARK, &Sealed(mark.to_owned())).is_ok_and(|text| text.expose() == MARK_TEXT)
    }
}

const MARK: Place<'static> =
    Place { account: AccountId(uuid::Uuid::nil()), kind: Kind::Account, id: "", field: "sealing-key-mark" };

pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SealError::Cryptography)?;
    Ok(bytes)
}

fn named_keys(keys: &[[u8; KEY_BYTES]]) -> Result<Arc<[NamedKey]>, SealError> {
    keys.iter().map(named_key).collect()
}

/// Names a key by the first bytes of its hash, which say nothing about it.
fn named_key(bytes: &[u8; KEY_BYTES]) -> Result<NamedKey, SealError> {
    let hash = digest(&SHA256, bytes);
    let name = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Cryptography)?;
    Ok(NamedKey { name, key: LessSafeKey::new(key) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use types::{AccountId, Secret};
    use uuid::Uuid;

    use super::{Place, SealError, Sealed, Sealer};
    use crate::document::Kind;

    fn place(id: &str) -> Place<'_> {
        Place { account: AccountId(Uuid::from_u128(7)), kind: Kind::Certificate, id, field: "private_key" }
    }

    #[test]
    fn a_sealed_secret_opens_in_its_own_place_only() {
        let sealer = Sealer::ephemeral().unwrap();
        let sealed = sealer.seal(place("a"), &Secret::new("the key".into())).unwrap();
        assert_eq!(sealer.open(place("a"), &sealed).unwrap().expose(), "the key");
        assert!(matches!(sealer.open(place("b"), &sealed), Err(SealError::DoesNotOpen)));
        let other = Place { field: "certificate", ..place("a") };
        assert!(matches!(sealer.open(other, &sealed), Err(SealError::DoesNotOpen)));
    }

    #[test]
    fn sealed_text_shows_neither_the_secret_nor_that_two_are_equal() {
        let sealer = Sealer::ephemeral().unwrap();
        let secret = Secret::new("hunter2".to_owned());
        let (first, second) = (sealer.seal(place("a"), &secret).unwrap(), sealer.seal(place("a"), &secret).unwrap());
        assert_ne!(first, second);
        assert!(!first.0.contains("hunter2"));
        assert_eq!(format!("{first:?}"), "Sealed(…)");
    }

    #[test]
    fn another_key_is_named_and_a_changed_text_does_not_open() {
        let (ours, theirs) = (Sealer::ephemeral().unwrap(), Sealer::ephemeral().unwrap());
        let sealed = ours.seal(place("a"), &Secret::new("x".into())).unwrap();
        assert!(matches!(theirs.open(place("a"), &sealed), Err(SealError::UnknownKey(_))));
        for broken in ["", "sealed-v1", "sealed-v1:a:b:c", "plain text", &format!("{}A", sealed.0)] {
            assert!(ours.open(place("a"), &Sealed(broken.to_owned())).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_key_file_is_private_is_created_once_and_rotates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealing.key");
        assert!(matches!(Sealer::from_file(&path, false), Err(SealError::Missing(_))));
        let first = Sealer::from_file(&path, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = first.seal(place("a"), &Secret::new("old".into())).unwrap();

        let other_path = directory.path().join("other.key");
        Sealer::from_file(&other_path, true).unwrap();
        let rotated =
            format!("{}{}", std::fs::read_to_string(&other_path).unwrap(), std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, rotated).unwrap();
        let second = Sealer::from_file(&path, false).unwrap();
        assert_eq!(second.open(place("a"), &sealed).unwrap().expose(), "old");
        let fresh = second.seal(place("a"), &Secret::new("new".into())).unwrap();
        // A process from before the rotation looks for the new key in the file, and seals with it from then on.
        assert_eq!(first.open(place("a"), &fresh).unwrap().expose(), "new");
        assert!(second.is_current(&first.seal(place("a"), &Secret::new("late".into())).unwrap()));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Sealer::from_file(&path, false), Err(SealError::Exposed(_))));
        std::fs::write(&other_path, "not a key").unwrap();
        assert!(matches!(Sealer::from_file(&other_path, false), Err(SealError::Malformed(_))));
    }
}
