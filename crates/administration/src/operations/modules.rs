//! The modules of a Worker: which kinds there are, how a file's name and media type choose one, and their bounds.
//!
//! The author's source is what is stored; `worker` makes JavaScript of it, at upload to find faults and again whenever a
//! version is prepared. Invariant: what was accepted at upload compiles.

use std::collections::BTreeSet;

use store::{Module, ModuleKind};
use types::Code;
use worker::modules::{CompileError, SourceKind, SourceModule};

use crate::failure::{Failure, Problem};

/// Most modules of one Worker.
pub const MOST_MODULES: usize = 100;
/// Largest module, in bytes.
pub const LARGEST_MODULE: usize = 1 << 20;
/// Largest Worker, in bytes over all modules.
pub const LARGEST_WORKER: usize = 4 << 20;

/// Chooses the kind of a module by its media type, then by the end of its name.
///
/// # Errors
///
/// A [`Failure`] for kinds that are not offered.
pub fn kind(name: &str, media_type: Option<&str>) -> Result<ModuleKind, Failure> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let by_name = match extension.as_deref() {
        Some("ts" | "mts" | "cts" | "tsx") => Some(ModuleKind::TypeScript),
        Some("js" | "mjs" | "jsx") => Some(ModuleKind::EsModule),
        Some("json") => Some(ModuleKind::Json),
        Some("txt" | "html" | "md" | "css" | "svg" | "sql") => Some(ModuleKind::Text),
        Some("bin") => Some(ModuleKind::Data),
        Some("map") => Some(ModuleKind::SourceMap),
        Some("wasm") => return Err(not_offered("WebAssembly")),
        Some("py") => return Err(not_offered("Python")),
        _ => None,
    };
    match media_type.unwrap_or_default() {
        "application/typescript" | "text/typescript" | "application/typescript+module" | "text/x-typescript" => {
            Ok(ModuleKind::TypeScript)
        }
        // Build tools name the file they bundled from, so a `.ts` sent as JavaScript may still hold types.
        "application/javascript+module"
        | "text/javascript+module"
        | "application/javascript"
        | "text/javascript"
        | "application/ecmascript" => {
            Ok(if by_name == Some(ModuleKind::TypeScript) { ModuleKind::TypeScript } else { ModuleKind::EsModule })
        }
        "application/json" => Ok(ModuleKind::Json),
        "application/source-map" => Ok(ModuleKind::SourceMap),
        "application/wasm" => Err(not_offered("WebAssembly")),
        "text/x-python" | "text/x-python-requirement" => Err(not_offered("Python")),
        // Sent for `.ts` by systems that know MPEG transport streams only, and for anything by careless clients.
        "video/mp2t" | "video/vnd.dlna.mpeg-tts" | "text/plain" | "text/html" => {
            Ok(by_name.unwrap_or(ModuleKind::Text))
        }
        "" | "application/octet-stream" => Ok(by_name.unwrap_or(ModuleKind::Data)),
        other => {
            let message = format!("module \"{name}\" has the media type {other}, which is not a kind of module");
            Err(Failure::new(Code::InvalidInput, message))
        }
    }
}

fn not_offered(what: &str) -> Failure {
    Failure::new(
        Code::InvalidInput,
        format!("{what} modules are not offered; write the Worker in JavaScript or TypeScript"),
    )
}

/// The media type a module of this kind is sent as.
#[must_use]
pub const fn media_type(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::EsModule => "application/javascript+module",
        ModuleKind::TypeScript => "application/typescript",
        ModuleKind::Text => "text/plain",
        ModuleKind::Json => "application/json",
        ModuleKind::Data => "application/octet-stream",
        ModuleKind::SourceMap => "application/source-map",
    }
}

/// Checks names, counts and sizes.
///
/// # Errors
///
/// A [`Failure`] that names the module at fault.
pub fn check(main: &str, modules: &[Module]) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::new(Code::InvalidInput, message).numbered(10021));
    if modules.len() > MOST_MODULES {
        return refuse(format!("a Worker is limited to {MOST_MODULES} modules"));
    }
    let mut names = BTreeSet::new();
    for module in modules {
        let name = &module.name;
        let plain = !name.is_empty()
            && name.len() <= 255
            && !name.starts_with('/')
            && name.split('/').all(|segment| !segment.is_empty() && segment != "..")
            && !name.chars().any(|c| c.is_control() || c == '\\');
        if !plain {
            return refuse(format!("module name {name:?} must be a relative path without \"..\""));
        }
        if !names.insert(name.as_str()) {
            return refuse(format!("two modules are named \"{name}\""));
        }
        if module.source.as_bytes().len() > LARGEST_MODULE {
            return Err(Failure::new(
                Code::LimitExceeded,
                format!("module \"{name}\" is larger than {LARGEST_MODULE} bytes"),
            ));
        }
    }
    if modules.iter().map(|module| module.source.as_bytes().len()).sum::<usize>() > LARGEST_WORKER {
        return Err(Failure::new(Code::LimitExceeded, format!("a Worker is limited to {LARGEST_WORKER} bytes")));
    }
    match modules.iter().find(|module| module.name == main) {
        Some(module) if matches!(module.kind, ModuleKind::EsModule | ModuleKind::TypeScript) => Ok(()),
        Some(_) => refuse(format!("main_module \"{main}\" is not JavaScript or TypeScript")),
        None => {
            let known: Vec<_> = names.into_iter().collect();
            refuse(format!("main_module is \"{main}\", but the upload has only: {}", known.join(", ")))
        }
    }
}

