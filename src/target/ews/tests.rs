//! The client against scripted answers: what it sends, and what it makes of what comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::http::{Delivery, InProcess};
use crate::model::{Body, FolderId, FolderPath, Form, MailboxKey, SourceName, Stamp};

type Answer = Box<dyn FnOnce(&str) -> Delivery + Send>;

/// A server that answers as it was told, and remembers what it was asked.
#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    /// (`Authorization`, `X-AnchorMailbox`, body)
    asked: Vec<(Option<String>, Option<String>, String)>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    fn then(&self, answer: impl FnOnce(&str) -> Delivery + Send + 'static) -> &Server {
        self.0.lock().expect("script").answers.push_back(Box::new(answer));
        self
    }

    fn says(&self, body: String) -> &Server {
        self.then(move |_| delivered(200, &[], body))
    }

    fn asked(&self) -> Vec<(Option<String>, Option<String>, String)> {
        self.0.lock().expect("script").asked.clone()
    }

    fn ops(&self) -> Vec<String> {
        let op = |body: &str| {
            let at = body.find("<s:Body><m:").expect("a body") + 11;
            body[at..].chars().take_while(char::is_ascii_alphanumeric).collect()
        };
        self.asked().iter().map(|(_, _, body)| op(body)).collect()
    }

    fn last(&self) -> String {
        self.asked().pop().expect("a request").2
    }

    fn target(&self, change: impl FnOnce(&mut EwsSettings)) -> EwsTarget {
        let script = self.0.clone();
        let http = InProcess::new(&Env::system(), move |request| {
            let mut script = script.lock().expect("script");
            let field = |name: &str| {
                request.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            };
            let body = String::from_utf8(request.body().to_vec()).expect("UTF-8");
            script.asked.push((field("authorization"), field("x-anchormailbox"), body.clone()));
            let answer = script.answers.pop_front();
            let delivery = answer.map_or_else(|| panic!("not expected: {body}"), |answer| answer(&body));
            async move { delivery }
        });
        let login = EwsLogin::Basic { user: "EX\\migrator".to_owned(), password: "secret".into() };
        let mut settings = EwsSettings::new("https://mail.example.org/EWS/Exchange.asmx", login);
        change(&mut settings);
        EwsTarget::new(&Env::system(), Arc::new(http), settings).expect("settings")
    }

    /// A mailbox opened after the usual challenge.
    async fn open(&self, change: impl FnOnce(&mut EwsSettings)) -> Arc<dyn TargetMailbox> {
        self.then(|_| challenge("Basic realm=\"x\"")).says(roots());
        let target = self.target(change);
        target.open("ann@example.org", "", Gate::unlimited(&Env::system())).await.expect("open")
    }
}

fn delivered(status: u16, fields: &[(&str, &str)], body: String) -> Delivery {
    let mut answer = http::Response::builder().status(status);
    for (name, value) in fields {
        answer = answer.header(*name, *value);
    }
    Delivery::Answered(answer.body(Bytes::from(body)).expect("an answer"))
}

fn challenge(offer: &str) -> Delivery {
    delivered(401, &[("WWW-Authenticate", offer)], String::new())
}

fn response(op: &str, messages: &[String]) -> String {
    format!(
        "<s:Envelope xmlns:s=\"s\" xmlns:m=\"m\" xmlns:t=\"t\"><s:Body><m:{op}Response><m:ResponseMessages>{}\
         </m:ResponseMessages></m:{op}Response></s:Body></s:Envelope>",
        messages.concat()
    )
}

fn done(op: &str, inner: &str) -> String {
    format!(
        "<m:{op}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inner}</m:{op}ResponseMessage>"
    )
}

fn failed(op: &str, code: &str) -> String {
    let class = if code == "ErrorBatchProcessingStopped" { "Warning" } else { "Error" };
    format!(
        "<m:{op}ResponseMessage ResponseClass=\"{class}\"><m:MessageText>no</m:MessageText>\
         <m:ResponseCode>{code}</m:ResponseCode></m:{op}ResponseMessage>"
    )
}

