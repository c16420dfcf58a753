//! A Postgres server of the test's own: a Unix socket in a temporary directory, gone with the test.
//!
//! The first test on a machine runs `initdb` and keeps the result as a template under the target directory; the others
//! copy it. Postgres refuses to run as root, so under root it runs as `postgres` or `nobody`.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Server {
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        hand_over(directory.path());
        copy_template(directory.path());
        let mut server = Self { directory, process: None };
        server.resume();
        server
    }

    pub(crate) fn connection(&self) -> String {
        format!("host={} user=portunus dbname=postgres", self.directory.path().display())
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Stops the server and keeps its data.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGINT: a fast shutdown.
            succeed(Command::new("kill").args(["-INT", &process.id().to_string()]));
            process.wait().unwrap();
        }
    }

    pub(crate) fn resume(&mut self) {
        let directory = self.directory.path();
        let log = File::create(directory.join("log")).unwrap();
        let mut command = unprivileged(&binary("postgres"), true);
        command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory);
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            "max_connections=20",
            "autovacuum=off",
            "max_wal_size=32MB",
            "min_wal_size=8MB",
        ] {
            command.args(["-c", setting]);
        }
        self.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(120);
        while !is_ready(directory) {
            let text = fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "postgres did not start: {text}");
            if let Some(status) = self.process.as_mut().and_then(|process| process.try_wait().unwrap()) {
                panic!("postgres ended with {status}: {text}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_ready(directory: &Path) -> bool {
    let mut command = Command::new(binary("pg_isready"));
    command.arg("-q").arg("-h").arg(directory).args(["-U", "portunus", "-d", "postgres"]);
    command.status().unwrap().success()
}

fn copy_template(directory: &Path) {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&home).unwrap();
    let version = binary("initdb").display().to_string().replace('/', "_");
    let template = home.join(format!("postgres-template-2{version}"));
    let lock = File::create(home.join("postgres-template.lock")).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        let mut command = unprivileged(&binary("initdb"), false);
        command.arg("-D").arg(directory.join("data"));
        command.args(["-U", "portunus", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"]);
        succeed(command.stdout(Stdio::null()));
        let draft = template.with_extension("draft");
        let _ = fs::remove_dir_all(&draft);
        succeed(Command::new("cp").arg("-a").arg(directory.join("data")).arg(&draft));
        fs::rename(&draft, &template).unwrap();
        return;
    }
    drop(lock);
    succeed(Command::new("cp").arg("-a").arg(&template).arg(directory.join("data")));
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Finds a program of Postgres where Debian, and then where anyone, puts it.
fn binary(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = installed.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    versions.reverse();
    for folder in ["/usr/pgsql/bin", "/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"] {
        versions.push(folder.into());
    }
    let found = versions.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed; install PostgreSQL (Debian: apt-get install postgresql)"))
}

/// Returns a command that runs as someone Postgres accepts, and that ends with this process if `bound`.
fn unprivileged(program: &Path, bound: bool) -> Command {
    let mut command = Command::new("setpriv");
    if bound {
        command.args(["--pdeathsig", "INT"]);
    }
    if let Some((user, group)) = unprivileged_user() {
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}

fn hand_over(path: &Path) {
    if let Some((user, group)) = unprivileged_user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// The user and group to become, when this process is root.
fn unprivileged_user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let found = ["postgres", "nobody"].into_iter().find_map(|wanted| {
        let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == wanted)?;
        fields.truncate(4);
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
    });
    Some(found.unwrap_or_else(|| panic!("no user to run postgres as: neither postgres nor nobody exists")))
}
