//! From the bytes of a page to the text of a document, piece by piece.
//!
//! It decodes, feeds the parser and hands what it finds to the page. Invariant: what it holds between two pieces is
//! bounded; a page that asks for more ends with an error, and what was written of it stands.

use std::sync::Arc;

use encoding_rs::{Decoder, Encoding};
use lol_html::errors::RewritingError;
use lol_html::html_content::{Element, TextChunk, TextType};
use lol_html::send::{DocumentContentHandlers, ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{MemorySettings, Selector};
use parking_lot::Mutex;
use url::Url;

use crate::attributes::Attributes;
use crate::charset::{self, PRESCAN};
use crate::page::{Page, TooDeep};

/// Most memory of the parser, in bytes: for its open elements, and for a tag that is not complete.
const MOST_MEMORY: usize = 4 << 20;
/// Bytes decoded at a time.
const SLICE: usize = 16 << 10;

/// Why a page is not converted to its end.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("the page holds a tag or open elements of more than 4 MiB")]
    Memory,
    #[error("the page is nested too deeply")]
    Depth,
    #[error("the page cannot be parsed: {0}")]
    Parse(String),
}

type Rewriter = HtmlRewriter<'static, fn(&[u8])>;

/// Turns one page into Markdown.
pub struct Converter {
    page: Arc<Mutex<Page>>,
    /// `None` once the page is over or broken.
    rewriter: Option<Rewriter>,
    declared: Option<&'static Encoding>,
    /// The first bytes, until the encoding is settled.
    head: Vec<u8>,
    decoder: Option<Decoder>,
}

impl Converter {
    /// Begins a page. `media_type` is the value of `Content-Type`, and `address` what its links are relative to.
    #[must_use]
    pub fn new(media_type: &str, address: Option<Url>) -> Self {
        let page = Arc::new(Mutex::new(Page::new(address)));
        Self {
            rewriter: Some(rewriter(&page)),
            page,
            declared: charset::of_media_type(media_type),
            head: Vec::new(),
            decoder: None,
        }
    }

    /// Takes the next bytes of the page and returns the text they lead to, which may be none.
    ///
    /// # Errors
    /// The page breaks a bound, or broke one before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, ConvertError> {
        if self.decoder.is_none() {
            self.head.extend_from_slice(bytes);
            if self.head.len() < PRESCAN {
                return Ok(String::new());
            }
            let head = std::mem::take(&mut self.head);
            self.settle(&head, false);
            self.decode(&head, false)?;
        } else {
            self.decode(bytes, false)?;
        }
        Ok(self.page.lock().take())
    }

    /// Ends the page and returns what is left of its text.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn end(mut self) -> Result<String, ConvertError> {
        let head = std::mem::take(&mut self.head);
        if self.decoder.is_none() {
            self.settle(&head, true);
        }
        self.decode(&head, true)?;
        if let Some(rewriter) = self.rewriter.take() {
            rewriter.end().map_err(fault)?;
        }
        let mut page = self.page.lock();
        page.end();
        Ok(page.take())
    }

    fn settle(&mut self, head: &[u8], whole: bool) {
        self.decoder = Some(charset::settle(self.declared, head, whole).new_decoder());
    }

    fn decode(&mut self, bytes: &[u8], last: bool) -> Result<(), ConvertError> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let mut text = String::with_capacity(SLICE);
        let mut rest = bytes;
        loop {
            text.clear();
            let (result, read, _) = decoder.decode_to_string(rest, &mut text, last);
            rest = rest.get(read..).unwrap_or_default();
            let Some(mut rewriter) = self.rewriter.take() else {
                return Err(ConvertError::Parse("it was given up before".to_owned()));
            };
            rewriter.write(text.as_bytes()).map_err(fault)?;
            self.rewriter = Some(rewriter);
            if result == encoding_rs::CoderResult::InputEmpty {
                return Ok(());
            }
        }
    }
}

fn fault(error: RewritingError) -> ConvertError {
    if matches!(error, RewritingError::MemoryLimitExceeded(_)) {
        return ConvertError::Memory;
    }
    if let RewritingError::ContentHandlerError(inner) = &error
        && inner.is::<TooDeep>()
    {
        return ConvertError::Depth;
    }
    ConvertError::Parse(error.to_string())
}

fn rewriter(page: &Arc<Mutex<Page>>) -> Rewriter {
    let (tags, text) = (Arc::clone(page), Arc::clone(page));
    let everything: Selector = match "*".parse() {
        Ok(selector) => selector,
        Err(error) => unreachable!("`*` is a selector: {error}"),
    };
    let elements = ElementContentHandlers::default().element(
        move |element: &mut Element<'_, '_, lol_html::send::SendHandlerTypes>| {
            let id = tags.lock().open(&element.tag_name(), &Tag(element), element.can_have_content())?;
            if let (Some(id), Some(handlers)) = (id, element.end_tag_handlers()) {
                let page = Arc::clone(&tags);
                handlers.push(Box::new(move |_| {
                    page.lock().close(id);
                    Ok(())
                }));
            }
            Ok(())
        },
    );
    let characters = DocumentContentHandlers::default().text(move |chunk: &mut TextChunk<'_>| {
        if matches!(chunk.text_type(), TextType::Data | TextType::RCData) {
            text.lock().characters(chunk.as_str(), chunk.last_in_text_node());
        }
        Ok(())
    });
    let settings = Settings::new_send()
        .append_element_content_handler((std::borrow::Cow::Owned(everything), elements))
        .append_document_content_handler(characters)
        .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MOST_MEMORY))
        // Pages in the wild break the rules that strictness holds them to, and nothing is put into them here.
        .with_strict(false);
    HtmlRewriter::new(settings, |_: &[u8]| {})
}

/// A start tag as the parser gives it.
struct Tag<'e, 'r, 't>(&'e Element<'r, 't, lol_html::send::SendHandlerTypes>);

impl Attributes for Tag<'_, '_, '_> {
    fn raw(&self, name: &str) -> Option<String> {
        self.0.get_attribute(name)
    }
}
