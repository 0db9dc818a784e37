//! `shoal bugreport`: what somebody who helps would ask for, in one file. Prompts, answers and secrets are kept out of it, as far
//! as engines that fail do not print them.

mod redact;

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use serde_json::Value;
use shoal_mesh::clock;
use tar::{Builder, Header};

use self::redact::{Addresses, hide_in_text, hide_secrets};
use super::{
    args::BugreportArgs,
    client::Client,
    doctor,
    output::{note, out},
};
use crate::{
    admin::{Code, EndpointStatus, Problem},
    config::Config,
    inventory::host,
    program,
};

/// Most of one part, in bytes.
const PART_MAX: usize = 8 << 20;
/// Most of all parts together.
const REPORT_MAX: usize = 64 << 20;
/// Endpoints whose placement is told.
const ENDPOINTS_MAX: usize = 100;
/// Lines of the daemon's log.
const LOG_LINES: &str = "500";
/// Longest wait for the journal.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn run(client: &Client, args: BugreportArgs) -> Result<(), Problem> {
    let failed = |error: &dyn Display| {
        let message = format!("cannot write the report to {}: {error}", args.file.display());
        Problem::new(Code::Failed, message).hint("name a file that is not there, in a directory that can be written")
    };
    // Before all the questions, whose answers would have no place; never over something else, and for its owner alone.
    let file =
        File::options().write(true).create_new(true).mode(0o600).open(&args.file).map_err(|error| failed(&error))?;
    let mut report = Report::default();
    gather(client, &args, &mut report).await;
    let contents = report.contents(args.redact);
    report.parts.insert(0, ("README.txt".to_owned(), contents.clone()));
    if args.redact {
        report.redact();
    }
    report.write(file).map_err(|error| failed(&error))?;
    note(&contents);
    let size = fs::metadata(&args.file).map_or(0, |file| file.size());
    out(&format!("{} ({} KiB)\n", args.file.display(), size.div_ceil(1024)))
}

/// Parts by name, and those that could not be had.
#[derive(Debug, Default)]
struct Report {
    parts: Vec<(String, String)>,
    missing: Vec<(String, String)>,
}

async fn gather(client: &Client, args: &BugreportArgs, report: &mut Report) {
    report.add("versions.json", as_json(&Versions::here()));
    report.add("config.json", config(args.config.as_deref()));
    for (name, path) in [
        ("status.json", "/v1/status"),
        ("paths.json", "/v1/paths"),
        ("requests.json", "/v1/requests?limit=500"),
        ("history.json", "/v1/history"),
        ("key-usage.json", "/v1/key-usage?days=2"),
        ("events.json", "/v1/events"),
    ] {
        report.add(name, ask(client, path).await);
    }
    let endpoints: Vec<EndpointStatus> = client.get("/v1/endpoints").await.unwrap_or_default();
    for name in endpoints.iter().take(ENDPOINTS_MAX).map(|one| &one.endpoint.metadata.name) {
        report.add(&format!("why/{name}.json"), ask(client, &format!("/v1/endpoints/{name}/why")).await);
        report.add(&format!("rollout/{name}.json"), ask(client, &format!("/v1/endpoints/{name}/rollout")).await);
    }
    report.add("metrics.txt", client.get_text("/metrics").await);
    report.add("doctor.txt", Ok(doctor::of_this_host(args.config.as_deref()).await));
    report.add("daemon.log", journal().await);
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: &'static str,
    host: shoal_types::Host,
    taken: String,
}

impl Versions {
    fn here() -> Self {
        Self { client: env!("CARGO_PKG_VERSION"), host: host(), taken: clock::now().to_string() }
    }
}

fn as_json(value: &impl Serialize) -> Result<String, Problem> {
    let failed = |error| Problem::new(Code::Failed, error);
    let mut value = serde_json::to_value(value).map_err(failed)?;
    hide_secrets(&mut value);
    serde_json::to_string_pretty(&value).map_err(failed)
}

fn config(path: Option<&Path>) -> Result<String, Problem> {
    as_json(&Config::load(path).map_err(|error| Problem::new(Code::Failed, error))?)
}

async fn ask(client: &Client, path: &str) -> Result<String, Problem> {
    as_json(&client.get::<Value>(path).await?)
}

/// The last lines of the daemon, where it runs as a unit and this user may read them. The newest come first: what is read of a
/// program is bounded, and the oldest are to be what is lost.
async fn journal() -> Result<String, Problem> {
    let failed = |error: &dyn Display| Problem::new(Code::Failed, error);
    let args = ["--unit=shoal", "--no-pager", "--output=short-iso", "--reverse", "--lines", LOG_LINES];
    let finished = program::run(Path::new("journalctl"), &args, &[], DEADLINE).await.map_err(|error| failed(&error))?;
    if finished.status.success() { Ok(finished.stdout) } else { Err(failed(&finished.stderr.trim())) }
}

impl Report {
    fn add(&mut self, name: &str, part: Result<String, Problem>) {
        let taken: usize = self.parts.iter().map(|(_, text)| text.len()).sum();
        match part {
            Ok(_) if taken > REPORT_MAX => self.missing.push((name.to_owned(), "the report is full".to_owned())),
            Ok(text) => {
                let mut text = hide_in_text(&text);
                if text.len() > PART_MAX {
                    text.truncate(text.floor_char_boundary(PART_MAX));
                    text.push_str("\n(cut off here)\n");
                }
                self.parts.push((name.to_owned(), text));
            }
            Err(problem) => self.missing.push((name.to_owned(), problem.message)),
        }
    }

    /// What is in it, and what is not.
    fn contents(&self, redacted: bool) -> String {
        let mut contents = format!("Report of shoal {}, {}.\n\nIn it:\n", env!("CARGO_PKG_VERSION"), clock::now());
        contents.extend(self.parts.iter().map(|(name, text)| format!("  {name} ({} bytes)\n", text.len())));
        if !self.missing.is_empty() {
            contents.push_str("Not in it:\n");
            contents.extend(self.missing.iter().map(|(name, why)| format!("  {name}: {why}\n")));
        }
        contents.push_str(
            "Never in it: prompts, answers, keys, tokens, unless an engine that failed has printed them: its last lines are \
             quoted as the reason (in status.json, why, events.json and daemon.log), so read them before you hand this on. \
             Values of environments are hidden, as is what is named like a secret, and who a URL names.\n",
        );
        contents.push_str(if redacted {
            "Addresses are replaced by names, the same one for the same address. Names of hosts, nodes and endpoints are not.\n"
        } else {
            "Addresses of hosts are in it; --redact replaces them.\n"
        });
        contents
    }

    fn redact(&mut self) {
        let mut addresses = Addresses::default();
        for (_, text) in &mut self.parts {
            *text = addresses.hide(text);
        }
    }

    fn write(&self, file: File) -> io::Result<()> {
        let mut archive = Builder::new(GzEncoder::new(file, Compression::default()));
        for (name, text) in &self.parts {
            let mut header = Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(clock::now().as_millis() / 1_000);
            archive.append_data(&mut header, Path::new("shoal-bugreport").join(name), text.as_bytes())?;
        }
        let mut file = archive.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()
    }
}
