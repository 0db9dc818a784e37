//! The thread that waits for what one GPU reports by itself.
//!
//! Each GPU has an event set of its own: NVML frees a set to which a GPU could not be added, and with it the others'.

use std::time::Duration;

use nvml_wrapper::{Nvml, bitmasks::event::EventTypes, enums::event::XidError, error::NvmlError};
use shoal_types::GpuId;
use tracing::debug;

use super::{Finding, Outbox, session::Stop};
use crate::inventory::fault::Alarm;

/// Longest wait in the driver, in milliseconds: so late is the thread told to stop.
const WAIT_MS: u32 = 1_000;
/// Time before events are asked for again where that failed.
const RETRY: Duration = Duration::from_secs(10);
/// `XidError::Unknown` is NVML's 999.
const XID_UNKNOWN: u32 = 999;

/// Waits for events until told to stop, or nobody wants to know.
pub(super) fn run(nvml: &Nvml, index: u32, outbox: &Outbox, stop: &Stop) {
    loop {
        match follow(nvml, index, outbox, stop) {
            Ok(()) | Err(NvmlError::NotSupported) => return,
            Err(error) => debug!(index, %error, "a GPU tells no events"),
        }
        if stop.within(RETRY) {
            return;
        }
    }
}

fn follow(nvml: &Nvml, index: u32, outbox: &Outbox, stop: &Stop) -> Result<(), NvmlError> {
    let device = nvml.device_by_index(index)?;
    let id = GpuId(device.uuid()?);
    let wanted = EventTypes::CRITICAL_XID_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR;
    let wanted = wanted & device.supported_event_types()?;
    if wanted.is_empty() {
        return Err(NvmlError::NotSupported);
    }
    let set = device.register_events(wanted, nvml.create_event_set()?).map_err(|failed| failed.error)?;
    while !stop.is_set() {
        let event = match set.wait(WAIT_MS) {
            Ok(event) => event,
            Err(NvmlError::Timeout) => continue,
            Err(error) => return Err(error),
        };
        let alarm = match event.event_data {
            Some(XidError::Value(xid)) => Alarm::Xid(u32::try_from(xid).unwrap_or(XID_UNKNOWN)),
            Some(XidError::Unknown) => Alarm::Xid(XID_UNKNOWN),
            None => Alarm::DoubleBitEcc,
        };
        if !outbox.send(Finding::Alarm(id.clone(), alarm)) {
            return Ok(());
        }
    }
    Ok(())
}
