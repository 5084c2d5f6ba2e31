//! The pages in the repository are those that the program writes.

use std::path::Path;

use super::*;

#[test]
fn the_pages_are_fresh() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let pages = [("tables.md", tables_page()), ("functions.md", functions_page()), ("queries.md", queries_page())];
    let mut stale = Vec::new();
    for (name, page) in pages {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        if std::fs::read_to_string(&path).unwrap_or_default() != page {
            if update {
                std::fs::write(&path, page).unwrap();
            } else {
                stale.push(format!("docs/{name}"));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {}; to write them anew: UPDATE_DOCS=1 cargo test --release --lib docs::",
        stale.join(", ")
    );
}

#[test]
fn a_page_names_everything_and_breaks_no_table() {
    let tables_text = tables_page();
    for table in tables() {
        for field in table.schema.fields() {
            assert!(tables_text.contains(&format!("\n| `{}` | ", field.name())), "{}.{}", table.name, field.name());
        }
    }
    for row in tables_text.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 5, "{row}");
    }
    let functions_text = functions_page();
    for function in documentation() {
        assert!(functions_text.contains(&format!("\n## {}\n", function.name)), "{}", function.name);
        assert!(!function.description.is_empty() && !function.example.is_empty(), "{}", function.name);
        assert!(function.syntax.starts_with(&format!("{}(", function.name)), "{}", function.name);
    }
    let queries_text = queries_page();
    for query in crate::pipeline::queries::all() {
        assert!(queries_text.contains(&format!("\n### {}\n\n{}", query.name, query.summary)), "{}", query.name);
    }
}
