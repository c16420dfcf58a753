//! What an application's policies decide for somebody (reference section 1.5).
//!
//! Order: `bypass` and `non_identity` policies first, then `allow` and `deny`, each from top to bottom; the first that
//! covers the caller decides, and without one the answer is no. A policy covers whom one `include` selector, every
//! `require` selector and no `exclude` selector covers, and for whom its expression holds.
//!
//! Evaluation is three-valued: where an outcome hangs on a fact that must be fetched (a list, another service, the
//! request), the verdict names it. A selector that cannot be evaluated at all (a group that is missing or names itself, a
//! list that does not exist, an expression in error, a country that nobody knows) is broken: it does not help an `allow`,
//! and it completes a `deny`.
//!
//! Pure: no clock, no lookup. Invariant: turning any answer into "broken" never lets somebody in who was kept out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use types::{AccessPolicyId, ApplicationId, Email, ListId, ProviderId, ServiceTokenId};

use crate::access_policy::{Decision, Policy};
use crate::expression::{ExpressionFacts, PolicyExpression};
use crate::group::{Group, GroupFault, Groups};
use crate::identity::{ClientCertificate, Device, GroupClaim, Identity};
use crate::selector::{Checked, ExternalEvaluation, RiskScore, Selector, WorkerQuestion};

/// Who asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// `None`: nobody has signed in.
    pub identity: Option<&'a Identity>,
    /// A service token that was checked and is valid.
    pub service_token: Option<ServiceTokenId>,
}

/// What can change from one request to the next.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    pub ip: IpAddr,
    /// Two upper-case letters; `None`: it is not known, which is not the same as another country.
    pub country: Option<&'a str>,
    /// Only one that counts; see [`crate::client_certificate`].
    pub certificate: Option<&'a ClientCertificate>,
    /// `None`: nothing is known of the device.
    pub device: Option<Device<'a>>,
    /// `None`: nobody scores risk, which is not the same as a person without a score.
    pub risk: Option<RiskScore>,
    /// The application and the head of the request; `None` where there is no request, as in the policy tester.
    pub request: Option<RequestHead<'a>>,
}

/// The head of a request, for expressions.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub application: ApplicationId,
    pub application_name: &'a str,
    pub host: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// Lower-case name to an array of byte strings; `None`: not known, as at a sign-in, which knows only where the person
    /// goes back to.
    pub headers: Option<&'a dyn expr::Map>,
}

impl std::fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}{}", self.method, self.host, self.path)
    }
}

/// What a lookup says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// It has not been asked.
    NotAsked,
    /// It cannot be answered: the list does not exist, the service failed for good.
    Broken,
}

/// Answers questions about things that live outside a policy.
pub trait Lookups {
    /// Tells whether a list of addresses holds this one.
    fn email_list(&self, list: ListId, email: &Email) -> Answer;
    /// Tells whether a list of networks covers this address.
    fn ip_list(&self, list: ListId, address: IpAddr) -> Answer;
    /// Tells what another service said at login.
    fn external(&self, evaluation: &ExternalEvaluation) -> Answer;
    /// Tells what a Worker says of this caller and request; `None` if it has not been asked.
    fn worker(&self, question: &WorkerQuestion) -> Option<Arc<WorkerWord>>;
}

/// What a Worker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerWord {
    /// `None`: it gave no answer that counts.
    pub allows: Option<bool>,
    /// In its own words, or why there is no answer; may be empty.
    pub reason: String,
    pub took: Duration,
}

impl WorkerWord {
    /// Returns the words for a trace and a record.
    #[must_use]
    pub fn explain(&self, question: &WorkerQuestion) -> String {
        let said = match self.allows {
            Some(true) => "allowed it",
            Some(false) => "did not allow it",
            None => "gave no answer",
        };
        let colon = if self.reason.is_empty() { "" } else { ": " };
        format!("Worker {} {said} in {} ms{colon}{}", question.script, self.took.as_millis(), self.reason)
    }
}

/// A fact that an outcome hangs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    EmailList(ListId),
    IpList(ListId),
    External(ExternalEvaluation),
    Worker(WorkerQuestion),
    /// The head of the request.
    Request,
}

/// What one selector, list or policy amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    Yes,
    No,
    Unknown,
    Broken,
}

