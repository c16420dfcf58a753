//! Which custom page is shown when somebody is not let in, as the forms of an application and of the organisation have it.
//!
//! Invariant: a form offers only pages that are made for the place, so that none is chosen without effect.

use maud::{Markup, html};
use serde_json::Value;
use store::Permission;

use crate::failure::Failure;
use crate::operations::access::{AccessView, pages};
use crate::pages::control::{Control, Problems};
use crate::pages::fields::Fields;
use crate::pages::visitor::Visitor;

/// When a page is shown: its type, the name of the field, and its label.
pub(super) const PLACES: [(&str, &str, &str); 2] = [
    ("identity_denied", "page_identity_denied", "Somebody who signed in is refused"),
    ("forbidden", "page_forbidden", "Nobody is let in from there"),
];

/// The pages there are.
pub(super) struct Choices(Vec<AccessView>);

impl Choices {
    /// Loads the pages, if the administrator may see them.
    pub(super) async fn load(visitor: &Visitor) -> Result<Self, Failure> {
        Ok(Self(if visitor.may(Permission::AccessRead) { pages::list(&visitor.cx).await? } else { Vec::new() }))
    }

    /// Finds the first of some pages that is made for a place.
    pub(super) fn first(&self, ids: Option<&Value>, kind: &str) -> String {
        let ids = ids.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let mut made = ids.filter(|id| self.0.iter().any(|page| page.text("id") == *id && page.text("type") == kind));
        made.next().unwrap_or_default().to_owned()
    }

    /// Draws a control for each place; `none` says what stands there without a page.
    pub(super) fn draw(&self, none: &str, chosen: &dyn Fn(&str, &str) -> String, problems: Problems<'_>) -> Markup {
        html! {
            @if !self.0.is_empty() {
                fieldset {
                    legend { "Custom pages" }
                    div.row {
                        @for (kind, field, label) in PLACES {
                            (Control::new(field, label).problems(problems.at(&format!("/custom_pages/{kind}"))).select(&self.options(kind, none), &chosen(kind, field)))
                        }
                    }
                }
            }
        }
    }

    fn options<'a>(&'a self, kind: &str, none: &'a str) -> Vec<(&'a str, &'a str)> {
        let made = self.0.iter().filter(|page| page.text("type") == kind);
        std::iter::once(("", none)).chain(made.map(|page| (page.text("id"), page.text("name")))).collect()
    }
}

/// Tells whether a form had the controls.
pub(super) fn sent(fields: &Fields) -> bool {
    PLACES.iter().any(|(_, field, _)| fields.find(field).is_some())
}

/// Returns the pages that were chosen for an application.
pub(super) fn typed(fields: &Fields) -> Value {
    PLACES.iter().filter_map(|(_, field, _)| fields.text(field)).collect()
}
