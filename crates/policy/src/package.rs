//! Recognises a package download from the shape of its registry URL (reference section 1.3).
//!
//! Pure text: npm, PyPI, crates.io, RubyGems, Go, Maven, NuGet. Fails open by design: a URL that is not recognised is no
//! package. Invariant: a recognised package has a name, and its package URL is made of nothing but its parts.

use expr::Ecosystem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Longest path looked at.
const MAX_PATH: usize = 2_048;

/// What may stand unencoded in a package URL's parts.
const PURL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A package being downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub ecosystem: Ecosystem,
    /// npm scope with its `@`, Maven group, Go module path before its last element.
    pub namespace: Option<String>,
    pub name: String,
    pub version: Option<String>,
    /// `pkg:type/namespace/name@version`.
    pub purl: String,
}

impl Package {
    /// Returns the word that `pkg.ecosystem` compares with.
    #[must_use]
    pub const fn ecosystem_word(&self) -> &'static str {
        word(self.ecosystem)
    }

    fn new(ecosystem: Ecosystem, namespace: Option<&str>, name: &str, version: Option<&str>) -> Option<Self> {
        let fits = |text: &str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
        if !fits(name) || !namespace.is_none_or(fits) || !version.is_none_or(fits) {
            return None;
        }
        let encode = |text: &str| utf8_percent_encode(text, PURL).to_string();
        let kind = match ecosystem {
            Ecosystem::RubyGems => "gem",
            Ecosystem::Go => "golang",
            Ecosystem::Npm | Ecosystem::PyPi | Ecosystem::Cargo | Ecosystem::Maven | Ecosystem::NuGet => {
                word(ecosystem)
            }
        };
        let mut purl = format!("pkg:{kind}/");
        for part in namespace.into_iter().flat_map(|namespace| namespace.split('/')) {
            purl.push_str(&encode(part));
            purl.push('/');
        }
        purl.push_str(&encode(name));
        if let Some(version) = version {
            purl.push('@');
            purl.push_str(&encode(version));
        }
        Some(Self {
            ecosystem,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            version: version.map(str::to_owned),
            purl,
        })
    }
}

/// Returns the word that `pkg.ecosystem` compares with.
#[must_use]
pub const fn word(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Npm => "npm",
        Ecosystem::PyPi => "pypi",
        Ecosystem::RubyGems => "rubygems",
        Ecosystem::Cargo => "cargo",
        Ecosystem::Go => "go",
        Ecosystem::Maven => "maven",
        Ecosystem::NuGet => "nuget",
    }
}

/// Finds an ecosystem by its word.
#[must_use]
pub fn ecosystem_named(name: &str) -> Option<Ecosystem> {
    use Ecosystem::{Cargo, Go, Maven, Npm, NuGet, PyPi, RubyGems};
    [Npm, PyPi, RubyGems, Cargo, Go, Maven, NuGet].into_iter().find(|ecosystem| word(*ecosystem) == name)
}

