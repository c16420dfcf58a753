//! How records look at the destination: the output options of the Logpush API.
//!
//! Options are checked against the fields of the dataset when they are read. Invariant: the same record gives the same bytes
//! whenever it is written, and is in the sample or not whoever asks.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Field, Shape, find};

/// The longest of the texts around records, in bytes.
const MAX_TEXT: usize = 4_096;
/// The most fields that are named.
const MAX_FIELDS: usize = 500;

/// The options as their author wrote them; what is absent has the default of the output type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputOptions {
    /// Which fields, in this order; without it those that hold something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_names: Option<Vec<String>>,
    /// `ndjson` or `csv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_type: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_format: Option<TimestampFormat>,
    /// Before each batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_prefix: Option<String>,
    /// After each batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_suffix: Option<String>,
    /// Before each record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_prefix: Option<String>,
    /// After each record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_suffix: Option<String>,
    /// Between records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_delimiter: Option<String>,
    /// In place of keys and values: text with `{{.Field}}` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_template: Option<String>,
    /// Between fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_delimiter: Option<String>,
    /// Which part of the records, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<f64>,
    /// Whether `${` becomes `x{`.
    #[serde(rename = "CVE-2021-44228", skip_serializing_if = "Option::is_none")]
    pub cve_2021_44228: Option<bool>,
}

/// The output type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An object a line.
    #[default]
    Ndjson,
    /// Values with commas between them (RFC 4180), without a header.
    Csv,
}

/// How moments are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFormat {
    /// Nanoseconds since 1970, a number.
    #[default]
    UnixNano,
    /// Seconds since 1970, a number.
    Unix,
    /// RFC 3339 in UTC, to the second.
    Rfc3339,
}

/// Reads the older form of the options: `fields=RayID,ClientIP&timestamps=rfc3339&sample=0.1`.
///
/// # Errors
///
/// A sentence that says what is wrong.
pub fn from_logpull(text: &str) -> Result<OutputOptions, String> {
    let mut options = OutputOptions::default();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match name.as_ref() {
            "fields" => options.field_names = Some(value.split(',').map(|name| name.trim().to_owned()).collect()),
            "timestamps" => {
                let format = serde_json::from_value(Value::String(value.into_owned()));
                options.timestamp_format = Some(format.map_err(|_| "timestamps must be unixnano, unix or rfc3339")?);
            }
            "sample" => {
                options.sample_rate = Some(value.parse().map_err(|_| "sample must be a number between 0 and 1")?);
            }
            "CVE-2021-44228" => options.cve_2021_44228 = Some(value == "true"),
            other => return Err(format!("has the unknown option {other:?}")),
        }
    }
    Ok(options)
}

/// What is wrong with options: the member, and a sentence.
pub type OptionProblem = (&'static str, String);

/// Options that were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Every field of the dataset, in its order.
    known: Vec<Field>,
    named: Option<Vec<Field>>,
    template: Option<Vec<Part>>,
    format: Format,
    times: TimestampFormat,
    batch: (String, String),
    record: (String, String),
    record_delimiter: String,
    field_delimiter: String,
    /// Ids whose hash is less are in the sample; `None`: all are.
    sample: Option<u64>,
    harmless: bool,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
}