fn busy(ms: u32) -> String {
    format!(
        "<s:Envelope xmlns:s=\"s\"><s:Body><s:Fault><faultcode>a:ErrorServerBusy</faultcode><detail>\
         <ResponseCode>ErrorServerBusy</ResponseCode><MessageXml><Value Name=\"BackOffMilliseconds\">{ms}</Value>\
         </MessageXml></detail></s:Fault></s:Body></s:Envelope>"
    )
}

fn folder(id: &str) -> String {
    format!("<m:Folders><t:Folder><t:FolderId Id=\"{id}\"/></t:Folder></m:Folders>")
}

fn roots() -> String {
    let ids = ["root", "inbox", "drafts", "sent", "deleted", "junk"];
    response("GetFolder", &ids.map(|id| done("GetFolder", &folder(id))))
}

/// (id, parent, name, class)
fn tree(folders: &[(&str, &str, &str, &str)]) -> String {
    let list: String = folders
        .iter()
        .map(|(id, parent, name, class)| {
            format!(
                "<t:Folder><t:FolderId Id=\"{id}\"/><t:ParentFolderId Id=\"{parent}\"/>\
                 <t:FolderClass>{class}</t:FolderClass><t:DisplayName>{name}</t:DisplayName></t:Folder>"
            )
        })
        .collect();
    let total = folders.len();
    response(
        "FindFolder",
        &[done(
            "FindFolder",
            &format!(
                "<m:RootFolder TotalItemsInView=\"{total}\" IncludesLastItemInRange=\"true\"><t:Folders>{list}</t:Folders></m:RootFolder>"
            ),
        )],
    )
}

fn created(id: &str) -> String {
    done(
        "CreateItem",
        &format!("<m:Items><t:Message><t:ItemId Id=\"{id}\" ChangeKey=\"c\"/></t:Message></m:Items>"),
    )
}

fn stamp(number: u64) -> Stamp {
    let source: SourceName = "acme".parse().expect("valid");
    Stamp { mailbox: MailboxKey::of(&source, "ann"), source, folder: FolderId(1), epoch: 7, number }
}

fn items(count: u64) -> Vec<StoreItem> {
    (1..=count)
        .map(|n| StoreItem {
            stamp: stamp(n),
            body: Body::from_bytes(Bytes::from(format!("Subject: {n}\r\n\r\n{n}\r\n"))),
            form: Form::Mime,
            flags: Flags::default(),
            received: None,
        })
        .collect()
}

async fn stores(mailbox: &Arc<dyn TargetMailbox>, items: Vec<StoreItem>) -> Vec<Outcome> {
    let ticket = Gate::unlimited(&Env::system()).lookup();
    mailbox.store(&TargetFolderId("inbox".to_owned()), items, ticket).await
}

/// `s` stored, `r` refused, `n` not sent, `u` unknown.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |one: &Outcome| match one {
        Outcome::Stored { .. } => 's',
        Outcome::Refused(_) => 'r',
        Outcome::NotSent(_) => 'n',
        Outcome::Unknown(_) => 'u',
    };
    outcomes.iter().map(letter).collect()
}

fn messages_in(body: &str) -> usize {
    body.matches("<t:Message>").count()
}

fn wanted(names: &[&str]) -> FolderWanted {
    let path = FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).expect("names");
    FolderWanted { path, special: None, subscribed: None }
}

#[tokio::test]
async fn a_password_is_sent_once_the_server_has_asked_for_it_and_with_every_request_then() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[]));
    mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect("nothing found");
    let sent: Vec<_> = server.asked().into_iter().map(|(authorization, ..)| authorization).collect();
    let basic = Some("Basic RVhcbWlncmF0b3I6c2VjcmV0".to_owned());
    assert_eq!(sent, [None, basic.clone(), basic]);
    assert_eq!(mailbox.round_trips(), 3);
}

