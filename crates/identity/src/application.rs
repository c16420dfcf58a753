//! An application: the v4 document (reference sections 1.2 to 1.4), and what it means once it is known to be sound.
//!
//! Decides whether a document is an application this product can publish; its policies are read by [`crate::access_policy`],
//! who matches a request to it by [`crate::destination`]. Invariant: every URL of an [`Application`] is absolute, and
//! every lifetime lies within the bounds of section 1.7.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{AccessPolicyId, ApplicationId, CustomPageId, McpServerId, ProviderId};
use url::Url;

use crate::access_policy::PolicyDocument;
use crate::audience::Audience;
use crate::colour::Colour;
use crate::cors::{CorsDocument, CorsRules};
use crate::destination::{DestinationDocument, Pattern};
use crate::document::{self, Lifetime, Problem, Problems, words};
use crate::mfa_requirement::{MfaConfigDocument, MfaRequirement};
use crate::oauth::redirect::check_pattern;
use crate::origin::{Origin, OriginDocument};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Longest name, in characters.
pub const MAX_NAME: usize = 255;
/// Most destinations of one application.
pub const MAX_DESTINATIONS: usize = 64;
/// Most policies of one application.
pub const MAX_POLICIES: usize = 128;
/// Longest session: a month (reference section 1.7).
pub const LONGEST_SESSION: Duration = Duration::from_secs(31 * 24 * 3_600);
/// Longest grant to a client of the OAuth server.
pub const LONGEST_GRANT: Duration = Duration::from_secs(366 * 24 * 3_600);
const MAX_ITEMS: usize = 64;

/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 6] = ["id", "uid", "aud", "created_at", "updated_at", "app_count"];

words! {
    /// The `type` of an application.
    ApplicationType {
        SelfHosted = "self_hosted",
        Bookmark = "bookmark",
        AppLauncher = "app_launcher",
        /// One MCP server, in front of which stands a portal.
        Mcp = "mcp",
        McpPortal = "mcp_portal",
    }
}

/// Types of the vendor's product that are not offered here.
const OTHER_TYPES: [&str; 8] = ["saas", "ssh", "vnc", "rdp", "infrastructure", "warp", "biso", "dash_sso"];

words! {
    /// The `SameSite` attribute of the application's cookie.
    SameSite {
        None = "none",
        Lax = "lax",
        Strict = "strict",
    }
}

/// The document of an application. A member that is absent reads as its default; which members belong to which type is
/// checked by [`Application::parse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApplicationDocument {
    #[serde(rename = "type")]
    pub kind: ApplicationType,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationDocument>,
    /// Deprecated on the wire; read as public destinations when `destinations` is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub self_hosted_domains: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Lifetime>,
    /// Ids of reusable policies, `{id, precedence}`, or inline policies; see [`PolicyLink`].
    pub policies: Vec<Value>,
    pub allowed_idps: Vec<ProviderId>,
    pub auto_redirect_to_identity: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_authenticate_via_warp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors_headers: Option<CorsDocument>,
    pub options_preflight_bypass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_deny_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_deny_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_non_identity_deny_url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custom_pages: Vec<CustomPageId>,
    pub enable_binding_cookie: bool,
    pub http_only_cookie_attribute: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_site_cookie_attribute: Option<SameSite>,
    pub path_cookie_attribute: bool,
    pub eager_redirect_cookie_setting: bool,
    pub skip_interstitial: bool,
    pub service_auth_401_redirect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_service_tokens_from_header: Option<String>,
    pub app_launcher_visible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    pub tags: Vec<String>,
    pub use_clientless_isolation_app_launcher_url: bool,
    pub allow_iframe: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_config: Option<MfaConfigDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_configuration: Option<OauthDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_launcher_logo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bg_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_bg_color: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub footer_links: Vec<FooterLink>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landing_page_design: Option<LandingPage>,
    pub skip_app_launcher_login_page: bool,
    /// What the vendor's documents have no word for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portunus: Option<Extension>,
}

