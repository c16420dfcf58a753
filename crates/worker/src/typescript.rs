//! Turns TypeScript into the JavaScript that a Worker process loads.
//!
//! Decides: whether a source parses, and the place of the first error in the author's own text. Does not check types,
//! run the code or follow imports. Invariant: every line of the output maps back to its line of the source, through an
//! inline source map that [`SourceMap`] reads when an error stack is shown.

use std::path::Path;

use base64::Engine as _;
use oxc::allocator::Allocator;
use oxc::ast::ast::Statement;
use oxc::codegen::{Codegen, CodegenOptions};
use oxc::diagnostics::OxcDiagnostic;
use oxc::parser::{ParseOptions, Parser};
use oxc::semantic::SemanticBuilder;
use oxc::span::SourceType;
use oxc::transformer::{TransformOptions, Transformer};

/// Largest source of one module, in bytes.
pub const MAX_SOURCE: usize = 2 << 20;

const MAP_PREFIX: &str = "//# sourceMappingURL=data:application/json;charset=utf-8;base64,";

/// A source that does not compile, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct TypeScriptError {
    pub message: String,
    /// One-based.
    pub line: u32,
    /// One-based, in characters.
    pub column: u32,
    /// The source line with a caret beneath the place.
    pub snippet: String,
}

/// Compiles one module. The kind (`.js`, `.mjs`, `.ts`, `.mts`, `.tsx`, `.jsx`) follows from `name`; a name without one
/// of these is TypeScript. JavaScript is checked and returned as it is, and so is a data module (`.json` must be JSON;
/// `.txt`, `.html`, `.css` and `.sql` are text), which exports its content by default.
///
/// # Errors
/// When the source does not parse, or is larger than [`MAX_SOURCE`].
pub fn to_javascript(name: &str, source: &str) -> Result<String, TypeScriptError> {
    if source.len() > MAX_SOURCE {
        return Err(TypeScriptError::at(source, 0, format!("a module may have at most {MAX_SOURCE} bytes")));
    }
    if let Some(result) = data_module(name, source) {
        return result;
    }
    let kind = source_type(name);
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, kind).parse();
    if let Some(error) = parsed.diagnostics.iter().next() {
        return Err(TypeScriptError::from_diagnostic(source, error));
    }
    let mut program = parsed.program;
    let analysed = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .with_excess_capacity(2.0)
        .with_enum_eval(true)
        .build(&program);
    if let Some(error) = analysed.diagnostics.iter().next() {
        return Err(TypeScriptError::from_diagnostic(source, error));
    }
    if !kind.is_typescript() && !kind.is_jsx() {
        return Ok(source.to_owned());
    }
    let scoping = analysed.semantic.into_scoping();
    let path = Path::new(name);
    let transformed =
        Transformer::new(&allocator, path, &TransformOptions::default()).build_with_scoping(scoping, &mut program);
    if let Some(error) = transformed.diagnostics.iter().next() {
        return Err(TypeScriptError::from_diagnostic(source, error));
    }
    let options = CodegenOptions { source_map_path: Some(path.to_path_buf()), ..CodegenOptions::default() };
    let printed = Codegen::new().with_options(options).build(&program);
    let mut code = printed.code;
    if let Some(mut map) = printed.map {
        map.set_source_contents(Vec::new());
        if !code.ends_with('\n') {
            code.push('\n');
        }
        code.push_str(MAP_PREFIX);
        code.push_str(&base64::engine::general_purpose::STANDARD.encode(map.to_json_string()));
        code.push('\n');
    }
    Ok(code)
}

/// Finds where the last statement of a program begins, in bytes, if it is an expression: what a program comes to that is
/// written as statements, as in a console.
#[must_use]
pub fn last_expression(source: &str) -> Option<usize> {
    if source.len() > MAX_SOURCE {
        return None;
    }
    let allocator = Allocator::default();
    let options = ParseOptions { allow_return_outside_function: true, ..ParseOptions::default() };
    let parsed = Parser::new(&allocator, source, SourceType::ts()).with_options(options).parse();
    if parsed.diagnostics.iter().next().is_some() {
        return None;
    }
    let Statement::ExpressionStatement(statement) = parsed.program.body.last()? else { return None };
    Some(statement.span.start as usize)
}

fn data_module(name: &str, source: &str) -> Option<Result<String, TypeScriptError>> {
    match name.rsplit_once('.')?.1 {
        "txt" | "html" | "css" | "sql" => Some(Ok(source.to_owned())),
        "json" => Some(match serde_json::from_str::<serde::de::IgnoredAny>(source) {
            Ok(_) => Ok(source.to_owned()),
            Err(error) => {
                let line_start: usize =
                    source.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
                let offset = line_start + error.column().saturating_sub(1);
                Err(TypeScriptError::at(source, offset, "the file is not JSON".to_owned()))
            }
        }),
        _ => None,
    }
}

pub(crate) fn source_type(name: &str) -> SourceType {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js" | "mjs") => SourceType::mjs(),
        Some("jsx") => SourceType::jsx(),
        Some("tsx") => SourceType::tsx(),
        Some(_) | None => SourceType::ts(),
    }
}

impl TypeScriptError {
    pub(crate) fn from_diagnostic(source: &str, diagnostic: &OxcDiagnostic) -> Self {
        let offset = diagnostic.labels.iter().next().map_or(0, |label| label.offset() as usize);
        Self::at(source, offset, diagnostic.message.to_string())
    }

