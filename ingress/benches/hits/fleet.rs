//! A fleet in virtual time: clients, ingresses that know nothing of each other but late gossip, and engines.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use shoal_ingress::trial::{Sent, Trial};
use shoal_types::{Load, RoutingPolicy};
use tokio::time::Instant;

use super::{
    chat::{Clients, Conversation, exponential},
    engine::Engine,
};

/// Seconds between two words of gossip, and how long each is under way.
const GOSSIP_EVERY: f64 = 1.0;
const GOSSIP_DELAY: f64 = 1.0;
/// Seconds that an answer takes after its first token: some 200 tokens.
const ANSWER: f64 = 4.0;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub policy: RoutingPolicy,
    pub ingresses: usize,
    pub replicas: usize,
    /// Of each engine's cache.
    pub tokens: usize,
    pub clients: Clients,
    /// Whether each request of a conversation comes to another ingress, or all come to one.
    pub roaming: bool,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Which part of all bytes of prompts was in a cache.
    pub hits: f64,
    /// Seconds until the first token: the mean, and what 95 of 100 stay below.
    pub mean: f64,
    pub p95: f64,
    /// Requests of the replica that had most, by the mean.
    pub spread: f64,
}

enum Event {
    Begin,
    Ask(Box<Conversation>, usize),
    FirstToken(Box<Conversation>, usize, Sent),
    End(Box<Conversation>, usize, Sent),
    Measure,
    Hear(Vec<Load>),
}

struct Fleet {
    setup: Setup,
    start: Instant,
    ingresses: Vec<Trial>,
    engines: Vec<Engine>,
    counts: Vec<u32>,
    begun: u32,
    running: u32,
    waits: Vec<f64>,
    random: StdRng,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
}

/// Runs it to its end.
pub fn run(setup: Setup) -> Outcome {
    let mut random = StdRng::seed_from_u64(setup.seed);
    let mut ingresses: Vec<Trial> = (0..setup.ingresses).map(|_| Trial::new(random.random())).collect();
    let start = Instant::now();
    for ingress in &mut ingresses {
        ingress.route(setup.policy, &vec![None; setup.replicas], start);
    }
    let mut fleet = Fleet {
        setup,
        start,
        ingresses,
        engines: (0..setup.replicas).map(|_| Engine::new(setup.tokens)).collect(),
        counts: vec![0; setup.replicas],
        begun: 0,
        running: 0,
        waits: Vec::new(),
        random,
        queue: BinaryHeap::new(),
        events: Vec::new(),
    };
    fleet.at(0.0, Event::Begin);
    fleet.at(0.0, Event::Measure);
    while let Some(Reverse((micros, event))) = fleet.queue.pop() {
        let event = fleet.events[usize::try_from(event).unwrap()].take().unwrap();
        fleet.happen(event, micros as f64 / 1e6);
    }
    fleet.outcome()
}

impl Fleet {
    fn at(&mut self, time: f64, event: Event) {
        self.queue.push(Reverse(((time * 1e6) as u64, self.events.len() as u64)));
        self.events.push(Some(event));
    }

    fn happen(&mut self, event: Event, now: f64) {
        match event {
            Event::Begin => self.begin(now),
            Event::Ask(conversation, ingress) => self.ask(conversation, ingress, now),
            Event::FirstToken(conversation, ingress, mut sent) => {
                let load = self.beside(sent.position(), now);
                sent.answered(load, self.instant(now));
                let length = exponential(&mut self.random, ANSWER);
                self.at(now + length, Event::End(conversation, ingress, sent));
            }
            Event::End(conversation, ingress, sent) => self.end(conversation, ingress, sent, now),
            Event::Measure => {
                let loads = self.engines.iter_mut().map(|engine| engine.load(now)).collect();
                self.at(now + GOSSIP_DELAY, Event::Hear(loads));
                if self.begun < self.setup.clients.conversations || self.running > 0 {
                    self.at(now + GOSSIP_EVERY, Event::Measure);
                }
            }
            Event::Hear(loads) => {
                let (loads, now) = (loads.into_iter().map(Some).collect::<Vec<_>>(), self.instant(now));
                for ingress in &mut self.ingresses {
                    ingress.route(self.setup.policy, &loads, now);
                }
            }
        }
    }

    fn begin(&mut self, now: f64) {
        let conversation = Box::new(self.setup.clients.begin(&mut self.random));
        let ingress = self.random.random_range(0..self.ingresses.len());
        self.begun += 1;
        self.running += 1;
        self.ask(conversation, ingress, now);
        if self.begun < self.setup.clients.conversations {
            let pause = self.setup.clients.pause(&mut self.random);
            self.at(now + pause, Event::Begin);
        }
    }

    fn ask(&mut self, conversation: Box<Conversation>, ingress: usize, now: f64) {
        let at = self.instant(now);
        let sent = self.ingresses[ingress].send(conversation.request().as_bytes(), at).unwrap();
        self.counts[sent.position()] += 1;
        let first = self.engines[sent.position()].take(conversation.prompt(), now);
        self.waits.push(first - now);
        self.at(first, Event::FirstToken(conversation, ingress, sent));
    }

    fn end(&mut self, mut conversation: Box<Conversation>, ingress: usize, sent: Sent, now: f64) {
        let load = self.beside(sent.position(), now);
        self.engines[sent.position()].inflight -= 1;
        sent.ended(load, self.instant(now));
        match conversation.answered() {
            Some(pause) => {
                let all = self.ingresses.len();
                let next = if self.setup.roaming { self.random.random_range(0..all) } else { ingress };
                self.at(now + pause, Event::Ask(conversation, next));
            }
            None => self.running -= 1,
        }
    }

    /// What a replica says along with an answer: what it has beside that request.
    fn beside(&mut self, replica: usize, now: f64) -> Load {
        let load = self.engines[replica].load(now);
        Load { inflight: load.inflight - 1, running: load.running.map(|running| running.saturating_sub(1)), ..load }
    }

    fn instant(&self, now: f64) -> Instant {
        self.start + Duration::from_secs_f64(now)
    }

    fn outcome(mut self) -> Outcome {
        let (bytes, cached) =
            self.engines.iter().fold((0, 0), |sum, engine| (sum.0 + engine.bytes.0, sum.1 + engine.bytes.1));
        self.waits.sort_by(f64::total_cmp);
        let count = self.waits.len();
        let most = self.counts.iter().max().copied().unwrap_or(0);
        Outcome {
            hits: cached as f64 / bytes as f64,
            mean: self.waits.iter().sum::<f64>() / count as f64,
            p95: self.waits[count * 95 / 100],
            spread: f64::from(most) * self.counts.len() as f64 / count as f64,
        }
    }
}
