//! The organisation's settings: the v4 document (reference section 1.10), and what holds for every application.
//!
//! Invariant: lifetimes lie within the bounds of section 1.7, and colours can stand in a style sheet.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::CustomPageId;
use url::Url;

use crate::application::LONGEST_SESSION;
use crate::colour::Colour;
use crate::document::{self, Lifetime, Problem, Problems, words};
use crate::mfa_requirement::{MfaConfigDocument, MfaRequirement, OrganizationMfa};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 4] = ["id", "created_at", "updated_at", "is_default"];
/// The host people sign in at until the organisation names one. Browsers take every name under `localhost` for this
/// machine.
pub const DEFAULT_AUTH_DOMAIN: &str = "access.localhost";
/// The organisation's session when none is written.
pub const DEFAULT_SESSION: Duration = Duration::from_secs(24 * 3_600);
const SHORTEST_SESSION: Duration = Duration::from_secs(15 * 60);

/// The organisation as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrganizationDocument {
    pub name: String,
    /// The host people sign in at.
    pub auth_domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Lifetime>,
    pub auto_redirect_to_identity: bool,
    pub allow_authenticate_via_warp: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warp_auth_session_duration: Option<Lifetime>,
    pub warp_auth_non_browser_401: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_pages: Option<CustomPagesDocument>,
    pub deny_unmatched_requests: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_unmatched_requests_exempted_zone_names: Vec<String>,
    pub is_ui_read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui_read_only_toggle_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_design: Option<LoginDesign>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_config: Option<MfaConfigDocument>,
    pub mfa_required_for_all_apps: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_seat_expiration_inactive_time: Option<Lifetime>,
    /// Absent means on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_service_token_auth: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_token_inactivity: Option<InactivityDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portunus: Option<OrganizationExtension>,
}

/// The group `portunus` of the organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrganizationExtension {
    /// Language tags of pages, most wanted first; empty follows the browser.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// A session without a request for this long ends; absent means never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Lifetime>,
    /// Of a thousand requests that are let through, how many are recorded; zero, the default, records none.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_allowed_per_mille: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
const fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// `custom_pages`: ids of pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomPagesDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forbidden: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_denied: Option<String>,
}

/// `login_design`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginDesign {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footer_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_path: Option<String>,
}

/// How the organisation's pages look, known to be sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Design {
    pub background: Option<Colour>,
    /// Wanted on the background; whether it can be read there is for [`Colour::text`] to say.
    pub text: Option<Colour>,
    /// Stands where the organisation's name would.
    pub header: Option<String>,
    pub footer: Option<String>,
    /// https or data.
    pub logo: Option<Url>,
}

impl Design {
    fn parse(document: &LoginDesign, problems: &mut Problems) -> Self {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let mut colour = |member: &str, text: &Option<String>| {
            given(text).and_then(|text| problems.check(&format!("/login_design/{member}"), document::colour(&text)))
        };
        let background = colour("background_color", &document.background_color);
        let text = colour("text_color", &document.text_color);
        let mut line = |member: &str, text: &Option<String>, limit: usize| {
            given(text)
                .and_then(|text| problems.check(&format!("/login_design/{member}"), document::name(&text, limit)))
        };
        let header = line("header_text", &document.header_text, 255);
        let footer = line("footer_text", &document.footer_text, 2_000);
        let logo = given(&document.logo_path)
            .and_then(|path| problems.check("/login_design/logo_path", document::image(&path)));
        Self { background, text, header, footer, logo }
    }
}

words! {
    /// What happens to a service token nobody uses.
    InactivityAction {
        Disable = "disable",
        Delete = "delete",
    }
}

/// `service_token_inactivity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InactivityDocument {
    pub enabled: bool,
    pub inactivity_threshold_days: u32,
    pub action: InactivityAction,
}

impl Default for InactivityDocument {
    fn default() -> Self {
        Self { enabled: false, inactivity_threshold_days: 90, action: InactivityAction::Disable }
    }
}

impl OrganizationDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        document::read(value, &READ_ONLY)
    }
}

