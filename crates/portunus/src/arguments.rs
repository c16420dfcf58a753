//! The command line as scripts rely on it: names, defaults, help with an example each.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The programmable SASE platform an organisation runs itself.
#[derive(Debug, Parser)]
#[command(name = "portunus", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage.\n\nExample:\n  portunus up --demo")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the platform.
    #[command(
        after_help = "Example:\n  portunus up --demo\n  portunus up --data /var/lib/portunus --proxy 127.0.0.1:3128 --ready-file ready.json"
    )]
    Up(Up),
    /// Check an expression: diagnostics with a caret, canonical form, fields used.
    #[command(
        after_help = "Example:\n  portunus check 'any(http.request.domains[*] == \"example.com\") and http.request.method == \"POST\"'"
    )]
    Check(Check),
    /// Say what a rule set decides for given facts, and why.
    #[command(
        after_help = "Example:\n  portunus explain --rules rules.json --facts facts.json\n\nrules.json is an array of rules as the API takes them; facts.json maps field names to values (an absent\nfield is unknown, null has no value). Rules on lists need --lists; a list that is not given is unknown, and a\nrule that hangs on it counts as not matching. Rules of connections (l4) are asked first."
    )]
    Explain(Explain),
    /// Say what a draft of the rules would have changed for recorded traffic.
    #[command(
        after_help = "Examples:\n  portunus replay --rules rules.json --since 7d\n  portunus replay --rule draft.json --since 24h --json\n  portunus replay --rule-id 5b3c1d2e-0000-4000-8000-000000000001 --disable\n\nrules.json is an array of rules as `portunus explain` takes it, and stands in place of all that are stored;\ndraft.json is one rule, in place of the stored one with its id or added. Nothing is stored or changed. Asks the\nplatform that runs over the data directory."
    )]
    Replay(Replay),
    /// API tokens.
    #[command(subcommand)]
    Token(Token),
    /// The people whose traffic is decided.
    #[command(subcommand)]
    User(User),
    /// The log.
    #[command(subcommand)]
    Logs(Logs),
    /// Workers.
    #[command(subcommand)]
    Worker(Worker),
    /// Servers of the Model Context Protocol.
    #[command(subcommand)]
    Mcp(Mcp),
    /// The certificate authority that signs inspected sites.
    #[command(subcommand)]
    Ca(Ca),
    /// The catalogue of applications and the categories of hosts.
    #[command(subcommand)]
    Catalog(Catalog),
    /// The key that seals secrets in the store.
    #[command(subcommand)]
    Key(Key),
}

/// Where the state of the platform is.
#[derive(Debug, Clone, Args)]
pub(crate) struct State {
    /// Directory of everything the platform writes [default: ./portunus-data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// portunus.toml: the store, the listeners, the roles, the place of the logs.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub state: State,
    /// Load and serve a small demo company.
    #[arg(long)]
    pub demo: bool,
    /// Where the console and API listen; port 0 picks a free one [default: 127.0.0.1:9080]. Beyond loopback over TLS.
    #[arg(long, value_name = "ADDR")]
    pub console: Option<SocketAddr>,
    /// Where the proxy listens; port 0 picks a free one [default: 127.0.0.1:9081].
    #[arg(long, value_name = "ADDR")]
    pub proxy: Option<SocketAddr>,
    /// Where private applications are reached; port 0 picks a free one [default: 127.0.0.1:9443].
    #[arg(long, value_name = "ADDR")]
    pub access: Option<SocketAddr>,
    /// Write addresses and a full-rights token here, as JSON with mode 0600, once every listener accepts.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The hook whose fields the expression uses.
    #[arg(long, value_enum, default_value_t = Hook::Http)]
    pub hook: Hook,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The expression.
    pub expression: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hook {
    Http,
    L4,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// JSON array of rules.
    #[arg(long, value_name = "FILE")]
    pub rules: PathBuf,
    /// JSON object of facts.
    #[arg(long, value_name = "FILE")]
    pub facts: PathBuf,
    /// JSON array of lists, each with `id`, `type` and `items`; a list that is not in it is unknown.
    #[arg(long, value_name = "FILE")]
    pub lists: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("draft").required(true).args(["rules", "rule", "rule_id"]))]
