//! How patiently a service is asked for its health.

use serde::Serialize;

use crate::config::Period;

/// The times of a health check; what is not set is that of all services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HealthTimes {
    /// Time between two looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long one look may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Looks in a row that may fail after the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long the start may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Period>,
}
