//! Which policies are run, with which settings.

use serde::Serialize;
use shoal_placement::spot::{
    EvenSpread, Market, Policy, Portfolio, RoundRobin, SpotHedge, Tuning,
    simulate::{Outcome, Scenario, Trace, optimum, run},
};
use shoal_types::{Spot, UnixMillis};

use super::args::{PolicyName, SimulateArgs};

/// How many are overprovisioned in a sweep.
const SWEPT_OVERPROVISION: [u32; 5] = [0, 1, 2, 3, 4];

/// Up to which probability of falling short less is overprovisioned, in a sweep.
const SWEPT_EPSILON: [f64; 7] = [0.0, 0.0003, 0.0006, 0.0012, 0.0025, 0.005, 0.01];

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) count_from: UnixMillis,
    pub(super) until: UnixMillis,
}

/// One policy with one setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Setting {
    pub(super) policy: PolicyName,
    pub(super) replicas: u32,
    /// Spot replicas beyond those, at most.
    pub(super) overprovision: u32,
    /// Whether capacity on demand is used.
    pub(super) fallback: bool,
    /// Only of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epsilon: Option<f64>,
}

/// How a setting fared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) setting: Setting,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// All that is run.
#[derive(Debug)]
pub(super) struct Campaign<'a> {
    args: &'a SimulateArgs,
    trace: &'a Trace,
    market: &'a Market,
    span: Span,
}

impl<'a> Campaign<'a> {
    pub(super) const fn new(args: &'a SimulateArgs, trace: &'a Trace, market: &'a Market, span: Span) -> Self {
        Self { args, trace, market, span }
    }

    /// Runs everything, in the order of the flags.
    pub(super) fn rows(&self) -> Vec<Row> {
        let each =
            self.args.replicas.iter().flat_map(|&replicas| {
                self.args.policies.iter().flat_map(move |&policy| self.settings(policy, replicas))
            });
        each.filter_map(|setting| self.outcome(setting).map(|outcome| Row { setting, outcome })).collect()
    }

    fn settings(&self, policy: PolicyName, replicas: u32) -> Vec<Setting> {
        let args = self.args;
        let setting = |overprovision, fallback, epsilon| {
            let epsilon = (policy == PolicyName::Ours).then_some(epsilon);
            Setting { policy, replicas, overprovision, fallback, epsilon }
        };
        match policy {
            PolicyName::Optimum => vec![setting(0, true, 0.0)],
            PolicyName::EvenSpread | PolicyName::RoundRobin if args.sweep => {
                SWEPT_OVERPROVISION.map(|extra| setting(extra, false, 0.0)).to_vec()
            }
            PolicyName::EvenSpread | PolicyName::RoundRobin => vec![setting(args.overprovision, false, 0.0)],
            PolicyName::Spothedge if args.sweep => {
                let hedged = SWEPT_OVERPROVISION.map(|extra| setting(extra, true, 0.0));
                [setting(0, false, 0.0)].into_iter().chain(hedged).collect()
            }
            PolicyName::Ours if args.sweep => {
                // Where nothing is spare, nothing can be spared.
                let spare = SWEPT_OVERPROVISION.into_iter().filter(|&extra| extra > 0);
                let hedged = spare.flat_map(|extra| SWEPT_EPSILON.map(|epsilon| setting(extra, true, epsilon)));
                [setting(0, false, 0.0), setting(0, true, 0.0)].into_iter().chain(hedged).collect()
            }
            PolicyName::Spothedge | PolicyName::Ours => {
                vec![setting(args.overprovision, !args.no_fallback, args.epsilon)]
            }
        }
    }

    /// The mean over seeds; `None` where there is no bound.
    fn outcome(&self, setting: Setting) -> Option<Outcome> {
        let scenario = Scenario {
            replicas: setting.replicas,
            cold_start: self.args.cold_start,
            step: self.args.step,
            count_from: self.span.count_from,
        };
        if setting.policy == PolicyName::Optimum {
            return optimum(self.trace, self.market, &scenario);
        }
        let outcomes = (0..u64::from(self.args.runs)).map(|run_of| {
            let mut policy = self.policy(setting, self.args.seed.wrapping_add(run_of))?;
            Some(run(self.trace, self.market, &scenario, policy.as_mut()))
        });
        outcomes.collect::<Option<Vec<_>>>().map(|outcomes| Outcome::mean(&outcomes))
    }

    fn policy(&self, setting: Setting, seed: u64) -> Option<Box<dyn Policy>> {
        let Setting { overprovision, fallback, .. } = setting;
        let spot = Spot { overprovision, on_demand_fallback: fallback, on_demand_base: 0 };
        let market = self.market.clone();
        Some(match setting.policy {
            PolicyName::EvenSpread => Box::new(EvenSpread::new(&market, &spot)),
            PolicyName::RoundRobin => Box::new(RoundRobin::new(&market, &spot)),
            PolicyName::Spothedge => Box::new(SpotHedge::new(market, spot, seed)),
            PolicyName::Ours => {
                let epsilon = setting.epsilon.unwrap_or_default();
                let tuning = Tuning { cold_start: self.args.cold_start, epsilon, ..Tuning::default() };
                Box::new(Portfolio::new(market, spot, tuning, seed))
            }
            PolicyName::Optimum => return None,
        })
    }
}
