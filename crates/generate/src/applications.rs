//! What people use: applications with their hosts, and sites that belong to none.
//!
//! A small table of its own makes the generator usable by itself; whoever has a catalogue passes its applications
//! instead. Invariant: every application has a host and a weight.

use crate::random::{scattered, share};

/// What an application is for, which decides what its requests look like and who makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// People talk with a model.
    Assistant,
    /// A model that writes programs.
    CodeAssistant,
    /// Pictures, video, voice, music made by models.
    GeneratedMedia,
    /// Models for programs to call.
    ModelPlatform,
    /// Remote MCP servers.
    Mcp,
    /// Chat and meetings.
    Collaboration,
    /// Mail and calendars.
    Mail,
    /// Files.
    Storage,
    /// Source code and its tools.
    Development,
    /// Registries of software packages.
    Packages,
    /// Customers, marketing, support.
    Sales,
    /// Staff.
    HumanResources,
    /// Books, invoices, payments.
    Finance,
    /// Drawings and pictures.
    Design,
    /// Notes, tasks, documents.
    Productivity,
    /// Infrastructure.
    Cloud,
    /// Sign-in and protection.
    Security,
    /// Looking things up.
    Search,
    /// Social networks.
    Social,
    /// News.
    News,
    /// Video and music.
    Entertainment,
    /// Shops.
    Shopping,
    /// Trips and maps.
    Travel,
    /// Learning.
    Education,
    /// Whose connections are passed through: health, banks, what pins its certificates.
    NotInspected,
    /// The organisation's own.
    Internal,
    /// A site that belongs to no application.
    Site,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 27] = [
        Self::Assistant,
        Self::CodeAssistant,
        Self::GeneratedMedia,
        Self::ModelPlatform,
        Self::Mcp,
        Self::Collaboration,
        Self::Mail,
        Self::Storage,
        Self::Development,
        Self::Packages,
        Self::Sales,
        Self::HumanResources,
        Self::Finance,
        Self::Design,
        Self::Productivity,
        Self::Cloud,
        Self::Security,
        Self::Search,
        Self::Social,
        Self::News,
        Self::Entertainment,
        Self::Shopping,
        Self::Travel,
        Self::Education,
        Self::NotInspected,
        Self::Internal,
        Self::Site,
    ];

    /// Says whether it is artificial intelligence, whose use grows.
    #[must_use]
    pub const fn is_ai(self) -> bool {
        matches!(self, Self::Assistant | Self::CodeAssistant | Self::GeneratedMedia | Self::ModelPlatform)
    }

    /// The content category of its hosts, with the id that all engines share.
    pub(crate) const fn category(self) -> (i64, &'static str) {
        match self {
            Self::Assistant | Self::CodeAssistant | Self::GeneratedMedia | Self::ModelPlatform => {
                (184, "Artificial Intelligence")
            }
            Self::Collaboration | Self::Mail => (12, "Internet Communication"),
            Self::Storage => (95, "File Sharing"),
            Self::Sales | Self::HumanResources | Self::Finance | Self::Productivity | Self::NotInspected => {
                (3, "Business & Economy")
            }
            Self::Social => (24, "Society & Lifestyle"),
            Self::News => (122, "News & Media"),
            Self::Entertainment => (7, "Entertainment"),
            Self::Shopping => (22, "Shopping & Auctions"),
            Self::Travel => (27, "Travel"),
            Self::Education => (6, "Education"),
            Self::Site => (15, "Miscellaneous"),
            Self::Mcp
            | Self::Development
            | Self::Packages
            | Self::Design
            | Self::Cloud
            | Self::Security
            | Self::Search
            | Self::Internal => (26, "Technology"),
        }
    }
}

/// What the organisation thinks of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// In use with its blessing.
    Approved,
    /// Not to be used.
    Unapproved,
    /// Somebody is looking at it.
    InReview,
    /// Nobody has looked at it.
    #[default]
    Unreviewed,
}

impl Status {
    /// The word of rules and records (reference section 8.5).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Unapproved => "unapproved",
            Self::InReview => "in review",
            Self::Unreviewed => "unreviewed",
        }
    }
}

