//! Stewards at work: rule 5 on meshes that lose nodes and connections, scaling and rollouts as tables.

mod mesh;
mod rollout;
mod rule_5;
mod scaling;
mod stage;
mod status;
