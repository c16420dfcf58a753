//! What every backend promises about the catalogue: reviews by number, one edition, lists that go with their names.

use catalog::Status;
use catalog::review::Review;
use store::{
    CatalogEdition, CatalogId, CatalogReview, CategoryList, CategoryNames, Only, ReadGateway, StoreError, WriteGateway,
};
use types::CategoryListId;
use uuid::Uuid;

use crate::fixture::{Fixture, grant, run, store_suite};

store_suite! {
    a_review_is_kept_by_the_number_of_its_application,
    an_account_has_one_edition,
    a_list_comes_and_goes_with_its_names,
}

async fn a_review_is_kept_by_the_number_of_its_application(f: &Fixture) {
    let (reviews, write) = (f.store.catalog_reviews(), grant::<WriteGateway>());
    let review = |status| CatalogReview(Review { status, owner: "it@example.com".into(), ..Review::default() });
    for (id, status) in [(1199, Status::Approved), (2430, Status::InReview)] {
        reviews.put(&write, CatalogId(id), review(status)).await.unwrap();
    }
    reviews.put(&write, CatalogId(1199), review(Status::Unapproved)).await.unwrap();
    let read = grant::<ReadGateway>();
    let mut all: Vec<_> = reviews
        .list(&read)
        .await
        .unwrap()
        .into_iter()
        .map(|it| (it.id.0, it.document.0.status, it.revision.0))
        .collect();
    all.sort_unstable();
    assert_eq!(all, [(1199, Status::Unapproved, 2), (2430, Status::InReview, 1)]);
    assert_eq!(reviews.get(&read, &CatalogId(7)).await.unwrap(), None);
}

async fn an_account_has_one_edition(f: &Fixture) {
    let (editions, write) = (f.store.catalog_edition(), grant::<WriteGateway>());
    let edition = |version: &str| CatalogEdition { version: version.into(), data: "{}\n".repeat(200_000) };
    editions.put(&write, Only, edition("1")).await.unwrap();
    editions.put(&write, Only, edition("2")).await.unwrap();
    assert_eq!(editions.get(&write, &Only).await.unwrap().unwrap().document, edition("2"));
    editions.delete(&write, &Only, None).await.unwrap();
    assert_eq!(editions.get(&write, &Only).await.unwrap(), None);
}

async fn a_list_comes_and_goes_with_its_names(f: &Fixture) {
    let write = grant::<WriteGateway>();
    let (lists, names) = (f.store.category_lists(), f.store.category_names());
    let list = |name: &str, names| CategoryList {
        name: name.into(),
        category: 8,
        names,
        format: "hosts".into(),
        skipped: [("addresses".to_owned(), 2)].into(),
    };
    let (one, two) = (CategoryListId(Uuid::from_u128(1)), CategoryListId(Uuid::from_u128(2)));
    let text = |text: &str| CategoryNames(text.to_owned());
    lists.put_with_names(&write, one, list("bets", 1), text("a.test")).await.unwrap();
    lists.put_with_names(&write, one, list("bets", 2), text("a.test\nb.test")).await.unwrap();
    assert_eq!(names.get(&write, &one).await.unwrap().unwrap().document, text("a.test\nb.test"));
    let taken = lists.put_with_names(&write, two, list("bets", 1), text("c.test")).await;
    assert!(matches!(taken, Err(StoreError::Taken(_))), "{taken:?}");
    assert_eq!(names.get(&write, &two).await.unwrap(), None, "all or none");
    lists.delete_with_names(&write, one).await.unwrap();
    assert_eq!(names.get(&write, &one).await.unwrap(), None);
    assert!(matches!(lists.delete_with_names(&write, one).await, Err(StoreError::NotFound(_))));
}
