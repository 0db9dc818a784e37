//! Who is believed to have a prompt.

use super::{Candidate, eligible::bring, prefix::Prefix};

/// A prompt is where this part of its blocks is: what is left is computed in no time (llm-d's threshold).
const MOST: (usize, usize) = (4, 5);

/// Brings those of `candidates` that have the most of `prefix` to the front and returns how many they are: none, unless
/// they have four fifths of it, and more than its first turn, if it is a later one. Of a later turn, who has had only the
/// first is no better than its home, where others may have sent the turns between.
pub(super) fn bring_holders(candidates: &mut [Candidate], prefix: &Prefix) -> usize {
    let least = (prefix.blocks().len() * MOST.0).div_ceil(MOST.1).max(prefix.root_blocks() + 1);
    match candidates.iter().map(|candidate| candidate.held).max() {
        Some(most) if most >= least => bring(candidates, |candidate| candidate.held == most),
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Prompt;

    /// The positions of those that have the most of a prompt of `blocks` blocks, of which the replicas have as many as
    /// `held` says.
    fn holders(blocks: usize, held: &[usize]) -> Vec<usize> {
        let body = "a".repeat(blocks * crate::choose::prefix::BLOCK);
        let prefix = Prefix::new(1, &Prompt::of_body(body.as_bytes())).unwrap();
        let candidate = |(position, &held)| Candidate { position, held, ..Candidate::default() };
        let mut candidates: Vec<Candidate> = held.iter().enumerate().map(candidate).collect();
        let count = bring_holders(&mut candidates, &prefix);
        let mut found: Vec<usize> = candidates[..count].iter().map(|candidate| candidate.position).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn four_fifths_of_a_prompt_are_most_of_it() {
        assert_eq!(holders(10, &[3, 8, 0]), [1]);
        assert_eq!(holders(1, &[0, 1]), [1]);
    }

    #[test]
    fn of_several_those_that_have_more_are_meant() {
        assert_eq!(holders(100, &[80, 97, 0, 96, 97]), [1, 4]);
        assert_eq!(holders(100, &[100, 99, 100]), [0, 2]);
    }

    #[test]
    fn who_has_only_had_the_first_turn_of_a_later_one_does_not_count() {
        let question = "q".repeat(8 * crate::choose::prefix::BLOCK);
        let messages = |answer: &str| {
            format!(r#"[{{"role":"user","content":"{question}"}},{{"role":"assistant","content":"{answer}"}}]"#)
        };
        let of = |answer: &str| Prefix::new(1, &Prompt::of_body(messages(answer).as_bytes())).unwrap();
        let (short, long) = (of("a"), of(&"a".repeat(600)));
        let count =
            |prefix: &Prefix, held: usize| bring_holders(&mut [Candidate { held, ..Candidate::default() }], prefix);
        assert_eq!([count(&short, 8), count(&long, 8), count(&long, 9), count(&long, 10)], [0, 0, 1, 1]);
    }
}
