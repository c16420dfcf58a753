//! The pages of second factors.
//!
//! They render; which one and why is decided in `answer`. Invariant: they work without scripts, and a secret stands only
//! on the page of its enrolment.

use http::{Response, StatusCode};
use identity::mfa::totp::TotpSecret;
use maud::{Markup, PreEscaped, html};
use net::proxy::body::Body;
use qrcode::QrCode;
use qrcode::render::svg;

use crate::exchange::Exchange;
use crate::launcher;
use crate::page::Frame;
use crate::stages::OWN;
use crate::words::{Language, Message};

/// What a page says went wrong: the sentence, and the seconds to wait.
#[derive(Clone, Copy)]
pub(super) struct Trouble(pub(super) StatusCode, pub(super) Message, pub(super) Option<i64>);

pub(super) struct Page<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) state: String,
    pub(super) trouble: Option<Trouble>,
}

impl Page<'_> {
    fn render(&self, title: Message, content: &dyn Fn(Language) -> Markup) -> Response<Body> {
        let language = self.exchange.language(&[]);
        let status = self.trouble.map_or(StatusCode::OK, |trouble| trouble.0);
        let frame = Frame { exchange: self.exchange, language, status, title: title.text(language) };
        frame.render(&html! {
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

    /// Asks for a code of the app.
    pub(super) fn prompt(&self) -> Response<Body> {
        self.render(Message::Factor, &|language| {
            html! {
                p { (Message::FactorText.text(language)) }
                (self.form("mfa-prove", &self.code(language, Message::FactorCode)))
                p { a href=(format!("{OWN}account")) { (Message::FactorLost.text(language)) } }
            }
        })
    }

    /// Shows a new secret and asks for its first code.
    pub(super) fn enrol(&self, secret: &TotpSecret, issuer: &str, account: &str) -> Response<Body> {
        let drawn = QrCode::new(secret.uri(issuer, account).expose().as_bytes()).map(|code| {
            let drawn = code.render::<svg::Color<'_>>().min_dimensions(208, 208).build();
            drawn.split_once("?>").map_or(drawn.clone(), |(_, drawing)| drawing.to_owned())
        });
        self.render(Message::FactorAdd, &|language| {
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
        self.render(Message::RecoveryCodes, &|language| {
            html! {
                p { (Message::RecoveryText.text(language)) }
                ul.codes { @for code in codes { li { code { (code) } } } }
                a.button href=(onward) { (Message::Continue.text(language)) }
            }
        })
    }

    /// Shows what a person has and what they may do with it.
    pub(super) fn account(&self, has_app: bool, codes_left: usize, may_change: bool) -> Response<Body> {
        self.render(Message::Factors, &|language| {
            html! {
                p {
                    (if has_app { Message::FactorApp } else { Message::FactorNone }.text(language))
                    @if has_app { br; (Message::RecoveryLeft.text(language)) " " (codes_left) }
                }
                @if !may_change {
                    p { (Message::FactorGuard.text(language)) }
                    (self.form("mfa-prove", &self.code(language, Message::FactorCode)))
                    hr;
                    (self.form("mfa-recover", &html! {
                        label for="recovery" { (Message::RecoveryCode.text(language)) }
                        input id="recovery" name="code" autocomplete="off" autocapitalize="characters" required
                            maxlength="40";
                        button.quiet type="submit" { (Message::Continue.text(language)) }
                    }))
                } @else if has_app {
                    (self.form("mfa-codes", &html! {
                        button type="submit" { (Message::RecoveryRenew.text(language)) }
                    }))
                    (self.form("mfa-remove", &html! {
                        button.quiet type="submit" { (Message::FactorRemove.text(language)) }
                    }))
                } @else {
                    a.button href=(format!("{OWN}mfa")) { (Message::FactorAdd.text(language)) }
                }
                @if let Some(launcher) = launcher::address(self.exchange) {
                    p { a href=(launcher.as_str()) { (Message::BackToApplications.text(language)) } }
                }
            }
        })
    }
}