impl Default for ApplicationDocument {
    fn default() -> Self {
        Self {
            kind: ApplicationType::SelfHosted,
            name: String::new(),
            aud: None,
            domain: None,
            destinations: Vec::new(),
            self_hosted_domains: Vec::new(),
            session_duration: None,
            policies: Vec::new(),
            allowed_idps: Vec::new(),
            auto_redirect_to_identity: false,
            allow_authenticate_via_warp: None,
            cors_headers: None,
            options_preflight_bypass: false,
            custom_deny_message: None,
            custom_deny_url: None,
            custom_non_identity_deny_url: None,
            custom_pages: Vec::new(),
            enable_binding_cookie: false,
            http_only_cookie_attribute: true,
            same_site_cookie_attribute: None,
            path_cookie_attribute: false,
            eager_redirect_cookie_setting: true,
            skip_interstitial: false,
            service_auth_401_redirect: false,
            read_service_tokens_from_header: None,
            app_launcher_visible: true,
            logo_url: None,
            tags: Vec::new(),
            use_clientless_isolation_app_launcher_url: false,
            allow_iframe: false,
            mfa_config: None,
            oauth_configuration: None,
            app_launcher_logo_url: None,
            bg_color: None,
            header_bg_color: None,
            footer_links: Vec::new(),
            landing_page_design: None,
            skip_app_launcher_login_page: false,
            portunus: None,
        }
    }
}

/// Members of each type, for reading and for showing.
const BOOKMARK: [&str; 7] = ["type", "name", "aud", "domain", "app_launcher_visible", "logo_url", "tags"];
const LAUNCHER: [&str; 16] = [
    "type",
    "name",
    "aud",
    "domain",
    "policies",
    "allowed_idps",
    "auto_redirect_to_identity",
    "custom_pages",
    "session_duration",
    "app_launcher_logo_url",
    "bg_color",
    "header_bg_color",
    "footer_links",
    "landing_page_design",
    "skip_app_launcher_login_page",
    "portunus",
];
/// What applications of MCP servers have (reference section 1.4); those of portals have [`MCP_PORTAL_ONLY`] as well.
const MCP: [&str; 17] = [
    "type",
    "name",
    "aud",
    "destinations",
    "session_duration",
    "policies",
    "allowed_idps",
    "auto_redirect_to_identity",
    "allow_authenticate_via_warp",
    "custom_deny_message",
    "custom_deny_url",
    "custom_non_identity_deny_url",
    "custom_pages",
    "tags",
    "logo_url",
    "oauth_configuration",
    "portunus",
];
const MCP_PORTAL_ONLY: [&str; 7] = [
    "domain",
    "enable_binding_cookie",
    "http_only_cookie_attribute",
    "same_site_cookie_attribute",
    "path_cookie_attribute",
    "eager_redirect_cookie_setting",
    "app_launcher_visible",
];
const LAUNCHER_ONLY: [&str; 6] = [
    "app_launcher_logo_url",
    "bg_color",
    "header_bg_color",
    "footer_links",
    "landing_page_design",
    "skip_app_launcher_login_page",
];

impl ApplicationType {
    fn has(self, member: &str) -> bool {
        match self {
            Self::SelfHosted => !LAUNCHER_ONLY.contains(&member),
            Self::Bookmark => BOOKMARK.contains(&member),
            Self::AppLauncher => LAUNCHER.contains(&member),
            Self::Mcp => MCP.contains(&member),
            Self::McpPortal => MCP.contains(&member) || MCP_PORTAL_ONLY.contains(&member),
        }
    }
}

