//! What the types of a spec cannot say.

use super::SpecError;
use crate::{Decimal, Endpoint, EndpointSpec, EngineSpec, Percent, Rollout, Routing, Scaling};

/// Most replicas of an endpoint.
const REPLICAS_MAX: u32 = 10_000;
/// Most LoRA adapters of an endpoint.
const ADAPTERS_MAX: usize = 64;
/// Longest name or source of one, in bytes.
const ADAPTER_TEXT_MAX: usize = 256;
/// Most steps of a rollout.
const STEPS_MAX: usize = 20;
/// Most requests that wait for one endpoint at one node.
const QUEUE_MAX: u32 = 10_000;

/// The first value that makes no sense, with its path.
pub(super) fn check_values(endpoint: &Endpoint) -> Result<(), SpecError> {
    let spec = &endpoint.spec;
    if spec.model.trim().is_empty() {
        return error("spec.model", "must name a model");
    }
    check_engine(spec)?;
    check_adapters(endpoint)?;
    check_resources(spec)?;
    check_replicas(spec)?;
    check_scaling(&spec.scaling)?;
    check_placement(spec)?;
    check_rollout(&spec.rollout)?;
    check_routing(&spec.routing)
}

fn check_engine(spec: &EndpointSpec) -> Result<(), SpecError> {
    if let EngineSpec::Sim(sim) = &spec.engine
        && sim.max_num_seqs == 0
    {
        return error("spec.engine.maxNumSeqs", "must be at least 1");
    }
    match spec.engine.sleep() {
        Some(sleep) if !(1..=2).contains(&sleep.level) => {
            error("spec.engine.sleep.level", format!("{} is neither 1 nor 2", sleep.level))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_adapters(endpoint: &Endpoint) -> Result<(), SpecError> {
    let spec = &endpoint.spec;
    if !spec.adapters.is_empty() && !spec.engine.serves_adapters() {
        return error(
            "spec.adapters",
            format!("engines of kind `{}` do not serve adapters by name", spec.engine.kind()),
        );
    }
    if spec.adapters.len() > ADAPTERS_MAX {
        return error("spec.adapters", format!("has {} entries, at most {ADAPTERS_MAX}", spec.adapters.len()));
    }
    for (name, source) in &spec.adapters {
        let path = format!("spec.adapters.{name}");
        if [name, source].into_iter().any(|text| !is_adapter_text(text)) {
            let message = format!(
                "name and source must have 1 to {ADAPTER_TEXT_MAX} letters, digits or signs other than `=`, `,`, quotes and \
                 braces, and no `-` first"
            );
            return error(&path, message);
        }
        if *name == spec.model || spec.aliases.contains(name) || name == endpoint.metadata.name.as_str() {
            return error(&path, "is a name of the model itself already");
        }
    }
    Ok(())
}

/// What can stand in an engine's arguments, where adapters are written `NAME=SOURCE`.
fn is_adapter_text(text: &str) -> bool {
    (1..=ADAPTER_TEXT_MAX).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"=,\"'{}".contains(&byte))
}

fn check_resources(spec: &EndpointSpec) -> Result<(), SpecError> {
    let resources = &spec.resources;
    if resources.gpus > 64 {
        return error("spec.resources.gpus", format!("{} is more than a host has; at most 64", resources.gpus));
    }
    if resources.mig.is_some() && resources.gpus == 0 {
        return error("spec.resources.gpus", "must say how many slices of `mig` a replica gets");
    }
    Ok(())
}

fn check_replicas(spec: &EndpointSpec) -> Result<(), SpecError> {
    let replicas = &spec.replicas;
    if replicas.min > REPLICAS_MAX {
        return error("spec.replicas.min", format!("{} is over the bound of {REPLICAS_MAX}", replicas.min));
    }
    let Some(max) = replicas.max else { return Ok(()) };
    if max > REPLICAS_MAX {
        return error("spec.replicas.max", format!("{max} is over the bound of {REPLICAS_MAX}"));
    }
    if max < replicas.min {
        return error("spec.replicas.max", format!("{max} is less than `min`, which is {}", replicas.min));
    }
    // From zero to one needs no target: a request is enough.
    if max > replicas.min.max(1) && spec.scaling.targets.is_empty() {
        return error(
            "spec.replicas.max",
            "nothing would ever want so many: say in `spec.scaling.targets` what one replica should have to do",
        );
    }
    Ok(())
}

fn check_scaling(scaling: &Scaling) -> Result<(), SpecError> {
    let targets = &scaling.targets;
    let numbers = [
        ("inflight", targets.inflight),
        ("waiting", targets.waiting),
        ("kvCache", targets.kv_cache),
        ("qps", targets.qps),
    ];
    for (name, target) in numbers {
        if target == Some(Decimal::default()) {
            return error(&format!("spec.scaling.targets.{name}"), "must be more than 0");
        }
    }
    if targets.kv_cache.is_some_and(|target| target > Decimal::from_whole(1)) {
        return error("spec.scaling.targets.kvCache", "is a share: more than 0, at most 1");
    }
    if targets.ttft_p95.is_some_and(|target| target.0.is_zero()) {
        return error("spec.scaling.targets.ttftP95", "must be more than 0");
    }
    Ok(())
}

fn check_placement(spec: &EndpointSpec) -> Result<(), SpecError> {
    for (label, values) in &spec.placement.require {
        if values.is_empty() {
            return error(&format!("spec.placement.require.{label}"), "allows no value, so no node could match");
        }
    }
    match &spec.placement.spot {
        Some(spot) if spot.overprovision > 1_000 => {
            error("spec.placement.spot.overprovision", format!("{} is over the bound of 1000", spot.overprovision))
        }
        Some(spot) if spot.on_demand_base > spec.replicas.most() => error(
            "spec.placement.spot.onDemandBase",
            format!("{} is more than the endpoint may have, which is {}", spot.on_demand_base, spec.replicas.most()),
        ),
        Some(_) | None => Ok(()),
    }
}

fn check_rollout(rollout: &Rollout) -> Result<(), SpecError> {
    if rollout.steps.len() > STEPS_MAX {
        return error("spec.rollout.steps", format!("has {} steps, at most {STEPS_MAX}", rollout.steps.len()));
    }
    if rollout.steps.first().is_some_and(|first| *first == Percent::default()) || !rollout.steps.is_sorted() {
        return error("spec.rollout.steps", "must rise, and begin above 0%");
    }
    if rollout.max_ttft_ratio < Decimal::from_whole(1) {
        return error("spec.rollout.maxTtftRatio", "must be at least 1");
    }
    Ok(())
}

fn check_routing(routing: &Routing) -> Result<(), SpecError> {
    if routing.max_inflight == Some(0) {
        return error("spec.routing.maxInflight", "must be at least 1");
    }
    let queue = &routing.queue;
    if queue.size > QUEUE_MAX {
        return error("spec.routing.queue.size", format!("{} is over the bound of {QUEUE_MAX}", queue.size));
    }
    if queue.deadline.0.is_zero() {
        return error("spec.routing.queue.deadline", "must be more than 0; with `size: 0` nothing waits");
    }
    Ok(())
}

fn error(path: &str, message: impl Into<String>) -> Result<(), SpecError> {
    Err(SpecError::Value { path: path.to_owned(), message: message.into() })
}

#[cfg(test)]
mod tests {
    use crate::parse_endpoints;

    fn error(spec: &str) -> String {
        let text = format!(
            "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: a}}, spec: {{model: m, engine: {{kind: sim}}, {spec}}}}}"
        );
        parse_endpoints(&text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn values_that_make_no_sense_name_their_path() {
        for (spec, path) in [
            ("replicas: {min: 3, max: 2}", "spec.replicas.max"),
            ("replicas: {min: 1, max: 2}", "spec.replicas.max"),
            ("scaling: {targets: {kvCache: 80}}", "spec.scaling.targets.kvCache"),
            ("scaling: {targets: {qps: 0}}", "spec.scaling.targets.qps"),
            ("placement: {spot: {onDemandBase: 2}}", "spec.placement.spot.onDemandBase"),
            ("rollout: {steps: [50%, 10%]}", "spec.rollout.steps"),
            ("rollout: {steps: [10]}", "spec.rollout.steps"),
            ("rollout: {maxTtftRatio: 0.5}", "spec.rollout.maxTtftRatio"),
            ("adapters: {m: org/x}", "spec.adapters.m"),
            ("adapters: {a: org/x}", "spec.adapters.a"),
            ("aliases: [b], adapters: {b: org/x}", "spec.adapters.b"),
            ("adapters: {'x=y': org/x}", "spec.adapters.x=y"),
            ("adapters: {x: 'a,b'}", "spec.adapters.x"),
            ("adapters: {x: '-x'}", "spec.adapters.x"),
            ("placement: {maxPrice: -1}", "spec.placement.maxPrice"),
            ("routing: {maxInflight: 0}", "spec.routing.maxInflight"),
            ("routing: {queue: {size: 10001}}", "spec.routing.queue.size"),
            ("routing: {queue: {deadline: 0s}}", "spec.routing.queue.deadline"),
        ] {
            assert!(error(spec).contains(path), "{spec}: {}", error(spec));
        }
    }

    #[test]
    fn values_that_make_sense_are_taken() {
        for spec in [
            "replicas: {min: 0, max: 1}",
            "adapters: {sql-expert: org/sql-lora, /x: /models/lora/x}",
            "replicas: {min: 1, max: 12}, scaling: {targets: {inflight: 32, qps: 8, kvCache: 0.8, waiting: 4, ttftP95: 800ms}}",
            "placement: {spot: {overprovision: 1, onDemandFallback: true, onDemandBase: 0}, maxPrice: 4.50, priority: 100}",
            "routing: {maxInflight: 64, queue: {size: 0, deadline: 30s}, timeout: 10m}",
            "rollout: {strategy: canary, steps: [10%, 50%, 100%], pause: 5m, maxErrorRate: 1%, maxTtftRatio: 1.5}",
        ] {
            assert_eq!(error(spec), "");
        }
    }
    #[test]
    fn adapters_are_taken_where_engines_know_them_by_name() {
        for (kind, taken) in [("vllm", true), ("sim", true), ("sglang", false), ("llamacpp", false)] {
            let text = format!(
                "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: a}}, spec: {{model: m, engine: {{kind: {kind}}}, \
                 adapters: {{x: org/x}}}}}}"
            );
            assert_eq!(parse_endpoints(&text).is_ok(), taken, "{kind}");
        }
    }
}
