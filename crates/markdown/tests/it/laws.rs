//! Laws that hold for every page: no panic, bounded output, the same in pieces, and every word comes out as itself.

use markdown::Converter;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::convert_in;

/// What a reader of the Markdown sees, with white space collapsed; anything but text and known structure is a fault.
fn read(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut seen = String::new();
    for event in Parser::new_ext(markdown, options) {
        match &event {
            Event::Text(text) | Event::Code(text) => seen.push_str(text),
            Event::SoftBreak | Event::HardBreak | Event::Rule => seen.push(' '),
            Event::Start(Tag::Link { .. } | Tag::Emphasis | Tag::Strong | Tag::Strikethrough)
            | Event::End(TagEnd::Link | TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough) => {}
            Event::Start(_) | Event::End(_) => seen.push(' '),
            Event::Html(_)
            | Event::InlineHtml(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => panic!("{event:?} in {markdown:?}"),
        }
    }
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text with everything that Markdown could take for more.
fn nasty() -> impl Strategy<Value = String> {
    "[a-c0-9 *_`~\\[\\]()#+=|<>&!.\\\\-]{0,12}"
}

/// A page of well-formed elements, and the words in it.
fn page() -> impl Strategy<Value = String> {
    let leaf = nasty().prop_map(|text| htmlize::escape_text(text).into_owned());
    leaf.prop_recursive(4, 48, 6, |inner| {
        let block = prop::sample::select(vec!["p", "div", "h2", "blockquote", "section"]);
        let inline = prop::sample::select(vec!["b", "em", "s", "span", "a href=/x", "code"]);
        let many = prop::collection::vec(inner.clone(), 0..4).prop_map(|parts| parts.concat());
        prop_oneof![
            (block, many.clone()).prop_map(|(name, inner)| format!("<{name}>{inner}</{name}>")),
            (inline, inner.clone()).prop_map(|(name, inner)| {
                format!("<{name}>{inner}</{}>", name.split(' ').next().unwrap_or_default())
            }),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!(
                "<ul>{}</ul>",
                items.iter().map(|i| format!("<li>{i}</li>")).collect::<String>()
            )),
            prop::collection::vec(prop::collection::vec(inner, 1..3), 1..3).prop_map(|rows| {
                let row = |row: &Vec<String>| row.iter().map(|c| format!("<td>{c}</td>")).collect::<String>();
                format!("<table>{}</table>", rows.iter().map(|r| format!("<tr>{}</tr>", row(r))).collect::<String>())
            }),
            many,
        ]
    })
}

/// The words of a page, without its tags.
fn words(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        text.push(' ');
        rest = rest[at..].split_once('>').unwrap().1;
    }
    text.push_str(rest);
    htmlize::unescape(&text).into_owned()
}

fn characters(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_word_of_a_page_is_read_from_its_markdown(page in page()) {
        let markdown = convert_in(page.as_bytes(), usize::MAX);
        prop_assert_eq!(characters(&read(&markdown)), characters(&words(&page)), "{:?}", markdown);
    }

    #[test]
    fn no_bytes_break_it_and_what_comes_out_is_bounded(
        pieces in prop::collection::vec(
            prop_oneof![
                any::<Vec<u8>>(),
                "[<>/a-z =\"'&;#-]{0,20}".prop_map(String::into_bytes),
                prop::sample::select(vec![
                    "<p>", "</p>", "<b>", "</b>", "<i>", "<a href=/x>", "</a>", "<ul>", "<li>", "</ul>", "<table>", "<tr>", "<td>",
                    "</table>", "<pre>", "</pre>", "<code>", "</code>", "<h1>", "</h1>", "<br>", "<hr>", "<blockquote>",
                    "<div hidden>", "</div>", "<!--", "-->", "<script>", "</script>", "<title>", "</title>", "<img alt=a src=b>",
                    "text", "&amp;", "`", "|", "\n",
                ]).prop_map(|text| text.as_bytes().to_vec()),
            ],
            0..200,
        ),
    ) {
        let mut converter = Converter::new("text/html; charset=utf-8", "https://wiki.example/docs/".parse().ok());
        let (mut read, mut written, mut broken) = (0, 0, false);
        for piece in &pieces {
            read += piece.len();
            match converter.push(piece) {
                Ok(text) => written += text.len(),
                Err(_) => broken = true,
            }
        }
        match converter.end() {
            Ok(text) => written += text.len(),
            Err(_) => prop_assert!(broken || read > 0),
        }
        prop_assert!(written <= 64 * read + 64, "{} bytes became {}", read, written);
    }

    #[test]
    fn a_page_in_pieces_is_the_page_as_a_whole(page in page(), size in 1..9usize) {
        prop_assert_eq!(convert_in(page.as_bytes(), size), convert_in(page.as_bytes(), usize::MAX));
    }
}
