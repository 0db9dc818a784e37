use std::collections::HashSet;

use http::StatusCode;
use shoal_types::EndpointName;
use tokio::time::Instant;

use super::*;
use crate::usage::Usage;

fn shown(metrics: &Metrics, tallies: &Arc<Tallies>) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry, Arc::clone(tallies));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test]
async fn an_endpoint_is_told_of_in_every_family_and_leaves_no_series() {
    let (metrics, tallies) = (Metrics::new(), Arc::<Tallies>::default());
    let name: EndpointName = "llama".parse().unwrap();
    let (endpoint, millis) = (Arc::from("llama"), Duration::from_millis);
    let tally = tallies.of(&name, Instant::now());
    tally.series().first_byte(true, millis(30));
    tally.series().between_tokens(millis(60), 3);
    tally.series().retried();
    metrics.chose(Duration::from_micros(3));
    metrics.held(&endpoint, Priority::Low, 1);
    metrics.held_ended(&endpoint, HeldEnd::Ready, millis(1));
    tally.series().ended(&Went {
        operation: Operation::Chat,
        code: Code::of(StatusCode::OK),
        served: Served::Remote,
        took: millis(130),
        first_token: Some(millis(30)),
        last_token: Some(millis(90)),
        usage: Usage { prompt: 7, completion: 4, cached: 2, exact: true },
    });
    let text = shown(&metrics, &tallies);
    for line in [
        r#"shoal_ingress_requests_total{endpoint="llama",code="2xx",place="remote"} 1"#,
        r#"shoal_ingress_requests_in_flight{endpoint="llama"} 0"#,
        r#"shoal_ingress_first_byte_seconds_bucket{le="0.04",endpoint="llama",stream="true"} 1"#,
        r#"shoal_ingress_inter_token_seconds_bucket{le="0.025",endpoint="llama"} 3"#,
        r#"shoal_ingress_inter_token_seconds_sum{endpoint="llama"} 0.06"#,
        r#"shoal_ingress_choice_seconds_bucket{le="0.000005"} 1"#,
        r#"shoal_ingress_retries_total{endpoint="llama"} 1"#,
        r#"shoal_ingress_tokens_total{endpoint="llama",type="input"} 7"#,
        r#"shoal_ingress_tokens_total{endpoint="llama",type="cached"} 2"#,
        r#"gen_ai_server_time_to_first_token_seconds_bucket{le="0.04",endpoint="llama",gen_ai_operation_name="chat"} 1"#,
        r#"gen_ai_server_time_to_first_token_seconds_bucket{le="+Inf",endpoint="llama",gen_ai_operation_name="chat"} 1"#,
        r#"gen_ai_server_time_per_output_token_seconds_sum{endpoint="llama",gen_ai_operation_name="chat"} 0.02"#,
        r#"gen_ai_server_request_duration_seconds_count{endpoint="llama",gen_ai_operation_name="chat"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    metrics.forget("llama");
    tallies.retain(&HashSet::new());
    assert!(!shown(&metrics, &tallies).contains("llama"));
}