    /// An error at a byte offset of `source`.
    pub(crate) fn at(source: &str, offset: usize, message: String) -> Self {
        let mut offset = offset.min(source.len());
        while !source.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &source[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[offset..].find('\n').map_or(source.len(), |at| offset + at);
        let line = before.matches('\n').count() + 1;
        let column = source[line_start..offset].chars().count() + 1;
        let text: String = source[line_start..line_end].chars().take(200).collect();
        let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        Self {
            message,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            snippet: format!("{text}\n{indent}^"),
        }
    }
}

/// The positions of one compiled module, read back from its inline map.
#[derive(Debug, Default)]
pub struct SourceMap {
    /// Per generated line: (generated column, source line, source column), zero-based, in column order.
    lines: Vec<Vec<(u32, u32, u32)>>,
}

impl SourceMap {
    /// Reads the inline map at the end of `code`, if [`to_javascript`] put one there.
    pub fn of(code: &str) -> Option<Self> {
        let at = code.rfind(MAP_PREFIX)?;
        let encoded = code[at + MAP_PREFIX.len()..].trim_end();
        let json = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let map: serde_json::Value = serde_json::from_slice(&json).ok()?;
        Some(Self { lines: decode_mappings(map.get("mappings")?.as_str()?)? })
    }

    /// The source position, one-based, of a generated one.
    pub fn original(&self, line: u32, column: u32) -> Option<(u32, u32)> {
        let segments = self.lines.get(line.checked_sub(1)? as usize)?;
        let column = column.saturating_sub(1);
        let next = segments.partition_point(|segment| segment.0 <= column);
        let (_, line, column) = segments.get(next.saturating_sub(1))?;
        Some((line + 1, column + 1))
    }
}

fn decode_mappings(mappings: &str) -> Option<Vec<Vec<(u32, u32, u32)>>> {
    let (mut source_line, mut source_column) = (0_i64, 0_i64);
    let mut lines = Vec::new();
    for line in mappings.split(';') {
        let mut generated = 0_i64;
        let mut segments = Vec::new();
        for segment in line.split(',').filter(|segment| !segment.is_empty()) {
            let fields = decode_vlq(segment)?;
            generated += fields.first()?;
            if let [_, _, line_step, column_step, ..] = fields.as_slice() {
                source_line += line_step;
                source_column += column_step;
                segments.push((
                    u32::try_from(generated).ok()?,
                    u32::try_from(source_line).ok()?,
                    u32::try_from(source_column).ok()?,
                ));
            }
        }
        lines.push(segments);
    }
    Some(lines)
}

fn decode_vlq(segment: &str) -> Option<Vec<i64>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut fields = Vec::with_capacity(5);
    let (mut value, mut shift) = (0_i64, 0_u32);
    for byte in segment.bytes() {
        let digit = i64::try_from(ALPHABET.iter().position(|known| *known == byte)?).ok()?;
        value |= (digit & 31).checked_shl(shift)?;
        if digit & 32 != 0 {
            shift += 5;
            if shift > 40 {
                return None;
            }
        } else {
            fields.push(if value & 1 == 1 { -(value >> 1) } else { value >> 1 });
            (value, shift) = (0, 0);
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typescript_forms_become_javascript() {
        for (source, expected) in [
            ("const a: number = 1; export { a };", "const a = 1;"),
            ("enum E { A = 2 } export const x = E.A;", "E[E[\"A\"] = 2] = \"A\""),
            ("class P { constructor(private readonly n: string) {} } export default P;", "this.n = n"),
            ("interface I { a: string } export const i = { a: 'x' } satisfies I;", "export const i = { a: \"x\" };"),
            ("import type { T } from './t'; export const v = 1 as T;", "export const v = 1;"),
            ("export const f = <T,>(v: T): T => v!;", "export const f = (v) => v;"),
            ("namespace N { export const q = 1 } export const r = N.q;", "N.q = 1"),
        ] {
            let code = to_javascript("a.ts", source).unwrap();
            assert!(code.contains(expected), "{source}\n{code}");
        }
    }

    #[test]
    fn javascript_is_returned_untouched() {
        let source = "export default { fetch() { return 1 } }\n";
        assert_eq!(to_javascript("a.js", source).unwrap(), source);
    }

    #[test]
    fn data_modules_are_returned_untouched() {
        assert_eq!(to_javascript("a.txt", "not (code").unwrap(), "not (code");
        assert_eq!(to_javascript("a.json", "{\"a\": 1}").unwrap(), "{\"a\": 1}");
        let error = to_javascript("a.json", "{\n  \"a\": ,\n}").unwrap_err();
        assert_eq!((error.line, error.column), (2, 8));
    }

    #[test]
    fn an_error_carries_its_place() {
        let error = to_javascript("a.ts", "const a = 1;\n  const b = ;\n").unwrap_err();
        assert_eq!((error.line, error.column), (2, 13));
        assert_eq!(error.snippet, "  const b = ;\n            ^");
        assert!(to_javascript("a.ts", "let a = 1; let a = 2;").is_err());
        assert!(to_javascript("a.js", "const a: number = 1").is_err(), "types are not JavaScript");
        assert!(to_javascript("a.ts", &" ".repeat(MAX_SOURCE + 1)).is_err());
    }

    #[test]
    fn positions_map_back_to_the_source() {
        let source = "interface A {\n  x: string;\n}\n\nexport function f(a: A): never {\n  throw new Error(a.x);\n}\n";
        let code = to_javascript("a.ts", source).unwrap();
        let map = SourceMap::of(&code).unwrap();
        let line = code.lines().position(|line| line.contains("throw")).unwrap();
        let column = code.lines().nth(line).unwrap().find("new").unwrap();
        let place = map.original(u32::try_from(line).unwrap() + 1, u32::try_from(column).unwrap() + 1);
        assert_eq!(place.unwrap().0, 6);
        assert!(SourceMap::of("let a;").is_none());
    }
}
