use std::{io::Write as _, path::PathBuf};

use clap::Parser as _;
use flate2::{Compression, write::GzEncoder};
use shoal_placement::spot::simulate::Trace;

use super::{
    SimulateArgs,
    args::PolicyName,
    campaign::{Campaign, Row},
    plot, prices,
    report::Report,
    span, trace,
};
use crate::admin::Code;

/// The flags of `shoal simulate`, as if they were a whole command line.
#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: SimulateArgs,
}

fn args(flags: &str) -> SimulateArgs {
    Line::try_parse_from(["simulate"].into_iter().chain(flags.split_whitespace())).unwrap().args
}

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

const THREE_ROUNDS: &str = "\
scheduled_at,run_id,zone,requested,created,capacity_exhausted_detected
2025-10-03T17:10:00.002281-07:00,x,eu-1-a,16,16,0
2025-10-03T17:10:00.002281-07:00,x,us-1-b,16,3,0
2025-10-03T17:20:00.003952-07:00,x,eu-1-a,16,0,16
2025-10-03T17:20:00.003952-07:00,x,us-1-b,16,5,11
2025-10-03T17:40:00.001000-07:00,x,us-1-b,16,7,9
";

fn capacity(trace: &Trace) -> Vec<Vec<u32>> {
    let rounds = trace.duration().as_secs() / trace.round().as_secs();
    (0..rounds).map(|round| trace.at(trace.round() * u32::try_from(round).unwrap()).to_vec()).collect()
}

#[test]
fn rounds_that_are_missing_are_as_the_one_before() {
    let trace = trace::read(file(THREE_ROUNDS.as_bytes()).path()).unwrap();
    assert_eq!(trace.zones(), ["eu-1-a", "us-1-b"]);
    assert_eq!(trace.start().to_string(), "2025-10-04T00:10:00.002Z");
    assert_eq!(capacity(&trace), [[16, 3], [0, 5], [0, 5], [0, 7]]);
}

#[test]
fn traces_may_be_packed() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(THREE_ROUNDS.as_bytes()).unwrap();
    let packed = trace::read(file(&packer.finish().unwrap()).path()).unwrap();
    assert_eq!(packed, trace::read(file(THREE_ROUNDS.as_bytes()).path()).unwrap());
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let problem = |text: &str| trace::read(file(text.as_bytes()).path()).unwrap_err();
    assert!(problem("scheduled_at,zone\n").message.contains("no column `created`"));
    let bad = problem(&THREE_ROUNDS.replace(",5,", ",many,"));
    assert!(bad.message.contains("line 5: `many` is not a number"), "{bad}");
    assert_eq!(problem("scheduled_at,zone,created\n").code, Code::Invalid, "nothing in it");
    let far = THREE_ROUNDS.replace("2025-10-03T17:40", "2999-10-03T17:40");
    assert!(problem(&far).message.contains("too far"));
}

#[test]
fn prices_go_by_region() {
    let zones = ["eu-1-a", "us-1-b"].map(str::to_owned);
    let table = "region,spot_usd_per_gpu_hour,ondemand_usd_per_gpu_hour\neu-1,2.5,10\nus-1,2,12\n";
    let market = prices::read(file(table.as_bytes()).path(), &zones).unwrap();
    let prices: Vec<f64> = market.offers().iter().map(|offer| offer.price).collect();
    assert_eq!(prices, [2.5, 2.0, 10.0]);
    let missing = prices::read(file(table.replace("us-1", "ap-1").as_bytes()).path(), &zones).unwrap_err();
    assert!(missing.message.contains("no price of zone us-1-b"), "{missing}");
}

/// What `flags` come to on `trace`.
fn report(flags: &str, trace: &Trace) -> Report {
    let args = args(flags);
    let (trace, span) = span(&args, trace).unwrap();
    let market = super::market(&args, &trace).unwrap();
    let rows = Campaign::new(&args, &trace, &market, span).rows();
    Report::new(&trace, &market, span, &args, rows)
}

#[test]
fn a_made_up_trace_gives_a_table_a_document_and_a_plot() {
    let trace = shoal_placement::spot::simulate::Synthetic { seed: 1, zones: 4, days: 1 }.trace().unwrap();
    let report = report("--synthetic 1,4,1 --replicas 2 --runs 2 --sweep", &trace);
    let text = report.table(true).to_string();
    for policy in PolicyName::ALL {
        assert!(text.contains(policy.text()), "{text}");
    }
    let document = serde_json::to_value(&report).unwrap();
    assert!(document["rows"].as_array().unwrap().iter().all(|row| row["availability"].as_f64().unwrap() <= 1.0));
    let svg = plot::draw(&report);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    assert_eq!(svg.matches("<circle").count(), report.rows.len() + PolicyName::ALL.len(), "and the legend");
}

