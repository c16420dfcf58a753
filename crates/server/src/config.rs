//! What `portunus.toml` and the flags of `portunus up` say, as one checked value.
//!
//! It names the store, the listeners, the roles and the places on disk; everything else lives in the store. Flags win
//! over the file, the file over the defaults. Invariant: a [`Config`] can be started without further checks of its text.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use logs::bucket::{Bucket, BucketSettings, Credentials};
use net::host::HostError;
use net::{CertificateFiles, Host};
use serde::Deserialize;

/// The version of the file format this build writes and reads.
pub const CONFIG_VERSION: u32 = 1;

const CONSOLE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9080);
const ACCESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9443);
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9081);

/// How to start the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of everything the process writes.
    pub data: PathBuf,
    pub store: StoreLocation,
    pub console: SocketAddr,
    pub proxy: SocketAddr,
    pub access: SocketAddr,
    /// The console's own certificate; without one it has the account's authority where it needs TLS.
    pub console_tls: Option<CertificateFiles>,
    /// Host names and addresses, besides those it is bound to, by which people reach the console; the first is shown.
    pub console_names: Vec<Host>,
    /// The authority that is asked for certificates of the access listener.
    pub acme: Option<AcmeConfig>,
    pub roles: BTreeSet<Role>,
    /// Directory of the journal, and of the lake when it is in no bucket.
    pub logs: PathBuf,
    /// The bucket that the lake is in.
    pub bucket: Option<Bucket>,
    /// Programs may be run as MCP servers.
    pub programs: Option<ProgramsConfig>,
}

/// What programs that are MCP servers may reach of this machine's files, besides what its own programs need to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramsConfig {
    /// Whether any are run: a section that says nothing allows nothing.
    #[serde(default)]
    pub allow: bool,
    /// Directories they may read and run from.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Directories they may write in, too.
    #[serde(default)]
    pub write: Vec<PathBuf>,
}

/// An authority that speaks ACME, whose terms were agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The address of its directory, https.
    pub directory: String,
    /// `mailto:` addresses it may write to.
    pub contact: Vec<String>,
    /// PEM of the roots that its own certificate is checked by, in the place of the usual ones.
    pub roots: Option<PathBuf>,
    /// Hosts that it is asked about, in lower case; empty: every published one that the Internet can know.
    pub names: Vec<String>,
    /// Other nodes may be asked for the proof of a host.
    pub several_nodes: bool,
}

/// Where durable state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

/// A part of the platform a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Gateway,
    Console,
    Access,
}

