//! Campaigns of kills: the program is killed at random until a pass is finished, in each of three passes; its peers live on in
//! processes of their own. Afterwards everything is there once, and a last run writes nothing.
//!
//! `MAILWAVE_KILLS` says how often each pair is killed (quick 40, nightly 400, weekly 2,000): campaigns go on, each from a
//! seed of its own, until that many were made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::imap_client::Client;
use crate::support::process::{EwsProcess, GraphProcess, ImapProcess, Running};
use crate::support::tier::{Tier, number, seed};
use crate::trial::content::{Content, Scale};
use crate::trial::source::{From, Origin, fingerprint};
use crate::trial::{VirtualClock, address};

const SCALE: Scale = Scale { mailboxes: 3, each: 60 };

/// The target.
enum There {
    Graph(GraphProcess),
    Ews(EwsProcess),
    Imap(ImapProcess),
    Maildir(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Graph,
    Ews,
    Imap,
    Maildir,
}

/// What arrived: mailbox and message → how often. A message by its octets where they are kept, else by its Message-ID.
type Arrived = BTreeMap<(String, String), usize>;

/// One migration in a directory of its own.
struct Campaign {
    home: tempfile::TempDir,
    content: Content,
    origin: Origin,
    there: There,
    _source: Option<ImapProcess>,
}

fn message_id(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let line = head.lines().find_map(|l| l.strip_prefix("Message-ID: "));
    line.unwrap_or("none").trim().to_owned()
}

fn digest(octets: &[u8]) -> String {
    blake3::hash(octets).to_hex().to_string()
}

impl Campaign {
    fn begin(from: From, to: To, seed: u64) -> Campaign {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let content = Content::first(seed, SCALE);
        // A mock IMAP server shows Maildirs.
        let files = if from == From::Imap { From::Maildir } else { from };
        let mut origin = Origin::new(files, &VirtualClock::new(0), dir);
        origin.show(&content);
        let imap = |section: &str, port: u16| {
            format!(
                "[{section}]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n\
                 password = {{ file = \"secret\" }}\n"
            )
        };
        let (source, mut config) = match from {
            From::Imap => {
                let server = ImapProcess::start(dir, Some("from"));
                let config = imap("source.old", server.port);
                (Some(server), config)
            }
            From::Maildir | From::Memory => {
                (None, "[source.old]\nkind = \"maildir\"\nroot = \"from\"\n".to_owned())
            }
            From::Mbox => (None, "[source.old]\nkind = \"mbox\"\nroot = \"from\"\n".to_owned()),
        };
        let latency = json!({ "base_ms": 10, "jitter_ms": 20 });
        let there = match to {
            To::Graph => There::Graph(GraphProcess::start(dir, &json!({ "seed": seed, "latency": latency }))),
            To::Ews => There::Ews(EwsProcess::start(dir, &json!({ "seed": seed, "latency": latency }))),
            To::Imap => There::Imap(ImapProcess::start(dir, None)),
            To::Maildir => There::Maildir(dir.join("to")),
        };
        config += &match &there {
            There::Graph(graph) => format!(
                "[target.new]\nkind = \"graph\"\ntenant = \"contoso\"\nclient_id = \"mover\"\n\
                 client_secret = {{ file = \"secret\" }}\nbase_url = \"{0}/v1.0\"\nauthority = \"{0}\"\n",
                graph.base_url
            ),
            There::Ews(ews) => format!(
                "[target.new]\nkind = \"ews\"\nurl = \"{}\"\nuser = 'EXAMPLE\\migrator'\n\
                 password = {{ file = \"secret\" }}\nbatch_messages = 3\n",
                ews.url
            ),
            There::Imap(imap_there) => imap("target.new", imap_there.port),
            There::Maildir(_) => "[target.new]\nkind = \"maildir\"\nroot = \"to\"\n".to_owned(),
        };
        fs::write(
            dir.join("mailwave.toml"),
            format!("source_name = \"acme\"\n[run]\nsettle = \"100ms\"\n{config}"),
        )
        .unwrap();
        fs::write(dir.join("secret"), "secret\n").unwrap();
        fs::set_permissions(dir.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let rows: String = content.mailboxes.iter().map(|m| format!("{m},{}\n", address(m))).collect();
        fs::write(dir.join("mailboxes.csv"), format!("source,target\n{rows}")).unwrap();
        Campaign { home, content, origin, there, _source: source }
    }

    fn dir(&self) -> &Path {
        self.home.path()
    }

    /// What should be at the target.
    fn wanted(&self) -> Arrived {
        let octets = matches!(self.there, There::Imap(_) | There::Maildir(_));
        self.content.items.iter().fold(Arrived::new(), |mut all, item| {
            let name = if octets { digest(&item.octets) } else { message_id(&item.octets) };
            *all.entry((address(item.mailbox), name)).or_default() += 1;
            all
        })
    }

    /// What is there, and something that is another whenever something was written.
    fn arrived(&self) -> (Arrived, String) {
        let known: BTreeSet<String> = self.content.items.iter().map(|i| message_id(&i.octets)).collect();
        let by_id = |id: &str| if known.contains(id) { id.to_owned() } else { "none".to_owned() };
        let (mut all, mut stamps) = (Arrived::new(), BTreeSet::new());
        let mut stamped = |stamp: &str| {
            assert!(stamp.ends_with("/done"), "incomplete: {stamp}");
            assert!(stamps.insert(stamp.to_owned()), "twice: {stamp}");
        };
        let state = match &self.there {
            There::Graph(graph) => {
                let truth = graph.settled();
                assert_eq!(truth.counters.violations, BTreeMap::new());
                for (mailbox, held) in &truth.mailboxes {
                    for m in held.folders.values().flat_map(|f| &f.messages) {
                        m.named.values().for_each(|s| stamped(s));
                        *all.entry((mailbox.clone(), by_id(&m.internet_message_id))).or_default() += 1;
                    }
                }
                truth.counters.writes().to_string()
            }
            There::Ews(ews) => {
                let truth = ews.settled();
                assert_eq!(truth.counters.violations, BTreeMap::new());
                for (mailbox, held) in &truth.mailboxes {
                    let folders = held.folders.iter().filter(|(path, _)| !path.contains("Recoverable Items"));
                    for m in folders.flat_map(|(_, f)| &f.messages) {
                        let ours =
                            m.named.values().flatten().find(|v| v.starts_with("mw1.")).expect("a stamp");
                        assert!(stamps.insert(ours.clone()), "twice: {ours}");
                        *all.entry((mailbox.clone(), by_id(&m.internet_message_id))).or_default() += 1;
                    }
                }
                truth.counters.writes().to_string()
            }
            There::Imap(imap) => {
                let mut state = String::new();
                for mailbox in &self.content.mailboxes {
                    let mut client = Client::login(imap.port, &address(mailbox), "secret", "", '/');
                    for folder in folders(&mut client) {
                        let names: Vec<&str> = folder.iter().map(String::as_str).collect();
                        if names == ["Trash"] || client.examine(&names).1 == 0 {
                            continue;
                        }
                        let (answer, _) = client.run(&[b"UID FETCH 1:* (FLAGS BODY.PEEK[])"]);
                        state += &format!("{mailbox} {names:?} {}\n", digest(&answer));
                        for octets in literals(&answer) {
                            *all.entry((address(mailbox), digest(octets))).or_default() += 1;
                        }
                    }
                }
                state
            }
            There::Maildir(root) => {
                for mailbox in self.content.mailboxes.iter().map(|m| address(m)) {
                    let below = fs::read_dir(root.join(&mailbox)).unwrap().map(|e| e.unwrap().path());
                    let folders = below.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with('.'));
                    for dir in folders.chain([root.join(&mailbox)]) {
                        for sub in ["cur", "new"] {
                            for entry in fs::read_dir(dir.join(sub)).into_iter().flatten() {
                                let octets = fs::read(entry.unwrap().path()).unwrap();
                                *all.entry((mailbox.clone(), digest(&octets))).or_default() += 1;
                            }
                        }
                    }
                }
                fingerprint(root)
            }
        };
        (all, state)
    }

