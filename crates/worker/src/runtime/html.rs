//! The engine under `HTMLRewriter`: one whole document through lol_html, with the script's handlers called in between.
//!
//! A handler sees a plain description of the element, comment or text and answers with the list of changes it wants;
//! the changes are applied here. So no pointer into the parser is ever in the script's hands.

use std::cell::RefCell;
use std::rc::Rc;

use lol_html::errors::RewritingError;
use lol_html::html_content::{Comment, ContentType, DocumentEnd, Element, TextChunk};
use lol_html::{
    DocumentContentHandlers, ElementContentHandlers, HandlerResult, HtmlRewriter, MemorySettings, Selector, Settings,
};
use rquickjs::{Array, Ctx, Exception, Function, Object, Result};

use super::value::{Bytes, Usv, buffer};

/// Most memory the rewriter itself may take.
const MAX_MEMORY: usize = 8 << 20;

/// Adds `rewrite(handlers, bytes)` to the prelude's `host` object. `handlers` is a list of
/// `[selector or null, element, comments, text, end]`, each a function or undefined.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    host.set("rewrite", Function::new(ctx.clone(), rewrite)?)
}

/// What the script's handler threw, kept until the parser has unwound.
type Thrown = Rc<RefCell<Option<rquickjs::Error>>>;

/// One change a handler asked for.
struct Change {
    what: String,
    first: String,
    second: String,
    kind: ContentType,
}

#[derive(Debug, thiserror::Error)]
#[error("a handler threw")]
struct HandlerThrew;

#[derive(Clone)]
struct Handler<'js> {
    function: Function<'js>,
    thrown: Thrown,
}

impl<'js> Handler<'js> {
    /// Calls the script with `facts`; the changes it wants.
    fn call(&self, facts: impl FnOnce(&Object<'js>) -> Result<()>) -> std::result::Result<Vec<Change>, HandlerThrew> {
        self.changes(facts).map_err(|error| {
            *self.thrown.borrow_mut() = Some(error);
            HandlerThrew
        })
    }

    fn changes(&self, facts: impl FnOnce(&Object<'js>) -> Result<()>) -> Result<Vec<Change>> {
        let described = Object::new(self.function.ctx().clone())?;
        facts(&described)?;
        let list: Array<'js> = self.function.call((described,))?;
        let mut changes = Vec::with_capacity(list.len());
        for entry in list.iter::<Array<'js>>() {
            let entry = entry?;
            let kind = if entry.get::<bool>(3)? { ContentType::Html } else { ContentType::Text };
            let (first, second): (Usv, Usv) = (entry.get(1)?, entry.get(2)?);
            changes.push(Change { what: entry.get(0)?, first: first.0, second: second.0, kind });
        }
        Ok(changes)
    }
}

fn rewrite<'js>(ctx: Ctx<'js>, handlers: Array<'js>, document: Bytes) -> Result<rquickjs::Value<'js>> {
    let thrown: Thrown = Rc::default();
    let mut settings = Settings::new();
    settings = settings.with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MAX_MEMORY));
    for entry in handlers.iter::<Array<'js>>() {
        let entry = entry?;
        let handler = |at: usize| -> Result<Option<Handler<'js>>> {
            let function: Option<Function<'js>> = entry.get(at)?;
            Ok(function.map(|function| Handler { function, thrown: Rc::clone(&thrown) }))
        };
        match entry.get::<Option<String>>(0)? {
            Some(selector) => {
                let parsed: Selector =
                    selector.parse().map_err(|_| Exception::throw_type(&ctx, "the selector is not valid"))?;
                let content = element_handlers(handler(1)?, handler(2)?, handler(3)?);
                settings = settings.append_element_content_handler((std::borrow::Cow::Owned(parsed), content));
            }
            None => {
                let content = document_handlers(handler(2)?, handler(3)?, handler(4)?);
                settings = settings.append_document_content_handler(content);
            }
        }
    }
    let mut output = Vec::with_capacity(document.0.len());
    let mut rewriter = HtmlRewriter::new(settings, |chunk: &[u8]| output.extend_from_slice(chunk));
    let result = rewriter.write(&document.0).and_then(|()| rewriter.end());
    if let Some(error) = thrown.borrow_mut().take() {
        return Err(error);
    }
    match result {
        Ok(()) => buffer(&ctx, &output),
        Err(RewritingError::MemoryLimitExceeded(_)) => {
            Err(Exception::throw_range(&ctx, "the document needs too much memory to rewrite"))
        }
        Err(_) => Err(Exception::throw_type(&ctx, "the document cannot be rewritten")),
    }
}

