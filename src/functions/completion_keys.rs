//! The column of keys of replies that functions which ask language models return.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};

fn element() -> Field {
    Field::new("element", DataType::Utf8, true)
}

/// The field of a struct that holds them.
pub(super) fn field() -> Field {
    Field::new_list("completions", element(), true)
}

/// One list a row; NULL where no reply was stored.
pub(super) fn column<'a>(rows: impl IntoIterator<Item = &'a [String]>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(element());
    for keys in rows {
        keys.iter().for_each(|key| lists.values().append_value(key));
        lists.append(!keys.is_empty());
    }
    Arc::new(lists.finish())
}
