//! Holds the account's rules, or a draft of them, against an invented request, and says what would be decided and why.
//!
//! It compiles the stored rules at the moment of the call, so it answers for what is saved and not for what was last put
//! in force. No traffic is touched. Invariant: it is a pure question; nothing is stored or recorded.

use jiff::Timestamp;
use policy::hook::http::id as field;
use policy::hook::l4::id as l4;
use policy::{CompileOptions, Cursor, FactsDocument, Hook, HttpRuleset, RuleSpec, Scratch, Step, StoredRule, Trace};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Only, ReadGateway, ReadRules};
use types::RuleId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::rules::{lists_named_in, refused, spec_of};
use super::{parse_time, time};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// What to decide.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateBody {
    /// Field names to values. An absent field is not known; null is known to have no value.
    #[schema(value_type = Object)]
    pub facts: Value,
    /// Decide with a draft in addition: it takes the place of the stored rule with its `id`, or is added.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub rule: Option<Value>,
    /// Decide with these rules alone.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub rules: Option<Vec<Value>>,
    /// The time to decide at.
    #[serde(default)]
    pub at: Option<String>,
}

/// What would be decided.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Evaluation {
    /// The action's word; `allow` when no rule matches.
    pub action: String,
    /// The rule that decided.
    pub rule_id: Option<String>,
    pub rule_name: Option<String>,
    /// Whether the connection is intercepted at all, and by which rule not.
    #[schema(value_type = Object)]
    pub inspection: Value,
    /// Facts the decision still hangs on; empty when it is final.
    pub needs: Vec<&'static str>,
    /// When those facts arrive.
    pub phase: Option<String>,
    /// Marks left by rules that do not end evaluation.
    #[schema(value_type = Object)]
    pub marks: Value,
    #[schema(value_type = Object)]
    pub trace: Trace,
    /// Rules that do not compile and took no part.
    #[schema(value_type = Vec<Object>)]
    pub broken_rules: Vec<Value>,
    pub at: String,
}

/// Decides.
///
/// # Errors
///
/// A [`Failure`] that points at the fact or the member of the draft at fault.
pub async fn evaluate(cx: &OpContext, body: EvaluateBody) -> Result<Evaluation, Failure> {
    let now = body.at.map(|text| parse_time("/at", &text)).transpose()?.unwrap_or(cx.now());
    let mut facts =
        FactsDocument::parse(Hook::Http, &body.facts).map_err(|errors| within(refused(&errors), "/facts"))?;
    supply_meaning(&mut facts, &cx.app.deps.snapshot.classifier());
    let (rules, broken) = match body.rules {
        Some(drafts) => (drafts_only(&drafts)?, Vec::new()),
        None => stored_rules(cx, body.rule).await?,
    };
    let texts: Vec<&str> = rules.iter().flat_map(|rule| rule.spec.expressions().map(|(_, text)| text)).collect();
    cx.authorize::<ReadRules>()?;
    let lists = lists_named_in(cx, texts).await?;
    let options = CompileOptions { extended_email_matching: extended_email_matching(cx).await? };
    let report = policy::compile(&rules, &lists, options);
    let mut broken_rules = broken;
    broken_rules.extend(report.errors.iter().map(|errors| {
        let texts: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
        json!({"id": errors.id.to_string(), "name": errors.name, "errors": texts})
    }));
    Ok(decide(&report.http, &facts, now, broken_rules))
}

/// Fills in what the host means in this installation where the facts are silent.
pub(super) fn supply_meaning(facts: &mut FactsDocument, classifier: &catalog::Classifier) {
    let host = if facts.hook() == Hook::Http { field::HOST } else { l4::SNI_HOST };
    let Some(found) = facts.text(host).map(|host| classifier.classify(host)) else { return };
    let meaning = classifier.meaning(found);
    let numbers = |ids: &[i64]| expr::Value::Array(ids.iter().map(|id| expr::Value::Int(*id)).collect());
    if facts.hook() == Hook::L4 {
        facts.supply(l4::APP_IDS, numbers(meaning.app_ids));
        facts.supply(l4::APP_TYPE_IDS, numbers(meaning.app_type_ids));
        facts.supply(l4::CONTENT_CATEGORY, numbers(meaning.content_categories));
        facts.supply(l4::SECURITY_CATEGORY, numbers(meaning.security_categories));
        return;
    }
    facts.supply(field::APP_IDS, numbers(meaning.app_ids));
    facts.supply(field::APP_HOSTS_IDS, numbers(meaning.app_ids));
    facts.supply(field::APP_TYPE_IDS, numbers(meaning.app_type_ids));
    facts.supply(field::APP_SUPPORTS_IDS, numbers(meaning.app_supports_ids));
    facts.supply(field::CONTENT_CATEGORY, numbers(meaning.content_categories));
    facts.supply(field::SECURITY_CATEGORY, numbers(meaning.security_categories));
    facts.supply(field::APP_STATUSES, meaning.app_statuses.to_vec());
}

