//! `docs/endpoint-reference.md`: every field of an endpoint, made of the schema.

use std::fmt::Write as _;

use super::field::Field;

/// Deepest field that is described.
const DEPTH_MAX: usize = 8;

const HEAD: &str = "\
# Endpoint reference

Made of the program's own schema; do not edit. `shoal explain endpoint.spec` says the same, `shoal config schema endpoint`
prints it for editors. Durations and sizes are strings with a unit, such as `90s` and `80GiB`.
";

/// The page.
pub(super) fn endpoint(root: &Field<'_>) -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, root, "", 0);
    page
}

fn section(page: &mut String, field: &Field<'_>, path: &str, depth: usize) {
    let kinds = field.kinds();
    let fields: Vec<_> = field.fields().into_iter().collect();
    if depth > DEPTH_MAX || (fields.is_empty() && kinds.is_empty()) {
        return;
    }
    // Writing to a String cannot fail.
    let title = if path.is_empty() { "The document".to_owned() } else { format!("`{path}`") };
    let _ = writeln!(page, "\n## {title}\n\n{}", field.description());
    if kinds.is_empty() {
        table(page, path, &fields);
    } else {
        for (kind, field) in &kinds {
            let _ = writeln!(page, "\n### `kind: {kind}`\n\n{}", field.description());
            let fields: Vec<_> = field.fields().into_iter().filter(|(name, _)| *name != "kind").collect();
            if !fields.is_empty() {
                table(page, path, &fields);
            }
        }
    }
    for (name, field) in &fields {
        let below = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        section(page, field, &below, depth + 1);
    }
}

fn table(page: &mut String, path: &str, fields: &[(&str, Field<'_>)]) {
    *page += "\n| field | type | default | meaning |\n|---|---|---|---|\n";
    for (name, field) in fields {
        let default = match field.default() {
            Some(default) => format!("`{default}`"),
            None if field.required => "required".to_owned(),
            None => String::new(),
        };
        let _ = writeln!(page, "| `{name}` | {} | {default} | {} |", field.type_name(), meaning(field, path, name));
    }
}

fn meaning(field: &Field<'_>, path: &str, name: &str) -> String {
    let mut meaning = field.description();
    if let Some(bounds) = field.bounds() {
        let _ = write!(meaning, " ({bounds})");
    }
    for (word, means) in field.choices() {
        let _ = write!(meaning, "<br>`{word}`{}{means}", if means.is_empty() { "" } else { ": " });
    }
    if !field.fields().is_empty() {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let anchor = path.to_lowercase().replace('.', "");
        let _ = write!(meaning, " See [`{path}`](#{anchor}).");
    }
    meaning.replace("\n\n", "<br>").replace('|', "\\|")
}
