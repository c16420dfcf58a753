//! Whether a URI may have been made from a URI template (RFC 6570).
//!
//! Decides generously: an expression stands for any text. It is used to hide what hidden templates make, where too much is
//! the safe mistake. Invariant: every expansion of a template is found to be made by it.

/// Tells whether `template` may expand to `uri`. Takes time in proportion to both.
pub(super) fn makes(template: &str, uri: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        literals.push(literal);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    let last = rest;
    let Some((first, middle)) = literals.split_first() else { return template == uri };
    let Some(mut uri) = uri.strip_prefix(first) else { return false };
    for literal in middle {
        let Some(found) = uri.find(literal) else { return false };
        uri = &uri[found + literal.len()..];
    }
    uri.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansions_belong_to_their_template_and_other_uris_do_not() {
        for (template, uri, made) in [
            ("file:///{+path}", "file:///a/b", true),
            ("file:///{+path}", "file:///", true),
            ("file:///{+path}", "http:///a", false),
            ("demo://{id}/text{?q,r}", "demo://7/text?q=1", true),
            ("demo://{id}/text{?q,r}", "demo://7/other", false),
            ("demo://{a}-{b}.json", "demo://1-2-3.json", true),
            ("demo://{a}-{b}.json", "demo://12.json", false),
            ("demo://{a}.json", "demo://.json", true),
            ("demo://{a}.json", "demo:/.json", false),
            ("plain://x", "plain://x", true),
            ("plain://x", "plain://xy", false),
            ("{+all}", "anything", true),
            ("broken://{a", "broken://b", true),
        ] {
            assert_eq!(makes(template, uri), made, "{template} {uri}");
        }
    }
}
