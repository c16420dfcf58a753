//! Who works there: invented people with departments, offices and devices.
//!
//! Given names are common ones; family names are made up, so that nobody is meant. Invariant: addresses are unique, and
//! network addresses are those reserved for documentation (RFC 5737).

use uuid::Builder;

use crate::applications::Kind;
use crate::calendar::OFFICES;
use crate::random::{scattered, share};

/// A department, and how much its people use each kind of application.
pub(crate) struct Department {
    pub name: &'static str,
    /// Percent of the people.
    share: usize,
    /// Beyond what everybody uses.
    leans: &'static [(Kind, f64)],
}

pub(crate) const DEPARTMENTS: [Department; 9] = [
    department(
        "Engineering",
        28,
        &[
            (Kind::Development, 12.0),
            (Kind::Packages, 20.0),
            (Kind::CodeAssistant, 24.0),
            (Kind::ModelPlatform, 8.0),
            (Kind::Mcp, 12.0),
            (Kind::Cloud, 5.0),
            (Kind::Sales, 0.1),
        ],
    ),
    department("Sales", 18, &[(Kind::Sales, 7.0), (Kind::Travel, 2.0), (Kind::Social, 1.6)]),
    department("Support", 13, &[(Kind::Sales, 6.0), (Kind::Assistant, 1.4), (Kind::Development, 0.6)]),
    department(
        "Marketing",
        9,
        &[
            (Kind::GeneratedMedia, 6.0),
            (Kind::Design, 6.0),
            (Kind::Social, 3.0),
            (Kind::Assistant, 1.8),
            (Kind::Sales, 3.0),
        ],
    ),
    department("Finance", 9, &[(Kind::Finance, 10.0), (Kind::NotInspected, 2.0), (Kind::Internal, 2.0)]),
    department("Human Resources", 6, &[(Kind::HumanResources, 14.0), (Kind::Education, 3.0)]),
    department("IT", 8, &[(Kind::Cloud, 7.0), (Kind::Security, 8.0), (Kind::Packages, 3.0), (Kind::Mcp, 3.0)]),
    department("Legal", 4, &[(Kind::Storage, 2.5), (Kind::Productivity, 2.0)]),
    department(
        "Research",
        5,
        &[(Kind::ModelPlatform, 9.0), (Kind::Assistant, 2.0), (Kind::Education, 3.0), (Kind::Mcp, 2.0)],
    ),
];

const fn department(name: &'static str, share: usize, leans: &'static [(Kind, f64)]) -> Department {
    Department { name, share, leans }
}

impl Department {
    /// How much its people use a kind of application, as a share of all they do.
    pub(crate) fn use_of(&self, kind: Kind) -> f64 {
        let everybody = match kind {
            Kind::Mail => 15.0,
            Kind::Collaboration => 15.0,
            Kind::Search => 9.0,
            Kind::Site => 11.0,
            Kind::Productivity => 6.0,
            Kind::Storage => 6.0,
            Kind::Internal => 5.0,
            Kind::NotInspected => 5.0,
            Kind::Assistant => 9.0,
            Kind::Security => 2.5,
            Kind::News | Kind::Social | Kind::Entertainment => 2.0,
            Kind::Development => 1.0,
            Kind::Sales | Kind::Design | Kind::Travel | Kind::Education | Kind::Shopping => 0.8,
            Kind::Cloud | Kind::HumanResources | Kind::Finance | Kind::GeneratedMedia => 0.5,
            Kind::Packages | Kind::CodeAssistant | Kind::ModelPlatform | Kind::Mcp => 0.25,
        };
        let leans = self.leans.iter().find(|(leans_to, _)| *leans_to == kind);
        everybody * leans.map_or(1.0, |(_, factor)| *factor)
    }
}

/// A machine somebody uses.
pub(crate) struct Device {
    pub id: String,
    pub name: String,
    pub agent: &'static str,
    pub ja4: &'static str,
}

/// Somebody.
pub(crate) struct Person {
    pub email: String,
    pub user_id: String,
    pub groups: Vec<String>,
    /// Index into [`DEPARTMENTS`].
    pub department: usize,
    /// Index into [`OFFICES`].
    pub office: usize,
    pub address: String,
    pub internal_address: String,
    pub devices: Vec<Device>,
    /// How much they do, against others.
    pub activity: f64,
    /// When they take to new things: zero is the first, one the last.
    pub reluctance: f64,
}

struct Model {
    name: &'static str,
    agent: &'static str,
    ja4: &'static str,
    share: u64,
}

const CHROME: &str = "t13d1516h2_8daaf6152771_02713d6af862";
const EDGE: &str = "t13d1516h2_8daaf6152771_d8a2da3f94cd";
const FIREFOX: &str = "t13d1715h2_5b57614c22b0_3d5424432f57";
const SAFARI: &str = "t13d2014h2_a09f3c656075_14788d8d241b";

const MODELS: [Model; 6] = [
    Model {
        name: "WIN",
        agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
        ja4: EDGE,
        share: 34,
    },
    Model {
        name: "WIN",
        agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        ja4: CHROME,
        share: 22,
    },
    Model {
        name: "MAC",
        agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        ja4: CHROME,
        share: 22,
    },
    Model {
        name: "MAC",
        agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
        ja4: SAFARI,
        share: 9,
    },
    Model {
        name: "LNX",
        agent: "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
        ja4: FIREFOX,
        share: 7,
    },
    Model {
        name: "PHN",
        agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
        ja4: SAFARI,
        share: 6,
    },
];

