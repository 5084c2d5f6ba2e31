//! What is the same in all rows is added behind a sort, and not sorted along.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Sort};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Takes literals out of a projection below a sort, and puts them above it.
///
/// A stage writes rows in the order of its table, and half of their columns are the names of the model, hook point, corpus and run. A sort
/// that spills writes every column of every row, and of a firing these names are most of the bytes.
#[derive(Debug)]
pub(super) struct ConstantsAfterSort;

impl OptimizerRule for ConstantsAfterSort {
    fn name(&self) -> &str {
        "add_constants_after_sort"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Sort(sort) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Projection(below) = sort.input.as_ref() else { return Ok(Transformed::no(plan)) };
        let sorted_by = sort.expr.iter().flat_map(|key| key.expr.column_refs()).collect::<Vec<_>>();
        let differs = |at: usize| {
            let name = below.schema.field(at).name();
            !is_literal(&below.expr[at]) || sorted_by.iter().any(|column| column.name == *name)
        };
        let kept: Vec<Expr> =
            (0..below.expr.len()).filter(|at| differs(*at)).map(|at| below.expr[at].clone()).collect();
        if kept.is_empty() || kept.len() == below.expr.len() {
            return Ok(Transformed::no(plan));
        }
        let all = (0..below.expr.len()).map(|at| match differs(at) {
            true => Expr::Column(Column::from(below.schema.qualified_field(at))),
            false => below.expr[at].clone(),
        });
        let narrow = LogicalPlan::Projection(Projection::try_new(kept, Arc::clone(&below.input))?);
        let sorted = LogicalPlan::Sort(Sort { expr: sort.expr.clone(), input: Arc::new(narrow), fetch: sort.fetch });
        let whole = Projection::try_new_with_schema(all.collect(), Arc::new(sorted), Arc::clone(&below.schema))?;
        Ok(Transformed::yes(LogicalPlan::Projection(whole)))
    }
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_literal(&alias.expr),
        Expr::Literal(..) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