impl ApplicationDocument {
    /// Reads what an author sent; members of another type of application are faults.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let kind = kind_of(value).map_err(|problem| vec![problem])?;
        let document = document::read(value, &READ_ONLY)?;
        let mut problems = Problems::default();
        let members = value.as_object().into_iter().flatten();
        for (name, member) in members {
            if !member.is_null() && !READ_ONLY.contains(&name.as_str()) && !kind.has(name) {
                let message = format!("`{name}` does not belong to applications of type `{}`", kind.as_str());
                problems.add(format!("/{name}"), message);
            }
        }
        problems.finish(document)
    }

    /// Shows the document as the API returns it: every member of its type, defaults filled in. `id`, `created_at` and
    /// `updated_at` are the caller's to add.
    #[must_use]
    pub fn show(&self) -> serde_json::Map<String, Value> {
        let Ok(Value::Object(mut members)) = serde_json::to_value(self) else { return serde_json::Map::new() };
        members.retain(|name, _| self.kind.has(name));
        if self.kind != ApplicationType::Bookmark {
            members.entry("session_duration").or_insert_with(|| Value::from("24h"));
        }
        members
    }
}

fn kind_of(value: &Value) -> Result<ApplicationType, Problem> {
    let Some(word) = value.get("type") else { return Ok(ApplicationType::SelfHosted) };
    let word = word.as_str().unwrap_or_default();
    ApplicationType::named(word).ok_or_else(|| {
        let offered = "self_hosted, bookmark, app_launcher, mcp and mcp_portal are";
        let message = if OTHER_TYPES.contains(&word) {
            format!("applications of type `{word}` are not offered; {offered}")
        } else {
            format!("`type` is not a known type of application; {offered} offered")
        };
        Problem::new("/type", message)
    })
}

/// One entry of `footer_links`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FooterLink {
    pub name: String,
    pub url: String,
}

/// `landing_page_design` of the launcher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LandingPage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub button_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub button_text_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// `oauth_configuration` (reference section 4.1). The rules of its allow list are the OAuth server's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OauthDocument {
    pub enabled: bool,
    pub dynamic_client_registration: RegistrationDocument,
    pub grant: GrantDocument,
}

impl Default for OauthDocument {
    fn default() -> Self {
        Self {
            enabled: true,
            dynamic_client_registration: RegistrationDocument::default(),
            grant: GrantDocument::default(),
        }
    }
}

/// `oauth_configuration.dynamic_client_registration`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistrationDocument {
    pub enabled: bool,
    pub allow_any_on_localhost: bool,
    pub allow_any_on_loopback: bool,
    pub allowed_uris: Vec<String>,
}

/// `oauth_configuration.grant`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantDocument {
    /// Absent means 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_lifetime: Option<Lifetime>,
    /// Absent means two weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Lifetime>,
}

/// The group `portunus` of an application: what the vendor's document has no word for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extension {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginDocument>,
    /// Turns the origin's HTML into Markdown for clients that ask for `text/markdown`.
    pub markdown: bool,
    /// Entries of the RFC 9727 catalogue at `/.well-known/api-catalog`; absent means none is served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_catalog: Vec<CatalogEntry>,
    /// Language tags of the pages in front of the application, most wanted first; empty follows the browser.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Providers a person must pass one after another, all of them; empty means any one of `allowed_idps`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub login_chain: Vec<ProviderId>,
}

/// One API in the catalogue (RFC 9727 section 4, RFC 9264 link set).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogEntry {
    /// The API, absolute or a path of the application.
    pub anchor: String,
    #[serde(rename = "service-desc", skip_serializing_if = "Vec::is_empty")]
    pub service_desc: Vec<CatalogLink>,
    #[serde(rename = "service-doc", skip_serializing_if = "Vec::is_empty")]
    pub service_doc: Vec<CatalogLink>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<CatalogLink>,
}

/// One link of a catalogue entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogLink {
    pub href: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// How an application names one of its policies.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyLink {
    /// A reusable policy; without a precedence it stands where it is listed.
    Reusable { id: AccessPolicyId, precedence: Option<i64> },
    /// A policy of this application alone.
    Inline(Box<PolicyDocument>),
}

