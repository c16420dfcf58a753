//! What requests look like: for each kind of application a few paths, their methods, sizes, times and programs.
//!
//! A path has places for ids: `{n}` a number, `{h}` hexadecimal digits, `{u}` a UUID, `{w}` a word. Ids come from a
//! small stock per application, as people open the same documents again. Invariant: writing a path formats by tables.

use fastrand::Rng;

use crate::applications::Kind;
use crate::random::{Weighted, favourite, scattered};

/// One kind of request.
pub(crate) struct Shape {
    weight: f64,
    pub method: &'static str,
    path: &'static str,
    pub content_type: &'static str,
    /// Median bytes of the request's body.
    pub up: u64,
    /// Median bytes of the response's body.
    pub down: u64,
    /// Median microseconds to the origin's first byte.
    pub wait: u64,
    /// Whether a file goes up.
    pub upload: bool,
    /// The program, when it is no browser.
    pub agent: Option<&'static str>,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html";
const SCRIPT: &str = "application/javascript";
const IMAGE: &str = "image/webp";
const BINARY: &str = "application/octet-stream";
const STREAM: &str = "text/event-stream";

const fn get(weight: f64, path: &'static str, content_type: &'static str, down: u64, wait: u64) -> Shape {
    Shape { weight, method: "GET", path, content_type, up: 0, down, wait, upload: false, agent: None }
}

const fn post(weight: f64, path: &'static str, content_type: &'static str, up: u64, down: u64, wait: u64) -> Shape {
    Shape { weight, method: "POST", path, content_type, up, down, wait, upload: false, agent: None }
}

impl Shape {
    const fn uploading(mut self) -> Self {
        self.upload = true;
        self
    }

