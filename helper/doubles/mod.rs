//! The twins that tests work with, in the place of the kernel and of polkit. The feature `doubles` brings them, which no released
//! program has.

mod log;
mod recording;
mod simulated;
mod unsupported;

pub use log::LinesKept;
pub use recording::{Asked, Recording};
pub use simulated::{Refusal, Simulated};
pub use unsupported::Unsupported;
