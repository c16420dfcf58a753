//! Whether a request wants Markdown rather than HTML (RFC 9110 section 12.5.1).
//!
//! Markdown must be asked for by its name: whoever takes anything gets what the application made. Of two that are wanted
//! alike the server chooses, and whoever names Markdown can read it.

/// Most media ranges that are looked at.
const MOST_RANGES: usize = 64;

/// Tells whether the values of `Accept` prefer `text/markdown`, or want it no less than `text/html`.
#[must_use]
pub fn is_preferred<'a>(accept: impl IntoIterator<Item = &'a str>) -> bool {
    let mut markdown = 0;
    // By how specific the range is: the most specific one decides (RFC 9110 section 12.5.1).
    let mut html: [Option<u16>; 3] = [None; 3];
    let ranges = accept.into_iter().flat_map(ranges).take(MOST_RANGES);
    for (kind, quality) in ranges {
        let place = match kind.as_str() {
            "text/markdown" => {
                markdown = markdown.max(quality);
                continue;
            }
            "text/html" => 0,
            "text/*" => 1,
            "*/*" => 2,
            _ => continue,
        };
        html[place] = html[place].max(Some(quality));
    }
    let html = html.into_iter().flatten().next().unwrap_or(0);
    markdown > 0 && markdown >= html
}

/// Reads one field value: each range in lower case without its parameters, and its quality in thousandths.
fn ranges(value: &str) -> impl Iterator<Item = (String, u16)> {
    split(value, ',').filter_map(|element| {
        let mut parts = split(element, ';').map(str::trim);
        let kind = parts.next()?.to_ascii_lowercase();
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        Some((kind, weight.map_or(1_000, quality)))
    })
}

/// Splits outside of quoted strings.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let ends = c == at && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
}

/// Reads a weight: `0` or `1` with up to three digits. What is none counts as zero, for it says nothing.
fn quality(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let valid = matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let thousandths = format!("{fraction:0<3}").parse::<u16>().unwrap_or(0);
    match (valid, whole) {
        (true, "0") => thousandths,
        (true, _) if thousandths == 0 => 1_000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::is_preferred;

    #[test]
    fn markdown_is_for_whoever_names_it_and_wants_html_no_more() {
        for (accept, wanted) in [
            ("text/markdown", true),
            ("text/markdown, text/html, */*", true),
            ("text/markdown;q=0.9, text/html;q=0.8", true),
            ("text/html, text/markdown;q=0.9", false),
            ("text/markdown;q=0.5, text/*;q=0.4, */*;q=0.1", true),
            ("text/markdown;q=0.5, */*", false),
            // The most specific range decides about HTML, whatever the others say.
            ("text/html;q=0.2, text/markdown;q=0.3, */*;q=1", true),
            ("text/html;q=0.4, text/*;q=0.1, text/markdown;q=0.3", false),
            ("TEXT/Markdown; Q=1.000", true),
            ("text/markdown; variant=GFM; q=0.7, text/html; q=0.6", true),
            ("text/html; note=\"a, text/markdown\"", false),
            ("text/html; note=\"\\\", text/markdown\", text/markdown;q=0.1", false),
            ("text/markdown;q=0", false),
            ("text/markdown;q=0.0, application/json", false),
            ("text/markdown;q=2", false),
            ("text/markdown;q=x", false),
            ("text/markdown;q=0.1234", false),
            ("text/*", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json, text/markdown", true),
            ("", false),
            (",,;,", false),
        ] {
            assert_eq!(is_preferred([accept]), wanted, "{accept}");
        }
        assert!(is_preferred(["text/html;q=0.5", "text/markdown"]));
        assert!(!is_preferred([]));
    }
}
