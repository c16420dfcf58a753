//! Names in a query: fields are found in any case, and errors speak of what the author wrote.
//!
//! Fields have the names of Logpush, with capitals; SQL folds names without quotes to small letters. Invariant: only names
//! that are those of a field in another case are changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, VisitMut as _, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::SqlError;
use crate::records::Dataset;

/// Every field's name by its small letters.
static FIELDS: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let fields = Dataset::ALL.into_iter().flat_map(Dataset::fields);
    fields.map(|field| (field.name.to_ascii_lowercase(), field.name)).collect()
});

/// Gives every name that is a field's in another case the case of the field; returns how many operators with two sides
/// the query has.
pub(crate) fn settle(query: &mut Query) -> usize {
    let mut settle = Settle { operators: 0 };
    let _ = query.visit(&mut settle);
    settle.operators
}

struct Settle {
    operators: usize,
}

fn settled(name: &mut Ident) {
    if let Some(field) = FIELDS.get(&name.value.to_ascii_lowercase()) {
        (*field).clone_into(&mut name.value);
        name.quote_style = Some('"');
    }
}

impl VisitorMut for Settle {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            names_of(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        names_of(select);
        ControlFlow::Continue(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only names and operators matter here")]
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => settled(name),
            Expr::CompoundIdentifier(names) => names.iter_mut().for_each(settled),
            Expr::BinaryOp { .. } => self.operators += 1,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn names_of(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { alias, .. } = item {
            settled(alias);
        }
    }
}

/// Returns the values that a text names. The text is taken into words and no further: however deep it is, this is not.
pub(crate) fn named(text: &str) -> Result<BTreeSet<String>, SqlError> {
    let words = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize();
    let words = words.map_err(|error| SqlError::Invalid(error.to_string()))?.into_iter();
    let names = words.filter_map(|word| {
        let Token::Placeholder(name) = word else { return None };
        name.strip_prefix('$').map(str::to_owned)
    });
    Ok(names.collect())
}

/// Returns an error without the layers it went through.
#[expect(clippy::wildcard_enum_match_arm, reason = "only the parser's errors have a text of their own")]
pub(crate) fn plain(error: &DataFusionError) -> String {
    let root = error.find_root();
    if let DataFusionError::SchemaError(unknown, _) = root
        && let SchemaError::FieldNotFound { field, valid_fields } = unknown.as_ref()
    {
        let nearest = expr::nearest(&field.name, valid_fields.iter().map(|valid| valid.name.as_str()));
        let suggestion = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        return format!("there is no field {}{suggestion}", field.name);
    }
    let text = match root {
        DataFusionError::SQL(error, _) => error.to_string(),
        _ => root.strip_backtrace(),
    };
    let known = [
        "Error during planning: ",
        "SQL error: ",
        "sql parser error: ",
        "Execution error: ",
        "Schema error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
        "Optimizer rule ",
        "External error: ",
    ];
    let mut text = text.as_str();
    while let Some(rest) = known.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.replace("portunus.logs.", "")
}

#[cfg(test)]
mod tests {
    use super::super::engine::parse;

    #[test]
    fn names_of_fields_get_their_case_and_others_are_left_alone() {
        for (text, settled) in [
            ("select httphost from gateway_http", r#"SELECT "HTTPHost" FROM gateway_http"#),
            ("SELECT EMAIL AS email, Count(*) n FROM t", r#"SELECT "Email" AS "Email", Count(*) AS n FROM t"#),
            (
                "select h.url from t h where h.\"url\" like 'URL%'",
                r#"SELECT h."URL" FROM t h WHERE h."URL" LIKE 'URL%'"#,
            ),
            (
                "select a from (select email a from t) s order by a",
                r#"SELECT a FROM (SELECT "Email" AS a FROM t) s ORDER BY a"#,
            ),
            ("select date from t where date >= '2026-09-01'", "SELECT date FROM t WHERE date >= '2026-09-01'"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), settled, "{text}");
        }
    }

    #[test]
    fn values_are_named_outside_of_texts_and_comments() {
        for (text, names) in [
            ("SELECT 1 WHERE a >= $from AND a < $until", &["from", "until"][..]),
            ("SELECT $from -- and $until", &["from"]),
            ("SELECT /* $from */ '$until', \"$from\", $$ $until $$", &[]),
            ("not even SQL $until", &["until"]),
        ] {
            assert_eq!(super::named(text).unwrap().into_iter().collect::<Vec<_>>(), names, "{text}");
        }
        assert!(super::named("SELECT '").is_err());
    }

    #[test]
    fn only_one_select_is_a_query() {
        for text in [
            "",
            "select 1; select 2",
            "drop table t",
            "insert into t values (1)",
            "copy t to 'x'",
            "set a = 1",
            "create external table t stored as csv location '/etc/passwd'",
            "explain select 1",
            "show tables",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
