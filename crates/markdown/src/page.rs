//! The document that is being written: which elements are open, where the line stands, what is pending.
//!
//! It is told of tags and text in their order and writes Markdown (CommonMark, with the tables of GFM) as soon as it is
//! settled. Invariant: markers that are opened are closed on their block, and nothing is written twice.

use url::Url;

use crate::attributes::Attributes;
use crate::elements::{DROPPED, Kind, Style, language, shape};
use crate::escape::{self, Context};
use crate::table::Table;

/// Most open elements.
const MOST_OPEN: usize = 1_000;
/// How far back an element looks for another that it closes without a tag of its own.
const LOOK_BACK: usize = 64;
/// Quotations and lists within each other that are shown as such.
const MOST_CONTAINERS: usize = 8;
/// Preformatted text that is held to find a fence for it, in bytes.
const MOST_FENCED: usize = 32 << 10;
/// Text of a code span that is held to find its backticks, in bytes.
const MOST_CODE: usize = 1 << 10;
/// Longest title and alternative text, in characters.
const MOST_LABEL: usize = 512;
/// Longest reference to a character that is waited for, in bytes (the longest name has 33).
const MOST_REFERENCE: usize = 40;

/// There are more open elements than are followed.
#[derive(Debug, thiserror::Error)]
#[error("nested too deeply")]
pub(crate) struct TooDeep;

struct Open {
    id: u64,
    kind: Kind,
    /// What it would be if it were not hidden.
    shape: Kind,
    /// It put a container on the stack.
    contains: bool,
}

/// An inline marker that is open.
struct Mark {
    style: Style,
    /// Where a link leads.
    address: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is written with the next text.
    Waiting,
    Written,
    /// It is written, and its element has ended.
    Closing,
    /// A link that was written: it is not repeated on the next block.
    Spent,
}

/// What stands before the text of each line.
enum Container {
    Quote,
    /// The bullet until it is written, and how far the text after it is moved.
    Item {
        bullet: Option<String>,
        width: usize,
    },
}

/// Numbers of a list; `None` is one of bullets.
type Numbers = Option<u32>;

struct Pre {
    text: String,
    language: String,
    /// The fence, once it is written.
    fence: Option<usize>,
    /// A line is written whose end has not come.
    within_line: bool,
}

pub(crate) struct Page {
    base: Option<Url>,
    out: String,
    next_id: u64,
    open: Vec<Open>,
    hidden: usize,
    containers: Vec<Container>,
    /// How many of the containers hold the last line too.
    common: usize,
    lists: Vec<Numbers>,
    marks: Vec<Mark>,
    /// Newlines owed before the next text; zero within a line.
    gap: usize,
    /// Something was written.
    begun: bool,
    /// The line has text.
    filled: bool,
    /// Nothing but up to nine digits stands on the line.
    digits: usize,
    space: bool,
    last: Option<char>,
    /// Level of the heading that the next text begins.
    heading: usize,
    in_heading: usize,
    title: Option<String>,
    pre: Option<Pre>,
    code: Option<String>,
    table: Option<Table>,
    /// Text whose last reference to a character may not be complete.
    raw: String,
}

impl Page {
    pub(crate) fn new(base: Option<Url>) -> Self {
        Self {
            base,
            out: String::new(),
            next_id: 1,
            open: Vec::new(),
            hidden: 0,
            containers: Vec::new(),
            common: 0,
            lists: Vec::new(),
            marks: Vec::new(),
            gap: 0,
            begun: false,
            filled: false,
            digits: 0,
            space: false,
            last: None,
            heading: 0,
            in_heading: 0,
            title: None,
            pre: None,
            code: None,
            table: None,
            raw: String::new(),
        }
    }

    /// Takes what has been written.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// A start tag. Returns what its end tag closes, if it has one that matters.
    pub(crate) fn open(&mut self, name: &str, tag: &dyn Attributes, has_content: bool) -> Result<Option<u64>, TooDeep> {
        self.imply_ends(name);
        let hides = DROPPED.contains(&name) || tag.hide() || name == "dialog" && tag.raw("open").is_none();
        if !has_content {
            if self.hidden == 0 && !hides {
                self.void(name, tag);
            }
            return Ok(None);
        }
        if self.open.len() >= MOST_OPEN {
            return Err(TooDeep);
        }
        let mut contains = false;
        let kind = if hides {
            self.hidden += 1;
            Kind::Hidden
        } else if self.hidden > 0 {
            // Followed for its shape alone: an item within something hidden closes its own kind.
            shape(name)
        } else {
            self.enter(name, tag, &mut contains)
        };
        let id = self.next_id;
        self.next_id += 1;
        self.open.push(Open { id, kind, shape: shape(name), contains });
        Ok(Some(id))
    }

