//! `check` beside a run that uses every connection its source may have: both together stay within the cap and the pace of
//! log-ins, and both end well.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use mailwave::env::Env;
use mailwave::mock::imap::{ImapMock, ImapOptions, ImapServer, InternalDate};
use mailwave::mock::server::RealWorld;
use mailwave::source::Source;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource};
use serde_json::{Value, json};

use crate::bad_input::desk::{Desk, MAILDIR_TARGET, mail};
use crate::cli::said;
use crate::support::process::{Running, until};

const MAILBOXES: usize = 8;
const FOLDERS: usize = 60;

/// A distant server on one thread: a connection that ended is counted as ended before the next one begins.
struct Distant {
    mock: Arc<ImapMock>,
    server: ImapServer,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Distant {
    fn start() -> Distant {
        let options = ImapOptions { latency: Duration::from_millis(20), ..ImapOptions::default() };
        let mock = ImapMock::new(options, Arc::new(RealWorld));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(mock.clone().listen("127.0.0.1:0", None)).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Distant { mock, server, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Distant {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Mailboxes of many small folders at a server that takes four connections.
fn desk(distant: &Distant) -> Desk {
    let mut rows = "source,target\n".to_owned();
    for n in 0..MAILBOXES {
        let user = format!("canary{n}");
        rows.push_str(&format!("{user},{user}\n"));
        let mut store = distant.mock.store();
        for folder in 0..FOLDERS {
            let name = format!("f{folder:02}");
            store.add(&user, &name, mail(&user, folder), &["\\Seen"], InternalDate::utc(1_200_000_000));
        }
    }
    let config = format!(
        "[source.old]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\nmax_connections = 4\n\
         password = {{ file = \"pw\" }}\n{MAILDIR_TARGET}sync = \"never\"\n",
        distant.server.addr.port()
    );
    let desk = Desk::new(&config, &rows);
    desk.secret("pw", "canary-password\n");
    desk
}

/// A run that uses all four.
fn busy(desk: &Desk, distant: &Distant) -> Running {
    let mut run = Running::start(&desk.path(""));
    until("the run to use all connections", || {
        assert!(run.ended().is_none(), "it ended: {}", run.talk());
        let counters = distant.mock.counters();
        (counters.open == 4 && counters.messages_served > 10).then_some(())
    });
    run
}

#[test]
fn check_beside_a_run_that_uses_all_connections_has_no_connection_more_and_both_end_well() {
    let distant = Distant::start();
    let desk = desk(&distant);
    let mut run = busy(&desk, &distant);
    let check = said(&desk.path(""), &["check", "mailwave.toml", "--json", "--log", "info"]);
    assert_eq!(check.code, 0, "{}\n{}", check.out, check.err);
    assert!(check.err.contains("its permits are borrowed"), "{}", check.err);
    let told: Value = serde_json::from_str(&check.out).unwrap();
    assert_eq!(told["failed"], 0, "{told}");
    assert!(run.ended().is_none(), "the run was over before the check was: {}", run.talk());
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(json["messages"]["stored"], MAILBOXES * FOLDERS);
    assert_eq!(distant.mock.counters().most_open, 4, "never more");
    for n in 0..MAILBOXES {
        assert_eq!(desk.arrived(&format!("canary{n}")).len(), FOLDERS);
    }
}

/// One who borrows over the control socket, by hand.
struct Guest(BufReader<UnixStream>);

impl Guest {
    fn come(desk: &Desk) -> Guest {
        let stream = UnixStream::connect(desk.path("mailwave-ledger/control.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut guest = Guest(BufReader::new(stream));
        guest.say(&json!({ "v": 1, "verb": "lend" }));
        assert_eq!(guest.hear()["ok"]["places"], true);
        guest
    }

    fn say(&mut self, line: &Value) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    fn asks(&mut self, id: u64, source: &str) {
        self.say(&json!({ "id": id, "place": { "source": source } }));
    }
}

#[test]
fn a_place_ends_with_the_socket_it_was_lent_over_and_a_quarter_of_them_is_lent_at_most() {
    let distant = Distant::start();
    let desk = desk(&distant);
    let run = busy(&desk, &distant);
    let mut guest = Guest::come(&desk);
    guest.asks(1, "old");
    assert_eq!(guest.hear(), json!({ "id": 1 }), "one of four, though all were in use");
    let mut second = Guest::come(&desk);
    second.asks(7, "old");
    // It waits; what needs no place is answered meanwhile.
    second.asks(8, "elsewhere");
    assert_eq!(second.hear(), json!({ "id": 8, "none": true }));
    drop(guest);
    assert_eq!(second.hear(), json!({ "id": 7 }), "the place of one who is gone");
    second.asks(9, "old");
    second.say(&json!({ "id": 7, "done": [] }));
    assert_eq!(second.hear(), json!({ "id": 9 }), "the place that was given back");
    // What cannot be is hung up on, and costs the run nothing.
    second.say(&json!({ "id": 9, "place": { "source": "old" }, "done": [] }));
    assert_eq!(second.hear(), Value::Null);
    let (code, json, talk) = run.end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(json["messages"]["stored"], MAILBOXES * FOLDERS);
    assert!(distant.mock.counters().most_open <= 4);
}

#[tokio::test(start_paused = true)]
async fn log_ins_of_both_together_keep_the_pause_between_two() {
    let env = Env::system();
    let mut settings = ImapSettings::new("127.0.0.1", Credentials::Fixed { password: "x".into() });
    settings.server.login_interval = Duration::from_secs(1);
    settings.server.max_connections = 8;
    let source = ImapSource::new(env.clone(), settings).unwrap();
    let begun = env.now();
    let mut at = Vec::new();
    for _ in 0..4 {
        let place = source.lend().await.expect("lent");
        at.push(env.now().saturating_sub(begun).as_secs());
        drop(place);
    }
    assert_eq!(at, [0, 1, 2, 3]);
    // Nothing listens at the port: what is measured is when the run's own log-in begins.
    let _ = source.open("ann").await;
    assert_eq!(env.now().saturating_sub(begun).as_secs(), 4);
}
