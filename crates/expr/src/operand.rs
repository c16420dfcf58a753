//! Resolves the left side of a comparison: fields and their older names, indexes, function calls.
//! Decides which value an index reaches and what a function takes and gives.

use crate::ast::{Argument, Call, Function, Operand, Path, Step};
use crate::check::{Checker, Typed, with_article};
use crate::error::{Complaint, nearest};
use crate::scheme::FieldId;
use crate::syntax::{Base, LiteralKind, RawArgument, RawOperand, RawStep, Span};
use crate::value::Type;

impl Checker<'_> {
    /// Resolves an operand.
    pub(crate) fn operand(&mut self, raw: &RawOperand) -> Result<Typed, Complaint> {
        match &raw.base {
            Base::Name { name, span } => self.path(raw, name, span),
            Base::Call { name, span, arguments } => self.call(raw, name, span, arguments),
        }
    }

    fn path(&mut self, raw: &RawOperand, name: &str, span: &Span) -> Result<Typed, Complaint> {
        let field = self.resolve(raw, name, span)?;
        self.fields.insert(field);
        let description = self.scheme.field(field);
        let mut path = Path { field, name: description.name, steps: Vec::new() };
        let mut kind = description.kind;
        let entries = description.entries;
        for (step, span) in &raw.steps {
            let bad = |message: String| Complaint::new(span.clone(), message);
            match (step, kind) {
                (RawStep::Attribute(_), _) => {}
                (RawStep::Each, Type::Array(element)) => {
                    path.steps.push(Step::Each);
                    kind = *element;
                }
                (RawStep::Each, Type::Map(value)) => {
                    path.steps.push(Step::Each);
                    kind = if entries { Type::Bytes } else { *value };
                }
                (RawStep::Each, _) => {
                    self.note(span.clone(), format!("`{}` is one value, so `[*]` changes nothing", path.name));
                }
                (RawStep::Index(index), Type::Array(element)) => {
                    path.steps.push(Step::Index(*index));
                    kind = *element;
                }
                (RawStep::Key(key), Type::Map(value)) => {
                    path.steps.push(Step::Key(key.clone()));
                    kind = *value;
                }
                (RawStep::Index(_), Type::Map(_)) => return Err(bad("a map is indexed by a key in quotes".into())),
                (RawStep::Key(_), Type::Array(_)) => {
                    return Err(bad("an array is indexed by a number or `*`".into()).suggest("[*]"));
                }
                (RawStep::Index(_) | RawStep::Key(_), _) => {
                    return Err(bad(format!("{} has nothing to index", with_article(kind))));
                }
            }
        }
        Ok(Typed { operand: Operand::Path(path), kind, span: raw.span.clone() })
    }

    /// Finds the field; an attribute after an index belongs to the name: `groups[*].id` is `groups.id[*]`.
    fn resolve(&mut self, raw: &RawOperand, name: &str, span: &Span) -> Result<FieldId, Complaint> {
        let mut full = name.to_owned();
        for (step, _) in &raw.steps {
            if let RawStep::Attribute(attribute) = step {
                full.push('.');
                full.push_str(attribute);
            }
        }
        let Some(field) = self.scheme.id(&full) else {
            return Err(self.unknown_field(&full, span.clone()));
        };
        let canonical = self.scheme.field(field).name;
        if self.scheme.is_alias(&full) {
            self.note(raw.span.clone(), format!("`{full}` is an older name of `{canonical}`"));
        } else if full != name {
            self.note(raw.span.clone(), format!("read as `{canonical}[*]`"));
        }
        Ok(field)
    }

    fn unknown_field(&self, name: &str, span: Span) -> Complaint {
        let names = self.scheme.fields().iter().map(|field| field.name);
        let aliases = self.scheme.aliases().map(|(old, _)| old);
        if Function::ALL.iter().any(|function| function.name() == name) || matches!(name, "any" | "all") {
            return Complaint::new(span, format!("`{name}` is a function")).suggest(format!("{name}(…)"));
        }
        if matches!(name, "true" | "false") {
            return Complaint::new(span, format!("`{name}` is not a condition; an empty expression is always true"));
        }
        let below = format!("{name}.");
        let similar = nearest(name, names.chain(aliases));
        let inner = || self.scheme.fields().iter().map(|field| field.name).find(|field| field.starts_with(&below));
        Complaint::new(span, format!("unknown field `{name}`")).suggest_some(similar.or_else(inner))
    }

    fn call(
        &mut self,
        raw: &RawOperand,
        name: &str,
        span: &Span,
        arguments: &[RawArgument],
    ) -> Result<Typed, Complaint> {
        let Some(function) = Function::ALL.into_iter().find(|function| function.name() == name) else {
            let known = Function::ALL.iter().map(|function| function.name()).chain(["any", "all", "not"]);
            return Err(
                Complaint::new(span.clone(), format!("unknown function `{name}`")).suggest_some(nearest(name, known))
            );
        };
        let (least, most) = match function {
            Function::Concat => (2, usize::MAX),
            Function::StartsWith | Function::EndsWith => (2, 2),
            Function::Lower | Function::Upper | Function::Len | Function::UrlDecode | Function::ToString => (1, 1),
        };
        if !(least..=most).contains(&arguments.len()) {
            let count = match (least, most) {
                (1, _) => "one value",
                (_, 2) => "two values",
                (_, _) => "two or more values",
            };
            let message = format!("`{name}` takes {count}, not {}", arguments.len());
            return Err(Complaint::new(span.clone(), message));
        }
        let mut checked = Vec::with_capacity(arguments.len());
        for argument in arguments {
            checked.push(self.argument(function, argument)?);
        }
        let operand = Operand::Call(Call { function, arguments: checked });
        for (step, span) in &raw.steps {
            // The stock engine indexes a call over elements once more, as in `lower(names[*])[*]`.
            if !matches!(step, RawStep::Each) || !operand.has_each() {
                return Err(Complaint::new(
                    span.clone(),
                    format!("`{name}` gives one value, which has nothing to index"),
                ));
            }
        }
        let kind = match function {
            Function::Concat | Function::Lower | Function::Upper | Function::UrlDecode | Function::ToString => {
                Type::Bytes
            }
            Function::Len => Type::Int,
            Function::StartsWith | Function::EndsWith => Type::Bool,
        };
        Ok(Typed { operand, kind, span: raw.span.clone() })
    }

    fn argument(&mut self, function: Function, argument: &RawArgument) -> Result<Argument, Complaint> {
        let typed = match argument {
            RawArgument::Literal(literal) => {
                return match &literal.kind {
                    LiteralKind::Quoted(bytes) => Ok(Argument::Bytes(bytes.clone())),
                    LiteralKind::Word(word) => {
                        let complaint = Complaint::new(literal.span.clone(), "a function takes fields and strings");
                        Err(complaint.suggest(format!("\"{word}\"")))
                    }
                };
            }
            RawArgument::Operand(operand) => self.operand(operand)?,
        };
        let takes = match (function, typed.kind) {
            (Function::Len, Type::Bytes | Type::Array(_) | Type::Map(_)) => true,
            (Function::ToString, Type::Int | Type::Ip | Type::Version | Type::Bool | Type::Bytes) => true,
            (Function::Len | Function::ToString, _) => false,
            (_, kind) => kind == Type::Bytes,
        };
        if takes {
            return Ok(Argument::Operand(typed.operand));
        }
        let message = format!("`{}` does not take {}", function.name(), with_article(typed.kind));
        let complaint = Complaint::new(typed.span, message);
        Err(match (typed.kind, &typed.operand) {
            (Type::Array(_), Operand::Path(path)) => complaint.suggest(format!("{}[*]", path.name)),
            (Type::Int | Type::Ip | Type::Version, Operand::Path(path)) => {
                complaint.suggest(format!("to_string({})", path.name))
            }
            _ => complaint,
        })
    }
}
