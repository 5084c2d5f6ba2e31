//! Pages that nobody asked for yet, made while nobody asks for anything.
//!
//! A server that has just started, or whose lake has changed, has no page kept. It makes the home page, the table of units and the pages of
//! the best units through its own router, one after another, so they are what a visitor would have got. Whoever comes meanwhile goes
//! first: the page under way is given up and made later.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use tower::ServiceExt;

use super::App;
use super::http;
use super::viewer::browse;
use super::visitors::Visitors;

/// Marks a request that no visitor made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead;

/// Pages of the table of units that are made.
const TABLE_PAGES: i64 = 5;

/// How often the lake is looked at, once all is made.
const LOOK: Duration = Duration::from_secs(1);

/// How long a lake that changed stays as it is before its pages are made again: whoever writes one commits again and again, and needs
/// the processor.
const CALM: Duration = Duration::from_secs(4);

/// How long queries of others, such as those of Flight SQL, are waited for at a time.
const OTHERS: Duration = Duration::from_millis(50);

/// Makes pages, those of `n_units` units among them, whenever the lake is another. It ends when it is dropped.
pub(crate) async fn make(app: Arc<App>, n_units: usize) {
    let pages = http::pages(&app);
    let mut made = None;
    let mut started = false;
    loop {
        // A lake that cannot be read now is looked at again.
        if let Ok(state) = app.state.number().await
            && made != Some(state)
        {
            if started {
                tokio::time::sleep(CALM).await;
            }
            started = true;
            if is_same(&app, state).await && make_all(&app, &pages, state, n_units).await {
                made = Some(state);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn is_same(app: &App, state: u64) -> bool {
    app.state.number().await.is_ok_and(|now| now == state)
}

/// Whether the lake was the same to the end.
async fn make_all(app: &App, pages: &Router, state: u64, n_units: usize) -> bool {
    let mut addresses = vec!["/".to_owned()];
    addresses.extend((0..TABLE_PAGES).map(browse::address));
    for address in &addresses {
        if !make_one(app, pages, state, address).await {
            return false;
        }
    }
    let mut n_made = 0;
    for place in 0.. {
        let units =
            unhurried(&app.visitors, || app.gate.is_idle(), || browse::units(app, place)).await.unwrap_or_default();
        if units.is_empty() {
            break;
        }
        for addresses in units {
            if n_made == n_units || app.kept.is_half_full() {
                return true;
            }
            n_made += 1;
            for address in &addresses {
                if !make_one(app, pages, state, address).await {
                    return false;
                }
            }
        }
    }
    true
}

async fn make_one(app: &App, pages: &Router, state: u64, address: &str) -> bool {
    if !is_same(app, state).await {
        return false;
    }
    unhurried(
        &app.visitors,
        || app.gate.is_idle(),
        || async move {
            let mut request = Request::new(Body::empty());
            // The viewer's own links are addresses.
            *request.uri_mut() = address.parse().unwrap_or_default();
            request.extensions_mut().insert(Ahead);
            // A page that cannot be made tells its visitors why.
            let Ok(_answer) = pages.clone().oneshot(request).await;
        },
    )
    .await;
    true
}

/// Does what nobody waits for while nobody waits for anything: from the beginning, when somebody came.
async fn unhurried<F: Future>(visitors: &Visitors, idle: impl Fn() -> bool, work: impl Fn() -> F) -> F::Output {
    loop {
        visitors.gone().await;
        if !idle() {
            tokio::time::sleep(OTHERS).await;
            continue;
        }
        tokio::select! {
            biased;
            () = visitors.came() => {}
            done = work() => return done,
        }
    }
}

#[cfg(test)]
mod tests;
