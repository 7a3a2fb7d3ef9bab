//! Metrics in the format of Prometheus (OpenMetrics text), under `/metrics`.
//!
//! Names are an interface: `docs/METRICS.md` lists them, and a test of each server compares. What is a number already is
//! read when it is asked for, by a collector, and is kept nowhere else.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
pub use prometheus_client::*;
use std::fs;
use std::sync::Arc;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that has the metrics of the process, under the names that Prometheus has for them.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessMetrics));
    registry
}

/// Answers `/metrics`.
pub fn route(registry: Registry) -> Router {
    let registry = Arc::new(registry);
    Router::new().route("/metrics", get(move || std::future::ready(answer(&registry))))
}

fn answer(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics can not be encoded: {error}\n")).into_response()
        }
    }
}

/// Writes one metric of a collector.
pub struct Written<'a, 'e>(pub &'a mut DescriptorEncoder<'e>);

impl Written<'_, '_> {
    /// A number that goes up and down.
    pub fn gauge<N: EncodeGaugeValue + Clone + std::fmt::Debug + Send + Sync + 'static>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: N,
    ) -> Result<(), std::fmt::Error>
    where
        ConstGauge<N>: EncodeMetric,
    {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, unit, gauge.metric_type())?)
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, unit, counter.metric_type())?)
    }

    /// One gauge for each set of labels.
    pub fn gauges<L: prometheus_client::encoding::EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Time, memory and files of this process.
#[derive(Debug)]
struct ProcessMetrics;

/// The unit of times in `/proc`, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc/self` says.
struct Process {
    cpu_seconds: f64,
    start_seconds: f64,
    resident_bytes: u64,
    open_files: u64,
}

impl Process {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot_seconds: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        Some(Process {
            cpu_seconds: (number(14)? + number(15)?) as f64 / TICKS_PER_SECOND,
            start_seconds: boot_seconds + number(22)? as f64 / TICKS_PER_SECOND,
            resident_bytes: resident.parse::<u64>().ok()? * 1024,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Where there is no /proc there are no such metrics, and all others.
        let Some(process) = Process::read() else { return Ok(()) };
        let seconds = ConstCounter::new(process.cpu_seconds);
        let help = "Processor time, user and system";
        seconds.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            seconds.metric_type(),
        )?)?;
        let mut written = Written(&mut encoder);
        let help = "When the process started, since 1970";
        written.gauge("process_start_time", help, Some(&Unit::Seconds), process.start_seconds)?;
        written.gauge("process_resident_memory", "Resident memory", Some(&Unit::Bytes), process.resident_bytes)?;
        written.gauge("process_open_fds", "Open file descriptors", None, process.open_files)
    }
}

/// The label of an info metric or of a family without labels.
pub type NoLabels = NoLabelSet;
