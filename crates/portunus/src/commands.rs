//! One module a command. Each reads its arguments, makes a few calls and prints; what it prints is its whole interface.

pub(crate) mod ca;
pub(crate) mod catalog;
pub(crate) mod check;
pub(crate) mod door;
pub(crate) mod explain;
pub(crate) mod key;
pub(crate) mod logs;
pub(crate) mod mcp;
pub(crate) mod replay;
pub(crate) mod state;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod user;
pub(crate) mod worker;
