//! The screen of `shoal top`: what is drawn, and what keys do.

use std::{io, time::Duration};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::{Line, Text},
    widgets::{Row, Table},
};
use shoal_mesh::clock;
use shoal_types::UnixMillis;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::page::{Page, Snapshot, Tone};
use crate::{
    admin::{Code, Problem},
    cli::{
        args::TopPage,
        output::wants_colours,
        table::{self, age},
    },
};

/// Longest wait for a key before the screen is drawn anew.
const TICK: Duration = Duration::from_millis(250);

type Looks = watch::Receiver<Result<Snapshot, Problem>>;

/// What is shown, and of what.
#[derive(Debug)]
pub(super) struct Screen {
    page: TopPage,
    /// Rows that are scrolled past.
    offset: usize,
    looks: Looks,
    /// The last that succeeded.
    latest: Option<Snapshot>,
    /// Why there is none since.
    problem: Option<Problem>,
    colours: bool,
}

impl Screen {
    pub(super) fn new(page: TopPage, looks: Looks) -> Self {
        Self { page, offset: 0, looks, latest: None, problem: None, colours: wants_colours() }
    }

    /// Draws until a key or `stop` ends it. Blocks.
    pub(super) fn run(mut self, stop: &CancellationToken) -> Result<(), Problem> {
        let mut terminal = ratatui::try_init().map_err(undrawn)?;
        let ended = self.draw_until_quit(&mut terminal, stop);
        // Also after an error: a terminal that is left raw is of no use to anybody.
        ratatui::try_restore().map_err(undrawn)?;
        ended
    }

    fn draw_until_quit(&mut self, terminal: &mut DefaultTerminal, stop: &CancellationToken) -> Result<(), Problem> {
        while !stop.is_cancelled() {
            self.take_news()?;
            terminal.draw(|frame| self.draw(frame, clock::now())).map_err(undrawn)?;
            if !event::poll(TICK).map_err(undrawn)? {
                continue;
            }
            if let Event::Key(key) = event::read().map_err(undrawn)?
                && key.kind == KeyEventKind::Press
                && self.press(key) == Next::Quit
            {
                break;
            }
        }
        Ok(())
    }

    /// # Errors
    /// If nobody looks any more: what is shown would stay as it is.
    fn take_news(&mut self) -> Result<(), Problem> {
        let changed = self.looks.has_changed();
        let changed = changed.map_err(|_| Problem::new(Code::Failed, "the part that looks at the mesh has ended"))?;
        if self.latest.is_none() || changed {
            match self.looks.borrow_and_update().clone() {
                Ok(snapshot) => (self.latest, self.problem) = (Some(snapshot), None),
                Err(problem) => self.problem = Some(problem),
            }
        }
        Ok(())
    }

    fn press(&mut self, key: KeyEvent) -> Next {
        match (key.code, key.modifiers) {
            (KeyCode::Char('c'), KeyModifiers::CONTROL) | (KeyCode::Char('q') | KeyCode::Esc, _) => return Next::Quit,
            (KeyCode::Char('1' | 'n'), _) => self.turn_to(TopPage::Nodes),
            (KeyCode::Char('2' | 'e'), _) => self.turn_to(TopPage::Endpoints),
            (KeyCode::Char('3' | 'r'), _) => self.turn_to(TopPage::Requests),
            (KeyCode::Tab, _) => {
                let at = TopPage::ALL.iter().position(|page| *page == self.page).unwrap_or(0);
                self.turn_to(TopPage::ALL[(at + 1) % TopPage::ALL.len()]);
            }
            (KeyCode::Down | KeyCode::Char('j'), _) => self.offset += 1,
            (KeyCode::PageDown, _) => self.offset += 10,
            (KeyCode::Up | KeyCode::Char('k'), _) => self.offset = self.offset.saturating_sub(1),
            (KeyCode::PageUp, _) => self.offset = self.offset.saturating_sub(10),
            (KeyCode::Home | KeyCode::Char('g'), _) => self.offset = 0,
            _ => {}
        }
        Next::GoOn
    }

    fn turn_to(&mut self, page: TopPage) {
        (self.page, self.offset) = (page, 0);
    }