/// What the flags say; absent means "as the file or the default says".
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub data: Option<PathBuf>,
    pub console: Option<SocketAddr>,
    pub proxy: Option<SocketAddr>,
    pub access: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a valid configuration: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("{path}: version {found} is not supported, this build reads version {CONFIG_VERSION}")]
    Version { path: PathBuf, found: u32 },
    #[error("{path}: console.names {name:?} is no host name or address: {source}")]
    Name { path: PathBuf, name: String, source: HostError },
    #[error("{path}: logs.bucket.{problem}")]
    Bucket { path: PathBuf, problem: String },
    #[error("{path}: acme.{problem}")]
    Acme { path: PathBuf, problem: String },
    #[error("{path}: programs.{key} {directory:?} {problem}")]
    Programs { path: PathBuf, key: &'static str, directory: PathBuf, problem: &'static str },
    #[error("{path}: store.url {url:?} must start with sqlite: or postgres://")]
    StoreUrl { path: PathBuf, url: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Option<u32>,
    data: Option<PathBuf>,
    roles: Option<BTreeSet<Role>>,
    #[serde(default)]
    store: StoreSection,
    #[serde(default)]
    listen: ListenSection,
    #[serde(default)]
    console: ConsoleSection,
    acme: Option<AcmeSection>,
    programs: Option<ProgramsConfig>,
    #[serde(default)]
    logs: LogsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreSection {
    url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenSection {
    console: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    access: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsoleSection {
    tls: Option<TlsSection>,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcmeSection {
    directory: String,
    #[serde(default)]
    agree_to_terms: bool,
    #[serde(default)]
    contact: Vec<String>,
    ca: Option<PathBuf>,
    #[serde(default)]
    names: Vec<String>,
}

impl AcmeSection {
    fn read(self, store: &StoreLocation) -> Result<AcmeConfig, String> {
        if !self.agree_to_terms {
            return Err("agree_to_terms must be true: read the terms that the directory names".to_owned());
        }
        if !self.directory.starts_with("https://") {
            return Err(format!("directory {:?} must start with https://", self.directory));
        }
        let contact = self.contact.into_iter().map(|contact| {
            let address = contact.strip_prefix("mailto:").unwrap_or(&contact);
            match address.parse::<types::Email>() {
                Ok(_) => Ok(format!("mailto:{address}")),
                Err(_) => Err(format!("contact {contact:?} is no e-mail address")),
            }
        });
        let names = self.names.into_iter().map(|name| match Host::parse(&name) {
            Ok(Host::Name(host)) if !name.contains('*') => Ok(host.to_string()),
            Ok(_) | Err(_) => Err(format!("names {name:?} is no host name")),
        });
        Ok(AcmeConfig {
            contact: contact.collect::<Result<_, _>>()?,
            names: names.collect::<Result<_, _>>()?,
            directory: self.directory,
            roots: self.ca,
            several_nodes: matches!(store, StoreLocation::Postgres(_)),
        })
    }
}

impl ProgramsConfig {
    /// Refuses directories that would hand out what the process itself keeps.
    fn check(&self, data: &Path) -> Result<(), (&'static str, PathBuf, &'static str)> {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        for (key, directory) in
            self.read.iter().map(|read| ("read", read)).chain(self.write.iter().map(|write| ("write", write)))
        {
            if !directory.is_absolute() {
                return Err((key, directory.clone(), "is no absolute path"));
            }
            let real = directory.canonicalize().unwrap_or_else(|_| directory.clone());
            let kept = data.canonicalize().unwrap_or_else(|_| data.clone());
            if kept.starts_with(&real) || real.starts_with(&kept) {
                return Err((key, directory.clone(), "holds the data directory, or lies in it"));
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogsSection {
    directory: Option<PathBuf>,
    bucket: Option<BucketSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BucketSection {
    url: String,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: Option<bool>,
    #[serde(default)]
    allow_http: bool,
    ca: Option<PathBuf>,
    credentials: Option<PathBuf>,
    profile: Option<String>,
}

impl BucketSection {
    fn read(self) -> Result<Bucket, String> {
        let Self { url, region, endpoint, path_style, allow_http, ca, credentials, profile } = self;
        let credentials = match (credentials, profile) {
            (Some(path), profile) => Credentials::File { path, profile },
            (None, None) => Credentials::Environment,
            (None, Some(_)) => {
                return Err("profile names a section of the file credentials, which is missing".to_owned());
            }
        };
        let settings = BucketSettings { url, region, endpoint, path_style, allow_http, ca, credentials };
        Bucket::new(settings).map_err(|error| error.to_string())
    }
}

impl Config {
    /// Reads the file, if one is named, and lays the flags over it.
    ///
    /// # Errors
    /// A file that cannot be read, does not parse, has an unknown key, names an unknown kind of store or a host that
    /// cannot be one.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let (path, parsed) = match file {
            None => (PathBuf::new(), File::default()),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
                let parsed = toml::from_str(&text)
                    .map_err(|error| ConfigError::Parse { path: path.to_path_buf(), message: error.to_string() })?;
                (path.to_path_buf(), parsed)
            }
        };
        Self::combine(path, parsed, overrides)
    }

    fn combine(path: PathBuf, file: File, overrides: Overrides) -> Result<Self, ConfigError> {
        if let Some(found) = file.version
            && found != CONFIG_VERSION
        {
            return Err(ConfigError::Version { path, found });
        }
        let data = overrides.data.or(file.data).unwrap_or_else(|| PathBuf::from("portunus-data"));
        let store = match file.store.url {
            None => StoreLocation::Sqlite(data.join("portunus.db")),
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                StoreLocation::Postgres(url)
            }
            Some(url) => match url.strip_prefix("sqlite:") {
                Some(path) => StoreLocation::Sqlite(PathBuf::from(path)),
                None => return Err(ConfigError::StoreUrl { path, url }),
            },
        };
        let acme = file.acme.map(|acme| acme.read(&store)).transpose();
        let acme = acme.map_err(|problem| ConfigError::Acme { path: path.clone(), problem })?;
        let programs = file.programs.filter(|programs| programs.allow);
        if let Some(programs) = &programs {
            let fault =
                |(key, directory, problem)| ConfigError::Programs { path: path.clone(), key, directory, problem };
            programs.check(&data).map_err(fault)?;
        }
        let bucket = file.logs.bucket.map(BucketSection::read).transpose();
        let bucket = bucket.map_err(|problem| ConfigError::Bucket { path: path.clone(), problem })?;
        let console_names = file.console.names.into_iter().map(|name| match Host::parse(&name) {
            Ok(host) => Ok(host),
            Err(source) => Err(ConfigError::Name { path: path.clone(), name, source }),
        });
        Ok(Self {
            console_names: console_names.collect::<Result<_, _>>()?,
            console_tls: file.console.tls.map(|tls| CertificateFiles { certificate: tls.certificate, key: tls.key }),
            acme,
            programs,
            store,
            console: overrides.console.or(file.listen.console).unwrap_or(CONSOLE),
            proxy: overrides.proxy.or(file.listen.proxy).unwrap_or(PROXY),
            access: overrides.access.or(file.listen.access).unwrap_or(ACCESS),
            roles: file.roles.unwrap_or_else(|| BTreeSet::from([Role::Gateway, Role::Console, Role::Access])),
            logs: file.logs.directory.unwrap_or_else(|| data.join("logs")),
            bucket,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Overrides, Role, StoreLocation};
    use std::path::PathBuf;

    fn load(text: &str, overrides: Overrides) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portunus.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_file_everything_has_a_loopback_default() {
        let config = Config::load(None, Overrides::default()).unwrap();
        assert_eq!(config.console.to_string(), "127.0.0.1:9080");
        assert_eq!(config.proxy.to_string(), "127.0.0.1:9081");
        assert_eq!(config.store, StoreLocation::Sqlite(PathBuf::from("portunus-data/portunus.db")));
        assert_eq!(config.roles.len(), 3);
    }

    #[test]
    fn a_bucket_is_checked_before_anything_starts() {
        let bucket = |lines: &str| {
            let config = load(&format!("version = 1\n[logs.bucket]\n{lines}"), Overrides::default());
            config.map(|config| config.bucket.unwrap().url())
        };
        assert_eq!(bucket("url = \"s3://lake/a\"").unwrap(), "s3://lake/a");
        assert_eq!(bucket("url = \"s3://lake\"\nendpoint = \"http://127.0.0.1:9000\"").unwrap(), "s3://lake");
        for (lines, says) in [
            ("url = \"lake\"", "logs.bucket.url \"lake\" is not of the form s3://bucket"),
            ("region = \"eu-central-1\"", "missing field `url`"),
            (
                "url = \"s3://lake\"\nendpoint = \"http://minio:9000\"",
                "logs.bucket.endpoint \"http://minio:9000\" has no TLS",
            ),
            ("url = \"s3://lake\"\nsecret_access_key = \"x\"", "unknown field `secret_access_key`"),
            ("url = \"s3://lake\"\nprofile = \"x\"", "logs.bucket.profile names a section of the file credentials"),
        ] {
            let refused = bucket(lines).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let text = "version = 1\ndata = \"d\"\nroles = [\"gateway\"]\n[listen]\nproxy = \"127.0.0.1:1\"\nconsole = \"127.0.0.1:2\"\n[store]\nurl = \"postgres://db/portunus\"\n";
        let overrides = Overrides { proxy: Some("127.0.0.1:0".parse().unwrap()), ..Overrides::default() };
        let config = load(text, overrides).unwrap();
        assert_eq!(config.proxy.port(), 0);
        assert_eq!(config.console.port(), 2);
        assert_eq!(config.store, StoreLocation::Postgres("postgres://db/portunus".into()));
        assert_eq!(config.logs, PathBuf::from("d/logs"));
        assert!(!config.roles.contains(&Role::Console));
    }

    #[test]
    fn a_file_that_means_something_else_is_refused_with_its_reason() {
        for (text, reason) in [
            ("version = 2", "version 2 is not supported"),
            ("listner = 1", "unknown field `listner`"),
            ("[store]\nurl = \"mysql://x\"", "must start with sqlite: or postgres://"),
            ("[listen]\nproxy = \"nowhere\"", "invalid socket address"),
            ("[console]\nnames = [\"a b\"]", "\"a b\" is no host name or address"),
            ("[console]\ntls = { certificate = \"c.pem\" }", "missing field `key`"),
            ("data = \"/srv/p/data\"\n[programs]\nallow = true\nread = [\"srv\"]", "is no absolute path"),
            ("data = \"/srv/p/data\"\n[programs]\nallow = true\nwrite = [\"/srv\"]", "holds the data directory"),
            ("[acme]\ndirectory = \"https://a.example.net/d\"", "acme.agree_to_terms must be true"),
            ("[acme]\ndirectory = \"http://a/d\"\nagree_to_terms = true", "must start with https://"),
            ("[acme]\ndirectory = \"https://a/d\"\nagree_to_terms = true\ncontact = [\"ops\"]", "\"ops\" is no e-mail"),
            (
                "[acme]\ndirectory = \"https://a/d\"\nagree_to_terms = true\nnames = [\"*.a.net\"]",
                "\"*.a.net\" is no host",
            ),
        ] {
            let error = load(text, Overrides::default()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
