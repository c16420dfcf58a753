//! Counts rows.
//!
//! Rows come in the order of a data file, by person and application, so that neighbours mostly fall into the same counts;
//! each view remembers where the last row went. Invariant: what a counter holds does not depend on how its rows were
//! divided into batches, and in its result not on their order, unless a file has more names than are kept apart.

use std::collections::HashMap;

use arrow::array::{AsArray as _, Int32Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datasketches::hll::{Coupon, HllSketch, HllType};
use foldhash::fast::RandomState;

use super::{EVERY_APPLICATION, FILES, Measures, NO_APPLICATION, View};

/// How many registers a sketch has, as a power of two.
pub(crate) const REGISTERS: u8 = 11;
/// The columns that are looked at.
pub(crate) const COLUMNS: [&str; 17] = [
    "Datetime",
    "Email",
    "SourceIP",
    "ApplicationIDs",
    "DeviceName",
    "DeviceID",
    "SourceIPCountryCode",
    "GroupNames",
    "HTTPMethod",
    "Action",
    "PolicyID",
    "HTTPStatusCode",
    "UploadedFileNames",
    "RequestContentType",
    "RequestBytes",
    "ResponseBytes",
    "Error",
];

/// What counts stand under that have no name of their own, as there are too many.
pub(crate) const OTHER: &str = "other";
/// How many names a view of a file has at most: those who come without signing in may make up addresses without end.
const MOST_NAMES: usize = 1 << 17;

const HOURS: [&str; 24] = [
    "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17", "18",
    "19", "20", "21", "22", "23",
];

/// Distinct people or devices.
#[derive(Debug)]
pub(crate) struct Distinct {
    pub sketch: HllSketch,
    /// Who was added last.
    last: u32,
}

impl Distinct {
    fn new() -> Option<Box<Self>> {
        // Always: the number of registers is one there can be.
        let sketch = HllSketch::new(REGISTERS, HllType::Hll8).ok()?;
        Some(Box::new(Self { sketch, last: u32::MAX }))
    }

    fn note(&mut self, who: Named) {
        if self.last != who.number {
            self.last = who.number;
            self.sketch.update_with_coupon(who.coupon);
        }
    }
}

/// A text's number, and what sketches know it by.
#[derive(Debug, Clone, Copy)]
struct Named {
    number: u32,
    coupon: Coupon,
}

/// The counts of one application and one person, device, ….
#[derive(Debug)]
pub(crate) struct Cell {
    pub application: i64,
    pub name: u32,
    pub measures: Measures,
    pub people: Option<Box<Distinct>>,
    pub devices: Option<Box<Distinct>>,
}

/// Texts, each once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Box<str>, Named, RandomState>,
    texts: Vec<Box<str>>,
    last: Option<Named>,
}

impl Names {
    pub(crate) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    fn number(&mut self, text: &str) -> Named {
        if let Some(last) = self.last.filter(|last| self.text(last.number) == text) {
            return last;
        }
        let full = self.texts.len() >= MOST_NAMES;
        let text = if full && !self.numbers.contains_key(text) { OTHER } else { text };
        let named = self.numbers.get(text).copied().unwrap_or_else(|| {
            let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
            let named = Named { number, coupon: Coupon::from_value(text) };
            self.texts.push(text.into());
            self.numbers.insert(text.into(), named);
            named
        });
        self.last = Some(named);
        named
    }
}

/// The counts of one view.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub names: Names,
    pub cells: Vec<Cell>,
    places: HashMap<(i64, u32), usize, RandomState>,
    /// Where the last row went: of all applications, and of a single one.
    last: [Option<((i64, u32), usize)>; 2],
}

impl Counts {
    fn cell(&mut self, view: View, application: i64, name: u32) -> &mut Cell {
        let key = (application, name);
        let last = &mut self.last[usize::from(application == EVERY_APPLICATION)];
        let place = match last {
            Some((known, place)) if *known == key => *place,
            _ => {
                let cells = &mut self.cells;
                let place = *self.places.entry(key).or_insert_with(|| {
                    let people = matches!(view, View::Day | View::Hour).then(Distinct::new).flatten();
                    let devices = (view == View::Day).then(Distinct::new).flatten();
                    cells.push(Cell { application, name, measures: Measures::default(), people, devices });
                    cells.len() - 1
                });
                *last = Some((key, place));
                place
            }
        };
        &mut self.cells[place]
    }
}