    /// An end tag: closes its element and all in it.
    pub(crate) fn close(&mut self, id: u64) {
        if let Ok(at) = self.open.binary_search_by_key(&id, |open| open.id) {
            self.close_to(at);
        }
    }

    /// Ends the document.
    pub(crate) fn end(&mut self) {
        self.flush_raw(true);
        self.close_to(0);
        self.finish_line();
        if self.begun {
            self.out.push('\n');
        }
    }

    fn close_to(&mut self, at: usize) {
        while self.open.len() > at {
            let Some(open) = self.open.pop() else { return };
            if open.kind == Kind::Hidden {
                self.hidden -= 1;
            } else if self.hidden == 0 {
                self.leave(&open);
            }
        }
    }

    /// Closes what the beginning of an element ends without a tag (HTML standard, section 13.1.2.4).
    fn imply_ends(&mut self, name: &str) {
        let paragraph: (&[Kind], &[Kind]) =
            (&[Kind::Paragraph], &[Kind::Item, Kind::Cell, Kind::Block, Kind::Quote, Kind::Term]);
        let (ends, until): (&[Kind], &[Kind]) = match shape(name) {
            Kind::Item => (&[Kind::Item], &[Kind::List, Kind::Table(true), Kind::Table(false)]),
            Kind::Term => (&[Kind::Term], &[Kind::Block, Kind::List, Kind::Table(true), Kind::Table(false)]),
            Kind::Cell => (&[Kind::Cell], &[Kind::Row, Kind::Table(true), Kind::Table(false)]),
            Kind::Row => (&[Kind::Row], &[Kind::Section, Kind::Table(true), Kind::Table(false)]),
            Kind::Section => (&[Kind::Section], &[Kind::Table(true), Kind::Table(false)]),
            Kind::Block | Kind::Paragraph | Kind::Heading | Kind::List | Kind::Quote | Kind::Pre | Kind::Table(_) => {
                paragraph
            }
            Kind::Inline if name == "hr" => paragraph,
            Kind::Code | Kind::Mark(..) | Kind::Title | Kind::Hidden | Kind::Inline => return,
        };
        let from = self.open.len().saturating_sub(LOOK_BACK);
        let found = (from..self.open.len()).rev().find_map(|at| {
            let Open { kind, shape, .. } = self.open.get(at)?;
            // Something hidden is closed by its like too, and by nothing that stands in it.
            if ends.contains(shape) {
                Some(Some(at))
            } else {
                (until.contains(shape) || *kind == Kind::Hidden).then_some(None)
            }
        });
        if let Some(Some(at)) = found {
            self.close_to(at);
        }
    }