    const fn with(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    const fn by(mut self, agent: &'static str) -> Self {
        self.agent = Some(agent);
        self
    }
}

const ASSISTANT: &[Shape] = &[
    get(4.0, "/", HTML, 42_000, 180_000),
    get(5.0, "/c/{u}", HTML, 46_000, 190_000),
    post(9.0, "/backend-api/conversation", STREAM, 2_400, 9_000, 900_000),
    get(6.0, "/backend-api/conversations?offset=0&limit=28", JSON, 6_400, 120_000),
    get(12.0, "/assets/{h}.js", SCRIPT, 38_000, 24_000),
    post(3.0, "/ces/v1/t", JSON, 900, 20, 60_000),
    post(0.9, "/backend-api/files", JSON, 420_000, 240, 480_000).uploading(),
    get(2.0, "/backend-api/me", JSON, 1_800, 90_000),
];
const CODE: &[Shape] = &[
    post(9.0, "/chat/completions", STREAM, 9_800, 2_600, 700_000).by("GithubCopilot/1.388.0"),
    post(8.0, "/v1/engines/copilot-codex/completions", STREAM, 4_200, 340, 260_000).by("GithubCopilot/1.388.0"),
    get(2.0, "/models", JSON, 5_200, 90_000).by("GithubCopilot/1.388.0"),
    get(3.0, "/", HTML, 34_000, 150_000),
    post(2.0, "/telemetry", JSON, 2_100, 20, 70_000),
];
const MEDIA: &[Shape] = &[
    get(5.0, "/", HTML, 60_000, 180_000),
    post(3.0, "/api/v1/generations", JSON, 1_600, 900, 1_900_000),
    get(6.0, "/media/{u}.webp", IMAGE, 210_000, 60_000),
    post(1.6, "/api/v1/uploads", JSON, 1_900_000, 300, 900_000).uploading(),
    get(9.0, "/_next/static/chunks/{h}.js", SCRIPT, 41_000, 22_000),
];
const PLATFORM: &[Shape] = &[
    post(9.0, "/v1/chat/completions", JSON, 5_200, 3_100, 1_200_000).by("OpenAI/Python 2.6.1"),
    post(5.0, "/v1/messages", JSON, 8_400, 3_600, 1_600_000).by("Anthropic/Python 0.71.0"),
    post(3.0, "/v1/embeddings", JSON, 12_000, 31_000, 210_000).by("OpenAI/Python 2.6.1"),
    get(1.0, "/v1/models", JSON, 4_100, 120_000).by("python-httpx/0.28.1"),
    get(2.0, "/settings/usage", HTML, 38_000, 200_000),
];
const MCP: &[Shape] = &[
    post(12.0, "/mcp", JSON, 420, 2_100, 240_000).by("claude-code/2.0.31"),
    post(5.0, "/mcp", STREAM, 380, 1_700, 260_000).by("Cursor/2.0.60"),
    post(2.0, "/mcp", JSON, 510, 1_900, 220_000).by("python-httpx/0.28.1"),
    get(2.0, "/sse", STREAM, 900, 180_000).by("node"),
    get(0.6, "/.well-known/oauth-protected-resource", JSON, 460, 90_000).by("claude-code/2.0.31"),
];
const COLLABORATION: &[Shape] = &[
    post(9.0, "/api/conversations.history", JSON, 380, 7_200, 80_000),
    post(4.0, "/api/chat.postMessage", JSON, 640, 520, 90_000),
    get(6.0, "/client/{h}", HTML, 28_000, 110_000),
    get(8.0, "/files-tmb/{h}/image.webp", IMAGE, 18_000, 50_000),
    post(1.1, "/api/files.upload", JSON, 380_000, 700, 420_000).uploading(),
    get(7.0, "/cache/{h}/users/counts", JSON, 2_400, 60_000),
];
const MAIL: &[Shape] = &[
    post(9.0, "/owa/service.svc?action=FindItem", JSON, 2_200, 14_000, 90_000),
    post(6.0, "/owa/service.svc?action=GetItem", JSON, 1_400, 11_000, 80_000),
    get(5.0, "/v1.0/me/messages?$top=25", JSON, 26_000, 110_000),
    get(4.0, "/mail/inbox/id/{h}", HTML, 31_000, 120_000),
    post(1.0, "/v1.0/me/sendMail", JSON, 5_400, 0, 160_000),
    post(0.5, "/owa/service.svc?action=CreateAttachment", JSON, 310_000, 400, 340_000).uploading(),
];
const STORAGE: &[Shape] = &[
    get(9.0, "/sites/{w}/_api/web/lists", JSON, 8_200, 120_000),
    get(6.0, "/drive/folders/{h}", HTML, 44_000, 160_000),
    get(5.0, "/download/{h}", BINARY, 620_000, 210_000),
    post(2.2, "/upload/sessions/{u}", JSON, 1_400_000, 320, 620_000).with("PUT").uploading(),
    get(3.0, "/thumbnails/{h}", IMAGE, 14_000, 60_000),
];
const DEVELOPMENT: &[Shape] = &[
    get(8.0, "/acme/{w}/pull/{n}", HTML, 68_000, 190_000),
    get(5.0, "/acme/{w}/blob/main/src/{w}.ts", HTML, 52_000, 180_000),
    get(6.0, "/browse/{w}-{n}", HTML, 47_000, 220_000),
    get(5.0, "/rest/api/3/issue/{n}", JSON, 9_400, 150_000),
    post(3.0, "/acme/{w}.git/git-upload-pack", "application/x-git-upload-pack-result", 900, 240_000, 260_000)
        .by("git/2.51.0"),
    post(0.8, "/acme/{w}.git/git-receive-pack", "application/x-git-receive-pack-result", 34_000, 300, 420_000)
        .by("git/2.51.0"),
    post(3.0, "/api/{n}/envelope/", JSON, 2_800, 60, 50_000),
    get(3.0, "/questions/{n}/{w}", HTML, 39_000, 140_000),
];
const PACKAGES: &[Shape] = &[
    get(9.0, "/{w}", JSON, 21_000, 60_000).by("npm/11.6.2 node/v24.11.0 linux x64"),
    get(7.0, "/{w}/-/{w}-{n}.tgz", BINARY, 84_000, 50_000).by("npm/11.6.2 node/v24.11.0 linux x64"),
    get(5.0, "/simple/{w}/", HTML, 16_000, 50_000).by("pip/25.3"),
    get(4.0, "/v2/library/{w}/blobs/sha256:{h}", BINARY, 3_900_000, 90_000).by("docker/29.0.1"),
    get(4.0, "/{w}/{w}/{w}", JSON, 3_200, 40_000).by("cargo/1.91.0"),
];
const BUSINESS: &[Shape] = &[
    get(8.0, "/lightning/r/Account/{h}/view", HTML, 61_000, 280_000),
    post(9.0, "/aura?r={n}", JSON, 3_400, 18_000, 210_000),
    get(5.0, "/api/v2/tickets/{n}.json", JSON, 5_100, 160_000),
    get(4.0, "/reports/{n}", HTML, 44_000, 340_000),
    post(0.7, "/api/v2/uploads", JSON, 280_000, 400, 360_000).uploading(),
    get(7.0, "/static/{h}.css", "text/css", 19_000, 20_000),
];
const DESIGN: &[Shape] = &[
    get(5.0, "/design/{h}/{w}", HTML, 52_000, 190_000),
    get(8.0, "/images/{h}.webp", IMAGE, 96_000, 60_000),
    post(4.0, "/api/multiplayer/{h}", JSON, 1_900, 700, 70_000),
    post(1.0, "/api/upload", JSON, 900_000, 240, 500_000).uploading(),
];
const PRODUCTIVITY: &[Shape] = &[
    post(9.0, "/api/v3/loadPageChunk", JSON, 600, 21_000, 140_000),
    get(5.0, "/acme/{w}-{h}", HTML, 36_000, 170_000),
    post(4.0, "/api/v3/saveTransactions", JSON, 1_300, 40, 110_000),
    get(6.0, "/wiki/spaces/{w}/pages/{n}", HTML, 48_000, 210_000),
    post(0.6, "/api/v3/getUploadFileUrl", JSON, 520_000, 900, 240_000).uploading(),
];
const CLOUD: &[Shape] = &[
    get(6.0, "/{w}/home", HTML, 58_000, 240_000),
    post(8.0, "/api/v1/query", JSON, 1_700, 24_000, 260_000),
    post(6.0, "/api/v2/logs", JSON, 18_000, 20, 60_000).by("datadog-agent/7.71.2"),
    get(4.0, "/subscriptions/{u}/resources", JSON, 31_000, 310_000),
];
const SECURITY: &[Shape] = &[
    get(5.0, "/app/UserHome", HTML, 22_000, 160_000),
    post(6.0, "/api/v1/authn", JSON, 340, 2_100, 210_000),
    get(4.0, "/oauth2/v1/authorize?client_id={h}", HTML, 1_200, 140_000),
];
const SEARCH: &[Shape] = &[
    get(9.0, "/search?q={w}+{w}", HTML, 74_000, 160_000),
    get(7.0, "/complete/search?q={w}", JSON, 900, 50_000),
    get(4.0, "/wiki/{w}", HTML, 61_000, 90_000),
    get(5.0, "/gen_204?ei={h}", HTML, 0, 40_000),
];
const SOCIAL: &[Shape] = &[
    get(6.0, "/feed/", HTML, 82_000, 180_000),
    get(8.0, "/dms/image/{h}", IMAGE, 43_000, 50_000),
    post(5.0, "/voyager/api/graphql", JSON, 900, 22_000, 150_000),
    get(4.0, "/r/{w}/comments/{h}/", HTML, 56_000, 170_000),
];
const READING: &[Shape] = &[
    get(7.0, "/{w}/{n}/{w}", HTML, 71_000, 120_000),
    get(9.0, "/img/{h}.webp", IMAGE, 64_000, 40_000),
    get(6.0, "/static/js/{h}.js", SCRIPT, 52_000, 24_000),
    post(3.0, "/collect", JSON, 700, 0, 40_000),
];
const ENTERTAINMENT: &[Shape] = &[
    get(4.0, "/watch?v={h}", HTML, 92_000, 180_000),
    post(6.0, "/videoplayback?id={h}", BINARY, 40, 1_700_000, 60_000),
    get(5.0, "/vi/{h}/hqdefault.webp", IMAGE, 16_000, 30_000),
    get(4.0, "/audio/{h}", BINARY, 1_100_000, 60_000),
];
const SITE: &[Shape] = &[
    get(7.0, "/", HTML, 28_000, 190_000),
    get(5.0, "/{w}", HTML, 24_000, 200_000),
    get(5.0, "/{w}/{w}", HTML, 26_000, 210_000),
    get(9.0, "/assets/{w}.js", SCRIPT, 31_000, 60_000),
    get(8.0, "/images/{w}.webp", IMAGE, 47_000, 60_000),
    post(0.5, "/contact", HTML, 900, 8_000, 260_000),
];
const INTERNAL: &[Shape] = &[
    get(8.0, "/{w}", HTML, 31_000, 34_000),
    get(5.0, "/reports/{n}", HTML, 44_000, 60_000),
    get(5.0, "/api/search?q={w}", JSON, 6_200, 42_000),
    post(2.0, "/pages/{n}", HTML, 4_800, 900, 70_000),
    post(0.6, "/files", JSON, 340_000, 200, 120_000).uploading(),
];

const fn of(kind: Kind) -> &'static [Shape] {
    match kind {
        Kind::Assistant => ASSISTANT,
        Kind::CodeAssistant => CODE,
        Kind::GeneratedMedia => MEDIA,
        Kind::ModelPlatform => PLATFORM,
        Kind::Mcp => MCP,
        Kind::Collaboration => COLLABORATION,
        Kind::Mail => MAIL,
        Kind::Storage => STORAGE,
        Kind::Development => DEVELOPMENT,
        Kind::Packages => PACKAGES,
        Kind::Sales | Kind::HumanResources | Kind::Finance => BUSINESS,
        Kind::Design => DESIGN,
        Kind::Productivity => PRODUCTIVITY,
        Kind::Cloud => CLOUD,
        Kind::Security => SECURITY,
        Kind::Search => SEARCH,
        Kind::Social => SOCIAL,
        Kind::News | Kind::Shopping | Kind::Travel | Kind::Education => READING,
        Kind::Entertainment => ENTERTAINMENT,
        Kind::Internal => INTERNAL,
        Kind::NotInspected | Kind::Site => SITE,
    }
}

const WORDS: [&str; 48] = [
    "account",
    "agenda",
    "api-gateway",
    "backlog",
    "billing",
    "board",
    "budget",
    "calendar",
    "campaign",
    "checkout",
    "contracts",
    "customers",
    "dashboard",
    "delivery",
    "design",
    "docs",
    "events",
    "export",
    "forecast",
    "guide",
    "handbook",
    "hiring",
    "inbox",
    "invoice",
    "launch",
    "library",
    "metrics",
    "notes",
    "offers",
    "onboarding",
    "orders",
    "payments",
    "planning",
    "platform",
    "pricing",
    "profile",
    "projects",
    "quarter",
    "release",
    "research",
    "roadmap",
    "sales",
    "security",
    "settings",
    "support",
    "team",
    "travel",
    "web",
];

/// Files that go up.
pub(crate) const FILES: [&str; 16] = [
    "q3-forecast.xlsx",
    "customer-list.csv",
    "contract-draft.docx",
    "roadmap.pptx",
    "meeting-notes.docx",
    "design.fig",
    "screenshot.png",
    "budget-2027.xlsx",
    "candidates.pdf",
    "incident-report.pdf",
    "price-list.xlsx",
    "source.zip",
    "recording.mp4",
    "invoice-0412.pdf",
    "logo.svg",
    "dataset.parquet",
];

/// A piece of a path.
enum Part {
    Text(&'static str),
    Number,
    Hexadecimal,
    Uuid,
    Word,
}

/// The requests of one kind of application, ready to be drawn.
pub(crate) struct Repertoire {
    pub shapes: &'static [Shape],
    paths: Vec<Vec<Part>>,
    weighted: Weighted,
}

impl Repertoire {
    /// Prepares every kind, in the order of [`Kind::ALL`].
    pub(crate) fn all() -> Option<Vec<Self>> {
        let prepared = Kind::ALL.iter().map(|kind| {
            let shapes = of(*kind);
            let weighted = Weighted::new(shapes.iter().map(|shape| shape.weight))?;
            Some(Self { shapes, paths: shapes.iter().map(|shape| parts(shape.path)).collect(), weighted })
        });
        prepared.collect()
    }