/// An application, known to be sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    pub id: ApplicationId,
    /// Stable for the application's life.
    pub aud: Audience,
    pub name: String,
    pub tags: Vec<String>,
    pub logo: Option<Url>,
    /// Whether it has a tile in the launcher.
    pub visible: bool,
    pub kind: ApplicationKind,
}

/// What differs by type.
#[derive(Debug, Clone, PartialEq)]
pub enum ApplicationKind {
    SelfHosted(Box<SelfHosted>),
    /// A tile that is only a link.
    Bookmark(Url),
    Launcher(Box<Launcher>),
    /// A portal: a web application whose origin is Portunus itself.
    McpPortal(Box<SelfHosted>),
    McpServer(Box<McpServer>),
}

/// A web application behind the reverse proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfHosted {
    /// The first is the one a tile leads to.
    pub destinations: Vec<Pattern>,
    pub sign_in: SignIn,
    pub policies: Vec<PolicyLink>,
    /// How requests reach it; `None`: none has been named, so every request is answered with an error page.
    pub origin: Option<Origin>,
    pub cors: CorsRules,
    pub denied: DeniedPages,
    pub cookie: CookieRules,
    pub service_tokens: ServiceTokenRules,
    pub skip_interstitial: bool,
    pub allow_iframe: bool,
    pub mfa: Option<MfaRequirement>,
    pub oauth: Option<OauthDocument>,
    pub markdown: bool,
    pub api_catalog: Vec<CatalogEntry>,
}

/// An MCP server: who may use it through a portal. It has no address of its own at which somebody could sign in.
#[derive(Debug, Clone, PartialEq)]
pub struct McpServer {
    pub server: McpServerId,
    pub sign_in: SignIn,
    pub policies: Vec<PolicyLink>,
    pub denied: DeniedPages,
}

/// How people sign in for an application.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignIn {
    /// Empty means all.
    pub providers: Vec<ProviderId>,
    /// Goes to the only provider without a page of choice.
    pub auto_redirect: bool,
    /// All of these, in order, when not empty.
    pub chain: Vec<ProviderId>,
    /// `None` inherits the organisation's.
    pub session: Option<Duration>,
    pub languages: Vec<String>,
    pub device_client: Option<bool>,
}

/// What a denied person is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeniedPages {
    pub message: Option<String>,
    pub url: Option<Url>,
    pub non_identity_url: Option<Url>,
    pub pages: Vec<CustomPageId>,
}

/// The flags of the application's cookie (reference section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieRules {
    pub binding: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    /// Scopes the cookie to the path of the destination.
    pub path_scoped: bool,
    /// Sets cookies on every host of the application at sign-in.
    pub eager: bool,
}

/// How service tokens are presented and refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTokenRules {
    /// Lower-case name of one header that holds both parts as JSON.
    pub header: Option<String>,
    /// 401 where a page would be, when only service tokens can open the application.
    pub answer_401: bool,
}

/// The launcher: how people get in, and its own look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Launcher {
    pub sign_in: SignIn,
    pub policies: Vec<PolicyLink>,
    pub logo: Option<Url>,
    pub background: Option<Colour>,
    pub header_background: Option<Colour>,
    pub footer: Vec<(String, Url)>,
    pub landing: Landing,
    /// Goes to the sign-in without the landing page.
    pub skip_landing: bool,
    pub denied: DeniedPages,
}

/// What strangers see at the launcher before they sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Landing {
    pub title: Option<String>,
    pub message: Option<String>,
    pub image: Option<Url>,
    pub button: Option<Colour>,
    pub button_text: Option<Colour>,
}

/// How people get into an application, whatever its type.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    pub sign_in: &'a SignIn,
    pub denied: &'a DeniedPages,
    /// `None` inherits the organisation's.
    pub mfa: Option<&'a MfaRequirement>,
}

impl<'a> From<&'a SelfHosted> for Door<'a> {
    fn from(app: &'a SelfHosted) -> Self {
        Self { sign_in: &app.sign_in, denied: &app.denied, mfa: app.mfa.as_ref() }
    }
}

