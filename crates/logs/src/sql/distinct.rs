//! Counting beside `COUNT(DISTINCT …)`, in a form that is planned well.
//!
//! Groups are counted twice over, first by group and distinct value, then by group, when everything else in the query can
//! be summed up from the first; otherwise every group holds a set of values of its own, which takes three times as long.
//! `COUNT` cannot be summed up by itself, `SUM` can, and within a group they are the same. Invariant: what a query answers,
//! and its types and names, stay as they are.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, lit, when};
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};

/// Returns the rules that optimize queries: the usual ones, and this one before the one it prepares for.
pub(super) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let name = SingleDistinctToGroupBy::new();
    let place = rules.iter().position(|rule| rule.name() == name.name()).unwrap_or(rules.len());
    rules.insert(place, Arc::new(CountAsSum));
    rules
}

/// Puts sums in the place of counts beside `COUNT(DISTINCT …)`.
#[derive(Debug)]
struct CountAsSum;

impl OptimizerRule for CountAsSum {
    fn name(&self) -> &'static str {
        "count_as_sum_beside_distinct"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        match summed(aggregate)? {
            Some(summed) => Ok(Transformed::yes(summed)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// Returns a plan that sums where `aggregate` counts, if that helps.
fn summed(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    // Without groups there is a row even where nothing is counted, and the sum of nothing is not zero.
    let grouped = !aggregate.group_expr.is_empty() && !matches!(aggregate.group_expr[..], [Expr::GroupingSet(_)]);
    let kinds: Vec<Kind<'_>> = aggregate.aggr_expr.iter().map(kind).collect();
    let helps = kinds.iter().any(|kind| matches!(kind, Kind::Distinct))
        && kinds.iter().any(|kind| matches!(kind, Kind::Count(_)))
        && !kinds.iter().any(|kind| matches!(kind, Kind::Other));
    if !grouped || !helps {
        return Ok(None);
    }
    let mut kept: Vec<Expr> = Vec::new();
    // Where in `kept` each of the query's own is found.
    let mut places = Vec::new();
    for (expression, kind) in aggregate.aggr_expr.iter().zip(kinds) {
        let expression = match kind {
            Kind::Count(Expr::Literal(value, _)) if !value.is_null() => sum(lit(1_i64)),
            Kind::Count(counted) => sum(when(counted.clone().is_not_null(), lit(1_i64)).otherwise(lit(0_i64))?),
            Kind::Distinct | Kind::Summed | Kind::Other => expression.clone(),
        };
        let place = kept.iter().position(|known| *known == expression).unwrap_or_else(|| {
            kept.push(expression);
            kept.len() - 1
        });
        places.push(place);
    }
    let groups = aggregate.group_expr.len();
    let inner = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), kept)?;
    let named = |place: usize| Expr::Column(Column::from(inner.schema.qualified_field(place)));
    let columns = (0..groups).chain(places.into_iter().map(|place| groups + place)).enumerate();
    let columns = columns.map(|(field, place)| {
        let (qualifier, field) = aggregate.schema.qualified_field(field);
        let column = named(place);
        if column.schema_name().to_string() == field.name().as_str() || qualifier.is_some() {
            return column;
        }
        column.alias(field.name())
    });
    let columns = columns.collect();
    let projection = Projection::try_new(columns, Arc::new(LogicalPlan::Aggregate(inner)))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// What an aggregate is to this rule.
enum Kind<'a> {
    /// Counts different values.
    Distinct,
    /// Counts values that are not null.
    Count(&'a Expr),
    /// Can be summed up already.
    Summed,
    /// Stands in the way.
    Other,
}

fn kind(expression: &Expr) -> Kind<'_> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expression else { return Kind::Other };
    let AggregateFunctionParams { args, distinct, filter, order_by, .. } = params;
    match (func.name(), args.as_slice()) {
        _ if filter.is_some() || !order_by.is_empty() => Kind::Other,
        ("count", [_]) if *distinct => Kind::Distinct,
        ("count", [counted]) => Kind::Count(counted),
        ("sum" | "min" | "max", _) if !distinct => Kind::Summed,
        _ => Kind::Other,
    }
}
