//! Turns an ES module into a factory that can be instantiated any number of times.
//!
//! The engine never frees a module once it is linked, so an instance per invocation cannot be one of its modules. Here
//! each module becomes a function `(exports, imports, dynamic, meta) => …` whose every call is a fresh instance: imports
//! read through the exporter's getters (live bindings), exports are getters over the function's own variables. Only text
//! at import and export sites changes, and no line moves, so error positions stay right. Does not resolve names.

use std::collections::HashMap;

use oxc::allocator::Allocator;
use oxc::ast::AstKind;
use oxc::ast::ast::{
    ExportDefaultDeclaration, ExportDefaultDeclarationKind, ImportDeclarationSpecifier, ModuleExportName, Statement,
};
use oxc::parser::Parser;
use oxc::semantic::{Semantic, SemanticBuilder};
use oxc::span::{GetSpan, SourceType, Span};

use crate::typescript::TypeScriptError;

/// One module, ready to be compiled as a script whose value is the factory function.
#[derive(Debug)]
pub(super) struct Factory {
    pub(super) code: String,
    /// Module specifiers in order of first appearance; `imports` has one entry for each.
    pub(super) requests: Vec<String>,
    /// Indexes into `requests` that are re-exported whole.
    pub(super) stars: Vec<usize>,
    /// Whether instantiating waits at the top level.
    pub(super) waits: bool,
}

/// Rewrites `source`, an ES module in JavaScript.
///
/// # Errors
/// When it is not one.
pub(super) fn factory(source: &str) -> Result<Factory, TypeScriptError> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::mjs()).parse();
    if let Some(error) = parsed.diagnostics.iter().next() {
        return Err(TypeScriptError::from_diagnostic(source, error));
    }
    let program = parsed.program;
    let analysed = SemanticBuilder::new().with_build_nodes(true).with_check_syntax_error(true).build(&program);
    if let Some(error) = analysed.diagnostics.iter().next() {
        return Err(TypeScriptError::from_diagnostic(source, error));
    }
    let mut rewrite = Rewrite::default();
    if let Some(hashbang) = &program.hashbang {
        rewrite.blank(source, hashbang.span);
    }
    rewrite.imports(source, &program.body, &analysed.semantic);
    rewrite.exports(source, &program.body);
    rewrite.expressions(&analysed.semantic);
    Ok(rewrite.finish(source))
}

#[derive(Default)]
struct Rewrite {
    edits: Vec<(Span, String)>,
    requests: Vec<String>,
    stars: Vec<usize>,
    /// Local names of imports, with the expression that reads them.
    imported: HashMap<String, String>,
    /// Export name and the expression that reads it.
    getters: Vec<(String, String)>,
    waits: bool,
}

impl Rewrite {
    fn request(&mut self, specifier: &str) -> usize {
        if let Some(at) = self.requests.iter().position(|known| known == specifier) {
            return at;
        }
        self.requests.push(specifier.to_owned());
        self.requests.len() - 1
    }

    /// Removes a statement but keeps its line breaks.
    fn blank(&mut self, source: &str, span: Span) {
        let text = &source[span.start as usize..span.end as usize];
        self.edits.push((span, text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()));
    }

