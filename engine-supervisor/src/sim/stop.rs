//! Stop strings: text is given out only when no stop string can begin in it any more.

/// Holds back what may be the beginning of a stop string.
#[derive(Debug, Default)]
pub(super) struct StopBuffer {
    stops: Vec<String>,
    held: String,
}

/// What a token gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Text that is sure, perhaps none.
    Text(String),
    /// The last text, and the stop string that followed it and is not given out.
    Stopped { text: String, stop: String },
}

impl StopBuffer {
    pub(super) fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { stops, held: String::new() }
    }

    pub(super) fn push(&mut self, token: &str) -> Checked {
        self.held.push_str(token);
        let first = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop))).min();
        if let Some((start, stop)) = first {
            let stop = stop.clone();
            let text = self.held[..start].to_owned();
            self.held.clear();
            return Checked::Stopped { text, stop };
        }
        let sure = self.sure();
        Checked::Text(self.held.drain(..sure).collect())
    }

    /// What is held when no more tokens come.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// How many bytes of what is held lie before anything that could become a stop string.
    fn sure(&self) -> usize {
        let may_stop = |tail: &str| self.stops.iter().any(|stop| stop.starts_with(tail));
        self.held
            .char_indices()
            .map(|(start, _)| start)
            .find(|&start| may_stop(&self.held[start..]))
            .unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], tokens: &[&str]) -> (Vec<String>, Option<String>) {
        let mut buffer = StopBuffer::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut texts = Vec::new();
        for token in tokens {
            match buffer.push(token) {
                Checked::Text(text) => texts.push(text),
                Checked::Stopped { text, stop } => {
                    texts.push(text);
                    return (texts, Some(stop));
                }
            }
        }
        texts.push(buffer.finish());
        (texts, None)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_stop_string_over_several_tokens_is_never_given_out() {
        let (given, stop) = run(&["b c d"], &["a", " b", " c", " dx"]);
        assert_eq!((given, stop.as_deref()), (texts(&["a", " ", "", ""]), Some("b c d")));
    }

    #[test]
    fn what_only_looked_like_one_is_given_out_later() {
        assert_eq!(run(&["b c d"], &["a b", " c", " x", " b"]), (texts(&["a ", "", "b c x", " ", "b"]), None));
    }

    #[test]
    fn the_first_of_several_stops() {
        assert_eq!(run(&["z", "y"], &["x y z"]).1.as_deref(), Some("y"));
        assert_eq!(run(&["", "q"], &["x"]), (texts(&["x", ""]), None));
    }
}
