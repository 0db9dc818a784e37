//! The thread that looks at one GPU once a second.

use std::time::Duration;

use nvml_wrapper::Nvml;
use tokio::time::Instant;
use tracing::warn;

use super::{Finding, Outbox, sample::Sampler, session::Stop};
use crate::inventory::fault::Trouble;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks until told to stop, or nobody wants to know.
pub(super) fn run(nvml: &Nvml, index: u32, outbox: &Outbox, stop: &Stop) {
    let mut sampler = Sampler::new(index);
    let mut told = None;
    loop {
        let finding = match sampler.sample(nvml) {
            Ok(sample) => {
                told = None;
                Finding::Sampled(index, Box::new(sample), Instant::now())
            }
            Err(error) => {
                let trouble = Trouble::from(&error);
                if told.as_ref() != Some(&trouble) {
                    warn!(index, %error, "NVML cannot describe a GPU");
                    told = Some(trouble.clone());
                }
                Finding::Troubled(index, trouble)
            }
        };
        if !outbox.send(finding) || stop.within(PERIOD) {
            return;
        }
    }
}
