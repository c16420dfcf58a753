//! Folds the counts of files into the tables that were asked for.
//!
//! Invariant: folds of some files each, merged, are the fold of all of them.

use std::collections::HashMap;

use arrow::array::{Array as _, AsArray as _, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use foldhash::fast::RandomState;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::columns::{APPLICATION, FIRST_MEASURE, KEY, MEASURES};
use super::counter::OTHER;
use super::distinct::Union;
use super::{Ask, Measures, Over, Usage};

/// How many lines a table has before further names count as one.
const MOST_LINES: usize = 1 << 20;

/// A date and an hour of it, when the time is divided.
type Time = Option<(Date, i8)>;
/// What a line is of: a time, an application, and a name's number.
type Place = (Time, i64, u32);

#[derive(Debug, Default)]
struct Line {
    measures: Measures,
    people: Option<Union>,
    devices: Option<Union>,
}

impl Line {
    fn merge(&mut self, other: Self) {
        self.measures.add(&other.measures);
        for (own, other) in [(&mut self.people, other.people), (&mut self.devices, other.devices)] {
            if let Some(other) = other {
                own.get_or_insert_default().merge(other);
            }
        }
    }
}

/// A table that is being folded.
#[derive(Debug)]
pub(crate) struct Fold {
    ask: Ask,
    /// The numbers of names, from 1 on; 0 is that of what has none.
    names: HashMap<Box<str>, u32, RandomState>,
    lines: HashMap<Place, Line, RandomState>,
}

impl Fold {
    pub(crate) fn new(ask: Ask) -> Self {
        Self { ask, names: HashMap::default(), lines: HashMap::default() }
    }

    pub(crate) const fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Adds counts of a day, which may hold more than was asked for. Sketches that cannot be read count nobody.
    pub(crate) fn add(&mut self, date: Date, batch: &RecordBatch) {
        let applications = batch.column(APPLICATION).as_primitive::<Int64Type>();
        let keys = batch.column(KEY).as_string::<i32>();
        let measures: [&Int64Array; MEASURES.len()] =
            std::array::from_fn(|place| batch.column(FIRST_MEASURE + place).as_primitive::<Int64Type>());
        let sketches = |name: &str| batch.column_by_name(name).filter(|_| self.ask.distinct)?.as_binary_opt::<i32>();
        let (people, devices) = (sketches("people"), sketches("devices"));
        for row in 0..batch.num_rows() {
            let (application, key) = (applications.value(row), keys.value(row));
            let unasked = self.ask.application.is_some_and(|wanted| wanted != application)
                || self.ask.key.as_ref().is_some_and(|wanted| wanted != key);
            if unasked {
                continue;
            }
            let application = match &self.ask.groups {
                None => application,
                Some(groups) => match groups.find(application) {
                    Some(group) => group,
                    None => continue,
                },
            };
            let time = match self.ask.over {
                Over::Whole => None,
                Over::Days => Some((date, 0)),
                Over::Hours => Some((date, key.parse().unwrap_or_default())),
            };
            // Hours are either the time or, folded over days, what is asked about.
            let key = if self.ask.over == Over::Hours { "" } else { key };
            let line = self.line(time, application, key);
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

    /// Adds what another fold of the same question came to.
    pub(crate) fn merge(&mut self, other: Self) {
        let mut names = vec![""; other.names.len() + 1];
        for (name, number) in &other.names {
            names[*number as usize] = name;
        }
        for ((time, application, name), line) in other.lines {
            self.line(time, application, names[name as usize]).merge(line);
        }
    }

    fn line(&mut self, time: Time, application: i64, name: &str) -> &mut Line {
        let known = if name.is_empty() { Some(0) } else { self.names.get(name).copied() };
        let full = self.lines.len() >= MOST_LINES;
        let number = match known {
            Some(number) if !full || self.lines.contains_key(&(time, application, number)) => number,
            None if !full => self.number(name),
            _ => self.names.get(OTHER).copied().unwrap_or_else(|| self.number(OTHER)),
        };
        self.lines.entry((time, application, number)).or_default()
    }

    fn number(&mut self, name: &str) -> u32 {
        let number = u32::try_from(self.names.len() + 1).unwrap_or_default();
        self.names.insert(name.into(), number);
        number
    }

    /// Returns the table, its lines in the order of time, application and name.
    pub(crate) fn finish(self) -> Vec<Usage> {
        let mut names = vec![""; self.names.len() + 1];
        for (name, number) in &self.names {
            names[*number as usize] = name;
        }
        let mut lines: Vec<(Place, Line)> = self.lines.into_iter().collect();
        lines.sort_unstable_by_key(|((time, application, name), _)| (*time, *application, names[*name as usize]));
        let lines = lines.into_iter().map(|((time, application, name), line)| Usage {
            time: time.and_then(|(date, hour)| moment(date, hour)),
            application,
            key: names[name as usize].to_owned(),
            measures: line.measures,
            people: line.people.map(|people| people.estimate()),
            devices: line.devices.map(|devices| devices.estimate()),
        });
        lines.collect()
    }
}

fn moment(date: Date, hour: i8) -> Option<Timestamp> {
    Some(date.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn unite(union: &mut Option<Union>, sketches: Option<&BinaryArray>, row: usize) {
    if let Some(sketches) = sketches.filter(|sketches| sketches.is_valid(row)) {
        union.get_or_insert_default().add(sketches.value(row));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;
    use jiff::ToSpan as _;
    use jiff::civil::{Date, date};
    use proptest::prelude::*;

    use super::Fold;
    use crate::usage::columns::{Part, batch};
    use crate::usage::counter::Counter;
    use crate::usage::{Ask, Over, View};

    /// The counts of some requests of people to applications.
    fn counted(requests: &[(u16, u8)]) -> Vec<(Part, RecordBatch)> {
        let people: StringArray = requests.iter().map(|(person, _)| Some(format!("person-{person}"))).collect();
        let applications = requests.iter().map(|(_, application)| Some(vec![Some(i64::from(*application))]));
        let applications = ListArray::from_iter_primitive::<Int64Type, _, _>(applications);
        let columns: [(_, ArrayRef); 2] = [("Email", Arc::new(people)), ("ApplicationIDs", Arc::new(applications))];
        let mut counter = Counter::default();
        counter.note(&RecordBatch::try_from_iter(columns).unwrap());
        Part::all().map(|part| (part, batch(&counter, part).unwrap())).collect()
    }

    fn add(fold: &mut Fold, day: Date, parts: &[(Part, RecordBatch)]) {
        let wanted = fold.ask().part();
        parts.iter().filter(|(part, _)| *part == wanted).for_each(|(_, batch)| fold.add(day, batch));
    }

    proptest! {
        #[test]
        fn folds_of_some_files_merged_are_the_fold_of_all(
            files in proptest::collection::vec(
                (0_u8..4, proptest::collection::vec((0_u16..700, 1_u8..5), 0..400)),
                0..6,
            ),
            threads in 1_usize..4,
            days in any::<bool>(),
        ) {
            let (from, until) = (date(2026, 11, 1), date(2026, 11, 5));
            for view in [View::Day, View::Hour, View::Person] {
                let ask = Ask::new(view, from, until).over(if days { Over::Days } else { Over::Whole });
                let mut folds: Vec<Fold> = (0..threads).map(|_| Fold::new(ask.clone())).collect();
                let mut whole = Fold::new(ask);
                for (number, (day, requests)) in files.iter().enumerate() {
                    let (day, parts) = (from.checked_add(i64::from(*day).days()).unwrap(), counted(requests));
                    add(&mut folds[number % threads], day, &parts);
                    add(&mut whole, day, &parts);
                }
                let merged = folds.into_iter().reduce(|mut first, other| { first.merge(other); first });
                prop_assert_eq!(merged.unwrap().finish(), whole.finish());
            }
        }
    }
}
