//! Work that gives way.

use std::cell::{Cell, RefCell};

use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn work_under_way_is_given_up_for_a_visitor_and_done_later() {
    let visitors = Visitors::none();
    let (given_up, was_given_up) = oneshot::channel::<()>();
    let given_up = RefCell::new(Some(given_up));
    let visit = RefCell::new(None);
    let n_begun = Cell::new(0);
    let work = || async {
        n_begun.set(n_begun.get() + 1);
        if n_begun.get() == 1 {
            let _given_up = given_up.take();
            visit.replace(Some(visitors.enter()));
            std::future::pending::<()>().await;
        }
        "done"
    };
    let visitor = async {
        // The work is dropped while the visitor is here.
        was_given_up.await.unwrap_err();
        assert_eq!(n_begun.get(), 1);
        visit.take();
    };
    let (done, ()) = tokio::join!(unhurried(&visitors, || true, work), visitor);
    assert_eq!((done, n_begun.get()), ("done", 2));
}

#[tokio::test]
async fn queries_of_others_are_waited_for() {
    let n_asked = Cell::new(0);
    let idle = || {
        n_asked.set(n_asked.get() + 1);
        n_asked.get() > 3
    };
    assert_eq!(unhurried(&Visitors::none(), idle, || async { n_asked.get() }).await, 4);
}
