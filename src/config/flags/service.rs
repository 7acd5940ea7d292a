//! Flags of the service: what all drills may take together, and how long they may take to end.

use std::time::Duration;

use super::Reader;
use crate::config::{Problems, value};

/// The flags as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFlags {
    pub grace: String,
    pub budgets: BudgetFlags,
}

/// Bounds over all drills, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetFlags {
    pub disk: Option<String>,
    pub memory: Option<String>,
    pub bandwidth: Option<String>,
}

/// What they say: bytes, and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    pub grace: Duration,
    pub disk: Option<u64>,
    pub memory: Option<u64>,
    pub bandwidth: Option<u64>,
}

impl ServiceFlags {
    /// # Errors
    /// Every flag that is wrong.
    pub fn read(&self) -> Result<ServiceSpec, Problems> {
        let reader = Reader::default();
        let budgets = &self.budgets;
        let spec = ServiceSpec {
            grace: reader
                .optional("--grace", Some(&self.grace), value::duration)
                .unwrap_or_default(),
            disk: reader.optional("--max-disk", budgets.disk.as_deref(), value::bytes),
            memory: reader.optional("--max-memory", budgets.memory.as_deref(), value::bytes),
            bandwidth: reader.optional(
                "--max-bandwidth",
                budgets.bandwidth.as_deref(),
                value::rate,
            ),
        };
        reader.finish().map(|()| spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_at_once() {
        let mut flags = ServiceFlags {
            grace: "10m".to_owned(),
            budgets: BudgetFlags {
                disk: Some("2TiB".to_owned()),
                memory: None,
                bandwidth: Some("400MiB/s".to_owned()),
            },
        };
        let spec = flags.read().unwrap();
        assert_eq!((spec.grace, spec.disk), (Duration::from_mins(10), Some(2 << 40)));
        assert_eq!((spec.memory, spec.bandwidth), (None, Some(400 << 20)));
        flags.grace = "soon".to_owned();
        flags.budgets.memory = Some("much".to_owned());
        let problems = flags.read().unwrap_err().to_string();
        assert!(problems.contains("--grace") && problems.contains("--max-memory"), "{problems}");
    }
}
