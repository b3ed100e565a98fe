//! The layers of `src/`: which module may import which, derived from the `use` lines and paths of
//! the sources. Code of tests is left out.
//!
//! A module and its submodules count as one unit towards the modules beside it, so a parent and its
//! children may refer to each other. An import from a child through a re-export of the parent
//! counts as an import from that child.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, code, files, none};

/// The modules of the crate from top to bottom. A module imports only from lines below its own.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["capacity", "trace"],
    &["report", "server"],
    &["web"],
    &["model"],
    &["advise"],
    &["load", "validity"],
    &["run"],
    &["theory"],
    &["transport"],
    &["app"],
    &["scenario", "feed", "client"],
    &["packet_link"],
    &["message", "variant", "measure", "units", "statistics", "tls", "usage"],
    &["text", "header_list", "private_files"],
];

/// The path of a module without `crate`: `["feed", "store"]`, empty for the root.
type Path = Vec<String>;

/// The modules of a crate with their code, and the names that each of them imports from a child.
struct Modules {
    code: BTreeMap<Path, String>,
    reexports: BTreeMap<(Path, String), Path>,
}

/// An import between two children of a module: importer, imported module, and an example.
type Edges = BTreeMap<Path, BTreeMap<(String, String), String>>;

impl Modules {
    fn of(sources: &[Source]) -> Modules {
        let mut all = BTreeMap::new();
        let mut of_tests = BTreeSet::new();
        for source in sources {
            let path = module(&source.path);
            let code = code(&source.text);
            let mut kept = String::new();
            let mut parts = code.split("#[cfg(test)]\nmod ");
            kept.push_str(parts.next().unwrap_or_default());
            for part in parts {
                let end = part.find([';', '{']).expect("a module has an end");
                if part.as_bytes()[end] == b'{' {
                    break; // By convention the tests end a file.
                }
                of_tests.insert([path.clone(), vec![part[..end].trim().to_owned()]].concat());
                kept.push_str(&part[end + 1..]);
            }
            all.insert(path, kept);
        }
        all.retain(|path, _| !of_tests.iter().any(|of_test| path.starts_with(of_test)));
        let mut modules = Modules { code: all, reexports: BTreeMap::new() };
        let mut reexports = BTreeMap::new();
        for (path, code) in &modules.code {
            for leaf in uses(code) {
                let child = [path.clone(), vec![leaf[0].clone()]].concat();
                if modules.code.contains_key(&child) && leaf.len() > 1 {
                    let name = leaf[leaf.len() - 1].clone();
                    let target = [path.clone(), leaf].concat();
                    reexports.insert((path.clone(), name), target);
                }
            }
        }
        modules.reexports = reexports;
        modules
    }

    /// The module that the path `written` refers to from inside `module`, if it is one of this
    /// crate.
    fn resolve(&self, module: &Path, written: &Path) -> Option<Path> {
        let mut rest = written.as_slice();
        let mut path = match written[0].as_str() {
            "crate" => Path::new(),
            "self" | "super" => module.clone(),
            first => {
                let child = [module.clone(), vec![first.to_owned()]].concat();
                return self.code.contains_key(&child).then(|| self.descend(module.clone(), rest));
            }
        };
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(path.pop()),
                _ => break,
            }
            rest = after;
        }
        Some(self.descend(path, rest))
    }

    /// The innermost module on the path `rest` from `path`, with re-exports followed.
    fn descend(&self, mut path: Path, rest: &[String]) -> Path {
        for name in rest {
            let child = [path.clone(), vec![name.clone()]].concat();
            if self.code.contains_key(&child) {
                path = child;
            } else if let Some(target) = self.reexports.get(&(path.clone(), name.clone())) {
                let names = &target[path.len()..];
                return self.descend(path, names);
            } else {
                break;
            }
        }
        path
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (from, code) in &self.code {
            for written in uses(code).into_iter().chain(paths(code)) {
                let Some(to) = self.resolve(from, &written) else { continue };
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                    let example = format!("{}: {}", from.join("::"), written.join("::"));
                    let siblings = edges.entry(from[..common].to_vec()).or_default();
                    siblings.entry((a.clone(), b.clone())).or_insert(example);
                }
            }
        }
        edges
    }
}

/// The module of a file: `feed::store` for `src/feed/store/mod.rs`.
fn module(file: &str) -> Path {
    let inside = file.trim_start_matches("src/").trim_end_matches(".rs");
    let names = inside.split('/').filter(|name| !["mod", "lib", "main"].contains(name));
    names.map(str::to_owned).collect()
}

/// Every path that the `use` declarations of `code` import, groups written out.
fn uses(code: &str) -> Vec<Path> {
    let is_use = |line: &&str| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub").map_or(line, |rest| match rest.find(')') {
            Some(end) if rest.starts_with('(') => rest[end + 1..].trim_start(),
            _ => rest.trim_start(),
        });
        line.starts_with("use ")
    };
    let mut found = Vec::new();
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        if is_use(&line) {
            let text = &code[at..];
            let declaration = text[..text.find(';').expect("a use ends")].trim_start();
            let start = declaration.find("use ").expect("it has one") + 4;
            expand(&declaration[start..], &Path::new(), &mut found);
        }
        at += line.len();
    }
    found
}

