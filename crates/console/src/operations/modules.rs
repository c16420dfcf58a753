//! The modules of a Worker: which kinds there are, how a file's name and media type choose one, and what the runtime is
//! given for each.
//!
//! The author's source is what is stored; JavaScript is made from it here, at upload to find faults and again whenever a
//! configuration is compiled. Invariant: what was accepted at upload compiles.

use std::collections::BTreeSet;

use store::{Module, ModuleKind};
use types::Code;

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
/// A [`Failure`] with line and column of the first fault of each module.
pub fn compile(main: &str, modules: &[Module]) -> Result<Vec<worker::protocol::Module>, Failure> {
    let mut compiled = Vec::with_capacity(modules.len());
    let mut problems = Vec::new();
    for module in modules {
        match compile_one(module) {
            Ok(Some(code)) => {
                let place = if module.name == main { 0 } else { compiled.len() };
                compiled.insert(place, worker::protocol::Module { name: module.name.clone(), code });
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(compiled) } else { Err(Failure::invalid_many(problems).numbered(10021)) }
}

fn compile_one(module: &Module) -> Result<Option<String>, Problem> {
    let name = &module.name;
    let problem = |message: String| Problem { message, pointer: None };
    let text = || {
        std::str::from_utf8(module.source.as_bytes())
            .map_err(|_| problem(format!("module \"{name}\" is not UTF-8 text")))
    };
    match module.kind {
        ModuleKind::EsModule | ModuleKind::TypeScript => {
            // The compiler chooses the language by the name's end; the kind was chosen with the media type as well.
            let named = match (module.kind, name.rsplit_once('.')) {
                (ModuleKind::TypeScript, Some((_, "ts" | "mts" | "tsx"))) => name.clone(),
                (ModuleKind::TypeScript, _) => format!("{name}.ts"),
                (_, Some((_, "js" | "mjs" | "jsx"))) => name.clone(),
                _ => format!("{name}.js"),
            };
            worker::typescript::to_javascript(&named, text()?).map(Some).map_err(|error| {
                let (line, column) = (error.line, error.column);
                problem(format!("{name}:{line}:{column}: {}\n{}", error.message, error.snippet))
            })
        }
        ModuleKind::Text => Ok(Some(format!("export default {};\n", string_literal(text()?)))),
        ModuleKind::Json => {
            let text = text()?;
            serde_json::from_str::<serde::de::IgnoredAny>(text)
                .map_err(|error| problem(format!("module \"{name}\" is not JSON: {error}")))?;
            Ok(Some(format!("export default JSON.parse({});\n", string_literal(text))))
        }
        ModuleKind::Data => {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(module.source.as_bytes());
            Ok(Some(format!("export default Uint8Array.from(atob(\"{encoded}\"), (c) => c.charCodeAt(0)).buffer;\n")))
        }
        ModuleKind::SourceMap => Ok(None),
    }
}

/// JSON text is a JavaScript string literal since ECMAScript 2019.
fn string_literal(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
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

    use super::{check, compile, etag, kind};

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
    fn every_kind_becomes_javascript_with_the_main_module_first() {
        let modules = [
            module("data.json", ModuleKind::Json, "{\"a\":1}"),
            module("page.html", ModuleKind::Text, "a \"b\""),
            module("main.js", ModuleKind::EsModule, "export default {}"),
            module("main.js.map", ModuleKind::SourceMap, "{}"),
            module("x.bin", ModuleKind::Data, "abc"),
        ];
        let compiled = compile("main.js", &modules).unwrap();
        let names: Vec<_> = compiled.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["main.js", "data.json", "page.html", "x.bin"]);
        assert_eq!(compiled[1].code, "export default JSON.parse(\"{\\\"a\\\":1}\");\n");
        assert!(compile("main.js", &[module("data.json", ModuleKind::Json, "{")]).is_err());
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