impl Truth {
    fn of(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown | Self::Broken => self,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Broken, _) | (_, Self::Broken) => Self::Broken,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

impl From<Answer> for Truth {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::Yes,
            Answer::No => Self::No,
            Answer::NotAsked => Self::Unknown,
            Answer::Broken => Self::Broken,
        }
    }
}

/// What the policies decide. The index counts policies as [`PolicySet::policies`] lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allow(usize),
    /// A service token, certificate or address admits, without a person.
    NonIdentity(usize),
    /// No enforcement at all.
    Bypass(usize),
    /// Nobody has signed in, and somebody who does may be let in.
    SignIn,
    Deny(Denial),
    /// The verdict hangs on these facts; ask again with them.
    Needs(Vec<Need>),
}

impl AsRef<Self> for Verdict {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What policies say of somebody whose request is not known, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// What is decided for a request that none of `perhaps` covers, and no `deny` that hangs on the request.
    pub verdict: Verdict,
    /// The policies that would let in and whose outcome hangs on the request alone, in order. All are asked before the one
    /// that `verdict` names.
    pub perhaps: Vec<usize>,
}

impl AsRef<Verdict> for Outlook {
    fn as_ref(&self) -> &Verdict {
        &self.verdict
    }
}

/// Why somebody is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// This `deny` policy covers the caller.
    Policy(usize),
    /// This `deny` policy could not be evaluated.
    Broken(usize),
    NoPolicy,
    NothingMatched,
}

/// One policy's part in a verdict, in words for a help desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTrace {
    pub policy: AccessPolicyId,
    pub name: String,
    pub decision: Decision,
    pub outcome: Truth,
    /// The selectors that made the outcome: those that failed, or those that held.
    pub reasons: Vec<String>,
}

/// What was looked at on the way to a verdict, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    pub policies: Vec<PolicyTrace>,
}

/// The policies of one application, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    policies: Vec<CompiledPolicy>,
}

#[derive(Debug, Clone)]
struct CompiledPolicy {
    policy: Policy,
    rule: Rule,
    expression: Option<Result<PolicyExpression, String>>,
}

/// Three lists with their groups put in.
#[derive(Debug, Clone)]
struct Rule {
    include: Vec<Item>,
    require: Vec<Item>,
    exclude: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    Selector(Selector),
    Group(Arc<str>, Arc<Rule>),
    Broken(GroupFault),
}

impl Rule {
    fn compile(lists: [&[Selector]; 3], groups: &Groups, made: &mut Made) -> Self {
        let [include, require, exclude] =
            lists.map(|list| list.iter().map(|selector| Item::compile(selector, groups, made)).collect());
        Self { include, require, exclude }
    }
}

/// Groups that were compiled already: a group that many policies name is held once.
type Made = std::collections::HashMap<types::AccessGroupId, Arc<Rule>>;

impl Item {
    fn compile(selector: &Selector, groups: &Groups, made: &mut Made) -> Self {
        let Selector::Group { id } = selector else { return Self::Selector(selector.clone()) };
        // The check comes before any descent, so that a cycle cannot recurse.
        if let Err(fault) = groups.check(*id) {
            return Self::Broken(fault);
        }
        let Some(group) = groups.get(*id) else { return Self::Broken(GroupFault::Missing(*id)) };
        let rule = made.get(id).cloned().unwrap_or_else(|| {
            let Group { include, require, exclude, .. } = &**group;
            let rule = Arc::new(Rule::compile([include, require, exclude], groups, made));
            made.insert(*id, Arc::clone(&rule));
            rule
        });
        Self::Group(group.name.as_str().into(), rule)
    }

    fn is_checked_on_every_request(&self) -> bool {
        match self {
            Self::Selector(selector) => selector.checked() == Checked::EveryRequest,
            Self::Group(_, rule) => rule.items().any(Self::is_checked_on_every_request),
            Self::Broken(_) => false,
        }
    }
}

impl Rule {
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.include.iter().chain(&self.require).chain(&self.exclude)
    }

    fn visit<'r>(&'r self, visit: &mut impl FnMut(&'r Selector)) {
        for item in self.items() {
            match item {
                Item::Selector(selector) => visit(selector),
                Item::Group(_, rule) => rule.visit(visit),
                Item::Broken(_) => {}
            }
        }
    }
}

