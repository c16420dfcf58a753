//! What a host means to one account: its application, the account's word on it, and its categories.
//!
//! It joins the catalogue, the account's statuses and the index of categories; it holds no rule against them. Invariant:
//! classifying a host allocates nothing, and what comes of it is a small value that fits any number of requests.

use std::sync::Arc;

use crate::catalog::{Application, Catalog, Match, Role};
use crate::categories::CategoryIndex;
use crate::review::Status;

/// What was found for a host; it belongs to the classifier that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    application: Option<(u16, Role)>,
    /// The set of categories that lists give it.
    listed: Option<u32>,
}

impl Classification {
    /// Nothing is known about the host.
    pub const NOTHING: Self = Self { application: None, listed: None };
}

/// What rules and records read of a classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning<'c> {
    /// The application the host is or supports.
    pub application: Option<&'c Application>,
    /// The application's number if the host is the application.
    pub app_ids: &'c [i64],
    /// The application's type if the host is the application.
    pub app_type_ids: &'c [i64],
    /// The application's number if the host only supports it.
    pub app_supports_ids: &'c [i64],
    /// The account's word on the application that the host is.
    pub app_statuses: &'c [&'static str],
    /// What lists say, or else the category of the application.
    pub content_categories: &'c [i64],
    pub security_categories: &'c [i64],
}

impl Meaning<'_> {
    /// Of a host of which nothing is known.
    pub const NOTHING: Meaning<'static> = Meaning {
        application: None,
        app_ids: &[],
        app_type_ids: &[],
        app_supports_ids: &[],
        app_statuses: &[],
        content_categories: &[],
        security_categories: &[],
    };
}

/// The numbers of an application as rules compare them.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    id: [i64; 1],
    kind: [i64; 1],
    category: [i64; 1],
}

/// Everything an account knows about hosts.
#[derive(Debug)]
pub struct Classifier {
    catalog: Arc<Catalog>,
    categories: Arc<CategoryIndex>,
    numbers: Box<[Numbers]>,
    statuses: Box<[Status]>,
}

impl Classifier {
    /// Joins what is known; statuses of applications that the catalogue does not have are left out.
    pub fn new(
        catalog: Arc<Catalog>,
        categories: Arc<CategoryIndex>,
        statuses: impl IntoIterator<Item = (u32, Status)>,
    ) -> Self {
        let one = |number: u32| [i64::from(number)];
        let applications = catalog.applications();
        let numbers = applications
            .iter()
            .map(|a| Numbers { id: one(a.id), kind: one(a.kind), category: one(a.category) })
            .collect();
        let mut known = vec![Status::Unreviewed; applications.len()];
        for (id, status) in statuses {
            if let Some(place) = catalog.place_of(id) {
                known[place] = status;
            }
        }
        Self { categories, numbers, statuses: known.into(), catalog }
    }

    /// What ships with this version, with every application unreviewed.
    #[must_use]
    pub fn embedded() -> Self {
        Self::new(Catalog::embedded(), CategoryIndex::own(), [])
    }

    /// Returns the catalogue.
    #[must_use]
    pub const fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Returns the index of categories.
    #[must_use]
    pub const fn categories(&self) -> &Arc<CategoryIndex> {
        &self.categories
    }

    /// Returns the account's word on an application.
    #[must_use]
    pub fn status(&self, id: u32) -> Status {
        self.catalog.place_of(id).map_or(Status::Unreviewed, |place| self.statuses[place])
    }

    /// Finds what a host means. The host is in lower case, without a port or trailing dot.
    #[must_use]
    pub fn classify(&self, host: &str) -> Classification {
        let place = |found: Match<'_>| u16::try_from(found.place).ok().map(|place| (place, found.role));
        Classification { application: self.catalog.find(host).and_then(place), listed: self.categories.find(host) }
    }

    /// Returns what rules and records read of a classification that this classifier made.
    #[must_use]
    pub fn meaning(&self, classification: Classification) -> Meaning<'_> {
        let mut meaning = Meaning::NOTHING;
        if let Some(set) = classification.listed {
            let set = self.categories.set(set);
            (meaning.content_categories, meaning.security_categories) = (&set.content, &set.security);
        }
        let Some((place, role)) = classification.application else { return meaning };
        let place = usize::from(place);
        let (Some(numbers), Some(status)) = (self.numbers.get(place), self.statuses.get(place)) else { return meaning };
        meaning.application = self.catalog.applications().get(place);
        match role {
            Role::Own => {
                (meaning.app_ids, meaning.app_type_ids) = (&numbers.id, &numbers.kind);
                meaning.app_statuses = status.words();
                if meaning.content_categories.is_empty() {
                    meaning.content_categories = &numbers.category;
                }
            }
            Role::Support => meaning.app_supports_ids = &numbers.id,
        }
        meaning
    }

    /// Returns the bytes that statuses and numbers take beside the catalogue and the index.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.numbers) + size_of_val(&*self.statuses)
    }
}

#[cfg(test)]
mod tests {
    use super::Classifier;
    use crate::catalog::Catalog;
    use crate::categories::CategoryIndex;
    use crate::review::Status;

    #[test]
    fn a_host_means_its_application_the_word_on_it_and_its_categories() {
        let mut builder = CategoryIndex::with_own();
        builder.add(117, "bad.claude.ai").unwrap();
        builder.add(8, "poker.test").unwrap();
        let statuses = [(2430, Status::Approved), (7, Status::Unapproved)];
        let classifier = Classifier::new(Catalog::embedded(), builder.finish().into(), statuses);
        let seen = |host: &str| {
            let m = classifier.meaning(classifier.classify(host));
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?}",
                m.app_ids,
                m.app_type_ids,
                m.app_supports_ids,
                m.app_statuses,
                m.content_categories,
                m.security_categories
            )
        };
        assert_eq!(seen("claude.ai"), r#"[2430] [25] [] ["approved"] [184] []"#);
        assert_eq!(seen("www.bad.claude.ai"), r#"[2430] [25] [] ["approved"] [184] [117]"#);
        assert_eq!(seen("chatgpt.com"), r#"[1199] [25] [] ["unreviewed"] [184] []"#);
        assert_eq!(
            seen("connect.facebook.net"),
            format!("[] [] [{}] [] [] []", classifier.catalog.by_slug("facebook").unwrap().id)
        );
        assert_eq!(seen("www.poker.test"), "[] [] [] [] [8] []");
        assert_eq!(seen("nowhere.invalid"), "[] [] [] [] [] []");
        assert_eq!((classifier.status(2430), classifier.status(1199)), (Status::Approved, Status::Unreviewed));
    }
}
