//! The expression of an access policy: the access hook's fields, read from a caller and a request.
//!
//! Decides nothing of its own; the language is `expr`, the fields are `policy::hook::access`. Invariants: a field about
//! the person has no value for somebody who has not signed in; and an outcome that hangs on what nobody knows is broken.

use expr::{ArrayRef, Expression, Fact, Facts, FieldId, FieldSet, Limits, MapRef, Outcome, ValueRef};
use policy::hook::Source;
use policy::hook::access::{fields, id, scheme};

use crate::evaluation::{Caller, RequestContext, RequestHead, Truth};
use crate::identity::Identity;

/// A compiled expression of an access policy.
#[derive(Debug, Clone)]
pub struct PolicyExpression(Expression);

impl PolicyExpression {
    /// Compiles an expression against the access hook.
    ///
    /// # Errors
    /// With what is wrong, fit for the author.
    pub fn compile(text: &str, lists: &dyn expr::Lists) -> Result<Self, String> {
        Expression::compile(scheme(), text, lists, &Limits::default()).map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn reads_certificate(&self) -> bool {
        let asked = self.0.fields();
        [id::COMMON_NAME, id::CERTIFICATE_SERIAL, id::CERTIFICATE_ISSUER, id::CERTIFICATE_FINGERPRINT]
            .into_iter()
            .any(|field| asked.contains(field))
    }

    /// Names the fields that nothing supplies.
    pub(crate) fn unknowable(&self) -> Vec<String> {
        let rows = self.0.fields().iter().map(|field| fields().info(field));
        let later = rows.filter_map(|row| match row.source {
            Source::Later(what) => Some(format!("`{}` cannot be told: it waits for {what}", row.name)),
            Source::Available => None,
        });
        later.collect()
    }

    pub(crate) fn evaluate(&self, facts: &ExpressionFacts<'_>) -> Truth {
        let texts = Texts::of(facts, self.0.fields());
        match self.0.evaluate(&Reading { facts, texts: &texts }) {
            Outcome::True => Truth::Yes,
            Outcome::False => Truth::No,
            // What no request will tell is not waited for.
            Outcome::Needs(fields) if fields.iter().any(|field| facts.comes_with_request(field)) => Truth::Unknown,
            Outcome::Needs(_) => Truth::Broken,
            Outcome::Error(_) => Truth::Broken,
        }
    }
}

/// What an expression may ask about.
pub(crate) struct ExpressionFacts<'a> {
    pub(crate) caller: &'a Caller<'a>,
    pub(crate) context: &'a RequestContext<'a>,
}

impl ExpressionFacts<'_> {
    /// Tells whether a fact is not known here and will be when a request is at hand.
    fn comes_with_request(&self, field: FieldId) -> bool {
        let of_request = [id::APP_ID, id::APP_NAME, id::HOST, id::METHOD, id::PATH, id::QUERY, id::HEADERS];
        match self.context.request {
            None => of_request.contains(&field),
            Some(request) => field == id::HEADERS && request.headers.is_none(),
        }
    }
}

/// Texts in the shapes the language reads, made only for the fields an expression uses.
#[derive(Default)]
struct Texts<'a> {
    user: String,
    service_token: String,
    application: String,
    steps: Vec<String>,
    claims: Vec<String>,
    passed: Vec<String>,
    groups: [Vec<&'a str>; 3],
    amr: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn of(facts: &ExpressionFacts<'a>, fields: FieldSet) -> Self {
        let mut texts = Self::default();
        if let Some(identity) = facts.caller.identity {
            texts.person(identity, fields);
        }
        if fields.contains(id::POSTURE_PASSED) {
            let passed = facts.context.device.map(|device| device.passed).unwrap_or_default();
            texts.passed = passed.iter().map(ToString::to_string).collect();
        }
        if let (true, Some(token)) = (fields.contains(id::SERVICE_TOKEN), facts.caller.service_token) {
            texts.service_token = token.to_string();
        }
        if let (true, Some(request)) = (fields.contains(id::APP_ID), facts.context.request) {
            texts.application = request.application.to_string();
        }
        texts
    }

    fn person(&mut self, identity: &'a Identity, fields: FieldSet) {
        if fields.contains(id::IDENTITY_ID) {
            self.user = identity.user.to_string();
        }
        if fields.contains(id::IDENTITY_AMR) {
            self.amr = identity.amr.iter().map(|text| &**text).collect();
        }
        for step in &identity.steps {
            if fields.contains(id::IDENTITY_LOGIN_METHODS) {
                self.steps.push(step.provider.to_string());
            }
            if fields.contains(id::IDENTITY_OIDC) {
                self.claims.extend(step.claims.iter().map(|claim| format!("{}={}", claim.0, claim.1)));
            }
            for group in &step.groups {
                let parts = [
                    (id::IDENTITY_GROUPS_ID, &group.id),
                    (id::IDENTITY_GROUPS_NAME, &group.name),
                    (id::IDENTITY_GROUPS_EMAIL, &group.email),
                ];
                for (list, (field, text)) in self.groups.iter_mut().zip(parts) {
                    if fields.contains(field) && !text.is_empty() {
                        list.push(text);
                    }
                }
            }
        }
    }
}

