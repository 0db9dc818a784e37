//! The hub that models are fetched from: Hugging Face's, or one that speaks as it does.

mod error;
mod listing;

use std::{
    collections::VecDeque,
    error::Error,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, Url};
use tokio::time::Instant;

pub use self::error::HubError;
use self::listing::ModelInfo;
pub(super) use self::listing::{HubFile, Listing};
use super::{
    HubConfig, WeightsError,
    model_id::{Commit, HubRevision, Repo},
};

/// For a TCP and TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// For the next bytes of an answer.
const READ: Duration = Duration::from_secs(30);
/// For the whole list of a model's files.
const LIST: Duration = Duration::from_secs(30);
/// How long a list, or why there is none, is believed: a spec that is refused is asked about again and again.
const LIST_VALID: Duration = Duration::from_secs(30);
/// Lists that are remembered.
const LISTS_MAX: usize = 32;
/// Largest list that is read, in bytes.
const LIST_BYTES_MAX: usize = 16 << 20;
/// Largest token file, in bytes.
const TOKEN_MAX: u64 = 4096;

/// What the hub sends of a file.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it.
    Whole(Response),
    /// What follows the bytes that are there.
    Rest(Response),
    /// Nothing: the file has no more than is there.
    Nothing,
}

/// A client of one hub.
#[derive(Debug)]
pub(super) struct Hub {
    client: Client,
    url: Url,
    token_file: Option<PathBuf>,
    lists: Mutex<VecDeque<RememberedList>>,
}

#[derive(Debug)]
struct RememberedList {
    repo: Repo,
    revision: HubRevision,
    until: Instant,
    list: Result<Arc<Listing>, HubError>,
}

impl Hub {
    pub(super) fn new(config: &HubConfig) -> Result<Self, WeightsError> {
        let error = |reason: String| WeightsError::Client { url: config.url.clone(), reason };
        let url: Url = config.url.parse().map_err(|reason| error(format!("{reason}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(error("it is not a URL that starts with https:// or http://".to_owned()));
        }
        // reqwest takes the process's provider, and ring is the one that there is; who was first is equal.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = if is_loopback(&url) { Client::builder().no_proxy() } else { Client::builder() };
        let client = client
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            // A token and weights that were asked for over TLS do not go on without it.
            .https_only(url.scheme() == "https")
            .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|reason| error(words(&reason)))?;
        Ok(Self { client, url, token_file: config.token_file.clone(), lists: Mutex::default() })
    }

    /// What `repo` holds at `revision`, as it was at most 30 s ago.
    ///
    /// Cancel safe.
    pub(super) async fn list(&self, repo: &Repo, revision: &HubRevision) -> Result<Arc<Listing>, HubError> {
        let now = Instant::now();
        let matches = |known: &&RememberedList| known.repo == *repo && known.revision == *revision && known.until > now;
        if let Some(known) = self.lists().iter().find(matches) {
            return known.list.clone();
        }
        let list = self.ask_list(repo, revision).await.map(Arc::new);
        let mut lists = self.lists();
        lists.retain(|known| known.until > now && (known.repo != *repo || known.revision != *revision));
        lists.truncate(LISTS_MAX - 1);
        let (repo, revision, until) = (repo.clone(), revision.clone(), Instant::now() + LIST_VALID);
        lists.push_front(RememberedList { repo, revision, until, list: list.clone() });
        list
    }

    /// Asks for `file` from its byte `from` on.
    pub(super) async fn get(&self, repo: &Repo, commit: &Commit, file: &str, from: u64) -> Result<Sent, HubError> {
        let url = self.url_of(repo.as_str().split('/').chain(["resolve", commit.as_str()]).chain(file.split('/')));
        let mut request = self.client.get(url);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = self.send(request, repo).await?;
        match response.status() {
            StatusCode::OK => Ok(Sent::Whole(response)),
            StatusCode::PARTIAL_CONTENT if starts_at(&response, from) => Ok(Sent::Rest(response)),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Sent::Nothing),
            status => Err(self.refused(repo, commit.as_str(), status)),
        }
    }

    /// `GET /api/models/{repo}/revision/{revision}?blobs=true`: the commit, and of each file its size and content.
    async fn ask_list(&self, repo: &Repo, revision: &HubRevision) -> Result<Listing, HubError> {
        let path = ["api", "models"].into_iter().chain(repo.as_str().split('/'));
        let mut url = self.url_of(path.chain(["revision", revision.as_str()]));
        url.set_query(Some("blobs=true"));
        let mut response = self.send(self.client.get(url).timeout(LIST), repo).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(repo, revision.as_str(), response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(repo, error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LIST_BYTES_MAX {
                return Err(self.strange(repo, format!("it has over {LIST_BYTES_MAX} bytes")));
            }
        }
        let model: ModelInfo = serde_json::from_slice(&body).map_err(|error| self.strange(repo, error.to_string()))?;
        if model.is_gated() && self.token_file.is_none() {
            // Its list is public, its files are not.
            return Err(self.refused(repo, revision.as_str(), StatusCode::UNAUTHORIZED));
        }
        model.listing().map_err(|reason| self.strange(repo, reason))
    }

    async fn send(&self, request: RequestBuilder, repo: &Repo) -> Result<Response, HubError> {
        let request = match self.token()? {
            // reqwest leaves it out where a redirect leads to another host.
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.map_err(|error| self.unreachable(repo, error))
    }

    fn token(&self) -> Result<Option<String>, HubError> {
        let read = |path: &Path| -> io::Result<String> {
            let mut token = String::new();
            File::open(path)?.take(TOKEN_MAX).read_to_string(&mut token)?;
            Ok(token.trim().to_owned())
        };
        let error =
            |path: &Path, reason: io::Error| HubError::Token { path: path.to_owned(), reason: reason.to_string() };
        self.token_file.as_deref().map(|path| read(path).map_err(|reason| error(path, reason))).transpose()
    }

    fn url_of<'a>(&self, path: impl Iterator<Item = &'a str>) -> Url {
        let mut url = self.url.clone();
        // That it can be a base was checked when it was made; each segment is escaped, slashes in it too.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, VecDeque<RememberedList>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    pub(super) fn unreachable(&self, repo: &Repo, error: reqwest::Error) -> HubError {
        // The URL may be signed.
        let reason = words(&error.without_url());
        HubError::Unreachable { hub: self.hub(), model: repo.to_string(), reason }
    }

    fn refused(&self, repo: &Repo, revision: &str, status: StatusCode) -> HubError {
        let (hub, model, revision) = (self.hub(), repo.to_string(), revision.to_owned());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                HubError::Denied { hub, model, token: self.token_file.is_some() }
            }
            StatusCode::NOT_FOUND => HubError::NotFound { hub, model, revision },
            other => HubError::Status { hub, model, status: other.as_u16() },
        }
    }

    fn strange(&self, repo: &Repo, reason: String) -> HubError {
        HubError::List { hub: self.hub(), model: repo.to_string(), reason }
    }
}

/// A proxy elsewhere cannot reach it.
fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// `Content-Range: bytes 100-199/200`.
fn starts_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.strip_prefix("bytes ").is_some_and(|range| range.starts_with(&format!("{from}-"))))
}

/// An error with what caused it.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
