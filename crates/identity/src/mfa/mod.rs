//! Second factors that the identity provider does not own: how each is enrolled and proved, and when one is asked
//! (reference section 7).
//!
//! What `mfa_config` demands is read in [`crate::mfa_requirement`]; here it becomes steps. Deliberately stores nothing.
//! Invariant: a factor proves somebody once for each value shown, and guesses are bounded for each person and factor.

pub mod attempts;
pub mod recovery;
pub mod step_up;
pub mod totp;
pub mod webauthn;
