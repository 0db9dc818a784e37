//! Which things a verb is about: `endpoint NAME...` or `endpoint/NAME...`, as kubectl takes them.

use shoal_types::EndpointName;

use super::args::Resource;
use crate::admin::{Code, Problem};

/// Things of one kind; all of them, if none is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) resource: Resource,
    pub(super) names: Vec<String>,
}

impl Targets {
    pub(super) fn parse(words: &[String]) -> Result<Self, Problem> {
        let [first, rest @ ..] = words else { return Err(unknown("")) };
        let Some((kind, _)) = first.split_once('/') else {
            return Ok(Self { resource: resource(first)?, names: rest.to_vec() });
        };
        let resource = resource(kind)?;
        let names = words.iter().map(|word| match word.split_once('/') {
            Some((kind, name)) if Resource::of(kind) == Some(resource) && !name.is_empty() => Ok(name.to_owned()),
            _ => Err(Problem::new(Code::Invalid, format!("`{word}` is not {kind}/NAME, as `{first}` is"))
                .hint("name things of one kind at a time")),
        });
        Ok(Self { resource, names: names.collect::<Result<_, _>>()? })
    }

    /// The endpoints that are meant, for a verb that is only about them.
    pub(super) fn endpoints(words: &[String], verb: &str) -> Result<Vec<EndpointName>, Problem> {
        let hint = format!("shoal {verb} endpoint NAME...");
        let targets = Self::parse(words).map_err(|problem| problem.hint(&hint))?;
        if targets.resource != Resource::Endpoints {
            return Err(Problem::new(Code::Invalid, format!("`shoal {verb}` is only for endpoints")).hint(hint));
        }
        let parse = |name: String| name.parse().map_err(|error| Problem::new(Code::Invalid, error));
        targets.names.into_iter().map(parse).collect()
    }

    /// The one name, for a verb that is about one thing.
    pub(super) fn only(&self) -> Result<&str, Problem> {
        match self.names.as_slice() {
            [name] => Ok(name),
            _ => {
                let kind = self.resource.words()[1];
                Err(Problem::new(Code::Invalid, format!("name one {kind}")).hint(format!("{kind}/NAME")))
            }
        }
    }
}

fn resource(word: &str) -> Result<Resource, Problem> {
    Resource::of(word).ok_or_else(|| unknown(word))
}

fn unknown(word: &str) -> Problem {
    let words = || Resource::ALL.into_iter().map(|resource| resource.words()[0]);
    let near = words().find(|known| strsim::damerau_levenshtein(known, word) <= 2);
    let problem = Problem::new(Code::Invalid, format!("`{word}` is nothing that shoal knows"));
    problem.hint(near.map_or_else(|| words().collect::<Vec<_>>().join(", "), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn things_are_named_in_either_of_two_ways() {
        let parse = |given: &[&str]| Targets::parse(&words(given)).map(|targets| (targets.resource, targets.names));
        let named = |resource, names: &[&str]| Ok((resource, words(names)));
        assert_eq!(parse(&["ep"]), named(Resource::Endpoints, &[]));
        assert_eq!(parse(&["endpoint", "a", "b"]), named(Resource::Endpoints, &["a", "b"]));
        assert_eq!(parse(&["endpoint/a", "ep/b"]), named(Resource::Endpoints, &["a", "b"]));
        assert_eq!(parse(&["no/x"]), named(Resource::Nodes, &["x"]));
        for wrong in [&[][..], &["a"], &["endpoint/a", "b"], &["endpoint/a", "node/b"], &["endpoint/"], &["x/y"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(unknown("endpints").hint.as_deref(), Some("endpoints"));
    }

    #[test]
    fn a_verb_about_endpoints_takes_nothing_else() {
        let endpoints = |given: &[&str]| Targets::endpoints(&words(given), "delete").ok().map(|names| names.len());
        assert_eq!(endpoints(&["endpoint", "a", "b"]), Some(2));
        for wrong in [&["node", "a"][..], &["node/a"], &["endpoint", "A!"], &["a"]] {
            assert_eq!(endpoints(wrong), None, "{wrong:?}");
        }
    }
}