const GIVEN: [&str; 48] = [
    "Ada", "Aiko", "Amir", "Anja", "Bruno", "Carla", "Chidi", "Clara", "Daniel", "Diego", "Elif", "Emma", "Farid",
    "Fatima", "Felix", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Julia", "Kofi", "Lara", "Leo", "Lin",
    "Lucas", "Maya", "Mei", "Mina", "Nadia", "Noah", "Nora", "Olga", "Omar", "Paul", "Priya", "Rafael", "Ravi", "Rosa",
    "Sami", "Sara", "Sofia", "Tariq", "Tom", "Wei", "Yuki", "Zoe",
];
const FAMILY_STARTS: [&str; 24] = [
    "Alven", "Brant", "Corva", "Dorn", "Elsk", "Farro", "Gellin", "Hask", "Ildem", "Jarvo", "Kestri", "Lomar", "Merid",
    "Norvel", "Ostra", "Pellan", "Quenby", "Rostik", "Sorrel", "Tavish", "Ulmar", "Verrin", "Wystan", "Zelko",
];
const FAMILY_ENDS: [&str; 16] = [
    "aro", "berg", "dale", "eski", "field", "garde", "holm", "idi", "land", "mont", "nova", "oux", "qvist", "rana",
    "stead", "wick",
];

/// The name that addresses end in; nobody's (RFC 6761).
pub(crate) const DOMAIN: &str = "acme.test";

/// Makes people; the same for the same seed.
pub(crate) fn people(count: usize, seed: u64) -> Vec<Person> {
    (0..count).map(|number| person(number, seed)).collect()
}

fn person(number: usize, seed: u64) -> Person {
    let scatter = scattered(seed ^ scattered(number as u64));
    let pick = |shift: u32, bound: usize| (scatter >> shift) as usize % bound;
    // The number itself goes through all combinations before one comes again.
    let combination = (number * 7_919) % (GIVEN.len() * FAMILY_STARTS.len() * FAMILY_ENDS.len());
    let given = GIVEN[combination % GIVEN.len()];
    let start = FAMILY_STARTS[combination / GIVEN.len() % FAMILY_STARTS.len()];
    let end = FAMILY_ENDS[combination / GIVEN.len() / FAMILY_STARTS.len()];
    let again = number / (GIVEN.len() * FAMILY_STARTS.len() * FAMILY_ENDS.len());
    let again = if again == 0 { String::new() } else { (again + 1).to_string() };
    let department = place(pick(0, 100), DEPARTMENTS.iter().map(|department| department.share));
    let office = place(pick(8, 100), OFFICES.iter().map(|office| office.share));
    let mut groups = vec![DEPARTMENTS[department].name.to_owned()];
    match pick(16, 12) {
        0 => groups.push("Managers".to_owned()),
        1 => groups.push("Contractors".to_owned()),
        _ => {}
    }
    let devices = if pick(20, 5) == 0 { 2 } else { 1 };
    Person {
        email: format!("{}.{}{end}{again}@{DOMAIN}", given.to_lowercase(), start.to_lowercase()),
        user_id: Builder::from_random_bytes(bytes(scattered(scatter))).into_uuid().to_string(),
        groups,
        department,
        office,
        // An office has one address to the outside; some work from home.
        address: if pick(24, 3) == 0 {
            format!("203.0.113.{}", pick(28, 254) + 1)
        } else {
            format!("198.51.100.{}", office + 1)
        },
        internal_address: format!("10.{}.{}.{}", office + 20, number / 250 % 250, number % 250 + 1),
        devices: (0..devices).map(|which| device(number, which, scatter)).collect(),
        activity: 0.25 + 1.5 * share(scatter).powi(2),
        reluctance: share(scatter ^ 0x5eed),
    }
}

fn device(number: usize, which: u64, scatter: u64) -> Device {
    let scatter = scattered(scatter ^ (which + 1));
    let model = place((scatter % 100) as usize, MODELS.iter().map(|model| model.share as usize));
    let model = &MODELS[model];
    Device {
        id: Builder::from_random_bytes(bytes(scatter)).into_uuid().to_string(),
        name: format!("{}-{:05}", model.name, number * 2 + which as usize),
        agent: model.agent,
        ja4: model.ja4,
    }
}

/// Which of the shares, in percent, a number below a hundred falls into.
fn place(number: usize, shares: impl Iterator<Item = usize>) -> usize {
    let mut through = 0;
    let mut last = 0;
    for (index, share) in shares.enumerate() {
        through += share;
        last = index;
        if number < through {
            return index;
        }
    }
    last
}

/// Sixteen bytes that follow from a number.
pub(crate) fn bytes(number: u64) -> [u8; 16] {
    (u128::from(scattered(number)) << 64 | u128::from(scattered(number ^ 0xb17e5))).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{DEPARTMENTS, MODELS, people};

    #[test]
    fn shares_add_up_to_everybody() {
        assert_eq!(DEPARTMENTS.iter().map(|department| department.share).sum::<usize>(), 100);
        assert_eq!(MODELS.iter().map(|model| model.share).sum::<u64>(), 100);
    }

    #[test]
    fn many_people_have_addresses_of_their_own() {
        let people = people(40_000, 9);
        let addresses: BTreeSet<&str> = people.iter().map(|person| person.email.as_str()).collect();
        assert_eq!(addresses.len(), people.len());
        assert!(people.iter().any(|person| person.devices.len() == 2));
    }
}
