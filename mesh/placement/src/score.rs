//! What a place costs, term by term, in USD per GPU-hour.
//!
//! All amounts are whole millionths of a USD, so that every node computes the same. Nothing in them changes with load:
//! load routes requests, it does not move replicas.

use shoal_types::{Decimal, EndpointSpec, EngineSpec, ScoreWeights};

/// Millionths of a USD per GPU-hour.
pub(crate) type Micros = u64;

/// Of each GPU that would be left over on the host: small replicas fill broken hosts, and whole ones stay whole for
/// replicas that need them. The hour of a GPU that cannot be used whole for a tenth of the time, at 3 USD.
const LEFT_OVER: Micros = 300_000;
/// Of weights that are not on the node's disk: less than one GPU of fit, more than noise in the price. Minutes of a GPU
/// that waits for a download, spread over a short life.
const FETCH: Micros = 200_000;
/// Of each millisecond between the clients and the node: 0.1 USD for the 100 ms across an ocean.
const MILLISECOND: Micros = 1_000;
/// What being lost costs beside the time of loading elsewhere: answers that break off, and work for others meanwhile.
const LOSS: Micros = 500_000;
/// Hours that a GPU is paid for without serving when its replica is lost, as a part of one: 6 minutes of cold start.
const RELOADS_PER_HOUR: u64 = 10;

/// What speaks for or against a place, as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Merits {
    /// USD per GPU-hour, if the node says so.
    pub(crate) price: Option<Decimal>,
    /// How often the node has to be expected to be lost, per hour.
    pub(crate) risk: f64,
    /// Whether the weights have to be fetched.
    pub(crate) fetches: bool,
    /// Milliseconds to the clients.
    pub(crate) distance: u64,
}

/// The terms that stay the same however many replicas the node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) price: Micros,
    pub(crate) risk: Micros,
    pub(crate) cache: Micros,
    pub(crate) latency: Micros,
}

impl Merits {
    /// The terms under `weights`, where a price that is not known is taken for `dearest`.
    pub(crate) fn terms(&self, weights: &ScoreWeights, dearest: Decimal) -> Terms {
        let price = self.price.unwrap_or(dearest).as_millionths();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let risk = (self.risk * (price / RELOADS_PER_HOUR + LOSS) as f64) as Micros; // a price is at most 10^18 millionths
        Terms {
            price: weigh(price, weights.price),
            risk: weigh(risk, weights.risk),
            cache: weigh(if self.fetches { FETCH } else { 0 }, weights.cache),
            latency: weigh(self.distance.saturating_mul(MILLISECOND), weights.latency),
        }
    }
}

impl Terms {
    pub(crate) const fn total(self) -> Micros {
        self.price.saturating_add(self.risk).saturating_add(self.cache).saturating_add(self.latency)
    }
}

/// What it costs that `left_over` GPUs are left over.
pub(crate) fn fit(left_over: usize, weights: &ScoreWeights) -> Micros {
    weigh((left_over as u64).saturating_mul(LEFT_OVER), weights.fit)
}

/// Whether a replica loads weights from the node's disk at all.
pub(crate) const fn loads_weights(spec: &EndpointSpec) -> bool {
    match spec.engine {
        EngineSpec::Vllm(_)
        | EngineSpec::Sglang(_)
        | EngineSpec::Trtllm(_)
        | EngineSpec::Llamacpp(_)
        | EngineSpec::Command(_) => true,
        EngineSpec::Gateway(_) | EngineSpec::Sim(_) => false,
    }
}

fn weigh(amount: Micros, weight: Decimal) -> Micros {
    const ONE: u64 = 1_000_000;
    match amount.checked_mul(weight.as_millionths()) {
        Some(product) => product / ONE,
        None => {
            let product = u128::from(amount) * u128::from(weight.as_millionths()) / u128::from(ONE);
            Micros::try_from(product).unwrap_or(Micros::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merits(price: Option<f64>, risk: f64) -> Merits {
        Merits { price: price.and_then(Decimal::from_f64), risk, fetches: false, distance: 0 }
    }

    fn usd(amount: f64) -> Decimal {
        Decimal::from_f64(amount).unwrap()
    }

    #[test]
    fn each_term_has_its_size() {
        let known = Merits { fetches: true, distance: 120, ..merits(Some(2.5), 0.25) };
        let terms = known.terms(&ScoreWeights::default(), usd(9.0));
        // A quarter of a loss per hour, each of which costs 6 minutes of 2.5 USD and half a USD.
        assert_eq!(terms, Terms { price: 2_500_000, risk: 187_500, cache: 200_000, latency: 120_000 });
        assert_eq!(fit(3, &ScoreWeights::default()), 900_000);
    }

    #[test]
    fn a_price_that_is_not_known_is_the_dearest() {
        let terms = merits(None, 0.5).terms(&ScoreWeights::default(), usd(4.0));
        assert_eq!((terms.price, terms.risk), (4_000_000, 450_000));
    }

    #[test]
    fn weights_scale_their_term_and_nothing_overflows() {
        let weights = ScoreWeights { price: usd(0.5), risk: usd(0.0), fit: usd(10.0), ..ScoreWeights::default() };
        let terms = merits(Some(2.5), 4.0).terms(&weights, usd(0.0));
        assert_eq!((terms.price, terms.risk, fit(1, &weights)), (1_250_000, 0, 3_000_000));
        let absurd = ScoreWeights { price: usd(1e12), ..ScoreWeights::default() };
        assert_eq!(merits(Some(1e12), 16.0).terms(&absurd, usd(0.0)).total(), Micros::MAX);
    }
}
