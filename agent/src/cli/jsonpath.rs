//! kubectl's JSONPath templates: text, `{.a.b[0]}`, `{"\n"}`, `{range .items[*]}…{end}`.

use std::str::FromStr;

use serde_json::Value;

/// Deepest `{range}` within others.
const DEPTH_MAX: usize = 8;

/// What `-o jsonpath=` was given.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value(Path),
    Range(Path, Vec<Self>),
}

/// One path, such as `.status.ready` or `$.items[?(@.state=="alive")].name`.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// Whether it begins at the whole, also within a range.
    whole: bool,
    query: serde_json_path::JsonPath,
}

impl Template {
    /// What it makes of `value`. A path that leads nowhere gives nothing, as in kubectl.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut text = String::new();
        render(&self.0, value, value, &mut text);
        text
    }
}

fn render(parts: &[Part], whole: &Value, item: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Value(path) => {
                let found: Vec<String> = path.find_in(whole, item).map(plain).collect();
                text.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                path.find_in(whole, item).for_each(|item| render(inner, whole, item, text));
            }
        }
    }
}

/// Text as it is, everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Path {
    /// The first value that it leads to.
    pub(crate) fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find_in(value, value).next()
    }

    fn find_in<'a>(&self, whole: &'a Value, item: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.query.query(if self.whole { whole } else { item }).all().into_iter()
    }
}

impl FromStr for Template {
    type Err = String;

    /// Also without braces, where it is nothing but a path.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(['.', '$', '[']) && !text.contains('{') {
            return Ok(Self(vec![Part::Value(text.parse()?)]));
        }
        let mut rest = text;
        parts(&mut rest, 0).map(Self)
    }
}

/// The parts up to the end of the text, or of the range.
fn parts(rest: &mut &str, depth: usize) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some(open) = rest.find('{') else {
            if depth > 0 {
                return Err("a {range} has no {end}".to_owned());
            }
            parts.extend(text(rest));
            return Ok(parts);
        };
        parts.extend(text(&rest[..open]));
        let inner = &rest[open + 1..];
        let close = closing(inner).ok_or_else(|| format!("`{{{inner}` has no closing brace"))?;
        let action = inner[..close].trim();
        *rest = &inner[close + 1..];
        match action.strip_prefix("range ") {
            Some(_) if depth == DEPTH_MAX => {
                return Err(format!("ranges stand in each other {DEPTH_MAX} deep at most"));
            }
            Some(path) => parts.push(Part::Range(path.trim().parse()?, self::parts(rest, depth + 1)?)),
            None if action == "end" && depth > 0 => return Ok(parts),
            None if action == "end" => return Err("{end} without a {range}".to_owned()),
            None if action.starts_with(['"', '\'']) => parts.push(Part::Text(literal(action)?)),
            None => parts.push(Part::Value(action.parse()?)),
        }
    }
}

fn text(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Text(text.to_owned()))
}

/// Where the brace closes that `text` stands behind, quotes respected.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    text.char_indices().find_map(|(at, char)| {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if char == '\\' => escaped = true,
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if char == '}' => return Some(at),
            None if char == '"' || char == '\'' => quote = Some(char),
            None => {}
        }
        None
    })
}

fn literal(quoted: &str) -> Result<String, String> {
    let wrong = || format!("{quoted} is no text in quotes");
    let inner = match quoted.strip_prefix('\'') {
        Some(inner) => inner.strip_suffix('\'').ok_or_else(wrong)?.replace("\\'", "'").replace('"', "\\\""),
        None => quoted.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).ok_or_else(wrong)?.to_owned(),
    };
    serde_json::from_str(&format!("\"{inner}\"")).map_err(|_| wrong())
}

impl FromStr for Path {
    type Err = String;

    /// kubectl's spelling as that of RFC 9535: a name may hold what there needs quotes, and `\.` is no dot.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let (whole, text) = match text.strip_prefix('$') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('@').unwrap_or(text)),
        };
        if !text.is_empty() && !text.starts_with(['.', '[']) {
            return Err(format!("the path `{text}` does not begin with a dot: `.{text}`?"));
        }
        let query = serde_json_path::JsonPath::parse(&standard(text)?)
            .map_err(|error| format!("the path `{text}` is not understood: {error}"))?;
        Ok(Self { whole, query })
    }
}

fn standard(text: &str) -> Result<String, String> {
    let (mut query, mut rest) = ("$".to_owned(), text);
    while !rest.is_empty() {
        if rest.starts_with('[') {
            let end = bracket(rest).ok_or_else(|| format!("`{rest}` has no closing bracket"))?;
            query.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let deep = rest.starts_with("..");
        rest = rest.trim_start_matches('.');
        let (name, length) = name(rest);
        rest = &rest[length..];
        query.push_str(if deep { ".." } else { "" });
        match name.as_str() {
            // `{.}` is the whole, and `.[0]` is `[0]`.
            "" => {}
            "*" => query.push_str("[*]"),
            name => query.push_str(&format!("[{}]", Value::from(name))),
        }
    }
    Ok(query)
}

/// The name that `text` begins with, and how many bytes it takes.
fn name(text: &str) -> (String, usize) {
    let (mut name, mut escaped) = (String::new(), false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '.' | '[' => return (name, at),
            _ => {}
        }
        name.push(char);
    }
    (name, text.len())
}

/// Where the bracket has closed that `text` begins with.
fn bracket(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '[') => depth += 1,
            (None, ']') if depth == 1 => return Some(at + 1),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, String> {
        let value = json!({"items": [
            {"name": "a", "state": "alive", "gpus": 2, "labels": {"topology.io/zone": "eu", "spot-price": 1.5}},
            {"name": "b", "state": "left", "gpus": 0, "labels": {}},
        ]});
        template.parse::<Template>().map(|template| template.render(&value))
    }

    #[test]
    fn templates_are_those_of_kubectl() {
        for (template, text) in [
            ("{.items[0].name}", "a"),
            (".items[0].name", "a"),
            ("{$.items[*].name}", "a b"),
            ("{.items[-1:].name}", "b"),
            ("n={.items[0].gpus}!", "n=2!"),
            ("{.items[0].labels.topology\\.io/zone}", "eu"),
            ("{.items[0].labels.spot-price}", "1.5"),
            ("{.items[0].labels['topology.io/zone']}", "eu"),
            ("{.items[?(@.state==\"alive\")].name}", "a"),
            ("{range .items[*]}{.name}{\"\\t\"}{.gpus}{'\\n'}{end}", "a\t2\nb\t0\n"),
            ("{range .items[*]}{@.name}{range $.items[*]}{.gpus}{end};{end}", "a20;b20;"),
            ("{..gpus}", "2 0"),
            ("{.items[1]['name','gpus']}", "b 0"),
            ("{.missing.field}", ""),
            ("{.items[1].labels}", "{}"),
            ("{\"}\"}", "}"),
        ] {
            assert_eq!(render(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_template_is_said() {
        for (template, why) in [
            ("{.items", "no closing brace"),
            ("{range .items[*]}{.name}", "no {end}"),
            ("{end}", "without a {range}"),
            ("{items[0]}", "`.items[0]`?"),
            ("{.items[0}", "no closing bracket"),
            ("{.items[?]}", "not understood"),
            ("{\"a}", "no closing brace"),
        ] {
            let error = render(template).expect_err(template);
            assert!(error.contains(why), "{template}: {error}");
        }
        let deep = "{range .items}".repeat(9) + &"{end}".repeat(9);
        assert!(render(&deep).expect_err("too deep").contains("deep"));
    }
}
