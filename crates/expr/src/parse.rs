//! Parses the text of an expression into a [`Tree`].
//! Decides grammar and precedence (`or`, then `xor`, then `and`, then `not`), never names or types.
//! Recursion is bounded by the depth limit; a chain of one connective is a flat list, however long.

use crate::ast::Order;
use crate::cursor::{Cursor, Quoting};
use crate::error::{Complaint, nearest};
use crate::limits::Limits;
use crate::syntax::{
    Base, Connective, Operator, RawArgument, RawLiteral, RawOperand, RawStep, RawTest, Right, Span, Tree,
};

/// Parses `source`; `None` is the empty expression.
pub(crate) fn parse(source: &str, limits: &Limits) -> Result<Option<Tree>, Complaint> {
    if source.len() > limits.length && source.chars().count() > limits.length {
        let message = format!("the expression has more than {} characters", limits.length);
        return Err(Complaint::new(0..0, message));
    }
    let mut parser = Parser { cursor: Cursor::new(source), limits, depth: 0, quantified: false };
    parser.cursor.skip_space();
    if parser.cursor.at_end() {
        return Ok(None);
    }
    let tree = parser.joined(Connective::Or)?;
    parser.cursor.skip_space();
    if parser.cursor.at_end() { Ok(Some(tree)) } else { Err(parser.unexpected()) }
}

struct Parser<'s, 'l> {
    cursor: Cursor<'s>,
    limits: &'l Limits,
    depth: usize,
    /// Whether this is within `any` or `all`.
    quantified: bool,
}

/// The words and symbols of each connective.
fn spellings(connective: Connective) -> (&'static str, &'static str) {
    match connective {
        Connective::Or => ("or", "||"),
        Connective::Xor => ("xor", "^^"),
        Connective::And => ("and", "&&"),
    }
}

/// The comparison operators; one that begins another stands after it.
const SYMBOLS: [(&str, Operator); 8] = [
    ("==", Operator::Order(Order::Equal)),
    ("!=", Operator::Order(Order::NotEqual)),
    (">=", Operator::Order(Order::GreaterEqual)),
    ("<=", Operator::Order(Order::LessEqual)),
    (">", Operator::Order(Order::Greater)),
    ("<", Operator::Order(Order::Less)),
    ("~", Operator::Matches),
    ("&", Operator::Bits),
];

const WORDS: [(&str, Operator); 11] = [
    ("eq", Operator::Order(Order::Equal)),
    ("ne", Operator::Order(Order::NotEqual)),
    ("ge", Operator::Order(Order::GreaterEqual)),
    ("le", Operator::Order(Order::LessEqual)),
    ("gt", Operator::Order(Order::Greater)),
    ("lt", Operator::Order(Order::Less)),
    ("in", Operator::In),
    ("contains", Operator::Contains),
    ("matches", Operator::Matches),
    ("wildcard", Operator::Wildcard),
    ("bitwise_and", Operator::Bits),
];

impl Parser<'_, '_> {
    /// Parses conditions joined by `connective` or anything tighter.
    fn joined(&mut self, connective: Connective) -> Result<Tree, Complaint> {
        let mut parts = vec![self.tighter(connective)?];
        loop {
            self.cursor.skip_space();
            let (word, symbol) = spellings(connective);
            if !self.cursor.take_word(word) && !self.cursor.take(symbol) {
                break;
            }
            parts.push(self.tighter(connective)?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                Ok(Tree::Logic(connective, parts))
            }
        }
    }

