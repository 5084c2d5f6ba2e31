//! Budgets by themselves; with calls in tests/it/completions.rs.

use super::*;

fn amount(tokens: u32, dollars: f64) -> Amount {
    Amount { prompt_tokens: tokens, completion_tokens: 0, dollars: Some(dollars) }
}

#[test]
fn budgets_are_read() {
    let cases = [
        ("5usd", Some(BudgetLimit::Dollars(5.0))),
        ("0.25 USD", Some(BudgetLimit::Dollars(0.25))),
        ("0usd", Some(BudgetLimit::Dollars(0.0))),
        ("200000tokens", Some(BudgetLimit::Tokens(200_000))),
        ("200_000 tokens", Some(BudgetLimit::Tokens(200_000))),
        ("5", None),
        ("-5usd", None),
        ("NaNusd", None),
        ("infusd", None),
        ("1.5tokens", None),
        ("usd", None),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<BudgetLimit>().ok(), expected, "{text}");
    }
}

#[tokio::test]
async fn a_call_waits_for_what_is_set_aside_and_fails_for_what_is_spent() {
    let budget = Arc::new(Budget::new(Some(BudgetLimit::Dollars(1.0))));
    let first = budget.reserve(amount(10, 0.7)).await.unwrap();
    // It fits as soon as the first turns out cheaper.
    let second = tokio::join!(budget.reserve(amount(10, 0.6)), async { first.settle(amount(10, 0.1)) }).0.unwrap();
    drop(second);
    assert_eq!(budget.spent().dollars, 0.1);
    let third = budget.reserve(amount(10, 0.9)).await.unwrap();
    third.settle(Amount { dollars: None, ..amount(5, 0.0) });
    assert_eq!((budget.spent().calls, budget.spent().unpriced_calls), (2, 1));
    assert!(matches!(budget.reserve(amount(1, 0.91)).await, Err(Error::BudgetReached { .. })));
}

#[tokio::test]
async fn without_a_limit_everything_is_counted_and_nothing_refused() {
    let budget = Arc::new(Budget::new(None));
    budget.reserve(amount(u32::MAX, 1e9)).await.unwrap().settle(amount(7, 2.0));
    assert_eq!((budget.spent().prompt_tokens, budget.spent().dollars), (7, 2.0));
}
