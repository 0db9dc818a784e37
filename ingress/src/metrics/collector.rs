//! Shows the numbers of all endpoints when Prometheus asks. Series are made here and only of what has been counted, so
//! that an endpoint which is gone leaves none behind.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{Code, Latency, Metrics, Operation, Series, Served, series::OperationSeries};
use crate::demand::Tallies;

/// Most endpoints that get series of their own, in the order of their names; the rest is left out. One has some hundred.
const ENDPOINTS_MAX: usize = 1_000;

/// What a token is, as a label.
const TOKENS: [&str; 3] = ["input", "output", "cached"];

/// The numbers of all endpoints.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    pub(super) tallies: Arc<Tallies>,
    pub(super) metrics: Metrics,
}

/// Those under the names of OpenTelemetry's conventions, which are not shoal's own.
#[derive(Debug)]
pub(super) struct Conventional(pub(super) Endpoints);

/// An endpoint and what was counted of it.
type Shown<'a> = (&'a str, &'a Series);

impl Endpoints {
    fn show(&self, show: impl FnOnce(&[Shown<'_>]) -> fmt::Result) -> fmt::Result {
        let tallies = self.tallies.all();
        let shown: Vec<Shown<'_>> =
            tallies.iter().take(ENDPOINTS_MAX).map(|(endpoint, tally)| (endpoint.as_str(), tally.series())).collect();
        show(&shown)
    }
}

impl Collector for Endpoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.show(|shown| {
            let nowhere = ("", &*self.metrics.nowhere);
            requests(&mut encoder, shown.iter().chain([&nowhere]))?;
            in_flight(&mut encoder, &self.tallies)?;
            first_byte(&mut encoder, shown)?;
            let help = "Between two tokens of a stream, as they are passed on";
            let mut family = encoder.encode_descriptor("inter_token_seconds", help, None, MetricType::Histogram)?;
            for (endpoint, series) in shown {
                latency(&mut family, &[("endpoint", *endpoint)], &series.between_tokens)?;
            }
            let help = "Replicas that were tried after one that gave no answer";
            let mut family = encoder.encode_descriptor("retries", help, None, MetricType::Counter)?;
            for (endpoint, series) in shown {
                count(&mut family, &[("endpoint", *endpoint)], &series.retries)?;
            }
            tokens(&mut encoder, shown)?;
            let help = "How long the choice of a replica took";
            let family = encoder.encode_descriptor("choice_seconds", help, None, MetricType::Histogram)?;
            self.metrics.choice.encode(family)
        })
    }
}

impl Collector for Conventional {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        type Part = fn(&OperationSeries) -> &Latency;
        let families: [(&str, &str, Part); 3] = [
            ("time_to_first_token_seconds", "From a request's arrival to the first token of its stream", |of| {
                &of.first_token
            }),
            ("time_per_output_token_seconds", "Mean time between the tokens of a stream after its first", |of| {
                &of.per_token
            }),
            ("request_duration_seconds", "From a request's arrival to the end of its answer", |of| &of.whole),
        ];
        self.0.show(|shown| {
            for (name, help, part) in families {
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
                for (endpoint, series) in shown {
                    for (operation, of) in Operation::ALL.iter().zip(&series.operations) {
                        let labels = [("endpoint", *endpoint), ("gen_ai_operation_name", operation.label())];
                        latency(&mut family, &labels, part(of))?;
                    }
                }
            }
            Ok(())
        })
    }
}

fn requests<'a>(encoder: &mut DescriptorEncoder<'_>, shown: impl Iterator<Item = &'a Shown<'a>>) -> fmt::Result {
    let help = "Requests that ended, by how and where";
    let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for (endpoint, series) in shown {
        for (code, by_place) in Code::ALL.iter().zip(&series.requests) {
            for (place, number) in Served::ALL.iter().zip(by_place) {
                let labels = [("endpoint", *endpoint), ("code", code.label()), ("place", place.label())];
                count(&mut family, &labels, number)?;
            }
        }
    }
    Ok(())
}

fn in_flight(encoder: &mut DescriptorEncoder<'_>, tallies: &Tallies) -> fmt::Result {
    let help = "Requests being served or held";
    let mut family = encoder.encode_descriptor("requests_in_flight", help, None, MetricType::Gauge)?;
    for (endpoint, tally) in tallies.all().into_iter().take(ENDPOINTS_MAX) {
        family.encode_family(&[("endpoint", endpoint.as_str())])?.encode_gauge(&tally.present())?;
    }
    Ok(())
}

fn first_byte(encoder: &mut DescriptorEncoder<'_>, shown: &[Shown<'_>]) -> fmt::Result {
    let help = "From a request's arrival to the first byte of a replica's answer";
    let mut family = encoder.encode_descriptor("first_byte_seconds", help, None, MetricType::Histogram)?;
    for (endpoint, series) in shown {
        for (stream, times) in ["false", "true"].iter().zip(&series.first_byte) {
            latency(&mut family, &[("endpoint", *endpoint), ("stream", *stream)], times)?;
        }
    }
    Ok(())
}

fn tokens(encoder: &mut DescriptorEncoder<'_>, shown: &[Shown<'_>]) -> fmt::Result {
    let help = "Tokens of requests that ended; the cached ones are among the input";
    let mut family = encoder.encode_descriptor("tokens", help, None, MetricType::Counter)?;
    for (endpoint, series) in shown {
        for (kind, number) in TOKENS.iter().zip(&series.tokens) {
            count(&mut family, &[("endpoint", *endpoint), ("type", *kind)], number)?;
        }
    }
    Ok(())
}

fn count(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, number: &AtomicU64) -> fmt::Result {
    match number.load(Ordering::Relaxed) {
        0 => Ok(()),
        number => family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&number, None),
    }
}

fn latency(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, times: &Latency) -> fmt::Result {
    if times.is_empty() { Ok(()) } else { times.encode(family.encode_family(labels)?) }
}