impl Output {
    /// Checks options against the fields of the dataset.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn new(options: &OutputOptions, fields: &[Field]) -> Result<Self, Vec<OptionProblem>> {
        let mut problems = Vec::new();
        let named = options.field_names.as_ref().filter(|names| !names.is_empty()).map(|names| {
            if names.len() > MAX_FIELDS {
                problems.push(("field_names", format!("has more than {MAX_FIELDS} fields")));
            }
            let found = names.iter().filter_map(|name| {
                let field = find(fields, name);
                if field.is_none() {
                    problems.push(("field_names", format!("{name:?} is no field of the dataset")));
                }
                field.copied()
            });
            found.collect::<Vec<_>>()
        });
        let format = options.output_type.unwrap_or_default();
        let template = match options.record_template.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => match parts(text, fields) {
                Ok(parts) => Some(parts),
                Err(problem) => {
                    problems.push(("record_template", problem));
                    None
                }
            },
            None => None,
        };
        if format == Format::Csv && named.is_none() && template.is_none() {
            problems.push(("field_names", "are needed for csv, so that every record has the same columns".to_owned()));
        }
        let sample = match options.sample_rate {
            None => None,
            // 0 is what clients send for an option that they do not set.
            Some(rate) if rate == 1.0 || rate == 0.0 => None,
            Some(rate) if rate > 0.0 && rate < 1.0 => Some((rate * u64::MAX as f64) as u64),
            Some(_) => {
                problems.push(("sample_rate", "must be a number between 0 and 1".to_owned()));
                None
            }
        };
        let texts: [(&'static str, &Option<String>); 6] = [
            ("batch_prefix", &options.batch_prefix),
            ("batch_suffix", &options.batch_suffix),
            ("record_prefix", &options.record_prefix),
            ("record_suffix", &options.record_suffix),
            ("record_delimiter", &options.record_delimiter),
            ("field_delimiter", &options.field_delimiter),
        ];
        for (name, text) in texts {
            if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
                problems.push((name, format!("has more than {MAX_TEXT} bytes")));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (before, after) = match (format, template.is_some()) {
            (Format::Ndjson, false) => ("{", "}\n"),
            (Format::Ndjson | Format::Csv, _) => ("", "\n"),
        };
        let or = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
        Ok(Self {
            known: fields.to_vec(),
            named,
            template,
            format,
            times: options.timestamp_format.unwrap_or_default(),
            batch: (or(&options.batch_prefix, ""), or(&options.batch_suffix, "")),
            record: (or(&options.record_prefix, before), or(&options.record_suffix, after)),
            record_delimiter: or(&options.record_delimiter, ""),
            field_delimiter: options
                .field_delimiter
                .clone()
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| ",".into()),
            sample,
            harmless: options.cve_2021_44228.unwrap_or_default(),
        })
    }

    /// Returns the output type.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Says whether a record is in the sample, by its id.
    #[must_use]
    pub fn samples(&self, id: &[u8; 16]) -> bool {
        // FNV-1a with a last stir: neighbouring ids, which share their time, must not fall together.
        let hash = id
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.sample.is_none_or(|least| hash < least)
    }

    /// Begins a batch.
    pub fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.batch.0.as_bytes());
    }

    /// Ends a batch.
    pub fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.batch.1.as_bytes());
    }

    /// Writes a record with what stands before and after it.
    pub fn write(&self, out: &mut Vec<u8>, record: &Map<String, Value>, first: bool) {
        if !first {
            out.extend_from_slice(self.record_delimiter.as_bytes());
        }
        out.extend_from_slice(self.record.0.as_bytes());
        let start = out.len();
        self.body(out, record);
        if self.harmless {
            defuse(out, start);
        }
        out.extend_from_slice(self.record.1.as_bytes());
    }

    /// Writes a record as one message: without what stands around records of a batch, an object where it is JSON.
    pub fn write_alone(&self, out: &mut Vec<u8>, record: &Map<String, Value>) {
        let braces = self.format == Format::Ndjson && self.template.is_none();
        out.extend_from_slice(if braces { b"{" } else { b"" });
        let start = out.len();
        self.body(out, record);
        if self.harmless {
            defuse(out, start);
        }
        out.extend_from_slice(if braces { b"}" } else { b"" });
    }

    fn body(&self, out: &mut Vec<u8>, record: &Map<String, Value>) {
        if let Some(parts) = &self.template {
            for part in parts {
                match part {
                    Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Part::Field(field) => self.value(out, field, record.get(field.name)),
                }
            }
            return;
        }
        let mut first = true;
        let fields = self.named.as_ref().unwrap_or(&self.known).iter();
        for field in fields {
            let value = record.get(field.name);
            if value.is_none() && self.named.is_none() {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.extend_from_slice(self.field_delimiter.as_bytes());
            }
            if self.format == Format::Ndjson {
                json(out, &Value::String(field.name.to_owned()));
                out.push(b':');
            }
            self.value(out, field, value);
        }
    }

    fn value(&self, out: &mut Vec<u8>, field: &Field, value: Option<&Value>) {
        let moment = value.and_then(Value::as_str).filter(|_| field.shape == Shape::Time);
        if let Some(moment) = moment.and_then(|text| text.parse::<Timestamp>().ok()) {
            let value = match self.times {
                TimestampFormat::UnixNano => i64::try_from(moment.as_nanosecond()).map(Value::from).unwrap_or_default(),
                TimestampFormat::Unix => Value::from(moment.as_second()),
                TimestampFormat::Rfc3339 => Value::String(format!("{moment:.0}")),
            };
            return self.plain(out, &value);
        }
        match value {
            Some(value) => self.plain(out, value),
            None => self.plain(out, &absent(field.shape)),
        }
    }

    fn plain(&self, out: &mut Vec<u8>, value: &Value) {
        match (self.format, value) {
            (Format::Ndjson, value) => json(out, value),
            (Format::Csv, Value::Null) => {}
            (Format::Csv, Value::String(text)) => self.cell(out, text),
            (Format::Csv, value) => self.cell(out, &value.to_string()),
        }
    }

    fn cell(&self, out: &mut Vec<u8>, text: &str) {
        if text.contains(['"', '\r', '\n']) || text.contains(self.field_delimiter.as_str()) {
            out.push(b'"');
            out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn absent(shape: Shape) -> Value {
    match shape {
        Shape::Text => Value::String(String::new()),
        Shape::Number => Value::from(0),
        Shape::Flag => Value::Bool(false),
        Shape::List => Value::Array(Vec::new()),
        Shape::Time | Shape::Json => Value::Null,
    }
}

fn json(out: &mut Vec<u8>, value: &Value) {
    // Writing a value to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// Makes `${` to `x{` from `start` on, so that what a record quotes is no lookup to a reader that evaluates it.
fn defuse(out: &mut [u8], start: usize) {
    for at in start..out.len().saturating_sub(1) {
        if out[at] == b'$' && out[at + 1] == b'{' {
            out[at] = b'x';
        }
    }
}

fn parts(text: &str, fields: &[Field]) -> Result<Vec<Part>, String> {
    if text.len() > MAX_TEXT * 4 {
        return Err(format!("has more than {} bytes", MAX_TEXT * 4));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, next) = after.split_once("}}").ok_or("has {{ without }}")?;
        let name = inside.trim().strip_prefix('.');
        let field = name.and_then(|name| find(fields, name));
        let field = field.ok_or_else(|| {
            let mut message = String::new();
            // Writing to a text cannot fail.
            let _ = write!(message, "has {{{{{inside}}}}}, which is not {{{{.Field}}}} with a field of the dataset");
            message
        })?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Field(*field));
        rest = next;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Output, OutputOptions, from_logpull};
    use crate::{Field, Shape};

    const FIELDS: [Field; 6] = [
        Field { name: "Datetime", shape: Shape::Time },
        Field { name: "Host", shape: Shape::Text },
        Field { name: "Status", shape: Shape::Number },
        Field { name: "Isolated", shape: Shape::Flag },
        Field { name: "Groups", shape: Shape::List },
        Field { name: "Info", shape: Shape::Json },
    ];

    fn options(value: Value) -> OutputOptions {
        serde_json::from_value(value).unwrap()
    }

    fn records() -> Vec<Map<String, Value>> {
        let records = [
            json!({"Datetime": "2026-11-28T10:00:00.25Z", "Host": "a,\"b\" ${x}", "Status": 403, "Groups": ["Eng"]}),
            json!({"Host": "c", "Isolated": true, "Info": {"k": [1]}}),
        ];
        records.into_iter().filter_map(|record| record.as_object().cloned()).collect()
    }

    fn written(given: Value) -> String {
        let output = Output::new(&options(given), &FIELDS).unwrap();
        let mut out = Vec::new();
        output.begin(&mut out);
        for (place, record) in records().iter().enumerate() {
            output.write(&mut out, record, place == 0);
        }
        output.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_look_as_the_options_say() {
        for (given, expected) in [
            (
                json!({}),
                "{\"Datetime\":1795860000250000000,\"Host\":\"a,\\\"b\\\" ${x}\",\"Status\":403,\"Groups\":[\"Eng\"]}\n\
                 {\"Host\":\"c\",\"Isolated\":true,\"Info\":{\"k\":[1]}}\n",
            ),
            (
                json!({"field_names": ["Status", "Datetime"], "timestamp_format": "rfc3339"}),
                "{\"Status\":403,\"Datetime\":\"2026-11-28T10:00:00Z\"}\n{\"Status\":0,\"Datetime\":null}\n",
            ),
            (
                json!({"field_names": ["Datetime"], "timestamp_format": "unix", "batch_prefix": "[", "batch_suffix": "]",
                    "record_suffix": "}", "record_delimiter": ","}),
                "[{\"Datetime\":1795860000},{\"Datetime\":null}]",
            ),
            (
                json!({"output_type": "csv", "field_names": ["Host", "Status", "Isolated", "Groups", "Datetime"],
                    "CVE-2021-44228": true, "batch_prefix": "Host,Status\n"}),
                "Host,Status\n\"a,\"\"b\"\" x{x}\",403,false,\"[\"\"Eng\"\"]\",1795860000250000000\nc,0,true,[],\n",
            ),
            (
                json!({"output_type": "csv", "field_names": ["Host", "Status"], "field_delimiter": "\t", "record_delimiter": "",
                    "record_suffix": "\r\n"}),
                "\"a,\"\"b\"\" ${x}\"\t403\r\nc\t0\r\n",
            ),
            (
                json!({"record_template": "{\"event\":{\"host\":{{.Host}},\"at\":{{ .Datetime }}}}", "timestamp_format": "unix"}),
                "{\"event\":{\"host\":\"a,\\\"b\\\" ${x}\",\"at\":1795860000}}\n{\"event\":{\"host\":\"c\",\"at\":null}}\n",
            ),
            (json!({"output_type": "csv", "record_template": "<{{.Status}}>"}), "<403>\n<0>\n"),
        ] {
            assert_eq!(written(given.clone()), expected, "{given}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_of_each_member() {
        for (given, member) in [
            (json!({"field_names": ["Nope"]}), "field_names"),
            (json!({"output_type": "csv"}), "field_names"),
            (json!({"sample_rate": 1.5}), "sample_rate"),
            (json!({"sample_rate": -0.1}), "sample_rate"),
            (json!({"record_template": "{{.Nope}}"}), "record_template"),
            (json!({"record_template": "{{range .Host}}"}), "record_template"),
            (json!({"record_template": "{{.Host"}), "record_template"),
            (json!({"batch_prefix": "x".repeat(5_000)}), "batch_prefix"),
        ] {
            let problems = Output::new(&options(given.clone()), &FIELDS).err().unwrap_or_default();
            assert_eq!(problems.iter().map(|(member, _)| *member).collect::<Vec<_>>(), [member], "{given}");
        }
        for unknown in [json!({"colour": 1}), json!({"output_type": "xml"}), json!({"timestamp_format": "julian"})] {
            assert!(serde_json::from_value::<OutputOptions>(unknown.clone()).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_sample_is_about_as_large_as_asked_and_the_same_each_time() {
        let output = Output::new(&options(json!({"sample_rate": 0.2})), &FIELDS).unwrap();
        // Neighbours, as time-ordered ids are.
        let ids = (0..20_000_u128).map(|number| (0x0193_0000_u128 << 96 | number).to_be_bytes());
        let count = ids.filter(|id| output.samples(id)).count();
        assert!((3_600..4_400).contains(&count), "{count} of 20000");
        for all in [json!({}), json!({"sample_rate": 1.0}), json!({"sample_rate": 0.0})] {
            assert!(Output::new(&options(all), &FIELDS).unwrap().samples(&[255; 16]));
        }
    }

    #[test]
    fn the_older_form_reads_as_the_newer() {
        let read = from_logpull("fields=Host,Status&timestamps=rfc3339&sample=0.1&CVE-2021-44228=true");
        let newer = json!({"field_names": ["Host", "Status"], "timestamp_format": "rfc3339", "sample_rate": 0.1,
            "CVE-2021-44228": true});
        assert_eq!(read, Ok(options(newer)));
        assert!(from_logpull("colour=1").is_err() && from_logpull("timestamps=x").is_err());
    }
}