    fn tighter(&mut self, connective: Connective) -> Result<Tree, Complaint> {
        match connective {
            Connective::Or => self.joined(Connective::Xor),
            Connective::Xor => self.joined(Connective::And),
            Connective::And => self.unary(),
        }
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Complaint>) -> Result<T, Complaint> {
        if self.depth == self.limits.depth {
            let message = format!("the expression is nested more than {} levels deep", self.limits.depth);
            return Err(Complaint::new(self.cursor.here(), message));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn unary(&mut self) -> Result<Tree, Complaint> {
        self.cursor.skip_space();
        if self.cursor.take_word("not") || (!self.cursor.rest().starts_with("!=") && self.cursor.take("!")) {
            let inner = self.nested(|parser| {
                parser.cursor.skip_space();
                // The canonical form writes `not(…)` for `not …`, so both have to cost the same depth.
                if parser.cursor.rest().starts_with('(') { parser.parenthesised() } else { parser.unary() }
            })?;
            return Ok(Tree::Not(Box::new(inner)));
        }
        if self.cursor.rest().starts_with('(') {
            return self.nested(Self::parenthesised);
        }
        let start = self.cursor.at;
        for (word, all) in [("any", false), ("all", true)] {
            if self.cursor.take_word(word) {
                self.cursor.skip_space();
                if self.cursor.rest().starts_with('(') {
                    return self.quantified(all, start..start + word.len());
                }
                self.cursor.at = start;
            }
        }
        self.leaf()
    }

    /// Parses what stands in `any(…)`. There is at most one on the way to any place, so it costs no depth, which lets
    /// the canonical form spell out the `any` that a shorthand implies.
    fn quantified(&mut self, all: bool, span: Span) -> Result<Tree, Complaint> {
        if self.quantified {
            let word = if all { "all" } else { "any" };
            return Err(Complaint::new(span, format!("`{word}` cannot stand within `any` or `all`")));
        }
        self.quantified = true;
        let inner = Box::new(self.parenthesised()?);
        self.quantified = false;
        Ok(Tree::Quantified { all, inner, span })
    }

    fn parenthesised(&mut self) -> Result<Tree, Complaint> {
        let open = self.cursor.here();
        self.cursor.at += 1;
        let inner = self.joined(Connective::Or)?;
        self.close(')', open)?;
        Ok(inner)
    }

    /// Reads the closing bracket of what `open` opened.
    fn close(&mut self, bracket: char, open: Span) -> Result<(), Complaint> {
        self.cursor.skip_space();
        if self.cursor.at_end() {
            return Err(Complaint::new(open, format!("this bracket is not closed: expected `{bracket}`")));
        }
        if self.cursor.take(bracket.encode_utf8(&mut [0; 4])) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn leaf(&mut self) -> Result<Tree, Complaint> {
        let deepest = self.depth == self.limits.depth;
        let operand = self.operand()?;
        self.cursor.skip_space();
        let start = self.cursor.at;
        let Some(operator) = self.operator() else {
            return Ok(Tree::Leaf { operand, test: None, deepest });
        };
        let operator_span = start..self.cursor.at;
        self.cursor.skip_space();
        let right = self.right(operator)?;
        let test = Some(RawTest { operator, operator_span, right });
        Ok(Tree::Leaf { operand, test, deepest })
    }

    fn operator(&mut self) -> Option<Operator> {
        if self.cursor.rest().starts_with("&&") {
            return None;
        }
        let words = WORDS.into_iter().find(|(word, _)| self.cursor.take_word(word));
        let found = words.or_else(|| {
            let symbol = SYMBOLS.into_iter().find(|(symbol, _)| self.cursor.take(symbol));
            symbol.or_else(|| self.strict_wildcard())
        });
        found.map(|(_, operator)| operator)
    }

    /// Reads `strict wildcard` with any space between the words.
    fn strict_wildcard(&mut self) -> Option<(&'static str, Operator)> {
        let start = self.cursor.at;
        if self.cursor.take_word("strict") {
            self.cursor.skip_space();
            if self.cursor.take_word("wildcard") {
                return Some(("strict wildcard", Operator::StrictWildcard));
            }
            self.cursor.at = start;
        }
        None
    }

    fn right(&mut self, operator: Operator) -> Result<Right, Complaint> {
        match operator {
            Operator::In => self.set_or_list(),
            Operator::Matches | Operator::Wildcard | Operator::StrictWildcard => {
                self.cursor.literal(Quoting::Pattern).map(Right::Literal)
            }
            Operator::Order(_) | Operator::Contains | Operator::Bits => {
                self.cursor.literal(Quoting::Text).map(Right::Literal)
            }
        }
    }

    fn set_or_list(&mut self) -> Result<Right, Complaint> {
        let start = self.cursor.at;
        if self.cursor.take("$") {
            return self.list_name(start);
        }
        if !self.cursor.take("{") {
            let complaint = Complaint::new(self.cursor.here(), "`in` takes a set `{…}` or a list `$…`");
            let value = self.cursor.literal(Quoting::Text).ok();
            let text = value.and_then(|value| self.cursor.source.get(value.span));
            return Err(complaint.suggest_some(text.filter(|text| text.len() < 80).map(|text| format!("{{{text}}}"))));
        }
        let mut items: Vec<RawLiteral> = Vec::new();
        loop {
            self.cursor.skip_space();
            if self.cursor.at_end() {
                return Err(Complaint::new(start..start + 1, "the set is not closed: expected `}`"));
            }
            if self.cursor.take("}") {
                break;
            }
            if items.len() == self.limits.set_items {
                let message = format!("the set has more than {} items", self.limits.set_items);
                return Err(Complaint::new(start..start + 1, message).suggest("in $list"));
            }
            items.push(self.cursor.literal(Quoting::Text)?);
        }
        if items.is_empty() {
            return Err(Complaint::new(start..self.cursor.at, "the set is empty"));
        }
        Ok(Right::Set(items))
    }

    fn list_name(&mut self, start: usize) -> Result<Right, Complaint> {
        let rest = self.cursor.rest();
        let is_list_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let length = rest.find(|c| !is_list_char(c)).unwrap_or(rest.len());
        let name = &rest[..length];
        self.cursor.at += length;
        let span = start..self.cursor.at;
        if name.is_empty() {
            return Err(Complaint::new(span, "expected the name of a list after `$`"));
        }
        if is_uuid(name) {
            return Ok(Right::List(name.to_ascii_lowercase(), span));
        }
        if name.starts_with('.') || name.ends_with('.') {
            return Err(Complaint::new(span, "the name of a list neither starts nor ends with a dot")
                .suggest(format!("${}", name.trim_matches('.'))));
        }
        if name.bytes().any(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(Complaint::new(span, "a list is named by its UUID or by `a-z`, `0-9`, `_` and `.`"));
        }
        Ok(Right::List(name.to_owned(), span))
    }

    fn operand(&mut self) -> Result<RawOperand, Complaint> {
        let start = self.cursor.at;
        let Some((name, span)) = self.cursor.identifier() else {
            return Err(self.not_an_operand());
        };
        let name = name.to_owned();
        let base = if self.cursor.rest().trim_start().starts_with('(') && !is_word_operator(&name) {
            self.cursor.skip_space();
            let arguments = self.nested(Self::arguments)?;
            Base::Call { name, span, arguments }
        } else {
            Base::Name { name, span }
        };
        let steps = self.steps()?;
        Ok(RawOperand { base, steps, span: start..self.cursor.at })
    }

    fn arguments(&mut self) -> Result<Vec<RawArgument>, Complaint> {
        let open = self.cursor.here();
        self.cursor.at += 1;
        let mut arguments = Vec::new();
        loop {
            self.cursor.skip_space();
            if arguments.is_empty() && self.cursor.take(")") {
                break;
            }
            let quoted = self.cursor.rest().starts_with('"') || self.cursor.looks_at_raw_string();
            let number = self.cursor.peek().is_some_and(|c| c.is_ascii_digit() || c == '-');
            arguments.push(if quoted || number {
                RawArgument::Literal(self.cursor.literal(Quoting::Text)?)
            } else {
                RawArgument::Operand(self.operand()?)
            });
            self.cursor.skip_space();
            if !self.cursor.take(",") {
                self.close(')', open)?;
                break;
            }
        }
        Ok(arguments)
    }

    fn steps(&mut self) -> Result<Vec<(RawStep, Span)>, Complaint> {
        let mut steps = Vec::new();
        loop {
            let start = self.cursor.at;
            if self.cursor.take("[") {
                let step = self.index(start)?;
                steps.push((step, start..self.cursor.at));
            } else if !steps.is_empty() && self.cursor.take(".") {
                let name = self.cursor.name_part();
                if name.is_empty() {
                    return Err(Complaint::new(start..start + 1, "expected a name after the dot"));
                }
                steps.push((RawStep::Attribute(name.to_owned()), start..self.cursor.at));
            } else {
                return Ok(steps);
            }
            if steps.len() > self.limits.depth {
                let message = format!("a value is indexed more than {} times", self.limits.depth);
                return Err(Complaint::new(start..self.cursor.at, message));
            }
        }
    }

    /// Reads an index up to its closing bracket.
    fn index(&mut self, start: usize) -> Result<RawStep, Complaint> {
        self.cursor.skip_space();
        let step = if self.cursor.take("*") {
            RawStep::Each
        } else if self.cursor.rest().starts_with('"') || self.cursor.looks_at_raw_string() {
            let literal = self.cursor.literal(Quoting::Text)?;
            match literal.kind {
                crate::syntax::LiteralKind::Quoted(key) => RawStep::Key(key),
                crate::syntax::LiteralKind::Word(word) => RawStep::Key(word.into_bytes()),
            }
        } else if self.cursor.rest().starts_with(']') {
            return Err(
                Complaint::new(start..self.cursor.at + 1, "an index needs a number, a key or `*`").suggest("[*]")
            );
        } else {
            let digits = self.cursor.word_here();
            let text = self.cursor.source.get(digits.clone()).unwrap_or_default();
            let valid = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
            let Some(index) = valid else {
                return Err(Complaint::new(digits, "an index is a number from zero, a key in quotes or `*`"));
            };
            self.cursor.at = digits.end;
            RawStep::Index(index)
        };
        self.close(']', start..start + 1)?;
        Ok(step)
    }

    fn not_an_operand(&self) -> Complaint {
        let span = self.cursor.word_here();
        match self.cursor.peek() {
            None => Complaint::new(span, "the expression ends where a field should stand"),
            Some('"') => Complaint::new(span, "a comparison has its field on the left and its value on the right"),
            Some(')') => Complaint::new(span, "expected a condition before `)`"),
            Some('$') => Complaint::new(span, "a list stands on the right of `in`"),
            Some(_) => Complaint::new(span, "expected a field"),
        }
    }

    /// Explains what stands where a connective or an operator should.
    fn unexpected(&self) -> Complaint {
        let span = self.cursor.word_here();
        let rest = self.cursor.rest();
        let word = self.cursor.source.get(span.clone()).unwrap_or_default();
        if rest.starts_with('=') {
            return Complaint::new(span, "unknown operator `=`").suggest("==");
        }
        if rest.starts_with(')') {
            return Complaint::new(span, "this bracket was not opened");
        }
        if rest.starts_with('|') {
            return Complaint::new(span, "unknown operator `|`").suggest("||");
        }
        if rest.starts_with('[') {
            return Complaint::new(span, "an index stands directly after its field");
        }
        if word == "not" {
            return Complaint::new(span, "`not` stands before a whole condition").suggest("not (… in {…})");
        }
        let lower = word.to_ascii_lowercase();
        let known = WORDS.iter().map(|(word, _)| *word).chain(["and", "or", "xor", "not", "strict wildcard"]);
        let similar = match lower.as_str() {
            "like" | "regex" | "regexp" | "match" => Some("matches"),
            "is" | "equals" => Some("=="),
            "has" | "includes" => Some("contains"),
            _ => nearest(&lower, known),
        };
        if word.is_empty() || !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            Complaint::new(span, "expected an operator, `and`, `or` or the end of the expression")
        } else {
            Complaint::new(span, format!("unknown operator `{word}`")).suggest_some(similar)
        }
    }
}

/// Tells whether `name` is an operator rather than a function, as in `not (…)` after a field.
fn is_word_operator(name: &str) -> bool {
    matches!(name, "and" | "or" | "xor" | "not")
}

/// Tells whether `name` has the shape of a UUID.
fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
