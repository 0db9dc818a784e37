//! What came of it.

use serde::Serialize;
use shoal_placement::spot::{Market, simulate::Trace};
use shoal_types::HumanDuration;

use super::{
    args::{PolicyName, SimulateArgs},
    campaign::{Row, Span},
};
use crate::cli::{Named, Table};

/// What came of it, and of what.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    zones: usize,
    /// Of what is counted.
    from: String,
    until: String,
    cold_start: HumanDuration,
    /// By what all cost is measured: the cheapest price on demand, per GPU-hour.
    on_demand_price: f64,
    runs: u32,
    seed: u64,
    pub(super) rows: Vec<Row>,
}

impl Named for Report {}

impl Report {
    pub(super) fn new(trace: &Trace, market: &Market, span: Span, args: &SimulateArgs, rows: Vec<Row>) -> Self {
        Self {
            zones: trace.zones().len(),
            from: span.count_from.to_string(),
            until: span.until.to_string(),
            cold_start: HumanDuration(args.cold_start),
            on_demand_price: market.cheapest_firm().map_or(f64::NAN, |offer| market.price(offer)),
            runs: args.runs,
            seed: args.seed,
            rows,
        }
    }

    pub(super) fn table(&self, wide: bool) -> Table {
        let heads = [
            "REPLICAS",
            "POLICY",
            "SPARE",
            "FALLBACK",
            "EPSILON",
            "AVAILABLE",
            "COST",
            "PREEMPTED",
            "SURVIVED",
            "MOVES",
        ];
        let mut table = Table::new(&heads, &["REFUSED", "ON-DEMAND"], wide);
        for row in &self.rows {
            table.row(cells(row));
        }
        table
    }

    /// In one line, for people.
    pub(super) fn title(&self) -> String {
        format!("{} zones, {} to {}, cold start {}", self.zones, day(&self.from), day(&self.until), self.cold_start)
    }
}

fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

fn cells(Row { setting, outcome }: &Row) -> [String; 12] {
    let percent = |share: f64, digits: usize| format!("{:.digits$}%", share * 100.0);
    let is_bound = setting.policy == PolicyName::Optimum;
    let known = |text: String| if is_bound { "-".to_owned() } else { text };
    [
        setting.replicas.to_string(),
        setting.policy.text().to_owned(),
        setting.overprovision.to_string(),
        if setting.fallback { "on-demand" } else { "none" }.to_owned(),
        setting.epsilon.map_or_else(|| "-".to_owned(), |epsilon| epsilon.to_string()),
        percent(outcome.availability, 3),
        percent(outcome.cost, 2),
        known(format!("{:.1}", outcome.preemptions)),
        known(format!("{:.1}", outcome.survived)),
        known(format!("{:.1}", outcome.moves)),
        known(format!("{:.1}", outcome.refused)),
        known(percent(outcome.on_demand, 2)),
    ]
}
