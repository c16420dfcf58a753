//! Cuts listings into pages, in the two styles v4 clients follow: numbered pages and cursors.
//!
//! Clients that count pages ask until a page is empty, so a page beyond the end is empty and not an error; a listing
//! that is one page long has an empty second page. Invariant: no page is longer than its style's bound.

use types::ResultInfo;

use crate::failure::Failure;

/// Most entries of a numbered page.
pub(crate) const MOST_PER_PAGE: u64 = 1000;

/// A numbered page, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// From 1.
    pub(crate) page: u64,
    pub(crate) per_page: u64,
}

impl PageRequest {
    /// Reads `page` and `per_page`.
    ///
    /// # Errors
    ///
    /// When one of them is not a positive number.
    pub(crate) fn parse(page: Option<&str>, per_page: Option<&str>, default_per_page: u64) -> Result<Self, Failure> {
        let page = positive("page", page)?.unwrap_or(1);
        let per_page = positive("per_page", per_page)?.unwrap_or(default_per_page).min(MOST_PER_PAGE);
        Ok(Self { page, per_page })
    }

    /// Returns this page of `all` and what to say about it.
    #[must_use]
    pub(crate) fn cut<T>(self, all: Vec<T>) -> (Vec<T>, ResultInfo) {
        let total = all.len() as u64;
        let start = (self.page - 1).saturating_mul(self.per_page);
        let take = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let items: Vec<T> = all.into_iter().skip(take(start)).take(take(self.per_page)).collect();
        let info = ResultInfo {
            page: Some(self.page),
            per_page: Some(self.per_page),
            count: Some(items.len() as u64),
            total_count: Some(total),
            total_pages: Some(total.div_ceil(self.per_page)),
            cursor: None,
        };
        (items, info)
    }
}

/// Returns a listing that has one page: everything, unless a later page is asked for.
///
/// # Errors
///
/// When `page` is not a positive number.
pub(crate) fn single<T>(all: Vec<T>, page: Option<&str>) -> Result<Vec<T>, Failure> {
    Ok(if positive("page", page)?.unwrap_or(1) > 1 { Vec::new() } else { all })
}

/// Reads a positive number from the query.
///
/// # Errors
///
/// When it is there and is not one.
pub(crate) fn positive(name: &str, text: Option<&str>) -> Result<Option<u64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Failure::new(
            types::Code::InvalidInput,
            format!("query parameter \"{name}\" must be a positive number"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{PageRequest, single};

    #[test]
    fn pages_end_with_an_empty_one() {
        for (page, per_page, expected) in
            [(1, 2, vec![1, 2]), (2, 2, vec![3]), (3, 2, vec![]), (1, 1000, vec![1, 2, 3]), (u64::MAX, 1000, vec![])]
        {
            let (items, info) = PageRequest { page, per_page }.cut(vec![1, 2, 3]);
            assert_eq!(items, expected);
            assert_eq!(info.total_count, Some(3));
            assert_eq!(info.count, Some(expected.len() as u64));
        }
        assert_eq!(single(vec![1], None).unwrap(), [1]);
        assert_eq!(single(vec![1], Some("1")).unwrap(), [1]);
        assert!(single(vec![1], Some("2")).unwrap().is_empty());
        assert!(single(vec![1], Some("0")).is_err());
        assert!(PageRequest::parse(Some("x"), None, 20).is_err());
        assert_eq!(PageRequest::parse(None, Some("99999"), 20).unwrap().per_page, 1000);
    }
}