#[tokio::test]
async fn a_server_that_takes_no_passwords_never_sees_one() {
    let server = Server::default();
    server.then(|_| challenge("Negotiate, NTLM"));
    let gate = Gate::unlimited(&Env::system());
    let error =
        server.target(|_| ()).open("ann@example.org", "", gate).await.map(|_| ()).expect_err("no Basic");
    assert_eq!((error.kind, error.scope), (Kind::Auth, Scope::Endpoint));
    assert!(error.what.contains("Negotiate, NTLM") && !error.remedy.is_empty(), "{error}");
    assert!(server.asked().iter().all(|(authorization, ..)| authorization.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_not_tried_again_for_a_while_by_any_mailbox() {
    let server = Server::default();
    server.then(|_| challenge("Basic")).then(|_| challenge("Basic"));
    let target = server.target(|_| ());
    let gate = || Gate::unlimited(&Env::system());
    for mailbox in ["ann@example.org", "ben@example.org"] {
        let error = target.open(mailbox, "", gate()).await.map(|_| ()).expect_err("refused");
        assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Endpoint, false));
    }
    assert_eq!(server.asked().len(), 2, "one try");
    Env::system().sleep(Duration::from_secs(61)).await;
    server.says(roots());
    target.open("ann@example.org", "", gate()).await.map(|_| ()).expect("the password was put right");
}

#[tokio::test]
async fn an_impersonated_mailbox_is_named_in_head_and_header_and_any_other_in_its_folders() {
    let server = Server::default();
    server.open(|_| ()).await;
    let (_, anchor, body) = server.asked().remove(0);
    assert_eq!(anchor.as_deref(), Some("ann@example.org"));
    assert!(body.contains("<t:PrimarySmtpAddress>ann@example.org</t:PrimarySmtpAddress>"));
    assert!(body.contains("<t:RequestServerVersion Version=\"Exchange2013_SP1\"/>"));
    assert!(!body.contains("EmailAddress>ann@example.org</t:EmailAddress>"));

    let server = Server::default();
    server.open(|settings| settings.impersonation = false).await;
    let body = server.last();
    let own =
        "<t:DistinguishedFolderId Id=\"inbox\"><t:Mailbox><t:EmailAddress>ann@example.org</t:EmailAddress>";
    assert!(body.contains(own) && !body.contains("Impersonation"), "{body}");
}

#[tokio::test]
async fn a_mailbox_is_named_by_an_address_and_nothing_else() {
    let server = Server::default();
    let gate = || Gate::unlimited(&Env::system());
    for name in ["", "a\r\nX-Evil: b", "a\0b", "a\u{ffff}b"] {
        let error = server.target(|_| ()).open(name, "", gate()).await.map(|_| ()).expect_err("no address");
        assert_eq!((error.kind, error.scope), (Kind::Config, Scope::Mailbox), "{name:?}");
    }
    server.says(roots());
    server.target(|_| ()).open("a<b>&c@example.org", "", gate()).await.map(|_| ()).expect("escaped");
    assert!(server.last().contains("a&lt;b&gt;&amp;c@example.org"));
}

#[tokio::test]
async fn each_message_of_a_batch_is_judged_by_itself_and_in_order() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let codes = ["ErrorMimeContentInvalid", "ErrorMessageSizeExceeded", "ErrorInternalServerError"];
    let mut answers = vec![created("a")];
    answers.extend(codes.map(|code| failed("CreateItem", code)));
    answers.push(created("b"));
    server.says(response("CreateItem", &answers));
    let outcomes = stores(&mailbox, items(5)).await;
    assert_eq!(letters(&outcomes), "srrus");
    assert!(
        matches!(&outcomes[0], Outcome::Stored { id, losses, .. } if id == "a" && losses.contains(&"received-made"))
    );
    assert!(matches!(&outcomes[2], Outcome::Refused(e) if e.kind == Kind::TooLarge));
    let body = server.last();
    assert!(body.contains(
        "<m:CreateItem MessageDisposition=\"SaveOnly\"><m:SavedItemFolderId><t:FolderId Id=\"inbox\"/>"
    ));
    assert_eq!(messages_in(&body), 5);
}

