//! The layers of the crate, enforced: who may use whom (ARCHITECTURE.md).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → modules it may name with `crate::`. `model` depends on nothing; `source` and `target` know neither each
/// other nor the ledger; only `engine` knows all; the mocks depend on the model only.
const MAY_USE: &[(&str, &[&str])] = &[
    ("env", &[]),
    ("model", &[]),
    ("guard", &["model"]),
    ("http", &["env", "model", "guard"]),
    ("imap", &["env", "model", "guard"]),
    ("transform", &["model", "guard"]),
    ("limit", &["env", "model"]),
    ("source", &["env", "model", "guard", "imap", "limit", "transform"]),
    ("target", &["env", "model", "guard", "http", "imap", "limit", "transform"]),
    ("ledger", &["env", "model", "guard"]),
    ("plan", &["env", "model", "guard", "config"]),
    ("config", &["model", "guard", "limit"]),
    (
        "engine",
        &["env", "model", "guard", "limit", "source", "target", "ledger", "plan", "transform", "verify"],
    ),
    ("verify", &["env", "model", "target", "ledger", "limit"]),
    ("report", &["env", "model", "guard", "ledger"]),
    ("observe", &["env", "model", "guard"]),
    ("simulate", &["env", "model", "limit", "plan", "engine", "ledger", "observe"]),
    ("mock", &["model"]),
];

#[test]
fn every_module_uses_only_the_modules_below_it() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in rust_files(&root) {
        let relative = file.strip_prefix(&root).expect("readable");
        let module =
            relative.components().next().expect("readable").as_os_str().to_string_lossy().replace(".rs", "");
        let Some(allowed) = rules.get(module.as_str()) else { continue };
        seen += 1;
        for (number, line) in fs::read_to_string(&file).expect("readable").lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue; // a doc link is not a dependency
            }
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used != module && rules.contains_key(used.as_str()) && !allowed.contains(&used.as_str()) {
                    wrong.push(format!(
                        "{}:{}: {module} must not use {used}",
                        relative.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(seen > 20, "the walk found the sources");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&root) {
        let relative = file.strip_prefix(&root).expect("readable").to_path_buf();
        if relative.starts_with("cli") || relative.starts_with("main.rs") {
            continue;
        }
        for (number, line) in fs::read_to_string(&file).expect("readable").lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//")
                && ["println!", "eprintln!", "print!(", "dbg!"].iter().any(|p| code.contains(p))
            {
                wrong.push(format!("{}:{}", relative.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "the library never prints: {}", wrong.join(", "));
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
