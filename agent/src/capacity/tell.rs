//! How somebody is told.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use reqwest::{Client, StatusCode};
use shoal_placement::CapacityRequest;

use crate::{
    config::{CapacityCommand, CapacityConfig, CapacityWebhook},
    program::{Finished, ProcessError, run},
};

/// For one run of the program, or one exchange with the URL.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest token file, in bytes.
const TOKEN_MAX: u64 = 4096;
/// Most of what a program complains that is repeated, in characters.
const WORDS_MAX: usize = 300;

/// Why somebody could not be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum TellError {
    #[error("capacity.webhook cannot be used: {0}")]
    Client(reqwest::Error),
    #[error("capacity.webhook.tokenFile {path} cannot be read: {source}")]
    Token { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Program(#[from] ProcessError),
    #[error("{program} ended with {status}: {words}")]
    Status { program: PathBuf, status: ExitStatus, words: String },
    #[error("{url} cannot be told: {source}")]
    Webhook { url: String, source: reqwest::Error },
    #[error("{url} answered {status}")]
    Refused { url: String, status: StatusCode },
    #[error("the request cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Tells a program, a URL, or both.
#[derive(Debug)]
pub(super) struct Teller {
    command: Option<CapacityCommand>,
    webhook: Option<(CapacityWebhook, Client)>,
}

impl Teller {
    /// `None` if nobody is to be told.
    pub(super) fn new(config: &CapacityConfig) -> Result<Option<Self>, TellError> {
        if !config.is_set() {
            return Ok(None);
        }
        let webhook = match config.webhook.clone() {
            Some(webhook) => Some((webhook, client()?)),
            None => None,
        };
        Ok(Some(Self { command: config.command.clone(), webhook }))
    }

    pub(super) async fn tell(&self, request: &CapacityRequest) -> Result<(), TellError> {
        let text = serde_json::to_vec(request)?;
        if let Some(CapacityCommand { program, args }) = &self.command {
            let Finished { status, stderr, .. } = run(program, args, &text, DEADLINE).await?;
            if !status.success() {
                let words =
                    stderr.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect();
                return Err(TellError::Status { program: program.clone(), status, words });
            }
        }
        match &self.webhook {
            Some((webhook, client)) => post(webhook, client, text).await,
            None => Ok(()),
        }
    }
}

async fn post(webhook: &CapacityWebhook, client: &Client, text: Vec<u8>) -> Result<(), TellError> {
    let url = || webhook.url.clone();
    let mut request = client.post(&webhook.url).header("content-type", "application/json").body(text);
    if let Some(path) = &webhook.token_file {
        let token = token(path).map_err(|source| TellError::Token { path: path.clone(), source })?;
        request = request.bearer_auth(token);
    }
    let answer =
        request.send().await.map_err(|source| TellError::Webhook { url: url(), source: source.without_url() })?;
    if answer.status().is_success() { Ok(()) } else { Err(TellError::Refused { url: url(), status: answer.status() }) }
}

/// Read anew each time, so that a token can be replaced.
fn token(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TOKEN_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn client() -> Result<Client, TellError> {
    // reqwest has no TLS of its own here; an error means that somebody has installed one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(DEADLINE).user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")));
    client.build().map_err(TellError::Client)
}
