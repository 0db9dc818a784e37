//! `shoal events`: what happened, as all nodes tell it.

use std::{collections::HashMap, time::Duration};

use shoal_mesh::clock;
use shoal_types::UnixMillis;
use tokio::time::sleep;

use super::{
    args::EventArgs,
    client::Client,
    output::{Output, note, out_bytes},
    table::{Table, age},
};
use crate::{
    admin::{Code, EventList, Problem},
    events::Event,
};

/// Time between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How far back each look goes: clocks of nodes differ, and what a node is asked for may come late.
const OVERLAP: Duration = Duration::from_secs(60);
/// Events that `describe` shows.
const DESCRIBED: usize = 10;

pub(super) async fn run(client: &Client, args: EventArgs) -> Result<(), Problem> {
    let since = args.since.map_or_else(UnixMillis::default, |back| ago(clock::now(), back));
    let mut list = ask(client, &args, since).await?;
    missing(&list);
    let mut reads = print(&args, &list.events, true)?;
    let mut shown: HashMap<(String, u64), UnixMillis> = HashMap::new();
    while args.watch && reads {
        shown.extend(list.events.iter().map(|event| (key(event), event.at)));
        sleep(LOOK_EVERY).await;
        let from = ago(clock::now(), OVERLAP);
        shown.retain(|_, at| *at >= from);
        list = ask(client, &args, from).await?;
        list.events.retain(|event| !shown.contains_key(&key(event)));
        reads = print(&args, &list.events, false)?;
    }
    Ok(())
}

/// What names an event, whoever of those that saw it tells it.
fn key(event: &Event) -> (String, u64) {
    (event.node.clone(), event.number)
}

fn ago(now: UnixMillis, back: Duration) -> UnixMillis {
    UnixMillis::from_millis(now.as_millis().saturating_sub(u64::try_from(back.as_millis()).unwrap_or(u64::MAX)))
}

async fn ask(client: &Client, args: &EventArgs, since: UnixMillis) -> Result<EventList, Problem> {
    let about = args.about.as_deref().map(|about| plain(about).map(|about| format!("&about={about}"))).transpose()?;
    let level = if args.warnings { "&level=warning" } else { "" };
    let (since, about) = (since.as_millis(), about.unwrap_or_default());
    client.get(&format!("/v1/events?since={since}&limit={}{about}{level}", args.limit)).await
}

/// `about` if it can be part of a URL as it is.
fn plain(about: &str) -> Result<&str, Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.:".contains(&byte);
    if about.contains('/') && about.bytes().all(fits) || about == "mesh" {
        return Ok(about);
    }
    Err(Problem::new(Code::Invalid, format!("`{about}` names nothing that events are about"))
        .hint("endpoint/NAME, replica/NAME, node/NAME, gpu/UUID, key/NAME, token/ID or mesh"))
}

/// Says whose events are not there.
fn missing(list: &EventList) {
    for gone in &list.missing {
        note(&format!("! events of node {} are missing: {}", gone.node, gone.reason));
    }
}

/// Says whether somebody still reads.
fn print(args: &EventArgs, events: &[Event], heads: bool) -> Result<bool, Problem> {
    let output = &args.output.output;
    let text = match output {
        Output::Table | Output::Wide => {
            let text = table(events, matches!(output, Output::Wide)).to_string();
            if heads { text } else { text.split_inclusive('\n').skip(1).collect() }
        }
        // What is followed never ends, so that it cannot be one list.
        Output::Json | Output::Yaml if args.watch => {
            let line = |event| serde_json::to_string(event).map(|line| line + "\n");
            let lines: Result<String, serde_json::Error> = events.iter().map(line).collect();
            lines.map_err(|error| Problem::new(Code::Failed, error))?
        }
        other if args.watch => events.iter().map(|event| other.render(event, |_| "")).collect::<Result<_, _>>()?,
        other => other.render(events, |_| "")?,
    };
    out_bytes(text.as_bytes())
}

fn table(events: &[Event], wide: bool) -> Table {
    let heads = ["AGE", "LEVEL", "REASON", "ABOUT", "ACTOR", "MESSAGE"];
    let mut table = Table::new(&heads, &["TIME", "TOLD BY", "NUMBER"], wide);
    let now = clock::now();
    for event in events {
        let told_by: Vec<&str> = std::iter::once(&event.node).chain(&event.also).map(String::as_str).collect();
        table.row([
            age(now.since(event.at)),
            event.level.to_string(),
            event.reason.clone(),
            event.about.to_string(),
            event.actor.clone(),
            one_line(&event.message),
            event.at.to_string(),
            told_by.join(", "),
            event.number.to_string(),
        ]);
    }
    table
}

/// The first line of `message`: some explain themselves at length, which `-o json` shows.
fn one_line(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { first + " …" } else { first }
}

/// The latest events about `subject`, as a section of a description; empty if none can be had.
pub(super) async fn section(client: &Client, subject: &str) -> String {
    let Ok(about) = plain(subject) else { return String::new() };
    match client.get::<EventList>(&format!("/v1/events?limit={DESCRIBED}&about={about}")).await {
        Err(problem) => format!("Events:       {problem}\n"),
        Ok(list) if list.events.is_empty() => "Events:       none in the last day\n".to_owned(),
        Ok(list) => {
            let mut table = Table::new(&["  AGE", "REASON", "ABOUT", "ACTOR", "MESSAGE"], &[], false);
            for event in &list.events {
                table.row([
                    format!("  {}", age(clock::now().since(event.at))),
                    event.reason.clone(),
                    event.about.to_string(),
                    event.actor.clone(),
                    one_line(&event.message),
                ]);
            }
            format!("Events:\n{table}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_kind_and_a_name() {
        assert_eq!(plain("gpu/GPU-1f:2").unwrap(), "gpu/GPU-1f:2");
        for wrong in ["llama", "endpoint/a&limit=1", "endpoint/a b"] {
            assert_eq!(plain(wrong).unwrap_err().code, Code::Invalid, "{wrong}");
        }
    }

    #[test]
    fn long_messages_take_one_line() {
        assert_eq!((one_line("a\nb").as_str(), one_line("a").as_str(), one_line("").as_str()), ("a …", "a", ""));
    }
}
