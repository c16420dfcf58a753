//! What a person is shown before a client may act for them.
//!
//! A client's name is what it likes to be called; where it is sent to is what it is. Invariant: text of a client cannot
//! hide, reorder or outgrow the page around it, and the host it is sent to is always shown.

use url::Url;

use super::authorization::PendingRequest;
use super::client::{Client, Origin};
use super::redirect;

/// Most characters shown of a client's name.
const MAX_NAME: usize = 80;

/// The content of a consent page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The client's own words, cleaned; empty if it gave none.
    pub client_name: String,
    /// The host that vouches for the client, if its id is a document there.
    pub vouched_by: Option<String>,
    /// Where the person is sent with the code: a host, or the scheme of a private one.
    pub sent_to: String,
    /// The code goes to a program on the person's own machine, which nothing vouches for.
    pub to_own_machine: bool,
    /// What the client gets access to.
    pub resource: String,
    /// Empty if the client gets all the person has there.
    pub scopes: Vec<String>,
    /// Seconds the client may act without asking again; `None` if it gets no refresh token.
    pub lasts: Option<u64>,
}

impl Consent {
    /// Describes what `client` asks for.
    #[must_use]
    pub fn new(request: &PendingRequest, client: &Client) -> Self {
        let target = Url::parse(&request.redirect_uri).ok();
        let host = |url: &Url| url.host_str().filter(|host| !host.is_empty()).map(str::to_owned);
        let web = target.as_ref().filter(|url| matches!(url.scheme(), "http" | "https"));
        let sent_to = match (web.and_then(host), &target) {
            (Some(host), _) => host,
            (None, Some(url)) => format!("{}:", url.scheme()),
            (None, None) => String::new(),
        };
        let vouched_by = match client.origin {
            Origin::Document => Url::parse(&client.id).ok().as_ref().and_then(host),
            Origin::Registered => None,
        };
        Self {
            client_name: shown(&client.name),
            vouched_by,
            sent_to: shown(&sent_to),
            to_own_machine: target.is_some_and(|url| redirect::local(&url).is_some()),
            resource: request.resource.clone(),
            scopes: request.scopes.clone(),
            lasts: request.with_refresh.then_some(request.lifetimes.grant),
        }
    }
}

/// Cleans text of a client: no control, no invisible and no direction-changing character, single spaces, 80 characters.
/// It still has to be escaped where it is written.
#[must_use]
pub fn shown(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect();
    let words: Vec<&str> = visible.split(' ').filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= MAX_NAME {
        return line;
    }
    line.chars().take(MAX_NAME - 1).chain(['…']).collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_clients_name_cannot_disturb_the_page() {
        assert_eq!(shown("Edi\u{202e}tor\u{200b}\r\n  of \u{feff}mine"), "Editor of mine");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 80);
        assert_eq!(shown("\u{e0041}\u{2066}"), "");
    }
}