/// Adds the paths of a tree of `use`: `a::{b, c::d as e}` is `a::b` and `a::c::d`.
fn expand(tree: &str, before: &Path, found: &mut Vec<Path>) {
    let tree = tree.trim();
    if let Some(group) = tree.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let mut depth = 0;
        let is_separator = |char: char| {
            depth += i32::from(char == '{') - i32::from(char == '}');
            char == ',' && depth == 0
        };
        let parts = group.split(is_separator).filter(|part| !part.trim().is_empty());
        parts.for_each(|part| expand(part, before, found));
    } else if let Some((name, rest)) = tree.split_once("::") {
        expand(rest, &[before.clone(), vec![name.trim().to_owned()]].concat(), found);
    } else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        let name = (name != "self").then(|| name.to_owned());
        found.push([before.clone(), name.into_iter().collect()].concat());
    }
}

/// Every path with `::` in `code`.
fn paths(code: &str) -> impl Iterator<Item = Path> {
    let tokens = code.split(|char: char| !char.is_alphanumeric() && char != '_' && char != ':');
    tokens.filter(|token| token.contains("::") && !token.starts_with(':')).map(|token| {
        token.split("::").map(|name| name.trim_matches(':').to_owned()).collect::<Path>()
    })
}

/// Imports that form a loop between the children of a module.
fn loops(edges: &Edges) -> Vec<String> {
    let mut complaints = Vec::new();
    for siblings in edges.values() {
        for ((from, to), example) in siblings {
            let (mut reached, mut open) = (BTreeSet::new(), vec![to]);
            while let Some(name) = open.pop() {
                if reached.insert(name) {
                    open.extend(siblings.keys().filter(|(a, _)| a == name).map(|(_, b)| b));
                }
            }
            if reached.contains(from) {
                complaints.push(format!("{from} -> {to} is part of a loop ({example})"));
            }
        }
    }
    complaints
}

/// Imports of top-level modules that do not lead to a lower layer.
fn upward(edges: &Edges) -> Vec<String> {
    let layer = |name: &String| LAYERS.iter().position(|layer| layer.contains(&name.as_str()));
    let top = edges.get(&Path::new()).into_iter().flatten();
    let complaint = |((from, to), example): (&(String, String), &String)| {
        let is_down = layer(from).zip(layer(to)).is_some_and(|(from, to)| from < to);
        (!is_down).then(|| format!("{from} may not import {to} ({example})"))
    };
    top.filter_map(complaint).collect()
}

#[test]
fn imports_lead_downwards_and_never_in_a_loop() {
    let sources = files("src", "rs");
    let modules = Modules::of(&sources);
    let names: BTreeSet<&str> =
        modules.code.keys().filter_map(|path| path.first()).map(String::as_str).collect();
    let listed: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    assert_eq!(names, listed, "LAYERS lists every top-level module");
    let edges = modules.edges();
    assert!(edges[&Path::new()].len() > 40, "the imports are not found: {edges:?}");
    none([loops(&edges), upward(&edges)].concat());
}

#[test]
fn loops_are_found_in_every_form_of_import() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let found = |feed: &str, log: &str, client: &str| {
        let sources = [
            source("src/lib.rs", "pub mod feed; pub mod client;"),
            source("src/feed/mod.rs", "mod log;\nmod topic;\npub use topic::Topic;"),
            source("src/feed/topic.rs", feed),
            source("src/feed/log.rs", log),
            source("src/client.rs", client),
        ];
        let edges = Modules::of(&sources).edges();
        loops(&edges).len()
    };
    let topic = "use super::log::Log;";
    assert_eq!(found(topic, "", "use crate::feed::Topic;"), 0);
    assert_eq!(found(topic, "use super::topic::Topic;", ""), 2, "siblings");
    assert_eq!(found(topic, "use super::Topic;", ""), 2, "through a re-export");
    assert_eq!(found(topic, "fn f() { super::Topic::new() }", ""), 2, "a path in the code");
    assert_eq!(found(topic, "// super::Topic\nfn f() {}", ""), 0, "a comment");
    let test = "fn f() {}\n#[cfg(test)]\nmod tests { use super::super::Topic; }";
    assert_eq!(found(topic, test, ""), 0, "a test");
    let group = "pub(crate) use crate::{\n    client::{self, Dialer},\n};";
    assert_eq!(found(topic, group, "use crate::feed::Topic as Other;"), 2, "top-level modules");
    let upwards = [source("src/text.rs", "use crate::cli::run;"), source("src/cli.rs", "")];
    assert_eq!(upward(&Modules::of(&upwards).edges()).len(), 1);
}
