//! Static tables of categories and application types (reference sections 3.4 and 3.5) in the shape of the API (5.8).
//!
//! Facts only: which request belongs to which category is the catalogue's business. Invariant: ids are unique; those that
//! Gateway publishes are used as they are, and types of ours start at 1000 so that they can never clash with them.

use serde::Serialize;

/// When these tables were written, as the API shows it.
const CREATED: &str = "2026-11-01T00:00:00Z";

/// A category as `GET …/gateway/categories` returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Category {
    pub id: u32,
    pub name: &'static str,
    pub description: &'static str,
    /// `free`, `premium`, `blocked`, `removalPending` or `noBlock`.
    pub class: &'static str,
    pub beta: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subcategories: Vec<Category>,
}

/// An entry of `GET …/gateway/app_types`: a type, or an application of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AppType {
    Type { id: u32, name: &'static str, description: &'static str, created_at: &'static str },
    Application { id: u32, application_type_id: u32, name: &'static str, created_at: &'static str },
}

/// Parents: id, name, class, and their known children.
type Parent = (u32, &'static str, &'static str, &'static [(u32, &'static str)]);

const PARENTS: &[Parent] = &[
    (1, "Ads", "free", &[]),
    (2, "Adult Themes", "free", &[]),
    (3, "Business & Economy", "free", &[]),
    (6, "Education", "free", &[]),
    (7, "Entertainment", "free", &[(122, "News & Media")]),
    (8, "Gambling", "free", &[]),
    (9, "Government & Politics", "free", &[]),
    (10, "Health", "free", &[]),
    (12, "Internet Communication", "free", &[]),
    (13, "Job Search & Careers", "free", &[]),
    (15, "Miscellaneous", "free", &[]),
    (17, "Questionable Content", "free", &[]),
    (18, "Real Estate", "free", &[]),
    (19, "Religion", "free", &[]),
    (20, "Safe for Kids", "free", &[]),
    (
        21,
        "Security threats",
        "free",
        &[
            (68, "Anonymizer"),
            (80, "Command and Control & Botnet"),
            (83, "Cryptomining"),
            (117, "Malware"),
            (131, "Phishing"),
            (134, "Private IP Address"),
            (151, "Spam"),
            (153, "Spyware"),
            (175, "DNS Tunneling"),
            (176, "DGA Domains"),
            (178, "Brand Embedding"),
            (187, "Compromised Domain"),
            (188, "Potentially Unwanted Software"),
            (191, "Scam"),
        ],
    ),
    (22, "Shopping & Auctions", "free", &[]),
    (24, "Society & Lifestyle", "free", &[]),
    (25, "Sports", "free", &[]),
    (26, "Technology", "free", &[(95, "File Sharing"), (184, "Artificial Intelligence"), (192, "Remote Access")]),
    (27, "Travel", "free", &[]),
    (28, "Vehicles", "free", &[]),
    (29, "Violence", "free", &[]),
    (30, "Weather", "free", &[]),
    (31, "Always blocked", "blocked", &[(170, "Child Abuse")]),
    (32, "Security Risks", "free", &[(128, "Parked Domains"), (169, "New Domains"), (177, "Newly Seen Domains")]),
    (34, "CIPA", "free", &[(182, "CIPA Filter")]),
];

/// Application types whose number Gateway publishes, then the others in the order of their names.
const TYPES: &[(u32, &str)] = &[
    (25, "Artificial Intelligence"),
    (16, "Do Not Inspect"),
    (1000, "Business"),
    (1001, "Collaboration & Online Meetings"),
    (1002, "Dating"),
    (1003, "Development"),
    (1004, "Education"),
    (1005, "Email"),
    (1006, "Encrypted DNS"),
    (1007, "Entertainment & Events"),
    (1008, "File Sharing"),
    (1009, "Finance & Accounting"),
    (1010, "Food & Drink"),
    (1011, "Gaming"),
    (1012, "Health & Fitness"),
    (1013, "Human Resources"),
    (1014, "Instant Messaging"),
    (1015, "IT Management"),
    (1016, "Legal"),
    (1017, "Lifestyle"),
    (1018, "Music & Audio Streaming"),
    (1019, "Navigation"),
    (1020, "News, Books & Magazines"),
    (1021, "Photography & Graphic Design"),
    (1022, "Productivity"),
    (1023, "Public Cloud"),
    (1024, "Sales & Marketing"),
    (1025, "Search Engines"),
    (1026, "Security"),
    (1027, "Shopping"),
    (1028, "Social Networking"),
    (1029, "Sports"),
    (1030, "Travel"),
    (1031, "Video Streaming & Editing"),
];

const APPLICATIONS: &[(u32, u32, &str)] =
    &[(1199, 25, "ChatGPT"), (1340, 25, "Google Gemini"), (1937, 25, "Perplexity"), (2430, 25, "Claude")];

/// Returns the tree of categories.
#[must_use]
pub fn categories() -> Vec<Category> {
    let leaf = |id, name, class| Category { id, name, description: "", class, beta: false, subcategories: Vec::new() };
    PARENTS
        .iter()
        .map(|(id, name, class, children)| Category {
            subcategories: children.iter().map(|(id, name)| leaf(*id, *name, *class)).collect(),
            ..leaf(*id, *name, *class)
        })
        .collect()
}

/// Returns the application types, then the applications whose number is known.
#[must_use]
pub fn app_types() -> Vec<AppType> {
    let types = TYPES.iter().map(|(id, name)| AppType::Type { id: *id, name, description: "", created_at: CREATED });
    let applications = APPLICATIONS.iter().map(|(id, kind, name)| AppType::Application {
        id: *id,
        application_type_id: *kind,
        name,
        created_at: CREATED,
    });
    types.chain(applications).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{AppType, app_types, categories};

    #[test]
    fn every_category_has_a_number_of_its_own() {
        let tree = categories();
        let ids: Vec<u32> = tree
            .iter()
            .flat_map(|parent| std::iter::once(parent.id).chain(parent.subcategories.iter().map(|c| c.id)))
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        let security = tree.iter().find(|category| category.id == 21).unwrap();
        assert_eq!(security.subcategories.len(), 14);
    }

    #[test]
    fn there_are_34_types_and_the_known_applications() {
        let all = app_types();
        let types = all.iter().filter(|entry| matches!(entry, AppType::Type { .. })).count();
        assert_eq!(types, 34);
        assert_eq!(
            serde_json::to_value(all.last()).unwrap(),
            serde_json::json!({"id": 2430, "application_type_id": 25, "name": "Claude", "created_at": "2026-11-01T00:00:00Z"})
        );
    }
}
