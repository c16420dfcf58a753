//! Which place the lake of a journal is in.
//!
//! A file beside the journal names the bucket once there is one. Invariant: a change of the configuration never hides
//! records that are in the place of before; it is refused, with what to do.

use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};

use super::place::Place;
use crate::bucket::Bucket;
use crate::durable;
use crate::error::OpenError;

/// The file that names the bucket, below the journal's directory.
const MARK: &str = "bucket";
/// The folder of a lake that is not in a bucket.
const LAKE: &str = "lake";

/// Opens the place of a journal's lake.
pub(crate) fn open(directory: &FilePath, bucket: Option<&Bucket>) -> Result<Place, OpenError> {
    let lake = directory.join(LAKE);
    agree(directory, bucket)?;
    let Some(bucket) = bucket else {
        return Place::local(&lake).map_err(|error| failed(&lake)(std::io::Error::other(error)));
    };
    if holds_tables(&lake).map_err(failed(&lake))? {
        return Err(OpenError::Unmoved { lake, bucket: bucket.url() });
    }
    let place = Place::bucket(bucket)?;
    claim(directory, bucket)?;
    Ok(place)
}

/// Refuses another place than the one that the lake is in.
pub(crate) fn agree(directory: &FilePath, bucket: Option<&Bucket>) -> Result<(), OpenError> {
    let mark = directory.join(MARK);
    let found = match std::fs::read_to_string(&mark) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&mark)(error)),
    };
    match bucket.map(Bucket::url) {
        Some(wanted) if wanted == found => Ok(()),
        wanted => {
            let wanted = wanted.unwrap_or_else(|| local(directory).display().to_string());
            Err(OpenError::Elsewhere { found, wanted, mark })
        }
    }
}

/// Writes down that the lake is in a bucket from here on.
pub(crate) fn claim(directory: &FilePath, bucket: &Bucket) -> Result<(), OpenError> {
    let mark = directory.join(MARK);
    let write = || {
        if mark.exists() {
            return Ok(());
        }
        durable::replace(&mark, format!("{}\n", bucket.url()).as_bytes())
    };
    write().map_err(failed(&mark))
}

/// Returns where the lake is that is in no bucket.
pub(crate) fn local(directory: &FilePath) -> PathBuf {
    directory.join(LAKE)
}

/// Says whether any table lies in a directory.
fn holds_tables(lake: &FilePath) -> std::io::Result<bool> {
    for account in folders(lake)? {
        for dataset in folders(&account)? {
            if dataset.join("_delta_log").is_dir() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn folders(directory: &FilePath) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

fn failed(path: &FilePath) -> impl Fn(std::io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::File { path: path.clone(), source }
}
