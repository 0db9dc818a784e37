//! vLLM's command line, as far as tests use it, and argparse's words for what it does not know.

use std::{net::SocketAddr, path::PathBuf};

/// All flags of `vllm serve --help=all` of 0.32.0.
const FLAGS: &str = include_str!("flags.txt");

/// Where the API server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Uds(PathBuf),
    Tcp { host: String, port: u16 },
}

/// The arguments that change anything here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) model: String,
    pub(crate) served_model_names: Vec<String>,
    pub(crate) listen: Listen,
    pub(crate) tensor_parallel_size: usize,
    pub(crate) max_model_len: Option<u64>,
    pub(crate) max_num_seqs: usize,
    pub(crate) kv_cache_memory_bytes: Option<u64>,
    /// In seconds; 0 aborts what runs.
    pub(crate) shutdown_timeout: u64,
}

/// Why the command line is not one; argparse ends with 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("vllm: error: unrecognized arguments: {0}")]
    Unrecognized(String),
    #[error("vllm serve: error: argument {flag}: expected at least one argument")]
    NoValue { flag: String },
    #[error("vllm serve: error: argument {flag}: invalid value: '{value}'")]
    Invalid { flag: String, value: String },
    #[error("vllm: error: argument subparser: invalid choice: '{0}' (choose from serve)")]
    NoServe(String),
}

impl Arguments {
    /// `words` are those after the program's name.
    pub(crate) fn parse(words: &[String]) -> Result<Self, ArgumentError> {
        let (verb, words) = words.split_first().map_or(("", words), |(verb, rest)| (verb.as_str(), rest));
        if verb != "serve" {
            return Err(ArgumentError::NoServe(verb.to_owned()));
        }
        let mut parsed = Self {
            model: String::new(),
            served_model_names: Vec::new(),
            listen: Listen::Tcp { host: "0.0.0.0".to_owned(), port: 8000 },
            tensor_parallel_size: 1,
            max_model_len: None,
            max_num_seqs: 256,
            kv_cache_memory_bytes: None,
            shutdown_timeout: 0,
        };
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if !is_flag(word) {
                parsed.model = word.to_owned();
                continue;
            }
            let (flag, attached) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
            if !FLAGS.lines().any(|known| known == flag) {
                return Err(ArgumentError::Unrecognized(word.to_owned()));
            }
            let mut values: Vec<&str> = attached.into_iter().collect();
            while let Some(value) = words.next_if(|next| !is_flag(next)) {
                values.push(value);
            }
            parsed.set(flag, &values)?;
        }
        if parsed.served_model_names.is_empty() {
            parsed.served_model_names.push(parsed.model.clone());
        }
        Ok(parsed)
    }

    fn set(&mut self, flag: &str, values: &[&str]) -> Result<(), ArgumentError> {
        match flag {
            "--served-model-name" => self.served_model_names = values.iter().map(|&name| name.to_owned()).collect(),
            "--uds" => self.listen = Listen::Uds(first(flag, values)?.into()),
            "--host" => self.listen_on(|host, _| first(flag, values).map(|value| value.clone_into(host)))?,
            "--port" => self.listen_on(|_, port| number(flag, values).map(|value| *port = value))?,
            "--tensor-parallel-size" | "-tp" => self.tensor_parallel_size = number(flag, values)?,
            "--max-model-len" => self.max_model_len = number::<i64>(flag, values)?.try_into().ok(),
            "--max-num-seqs" => self.max_num_seqs = number(flag, values)?,
            "--kv-cache-memory-bytes" => self.kv_cache_memory_bytes = Some(bytes(flag, values)?),
            "--shutdown-timeout" => self.shutdown_timeout = number(flag, values)?,
            _ => {}
        }
        Ok(())
    }

    fn listen_on(
        &mut self,
        change: impl FnOnce(&mut String, &mut u16) -> Result<(), ArgumentError>,
    ) -> Result<(), ArgumentError> {
        match &mut self.listen {
            Listen::Tcp { host, port } => change(host, port),
            Listen::Uds(_) => Ok(()),
        }
    }
}

impl Listen {
    /// The address of a TCP listener.
    pub(crate) fn socket_address(host: &str, port: u16) -> Option<SocketAddr> {
        format!("{host}:{port}").parse().ok()
    }
}

/// `-1` is a value.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && !word[1..].starts_with(|first: char| first.is_ascii_digit())
}

fn first<'a>(flag: &str, values: &[&'a str]) -> Result<&'a str, ArgumentError> {
    values.first().copied().ok_or_else(|| ArgumentError::NoValue { flag: flag.to_owned() })
}

fn number<T: std::str::FromStr>(flag: &str, values: &[&str]) -> Result<T, ArgumentError> {
    let value = first(flag, values)?;
    value.parse().map_err(|_| ArgumentError::Invalid { flag: flag.to_owned(), value: value.to_owned() })
}

/// `64M` is decimal, `64Mi` would be binary; only the order of magnitude matters here.
fn bytes(flag: &str, values: &[&str]) -> Result<u64, ArgumentError> {
    let value = first(flag, values)?;
    let (digits, unit) = match value.strip_suffix(['k', 'K', 'M', 'G']) {
        Some(digits) if value.ends_with('G') => (digits, 1 << 30),
        Some(digits) if value.ends_with('M') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 10),
        None => (value, 1),
    };
    number::<u64>(flag, &[digits]).map(|number| number.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentError> {
        Arguments::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_the_supervisor_passes_is_understood() {
        let line = "serve /models/m --served-model-name demo org/m --uds /run/1.sock --tensor-parallel-size 2 \
                    --max-model-len 4096 --kv-cache-memory-bytes=64M --enforce-eager --seed -1";
        let parsed = parse(line).unwrap();
        assert_eq!((parsed.model.as_str(), parsed.tensor_parallel_size), ("/models/m", 2));
        assert_eq!(parsed.served_model_names, ["demo", "org/m"]);
        assert_eq!(parsed.listen, Listen::Uds("/run/1.sock".into()));
        assert_eq!((parsed.max_model_len, parsed.kv_cache_memory_bytes), (Some(4096), Some(64 << 20)));
        let parsed = parse("serve m --port 81 --host 127.0.0.1").unwrap();
        assert_eq!(parsed.listen, Listen::Tcp { host: "127.0.0.1".to_owned(), port: 81 });
        assert_eq!(parsed.served_model_names, ["m"]);
    }

    #[test]
    fn errors_are_argparses() {
        let words = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(words("serve m --no-such-thing x"), "vllm: error: unrecognized arguments: --no-such-thing");
        assert_eq!(words("serve m --port x"), "vllm serve: error: argument --port: invalid value: 'x'");
        assert!(words("serve m --uds").ends_with("expected at least one argument"));
        assert!(words("chat").contains("invalid choice: 'chat'"));
    }
}