/// The organisation's settings, known to be sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    pub name: String,
    /// In lower case.
    pub auth_domain: String,
    pub session: Duration,
    pub idle: Option<Duration>,
    pub auto_redirect: bool,
    /// Refuses requests to hosts no application covers, instead of answering that there is nothing.
    pub deny_unmatched: bool,
    pub mfa: OrganizationMfa,
    pub strict_service_tokens: bool,
    pub inactivity: Option<(Duration, InactivityAction)>,
    pub design: Design,
    pub languages: Vec<String>,
    pub forbidden_page: Option<CustomPageId>,
    pub denied_page: Option<CustomPageId>,
    /// Of a thousand requests that are let through, how many are recorded.
    pub logged_allows: u16,
}

impl Organization {
    /// Makes settings of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(document: &OrganizationDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", document::name(&document.name, 255)).unwrap_or_default();
        let auth_domain = problems.check("/auth_domain", auth_domain(&document.auth_domain)).unwrap_or_default();
        let session = document.session_duration.as_ref().and_then(|lifetime| {
            problems.check("/session_duration", lifetime.within(SHORTEST_SESSION, LONGEST_SESSION))
        });
        let extension = document.portunus.clone().unwrap_or_default();
        let idle = extension.idle_timeout.as_ref().and_then(|lifetime| {
            problems.check("/portunus/idle_timeout", lifetime.within(Duration::from_secs(60), LONGEST_SESSION))
        });
        if let Some(seats) = &document.user_seat_expiration_inactive_time {
            let most = Duration::from_secs(100 * 366 * 24 * 3_600);
            problems.check("/user_seat_expiration_inactive_time", seats.within(Duration::from_secs(730 * 3_600), most));
        }
        let config = document.mfa_config.as_ref().and_then(|config| {
            match MfaRequirement::parse(config).map_err(|faults| problems.extend("/mfa_config", faults)) {
                Ok(MfaRequirement::Required(rules)) => Some(rules),
                Ok(MfaRequirement::Off) | Err(()) => None,
            }
        });
        if document.mfa_required_for_all_apps && config.is_none() && problems.is_empty() {
            problems.add("/mfa_required_for_all_apps", "needs at least one of `mfa_config.allowed_authenticators`");
        }
        if extension.log_allowed_per_mille > 1_000 {
            problems.add("/portunus/log_allowed_per_mille", "must be 0 to 1000");
        }
        let inactivity = document.service_token_inactivity.as_ref().filter(|inactivity| inactivity.enabled);
        if inactivity.is_some_and(|inactivity| !(30..=365).contains(&inactivity.inactivity_threshold_days)) {
            problems.add("/service_token_inactivity/inactivity_threshold_days", "must be between 30 and 365");
        }
        let design = document.login_design.clone().unwrap_or_default();
        let design = Design::parse(&design, &mut problems);
        let pages = document.custom_pages.clone().unwrap_or_default();
        let mut page = |member: &str, id: &Option<String>| {
            let id = id.as_deref().filter(|id| !id.is_empty())?;
            let parsed = id.parse::<CustomPageId>().map_err(|_| "must be the id of a custom page".to_owned());
            problems.check(&format!("/custom_pages/{member}"), parsed)
        };
        let forbidden_page = page("forbidden", &pages.forbidden);
        let denied_page = page("identity_denied", &pages.identity_denied);
        problems.finish(Self {
            name,
            auth_domain,
            session: session.unwrap_or(DEFAULT_SESSION),
            idle,
            auto_redirect: document.auto_redirect_to_identity,
            deny_unmatched: document.deny_unmatched_requests,
            mfa: OrganizationMfa { config, required_for_all: document.mfa_required_for_all_apps },
            strict_service_tokens: document.strict_service_token_auth.unwrap_or(true),
            inactivity: inactivity.map(|rules| {
                (Duration::from_secs(u64::from(rules.inactivity_threshold_days) * 24 * 3_600), rules.action)
            }),
            design,
            languages: extension.languages,
            forbidden_page,
            denied_page,
            logged_allows: extension.log_allowed_per_mille,
        })
    }
}

fn auth_domain(text: &str) -> Result<String, String> {
    let pattern: crate::destination::Pattern =
        text.parse().map_err(|_| "must be the host people sign in at".to_owned())?;
    if pattern.has_exact_host() && pattern.path().is_empty() {
        Ok(pattern.host().to_owned())
    } else {
        Err("must be one host without a path".to_owned())
    }
}
