//! A Rust file as the house test sees it: lines, functions, names and imports, found without a compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One file: as written, with comments blanked, and with comments and the contents of literals blanked. Line breaks stay, so lines keep their numbers.
pub struct SourceFile {
    /// From the root of the workspace, with slashes.
    pub path: String,
    text: String,
    code: String,
    bare: String,
}

/// A function and how many lines it takes, from `fn` to its closing brace.
pub struct Function {
    pub name: String,
    pub lines: usize,
}

impl SourceFile {
    /// Reads `path`, which lies under `root`.
    pub fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file is UTF-8");
        let name = path.strip_prefix(root).expect("the file lies under the root").to_string_lossy().replace('\\', "/");
        Self::new(name, text)
    }

    fn new(path: String, text: String) -> Self {
        let code = blank(&text, false);
        let bare = blank(&text, true);
        Self { path, text, code, bare }
    }

    /// The room it lies in: `state` for `src/state/trace.rs`.
    pub fn room(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or("")
    }

    /// True for a file that holds only tests.
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let folders = ["/tests/", "/expected/"];
        folders.iter().any(|f| self.path.contains(f)) || name == "tests.rs" || name.ends_with("_tests.rs") || name == "expected.rs"
    }

    /// True if the file begins with `//!` and a paragraph that ends like a sentence.
    pub fn opens_with_a_sentence(&self) -> bool {
        let paragraph: Vec<&str> =
            self.text.lines().map_while(|l| l.strip_prefix("//!")).map(str::trim).take_while(|l| !l.is_empty()).collect();
        paragraph.last().is_some_and(|l| l.ends_with(['.', ':', '?']))
    }

    /// Lines outside `#[cfg(test)]` modules.
    pub fn lines_without_tests(&self) -> usize {
        let in_tests: usize = self.test_modules().iter().map(|(from, to)| self.text[*from..*to].lines().count()).sum();
        self.text.lines().count() - in_tests
    }

    /// The code without comments and without `#[cfg(test)]` modules, strings included.
    pub fn code_without_tests(&self) -> String {
        let mut code = self.code.clone();
        for (from, to) in self.test_modules().into_iter().rev() {
            code.replace_range(from..to, "");
        }
        code
    }

    /// Byte ranges of the modules under `#[cfg(test)]`.
    fn test_modules(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (start, _) in self.bare.match_indices("#[cfg(test)]") {
            let rest = &self.bare[start..];
            let (Some(brace), semicolon) = (rest.find('{'), rest.find(';')) else { continue };
            let is_module = rest[12..brace].split_whitespace().any(|w| w == "mod");
            if is_module && semicolon.is_none_or(|s| s > brace) {
                found.push((start, closing(&self.bare, start + brace)));
            }
        }
        found
    }

    /// All functions with a body, tests too.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in word_starts(&self.bare, "fn") {
            let name: String = self.bare[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(end) = self.bare[at..].find(['{', ';']) else { continue };
            if name.is_empty() || self.bare.as_bytes()[at + end] == b';' {
                continue;
            }
            let lines = self.bare[at..closing(&self.bare, at + end)].lines().count();
            found.push(Function { name, lines });
        }
        found
    }

    /// Names of the types declared here.
    pub fn type_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for keyword in ["struct", "enum", "trait", "type", "union"] {
            for at in word_starts(&self.bare, keyword) {
                let rest = self.bare[at + keyword.len()..].trim_start();
                names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
        names
    }

    /// The file as a module path below its crate: `src/state/runs/spine.rs` is `runs::spine`, a `lib.rs` or `main.rs` is empty.
    fn module(&self) -> String {
        let below = self.path.splitn(3, '/').nth(2).unwrap_or("").trim_end_matches(".rs");
        let below = below.strip_suffix("/mod").unwrap_or(below);
        if matches!(below, "lib" | "main") { String::new() } else { below.replace('/', "::") }
    }

    /// All paths that start with `crate::`, braces spread out.
    fn crate_paths(&self) -> Vec<String> {
        let bare = self.without_tests_bare();
        let mut paths = Vec::new();
        for (at, _) in bare.match_indices("crate::") {
            spread(&bare[at + "crate::".len()..], "", &mut paths);
        }
        paths.iter_mut().for_each(|p| p.truncate(p.find(" as ").unwrap_or(p.len())));
        paths
    }

    fn without_tests_bare(&self) -> String {
        let mut bare = self.bare.clone();
        for (from, to) in self.test_modules().into_iter().rev() {
            bare.replace_range(from..to, "");
        }
        bare
    }

    /// What a door re-exports: name outside -> path below the crate.
    fn reexports(&self) -> BTreeMap<String, String> {
        let module = self.module();
        let prefix = if module.is_empty() { String::new() } else { format!("{module}::") };
        let mut names = BTreeMap::new();
        for (at, matched) in self.bare.match_indices("pub use ").chain(self.bare.match_indices("pub(crate) use ")) {
            let mut paths = Vec::new();
            spread(self.bare[at + matched.len()..].trim_start_matches("self::"), "", &mut paths);
            for path in paths.into_iter().filter(|p| !p.starts_with("headwater")) {
                let (path, name) = match path.split_once(" as ") {
                    Some((path, name)) => (path, name),
                    None => (path.as_str(), path.rsplit("::").next().expect("a path has a last part")),
                };
                names.insert(format!("{prefix}{name}"), format!("{prefix}{path}"));
            }
        }
        names
    }
}

