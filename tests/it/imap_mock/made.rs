//! Mail that a law makes up, as a client sees it.

use mailwave::mock::imap::made::Law;

use super::*;

#[tokio::test]
async fn mail_made_up_by_a_law_is_listed_and_fetched_as_the_law_tells_and_forgotten_when_nobody_looks() {
    let law = Law { mailboxes: 1_000_000, ..Law::default() };
    let mock = ImapMock::new(ImapOptions::default(), Arc::new(StillWorld));
    mock.serve_made(law.clone());
    let folders = law.folders(777_777);
    let first = law.message(777_777, 0, 1);
    for _ in 0..2 {
        let (near, far) = tokio::io::duplex(1 << 20);
        let served = tokio::spawn(mock.clone().serve_connection(far));
        let (mut read, mut write) = tokio::io::split(near);
        let say = b"1 LOGIN u777777 any\r\n2 LIST \"\" *\r\n3 EXAMINE INBOX\r\n\
                    4 UID FETCH 1 (RFC822.SIZE)\r\n5 UID FETCH 1 (BODY.PEEK[])\r\n6 LOGOUT\r\n";
        write.write_all(say).await.unwrap();
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.unwrap();
        served.await.unwrap();
        let text = String::from_utf8_lossy(&heard);
        for folder in &folders {
            assert!(text.contains(&folder.name), "{} in {text}", folder.name);
        }
        assert!(text.contains(&format!("* {} EXISTS", folders[0].messages)), "{text}");
        assert!(text.contains(&format!("RFC822.SIZE {}", first.size())), "{text}");
        let octets = first.octets();
        assert!(heard.windows(octets.len()).any(|some| some == octets), "the octets are those of the law");
        assert_eq!(mock.store().users(), Vec::<String>::new(), "nothing is kept");
    }
    // What a client changed stays.
    let (near, far) = tokio::io::duplex(1 << 20);
    let served = tokio::spawn(mock.clone().serve_connection(far));
    let (mut read, mut write) = tokio::io::split(near);
    let say = b"1 LOGIN u000002 any\r\n2 LOGIN u00002 any\r\n3 LOGOUT\r\n";
    write.write_all(say).await.unwrap();
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.unwrap();
    served.await.unwrap();
    assert_eq!(mock.store().users(), ["u000002"], "a user that is none of the law's has an INBOX, as ever");
    let (near, far) = tokio::io::duplex(1 << 20);
    let served = tokio::spawn(mock.clone().serve_connection(far));
    let (mut read, mut write) = tokio::io::split(near);
    let say = b"1 LOGIN u00002 any\r\n2 SELECT INBOX\r\n3 STORE 1 FLAGS ($Kept)\r\n4 LOGOUT\r\n";
    write.write_all(say).await.unwrap();
    read.read_to_end(&mut heard).await.unwrap();
    served.await.unwrap();
    assert_eq!(mock.store().flags("u00002", "INBOX", 1), Some(vec!["$Kept".to_owned()]));
}

/// What a client hears that says this and hangs up.
async fn said(law: &Law, words: &str) -> String {
    let options = ImapOptions::default().offering("CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS");
    let mock = ImapMock::new(options, Arc::new(StillWorld));
    mock.serve_made(law.clone());
    let (near, far) = tokio::io::duplex(1 << 20);
    let served = tokio::spawn(mock.clone().serve_connection(far));
    let (mut read, mut write) = tokio::io::split(near);
    write.write_all(words.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.unwrap();
    served.await.unwrap();
    assert_eq!(mock.store().users(), Vec::<String>::new(), "a mailbox that has drifted is forgotten as well");
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_generation_later_counters_and_changes_are_told_as_by_a_server_that_went_on() {
    let before = Law { mailboxes: 100, messages_least: 60, ..Law::default() };
    let after = Law { drift: vec![0.2], ..before.clone() };
    let (mut gone, mut changed) = (0, 0);
    for n in 0..20 {
        let user = Law::user(n);
        let words = format!(
            "1 LOGIN {user} any\r\n2 LIST \"\" INBOX RETURN (STATUS (MESSAGES UIDNEXT HIGHESTMODSEQ))\r\n3 LOGOUT\r\n"
        );
        let status = |heard: &str| -> Vec<u64> {
            let line = heard.lines().find(|l| l.starts_with("* STATUS")).unwrap().to_owned();
            let numbers = line.split(['(', ')', ' ']).filter_map(|word| word.parse().ok());
            numbers.collect()
        };
        let (then, now) = (status(&said(&before, &words).await), status(&said(&after, &words).await));
        let [messages, next, modseq] = then[..] else { panic!("{then:?}") };
        assert_eq!(next, messages + 1);
        // What a client that knows the mailbox as it was is told when it comes back.
        let validity = said(&before, &format!("1 LOGIN {user} any\r\n2 EXAMINE INBOX\r\n3 LOGOUT\r\n")).await;
        let validity = validity.split("UIDVALIDITY ").nth(1).unwrap().split(']').next().unwrap().to_owned();
        let words = format!(
            "1 LOGIN {user} any\r\n2 ENABLE QRESYNC\r\n3 EXAMINE INBOX (QRESYNC ({validity} {modseq} 1:{messages}))\r\n4 LOGOUT\r\n"
        );
        let heard = said(&after, &words).await;
        let vanished: u64 = heard
            .lines()
            .filter_map(|l| l.strip_prefix("* VANISHED (EARLIER) "))
            .map(|set| {
                let ends = |part: &str| -> Vec<u64> { part.split(':').map(|n| n.parse().unwrap()).collect() };
                set.split(',').map(|part| ends(part).last().unwrap() - ends(part)[0] + 1).sum::<u64>()
            })
            .sum();
        let told = heard.lines().filter(|l| l.contains(" FETCH (UID ")).count() as u64;
        assert_eq!(now[0], messages - vanished + (now[1] - next), "{heard}");
        assert_eq!(now[2], modseq + (now[1] - next) + vanished + told, "each change is one step: {heard}");
        (gone, changed) = (gone + vanished, changed + told);
    }
    assert!(gone > 0 && changed > 0, "{gone} vanished, {changed} with other flags");
}
