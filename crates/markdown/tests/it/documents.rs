//! Elements and what they become.

use markdown::Converter;

use super::{convert, convert_in};

#[test]
fn elements_become_what_they_mean() {
    for (page, expected) in [
        ("plain", "plain\n"),
        ("<p>one<p>two</p>three", "one\n\ntwo\n\nthree\n"),
        ("  <p> a \n b&nbsp;c </p>  ", "a b c\n"),
        ("<h1>A</h1><h2>B <b>c</b></h2><h6>D #</h6>", "# A\n\n## B **c**\n\n###### D \\#\n"),
        ("<h2>a<br>b<div>c</div></h2>d", "## a b c\n\nd\n"),
        ("<p>a<br>b", "a  \nb\n"),
        ("a<hr>b", "a\n\n---\n\nb\n"),
        ("x <b> bold </b>y <i>it</i> <s>gone</s>", "x **bold** y *it* ~~gone~~\n"),
        ("<b></b><i> </i>x", "x\n"),
        ("<b>a<p>b</p>c</b>", "**a**\n\n**b**\n\n**c**\n"),
        ("<b>a<i>b</b>c</i>", "**ab**c\n"),
        ("<b>a <strong>b</strong></b>", "**a b**\n"),
        ("<b>a</b><b>b</b><i>c</i>", "**ab** *c*\n"),
        ("<b>a.</b>b 0<b>-c</b>", "**a.** b 0-c\n"),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>e", "- a\n- b\n  - c\n- d\n\ne\n"),
        ("<ol start=9><li>a</li><li><p>b</p><p>c</p></li></ol>", "9. a\n10. b\n\n    c\n"),
        ("<blockquote><p>a<p>b<blockquote>c</blockquote></blockquote>d", "> a\n>\n> b\n>\n> > c\n\nd\n"),
        ("<ul><li><blockquote>q</blockquote></li></ul>", "- > q\n"),
        ("<dl><dt>t<dd>d<dt>u</dl>", "t\n\nd\n\nu\n"),
        ("<pre>\n a  b\n\n`c`</pre>d", "```\n a  b\n\n`c`\n```\n\nd\n"),
        ("<pre><code class='x language-rust'>fn a() {}\n</code></pre>", "```rust\nfn a() {}\n```\n"),
        ("<pre>```\nx</pre>", "````\n```\nx\n````\n"),
        ("<ul><li>a<pre>x\ny</pre></ul>", "- a\n\n  ```\n  x\n  y\n  ```\n"),
        ("a <code>b  c</code> <code>d`e</code><code></code>", "a `b c` ``d`e``\n"),
        ("<a href='/x?a=1&amp;b=(2)'>l</a>", "[l](https://wiki.example/x?a=1&b=%282%29)\n"),
        ("<a href='other'><h3>T</h3><p>more</p></a>", "### [T](https://wiki.example/docs/other)\n\nmore\n"),
        ("<base href='https://cdn.example/a/'><a href='b'>c</a>", "[c](https://cdn.example/a/b)\n"),
        (
            "<a href='mailto:a@b.example'>m</a> <a href='https://u:p@h.example/'>h</a>",
            "[m](mailto:a@b.example) [h](https://h.example/)\n",
        ),
        (
            "<img src=a.png alt='A [b]'><img src=b.png alt=''><img src='data:image/png;base64,AA==' alt=dot>",
            "![A \\[b\\]](https://wiki.example/docs/a.png)dot\n",
        ),
        ("<title>A &quot;B&quot;\n C</title><body>x", "---\ntitle: \"A \\\"B\\\" C\"\n---\n\nx\n"),
        ("<svg><title>no</title></svg>x", "x\n"),
        ("<details><summary>s</summary>d</details>", "s\n\nd\n"),
    ] {
        assert_eq!(convert(page), expected, "{page}");
        for size in [1, 2, 7] {
            assert_eq!(convert_in(page.as_bytes(), size), expected, "{page} in pieces of {size}");
        }
    }
}

#[test]
fn tables_keep_their_cells() {
    for (page, expected) in [
        ("<table><tr><th>a<th>b<tr><td>1<td>x|y</table>z", "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n\nz\n"),
        (
            "a<table><thead><tr><td>h</td></tr></thead><tbody><tr><td><p>p</p><p>q</p></td></tr></tbody></table>",
            "a\n\n| h |\n| --- |\n| p q |\n",
        ),
        ("<table><caption>c</caption><tr><td>1</td></tr></table>", "c\n\n| 1 |\n| --- |\n"),
        ("<table><tr><td><b>x</b></td><td><code>a|b</code></td></tr></table>", "| **x** | a\\|b |\n| --- | --- |\n"),
        // Cells that the first row has no column for are kept.
        ("<table><tr><td>1<tr><td>2<td>3</table>", "| 1 |\n| --- |\n| 2 3 |\n"),
        // A table in a cell: the outer one lays out a page.
        ("<table><tr><td>menu<td>a<table><tr><td>x</table>b</table>", "menu\n\na\n\n| x |\n| --- |\n\nb\n"),
        ("<table><tr><td><ul><li>a<li>b</ul></table>", "| a b |\n| --- |\n"),
    ] {
        assert_eq!(convert(page), expected, "{page}");
        assert_eq!(convert_in(page.as_bytes(), 1), expected, "{page} byte by byte");
    }
    let wide = format!("<table><tr>{}</tr></table>", "<td>c</td>".repeat(70));
    assert_eq!(convert(&wide).matches('c').count(), 70);
    let long = format!("<table><tr><td>{}<td>end</table>", "word ".repeat(4_000));
    assert!(convert(&long).matches("word").count() == 4_000 && convert(&long).contains("end"));
}

