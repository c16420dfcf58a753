//! Text that means itself in Markdown.

/// Writes one character so that it is read as itself. `before` and `after` are its neighbours, `fresh` says that nothing
/// stands before it on its line, `digits` that nothing but digits does.
pub(crate) fn push(out: &mut String, c: char, context: Context) {
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let special = match c {
        '\\' | '`' | '*' | '[' | ']' | '<' | '~' => true,
        // Within a word it emphasises nothing (CommonMark section 6.2).
        '_' => !(word(context.before) && word(context.after)),
        '&' => context.after.is_none_or(|c| c.is_ascii_alphabetic() || c == '#'),
        // A bracket within the text is escaped itself; one that begins a link is not.
        '!' => context.after.is_none(),
        '#' => context.fresh || context.heading,
        '-' | '+' | '=' | '>' => context.fresh,
        '.' | ')' => context.digits,
        '|' => context.cell,
        _ => false,
    };
    if special {
        out.push('\\');
    }
    out.push(c);
}

/// Where a character stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    pub(crate) before: Option<char>,
    pub(crate) after: Option<char>,
    pub(crate) fresh: bool,
    pub(crate) digits: bool,
    pub(crate) heading: bool,
    pub(crate) cell: bool,
}

/// Returns the longest run of a character.
pub(crate) fn longest_run(text: &str, of: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}
