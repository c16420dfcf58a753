//! A Worker's modules as their author wrote them, turned into what a process loads.
//!
//! The one place that does so: at upload to find faults, and again whenever a version is prepared. It does not choose a
//! module's kind, nor bound sizes. Invariant: what compiles once compiles again, to the same text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::Module;
use crate::typescript;

/// What a module is to the modules that import it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    EsModule,
    /// Stripped of its types.
    TypeScript,
    /// Exports a string.
    Text,
    /// Exports the parsed value.
    Json,
    /// Exports an `ArrayBuffer`.
    Data,
    /// Belongs to another module; nothing imports it.
    SourceMap,
}

/// One module as its author wrote it.
#[derive(Debug, Clone, Copy)]
pub struct SourceModule<'a> {
    pub name: &'a str,
    pub kind: SourceKind,
    pub source: &'a [u8],
}

/// Why one module does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// `main.ts:3:7: …` and the line with a caret.
    #[error("{module}:{}:{}: {}\n{}", .source.line, .source.column, .source.message, .source.snippet)]
    Syntax { module: String, source: typescript::TypeScriptError },
    #[error("module \"{0}\" is not UTF-8 text")]
    NotText(String),
    #[error("module \"{module}\" is not JSON: {reason}")]
    NotJson { module: String, reason: String },
    #[error("main module \"{0}\" is not among the modules")]
    NoMain(String),
}

/// Every module that does not compile, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct CompileError(pub Vec<ModuleError>);

/// Makes JavaScript of every module, the main one first, and adds the provided ones that they import.
///
/// # Errors
/// Names everything that is wrong: the first fault of each module, and a main module that is not there.
pub fn compile<'a>(
    main: &str,
    modules: impl IntoIterator<Item = SourceModule<'a>>,
) -> Result<Vec<Module>, CompileError> {
    let (mut compiled, mut errors) = (Vec::new(), Vec::new());
    let mut found = false;
    for module in modules {
        let is_main = module.name == main;
        found |= is_main;
        match javascript(module) {
            Ok(Some(code)) => {
                let place = if is_main { 0 } else { compiled.len() };
                compiled.insert(place, Module { name: module.name.to_owned(), code });
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if !found {
        errors.push(ModuleError::NoMain(main.to_owned()));
    }
    if !errors.is_empty() {
        return Err(CompileError(errors));
    }
    crate::provided::add(&mut compiled);
    Ok(compiled)
}

fn javascript(module: SourceModule<'_>) -> Result<Option<String>, ModuleError> {
    let SourceModule { name, kind, source } = module;
    let text = || std::str::from_utf8(source).map_err(|_| ModuleError::NotText(name.to_owned()));
    Ok(Some(match kind {
        SourceKind::SourceMap => return Ok(None),
        SourceKind::EsModule | SourceKind::TypeScript => typescript::to_javascript(&named(name, kind), text()?)
            .map_err(|source| ModuleError::Syntax { module: name.to_owned(), source })?,
        SourceKind::Text => format!("export default {};\n", string_literal(text()?)),
        SourceKind::Json => {
            let text = text()?;
            serde_json::from_str::<serde::de::IgnoredAny>(text)
                .map_err(|error| ModuleError::NotJson { module: name.to_owned(), reason: error.to_string() })?;
            format!("export default JSON.parse({});\n", string_literal(text))
        }
        SourceKind::Data => {
            let encoded = STANDARD.encode(source);
            format!("export default Uint8Array.from(atob(\"{encoded}\"), (c) => c.charCodeAt(0)).buffer;\n")
        }
    }))
}

/// The compiler chooses the language by the name's end; the kind was chosen with the media type as well.
pub(crate) fn named(name: &str, kind: SourceKind) -> String {
    match (kind, name.rsplit_once('.')) {
        (SourceKind::TypeScript, Some((_, "ts" | "mts" | "tsx"))) => name.to_owned(),
        (SourceKind::TypeScript, _) => format!("{name}.ts"),
        (_, Some((_, "js" | "mjs" | "jsx"))) => name.to_owned(),
        _ => format!("{name}.js"),
    }
}

/// JSON text is a JavaScript string literal since ECMAScript 2019.
fn string_literal(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{SourceKind, SourceModule, compile};

    fn module<'a>(name: &'a str, kind: SourceKind, source: &'a [u8]) -> SourceModule<'a> {
        SourceModule { name, kind, source }
    }

    #[test]
    fn every_kind_becomes_javascript_with_the_main_module_first() {
        let modules = [
            module("data.json", SourceKind::Json, b"{\"a\":1}"),
            module("page.html", SourceKind::Text, b"a \"b\""),
            module("main", SourceKind::TypeScript, b"export default {} as object"),
            module("main.js.map", SourceKind::SourceMap, b"{}"),
            module("x.bin", SourceKind::Data, b"abc"),
        ];
        let compiled = compile("main", modules).unwrap();
        let names: Vec<_> = compiled.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["main", "data.json", "page.html", "x.bin"]);
        assert!(compiled[0].code.starts_with("export default {};"), "{}", compiled[0].code);
        assert_eq!(compiled[1].code, "export default JSON.parse(\"{\\\"a\\\":1}\");\n");
        assert_eq!(compiled[2].code, "export default \"a \\\"b\\\"\";\n");
        assert!(compiled[3].code.contains("atob(\"YWJj\")"));
    }

    #[test]
    fn a_module_that_the_product_provides_is_there_for_those_who_import_it() {
        let asks = module(
            "main.ts",
            SourceKind::TypeScript,
            b"import { server } from \"portunus:mcp\"; export default server({});",
        );
        let compiled = compile("main.ts", [asks]).unwrap();
        assert_eq!(compiled.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["main.ts", "portunus:mcp"]);
        let own = module("portunus:mcp", SourceKind::EsModule, b"export const server = (x) => x;");
        assert_eq!(compile("main.ts", [asks, own]).unwrap().len(), 2);
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let modules = [
            module("a.js", SourceKind::EsModule, b"export default {"),
            module("b.json", SourceKind::Json, b"{"),
            module("c.txt", SourceKind::Text, b"\xff"),
        ];
        let errors = compile("main.js", modules).unwrap_err();
        let text = errors.to_string();
        assert_eq!(errors.0.len(), 4, "{text}");
        for part in ["a.js:1:", "\"b.json\" is not JSON", "\"c.txt\" is not UTF-8", "\"main.js\" is not among"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
