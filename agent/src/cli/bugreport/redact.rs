//! What of a report is nobody else's business: secrets always, addresses where that is asked for. Pure.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use serde_json::Value;

use crate::web;

const HIDDEN: &str = "(hidden)";
/// What secrets of shoal begin with, and headers that carry others.
const SECRETS: [&str; 4] = ["sk-shoal-", "shoal1_", "Bearer ", "Basic "];

/// Hides what may hold a secret: all values of environments, what is named like one, in arguments too, all of a URL's field but
/// its origin, and of other URLs who they name and what they ask. Files that hold one are only named.
pub(super) fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Object(variables) if name == "env" => {
                        variables.values_mut().for_each(|variable| *variable = Value::from(HIDDEN));
                    }
                    Value::Array(args) if name == "args" => hide_arguments(args),
                    Value::String(_) if is_secret(name) => *field = Value::from(HIDDEN),
                    // Many services take whoever knows their path for the owner.
                    Value::String(url) if name == "url" || name == "endpoint" && url.contains("://") => {
                        *url = web::origin(url)
                    }
                    _ => hide_secrets(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::String(text) => {
            *text = without_users(text);
            if let Some(hidden) = without_query(text) {
                *text = hidden;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `--api-key=X`, and what comes after `--api-key`.
fn hide_arguments(args: &mut [Value]) {
    let mut is_next = false;
    for arg in args {
        let text = arg.as_str().unwrap_or_default().to_owned();
        match text.split_once('=') {
            Some((name, _)) if is_secret(name) => *arg = Value::from(format!("{name}={HIDDEN}")),
            _ if is_next => *arg = Value::from(HIDDEN),
            _ => hide_secrets(arg),
        }
        is_next = text.starts_with('-') && !text.contains('=') && is_secret(&text);
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace(['-', '_'], "");
    let is_file = ["file", "directory", "dir", "path"].iter().any(|end| name.ends_with(end));
    let is_named = ["token", "secret", "password", "authorization", "apikey"].iter().any(|word| name.contains(word));
    is_named && !is_file
}

/// A URL without its query, if it has one.
fn without_query(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    let (place, _) = text.split_once('?').filter(|_| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    Some(format!("{place}?{HIDDEN}"))
}

/// Hides who a URL names, wherever in the text it is.
fn without_users(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, place) = rest.split_at(at + "://".len());
        hidden.push_str(before);
        let end = place.find(|char: char| char.is_whitespace() || "/?#\\\"'`<>".contains(char)).unwrap_or(place.len());
        rest = match place[..end].rfind('@') {
            Some(user) => {
                hidden.push_str(HIDDEN);
                &place[user..]
            }
            None => place,
        };
    }
    hidden.push_str(rest);
    hidden
}

/// Hides secrets in text that is no JSON, by how they begin, and who URLs name.
pub(super) fn hide_in_text(text: &str) -> String {
    let mut text = without_users(text);
    for begin in SECRETS {
        let mut hidden = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(begin) {
            let (before, secret) = rest.split_at(at + begin.len());
            let end = secret.find(|char: char| !char.is_ascii_alphanumeric() && !"-_.=+/".contains(char));
            hidden.push_str(before);
            hidden.push_str(HIDDEN);
            rest = &secret[end.unwrap_or(secret.len())..];
        }
        hidden.push_str(rest);
        text = hidden;
    }
    text
}

/// Names for addresses, the same one for the same address in all parts of a report.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<IpAddr, usize>);

impl Addresses {
    /// `text` with names in place of addresses; those of every host (loopback, "any") stay.
    pub(super) fn hide(&mut self, text: &str) -> String {
        let mut hidden = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|char: char| !is_part(char)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            // A full stop may end a sentence.
            let address = word.trim_end_matches(['.', ':']);
            self.word(address, &mut hidden);
            hidden.push_str(&word[address.len()..]);
            let next = after.find(is_part).unwrap_or(after.len());
            hidden.push_str(&after[..next]);
            rest = &after[next..];
        }
        hidden
    }

    fn word(&mut self, word: &str, into: &mut String) {
        let (ip, port) = match word.parse::<SocketAddr>() {
            Ok(socket) => (Some(socket.ip()), Some(socket.port())),
            Err(_) => (word.parse::<IpAddr>().ok(), None),
        };
        let Some(ip) = ip.filter(|ip| !ip.is_loopback() && !ip.is_unspecified()) else {
            into.push_str(word);
            return;
        };
        let next = self.0.len() + 1;
        // Writing to a String cannot fail.
        let _ = write!(into, "ip-{}", self.0.entry(ip).or_insert(next));
        if let Some(port) = port {
            let _ = write!(into, ":{port}");
        }
    }
}

fn is_part(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '.' || char == ':'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_may_be() {
        let mut value = json!({
            "engines": {"vllm": {"env": {"HF_TOKEN": "hf_1"}, "binary": "/usr/bin/vllm"}},
            "args": ["--api-key", "k", "--port=1", "--hf-token=t", "--max-num-seqs", "4", "--token-file", "/f"],
            "endpoints": [{"spec": {"engine": {"env": {"A": "b"}}}}],
            "admin": {"tokenFile": "/etc/shoal/token"},
            "webhook": {"token": "x", "url": "https://me:pw@example.org/hooks/T0/B0?sig=1", "plain": "http://example.org/a@b"},
            "allow": ["https://me:pw@example.org/a?sig=1"],
            "telemetry": {"endpoint": "https://otel.example.org/key"},
            "requests": [{"endpoint": "llama"}],
            "tokens": {"input": 3},
        });
        hide_secrets(&mut value);
        assert_eq!(
            value,
            json!({
                "engines": {"vllm": {"env": {"HF_TOKEN": HIDDEN}, "binary": "/usr/bin/vllm"}},
                "args": ["--api-key", HIDDEN, "--port=1", "--hf-token=(hidden)", "--max-num-seqs", "4", "--token-file", "/f"],
                "endpoints": [{"spec": {"engine": {"env": {"A": HIDDEN}}}}],
                "admin": {"tokenFile": "/etc/shoal/token"},
                "webhook": {"token": HIDDEN, "url": "https://example.org", "plain": "http://example.org/a@b"},
                "allow": ["https://(hidden)@example.org/a?(hidden)"],
                "telemetry": {"endpoint": "https://otel.example.org"},
                "requests": [{"endpoint": "llama"}],
                "tokens": {"input": 3},
            })
        );
        assert_eq!(
            hide_in_text("key sk-shoal-abc-DEF, `Bearer abc.def=` and shoal1_zz\nend"),
            "key sk-shoal-(hidden), `Bearer (hidden)` and shoal1_(hidden)\nend"
        );
        assert_eq!(
            hide_in_text(
                "proxy=http://me:p@w@proxy:3128, \"Basic bWU6cHc=\", https://example.org/@me and to://b:c@d\n"
            ),
            "proxy=http://(hidden)@proxy:3128, \"Basic (hidden)\", https://example.org/@me and to://(hidden)@d\n"
        );
    }

    #[test]
    fn the_same_address_has_the_same_name_everywhere() {
        let mut addresses = Addresses::default();
        assert_eq!(
            addresses.hide("peer 10.0.0.2:7700, [2001:db8::1]:7700 and 10.0.0.2. At 07:58:39 on 127.0.0.1:80, 0.0.0.0"),
            "peer ip-1:7700, [ip-2]:7700 and ip-1. At 07:58:39 on 127.0.0.1:80, 0.0.0.0"
        );
        assert_eq!(addresses.hide("shoal_mesh::transport 10.0.0.2"), "shoal_mesh::transport ip-1");
    }
}
