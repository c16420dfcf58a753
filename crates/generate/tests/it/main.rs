//! What generated traffic promises: the same from the same seed, in order, plausible, and once in a journal.

mod journal;
mod laws;
