//! Which reason of many is told.

use super::*;

#[test]
fn the_commonest_reason_is_told() {
    let mut failures = Failures::default();
    assert_eq!((failures.told(), failures.all_failed()), (None, false));
    for reason in [None, Some("b"), Some("a"), Some("b"), Some(NOT_JUDGED)] {
        failures.one(reason);
    }
    assert_eq!(failures.told().unwrap(), "3 of 4 failed: mostly: b");
    assert!(!failures.all_failed());
    let mut all = Failures::default();
    all.one(Some("no number"));
    assert_eq!((all.told().unwrap().as_str(), all.all_failed()), ("1 of 1 failed: no number", true));
}
