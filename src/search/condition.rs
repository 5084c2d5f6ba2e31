//! SQL conditions that people type.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::error::SearchError;
use crate::error::{Error, Result};

/// Characters of a condition at most: the parser goes as deep as its brackets.
const LONGEST_CONDITION: usize = 100_000;

/// The one expression that the text is, written out anew: nothing but an expression can come of it. `place` is where it was typed.
///
/// # Errors
/// [`SearchError::Condition`] for anything else.
pub(crate) fn condition(place: &str, text: &str) -> Result<String> {
    let fault = |reason: String| Error::from(SearchError::Condition { place: place.to_owned(), reason });
    if text.len() > LONGEST_CONDITION {
        return Err(fault(format!("it has {} bytes, at most {LONGEST_CONDITION} are taken", text.len())));
    }
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    let mut parser = parser.map_err(|e| fault(e.to_string()))?;
    let expression = parser.parse_expr().map_err(|e| fault(e.to_string()))?;
    match parser.next_token().token {
        Token::EOF => Ok(expression.to_string()),
        more => Err(fault(format!("'{more}' follows the condition"))),
    }
}

#[cfg(test)]
mod tests;