fn decide(rules: &HttpRuleset, facts: &FactsDocument, now: Timestamp, broken_rules: Vec<Value>) -> Evaluation {
    let mut scratch = Scratch::new();
    let connection = rules.finish_connection(facts, now, &mut scratch);
    let inspection = json!({
        "inspected": connection.action.word() != "off",
        "rule_id": connection.rule.as_ref().map(|rule| rule.id.to_string()),
        "rule_name": connection.rule.as_ref().map(|rule| rule.name.clone()),
    });
    let mut scratch = Scratch::new();
    let step = rules.decide(facts, now, Cursor::start(), &mut scratch);
    let (needs, phase) = match &step {
        Step::Verdict(_) => (Vec::new(), None),
        Step::Needs(needs) => (policy::trace::names(Hook::Http, needs.fields), Some(format!("{:?}", needs.phase))),
    };
    let verdict = match step {
        Step::Verdict(verdict) => verdict,
        Step::Needs(needs) => rules.finish(facts, now, needs.cursor, &mut scratch),
    };
    Evaluation {
        action: verdict.action.word().to_owned(),
        rule_id: verdict.rule.as_ref().map(|rule| rule.id.to_string()),
        rule_name: verdict.rule.as_ref().map(|rule| rule.name.clone()),
        inspection,
        needs,
        phase,
        marks: json!({"no_isolate": verdict.marks.no_isolate, "no_scan": verdict.marks.no_scan}),
        trace: rules.trace(&scratch, facts),
        broken_rules,
        at: time(now),
    }
}

fn drafts_only(drafts: &[Value]) -> Result<Vec<StoredRule>, Failure> {
    /// Most drafts of one call.
    const MOST: usize = 1000;
    if drafts.len() > MOST {
        return Err(Failure::invalid("/rules", format!("one call is limited to {MOST} rules")));
    }
    let mut rules = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let spec = RuleSpec::parse(draft).map_err(|errors| within(refused(&errors), &format!("/rules/{index}")))?;
        let place = i64::try_from(index).unwrap_or(i64::MAX);
        rules.push(StoredRule { id: draft_id(draft), precedence: spec.precedence.unwrap_or(place), spec });
    }
    Ok(rules)
}

async fn stored_rules(cx: &OpContext, draft: Option<Value>) -> Result<(Vec<StoredRule>, Vec<Value>), Failure> {
    let grant = cx.authorize::<ReadRules>()?;
    let stored = cx.store().rules().list(&grant).await?;
    let (mut rules, mut broken) = (Vec::with_capacity(stored.len() + 1), Vec::new());
    for rule in &stored {
        match spec_of(rule) {
            Ok(spec) => rules.push(StoredRule { id: rule.id, precedence: rule.document.precedence, spec }),
            Err(failure) => {
                let texts: Vec<_> = failure.problems.into_iter().map(|problem| problem.message).collect();
                broken.push(json!({"id": rule.id.to_string(), "name": rule.document.name, "errors": texts}));
            }
        }
    }
    if let Some(draft) = draft {
        let spec = RuleSpec::parse(&draft).map_err(|errors| within(refused(&errors), "/rule"))?;
        let id = draft_id(&draft);
        let place = rules.iter().position(|rule| rule.id == id);
        let last = rules.iter().map(|rule| rule.precedence).max().unwrap_or(0);
        let precedence = spec.precedence.or(place.map(|place| rules[place].precedence)).unwrap_or(last + 1);
        let draft = StoredRule { id, precedence, spec };
        match place {
            Some(place) => rules[place] = draft,
            None => rules.push(draft),
        }
    }
    Ok((rules, broken))
}

fn draft_id(draft: &Value) -> RuleId {
    let named = draft.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    named.unwrap_or_else(|| RuleId(Uuid::new_v4()))
}

/// Says whether addresses of people match with what follows a plus sign, which the account's configuration decides.
pub(super) async fn extended_email_matching(cx: &OpContext) -> Result<bool, Failure> {
    let system = store::Principal::system("evaluate rules");
    let configuration = cx.store().configuration().get(&system.authorize::<ReadGateway>(cx.account)?, &Only).await?;
    let settings = configuration.map(|stored| Value::Object(stored.document.settings)).unwrap_or_default();
    Ok(settings.pointer("/extended_email_matching/enabled").and_then(Value::as_bool).unwrap_or(false))
}

/// Moves a failure's pointers below a member of the body.
pub(super) fn within(failure: Failure, prefix: &str) -> Failure {
    let moved = |problem: Problem| Problem {
        pointer: Some(format!("{prefix}{}", problem.pointer.unwrap_or_default())),
        ..problem
    };
    Failure { problems: failure.problems.into_iter().map(moved).collect(), ..failure }
}
