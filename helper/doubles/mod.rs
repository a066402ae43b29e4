//! Test doubles for the kernel, polkit and the log, behind the feature `doubles`. No released
//! program has it.

mod log;
mod recording;
mod simulated;
mod unsupported;

pub use log::LinesKept;
pub use recording::{RecordedQuestion, Recording};
pub use simulated::{Refusal, Simulated};
pub use unsupported::Unsupported;
