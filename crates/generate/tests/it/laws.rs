//! The laws of the generator, over many plans.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use logs::{AsRecord as _, Dataset, GatewayHttp, Record};
use portunus_generate::{Generator, Kind, Plan, PlanError, Share, built_in};
use proptest::prelude::*;
use types::AccountId;
use uuid::Uuid;

/// A Sunday evening after some weeks.
const END: &str = "2026-11-22T20:00:00Z";

pub(crate) fn account() -> AccountId {
    AccountId(Uuid::from_u128(7))
}

fn plan(days: u32, rows: u64, seed: u64) -> Plan {
    Plan { seed, ..Plan::last_days(account(), END.parse().unwrap(), days, rows) }
}

fn records(plan: &Plan) -> Vec<Record> {
    Generator::new(plan).unwrap().collect()
}

fn web(plan: &Plan) -> Vec<GatewayHttp> {
    let only = |record| if let Record::GatewayHttp(record) = record { Some(*record) } else { None };
    records(plan).into_iter().filter_map(only).collect()
}

fn moment(record: &Record) -> (Timestamp, Uuid) {
    match record {
        Record::GatewayHttp(record) => (record.datetime, record.id),
        Record::GatewayNetwork(record) => (record.datetime, record.id),
        Record::AccessRequests(record) => (record.datetime, record.id),
        Record::McpPortalLogs(record) => (record.datetime, record.id),
        Record::Worker(_) | Record::Audit(_) => panic!("nobody generates these"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_plan_is_kept_to_the_letter(days in 1_u32..100, rows in 0_u64..3_000, seed: u64, people in 1_usize..400) {
        let plan = Plan { people, ..plan(days, rows, seed) };
        let made = records(&plan);
        prop_assert_eq!(made.len() as u64, rows);
        prop_assert_eq!(&made, &records(&plan));
        let mut before = Uuid::nil();
        let mut time = plan.from;
        for record in &made {
            let (at, id) = moment(record);
            prop_assert!(id > before && at >= time && at < plan.to, "{} {}", at, id);
            prop_assert_eq!(id.get_version_num(), 7);
            let stamp = id.get_timestamp().unwrap().to_unix();
            prop_assert_eq!(i64::try_from(stamp.0).unwrap(), at.as_second());
            (before, time) = (id, at);
        }
    }

    #[test]
    fn every_record_reads_back_from_its_json_and_says_what_it_is(seed: u64) {
        for record in records(&plan(30, 600, seed)) {
            let mut json = Vec::new();
            record.write_json(&mut json).unwrap();
            let json = String::from_utf8(json).unwrap();
            prop_assert!(json.contains("\"Generated\":true"), "{}", json);
            prop_assert!(json.contains(&account().to_string()));
            let dataset = match &record {
                Record::GatewayHttp(_) => Dataset::GatewayHttp,
                Record::GatewayNetwork(_) => Dataset::GatewayNetwork,
                Record::AccessRequests(_) => Dataset::AccessRequests,
                Record::McpPortalLogs(_) => Dataset::McpPortalLogs,
                Record::Worker(_) | Record::Audit(_) => panic!("nobody generates these"),
            };
            prop_assert_eq!(&Record::from_json(dataset, &json).unwrap(), &record);
        }
    }
}

#[test]
fn another_seed_makes_other_records() {
    assert_ne!(records(&plan(7, 500, 1)), records(&plan(7, 500, 2)));
}

#[test]
fn what_is_lent_is_what_is_copied() {
    let plan = plan(7, 2_000, 3);
    let mut lending = Generator::new(&plan).unwrap();
    for copied in records(&plan) {
        let mut lent = lending.advance().unwrap();
        assert_eq!(lent.to_record(), copied);
        let _ = lent.as_record();
    }
    assert!(lending.advance().is_none());
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let good = plan(1, 1, 1);
    let cases = [
        (Plan { from: good.to, ..good.clone() }, PlanError::Period),
        (Plan { people: 0, ..good.clone() }, PlanError::People),
        (Plan { applications: Vec::new(), ..good }, PlanError::Applications),
    ];
    for (plan, error) in cases {
        assert_eq!(Generator::new(&plan).err(), Some(error));
    }
}

/// A share of the records, in percent.
fn percent(records: &[GatewayHttp], which: impl Fn(&GatewayHttp) -> bool) -> f64 {
    records.iter().filter(|record| which(record)).count() as f64 * 100.0 / records.len() as f64
}

#[test]
fn four_weeks_look_like_an_organisation() {
    let plan = plan(28, 60_000, 1);
    let all = records(&plan);
    let of = |dataset: fn(&Record) -> bool| all.iter().filter(|record| dataset(record)).count() as f64 / 600.0;
    assert!((88.0..98.5).contains(&of(|record| matches!(record, Record::GatewayHttp(_)))));
    assert!((1.0..8.0).contains(&of(|record| matches!(record, Record::GatewayNetwork(_)))));
    assert!((0.05..3.0).contains(&of(|record| matches!(record, Record::AccessRequests(_)))));
    assert!((0.05..3.0).contains(&of(|record| matches!(record, Record::McpPortalLogs(_)))));
    let web = web(&plan);
    let weekend = percent(&web, |record| {
        matches!(
            record.datetime.to_zoned(jiff::tz::TimeZone::UTC).weekday(),
            jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday
        )
    });
    assert!((1.0..9.0).contains(&weekend), "{weekend} % at weekends");
    let blocked = percent(&web, |record| record.action == "block");
    assert!((0.4..6.0).contains(&blocked), "{blocked} % blocked");
    for action in ["redirect", "managed", "worker", "unknown"] {
        let share = percent(&web, |record| record.action == action);
        assert!((0.005..2.0).contains(&share), "{share} % {action}");
    }
    let fine = percent(&web, |record| (200..400).contains(&record.http_status_code));
    assert!((88.0..98.0).contains(&fine), "{fine} % answered well");
    let uploads = percent(&web, |record| !record.uploaded_file_names.is_empty());
    assert!((0.8..8.0).contains(&uploads), "{uploads} % uploads");
    let abroad: BTreeSet<&str> = web.iter().map(|record| record.source_ip_country_code.as_str()).collect();
    assert!(abroad.len() > 15, "{abroad:?}");
    let people: BTreeSet<&str> = web.iter().map(|record| record.email.as_str()).collect();
    assert!(people.len() * 10 > plan.people * 8, "{} of {} did something", people.len(), plan.people);
}

#[test]
fn a_few_applications_are_popular_and_many_are_not() {
    let web = web(&plan(28, 60_000, 4));
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &web {
        *hosts.entry(record.http_host.as_str()).or_default() += 1;
    }
    let mut counts: Vec<usize> = hosts.values().copied().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let first: usize = counts.iter().take(10).sum();
    assert!(counts.len() > 350, "{} hosts", counts.len());
    assert!((20..70).contains(&(first * 100 / web.len())), "the first ten have {first} of {}", web.len());
    let shapes: BTreeSet<&str> = web.iter().map(|record| record.http_method.as_str()).collect();
    assert!(shapes.contains("GET") && shapes.contains("POST") && shapes.contains("PUT"));
}

/// Of the first and of the last week: distinct people at artificial intelligence, and distinct applications of it.
#[test]
fn artificial_intelligence_is_taken_up() {
    let plan = plan(28, 80_000, 5);
    let web = web(&plan);
    let ai: BTreeSet<i64> =
        built_in().iter().filter(|application| application.kind.is_ai()).map(|application| application.id).collect();
    let week = SignedDuration::from_hours(7 * 24);
    let of = |from: Timestamp| {
        let used = web.iter().filter(|record| {
            record.datetime >= from
                && record.datetime < from + week
                && record.application_ids.first().is_some_and(|id| ai.contains(id))
        });
        let (people, applications): (BTreeSet<&str>, BTreeSet<i64>) =
            used.map(|record| (record.email.as_str(), record.application_ids[0])).unzip();
        (people.len(), applications.len())
    };
    let (first, last) = (of(plan.from), of(plan.to - week));
    assert!(last.0 * 10 > first.0 * 14, "people: {first:?}, then {last:?}");
    assert!(last.1 > first.1 + 4, "applications: {first:?}, then {last:?}");
}

#[test]
fn an_office_is_busy_when_it_is_day_there() {
    let web = web(&plan(28, 60_000, 6));
    let india = web.iter().filter(|record| record.source_ip_country_code == "IN");
    let hours: Vec<i8> = india.map(|record| record.datetime.to_zoned(jiff::tz::TimeZone::UTC).hour()).collect();
    // Half past eight to six in the evening there.
    let working = hours.iter().filter(|hour| (3..13).contains(*hour)).count();
    assert!(hours.len() > 2_000 && working * 100 > hours.len() * 75, "{working} of {}", hours.len());
}

#[test]
fn web_alone_is_web_alone() {
    let plan = Plan { share: Share::WebOnly, ..plan(7, 5_000, 8) };
    assert_eq!(web(&plan).len(), 5_000);
    let not_inspected: BTreeSet<String> = built_in()
        .into_iter()
        .filter(|application| application.kind == Kind::NotInspected)
        .flat_map(|application| application.hosts)
        .collect();
    assert!(web(&plan).iter().all(|record| !not_inspected.contains(&record.http_host)));
}

/// Pages find an application by its number, so numbers are the catalogue's.
#[test]
fn applications_are_those_of_the_catalogue() {
    let catalog = catalog::Catalog::embedded();
    let applications = portunus_generate::catalogued(&catalog);
    let plan = Plan { applications, ..plan(28, 20_000, 9) };
    let web = web(&plan);
    let mut named = BTreeSet::new();
    for record in &web {
        let found = catalog.by_host(&record.http_host);
        if let Some(found) = found {
            assert_eq!(record.application_ids, [i64::from(found.id)], "{}", record.http_host);
            assert_eq!(record.application_names, [found.name.to_string()], "{}", record.http_host);
            named.insert(found.id);
        }
    }
    assert!(named.len() > 150, "{} applications", named.len());
}
