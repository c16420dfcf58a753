//! The log of a table, in the Delta Lake format, which other engines read: numbered JSON files of actions.
//!
//! Each commit is one file, made only if it does not exist, so of two writers one has to look again. A commit names the
//! journal segment it holds (`txn`: the node and the segment's number), which is how a segment is taken over exactly
//! once. Source: the Delta Transaction Log Protocol, reader version 1, writer version 2. Pure: bytes in, bytes out.
//! Invariant: what a state is folded from may be replaced by a checkpoint of that state.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::schema;
use crate::records::Dataset;

/// A file of a table, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataFile {
    /// Within the table's directory.
    pub path: String,
    /// The day of its records in UTC.
    pub date: Date,
    pub bytes: u64,
    pub rows: u64,
    /// The earliest and the latest record, in Unix microseconds.
    pub time: (i64, i64),
    /// The lowest and the highest person; the highest may be cut off, and then ends in [`CUT`].
    pub person: (String, String),
    /// The lowest and the highest application.
    pub application: (String, String),
}

/// What stands for the rest of a text that was cut off at its end: greater than any.
pub(crate) const CUT: char = char::MAX;
/// How long a text of a file's statistics gets, in characters.
const LONGEST: usize = 128;

/// Cuts a text for use as a lower bound.
pub(crate) fn lower(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Cuts a text for use as an upper bound.
pub(crate) fn upper(text: &str) -> String {
    let mut bound = lower(text);
    if bound.len() < text.len() {
        bound.push(CUT);
    }
    bound
}

/// What a commit does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Add(Arc<DataFile>),
    Remove {
        path: String,
        /// Unix milliseconds.
        at: i64,
    },
    /// A node's journal is in the table up to this segment.
    Taken {
        node: String,
        segment: u64,
    },
    /// The table's id and the text of its schema.
    Schema {
        id: String,
        text: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Add {
    path: String,
    partition_values: BTreeMap<String, Option<String>>,
    size: i64,
    modification_time: i64,
    data_change: bool,
    stats: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    path: String,
    deletion_timestamp: Option<i64>,
    data_change: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Txn {
    app_id: String,
    version: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaData {
    id: String,
    name: Option<String>,
    description: Option<String>,
    format: Format,
    schema_string: String,
    partition_columns: Vec<String>,
    configuration: BTreeMap<String, Option<String>>,
    created_time: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    provider: String,
    #[serde(default)]
    options: BTreeMap<String, Option<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protocol {
    min_reader_version: i32,
    min_writer_version: i32,
}

/// One line of a commit; one of them is there.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    add: Option<Add>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remove: Option<Remove>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn: Option<Txn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta_data: Option<MetaData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
}

/// Why a log cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("not JSON of a table's log")]
    Json(#[from] serde_json::Error),
    #[error("the table needs reader version {0} of the Delta protocol; this program is of version 1")]
    Newer(i32),
    #[error("the file {0} has no statistics")]
    NoStatistics(String),
}

/// Names the file of a commit.
pub(crate) fn commit_name(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Writes a commit of a dataset's table. The first also says how the table is to be read.
pub(crate) fn write(dataset: Dataset, version: u64, actions: &[Action], rearranges: bool, now: Timestamp) -> Vec<u8> {
    let mut lines = vec![json!({"commitInfo": {
        "timestamp": now.as_millisecond(),
        "operation": if rearranges { "OPTIMIZE" } else { "WRITE" },
        "engineInfo": concat!("portunus/", env!("CARGO_PKG_VERSION")),
    }})];
    if version == 0 {
        lines.push(json!({"protocol": Protocol { min_reader_version: 1, min_writer_version: 2 }}));
    }
    lines.extend(actions.iter().map(|action| line(dataset, action, rearranges, now)));
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line.to_string().as_bytes());
        text.push(b'\n');
    }
    text
}

/// Returns an action as it stands in a commit or a checkpoint.
fn line(dataset: Dataset, action: &Action, rearranges: bool, now: Timestamp) -> Value {
    match action {
        Action::Add(file) => json!({"add": add(dataset, file, !rearranges, now)}),
        Action::Remove { path, at } => json!({"remove": Remove {
            path: path.clone(),
            deletion_timestamp: Some(*at),
            data_change: !rearranges,
        }}),
        Action::Taken { node, segment } => json!({"txn": Txn {
            app_id: node.clone(),
            version: i64::try_from(*segment).unwrap_or(i64::MAX),
        }}),
        Action::Schema { id, text } => json!({"metaData": MetaData {
            id: id.clone(),
            name: Some(dataset.as_str().to_owned()),
            description: None,
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: text.clone(),
            partition_columns: vec![schema::DATE.to_owned()],
            configuration: BTreeMap::new(),
            created_time: Some(now.as_millisecond()),
        }}),
    }
}

fn add(dataset: Dataset, file: &DataFile, data_change: bool, now: Timestamp) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: BTreeMap::from([(schema::DATE.to_owned(), Some(file.date.to_string()))]),
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: now.as_millisecond(),
        data_change,
        stats: Some(statistics(dataset, file).to_string()),
    }
}

/// The names of the columns that statistics speak of: time, person, application.
fn described(dataset: Dataset) -> [&'static str; 3] {
    let key = schema::key(dataset);
    [key.time, key.person, key.application].map(|place| dataset.fields().get(place).map_or("", |field| field.name))
}

fn statistics(dataset: Dataset, file: &DataFile) -> Value {
    let [time, person, application] = described(dataset);
    let moment = |micros: i64| Timestamp::from_microsecond(micros).unwrap_or_default().to_string();
    json!({
        "numRecords": file.rows,
        "minValues": {time: moment(file.time.0), person: file.person.0, application: file.application.0},
        "maxValues": {time: moment(file.time.1), person: file.person.1, application: file.application.1},
    })
}

fn data_file(dataset: Dataset, add: Add) -> Result<DataFile, LogError> {
    let missing = || LogError::NoStatistics(add.path.clone());
    let stats: Value = serde_json::from_str(add.stats.as_deref().ok_or_else(missing)?)?;
    let [time, person, application] = described(dataset);
    let text = |side: &str, name: &str| {
        stats
            .get(side)
            .and_then(|values| values.get(name))
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(missing)
    };
    let moment = |side: &str| -> Result<i64, LogError> {
        Ok(text(side, time)?.parse::<Timestamp>().map_err(|_| missing())?.as_microsecond())
    };
    let date = add.partition_values.get(schema::DATE).cloned().flatten();
    Ok(DataFile {
        date: date.and_then(|date| date.parse().ok()).ok_or_else(missing)?,
        bytes: u64::try_from(add.size).unwrap_or_default(),
        rows: stats.get("numRecords").and_then(Value::as_u64).ok_or_else(missing)?,
        time: (moment("minValues")?, moment("maxValues")?),
        person: (text("minValues", person)?, text("maxValues", person)?),
        application: (text("minValues", application)?, text("maxValues", application)?),
        path: add.path,
    })
}

/// Returns a commit in which files that are no longer part of the table are not described by persons for whom `without` says
/// so; `None` when there is none. The description is widened, so that it stays true.
pub(crate) fn without_person(
    dataset: Dataset,
    text: &[u8],
    still: impl Fn(&str) -> bool,
    without: impl Fn(&str) -> bool,
) -> Result<Option<Vec<u8>>, LogError> {
    let [_, person, _] = described(dataset);
    let (mut changed, mut lines) = (false, Vec::with_capacity(text.len()));
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut value: Value = serde_json::from_slice(line)?;
        let is_still = value.pointer("/add/path").and_then(Value::as_str).is_none_or(&still);
        let stats = value.pointer("/add/stats").and_then(Value::as_str).filter(|_| !is_still);
        if let Some(mut stats) = stats.map(serde_json::from_str::<Value>).transpose()? {
            let mut rewritten = false;
            for (side, widest) in [("minValues", String::new()), ("maxValues", CUT.to_string())] {
                let bound = stats.get_mut(side).and_then(|values| values.get_mut(person));
                if let Some(bound) = bound.filter(|bound| bound.as_str().is_some_and(&without)) {
                    *bound = Value::String(widest);
                    rewritten = true;
                }
            }
            if rewritten {
                changed = true;
                value["add"]["stats"] = Value::String(stats.to_string());
                lines.extend_from_slice(value.to_string().as_bytes());
                lines.push(b'\n');
                continue;
            }
        }
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    Ok(changed.then_some(lines))
}

/// Reads the actions of a commit or of a checkpoint's lines.
pub(crate) fn read(dataset: Dataset, text: &[u8]) -> Result<Vec<Action>, LogError> {
    let mut actions = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line)?;
        if let Some(protocol) = line.protocol
            && protocol.min_reader_version > 1
        {
            return Err(LogError::Newer(protocol.min_reader_version));
        }
        if let Some(add) = line.add {
            actions.push(Action::Add(Arc::new(data_file(dataset, add)?)));
        }
        if let Some(remove) = line.remove {
            actions.push(Action::Remove { path: remove.path, at: remove.deletion_timestamp.unwrap_or_default() });
        }
        if let Some(txn) = line.txn {
            actions.push(Action::Taken { node: txn.app_id, segment: u64::try_from(txn.version).unwrap_or_default() });
        }
        if let Some(meta) = line.meta_data {
            actions.push(Action::Schema { id: meta.id, text: meta.schema_string });
        }
    }
    Ok(actions)
}

