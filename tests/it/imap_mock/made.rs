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