impl<'a> From<&'a McpServer> for Door<'a> {
    fn from(server: &'a McpServer) -> Self {
        Self { sign_in: &server.sign_in, denied: &server.denied, mfa: None }
    }
}

impl<'a> From<&'a Launcher> for Door<'a> {
    fn from(launcher: &'a Launcher) -> Self {
        Self { sign_in: &launcher.sign_in, denied: &launcher.denied, mfa: None }
    }
}

impl Application {
    /// Makes an application of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(id: ApplicationId, aud: Audience, document: &ApplicationDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", document::name(&document.name, MAX_NAME)).unwrap_or_default();
        let logo = optional(&mut problems, "/logo_url", document.logo_url.as_deref(), document::image);
        if document.tags.len() > MAX_ITEMS {
            problems.add("/tags", format!("must hold at most {MAX_ITEMS} tags"));
        }
        let kind = match document.kind {
            ApplicationType::Bookmark => bookmark(document, &mut problems).map(ApplicationKind::Bookmark),
            ApplicationType::AppLauncher => {
                Some(ApplicationKind::Launcher(Box::new(launcher(document, &mut problems))))
            }
            ApplicationType::SelfHosted => {
                Some(ApplicationKind::SelfHosted(Box::new(self_hosted(document, &mut problems))))
            }
            ApplicationType::McpPortal => {
                no_origin(document, &mut problems);
                Some(ApplicationKind::McpPortal(Box::new(self_hosted(document, &mut problems))))
            }
            ApplicationType::Mcp => {
                no_origin(document, &mut problems);
                mcp_server(document, &mut problems).map(|server| ApplicationKind::McpServer(Box::new(server)))
            }
        };
        let Some(kind) = kind else { return Err(problems.into_vec()) };
        let tags = document.tags.clone();
        problems.finish(Self { id, aud, name, tags, logo, visible: document.app_launcher_visible, kind })
    }

    /// Returns the policies in the order they are named.
    #[must_use]
    pub fn policies(&self) -> &[PolicyLink] {
        match &self.kind {
            ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app) => &app.policies,
            ApplicationKind::McpServer(server) => &server.policies,
            ApplicationKind::Launcher(launcher) => &launcher.policies,
            ApplicationKind::Bookmark(_) => &[],
        }
    }

    /// Returns how people get in, if they sign in for it.
    #[must_use]
    pub fn door(&self) -> Option<Door<'_>> {
        match &self.kind {
            ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app) => Some(app.as_ref().into()),
            ApplicationKind::Launcher(launcher) => Some(launcher.as_ref().into()),
            ApplicationKind::Bookmark(_) | ApplicationKind::McpServer(_) => None,
        }
    }
}

fn optional<T>(
    problems: &mut Problems,
    pointer: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<T, String>,
) -> Option<T> {
    text.filter(|text| !text.is_empty()).and_then(|text| problems.check(pointer, parse(text)))
}

fn bookmark(document: &ApplicationDocument, problems: &mut Problems) -> Option<Url> {
    let text = document.domain.as_deref().unwrap_or_default();
    // The wire names a bookmark's target without a scheme as often as with one.
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    problems.check("/domain", document::link(&text))
}

fn launcher(document: &ApplicationDocument, problems: &mut Problems) -> Launcher {
    let footer = document.footer_links.iter().enumerate().filter_map(|(index, link)| {
        let name = problems.check(&format!("/footer_links/{index}/name"), document::name(&link.name, MAX_NAME))?;
        let url = problems.check(&format!("/footer_links/{index}/url"), document::link(&link.url))?;
        Some((name, url))
    });
    let footer = footer.take(MAX_ITEMS).collect();
    Launcher {
        sign_in: sign_in(document, problems),
        policies: policy_links(&document.policies, problems),
        logo: optional(problems, "/app_launcher_logo_url", document.app_launcher_logo_url.as_deref(), document::image),
        background: optional(problems, "/bg_color", document.bg_color.as_deref(), document::colour),
        header_background: optional(
            problems,
            "/header_bg_color",
            document.header_bg_color.as_deref(),
            document::colour,
        ),
        footer,
        landing: landing(document.landing_page_design.as_ref(), problems),
        skip_landing: document.skip_app_launcher_login_page,
        denied: DeniedPages { pages: document.custom_pages.clone(), ..DeniedPages::default() },
    }
}

