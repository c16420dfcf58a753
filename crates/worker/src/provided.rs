//! Modules that the product provides to scripts that import them.
//!
//! They run as part of the script, with its rights and within its limits. Invariant: a script's own module of the same
//! name comes first, so that nothing changes under a script that has one.

use crate::protocol::Module;

/// Every provided module: what it is imported by, and its JavaScript.
const PROVIDED: [(&str, &str); 1] = [("portunus:mcp", include_str!("../js/mcp.js"))];

/// Adds the provided modules that the modules of a script name.
pub(crate) fn add(modules: &mut Vec<Module>) {
    for (name, code) in PROVIDED {
        let is_named = modules.iter().any(|module| module.code.contains(name));
        if is_named && !modules.iter().any(|module| module.name == name) {
            modules.push(Module { name: name.to_owned(), code: code.to_owned() });
        }
    }
}
