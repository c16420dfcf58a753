//! What a view promises: people see what is theirs, lists are whole, and what is hidden is not there.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::fixture::{SERVERS, id, real};

fn catalog(items: &[(Kind, Value)]) -> Arc<Catalog> {
    let mut catalog = Catalog::default();
    for (kind, item) in items {
        catalog.extend(*kind, [&*raw::raw(item)]);
    }
    assert!(catalog.faults().is_empty());
    Arc::new(catalog)
}

fn tool(name: &str) -> (Kind, Value) {
    (Kind::Tool, json!({"name": name, "description": "d", "inputSchema": {"type": "object"}}))
}

fn names(view: &View, kind: Kind) -> Vec<&str> {
    view.list(kind).map(|target| target.exposed).collect()
}

fn all(servers: Vec<ServerView>) -> View {
    View::merge(servers.into_iter().map(Arc::new), &Toggles::new(), |_, _| true)
}

#[test]
fn servers_are_merged_under_their_names_whatever_their_order() {
    let servers = |order: [usize; 4]| {
        all(order.map(|index| ServerView::new(id(SERVERS[index]), "x", real(SERVERS[index]))).into())
    };
    let (one, other) = (servers([0, 1, 2, 3]), servers([3, 1, 0, 2]));
    assert_eq!(names(&one, Kind::Tool), names(&other, Kind::Tool));
    assert_eq!(one.count(Kind::Tool), 64);
    let target = one.find(Kind::Tool, "memory_read_graph").unwrap();
    assert_eq!((target.server.id.as_str(), &*target.definition.key), ("memory", "read_graph"));
}

#[test]
fn what_is_disabled_held_forbidden_or_switched_off_is_neither_listed_nor_found() {
    let mut server =
        ServerView::new(id("s"), "S", catalog(&[tool("open"), tool("disabled"), tool("held"), tool("forbidden")]));
    server.overrides.insert((Kind::Tool, "disabled".into()), Override { enabled: Some(false), ..Override::default() });
    server.held.insert((Kind::Tool, "held".into()));
    let mut off = ServerView::new(id("off"), "Off", catalog(&[tool("x")]));
    off.default_disabled = true;
    let servers = [Arc::new(server), Arc::new(off)];
    let view =
        |toggles: &Toggles| View::merge(servers.clone(), toggles, |_, definition| &*definition.key != "forbidden");
    let seen = view(&Toggles::new());
    assert_eq!(names(&seen, Kind::Tool), ["s_open"]);
    for name in ["s_disabled", "s_held", "s_forbidden", "off_x", "s_nothing", "open", ""] {
        assert!(seen.find(Kind::Tool, name).is_none(), "{name}");
    }
    let toggled = view(&[(id("off"), true), (id("s"), false)].into());
    assert_eq!(names(&toggled, Kind::Tool), ["off_x"]);
    // The person is told the same of a tool that is hidden and of one that never was.
    let told = |name: &str| unknown(Kind::Tool, name, Version::V2025_11_25);
    assert_eq!(told("s_held").message.replace("s_held", "s_nothing"), &*told("s_nothing").message);
    assert_eq!((told("s_held").code, told("s_held").data.is_none()), (-32602, true));
}

#[test]
fn aliases_and_descriptions_of_administrators_replace_the_servers() {
    let mut server = ServerView::new(id("s"), "S", catalog(&[tool("a"), tool("b"), tool("taken"), tool("odd")]));
    let alias = |alias: &str| Override {
        alias: Some(alias.to_owned()),
        portal_description: Some("better".to_owned()),
        ..Override::default()
    };
    server.overrides.insert((Kind::Tool, "a".into()), alias("find"));
    // An alias of one tool that is the name of another: the administrator's word counts.
    server.overrides.insert((Kind::Tool, "b".into()), alias("taken"));
    server.overrides.insert((Kind::Tool, "odd".into()), alias("no alias!"));
    let view = all(vec![server]);
    assert_eq!(names(&view, Kind::Tool), ["s_find", "s_odd", "s_taken"]);
    assert_eq!(&*view.find(Kind::Tool, "s_taken").unwrap().definition.key, "b");
    assert!(view.find(Kind::Tool, "s_a").is_none());
    let shown: Value =
        serde_json::from_str(view.find(Kind::Tool, "s_find").unwrap().render(Surface::Full).get()).unwrap();
    assert_eq!(shown, json!({"name": "s_find", "description": "better", "inputSchema": {"type": "object"}}));
}