/// Puts every path of a use tree (`a::{b, c::d}`) into `paths`, in front of each `prefix`.
fn spread(tree: &str, prefix: &str, paths: &mut Vec<String>) {
    let stop = tree.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(tree.len());
    let head = format!("{prefix}{}", &tree[..stop]);
    if !tree[stop..].starts_with('{') || !(head.is_empty() || head.ends_with("::")) {
        let renamed = tree[stop..]
            .strip_prefix(" as ")
            .map(|rest| rest.trim().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or(""));
        let name = renamed.map_or(String::new(), |name| format!(" as {name}"));
        paths.push(head.trim_end_matches(':').to_string() + &name);
        return;
    }
    let body = &tree[stop + 1..closing(tree, stop) - 1];
    let mut depth = 0;
    for part in body.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    }) {
        if !part.trim().is_empty() {
            spread(part.trim(), &head, paths);
        }
    }
}

/// Which module of a room names which other by a `crate::` path.
pub fn module_edges(files: &[&SourceFile]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<String> = files.iter().map(|f| f.module()).filter(|m| !m.is_empty()).collect();
    let reexports: BTreeMap<String, String> = files.iter().flat_map(|f| f.reexports()).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|f| !f.module().is_empty()) {
        let from = file.module();
        let targets = file.crate_paths().into_iter().filter_map(|path| resolve(&path, &modules, &reexports));
        let targets: BTreeSet<String> = targets.filter(|to| *to != from).collect();
        edges.insert(from, targets);
    }
    edges
}

/// The module that a path below the crate leads to: through re-exports, then the longest module that the path begins with.
fn resolve(path: &str, modules: &BTreeSet<String>, reexports: &BTreeMap<String, String>) -> Option<String> {
    let mut path = path.to_string();
    for _ in 0..8 {
        let parts: Vec<&str> = path.split("::").collect();
        let through = (1..=parts.len()).rev().find_map(|n| Some((n, reexports.get(&parts[..n].join("::"))?)));
        match through {
            Some((n, inside)) if *inside != parts[..n].join("::") => path = [&[inside.as_str()], &parts[n..]].concat().join("::"),
            _ => break,
        }
    }
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len()).rev().map(|n| parts[..n].join("::")).find(|p| modules.contains(p))
}

/// One circle for each module from which a walk along the edges comes back to it, each circle once.
pub fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for start in edges.keys() {
        if let Some(circle) = walk_back(start, edges)
            && !found.iter().any(|known| circle.iter().all(|m| known.contains(m)))
        {
            found.push(circle);
        }
    }
    found
}

/// The shortest walk from `start` back to itself, `start` at both ends.
fn walk_back(start: &str, edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut walks = std::collections::VecDeque::from([vec![start.to_string()]]);
    let mut seen = BTreeSet::new();
    while let Some(walk) = walks.pop_front() {
        let last = walk.last().expect("a walk has a start");
        for next in edges.get(last).into_iter().flatten() {
            let longer = [walk.clone(), vec![next.clone()]].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                walks.push_back(longer);
            }
        }
    }
    None
}

/// The words of a text in lower case: split at everything that is no letter or digit, and inside names at capitals.
pub fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|w| !w.is_empty());
    words
}