/// One application.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// Its number in the catalogue; zero for a site that belongs to none.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// What is thought of it.
    pub status: Status,
    /// The hosts that requests go to, the most used first.
    pub hosts: Vec<String>,
    /// Where it is served from: ISO 3166-1 alpha-2.
    pub country: String,
    /// How much it is used, against the others of its kind.
    pub weight: f64,
}

/// Weighs applications by their place in the list, as popularity is spread (Zipf's law).
pub fn weigh_by_rank(applications: &mut [Application]) {
    for (rank, application) in applications.iter_mut().enumerate() {
        application.weight = 1.0 / (rank as f64 + 1.6).powf(0.95);
    }
}

/// The table of this crate: well-known applications, those of the organisation, and sites that exist nowhere.
#[must_use]
pub fn built_in() -> Vec<Application> {
    let mut all = Vec::with_capacity(KNOWN.len() + SITES);
    for kind in Kind::ALL {
        let mut of_kind: Vec<Application> = KNOWN.iter().filter(|known| known.1 == kind).map(application).collect();
        weigh_by_rank(&mut of_kind);
        for application in &mut of_kind {
            application.weight *= liked(application);
        }
        all.append(&mut of_kind);
    }
    all.extend(sites());
    all
}

/// What is not approved is used less, except where people find it for themselves.
const fn liked(application: &Application) -> f64 {
    match application.status {
        Status::Approved => 1.0,
        Status::InReview => 0.7,
        Status::Unreviewed | Status::Unapproved if application.kind.is_ai() => 0.7,
        Status::Unreviewed => 0.35,
        Status::Unapproved => 0.4,
    }
}