#[test]
fn the_portal_comes_before_the_server_member_by_member() {
    let change = |alias, description, enabled| Change { name: "t", alias, description, enabled };
    let portal = change(Some("p"), None, None);
    let server = change(Some("s"), Some("server's"), Some(false));
    let both = |portal: Option<Change<'static>>, server: Option<Change<'static>>| {
        let mut view = ServerView::new(id("s"), "S", catalog(&[tool("t")]));
        view.change(Kind::Tool, server, portal);
        view.overrides.remove(&(Kind::Tool, "t".into())).unwrap_or_default()
    };
    let held = both(Some(portal), Some(server));
    assert_eq!((held.alias(), held.description(), held.enabled), (Some("p"), Some("server's"), Some(false)));
    assert_eq!(both(None, None).enabled, None);
    assert_eq!(both(Some(change(None, None, Some(true))), Some(server)).enabled, Some(true));
}

#[test]
fn what_may_write_is_off_until_it_is_switched_on_by_name() {
    let reads = json!({"name": "reads", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
    let mut server = ServerView::new(id("s"), "S", catalog(&[tool("writes"), tool("allowed"), (Kind::Tool, reads)]));
    server.change(Kind::Tool, [], [Change { name: "allowed", alias: None, description: None, enabled: Some(true) }]);
    server.hold_writes();
    assert_eq!(names(&all(vec![server]), Kind::Tool), ["s_allowed", "s_reads"]);
}

#[test]
fn a_server_without_prefix_is_shown_as_it_is() {
    let mut server = ServerView::new(id("everything"), "x", real("everything"));
    server.prefixed = false;
    let view = all(vec![server]);
    let echo = view.find(Kind::Tool, "echo").unwrap();
    assert_eq!(echo.render(Surface::Full).get(), echo.definition.json.get());
    let mut rogue = ServerView::new(id("rogue"), "x", catalog(&[tool("portal_execute"), tool("fine")]));
    rogue.prefixed = false;
    assert_eq!(names(&all(vec![rogue]), Kind::Tool), ["fine"]);
}

#[test]
fn definitions_keep_every_byte_but_their_name() {
    let view = all(vec![ServerView::new(id("playwright"), "x", real("playwright"))]);
    for target in view.list(Kind::Tool) {
        let mut bare: Value = serde_json::from_str(target.definition.json.get()).unwrap();
        let rendered = target.render(Surface::Full);
        let shown: Value = serde_json::from_str(rendered.get()).unwrap();
        bare["name"] = target.exposed.into();
        assert_eq!(shown, bare);
        assert_eq!(rendered.get().len(), target.definition.json.get().len() + "playwright_".len());
    }
}

#[test]
fn minimized_tools_are_several_times_smaller_and_keep_their_hints() {
    let view = all(SERVERS.map(|server| ServerView::new(id(server), server, real(server))).into());
    let bytes = |surface| -> usize {
        let page = view.page(Kind::Tool, surface, None, PageLimits::default()).unwrap();
        page.items.iter().map(|item| serde_json::from_str::<Value>(item.get()).unwrap().to_string().len()).sum()
    };
    assert!(bytes(Surface::Full) > 3 * bytes(Surface::MinimizeTools));
    let shown = view.find(Kind::Tool, "playwright_browser_close").unwrap().render(Surface::MinimizeTools);
    assert_eq!(
        serde_json::from_str::<Value>(shown.get()).unwrap(),
        json!({"name": "playwright_browser_close", "inputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": false, "destructiveHint": true, "openWorldHint": true}})
    );
}

#[test]
fn the_searching_surfaces_list_two_tools_whatever_stands_behind() {
    for servers in [1, 4] {
        let view =
            all(SERVERS[..servers].iter().map(|server| ServerView::new(id(server), *server, real(server))).collect());
        for surface in [Surface::SearchAndExecute, Surface::CodeMode] {
            let page = view.page(Kind::Tool, surface, None, PageLimits { items: 1, bytes: 1 }).unwrap();
            assert_eq!((page.items.len(), page.next_cursor), (2, None));
        }
    }
}

#[test]
fn a_list_kept_through_changes_repeats_and_skips_nothing_that_stayed() {
    let limits = PageLimits { items: 2, bytes: usize::MAX };
    let before = all(vec![ServerView::new(id("s"), "S", catalog(&["a", "b", "c", "d"].map(tool)))]);
    let page = before.page(Kind::Tool, Surface::Full, None, limits).unwrap();
    let after = all(vec![ServerView::new(id("s"), "S", catalog(&["a", "aa", "d", "e"].map(tool)))]);
    let rest = after.page(Kind::Tool, Surface::Full, page.next_cursor.as_deref(), limits).unwrap();
    let shown: Vec<Value> = rest.items.iter().map(|item| serde_json::from_str(item.get()).unwrap()).collect();
    assert_eq!(shown.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), ["s_d", "s_e"]);
    let cursor = page.next_cursor.unwrap();
    assert_eq!(after.page(Kind::Prompt, Surface::Full, Some(&cursor), limits).unwrap_err().error().code, -32602);
    let result = rest.result(Kind::Tool);
    assert!(result.get().starts_with(r#"{"tools":[{"#) && !result.get().contains("nextCursor"));
}

fn library() -> ServerView {
    ServerView::new(
        id("docs"),
        "D",
        catalog(&[
            (Kind::Resource, json!({"uri": "file:///open", "name": "o"})),
            (Kind::Resource, json!({"uri": "file:///secret", "name": "s"})),
            (Kind::ResourceTemplate, json!({"uriTemplate": "note://{id}", "name": "n"})),
            (Kind::ResourceTemplate, json!({"uriTemplate": "key://{id}", "name": "k"})),
        ]),
    )
}

#[test]
fn resources_are_read_where_they_are_unless_they_or_their_template_are_hidden() {
    let permitted =
        |_: &ServerView, definition: &Definition| !matches!(&*definition.key, "file:///secret" | "key://{id}");
    let view = View::merge([Arc::new(library())], &Toggles::new(), permitted);
    assert_eq!(names(&view, Kind::Resource), ["mcp-server:docs/file:///open"]);
    assert_eq!(names(&view, Kind::ResourceTemplate), ["mcp-server:docs/note://{id}"]);
    for (uri, upstream, listed) in [
        ("mcp-server:docs/file:///open", "file:///open", true),
        ("mcp-server-text:docs/file%3A%2F%2F%2Fopen", "file:///open", true),
        ("mcp-server:docs/note://7", "note://7", false),
        ("mcp-server:docs/demo://linked", "demo://linked", false),
    ] {
        let route = view.route(uri).unwrap();
        assert_eq!((route.uri.as_str(), route.definition.is_some()), (upstream, listed), "{uri}");
    }
    for uri in [
        "mcp-server:docs/file:///secret",
        "mcp-server-text:docs/file%3A%2F%2F%2Fsecret",
        "mcp-server:docs/key://7",
        "mcp-server:other/file:///open",
        "file:///open",
    ] {
        assert!(view.route(uri).is_none(), "{uri}");
    }
    let off = View::merge([Arc::new(library())], &[(id("docs"), false)].into(), |_, _| true);
    assert!(off.route("mcp-server:docs/file:///open").is_none());
    let gone = unknown(Kind::Resource, "x:y", Version::V2025_11_25);
    assert_eq!((gone.code, unknown(Kind::Resource, "x:y", Version::V2026_07_28).code), (-32002, -32602));
}

#[test]
fn without_prefix_a_resource_is_read_at_the_server_that_has_it() {
    let (mut first, mut second) = (ServerView::new(id("first"), "F", catalog(&[tool("t")])), library());
    (first.prefixed, second.prefixed) = (false, false);
    let view = all(vec![first, second]);
    for (uri, server) in [("file:///open", "docs"), ("note://7", "docs"), ("other:x", "first")] {
        let route = view.route(uri).unwrap();
        assert_eq!((route.server.id.as_str(), route.uri.as_str()), (server, uri));
    }
}

proptest! {
    #[test]
    fn pages_put_together_are_the_list(
        tools in proptest::collection::btree_set("[a-z]{1,3}", 0..30), items in 1_usize..7, bytes in 1_usize..2_000,
    ) {
        let items_of: Vec<_> = tools.iter().map(|name| tool(name)).collect();
        let view = all(vec![ServerView::new(id("s"), "S", catalog(&items_of))]);
        let (mut cursor, mut found, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = view.page(Kind::Tool, Surface::Full, cursor.as_deref(), PageLimits { items, bytes }).unwrap();
            found.extend(page.items.iter().map(|item| serde_json::from_str::<Value>(item.get()).unwrap()["name"].clone()));
            pages += 1;
            prop_assert!(pages < 100);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let own: Vec<Value> = BuiltIn::of(Surface::Full).iter().map(|tool| tool.name().into()).collect();
        let expected: Vec<Value> = own.into_iter().chain(tools.iter().map(|name| format!("s_{name}").into())).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_is_listed_is_found_and_leads_back(names in proptest::collection::btree_set("[A-Za-z_.-]{1,140}", 1..10)) {
        let items: Vec<_> = names.iter().map(|name| tool(name)).collect();
        let view = all(vec![ServerView::new(id("s"), "S", catalog(&items))]);
        prop_assert_eq!(view.count(Kind::Tool), names.len());
        for target in view.list(Kind::Tool) {
            let found = view.find(Kind::Tool, target.exposed).unwrap();
            prop_assert_eq!(&found.definition.key, &target.definition.key);
        }
    }
}