fn landing(document: Option<&LandingPage>, problems: &mut Problems) -> Landing {
    let Some(document) = document else { return Landing::default() };
    let at = |member: &str| format!("/landing_page_design/{member}");
    Landing {
        title: optional(problems, &at("title"), document.title.as_deref(), |text| document::name(text, MAX_NAME)),
        message: optional(problems, &at("message"), document.message.as_deref(), |text| document::name(text, 2_000)),
        image: optional(problems, &at("image_url"), document.image_url.as_deref(), document::image),
        button: optional(problems, &at("button_color"), document.button_color.as_deref(), document::colour),
        button_text: optional(
            problems,
            &at("button_text_color"),
            document.button_text_color.as_deref(),
            document::colour,
        ),
    }
}

fn self_hosted(document: &ApplicationDocument, problems: &mut Problems) -> SelfHosted {
    let extension = document.portunus.clone().unwrap_or_default();
    let header = document.read_service_tokens_from_header.as_deref();
    let cors = CorsRules::parse(document.cors_headers.as_ref(), document.options_preflight_bypass);
    let cors = cors.map_err(|faults| problems.extend("", faults)).unwrap_or_default();
    let origin = extension
        .origin
        .as_ref()
        .and_then(|origin| Origin::parse(origin).map_err(|faults| problems.extend("/portunus/origin", faults)).ok());
    let mfa = document
        .mfa_config
        .as_ref()
        .and_then(|config| MfaRequirement::parse(config).map_err(|faults| problems.extend("/mfa_config", faults)).ok());
    oauth(document, problems);
    catalog(&extension.api_catalog, problems);
    SelfHosted {
        destinations: destinations(document, problems),
        sign_in: sign_in(document, problems),
        policies: policy_links(&document.policies, problems),
        origin,
        cors,
        denied: denied(document, problems),
        cookie: CookieRules {
            binding: document.enable_binding_cookie,
            http_only: document.http_only_cookie_attribute,
            same_site: document.same_site_cookie_attribute.unwrap_or(SameSite::None),
            path_scoped: document.path_cookie_attribute,
            eager: document.eager_redirect_cookie_setting,
        },
        service_tokens: ServiceTokenRules {
            header: optional(problems, "/read_service_tokens_from_header", header, header_name),
            answer_401: document.service_auth_401_redirect,
        },
        skip_interstitial: document.skip_interstitial,
        allow_iframe: document.allow_iframe,
        mfa,
        oauth: document.oauth_configuration.clone().filter(|oauth| oauth.enabled),
        markdown: extension.markdown,
        api_catalog: extension.api_catalog,
    }
}

fn denied(document: &ApplicationDocument, problems: &mut Problems) -> DeniedPages {
    DeniedPages {
        message: document.custom_deny_message.clone().filter(|text| !text.is_empty()),
        url: optional(problems, "/custom_deny_url", document.custom_deny_url.as_deref(), document::link),
        non_identity_url: optional(
            problems,
            "/custom_non_identity_deny_url",
            document.custom_non_identity_deny_url.as_deref(),
            document::link,
        ),
        pages: document.custom_pages.clone(),
    }
}

/// What a portal shows comes from Portunus, what a server shows through a portal: neither has an origin.
fn no_origin(document: &ApplicationDocument, problems: &mut Problems) {
    let Some(extension) = &document.portunus else { return };
    let written = [
        ("origin", extension.origin.is_some()),
        ("markdown", extension.markdown),
        ("api_catalog", !extension.api_catalog.is_empty()),
    ];
    for (member, _) in written.into_iter().filter(|(_, written)| *written) {
        let message = format!("`{member}` does not belong to applications of type `{}`", document.kind.as_str());
        problems.add(format!("/portunus/{member}"), message);
    }
}

