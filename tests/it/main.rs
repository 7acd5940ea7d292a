//! Tests with the real programs: PostgreSQL, barman-cloud, S3 servers, Pushgateway, Prometheus.
mod drills;
mod support;
