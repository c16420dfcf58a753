//! The ready file: how a script learns where a platform listens and with which token to talk to it.
//!
//! Written whole or not at all. Invariant: nobody but the owner can read it, from its first byte on.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::{AccountId, Secret};

/// What a started platform says of itself.
#[derive(Debug, Clone)]
pub struct Ready {
    pub account_id: AccountId,
    /// Ends in `/client/v4`.
    pub api_url: String,
    /// Full rights.
    pub api_token: Secret<String>,
    pub console_url: String,
    /// Where the first administrator is made; the sign-in page once there is one.
    pub setup_url: String,
    /// `http://host:port`.
    pub proxy: String,
    /// `https://host:port` of the sign-in host; empty without the role.
    pub access_url: String,
    pub ca_certificate: PathBuf,
}

#[derive(Serialize)]
struct File<'a> {
    account_id: AccountId,
    api_url: &'a str,
    api_token: &'a str,
    console_url: &'a str,
    setup_url: &'a str,
    proxy: &'a str,
    access_url: &'a str,
    ca_certificate: &'a Path,
}

impl Ready {
    /// Writes the file beside its final name and renames it, with mode 0600.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let content = File {
            account_id: self.account_id,
            api_url: &self.api_url,
            api_token: self.api_token.expose(),
            console_url: &self.console_url,
            setup_url: &self.setup_url,
            proxy: &self.proxy,
            access_url: &self.access_url,
            ca_certificate: &self.ca_certificate,
        };
        write_private(path, &serde_json::to_vec_pretty(&content)?)
    }
}

/// Where a running platform leaves its API address for commands beside it.
const RUNNING: &str = "running.json";

/// How a command on the same machine reaches the API of a running platform.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// Ends in `/client/v4`; empty on a node without a console.
    pub api_url: String,
    /// Where the listener is, whatever the host name in the URL resolves to.
    pub address: Option<SocketAddr>,
    /// PEM file with the certificates that the API's own may chain to; absent where it has none or the account's
    /// authority signs it.
    pub trust: Option<PathBuf>,
}

impl Running {
    /// Says that the API is at `api_url`, on this machine at the address of `reached`, and trusts what it names.
    #[must_use]
    pub fn new(api_url: &str, reached: Option<(SocketAddr, Option<PathBuf>)>) -> Self {
        let (address, trust) = reached.unzip();
        Self { api_url: api_url.to_owned(), address, trust: trust.flatten() }
    }
}

/// Leaves the API address in the data directory.
///
/// # Errors
/// The directory cannot be written.
pub fn announce_api(data: &Path, running: &Running) -> std::io::Result<()> {
    write_private(&data.join(RUNNING), &serde_json::to_vec(running)?)
}

/// Takes the address away again.
pub fn withdraw_api(data: &Path) {
    // Another process may have taken over; what is left then is its own.
    let _ = std::fs::remove_file(data.join(RUNNING));
}

/// Returns where the platform that runs over `data` has its API; one that was killed may have left its last.
///
/// # Errors
/// No platform has left one.
pub fn running_api(data: &Path) -> std::io::Result<Running> {
    Ok(serde_json::from_slice(&std::fs::read(data.join(RUNNING))?)?)
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// The directory cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&beside, path)).inspect_err(
        |_| {
            // The name is ours alone; what is left of a failed write helps nobody.
            let _ = std::fs::remove_file(&beside);
        },
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_is_readable_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready.json");
        std::fs::write(&path, "old").unwrap();
        super::write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
