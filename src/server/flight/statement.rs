//! Statements before they are run: their placeholders, and what they would do.

use std::borrow::Cow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};
use crate::pipeline::queries::written;

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It returns rows.
    Reads,
    /// It changes rows or writes files, when it is run.
    Changes,
    /// It changes the catalog or a setting, as soon as the gate plans it.
    Acts,
}

/// What a statement does.
///
/// # Errors
/// None that is known: walking a plan can fail only where its visitor does.
pub(super) fn effect(plan: &LogicalPlan) -> Result<Effect> {
    let mut found = Effect::Reads;
    plan.apply(|node| {
        match node {
            LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => found = Effect::Acts,
            LogicalPlan::Dml(_) | LogicalPlan::Copy(_) if found == Effect::Reads => found = Effect::Changes,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The statement with `$1`, `$2`, … in place of each `?`, which JDBC and Python write and the engine does not know.
///
/// # Errors
/// [`Error::Argument`] for a statement with both.
pub(super) fn numbered(sql: &str) -> Result<Cow<'_, str>> {
    if !sql.contains('?') {
        return Ok(Cow::Borrowed(sql));
    }
    // What cannot be cut into tokens is left to the parser to complain about.
    let Ok(mut tokens) = Tokenizer::new(&GenericDialect {}, sql).with_unescape(false).tokenize() else {
        return Ok(Cow::Borrowed(sql));
    };
    let (mut n_unnamed, mut named) = (0, None);
    for token in &mut tokens {
        match token {
            Token::Placeholder(text) if text == "?" => {
                n_unnamed += 1;
                *text = format!("${n_unnamed}");
            }
            // `?1`: the same with a number.
            Token::Placeholder(text) if text.starts_with('?') => {
                text.replace_range(..1, "$");
                named = Some(text.clone());
            }
            Token::Placeholder(text) => named = Some(text.clone()),
            _ => {}
        }
    }
    match (n_unnamed, named) {
        (0, None) => Ok(Cow::Borrowed(sql)),
        (1.., Some(named)) => Err(Error::Argument {
            argument: "parameters".to_owned(),
            expected: "either ? or $1, $2, …".to_owned(),
            got: format!("? and {named}"),
        }),
        _ => Ok(Cow::Owned(tokens.iter().map(written).collect())),
    }
}

#[cfg(test)]
mod tests;
