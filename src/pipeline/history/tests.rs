//! Versions as arguments, and keys of tables.

use super::*;

#[test]
fn every_key_is_a_column_of_its_table() {
    for definition in tables() {
        for key in key_columns(definition) {
            assert!(definition.schema.field_with_name(key).is_ok(), "{}.{key}", definition.name);
        }
    }
}

#[test]
fn a_version_is_a_table_and_a_number() {
    assert_eq!(TableAt::parse("scores@12").unwrap().version, 12);
    for text in ["scores", "scores@", "scores@-1", "scores@1.5", "nothing@1", "@1", "scores@1 OR true"] {
        assert!(TableAt::parse(text).is_err(), "{text}");
    }
    let both = (TableAt::parse("scores@1").unwrap(), TableAt::parse("runs@2").unwrap());
    let message = row_changes(&both.0, &both.1, &Parameter::everything(), 5).unwrap_err().to_string();
    assert_eq!(message, "diff: expected two versions of one table, such as scores@2, got 'runs@2'");
}
