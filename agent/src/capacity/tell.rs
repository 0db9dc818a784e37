//! How somebody is told.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use reqwest::{Client, StatusCode};
use shoal_placement::spot::CapacityRequest;

use crate::{
    config::{CapacityCommand, CapacityConfig, CapacityWebhook},
    program::{Finished, ProcessError, run},
    web,
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
    #[error("the webhook at {origin} cannot be told: {source}")]
    Webhook { origin: String, source: reqwest::Error },
    #[error("the webhook at {origin} answered {status}")]
    Refused { origin: String, status: StatusCode },
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
            Some(webhook) => Some((webhook, web::client(DEADLINE).map_err(TellError::Client)?)),
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
    let origin = || web::origin(&webhook.url);
    let mut request = client.post(&webhook.url).header("content-type", "application/json").body(text);
    if let Some(path) = &webhook.token_file {
        let token = token(path).map_err(|source| TellError::Token { path: path.clone(), source })?;
        request = request.bearer_auth(token);
    }
    let refused = |source: reqwest::Error| TellError::Webhook { origin: origin(), source: source.without_url() };
    let status = request.send().await.map_err(refused)?.status();
    if status.is_success() { Ok(()) } else { Err(TellError::Refused { origin: origin(), status }) }
}

/// Read anew each time, so that a token can be replaced.
fn token(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TOKEN_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::capacity::testing::request;

    fn command(script: &str) -> CapacityConfig {
        let args = vec!["-c".to_owned(), script.to_owned()];
        CapacityConfig {
            command: Some(CapacityCommand { program: "/bin/sh".into(), args }),
            ..CapacityConfig::default()
        }
    }

    async fn tell(config: &CapacityConfig) -> Result<(), TellError> {
        Teller::new(config).unwrap().unwrap().tell(&request("llama")).await
    }

    #[tokio::test]
    async fn a_program_reads_what_is_missing() {
        assert!(Teller::new(&CapacityConfig::default()).unwrap().is_none());
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        tell(&command(&format!("cat > {}", said.display()))).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(said).unwrap()).unwrap();
        assert_eq!(said["endpoint"], "llama");
        let error = tell(&command("echo sold out >&2; exit 3")).await.unwrap_err().to_string();
        assert!(error.contains("/bin/sh") && error.contains("sold out"), "{error}");
    }

    #[tokio::test]
    async fn a_url_is_posted_to_with_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "secret\n").unwrap();
        std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rent", listener.local_addr().unwrap());
        let webhook = Some(CapacityWebhook { url, token_file: Some(token_file) });
        let config = CapacityConfig { webhook, ..CapacityConfig::default() };
        let answer = async |status: &str| {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            // The body is the last that comes.
            while !heard.ends_with(b"}") {
                assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
            }
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8(heard).unwrap()
        };
        let (told, heard) = tokio::join!(tell(&config), answer("202 Accepted"));
        told.unwrap();
        assert!(
            heard.starts_with("POST /rent ") && heard.contains("Bearer secret") && heard.contains("llama"),
            "{heard}"
        );
        let (told, _) = tokio::join!(tell(&config), answer("503 Service Unavailable"));
        let error = told.unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:") && error.contains("503"), "{error}");
        assert!(!error.contains("rent"), "the path may be a secret: {error}");
    }
}