    fn imports(&mut self, source: &str, body: &[Statement<'_>], semantic: &Semantic<'_>) {
        for statement in body {
            let Statement::ImportDeclaration(declaration) = statement else { continue };
            let module = self.request(declaration.source.value.as_str());
            self.blank(source, declaration.span);
            for specifier in declaration.specifiers.iter().flatten() {
                let (local, read) = match specifier {
                    ImportDeclarationSpecifier::ImportSpecifier(named) => {
                        (&named.local, member(module, export_name(&named.imported)))
                    }
                    ImportDeclarationSpecifier::ImportDefaultSpecifier(default) => {
                        (&default.local, member(module, "default"))
                    }
                    ImportDeclarationSpecifier::ImportNamespaceSpecifier(space) => {
                        (&space.local, format!("imports$p[{module}]"))
                    }
                };
                self.imported.insert(local.name.to_string(), read.clone());
                self.references(semantic, local.symbol_id(), &read);
            }
        }
    }

    /// Replaces every use of an imported binding by a read of the exporter's current value.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the syntax tree has many kinds and few matter here")]
    fn references(&mut self, semantic: &Semantic<'_>, symbol: oxc::semantic::SymbolId, read: &str) {
        for reference in semantic.symbol_references(symbol) {
            let node = semantic.nodes().get_node(reference.node_id());
            let span = node.kind().span();
            match semantic.nodes().parent_kind(node.id()) {
                AstKind::ObjectProperty(property) if property.shorthand => {
                    self.edits.push((Span::new(span.end, span.end), format!(": {read}")));
                }
                AstKind::ExportSpecifier(_) => {}
                _ => self.edits.push((span, read.to_owned())),
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the syntax tree has many kinds and few matter here")]
    fn exports(&mut self, source: &str, body: &[Statement<'_>]) {
        for statement in body {
            match statement {
                Statement::ExportAllDeclaration(all) => {
                    let module = self.request(all.source.value.as_str());
                    match &all.exported {
                        Some(name) => {
                            let name = export_name(name).to_owned();
                            self.getters.push((name, format!("imports$p[{module}]")));
                        }
                        None => self.stars.push(module),
                    }
                    self.blank(source, all.span);
                }
                Statement::ExportFromDeclaration(from) => {
                    let module = self.request(from.source.value.as_str());
                    for specifier in &from.specifiers {
                        let read = member(module, export_name(&specifier.local));
                        self.getters.push((export_name(&specifier.exported).to_owned(), read));
                    }
                    self.blank(source, from.span);
                }
                Statement::ExportNamedDeclaration(named) => {
                    for specifier in &named.specifiers {
                        let local = export_name(&specifier.local);
                        let read = self.imported.get(local).cloned().unwrap_or_else(|| local.to_owned());
                        self.getters.push((export_name(&specifier.exported).to_owned(), read));
                    }
                    self.blank(source, named.span);
                }
                Statement::ExportDeclaration(export) => {
                    let names = bound_names(&export.declaration);
                    self.getters.extend(names.into_iter().map(|name| (name.clone(), name)));
                    self.blank(source, Span::new(export.span.start, export.declaration.span().start));
                }
                Statement::ExportDefaultDeclaration(default) => self.export_default(source, default),
                _ => {}
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the syntax tree has many kinds and few matter here")]
    fn export_default(&mut self, source: &str, default: &ExportDefaultDeclaration<'_>) {
        let name = match &default.declaration {
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.id.as_ref().map(|id| id.name),
            ExportDefaultDeclarationKind::ClassDeclaration(class) => class.id.as_ref().map(|id| id.name),
            _ => None,
        };
        let prefix = Span::new(default.span.start, default.declaration.span().start);
        if let Some(name) = name {
            self.blank(source, prefix);
            self.getters.push(("default".to_owned(), name.to_string()));
        } else {
            let lines = source[prefix.start as usize..prefix.end as usize].matches('\n').count();
            self.edits.push((prefix, format!("const default$p = {}", "\n".repeat(lines))));
            self.edits.push((Span::new(default.span.end, default.span.end), ";".to_owned()));
            self.getters.push(("default".to_owned(), "default$p".to_owned()));
        }
    }

    /// Dynamic imports, `import.meta`, and whether the module waits at its top level.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the syntax tree has many kinds and few matter here")]
    fn expressions(&mut self, semantic: &Semantic<'_>) {
        let nodes = semantic.nodes();
        for node in nodes.iter() {
            match node.kind() {
                AstKind::ImportExpression(import) => {
                    let keyword = Span::new(import.span.start, import.span.start + 6);
                    self.edits.push((keyword, "dynamic$p".to_owned()));
                }
                AstKind::ImportMeta(meta) => self.edits.push((meta.span, "meta$p".to_owned())),
                AstKind::AwaitExpression(_) => self.waits |= at_top_level(semantic, node.id()),
                AstKind::ForOfStatement(statement) if statement.r#await => {
                    self.waits |= at_top_level(semantic, node.id());
                }
                _ => {}
            }
        }
    }

    fn finish(mut self, source: &str) -> Factory {
        // At one offset an insertion comes before the replacement that starts there.
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        let mut code = String::with_capacity(source.len() + 256);
        code.push_str(if self.waits { "(async function" } else { "(function" });
        code.push_str("(exports$p, imports$p, dynamic$p, meta$p) {\"use strict\"; exports$p({__proto__: null, ");
        for (name, read) in &self.getters {
            code.push_str(&format!("get {}() {{ return {read}; }}, ", serde_json::Value::from(name.as_str())));
        }
        code.push_str("}); ");
        let mut from = 0;
        for (span, text) in &self.edits {
            let (start, end) = (span.start as usize, span.end as usize);
            if start < from {
                continue;
            }
            code.push_str(&source[from..start]);
            code.push_str(text);
            from = end;
        }
        code.push_str(&source[from..]);
        code.push_str("\n})");
        Factory { code, requests: self.requests, stars: self.stars, waits: self.waits }
    }
}

fn at_top_level(semantic: &Semantic<'_>, node: oxc::semantic::NodeId) -> bool {
    !semantic
        .nodes()
        .ancestor_kinds(node)
        .any(|kind| matches!(kind, AstKind::Function(_) | AstKind::ArrowFunctionExpression(_)))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the syntax tree has many kinds and few matter here")]
fn bound_names(declaration: &oxc::ast::ast::Declaration<'_>) -> Vec<String> {
    use oxc::ast::ast::Declaration;
    match declaration {
        Declaration::VariableDeclaration(variables) => variables
            .declarations
            .iter()
            .flat_map(|declarator| declarator.id.get_binding_identifiers())
            .map(|id| id.name.to_string())
            .collect(),
        Declaration::FunctionDeclaration(function) => function.id.iter().map(|id| id.name.to_string()).collect(),
        Declaration::ClassDeclaration(class) => class.id.iter().map(|id| id.name.to_string()).collect(),
        _ => Vec::new(),
    }
}

fn export_name<'a>(name: &'a ModuleExportName<'_>) -> &'a str {
    match name {
        ModuleExportName::IdentifierName(name) => name.name.as_str(),
        ModuleExportName::IdentifierReference(name) => name.name.as_str(),
        ModuleExportName::StringLiteral(name) => name.value.as_str(),
    }
}

fn member(module: usize, name: &str) -> String {
    format!("imports$p[{module}][{}]", serde_json::Value::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_import_and_export_sites_change() {
        for (source, expected) in [
            ("export default { a: 1 }", "get \"default\"() { return default$p; }, }); const default$p = { a: 1 };"),
            ("export default function f() {}", "get \"default\"() { return f; }, });                function f() {}"),
            (
                "import {a as b} from './m'; b(1); const c = {b};",
                "imports$p[0][\"a\"](1); const c = {b: imports$p[0][\"a\"]};",
            ),
            ("import d, * as n from './m'; d; n.x", "imports$p[0][\"default\"]; imports$p[0].x"),
            (
                "export const {x, y: [z]} = o;",
                "get \"x\"() { return x; }, get \"z\"() { return z; }, });        const {x, y: [z]} = o;",
            ),
            ("import {a} from './m'; export {a as q}", "get \"q\"() { return imports$p[0][\"a\"]; }"),
            ("export * from './m'; export {k as \"s t\"} from './n'", "get \"s t\"() { return imports$p[1][\"k\"]; }"),
            ("const m = await import('./m');", "(async function"),
            ("const u = import.meta.url;", "const u = meta$p.url;"),
            ("export default class extends B {}", "const default$p = class extends B {};"),
        ] {
            let made = factory(source).unwrap();
            assert!(made.code.contains(expected), "{source}\n{}", made.code);
        }
    }

    #[test]
    fn lines_do_not_move() {
        let source = "import {\n a,\n b\n} from './m';\n\nexport default\n  a + b\nthrow 1\n";
        let made = factory(source).unwrap();
        let line = made.code.lines().position(|line| line.contains("throw")).unwrap();
        assert_eq!(line, 7);
    }

    #[test]
    fn text_that_closes_the_wrapper_is_refused() {
        for source in ["}); globalThis.x = 1; (function () {", "return 1", "export {missing}", "import a from", "await"]
        {
            assert!(factory(source).is_err(), "{source}");
        }
    }
}
