//! A batch in the form its destination takes: lines that are packed, or messages with their lengths.
//!
//! Invariant: the bytes depend on the records and the job alone, so that a batch that is sent again is the same.

use std::io::Write as _;

use administration::operations::push_jobs::Prepared;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use logs::{Dataset, PushSink};
use push::output::Format;
use push::{Destination, Filter, Output, Syslog};
use serde_json::{Map, Value, json};
use types::PushJobId;
use uuid::Uuid;

/// The severity of messages: informational (RFC 5424 section 6.2.1).
const SEVERITY: u16 = 6;
/// How hard lines are packed: most of what there is to gain, at a third of the time.
const LEVEL: u32 = 4;

/// What goes to a destination at once.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// The same for a batch that is sent again, and no other's.
    pub name: String,
    /// The job's number; empty for a test.
    pub job: String,
    /// The name of the dataset; empty for a test.
    pub dataset: &'static str,
    pub records: u64,
    pub format: Format,
    /// The times of the first and the last record.
    pub times: (Timestamp, Timestamp),
    /// Packed with gzip, for all but syslog.
    pub body: Bytes,
}

/// Gathers records of the journal.
pub(super) struct Batch {
    dataset: Dataset,
    output: Output,
    filter: Filter,
    syslog: Option<Syslog>,
    time: &'static str,
    max_bytes: u64,
    max_records: u64,
    bytes: Vec<u8>,
    message: Vec<u8>,
    records: u64,
}

impl Batch {
    pub(super) fn new(prepared: &Prepared, destination: &Destination, max_records: u64) -> Self {
        let syslog = match destination {
            Destination::Syslog(syslog) => Some(syslog.clone()),
            Destination::Http(_) | Destination::S3(_) => None,
        };
        // That of the record itself is the first.
        let time = prepared.dataset.fields().iter().find(|field| field.kind == logs::Kind::Time);
        Self {
            dataset: prepared.dataset,
            output: prepared.output.clone(),
            filter: prepared.filter.clone(),
            syslog,
            time: time.map_or("", |field| field.name),
            max_bytes: prepared.max_bytes,
            max_records,
            bytes: Vec::new(),
            message: Vec::new(),
            records: 0,
        }
    }

    pub(super) const fn count(&self) -> u64 {
        self.records
    }

    /// Packs what was gathered, away from the threads that serve traffic.
    pub(super) async fn pack(self, name: String, job: PushJobId, times: Option<(Timestamp, Timestamp)>) -> Packed {
        let Self { dataset, output, syslog, mut bytes, records, .. } = self;
        let format = output.format();
        let body = match syslog {
            Some(_) => Bytes::from(bytes),
            None => {
                output.end(&mut bytes);
                gzip(bytes).await
            }
        };
        let job = job.to_string();
        let dataset = administration::operations::push_jobs::dataset_name(dataset);
        Packed { name, job, dataset, records, format, times: times.unwrap_or_default(), body }
    }

    fn message(&mut self, syslog: &Syslog, fields: &Map<String, Value>) {
        let time = fields.get(self.time).and_then(Value::as_str);
        self.message.clear();
        header(&mut self.message, syslog, time, administration::operations::push_jobs::dataset_name(self.dataset));
        self.output.write_alone(&mut self.message, fields);
        framed(&mut self.bytes, &self.message);
    }
}

impl PushSink for Batch {
    fn take(&mut self, id: Uuid, fields: &Map<String, Value>) {
        if !self.filter.holds(fields) || !self.output.samples(id.as_bytes()) {
            return;
        }
        match self.syslog.take() {
            Some(syslog) => {
                self.message(&syslog, fields);
                self.syslog = Some(syslog);
            }
            None => {
                let first = self.records == 0;
                if first {
                    self.output.begin(&mut self.bytes);
                }
                self.output.write(&mut self.bytes, fields, first);
            }
        }
        self.records += 1;
    }

    fn is_full(&self) -> bool {
        self.bytes.len() as u64 >= self.max_bytes || self.records >= self.max_records
    }

    fn records(&self) -> u64 {
        self.records
    }
}

/// The header of a message (RFC 5424 section 6.2). The id of a record is in its JSON.
fn header(out: &mut Vec<u8>, syslog: &Syslog, time: Option<&str>, id: &str) {
    let priority = u16::from(syslog.facility) * 8 + SEVERITY;
    // Microseconds are the finest that the grammar allows.
    let time = time.and_then(|text| text.parse::<Timestamp>().ok()).map(|time| format!("{time:.6}"));
    let time = time.as_deref().unwrap_or("-");
    // Writing to memory cannot fail.
    let _ = write!(out, "<{priority}>1 {time} {} {} - {id} - ", syslog.hostname, syslog.app_name);
}

/// A message with its length before it (RFC 6587 section 3.4.1, RFC 5425 section 4.3).
fn framed(out: &mut Vec<u8>, message: &[u8]) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{} ", message.len());
    out.extend_from_slice(message);
}

async fn gzip(bytes: Vec<u8>) -> Bytes {
    let packing = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::new(LEVEL));
        // Writing to memory cannot fail.
        let _ = encoder.write_all(&bytes);
        encoder.finish().unwrap_or_default()
    });
    packing.await.map(Bytes::from).unwrap_or_default()
}

/// A batch of one record that says that it is a test.
pub(super) async fn test(destination: &Destination) -> Packed {
    let record = json!({"content": "test", "sender": "Portunus"}).to_string();
    let now = Timestamp::now();
    let body = match destination {
        Destination::Syslog(syslog) => {
            let (mut out, mut message) = (Vec::new(), Vec::new());
            header(&mut message, syslog, Some(&now.to_string()), "test");
            message.extend_from_slice(record.as_bytes());
            framed(&mut out, &message);
            Bytes::from(out)
        }
        Destination::Http(_) | Destination::S3(_) => gzip(format!("{record}\n").into_bytes()).await,
    };
    Packed {
        name: format!("test-{}", Uuid::now_v7()),
        job: String::new(),
        dataset: "",
        records: 1,
        format: Format::Ndjson,
        times: (now, now),
        body,
    }
}

#[cfg(test)]
mod tests {
    use push::Syslog;

    use super::{framed, header};

    #[test]
    fn messages_have_the_header_of_rfc_5424_and_their_length() {
        let syslog = Syslog {
            host: "h".into(),
            port: 6514,
            tls: true,
            app_name: "portunus".into(),
            hostname: "-".into(),
            facility: 13,
        };
        let (mut message, mut out) = (Vec::new(), Vec::new());
        header(&mut message, &syslog, Some("2026-11-28T10:00:00.123456789Z"), "gateway_http");
        message.extend_from_slice("{\"a\":\"é\n\"}".as_bytes());
        framed(&mut out, &message);
        let expected = "<110>1 2026-11-28T10:00:00.123456Z - portunus - gateway_http - {\"a\":\"é\n\"}";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{} {expected}", expected.len()));
    }
}
