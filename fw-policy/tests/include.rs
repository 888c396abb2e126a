//! `include`: which files a policy is made of, in which order, and what is refused.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;

use fw_policy::{Absence, Code, Diagnostics, Directory, SourceFile, Subdirectory, gather, load};

/// A policy directory in memory; what the text of a file begins with says what stands at a name that is no file.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, String>,
    links: Vec<String>,
    /// What was read, in this order.
    read: Vec<String>,
}

impl Memory {
    fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self { files: files.collect(), ..Self::default() }
    }

    fn gathered(mut self) -> Result<Vec<SourceFile>, Diagnostics> {
        match gather(&mut self) {
            Ok(gathered) => gathered,
            Err(never) => match never {},
        }
    }
}

impl Directory for Memory {
    type Error = Infallible;

    fn files(&mut self, subdirectory: &str) -> Result<Subdirectory, Infallible> {
        self.read.push(subdirectory.to_owned());
        if self.links.iter().any(|link| link == subdirectory) {
            return Ok(Subdirectory::Absent(Absence::Link));
        }
        if self.files.contains_key(subdirectory) {
            return Ok(Subdirectory::Absent(Absence::NoDirectory));
        }
        let inside = |name: &&String| name.rsplit_once('/').map_or("", |(directory, _)| directory) == subdirectory;
        if !subdirectory.is_empty() && !self.subdirectories().iter().any(|known| known == subdirectory) {
            return Ok(Subdirectory::Absent(Absence::Missing));
        }
        let names: Vec<&String> = self.files.keys().filter(inside).filter(|name| name.ends_with(".toml")).collect();
        let file = |name: &String| SourceFile { name: name.clone(), text: self.files[name].clone() };
        Ok(Subdirectory::Files(names.into_iter().map(file).collect()))
    }

    fn subdirectories(&mut self) -> Vec<String> {
        let parents = self.files.keys().flat_map(|name| name.match_indices('/').map(|(at, _)| name[..at].to_owned()));
        let mut parents: Vec<String> = parents.collect();
        parents.sort();
        parents.dedup();
        parents
    }
}

fn names(files: &[(&str, &str)]) -> Vec<String> {
    let gathered = Memory::new(files).gathered().unwrap_or_else(|refused| panic!("{refused}"));
    gathered.into_iter().map(|file| file.name).collect()
}

/// What is wrong with a policy, whoever finds it.
fn refused(memory: Memory) -> Diagnostics {
    match memory.gathered() {
        Err(diagnostics) => diagnostics,
        Ok(files) => load(&files).expect_err("the policy is refused"),
    }
}

const HEAD: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n";

fn rule(id: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"drop\"\n")
}

#[test]
fn the_files_of_a_directory_come_right_behind_the_one_that_includes_it() {
    let found = names(&[
        ("10.toml", "version = 1\ninclude = [\"z\", \"b\"]\n"),
        ("20.toml", "version = 1\n"),
        ("b/2.toml", "version = 1\n"),
        ("b/1.toml", "version = 1\ninclude = [\"b/deep\"]\n"),
        ("b/deep/x.toml", "version = 1\n"),
        ("b/notes.md", ""),
        ("c/unread.toml", "this is not even TOML"),
        ("z/y.toml", "version = 1\n"),
    ]);
    assert_eq!(found, ["10.toml", "z/y.toml", "b/1.toml", "b/deep/x.toml", "b/2.toml", "20.toml"]);
}

#[test]
fn rules_are_matched_in_the_order_of_the_files() {
    let (head, first, inner, last) = (
        format!("version = 1\ninclude = [\"site\"]\n{}", &HEAD["version = 1\n".len()..]),
        rule("first"),
        format!("version = 1\n{}", rule("inner")),
        format!("version = 1\n{}", rule("last")),
    );
    let memory = Memory::new(&[("a.toml", &(head + &first)), ("b.toml", &last), ("site/a.toml", &inner)]);
    let policy = load(&memory.gathered().unwrap()).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(policy.rules().map(fw_policy::Rule::id).collect::<Vec<_>>(), ["first", "inner", "last"]);
}

