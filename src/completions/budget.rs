//! What may be spent and what was: the worst case is set aside before a call, what it took is settled after it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// Parts of a dollar that are counted.
const NANO: f64 = 1e9;

/// The most that may be spent on endpoints: `5usd`, `200000tokens`. Models run in this process cost nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BudgetLimit {
    /// US dollars.
    Dollars(f64),
    /// Tokens of prompts and replies.
    Tokens(u64),
}

impl FromStr for BudgetLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let dollars = |number: &str| number.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0);
        let tokens = |number: &str| number.trim().replace('_', "").parse().ok();
        let limit = match (lower.strip_suffix("usd"), lower.strip_suffix("tokens")) {
            (Some(number), _) => dollars(number).map(Self::Dollars),
            (_, Some(number)) => tokens(number).map(Self::Tokens),
            _ => None,
        };
        limit.ok_or_else(|| Error::Argument {
            argument: "--budget".to_owned(),
            expected: "dollars or tokens, such as 5usd or 200000tokens".to_owned(),
            got: text.to_owned(),
        })
    }
}

impl fmt::Display for BudgetLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dollars(dollars) => write!(f, "{dollars} US dollars"),
            Self::Tokens(tokens) => write!(f, "{tokens} tokens"),
        }
    }
}

/// What a session spent on endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Calls that were answered.
    pub calls: u64,
    /// Calls answered from the store, for nothing.
    pub from_store: u64,
    /// Tokens of the prompts answered.
    pub prompt_tokens: u64,
    /// Tokens of the replies.
    pub completion_tokens: u64,
    /// US dollars, as far as they are known.
    pub dollars: f64,
    /// Answered calls whose price is not known: `dollars` leaves them out.
    pub unpriced_calls: u64,
}

/// The most that one call can take, or what it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Amount {
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
    /// US dollars; `None` where no price is known.
    pub(super) dollars: Option<f64>,
}

/// The account of one session.
#[derive(Debug)]
pub struct Budget {
    limit: Option<BudgetLimit>,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    spent: Spent,
    // In the unit of the limit: nano-dollars or tokens, whole numbers because sums of floats drift.
    spent_units: u64,
    set_aside: u64,
}

impl Budget {
    /// An account that nothing was taken from; without a limit it only counts.
    pub fn new(limit: Option<BudgetLimit>) -> Self {
        Self { limit, state: Mutex::default(), settled: Notify::new() }
    }

    /// The most that may be spent.
    pub fn limit(&self) -> Option<BudgetLimit> {
        self.limit
    }

    /// What was spent so far; calls in flight are not part of it.
    pub fn spent(&self) -> Spent {
        self.state.lock().spent
    }

    /// Sets the worst case of a call aside. Waits where it fits only if the calls in flight take less than was set aside for them.
    ///
    /// # Errors
    /// [`Error::BudgetReached`] when it fits in no case.
    pub(super) async fn reserve(self: &Arc<Self>, worst: Amount) -> Result<Reservation> {
        let units = self.units(worst);
        let Some(limit) = self.limit else {
            return Ok(Reservation { budget: Arc::clone(self), units });
        };
        let most = match limit {
            BudgetLimit::Dollars(dollars) => (dollars * NANO).floor() as u64,
            BudgetLimit::Tokens(tokens) => tokens,
        };
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on no settlement is missed, although the state is looked at first.
            settled.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.spent_units.saturating_add(units) > most {
                    return Err(reached(limit, &state.spent, worst));
                }
                if state.spent_units.saturating_add(state.set_aside).saturating_add(units) <= most {
                    state.set_aside += units;
                    return Ok(Reservation { budget: Arc::clone(self), units });
                }
            }
            settled.await;
        }
    }

    fn units(&self, amount: Amount) -> u64 {
        match self.limit {
            None => 0,
            Some(BudgetLimit::Tokens(_)) => u64::from(amount.prompt_tokens) + u64::from(amount.completion_tokens),
            Some(BudgetLimit::Dollars(_)) => (amount.dollars.unwrap_or_default() * NANO).ceil() as u64,
        }
    }
}

fn reached(limit: BudgetLimit, spent: &Spent, next: Amount) -> Error {
    let tokens = u64::from(next.prompt_tokens) + u64::from(next.completion_tokens);
    let (amount, most) = match limit {
        BudgetLimit::Dollars(_) => {
            (format!("{:.6} US dollars", spent.dollars), format!("{:.6} US dollars", next.dollars.unwrap_or_default()))
        }
        BudgetLimit::Tokens(_) => {
            (format!("{} tokens", spent.prompt_tokens + spent.completion_tokens), format!("{tokens} tokens"))
        }
    };
    Error::BudgetReached {
        spent: amount,
        budget: limit.to_string(),
        done: format!("{} calls were answered and are kept, the next could cost up to {most}", spent.calls),
    }
}

/// What is set aside for one call; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    units: u64,
}

impl Reservation {
    /// Books what an answered call took.
    pub(super) fn settle(self, took: Amount) {
        let mut state = self.budget.state.lock();
        state.spent_units = state.spent_units.saturating_add(self.budget.units(took));
        state.spent.calls += 1;
        state.spent.prompt_tokens += u64::from(took.prompt_tokens);
        state.spent.completion_tokens += u64::from(took.completion_tokens);
        match took.dollars {
            Some(dollars) => state.spent.dollars += dollars,
            None => state.spent.unpriced_calls += 1,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.units > 0 {
            self.budget.state.lock().set_aside -= self.units;
        }
        self.budget.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
