//! Writes the weekly letter about what is used, and puts it in the outbox.
//!
//! It is due from Monday morning on, about the week before. Who writes it notes that first, so that of many nodes one writes
//! it. Invariant: a week is written about at most once; a node that is killed right after the note writes nothing about it.

use std::sync::Arc;
use std::time::Duration;

use administration::failure::Failure;
use administration::operations::applications::stored_reviews;
use administration::operations::digest;
use administration::operations::usage::Source;
use catalog::Catalog;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use logs::Logs;
use store::{NewMail, Only, Operate, Principal, ReadGateway, Store, UsageDigest, WriteLogs};
use tokio_util::sync::CancellationToken;
use types::{AccountId, Secret};

/// How often is looked whether it is due.
const LOOK: Duration = Duration::from_secs(300);
/// The hour of Monday, in UTC, from which it is due.
const HOUR: i8 = 6;
/// For how long sending is tried.
const LIFE: SignedDuration = SignedDuration::from_hours(48);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DigestError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Denied(#[from] store::Denied),
    #[error("the records cannot be read: {}", .0.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))]
    Usage(Failure),
}

impl From<Failure> for DigestError {
    fn from(failure: Failure) -> Self {
        Self::Usage(failure)
    }
}

/// Owned by the one task that runs it.
pub(crate) struct Digest {
    pub store: Store,
    pub account: AccountId,
    pub logs: Logs,
    /// Returns the catalogue in force.
    pub catalog: Box<dyn Fn() -> Arc<Catalog> + Send + Sync>,
    pub console_url: String,
    pub clock: net::Clock,
}

impl Digest {
    pub(crate) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            if let Err(error) = self.write((self.clock)()).await {
                tracing::warn!(%error, "the letter about what is used is not written yet");
            }
        }
    }

    /// Writes the letter, when it is due; says to how many.
    pub(crate) async fn write(&self, now: Timestamp) -> Result<usize, DigestError> {
        let Some(last) = due(now) else { return Ok(0) };
        let principal = Principal::system("write the letter about what is used");
        let grant = principal.authorize::<WriteLogs>(self.account)?;
        let Some(stored) = self.store.usage_digest().get(&grant, &Only).await? else { return Ok(0) };
        let UsageDigest { recipients, written_up_to } = stored.document;
        let last_text = last.to_string();
        if recipients.is_empty() || written_up_to.is_some_and(|written| written >= last_text) {
            return Ok(0);
        }
        let reviews = stored_reviews(&self.store, &principal.authorize::<ReadGateway>(self.account)?).await?;
        let catalog = (self.catalog)();
        let source = Source { logs: &self.logs, account: self.account, catalog: &catalog, reviews: &reviews, now };
        let letter = digest::of_week(source, last, &self.console_url).await?;
        let noted = UsageDigest { recipients: recipients.clone(), written_up_to: Some(last_text) };
        match self.store.usage_digest().replace(&grant, Only, noted, Some(stored.revision)).await {
            Ok(_) => {}
            // Another node writes it, or somebody changes who gets it: the next look decides.
            Err(store::StoreError::Stale(_)) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        let operate = principal.authorize::<Operate>(self.account)?;
        let mut written = 0;
        for to in &recipients {
            let mail = NewMail {
                to: to.clone(),
                subject: letter.subject.clone(),
                text: Secret::new(letter.text.clone()),
                html: None,
                expires_at: now.saturating_add(LIFE).unwrap_or(Timestamp::MAX),
            };
            match self.store.outbox().enqueue(&operate, mail).await {
                Ok(_) => written += 1,
                // The others get theirs.
                Err(error) => tracing::error!(%error, "one letter about what is used could not be put in the outbox"),
            }
        }
        Ok(written)
    }
}

/// Returns the last day of the week that is to be written about now.
fn due(now: Timestamp) -> Option<Date> {
    let time = now.to_zoned(TimeZone::UTC);
    let monday = time.weekday().to_monday_zero_offset() == 0;
    (!monday || time.hour() >= HOUR).then(|| digest::last_day(now))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use catalog::Catalog;
    use jiff::Timestamp;
    use logs::{GatewayHttp, Logs, LogsConfig};
    use store::{Administer, Only, Principal, Store, StoreConfig, UsageDigest, WriteLogs};
    use types::AccountId;

    use super::{Digest, due};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_week_is_written_about_from_monday_morning_on() {
        for (now, last) in [
            ("2026-11-22T23:59:59Z", Some("2026-11-15")),
            ("2026-11-23T05:59:59Z", None),
            ("2026-11-23T06:00:00Z", Some("2026-11-22")),
            ("2026-11-29T23:00:00Z", Some("2026-11-22")),
        ] {
            assert_eq!(due(at(now)).map(|day| day.to_string()).as_deref(), last, "{now}");
        }
    }

    #[tokio::test]
    async fn of_many_nodes_one_writes_and_each_week_once() {
        let directory = tempfile::tempdir().unwrap();
        let (store, account) = (Store::open(StoreConfig::memory()).await.unwrap(), AccountId(uuid::Uuid::from_u128(7)));
        let logs = Logs::open(directory.path(), LogsConfig::default()).await.unwrap();
        let record = GatewayHttp {
            datetime: at("2026-11-18T10:00:00Z"),
            account_id: account.to_string(),
            email: "ann@corp.example".to_owned(),
            ..GatewayHttp::default()
        };
        logs.append(record).await.unwrap();
        logs.flush().await.unwrap();
        let node = || Digest {
            store: store.clone(),
            account,
            logs: logs.clone(),
            catalog: Box::new(Catalog::embedded),
            console_url: "https://console.example".to_owned(),
            clock: Arc::new(Timestamp::now),
        };
        let (first, second) = (node(), node());
        let monday = at("2026-11-23T07:00:00Z");
        assert_eq!(first.write(monday).await.unwrap(), 0, "nobody gets it");
        let grant = Principal::system("test").authorize::<WriteLogs>(account).unwrap();
        let recipients = vec!["ada@example.com".to_owned(), "ben@example.com".to_owned()];
        let wanted = UsageDigest { recipients, written_up_to: None };
        store.usage_digest().put(&grant, Only, wanted).await.unwrap();
        let (one, other) = tokio::join!(first.write(monday), second.write(monday));
        assert_eq!(one.unwrap() + other.unwrap(), 2);
        assert_eq!(first.write(at("2026-11-26T07:00:00Z")).await.unwrap(), 0);
        assert_eq!(second.write(at("2026-11-30T07:00:00Z")).await.unwrap(), 2);
        let administer = Principal::system("test").authorize::<Administer>(account).unwrap();
        let mails = store.outbox().list(&administer).await.unwrap();
        let subjects: Vec<_> = mails.iter().map(|mail| mail.document.subject.as_str()).collect();
        assert_eq!(subjects.len(), 4);
        assert!(subjects.contains(&"What was used from 2026-11-16 to 2026-11-22"), "{subjects:?}");
        logs.shutdown().await;
    }
}
