//! The launcher that the integration tests start programs with.

fn main() {
    programs::run_if_launcher();
}
