//! Tests of the whole: the rules of DESIGN section 4, by name, and meshes that live through a night in virtual time.

mod clearing;
pub(crate) mod fleet;
mod going;
mod groups;
mod lockstep;
mod model;
mod moves;
mod priority;
mod properties;
mod rules;
mod simulation;
