//! Waiting for visitors to come and to go.

use futures::FutureExt;

use super::*;

#[test]
fn the_last_who_goes_leaves_nobody() {
    let visitors = Visitors::none();
    let is = |gone: bool, came: bool| {
        assert_eq!((visitors.gone().now_or_never().is_some(), visitors.came().now_or_never().is_some()), (gone, came));
    };
    is(true, false);
    let first = visitors.enter();
    is(false, true);
    let second = visitors.enter();
    drop(first);
    is(false, true);
    drop(second);
    is(true, false);
}

#[tokio::test]
async fn who_waits_is_told() {
    let visitors = Visitors::none();
    let visit = visitors.enter();
    tokio::join!(visitors.gone(), async { drop(visit) });
    let mut here = None;
    tokio::join!(visitors.came(), async { here = Some(visitors.enter()) });
    assert!(here.is_some());
}