/// Makes what the runtime loads: JavaScript for every module, the main one first.
///
/// # Errors
///
/// Names every module at fault, with line and column.
pub fn compile(main: &str, modules: &[Module]) -> Result<Vec<worker::protocol::Module>, CompileError> {
    worker::modules::compile(main, modules.iter().map(source))
}

/// A stored module as `worker` takes it.
pub(crate) fn source(module: &Module) -> SourceModule<'_> {
    let Module { name, kind, source } = module;
    let kind = match kind {
        ModuleKind::EsModule => SourceKind::EsModule,
        ModuleKind::TypeScript => SourceKind::TypeScript,
        ModuleKind::Text => SourceKind::Text,
        ModuleKind::Json => SourceKind::Json,
        ModuleKind::Data => SourceKind::Data,
        ModuleKind::SourceMap => SourceKind::SourceMap,
    };
    SourceModule { name, kind, source: source.as_bytes() }
}

impl From<CompileError> for Failure {
    fn from(errors: CompileError) -> Self {
        let problems = errors.0.iter().map(|error| Problem { message: error.to_string(), pointer: None });
        Self::invalid_many(problems.collect()).numbered(10021)
    }
}

/// The hash a version is known by: over every module's name, kind and bytes.
#[must_use]
pub fn etag(main: &str, modules: &[Module]) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(main.as_bytes());
    for module in modules {
        part(module.name.as_bytes());
        part(media_type(module.kind).as_bytes());
        part(module.source.as_bytes());
    }
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use store::{Module, ModuleKind, Source};

    use super::{check, etag, kind};

    fn module(name: &str, kind: ModuleKind, text: &str) -> Module {
        Module { name: name.to_owned(), kind, source: Source::Text(text.to_owned()) }
    }

    #[test]
    fn kinds_follow_the_media_type_then_the_name() {
        use ModuleKind::{Data, EsModule, Json, SourceMap, Text, TypeScript};
        for (name, media_type, expected) in [
            ("a.mjs", Some("application/javascript+module"), Some(EsModule)),
            ("a", Some("application/javascript"), Some(EsModule)),
            ("a.ts", Some("application/typescript"), Some(TypeScript)),
            ("a.ts", Some("application/javascript+module"), Some(TypeScript)),
            ("a.ts", Some("video/mp2t"), Some(TypeScript)),
            ("a.ts", Some("application/octet-stream"), Some(TypeScript)),
            ("a.ts", None, Some(TypeScript)),
            ("a.json", Some("application/json"), Some(Json)),
            ("page.html", Some("text/html"), Some(Text)),
            ("a", Some("text/plain"), Some(Text)),
            ("a", None, Some(Data)),
            ("a.js.map", Some("application/source-map"), Some(SourceMap)),
            ("a.wasm", Some("application/wasm"), None),
            ("a.py", None, None),
            ("a", Some("image/png"), None),
        ] {
            assert_eq!(kind(name, media_type).ok(), expected, "{name} {media_type:?}");
        }
    }

    #[test]
    fn uploads_out_of_bounds_are_refused_by_name() {
        let main = || module("main.js", ModuleKind::EsModule, "export default {}");
        for (modules, message) in [
            (vec![], "upload has only"),
            (vec![module("other.js", ModuleKind::EsModule, "")], "upload has only: other.js"),
            (vec![module("main.js", ModuleKind::Text, "")], "is not JavaScript"),
            (vec![main(), main()], "two modules"),
            (vec![main(), module("../x", ModuleKind::Text, "")], "relative path"),
            (vec![main(), module("/x", ModuleKind::Text, "")], "relative path"),
            (vec![main(), module("x", ModuleKind::Text, &"x".repeat((1 << 20) + 1))], "larger than"),
            ((0..101).map(|n| module(&format!("{n}.js"), ModuleKind::EsModule, "")).collect(), "limited to 100"),
        ] {
            let failure = check("main.js", &modules).unwrap_err();
            assert!(failure.problems[0].message.contains(message), "{failure:?}");
        }
        check("main.js", &[main(), module("./lib/util.js", ModuleKind::EsModule, "")]).unwrap();
    }

    #[test]
    fn the_hash_tells_contents_apart() {
        let a = etag("m", &[module("m", ModuleKind::EsModule, "1")]);
        assert_eq!(a.len(), 64);
        assert_ne!(a, etag("m", &[module("m", ModuleKind::EsModule, "2")]));
        assert_ne!(a, etag("m", &[module("m", ModuleKind::TypeScript, "1")]));
        assert_ne!(a, etag("m", &[module("m1", ModuleKind::EsModule, "")]));
    }
}