fn element_handlers<'js>(
    element: Option<Handler<'js>>,
    comments: Option<Handler<'js>>,
    text: Option<Handler<'js>>,
) -> ElementContentHandlers<'js> {
    let mut made = ElementContentHandlers::default();
    if let Some(handler) = element {
        made = made.element(move |element: &mut Element<'_, '_>| on_element(&handler, element));
    }
    if let Some(handler) = comments {
        made = made.comments(move |comment: &mut Comment<'_>| on_comment(&handler, comment));
    }
    if let Some(handler) = text {
        made = made.text(move |chunk: &mut TextChunk<'_>| on_text(&handler, chunk));
    }
    made
}

fn document_handlers<'js>(
    comments: Option<Handler<'js>>,
    text: Option<Handler<'js>>,
    end: Option<Handler<'js>>,
) -> DocumentContentHandlers<'js> {
    let mut made = DocumentContentHandlers::default();
    if let Some(handler) = comments {
        made = made.comments(move |comment: &mut Comment<'_>| on_comment(&handler, comment));
    }
    if let Some(handler) = text {
        made = made.text(move |chunk: &mut TextChunk<'_>| on_text(&handler, chunk));
    }
    if let Some(handler) = end {
        made = made.end(move |end: &mut DocumentEnd<'_>| {
            for change in handler.call(|_| Ok(()))? {
                end.append(&change.first, change.kind);
            }
            Ok(())
        });
    }
    made
}

fn on_element(handler: &Handler<'_>, element: &mut Element<'_, '_>) -> HandlerResult {
    let changes = handler.call(|facts| {
        facts.set("tagName", element.tag_name())?;
        facts.set("namespaceURI", element.namespace_uri())?;
        let names: Vec<Vec<String>> =
            element.attributes().iter().map(|attribute| vec![attribute.name(), attribute.value()]).collect();
        facts.set("attributes", names)
    })?;
    for change in changes {
        match change.what.as_str() {
            "tagName" => element.set_tag_name(&change.first)?,
            "setAttribute" => element.set_attribute(&change.first, &change.second)?,
            "removeAttribute" => element.remove_attribute(&change.first),
            "before" => element.before(&change.first, change.kind),
            "after" => element.after(&change.first, change.kind),
            "prepend" => element.prepend(&change.first, change.kind),
            "append" => element.append(&change.first, change.kind),
            "replace" => element.replace(&change.first, change.kind),
            "setInnerContent" => element.set_inner_content(&change.first, change.kind),
            "remove" => element.remove(),
            "removeAndKeepContent" => element.remove_and_keep_content(),
            _ => {}
        }
    }
    Ok(())
}

fn on_comment(handler: &Handler<'_>, comment: &mut Comment<'_>) -> HandlerResult {
    for change in handler.call(|facts| facts.set("text", comment.text()))? {
        match change.what.as_str() {
            "text" => comment.set_text(&change.first)?,
            "before" => comment.before(&change.first, change.kind),
            "after" => comment.after(&change.first, change.kind),
            "replace" => comment.replace(&change.first, change.kind),
            "remove" => comment.remove(),
            _ => {}
        }
    }
    Ok(())
}

fn on_text(handler: &Handler<'_>, chunk: &mut TextChunk<'_>) -> HandlerResult {
    let changes = handler.call(|facts| {
        facts.set("text", chunk.as_str())?;
        facts.set("lastInTextNode", chunk.last_in_text_node())
    })?;
    for change in changes {
        match change.what.as_str() {
            "before" => chunk.before(&change.first, change.kind),
            "after" => chunk.after(&change.first, change.kind),
            "replace" => chunk.replace(&change.first, change.kind),
            "remove" => chunk.remove(),
            _ => {}
        }
    }
    Ok(())
}
