//! Availability against cost, one panel for each number of replicas.

use std::collections::BTreeSet;

use super::{
    args::PolicyName,
    campaign::Row,
    report::Report,
    svg::{Anchor, Point, Svg},
};

const PANEL: (f64, f64) = (330.0, 320.0);
const MARGIN_LEFT: f64 = 70.0;
const MARGIN_TOP: f64 = 84.0;
const MARGIN_BOTTOM: f64 = 50.0;
const GAP: f64 = 30.0;

/// Share of time that the top stands for: what is less available is drawn there.
const WORST: f64 = 0.1;
/// Share of time above the bottom, which stands for never.
const BEST: f64 = 0.0001;

/// Draws all rows of `report`: a dot for each setting, a line along the best settings of each policy.
pub(super) fn draw(report: &Report) -> String {
    let replicas: BTreeSet<u32> = report.rows.iter().map(|row| row.setting.replicas).collect();
    let width = MARGIN_LEFT + replicas.iter().map(|_| PANEL.0 + GAP).sum::<f64>();
    let mut svg = Svg::new(width, MARGIN_TOP + PANEL.1 + MARGIN_BOTTOM);
    svg.label((MARGIN_LEFT, 22.0), Anchor::Start, 15.0, "Time with fewer replicas ready than wanted, against cost");
    svg.label((MARGIN_LEFT, 40.0), Anchor::Start, 12.0, &report.title());
    legend(&mut svg, report);
    let mut left = MARGIN_LEFT;
    for replicas in replicas {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.setting.replicas == replicas).collect();
        Panel::new(left, &rows).draw(&mut svg, &rows, replicas);
        left += PANEL.0 + GAP;
    }
    svg.upright((18.0, MARGIN_TOP + PANEL.1 / 2.0), "share of time short, logarithmic");
    svg.finish()
}

fn legend(svg: &mut Svg, report: &Report) {
    let mut left = MARGIN_LEFT;
    for policy in PolicyName::ALL {
        if report.rows.iter().any(|row| row.setting.policy == policy) {
            svg.dot((left + 5.0, 57.0), 5.0, color(policy), policy.text());
            svg.label((left + 15.0, 61.0), Anchor::Start, 12.0, policy.text());
            left += 110.0;
        }
    }
}

/// Colours that colour-blind people can tell apart (Okabe and Ito 2008).
const fn color(policy: PolicyName) -> &'static str {
    match policy {
        PolicyName::EvenSpread => "#999999",
        PolicyName::RoundRobin => "#e69f00",
        PolicyName::Spothedge => "#0072b2",
        PolicyName::Ours => "#d55e00",
        PolicyName::Optimum => "#009e73",
    }
}

/// One panel: from costs and shares to pixels.
#[derive(Debug)]
struct Panel {
    left: f64,
    /// Costs at its left and right edge.
    costs: (f64, f64),
}

impl Panel {
    fn new(left: f64, rows: &[&Row]) -> Self {
        let costs = rows.iter().map(|row| row.outcome.cost);
        let (least, most) = costs.fold((f64::INFINITY, 0.0), |(least, most), cost| (cost.min(least), cost.max(most)));
        // Whole percent on both sides.
        let percent = |cost: f64| cost * 100.0;
        Self { left, costs: ((percent(least) - 0.5).floor() / 100.0, (percent(most) + 0.5).ceil() / 100.0) }
    }

    fn draw(&self, svg: &mut Svg, rows: &[&Row], replicas: u32) {
        self.axes(svg);
        svg.label((self.left + PANEL.0 / 2.0, MARGIN_TOP - 8.0), Anchor::Middle, 13.0, &format!("{replicas} replicas"));
        for policy in PolicyName::ALL {
            let mine: Vec<&Row> = rows.iter().copied().filter(|row| row.setting.policy == policy).collect();
            let line: Vec<Point> = frontier(&mine).into_iter().map(|row| self.point(row)).collect();
            svg.path(&line, color(policy));
            for row in mine {
                svg.dot(self.point(row), 3.0, color(policy), &title(row));
            }
        }
    }

    fn axes(&self, svg: &mut Svg) {
        let (bottom, right) = (MARGIN_TOP + PANEL.1, self.left + PANEL.0);
        for (share, text) in [
            (0.1, "10%"),
            (0.01, "1%"),
            (0.005, "0.5%"),
            (0.002, "0.2%"),
            (0.001, "0.1%"),
            (0.0005, "0.05%"),
            (0.0, "never"),
        ] {
            let y = down(share);
            svg.line((self.left, y), (right, y), "#ddd", 1.0);
            svg.label((self.left - 5.0, y + 4.0), Anchor::End, 10.0, text);
        }
        let (least, most) = (self.costs.0 * 100.0, self.costs.1 * 100.0);
        let every =
            [1.0, 2.0, 5.0, 10.0, 20.0].into_iter().find(|every| (most - least) / every <= 10.0).unwrap_or(50.0);
        let mut cost = (least / every).ceil() * every;
        while cost <= most {
            let x = self.across(cost / 100.0);
            svg.line((x, MARGIN_TOP), (x, bottom), "#eee", 1.0);
            svg.label((x, bottom + 16.0), Anchor::Middle, 10.0, &format!("{cost:.0}%"));
            cost += every;
        }
        svg.line((self.left, bottom), (right, bottom), "#222", 1.0);
        svg.line((self.left, MARGIN_TOP), (self.left, bottom), "#222", 1.0);
        svg.label(
            (self.left + PANEL.0 / 2.0, bottom + 36.0),
            Anchor::Middle,
            12.0,
            "cost, of the same replicas on demand",
        );
    }

    fn point(&self, row: &Row) -> Point {
        (self.across(row.outcome.cost), down(1.0 - row.outcome.availability))
    }

    fn across(&self, cost: f64) -> f64 {
        self.left + PANEL.0 * (cost - self.costs.0) / (self.costs.1 - self.costs.0)
    }
}

/// The height of a share of time; what is below [`BEST`] stands at the bottom.
fn down(share: f64) -> f64 {
    let decades = (WORST / share.clamp(BEST, WORST)).log10() / (WORST / BEST).log10();
    MARGIN_TOP + PANEL.1 * decades
}

/// Settings than which no cheaper one is as available, the cheapest first.
pub(super) fn frontier<'a>(rows: &[&'a Row]) -> Vec<&'a Row> {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| {
        let (a, b) = (a.outcome, b.outcome);
        a.cost.total_cmp(&b.cost).then(b.availability.total_cmp(&a.availability))
    });
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|row| {
        let better = row.outcome.availability > best;
        best = best.max(row.outcome.availability);
        better
    });
    sorted
}

fn title(Row { setting, outcome }: &Row) -> String {
    let epsilon = setting.epsilon.map(|epsilon| format!(", epsilon {epsilon}")).unwrap_or_default();
    format!(
        "{} +{}{}{epsilon}: {:.3}% at {:.2}%",
        setting.policy.text(),
        setting.overprovision,
        if setting.fallback { "" } else { ", no fallback" },
        outcome.availability * 100.0,
        outcome.cost * 100.0,
    )
}