/// Counts the rows of a file.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub views: [Counts; View::ALL.len()],
}

impl Counter {
    /// Counts the rows of a batch. A column that is missing counts as empty.
    pub(crate) fn note(&mut self, batch: &RecordBatch) {
        let rows = Rows::of(batch);
        let mut names: Vec<(View, u32)> = Vec::new();
        for row in 0..batch.num_rows() {
            let measures = rows.measures(row);
            let device = rows.device(row);
            let mut digits = [0; 3];
            let person = self.name(View::Person, rows.person(row));
            let machine = self.name(View::Device, device);
            names.clear();
            names.push((View::Person, person.number));
            names.push((View::Device, machine.number));
            for (view, text) in [
                (View::Day, ""),
                (View::Hour, rows.hour(row)),
                (View::Country, text(rows.country, row)),
                (View::Method, method(text(rows.method, row))),
                (View::Action, text(rows.action, row)),
                (View::Policy, text(rows.policy, row)),
                (View::Status, rows.status(row, &mut digits)),
            ] {
                names.push((view, self.name(view, text).number));
            }
            rows.groups(row, |group| names.push((View::Group, self.name(View::Group, group).number)));
            let machine = Some(machine).filter(|_| !device.is_empty());
            let mut add = |application| self.add(application, &names, &measures, person, machine);
            add(EVERY_APPLICATION);
            rows.applications(row, add);
        }
    }

    fn name(&mut self, view: View, text: &str) -> Named {
        self.views[view.index()].names.number(text)
    }

    fn add(
        &mut self,
        application: i64,
        names: &[(View, u32)],
        measures: &Measures,
        person: Named,
        device: Option<Named>,
    ) {
        for (view, name) in names {
            let cell = self.views[view.index()].cell(*view, application, *name);
            cell.measures.add(measures);
            if let Some(people) = &mut cell.people {
                people.note(person);
            }
            if let (Some(devices), Some(device)) = (&mut cell.devices, device) {
                devices.note(device);
            }
        }
    }
}

/// The columns of a batch.
struct Rows<'a> {
    time: Option<&'a arrow::array::TimestampMicrosecondArray>,
    email: Option<&'a StringArray>,
    address: Option<&'a StringArray>,
    applications: Option<&'a ListArray>,
    device_name: Option<&'a StringArray>,
    device: Option<&'a StringArray>,
    country: Option<&'a StringArray>,
    groups: Option<&'a ListArray>,
    method: Option<&'a StringArray>,
    action: Option<&'a StringArray>,
    policy: Option<&'a StringArray>,
    status: Option<&'a Int32Array>,
    files: Option<&'a ListArray>,
    content_type: Option<&'a StringArray>,
    sent: Option<&'a Int64Array>,
    received: Option<&'a Int64Array>,
    error: Option<&'a StringArray>,
}

fn text(column: Option<&StringArray>, row: usize) -> &str {
    column.map_or("", |column| column.value(row))
}

