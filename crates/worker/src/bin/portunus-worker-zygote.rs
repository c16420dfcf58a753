//! The smallest program that can be a zygote: the integration tests and measurements of this crate start it. The product
//! itself is its own zygote.

fn main() {
    portunus_worker::run_if_zygote();
    std::process::exit(2);
}
