//! README, `docs/` and `docker/` say what is so: their commands, parameters, metrics and messages are held against the
//! program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use serde_json::Value;

use super::args::Arguments;
use crate::config::{self, Job};
use crate::metrics::Metrics;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Name and text of every page.
fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    files.extend(["README.md", "docker/README.md", "docker/systemd/towpath@.service"].map(|file| root().join(file)));
    files.sort();
    files.into_iter().map(|path| (path.strip_prefix(root()).unwrap().display().to_string(), read(&path))).collect()
}

/// What stands between backticks, which may go over a line's end. Blocks of code are left out.
fn spans(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut text = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            text.push_str(line);
            text.push(' ');
        }
    }
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// As a shell would split it: quotes, and a comment's `#`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    for letter in line.chars() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Why the program would not take it. `whole`: nothing is left out, as in a block of code.
fn refused(command: &str, whole: bool) -> Option<String> {
    match Arguments::try_parse_from(words(command)) {
        Ok(_) => None,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
            // A command's name in a sentence.
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !whole =>
            {
                None
            }
            _ => Some(format!("`{command}`: {error}")),
        },
    }
}

#[test]
fn every_command_in_the_documents_is_one() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, page) in pages() {
        for line in page.lines() {
            let line = line.trim_start().trim_start_matches("ExecStart=/usr/local/bin/");
            if let Some(rest) = line.strip_prefix("towpath ").filter(|rest| rest.contains(' ')) {
                seen += 1;
                wrong.extend(refused(&format!("towpath {rest}"), true).map(|why| format!("{name}: {why}")));
            }
        }
        for span in spans(&page).iter().filter(|span| span.starts_with("towpath ") || *span == "towpath") {
            seen += 1;
            wrong.extend(refused(span, false).map(|why| format!("{name}: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} commands were found");
}

/// `source.tls.mode`, `params.realFlushPauseSec`, …
fn parameters() -> BTreeSet<String> {
    fn collect(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(below, &path, into);
            into.insert(path);
        }
    }
    let mut all = BTreeSet::new();
    collect(&config::json_schema(), "", &mut all);
    all
}

#[test]
fn every_parameter_in_the_documents_is_one() {
    let known = parameters();
    let groups: Vec<&str> = known.iter().filter(|path| !path.contains('.')).map(String::as_str).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, page) in pages() {
        for span in spans(&page) {
            let path: String =
                span.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '.').collect();
            let rest = &span[path.len()..];
            let Some((group, key)) = path.split_once('.') else { continue };
            let is_ours = groups.contains(&group) && key.starts_with(|letter: char| letter.is_ascii_lowercase());
            // `source.tables: shop.\.*` is another program's.
            if !is_ours || rest.contains('\\') {
                continue;
            }
            seen += 1;
            if !known.contains(&path) && !path.starts_with("target.tableProperties.") {
                wrong.push(format!("{name}: `{path}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "no such parameters:\n{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} parameters were found");
}

/// The `towpath_…` and `process_…` names of a text, without what a histogram adds to its own.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("towpath_") || word.starts_with("process_"));
    // `process_*` stands for all of them.
    let ours = ours.filter(|word| !word.ends_with('_'));
    let plain =
        |name: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).map(str::to_owned);
    ours.map(|name| plain(name).unwrap_or_else(|| name.to_owned())).collect()
}

#[test]
fn every_metric_in_documents_dashboards_and_alerts_is_one_and_none_is_left_out() {
    let known = Metrics::default().names();
    let mut wrong = Vec::new();
    let files =
        ["dashboards/overview.json", "dashboards/job.json", "dashboards/alerts.yml", "dashboards/alerts_test.yml"];
    for file in files.into_iter().chain(["docs/monitoring.md", "docs/troubleshooting.md", "docs/production.md"]) {
        wrong.extend(mentioned(&read(file)).difference(&known).map(|name| format!("{file}: {name}")));
    }
    assert!(wrong.is_empty(), "no such metrics:\n{}", wrong.join("\n"));
    let told = mentioned(&read("docs/monitoring.md"));
    let missing: Vec<_> = known.difference(&told).filter(|name| name.starts_with("towpath_")).collect();
    assert!(known.len() > 30 && missing.is_empty(), "not in docs/monitoring.md: {missing:?}");
}

/// The program's text with its long literals put together.
fn sources() -> String {
    fn collect(folder: &Path, into: &mut String) {
        for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.is_dir() {
                collect(&file, into);
            } else if file != root().join("src/cli/documents.rs") {
                into.push_str(&fs::read_to_string(file).unwrap());
            }
        }
    }
    let mut text = String::new();
    collect(&root().join("src"), &mut text);
    let mut whole = String::with_capacity(text.len());
    for (number, part) in text.split("\\\n").enumerate() {
        whole.push_str(if number == 0 { part } else { part.trim_start() });
    }
    whole
}

#[test]
fn every_message_that_troubleshooting_explains_is_one_of_the_program() {
    let sources = sources();
    // The target's own words, which are passed on.
    let of_the_target = ["too many versions", "too many filtered"];
    let page = read("docs/troubleshooting.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split(" | ").next());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for row in rows {
        for message in format!("`{row}").split('`').skip(1).step_by(2) {
            for part in message.split('…').map(str::trim).filter(|part| !part.is_empty()) {
                seen += 1;
                if !sources.contains(part) && !of_the_target.contains(&part) {
                    wrong.push(format!("{part:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "nowhere in src/: {}", wrong.join(", "));
    assert!(seen > 20, "only {seen} messages were found");
}

/// As GitHub names a heading in an address.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, page) in pages() {
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let here = Path::new(&name);
            let path = if file.is_empty() { here.to_owned() } else { here.with_file_name("").join(file) };
            let there = root().join(&path).exists();
            let headings = || {
                read(&path)
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#').trim()) == place)
            };
            if !there || (!place.is_empty() && !headings()) {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dead links:\n{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} links were found");
}

/// The blocks of code in this language, without the margin that a list gives them.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        if text == format!("```{language}") {
            let margin = line.len() - text.len();
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks.push(inside.map(|line| line.get(margin..).unwrap_or_default()).collect::<Vec<_>>().join("\n"));
        }
    }
    blocks
}

/// A job file with its secrets' files in reach.
fn parses(file: &str, text: &str) {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let text: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("File: ") {
            Some((key, _)) => format!("{key}File: {}", secret.path().display()),
            None => line.to_owned(),
        })
        .collect();
    fs::write(secret.path(), "secret").unwrap();
    let parsed = Job::parse(&text.join("\n"), file, &|_| Some("from-the-environment".to_owned()));
    parsed.unwrap_or_else(|error| panic!("{file}: {error}\n{}", text.join("\n")));
}

#[test]
fn every_job_file_that_is_shown_can_be_read() {
    parses("docker/job.yaml", &read("docker/job.yaml"));
    let manifest = read("docker/kubernetes/towpath.yaml");
    let (_, rest) = manifest.split_once("  job.yaml: |\n").unwrap();
    let job: Vec<&str> = rest.lines().take_while(|line| line.starts_with("    ")).map(|line| &line[4..]).collect();
    parses("docker/kubernetes/towpath.yaml", &job.join("\n"));
    let mut seen = 0;
    for (name, page) in pages() {
        for block in blocks(&page, "yaml").iter().filter(|block| block.starts_with("name:")) {
            seen += 1;
            parses(&name, block);
        }
    }
    assert!(seen >= 2, "only {seen} job files were found");
}

/// The image is built from what it copies: every path that Cargo.toml names is among that.
#[test]
fn the_image_is_built_from_all_that_cargo_toml_names() {
    let dockerfile = read("docker/Dockerfile");
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(str::split_whitespace)
        .collect();
    let manifest = read("Cargo.toml");
    let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.split('/').next());
    for folder in named.chain(["src", "Cargo.lock", "benches"]) {
        assert!(copied.contains(&folder), "docker/Dockerfile does not copy {folder}");
    }
    let wanted =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap().trim_end_matches('"');
    let (_, tag) = dockerfile.split_once("FROM rust:").unwrap();
    let version =
        |text: &str| -> Vec<u32> { text.split(['.', '-']).map_while(|part| part.parse().ok()).take(2).collect() };
    assert!(version(tag.split_whitespace().next().unwrap()) >= version(wanted), "the image's Rust is too old");
    for file in ["README.md", "Makefile"] {
        assert!(read(file).contains(&format!("{wanted} or later")), "{file} asks for another Rust than {wanted}");
    }
}
