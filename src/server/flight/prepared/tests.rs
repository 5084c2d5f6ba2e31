//! What is held, and for how long.

use super::*;

fn statement(sql: &str) -> Prepared {
    Prepared { sql: sql.into(), parameters: [].into(), values: None }
}

#[test]
fn a_statement_is_found_until_it_is_closed() {
    let statements = PreparedStatements::default();
    let (one, two) = (statements.hold(statement("SELECT 1")), statements.hold(statement("SELECT 2")));
    assert_ne!(one, two);
    assert_eq!(&*statements.find(&one).unwrap().sql, "SELECT 1");
    statements.replace(&two, statement("SELECT 3"));
    assert_eq!(&*statements.find(&two).unwrap().sql, "SELECT 3");
    statements.close(&one);
    assert!(statements.find(&one).is_none());
    statements.replace(&one, statement("SELECT 4"));
    assert!(statements.find(&one).is_none(), "a closed statement stays closed");
    assert!(statements.find("").is_none());
}

#[test]
fn number_and_bytes_are_bounded_by_what_was_unused_for_longest() {
    let statements = PreparedStatements { most: 2, most_bytes: 20, ..PreparedStatements::default() };
    let first = statements.hold(statement("SELECT 1"));
    let second = statements.hold(statement("SELECT 2"));
    assert!(statements.find(&first).is_some());
    let third = statements.hold(statement("SELECT 3"));
    assert!(statements.find(&second).is_none());
    assert!(statements.find(&first).is_some() && statements.find(&third).is_some());
    let long = statements.hold(statement("SELECT 'twenty bytes and more'"));
    assert!(statements.find(&long).is_some(), "one alone may be longer: a message is bounded anyway");
    assert!(statements.find(&first).is_none() && statements.find(&third).is_none());
}

#[test]
fn an_unused_statement_expires() {
    let statements = PreparedStatements { unused: Duration::ZERO, ..PreparedStatements::default() };
    let handle = statements.hold(statement("SELECT 1"));
    assert!(statements.find(&handle).is_none());
}
