//! Tags, bookmarks of the legacy API and custom pages: the small documents beside applications (reference sections 1.4,
//! 1.10 and 11).
//!
//! Invariant: a tag's name can stand as one segment of a path.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::application::{ApplicationDocument, ApplicationType};
use crate::document::{self, Problem, words};

/// Version of the stored documents.
pub const VERSION: u32 = 1;
/// Longest custom page, in bytes.
pub const MAX_PAGE: usize = 256 * 1_024;
const READ_ONLY: [&str; 7] = ["id", "uid", "app_count", "created_at", "updated_at", "warnings", "contract_version"];

/// A tag, by which the launcher filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TagDocument {
    pub name: String,
}

impl TagDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// If it is not a tag.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let document: Self = document::read(value, &READ_ONLY)?;
        let name = document::name(&document.name, 64).map_err(|message| vec![Problem::new("/name", message)])?;
        if name.contains(['/', '\\']) || name == "." || name == ".." {
            return Err(vec![Problem::new("/name", "must not hold a slash")]);
        }
        Ok(Self { name })
    }
}

/// A bookmark as the legacy API writes it; it becomes an application of type `bookmark`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BookmarkDocument {
    pub name: String,
    pub domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_launcher_visible: Option<bool>,
}

impl BookmarkDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        document::read(value, &READ_ONLY)
    }

    /// Returns the application that stands for it.
    #[must_use]
    pub fn application(self) -> ApplicationDocument {
        ApplicationDocument {
            kind: ApplicationType::Bookmark,
            name: self.name,
            domain: Some(self.domain),
            logo_url: self.logo_url,
            app_launcher_visible: self.app_launcher_visible.unwrap_or(true),
            ..ApplicationDocument::default()
        }
    }
}

words! {
    /// When a custom page is shown.
    PageType {
        IdentityDenied = "identity_denied",
        Forbidden = "forbidden",
        /// Read where it was stored, made no more: a page without forms cannot sign anybody in.
        Login = "login",
        /// The same: nothing stands between a sign-in and the application.
        Interstitial = "interstitial",
    }
}

/// A page of the organisation's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomPageDocument {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Option<PageType>,
    pub custom_html: String,
}

impl CustomPageDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let document: Self = document::read(value, &READ_ONLY)?;
        let mut problems = document::Problems::default();
        problems.check("/name", document::name(&document.name, 255));
        match document.kind {
            Some(PageType::IdentityDenied | PageType::Forbidden) => {}
            Some(kind @ (PageType::Login | PageType::Interstitial)) => {
                let word = kind.as_str();
                problems.add(
                    "/type",
                    format!("pages of type `{word}` are shown nowhere; identity_denied and forbidden are"),
                );
            }
            None => problems.add("/type", "is required"),
        }
        if document.custom_html.is_empty() || document.custom_html.len() > MAX_PAGE {
            problems.add("/custom_html", format!("must hold between one and {MAX_PAGE} bytes"));
        }
        problems.finish(document)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CustomPageDocument, TagDocument};

    #[test]
    fn a_tag_is_one_segment_of_a_path() {
        assert_eq!(TagDocument::read(&json!({"name": " engineering ", "app_count": 3})).unwrap().name, "engineering");
        for name in ["", "a/b", "..", "a\u{7}"] {
            assert!(TagDocument::read(&json!({"name": name})).is_err(), "{name}");
        }
    }

    #[test]
    fn a_page_says_when_it_is_shown() {
        assert!(CustomPageDocument::read(&json!({"name": "x", "type": "forbidden", "custom_html": "<p>no"})).is_ok());
        assert!(CustomPageDocument::read(&json!({"name": "x", "custom_html": "<p>no"})).is_err());
        for kind in ["login", "interstitial"] {
            let page = json!({"name": "x", "type": kind, "custom_html": "<p>no"});
            let problems = CustomPageDocument::read(&page).unwrap_err();
            assert_eq!(problems[0].pointer, "/type");
            assert!(problems[0].message.contains("are shown nowhere"), "{}", problems[0].message);
            // What was stored before stays readable.
            assert!(crate::document::read_stored::<CustomPageDocument>(&page).is_ok(), "{kind}");
        }
        assert!(CustomPageDocument::read(&json!({"name": "x", "type": "welcome", "custom_html": "<p>no"})).is_err());
    }
}
