//! Static tables of categories and application types (reference sections 3.4 and 3.5).
//!
//! Names and numbers only: which host belongs to which of them is decided elsewhere. Invariant: ids are unique; those that
//! Gateway publishes are used as they are, and types of ours start at 1000 so that they can never clash with them.

use serde::Serialize;

/// The application type of artificial intelligence.
pub const ARTIFICIAL_INTELLIGENCE: u32 = 25;
/// The parents whose children are security categories; all others hold content.
const SECURITY: [u32; 2] = [21, 32];

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

/// Returns the application types: id and name.
#[must_use]
pub const fn types() -> &'static [(u32, &'static str)] {
    TYPES
}

/// Returns the name of an application type.
#[must_use]
pub fn type_name(id: u32) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

/// Returns the name of a category, parent or child.
#[must_use]
pub fn category_name(id: u32) -> Option<&'static str> {
    PARENTS.iter().find_map(|(parent, name, _, children)| {
        if *parent == id {
            return Some(*name);
        }
        children.iter().find(|(child, _)| *child == id).map(|(_, name)| *name)
    })
}

/// Finds a category by its number or its name.
#[must_use]
pub fn category_named(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(id) = text.parse() {
        return category_name(id).map(|_| id);
    }
    PARENTS.iter().find_map(|(parent, name, _, children)| {
        if name.eq_ignore_ascii_case(text) {
            return Some(*parent);
        }
        children.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(child, _)| *child)
    })
}

/// Tells whether a category speaks of a threat or risk, and not of content.
#[must_use]
pub fn is_security(id: u32) -> bool {
    PARENTS
        .iter()
        .filter(|(parent, ..)| SECURITY.contains(parent))
        .any(|(parent, _, _, children)| *parent == id || children.iter().any(|(child, _)| *child == id))
}

/// Returns the content category that applications of a type belong to where nothing closer is known.
#[must_use]
pub const fn category_of_type(kind: u32) -> u32 {
    match kind {
        ARTIFICIAL_INTELLIGENCE => 184,
        1002 | 1010 | 1017 | 1028 => 24,
        1003 | 1006 | 1015 | 1019 | 1021 | 1023 | 1025 | 1026 => 26,
        1004 => 6,
        1005 | 1001 | 1014 => 12,
        1007 | 1011 | 1018 | 1031 => 7,
        1008 => 95,
        1012 => 10,
        1020 => 122,
        1027 => 22,
        1029 => 25,
        1030 => 27,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{TYPES, categories, category_name, category_named, category_of_type, is_security, type_name, types};

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
        assert!(ids.iter().all(|id| category_name(*id).is_some()));
    }

    #[test]
    fn there_are_34_types_each_with_a_name_and_a_category() {
        assert_eq!(types().len(), 34);
        assert_eq!(TYPES.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 34);
        assert!(types().iter().all(|(id, _)| category_name(category_of_type(*id)).is_some()));
        assert_eq!(type_name(25), Some("Artificial Intelligence"));
        assert_eq!(type_name(1), None);
    }

    #[test]
    fn a_category_is_found_by_number_and_by_name_in_any_case() {
        for (text, found) in
            [("117", Some(117)), ("malware", Some(117)), (" Gambling ", Some(8)), ("5", None), ("x", None)]
        {
            assert_eq!(category_named(text), found, "{text}");
        }
        assert!(is_security(117) && is_security(128) && is_security(32) && !is_security(8) && !is_security(184));
    }
}