    /// Draws a request.
    pub(crate) fn draw(&self, random: &mut Rng) -> usize {
        self.weighted.draw(random)
    }

    /// Appends the path of a request, with ids from the stock that `owner` names.
    pub(crate) fn write_path(&self, shape: usize, owner: u64, url: &mut String, random: &mut Rng) {
        for part in &self.paths[shape] {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Number => decimal(1_000 + favourite(4_000, random), url),
                Part::Hexadecimal => hexadecimal(scattered(owner ^ favourite(512, random)), 12, url),
                Part::Uuid => {
                    let id = scattered(owner ^ favourite(512, random));
                    for (digits, rest) in [(8, "-"), (4, "-"), (4, "-"), (4, "-")] {
                        hexadecimal(id.rotate_left(digits * 3), digits, url);
                        url.push_str(rest);
                    }
                    hexadecimal(id, 12, url);
                }
                Part::Word => url.push_str(WORDS[(random.u32(..) as usize) % WORDS.len()]),
            }
        }
    }
}

fn parts(path: &'static str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = path;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let Some((name, after)) = after.split_once('}') else { break };
        parts.push(match name {
            "n" => Part::Number,
            "h" => Part::Hexadecimal,
            "u" => Part::Uuid,
            _ => Part::Word,
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

fn hexadecimal(number: u64, digits: u32, text: &mut String) {
    for digit in (0..digits).rev() {
        let nibble = (number >> (digit * 4)) as usize & 15;
        text.push(char::from(b"0123456789abcdef"[nibble]));
    }
}

fn decimal(number: u64, text: &mut String) {
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for digit in &digits[first..] {
        text.push(char::from(*digit));
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::{Kind, Repertoire, decimal};

    #[test]
    fn paths_have_their_ids_and_few_shapes() {
        let all = Repertoire::all().unwrap();
        let mut random = Rng::with_seed(4);
        for repertoire in &all {
            for shape in 0..repertoire.shapes.len() {
                let mut url = String::new();
                repertoire.write_path(shape, 7, &mut url, &mut random);
                assert!(url.starts_with('/') && !url.contains(['{', '}', ' ']), "{url}");
            }
        }
        let place = Kind::ALL.iter().position(|kind| *kind == Kind::Assistant).unwrap();
        let mut url = String::new();
        all[place].write_path(1, 7, &mut url, &mut random);
        assert_eq!(url.len(), "/c/".len() + 36, "{url}");
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 1_234, u64::MAX] {
            let mut text = String::new();
            decimal(number, &mut text);
            assert_eq!(text, number.to_string());
        }
    }
}
