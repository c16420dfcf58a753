//! Second factors at the sign-in host: step-up, enrolment, recovery and the page of a person's factors.
//!
//! Which factor is needed and what proves one is `identity::mfa`'s; here are the forms, and the order of write and
//! answer. Invariants: what a guess changed is written down over the revision that was read before the answer is sent,
//! a proof is bound to the device in `CF_Device`, and factors change only as [`step_up::may_change`] allows.

mod answer;
mod keys;
mod ledger;
mod pages;
mod wallet;

pub(crate) use answer::{get, post, step_up};
pub use ledger::{FactorLedger, FactorPlace, KeptFactor, Shown};
pub(crate) use wallet::{Unproved, prove_passkey};
