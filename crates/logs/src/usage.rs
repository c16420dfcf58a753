//! Rollups: what each day and hour of web requests comes to, by application, person, device, country and more.
//!
//! Counting is a function of rows, folding a function of counts; nothing here reads a file or a clock. The counts of a data
//! file stand in a file beside it (`lake::rollup`), so they are there when its rows are, go when they go, and can be made
//! again from the rows alone. Distinct people and devices are counted by Apache DataSketches' HyperLogLog with 2^11
//! registers: exact up to a few dozen, within 2.3 % (one standard error) beyond. Invariant: the fold of the counts of some
//! rows, however they were divided, is the count of all of them.

pub(crate) mod columns;
pub(crate) mod counter;
mod distinct;
pub(crate) mod fold;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use columns::Part;

/// The application that stands for all, each request counted once.
pub const EVERY_APPLICATION: i64 = -1;
/// The application of requests that belong to none that is known.
pub const NO_APPLICATION: i64 = 0;

/// What the media types of bodies begin with that are files, rather than what a page says to its server.
pub const FILES: [&str; 13] = [
    "multipart/form-data",
    "image/",
    "audio/",
    "video/",
    "application/octet-stream",
    "application/pdf",
    "application/zip",
    "application/gzip",
    "application/x-tar",
    "application/x-7z-compressed",
    "application/vnd.rar",
    "application/vnd.openxmlformats-",
    "application/msword",
];

/// What the counts of an application are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// Nothing: the whole day, with distinct people and devices.
    Day,
    /// The hour of the day in UTC, `00` to `23`, with distinct people.
    Hour,
    /// The person: their address, or the source address of who has none.
    Person,
    /// The name of the device, or its id.
    Device,
    /// The country a request came from, two letters.
    Country,
    /// The person's groups; a request counts for each.
    Group,
    /// The method; `other` for those that no standard names.
    Method,
    /// What the gateway did.
    Action,
    /// The id of the rule that decided.
    Policy,
    /// The status that was answered.
    Status,
}

impl View {
    /// Every view, in the order of a file.
    pub const ALL: [Self; 10] = [
        Self::Day,
        Self::Hour,
        Self::Person,
        Self::Device,
        Self::Country,
        Self::Group,
        Self::Method,
        Self::Action,
        Self::Policy,
        Self::Status,
    ];

    /// Its name, as in the API and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Person => "person",
            Self::Device => "device",
            Self::Country => "country",
            Self::Group => "group",
            Self::Method => "method",
            Self::Action => "action",
            Self::Policy => "policy",
            Self::Status => "status",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measures {
    /// Requests.
    pub requests: u64,
    /// Those of them that were blocked.
    pub blocked: u64,
    /// Those that carried a file: a named one, or a body of one of the [`FILES`].
    pub uploads: u64,
    /// Those that posted JSON: what is typed into an AI application, mostly.
    pub messages: u64,
    /// Bytes of request bodies.
    pub bytes_sent: u64,
    /// Bytes of response bodies.
    pub bytes_received: u64,
    /// Those that failed.
    pub errors: u64,
}

impl Measures {
    /// Adds the counts of other requests.
    pub const fn add(&mut self, other: &Self) {
        let Self { requests, blocked, uploads, messages, bytes_sent, bytes_received, errors } = other;
        self.requests = self.requests.saturating_add(*requests);
        self.blocked = self.blocked.saturating_add(*blocked);
        self.uploads = self.uploads.saturating_add(*uploads);
        self.messages = self.messages.saturating_add(*messages);
        self.bytes_sent = self.bytes_sent.saturating_add(*bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(*bytes_received);
        self.errors = self.errors.saturating_add(*errors);
    }
}

/// What one table of counts divides the time into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Over {
    /// Not at all.
    Whole,
    /// Days in UTC.
    Days,
    /// Hours; only [`View::Hour`] has them.
    Hours,
}

/// Groups of applications, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// The group of an application.
    pub of: HashMap<i64, i64>,
    /// That of every other, none when these are not asked about.
    pub others: Option<i64>,
}

impl Groups {
    /// Returns the group of an application. The one that stands for all belongs to none unless it is named.
    fn find(&self, application: i64) -> Option<i64> {
        let others = self.others.filter(|_| application != EVERY_APPLICATION);
        self.of.get(&application).copied().or(others)
    }
}

/// Asks for one table of counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What to divide by.
    pub view: View,
    /// The first day, in UTC.
    pub from: Date,
    /// The first day that is not asked about any more.
    pub until: Date,
    /// One application only; [`EVERY_APPLICATION`] and [`NO_APPLICATION`] may be named, too.
    pub application: Option<i64>,
    /// One person, device, country, … only.
    pub key: Option<String>,
    /// Lines for groups of applications rather than for single ones: a request of two of a group counts twice, a person
    /// once.
    pub groups: Option<Arc<Groups>>,
    /// Into what the time is divided.
    pub over: Over,
    /// Whether people and devices are counted, where that can be done.
    pub distinct: bool,
}

impl Ask {
    /// Asks about some days, as a whole.
    #[must_use]
    pub const fn new(view: View, from: Date, until: Date) -> Self {
        Self { view, from, until, application: None, key: None, groups: None, over: Over::Whole, distinct: true }
    }

    /// Asks about one application.
    #[must_use]
    pub fn application(self, application: i64) -> Self {
        Self { application: Some(application), ..self }
    }

    /// Asks about one person, device, country, ….
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Asks about groups of applications.
    #[must_use]
    pub fn groups(self, groups: Groups) -> Self {
        Self { groups: Some(Arc::new(groups)), ..self }
    }

    /// Asks about some applications as if they were one, in the line of [`EVERY_APPLICATION`].
    #[must_use]
    pub fn together(self, applications: &BTreeSet<i64>) -> Self {
        self.groups(Groups { of: applications.iter().map(|id| (*id, EVERY_APPLICATION)).collect(), others: None })
    }

    /// Leaves people and devices uncounted, which is quicker.
    #[must_use]
    pub fn measures_only(self) -> Self {
        Self { distinct: false, ..self }
    }

    /// Divides the time.
    #[must_use]
    pub fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }

    /// Returns the part of a file that answers soonest.
    pub(crate) const fn part(&self) -> Part {
        match (self.view, &self.key, self.application) {
            (View::Person, Some(_), None) => Part::PersonFirst,
            (view, ..) => Part::ByApplication(view),
        }
    }

    pub(crate) fn covers(&self, date: Date) -> bool {
        self.from <= date && date < self.until
    }
}

/// One line of a table of counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The beginning of the day or hour, when the time is divided.
    pub time: Option<Timestamp>,
    /// The application.
    pub application: i64,
    /// The person, device, country, …; empty for [`View::Day`], and for what is not known.
    pub key: String,
    /// The counts.
    pub measures: Measures,
    /// About how many people, where that is counted.
    pub people: Option<f64>,
    /// About how many devices, where that is counted.
    pub devices: Option<f64>,
}

/// Tables of counts, and how fresh they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Report<const N: usize> {
    /// One table for each [`Ask`], in their order; lines in that of time, application and key.
    pub tables: [Vec<Usage>; N],
    /// What was in the journal at this moment is counted.
    pub as_of: Timestamp,
    /// The first day there are records of, in UTC.
    pub since: Option<Date>,
}
