//! Form controls: label, hint, control and the problems beside it, wired for screen readers.
//!
//! Draws only. Invariant: every control has a label; a problem is tied to the control it is about.

use maud::{Markup, PreEscaped, html};

use crate::failure::{Failure, Problem};
use crate::session::CSRF_FIELD;

/// The problems of a refused form, looked up by the JSON pointer of the member at fault.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Problems<'a>(&'a [Problem]);

impl<'a> Problems<'a> {
    pub(super) const NONE: Self = Self(&[]);

    pub(super) fn of(failure: &'a Failure) -> Self {
        Self(&failure.problems)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The messages about a member and what is inside it.
    pub(super) fn at(self, pointer: &str) -> Vec<&'a str> {
        let inside =
            |found: &str| found.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let about = self.0.iter().filter(|problem| problem.pointer.as_deref().is_some_and(inside));
        about.map(|problem| problem.message.as_str()).collect()
    }

    /// The messages about a member itself.
    pub(super) fn exactly(self, pointer: &str) -> Vec<&'a str> {
        let about = self.0.iter().filter(|problem| problem.pointer.as_deref() == Some(pointer));
        about.map(|problem| problem.message.as_str()).collect()
    }

    /// Messages about the form as a whole, for short forms that show the rest beside their fields.
    pub(super) fn general(self) -> Markup {
        let whole: Vec<_> = self.0.iter().filter(|problem| problem.pointer.is_none()).collect();
        html! {
            @if !whole.is_empty() {
                div.notice.bad role="alert" { @for problem in whole { p { (problem.message) } } }
            }
        }
    }

    /// Every message, for a form that saves nothing.
    pub(super) fn plain(self) -> Markup {
        html! {
            @if !self.0.is_empty() {
                div.notice.bad role="alert" { @for problem in self.0 { p { (problem.message) } } }
            }
        }
    }

    /// Every message, at the top of the form.
    pub(super) fn summary(self) -> Markup {
        html! {
            @if !self.0.is_empty() {
                div.notice.bad role="alert" tabindex="-1" {
                    strong { @if self.0.len() == 1 { "Not saved." } @else { "Not saved: " (self.0.len()) " things need attention." } }
                    ul {
                        @for problem in self.0 {
                            li {
                                @if let Some(member) = problem.pointer.as_deref().map(spoken).filter(|text| !text.is_empty()) {
                                    b { (member) } " "
                                }
                                @if problem.message.contains('\n') { pre { (problem.message) } } @else { (problem.message) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A pointer as people read it: `/rule_settings/redirect/target_uri` is "redirect target uri".
pub(super) fn spoken(pointer: &str) -> String {
    let inside = pointer.trim_start_matches("/rule_settings").trim_start_matches("/portunus");
    inside.trim_start_matches('/').replace(['/', '_'], " ")
}

/// The hidden field that proves a form is ours.
pub(super) fn csrf(token: &str) -> Markup {
    html! { input type="hidden" name=(CSRF_FIELD) value=(token); }
}

/// One labelled control.
#[derive(Debug, Clone, Default)]
pub(super) struct Control<'a> {
    name: &'a str,
    label: &'a str,
    hint: &'a str,
    placeholder: &'a str,
    problems: Vec<&'a str>,
    required: bool,
    mono: bool,
    autocomplete: Option<&'a str>,
    live: Option<&'a str>,
}

impl<'a> Control<'a> {
    pub(super) fn new(name: &'a str, label: &'a str) -> Self {
        Self { name, label, ..Self::default() }
    }

    pub(super) const fn hint(mut self, hint: &'a str) -> Self {
        self.hint = hint;
        self
    }

    pub(super) const fn placeholder(mut self, text: &'a str) -> Self {
        self.placeholder = text;
        self
    }

    pub(super) fn problems(mut self, problems: Vec<&'a str>) -> Self {
        self.problems = problems;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// For code, addresses and expressions.
    pub(super) const fn mono(mut self) -> Self {
        self.mono = true;
        self
    }

    pub(super) const fn autocomplete(mut self, word: &'a str) -> Self {
        self.autocomplete = Some(word);
        self
    }

    /// Marks a text that is checked while it is written.
    pub(super) const fn live(mut self, member: &'a str) -> Self {
        self.live = Some(member);
        self
    }

    fn described(&self) -> Option<String> {
        let hint = (!self.hint.is_empty()).then(|| format!("{}-hint", self.name));
        let problem = (!self.problems.is_empty()).then(|| format!("{}-problem", self.name));
        let ids: Vec<_> = hint.into_iter().chain(problem).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    fn wrap(&self, control: &Markup) -> Markup {
        html! {
            div.field.invalid[!self.problems.is_empty()] {
                label for=(self.name) { (self.label) @if !self.required { " " } }
                (control)
                @if !self.problems.is_empty() {
                    div.problem id={ (self.name) "-problem" } {
                        @for problem in &self.problems { @if problem.contains('\n') { pre { (problem) } } @else { (problem) " " } }
                    }
                }
                @if let Some(member) = self.live { div.check data-for=(member) aria-live="polite" {} }
                @if !self.hint.is_empty() { p.hint id={ (self.name) "-hint" } { (self.hint) } }
            }
        }
    }

    /// A line of text; `kind` is the input's type.
    pub(super) fn input(&self, kind: &str, value: &str) -> Markup {
        self.wrap(&html! {
            input.mono[self.mono] type=(kind) id=(self.name) name=(self.name) value=(value) required[self.required]
                placeholder=[(!self.placeholder.is_empty()).then_some(self.placeholder)]
                autocomplete=(self.autocomplete.unwrap_or("off")) aria-describedby=[self.described()]
                aria-invalid=[(!self.problems.is_empty()).then_some("true")];
        })
    }

    /// Several lines of text.
    pub(super) fn area(&self, rows: usize, value: &str) -> Markup {
        self.wrap(&html! {
            textarea.mono[self.mono] id=(self.name) name=(self.name) rows=(rows) required[self.required]
                placeholder=[(!self.placeholder.is_empty()).then_some(self.placeholder)] spellcheck=(!self.mono)
                autocapitalize="off" autocomplete="off" aria-describedby=[self.described()] data-live=[self.live]
                aria-invalid=[(!self.problems.is_empty()).then_some("true")] {
                // A first line break would be swallowed by the parser.
                (PreEscaped("\n")) (value)
            }
        })
    }

    /// One of some words, each with what it says.
    pub(super) fn select(&self, options: &[(&str, &str)], chosen: &str) -> Markup {
        self.wrap(&html! {
            select id=(self.name) name=(self.name) aria-describedby=[self.described()]
                aria-invalid=[(!self.problems.is_empty()).then_some("true")] {
                @for (word, text) in options { option value=(word) selected[*word == chosen] { (text) } }
            }
        })
    }

    /// A box to tick.
    pub(super) fn tick(&self, ticked: bool) -> Markup {
        html! {
            div.field.tick.invalid[!self.problems.is_empty()] {
                label for=(self.name) {
                    input type="checkbox" id=(self.name) name=(self.name) value="1" checked[ticked] aria-describedby=[self.described()];
                    span { (self.label) }
                }
                @for problem in &self.problems { p.problem id={ (self.name) "-problem" } { (problem) } }
                @if !self.hint.is_empty() { p.hint id={ (self.name) "-hint" } { (self.hint) } }
            }
        }
    }
}

/// A form of one button.
pub(super) fn button(action: &str, token: &str, class: &str, text: &Markup, fields: &[(&str, &str)]) -> Markup {
    html! {
        form.inline method="post" action=(action) {
            (csrf(token))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button class=(class) type="submit" { (text) }
        }
    }
}
