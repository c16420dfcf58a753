//! Leaves out rows that repeat the one before them, below an aggregate that only tells groups apart.
//!
//! Files are sorted by person and application, so that most rows of a group follow each other, and comparing two neighbours
//! takes a tenth of the time of finding a group. Such aggregates are what `SELECT DISTINCT` and `COUNT(DISTINCT …)` are
//! planned as. Invariant: of each run of equal rows the first stays, so that the groups are the same, whatever the order of
//! rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean::or;
use arrow::compute::kernels::cmp::distinct;
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures_util::StreamExt as _;

/// After so many rows it is known whether there are runs.
const TRIED: usize = 64 * 1024;
/// Of ten rows so many at most may stay; otherwise comparing them is not worth it.
const STAY: usize = 7;

/// Puts a [`Runs`] below each aggregate that only tells groups apart.
#[derive(Debug)]
pub(super) struct LeaveOutRuns;

impl PhysicalOptimizerRule for LeaveOutRuns {
    fn name(&self) -> &'static str {
        "leave_out_runs_below_distinct"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let columns = node.downcast_ref::<AggregateExec>().and_then(compared);
            let Some(columns) = columns else { return Ok(Transformed::no(node)) };
            let children = node.children().into_iter();
            let below =
                children.map(|input| Arc::new(Runs { input: Arc::clone(input), columns: columns.clone() }) as _);
            let (below, options) = (below.collect(), ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep));
            Ok(Transformed::yes(node.replace_children(below, options)?))
        });
        Ok(changed?.data)
    }
}

/// Returns the columns of its input that an aggregate tells apart, if that is all it does.
fn compared(aggregate: &AggregateExec) -> Option<Vec<usize>> {
    let first = match aggregate.mode() {
        AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned => true,
        AggregateMode::PartialReduce | AggregateMode::Final | AggregateMode::FinalPartitioned => false,
    };
    let groups = aggregate.group_expr();
    if !first || !aggregate.aggr_expr().is_empty() || !groups.is_single() || groups.expr().is_empty() {
        return None;
    }
    let schema = aggregate.input().schema();
    let columns = groups.expr().iter().map(|(expr, _)| {
        let column = expr.downcast_ref::<Column>()?.index();
        // What is within a list is not compared.
        schema.fields().get(column).filter(|field| !field.data_type().is_nested()).map(|_| column)
    });
    columns.collect()
}

/// Leaves out rows that repeat the one before them in some columns.
#[derive(Debug)]
struct Runs {
    input: Arc<dyn ExecutionPlan>,
    columns: Vec<usize>,
}

impl DisplayAs for Runs {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let names: Vec<_> = self.columns.iter().map(|column| schema.field(*column).name().as_str()).collect();
        write!(f, "Runs: [{}]", names.join(", "))
    }
}

impl ExecutionPlan for Runs {
    fn name(&self) -> &'static str {
        "Runs"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input, columns: self.columns.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (columns, mut seen, mut stayed) = (self.columns.clone(), 0, 0);
        let batches = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            if seen >= TRIED && stayed * 10 > seen * STAY {
                return Ok(batch);
            }
            seen += batch.num_rows();
            let firsts = firsts_of_runs(&batch, &columns)?;
            stayed += firsts.num_rows();
            Ok(firsts)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), batches)))
    }
}

/// Returns the first row of each run of rows that are equal in `columns`.
fn firsts_of_runs(batch: &RecordBatch, columns: &[usize]) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    if rows < 2 {
        return Ok(batch.clone());
    }
    let mut differs: Option<BooleanArray> = None;
    for column in columns {
        let column = batch.column(*column);
        let here = distinct(&column.slice(1, rows - 1), &column.slice(0, rows - 1))?;
        differs = Some(match differs {
            Some(others) => or(&others, &here)?,
            None => here,
        });
    }
    let Some(differs) = differs else { return Ok(batch.clone()) };
    let mut firsts = BooleanBufferBuilder::new(rows);
    firsts.append(true);
    firsts.append_buffer(differs.values());
    filter_record_batch(batch, &BooleanArray::new(firsts.finish(), None))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::firsts_of_runs;

    type Row = (Option<String>, Option<i64>);

    fn rows(batch: &RecordBatch) -> Vec<Row> {
        let (texts, numbers) = (batch.column(0).as_string_view(), batch.column(1).as_primitive::<Int64Type>());
        texts.iter().map(|text| text.map(str::to_owned)).zip(numbers.iter()).collect()
    }

    proptest! {
        #[test]
        fn no_row_repeats_the_one_before_it_and_no_group_is_lost(
            of in proptest::collection::vec((proptest::option::of("[ab]|a text that lies elsewhere"), proptest::option::of(0_i64..3)), 0..40),
        ) {
            let texts: ArrayRef = Arc::new(of.iter().map(|row| row.0.clone()).collect::<StringViewArray>());
            let numbers: ArrayRef = Arc::new(of.iter().map(|row| row.1).collect::<Int64Array>());
            let batch = RecordBatch::try_from_iter([("text", texts), ("number", numbers)]).unwrap();
            let firsts = rows(&firsts_of_runs(&batch, &[0, 1]).unwrap());
            prop_assert!(firsts.windows(2).all(|pair| pair[0] != pair[1]));
            let groups = |rows: &[Row]| rows.iter().cloned().collect::<BTreeSet<_>>();
            prop_assert_eq!(groups(&firsts), groups(&of));
        }
    }
}
