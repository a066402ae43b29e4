//! A kernel that lacks what the helper works with: it answers every question with what is missing.

use airpods_dbus::{Features, Foreign};

use super::{Events, Held, Kernel, KernelError, Link, Ruleset};

/// The kernel without the piece named. The helper serves it all the same, so that callers are told what is missing
/// instead of seeing a helper that does not start.
#[derive(Clone, Debug)]
pub struct Unsupported {
    /// The missing piece, such as `nf_tables`.
    pub piece: String,
}

impl Unsupported {
    fn error(&self) -> KernelError {
        KernelError::Unsupported { piece: self.piece.clone() }
    }
}

impl Kernel for Unsupported {
    fn links(&mut self, _routes_of: &dyn Fn(&Link) -> bool) -> Result<Vec<Link>, KernelError> {
        Err(self.error())
    }

    fn apply(&mut self, _wanted: &Ruleset) -> Result<Option<Held>, KernelError> {
        Err(self.error())
    }

    fn held(&mut self) -> Result<Option<Held>, KernelError> {
        Err(self.error())
    }

    fn foreign(&mut self) -> Result<Foreign, KernelError> {
        Err(self.error())
    }

    fn features(&mut self) -> Features {
        Features::default()
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        Err(self.error())
    }
}
