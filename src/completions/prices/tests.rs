//! Tables of prices.

use super::*;

#[test]
fn the_table_of_the_program_is_read_and_dated() {
    let prices = Prices::embedded().unwrap();
    assert!(prices.models.values().all(|price| price.as_of.is_some() && price.prompt < price.completion));
    assert_eq!(prices.price("gpt-4o").unwrap().dollars(1_000_000, 100_000), 3.5);
    // A dated snapshot may cost something else.
    assert_eq!(prices.price("gpt-4o-2024-05-13"), None);
}

#[test]
fn a_users_table_wins() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Prices::of_lake(folder.path()).unwrap().price("mine").is_none());
    let path = folder.path().join("prices.toml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("[models.mine]\nprompt = 1\ncompletion = 2.5\n[models.\"gpt-4o\"]\nprompt = 0\ncompletion = 0\n");
    let prices = Prices::of_lake(folder.path()).unwrap();
    assert_eq!(prices.price("mine").unwrap().dollars(2, 2), 7e-6);
    assert_eq!(prices.price("gpt-4o").unwrap().dollars(1_000, 1_000), 0.0);
    assert!(prices.price("gpt-4.1").is_some());
    assert_eq!(prices.edit(), path);

    let cases = [
        ("[models.mine]\nprompt = -1\ncompletion = 0\n", "model 'mine': expected prices of 0 or more"),
        ("[models.mine]\nprompt = nan\ncompletion = 0\n", "model 'mine': expected prices of 0 or more"),
        ("[models.mine]\nprompt = 1\n", "missing field `completion`"),
        ("[model.mine]\n", "unknown field `model`"),
        ("?", "prices.toml: "),
    ];
    for (text, expected) in cases {
        write(text);
        let message = Prices::of_lake(folder.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(matches!(Prices::from_file(&folder.path().join("none.toml")), Err(Error::File { .. })));
}
