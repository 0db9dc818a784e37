//! The decision. Pure: what is known, the time and the randomness are arguments.

use super::{
    Affinity, Candidate, Choice, Compared, Reason,
    cost::{Cost, Scale, prefill},
    eligible::bring_eligible,
    hash::fold,
    holders::bring_holders,
    prefix::{BLOCK, Prefix},
    sample::{nearest, two_of},
};

/// What chance decides about one choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    /// Of which revision.
    pub(crate) revision: u64,
    /// Which of those that have the prompt are compared.
    pub(crate) holders: [u64; 2],
    /// Which of the near ones are.
    pub(crate) near: [u64; 2],
    /// Which of the others are.
    pub(crate) far: [u64; 2],
    /// Whose turn it is, where they take turns: no chance, but a count.
    pub(crate) turn: u64,
}

impl Dice {
    /// Random numbers that are needed.
    pub(crate) const RANDOM: usize = 7;

    pub(crate) const fn new(random: [u64; Self::RANDOM], turn: u64) -> Self {
        let [revision, h0, h1, n0, n1, f0, f1] = random;
        Self { revision, holders: [h0, h1], near: [n0, n1], far: [f0, f1], turn }
    }
}

/// The replica to try, or `None` if all have been tried. The order of `candidates` is another one afterwards.
///
/// First the revision, by `weights`, among those that have a replica to try; then its replica, by `affinity`.
pub(crate) fn choose(affinity: &Affinity, candidates: &mut [Candidate], weights: &[u8], dice: &Dice) -> Option<Choice> {
    let eligible = bring_eligible(candidates, weights, dice.revision);
    let candidates = &mut candidates[..eligible];
    if candidates.is_empty() {
        return None;
    }
    let scale = Scale::of(candidates.iter());
    match affinity {
        Affinity::Turn => {
            let turn = usize::try_from(dice.turn % candidates.len() as u64).unwrap_or(0);
            Some(Choice::without_comparison(candidates[turn].position, Reason::Turn))
        }
        Affinity::Session(session) => {
            home(candidates, *session).map(|home| Choice::without_comparison(home.position, Reason::Session))
        }
        Affinity::Load => {
            let (field, mut compared) = (Field { candidates, scale, prefix: None }, Compared::default());
            field.lightest(dice, &mut compared).map(|bid| bid.choice(Reason::Lightest, compared))
        }
        Affinity::Prefix(prefix) => {
            let holders = bring_holders(candidates, prefix);
            Field { candidates, scale, prefix: Some(prefix) }.sticky(prefix, holders, dice)
        }
    }
}

/// Where all ingresses that are near the same replicas send what hashes to `root`, without having heard of each other: the
/// one of the nearest with the highest weight for it (rendezvous hashing, Thaler and Ravishankar 1996).
fn home(candidates: &[Candidate], root: u64) -> Option<&Candidate> {
    let nearest = nearest(candidates);
    let near = candidates.iter().filter(|candidate| candidate.distance <= nearest);
    near.max_by_key(|candidate| fold(root, candidate.key))
}

/// Those that may get the request.
struct Field<'a> {
    candidates: &'a [Candidate],
    scale: Scale,
    prefix: Option<&'a Prefix>,
}

/// What a candidate would cost.
#[derive(Clone, Copy)]
struct Bid<'a> {
    candidate: &'a Candidate,
    /// Bytes of the prompt that it is believed to have.
    held: usize,
    /// Until it comes to the prompt, the way included.
    wait: Cost,
    /// Computing what it has not of the prompt.
    prefill: Cost,
}

impl Bid<'_> {
    fn cost(&self) -> Cost {
        self.wait + self.prefill
    }

    const fn choice(self, reason: Reason, compared: Compared) -> Choice {
        Choice { position: self.candidate.position, reason, held: self.held, compared }
    }
}

impl Field<'_> {
    /// Stays with those that have the prompt, the first `holders`, or with its home, as long as waiting there costs less
    /// than all of it does elsewhere.
    fn sticky(&self, prefix: &Prefix, holders: usize, dice: &Dice) -> Option<Choice> {
        let mut compared = Compared::default();
        let (holders, at_home) = (&self.candidates[..holders], home(self.candidates, prefix.root())?.position);
        // What all of them have had is as well at home, where other ingresses look for what follows.
        let is_home = |holder: &Candidate| holder.position == at_home;
        let are_all = prefix.root_blocks() > 0 || !holders.iter().any(is_home);
        let holders = two_of(holders, |holder| are_all || is_home(holder), dice.holders);
        let (stay, reason) = match self.cheapest(holders, &mut compared) {
            Some(holder) => (holder, Reason::Holds),
            None => (self.at_home(prefix)?, Reason::Home),
        };
        compared.note(stay.candidate.position, stay.cost());
        let go = self.lightest(dice, &mut compared)?;
        // What is computed twice is paid twice: by this request, and by those that wait behind it.
        let is_saturated = stay.cost() > go.cost() + go.prefill;
        let (bid, reason) = if is_saturated { (go, Reason::Saturated) } else { (stay, reason) };
        Some(bid.choice(reason, compared))
    }

    /// What its home costs. Another ingress may have sent the prompt there before: then all of it is there.
    fn at_home(&self, prefix: &Prefix) -> Option<Bid<'_>> {
        let home = home(self.candidates, prefix.shared_root().unwrap_or_else(|| prefix.root()))?;
        Some(Bid { prefill: Cost::ZERO, ..self.bid(home) })
    }

    /// The one that costs the least of two near ones, two far ones, and the best of this node: its load is known exactly,
    /// and reaching it costs nothing.
    fn lightest(&self, dice: &Dice, compared: &mut Compared) -> Option<Bid<'_>> {
        let nearest = nearest(self.candidates);
        let near = two_of(self.candidates, |candidate| candidate.distance <= nearest, dice.near);
        let far = two_of(self.candidates, |candidate| candidate.distance > nearest, dice.far);
        let local = self.candidates.iter().filter(|candidate| candidate.local);
        let local = local.min_by_key(|candidate| self.wait(candidate));
        self.cheapest(near.chain(far).chain(local), compared)
    }

    /// The one that costs the least; what is on this node wins ties.
    fn cheapest<'b>(
        &self,
        candidates: impl Iterator<Item = &'b Candidate>,
        compared: &mut Compared,
    ) -> Option<Bid<'b>> {
        let bids = candidates.map(|candidate| self.bid(candidate));
        bids.inspect(|bid| compared.note(bid.candidate.position, bid.cost()))
            .min_by_key(|bid| (bid.cost(), !bid.candidate.local))
    }

    fn bid<'b>(&self, candidate: &'b Candidate) -> Bid<'b> {
        let (bytes, held) =
            self.prefix.map_or((0, 0), |prefix| (prefix.bytes(), (candidate.held * BLOCK).min(prefix.bytes())));
        Bid { candidate, held, wait: self.wait(candidate), prefill: prefill(bytes - held) }
    }

    fn wait(&self, candidate: &Candidate) -> Cost {
        self.scale.wait(candidate) + candidate.distance + candidate.price
    }
}

#[cfg(test)]
mod tests;