#[test]
fn what_no_reader_sees_does_not_come_out() {
    let secret = "s3cret";
    for page in [
        "<script>var a = 's3cret';</script>",
        "<style>.a { content: 's3cret' }</style>",
        "<noscript>s3cret</noscript>",
        "<template><p>s3cret</p></template>",
        "<!-- s3cret -->",
        "<div hidden>s3cret</div>",
        "<div hidden><ul><li>s3cret<li>s3cret</ul><p>s3cret</div>",
        "<p style='color: red; DISPLAY : none'>s3cret</p>",
        "<p style='visibility:&#104;idden'>s3cret</p>",
        "<span aria-hidden=true>s3cret</span>",
        "<ul><li hidden>s3cret<ul><li>s3cret</ul></ul>",
        "<form><input type=hidden name=csrf value=s3cret><input value=s3cret><textarea>s3cret</textarea></form>",
        "<select><option>s3cret<option selected>s3cret</select><button>s3cret</button>",
        "<dialog>s3cret</dialog><iframe>s3cret</iframe><svg><text>s3cret</text></svg>",
        "<a href='javascript:s3cret()'>x</a><a href=' JaVa\nScript:s3cret'>x</a><a href='data:text/html,s3cret'>x</a>",
        "<a href='java&#115;cript:s3cret'>x</a><a href='vbscript:s3cret'>x</a><a href='file:///s3cret'>x</a>",
        "<img alt='' src='https://t.example/s3cret'><img src='/s3cret'>",
        "<meta name=csrf-token content=s3cret><link rel=s3cret href=s3cret>",
        "<p title=s3cret data-a=s3cret onclick=s3cret>x</p>",
    ] {
        let text = convert(&format!("before {page} after"));
        assert!(!text.contains(secret), "{page}: {text}");
        assert!(text.contains("before") && text.contains("after"), "{page}: {text}");
        assert!(!text.to_lowercase().contains("script"), "{page}: {text}");
    }
    // What follows something hidden of its kind is seen.
    assert_eq!(convert("<ul><li hidden>no<li>yes</ul>"), "- yes\n");
}

#[test]
fn text_means_itself() {
    for (page, expected) in [
        ("*a* _b_ snake_case `c` [d](e) &lt;f&gt; \\", "\\*a\\* \\_b\\_ snake_case \\`c\\` \\[d\\](e) \\<f> \\\\\n"),
        (
            "<p># a<p>- b<p>+ c<p>&gt; d<p>12. e<p>3) f<p>---<p>===",
            "\\# a\n\n\\- b\n\n\\+ c\n\n\\> d\n\n12\\. e\n\n3\\) f\n\n\\---\n\n\\===\n",
        ),
        ("1.5 and 1984. x-y", "1\\.5 and 1984. x-y\n"),
        ("&amp;lt; R&amp;D &amp; &amp;#65;", "\\&lt; R\\&D & \\&#65;\n"),
        ("![a](b) wow!", "!\\[a\\](b) wow\\!\n"),
        ("~~a~~", "\\~\\~a\\~\\~\n"),
        ("&notit; &unknown; &#x41;&#0;&#1;", "¬it; \\&unknown; A\u{fffd}\n"),
    ] {
        assert_eq!(convert(page), expected, "{page}");
    }
}

#[test]
fn a_page_is_read_in_its_own_encoding() {
    let read = |media_type: &str, page: &[u8]| {
        let mut converter = Converter::new(media_type, None);
        let first = converter.push(page).unwrap();
        first + &converter.end().unwrap()
    };
    assert_eq!(read("text/html; charset=ISO-8859-1", b"<p>caf\xe9"), "café\n");
    assert_eq!(read("text/html", b"<meta charset='shift_jis'><p>\x83e\x83X\x83g"), "テスト\n");
    assert_eq!(
        read("text/html", b"<META http-equiv=content-type content='text/html; charset=windows-1251'>\xcf"),
        "П\n"
    );
    assert_eq!(read("text/html", "<p>caf\u{e9}".as_bytes()), "café\n");
    assert_eq!(read("text/html", b"<p>caf\xe9"), "café\n");
    assert_eq!(read("text/html; charset=iso-8859-1", b"\xef\xbb\xbf<p>caf\xc3\xa9"), "café\n");
    let wide: Vec<u8> = "<p>wide é".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read("text/html; charset=\"utf-16le\"", &wide), "wide é\n");
    // A character that is cut in two pieces, far behind the first thousand bytes.
    let page = format!("<p>{}é", "x".repeat(2_000));
    assert!(convert_in(page.as_bytes(), 1).ends_with("xé\n"));
}