/// One evaluation under way.
struct Asking<'a> {
    caller: &'a Caller<'a>,
    context: &'a RequestContext<'a>,
    lookups: &'a dyn Lookups,
    /// What the outcome of the policy being asked hangs on.
    needs: Vec<Need>,
    /// What Workers said, where somebody wants to read it.
    said: Option<Vec<String>>,
    /// Set where a sign-in is not finished: what the request and these providers will say is not known yet.
    awaited: Option<&'a [ProviderId]>,
}

impl PolicySet {
    /// Makes policies ready, in the order they apply among those of one kind.
    #[must_use]
    pub fn compile(policies: Vec<Policy>, groups: &Groups, lists: &dyn expr::Lists) -> Self {
        let mut made = Made::new();
        let compiled = policies.into_iter().map(|policy| {
            let rule = Rule::compile([&policy.include, &policy.require, &policy.exclude], groups, &mut made);
            let expression = policy.expression.as_deref().map(|text| PolicyExpression::compile(text, lists));
            CompiledPolicy { policy, rule, expression }
        });
        let mut policies: Vec<CompiledPolicy> = compiled.collect();
        // A stable sort keeps the author's order within each kind.
        policies.sort_by_key(|compiled| !is_identity_free(compiled.policy.decision));
        Self { policies }
    }

