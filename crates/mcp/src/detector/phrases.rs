//! Phrases by which descriptions steer models, as expressions over folded text.
//!
//! An expression asks for an order and for what makes it one that no honest description gives. Invariant: every expression
//! runs in time linear in the text.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::{Found, Reason};

/// What is worth stealing, and has no business in the arguments of a tool.
const TREASURE: &str = r"(?:~/\.[a-z]+|\.ssh\b|\.aws/|\.kube/|\.git-credentials|\.netrc|\.npmrc|\.env\b|/etc/(?:passwd|shadow)|\bid[_ ](?:rsa|ed25519|ecdsa)\b|\bmcp\.json|claude_desktop_config|\bssh keys?\b|\bprivate keys?\b|\bsystem prompts?\b|\b(?:conversation|chat) history\b)";
/// Ways of passing it on.
const CARRY: &str = r"\b(?:pass|send|put|include|provide|attach|append|place|insert|supply|copy|forward|submit|write|encode|upload|post)\b";

/// The expressions, each with its reason.
fn expressions() -> [(Reason, String); 14] {
    use Reason::{Command, Exfiltration, Markup, Override, Secrecy, Shadowing};
    let whom = r"(?:user|users|human|person|customer|operator|anyone|anybody|them)\b";
    let tell = r"(?:tell|mention|inform|notify|reveal|disclose|alert|warn|telling|mentioning|informing|notifying|revealing|disclosing|alerting|warning)";
    [
        (Override, r"\b(?:ignore|disregard|forget|override|bypass|stop following|do not follow|don't follow)\b.{0,25}\b(?:previous|prior|above|earlier|preceding|your|system|all|any|other)\b.{0,25}\b(?:instructions?|prompts?|guidelines|directives?|safeguards|guardrails)\b".to_owned()),
        (Override, r"\b(?:ignore|disregard|forget)\b.{0,15}\b(?:previous|prior|above|earlier|preceding)\b.{0,15}\b(?:rules?|context|messages?|text|descriptions?)\b".to_owned()),
        (Override, r"\byou are now\b.{0,40}\b(?:mode|assistant|agent|unrestricted|jailbroken)\b|\bnew (?:system )?instructions?:".to_owned()),
        (Secrecy, format!(r"\b(?:do not|don't|dont|never|must not|should not|shouldn't|avoid|without|not to|no need to)\b.{{0,25}}\b{tell}\b.{{0,40}}\b{whom}")),
        (Secrecy, r"\b(?:do not|don't|never|without)\b.{0,20}\blet(?:ting)?\b.{0,20}\b(?:user|users|human|person|them)\b.{0,10}\b(?:know|see|notice|find out)".to_owned()),
        (Secrecy, r"\bwithout (?:the |their )?(?:user|users|human|person)(?:'s|s'|')? .{0,15}(?:knowledge|knowing|noticing|awareness|being aware)|\b(?:keep|hide|conceal)\b.{0,30}\b(?:secret|hidden|confidential)?\b ?from (?:the |any )?(?:user|users|human|person)\b|\bbehind the user's back\b|\bsecretly\b|\bcovertly\b".to_owned()),
        (Markup, r"<\s*/?\s*(?:important|system|secret|hidden|system[-_ ]?(?:prompt|message|override|instructions?)|priority[-_ ]?instructions?)\s*>|<\|[a-z_]{2,20}\|>|\[/?inst\]|<</?sys>>|<!--|\[(?:system|hidden|internal)(?: (?:note|message|prompt|instructions?))?\]".to_owned()),
        (Exfiltration, format!(r"\b(?:read|open|cat|load|fetch|access|get|retrieve|collect|extract|find|gather|look up)\b.{{0,60}}{TREASURE}.{{0,200}}{CARRY}")),
        (Exfiltration, format!(r"{CARRY}.{{0,40}}\b(?:contents?|value|text|copy|dump)\b.{{0,20}}{TREASURE}|\bcontents? (?:of|from)\b.{{0,30}}{TREASURE}")),
        (Exfiltration, format!(r"{CARRY}.{{0,50}}\b(?:system prompt|your (?:system )?(?:prompt|instructions)|(?:entire|whole|full|complete|previous) (?:conversation|chat|dialogue)(?: history)?|(?:conversation|chat) history|all (?:the )?(?:previous|prior|earlier) messages)\b")),
        (Shadowing, r"\b(?:when(?:ever)?|if|every time|each time|any ?time)\b.{0,30}\b(?:other|another|any|every|all)(?: [a-z]+){0,2} tools?\b.{0,60}\b(?:must|always|never|instead|replace|redirect|change|add|send)\b".to_owned()),
        (Shadowing, r"\bside[- ]effects?\b.{0,60}\b(?:tool|tools|calls?)\b|\bappl(?:y|ies|ied)\b.{0,30}\bto (?:all|any|every|other)\b.{0,20}\btool".to_owned()),
        (Shadowing, r"\b(?:change|replace|redirect|modify|alter|rewrite|swap|set)\b.{0,30}\b(?:recipient|destination|payee|beneficiary|bcc|wallet|account number)s?\b.{0,30}\b(?:to|with)\b.{0,20}(?:@[a-z0-9]|\+\d|0x[0-9a-f]|attacker)".to_owned()),
        (Command, r"\b(?:curl|wget)\b[^|]{0,200}\|\s*(?:sudo )?(?:ba|z|da)?sh\b|\brm -rf? [~/]".to_owned()),
    ]
}

/// All expressions at once, to find out whether any applies; then one by one, to show where.
struct Rules {
    any: RegexSet,
    each: Vec<(Reason, Regex)>,
}

static RULES: LazyLock<Option<Rules>> = LazyLock::new(|| {
    let expressions = expressions();
    let any = RegexSet::new(expressions.iter().map(|(_, text)| text)).ok()?;
    let each =
        expressions.iter().map(|(reason, text)| Some((*reason, Regex::new(text).ok()?))).collect::<Option<_>>()?;
    Some(Rules { any, each })
});

pub(super) fn look(folded: &str, place: &str, found: &mut Found) {
    // A test holds that all of them compile.
    let Some(rules) = &*RULES else { return found.add(Reason::Override, place, "the expressions do not compile") };
    for index in rules.any.matches(folded) {
        let Some((reason, expression)) = rules.each.get(index) else { continue };
        if let Some(hit) = expression.find(folded) {
            found.add(*reason, place, hit.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_expression_compiles() {
        assert!(super::RULES.is_some());
    }
}
