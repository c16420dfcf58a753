//! The documentation as a newcomer follows it: every command of its step-by-step pages that shows its output is run.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::Platform;

use crate::support::binary;

const FIRST_STEPS: &str = include_str!("../../../../docs/getting-started.md");
const CLIENT_CERTIFICATES: &str = include_str!("../../../../docs/client-certificates.md");
/// How long a step that reads the log may wait for its record on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const DONE: &str = "== done ==";

/// A box of commands, and the lines its output shows in this order.
struct Step {
    commands: String,
    /// Reading the log may be repeated until the record is there.
    repeats: bool,
    shown: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for fence in page.split("\n```").skip(1).step_by(2) {
        let Some((language, body)) = fence.split_once('\n') else { continue };
        match (language, steps.last_mut()) {
            ("sh test" | "sh test repeat", _) => {
                let repeats = language.ends_with("repeat");
                steps.push(Step { commands: body.to_owned(), repeats, shown: Vec::new() });
            }
            ("text", Some(step)) => step.shown = body.lines().map(|line| line.trim().to_owned()).collect(),
            _ => {}
        }
    }
    steps
}

/// One shell for the whole page, as a reader has.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new("sh");
        command.arg("-eu").current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Pastes commands and returns what they print.
    fn paste(&mut self, commands: &str) -> String {
        writeln!(self.input, "{commands}\necho\necho '{DONE}'").unwrap();
        let mut printed = String::new();
        loop {
            let before = printed.len();
            if self.output.read_line(&mut printed).unwrap() == 0 {
                panic!("the shell ended with {}:\n{commands}\n{printed}", self.child.wait().unwrap());
            }
            if printed[before..].trim_end() == DONE {
                return printed;
            }
        }
    }
}

/// The first line that is missing, or out of order.
fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let mut rest = printed;
    for line in shown {
        match rest.split_once(line.as_str()) {
            Some((_, after)) => rest = after,
            None => return Some(line),
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_steps_work_as_printed() {
    follow(FIRST_STEPS, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_shows_a_certificate_as_printed() {
    follow(CLIENT_CERTIFICATES, 4);
}

/// Pastes a page's steps, of which at least so many show their output.
fn follow(page: &str, least: usize) {
    let directory = tempfile::tempdir().unwrap();
    // The page starts the platform in the same way; free ports keep tests apart.
    let _platform = Platform::start_in(binary(), &directory.path().join("portunus-data"), &["--demo"]).unwrap();
    let programs = directory.path().join("target/release");
    std::fs::create_dir_all(&programs).unwrap();
    std::os::unix::fs::symlink(binary(), programs.join("portunus")).unwrap();

    let steps = steps(page);
    let shown = steps.iter().filter(|step| !step.shown.is_empty()).count();
    assert!(shown >= least, "{} steps, {shown} with their output", steps.len());
    let mut shell = Shell::start(directory.path());
    for step in &steps {
        let started = Instant::now();
        loop {
            let printed = shell.paste(&step.commands);
            let Some(line) = missing(&step.shown, &printed) else { break };
            let again = step.repeats && started.elapsed() < PATIENCE;
            assert!(again, "this does not show {line:?}:\n{}\nit prints:\n{printed}", step.commands);
        }
    }
}

/// The repository's pages for people.
fn pages(root: &Path) -> Vec<PathBuf> {
    let folders = [root.to_path_buf(), root.join("docs"), root.join("docs/howto")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

#[test]
fn every_link_and_every_named_file_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = pages(&root);
    assert!(pages.len() >= 20, "{} pages", pages.len());
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let pictures = ["src=\"", "srcset=\""].into_iter().flat_map(|start| text.split(start).skip(1));
        let pictures = pictures.filter_map(|rest| rest.split('"').next());
        for link in links.chain(pictures).filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(page.with_file_name(link).exists(), "{} links to {link}", page.display());
        }
        // A file of the code that a page names, such as `crates/expr/src/lib.rs`; capitals stand for any name.
        for named in text.split('`').filter(|word| word.starts_with("crates/") && !word.contains(char::is_whitespace)) {
            let is_pattern = named.contains("NAME") || named.contains('*');
            assert!(is_pattern || root.join(named).exists(), "{} names {named}", page.display());
        }
    }
}
