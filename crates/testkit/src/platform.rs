//! The real binary, started for one test and ended with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a start or an orderly end may take on a loaded machine before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `--ready-file` holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub account_id: String,
    pub api_url: String,
    pub api_token: String,
    pub console_url: String,
    pub setup_url: String,
    pub proxy: String,
    pub access_url: String,
    pub ca_certificate: PathBuf,
}

/// A running `portunus up`.
pub struct Platform {
    child: Child,
    lines: Receiver<String>,
    pub ready: Ready,
    pub printed: Vec<String>,
    data: Data,
}

enum Data {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Platform {
    /// Starts `binary up` with a fresh data directory and free loopback ports (where the console is, `arguments` may say
    /// otherwise), and waits until it says it is ready.
    ///
    /// # Errors
    /// The process ends or stays silent.
    pub fn start(binary: &Path, arguments: &[&str]) -> Result<Self> {
        Self::launch(binary, Data::Temporary(tempfile::tempdir()?), arguments)
    }

    /// The same over a data directory that outlives the process.
    ///
    /// # Errors
    /// The process ends or stays silent.
    pub fn start_in(binary: &Path, data: &Path, arguments: &[&str]) -> Result<Self> {
        Self::launch(binary, Data::Kept(data.to_path_buf()), arguments)
    }

    fn launch(binary: &Path, data: Data, arguments: &[&str]) -> Result<Self> {
        let directory = data.path();
        let ready_file = directory.join("ready.json");
        let mut child = Command::new(binary)
            .args(["up", "--proxy", "127.0.0.1:0", "--data"])
            .arg(directory)
            .args(if arguments.contains(&"--console") { &[][..] } else { &["--console", "127.0.0.1:0"] })
            .args(if arguments.contains(&"--access") { &[][..] } else { &["--access", "127.0.0.1:0"] })
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take().context("the process has no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut printed = Vec::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let ready = line.starts_with("Ready");
                    printed.push(line);
                    if ready {
                        break;
                    }
                }
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    bail!("portunus did not become ready; it printed:\n{}", printed.join("\n"));
                }
            }
        }
        let text = std::fs::read_to_string(&ready_file).context("no ready file")?;
        let ready = serde_json::from_str(&text).context("the ready file does not parse")?;
        Ok(Self { child, lines, ready, printed, data })
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Lines printed since the last call.
    pub fn printed_since(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Ends the process the hard way, as a power cut for the process would.
    ///
    /// # Errors
    /// The process cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// The process does not end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("cannot signal process {}", self.child.id());
        }
        // The reader thread's channel closes when the process closes its standard output, which it does at its end.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        Ok(self.child.wait()?)
    }

    /// The URL of a path below the account, such as `/gateway/rules`.
    #[must_use]
    pub fn account_url(&self, path: &str) -> String {
        format!("{}/accounts/{}{path}", self.ready.api_url, self.ready.account_id)
    }

    /// Calls the API and returns `result`.
    ///
    /// # Errors
    /// The call fails or the envelope says so; the message holds the answer.
    pub async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        Ok(self.envelope(method, path, body).await?["result"].take())
    }

    /// A client that trusts the authority alone and reaches the console on loopback, whatever its name resolves to.
    ///
    /// # Errors
    /// The authority's file or the ready file's address cannot be used.
    pub fn client(&self) -> Result<reqwest::Client> {
        let authority = reqwest::Certificate::from_pem(&std::fs::read(&self.ready.ca_certificate)?)?;
        let url = reqwest::Url::parse(&self.ready.console_url)?;
        let (host, port) = (url.host_str().context("no host")?, url.port_or_known_default().context("no port")?);
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Ok(reqwest::Client::builder().no_proxy().tls_certs_only([authority]).resolve(host, local).build()?)
    }

    /// Calls the API and returns the whole envelope.
    ///
    /// # Errors
    /// The call fails or the envelope says so; the message holds the answer.
    pub async fn envelope(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let client = self.client()?;
        let mut request = client
            .request(method.parse()?, self.account_url(path))
            .bearer_auth(&self.ready.api_token)
            .timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        let envelope: Value = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
        if envelope["success"] != json!(true) {
            bail!("{method} {path}: {status}: {text}");
        }
        Ok(envelope)
    }
}

impl Data {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