/// Where `word` stands as a word of its own.
fn word_starts(text: &str, word: &str) -> Vec<usize> {
    let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let alone = |at: &usize| !part_of_name(text[..*at].chars().next_back()) && text[at + word.len()..].starts_with(char::is_whitespace);
    text.match_indices(word).map(|(at, _)| at).filter(alone).collect()
}

/// One past the brace that closes the one at `open`.
fn closing(text: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// `text` with comments, and if `literals` also what stands in strings and characters, replaced by blanks of the same length in bytes.
fn blank(text: &str, literals: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (end, erase) = token(bytes, at);
        let erase = erase == Erase::Always || (erase == Erase::Literal && literals);
        if erase {
            out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        at = end;
    }
    String::from_utf8(out).expect("whole tokens are replaced by ASCII")
}

#[derive(PartialEq, Clone, Copy)]
enum Erase {
    Never,
    Literal,
    Always,
}

/// The end of the comment, literal or single byte at `at`.
fn token(bytes: &[u8], at: usize) -> (usize, Erase) {
    let rest = &bytes[at..];
    let in_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => (at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()), Erase::Always),
        [b'/', b'*', ..] => (at + block_comment(rest), Erase::Always),
        [b'"', ..] => (at + string(rest), Erase::Literal),
        [b'r', b'"' | b'#', ..] if !in_name => raw_string(rest).map_or((at + 1, Erase::Never), |n| (at + n, Erase::Literal)),
        [b'b', b'r', b'"' | b'#', ..] if !in_name => {
            raw_string(&rest[1..]).map_or((at + 1, Erase::Never), |n| (at + 1 + n, Erase::Literal))
        }
        [b'\'', ..] => character(rest).map_or((at + 1, Erase::Never), |n| (at + n, Erase::Literal)),
        _ => (at + 1, Erase::Never),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `r"…"` or `r#"…"#`; none for a raw name such as `r#type`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let start = 2 + hashes;
    rest[start..].windows(end.len()).position(|w| w == end).map(|n| start + n + end.len())
}

/// The length of a character literal; none for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return rest[3..].iter().position(|b| *b == b'\'').map(|n| n + 4);
    }
    let width = std::str::from_utf8(&rest[1..rest.len().min(5)]).map_or_else(|e| e.valid_up_to(), str::len);
    let first = std::str::from_utf8(&rest[1..=width]).ok()?.chars().next()?.len_utf8();
    (rest.get(1 + first) == Some(&b'\'')).then_some(first + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::new(path.to_string(), text.to_string())
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "let a = \"{ // no\"; // yes }\nlet b = '{'; let c: &'static str = r#\"}\"#; /* { /* } */ */ {";
        assert_eq!(blank(text, true).matches(['{', '}']).count(), 1);
        assert!(blank(text, false).contains("{ // no"));
    }

    #[test]
    fn functions_and_tests_are_measured() {
        let text = "//! A sentence.\nfn a() {\n  1;\n}\ntrait T { fn b(); }\n#[cfg(test)]\nmod tests {\n  fn c() {}\n}\n";
        let file = file("src/state/a.rs", text);
        assert_eq!(file.functions().iter().map(|f| (f.name.as_str(), f.lines)).collect::<Vec<_>>(), [("a", 3), ("c", 1)]);
        assert_eq!(file.lines_without_tests(), 5);
        assert!(file.opens_with_a_sentence());
        assert!(!super::SourceFile::new(String::new(), "use a;".into()).opens_with_a_sentence());
    }

    #[test]
    fn a_circle_is_found_through_the_door() {
        let door = file("src/x/lib.rs", "mod a; mod b; pub use a::{A, One as Two}; pub use b::B;");
        let a = file("src/x/a.rs", "use crate::B;");
        let b = file("src/x/b.rs", "use crate::{A, other::{C}};");
        let edges = module_edges(&[&door, &a, &b]);
        assert_eq!(circles(&edges), [["a", "b", "a"]]);
        let b = file("src/x/b.rs", "fn f() {} #[cfg(test)] mod tests { use crate::A; }");
        assert!(circles(&module_edges(&[&door, &a, &b])).is_empty());
    }

    #[test]
    fn names_split_into_words() {
        assert_eq!(words("StateManager row_util PostgreSqlDialect"), ["state", "manager", "row", "util", "postgre", "sql", "dialect"]);
    }
}
