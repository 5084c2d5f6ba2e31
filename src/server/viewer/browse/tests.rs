//! The state of a table in its address.

use super::*;

fn wanted(query: &str) -> Result<Wanted, Fault> {
    Wanted::new(&Arguments::parse(Some(query)))
}

#[test]
fn an_address_is_written_as_it_was_read() {
    let cases = [
        "",
        "?model=a%2Fb&hook_point=blocks.0.mlp.hook_post&layer=3&q=king%27s&low=0.5&high=0.9&where=density%20%3C%200.1",
        "?sort=density",
        "?sort=neuron&order=falling",
        "?order=rising&size=20&page=3",
    ];
    for query in cases {
        let wanted = wanted(query.trim_start_matches('?')).unwrap();
        assert_eq!(wanted.address(wanted.sort, wanted.largest_first, wanted.page), format!("/browse{query}"));
    }
}

#[test]
fn a_head_sorts_by_its_column_and_then_the_other_way_round() {
    let heads = wanted("q=a&page=7").unwrap().heads();
    assert_eq!(heads["score"]["address"], "/browse?q=a&order=rising");
    assert_eq!(heads["score"]["sorted"], "descending");
    assert_eq!(heads["neuron"]["address"], "/browse?q=a&sort=neuron");
    assert_eq!(heads["neuron"]["sorted"], Value::Null);
    let heads = wanted("sort=neuron").unwrap().heads();
    assert_eq!(heads["neuron"]["address"], "/browse?sort=neuron&order=falling");
}

#[test]
fn what_cannot_be_is_refused() {
    for query in
        ["layer=-1", "layer=x", "low=a", "sort=1;DROP", "order=up", "page=0", "size=0", "size=501", "page=99999999999"]
    {
        assert!(wanted(query).is_err(), "{query}");
    }
    assert!(wanted("page=10000000&size=500").unwrap().order().is_err(), "too far");
    assert!(wanted("where=TRUE);DROP TABLE scores").unwrap().filters().is_err());
    assert!(wanted("where=1 LIMIT 5").unwrap().filters().is_err());
}