    fn void(&mut self, name: &str, tag: &dyn Attributes) {
        match name {
            "br" => self.line_break(),
            "hr" if !self.is_flat() => {
                self.block(2);
                self.begin_line();
                self.out.push_str("---");
                self.filled = true;
                self.block(2);
            }
            "img" => self.image(tag),
            "base" => {
                if let Some(base) = tag.address("href", self.base.as_ref()) {
                    self.base = Url::parse(&base).ok().filter(|url| !url.cannot_be_a_base()).or(self.base.take());
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, name: &str, tag: &dyn Attributes, contains: &mut bool) -> Kind {
        let kind = shape(name);
        match kind {
            Kind::Title => {
                self.title = (!self.begun).then(String::new);
            }
            Kind::Pre if self.pre.is_none() && !self.is_flat() => {
                self.block(2);
                let language = language(tag);
                self.pre = Some(Pre { text: String::new(), language, fence: None, within_line: false });
            }
            Kind::Pre => return Kind::Inline,
            Kind::Code => {
                if let Some(pre) = &mut self.pre {
                    if pre.language.is_empty() && pre.text.trim().is_empty() {
                        pre.language = language(tag);
                    }
                    return Kind::Inline;
                }
                if self.code.is_some() {
                    return Kind::Inline;
                }
                self.code = Some(String::new());
            }
            Kind::Mark(style, _) => return Kind::Mark(style, self.mark(style, tag)),
            Kind::Heading if !self.is_flat() => {
                self.block(2);
                self.heading = name.bytes().last().map_or(1, |digit| usize::from(digit.saturating_sub(b'0')));
                self.in_heading += 1;
            }
            Kind::List if !self.is_flat() => {
                self.block(if self.lists.is_empty() { 2 } else { 1 });
                let start = tag.value("start").and_then(|text| text.trim().parse().ok());
                self.lists.push((name == "ol").then(|| start.unwrap_or(1).min(999_999_999)));
                *contains = true;
            }
            Kind::Item if !self.is_flat() => {
                self.block(1);
                *contains = self.item();
            }
            Kind::Quote if !self.is_flat() => {
                self.block(2);
                if self.containers.len() < MOST_CONTAINERS {
                    self.containers.push(Container::Quote);
                    *contains = true;
                }
            }
            Kind::Table(_) => return Kind::Table(self.begin_table()),
            Kind::Cell => self.begin_cell(),
            Kind::Row => self.break_row(),
            Kind::Block | Kind::Paragraph | Kind::Term => self.block(2),
            Kind::Heading | Kind::List | Kind::Item | Kind::Quote => {
                self.block(2);
                return Kind::Block;
            }
            Kind::Section | Kind::Inline | Kind::Hidden => {}
        }
        kind
    }

    fn leave(&mut self, open: &Open) {
        match open.kind {
            Kind::Title => self.front_matter(),
            Kind::Pre => self.end_pre(),
            Kind::Code => self.end_code(),
            Kind::Mark(style, true) => self.unmark(style),
            Kind::Heading => {
                self.block(2);
                self.heading = 0;
                self.in_heading = self.in_heading.saturating_sub(1);
                self.block(2);
            }
            Kind::List => {
                self.lists.pop();
                self.block(if self.lists.is_empty() { 2 } else { 1 });
            }
            Kind::Item => {
                self.block(1);
                if open.contains {
                    self.leave_container();
                }
            }
            Kind::Quote => {
                self.block(2);
                if open.contains {
                    self.leave_container();
                }
            }
            Kind::Table(true) => {
                self.break_row();
                self.table = None;
                self.gap = 2;
            }
            Kind::Row => self.break_row(),
            Kind::Cell => self.end_cell(),
            Kind::Block | Kind::Paragraph | Kind::Term => self.block(2),
            Kind::Mark(_, false) | Kind::Table(false) | Kind::Section | Kind::Inline | Kind::Hidden => {}
        }
    }

    /// Whether blocks are only words of a line here: in a cell, a heading or preformatted text.
    fn is_flat(&self) -> bool {
        self.pre.is_some() || self.in_heading > 0 || self.in_cell()
    }

    fn in_cell(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.cell.is_some())
    }

    /// Ends the block under way, if there is one, and owes `gap` newlines before the next.
    fn block(&mut self, gap: usize) {
        if self.pre.is_some() {
            return;
        }
        self.spill_code();
        if self.in_cell() || self.in_heading > 0 && self.heading == 0 && self.filled && self.still_in_heading() {
            self.space = true;
            return;
        }
        self.finish_line();
        // The first block of an item stands beside its bullet.
        let beside = self.containers.iter().any(|one| matches!(one, Container::Item { bullet: Some(_), .. }));
        if self.begun && !beside {
            self.gap = self.gap.max(gap);
        }
    }

    /// Whether the innermost of what begins and ends blocks is a heading.
    fn still_in_heading(&self) -> bool {
        self.open.iter().rev().take(LOOK_BACK).any(|open| open.kind == Kind::Heading)
    }

    /// Closes the markers of the line.
    fn finish_line(&mut self) {
        self.break_marks();
        if self.filled {
            self.gap = self.gap.max(1);
        }
        self.filled = false;
        self.digits = 0;
        self.space = false;
        self.last = None;
    }

    /// Writes what stands before the text of a line.
    fn begin_line(&mut self) {
        if self.filled {
            return;
        }
        for blank in (0..self.gap).rev() {
            self.out.push('\n');
            // A line between two blocks of one quotation belongs to it.
            if blank > 0 {
                let before = self.out.len();
                for container in self.containers.iter().take(self.common) {
                    match container {
                        Container::Quote => self.out.push_str("> "),
                        Container::Item { bullet: Some(_), .. } => break,
                        Container::Item { width, .. } => self.out.extend(std::iter::repeat_n(' ', *width)),
                    }
                }
                let kept = before + self.out.get(before..).unwrap_or_default().trim_end().len();
                self.out.truncate(kept);
            }
        }
        self.gap = 0;
        for container in &mut self.containers {
            match container {
                Container::Quote => self.out.push_str("> "),
                Container::Item { bullet, width } => match bullet.take() {
                    Some(bullet) => self.out.push_str(&bullet),
                    None => self.out.extend(std::iter::repeat_n(' ', *width)),
                },
            }
        }
        self.common = self.containers.len();
        self.begun = true;
    }

    fn leave_container(&mut self) {
        self.containers.pop();
        self.common = self.common.min(self.containers.len());
    }

    fn item(&mut self) -> bool {
        if self.containers.len() >= MOST_CONTAINERS {
            return false;
        }
        let bullet = match self.lists.last_mut() {
            Some(Some(number)) => {
                let bullet = format!("{number}. ");
                *number = number.saturating_add(1).min(999_999_999);
                bullet
            }
            Some(None) | None => "- ".to_owned(),
        };
        self.containers.push(Container::Item { width: bullet.len(), bullet: Some(bullet) });
        true
    }

    fn line_break(&mut self) {
        if let Some(pre) = &mut self.pre {
            pre.text.push('\n');
        } else if self.is_flat() || !self.filled || self.code.is_some() {
            self.space = true;
        } else {
            self.break_marks();
            self.out.push_str("  ");
            self.filled = false;
            self.gap = self.gap.max(1);
            self.digits = 0;
            self.space = false;
            self.last = None;
        }
    }

    fn mark(&mut self, style: Style, tag: &dyn Attributes) -> bool {
        // One of each: a second within the first says nothing, links do not nest, and of two kinds of emphasis the runs of
        // stars could not be told apart.
        let excludes = |mark: &Mark| {
            mark.state != State::Closing && (mark.style == style || mark.style.is_stars() && style.is_stars())
        };
        if self.pre.is_some() || self.code.is_some() || self.marks.iter().any(excludes) {
            return false;
        }
        let address = match style {
            Style::Link => match tag.address("href", self.base.as_ref()) {
                Some(address) => address,
                None => return false,
            },
            Style::Strong | Style::Emphasis | Style::Strike => String::new(),
        };
        // What ended just before goes on.
        if let Some(mark) = self.marks.last_mut()
            && mark.style == style
            && style != Style::Link
        {
            mark.state = State::Written;
        } else {
            self.marks.push(Mark { style, address, state: State::Waiting });
        }
        true
    }

    /// Ends a marker: it is closed with the next text, which says how.
    fn unmark(&mut self, style: Style) {
        self.spill_code();
        let found = self.marks.iter().rposition(|mark| mark.style == style && mark.state != State::Closing);
        let Some(at) = found else { return };
        match self.marks.get_mut(at) {
            Some(mark) if mark.state == State::Written => mark.state = State::Closing,
            _ => drop(self.marks.remove(at)),
        }
    }

    fn write_end(&mut self, style: Style, address: &str) {
        let sink = self.sink();
        match style {
            Style::Strong => sink.push_str("**"),
            Style::Emphasis => sink.push('*'),
            Style::Strike => sink.push_str("~~"),
            Style::Link => {
                sink.push_str("](");
                sink.push_str(address);
                sink.push(')');
            }
        }
        self.last = Some(match style {
            Style::Strong | Style::Emphasis => '*',
            Style::Strike => '~',
            Style::Link => ')',
        });
    }

    /// Closes every marker that is written; those whose element goes on open again with the next text, but for links.
    fn break_marks(&mut self) {
        for mark in std::mem::take(&mut self.marks).into_iter().rev() {
            if matches!(mark.state, State::Written | State::Closing) {
                self.write_end(mark.style, &mark.address);
            }
            let state = match mark.state {
                State::Closing => continue,
                State::Written if mark.style == Style::Link => State::Spent,
                State::Written => State::Waiting,
                other @ (State::Waiting | State::Spent) => other,
            };
            self.marks.insert(0, Mark { state, ..mark });
        }
    }

    /// Closes the markers whose element has ended, before `next`.
    fn close_marks(&mut self, next: char) {
        while let Some(at) = self.marks.iter().rposition(|mark| mark.state == State::Closing) {
            let mark = self.marks.remove(at);
            // After punctuation and before a letter it would not be read as an end (CommonMark section 6.2).
            self.space |= mark.style != Style::Link && self.last.is_some_and(is_punctuation) && next.is_alphanumeric();
            self.write_end(mark.style, &mark.address);
        }
    }

    fn sink(&mut self) -> &mut String {
        match &mut self.table {
            Some(Table { cell: Some(cell), .. }) => cell,
            _ => &mut self.out,
        }
    }

    /// Writes everything that is owed before text: the line, its heading, a space, markers.
    fn begin_text(&mut self, next: char) {
        let in_cell = self.in_cell();
        if !in_cell {
            self.end_rows();
            if !self.filled {
                self.begin_line();
                if self.heading > 0 {
                    let level = std::mem::take(&mut self.heading);
                    self.out.extend(std::iter::repeat_n('#', level));
                    self.out.push(' ');
                }
                self.last = None;
            }
        } else if self.sink().is_empty() {
            self.last = None;
        }
        self.close_marks(next);
        self.open_marks(next);
    }

    /// Writes the space that is owed, and the markers that begin with `next`.
    fn open_marks(&mut self, next: char) {
        let opens = self.marks.iter().any(|mark| mark.state == State::Waiting && mark.style != Style::Link);
        // Two runs side by side would be one.
        self.space |= opens && self.last.is_some_and(|c| matches!(c, '*' | '~'));
        if std::mem::take(&mut self.space) && self.last.is_some() {
            self.sink().push(' ');
            self.last = Some(' ');
            self.digits = 0;
        }
        // Within a word and before punctuation it would not be read as a beginning (CommonMark section 6.2), and comes to
        // nothing.
        if self.last.is_some_and(char::is_alphanumeric) && is_punctuation(next) {
            self.marks.retain(|mark| mark.state != State::Waiting || mark.style == Style::Link);
        }
        for at in 0..self.marks.len() {
            let Some(mark) = self.marks.get_mut(at).filter(|mark| mark.state == State::Waiting) else { continue };
            mark.state = State::Written;
            let begin = match mark.style {
                Style::Strong => "**",
                Style::Emphasis => "*",
                Style::Strike => "~~",
                Style::Link => "[",
            };
            self.sink().push_str(begin);
            self.last = begin.chars().last();
            self.digits = 0;
            if !self.in_cell() {
                self.filled = true;
            }
        }
    }

    /// Text outside of a table's cells ends the table: the next row begins another.
    fn end_rows(&mut self) {
        if let Some(table) = &mut self.table
            && table.columns > 0
        {
            table.columns = 0;
            self.gap = self.gap.max(2);
        }
    }

    /// Text of the page as it is written, entities and all. `last`: the next is not of the same text.
    pub(crate) fn characters(&mut self, text: &str, last: bool) {
        if self.hidden > 0 {
            self.raw.clear();
            return;
        }
        self.raw.push_str(text);
        self.flush_raw(last);
    }

    fn flush_raw(&mut self, last: bool) {
        let mut cut = self.raw.len();
        if !last {
            // A reference may go on in the next piece, and some characters mean themselves by what follows them.
            let tail = self.raw.rfind('&').filter(|at| {
                let rest = self.raw.get(at + 1..).unwrap_or_default();
                let name = rest.strip_suffix(';').unwrap_or(rest);
                name.len() < MOST_REFERENCE && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#')
            });
            cut = tail.unwrap_or(cut - usize::from(self.raw.ends_with(['_', '!'])));
        }
        let rest = self.raw.split_off(cut);
        let raw = std::mem::replace(&mut self.raw, rest);
        if !raw.is_empty() {
            self.text(&htmlize::unescape(&raw));
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(title) = &mut self.title {
            title.extend(text.chars().take(MOST_LABEL.saturating_sub(title.chars().count())));
            return;
        }
        if let Some(pre) = &mut self.pre {
            pre.text.extend(text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
            if pre.text.len() > MOST_FENCED || pre.fence.is_some() {
                self.write_pre(false);
            }
            return;
        }
        if let Some(code) = &mut self.code {
            code.push_str(text);
            if code.len() > MOST_CODE {
                self.spill_code();
            }
            return;
        }
        self.words(text);
    }

    /// Writes text word by word, with white space collapsed.
    fn words(&mut self, text: &str) {
        let mut characters = text.chars().filter(|c| c.is_whitespace() || !c.is_control()).peekable();
        while let Some(c) = characters.next() {
            if c.is_whitespace() {
                self.space = true;
                continue;
            }
            // The text of a cell may have to stand as a paragraph yet.
            let fresh = if self.in_cell() { self.sink().is_empty() } else { !self.filled };
            self.begin_text(c);
            let in_cell = self.in_cell();
            let context = Context {
                before: self.last,
                after: characters.peek().copied(),
                fresh: fresh && self.last.is_none(),
                digits: self.digits > 0,
                heading: self.in_heading > 0,
                cell: in_cell,
            };
            escape::push(self.sink(), c, context);
            let digits = c.is_ascii_digit() && (fresh || self.digits > 0);
            self.digits = if digits { self.digits + 1 } else { 0 };
            self.last = Some(c);
            if !in_cell {
                self.filled = true;
            } else if self.table.as_ref().is_some_and(Table::is_full) {
                self.give_up_table();
            }
        }
    }

    fn image(&mut self, tag: &dyn Attributes) {
        let Some(alt) = tag.value("alt").filter(|alt| !alt.trim().is_empty()) else { return };
        let alt: String = alt.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_LABEL).collect();
        let address = tag.address("src", self.base.as_ref()).filter(|url| url.starts_with("http"));
        match address {
            Some(address) if self.pre.is_none() && self.code.is_none() && self.title.is_none() => {
                self.begin_text('!');
                let (in_cell, mut label) = (self.in_cell(), String::new());
                let mut characters = alt.chars().filter(|c| !c.is_control()).peekable();
                while let Some(c) = characters.next() {
                    let after = characters.peek().copied();
                    escape::push(&mut label, c, Context { after, cell: in_cell, ..Context::default() });
                }
                let text = format!("![{label}]({address})");
                self.sink().push_str(&text);
                self.last = Some(')');
                if !in_cell {
                    self.filled = true;
                } else if self.table.as_ref().is_some_and(Table::is_full) {
                    self.give_up_table();
                }
            }
            _ => self.text(&alt),
        }
    }

    fn front_matter(&mut self) {
        let Some(title) = self.title.take() else { return };
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        if !self.begun && !title.is_empty() {
            // A JSON string is a YAML string.
            let quoted = serde_json::Value::String(title);
            self.out.push_str(&format!("---\ntitle: {quoted}\n---"));
            self.begun = true;
            self.gap = 2;
        }
    }

    fn end_code(&mut self) {
        let Some(code) = self.code.take() else { return };
        let text = code.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            return;
        }
        // A pipe ends a cell even within code (GFM section 4.10), and where it is escaped there, nowhere else.
        if self.in_cell() && text.contains('|') {
            self.words(&code);
            return;
        }
        self.space |= code.starts_with(char::is_whitespace);
        // Two spans side by side would be one.
        self.space |= self.last == Some('`');
        self.begin_text('`');
        let ticks = "`".repeat(escape::longest_run(&text, '`') + 1);
        let room = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
        let in_cell = self.in_cell();
        let span = format!("{ticks}{room}{text}{room}{ticks}");
        self.sink().push_str(&span);
        self.space = code.ends_with(char::is_whitespace);
        self.last = Some('`');
        if !in_cell {
            self.filled = true;
        } else if self.table.as_ref().is_some_and(Table::is_full) {
            self.give_up_table();
        }
    }

    /// Writes the text of a code span that does not end here as text.
    fn spill_code(&mut self) {
        if let Some(code) = self.code.take() {
            self.words(&code);
        }
    }

    fn end_pre(&mut self) {
        self.write_pre(true);
        self.pre = None;
        self.block(2);
    }

    /// Writes the complete lines of preformatted text; at its end, all.
    fn write_pre(&mut self, last: bool) {
        let Some(mut pre) = self.pre.take() else { return };
        if pre.fence.is_none() {
            // The first newline belongs to the tag (HTML standard, section 13.1.2.5).
            let text = pre.text.strip_prefix('\n').unwrap_or(&pre.text);
            if text.trim().is_empty() && last {
                self.pre = Some(pre);
                return;
            }
            let fence = escape::longest_run(text, '`').max(2) + 1;
            pre.text = text.to_owned();
            self.begin_line();
            self.out.extend(std::iter::repeat_n('`', fence));
            self.out.push_str(&pre.language);
            self.end_raw_line();
            pre.fence = Some(fence);
        }
        let fence = pre.fence.unwrap_or(3);
        let complete = if last { pre.text.len() } else { pre.text.rfind('\n').map_or(0, |at| at + 1) };
        // A line without an end is written as it comes.
        let complete = if complete == 0 && pre.text.len() > MOST_FENCED { pre.text.len() } else { complete };
        let rest = pre.text.split_off(complete);
        let text = std::mem::replace(&mut pre.text, rest);
        let text = if last { text.trim_end_matches('\n') } else { text.as_str() };
        for piece in text.split_inclusive('\n') {
            let line = piece.strip_suffix('\n').unwrap_or(piece);
            if !pre.within_line {
                self.begin_line();
                // It must not end the block; four spaces keep it from that (CommonMark section 4.5).
                if line.trim_start().starts_with(&"`".repeat(fence)) {
                    self.out.push_str("    ");
                }
            }
            self.out.push_str(line);
            pre.within_line = line.len() == piece.len();
            if !pre.within_line {
                self.end_raw_line();
            }
        }
        if last {
            if pre.within_line {
                self.end_raw_line();
            }
            self.begin_line();
            self.out.extend(std::iter::repeat_n('`', fence));
            self.filled = true;
        }
        self.pre = Some(pre);
    }

    fn end_raw_line(&mut self) {
        self.filled = false;
        self.gap = 1;
    }

    /// Begins a table, unless it stands in one.
    fn begin_table(&mut self) -> bool {
        if self.in_heading > 0 || self.pre.is_some() {
            return false;
        }
        // A table in a cell: the outer one lays out a page.
        if self.table.is_some() {
            self.give_up_table();
        }
        self.block(2);
        self.table = Some(Table::default());
        true
    }

    fn begin_cell(&mut self) {
        if self.table.is_none() {
            return self.block(2);
        }
        self.break_marks();
        if let Some(table) = &mut self.table {
            table.begin_cell();
        }
        self.space = false;
        self.last = None;
        self.digits = 0;
    }

    fn end_cell(&mut self) {
        if self.table.is_none() {
            return self.block(2);
        }
        self.spill_code();
        self.break_marks();
        if let Some(table) = &mut self.table {
            table.end_cell();
        }
        self.space = false;
    }

    fn break_row(&mut self) {
        if self.table.is_none() {
            return;
        }
        self.spill_code();
        self.break_marks();
        let Some(table) = &mut self.table else { return };
        let first = table.columns == 0;
        let lines = table.end_row();
        for (at, line) in lines.iter().enumerate() {
            self.gap = self.gap.max(if first && at == 0 && self.begun { 2 } else { usize::from(self.begun) });
            self.begin_line();
            self.out.push_str(line);
            self.filled = false;
            self.gap = 1;
        }
        self.space = false;
        self.last = None;
    }

    /// Writes the cells of a row that a table cannot hold as paragraphs; the rest of the table follows as such. The cell that is
    /// open goes on.
    fn give_up_table(&mut self) {
        let Some(mut table) = self.table.take() else { return };
        let goes_on = table.cell.as_ref().is_some_and(|cell| !cell.trim().is_empty());
        for open in &mut self.open {
            if open.kind == Kind::Table(true) {
                open.kind = Kind::Table(false);
            }
        }
        let (last, digits) = (self.last, self.digits);
        for cell in table.take().into_iter().filter(|cell| !cell.trim().is_empty()) {
            self.filled = false;
            self.gap = if self.begun { 2 } else { 0 };
            self.begin_line();
            self.out.push_str(cell.trim());
            self.filled = true;
        }
        if goes_on {
            (self.last, self.digits) = (last, digits);
        } else {
            self.filled = false;
            self.gap = if self.begun { 2 } else { 0 };
        }
    }
}

/// Whether a character counts as punctuation beside a marker.
fn is_punctuation(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace()
}