    /// Returns the policies in the order they are asked.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.policies.iter().map(|compiled| &compiled.policy)
    }

    /// Returns a policy by the index a verdict carries.
    #[must_use]
    pub fn policy(&self, index: usize) -> Option<&Policy> {
        self.policies.get(index).map(|compiled| &compiled.policy)
    }

    /// Tells whether nobody gets in by signing in: there are policies, and none allows.
    #[must_use]
    pub fn is_service_auth_only(&self) -> bool {
        !self.policies.is_empty()
            && self.policies.iter().all(|compiled| compiled.policy.decision == Decision::NonIdentity)
    }

    /// Tells whether some policy asks about the client certificate.
    #[must_use]
    pub fn reads_certificate(&self) -> bool {
        self.policies.iter().any(|compiled| {
            let mut selects = false;
            compiled.rule.visit(&mut |selector| {
                selects |= matches!(selector, Selector::Certificate {} | Selector::CommonName { .. });
            });
            let expression = compiled.expression.as_ref().and_then(|expression| expression.as_ref().ok());
            selects || expression.is_some_and(PolicyExpression::reads_certificate)
        })
    }

    /// Tells whether some outcome can change between two requests of one session.
    #[must_use]
    pub fn is_continuous(&self) -> bool {
        self.policies.iter().any(|compiled| {
            compiled.expression.is_some() || compiled.rule.items().any(Item::is_checked_on_every_request)
        })
    }

    /// Returns the faults of policies that cannot be evaluated fully, for their author.
    #[must_use]
    pub fn faults(&self) -> Vec<(AccessPolicyId, String)> {
        let mut faults = Vec::new();
        for compiled in &self.policies {
            let broken = compiled
                .rule
                .items()
                .filter_map(|item| if let Item::Broken(fault) = item { Some(fault.to_string()) } else { None });
            let expression = compiled.expression.iter().filter_map(|expression| expression.as_ref().err().cloned());
            faults.extend(broken.chain(expression).map(|fault| (compiled.policy.id, fault)));
        }
        faults
    }

    /// Returns what the author of each policy should know although it can be evaluated: facts it asks for that nothing knows.
    #[must_use]
    pub fn unknowable(&self) -> Vec<String> {
        let mut found = Vec::new();
        for compiled in &self.policies {
            compiled.rule.visit(&mut |selector| {
                found.extend(selector.unknowable().map(|why| format!("\"{selector}\" cannot be told: {why}")));
            });
            let expression = compiled.expression.as_ref().and_then(|expression| expression.as_ref().ok());
            found.extend(expression.into_iter().flat_map(PolicyExpression::unknowable));
        }
        found.sort();
        found.dedup();
        let outcome = "; it admits nobody, lets nobody past an `exclude`, and completes a `deny`";
        found.into_iter().map(|fact| fact + outcome).collect()
    }

    /// Asks what must be known at login and kept: memberships of lists and the word of other services.
    #[must_use]
    pub fn login_questions(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for compiled in &self.policies {
            compiled.rule.visit(&mut |selector| {
                if let Selector::EmailList { id } = selector {
                    needs.push(Need::EmailList(*id));
                } else if let Selector::ExternalEvaluation(external) = selector {
                    needs.push(Need::External(external.clone()));
                }
            });
        }
        needs.sort();
        needs.dedup();
        needs
    }

    /// Returns the authentication contexts of a provider that some policy asks for.
    #[must_use]
    pub fn auth_contexts(&self, provider: ProviderId) -> Vec<&str> {
        let mut found = Vec::new();
        for compiled in &self.policies {
            compiled.rule.visit(&mut |selector| {
                if let Selector::AuthContext { ac_id, identity_provider_id, .. } = selector
                    && *identity_provider_id == provider
                {
                    found.push(ac_id.as_str());
                }
            });
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Decides for a caller. With a trace, every policy that was looked at leaves its reasons there.
    #[must_use]
    pub fn evaluate(
        &self,
        caller: &Caller<'_>,
        context: &RequestContext<'_>,
        lookups: &dyn Lookups,
        trace: Option<&mut Trace>,
    ) -> Verdict {
        self.walk((caller, context, lookups), trace, None)
    }

    /// Decides for a caller as far as that can be told before the request is known. A policy that hangs on the request alone
    /// neither lets in nor keeps out: each request decides about it.
    #[must_use]
    pub fn foresee(
        &self,
        caller: &Caller<'_>,
        context: &RequestContext<'_>,
        lookups: &dyn Lookups,
        trace: Option<&mut Trace>,
    ) -> Outlook {
        let mut perhaps = Vec::new();
        let verdict = self.walk((caller, context, lookups), trace, Some(&mut perhaps));
        Outlook { verdict, perhaps }
    }

    /// Returns the policies that may let in whoever signs in. The first stands for all of them: the one that surely covers
    /// the person where no other does, else one that asks no question and no approval, where there is one.
    #[must_use]
    pub fn candidates(&self, outlook: &Outlook) -> Vec<usize> {
        let allows = |index: &usize| self.policy(*index).is_some_and(|policy| policy.decision == Decision::Allow);
        let sure = if let Verdict::Allow(index) = outlook.verdict { Some(index) } else { None };
        let mut found: Vec<usize> = outlook.perhaps.iter().copied().filter(allows).chain(sure).collect();
        let plain = |policy: &Policy| policy.justification.is_none() && policy.approval.is_empty();
        let first = match sure {
            Some(_) => found.len().checked_sub(1),
            None => found.iter().position(|index| self.policy(*index).is_some_and(plain)),
        };
        if let Some(first) = first {
            found[..=first].rotate_right(1);
        }
        found
    }

    /// Asks one policy after the other. With `perhaps`, those that hang on the request alone are noted there and passed over.
    fn walk(
        &self,
        (caller, context, lookups): (&Caller<'_>, &RequestContext<'_>, &dyn Lookups),
        mut trace: Option<&mut Trace>,
        mut perhaps: Option<&mut Vec<usize>>,
    ) -> Verdict {
        if self.policies.is_empty() {
            return Verdict::Deny(Denial::NoPolicy);
        }
        let said = trace.as_ref().map(|_| Vec::new());
        let mut asking = Asking { caller, context, lookups, needs: Vec::new(), said, awaited: None };
        for (index, compiled) in self.policies.iter().enumerate() {
            let decision = compiled.policy.decision;
            if caller.identity.is_none() && !is_identity_free(decision) {
                return Verdict::SignIn;
            }
            let mut reasons = trace.as_ref().map(|_| Vec::new());
            let outcome = asking.policy(compiled, reasons.as_mut());
            if let (Some(trace), Some(mut reasons)) = (trace.as_deref_mut(), reasons) {
                reasons.extend(asking.said.iter_mut().flat_map(std::mem::take));
                let Policy { id, name, .. } = &compiled.policy;
                trace.policies.push(PolicyTrace { policy: *id, name: name.clone(), decision, outcome, reasons });
            }
            match (decision, outcome) {
                (_, Truth::No) | (Decision::Allow | Decision::NonIdentity | Decision::Bypass, Truth::Broken) => {}
                (_, Truth::Unknown) => match perhaps.as_deref_mut() {
                    Some(perhaps) if asking.needs.iter().all(|need| *need == Need::Request) => {
                        asking.needs.clear();
                        perhaps.extend((decision != Decision::Deny).then_some(index));
                    }
                    Some(_) | None => {
                        asking.needs.sort();
                        asking.needs.dedup();
                        return Verdict::Needs(asking.needs);
                    }
                },
                (Decision::Allow, Truth::Yes) => return Verdict::Allow(index),
                (Decision::NonIdentity, Truth::Yes) => return Verdict::NonIdentity(index),
                (Decision::Bypass, Truth::Yes) => return Verdict::Bypass(index),
                (Decision::Deny, Truth::Yes) => return Verdict::Deny(Denial::Policy(index)),
                (Decision::Deny, Truth::Broken) => return Verdict::Deny(Denial::Broken(index)),
            }
        }
        Verdict::Deny(Denial::NothingMatched)
    }
}

impl PolicySet {
    /// Tells whether signing in could let somebody in of whom some steps of a sign-in are known; `awaited` are the providers
    /// of the others. What the request will say (address, country, device, expressions) and what another service will say
    /// is taken to be open, so that only somebody whom no policy can let in is told from the rest.
    #[must_use]
    pub fn could_admit(&self, known: &Identity, lookups: &dyn Lookups, awaited: &[ProviderId]) -> bool {
        let caller = Caller { identity: Some(known), ..Caller::default() };
        let context =
            RequestContext { ip: known.ip, country: None, certificate: None, device: None, risk: None, request: None };
        let mut asking = Asking {
            caller: &caller,
            context: &context,
            lookups,
            needs: Vec::new(),
            said: None,
            awaited: Some(awaited),
        };
        for compiled in &self.policies {
            match (compiled.policy.decision, asking.policy(compiled, None)) {
                (Decision::Allow, Truth::Yes | Truth::Unknown) => return true,
                (Decision::Deny, Truth::Yes | Truth::Broken) => return false,
                (Decision::Allow | Decision::Deny | Decision::Bypass | Decision::NonIdentity, _) => {}
            }
        }
        false
    }
}

const fn is_identity_free(decision: Decision) -> bool {
    matches!(decision, Decision::NonIdentity | Decision::Bypass)
}

/// Where a trace's reasons go, when somebody asked for them.
type Reasons<'r> = Option<&'r mut Vec<String>>;

impl Asking<'_> {
    /// Evaluates one policy. What it hangs on is noted only where its outcome is unknown: nothing is asked in vain.
    fn policy(&mut self, compiled: &CompiledPolicy, reasons: Reasons<'_>) -> Truth {
        let outcome = self.outcome(compiled, reasons);
        if outcome != Truth::Unknown {
            self.needs.clear();
        }
        outcome
    }

    fn outcome(&mut self, compiled: &CompiledPolicy, mut reasons: Reasons<'_>) -> Truth {
        if compiled.policy.isolated {
            note(&mut reasons, || "it asks for a remote browser, which there is none".to_owned());
            // An isolated `deny` still denies; nothing else can be kept to.
            if compiled.policy.decision != Decision::Deny {
                return Truth::No;
            }
        }
        let selectors = self.rule(&compiled.rule, &mut reasons);
        if selectors == Truth::No {
            return Truth::No;
        }
        match &compiled.expression {
            None => selectors,
            Some(Err(fault)) => {
                note(&mut reasons, || format!("its expression is broken: {fault}"));
                selectors.and(Truth::Broken)
            }
            Some(Ok(_)) if self.awaited.is_some() => selectors.and(Truth::Unknown),
            Some(Ok(expression)) => {
                let outcome = expression.evaluate(&ExpressionFacts { caller: self.caller, context: self.context });
                if outcome == Truth::Unknown {
                    self.needs.push(Need::Request);
                }
                note(&mut reasons, || format!("its expression is {}", word(outcome)));
                selectors.and(outcome)
            }
        }
    }

    /// Evaluates three lists. What a settled outcome could have hung on is not needed.
    fn rule(&mut self, rule: &Rule, reasons: &mut Reasons<'_>) -> Truth {
        let before = self.needs.len();
        let outcome = self.lists(rule, reasons);
        if outcome != Truth::Unknown {
            self.needs.truncate(before);
        }
        outcome
    }

    /// Looks no further once the outcome is no.
    fn lists(&mut self, rule: &Rule, reasons: &mut Reasons<'_>) -> Truth {
        let before = self.needs.len();
        let mut included = Truth::No;
        let mut passed = Vec::new();
        for item in &rule.include {
            let outcome = self.item(item);
            included = included.or(outcome);
            if reasons.is_some() {
                passed.push(format!("{}: {}", item.describe(), word(outcome)));
            }
            if outcome == Truth::Yes {
                break;
            }
        }
        if included == Truth::Yes {
            self.needs.truncate(before);
        }
        if let (Some(reasons), true) = (reasons.as_deref_mut(), included == Truth::Yes) {
            reasons.extend(passed.pop().map(|last| format!("include: {last}")));
        } else if let Some(reasons) = reasons.as_deref_mut() {
            reasons.extend(passed.into_iter().take(20).map(|line| format!("include: {line}")));
        }
        let mut outcome = included;
        for (list, items, negate) in [("require", &rule.require, false), ("exclude", &rule.exclude, true)] {
            for item in items {
                if outcome == Truth::No {
                    return outcome;
                }
                let found = self.item(item);
                note(reasons, || format!("{list}: {}: {}", item.describe(), word(found)));
                outcome = outcome.and(if negate { found.not() } else { found });
            }
        }
        outcome
    }

    fn item(&mut self, item: &Item) -> Truth {
        match item {
            Item::Selector(selector) => self.selector(selector),
            Item::Group(_, rule) => self.rule(rule, &mut None),
            Item::Broken(_) => Truth::Broken,
        }
    }

    fn selector(&mut self, selector: &Selector) -> Truth {
        let context = self.context;
        // Who the person is cannot be told while nobody has signed in. If that were "no", a group of people would exclude
        // nobody from a policy that asks for no sign-in.
        if self.caller.identity.is_none() && selector.needs_person() {
            return Truth::Broken;
        }
        if self.awaited.is_some_and(|awaited| is_open(selector, awaited)) {
            return Truth::Unknown;
        }
        // One address has one form, for lists as for networks.
        let ip = context.ip.to_canonical();
        match selector {
            Selector::Everyone {} => Truth::Yes,
            Selector::Ip { ip: network } => Truth::of(network.contains(ip)),
            Selector::IpList { id } => self.ask(self.lookups.ip_list(*id, ip), || Need::IpList(*id)),
            Selector::Country { country_code } => {
                known(context.country.map(|country| country == country_code.as_str()))
            }
            Selector::Certificate {} => Truth::of(context.certificate.is_some()),
            Selector::CommonName { common_name } => {
                let presented = context.certificate.and_then(|certificate| certificate.common_name.as_ref());
                Truth::of(presented == Some(common_name))
            }
            Selector::DevicePosture { integration_uid } => {
                known(context.device.map(|device| device.passed.contains(integration_uid)))
            }
            Selector::ServiceToken { token_id } => Truth::of(self.caller.service_token == Some(*token_id)),
            Selector::AnyServiceToken {} => Truth::of(self.caller.service_token.is_some()),
            Selector::Risk { user_risk_score } => known(context.risk.map(|risk| user_risk_score.contains(&risk))),
            // Groups are put in when policies are compiled; one that is left cannot be evaluated. Nor can membership of the
            // vendor's account, for there is none behind this product, or a token of an application that gives none.
            Selector::Group { .. } | Selector::AccountMember { .. } | Selector::LinkedAppToken { .. } => Truth::Broken,
            Selector::ExternalEvaluation(external) if self.caller.identity.is_some() => {
                self.ask(self.lookups.external(external), || Need::External(external.clone()))
            }
            Selector::Worker(question) => {
                let Some(word) = self.lookups.worker(question) else {
                    self.needs.push(Need::Worker(question.clone()));
                    return Truth::Unknown;
                };
                if let Some(said) = &mut self.said {
                    said.push(word.explain(question));
                }
                word.allows.map_or(Truth::Broken, Truth::of)
            }
            Selector::EmailList { id } => match self.caller.identity {
                Some(identity) => self.ask(self.lookups.email_list(*id, &identity.email), || Need::EmailList(*id)),
                None => Truth::No,
            },
            Selector::Email { .. }
            | Selector::EmailDomain { .. }
            | Selector::LoginMethod { .. }
            | Selector::AuthMethod { .. }
            | Selector::AuthContext { .. }
            | Selector::AzureGroup { .. }
            | Selector::GoogleGroup { .. }
            | Selector::OktaGroup { .. }
            | Selector::GithubOrganization { .. }
            | Selector::SamlAttribute { .. }
            | Selector::OidcClaim { .. }
            | Selector::ExternalEvaluation(_) => {
                self.caller.identity.map_or(Truth::No, |identity| is_person(identity, selector))
            }
        }
    }

    fn ask(&mut self, answer: Answer, need: impl FnOnce() -> Need) -> Truth {
        if answer == Answer::NotAsked {
            self.needs.push(need());
        }
        answer.into()
    }
}