#[tokio::test]
async fn an_answer_about_another_number_of_messages_or_without_ids_is_about_nothing() {
    for answers in [
        vec![created("a")],
        vec![created("a"), created("b"), created("c")],
        vec![],
        vec![
            done("CreateItem", ""),
            done("CreateItem", "<m:Items><t:Message><t:ItemId Id=\"a b\"/></t:Message></m:Items>"),
        ],
    ] {
        let server = Server::default();
        let mailbox = server.open(|_| ()).await;
        server.says(response("CreateItem", &answers));
        assert_eq!(letters(&stores(&mailbox, items(2)).await), "uu");
    }
}

#[tokio::test]
async fn what_a_stopped_batch_left_alone_is_sent_again_in_smaller_ones_and_nothing_else() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let stopped = || failed("CreateItem", "ErrorBatchProcessingStopped");
    let mut first = vec![created("1"), created("2"), created("3")];
    first.extend((0..5).map(|_| stopped()));
    server.says(response("CreateItem", &first));
    server.then(|body| {
        assert_eq!(messages_in(body), 4);
        assert!(
            body.contains(&format!("{}/done", stamp(4))) && !body.contains(&format!("{}/done", stamp(3)))
        );
        let made: Vec<String> = (4..=7).map(|n| created(&n.to_string())).collect();
        delivered(200, &[], response("CreateItem", &made))
    });
    server.says(response("CreateItem", &[created("8")]));
    let outcomes = stores(&mailbox, items(8)).await;
    let ids: Vec<_> =
        outcomes.iter().map(|o| matches!(o, Outcome::Stored { id, .. } if id.len() == 1)).collect();
    assert_eq!(ids, [true; 8]);
    assert_eq!(server.0.lock().expect("script").answers.len(), 0);
}

#[tokio::test]
async fn a_server_that_never_comes_to_a_message_is_not_asked_for_ever() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    for _ in 0..4 {
        server.then(|body| {
            let all: Vec<_> =
                (0..messages_in(body)).map(|_| failed("CreateItem", "ErrorBatchProcessingStopped")).collect();
            delivered(200, &[], response("CreateItem", &all))
        });
    }
    assert_eq!(letters(&stores(&mailbox, items(3)).await), "nnn");
}

#[tokio::test]
async fn a_busy_server_gets_nothing_more_and_its_wait_is_told() {
    let server = Server::default();
    let mailbox = server.open(|settings| settings.batch_messages = 2).await;
    server.then(|_| delivered(503, &[], busy(30_000)));
    let outcomes = stores(&mailbox, items(4)).await;
    assert_eq!(letters(&outcomes), "nnnn");
    let waits = outcomes.iter().filter(|o| {
        matches!(o, Outcome::NotSent(e) if e.kind == Kind::Throttled && e.retry_after == Some(Duration::from_secs(30)))
    });
    assert_eq!(waits.count(), 4);
    assert_eq!(server.ops(), ["GetFolder", "GetFolder", "CreateItem"]);
}