fn mcp_server(document: &ApplicationDocument, problems: &mut Problems) -> Option<McpServer> {
    oauth(document, problems);
    let server = match document.destinations.as_slice() {
        [destination] => problems.check("/destinations/0", destination.mcp_server()),
        _ => {
            let message = "names the one server: `[{\"type\": \"via_mcp_server_portal\", \"mcp_server_id\": \"…\"}]`";
            problems.add("/destinations", message);
            None
        }
    };
    let (sign_in, policies) = (sign_in(document, problems), policy_links(&document.policies, problems));
    Some(McpServer { server: server?, sign_in, policies, denied: denied(document, problems) })
}

fn destinations(document: &ApplicationDocument, problems: &mut Problems) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    let mut add = |pointer: String, text: &str, problems: &mut Problems| {
        if let Some(pattern) = problems.check(&pointer, text.parse::<Pattern>())
            && !patterns.contains(&pattern)
        {
            patterns.push(pattern);
        }
    };
    if let Some(domain) = document.domain.as_deref().filter(|domain| !domain.is_empty()) {
        add("/domain".to_owned(), domain, problems);
    }
    for (index, destination) in document.destinations.iter().enumerate().take(MAX_DESTINATIONS) {
        match destination.public_uri() {
            Ok(uri) => add(format!("/destinations/{index}/uri"), uri, problems),
            Err(message) => problems.add(format!("/destinations/{index}/type"), message),
        }
    }
    if document.destinations.is_empty() {
        for (index, domain) in document.self_hosted_domains.iter().enumerate().take(MAX_DESTINATIONS) {
            add(format!("/self_hosted_domains/{index}"), domain, problems);
        }
    }
    if document.destinations.len().max(document.self_hosted_domains.len()) > MAX_DESTINATIONS {
        problems.add("/destinations", format!("must hold at most {MAX_DESTINATIONS} destinations"));
    }
    if patterns.is_empty() && problems.is_empty() {
        problems.add("/domain", "name at least one public destination, for example `wiki.example.com`");
    }
    patterns
}

fn sign_in(document: &ApplicationDocument, problems: &mut Problems) -> SignIn {
    let extension = document.portunus.as_ref();
    let chain = extension.map(|extension| extension.login_chain.clone()).unwrap_or_default();
    if document.auto_redirect_to_identity && document.allowed_idps.len() != 1 && chain.is_empty() {
        problems.add("/auto_redirect_to_identity", "needs exactly one identity provider in `allowed_idps`");
    }
    for (pointer, list) in [("/allowed_idps", &document.allowed_idps), ("/portunus/login_chain", &chain)] {
        let distinct: std::collections::BTreeSet<_> = list.iter().collect();
        if list.len() > MAX_ITEMS || distinct.len() != list.len() {
            problems.add(pointer, format!("must name each provider once, at most {MAX_ITEMS}"));
        }
    }
    let languages = extension.map(|extension| extension.languages.clone()).unwrap_or_default();
    if languages.len() > MAX_ITEMS || languages.iter().any(|tag| !is_language(tag)) {
        problems.add("/portunus/languages", "must hold language tags such as `en` or `pt-BR`");
    }
    let session = document.session_duration.as_ref();
    SignIn {
        providers: document.allowed_idps.clone(),
        auto_redirect: document.auto_redirect_to_identity,
        chain,
        session: session
            .and_then(|text| problems.check("/session_duration", text.within(Duration::ZERO, LONGEST_SESSION))),
        languages,
        device_client: document.allow_authenticate_via_warp,
    }
}

