//! The process in OpenMetrics text: what the gateway, the Worker runtime and the log have counted.
//!
//! Read from the parts when asked for, so that counting costs nothing extra. Invariant: names and units are stable;
//! dashboards are built on them.

use std::fmt::Write as _;
use std::sync::Arc;

use gateway::Gateway;
use logs::Logs;
use worker::Runtime;

/// Returns a function that writes the current values.
pub(crate) fn source(gateway: Gateway, runtime: Arc<Runtime>, logs: Logs) -> impl Fn() -> String + Send + Sync {
    move || {
        let mut text = String::with_capacity(4096);
        let stats = gateway.stats();
        gauge(&mut text, "portunus_configuration_revision", "Configurations put in force", stats.revision);
        gauge(&mut text, "portunus_connections_open", "Client connections open", stats.connections_open);
        for (name, help, value) in [
            ("connections_accepted", "Client connections accepted", stats.connections_accepted),
            ("connections_refused", "Client connections over a bound", stats.connections_refused),
            ("requests", "Web requests", stats.requests),
            ("requests_blocked", "Web requests blocked", stats.blocked),
            ("tls_intercepted", "TLS connections decrypted", stats.intercepted),
            ("tls_passed_through", "TLS connections passed through", stats.passed_through),
            ("tunnels", "Tunnels of other protocols", stats.tunnels),
            ("worker_calls", "Worker calls", stats.worker_calls),
            ("worker_failures", "Worker calls that failed", stats.worker_failures),
            ("worker_cache_hits", "Worker verdicts answered from cache", stats.worker_cache_hits),
            ("records_lost", "Records the log did not take", stats.records_lost),
            ("events_dropped", "Security events nobody took in time", stats.events_dropped),
        ] {
            counter(&mut text, name, help, value);
        }
        let workers = runtime.stats();
        gauge(&mut text, "portunus_worker_processes", "Worker processes resident", workers.processes);
        gauge(&mut text, "portunus_worker_calls_in_flight", "Worker calls in flight", workers.calls_in_flight);
        let health = logs.health();
        gauge(&mut text, "portunus_log_waiting_bytes", "Log bytes not yet on disk", health.waiting_bytes);
        gauge(
            &mut text,
            "portunus_log_failing",
            "1 while the log cannot be written",
            u8::from(health.failing.is_some()),
        );
        let held = logs.push_held().0;
        gauge(&mut text, "portunus_push_held_bytes", "Journal bytes kept back for push jobs", held);
        gauge(
            &mut text,
            "portunus_lake_failing",
            "1 while records stay in the journal since the lake cannot be written",
            u8::from(health.lake_failing.is_some()),
        );
        text.push_str("# EOF\n");
        text
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

fn counter(text: &mut String, name: &str, help: &str, value: u64) {
    let _ =
        writeln!(text, "# HELP portunus_{name} {help}\n# TYPE portunus_{name} counter\nportunus_{name}_total {value}");
}