impl<'a> Rows<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name);
        let texts = |name: &str| column(name)?.as_string_opt::<i32>();
        let numbers = |name: &str| column(name)?.as_primitive_opt::<Int64Type>();
        let lists = |name: &str| column(name)?.as_list_opt::<i32>();
        Self {
            time: column("Datetime").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()),
            email: texts("Email"),
            address: texts("SourceIP"),
            applications: lists("ApplicationIDs"),
            device_name: texts("DeviceName"),
            device: texts("DeviceID"),
            country: texts("SourceIPCountryCode"),
            groups: lists("GroupNames"),
            method: texts("HTTPMethod"),
            action: texts("Action"),
            policy: texts("PolicyID"),
            status: column("HTTPStatusCode").and_then(|column| column.as_primitive_opt::<Int32Type>()),
            files: lists("UploadedFileNames"),
            content_type: texts("RequestContentType"),
            sent: numbers("RequestBytes"),
            received: numbers("ResponseBytes"),
            error: texts("Error"),
        }
    }

    fn person(&self, row: usize) -> &'a str {
        Some(text(self.email, row)).filter(|email| !email.is_empty()).unwrap_or_else(|| text(self.address, row))
    }

    fn device(&self, row: usize) -> &'a str {
        Some(text(self.device_name, row)).filter(|name| !name.is_empty()).unwrap_or_else(|| text(self.device, row))
    }

    fn hour(&self, row: usize) -> &'static str {
        const MICROS: i64 = 3_600_000_000;
        let time = self.time.map_or(0, |column| column.value(row));
        let hour = usize::try_from(time.div_euclid(MICROS).rem_euclid(24)).unwrap_or_default();
        HOURS.get(hour).copied().unwrap_or_default()
    }

    /// Writes a status, which has three digits, without allocating.
    fn status<'d>(&self, row: usize, digits: &'d mut [u8; 3]) -> &'d str {
        let status = self.status.map_or(0, |column| column.value(row)).clamp(0, 999);
        if status == 0 {
            return "";
        }
        for (digit, of) in digits.iter_mut().zip([100, 10, 1]) {
            *digit = b'0' + u8::try_from(status / of % 10).unwrap_or_default();
        }
        str::from_utf8(digits).unwrap_or_default()
    }

    fn measures(&self, row: usize) -> Measures {
        let number =
            |column: Option<&Int64Array>| column.map_or(0, |column| u64::try_from(column.value(row)).unwrap_or(0));
        let content_type = text(self.content_type, row);
        let posted = text(self.method, row) == "POST";
        let named = self.files.is_some_and(|files| files.value_length(row) > 0);
        Measures {
            requests: 1,
            blocked: u64::from(text(self.action, row) == "block"),
            uploads: u64::from(named || is_file(content_type)),
            messages: u64::from(posted && content_type.starts_with("application/json")),
            bytes_sent: number(self.sent),
            bytes_received: number(self.received),
            errors: u64::from(!text(self.error, row).is_empty()),
        }
    }

    fn groups(&self, row: usize, mut each: impl FnMut(&str)) {
        let Some(groups) = self.groups else { return };
        let of_row = groups.value_offsets().get(row..row + 2);
        let Some([first, end]) = of_row else { return };
        let Some(names) = groups.values().as_string_opt::<i32>() else { return };
        for place in *first..*end {
            each(names.value(usize::try_from(place).unwrap_or_default()));
        }
    }

    fn applications(&self, row: usize, mut each: impl FnMut(i64)) {
        let bounds = self.applications.and_then(|column| Some((column, column.value_offsets().get(row..row + 2)?)));
        match bounds {
            Some((column, [first, end])) if first < end => {
                let Some(ids) = column.values().as_primitive_opt::<Int64Type>() else { return };
                for place in *first..*end {
                    each(ids.value(usize::try_from(place).unwrap_or_default()));
                }
            }
            _ => each(NO_APPLICATION),
        }
    }
}

/// Returns a method (RFC 9110 section 9, RFC 5789); clients may make up others without end, which count as one.
fn method(text: &str) -> &str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if text.is_empty() || KNOWN.contains(&text) { text } else { OTHER }
}

/// Says whether a body of this media type is a file; types are the same in either case (RFC 9110 section 8.3.1).
fn is_file(content_type: &str) -> bool {
    let begins =
        |prefix: &&str| content_type.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    FILES.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};

    use super::{Counter, EVERY_APPLICATION, MOST_NAMES, OTHER, View};

    /// Whoever changes their address with each request neither fills the memory nor is left out of the count.
    #[test]
    fn names_without_end_count_as_one() {
        let (more, mut counter) = (1_000, Counter::default());
        let addresses = (0..MOST_NAMES + more).map(|number| Some(format!("2001:db8::{number:x}")));
        let column: ArrayRef = Arc::new(addresses.collect::<StringArray>());
        counter.note(&RecordBatch::try_from_iter([("SourceIP", column)]).unwrap());
        let people = &counter.views[View::Person.index()];
        let every = || people.cells.iter().filter(|cell| cell.application == EVERY_APPLICATION);
        assert_eq!(every().count(), MOST_NAMES + 1);
        assert_eq!(every().map(|cell| cell.measures.requests).sum::<u64>(), (MOST_NAMES + more) as u64);
        let other = every().find(|cell| people.names.text(cell.name) == OTHER).unwrap();
        assert_eq!(other.measures.requests, more as u64);
    }
}
