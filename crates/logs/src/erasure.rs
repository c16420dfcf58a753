//! Erasures of people: which were asked for, how far each is, what came of it.
//!
//! Each is a small file beside the journal from the moment it is accepted, so that it goes on after a kill. The keeper does
//! the work. Invariant: the address stands in the file only until the erasure has ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use types::AccountId;
use uuid::Uuid;

use crate::durable;
use crate::records::Dataset;

/// The folder they are in, below that of the journal.
const FOLDER: &str = "erasures";
const VERSION: u32 = 1;
/// How many may wait at once.
const MOST_WAITING: usize = 64;
/// How many are remembered after they ended.
const MOST_ENDED: usize = 1_000;

/// Whose records go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The address; upper and lower case are the same.
    pub email: String,
    /// The ids the person is known by.
    #[serde(default)]
    pub ids: Vec<String>,
}

impl Person {
    pub(crate) fn has_address(&self, text: &str) -> bool {
        !text.is_empty() && (text.eq_ignore_ascii_case(&self.email) || text.to_lowercase() == self.email.to_lowercase())
    }

    pub(crate) fn has_id(&self, text: &str) -> bool {
        !text.is_empty() && self.ids.iter().any(|id| id == text)
    }
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// It waits for the lake.
    Waiting,
    /// Files are looked at and written again.
    Running,
    /// Nobody finds the records any more; the files that held them stay a little for queries that read them.
    Erased,
    /// Those files are deleted, too.
    Done,
}

/// One erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Its id.
    pub id: Uuid,
    /// The account it was asked for in.
    pub account: AccountId,
    /// When it was asked for; records of a later time stay.
    pub asked_at: Timestamp,
    /// How far it is.
    pub state: ErasureState,
    /// When nobody found the records any more.
    pub erased_at: Option<Timestamp>,
    /// How many files were looked at.
    pub files_done: u64,
    /// How many there were to look at, as far as is known.
    pub files_total: u64,
    /// How many records went, by the name of the dataset.
    pub records: BTreeMap<String, u64>,
    /// Why it does not get on, while it does not.
    #[serde(default)]
    pub failing: Option<String>,
}

/// An erasure as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(flatten)]
    erasure: Erasure,
    person: Option<Person>,
}

/// Why an erasure is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Too many wait.
    #[error("too many erasures wait already; try again when some of them are done")]
    TooMany,
    /// The journal does not get on.
    #[error(transparent)]
    Journal(#[from] crate::AppendError),
    /// It cannot be written down.
    #[error("the erasure cannot be written down")]
    File(#[source] std::io::Error),
}

/// Every erasure that is remembered.
#[derive(Debug)]
pub(crate) struct Erasures {
    directory: PathBuf,
    all: Mutex<BTreeMap<Uuid, Stored>>,
}

impl Erasures {
    /// Reads what was written down.
    pub(crate) fn open(journal: &Path) -> std::io::Result<Self> {
        let directory = journal.join(FOLDER);
        crate::create_private(&directory)?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                // Never became one.
                Some("tmp") => fs::remove_file(&path)?,
                Some("json") => {
                    let stored: Stored = serde_json::from_slice(&fs::read(&path)?)
                        .map_err(|error| std::io::Error::other(format!("{}: {error}", path.display())))?;
                    if stored.version > VERSION {
                        let why = format!("{} is of a newer version of this program", path.display());
                        return Err(std::io::Error::other(why));
                    }
                    all.insert(stored.erasure.id, stored);
                }
                Some(_) | None => {}
            }
        }
        Ok(Self { directory, all: Mutex::new(all) })
    }

    /// Accepts an erasure.
    pub(crate) fn add(&self, account: AccountId, person: Person, asked_at: Timestamp) -> Result<Erasure, EraseError> {
        let mut all = self.all.lock();
        if all.values().filter(|stored| stored.person.is_some()).count() >= MOST_WAITING {
            return Err(EraseError::TooMany);
        }
        let erasure = Erasure {
            id: crate::record_id(),
            account,
            asked_at,
            state: ErasureState::Waiting,
            erased_at: None,
            files_done: 0,
            files_total: 0,
            records: BTreeMap::new(),
            failing: None,
        };
        let stored = Stored { version: VERSION, erasure: erasure.clone(), person: Some(person) };
        self.keep(&stored).map_err(EraseError::File)?;
        all.insert(erasure.id, stored);
        // Ids are in order of time: the first are the oldest.
        while all.len() > MOST_ENDED
            && let Some(id) = all.iter().find(|(_, stored)| stored.person.is_none()).map(|(id, _)| *id)
        {
            // It is forgotten at the next start, then.
            if let Err(error) = fs::remove_file(self.path(id)) {
                tracing::warn!(%error, erasure = %id, "an old erasure could not be deleted");
            }
            all.remove(&id);
        }
        Ok(erasure)
    }

    /// Returns those that wait or were cut off, the oldest first.
    pub(crate) fn waiting(&self) -> Vec<(Erasure, Person)> {
        let all = self.all.lock();
        all.values().filter_map(|stored| Some((stored.erasure.clone(), stored.person.clone()?))).collect()
    }

    /// Changes what is known of one, on disk first.
    pub(crate) fn change(&self, id: Uuid, change: impl FnOnce(&mut Erasure)) -> std::io::Result<()> {
        let mut all = self.all.lock();
        let Some(stored) = all.get_mut(&id) else { return Ok(()) };
        let mut changed = stored.clone();
        change(&mut changed.erasure);
        if changed.erasure.erased_at.is_some() {
            changed.person = None;
        }
        self.keep(&changed)?;
        *stored = changed;
        Ok(())
    }

    /// Notes progress that need not survive a kill.
    pub(crate) fn progress(&self, id: Uuid, change: impl FnOnce(&mut Erasure)) {
        if let Some(stored) = self.all.lock().get_mut(&id) {
            change(&mut stored.erasure);
        }
    }

    /// Returns those of an account, newest first.
    pub(crate) fn of(&self, account: AccountId) -> Vec<Erasure> {
        let all = self.all.lock();
        all.values().rev().map(|stored| &stored.erasure).filter(|erasure| erasure.account == account).cloned().collect()
    }

    /// Returns those whose old files may still be there.
    pub(crate) fn erased(&self) -> Vec<Erasure> {
        let all = self.all.lock();
        let erased = all.values().filter(|stored| stored.erasure.state == ErasureState::Erased);
        erased.map(|stored| stored.erasure.clone()).collect()
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    fn keep(&self, stored: &Stored) -> std::io::Result<()> {
        durable::replace(&self.path(stored.erasure.id), &serde_json::to_vec(stored)?)
    }
}

/// Counts records of a dataset as erased.
pub(crate) fn count(erasure: &mut Erasure, dataset: Dataset, records: u64) {
    if records > 0 {
        *erasure.records.entry(dataset.as_str().to_owned()).or_default() += records;
    }
}
