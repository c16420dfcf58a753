//! What the host of a connection or request means: looked up once for a connection, read by rules and records.
//!
//! The catalogue decides; this remembers, and turns its answer into facts and fields. Invariant: an answer is only used
//! with the classifier that gave it.

use std::sync::{Arc, OnceLock, Weak};

use catalog::classify::Meaning;
use catalog::taxonomy::category_name;
use catalog::{Classification, Classifier};
use logs::{GatewayHttp, GatewayNetwork};
use policy::facts::HostFacts;

/// The host a connection asked for first, which is nearly always the only one.
#[derive(Debug, Default)]
pub(crate) struct FirstHost(OnceLock<Found>);

#[derive(Debug)]
struct Found {
    /// Weak, so that a connection that lives long keeps no catalogue that was replaced. While it stands, no other
    /// classifier can have its address.
    classifier: Weak<Classifier>,
    host: Box<str>,
    classification: Classification,
}

impl FirstHost {
    /// Returns what `host` means, from memory if it was asked for first.
    pub(crate) fn classify(&self, classifier: &Arc<Classifier>, host: &str) -> Classification {
        let found = self.0.get_or_init(|| Found {
            classifier: Arc::downgrade(classifier),
            host: host.into(),
            classification: classifier.classify(host),
        });
        if std::ptr::eq(found.classifier.as_ptr(), Arc::as_ptr(classifier)) && *found.host == *host {
            return found.classification;
        }
        classifier.classify(host)
    }
}

/// The facts of a host.
pub(crate) fn facts(classifier: &Classifier, classification: Classification) -> HostFacts<'_> {
    let meaning = classifier.meaning(classification);
    HostFacts {
        app_ids: meaning.app_ids,
        app_type_ids: meaning.app_type_ids,
        app_supports_ids: meaning.app_supports_ids,
        app_statuses: meaning.app_statuses,
        content_categories: meaning.content_categories,
        security_categories: meaning.security_categories,
    }
}

/// Writes into the record of a request what rules read: the same applications, the same categories.
pub(crate) fn describe_request(meaning: &Meaning<'_>, record: &mut GatewayHttp) {
    applications(meaning, &mut record.application_ids, &mut record.application_names);
    record.application_statuses.clear();
    record.application_statuses.extend(meaning.app_statuses.iter().map(ToString::to_string));
    categories(meaning, &mut record.category_ids, &mut record.category_names);
}

/// Writes into the record of a connection what rules read.
pub(crate) fn describe_connection(meaning: &Meaning<'_>, record: &mut GatewayNetwork) {
    applications(meaning, &mut record.application_ids, &mut record.application_names);
    categories(meaning, &mut record.category_ids, &mut record.category_names);
}

fn applications(meaning: &Meaning<'_>, ids: &mut Vec<i64>, names: &mut Vec<String>) {
    ids.clear();
    names.clear();
    ids.extend_from_slice(meaning.app_ids);
    if !ids.is_empty() {
        names.extend(meaning.application.map(|application| application.name.to_string()));
    }
}

fn categories(meaning: &Meaning<'_>, ids: &mut Vec<i64>, names: &mut Vec<String>) {
    ids.clear();
    names.clear();
    for id in meaning.content_categories.iter().chain(meaning.security_categories) {
        ids.push(*id);
        names.push(u32::try_from(*id).ok().and_then(category_name).unwrap_or_default().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use catalog::{Catalog, CategoryIndex, Classifier, Status};

    use super::FirstHost;

    #[test]
    fn what_is_remembered_is_given_up_with_the_catalogue_it_came_from() {
        let of = |status| Arc::new(Classifier::new(Catalog::embedded(), CategoryIndex::own(), [(2430, status)]));
        let first = FirstHost::default();
        let word = |classifier: &Arc<Classifier>, host: &str| {
            let found = first.classify(classifier, host);
            classifier.meaning(found).app_statuses.join(" ")
        };
        let (old, new) = (of(Status::Approved), of(Status::Unapproved));
        assert_eq!(word(&old, "claude.ai"), "approved");
        assert_eq!(word(&old, "chatgpt.com"), "unreviewed", "another host on the same connection");
        assert_eq!(word(&new, "claude.ai"), "unapproved");
        drop(old);
        assert_eq!(word(&new, "claude.ai"), "unapproved");
    }
}