    fn draw(&mut self, frame: &mut Frame<'_>, now: UnixMillis) {
        let Some(snapshot) = &self.latest else { return };
        let problems = self.problem_lines(snapshot, now);
        let height = u16::try_from(problems.len()).unwrap_or(u16::MAX).min(frame.area().height / 3);
        let rows = [Constraint::Length(1), Constraint::Length(height), Constraint::Min(1), Constraint::Length(1)];
        let [head, above, body, keys] = Layout::vertical(rows).areas(frame.area());
        let Page { table, tones } = self.page.of(snapshot);
        // What is shown when it is scrolled too far is the last row.
        self.offset = self.offset.min(tones.len().saturating_sub(1));
        let title = Line::from(title(self.page, snapshot, now)).style(Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(title, head);
        frame.render_widget(Text::from(problems), above);
        frame.render_widget(self.rows(table, &tones), body);
        frame.render_widget(Line::from("1 nodes  2 endpoints  3 requests  Tab next  arrows scroll  q quit"), keys);
    }

    fn rows(&self, table: table::Table, tones: &[Tone]) -> Table<'static> {
        let (heads, rows) = table.into_parts();
        let width = |column: usize| {
            let cells = rows.iter().chain([&heads]).filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
        };
        let widths: Vec<Constraint> = (0..heads.len()).map(width).collect();
        let toned = rows.into_iter().zip(tones).skip(self.offset);
        Table::new(toned.map(|(row, tone)| Row::new(row).style(self.style(*tone))), widths)
            .header(Row::new(heads).style(Style::new().add_modifier(Modifier::REVERSED)))
            .column_spacing(2)
    }

    fn problem_lines(&self, snapshot: &Snapshot, now: UnixMillis) -> Vec<Line<'static>> {
        let lost = self
            .problem
            .as_ref()
            .map(|problem| format!("no news for {}: {}", age(now.since(snapshot.at)), problem.message));
        let all = lost.into_iter().chain(snapshot.status.problems.iter().cloned());
        all.map(|problem| Line::from(format!("! {problem}")).style(self.style(Tone::Trouble))).collect()
    }

    fn style(&self, tone: Tone) -> Style {
        match tone {
            Tone::Changing if self.colours => Style::new().fg(Color::Yellow),
            Tone::Trouble if self.colours => Style::new().fg(Color::Red),
            Tone::Plain | Tone::Changing | Tone::Trouble => Style::new(),
        }
    }
}

fn undrawn(error: io::Error) -> Problem {
    Problem::new(Code::Failed, format!("cannot draw on this terminal: {error}"))
}

