//! What elements are for a document, by their names.

use crate::attributes::Attributes;

/// Elements that are not there for a reader, or that hold what a person types.
pub(crate) const DROPPED: [&str; 29] = [
    "script",
    "style",
    "template",
    "noscript",
    "svg",
    "math",
    "canvas",
    "iframe",
    "object",
    "embed",
    "audio",
    "video",
    "map",
    "select",
    "datalist",
    "textarea",
    "button",
    "input",
    "progress",
    "meter",
    "frameset",
    "noframes",
    "noembed",
    "xmp",
    "plaintext",
    "rp",
    "applet",
    "area",
    "output",
];
/// Elements that begin and end a block of their own.
const BLOCKS: [&str; 32] = [
    "address",
    "article",
    "aside",
    "body",
    "center",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "dd",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hgroup",
    "legend",
    "main",
    "menu",
    "nav",
    "optgroup",
    "option",
    "p",
    "search",
    "section",
    "summary",
    "caption",
    "html",
    "listing",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Block,
    Paragraph,
    Term,
    Heading,
    List,
    Item,
    Quote,
    Pre,
    Code,
    /// An inline marker; `true` if this element opened it.
    Mark(Style, bool),
    /// `true`: the one that rows go to.
    Table(bool),
    Section,
    Row,
    Cell,
    Title,
    Hidden,
    Inline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Strong,
    Emphasis,
    Strike,
    Link,
}

impl Style {
    pub(crate) const fn is_stars(self) -> bool {
        matches!(self, Self::Strong | Self::Emphasis)
    }
}

/// What an element is, by its name.
pub(crate) fn shape(name: &str) -> Kind {
    match name {
        "title" => Kind::Title,
        "p" => Kind::Paragraph,
        "dt" | "dd" => Kind::Term,
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Kind::Heading,
        "ul" | "ol" | "menu" | "dir" => Kind::List,
        "li" => Kind::Item,
        "blockquote" => Kind::Quote,
        "pre" | "listing" => Kind::Pre,
        "code" | "kbd" | "samp" | "tt" => Kind::Code,
        "strong" | "b" => Kind::Mark(Style::Strong, false),
        "em" | "i" | "cite" | "dfn" | "var" => Kind::Mark(Style::Emphasis, false),
        "del" | "s" | "strike" => Kind::Mark(Style::Strike, false),
        "a" => Kind::Mark(Style::Link, false),
        "table" => Kind::Table(false),
        "thead" | "tbody" | "tfoot" => Kind::Section,
        "tr" => Kind::Row,
        "td" | "th" => Kind::Cell,
        name if BLOCKS.contains(&name) => Kind::Block,
        _ => Kind::Inline,
    }
}

/// Returns the language that the class of a block of code names.
pub(crate) fn language(tag: &dyn Attributes) -> String {
    let class = tag.value("class").unwrap_or_default();
    let named = class.split_whitespace().find_map(|word| {
        word.strip_prefix("language-")
            .or_else(|| word.strip_prefix("lang-"))
            .or_else(|| word.strip_prefix("highlight-source-"))
    });
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '#' | '.' | '_');
    named.unwrap_or_default().chars().take_while(plain).take(32).collect()
}
