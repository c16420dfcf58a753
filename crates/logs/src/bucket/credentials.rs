//! Keys from a file as the AWS command line keeps them: sections of `aws_access_key_id`, `aws_secret_access_key` and, for
//! temporary ones, `aws_session_token`.
//!
//! Source: "Configuration and credential file settings" of the AWS CLI. Invariant: keys that were changed in the file are
//! used within [`LOOK_AGAIN`], without a restart; a file that is half written meanwhile is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use s3::CredentialProvider;
use s3::aws::AwsCredential;

/// How long keys are used without looking at the file.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const DEFAULT: &str = "default";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("credentials {0:?} cannot be read")]
    Read(PathBuf, #[source] std::io::Error),
    /// Everybody may read it.
    #[error("credentials {0:?} may be read by everybody; chmod 600 it")]
    Open(PathBuf),
    /// It does not have them.
    #[error("credentials {path:?} has no {key} in section [{profile}]")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// The section.
        profile: String,
        /// What is missing.
        key: &'static str,
    },
}

/// The keys of a file, as they were when it was last looked at.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    profile: String,
    last: Mutex<(Instant, Arc<AwsCredential>)>,
}

impl Kept {
    pub(crate) fn read(path: PathBuf, profile: Option<String>) -> Result<Self, CredentialsError> {
        let profile = profile.unwrap_or_else(|| DEFAULT.to_owned());
        let keys = Arc::new(read(&path, &profile)?);
        Ok(Self { path, profile, last: Mutex::new((Instant::now(), keys)) })
    }
}

#[async_trait]
impl CredentialProvider for Kept {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> s3::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock();
        if last.0.elapsed() > LOOK_AGAIN {
            last.0 = Instant::now();
            match read(&self.path, &self.profile) {
                Ok(keys) => last.1 = Arc::new(keys),
                // The store says so when the keys of before are none any more.
                Err(error) => tracing::warn!(%error, "the credentials of before are used"),
            }
        }
        Ok(Arc::clone(&last.1))
    }
}

fn read(path: &Path, profile: &str) -> Result<AwsCredential, CredentialsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| CredentialsError::Read(path.to_owned(), error);
    if std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o004 != 0 {
        return Err(CredentialsError::Open(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let value = |key: &'static str| find(&text, profile, key);
    let needed = |key: &'static str| {
        let missing = || CredentialsError::Missing { path: path.to_owned(), profile: profile.to_owned(), key };
        value(key).ok_or_else(missing)
    };
    Ok(AwsCredential {
        key_id: needed("aws_access_key_id")?,
        secret_key: needed("aws_secret_access_key")?,
        token: value("aws_session_token"),
    })
}

/// Returns a value of a section.
fn find(text: &str, profile: &str, key: &str) -> Option<String> {
    let mut within = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            within = section.trim() == profile;
        } else if within
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
            && name.trim().eq_ignore_ascii_case(key)
            && !value.trim().is_empty()
        {
            found = Some(value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::Kept;

    #[test]
    fn keys_are_those_of_the_section() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        let text = "# ours\n[other]\naws_access_key_id=x\n\n[default]\n; first\naws_access_key_id = AKIA\naws_secret_access_key = a/b+c=\n\
                    [temporary]\naws_access_key_id = T\naws_secret_access_key = S\naws_session_token = long==\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Kept::read(path.clone(), None).unwrap_err().to_string();
        assert!(refused.ends_with("may be read by everybody; chmod 600 it"), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (profile, expected) in [
            (None, "AKIA a/b+c= -"),
            (Some("temporary"), "T S long=="),
            (Some("other"), "has no aws_secret_access_key in section [other]"),
            (Some("none"), "has no aws_access_key_id in section [none]"),
        ] {
            let found = match Kept::read(path.clone(), profile.map(str::to_owned)) {
                Ok(kept) => {
                    let keys = &kept.last.lock().1;
                    format!("{} {} {}", keys.key_id, keys.secret_key, keys.token.as_deref().unwrap_or("-"))
                }
                Err(error) => error.to_string(),
            };
            assert!(found.ends_with(expected), "{profile:?}: {found}");
        }
    }
}
