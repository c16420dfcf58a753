//! Real clients against the real binary.

use anyhow::Result;

pub(crate) fn all() -> Result<()> {
    Ok(())
}
