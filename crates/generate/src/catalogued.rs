//! Applications of the catalogue, with the popularity that the table of this crate knows.
//!
//! Invariant: where the catalogue knows a host, records carry the id and the name that the catalogue gives it.

use std::collections::BTreeSet;

use catalog::{AiKind, Catalog};

use crate::applications::{Application, Kind, Status, built_in};
use crate::random::{scattered, share};

/// How much the most used of the long tail is used, against the most used of all.
const TAIL: f64 = 0.05;

/// Returns the applications of the built-in table as the catalogue names them, and its others as the long tail.
#[must_use]
pub fn catalogued(catalog: &Catalog) -> Vec<Application> {
    let mut all = built_in();
    let mut known = BTreeSet::new();
    for application in &mut all {
        let Some(first) = application.hosts.first().cloned() else { continue };
        let found = catalog.by_host(&first);
        let id = found.map(|found| found.id);
        application.hosts.retain(|host| catalog.by_host(host).map(|found| found.id) == id);
        // What the organisation runs itself, and sites of nobody, are in no catalogue.
        application.id = found.map_or(0, |found| i64::from(found.id));
        if let Some(found) = found {
            application.name = found.name.to_string();
            known.insert(found.id);
        }
    }
    let others = catalog.applications().iter().filter(|application| !known.contains(&application.id));
    all.extend(others.filter_map(|application| {
        let hosts = catalog.row(application).hosts.into_iter();
        let is_own = |host: &String| catalog.by_host(host).is_some_and(|found| found.id == application.id);
        let hosts: Vec<String> = hosts.filter(is_own).take(3).collect();
        let chance = share(u64::from(application.id));
        Some(Application {
            id: i64::from(application.id),
            name: application.name.to_string(),
            kind: kind(application),
            status: status(application.id),
            country: application.country().unwrap_or("US").to_owned(),
            weight: TAIL * chance.powi(4),
            hosts: if hosts.is_empty() { return None } else { hosts },
        })
    }));
    all
}

/// Few of the long tail were ever looked at.
fn status(id: u32) -> Status {
    match scattered(u64::from(id) ^ 0x57a7) % 20 {
        0 | 1 => Status::Approved,
        2 => Status::Unapproved,
        3 => Status::InReview,
        _ => Status::Unreviewed,
    }
}

fn kind(application: &catalog::Application) -> Kind {
    if application.is_ai() && !application.embedded {
        return match application.ai().next() {
            Some(AiKind::Code) => Kind::CodeAssistant,
            Some(AiKind::Image | AiKind::Voice) => Kind::GeneratedMedia,
            Some(AiKind::Api | AiKind::Agents) => Kind::ModelPlatform,
            Some(AiKind::Chat) | None => Kind::Assistant,
        };
    }
    match application.category {
        12 => Kind::Collaboration,
        95 => Kind::Storage,
        3 => Kind::Productivity,
        6 => Kind::Education,
        7 => Kind::Entertainment,
        10 => Kind::NotInspected,
        22 => Kind::Shopping,
        24 => Kind::Social,
        27 => Kind::Travel,
        122 => Kind::News,
        26 => Kind::Development,
        _ => Kind::Sales,
    }
}
