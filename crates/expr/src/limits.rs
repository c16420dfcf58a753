//! What bounds an expression: its text, its nesting, its constants, its regular expressions and its computed values.
//! Every limit is checked while compiling, but for the size of a computed value.

/// The bounds an expression is compiled under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Characters of source text.
    pub length: usize,
    /// Nested parentheses, negations and function calls.
    pub depth: usize,
    /// Items of one set literal `{…}`.
    pub set_items: usize,
    /// Items of one named list.
    pub list_items: usize,
    /// Bytes of memory one compiled regular expression or wildcard may take.
    pub regex_bytes: usize,
    /// Bytes of memory the lazily built automaton of one regular expression may take.
    pub regex_cache_bytes: usize,
    /// Bytes of one value computed by a function; a larger one is an evaluation error.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            length: 140_000,
            depth: 128,
            set_items: 70_000,
            list_items: crate::list::MAX_LIST_ITEMS,
            regex_bytes: 10 << 20,
            regex_cache_bytes: 2 << 20,
            value_bytes: 1 << 20,
        }
    }
}
