//! The warm process that every Worker process is forked from.

/// Enters the zygote if this process was started as one; returns otherwise.
///
/// Must be the first thing `main` does: the zygote forks, so it must never have had a second thread.
pub fn run_if_zygote() {}