#[tokio::test]
async fn a_request_nobody_would_look_at_is_sent_message_by_message_so_that_only_the_culprit_stays_behind() {
    for status in [400, 413] {
        let server = Server::default();
        let mailbox = server.open(|_| ()).await;
        for _ in 0..4 {
            server.then(move |body| {
                if body.contains(&format!("{}/done", stamp(2))) {
                    return delivered(status, &[], String::new());
                }
                delivered(200, &[], response("CreateItem", &[created("x")]))
            });
        }
        assert_eq!(letters(&stores(&mailbox, items(3)).await), "srs", "HTTP {status}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_rest_is_not_sent() {
    for answer in [0, 500, 502, 504, 200] {
        let server = Server::default();
        let mailbox = server.open(|settings| settings.batch_messages = 2).await;
        server.then(move |_| match answer {
            0 => Delivery::NoAnswer,
            status => delivered(status, &[], "<html>".to_owned()),
        });
        let outcomes = stores(&mailbox, items(4)).await;
        assert_eq!(letters(&outcomes), "uunn", "{answer}");
        assert!(
            outcomes.iter().all(|o| matches!(o, Outcome::Unknown(e) | Outcome::NotSent(e) if e.may_pass()))
        );
    }
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.then(|_| Delivery::NeverArrived);
    assert_eq!(letters(&stores(&mailbox, items(2)).await), "nn");
}

#[tokio::test]
async fn a_full_mailbox_and_a_missing_folder_stop_the_batch_with_a_remedy() {
    for (code, kind, scope) in [
        ("ErrorQuotaExceeded", Kind::Quota, Scope::Mailbox),
        ("ErrorFolderNotFound", Kind::NotFound, Scope::Folder),
        ("ErrorInvalidIdMalformed", Kind::NotFound, Scope::Folder),
    ] {
        let server = Server::default();
        let mailbox = server.open(|settings| settings.batch_messages = 2).await;
        server.says(response("CreateItem", &[failed("CreateItem", code), failed("CreateItem", code)]));
        let outcomes = stores(&mailbox, items(3)).await;
        assert!(
            outcomes.iter().all(|o| matches!(o, Outcome::NotSent(e) if (e.kind, e.scope) == (kind, scope))),
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn no_request_has_a_character_xml_cannot_hold() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let mut one = items(1);
    one[0].flags.keywords.insert("a\u{fffe}b".to_owned());
    one[0].flags.keywords.insert("<&>".to_owned());
    server.says(response("CreateItem", &[created("a")]));
    let outcomes = stores(&mailbox, one).await;
    assert!(matches!(&outcomes[0], Outcome::Stored { losses, .. } if losses.contains(&"keyword-dropped")));
    let body = server.last();
    assert!(body.contains("<t:String>&lt;&amp;&gt;</t:String>"));
    assert!(super::tree::Tree::parse(body.as_bytes()).is_some(), "well-formed");
}

#[tokio::test(start_paused = true)]
async fn mail_goes_to_folders_for_mail_and_a_taken_name_gets_a_suffix() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let calendar = ("cal", "root", "Calendar", "IPF.Appointment");
    server.says(tree(&[calendar, ("w", "root", "Work", "IPF.Note")]));
    assert_eq!(mailbox.folder(&wanted(&["Work"])).await.expect("found").0, "w");
    server.says(response("CreateFolder", &[done("CreateFolder", &folder("c2"))]));
    assert_eq!(mailbox.folder(&wanted(&["Calendar"])).await.expect("made").0, "c2");
    let body = server.last();
    assert!(body.contains("<t:FolderClass>IPF.Note</t:FolderClass><t:DisplayName>Calendar~"), "{body}");
    assert_eq!(mailbox.folder(&wanted(&["Calendar"])).await.expect("known").0, "c2");
    // Somebody else makes it at the same moment.
    server.says(response("CreateFolder", &[failed("CreateFolder", "ErrorFolderExists")]));
    server.says(tree(&[calendar, ("n", "root", "New", "IPF.Note")]));
    assert_eq!(mailbox.folder(&wanted(&["New"])).await.expect("found").0, "n");
    // An answer that was lost: it is looked for before it is made again.
    server.then(|_| Delivery::NoAnswer);
    server.says(tree(&[calendar, ("l", "root", "Late", "")]));
    assert_eq!(mailbox.folder(&wanted(&["Late"])).await.expect("found").0, "l");
    assert_eq!(mailbox.folder(&wanted(&["inbox"])).await.expect("well known").0, "inbox");
}

#[tokio::test]
async fn a_name_that_no_listing_shows_is_taken_all_the_same() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let exists = || response("CreateFolder", &[failed("CreateFolder", "ErrorFolderExists")]);
    server.says(tree(&[])).says(exists()).says(tree(&[])).says(exists()).says(tree(&[]));
    server.then(|body| {
        assert!(body.contains("<t:DisplayName>Ghost~"), "{body}");
        delivered(200, &[], response("CreateFolder", &[done("CreateFolder", &folder("g"))]))
    });
    assert_eq!(mailbox.folder(&wanted(&["Ghost"])).await.expect("made").0, "g");
}

/// One message as found.
fn found(id: &str, number: u64) -> String {
    format!(
        "<t:Message><t:ItemId Id=\"{id}\"/><t:DateTimeCreated>1970-01-01T00:00:01Z</t:DateTimeCreated>\
         <t:ExtendedProperty><t:ExtendedFieldURI PropertySetId=\"B5D4F0B6-7A0E-4A39-9D5E-5C1F6A2E9D41\" \
         PropertyName=\"MailwaveStamp\" PropertyType=\"String\"/><t:Value>{}/done</t:Value></t:ExtendedProperty>\
         <t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"0x1090\" PropertyType=\"Integer\"/><t:Value>2</t:Value>\
         </t:ExtendedProperty><t:IsRead>true</t:IsRead></t:Message>",
        stamp(number)
    )
}

fn page(items: &[String], offset: usize, total: usize) -> String {
    let end = offset + items.len();
    done(
        "FindItem",
        &format!(
            "<m:RootFolder IndexedPagingOffset=\"{end}\" TotalItemsInView=\"{total}\" IncludesLastItemInRange=\"{}\">\
             <t:Items>{}</t:Items></m:RootFolder>",
            end == total,
            items.concat()
        ),
    )
}

#[tokio::test]
async fn every_folder_is_searched_to_its_end_and_each_copy_found_where_it_lies() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[("a", "root", "A", "IPF.Note"), ("b", "a", "B", "IPF.Appointment")]));
    server.says(response("FindItem", &[page(&[found("1", 1)], 0, 2), page(&[found("3", 3)], 0, 1)]));
    server.then(|body| {
        assert!(body.contains("Offset=\"1\"") && !body.contains("Id=\"b\""), "{body}");
        delivered(200, &[], response("FindItem", &[page(&[found("2", 2)], 1, 2)]))
    });
    let prefix = StampPrefix::mailbox(&stamp(1).source, &stamp(1).mailbox);
    let copies = mailbox.find(&prefix).await.expect("found");
    let seen: Vec<_> = copies.iter().map(|c| (c.stamp.number, c.id.as_str(), c.folder.0.as_str())).collect();
    assert_eq!(seen, [(1, "1", "a"), (2, "2", "a"), (3, "3", "b")]);
    assert!(copies.iter().all(|c| c.complete && c.made == 1000 && c.flags.seen && c.flags.flagged));
    let asked = &server.asked()[3].2;
    assert!(asked.contains("<t:Contains ContainmentMode=\"Prefixed\" ContainmentComparison=\"Exact\">"));
    assert!(asked.contains(&format!("<t:Constant Value=\"{}\"/>", prefix.as_str())));
}