/// What nobody knows cannot be evaluated: as a "no" it would let past an `exclude` whom it should keep out.
fn known(truth: Option<bool>) -> Truth {
    truth.map_or(Truth::Broken, Truth::of)
}

/// Tells whether the rest of a sign-in may still change what a selector says.
fn is_open(selector: &Selector, awaited: &[ProviderId]) -> bool {
    match selector {
        Selector::LoginMethod { id } => awaited.contains(id),
        Selector::AuthMethod { .. } => !awaited.is_empty(),
        Selector::AuthContext { identity_provider_id, .. }
        | Selector::AzureGroup { identity_provider_id, .. }
        | Selector::GoogleGroup { identity_provider_id, .. }
        | Selector::OktaGroup { identity_provider_id, .. }
        | Selector::GithubOrganization { identity_provider_id, .. }
        | Selector::SamlAttribute { identity_provider_id, .. }
        | Selector::OidcClaim { identity_provider_id, .. } => awaited.contains(identity_provider_id),
        Selector::Email { .. }
        | Selector::EmailDomain { .. }
        | Selector::EmailList { .. }
        | Selector::Everyone {}
        | Selector::Group { .. }
        | Selector::ServiceToken { .. }
        | Selector::AnyServiceToken {}
        | Selector::LinkedAppToken { .. }
        | Selector::AccountMember { .. } => false,
        Selector::ExternalEvaluation(_)
        | Selector::Worker(_)
        | Selector::Ip { .. }
        | Selector::IpList { .. }
        | Selector::Country { .. }
        | Selector::Certificate {}
        | Selector::CommonName { .. }
        | Selector::DevicePosture { .. }
        | Selector::Risk { .. } => true,
    }
}

