//! What a plan stands on: the people, what they use, what each day is like.
//!
//! Tables only, made once or once a day. Invariant: every table that is drawn from has something to draw.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::applications::{Application, Kind, Status};
use crate::calendar::OFFICES;
use crate::generator::{Plan, PlanError, Share};
use crate::people::{DEPARTMENTS, Person, people};
use crate::random::{Spread, Weighted, scattered, share};
use crate::shapes::Repertoire;

/// A host that is asked, with the address it has.
pub(crate) struct Host {
    pub name: String,
    pub address: String,
}

/// Something people use.
pub(crate) struct Target {
    pub application: Application,
    /// Index into [`Kind::ALL`].
    pub kind: usize,
    pub ids: Vec<i64>,
    pub names: Vec<String>,
    pub statuses: Vec<String>,
    pub hosts: Vec<Host>,
    pub continent: &'static str,
    /// What its ids are drawn for.
    pub owner: u64,
    /// When in the period people begin to use it, from zero to one; before zero for what was always there.
    pub appears: f64,
    /// Whether it looks like what security rules stop.
    pub suspicious: bool,
}

/// An hour of the period, or the part of it that lies within.
pub(crate) struct Hour {
    /// Unix microseconds.
    pub start: i64,
    /// Microseconds.
    pub length: i64,
    pub records: u64,
    /// How far the period is through, from zero to one.
    pub progress: f64,
    /// Days since the epoch, in UTC.
    pub day: i64,
    /// Who works, by office; nothing when the hour is empty.
    pub offices: Option<Weighted>,
}

pub(crate) struct World {
    pub share: Share,
    pub people: Vec<Person>,
    /// People of each office, weighed by how much they do.
    pub staff: Vec<(Vec<usize>, Weighted)>,
    pub targets: Vec<Target>,
    pub repertoires: Vec<Repertoire>,
    pub sizes: Spread,
    pub times: Spread,
    /// What somebody uses who has not taken to what they would have used.
    pub fallback: usize,
    zones: Vec<TimeZone>,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Result<Self, PlanError> {
        if plan.from >= plan.to {
            return Err(PlanError::Period);
        }
        let people = people(plan.people, plan.seed);
        let staff: Option<Vec<_>> = (0..OFFICES.len()).map(|office| staff_of(&people, office)).collect();
        let targets: Vec<Target> = plan.applications.iter().filter_map(target).collect();
        let usable = |target: &&Target| target.application.kind != Kind::NotInspected;
        let usual = |target: &&Target| usable(target) && !target.application.kind.is_ai() && target.appears < 0.0;
        let fallback =
            targets.iter().filter(usual).max_by(|a, b| a.application.weight.total_cmp(&b.application.weight));
        let fallback = fallback.or_else(|| targets.iter().find(usable)).map(|found| found.owner);
        let fallback = fallback.and_then(|owner| targets.iter().position(|target| target.owner == owner));
        Ok(Self {
            share: plan.share,
            staff: staff.ok_or(PlanError::People)?,
            people,
            fallback: fallback.ok_or(PlanError::Applications)?,
            targets,
            repertoires: Repertoire::all().ok_or(PlanError::Applications)?,
            sizes: Spread::new(1.15),
            times: Spread::new(0.55),
            zones: OFFICES.iter().map(crate::calendar::Office::zone).collect(),
        })
    }

    /// Divides the period into hours and the records among them.
    pub(crate) fn hours(&self, plan: &Plan) -> Vec<Hour> {
        const HOUR: i64 = 3_600_000_000;
        let (from, to) = (plan.from.as_microsecond(), plan.to.as_microsecond());
        let mut hours = Vec::new();
        let mut weights = Vec::new();
        let mut start = from;
        while start < to {
            let end = ((start.div_euclid(HOUR) + 1) * HOUR).min(to);
            let middle = Timestamp::from_microsecond(start.midpoint(end)).unwrap_or_default();
            let offices = OFFICES.iter().zip(&self.zones);
            let busy: Vec<f64> =
                offices.map(|(office, zone)| office.activity(middle, zone) * office.share as f64).collect();
            weights.push(busy.iter().sum::<f64>() * (end - start) as f64);
            hours.push(Hour {
                start,
                length: end - start,
                records: 0,
                progress: (start - from) as f64 / (to - from) as f64,
                day: start.div_euclid(24 * HOUR),
                offices: Weighted::new(busy),
            });
            start = end;
        }
        apportion(&mut hours, &weights, plan.rows);
        hours
    }
}

/// Gives each hour its share, so that rounding loses none.
fn apportion(hours: &mut [Hour], weights: &[f64], rows: u64) {
    let total: f64 = weights.iter().sum();
    let mut through = 0.0;
    let mut given = 0;
    let last = hours.len().saturating_sub(1);
    for (place, (hour, weight)) in hours.iter_mut().zip(weights).enumerate() {
        through += weight;
        let until = if place == last { rows } else { ((through / total) * rows as f64) as u64 };
        hour.records = until.min(rows) - given;
        given += hour.records;
    }
}

