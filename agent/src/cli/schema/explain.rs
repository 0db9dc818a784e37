//! `shoal explain`: what a field is for, as `kubectl explain` says it.

use std::fmt::Write as _;

use super::field::Field;
use crate::admin::{Code, Problem};

/// The field at `path`, such as `endpoint.spec.replicas`, in words.
pub(super) fn explain(root: Field<'_>, path: &str) -> Result<String, Problem> {
    let (mut field, mut walked) = (root, String::new());
    for (depth, name) in path.split('.').enumerate() {
        if depth > 0 {
            field = below(&field, &walked, name)?;
        }
        walked += if depth > 0 { "." } else { "" };
        walked += name;
    }
    Ok(text(&field, &walked))
}

fn below<'a>(field: &Field<'a>, walked: &str, name: &str) -> Result<Field<'a>, Problem> {
    let mut fields = field.fields();
    if let Some(field) = fields.remove(name) {
        return Ok(field);
    }
    let problem = Problem::new(Code::NotFound, format!("`{walked}` has no field `{name}`"));
    let nearest = fields.keys().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    Err(match nearest.filter(|nearest| strsim::jaro_winkler(nearest, name) > 0.6) {
        Some(nearest) => problem.hint(format!("shoal explain {walked}.{nearest}")),
        None if fields.is_empty() => problem.hint(format!("it has none: shoal explain {walked}")),
        None => problem.hint(format!("it has {}", fields.into_keys().collect::<Vec<_>>().join(", "))),
    })
}

fn text(field: &Field<'_>, path: &str) -> String {
    let mut text =
        format!("FIELD: {path} <{}>{}\n\n{}\n", field.type_name(), needed(field), indent(&field.description()));
    // Writing to a String cannot fail.
    if let Some(default) = field.default() {
        let _ = writeln!(text, "\nDEFAULT: {default}");
    }
    if let Some(bounds) = field.bounds() {
        let _ = writeln!(text, "\nBOUNDS: {bounds}");
    }
    let choices = field.choices();
    if !choices.is_empty() {
        text += "\nONE OF:\n";
        choices.iter().for_each(|(word, meaning)| entry(&mut text, word, meaning));
    }
    let kinds = field.kinds();
    if !kinds.is_empty() {
        text += "\nKINDS (what `kind` says decides which fields there are):\n";
        for (kind, field) in &kinds {
            let fields: Vec<&str> = field.fields().into_keys().filter(|name| *name != "kind").collect();
            let has = if fields.is_empty() { String::new() } else { format!("\nIt has {}.", fields.join(", ")) };
            entry(&mut text, kind, &format!("{}{has}", field.description()));
        }
    }
    let fields = field.fields();
    if !fields.is_empty() {
        text += "\nFIELDS:\n";
        for (name, field) in &fields {
            entry(&mut text, &format!("{name} <{}>{}", field.type_name(), needed(field)), &field.description());
        }
    }
    text
}

fn needed(field: &Field<'_>) -> &'static str {
    if field.required { " -required-" } else { "" }
}

fn entry(text: &mut String, head: &str, body: &str) {
    let _ = writeln!(text, "  {head}");
    if !body.is_empty() {
        let _ = writeln!(text, "{}", indent(&indent(body)).replace("\n\n", "\n"));
    }
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("  {line}") })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;
    use shoal_types::Endpoint;

    use super::*;

    fn ask(path: &str) -> Result<String, Problem> {
        let schema = schema_for!(Endpoint).to_value();
        explain(Field::whole(&schema), path)
    }

    #[test]
    fn a_field_is_explained_with_what_is_below_it() {
        let text = ask("endpoint.spec.replicas").unwrap();
        assert!(text.starts_with("FIELD: endpoint.spec.replicas <object>\n\n  How many replicas"), "{text}");
        assert!(text.contains("\nFIELDS:\n  max <integer>\n    Never more than these"), "{text}");
        let text = ask("endpoint.spec.routing.policy").unwrap();
        assert!(text.contains("DEFAULT: \"prefix\"") && text.contains("ONE OF:\n  prefix\n    "), "{text}");
        let text = ask("endpoint.spec.engine").unwrap();
        assert!(text.contains("  gateway\n    A service that shoal does not run"), "{text}");
        assert!(ask("endpoint").unwrap().contains("spec <object> -required-"));
    }

    #[test]
    fn an_unknown_field_names_the_nearest() {
        for (path, hint) in [
            ("endpoint.spec.replica", "shoal explain endpoint.spec.replicas"),
            ("endpoint.spec.model.name", "it has none: shoal explain endpoint.spec.model"),
            ("endpoint.metadata.zzz", "it has labels, name"),
        ] {
            let problem = ask(path).expect_err(path);
            assert_eq!((problem.code, problem.hint.as_deref()), (Code::NotFound, Some(hint)));
        }
    }
}
