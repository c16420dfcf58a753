//! The demo, as a newcomer sees it: the commands it prints, run as printed.

use std::process::Command;

use testkit::Platform;

use crate::support::{binary, text};

fn run(command: &str) -> String {
    text(&Command::new("sh").args(["-c", command]).output().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_commands_show_what_they_promise() {
    let platform = Platform::start(binary(), &["--demo"]).unwrap();
    let commands: Vec<&str> =
        platform.printed.iter().map(|line| line.trim()).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(commands.len(), 11, "{}", platform.printed.join("\n"));

    let expired = run(commands[0]);
    assert!(
        expired.contains(" 302") && expired.contains("location: https://learning.acme.test/compliance"),
        "{expired}"
    );
    let trained = run(commands[1]);
    assert!(trained.contains("x-training-valid-until: 2027-06-30"), "{trained}");
    let blocked = run(commands[2]);
    assert!(blocked.contains(" 403") && blocked.contains("has not been reviewed"), "{blocked}");
    let moved = run(commands[3]);
    assert!(moved.contains("location: https://finance.acme.test/archive/reports-2019/q3"), "{moved}");

    let stranger = run(commands[4]);
    assert!(stranger.contains(" 302") && stranger.contains("location: https://access.localhost:"), "{stranger}");
    let newcomer = run(commands[5]);
    assert!(
        newcomer.contains(" 401") && newcomer.contains("resource_metadata=\"https://wiki.localhost:"),
        "{newcomer}"
    );
    let agent = run(commands[6]);
    assert!(agent.contains("Access told this page who you are"), "{agent}");

    let welcome = run(commands[7]);
    assert!(
        welcome.contains("Welcome to Acme") && welcome.contains("/cdn-cgi/access/login/access.localhost"),
        "{welcome}"
    );

    let tools = run(commands[8]);
    for tool in ["staff_find_people", "staff_on_call", "help-desk_list_tickets", "help-desk_update_ticket"] {
        assert!(tools.contains(tool), "{tools}");
    }
    let found = run(commands[9]);
    assert!(found.contains("help_desk_update_ticket"), "{found}");
    let worked = run(commands[10]);
    for part in ["T-1", "assigned", "Chidi Anand", "blocked by the rule", "Agents close no tickets"] {
        assert!(worked.contains(part), "{worked}");
    }

    for (host, rule) in [
        ("chat.openmind.test", "Unapproved AI sites are blocked"),
        ("finance.acme.test", "Finance needs compliance training"),
    ] {
        crate::support::recorded(&platform, "gateway_http", |record| {
            record["HTTPHost"] == host && record["PolicyName"] == rule
        })
        .await;
    }

    // The last command tells of what came before it.
    let why = platform.printed.iter().find(|line| line.contains(" logs tail ")).unwrap();
    let blocked = "rule \"Unapproved AI sites are blocked\" blocks it";
    let told = run(&format!("timeout 5 {} | grep --max-count 1 --fixed-strings '{blocked}'", why.trim()));
    assert!(told.contains("chat.openmind.test"), "{told}");
}
