//! The promises of the counts: they are those of the records, wherever these are, and come out of them again alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use logs::usage::{Ask, EVERY_APPLICATION, Measures, NO_APPLICATION, Over, Report, View};
use logs::{GatewayHttp, Logs, LogsConfig};

use crate::fixture::{START, TestClock, account, config, lake, open_with, request, run};

/// A request of the `number`th kind.
fn varied(second: i64, number: i64) -> GatewayHttp {
    let mut record = request(second, if number % 5 == 0 { "block" } else { "allow" });
    if number % 9 != 0 {
        record.email = format!("person-{}@example.com", number % 23);
    }
    record.source_ip = format!("10.0.0.{}", number % 4);
    record.application_ids = match number % 4 {
        0 => vec![],
        1 => vec![10],
        2 => vec![20],
        _ => vec![10, 30],
    };
    if number % 3 != 0 {
        record.device_name = format!("laptop-{}", number % 31);
    }
    record.source_ip_country_code = ["DE", "FR", ""][(number % 3) as usize].to_owned();
    record.group_names = ["Sales", "Finance"][..(number % 3) as usize].iter().map(|name| (*name).to_owned()).collect();
    record.http_method = if number % 2 == 0 { "POST" } else { "GET" }.to_owned();
    record.policy_id = if number % 5 == 0 { "rule-1" } else { "" }.to_owned();
    record.http_status_code = if number % 5 == 0 { 403 } else { 200 };
    record.request_content_type =
        ["application/json", "multipart/form-data; boundary=x", ""][(number % 3) as usize].to_owned();
    record.request_bytes = (number % 7) as u64;
    record.response_bytes = (number % 11) as u64 * 100;
    record.error = if number % 17 == 0 { "the origin hung up" } else { "" }.to_owned();
    record
}

/// The same counts, made one record after the other.
#[derive(Default)]
struct Expected {
    lines: BTreeMap<(View, Date, i64, String), Measures>,
    people: BTreeMap<i64, BTreeSet<String>>,
    devices: BTreeMap<i64, BTreeSet<String>>,
}

impl Expected {
    fn count(&mut self, record: &GatewayHttp) {
        let time = record.datetime.to_zoned(TimeZone::UTC);
        let or = |first: &String, second: &String| if first.is_empty() { second.clone() } else { first.clone() };
        let (person, device) = (or(&record.email, &record.source_ip), or(&record.device_name, &record.device_id));
        let mut keys = vec![
            (View::Day, String::new()),
            (View::Hour, format!("{:02}", time.hour())),
            (View::Person, person.clone()),
            (View::Device, device.clone()),
            (View::Country, record.source_ip_country_code.clone()),
            (View::Method, record.http_method.clone()),
            (View::Action, record.action.clone()),
            (View::Policy, record.policy_id.clone()),
            (View::Status, record.http_status_code.to_string()),
        ];
        keys.extend(record.group_names.iter().map(|group| (View::Group, group.clone())));
        let measures = Measures {
            requests: 1,
            blocked: u64::from(record.action == "block"),
            uploads: u64::from(record.request_content_type.starts_with("multipart")),
            messages: u64::from(record.http_method == "POST" && record.request_content_type == "application/json"),
            bytes_sent: record.request_bytes,
            bytes_received: record.response_bytes,
            errors: u64::from(!record.error.is_empty()),
        };
        let mut applications = record.application_ids.clone();
        if applications.is_empty() {
            applications.push(NO_APPLICATION);
        }
        applications.push(EVERY_APPLICATION);
        for application in applications {
            for (view, key) in &keys {
                self.lines.entry((*view, time.date(), application, key.clone())).or_default().add(&measures);
            }
            self.people.entry(application).or_default().insert(person.clone());
            if !device.is_empty() {
                self.devices.entry(application).or_default().insert(device.clone());
            }
        }
    }

    fn holds(&self, report: &Report<11>) {
        for (view, table) in View::ALL.into_iter().zip(&report.tables) {
            let found = table.iter().map(|line| {
                let date = line.time.unwrap().to_zoned(TimeZone::UTC).date();
                ((view, date, line.application, line.key.clone()), line.measures)
            });
            let expected = self.lines.iter().filter(|(key, _)| key.0 == view);
            let expected: BTreeMap<_, _> = expected.map(|(key, measures)| (key.clone(), *measures)).collect();
            assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{view:?}");
        }
        let whole = report.tables.last().unwrap();
        let distinct = |of: &BTreeMap<i64, BTreeSet<String>>, application| of[&application].len() as f64;
        for line in whole {
            // So few are counted exactly, but for rounding.
            assert!((line.people.unwrap() - distinct(&self.people, line.application)).abs() < 0.01, "{line:?}");
            assert!((line.devices.unwrap() - distinct(&self.devices, line.application)).abs() < 0.01, "{line:?}");
        }
    }
}

fn first_day() -> Date {
    Timestamp::from_second(START).unwrap().to_zoned(TimeZone::UTC).date()
}

/// Asks for every view by days, then for people and devices as a whole.
async fn everything(logs: &Logs) -> Report<11> {
    let (from, until) = (first_day(), first_day().checked_add(20.days()).unwrap());
    let mut asks: Vec<_> = View::ALL.into_iter().map(|view| Ask::new(view, from, until).over(Over::Days)).collect();
    asks.push(Ask::new(View::Day, from, until));
    logs.usage(account(1), asks.try_into().unwrap()).await.unwrap()
}