fn title(page: TopPage, snapshot: &Snapshot, now: UnixMillis) -> String {
    let status = &snapshot.status;
    format!(
        "shoal top {}   mesh {} seen from {}   {} node(s), {} endpoint(s)   {} ago",
        page.title(),
        status.mesh,
        status.node,
        status.nodes.len(),
        status.endpoints.len(),
        age(now.since(snapshot.at)),
    )
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Quit,
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis::from_millis(1_796_025_540_000);
    const NODE: &str = "rw3k4lhafsn4emn3u7rlu4rkdi";

    /// A node with two GPUs, an endpoint and a request, as a daemon tells of them.
    fn snapshot(liveness: &serde_json::Value) -> Snapshot {
        let version = json!({"time": 1, "counter": 0, "node": NODE});
        let gpu = |id: &str, used: &str| {
            json!({"id": id, "name": "H100", "memory": "80GiB", "memoryUsed": used, "utilization": 90, "temperature": 65,
                "usedBy": "free"})
        };
        let replica = json!({
            "name": "hello-wtdgm", "claim": format!("{NODE}.1.1"), "endpoint": "hello", "revision": version,
            "node": "gpu-1", "liveness": liveness, "zone": "eu", "state": "ready", "since": 1, "sinceMs": 5, "gpus": 1,
            "reason": null, "progress": null, "leaving": null,
            "load": {"inflight": 3, "running": 3, "waiting": 0, "kvCache": 0},
        });
        let status = json!({
            "mesh": "m", "node": "gpu-1", "version": "0.1.0", "certificateExpires": 1, "problems": ["something is wrong"],
            "nodes": [{
                "id": NODE, "name": "gpu-1", "liveness": liveness, "departure": null,
                "facts": {
                    "name": "gpu-1", "labels": {"cluster": "home", "zone": "eu", "capacityType": "on-demand"},
                    "addresses": [], "version": "0.1.0", "protocol": 2,
                    "host": {"cpus": 2, "memory": "8GiB", "os": "Linux"}, "gpuSource": "nvml", "issuer": true,
                    "requestsCapacity": false, "engines": ["sim"], "started": 1,
                },
                "gpus": [gpu("A", "4GiB"), gpu("B", "80GiB")], "gpusFree": 2, "replicas": [replica], "ageMs": 3_000,
                "rttMs": null,
            }],
            "endpoints": [{
                "apiVersion": "shoal/v1", "kind": "Endpoint", "metadata": {"name": "hello"},
                "spec": {"model": "test/hello", "engine": {"kind": "sim"}},
                "status": {"health": "ready", "desired": 1, "ready": 1, "revision": version, "version": version,
                    "replicas": [], "excluded": {}},
            }],
        });
        let traffic = json!({"succeeded": 10, "failed": 5, "output": 250, "inflight": 3, "held": 1});
        let point = |at: u64| json!({"at": at, "endpoints": {"hello": traffic}});
        let history = json!({"stepMs": 5_000, "nodes": {NODE: [point(1), point(2)]}, "missing": []});
        let request = json!({
            "ingress": NODE, "id": "0ea0", "arrived": NOW.as_millis() - 9_000, "operation": "chat", "endpoint": "hello",
            "stream": true, "status": 200, "outcome": "finished", "queuedUs": 36, "firstByteUs": 42_277,
            "firstTokenUs": 42_396, "tookUs": 333_147,
            "tokens": {"input": 26, "output": 22, "cached": 0, "exact": false}, "attempts": 1, "resumes": 0, "node": NODE,
            "replica": "hello-wtdgm",
        });
        let requests = json!({"requests": [request], "names": {NODE: "gpu-1"}, "missing": []});
        Snapshot {
            status: serde_json::from_value(status).unwrap(),
            history: serde_json::from_value(history).unwrap(),
            requests: serde_json::from_value(requests).unwrap(),
            at: NOW,
        }
    }

    fn screen(liveness: &serde_json::Value) -> Screen {
        let (_, looks) = watch::channel(Ok(snapshot(liveness)));
        let mut screen = Screen::new(TopPage::Nodes, looks);
        (screen.colours, screen.latest) = (true, Some(snapshot(liveness)));
        screen
    }

    fn drawn(screen: &mut Screen) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(110, 10)).unwrap();
        terminal.draw(|frame| screen.draw(frame, NOW.plus(Duration::from_secs(4)))).unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(buffer.area.width)).map(|line| line.concat().trim_end().to_owned()).collect()
    }

    fn press(screen: &mut Screen, key: KeyCode) -> Next {
        screen.press(KeyEvent::new(key, KeyModifiers::NONE))
    }

    #[test]
    fn each_page_shows_the_mesh_as_it_is() {
        let mut screen = screen(&json!("alive"));
        let nodes = lines(&drawn(&mut screen));
        assert!(nodes[0].starts_with("shoal top nodes   mesh m seen from gpu-1   1 node(s), 1 endpoint(s)   4s ago"));
        assert_eq!(nodes[1], "! something is wrong");
        assert_eq!(nodes[2], "NAME   STATE  ZONE  GPUS  UTIL  MEMORY  TEMP  FREE  REPLICAS  INFLIGHT  NEWS");
        assert_eq!(nodes[3], "gpu-1  alive  eu    2     ▇▇    ▁█      65C   2     1         3         3s ago");
        assert!(nodes[9].contains("q quit"));

        assert_eq!(press(&mut screen, KeyCode::Tab), Next::GoOn);
        let endpoints = lines(&drawn(&mut screen));
        let row: Vec<&str> = endpoints[3].split_whitespace().collect();
        // Twice 15 requests, 5 of them failed, and 250 tokens, in ten seconds.
        assert_eq!(row[..6], ["hello", "ready", "1/1", "3.0", "1.0", "50.0"]);
        assert_eq!(row[8..10], ["3", "1"]);

        press(&mut screen, KeyCode::Char('3'));
        let requests = lines(&drawn(&mut screen));
        assert_eq!(requests[3], "9s   hello     gpu-1  200     42ms  333ms  26  22   1      0ea0");
    }

    #[test]
    fn trouble_is_red_where_there_are_colours_and_news_that_stay_out_are_told() {
        let mut screen = screen(&json!({"suspect": {"since": 1}}));
        let colour = |screen: &mut Screen| drawn(screen)[(0, 3)].fg;
        assert_eq!(colour(&mut screen), Color::Red);
        screen.colours = false;
        assert_eq!(colour(&mut screen), Color::Reset);
        screen.problem = Some(Problem::new(Code::Unreachable, "nobody answers"));
        assert_eq!(lines(&drawn(&mut screen))[1], "! no news for 4s: nobody answers");
    }

    #[test]
    fn news_are_taken_while_somebody_looks_and_then_it_ends() {
        let (sender, looks) = watch::channel(Ok(snapshot(&json!("alive"))));
        let mut screen = Screen::new(TopPage::Nodes, looks);
        screen.take_news().unwrap();
        assert!(screen.latest.is_some() && screen.problem.is_none());
        drop(sender.send_replace(Err(Problem::new(Code::Unreachable, "nobody answers"))));
        screen.take_news().unwrap();
        assert!(screen.latest.is_some() && screen.problem.is_some());
        drop(sender);
        assert_eq!(screen.take_news().unwrap_err().code, Code::Failed);
    }

    #[test]
    fn keys_turn_pages_scroll_within_what_is_there_and_end_it() {
        let mut screen = screen(&json!("alive"));
        for _ in 0..5 {
            press(&mut screen, KeyCode::Down);
        }
        drawn(&mut screen);
        assert_eq!(screen.offset, 0, "there is one row");
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Quit);
        assert_eq!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
        assert_eq!(press(&mut screen, KeyCode::Char('c')), Next::GoOn);
    }
}