/// Recognises a download from a well-known registry.
#[must_use]
pub fn recognise(host: &str, path: &str) -> Option<Package> {
    if path.len() > MAX_PATH {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
    match host {
        "registry.npmjs.org" | "registry.yarnpkg.com" | "npm.pkg.github.com" => npm(&parts),
        "files.pythonhosted.org" | "pypi.org" => pypi(&parts),
        "static.crates.io" | "crates.io" | "index.crates.io" => cargo(&parts),
        "rubygems.org" | "index.rubygems.org" => gem(&parts),
        "proxy.golang.org" | "goproxy.io" | "goproxy.cn" => go(&parts),
        "repo1.maven.org" | "repo.maven.apache.org" => maven(parts.strip_prefix(&["maven2"])?),
        "maven.google.com" => maven(&parts),
        "dl.google.com" => maven(parts.strip_prefix(&["android", "maven2"])?),
        "api.nuget.org" => nuget(&parts),
        "www.nuget.org" | "globalcdn.nuget.org" => nuget_short(&parts),
        _ => None,
    }
}

/// `left-pad/-/left-pad-1.3.0.tgz`, `@scope/name/-/name-1.0.0.tgz`.
fn npm(parts: &[&str]) -> Option<Package> {
    let (namespace, name, file) = match parts {
        [scope, name, "-", file] if scope.starts_with('@') => (Some(*scope), *name, *file),
        [name, "-", file] if !name.starts_with('@') => (None, *name, *file),
        // GitHub's registry: `download/@scope/name/1.0.0/hash`.
        ["download", scope, name, version, _] if scope.starts_with('@') => {
            return Package::new(Ecosystem::Npm, Some(scope), name, Some(version));
        }
        _ => return None,
    };
    let version = file.strip_suffix(".tgz")?.strip_prefix(name)?.strip_prefix('-')?;
    Package::new(Ecosystem::Npm, namespace, name, Some(version))
}

/// `packages/aa/bb/hash/requests-2.31.0-py3-none-any.whl` or `….tar.gz`.
fn pypi(parts: &[&str]) -> Option<Package> {
    let ["packages", .., file] = parts else { return None };
    let file = file.strip_suffix(".metadata").unwrap_or(file);
    let (name, version) = if let Some(stem) = file.strip_suffix(".whl") {
        let mut fields = stem.split('-');
        (fields.next()?, fields.next()?)
    } else {
        let stem = [".tar.gz", ".zip", ".tar.bz2", ".tgz"].iter().find_map(|suffix| file.strip_suffix(suffix))?;
        stem.rsplit_once('-')?
    };
    // PEP 503: one spelling for every mixture of case, dots, dashes and underscores.
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if matches!(c, '.' | '_' | '-') { '-' } else { c.to_ascii_lowercase() };
        if !(c == '-' && normal.ends_with('-')) {
            normal.push(c);
        }
    }
    Package::new(Ecosystem::PyPi, None, &normal, Some(version))
}

/// `crates/serde/serde-1.0.0.crate`, `crates/serde/1.0.0/download`, `api/v1/crates/serde/1.0.0/download`.
fn cargo(parts: &[&str]) -> Option<Package> {
    match parts {
        ["crates", name, file] => {
            let version = file.strip_suffix(".crate")?.strip_prefix(name)?.strip_prefix('-')?;
            Package::new(Ecosystem::Cargo, None, name, Some(version))
        }
        ["crates", name, version, "download"] | ["api", "v1", "crates", name, version, "download"] => {
            Package::new(Ecosystem::Cargo, None, name, Some(version))
        }
        _ => None,
    }
}

/// `gems/rails-7.1.0.gem`, `gems/nokogiri-1.16.0-x86_64-linux.gem`.
fn gem(parts: &[&str]) -> Option<Package> {
    let (["gems" | "downloads", file] | ["quick", "Marshal.4.8", file]) = parts else { return None };
    let stem = file.strip_suffix(".gem").or_else(|| file.strip_suffix(".gemspec.rz"))?;
    // The version is the first part after a dash that starts with a digit; a platform may follow it.
    let at = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?;
    let version = stem[at + 1..].split('-').next()?;
    Package::new(Ecosystem::RubyGems, None, &stem[..at], Some(version))
}

/// `github.com/!burnt!sushi/toml/@v/v1.0.0.zip`.
fn go(parts: &[&str]) -> Option<Package> {
    let [module @ .., "@v", file] = parts else { return None };
    let version = [".zip", ".mod", ".info"].iter().find_map(|suffix| file.strip_suffix(suffix))?;
    let path = unescape(&module.join("/"))?;
    let (namespace, name) = path.rsplit_once('/').map_or((None, path.as_str()), |(space, name)| (Some(space), name));
    Package::new(Ecosystem::Go, namespace, name, Some(&unescape(version)?))
}

/// Undoes the Go proxy's escapes: `!b` is `B`.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '!' { chars.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase() } else { c });
    }
    Some(out)
}

/// `org/apache/commons/commons-lang3/3.14.0/commons-lang3-3.14.0.jar`.
fn maven(parts: &[&str]) -> Option<Package> {
    let [group @ .., name, version, file] = parts else { return None };
    if group.is_empty() || !file.starts_with(&format!("{name}-{version}")) {
        return None;
    }
    Package::new(Ecosystem::Maven, Some(&group.join(".")), name, Some(version))
}