    #[track_caller]
    fn is_whole(&self) {
        let (arrived, wanted) = (self.arrived().0, self.wanted());
        for (message, count) in &wanted {
            assert_eq!(arrived.get(message), Some(count), "{message:?}");
        }
        assert_eq!(arrived.len(), wanted.len(), "nothing else is there");
    }
}

/// The folders of a mailbox, by a plain LIST.
fn folders(client: &mut Client) -> Vec<Vec<String>> {
    let (answer, _) = client.run(&[b"LIST \"\" \"*\""]);
    let text = String::from_utf8(answer).expect("names in ASCII");
    let held = text.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.contains("\\noselect") && !line.contains("\\nonexistent")
    });
    let names = held.filter_map(|line| line.split_once("\"/\" ")).map(|(_, name)| name.trim_matches('"'));
    names.map(|name| client.levels(name.as_bytes())).collect()
}

/// The octets of the literals in an answer.
fn literals(mut answer: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(at) = answer.windows(8).position(|w| w == b"BODY[] {") {
        answer = &answer[at + 8..];
        let end = answer.iter().position(|b| *b == b'}').expect("an end");
        let len: usize = std::str::from_utf8(&answer[..end]).unwrap().parse().unwrap();
        all.push(&answer[end + 3..end + 3 + len]);
        answer = &answer[end + 3 + len..];
    }
    all
}

