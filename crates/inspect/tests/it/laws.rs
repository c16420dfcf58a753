//! Laws: MCP is told however its JSON is written, and nothing else ever is.

use inspect::mcp::{Reading, is_known_method, read};
use mcp::version::Version;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z_]{1,12}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("[a-zA-Z_]{1,12}", any_json(), 0..5).prop_map(|map| map.into_iter().collect())
}

/// Writes members in an order, with spaces, and letters by their numbers.
fn write(members: &[(&str, Value)], order: &[usize], spaces: &str, numbers: bool) -> String {
    let escaped = |text: &str| -> String { text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect() };
    let mut parts = Vec::new();
    for at in order {
        let (name, value) = &members[*at];
        let name = if numbers { escaped(name) } else { (*name).to_owned() };
        let text = value.as_str().filter(|_| numbers);
        let value = text.map_or_else(|| value.to_string(), |text| format!("\"{}\"", escaped(text)));
        parts.push(format!("{spaces}\"{name}\"{spaces}:{spaces}{value}{spaces}"));
    }
    format!("{spaces}{{{}}}{spaces}", parts.join(","))
}

proptest! {
    #[test]
    fn a_call_is_told_however_it_is_written(
        tool in "[a-z_]{1,20}", arguments in any_object(), order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        spaces in "[ \t\r\n]{0,12}", numbers in any::<bool>(),
    ) {
        let params = json!({"arguments": arguments, "name": tool});
        let members = [("jsonrpc", json!("2.0")), ("id", json!(1)), ("method", json!("tools/call")), ("params", params)];
        let text = write(&members, &order, &spaces, numbers);
        let Reading::Mcp(message) = read(text.as_bytes(), true) else { return Err(TestCaseError::fail(text)) };
        prop_assert_eq!((message.methods, message.tools), (vec!["tools/call".to_owned()], vec![tool]));
    }

    #[test]
    fn a_method_that_mcp_does_not_have_is_not_mcp(method in "[a-zA-Z_$./]{1,24}", params in any_json(), id in any::<u32>()) {
        prop_assume!(!is_known_method(&method));
        let text = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        prop_assert_eq!(read(text.as_bytes(), true), Reading::Other);
    }

    #[test]
    fn json_without_the_protocol_is_not_mcp(value in any_json()) {
        prop_assert_eq!(read(value.to_string().as_bytes(), true), Reading::Other);
    }

    #[test]
    fn results_of_others_are_not_mcp(mut result in any_object()) {
        result.insert("zzz".to_owned(), json!(1));
        let text = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
        prop_assert_eq!(read(text.as_bytes(), true), Reading::Other);
    }

    #[test]
    fn a_start_never_says_more_than_the_whole(at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let rows = crate::messages::mcp();
        let body = at.get(&rows).body.as_bytes();
        let Reading::Mcp(whole) = read(body, true) else { return Err(TestCaseError::fail("the table is MCP")) };
        if let Reading::Mcp(start) = read(&body[..cut.index(body.len())], false) {
            prop_assert!(whole.methods.starts_with(&start.methods), "{:?} {:?}", start, whole);
            prop_assert!(whole.tools.starts_with(&start.tools), "{:?} {:?}", start, whole);
        }
    }

    #[test]
    fn any_bytes_keep_the_promises(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        crate::wire::check(&bytes);
    }
}

#[test]
fn every_version_of_the_protocol_engine_is_one_here() {
    for version in Version::ALL {
        assert!(inspect::mcp::is_version(version.as_str()), "{version}");
        let params = json!({"protocolVersion": version.as_str(), "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        let text = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
        assert!(matches!(read(text.as_bytes(), true), Reading::Mcp(_)), "{version}");
    }
}