struct Reading<'a> {
    facts: &'a ExpressionFacts<'a>,
    texts: &'a Texts<'a>,
}

impl Facts for Reading<'_> {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        let (caller, context) = (self.facts.caller, self.facts.context);
        match field {
            id::IDENTITY_EMAIL
            | id::IDENTITY_NAME
            | id::IDENTITY_ID
            | id::IDENTITY_GROUPS_ID
            | id::IDENTITY_GROUPS_NAME
            | id::IDENTITY_GROUPS_EMAIL
            | id::IDENTITY_OIDC
            | id::IDENTITY_LOGIN_METHODS
            | id::IDENTITY_AMR
            | id::RISK => caller.identity.map_or(Fact::Absent, |identity| self.person(identity, field)),
            id::POSTURE_PASSED => context.device.map_or(Fact::Unknown, |_| strings(&self.texts.passed)),
            id::SERVICE_TOKEN => optional(caller.service_token.map(|_| self.texts.service_token.as_str())),
            id::COMMON_NAME => optional(context.certificate.and_then(|certificate| certificate.common_name.as_deref())),
            id::CERTIFICATE_SERIAL => optional(context.certificate.map(|certificate| certificate.serial.as_str())),
            id::CERTIFICATE_ISSUER => optional(context.certificate.map(|certificate| certificate.issuer_dn.as_str())),
            id::CERTIFICATE_FINGERPRINT => {
                optional(context.certificate.map(|certificate| certificate.fingerprint.as_str()))
            }
            id::SRC_IP => Fact::Known(ValueRef::Ip(context.ip.to_canonical())),
            id::SRC_COUNTRY => context.country.map_or(Fact::Unknown, text),
            _ => context.request.as_ref().map_or(Fact::Unknown, |request| self.request(request, field)),
        }
    }
}

impl Reading<'_> {
    fn person<'r>(&'r self, identity: &'r Identity, field: FieldId) -> Fact<'r> {
        match field {
            id::IDENTITY_EMAIL => text(identity.email.as_str()),
            id::IDENTITY_NAME => text(&identity.name),
            id::IDENTITY_ID => text(&self.texts.user),
            id::IDENTITY_GROUPS_ID | id::IDENTITY_GROUPS_NAME | id::IDENTITY_GROUPS_EMAIL
                if identity.steps.iter().any(|step| step.gaps.groups) =>
            {
                Fact::Unknown
            }
            id::IDENTITY_OIDC if identity.steps.iter().any(|step| step.gaps.claims) => Fact::Unknown,
            id::IDENTITY_GROUPS_ID => borrowed(&self.texts.groups[0]),
            id::IDENTITY_GROUPS_NAME => borrowed(&self.texts.groups[1]),
            id::IDENTITY_GROUPS_EMAIL => borrowed(&self.texts.groups[2]),
            id::IDENTITY_OIDC => strings(&self.texts.claims),
            id::IDENTITY_LOGIN_METHODS => strings(&self.texts.steps),
            id::IDENTITY_AMR => borrowed(&self.texts.amr),
            _ => self.facts.context.risk.map_or(Fact::Unknown, |risk| text(risk.as_str())),
        }
    }

    fn request<'r>(&'r self, request: &'r RequestHead<'_>, field: FieldId) -> Fact<'r> {
        match field {
            id::APP_ID => text(&self.texts.application),
            id::APP_NAME => text(request.application_name),
            id::HOST => text(request.host),
            id::METHOD => text(request.method),
            id::PATH => text(request.path),
            id::QUERY => optional(request.query),
            id::HEADERS => {
                request.headers.map_or(Fact::Unknown, |headers| Fact::Known(ValueRef::Map(MapRef::Custom(headers))))
            }
            _ => Fact::Unknown,
        }
    }
}

fn text(text: &str) -> Fact<'_> {
    Fact::Known(ValueRef::from(text))
}

fn optional(value: Option<&str>) -> Fact<'_> {
    value.map_or(Fact::Absent, text)
}

fn strings(items: &[String]) -> Fact<'_> {
    Fact::Known(ValueRef::Array(ArrayRef::Strings(items)))
}

fn borrowed<'r>(items: &'r [&'r str]) -> Fact<'r> {
    Fact::Known(ValueRef::Array(ArrayRef::Strs(items)))
}
