//! `tests/FAULTS.md` names, for each fault, the tests that inject it: they must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every test below a directory, as `module::name`; the module of unit tests inside a file is left out.
fn tests_below(dir: &Path) -> BTreeSet<String> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![dir.to_owned()]);
    while let Some(at) = todo.pop() {
        for path in fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let module = module(path.strip_prefix(dir).unwrap());
                let text = fs::read_to_string(&path).unwrap();
                found.extend(tests_in(&text).into_iter().map(|name| format!("{module}{name}")));
            }
        }
    }
    found
}

fn module(file: &Path) -> String {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    parts.retain(|part| !matches!(part.as_str(), "mod" | "main" | "lib"));
    parts.into_iter().map(|part| part + "::").collect()
}

/// The functions that stand below `#[test]` or `#[tokio::test…]`, other attributes between them or not.
fn tests_in(text: &str) -> Vec<String> {
    let (mut names, mut test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            test = true;
        } else if let Some((_, rest)) =
            line.split_once("fn ").filter(|(before, _)| matches!(*before, "" | "async "))
        {
            if std::mem::take(&mut test) {
                names.push(rest.split('(').next().unwrap().to_owned());
            }
        } else if !line.starts_with("#[") {
            test = false;
        }
    }
    names
}

/// The cases of each class that have a row. What has no test in this project says so in its row.
const CLASSES: &[(char, u32, u32)] =
    &[('A', 0, 32), ('B', 1, 17), ('C', 1, 28), ('D', 1, 8), ('E', 1, 25), ('I', 1, 9), ('J', 1, 7)];

/// Cases and the tests they name. A row `A01–A24` is of all of these.
fn rows(table: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let is_row = |line: &&str| {
        let begins: Vec<char> = line.chars().take(4).collect();
        matches!(begins[..], ['|', ' ', 'A'..='Z', '0'..='9'])
    };
    let rows = table.lines().filter(is_row);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [case, _, tests] = cells[..] else { panic!("three cells: {line}") };
        let (first, last) = case.split_once('–').unwrap_or((case, case));
        let number = |case: &str| case[1..].parse::<u32>().unwrap_or_else(|_| panic!("a case: {line}"));
        let cases = (number(first)..=number(last)).map(|n| format!("{}{n:02}", &first[..1])).collect();
        let quoted = tests.trim_end_matches(" |").split('`').skip(1).step_by(2);
        (cases, quoted.map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn every_fault_has_a_test_that_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut all = tests_below(&root.join("tests/it"));
    all.extend(tests_below(&root.join("src")));
    let rows = rows(&fs::read_to_string(root.join("tests/FAULTS.md")).unwrap());
    for (class, from, to) in CLASSES {
        let cases: Vec<&String> =
            rows.iter().flat_map(|(c, _)| c).filter(|c| c.starts_with(*class)).collect();
        let meant: Vec<String> = (*from..=*to).map(|n| format!("{class}{n:02}")).collect();
        assert_eq!(cases, meant.iter().collect::<Vec<_>>());
    }
    // What takes hours, or much of a machine, is a program of its own; what it is called with begins with dashes.
    let program = |test: &String| test.contains('/') && root.join(test).is_file();
    let exists = |test: &String| all.contains(test) || program(test) || test.starts_with("--");
    let missing: Vec<_> = rows.iter().flat_map(|(_, tests)| tests).filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "named in tests/FAULTS.md and nowhere to be found: {missing:#?}");
}

#[test]
fn a_function_that_is_no_test_is_not_taken_for_one() {
    let text = "#[test]\n#[ignore]\nfn one() {\n}\nfn two() {}\n#[tokio::test(start_paused = true)]\nasync fn three() {}\n\
                #[derive(Debug)]\nstruct X;\npub fn four() {}\n";
    assert_eq!(tests_in(text), ["one", "three"]);
    assert_eq!(module(Path::new("limit/admission/tests.rs")), "limit::admission::tests::");
    assert_eq!(module(Path::new("trial/mod.rs")), "trial::");
}