/// What the commits of a table come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    /// The number of the next commit.
    pub next: u64,
    pub id: String,
    pub schema: String,
    /// How far the journal of each node has been taken over.
    pub taken: BTreeMap<String, u64>,
    pub files: BTreeMap<String, Arc<DataFile>>,
    /// Files that are no longer part of the table and may still be read, with the time of their removal.
    pub removed: BTreeMap<String, i64>,
}

impl State {
    pub(crate) fn apply(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Add(file) => {
                    self.removed.remove(&file.path);
                    self.files.insert(file.path.clone(), Arc::clone(file));
                }
                Action::Remove { path, at } => {
                    self.files.remove(path);
                    self.removed.insert(path.clone(), *at);
                }
                Action::Taken { node, segment } => {
                    self.taken.insert(node.clone(), *segment);
                }
                Action::Schema { id, text } => {
                    self.id.clone_from(id);
                    self.schema.clone_from(text);
                }
            }
        }
    }

    /// Returns the actions that make this state, for a checkpoint.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let schema = Action::Schema { id: self.id.clone(), text: self.schema.clone() };
        let taken = self.taken.iter().map(|(node, segment)| Action::Taken { node: node.clone(), segment: *segment });
        let files = self.files.values().map(|file| Action::Add(Arc::clone(file)));
        let removed = self.removed.iter().map(|(path, at)| Action::Remove { path: path.clone(), at: *at });
        std::iter::once(schema).chain(taken).chain(files).chain(removed).collect()
    }
}

/// Returns the lines of a checkpoint of a state.
pub(crate) fn checkpoint_lines(dataset: Dataset, state: &State, now: Timestamp) -> Vec<u8> {
    let protocol = json!({"protocol": Protocol { min_reader_version: 1, min_writer_version: 2 }});
    let actions = state.actions();
    let lines = actions.iter().map(|action| line(dataset, action, true, now));
    let mut text = Vec::new();
    for line in std::iter::once(protocol).chain(lines) {
        text.extend_from_slice(line.to_string().as_bytes());
        text.push(b'\n');
    }
    text
}
