//! The pages of second factors.
//!
//! They render; which one and why is decided in `answer` and `keys`. Invariant: all but WebAuthn works without scripts,
//! and a secret stands only on the page of its enrolment.

use http::{Response, StatusCode};
use identity::mfa::totp::TotpSecret;
use maud::{Markup, PreEscaped, html};
use net::proxy::body::Body;
use qrcode::QrCode;
use qrcode::render::svg;

use super::keys::{Additions, LONGEST_NAME, Ways};
use super::wallet;
use crate::exchange::Exchange;
use crate::launcher;
use crate::page::Frame;
use crate::stages::OWN;
use crate::webauthn;
use crate::words::{Language, Message};

/// What a page says went wrong: the sentence, and the seconds to wait.
#[derive(Clone, Copy)]
pub(super) struct Trouble(pub(super) StatusCode, pub(super) Message, pub(super) Option<i64>);

pub(super) struct Page<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) state: String,
    pub(super) trouble: Option<Trouble>,
}

/// What a person has.
pub(super) struct Held<'a> {
    pub(super) app: bool,
    pub(super) keys: &'a [wallet::Held],
    pub(super) codes_left: usize,
}

impl Page<'_> {
    fn render(&self, title: Message, asks: bool, content: &dyn Fn(Language) -> Markup) -> Response<Body> {
        let language = self.exchange.language(&[]);
        let status = self.trouble.map_or(StatusCode::OK, |trouble| trouble.0);
        let frame = Frame { exchange: self.exchange, language, status, title: title.text(language) };
        frame.render_asking(asks, &html! {
            @if let Some(Trouble(_, text, wait)) = self.trouble {
                p.error #problem role="alert" { (text.text(language)) @if let Some(wait) = wait { " (" (wait) " s)" } }
            }
            (content(language))
        })
    }

    fn form(&self, action: &str, content: &Markup) -> Markup {
        html! {
            form method="post" action=(format!("{OWN}{action}")) {
                input type="hidden" name="state" value=(self.state);
                (content)
            }
        }
    }

    fn code(&self, language: Language, label: Message) -> Markup {
        let (invalid, told) = (self.trouble.map(|_| "true"), self.trouble.map(|_| "problem"));
        html! {
            label for="code" { (label.text(language)) }
            input id="code" name="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="12"
                aria-invalid=[invalid] aria-describedby=[told] autofocus;
            button type="submit" { (Message::Continue.text(language)) }
        }
    }

    /// Renders the ways to prove a factor.
    fn ways(&self, language: Language, ways: &Ways) -> Markup {
        html! {
            @for (kind, ask) in &ways.keys {
                (ask.form(language, "mfa-assert", &self.state, &html! {
                    button type="submit" { (Message::KeyUse.text(language)) " " (webauthn::kind(*kind).text(language)) }
                }))
            }
            @if !ways.keys.is_empty() { (webauthn::without_script(language)) }
            @if ways.code {
                @if !ways.keys.is_empty() { hr; }
                p { (Message::FactorCodeHint.text(language)) }
                (self.form("mfa-prove", &self.code(language, Message::FactorCode)))
            }
        }
    }

    /// Asks for a factor.
    pub(super) fn prompt(&self, ways: &Ways) -> Response<Body> {
        self.render(Message::Factor, !ways.keys.is_empty(), &|language| {
            html! {
                p { (Message::FactorText.text(language)) }
                (self.ways(language, ways))
                p { a href=(format!("{OWN}account")) { (Message::FactorLost.text(language)) } }
            }
        })
    }

    /// Offers what can be added; `step` is what waits for it.
    pub(super) fn add(&self, additions: &Additions, step: Option<&str>) -> Response<Body> {
        let step = step.map(|step| format!("&step={step}")).unwrap_or_default();
        self.render(Message::FactorNew, !additions.keys.is_empty(), &|language| {
            html! {
                @for (kind, ask) in &additions.keys {
                    @let (title, text) = (webauthn::kind(*kind), webauthn::about(*kind));
                    @let name = format!("name-{}", title.english().replace(' ', "-").to_lowercase());
                    (ask.form(language, "mfa-register", &self.state, &html! {
                        h2 { (title.text(language)) }
                        p { (text.text(language)) }
                        label for=(name) { (Message::KeyName.text(language)) }
                        input id=(name) name="name" maxlength=(LONGEST_NAME) autocomplete="off";
                        button type="submit" { (Message::KeyAdd.text(language)) " " (title.text(language)) }
                    }))
                }
                @if !additions.keys.is_empty() { (webauthn::without_script(language)) }
                @if additions.app {
                    h2 { (Message::AuthenticatorApp.text(language)) }
                    p { (Message::AuthenticatorAppText.text(language)) }
                    a.button href=(format!("{OWN}mfa?add=app{step}")) { (Message::FactorAdd.text(language)) }
                }
                @if !additions.app && additions.keys.is_empty() { p { (Message::FactorNoMore.text(language)) } }
                @if step.is_empty() { p { a href=(format!("{OWN}account")) { (Message::Factors.text(language)) } } }
            }
        })
    }

    /// Shows a new secret and asks for its first code.
    pub(super) fn enrol(&self, secret: &TotpSecret, issuer: &str, account: &str) -> Response<Body> {
        let drawn = QrCode::new(secret.uri(issuer, account).expose().as_bytes()).map(|code| {
            let drawn = code.render::<svg::Color<'_>>().min_dimensions(208, 208).build();
            drawn.split_once("?>").map_or(drawn.clone(), |(_, drawing)| drawing.to_owned())
        });
        self.render(Message::FactorAdd, false, &|language| {
            html! {
                p { (Message::FactorAddText.text(language)) }
                @if let Ok(drawn) = &drawn {
                    p.picture role="img" aria-label=(Message::FactorPicture.text(language)) { (PreEscaped(drawn)) }
                }
                p { (Message::FactorSecret.text(language)) " " code { (secret.base32().expose()) } }
                (self.form("mfa-enrol", &self.code(language, Message::FactorCode)))
            }
        })
    }

    /// Shows new recovery codes, once.
    pub(super) fn codes(&self, codes: &[String], onward: &str) -> Response<Body> {
        self.render(Message::RecoveryCodes, false, &|language| {
            html! {
                p { (Message::RecoveryText.text(language)) }
                ul.codes { @for code in codes { li { code { (code) } } } }
                a.button href=(onward) { (Message::Continue.text(language)) }
            }
        })
    }

    /// Shows what a person has and what they may do with it: nothing while a `guard` has to be passed.
    pub(super) fn account(&self, held: &Held<'_>, guard: Option<&Ways>) -> Response<Body> {
        let none = !held.app && held.keys.is_empty();
        let asks = guard.is_some_and(|ways| !ways.keys.is_empty());
        self.render(Message::Factors, asks, &|language| {
            html! {
                @if none { p { (Message::FactorNone.text(language)) } } @else { (self.list(language, held, guard.is_none())) }
                @if held.app || held.codes_left > 0 { p { (Message::RecoveryLeft.text(language)) " " (held.codes_left) } }
                @if let Some(ways) = guard {
                    p { (Message::FactorGuard.text(language)) }
                    (self.ways(language, ways))
                    hr;
                    (self.form("mfa-recover", &html! {
                        label for="recovery" { (Message::RecoveryCode.text(language)) }
                        input id="recovery" name="code" autocomplete="off" autocapitalize="characters" required
                            maxlength="40";
                        button.quiet type="submit" { (Message::Continue.text(language)) }
                    }))
                } @else {
                    a.button href=(format!("{OWN}mfa")) { (Message::FactorNew.text(language)) }
                    @if held.has_factor() {
                        (self.form("mfa-codes", &html! {
                            button.quiet type="submit" { (Message::RecoveryRenew.text(language)) }
                        }))
                    }
                }
                @if let Some(launcher) = launcher::address(self.exchange) {
                    p { a href=(launcher.as_str()) { (Message::BackToApplications.text(language)) } }
                }
            }
        })
    }

    fn list(&self, language: Language, held: &Held<'_>, may_change: bool) -> Markup {
        let remove = |place: &str, what: &str| {
            let label = format!("{} {what}", Message::Remove.text(language));
            html! {
                @if may_change {
                    (self.form("mfa-remove", &html! {
                        input type="hidden" name="factor" value=(place);
                        button.quiet type="submit" aria-label=(label) { (Message::Remove.text(language)) }
                    }))
                }
            }
        };
        html! {
            ul.list {
                @if held.app {
                    @let what = Message::AuthenticatorApp.text(language);
                    li { strong { (what) } (remove("app", what)) }
                }
                @for one in held.keys {
                    @let credential = &one.key.credential;
                    @let kind = webauthn::kind(credential.kind).text(language);
                    @let what = if one.key.name.is_empty() { kind } else { &one.key.name };
                    li {
                        strong.kind[one.key.name.is_empty()] { (what) }
                        div.soft {
                            @if !one.key.name.is_empty() { (kind) ", " }
                            (Message::KeySince.text(language)) " " (day(credential.enrolled_at))
                            @if let Some(used) = credential.last_used_at {
                                ", " (Message::KeyUsed.text(language)) " " (day(used))
                            }
                        }
                        (remove(&one.place.to_string(), what))
                    }
                }
            }
        }
    }
}

impl Held<'_> {
    /// Tells whether there is a factor; passkeys alone are none.
    fn has_factor(&self) -> bool {
        self.app || self.keys.iter().any(|held| held.key.enrolled().is_some())
    }
}

/// Writes a moment as its day.
fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}