#[tokio::test]
async fn a_search_that_changed_under_us_is_begun_again() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let folders = || tree(&[("a", "root", "A", "IPF.Note")]);
    // The total changes between two pages; then the folder goes away; then all is calm.
    server.says(folders()).says(response("FindItem", &[page(&[found("1", 1)], 0, 3)]));
    server.says(response("FindItem", &[page(&[found("2", 2)], 1, 2)]));
    server.says(folders()).says(response("FindItem", &[failed("FindItem", "ErrorItemNotFound")]));
    server.says(folders()).says(response("FindItem", &[page(&[found("1", 1), found("2", 2)], 0, 2)]));
    let prefix = StampPrefix::mailbox(&stamp(1).source, &stamp(1).mailbox);
    assert_eq!(mailbox.find(&prefix).await.expect("found").len(), 2);
}

#[tokio::test]
async fn a_page_that_does_not_come_forward_is_an_error_and_not_a_loop() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[("a", "root", "A", "IPF.Note")]));
    let stuck = "<m:RootFolder IndexedPagingOffset=\"0\" TotalItemsInView=\"9\" IncludesLastItemInRange=\"false\"><t:Items/></m:RootFolder>";
    for _ in 0..5 {
        server.says(response("FindItem", &[done("FindItem", stuck)]));
    }
    let error = mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect_err("stuck");
    assert_eq!(error.kind, Kind::Protocol);
}