#[test]
fn only_what_was_asked_for_is_counted() {
    let trace = shoal_placement::spot::simulate::Synthetic { seed: 1, zones: 4, days: 2 }.trace().unwrap();
    let part = |flags: &str| span(&args(&format!("--synthetic 1 {flags}")), &trace);
    let (whole, counted) = part("").unwrap();
    assert_eq!((whole, counted.count_from.as_millis()), (trace.clone(), 360_000), "nothing can be ready before");
    let (second, counted) = part("--from 1970-01-02T00:00Z").unwrap();
    assert_eq!((second.start().as_millis(), counted.count_from.as_millis()), (86_400_000, 86_760_000));
    let (learning, counted) = part("--from 1970-01-02T00:00Z --learn-from 1970-01-01T12:00Z").unwrap();
    assert_eq!((learning.start().as_millis(), counted.count_from.as_millis()), (43_200_000, 86_400_000));
    assert_eq!(part("--from 1971-01-01T00:00Z").unwrap_err().code, Code::Invalid);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for bad in [
        "",
        "--trace x --synthetic 1",
        "--synthetic 1,0",
        "--synthetic 1 --step 0s",
        "--synthetic 1 --sweep --epsilon 0",
        "--synthetic 1 --plot x.png",
        "--synthetic 1 --plot svg",
    ] {
        let line = ["simulate"].into_iter().chain(bad.split_whitespace());
        assert!(Line::try_parse_from(line).is_err(), "{bad}");
    }
    assert!(Line::try_parse_from(["simulate", "--synthetic", "1", "--plot", "x.SVG"]).is_ok());
}

#[test]
fn whoever_gives_no_capacity_is_told_both_ways_to() {
    let error = Line::try_parse_from(["simulate"]).unwrap_err().to_string();
    assert!(error.contains("--trace") && error.contains("--synthetic"), "{error}");
}

/// The folder with the real trace; says so where there is none.
fn traces() -> Option<PathBuf> {
    let folder = std::env::var_os("SHOAL_TRACES").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        crate::cli::note("SKIPPED: SHOAL_TRACES does not name a folder with h100_gcp_13zones_10min.csv.gz");
    }
    folder
}

fn real(flags: &str) -> Option<Vec<Row>> {
    let trace = trace::read(&traces()?.join("h100_gcp_13zones_10min.csv.gz")).unwrap();
    Some(report(&format!("--trace x {flags}"), &trace).rows)
}

/// Availability and cost in percent, by number of replicas.
fn percent(rows: &[Row], policy: PolicyName) -> Vec<(f64, f64)> {
    let mine = rows.iter().filter(|row| row.setting.policy == policy);
    mine.map(|row| (row.outcome.availability * 100.0, row.outcome.cost * 100.0)).collect()
}

/// Of another simulator of SpotHedge, on the same trace.
#[test]
fn spothedge_is_as_others_have_it() {
    let known = [
        (0, [(99.3, 23.0), (98.8, 23.0), (98.4, 23.0)]),
        (1, [(99.9, 29.0), (99.7, 26.0), (99.3, 25.0)]),
        (2, [(100.0, 35.0), (99.9, 29.0), (99.7, 26.0)]),
    ];
    for (overprovision, known) in known {
        let Some(rows) = real(&format!("--policy spothedge --overprovision {overprovision}")) else { return };
        for ((available, cost), (known_available, known_cost)) in
            percent(&rows, PolicyName::Spothedge).into_iter().zip(known)
        {
            assert!((available - known_available).abs() < 0.2, "{available} {known_available}");
            assert!((cost - known_cost).abs() < 0.6, "{cost} {known_cost}");
        }
    }
}

/// The second week, with what was seen in the first.
#[test]
fn ours_is_nearer_to_the_optimum_than_spothedge() {
    let week = "--from 2025-10-11T00:00-07:00 --learn-from 2025-10-03T17:00-07:00";
    let Some(ours) = real(&format!("{week} --policy ours,optimum --overprovision 2")) else { return };
    let theirs = real(&format!("{week} --policy spothedge --overprovision 1")).unwrap();
    let theirs = percent(&theirs, PolicyName::Spothedge);
    let bounds = percent(&ours, PolicyName::Optimum);
    for ((ours, theirs), bound) in percent(&ours, PolicyName::Ours).into_iter().zip(theirs).zip(bounds) {
        assert!(ours.0 > theirs.0 && ours.1 < theirs.1 + 0.5, "{ours:?} {theirs:?}");
        assert!(bound.0 >= ours.0 && bound.1 <= ours.1, "{ours:?} {bound:?}");
    }
}