fn application(known: &Known) -> Application {
    let (name, kind, status, hosts, country) = *known;
    // The four numbers the vendor prints; the others only have to differ.
    let id = match name {
        "ChatGPT" => 1199,
        "Google Gemini" => 1340,
        "Perplexity" => 1937,
        "Claude" => 2430,
        _ => 100_000 + i64::try_from(scattered(hosts.len() as u64 ^ hash(name)) % 900_000).unwrap_or_default(),
    };
    let hosts = hosts.split(' ').map(str::to_owned).collect();
    Application { id, name: name.to_owned(), kind, status, hosts, country: country.to_owned(), weight: 1.0 }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How many sites belong to no application.
const SITES: usize = 600;
const SITE_WORDS: [&str; 24] = [
    "amber", "birch", "canal", "delta", "ember", "ferry", "grove", "harbour", "island", "juniper", "kettle", "lantern",
    "meadow", "north", "orchard", "pebble", "quarry", "ridge", "sparrow", "timber", "umbra", "valley", "willow",
    "yarrow",
];
const SITE_ENDS: [&str; 12] =
    ["works", "news", "supply", "law", "studio", "market", "garden", "systems", "travel", "health", "review", "forum"];
const SITE_COUNTRIES: [&str; 12] = ["US", "US", "US", "US", "DE", "IE", "NL", "GB", "FR", "SG", "JP", "BR"];

/// The long tail, under a name that is reserved for examples (RFC 2606).
fn sites() -> impl Iterator<Item = Application> {
    (0..SITES).map(|number| {
        let scatter = scattered(number as u64);
        let pick = |from: &[&'static str], shift: u32| from[(scatter >> shift) as usize % from.len()];
        let prefix = if scatter & 3 == 0 { "" } else { "www." };
        let host = format!("{prefix}{}-{}{number}.example", pick(&SITE_WORDS, 8), pick(&SITE_ENDS, 24));
        Application {
            id: 0,
            name: String::new(),
            kind: Kind::Site,
            status: Status::Unreviewed,
            hosts: vec![host],
            country: pick(&SITE_COUNTRIES, 40).to_owned(),
            weight: 1.0 / (number as f64 + 3.0).powf(0.8) * (0.5 + share(number as u64)),
        }
    })
}

type Known = (&'static str, Kind, Status, &'static str, &'static str);

use Kind::{
    Assistant, Cloud, CodeAssistant, Collaboration, Design, Development, Education, Entertainment, Finance,
    GeneratedMedia, HumanResources, Internal, Mail, Mcp, ModelPlatform, News, NotInspected, Packages, Productivity,
    Sales, Search, Security, Shopping, Social, Storage, Travel,
};
use Status::{Approved, InReview, Unapproved, Unreviewed};

/// Within a kind, the most used first.
const KNOWN: &[Known] = &[
    ("ChatGPT", Assistant, Approved, "chatgpt.com ab.chatgpt.com", "US"),
    ("Claude", Assistant, Approved, "claude.ai a-api.anthropic.com", "US"),
    ("Google Gemini", Assistant, InReview, "gemini.google.com", "US"),
    ("Microsoft Copilot", Assistant, Approved, "copilot.microsoft.com", "US"),
    ("Perplexity", Assistant, InReview, "www.perplexity.ai", "US"),
    ("DeepSeek", Assistant, Unapproved, "chat.deepseek.com", "CN"),
    ("Mistral Le Chat", Assistant, Unreviewed, "chat.mistral.ai", "FR"),
    ("Grok", Assistant, Unapproved, "grok.com", "US"),
    ("Poe", Assistant, Unreviewed, "poe.com", "US"),
    ("NotebookLM", Assistant, InReview, "notebooklm.google.com", "US"),
    ("Character.AI", Assistant, Unapproved, "character.ai", "US"),
    ("You.com", Assistant, Unreviewed, "you.com", "US"),
    ("Kimi", Assistant, Unreviewed, "kimi.moonshot.cn", "CN"),
    ("Qwen Chat", Assistant, Unreviewed, "chat.qwen.ai", "CN"),
    ("HuggingChat", Assistant, Unreviewed, "huggingface.co", "US"),
    ("GitHub Copilot", CodeAssistant, Approved, "api.githubcopilot.com copilot-proxy.githubusercontent.com", "US"),
    ("Cursor", CodeAssistant, InReview, "api2.cursor.sh www.cursor.com", "US"),
    ("Windsurf", CodeAssistant, Unreviewed, "server.codeium.com", "US"),
    ("Replit", CodeAssistant, Unreviewed, "replit.com", "US"),
    ("Lovable", CodeAssistant, Unreviewed, "lovable.dev", "SE"),
    ("v0", CodeAssistant, Unreviewed, "v0.dev", "US"),
    ("Tabnine", CodeAssistant, Unapproved, "api.tabnine.com", "IL"),
    ("Midjourney", GeneratedMedia, Unreviewed, "www.midjourney.com", "US"),
    ("ElevenLabs", GeneratedMedia, InReview, "elevenlabs.io api.elevenlabs.io", "US"),
    ("Otter.ai", GeneratedMedia, Unapproved, "otter.ai", "US"),
    ("Fireflies.ai", GeneratedMedia, Unreviewed, "app.fireflies.ai", "US"),
    ("Runway", GeneratedMedia, Unreviewed, "app.runwayml.com", "US"),
    ("Synthesia", GeneratedMedia, Approved, "app.synthesia.io", "GB"),
    ("Suno", GeneratedMedia, Unreviewed, "suno.com", "US"),
    ("Gamma", GeneratedMedia, Unreviewed, "gamma.app", "US"),
    ("OpenAI API", ModelPlatform, Approved, "api.openai.com platform.openai.com", "US"),
    ("Anthropic API", ModelPlatform, Approved, "api.anthropic.com console.anthropic.com", "US"),
    ("OpenRouter", ModelPlatform, Unapproved, "openrouter.ai", "US"),
    ("Groq", ModelPlatform, Unreviewed, "api.groq.com", "US"),
    ("Together AI", ModelPlatform, Unreviewed, "api.together.xyz", "US"),
    ("Hugging Face", ModelPlatform, InReview, "huggingface.co cdn-lfs.huggingface.co", "US"),
    ("GitHub MCP", Mcp, Approved, "api.githubcopilot.com", "US"),
    ("Notion MCP", Mcp, InReview, "mcp.notion.com", "US"),
    ("Linear MCP", Mcp, Unreviewed, "mcp.linear.app", "US"),
    ("Sentry MCP", Mcp, Unreviewed, "mcp.sentry.dev", "US"),
    ("Atlassian MCP", Mcp, Unreviewed, "mcp.atlassian.com", "US"),
    ("Stripe MCP", Mcp, Unreviewed, "mcp.stripe.com", "US"),
    ("Slack", Collaboration, Approved, "app.slack.com slack.com edgeapi.slack.com files.slack.com", "US"),
    ("Microsoft Teams", Collaboration, Approved, "teams.microsoft.com", "IE"),
    ("Zoom", Collaboration, Approved, "us02web.zoom.us zoom.us", "US"),
    ("Discord", Collaboration, Unapproved, "discord.com cdn.discordapp.com", "US"),
    ("WhatsApp Web", Collaboration, Unreviewed, "web.whatsapp.com", "US"),
    ("Loom", Collaboration, Unreviewed, "www.loom.com", "US"),
    ("Microsoft 365", Mail, Approved, "outlook.office.com outlook.office365.com graph.microsoft.com", "IE"),
    ("Gmail", Mail, Unreviewed, "mail.google.com", "US"),
    ("Proton Mail", Mail, Unreviewed, "mail.proton.me", "CH"),
    ("SharePoint", Storage, Approved, "acme.sharepoint.com", "IE"),
    ("Google Drive", Storage, InReview, "drive.google.com docs.google.com", "US"),
    ("Dropbox", Storage, Unapproved, "www.dropbox.com content.dropboxapi.com", "US"),
    ("Box", Storage, Approved, "app.box.com upload.box.com", "US"),
    ("WeTransfer", Storage, Unapproved, "wetransfer.com", "NL"),
    ("MEGA", Storage, Unapproved, "mega.nz", "NZ"),
    ("GitHub", Development, Approved, "github.com api.github.com objects.githubusercontent.com", "US"),
    ("GitLab", Development, Unreviewed, "gitlab.com", "US"),
    ("Jira", Development, Approved, "acme.atlassian.net", "US"),
    ("Stack Overflow", Development, Approved, "stackoverflow.com", "US"),
    ("Sentry", Development, Approved, "sentry.io o4501.ingest.sentry.io", "US"),
    ("CircleCI", Development, Unreviewed, "app.circleci.com", "US"),
    ("Postman", Development, Unreviewed, "web.postman.co", "US"),
    ("Docker Hub", Packages, Approved, "registry-1.docker.io auth.docker.io", "US"),
    ("npm", Packages, Approved, "registry.npmjs.org", "US"),
    ("PyPI", Packages, Approved, "pypi.org files.pythonhosted.org", "US"),
    ("crates.io", Packages, Approved, "index.crates.io static.crates.io", "US"),
    ("Maven Central", Packages, Approved, "repo1.maven.org", "US"),
    ("Salesforce", Sales, Approved, "acme.my.salesforce.com acme.lightning.force.com", "US"),
    ("HubSpot", Sales, Approved, "app.hubspot.com api.hubspot.com", "US"),
    ("Zendesk", Sales, Approved, "acme.zendesk.com", "US"),
    ("Intercom", Sales, Unreviewed, "app.intercom.com", "US"),
    ("Mailchimp", Sales, Unreviewed, "us1.admin.mailchimp.com", "US"),
    ("Gong", Sales, InReview, "app.gong.io", "US"),
    ("Workday", HumanResources, Approved, "wd5.myworkday.com", "US"),
    ("Personio", HumanResources, Unreviewed, "acme.personio.de", "DE"),
    ("Greenhouse", HumanResources, Approved, "app.greenhouse.io", "US"),
    ("SAP S/4HANA Cloud", Finance, Approved, "my300001.s4hana.ondemand.com", "DE"),
    ("Stripe", Finance, Approved, "dashboard.stripe.com api.stripe.com", "US"),
    ("Coupa", Finance, Approved, "acme.coupahost.com", "US"),
    ("Expensify", Finance, Unreviewed, "www.expensify.com", "US"),
    ("Xero", Finance, Unreviewed, "go.xero.com", "AU"),
    ("Figma", Design, Approved, "www.figma.com s3-alpha.figma.com", "US"),
    ("Canva", Design, InReview, "www.canva.com", "AU"),
    ("Adobe Creative Cloud", Design, Approved, "cc-api-data.adobe.io", "US"),
    ("Miro", Design, Approved, "miro.com", "NL"),
    ("Notion", Productivity, Approved, "www.notion.so", "US"),
    ("Asana", Productivity, Unreviewed, "app.asana.com", "US"),
    ("Confluence", Productivity, Approved, "acme.atlassian.net", "US"),
    ("Trello", Productivity, Unreviewed, "trello.com", "US"),
    ("Airtable", Productivity, Unreviewed, "airtable.com", "US"),
    ("Grammarly", Productivity, InReview, "app.grammarly.com capi.grammarly.com", "US"),
    ("DocuSign", Productivity, Approved, "app.docusign.com", "US"),
    ("Amazon Web Services", Cloud, Approved, "console.aws.amazon.com s3.eu-central-1.amazonaws.com", "DE"),
    ("Microsoft Azure", Cloud, Approved, "portal.azure.com management.azure.com", "IE"),
    ("Google Cloud", Cloud, Unreviewed, "console.cloud.google.com", "US"),
    ("Cloudflare", Cloud, Approved, "dash.cloudflare.com api.cloudflare.com", "US"),
    ("Datadog", Cloud, Approved, "app.datadoghq.com http-intake.logs.datadoghq.com", "US"),
    ("Vercel", Cloud, Unreviewed, "vercel.com", "US"),
    ("Okta", Security, Approved, "acme.okta.com", "US"),
    ("1Password", Security, Approved, "acme.1password.com", "US"),
    ("CrowdStrike Falcon", Security, Approved, "falcon.crowdstrike.com", "US"),
    ("Google Search", Search, Approved, "www.google.com suggestqueries.google.com", "US"),
    ("Bing", Search, Approved, "www.bing.com", "US"),
    ("DuckDuckGo", Search, Unreviewed, "duckduckgo.com", "US"),
    ("Wikipedia", Search, Approved, "en.wikipedia.org upload.wikimedia.org", "NL"),
    ("LinkedIn", Social, Approved, "www.linkedin.com", "US"),
    ("Reddit", Social, Unreviewed, "www.reddit.com", "US"),
    ("X", Social, Unreviewed, "x.com api.x.com", "US"),
    ("Facebook", Social, Unreviewed, "www.facebook.com", "US"),
    ("The Guardian", News, Unreviewed, "www.theguardian.com", "GB"),
    ("Der Spiegel", News, Unreviewed, "www.spiegel.de", "DE"),
    ("The New York Times", News, Unreviewed, "www.nytimes.com", "US"),
    ("YouTube", Entertainment, Unreviewed, "www.youtube.com i.ytimg.com", "US"),
    ("Spotify", Entertainment, Unreviewed, "open.spotify.com spclient.wg.spotify.com", "SE"),
    ("Amazon", Shopping, Unreviewed, "www.amazon.com", "US"),
    ("Google Maps", Travel, Approved, "maps.google.com", "US"),
    ("Booking.com", Travel, Approved, "www.booking.com", "NL"),
    ("Coursera", Education, Unreviewed, "www.coursera.org", "US"),
    ("DeepL", Education, InReview, "www.deepl.com", "DE"),
    (
        "Windows Update",
        NotInspected,
        Approved,
        "fe3cr.delivery.mp.microsoft.com tlu.dl.delivery.mp.microsoft.com",
        "US",
    ),
    ("Apple Push Notifications", NotInspected, Approved, "gateway.push.apple.com api.push.apple.com", "US"),
    ("Deutsche Bank", NotInspected, Unreviewed, "meine.deutsche-bank.de", "DE"),
    ("Dashlane", NotInspected, Unreviewed, "api.dashlane.com", "FR"),
    ("Wiki of Acme", Internal, Approved, "wiki.acme.test", "DE"),
    ("Finance reports of Acme", Internal, Approved, "finance.acme.test", "DE"),
    ("People of Acme", Internal, Approved, "people.acme.test", "DE"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Kind, built_in};

    #[test]
    fn applications_can_be_told_apart_and_every_kind_has_some() {
        let all = built_in();
        let known: Vec<_> = all.iter().filter(|application| application.id != 0).collect();
        let ids: BTreeSet<i64> = known.iter().map(|application| application.id).collect();
        assert_eq!(ids.len(), known.len());
        for kind in Kind::ALL {
            assert!(all.iter().any(|application| application.kind == kind), "{kind:?}");
        }
        assert!(all.iter().all(|application| !application.hosts.is_empty() && application.weight > 0.0));
    }
}
