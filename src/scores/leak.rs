//! The leak rule: a plan that would score an explanation on what its explainer saw is refused.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::prelude::lit;

use crate::error::Error;

/// Functions that simulate or score.
const GUARDED_FUNCTIONS: [&str; 12] = [
    "simulate",
    "simulation",
    "judge",
    "judgement_summaries",
    "fit_calibration",
    "ablation",
    "window_sums",
    "score_summaries",
    "ev_correlation",
    "explained_variance",
    "rsquared_uncentred",
    "absolute_dev_explained",
];
/// Tables whose rows carry the split of a record.
const GUARDED_TABLES: [&str; 3] = ["activation_records", "simulations", "judgements"];
/// A table function whose rows hold records of every split in one list: no filter on it can keep `train` out.
const UNSPLIT_FUNCTION: &str = "collect_activations";
/// The split that explainers see.
const SEEN: &str = "train";

/// Refuses plans in which a scoring function stands over a table of records whose filters let split `train` through.
///
/// It runs after filters were pushed to the scans, where it only has to ask: with `split = 'train'`, is one of the
/// scan's conditions false? Conditions on other columns cannot make a plan safe.
#[derive(Debug)]
pub(crate) struct LeakRule;

impl OptimizerRule for LeakRule {
    fn name(&self) -> &str {
        "refuse_scores_on_what_the_explainer_saw"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let Some(function) = guarded_function(&plan)? {
            check(&plan, &[], &function)?;
        }
        Ok(Transformed::no(plan))
    }
}

fn guarded_function(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let name = match expr {
                    Expr::ScalarFunction(function) => function.func.name(),
                    Expr::AggregateFunction(function) => function.func.name(),
                    Expr::WindowFunction(function) => function.fun.name(),
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                if GUARDED_FUNCTIONS.contains(&name) {
                    found = Some(name.to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Walks down with the conditions of the filters straight above.
fn check(plan: &LogicalPlan, above: &[Expr], function: &str) -> Result<()> {
    plan.apply_subqueries(|subquery| {
        check(subquery, &[], function)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    match plan {
        LogicalPlan::TableScan(scan) if scan.table_name.table().trim_end_matches("()") == UNSPLIT_FUNCTION => {
            Err(Error::Leak { function: function.to_owned(), table: UNSPLIT_FUNCTION.to_owned() }.into())
        }
        LogicalPlan::TableScan(scan) if GUARDED_TABLES.contains(&table_of(scan)) => {
            let conditions = scan.filters.iter().chain(above).flat_map(split_conjunction);
            for condition in conditions {
                if excludes_train(scan, condition)? {
                    return Ok(());
                }
            }
            Err(Error::Leak { function: function.to_owned(), table: scan.table_name.table().to_owned() }.into())
        }
        LogicalPlan::Filter(filter) => {
            let mut conditions = above.to_vec();
            conditions.push(filter.predicate.clone());
            check(&filter.input, &conditions, function)
        }
        // Anything else may rename columns or drop rows in its own way: what stood above it says nothing about the scan.
        other => {
            for input in other.inputs() {
                check(input, &[], function)?;
            }
            Ok(())
        }
    }
}

/// The table of a scan, also of one of its versions: `"simulations@3"`.
fn table_of(scan: &TableScan) -> &str {
    let name = scan.table_name.table();
    name.split_once('@').map_or(name, |(table, _)| table)
}

fn excludes_train(scan: &TableScan, condition: &Expr) -> Result<bool> {
    let is_split = |column: &Column| {
        column.name == "split"
            && column.relation.as_ref().is_none_or(|relation| relation.table() == scan.table_name.table())
    };
    let columns = condition.column_refs();
    if columns.is_empty() || !columns.iter().all(|column| is_split(column)) {
        return Ok(false);
    }
    // The simplifier compares only literals of one type.
    let schema = scan.source.schema();
    let seen = ScalarValue::from(SEEN).cast_to(schema.field_with_name("split")?.data_type())?;
    let with_train = condition
        .clone()
        .transform(|expr| match expr {
            Expr::Column(column) if is_split(&column) => Ok(Transformed::yes(lit(seen.clone()))),
            other => Ok(Transformed::no(other)),
        })?
        .data;
    let schema = std::sync::Arc::new(DFSchema::empty());
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(schema).build());
    Ok(matches!(simplifier.simplify(with_train)?, Expr::Literal(ScalarValue::Boolean(Some(false) | None), _)))
}

#[cfg(test)]
mod tests;