/// Tells whether a selector about the person covers them. What a provider left out may cover them or not.
fn is_person(identity: &Identity, selector: &Selector) -> Truth {
    let told = |found: bool, gap: bool| if found || !gap { Truth::of(found) } else { Truth::Broken };
    let groups = |provider, test: &dyn Fn(&GroupClaim) -> bool| {
        let step = identity.step(provider);
        step.map_or(Truth::No, |step| told(step.groups.iter().any(|group| test(group)), step.gaps.groups))
    };
    let claims = |provider, name: &str, value: &str| {
        let step = identity.step(provider);
        step.map_or(Truth::No, |step| {
            told(step.claims.iter().any(|claim| *claim.0 == *name && *claim.1 == *value), step.gaps.claims)
        })
    };
    match selector {
        Selector::Email { email } => Truth::of(identity.email.as_str() == email.as_str()),
        Selector::EmailDomain { domain } => {
            Truth::of(identity.email.as_str().rsplit_once('@').is_some_and(|(_, own)| own == domain.as_str()))
        }
        Selector::LoginMethod { id } => Truth::of(identity.step(*id).is_some()),
        Selector::AuthMethod { auth_method } => Truth::of(identity.amr.iter().any(|value| **value == **auth_method)),
        Selector::AuthContext { ac_id, identity_provider_id, .. } => claims(*identity_provider_id, "acrs", ac_id),
        Selector::AzureGroup { id, identity_provider_id } => groups(*identity_provider_id, &|group| *group.id == **id),
        Selector::GoogleGroup { email, identity_provider_id } => {
            groups(*identity_provider_id, &|group| group.email.eq_ignore_ascii_case(email))
        }
        Selector::OktaGroup { name, identity_provider_id } => {
            groups(*identity_provider_id, &|group| *group.name == **name)
        }
        Selector::GithubOrganization { name, team, identity_provider_id } => groups(*identity_provider_id, &|group| {
            group.id.eq_ignore_ascii_case(name)
                && team.as_ref().is_none_or(|team| !team.is_empty() && group.name.eq_ignore_ascii_case(team))
        }),
        Selector::SamlAttribute { attribute_name, attribute_value, identity_provider_id } => {
            claims(*identity_provider_id, attribute_name, attribute_value)
        }
        Selector::OidcClaim { claim_name, claim_value, identity_provider_id } => {
            claims(*identity_provider_id, claim_name, claim_value)
        }
        Selector::EmailList { .. }
        | Selector::Everyone {}
        | Selector::Group { .. }
        | Selector::Ip { .. }
        | Selector::IpList { .. }
        | Selector::Country { .. }
        | Selector::Certificate {}
        | Selector::CommonName { .. }
        | Selector::DevicePosture { .. }
        | Selector::ServiceToken { .. }
        | Selector::AnyServiceToken {}
        | Selector::LinkedAppToken { .. }
        | Selector::Risk { .. }
        | Selector::ExternalEvaluation(_)
        | Selector::Worker(_)
        | Selector::AccountMember { .. } => Truth::No,
    }
}