#[command(group = clap::ArgGroup::new("change").args(["disable", "enable", "delete"]))]
pub(crate) struct Replay {
    #[command(flatten)]
    pub state: State,
    /// JSON array of rules: the whole set.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// JSON object: one rule.
    #[arg(long, value_name = "FILE")]
    pub rule: Option<PathBuf>,
    /// A stored rule, to be changed.
    #[arg(long, value_name = "ID", requires = "change")]
    pub rule_id: Option<types::RuleId>,
    /// Without the rule in force.
    #[arg(long, requires = "rule_id", conflicts_with_all = ["rules", "rule"])]
    pub disable: bool,
    /// With the rule in force.
    #[arg(long, requires = "rule_id", conflicts_with_all = ["rules", "rule"])]
    pub enable: bool,
    /// Without the rule at all.
    #[arg(long, requires = "rule_id", conflicts_with_all = ["rules", "rule"])]
    pub delete: bool,
    /// Not before this: a time, or how long ago, as in 90m, 24h or 7d.
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    pub since: String,
    /// Before this [default: now].
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Look at no more than this many records, the newest first.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub limit: u64,
    /// Take no longer than this.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub seconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Issue a token; its text is printed once.
    #[command(after_help = "Example:\n  portunus token create ci --permission gateway:write --permission lists:write")]
    Create {
        #[command(flatten)]
        state: State,
        /// What to call it.
        name: String,
        /// What it may do, such as gateway:write; repeat for several. Without one it may do everything.
        #[arg(long = "permission", value_name = "PERMISSION", value_parser = permission)]
        permissions: Vec<store::Permission>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List tokens, never their text.
    #[command(after_help = "Example:\n  portunus token list --json")]
    List {
        #[command(flatten)]
        state: State,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token by its id; it stops working at once.
    #[command(after_help = "Example:\n  portunus token revoke 023e105f4ecef8ad9ca31a8372d0c353")]
    Revoke {
        #[command(flatten)]
        state: State,
        id: types::TokenId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add a person and print the token their browser shows the proxy.
    #[command(after_help = "Example:\n  portunus user add ana@example.com --name 'Ana Costa' --group Finance")]
    Add {
        #[command(flatten)]
        state: State,
        email: types::Email,
        /// Their name on pages and in rules.
        #[arg(long, default_value = "")]
        name: String,
        /// A group they belong to; repeat for several.
        #[arg(long = "group", value_name = "NAME")]
        groups: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a person a new password for Access, and print it.
    #[command(after_help = "Example:\n  portunus user password ana@example.com")]
    Password {
        #[command(flatten)]
        state: State,
        email: types::Email,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List people.
    #[command(after_help = "Example:\n  portunus user list --json")]
    List {
        #[command(flatten)]
        state: State,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Logs {
    /// Print the newest records, then others as they are written, until interrupted.
    #[command(after_help = "Example:\n  portunus logs tail --dataset gateway_http --json")]
    Tail {
        #[command(flatten)]
        state: State,
        /// gateway_http, gateway_network, worker, audit, access_requests or mcp_portal_logs.
        #[arg(long, default_value = "gateway_http")]
        dataset: logs::Dataset,
        /// One JSON record a line.
        #[arg(long)]
        json: bool,
    },
    /// Ask about everything recorded, in SQL; each dataset is a table.
    #[command(
        after_help = "Examples:\n  portunus logs sql 'SELECT HTTPHost, COUNT(*) AS n FROM gateway_http GROUP BY HTTPHost ORDER BY n DESC LIMIT 10'\n  portunus logs sql --output refused.csv \"SELECT * FROM access_requests WHERE NOT Allowed AND date >= '2026-11-01'\"\n\nAsks the platform that runs over the data directory."
    )]
    Sql {
        #[command(flatten)]
        state: State,
        /// One SELECT; `-` or nothing reads it from standard input.
        query: Option<String>,
        /// Ask a saved query, by its name.
        #[arg(long, value_name = "NAME", conflicts_with = "query")]
        saved: Option<String>,
        /// One JSON row a line.
        #[arg(long, conflicts_with = "output")]
        json: bool,
        /// Write the rows to a file whose name ends in .csv, .jsonl or .parquet.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Tell of the push jobs and how each is, or do something with one.
    #[command(after_help = "Examples:\n  portunus logs push\n  portunus logs push test 123456789")]
    Push {
        #[command(flatten)]
        state: State,
        /// What to do with a job.
        #[arg(value_enum, requires = "job")]
        action: Option<Push>,
        /// Its number.
        job: Option<u64>,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Move the lake from its directory into the bucket that the configuration names, while nothing runs.
    #[command(
        after_help = "Example:\n  portunus logs move --config portunus.toml\n\nA move that was cut off goes on when it is started again. `portunus up` refuses a bucket while records are still in the directory."
    )]
    Move {
        #[command(flatten)]
        state: State,
    },
    /// Erase what is recorded of a person up to now; the audit trail is kept.
    #[command(
        after_help = "Example:\n  portunus logs erase ada@example.com\n\nAsks for the address again, waits until nobody finds the records any more, and prints how many went."
    )]
    Erase {
        #[command(flatten)]
        state: State,
        /// The person's address.
        email: String,
        /// The same address again, for use without a terminal.
        #[arg(long, value_name = "EMAIL")]
        confirm: Option<String>,
        /// Print the erasure's id and do not wait for it.
        #[arg(long)]
        no_wait: bool,
    },
}

/// What is done with a push job.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Push {
    /// Send a test record to its destination.
    Test,
    /// Send nothing for now; it keeps its place.
    Pause,
    /// Send again from where it is.
    Resume,
    /// Delete it, and its place.
    Delete,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// Run a script's fetch handler on a request, in the same sandbox as in production.
    #[command(
        after_help = "Example:\n  portunus worker test training-check.ts --request request.json\n\nrequest.json: {\"method\": \"GET\", \"url\": \"https://finance.acme.test/\", \"headers\": {}, \"body\": \"\", \"cf\": {}}"
    )]
    Test {
        /// The module with the default export, TypeScript or JavaScript.
        file: PathBuf,
        /// The request as JSON.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// A text variable of `env`; repeat for several.
        #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
        variables: Vec<(String, String)>,
        /// A host its fetch may reach, such as api.example.com or *.example.com; repeat for several.
        #[arg(long, value_name = "HOST")]
        egress: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mcp {
    /// Write the start of an MCP server that is a Worker: two tools in TypeScript, and how to put them behind a portal.
    #[command(
        after_help = "Example:\n  portunus mcp new notes\n\nWrites notes.ts and notes.md. Nothing that is there is overwritten."
    )]
    New {
        /// The name of the Worker and of the server: letters, digits and hyphens.
        name: String,
        /// Where to write [default: here].
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Print the certificate that devices must trust, PEM.
    #[command(after_help = "Example:\n  portunus ca export > portunus-ca.pem")]
    Export {
        #[command(flatten)]
        state: State,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Catalog {
    /// Count applications, domains, AI applications and conflicts.
    #[command(
        after_help = "Example:\n  portunus catalog stats --json\n\nWithout a platform it speaks of the edition that ships."
    )]
    Stats {
        #[command(flatten)]
        state: State,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say which application and categories a host belongs to; exit code 1 when nothing is known.
    #[command(after_help = "Example:\n  portunus catalog lookup api.openai.com")]
    Lookup {
        #[command(flatten)]
        state: State,
        /// A host or an address with one in it.
        host: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Use a newer data file in place of the edition in use: checked whole, the difference printed first.
    #[command(after_help = "Example:\n  portunus catalog update applications.jsonl --dry-run")]
    Update {
        #[command(flatten)]
        state: State,
        file: PathBuf,
        /// Print the difference and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go back to the edition that ships.
    #[command(after_help = "Example:\n  portunus catalog reset")]
    Reset {
        #[command(flatten)]
        state: State,
    },
    /// Import a list of domains into a category: a hosts file, a name a line, rules of ad blockers, or directories of UT1.
    #[command(
        after_help = "Example:\n  portunus catalog import gambling.hosts --category Gambling\n  portunus catalog import ut1/ \n\nA list of the same name is replaced. In a directory of the UT1 layout, each subdirectory with a file `domains` is a\nlist of its own, and its name says the category."
    )]
    Import {
        #[command(flatten)]
        state: State,
        /// A file, or a directory of the UT1 layout.
        path: PathBuf,
        /// The number or name of the category.
        #[arg(long)]
        category: Option<String>,
        /// What to call the list [default: the name of the file].
        #[arg(long)]
        name: Option<String>,
        /// hosts, domains, ut1 or adblock [default: recognised].
        #[arg(long)]
        format: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the category lists.
    #[command(after_help = "Example:\n  portunus catalog lists --json")]
    Lists {
        #[command(flatten)]
        state: State,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new sealing key and seal every secret with it; goes on where an interrupted rotation stopped.
    #[command(
        after_help = "Example:\n  portunus key rotate --data /var/lib/portunus\n\nWorks beside a running platform. The older keys stay in the file until `portunus key forget`."
    )]
    Rotate {
        #[command(flatten)]
        state: State,
        /// Print one JSON object a line: the progress, then the outcome.
        #[arg(long)]
        json: bool,
    },
    /// Remove older keys from the key file, if nothing is sealed with them.
    #[command(
        after_help = "Example:\n  portunus key forget --data /var/lib/portunus\n\nA backup of the database from before the rotation needs the older keys: keep a copy of the file with it."
    )]
    Forget {
        #[command(flatten)]
        state: State,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn permission(text: &str) -> Result<store::Permission, String> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = store::Permission::ALL.iter().map(|known| known.as_str()).collect();
        format!("there are {}", known.join(", "))
    })
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
