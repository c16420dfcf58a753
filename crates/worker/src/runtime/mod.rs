//! The JavaScript engine of one Worker process.

use crate::protocol::{FromWorker, ToWorker};

/// Why an engine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine had no memory for its runtime or context.
    #[error("the script engine could not start: {0}")]
    Start(String),
    /// A part of the built-in prelude threw; always a defect of ours.
    #[error("prelude {name} failed: {message}")]
    Prelude { name: &'static str, message: String },
}

/// A single-threaded engine: messages in, messages out, no I/O of its own.
pub struct Engine {}

impl Engine {
    /// Builds runtimes, contexts and the web API prelude. Called once in the zygote, before the first fork.
    ///
    /// # Errors
    /// When the engine cannot allocate or its prelude is defective.
    pub fn prepare() -> Result<Self, EngineError> {
        Ok(Self {})
    }

    /// Takes one message, runs the job queue until it is idle and pushes what the host must know. Never blocks.
    pub fn handle(&mut self, message: ToWorker, out: &mut Vec<FromWorker>) {
        let _ = (message, out);
    }

    /// Whether no call is in flight: a good moment for [`Engine::collect`].
    pub fn idle(&self) -> bool {
        true
    }

    /// Whether a limit was broken in a way that leaves work in the engine that cannot be removed. The process must
    /// send what it has, exit, and be replaced.
    pub fn spent(&self) -> bool {
        false
    }

    /// Frees cyclic garbage if enough has been allocated since the last time to be worth the walk.
    pub fn collect(&mut self) {}
}