impl Item {
    fn describe(&self) -> String {
        match self {
            Self::Selector(selector) => selector.to_string(),
            Self::Group(name, _) => format!("rule group {name}"),
            Self::Broken(fault) => fault.to_string(),
        }
    }
}

const fn word(outcome: Truth) -> &'static str {
    match outcome {
        Truth::Yes => "yes",
        Truth::No => "no",
        Truth::Unknown => "not known yet",
        Truth::Broken => "cannot be evaluated",
    }
}

fn note(reasons: &mut Reasons<'_>, text: impl FnOnce() -> String) {
    if let Some(reasons) = reasons.as_deref_mut() {
        reasons.push(text());
    }
}

/// What was answered at login, kept in the session: asking again must not change it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Frozen {
    lists: Vec<(ListId, Kept)>,
    external: Vec<(ExternalEvaluation, Kept)>,
}

/// An answer as it is stored: `null` is one that could not be given.
type Kept = Option<bool>;

impl Frozen {
    /// Keeps the answer to a question of [`PolicySet::login_questions`]. One that could not be given is kept as that: as a
    /// no it would let in whom an `exclude` keeps out.
    pub fn keep(&mut self, need: Need, answer: Answer) {
        let answer = match answer {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Broken => None,
            Answer::NotAsked => return,
        };
        match need {
            Need::EmailList(list) => self.lists.push((list, answer)),
            Need::External(external) => self.external.push((external, answer)),
            // All of them are facts of each request.
            Need::IpList(_) | Need::Worker(_) | Need::Request => {}
        }
    }