/// `v3-flatcontainer/newtonsoft.json/13.0.3/newtonsoft.json.13.0.3.nupkg`.
fn nuget(parts: &[&str]) -> Option<Package> {
    let ["v3-flatcontainer", name, version, file] = parts else { return None };
    let known = file.ends_with(".nupkg") || file.ends_with(".nuspec");
    known.then(|| Package::new(Ecosystem::NuGet, None, name, Some(version))).flatten()
}

/// `api/v2/package/Newtonsoft.Json/13.0.3`.
fn nuget_short(parts: &[&str]) -> Option<Package> {
    let ["api", "v2", "package", name, version] = parts else { return None };
    Package::new(Ecosystem::NuGet, None, &name.to_ascii_lowercase(), Some(version))
}

#[cfg(test)]
mod tests {
    use super::recognise;

    #[test]
    fn downloads_are_recognised_by_their_url() {
        for (url, purl) in [
            ("registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz", "pkg:npm/left-pad@1.3.0"),
            ("registry.npmjs.org/@angular/core/-/core-17.0.0-rc.1.tgz", "pkg:npm/%40angular/core@17.0.0-rc.1"),
            ("registry.npmjs.org/@angular%2fcore/-/core-17.0.0.tgz", "pkg:npm/%40angular/core@17.0.0"),
            ("files.pythonhosted.org/packages/70/8e/0e/requests-2.31.0-py3-none-any.whl", "pkg:pypi/requests@2.31.0"),
            ("files.pythonhosted.org/packages/aa/bb/cc/Zope.Interface_x-6.0.tar.gz", "pkg:pypi/zope-interface-x@6.0"),
            ("static.crates.io/crates/serde/serde-1.0.200.crate", "pkg:cargo/serde@1.0.200"),
            ("static.crates.io/crates/serde/1.0.200/download", "pkg:cargo/serde@1.0.200"),
            ("rubygems.org/gems/nokogiri-1.16.0-x86_64-linux.gem", "pkg:gem/nokogiri@1.16.0"),
            ("rubygems.org/gems/rails-html-sanitizer-1.6.0.gem", "pkg:gem/rails-html-sanitizer@1.6.0"),
            (
                "proxy.golang.org/github.com/!burnt!sushi/toml/@v/v1.0.0.zip",
                "pkg:golang/github.com/BurntSushi/toml@v1.0.0",
            ),
            (
                "repo1.maven.org/maven2/org/apache/commons/commons-lang3/3.14.0/commons-lang3-3.14.0.jar",
                "pkg:maven/org.apache.commons/commons-lang3@3.14.0",
            ),
            (
                "api.nuget.org/v3-flatcontainer/newtonsoft.json/13.0.3/newtonsoft.json.13.0.3.nupkg",
                "pkg:nuget/newtonsoft.json@13.0.3",
            ),
        ] {
            let (host, path) = url.split_once('/').unwrap();
            let found = recognise(host, &format!("/{path}")).unwrap_or_else(|| panic!("{url}"));
            assert_eq!(found.purl, purl);
        }
    }

    #[test]
    fn other_urls_are_no_package() {
        for url in [
            "registry.npmjs.org/left-pad",
            "registry.npmjs.org/left-pad/-/other-1.3.0.tgz",
            "example.com/left-pad/-/left-pad-1.3.0.tgz",
            "files.pythonhosted.org/simple/requests/",
            "repo1.maven.org/maven2/org/apache/maven-metadata.xml",
            "proxy.golang.org/github.com/a/b/@v/list",
            "rubygems.org/gems/rails",
            "static.crates.io/crates/serde/other-1.0.crate",
            "registry.npmjs.org/%ff/-/x-1.tgz",
        ] {
            let (host, path) = url.split_once('/').unwrap();
            assert_eq!(recognise(host, &format!("/{path}")), None, "{url}");
        }
    }
}