fn copy(id: &str) -> CopyRef {
    CopyRef { folder: TargetFolderId("a".to_owned()), id: id.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn flags_are_set_without_read_receipts_and_what_failed_for_a_moment_is_tried_again() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let ok = || done("UpdateItem", "");
    server.says(response(
        "UpdateItem",
        &[ok(), failed("UpdateItem", "ErrorIrresolvableConflict"), failed("UpdateItem", "ErrorItemNotFound")],
    ));
    server.then(move |body| {
        assert!(body.contains("Id=\"2\"") && !body.contains("Id=\"1\"") && !body.contains("Id=\"3\""));
        assert!(body.contains("SuppressReadReceipts=\"true\"") && body.contains("AlwaysOverwrite"));
        delivered(200, &[], response("UpdateItem", &[ok()]))
    });
    let changes = ["1", "2", "3"].map(|id| (copy(id), Flags::decode("S")));
    let results = mailbox.set_flags(&changes).await;
    assert!(results[0].is_ok() && results[1].is_ok());
    assert_eq!(results[2].as_ref().map_err(|e| (e.kind, e.scope)), Err((Kind::NotFound, Scope::Message)));
}

#[tokio::test]
async fn what_is_removed_stays_recoverable_and_what_is_gone_is_removed() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(response("DeleteItem", &[done("DeleteItem", ""), failed("DeleteItem", "ErrorItemNotFound")]));
    let results = mailbox.remove(&[copy("1"), copy("2")]).await;
    assert!(results.len() == 2 && results.iter().all(Result::is_ok));
    assert!(server.last().contains("<m:DeleteItem DeleteType=\"SoftDelete\" SuppressReadReceipts=\"true\">"));
}

fn lies_in(folder: &str, number: u64) -> String {
    let item = found("x", number)
        .replace("<t:DateTimeCreated>", &format!("<t:ParentFolderId Id=\"{folder}\"/><t:DateTimeCreated>"));
    done("GetItem", &format!("<m:Items>{item}</m:Items>"))
}

#[tokio::test(start_paused = true)]
async fn a_move_whose_answer_was_lost_is_settled_by_the_stamp() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    let to = TargetFolderId("b".to_owned());
    server.says(response(
        "GetItem",
        &[lies_in("a", 1), lies_in("b", 2), failed("GetItem", "ErrorItemNotFound")],
    ));
    server.then(|body| {
        assert!(body.contains("Id=\"1\"") && !body.contains("Id=\"2\"") && !body.contains("Id=\"3\""));
        Delivery::NoAnswer
    });
    server.says(response("FindItem", &[page(&[found("new", 1)], 0, 1)]));
    let results = mailbox.relocate(&[copy("1"), copy("2"), copy("3")], &to).await;
    assert_eq!(results[0].as_deref().ok(), Some("new"));
    assert_eq!(results[1].as_deref().ok(), Some("2"), "it lies there already");
    assert_eq!(results[2].as_ref().map_err(|e| (e.kind, e.scope)), Err((Kind::NotFound, Scope::Message)));
    assert_eq!(server.ops()[2..], ["GetItem", "MoveItem", "FindItem"]);
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_or_not_allowed_parks_itself_alone() {
    for (code, kind) in
        [("ErrorNonExistentMailbox", Kind::NotFound), ("ErrorImpersonateUserDenied", Kind::Denied)]
    {
        let server = Server::default();
        server.says(busy(1).replace("ErrorServerBusy", code));
        let gate = Gate::unlimited(&Env::system());
        let error = server
            .target(|_| ())
            .open("ann@example.org", "", gate)
            .await
            .map(|_| ())
            .expect_err("no mailbox");
        assert_eq!((error.kind, error.scope), (kind, Scope::Mailbox));
        assert!(!error.remedy.is_empty() && !error.to_string().contains("ann"));
    }
}