    /// Answers from what was kept, and about addresses from `live`.
    #[must_use]
    pub fn with<'a>(&'a self, live: &'a dyn Lookups) -> FrozenLookups<'a> {
        FrozenLookups { frozen: self, live }
    }
}

/// The answers of a session's login, beside live ones for what is checked on every request.
#[derive(Clone, Copy)]
pub struct FrozenLookups<'a> {
    frozen: &'a Frozen,
    live: &'a dyn Lookups,
}

impl Lookups for FrozenLookups<'_> {
    fn email_list(&self, list: ListId, _: &Email) -> Answer {
        kept(&self.frozen.lists, &list)
    }

    fn ip_list(&self, list: ListId, address: IpAddr) -> Answer {
        self.live.ip_list(list, address)
    }

    fn external(&self, evaluation: &ExternalEvaluation) -> Answer {
        kept(&self.frozen.external, evaluation)
    }

    fn worker(&self, question: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        self.live.worker(question)
    }
}

fn kept<K: PartialEq>(answers: &[(K, Kept)], key: &K) -> Answer {
    match answers.iter().find(|(known, _)| known == key) {
        Some((_, Some(true))) => Answer::Yes,
        Some((_, Some(false))) => Answer::No,
        Some((_, None)) => Answer::Broken,
        None => Answer::NotAsked,
    }
}