fn counts(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![lake(directory).join(account(1).to_string()).join("gateway_http/_usage")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

#[test]
fn counts_are_those_of_the_records_wherever_these_are() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let small = LogsConfig { segment_bytes: 30_000, ..config(&clock) };
        let logs = open_with(directory.path(), small.clone()).await.unwrap();
        let mut expected = Expected::default();
        for round in 0..10_i64 {
            for number in 0..150 {
                let record = varied(round * 40_000 + number * 11, round * 31 + number * 7);
                expected.count(&record);
                logs.append(record).await.unwrap();
            }
            match round % 3 {
                0 => logs.settle().await.unwrap(),
                _ => logs.flush().await.unwrap(),
            }
            clock.advance(Duration::from_secs(40_000));
            if round % 2 == 1 {
                expected.holds(&everything(&logs).await);
            }
        }
        // Somebody else's are not counted.
        let other = logs.usage(account(2), [Ask::new(View::Day, first_day(), Date::MAX)]).await.unwrap();
        assert_eq!(other.tables, [[]]);

        logs.settle().await.unwrap();
        clock.advance(Duration::from_secs(60));
        let merged = everything(&logs).await;
        expected.holds(&merged);
        assert_eq!((merged.as_of, merged.since), (clock.now(), Some(first_day())));
        logs.shutdown().await;
        drop(logs);

        // What is lost is made again, the same, for a report at once and then for good.
        let written = counts(directory.path());
        assert!(written.len() >= 3, "{written:?}");
        written.keys().for_each(|path| std::fs::remove_file(path).unwrap());
        let reopened = small.clone();
        let logs = open_with(directory.path(), small).await.unwrap();
        assert_eq!(everything(&logs).await.tables, merged.tables);
        logs.settle().await.unwrap();
        let again = counts(directory.path());
        let kept: BTreeMap<_, _> = written.iter().filter(|(path, _)| again.contains_key(*path)).collect();
        assert!(!kept.is_empty());
        assert_eq!(again.iter().collect::<BTreeMap<_, _>>(), kept);

        // What is damaged is counted from the records, whether it was read before
        assert_eq!(everything(&logs).await.tables, merged.tables);
        let damaged = kept.keys().next().unwrap();
        std::fs::write(damaged, b"PAR1 nothing of the kind").unwrap();
        clock.advance(Duration::from_secs(60));
        assert_eq!(everything(&logs).await.tables, merged.tables);
        logs.shutdown().await;
        drop(logs);
        // or not.
        let logs = open_with(directory.path(), reopened).await.unwrap();
        assert_eq!(everything(&logs).await.tables, merged.tables);
        logs.shutdown().await;
    });
}

#[test]
fn one_application_one_person_and_hours_are_asked_for_alone() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let logs = open_with(directory.path(), config(&clock)).await.unwrap();
        let mut expected = Expected::default();
        for number in 0..20_000 {
            let mut record = varied(number % 80_000, number);
            record.email = format!("person-{number:05}@example.com");
            expected.count(&record);
            logs.append(record).await.unwrap();
        }
        logs.settle().await.unwrap();
        let (from, until) = (first_day(), first_day().checked_add(3.days()).unwrap());
        let asks = [
            Ask::new(View::Person, from, until).application(20),
            Ask::new(View::Person, from, until).key("person-12345@example.com"),
            Ask::new(View::Person, from, until).application(10).key("person-00001@example.com"),
            Ask::new(View::Hour, from, until).application(EVERY_APPLICATION).over(Over::Hours),
            Ask::new(View::Group, from, until).key("Finance"),
            Ask::new(View::Day, from, until).application(EVERY_APPLICATION),
            Ask::new(View::Day, until, Date::MAX),
        ];
        let tables = logs.usage(account(1), asks).await.unwrap().tables;
        assert_eq!(tables[0].len(), 5_000);
        assert!(tables[0].iter().all(|line| line.application == 20 && line.measures.requests == 1));
        let applications: Vec<_> = tables[1].iter().map(|line| line.application).collect();
        assert_eq!(applications, [EVERY_APPLICATION, 10], "12345 % 4 is 1");
        assert_eq!(tables[2].len(), 1);
        let requests: u64 = tables[3].iter().map(|line| line.measures.requests).sum();
        assert_eq!(requests, 20_000);
        assert!(tables[3].is_sorted_by_key(|line| line.time) && tables[3].len() > 5);
        let finance = &expected.lines;
        let finance = finance.iter().filter(|((view, _, application, key), _)| {
            *view == View::Group && key == "Finance" && *application == EVERY_APPLICATION
        });
        let all = tables[4].iter().find(|line| line.application == EVERY_APPLICATION).unwrap();
        assert_eq!(all.measures.requests, finance.map(|(_, measures)| measures.requests).sum::<u64>());
        // Many people are counted within three standard errors.
        let people = tables[5][0].people.unwrap();
        assert!((people / 20_000.0 - 1.0).abs() < 0.07, "{people}");
        assert!(tables[6].is_empty());
        logs.shutdown().await;
    });
}
