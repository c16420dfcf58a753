//! The columns of a dataset: their Arrow types, how a file is sorted, and the Delta schema that describes them to others.
//!
//! A column has the name of its field. Text, numbers and lists that are absent are empty, zero and empty lists, as in
//! Logpush; JSON that is absent is null, and so is a column that an older file does not have. `date` is not in the files
//! but in their path. Invariant: a column's type follows from its field's [`Kind`] alone.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use crate::records::Dataset;
use crate::wire::Kind;

/// The name of the column that the path holds: the day of a record in UTC.
pub(crate) const DATE: &str = "date";
/// The name Delta and Parquet give the elements of a list.
const ELEMENT: &str = "element";

/// Returns the columns of a dataset's files.
pub(crate) fn columns(dataset: Dataset) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; Dataset::ALL.len()]> = LazyLock::new(|| {
        Dataset::ALL.map(|dataset| {
            let fields = dataset.fields().iter().map(|field| Field::new(field.name, data_type(field.kind), true));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        })
    });
    Arc::clone(&SCHEMAS[dataset.index()])
}

/// Returns the type of a column.
pub(crate) fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text | Kind::Json | Kind::Jsons | Kind::Id => DataType::Utf8,
        Kind::Integer | Kind::Count => DataType::Int64,
        Kind::Small => DataType::Int32,
        Kind::Flag => DataType::Boolean,
        Kind::Texts => DataType::List(element(DataType::Utf8)),
        Kind::Integers => DataType::List(element(DataType::Int64)),
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
    }
}

/// Returns the field of a list's elements.
pub(crate) fn element(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new(ELEMENT, data_type, false))
}

/// What prunes: the fields that files are sorted by and described with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The place of the person's address, or of what stands for it.
    pub person: usize,
    /// The place of the application's host, or of what stands for it.
    pub application: usize,
    /// The place of the record's time.
    pub time: usize,
}

/// Returns what a dataset's files are sorted by: person, then application, then time.
pub(crate) fn key(dataset: Dataset) -> Key {
    let (person, application, time) = match dataset {
        Dataset::GatewayHttp => ("Email", "HTTPHost", "Datetime"),
        Dataset::GatewayNetwork => ("Email", "DestinationHost", "Datetime"),
        Dataset::Worker => ("ScriptName", "EventType", "Datetime"),
        Dataset::Audit => ("ActorEmail", "ResourceType", "When"),
        Dataset::AccessRequests => ("Email", "AppDomain", "CreatedAt"),
        Dataset::McpPortalLogs => ("UserEmail", "ServerID", "Datetime"),
    };
    let place = |name| dataset.fields().iter().position(|field| field.name == name).unwrap_or_default();
    Key { person: place(person), application: place(application), time: place(time) }
}

/// Returns the schema as the Delta protocol writes it ("Schema Serialization Format").
pub(crate) fn delta(dataset: Dataset) -> Value {
    let mut fields: Vec<_> = dataset
        .fields()
        .iter()
        .map(|field| delta_field(field.name, delta_type(field.kind), field.description))
        .collect();
    fields.push(delta_field(DATE, json!("date"), "The day of the record in UTC."));
    json!({"type": "struct", "fields": fields})
}

fn delta_field(name: &str, data_type: Value, comment: &str) -> Value {
    json!({"name": name, "type": data_type, "nullable": true, "metadata": {"comment": comment}})
}

fn delta_type(kind: Kind) -> Value {
    let list = |element: &str| json!({"type": "array", "elementType": element, "containsNull": false});
    match kind {
        Kind::Text | Kind::Json | Kind::Jsons | Kind::Id => json!("string"),
        Kind::Integer | Kind::Count => json!("long"),
        Kind::Small => json!("integer"),
        Kind::Flag => json!("boolean"),
        Kind::Texts => list("string"),
        Kind::Integers => list("long"),
        Kind::Time => json!("timestamp"),
    }
}

#[cfg(test)]
mod tests {
    use super::{columns, key};
    use crate::records::Dataset;

    #[test]
    fn every_dataset_is_sorted_by_fields_it_has() {
        for dataset in Dataset::ALL {
            let key = key(dataset);
            let (schema, id) = (columns(dataset), 0);
            assert!(key.person != id && key.application != id && key.time != id, "{dataset}");
            assert!(schema.field(key.time).data_type().is_temporal(), "{dataset}");
        }
    }
}
