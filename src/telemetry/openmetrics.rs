//! `OpenMetrics` 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), as Prometheus reads it from a
//! service's own address.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

/// What an answer says of itself.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics of one name. All are gauges: what the newest drills were, and what is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    pub name: &'static str,
    /// One sentence, with the unit.
    pub help: &'static str,
    /// Labels and value; no two with the same labels.
    pub samples: Vec<(Labels, f64)>,
}

/// Names from our own enums, values from jobs.
pub type Labels = Vec<(&'static str, String)>;

/// As text. Each name must be there once.
#[must_use]
pub fn write(families: Vec<Exported>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(families)));
    let mut page = String::new();
    // Writing to a text cannot fail.
    let _ = text::encode(&mut page, &registry);
    page
}

#[derive(Debug)]
struct Page(Vec<Exported>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for Exported { name, help, samples } in &self.0 {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_has_it() {
        let labels = |name: &str| vec![("drill", name.to_owned()), ("cluster", "c".to_owned())];
        let page = write(vec![
            Exported {
                name: "pgassay_drill_rto_seconds",
                help: "Restore time.",
                samples: vec![(labels("a"), 1.5), (labels("b \"\\\n"), f64::NAN)],
            },
            Exported { name: "pgassay_serve_jobs", help: "Jobs.", samples: vec![(vec![], 3.0)] },
        ]);
        insta::assert_snapshot!(page);
    }
}