/// Kills of one pair; how many are left, and the longest time a run is given now.
struct Killer {
    dice: fastrand::Rng,
    left: u64,
    span: Duration,
}

impl Killer {
    /// Runs, kills, runs again, until a pass is finished; what it says at its end.
    fn pass(&mut self, dir: &Path, more: &[&str]) -> serde_json::Value {
        for row in 1.. {
            assert!(row < 1_000, "the pass never finishes");
            let mut run = Running::with(dir, "run", more);
            if self.left > 0 {
                let until =
                    Instant::now() + Duration::from_micros(self.dice.u64(0..=self.span.as_micros() as u64));
                while Instant::now() < until && run.ended().is_none() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if run.ended().is_none() && run.kill_or_ended().is_none() {
                    self.left -= 1;
                    if row % 6 == 0 {
                        self.span = self.span * 5 / 4;
                    }
                    continue;
                }
                self.span = (self.span * 3 / 4).max(Duration::from_millis(40));
            }
            let (code, json, err) = run.end();
            assert_eq!(code, 0, "{json}\n{err}");
            return json;
        }
        unreachable!("a run ends")
    }
}

fn campaigns(from: From, to: To) {
    let kills = number("MAILWAVE_KILLS").unwrap_or(match Tier::now() {
        Tier::Quick => 40,
        Tier::Nightly => 400,
        Tier::Weekly => 2_000,
    });
    let first = seed(|| fastrand::u64(..));
    let dice = fastrand::Rng::with_seed(first);
    let mut killer = Killer { dice, left: kills, span: Duration::from_millis(400) };
    let mut rows = Vec::new();
    while killer.left > 0 {
        let before = killer.left;
        let seed = first.wrapping_add(rows.len() as u64);
        println!("{from:?} → {to:?}: campaign {} with seed {seed}, {before} kills to go", rows.len() + 1);
        let mut campaign = Campaign::begin(from, to, seed);
        for pass in 0..3 {
            if pass > 0 {
                campaign.content.change(pass);
                campaign.origin.show(&campaign.content);
            }
            killer.pass(campaign.dir(), if pass == 2 { &["--final"] } else { &[] });
            campaign.is_whole();
        }
        rows.push(before - killer.left);
        let (code, told, err) = Running::with(campaign.dir(), "run", &["--final"]).end();
        assert_eq!(code, 0, "{told}\n{err}");
        let state = campaign.arrived().1;
        let (code, told, err) = Running::with(campaign.dir(), "run", &["--final"]).end();
        assert_eq!(code, 0, "{told}\n{err}");
        for written in ["stored", "moved", "removed", "reflagged", "skipped", "unknown"] {
            assert_eq!(told["messages"][written], 0, "{written}: {told}");
        }
        assert_eq!(campaign.arrived().1, state, "the last run writes nothing");
        campaign.is_whole();
    }
    println!("{from:?} → {to:?}: {kills} kills in {} campaigns: {rows:?}", rows.len());
}

#[test]
fn from_imap_to_graph_every_campaign_of_kills_ends_with_every_message_once() {
    campaigns(From::Imap, To::Graph);
}

#[test]
fn from_maildir_to_imap_every_campaign_of_kills_ends_with_every_message_once() {
    campaigns(From::Maildir, To::Imap);
}

#[test]
fn from_maildir_to_ews_every_campaign_of_kills_ends_with_every_message_once() {
    campaigns(From::Maildir, To::Ews);
}

#[test]
fn from_mbox_to_maildir_every_campaign_of_kills_ends_with_every_message_once() {
    campaigns(From::Mbox, To::Maildir);
}

#[test]
fn from_imap_to_imap_every_campaign_of_kills_ends_with_every_message_once() {
    campaigns(From::Imap, To::Imap);
}
