//! Conversations of several applications: system prompts that all conversations of one share, and turns that repeat all
//! that was said before.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// What kind of clients there are.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    /// Applications; the second has half as many conversations as the first, the third a third, and so on.
    pub applications: u32,
    /// Conversations that begin in a second.
    pub per_second: f64,
    /// How many begin in all.
    pub conversations: u32,
}

/// One conversation as far as it has come.
#[derive(Debug)]
pub struct Conversation {
    messages: String,
    turns_left: u32,
    random: StdRng,
}

impl Clients {
    /// Seconds until the next conversation begins.
    pub fn pause(&self, random: &mut StdRng) -> f64 {
        exponential(random, 1.0 / self.per_second)
    }

    /// A new conversation with its first question.
    pub fn begin(&self, random: &mut StdRng) -> Conversation {
        let weight = |application: u32| 1.0 / f64::from(application + 1);
        let mut point = random.random::<f64>() * (0..self.applications).map(weight).sum::<f64>();
        let application = (0..self.applications).find(|&application| {
            point -= weight(application);
            point < 0.0
        });
        let mut of_application = StdRng::seed_from_u64(application.unwrap_or(0).into());
        let length = of_application.random_range(2_000..12_000);
        let system = text(&mut of_application, length);
        let mut conversation = Conversation {
            messages: format!(r#"{{"role":"system","content":"{system}"}}"#),
            turns_left: random.random_range(1..=8),
            random: StdRng::seed_from_u64(random.random()),
        };
        conversation.ask();
        conversation
    }
}

impl Conversation {
    /// The body of the request that is next.
    pub fn request(&self) -> String {
        format!(r#"{{"model":"llama","stream":true,"messages":[{}]}}"#, self.messages)
    }

    /// All that a prefix cache could know of it.
    pub fn prompt(&self) -> &str {
        &self.messages
    }

    /// It is answered. Returns the seconds until it goes on, if it does.
    pub fn answered(&mut self) -> Option<f64> {
        self.turns_left -= 1;
        if self.turns_left == 0 {
            return None;
        }
        self.say("assistant", 400..1_600);
        self.ask();
        Some(2.0 + exponential(&mut self.random, 10.0))
    }

    fn ask(&mut self) {
        self.say("user", 100..2_000);
    }

    fn say(&mut self, role: &str, bytes: std::ops::Range<usize>) {
        let length = self.random.random_range(bytes);
        let words = text(&mut self.random, length);
        self.messages.push_str(&format!(r#",{{"role":"{role}","content":"{words}"}}"#));
    }
}

fn text(random: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}

pub fn exponential(random: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - random.random::<f64>()).ln()
}
