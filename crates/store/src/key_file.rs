//! The file of sealing keys: read, made, given a new first key, rid of the older ones.
//!
//! One key a line; the first seals, all open. It does not know what was sealed with which. Invariants: only its owner can
//! read it, from its first byte on; it is replaced whole or not at all, and a change that returned survives a power cut.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::seal::{SealError, random};

pub(crate) const KEY_BYTES: usize = 32;
pub(crate) type Key = [u8; KEY_BYTES];

const TAG: &str = "portunus-sealing-key-v1";
const INTRODUCTION: &str =
    "# Opens the secrets in the database. Keep a copy apart from it. First line seals, every line opens.";
/// Longer than any write may take, so that whatever was sealed under another first key is stored by then.
const SETTLED: Duration = Duration::from_secs(60);

/// Reads the keys, in order. Empty lines and lines starting with `#` are skipped.
///
/// # Errors
///
/// [`SealError::Missing`], [`SealError::Exposed`], [`SealError::Malformed`].
pub(crate) fn read(path: &Path) -> Result<Vec<Key>, SealError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            check_mode(path)?;
            parse(&text).ok_or_else(|| SealError::Malformed(path.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(SealError::Missing(path.to_owned())),
        Err(source) => Err(SealError::File { path: path.to_owned(), source }),
    }
}

fn parse(text: &str) -> Option<Vec<Key>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|line| BASE64.decode(line.strip_prefix(TAG)?.trim()).ok()?.try_into().ok());
    keys.collect::<Option<Vec<Key>>>().filter(|keys| !keys.is_empty())
}

/// Makes the file with one fresh key.
///
/// # Errors
///
/// [`SealError::File`], also when it exists.
pub(crate) fn create(path: &Path) -> Result<Vec<Key>, SealError> {
    let key = random::<KEY_BYTES>()?;
    let fail = |source| SealError::File { path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    write(&file, &[key]).and_then(|()| sync_directory(path)).map_err(fail)?;
    Ok(vec![key])
}

/// Puts a fresh key first; the others go on opening what they sealed.
///
/// # Errors
///
/// As [`read`]; [`SealError::Busy`] while another process changes the file.
pub(crate) fn put_first(path: &Path) -> Result<(), SealError> {
    let _lock = lock(path)?;
    let mut keys = read(path)?;
    keys.insert(0, random::<KEY_BYTES>()?);
    replace(path, &keys)
}

/// Leaves the first key alone, and returns how many went.
///
/// # Errors
///
/// As [`put_first`]; [`SealError::TooFresh`] within a minute of the last change.
pub(crate) fn keep_first(path: &Path) -> Result<usize, SealError> {
    let _lock = lock(path)?;
    let keys = read(path)?;
    if keys.len() == 1 {
        return Ok(0);
    }
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|source| SealError::File { path: path.to_owned(), source })?;
    // A time in the future is as good as a moment ago.
    if modified.elapsed().is_ok_and(|age| age >= SETTLED) {
        replace(path, &keys[..1])?;
        return Ok(keys.len() - 1);
    }
    Err(SealError::TooFresh(path.to_owned()))
}

/// Writes the keys beside the file and renames.
fn replace(path: &Path, keys: &[Key]) -> Result<(), SealError> {
    let fail = |source| SealError::File { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // Left by a process that was killed; the lock says that none is at work.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(fail)?;
    write(&file, keys).and_then(|()| std::fs::rename(&beside, path)).and_then(|()| sync_directory(path)).map_err(fail)
}

fn write(mut file: &File, keys: &[Key]) -> std::io::Result<()> {
    let lines: Vec<_> = keys.iter().map(|key| format!("{TAG} {}\n", BASE64.encode(key))).collect();
    file.write_all(format!("{INTRODUCTION}\n{}", lines.concat()).as_bytes())?;
    file.sync_all()
}

/// The name itself must survive a power cut, or the database outlives its key.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Takes the right to change the file; the system gives it back when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, SealError> {
    let fail = |source| SealError::File { path: path.to_owned(), source };
    // The file itself is replaced, so its lock would be on what nobody opens any more.
    let directory = File::open(directory(path)).map_err(fail)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(std::fs::TryLockError::WouldBlock) => Err(SealError::Busy(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn check_mode(path: &Path) -> Result<(), SealError> {
    let metadata = std::fs::metadata(path).map_err(|source| SealError::File { path: path.to_owned(), source })?;
    if metadata.permissions().mode() & 0o077 == 0 { Ok(()) } else { Err(SealError::Exposed(path.to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    use super::{create, keep_first, lock, put_first, read};
    use crate::seal::SealError;

    #[test]
    fn a_new_key_comes_first_and_the_older_go_once_everything_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealing.key");
        let first = create(&path).unwrap();
        // What a rotation that was killed left behind is in nobody's way.
        std::fs::write(directory.path().join("sealing.key.new"), "half a li").unwrap();
        put_first(&path).unwrap();
        let both = read(&path).unwrap();
        assert_eq!((both.len(), both[1]), (2, first[0]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

        assert!(matches!(keep_first(&path), Err(SealError::TooFresh(_))));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        assert_eq!(keep_first(&path).unwrap(), 1);
        assert_eq!(read(&path).unwrap(), both[..1]);
        assert_eq!(keep_first(&path).unwrap(), 0);
    }

    #[test]
    fn two_rotations_never_run_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealing.key");
        create(&path).unwrap();
        let held = lock(&path).unwrap();
        assert!(matches!(put_first(&path), Err(SealError::Busy(_))));
        drop(held);
        put_first(&path).unwrap();
    }
}
