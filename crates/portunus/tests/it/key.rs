//! Rotating the sealing key, killed in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use server::config::{Config, Overrides};
use store::{Grant, Isolation, Module, ModuleKind, Operate, Principal, ScriptLimits, ScriptSecretId, ScriptVersion};
use store::{Scope, Source, Store, WriteScripts};
use types::{AccountId, ScriptName, Secret, VersionId};
use uuid::Uuid;

use crate::support::{binary, portunus, text};

/// More than fit the pipe below twice, so that no rotation can end before it is killed, however slow the test is.
const SECRETS: usize = 450;
const PIPE_BYTES: usize = 4096;

struct Vault {
    store: Store,
    account: AccountId,
    script: ScriptName,
}

impl Vault {
    async fn open(data: &Path) -> Self {
        let config = Config::load(None, Overrides { data: Some(data.to_owned()), ..Overrides::default() }).unwrap();
        let store = Store::open(server::store_config(&config)).await.unwrap();
        let account = server::account::ensure_account(&store, &Principal::system("test")).await.unwrap();
        Self { store, account, script: "keeper".parse().unwrap() }
    }

    fn grant<S: Scope>(&self) -> Grant<S> {
        Principal::system("test").authorize(self.account).unwrap()
    }

    async fn fill(&self) {
        let version = ScriptVersion {
            script: self.script.clone(),
            number: 0,
            main_module: "keeper.js".into(),
            modules: Vec::new(),
            bindings: Vec::new(),
            egress: Vec::new(),
            compatibility_date: None,
            compatibility_flags: Vec::new(),
            limits: ScriptLimits::default(),
            isolation: Isolation::default(),
            queues: Vec::new(),
            annotations: BTreeMap::new(),
        };
        let source = Source::Text("export default {}".into());
        let modules = vec![Module { name: "keeper.js".into(), kind: ModuleKind::EsModule, source }];
        let id = VersionId(Uuid::new_v4());
        let grant = self.grant::<WriteScripts>();
        self.store.scripts().upload(&grant, &self.script, id, version, modules, true).await.unwrap();
        for number in 0..SECRETS {
            let id = ScriptSecretId { script: self.script.clone(), name: format!("SECRET_{number}") };
            let value = Secret::new(format!("value {number}"));
            self.store.script_secrets().set(&self.grant::<WriteScripts>(), id, &value).await.unwrap();
        }
    }

    /// Opens every secret, and returns how many are still under an older key.
    async fn check(self) -> usize {
        let opened = self.store.script_secrets().open(&self.grant::<Operate>(), &self.script).await.unwrap();
        let opened: BTreeMap<_, _> = opened.into_iter().collect();
        for number in 0..SECRETS {
            assert_eq!(*opened[&format!("SECRET_{number}")].expose(), format!("value {number}"));
        }
        let before = self.store.sealed_before(&self.grant::<Operate>()).await.unwrap();
        self.store.close().await;
        before
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_killed_anywhere_loses_no_secret_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let vault = Vault::open(directory.path()).await;
    vault.fill().await;
    assert_eq!(vault.check().await, 0);
    let key = directory.path().join("sealing.key");
    let keys = || std::fs::read_to_string(&key).unwrap().lines().filter(|line| !line.starts_with('#')).count();

    for after in [1, 7] {
        let (reader, writer) = std::io::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES).unwrap();
        let mut child = Command::new(binary())
            .args(["key", "rotate", "--json", "--data", data])
            .stdout(Stdio::from(writer))
            .spawn()
            .unwrap();
        // Reads little ahead: what stays in the pipe holds the process up.
        let mut lines = BufReader::with_capacity(32, reader).lines();
        for _ in 0..after {
            lines.next().unwrap().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let left = Vault::open(directory.path()).await.check().await;
        assert!(left > 0, "killed after {after}, yet finished");
        assert_eq!(keys(), 2, "a rotation that goes on makes no other key");
        let early = portunus(&["key", "forget", "--data", data]);
        assert_eq!(early.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&early.stderr).contains("portunus key rotate"));
    }

    let output = text(&portunus(&["key", "rotate", "--json", "--data", data]));
    let outcome: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!((&outcome["rotated"], &outcome["resumed"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(Vault::open(directory.path()).await.check().await, 0);

    let file = std::fs::File::options().write(true).open(&key).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let forgotten = text(&portunus(&["key", "forget", "--json", "--data", data]));
    assert_eq!(serde_json::from_str::<Value>(&forgotten).unwrap()["removed"], 1);
    assert_eq!(keys(), 1);
    assert_eq!(Vault::open(directory.path()).await.check().await, 0);
}
