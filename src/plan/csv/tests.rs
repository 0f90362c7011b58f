use super::*;
use std::path::Path;

const CONFIG: &str = r#"source_name = "acme"
[source.old]
kind = "maildir"
root = "in"
[target.new]
kind = "maildir"
root = "out"
"#;

fn settings(text: &str) -> Settings {
    crate::config::parse(Path::new("mailwave.toml"), text).expect("right").settings
}

fn wrong(csv: &str) -> Vec<String> {
    match parse(&settings(CONFIG), csv.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(all) => all.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_plain_list_gives_its_mailboxes() {
    let plan = parse(
        &settings(CONFIG),
        "\u{feff}target,source,priority,wave\r\n# talk\r\na2,a,,pilot\r\n\"b,2\",b,7,\r\n".as_bytes(),
    )
    .expect("right");
    let names: Vec<_> =
        plan.mailboxes().into_iter().map(|m| (m.source, m.target, m.source_endpoint)).collect();
    assert_eq!(names, [("b".into(), "b,2".into(), "old".into()), ("a".into(), "a2".into(), "old".into())]);
    assert_eq!(plan.rows[0].mailbox.wave, "pilot");
    assert_eq!(plan.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_mailbox_named_twice_is_refused_with_both_lines() {
    assert_eq!(
        wrong("source,target\na,x\nb,y\na,z\nc,y\n"),
        [
            "mailboxes.csv:4: this source mailbox is in line 2 already — remove one of the two rows; one mailbox is moved once",
            "mailboxes.csv:5: this target and place is in line 3 already — give one of the two rows another `target_place`, or remove it",
        ]
    );
    assert_eq!(wrong("source,target,target_place\na,x,\nb,x,From B\n"), Vec::<String>::new());
}

#[test]
fn hostile_and_broken_lists_are_refused_line_by_line() {
    for (csv, error) in [
        (
            "target",
            "mailboxes.csv:1: the column `source` is missing — begin the file with the line `source,target`",
        ),
        ("source,tagret\n", "mailboxes.csv:1: the column \"tagret\" is not known — did you mean `target`?"),
        (
            "source,target,target\n",
            "mailboxes.csv:1: the column `target` is there twice — remove one of them",
        ),
        (
            "source,target\n",
            "mailboxes.csv: no mailbox is named — add a line `source,target` for each mailbox",
        ),
        ("source,target\na,\n", "mailboxes.csv:2: `target` is empty — name the mailbox, or remove the row"),
        ("source,target\na\n", "mailboxes.csv:2: `target` is empty — name the mailbox, or remove the row"),
        (
            "source,target\na,b,c\n",
            "mailboxes.csv:2: the row has more fields than the first line names — quote fields that hold a comma",
        ),
        (
            "source,target\na\x1b[31m,b\n",
            "mailboxes.csv:2: `source` holds control or invisible characters, or is longer than 1024 bytes — write the plain name",
        ),
        (
            "source,target,priority\na,b,high\n",
            "mailboxes.csv:2: `priority` is not a whole number — larger numbers go first; leave it empty for 0",
        ),
        (
            "source,target,bytes\na,b,5 GB\n",
            "mailboxes.csv:2: `bytes` is not a whole number of 0 or more — leave it empty if it is not known",
        ),
        (
            "source,target,source_endpoint\na,b,odl\n",
            "mailboxes.csv:2: no `[source.odl]` is configured — did you mean `old`?",
        ),
    ] {
        assert_eq!(wrong(csv), [error], "{csv:?}");
    }
    let latin1 = parse(&settings(CONFIG), b"source,target\n\xe4,b\n").expect_err("not UTF-8");
    assert_eq!(latin1[0].what, "mailboxes.csv:2: the line is not UTF-8 text");
}

#[test]
fn a_list_may_say_what_mailboxes_hold() {
    let plan = parse(&settings(CONFIG), b"source,target,messages,bytes\na,a,7,900\nb,b,,5\nc,c,,\n");
    let sizes = plan.expect("right").rows.into_iter().map(|row| row.size);
    let size = |messages, bytes| Some(Load { messages, bytes });
    assert_eq!(sizes.collect::<Vec<_>>(), [size(7, 900), size(0, 5), None]);
}

#[test]
fn several_endpoints_want_to_be_named() {
    let two = settings(&format!("{CONFIG}[source.second]\nkind = \"mbox\"\nroot = \"m\"\n"));
    let e = parse(&two, b"source,target\na,b\n").expect_err("which one?");
    assert_eq!(
        e[0].to_string(),
        "mailboxes.csv:2: `source_endpoint` is empty and there are several — write one of old, second into the column `source_endpoint`"
    );
}

#[test]
fn addresses_of_servers_are_the_same_in_any_case() {
    let imap = settings(&CONFIG.replace(
        "kind = \"maildir\"\nroot = \"in\"",
        "kind = \"imap\"\nhost = \"h\"\npassword = { env = \"X\" }",
    ));
    let e = parse(&imap, b"source,target\nAnn@x,a\nann@x,b\n").expect_err("twice");
    assert!(e[0].what.contains("line 2 already"));
}

#[test]
fn rows_are_selected_by_name_pseudonym_line_and_wave() {
    let plan = parse(&settings(CONFIG), b"source,target,wave\na,a,1\nb,b,1\nc,c,2\n").expect("right");
    let key = plan.rows[1].mailbox.key.to_string();
    let picked = plan.clone().select(&["a".into(), key, "line:4".into()], None).expect("there");
    assert_eq!(picked.rows.len(), 3);
    assert_eq!(plan.clone().select(&[], Some("2")).expect("there").rows.len(), 1);
    assert!(plan.clone().select(&["zzz".into()], None).is_err());
    assert!(plan.select(&[], Some("9")).is_err());
}

#[test]
fn errors_are_bounded() {
    let many: String = (0..1000).map(|n| format!("a{n},\n")).collect();
    assert_eq!(wrong(&format!("source,target\n{many}")).len(), MOST_ERRORS + 1);
}

proptest::proptest! {
    #[test]
    fn foreign_octets_never_panic(octets: Vec<u8>) {
        let _ = parse(&settings(CONFIG), &octets);
        let _ = parse(&settings(CONFIG), &[b"source,target\n", octets.as_slice()].concat());
    }
}
