//! The GPUs of this node, as last read; what the driver did not say has no sample.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use shoal_types::FaultAction;
use tokio::sync::watch;

use crate::inventory::{GpuReading, XidCounts};

/// Reads what the driver last said at each scrape. As many label values as the host has GPUs.
#[derive(Debug)]
pub(super) struct GpuMetrics {
    readings: watch::Receiver<Vec<GpuReading>>,
    xids: XidCounts,
}

impl GpuMetrics {
    pub(super) const fn new(readings: watch::Receiver<Vec<GpuReading>>, xids: XidCounts) -> Self {
        Self { readings, xids }
    }

    fn encode_xids(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Errors that GPUs reported, by Xid";
        let mut family = encoder.encode_descriptor("shoal_gpu_xid_errors", help, None, MetricType::Counter)?;
        for (xid, count) in self.xids.by_xid() {
            let xid = xid.map_or_else(|| "other".to_owned(), |xid| xid.to_string());
            ConstCounter::new(count).encode(family.encode_family(&[("xid", xid)])?)?;
        }
        Ok(())
    }
}

impl Collector for GpuMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = self.readings.borrow().clone();
        for gauge in &GAUGES {
            gauge.encode(&readings, &mut encoder)?;
        }
        encode_faults(&readings, &mut encoder)?;
        self.encode_xids(&mut encoder)
    }
}

struct Gauge {
    name: &'static str,
    help: &'static str,
    value: fn(&GpuReading) -> Option<f64>,
}

const GAUGES: [Gauge; 7] = [
    Gauge {
        name: "shoal_gpu_memory_total_bytes",
        help: "Memory that the GPU has",
        value: |gpu| Some(float(gpu.memory.as_bytes())),
    },
    Gauge {
        name: "shoal_gpu_memory_used_bytes",
        help: "Memory of the GPU in use",
        value: |gpu| gpu.vitals.memory_used.map(|used| float(used.as_bytes())),
    },
    Gauge {
        name: "shoal_gpu_utilization_ratio",
        help: "Share of time in which a kernel ran",
        value: |gpu| gpu.vitals.utilization.map(|percent| f64::from(percent) / 100.0),
    },
    Gauge {
        name: "shoal_gpu_temperature_celsius",
        help: "Temperature of the GPU's core",
        value: |gpu| gpu.vitals.temperature.map(f64::from),
    },
    Gauge {
        name: "shoal_gpu_power_watts",
        help: "Power that the GPU draws",
        value: |gpu| gpu.vitals.power.map(|milliwatts| f64::from(milliwatts) / 1000.0),
    },
    Gauge {
        name: "shoal_gpu_power_limit_watts",
        help: "Power that the GPU may draw",
        value: |gpu| gpu.vitals.power_limit.map(|milliwatts| f64::from(milliwatts) / 1000.0),
    },
    Gauge {
        name: "shoal_gpu_ecc_uncorrected_errors",
        help: "Uncorrectable memory errors since the driver was loaded",
        value: |gpu| gpu.vitals.ecc_uncorrected.map(float),
    },
];

impl Gauge {
    fn encode(&self, readings: &[GpuReading], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        for gpu in readings {
            if let Some(value) = (self.value)(gpu) {
                ConstGauge::new(value).encode(family.encode_family(&[("gpu", gpu.id.0.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// 1 for what is done about a fault; a GPU without one has no sample.
fn encode_faults(readings: &[GpuReading], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Faults of GPUs that stand, by what is done about them";
    let mut family = encoder.encode_descriptor("shoal_gpu_fault", help, None, MetricType::Gauge)?;
    for gpu in readings {
        if let Some(fault) = &gpu.fault {
            let labels = [("gpu", gpu.id.0.as_str()), ("action", action(fault.action))];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

const fn action(action: FaultAction) -> &'static str {
    match action {
        FaultAction::Cordon => "cordon",
        FaultAction::DrainGroup => "drain-group",
        FaultAction::DrainGpu => "drain-gpu",
        FaultAction::DrainNode => "drain-node",
    }
}

#[allow(clippy::cast_precision_loss)] // as Prometheus counts
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use shoal_types::{GpuFault, GpuId, MemorySize, UnixMillis};

    use super::*;
    use crate::inventory::{Links, Vitals};

    #[test]
    fn what_is_unknown_has_no_sample() {
        let gpu = GpuReading {
            id: GpuId("GPU-1".to_owned()),
            name: "H100".to_owned(),
            memory: MemorySize::from_gib(80),
            mig: None,
            partitioned: false,
            links: Links::default(),
            vitals: Vitals { power: Some(350_000), ..Vitals::default() },
            fault: Some(GpuFault {
                action: FaultAction::DrainGpu,
                reason: "x".to_owned(),
                since: UnixMillis::default(),
            }),
            incident: None,
        };
        let (_sender, readings) = watch::channel(vec![gpu]);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(GpuMetrics::new(readings, XidCounts::default())));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("shoal_gpu_memory_total_bytes{gpu=\"GPU-1\"} 85899345920.0\n"), "{text}");
        assert!(text.contains("shoal_gpu_power_watts{gpu=\"GPU-1\"} 350.0\n"), "{text}");
        assert!(text.contains("shoal_gpu_fault{gpu=\"GPU-1\",action=\"drain-gpu\"} 1\n"), "{text}");
        assert!(!text.contains("shoal_gpu_temperature_celsius{"), "{text}");
    }
}