fn is_language(tag: &str) -> bool {
    (2..=35).contains(&tag.len())
        && tag.split('-').all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn oauth(document: &ApplicationDocument, problems: &mut Problems) {
    let Some(oauth) = &document.oauth_configuration else { return };
    let bounds = [
        ("access_token_lifetime", &oauth.grant.access_token_lifetime, Duration::from_secs(24 * 3_600)),
        ("session_duration", &oauth.grant.session_duration, LONGEST_GRANT),
    ];
    for (member, lifetime, most) in bounds {
        if let Some(lifetime) = lifetime {
            let pointer = format!("/oauth_configuration/grant/{member}");
            problems.check(&pointer, lifetime.within(Duration::from_secs(60), most));
        }
    }
    let allowed = &oauth.dynamic_client_registration.allowed_uris;
    for (index, entry) in allowed.iter().enumerate().take(MAX_ITEMS) {
        let pointer = format!("/oauth_configuration/dynamic_client_registration/allowed_uris/{index}");
        problems.check(&pointer, check_pattern(entry));
    }
    if allowed.len() > MAX_ITEMS {
        let pointer = "/oauth_configuration/dynamic_client_registration/allowed_uris";
        problems.add(pointer, format!("must hold at most {MAX_ITEMS} entries"));
    }
}

fn catalog(entries: &[CatalogEntry], problems: &mut Problems) {
    for (index, entry) in entries.iter().enumerate() {
        let links = entry.service_desc.iter().chain(&entry.service_doc).chain(&entry.status);
        let targets = links.map(|link| &link.href).chain([&entry.anchor]);
        for target in targets {
            if (target.starts_with("//") || !target.starts_with('/')) && document::link(target).is_err() {
                let message = format!("`{target}` is neither a path of the application nor an http(s) URL");
                problems.add(format!("/portunus/api_catalog/{index}"), message);
            }
        }
    }
    if entries.len() > MAX_ITEMS {
        problems.add("/portunus/api_catalog", format!("must hold at most {MAX_ITEMS} entries"));
    }
}

fn header_name(text: &str) -> Result<String, String> {
    let token = !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    let lower = text.to_ascii_lowercase();
    if !token {
        return Err("must be the name of one header".to_owned());
    }
    let own = lower.starts_with("cf-access-");
    if own || matches!(lower.as_str(), "cookie" | "host" | "content-length" | "transfer-encoding" | "connection") {
        return Err(format!("`{lower}` has a meaning of its own; name another header"));
    }
    Ok(lower)
}

fn policy_links(values: &[Value], problems: &mut Problems) -> Vec<PolicyLink> {
    if values.len() > MAX_POLICIES {
        problems.add("/policies", format!("must hold at most {MAX_POLICIES} policies"));
        return Vec::new();
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut links = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let pointer = format!("/policies/{index}");
        match policy_link(value) {
            Ok(link) => {
                let precedence = match &link {
                    PolicyLink::Reusable { precedence, .. } => *precedence,
                    PolicyLink::Inline(policy) => policy.precedence,
                };
                if precedence.is_some_and(|precedence| !seen.insert(precedence)) {
                    problems.add(format!("{pointer}/precedence"), "is taken by another policy of the application");
                }
                links.push(link);
            }
            Err(faults) => problems.extend(&pointer, faults),
        }
    }
    links
}

fn policy_link(value: &Value) -> Result<PolicyLink, Vec<Problem>> {
    let id = |text: &str| text.parse().map_err(|error: types::IdError| vec![Problem::new("", error.to_string())]);
    match value {
        Value::String(text) => Ok(PolicyLink::Reusable { id: id(text)?, precedence: None }),
        // An inline policy says what it decides; a reference to a reusable one never does.
        Value::Object(members) if !members.contains_key("decision") && members.contains_key("id") => {
            let text = members["id"].as_str().unwrap_or_default();
            let precedence = members.get("precedence").and_then(Value::as_i64);
            Ok(PolicyLink::Reusable { id: id(text)?, precedence })
        }
        Value::Object(_) => PolicyDocument::read(value).map(|policy| PolicyLink::Inline(Box::new(policy))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err(vec![Problem::new("", "must be the id of a policy or a policy")])
        }
    }
}