#[test]
fn an_include_is_found_wherever_toml_lets_it_stand() {
    let with = |text: &str| names(&[("a.toml", text), ("b/x.toml", "version = 1\n")]).len();
    for text in [
        "include = [\"b\"]\nversion = 1\n",
        "\u{feff}include = ['b']",
        "version = 1 # include = [\"c\"]\n'include' = [\n\"b\", ]\n[defaults]\naction = \"drop\"\n",
        "\"\\u0069nclude\" = [ # the other one\n\t[ \"c\" ],\n  \"b\" ]\n  [defaults]\n",
        "defaults = { action = \"drop\" }\nrule = [\n[]\n]\ninclude = [\"b\"]\n",
        "version = = 1\ninclude = [\"b\"]\n[defaults]\n",
    ] {
        assert_eq!(with(text), 2, "{text}");
    }
    for text in [
        "# include = [\"b\"]\nversion = 1\n",
        "version = 1\n[defaults]\ninclude = [\"b\"]\n",
        "version = 1\n[[rule]]\ndescription = \"\"\"\ninclude = [\"b\"]\n\"\"\"\n",
        "include = \"b\"\n",
        "include = [1]\n",
    ] {
        assert_eq!(with(text), 1, "{text}");
    }
}

#[test]
fn each_refusal_points_to_the_include() {
    let including = |what: &str| format!("version = 1\ninclude = [{what}]\n{}", &HEAD["version = 1\n".len()..]);
    let mut shown = String::new();
    let mut case = |what: &str, memory: Memory| {
        let refused = refused(memory);
        for item in &refused.items {
            assert_eq!(item.code, Code::Include, "{what}: {refused}");
            let place = item.place.as_ref().expect("it has a place");
            assert!(place.text.starts_with('"') && place.line == 2, "{what}: {refused}");
        }
        let _ = write!(shown, "{what}\n\n{}\n\n", refused.render(false));
    };
    let berlin = ("sites/berlin/x.toml", "version = 1\n");
    case("missing", Memory::new(&[("a.toml", &including("\"sites/berln\"")), berlin]));
    case("a rule misses what is missing", {
        let text = including("\"sites/nowhere\"") + &rule("r").replace("[\"a\"]", "[\"b\"]");
        Memory::new(&[("a.toml", &text), berlin])
    });
    case("no policy files", Memory::new(&[("a.toml", &including("\"docs\"")), ("docs/x.md", "")]));
    case(
        "twice",
        Memory::new(&[
            ("a.toml", &including("\"sites/berlin\"")),
            ("b.toml", "version = 1\ninclude = [\"sites/berlin\"]\n"),
            berlin,
        ]),
    );
    case("twice in one array", Memory::new(&[("a.toml", &including("\"sites/berlin\", \"sites/berlin\"")), berlin]));
    case(
        "circle",
        Memory::new(&[
            ("a.toml", &including("\"b\"")),
            ("b/x.toml", "version = 1\ninclude = [\"c\"]\n"),
            ("c/x.toml", "version = 1\ninclude = [\"b\"]\n"),
        ]),
    );
    case("itself", Memory::new(&[("a.toml", &including("\"b\"")), ("b/x.toml", "version = 1\ninclude = [\"b\"]\n")]));
    case(
        "a link",
        Memory { links: vec!["sites/bonn".to_owned()], ..Memory::new(&[("a.toml", &including("\"sites/bonn\""))]) },
    );
    case("a file", Memory::new(&[("a.toml", &including("\"b\"")), ("b", "")]));
    let names = ["", "/etc", "../other", "a/../b", "./a", "a//b", "a/", ".git", "a/.b", "a.toml", "a\\tb"];
    let listed: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    case("no names", Memory::new(&[("a.toml", &including(&listed.join(", ")))]));
    insta::assert_snapshot!(shown);
}

#[test]
fn nothing_but_what_is_included_is_read() {
    let mut memory = Memory::new(&[
        ("a.toml", "version = 1\ninclude = [\"b\", \"../c\", \"b\"]\n"),
        ("b/x.toml", "version = 1\ninclude = [\"b\"]\n"),
        ("d/x.toml", ""),
    ]);
    assert!(gather(&mut memory).is_ok_and(|gathered| gathered.is_ok()), "that it is wrong is said by `load`");
    assert_eq!(memory.read, ["", "b"]);
}

#[test]
fn a_policy_without_the_files_that_it_includes_is_no_policy() {
    let file = SourceFile { name: "a.toml".to_owned(), text: format!("include = [\"b\"]\n{HEAD}") };
    let refused = load(&[file]).expect_err("something is missing");
    assert_eq!(refused.items.iter().map(|item| item.code).collect::<Vec<_>>(), [Code::Include]);
}
