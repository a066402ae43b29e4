//! A kernel that lacks a piece that the helper needs: every call fails with the name of the piece.

use airpods_dbus::LinkName;

use crate::kernel::{Applied, Events, Kernel, KernelError, Link, Links, Ruleset, TableState};

/// The kernel without `piece`.
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
    fn links(&mut self, _routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError> {
        Err(self.error())
    }

    fn link(&mut self, _name: &LinkName) -> Result<Option<Link>, KernelError> {
        Err(self.error())
    }

    fn apply(&mut self, _wanted: &Ruleset) -> Result<Applied, KernelError> {
        Err(self.error())
    }

    fn read_table(&mut self) -> Result<Option<TableState>, KernelError> {
        Err(self.error())
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        Err(self.error())
    }
}