/// The people of an office; of an office without any, everybody.
fn staff_of(people: &[Person], office: usize) -> Option<(Vec<usize>, Weighted)> {
    let mut staff: Vec<usize> = (0..people.len()).filter(|person| people[*person].office == office).collect();
    if staff.is_empty() {
        staff = (0..people.len()).collect();
    }
    let weighted = Weighted::new(staff.iter().map(|person| people[*person].activity))?;
    Some((staff, weighted))
}

fn target(application: &Application) -> Option<Target> {
    let owner = scattered(application.id.unsigned_abs() ^ scattered(application.hosts.first()?.len() as u64))
        ^ application
            .hosts
            .iter()
            .flat_map(|host| host.bytes())
            .fold(0, |hash, byte| scattered(hash ^ u64::from(byte)));
    let named = application.id != 0;
    let kind = Kind::ALL.iter().position(|kind| *kind == application.kind)?;
    // Half of what is artificial intelligence is new in the period; of the rest, a little.
    let newness = share(owner);
    let appears = if application.kind.is_ai() && application.status != Status::Approved && newness < 0.55 {
        newness / 0.55 * 0.95
    } else if application.kind == Kind::Mcp && newness < 0.6 {
        newness / 0.6 * 0.7
    } else if newness < 0.06 {
        newness / 0.06
    } else {
        -1.0
    };
    Some(Target {
        kind,
        ids: if named { vec![application.id] } else { Vec::new() },
        names: if named { vec![application.name.clone()] } else { Vec::new() },
        statuses: if named { vec![application.status.as_str().to_owned()] } else { Vec::new() },
        hosts: application.hosts.iter().map(|host| reached(host, owner)).collect(),
        continent: continent(&application.country),
        owner,
        appears,
        suspicious: application.kind == Kind::Site && scattered(owner).is_multiple_of(13),
        application: application.clone(),
    })
}

/// An address of the ranges that are kept for documentation (RFC 3849).
fn reached(host: &str, owner: u64) -> Host {
    let scatter = host.bytes().fold(owner, |hash, byte| scattered(hash ^ u64::from(byte)));
    Host { name: host.to_owned(), address: format!("2001:db8:{:x}::{:x}", scatter & 0xffff, scatter >> 16 & 0xffff) }
}

/// The continent of the countries that applications are served from.
fn continent(country: &str) -> &'static str {
    match country {
        "US" | "CA" | "MX" => "NA",
        "BR" | "AR" | "CL" => "SA",
        "AU" | "NZ" => "OC",
        "CN" | "JP" | "SG" | "IN" | "KR" | "IL" | "HK" | "TW" | "AE" => "AS",
        "ZA" | "KE" | "NG" => "AF",
        _ => "EU",
    }
}

/// What a day is like: what each department uses.
pub(crate) struct Today {
    /// How far the period is through.
    pub progress: f64,
    /// Who has taken to artificial intelligence: those with less reluctance.
    pub adoption: f64,
    /// By department; nothing where a department would use nothing.
    departments: Vec<Option<Weighted>>,
}

impl Today {
    pub(crate) fn new(world: &World, progress: f64) -> Self {
        let mut totals = [0.0; Kind::ALL.len()];
        let weights: Vec<f64> = world.targets.iter().map(|target| weight(target, progress)).collect();
        for target in &world.targets {
            // What is to come counts in the total, so that what appears adds to the use of its kind.
            totals[target.kind] += target.application.weight;
        }
        let departments = DEPARTMENTS.iter().map(|department| {
            let uses = Kind::ALL.map(|kind| department.use_of(kind) * growth(kind, progress));
            let targets = world.targets.iter().zip(&weights);
            Weighted::new(targets.map(|(target, weight)| uses[target.kind] * weight / totals[target.kind].max(1e-9)))
        });
        Self { progress, adoption: 0.34 + 0.58 * steep(progress), departments: departments.collect() }
    }

    /// What the people of a department use.
    pub(crate) fn uses(&self, department: usize) -> Option<&Weighted> {
        self.departments.get(department).and_then(Option::as_ref)
    }
}

/// How much more a kind is used as the period goes on.
fn growth(kind: Kind, progress: f64) -> f64 {
    if kind.is_ai() {
        0.75 + 0.9 * steep(progress)
    } else if kind == Kind::Mcp {
        0.3 + 1.4 * steep(progress)
    } else {
        1.0
    }
}

/// The logistic curve over the period: slow, quick, slow.
fn steep(progress: f64) -> f64 {
    1.0 / (1.0 + (-7.0 * (progress - 0.5)).exp())
}

/// How much a target is used, with the first days of what is new.
fn weight(target: &Target, progress: f64) -> f64 {
    if target.appears > progress {
        return 0.0;
    }
    let known_for = if target.appears < 0.0 { 1.0 } else { ((progress - target.appears) * 4.0 + 0.1).min(1.0) };
    target.application.weight * known_for
}
