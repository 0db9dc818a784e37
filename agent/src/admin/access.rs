//! Who asks, and what they may.

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use shoal_types::KEY_PREFIX;

use super::{
    problem::{Code, Problem},
    routes::Admin,
};
use crate::{
    config::{AdminConfig, Role},
    events::{Draft, Reason, Subject},
};

/// Least length of an admin token: 128 bits in hexadecimal.
const TOKEN_MIN: usize = 32;
/// Most admin tokens of one node: each is compared with what a request shows.
const TOKENS_MAX: usize = 64;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller {
    /// A process of this host, of this user.
    Local {
        /// Its user's id.
        uid: u32,
    },
    /// Whoever has this address.
    Remote(SocketAddr),
}

/// Who asks, as far as that is known, and what they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actor {
    name: String,
    role: Role,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A token that admits to the API over TCP.
#[derive(Debug)]
struct Token {
    name: String,
    role: Role,
    secret: String,
}

/// All of a node's.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens(Arc<[Token]>);

impl Tokens {
    /// Those that `config` names. Blocks.
    ///
    /// # Errors
    /// If a file cannot be read, or what is in it is no token.
    pub(super) fn read(config: &AdminConfig) -> Result<Self, TokenError> {
        let main = config.token_file.iter().map(|file| ("admin", Role::Admin, file.as_path()));
        let named = config.tokens.iter().map(|token| (token.name.as_str(), token.role, token.file.as_path()));
        let mut tokens: Vec<Token> = Vec::new();
        for (name, role, file) in main.chain(named) {
            let error = |reason: String| TokenError { path: file.to_owned(), reason };
            let secret = read(file).map_err(error)?;
            if let Some(same) = tokens.iter().find(|token| token.name == name || token.secret == secret) {
                return Err(error(format!("the tokens `{}` and `{name}` have the same name or secret", same.name)));
            }
            if tokens.len() == TOKENS_MAX {
                return Err(error(format!("a node has at most {TOKENS_MAX} admin tokens")));
            }
            tokens.push(Token { name: name.to_owned(), role, secret });
        }
        Ok(Self(tokens.into()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that a request with `headers` shows.
    fn shown(&self, headers: &HeaderMap) -> Option<&Token> {
        let shown = bearer(headers).as_bytes();
        // All are looked at, so that the time it takes does not say which was nearly right.
        self.0.iter().fold(None, |found, token| {
            let same = same_in_constant_time(shown, token.secret.as_bytes());
            if same { Some(token) } else { found }
        })
    }

    /// Who shows what is in `headers` from where `caller` is.
    fn actor(&self, headers: &HeaderMap, caller: Caller) -> Option<Actor> {
        match caller {
            Caller::Local { uid } => Some(Actor { name: format!("uid {uid}"), role: Role::Admin }),
            Caller::Remote(address) => self
                .shown(headers)
                .map(|token| Actor { name: format!("token {} from {}", token.name, address.ip()), role: token.role }),
        }
    }
}

/// Why admin tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the admin token in {path}: {reason}")]
pub(crate) struct TokenError {
    path: PathBuf,
    reason: String,
}

fn read(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let token = text.trim();
    if token.len() < TOKEN_MIN {
        return Err(format!("it is {} characters long; at least {TOKEN_MIN} are needed", token.len()));
    }
    Ok(token.to_owned())
}

/// `api` for those who are known; each request carries its [`Actor`] from here on.
pub(super) fn for_the_known(api: Router, tokens: Tokens) -> Router {
    let check = move |mut request: Request, next: Next| {
        let tokens = tokens.clone();
        async move {
            let caller = request.extensions().get::<Caller>().copied();
            match caller.and_then(|caller| tokens.actor(request.headers(), caller)) {
                Some(actor) => {
                    request.extensions_mut().insert(actor);
                    next.run(request).await
                }
                None => unknown(),
            }
        }
    };
    api.layer(middleware::from_fn(check))
}

/// `router` for whoever may operate, whose token then goes no further, or shows a key of a client, which the ingress looks at.
pub(super) fn for_operators_and_keys(router: Router, tokens: Tokens) -> Router {
    let check = move |mut request: Request, next: Next| {
        let tokens = tokens.clone();
        async move {
            let trusted = tokens.shown(request.headers()).is_some_and(|token| token.role >= Role::Operate);
            if trusted {
                request.headers_mut().remove(header::AUTHORIZATION);
            }
            if trusted || shows_key(request.headers()) { next.run(request).await } else { unknown() }
        }
    };
    router.layer(middleware::from_fn(check))
}

/// `router` for those who have at least the role `needed`. Whoever is refused is told of.
pub(super) fn needs(needed: Role, admin: &Arc<Admin>, router: Router<Arc<Admin>>) -> Router<Arc<Admin>> {
    let check = move |State(admin): State<Arc<Admin>>, request: Request, next: Next| async move {
        match request.extensions().get::<Actor>() {
            Some(actor) if actor.role >= needed => next.run(request).await,
            Some(actor) => {
                let asked = format!("{} {}", request.method(), request.uri().path());
                let message = format!("{asked} needs the role {needed}; {actor} has {}", actor.role);
                admin.events.tell_now_and_then(Draft::new(Reason::WriteRefused, Subject::mesh(), &*message).by(actor));
                Problem::new(Code::Forbidden, message)
                    .hint("use a token with that role (admin.tokens of the node), or the socket on the node itself")
                    .into_response()
            }
            None => unknown(),
        }
    };
    router.route_layer(middleware::from_fn_with_state(Arc::clone(admin), check))
}

/// Without a key an ingress on loopback serves anybody there, this listener perhaps others, too.
fn shows_key(headers: &HeaderMap) -> bool {
    bearer(headers).starts_with(KEY_PREFIX)
}

fn bearer(headers: &HeaderMap) -> &str {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// Compares without telling by its duration how much is right.
fn same_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn unknown() -> Response {
    Problem::new(
        Code::Forbidden,
        "the admin API over TCP needs an admin token of the node (admin.tokens, admin.tokenFile)",
    )
    .hint("send it as `Authorization: Bearer …`, or with --admin-token-file")
    .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::config::AdminToken;

    const ADMIN: &str = "0123456789abcdef0123456789abcdef";
    const VIEWER: &str = "fedcba9876543210fedcba9876543210";

    /// Of an admin and of a viewer called `eve`.
    fn tokens(dir: &Path) -> Tokens {
        let file = |name: &str, text: &str| {
            fs::write(dir.join(name), format!("{text}\n")).unwrap();
            dir.join(name)
        };
        let eve = AdminToken { name: "eve".to_owned(), role: Role::View, file: file("eve", VIEWER) };
        let config =
            AdminConfig { token_file: Some(file("admin", ADMIN)), tokens: vec![eve], ..AdminConfig::default() };
        Tokens::read(&config).unwrap()
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn only_a_whole_token_says_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(dir.path());
        let remote = Caller::Remote("10.0.0.1:1".parse().unwrap());
        let actor = |value: &str| tokens.actor(&headers(value), remote);
        let eve = Actor { name: "token eve from 10.0.0.1".to_owned(), role: Role::View };
        assert_eq!(actor(&format!("Bearer {VIEWER}")), Some(eve));
        assert_eq!(actor(&format!("Bearer {ADMIN}")).unwrap().role, Role::Admin);
        for wrong in
            [VIEWER.to_owned(), format!("Bearer {}", &VIEWER[1..]), format!("Bearer {VIEWER}0"), "Bearer ".to_owned()]
        {
            assert_eq!(actor(&wrong), None, "{wrong}");
        }
        let local = tokens.actor(&HeaderMap::new(), Caller::Local { uid: 7 }).unwrap();
        assert_eq!((local.name.as_str(), local.role), ("uid 7", Role::Admin));
    }

    #[test]
    fn tokens_that_are_short_or_the_same_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |name: &str, text: &str| {
            fs::write(dir.path().join("a"), ADMIN).unwrap();
            fs::write(dir.path().join("b"), text).unwrap();
            let other = AdminToken { name: name.to_owned(), role: Role::View, file: dir.path().join("b") };
            let config =
                AdminConfig { token_file: Some(dir.path().join("a")), tokens: vec![other], ..AdminConfig::default() };
            Tokens::read(&config).unwrap_err().to_string()
        };
        assert!(refused("b", "short").ends_with("it is 5 characters long; at least 32 are needed"));
        assert!(refused("b", ADMIN).ends_with("the tokens `admin` and `b` have the same name or secret"));
        assert!(refused("admin", VIEWER).ends_with("the tokens `admin` and `admin` have the same name or secret"));
    }

    #[tokio::test]
    async fn the_playground_is_for_operators_and_for_keys_and_the_ingress_never_sees_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let known = tokens(dir.path());
        let seen = |request: Request| async move { bearer(request.headers()).to_owned() };
        let ask = async |tokens: &Tokens, shown: &str| {
            let router = Router::new().route("/", axum::routing::get(seen));
            let mut router = for_operators_and_keys(router, tokens.clone());
            let request = Request::builder().header("authorization", format!("Bearer {shown}"));
            let answer = tower_service::Service::call(&mut router, request.body(Body::empty()).unwrap()).await;
            let (head, body) = answer.unwrap().into_parts();
            let body = axum::body::to_bytes(body, 1024).await.unwrap();
            (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(ask(&known, ADMIN).await, (200, String::new()));
        assert_eq!(ask(&known, "sk-shoal-key").await, (200, "sk-shoal-key".to_owned()));
        assert_eq!(ask(&known, VIEWER).await.0, 403, "tokens of a GPU cost money, and whoever looks on has no key");
        assert_eq!(ask(&known, "guess").await.0, 403);
        assert_eq!(ask(&Tokens::default(), "").await.0, 403, "without a token nobody is trusted");
    }
}
