//! Folds the counts of files into the tables that were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datasketches::hll::{HllSketch, HllUnion};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::columns::{APPLICATION, FIRST_MEASURE, KEY, MEASURES, Part};
use super::counter::{OTHER, REGISTERS};
use super::{Ask, EVERY_APPLICATION, Measures, Over, Usage, View};

/// How many lines a table has before further names count as one.
const MOST_LINES: usize = 1 << 20;

/// A date and an hour of it, when the time is divided.
type Time = Option<(Date, i8)>;

#[derive(Debug, Default)]
struct Line {
    measures: Measures,
    people: Option<HllUnion>,
    devices: Option<HllUnion>,
}

/// A table that is being folded.
#[derive(Debug)]
pub(crate) struct Fold {
    ask: Ask,
    lines: BTreeMap<(Time, i64, Arc<str>), Line>,
}

impl Fold {
    pub(crate) const fn new(ask: Ask) -> Self {
        Self { ask, lines: BTreeMap::new() }
    }

    pub(crate) const fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Returns the part of a file that answers soonest.
    pub(crate) const fn part(&self) -> Part {
        match (self.ask.view, &self.ask.key, self.ask.application) {
            (View::Person, Some(_), None) => Part::PersonFirst,
            (view, ..) => Part::ByApplication(view),
        }
    }

    /// Adds counts of a day, which may hold more than was asked for. Sketches that cannot be read count nobody.
    pub(crate) fn add(&mut self, date: Date, batch: &RecordBatch) {
        let applications = batch.column(APPLICATION).as_primitive::<Int64Type>();
        let keys = batch.column(KEY).as_string::<i32>();
        let measures: [&Int64Array; MEASURES.len()] =
            std::array::from_fn(|place| batch.column(FIRST_MEASURE + place).as_primitive::<Int64Type>());
        let sketches = |name: &str| batch.column_by_name(name).filter(|_| self.ask.distinct)?.as_binary_opt::<i32>();
        let (people, devices) = (sketches("people"), sketches("devices"));
        let (whole, other): (Arc<str>, Arc<str>) = (Arc::from(""), Arc::from(OTHER));
        for row in 0..batch.num_rows() {
            let (application, key) = (applications.value(row), keys.value(row));
            let unasked = self.ask.application.is_some_and(|wanted| wanted != application)
                || self.ask.key.as_ref().is_some_and(|wanted| wanted != key)
                || self.ask.together.as_ref().is_some_and(|wanted| !wanted.contains(&application));
            if unasked {
                continue;
            }
            let application = if self.ask.together.is_some() { EVERY_APPLICATION } else { application };
            let time = match self.ask.over {
                Over::Whole => None,
                Over::Days => Some((date, 0)),
                Over::Hours => Some((date, key.parse().unwrap_or_default())),
            };
            // Hours are either the time or, folded over days, what is asked about.
            let key = if self.ask.over == Over::Hours || key.is_empty() { Arc::clone(&whole) } else { Arc::from(key) };
            let mut place = (time, application, key);
            if self.lines.len() >= MOST_LINES && !self.lines.contains_key(&place) {
                place.2 = Arc::clone(&other);
            }
            let line = self.lines.entry(place).or_default();
            let number = |place: usize| u64::try_from(measures[place].value(row)).unwrap_or_default();
            line.measures.add(&Measures {
                requests: number(0),
                blocked: number(1),
                uploads: number(2),
                messages: number(3),
                bytes_sent: number(4),
                bytes_received: number(5),
                errors: number(6),
            });
            unite(&mut line.people, people, row);
            unite(&mut line.devices, devices, row);
        }
    }

    /// Returns the table.
    pub(crate) fn finish(self) -> Vec<Usage> {
        let lines = self.lines.into_iter().map(|((time, application, key), line)| Usage {
            time: time.and_then(|(date, hour)| moment(date, hour)),
            application,
            key: key.to_string(),
            measures: line.measures,
            people: line.people.map(|people| people.composite_estimate()),
            devices: line.devices.map(|devices| devices.composite_estimate()),
        });
        lines.collect()
    }
}

fn moment(date: Date, hour: i8) -> Option<Timestamp> {
    Some(date.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn unite(union: &mut Option<HllUnion>, sketches: Option<&BinaryArray>, row: usize) {
    let Some(sketches) = sketches.filter(|sketches| sketches.is_valid(row)) else { return };
    let Ok(sketch) = HllSketch::deserialize(sketches.value(row)) else { return };
    if union.is_none() {
        *union = HllUnion::new(REGISTERS).ok();
    }
    if let Some(union) = union {
        union.update(&sketch);
    }
}
